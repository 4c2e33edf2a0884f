//! The helper's memory does not grow with the tree: only some bytes for each entry.

use std::path::Path;

use rehome::helper::protocol::Request;

use crate::support::{Bench, bash, sh};

/// Runs a program and prints the most memory it ever had, in KiB.
const PEAK: &str = "import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";

/// Empty files, in directories of a hundred.
const FILES: &str = "import os, sys
for n in range(int(sys.argv[1])):
    if n % 100 == 0:
        os.mkdir(f'{n // 100:05}')
    os.mknod(f'{n // 100:05}/IMG_{n:07}.jpeg')";

const MANY: u64 = 100_000;

/// The peaks, in bytes, of a first pass, one that finds nothing to do, and the comparison.
fn peaks(bench: &Bench) -> [u64; 3] {
    let peak = |request: &Request| {
        let request = serde_json::to_string(request).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_rehome"));
        let told = sh("python3", &[&"-c", &PEAK, &program, &"helper", &request]);
        told.trim().parse::<u64>().unwrap() * 1024
    };
    let copy = Request::Copy(bench.request());
    let first = peak(&copy);
    bench.settle();
    peak(&copy);
    [first, peak(&copy), peak(&Request::Verify(bench.verify_request()))]
}

#[test]
fn an_entry_takes_little() {
    let few = Bench::new();
    bash(&few.from, &format!("python3 -c \"{FILES}\" 1000"));
    let base = peaks(&few);
    let many = Bench::new();
    bash(&many.from, &format!("python3 -c \"{FILES}\" {MANY}"));
    let found = peaks(&many);
    for ((what, base), found) in ["first pass", "second pass", "comparison"]
        .iter()
        .zip(base)
        .zip(found)
    {
        let each = found.saturating_sub(base) / MANY;
        // With what has a limit of its own, whatever the tree: files that wait to be read back, threads. It was 300
        // when trees were not packed.
        assert!(
            each < 150,
            "{what}: {each} bytes an entry ({base} bytes, then {found})"
        );
    }
    let report = many.copy();
    assert_eq!((report.entries, report.files_copied), (MANY + MANY / 100 + 1, 0));
    assert_eq!(bash(&many.to, "find . -type f | wc -l").trim(), MANY.to_string());
}
