//! Uploads at size: a large file in hundreds of parts, very many small ones, and a disk that is too small. Bounded every day;
//! with `REHOME_CAMPAIGN=full` six gigabytes and 200,000 files.

use std::process::Command;
use std::time::Instant;

use crate::memory::peak;
use crate::support::{bash, full, in_a_process, run, sha256};
use crate::uploads::{Bench, sorted};

/// However large and however many: with everything else that a process has.
const LIMIT: u64 = 100 << 20;
/// The size of a part, as long as an object has few enough of them.
const PART: u64 = 8 << 20;

/// Does it, and says how long it took.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    println!(
        "size: {what}: {:.1} s, at most {} MiB of memory so far",
        began.elapsed().as_secs_f64(),
        peak() >> 20
    );
    done
}

/// Says what the process that was measured said.
fn told(said: &str) {
    // The first is on the line of the harness.
    let lines = said
        .lines()
        .filter_map(|line| line.find("size: ").map(|at| &line[at..]));
    lines.for_each(|line| println!("{line}"));
}

fn large() {
    let bytes: u64 = if full() { 6_000_000_000 } else { 100_000_000 };
    let bench = Bench::on("SEAWEEDFS");
    // Holes are read as zeroes; something in each part makes it another than those beside it.
    bench.fill(&format!(
        "truncate -s {bytes} large; for at in $(seq 0 {PART} {bytes}); do \
         head -c 1000 /dev/urandom | dd of=large conv=notrunc oflag=seek_bytes seek=$((at + at / 9000)) status=none; done; \
         truncate -s {bytes} large"
    ));
    let report = timed("one file up", || bench.sync());
    assert_eq!((report.added, report.sent_bytes), (1, bytes), "{report:?}");
    let again = timed("once more, nothing changed", || bench.sync());
    assert_eq!((again.sent_bytes, again.same.by_etag), (0, 1), "{again:?}");
    assert_eq!(timed("verify", || bench.verify(false)).same.by_etag, 1);
    assert_eq!(timed("verify --read", || bench.verify(true)).same.by_reading, 1);
    let pulled = timed("down", || bench.pull("back", false, false));
    assert_eq!((pulled.added, pulled.got_bytes), (1, bytes), "{pulled:?}");
    let most = peak();
    assert!(most < LIMIT, "{} MiB of memory", most >> 20);

    let parts = bytes.div_ceil(PART);
    let said = bench.bucket.boto(
        "h = s3.head_object(Bucket=bucket, Key='media/large')\n\
         print(h['ContentLength'], h['ETag'].strip('\"').split('-')[1])",
    );
    assert_eq!(said, format!("{bytes} {parts}\n"));
    assert_eq!(bench.bucket.unfinished(), "[]");
    let here = bash(&bench.path("tree"), "sha256sum < large | cut -d' ' -f1");
    assert_eq!(bench.bucket.sha256("media/large"), here.trim());
    bash(bench.path("back").parent().unwrap(), "cmp tree/large back/large");
}

#[test]
fn a_large_file_takes_little_memory() {
    // A process of its own: memory is counted for all of one.
    match in_a_process("size::a_large_file_takes_little_memory", &[]) {
        Some(said) => told(&said),
        None => large(),
    }
}

fn many() {
    let count: u64 = if full() { 200_000 } else { 3_000 };
    let bench = Bench::on("SEAWEEDFS");
    let tree = bench.path("tree");
    for n in 0..count {
        let dir = tree.join(format!("{:03}", n / 1000));
        if n % 1000 == 0 {
            std::fs::create_dir(&dir).unwrap();
        }
        std::fs::write(
            dir.join(format!("some-upload-{n:06}.jpg")),
            n.to_string().repeat(100),
        )
        .unwrap();
    }
    let report = timed("all of them up", || bench.sync());
    assert_eq!((report.added, report.failed.count), (count, 0), "{report:?}");
    let again = timed("once more, nothing changed", || bench.sync());
    assert_eq!((again.sent_bytes, again.same.by_etag), (0, count), "{again:?}");
    let found = timed("verify", || bench.verify(false));
    assert_eq!(
        (found.same.by_etag, found.extra.count, found.missing.count),
        (count, 0, 0)
    );
    let most = peak();
    assert!(most < LIMIT, "{} MiB of memory", most >> 20);

    // The MD5 that the server made, and that of md5sum.
    let there = bench.bucket.boto(
        "for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket):\n\
         \x20 for o in page['Contents']: print(o['ETag'].strip('\"'), o['Key'])",
    );
    let here = bash(
        &tree,
        "find . -type f -print0 | xargs -0 md5sum | sed 's#  \\./# media/#'",
    );
    assert!(sorted(&there) == sorted(&here), "other objects than files");
}

#[test]
fn very_many_files_take_little_memory() {
    match in_a_process("size::very_many_files_take_little_memory", &[]) {
        Some(said) => told(&said),
        None => many(),
    }
}

/// A small disk, unmounted at the end.
struct Small(std::path::PathBuf);

impl Small {
    fn at(path: std::path::PathBuf) -> Self {
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
            .arg(&path));
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.0));
    }
}

#[test]
fn a_disk_that_is_full_is_told_and_nothing_half_is_left() {
    let bench = Bench::on("SEAWEEDFS");
    bench.fill("mkdir d; for n in $(seq 30); do head -c 50000 /dev/urandom > d/f$n; done; head -c 9000000 /dev/urandom > large");
    bench.sync();
    let small = Small::at(bench.path("back"));
    let pulled = bench.pull("back", false, false);
    // While the large one has all the room, one of the small ones can find none either.
    let failed = pulled.failed.count;
    assert!(failed >= 1 && pulled.added + failed == 31, "{pulled:?}");
    for trouble in &pulled.failed.first {
        let why = trouble.why.to_lowercase();
        assert!(why.contains("no space left"), "{trouble:?}");
    }
    assert!(
        pulled.failed.first.iter().any(|t| t.path == "large"),
        "{pulled:?}"
    );
    // What came is whole; of the rest there is nothing.
    let came = format!("{}\nd\n", pulled.added);
    assert_eq!(bash(&small.0, "find . -type f | wc -l; ls -A"), came);
    let mut missing: Vec<_> = pulled.failed.first.iter().map(|t| t.path.clone()).collect();
    missing.sort();
    let differs = "{ diff -rq tree back || test $? = 1; } | sed -E 's#^Only in tree/?##; s#^: ##; s#: #/#' | LC_ALL=C sort";
    assert_eq!(bash(bench.dir.path(), differs), missing.join("\n") + "\n");
    assert_eq!(bench.verify(false).same.total(), 31);

    // The file that was there stays, when a larger one does not fit.
    std::fs::write(small.0.join("large"), "older").unwrap();
    assert!(bench.pull("back", false, false).failed.count >= 1);
    assert_eq!(std::fs::read_to_string(small.0.join("large")).unwrap(), "older");

    run(Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(&small.0));
    let pulled = bench.pull("back", false, false);
    assert_eq!(
        (
            pulled.replaced,
            pulled.added + pulled.same.total(),
            pulled.failed.count
        ),
        (1, 30, 0),
        "{pulled:?}"
    );
    assert_eq!(
        bash(bench.dir.path(), "diff -r tree back; ls -A back"),
        "d\nlarge\n"
    );
    let large = std::fs::read(small.0.join("large")).unwrap();
    assert_eq!(bench.bucket.sha256("media/large"), sha256(&large));
}
