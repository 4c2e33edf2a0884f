//! The helper as a process with an archive on its streams: when it ends, what it says last, how much memory it takes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rehome::helper::frames;
use rehome::helper::protocol::{Answer, Line, Request};

use crate::support::{Bench, bash, sh};

fn helper(request: &Request) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rehome"))
        .args(["helper", &serde_json::to_string(request).unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn archive(dir: &Path) -> Request {
    Request::Archive {
        dir: dir.to_owned(),
        live: false,
        only: None,
    }
}

fn unarchive(dir: &Path) -> Request {
    Request::Unarchive {
        dir: dir.to_owned(),
        only: None,
        strip: 0,
        like: None,
        bytes: 0,
        entries: 0,
    }
}

/// The last line that comes, which need not be the end of the stream.
fn last(lines: impl std::io::Read) -> Line {
    for line in BufReader::new(lines).lines() {
        match serde_json::from_str(&line.unwrap()).unwrap() {
            Line::Progress { .. } | Line::Note { .. } => {}
            last => return last,
        }
    }
    panic!("no last line")
}

#[test]
fn both_helpers_end_when_they_are_let_go() {
    let bench = Bench::new();
    bash(&bench.from, "head -c 700000 /dev/urandom > f; echo x > g");
    let mut child = helper(&archive(&bench.from));
    let mut out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let Line::Answer(Answer::Archive(sent)) = last(child.stderr.as_mut().unwrap()) else {
        panic!("no answer")
    };
    // It has said everything, and waits.
    assert!(child.try_wait().unwrap().is_none());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let bytes = reader.join().unwrap();
    assert_eq!(bytes.len() as u64, sent.tar_bytes);

    let mut child = helper(&unarchive(&bench.to));
    let mut stdin = child.stdin.take().unwrap();
    for frame in bytes.chunks(100_000) {
        stdin.write_all(&frames::head(frame.len())).unwrap();
        stdin.write_all(frame).unwrap();
    }
    stdin.write_all(&frames::head(0)).unwrap();
    let Line::Answer(Answer::Unarchive(came)) = last(child.stdout.as_mut().unwrap()) else {
        panic!("no answer")
    };
    assert_eq!(came.tree, sent.tree);
    assert!(child.try_wait().unwrap().is_none());
    drop(stdin);
    assert!(child.wait().unwrap().success());
    bench.assert_same();
}

#[test]
fn a_host_that_goes_away_is_no_end_of_an_archive() {
    let bench = Bench::new();
    bash(&bench.from, "head -c 700000 /dev/urandom > f");
    // Complete as an archive, but that it is complete was not said.
    let mut child = helper(&unarchive(&bench.to));
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bash(&bench.from, "tar -cf - /dev/null 2>/dev/null | wc -c");
    let zeros = vec![0; bytes.trim().parse().unwrap()];
    stdin.write_all(&frames::head(zeros.len())).unwrap();
    stdin.write_all(&zeros).unwrap();
    drop(stdin);
    let Line::Failed { because, .. } = last(child.stdout.as_mut().unwrap()) else {
        panic!("it worked")
    };
    assert_eq!(because, "the host went away");
    assert!(!child.wait().unwrap().success());

    // Nobody takes the archive.
    let mut child = helper(&archive(&bench.from));
    drop(child.stdout.take());
    let Line::Failed { what, because, .. } = last(child.stderr.as_mut().unwrap()) else {
        panic!("it worked")
    };
    assert_eq!(what, "nobody takes the archive");
    assert!(because.contains("Broken pipe"), "{because}");
    drop(child.stdin.take());
    assert!(!child.wait().unwrap().success());
}

#[test]
fn archives_are_nothing_for_several() {
    let bench = Bench::new();
    for request in [archive(&bench.from), unarchive(&bench.to)] {
        let several = Request::Several {
            requests: vec![request],
        };
        let Line::Failed { because, .. } = ({
            let mut child = helper(&several);
            let mut out = BufReader::new(child.stdout.take().unwrap());
            let mut turn = String::new();
            out.read_line(&mut turn).unwrap();
            let line = last(out);
            assert!(!child.wait().unwrap().success());
            line
        }) else {
            panic!("it worked")
        };
        assert_eq!(
            because,
            "it needs a stream for itself, and no other request could follow"
        );
    }
}

/// Sends a file to the helper in frames, throws away what it says, and prints the most memory that it ever had, in KiB.
const PEAK: &str = "import resource, struct, subprocess, sys
source, out, program, request = sys.argv[1:]
p = subprocess.Popen([program, 'helper', request], stdin=subprocess.PIPE,
    stdout=open(out, 'wb') if out else subprocess.PIPE, stderr=subprocess.PIPE)
if source:
    with open(source, 'rb') as f:
        while part := f.read(1 << 16):
            p.stdin.write(struct.pack('>I', len(part)) + part)
    p.stdin.write(struct.pack('>I', 0))
    p.stdin.flush()
for line in p.stderr if out else p.stdout:
    if b'\"say\":\"answer\"' in line: break
    assert b'\"say\":\"failed\"' not in line, line
p.stdin.close()
assert p.wait() == 0
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";

#[test]
fn memory_depends_on_neither_sizes_nor_much_on_numbers() {
    const MANY: u64 = 100_000;
    let program = env!("CARGO_BIN_EXE_rehome");
    let peak = |source: &Path, out: &Path, request: &Request| -> u64 {
        let request = serde_json::to_string(request).unwrap();
        let told = sh("python3", &[&"-c", &PEAK, &source, &out, &program, &request]);
        told.trim().parse::<u64>().unwrap() * 1024
    };
    let both = |bench: &Bench| {
        let file = bench.from.parent().unwrap().join("a.tar");
        let none = Path::new("");
        [
            peak(none, &file, &archive(&bench.from)),
            peak(&file, none, &unarchive(&bench.to)),
        ]
    };
    let few = Bench::new();
    bash(&few.from, "head -c 1000 /dev/urandom > f");
    let base = both(&few);
    let large = Bench::new();
    bash(
        &large.from,
        "head -c 400000000 /dev/urandom > a; truncate -s 40G b; echo x >> b",
    );
    for ((what, base), found) in ["archive", "unarchive"].iter().zip(base).zip(both(&large)) {
        assert!(found < base + (40 << 20), "{what}: {base} bytes, then {found}");
    }
    let many = Bench::new();
    bash(
        &many.from,
        &format!(
            "python3 -c \"
import os
for n in range({MANY}):
    if n % 100 == 0: os.mkdir(f'{{n // 100:05}}')
    os.mknod(f'{{n // 100:05}}/IMG_{{n:07}}.jpeg')\""
        ),
    );
    for ((what, base), found) in ["archive", "unarchive"].iter().zip(base).zip(both(&many)) {
        let each = found.saturating_sub(base) / MANY;
        // With what has a limit of its own: threads and their buffers.
        assert!(
            each < 250,
            "{what}: {each} bytes an entry ({base} bytes, then {found})"
        );
    }
    assert_eq!(bash(&many.to, "find . -type f | wc -l").trim(), MANY.to_string());
}
