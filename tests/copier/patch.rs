//! Large files that changed a little are patched in place: only their pages that differ are written, and the result is
//! what other programs say it should be.

use std::os::unix::fs::FileExt as _;

use rehome::helper::protocol::CopyReport;

use crate::support::{Bench, Random, bash};

const MB: u64 = 1 << 20;

/// A file of random bytes, copied, at rest.
fn with_large(megabytes: u64) -> (Bench, Random) {
    let bench = Bench::new();
    let mut random = Random(0x5eed);
    std::fs::write(bench.from.join("large"), random.bytes((megabytes * MB) as usize)).unwrap();
    bench.copy_live();
    bench.settle();
    bench.copy_live();
    (bench, random)
}

fn edit(bench: &Bench, change: impl FnOnce(&std::fs::File)) {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(bench.from.join("large"))
        .unwrap();
    change(&file);
}

/// The next pass patches, and everything is right afterwards.
#[track_caller]
fn patched(bench: &Bench) -> CopyReport {
    pass(bench, (1, 1))
}

/// The next pass takes all of it.
#[track_caller]
fn whole(bench: &Bench) -> CopyReport {
    pass(bench, (1, 0))
}

#[track_caller]
fn pass(bench: &Bench, copied_and_patched: (u64, u64)) -> CopyReport {
    let report = bench.copy();
    assert_eq!(
        (report.files_copied, report.files_patched),
        copied_and_patched,
        "{report:?}"
    );
    bench.assert_same();
    bench.verify();
    report
}

#[test]
fn only_the_pages_that_changed_are_written() {
    let (bench, mut random) = with_large(20);
    let mut pages = std::collections::BTreeSet::new();
    edit(&bench, |file| {
        for _ in 0..100 {
            let page = random.below(20 * MB / 8192);
            pages.insert(page);
            file.write_all_at(&random.bytes(8192), page * 8192).unwrap();
        }
    });
    let report = patched(&bench);
    assert_eq!(report.bytes_copied, pages.len() as u64 * 8192);
    // Nothing is left to do.
    let again = bench.copy();
    assert_eq!((again.files_copied, again.dirty), (0, 1), "not settled yet");
    bench.settle();
    bench.copy();
    assert_eq!(bench.copy().files_copied, 0);
}

#[test]
fn it_grows_and_shrinks_and_gets_holes_and_loses_them() {
    let (bench, mut random) = with_large(5);
    type Change<'a> = &'a dyn Fn(&std::fs::File, &mut Random);
    let changes: [Change<'_>; 7] = [
        &|file, random| file.write_all_at(&random.bytes(300_001), 5 * MB).unwrap(),
        &|file, _| file.set_len(3 * MB + 17).unwrap(),
        &|file, _| file.set_len(9 * MB + 5).unwrap(),
        &|file, random| file.write_all_at(&random.bytes(70_000), 7 * MB + 11).unwrap(),
        &|_, _| {
            bash(
                &bench.from,
                "fallocate --punch-hole --offset 1000000 --length 1500000 large",
            );
        },
        &|file, random| file.write_all_at(&random.bytes(1), 1_200_000).unwrap(),
        &|file, _| file.set_len(2 * MB).unwrap(),
    ];
    for change in changes {
        edit(&bench, |file| change(file, &mut random));
        patched(&bench);
        let taken = |dir: &std::path::Path| -> u64 {
            bash(dir, "stat -c %b large").trim().parse::<u64>().unwrap() * 512
        };
        let (ours, theirs) = (taken(&bench.to), taken(&bench.from));
        assert!(
            ours <= theirs + 256 * 1024,
            "{ours} bytes are taken instead of {theirs}"
        );
    }
}

#[test]
fn a_file_that_is_written_to_all_the_time_is_patched_too() {
    let bench = Bench::new();
    let mut random = Random(7);
    std::fs::write(bench.from.join("large"), random.bytes(8 << 20)).unwrap();
    // Never at rest: its ctime is always too young to be trusted.
    bench.copy_live();
    for round in 0..5 {
        edit(&bench, |file| {
            file.write_all_at(&random.bytes(4096), random.below(2000) * 4096)
                .unwrap();
        });
        let report = bench.copy_live();
        assert_eq!(report.files_patched, 1, "round {round}: {report:?}");
        assert!(report.bytes_copied <= 4096, "round {round}: {report:?}");
        assert_eq!(report.dirty, 1);
    }
    // Nothing was written since.
    let report = pass(&bench, (0, 0));
    assert_eq!((report.bytes_copied, report.metadata_changed), (0, 1));
}

#[test]
fn random_edits_for_many_rounds() {
    let (bench, mut random) = with_large(3);
    let mut changes = 0;
    for _ in 0..40 {
        edit(&bench, |file| {
            for _ in 0..=random.below(4) {
                let len = file.metadata().unwrap().len();
                match random.below(6) {
                    0 => file.set_len(random.below(6 * MB) + 2 * MB).unwrap(),
                    1 => file.write_all_at(&vec![0; 200_000], random.below(len)).unwrap(),
                    _ => {
                        let size = random.below(50_000) as usize;
                        file.write_all_at(&random.bytes(size), random.below(len)).unwrap();
                    }
                }
            }
        });
        let report = bench.copy();
        // Sometimes nothing but zeros is written over zeros.
        assert_eq!(report.files_patched, report.files_copied, "{report:?}");
        changes += report.files_patched;
        bench.assert_same();
    }
    assert!(changes > 30, "{changes} changes in 40 rounds");
    bench.verify();
}

#[test]
fn what_is_not_known_for_certain_is_copied_whole() {
    let (bench, mut random) = with_large(4);
    let mut touch = |bench: &Bench| {
        edit(bench, |file| file.write_all_at(&random.bytes(100), 5000).unwrap());
    };

    // Somebody wrote to the destination.
    touch(&bench);
    bash(
        &bench.to,
        "printf x | dd of=large bs=1 seek=3000000 conv=notrunc status=none",
    );
    whole(&bench);

    // Its inode has another name.
    touch(&bench);
    bash(&bench.to, "ln large ../other-name");
    whole(&bench);
    assert_ne!(
        bash(&bench.to, "stat -c %i large"),
        bash(&bench.to, "stat -c %i ../other-name"),
        "the other name was written through"
    );

    // The list of its blocks is torn, or another.
    touch(&bench);
    let lists = bench.manifest.with_extension("blocks");
    let mut bytes = std::fs::read(&lists).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 1);
    std::fs::write(&lists, &bytes).unwrap();
    whole(&bench);
    touch(&bench);
    std::fs::write(&lists, b"").unwrap();
    whole(&bench);

    // A symlink lies there.
    touch(&bench);
    bash(&bench.to, "mv large ../away && ln -s ../away large");
    whole(&bench);

    // It is patched again when all is known again.
    touch(&bench);
    patched(&bench);
}

#[test]
fn after_a_pass_that_died_while_it_patched_nothing_large_is_believed() {
    let (bench, mut random) = with_large(4);
    edit(&bench, |file| {
        file.write_all_at(&random.bytes(100), 5000).unwrap()
    });
    // What such a pass leaves: its mark, and blocks that the manifest knows nothing of. (That the times tell nothing,
    // as after a power failure, cannot be made here; so the times are not what it is noticed by.)
    let open = bench.manifest.with_extension("open");
    std::fs::write(&open, b"").unwrap();
    whole(&bench);
    assert!(!open.exists());
    edit(&bench, |file| {
        file.write_all_at(&random.bytes(100), 9000).unwrap()
    });
    patched(&bench);
}

#[test]
fn a_mark_lies_there_while_blocks_are_written() {
    let (bench, mut random) = with_large(40);
    edit(&bench, |file| {
        file.write_all_at(&random.bytes(100), 5000).unwrap()
    });
    let request = rehome::helper::protocol::CopyRequest {
        // Slow enough to be looked at.
        bandwidth: 10_000_000,
        ..bench.request()
    };
    let open = bench.manifest.with_extension("open");
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| {
            rehome::helper::copy::copy(&rehome::helper::context::Context::new(), &request).unwrap()
        });
        let mut seen = false;
        while !pass.is_finished() {
            seen |= open.exists();
        }
        assert!(seen, "no mark was made");
        assert_eq!(pass.join().unwrap().files_patched, 1);
    });
    assert!(!open.exists());
    bench.assert_same();
}
