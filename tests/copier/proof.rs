//! What a verification notices, and that nobody leads the helper out of its trees.

use std::sync::atomic::{AtomicBool, Ordering};

use rehome::helper::compare::compare;
use rehome::helper::context::Context;
use rehome::helper::copy;
use rehome::helper::protocol::{CopyRequest, FailClass, VerifyRequest};
use rehome::helper::verify;

use crate::support::{Bench, Random, bash, grow};

/// Copied and settled, so that a verification trusts the manifest wherever it may.
fn proven() -> Bench {
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir d; head -c 100000 /dev/urandom | tr QXYZ qxyz > d/data; echo b > b; ln b b2; ln -s b l; mkfifo p; mknod c c 1 3
         setfattr -n user.k -v v b; touch -d @5000 d/data; touch -h -d @6000 l; touch -d @7000 d",
    );
    bench.copy_live();
    bench.settle();
    bench.copy();
    bench.verify();
    bench
}

#[test]
fn every_single_difference_is_noticed_and_named() {
    let bench = proven();
    let touch = "touch -h -r ../from/";
    for (change, back, named) in [
        // A byte flipped with the time restored: only the kernel's own ctime tells.
        (
            "printf X | dd of=d/data bs=1 seek=777 conv=notrunc status=none; touch -r ../from/d/data d/data"
                .to_owned(),
            "cp -p ../from/d/data d/data".to_owned(),
            "d/data: other content",
        ),
        (
            "echo > extra; touch -r ../from .".into(),
            "rm extra".into(),
            "extra: only at the destination",
        ),
        (
            "mv p gone".into(),
            "mv gone p".into(),
            "p: missing at the destination",
        ),
        (
            "chmod 700 d".into(),
            "chmod --reference=../from/d d".into(),
            "d: mode 0700 instead of 0755",
        ),
        (
            "chown 9:8 b".into(),
            "chown 0:0 b".into(),
            "b: owner 9:8 instead of 0:0",
        ),
        (
            "touch -d @5000.000000001 d/data".into(),
            "touch -d @5000 d/data".into(),
            "d/data: mtime 5000.000000001 instead of 5000.000000000",
        ),
        (
            "touch -d @7001 d".into(),
            "touch -d @7000 d".into(),
            "d: mtime 7001",
        ),
        (
            "setfattr -n user.k -v w b".into(),
            "setfattr -n user.k -v v b".into(),
            "b: other extended attribute user.k",
        ),
        (
            "setfattr -n user.more -v w .".into(),
            "setfattr -x user.more .".into(),
            ".: other extended attribute user.more",
        ),
        (
            "ln -sf c l; touch -h -d @6000 l".into(),
            "ln -sf b l; touch -h -d @6000 l".into(),
            "l: it points at c instead of b",
        ),
        (
            "rm c; mknod c c 1 5".into(),
            "rm c; mknod c c 1 3".into(),
            "c: another device number",
        ),
        (
            "rm c; mknod c b 1 3".into(),
            "rm c; mknod c c 1 3".into(),
            "c: a block device instead of a character device",
        ),
        (
            "rm b2; cp -p b b2".into(),
            "ln -f b b2".into(),
            "b2: no hard link instead of a hard link to b",
        ),
        (
            "echo cc > b".into(),
            "echo b > b".into(),
            "b: 3 bytes instead of 2",
        ),
        (
            "chown 9:9 .".into(),
            "chown 0:0 .".into(),
            ".: owner 9:9 instead of 0:0",
        ),
    ] {
        bash(&bench.to, &change);
        let fault = bench.try_verify().unwrap_err();
        assert_eq!(fault.class, FailClass::Differs, "{change}: {fault:?}");
        assert!(fault.because.contains(named), "{change}: {fault:?}");
        bash(&bench.to, &back);
        for name in ["b", "c", "p", "."] {
            bash(&bench.to, &format!("{touch}{name} {name}"));
        }
        bench.verify();
    }
}

#[test]
fn a_source_that_changed_after_the_copy_does_not_verify() {
    let bench = proven();
    bash(
        &bench.from,
        "printf Y | dd of=d/data bs=1 seek=5 conv=notrunc status=none; touch -d @5000 d/data",
    );
    let fault = bench.try_verify().unwrap_err();
    assert!(fault.because.contains("d/data: other content"), "{fault:?}");
}

#[test]
fn a_full_verification_reads_what_the_manifest_vouches_for() {
    // The device changes its mind and no timestamp tells: written to the block device below the file system.
    let disk = crate::support::Disk::new("40M", "mkfs.ext4", &[]);
    let bench = Bench::new();
    bash(
        &bench.from,
        "head -c 300000 /dev/zero | tr '\\0' 'Q' > f; echo other > g",
    );
    let to = disk.at.join("data");
    std::fs::create_dir(&to).unwrap();
    let request = CopyRequest {
        to: to.clone(),
        ..bench.request()
    };
    copy::copy(&Context::new(), &request).unwrap();
    bench.settle();
    copy::copy(&Context::new(), &request).unwrap();
    bash(
        &to,
        "block=$(filefrag -v f | awk '$1==\"0:\" {print $4+0}'); device=$(findmnt -n -o SOURCE -T .)
         printf Z | dd of=$device bs=1 seek=$((block * $(stat -f -c %S .) + 100)) conv=notrunc status=none
         sync; echo 1 > /proc/sys/vm/drop_caches",
    );
    let full = VerifyRequest {
        to,
        full: true,
        ..bench.verify_request()
    };
    let fault = verify::verify(&Context::new(), &full).unwrap_err();
    assert!(fault.because.contains("f: other content"), "{fault:?}");
}

#[test]
fn the_digest_is_one_figure_for_the_tree_whatever_the_threads() {
    let bench = Bench::new();
    grow(&bench.from, &mut Random(12), 100);
    bench.copy();
    let digest = |jobs, full| {
        let request = VerifyRequest {
            jobs,
            full,
            ..bench.verify_request()
        };
        verify::verify(&Context::new(), &request).unwrap().digest
    };
    let one = digest(1, false);
    assert_eq!(one.len(), 64);
    for jobs in [2, 5, 16] {
        assert_eq!(digest(jobs, jobs == 5), one);
    }
    bash(&bench.from, "chmod 0123 .");
    bench.copy();
    assert_ne!(digest(1, false), one, "the root directory is part of it");
}

#[test]
fn more_than_twenty_differences_are_counted() {
    let bench = Bench::new();
    bash(&bench.from, "touch f{1..30}");
    let fault = bench.try_verify().unwrap_err();
    assert_eq!(fault.what, "the destination is not the source: 31 entries differ");
    assert!(fault.because.ends_with("; and 11 more"), "{}", fault.because);
}

#[test]
fn a_comparison_counts_what_was_added_removed_and_changed() {
    let bench = proven();
    bash(
        &bench.to,
        "mkdir new; echo 12345 > new/f; rm p; printf Q | dd of=d/data bs=1 conv=notrunc status=none; touch -d @5000 d/data",
    );
    let report = compare(&Context::new(), &bench.from, &bench.to).unwrap();
    assert_eq!((report.added, report.removed, report.changed), (2, 1, 1));
    assert_eq!(report.bytes, 100_006);
    assert_eq!(report.sample, ["d/data", "new", "new/f", "p"]);
}

#[test]
fn a_directory_that_becomes_a_symlink_during_the_pass_leads_nowhere() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir real; for n in $(seq 300); do echo inside > real/f$n; done; mkdir ../outside; for n in $(seq 300); do echo SECRET > ../outside/f$n; done",
    );
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (dir, aside) = (bench.from.join("real"), bench.from.join("aside"));
            while !stop.load(Ordering::Relaxed) {
                std::fs::rename(&dir, &aside).unwrap();
                std::os::unix::fs::symlink("../outside", &dir).unwrap();
                // Long enough to be met by a pass that has just seen the directory.
                (0..200).for_each(|_| std::thread::yield_now());
                std::fs::remove_file(&dir).unwrap();
                std::fs::rename(&aside, &dir).unwrap();
            }
        });
        let passes: Result<Vec<_>, _> = (0..60).map(|_| bench.try_copy_live()).collect();
        stop.store(true, Ordering::Relaxed);
        passes.unwrap();
    });
    let found = bash(&bench.to, "grep -rl SECRET . || true");
    assert_eq!(found, "", "nothing from outside came in");
    bench.copy();
    bench.assert_same();
}

#[test]
fn symlinks_at_the_destination_are_replaced_and_never_written_through() {
    let bench = Bench::new();
    bash(&bench.from, "mkdir d; echo new > d/f; echo new > g");
    bash(
        &bench.to,
        "mkdir ../outside; echo old > ../outside/f; echo old > ../outside/g; ln -s ../outside d; ln -s ../outside/g g",
    );
    bench.copy();
    bench.assert_same();
    assert_eq!(bash(&bench.to, "cat ../outside/f ../outside/g"), "old\nold\n");
}

#[test]
fn a_tree_is_not_copied_into_itself() {
    let bench = Bench::new();
    let inside = bench.from.join("inside");
    std::fs::create_dir(&inside).unwrap();
    for (from, to, manifest) in [
        (&bench.from, &inside, &bench.manifest),
        (&inside, &bench.from, &bench.manifest),
        (&bench.from, &bench.from, &bench.manifest),
        (&bench.from, &bench.to, &bench.to.join("manifest")),
    ] {
        let request = CopyRequest {
            from: from.clone(),
            to: to.clone(),
            manifest: manifest.clone(),
            ..bench.request()
        };
        let fault = copy::copy(&Context::new(), &request).unwrap_err();
        assert_eq!(fault.class, FailClass::Refused, "{fault:?}");
    }
}
