//! The next pass takes what changed, all of it, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};

use rehome::helper::context::Context;
use rehome::helper::copy;
use rehome::helper::protocol::{CopyRequest, FailClass};

use crate::support::{Bench, Disk, Random, bash, grow, sh};

/// Two files, copied and settled: whatever the next pass copies was changed by the test.
fn settled(make: &str) -> Bench {
    let bench = Bench::new();
    bash(&bench.from, make);
    bench.copy_live();
    bench.settle();
    bench.copy_live();
    let report = bench.copy();
    assert_eq!(
        (report.files_copied, report.dirty),
        (0, 0),
        "everything is settled"
    );
    bench
}

#[test]
fn what_was_just_written_is_dirty_and_what_is_old_is_not() {
    let bench = Bench::new();
    bash(&bench.from, "echo one > a; echo two > b");
    let report = bench.copy_live();
    assert_eq!((report.files_copied, report.dirty, report.dirty_bytes), (2, 2, 8));
    bench.settle();
    let report = bench.copy_live();
    assert_eq!((report.files_copied, report.dirty), (2, 0));
    let report = bench.copy();
    assert_eq!(
        (report.files_copied, report.bytes_copied, report.bytes_total),
        (0, 0, 8)
    );
    bench.verify();
}

#[test]
fn what_is_known_of_a_directory_with_many_files_is_known_of_each() {
    // Between the files lie entries of which nothing is known.
    let bench = settled(
        "for n in $(seq -w 9500); do echo $n > f$n; done; mkdir f0100d f5000d; echo x > f5000d/f; ln -s f0001 f0200l; ln f4000 f4000h",
    );
    bash(
        &bench.from,
        "for n in 0001 0101 0201 4095 4096 4097 4098 8191 8192 8193 9500; do echo y$n > f$n; done; rm f0300 f4500",
    );
    let report = bench.copy();
    assert_eq!((report.files_copied, report.deleted), (11, 2));
    bench.assert_same();
    bench.verify();
}

#[test]
fn a_rewrite_of_the_same_size_with_the_time_set_back_is_seen() {
    let bench = settled("echo aaaa > a; echo bbbb > b; touch -d @1000 a b");
    bash(&bench.from, "echo AAAA > a; touch -d @1000 a");
    assert_eq!(bench.copy().files_copied, 1);
    bench.assert_same();
    bench.verify();
}

#[test]
fn a_rewrite_within_the_same_tick_is_seen() {
    // Written, copied and written again at once, the size the same: no timestamp can be trusted to tell.
    // A source of whole seconds makes the tick as long as it can be.
    let disk = Disk::new("40M", "mkfs.ext4", &["-I", "128"]);
    let usual = Bench::new();
    for from in [usual.from.clone(), disk.at.join("data")] {
        std::fs::create_dir_all(&from).unwrap();
        let bench = Bench::new();
        let request = CopyRequest {
            from: from.clone(),
            ..bench.request()
        };
        for round in 0..40 {
            std::fs::write(from.join("f"), format!("{round:08}")).unwrap();
            copy::copy(
                &Context::new(),
                &CopyRequest {
                    live: true,
                    ..request.clone()
                },
            )
            .unwrap();
            std::fs::write(from.join("f"), format!("{:08}", round + 1000)).unwrap();
            copy::copy(&Context::new(), &request).unwrap();
            let arrived = std::fs::read_to_string(bench.to.join("f")).unwrap();
            assert_eq!(arrived, format!("{:08}", round + 1000));
        }
    }
}

#[test]
fn writes_through_a_memory_map_are_seen() {
    let bench = settled("head -c 100000 /dev/zero > db; echo other > b");
    // The map stays open and dirty over a live pass, and is written again after it.
    let mut writer = std::process::Command::new("python3")
        .args(["-c", MAP])
        .arg(bench.from.join("db"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 is needed by this test");
    let mut step = Steps::of(&mut writer);
    step.next("A");
    assert_eq!(bench.copy_live().files_copied, 1);
    step.next("B");
    bench.copy_live();
    step.next("C");
    drop(step);
    assert!(writer.wait().unwrap().success());
    bench.copy();
    bench.assert_same();
    assert!(std::fs::read(bench.to.join("db")).unwrap().starts_with(b"C"));
    bench.verify();
}

const MAP: &str = r"
import mmap, sys
f = open(sys.argv[1], 'r+b')
m = mmap.mmap(f.fileno(), 0)
for line in sys.stdin:
    m[0:1] = line.strip().encode()
    print('done', flush=True)
";

/// A program that does one step for each line it is told.
struct Steps {
    to: std::process::ChildStdin,
    from: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Steps {
    fn of(child: &mut std::process::Child) -> Self {
        use std::io::BufRead as _;
        let from = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            to: child.stdin.take().unwrap(),
            from,
        }
    }

    fn next(&mut self, what: &str) {
        use std::io::Write as _;
        writeln!(self.to, "{what}").unwrap();
        assert_eq!(self.from.next().unwrap().unwrap(), "done");
    }
}

#[test]
fn renames_replacements_and_deletions_are_followed() {
    let bench = settled(
        "mkdir -p d/e; for n in 1 2 3 4; do echo $n > f$n; echo $n > d/e/g$n; done; ln -s f1 link; mkfifo pipe; touch -d @7 f*",
    );
    bash(
        &bench.from,
        "mv f1 f2                 # one file takes the other's name: same size, old times
         mv d/e moved             # a directory goes elsewhere
         rm f3; mkdir f3; echo in > f3/in        # file -> directory
         rm -r d; echo d > d                     # directory -> file
         rm link; echo link > link               # symlink -> file
         rm f4; ln -s /etc/passwd f4             # file -> symlink
         rm pipe; mkdir pipe                     # FIFO -> directory
         ln -s moved to-a-dir",
    );
    let report = bench.copy();
    bench.assert_same();
    bench.verify();
    // f3, d, link, f4 and pipe went; f1 and d/e have other paths.
    assert_eq!((report.deleted, report.moved), (5, 2));
    assert_eq!(bench.copy().deleted, 0);
}

#[test]
fn metadata_alone_is_brought_up_to_date() {
    let bench = settled("mkdir d; echo a > d/a; echo b > b; ln -s b l; mkfifo p");
    bash(
        &bench.from,
        "chmod 711 d; chown 3:4 d; chown -h 5:6 l; chmod 604 p; touch -h -d @99 l",
    );
    let report = bench.copy();
    assert_eq!((report.files_copied, report.metadata_changed), (0, 3));
    bench.assert_same();
}

#[test]
fn a_destination_changed_behind_our_back_is_copied_again() {
    let bench = settled("echo aaaa > a; echo bbbb > b; echo c > c; echo d > d");
    bash(
        &bench.to,
        "echo AAAA > a; touch -r ../from/a a; rm b; rm c; mkdir c; ln -sf a d; echo extra > extra; mkdir -p x/y/z; echo > x/y/z/f",
    );
    let report = bench.copy();
    assert_eq!(report.files_copied, 4);
    bench.assert_same();
    bench.verify();
}

#[test]
fn a_file_that_is_written_while_it_is_copied_is_dirty_or_an_error() {
    let bench = Bench::new();
    bash(&bench.from, "head -c 200000000 /dev/urandom > big");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(bench.from.join("big"))
                .unwrap();
            while !stop.load(Ordering::Relaxed) {
                std::os::unix::fs::FileExt::write_all_at(&file, b"!", 7).unwrap();
            }
        });
        let (live, still) = (bench.try_copy_live(), bench.try_copy());
        stop.store(true, Ordering::Relaxed);
        let live = live.unwrap();
        assert_eq!((live.dirty, live.dirty_bytes), (1, 200_000_000));
        let fault = still.unwrap_err();
        assert_eq!(fault.class, FailClass::SourceChanged, "{fault:?}");
        assert!(fault.what.ends_with("big"), "{fault:?}");
    });
}

#[test]
fn sixteen_writers_during_live_passes_leave_nothing_behind() {
    let bench = Bench::new();
    grow(&bench.from, &mut Random(99), 60);
    let stop = AtomicBool::new(false);
    // Before any of them begins: who writes through a link to `w0` makes it, as a file.
    for writer in 0..16 {
        std::fs::create_dir(bench.from.join(format!("w{writer}"))).unwrap();
    }
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let (bench, stop) = (&bench, &stop);
            scope.spawn(move || churn(bench, writer, stop));
        }
        let passes: Result<Vec<_>, _> = (0..6).map(|_| bench.try_copy_live()).collect();
        // Before anything may panic: the writers end only when they are told.
        stop.store(true, Ordering::Relaxed);
        passes.unwrap();
    });
    bench.copy();
    bench.assert_same();
    bench.verify();
    // The trusted part must be right as well: the same without any trust.
    let full = rehome::helper::protocol::VerifyRequest {
        full: true,
        ..bench.verify_request()
    };
    rehome::helper::verify::verify(&rehome::helper::context::Context::new(), &full).unwrap();
}

/// Writes, rewrites, renames, removes and replaces in a directory of its own and in one that all share.
fn churn(bench: &Bench, writer: u64, stop: &AtomicBool) {
    let mut random = Random(writer * 31 + 5);
    let own = bench.from.join(format!("w{writer}"));
    while !stop.load(Ordering::Relaxed) {
        let shared = bench.from.join(format!("shared{}", random.below(30)));
        let mine = own.join(format!("f{}", random.below(40)));
        let other = own.join(format!("f{}", random.below(40)));
        let path = if random.below(3) == 0 { &shared } else { &mine };
        let (len, kind) = (random.below(20_000) as usize, random.below(7));
        // Others do the same to the shared names, so any of these may fail.
        let result = match kind {
            0 | 1 => std::fs::write(path, random.bytes(len)),
            2 => std::fs::rename(path, &other),
            3 => std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path)),
            4 => std::fs::create_dir(path),
            5 => std::os::unix::fs::symlink("w0", path),
            _ => std::fs::hard_link(path, &other),
        };
        drop(result);
    }
}

#[test]
fn a_damaged_manifest_makes_everything_dirty_and_says_so() {
    let bench = settled("echo a > a; echo b > b");
    sh("truncate", &[&"-s", &"-1", &bench.manifest]);
    let cx = rehome::helper::context::Context::new();
    let report = rehome::helper::copy::copy(&cx, &bench.request()).unwrap();
    assert_eq!(report.files_copied, 2);
    let notes = cx.take_notes();
    assert!(notes[0].contains("the manifest is not used"), "{notes:?}");
    bench.verify();
}
