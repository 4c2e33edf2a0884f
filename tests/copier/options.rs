//! What may be chosen about a pass: whether it reads back, whether it patches.

use rehome::helper::context::Context;
use rehome::helper::copy;
use rehome::helper::protocol::CopyRequest;

use crate::support::{Bench, bash};

/// What this thread read from files so far, as the kernel counts it.
fn read_so_far() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

/// How many bytes a pass in this thread reads.
fn read_by(request: &CopyRequest) -> u64 {
    let request = CopyRequest {
        jobs: 1,
        ..request.clone()
    };
    let before = read_so_far();
    copy::copy(&Context::new(), &request).unwrap();
    read_so_far() - before
}

#[test]
fn what_is_written_is_read_back_unless_it_shall_not_be() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "for n in $(seq 30); do head -c 100000 /dev/urandom > f$n; done; head -c 3M /dev/urandom > large; ln f1 link",
    );
    bench.settle();
    let size = 3_000_000 + 3 * (1 << 20);
    let streamed = read_by(&CopyRequest {
        read_back: false,
        ..bench.request()
    });
    assert!((size..size + 200_000).contains(&streamed), "{streamed} of {size}");
    bench.assert_same();
    let report = bench.copy();
    assert_eq!(
        (report.files_copied, report.dirty),
        (0, 0),
        "it is proven all the same"
    );
    bench.verify();

    std::fs::remove_file(&bench.manifest).unwrap();
    let read_back = read_by(&bench.request());
    assert!(
        (2 * size..2 * size + 200_000).contains(&read_back),
        "{read_back} of {size}"
    );
}

#[test]
fn a_large_file_is_written_again_when_it_shall_not_be_patched() {
    let bench = Bench::new();
    bash(&bench.from, "head -c 3M /dev/urandom > large");
    bench.settle();
    bench.copy();
    bash(&bench.from, "printf x | dd of=large conv=notrunc status=none");
    let request = CopyRequest {
        patch: false,
        ..bench.request()
    };
    let report = copy::copy(&Context::new(), &request).unwrap();
    assert_eq!(
        (report.files_copied, report.files_patched, report.bytes_copied),
        (1, 0, 3 << 20)
    );
    bench.assert_same();
    bench.verify();
}
