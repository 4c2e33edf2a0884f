//! Files that several threads work on, that are written past the page cache, or that share blocks of the disk; and more
//! files than the page cache is asked to hold.

use std::os::unix::fs::FileExt as _;

use rehome::helper::context::Context;
use rehome::helper::copy;
use rehome::helper::protocol::CopyRequest;

use crate::support::{Bench, Disk, Random, bash};

const MB: u64 = 1 << 20;

/// Bytes that the processes of this machine have had read from the disk that holds the destination, by its own count.
fn read_from(disk: &Disk) -> u64 {
    let device = bash(&disk.at, "basename $(findmnt -no SOURCE -T .)");
    let stat = std::fs::read_to_string(format!("/sys/block/{}/stat", device.trim())).unwrap();
    stat.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap() * 512
}

#[test]
fn every_length_around_a_border_arrives() {
    let bench = Bench::new();
    let mut random = Random(0xb0de);
    let borders = [4096, 128 << 10, MB, 2 * MB, 64 * MB];
    for border in borders {
        for length in [border - 1, border, border + 1, border + 4097] {
            let bytes = random.bytes(length as usize);
            std::fs::write(bench.from.join(format!("{length}")), bytes).unwrap();
        }
    }
    bench.settle();
    let report = bench.copy();
    assert_eq!(report.files_copied, 4 * borders.len() as u64);
    bench.assert_same();
    bench.verify();
    let sums = "sha256sum * | sort";
    assert_eq!(bash(&bench.from, sums), bash(&bench.to, sums));
    assert_eq!(bench.copy().files_copied, 0, "all of them are proven");
}

#[test]
fn a_file_of_several_parts_is_copied_and_patched_across_their_borders() {
    let bench = Bench::new();
    let mut random = Random(0x9a27);
    let place = bench.from.join("large");
    let file = std::fs::File::create(&place).unwrap();
    // Data, a hole over a border, data, and a hole at the end.
    file.write_all_at(&random.bytes(50 << 20), 0).unwrap();
    file.write_all_at(&random.bytes(40 << 20), 100 * MB).unwrap();
    file.set_len(210 * MB + 77).unwrap();
    let taken = |dir| bash(dir, "stat -c %b large").trim().parse::<u64>().unwrap() * 512;
    let check = |patched| {
        bench.settle();
        let report = bench.copy();
        assert_eq!(
            (report.files_copied, report.files_patched),
            (1, patched),
            "{report:?}"
        );
        bench.assert_same();
        bench.verify();
        let (ours, theirs) = (taken(&bench.to), taken(&bench.from));
        assert!(ours <= theirs + MB, "{ours} bytes are taken instead of {theirs}");
        report.bytes_copied
    };
    assert_eq!(check(0), 90 * MB);
    for at in [64 * MB - 3, 64 * MB + 9, 128 * MB - 5000, 192 * MB] {
        file.write_all_at(&random.bytes(6000), at).unwrap();
    }
    let written = check(1);
    assert!(written < MB, "{written} bytes were written for 24000");
    file.set_len(130 * MB + 1).unwrap();
    check(1);
    file.set_len(200 * MB).unwrap();
    check(1);
    assert_eq!(bench.copy().files_copied, 0, "it is proven");
}

#[test]
fn more_than_the_page_cache_is_asked_to_hold_is_read_back_from_the_disk() {
    let disk = Disk::new("800M", "mkfs.ext4", &[]);
    let bench = Bench::new();
    // Small ones, so that they go through the cache, and more than one group of them; some have a second name.
    bash(
        &bench.from,
        "head -c 600M /dev/urandom > all; split -b 300k -a 4 all s; rm all; mkdir d; for n in saaa?; do ln $n d/$n; done",
    );
    bench.settle();
    let request = bench.request_to(&disk);
    let before = read_from(&disk);
    let report = copy::copy(&Context::new(), &request).unwrap();
    let read = read_from(&disk) - before;
    assert_eq!((report.bytes_copied, report.dirty), (600 * MB, 0), "{report:?}");
    assert!(
        (600 * MB..650 * MB).contains(&read),
        "{read} bytes were read from the disk"
    );
    crate::support::assert_same(&bench.from, &request.to);
    let again = copy::copy(&Context::new(), &request).unwrap();
    assert_eq!(
        (again.files_copied, again.dirty),
        (0, 0),
        "all of them are proven"
    );
}

#[test]
fn where_both_are_on_one_disk_that_can_share_blocks_they_are_shared() {
    let disk = Disk::new("400M", "mkfs.xfs", &["-m", "reflink=1"]);
    let bench = Bench::new();
    let at = |name| disk.at.join(name);
    bash(
        &disk.at,
        "mkdir from to; head -c 150M /dev/urandom > from/large; echo small > from/small; truncate -s 3M from/hole; touch from/empty",
    );
    let request = CopyRequest {
        from: at("from"),
        to: at("to"),
        live: true,
        ..bench.request()
    };
    let free = || {
        bash(&disk.at, "sync .; df --output=avail -k . | tail -1")
            .trim()
            .parse::<i64>()
            .unwrap()
    };
    let before = free();
    let report = copy::copy(&Context::new(), &request).unwrap();
    assert_eq!(report.files_copied, 4);
    let taken = before - free();
    assert!(
        taken < 10_000,
        "{taken} KiB were taken for 150 MB that could be shared"
    );
    crate::support::assert_same(&request.from, &request.to);
    // They share what they have, not what they get.
    bash(
        &disk.at,
        "printf 0123456789 | dd of=from/large conv=notrunc status=none seek=5000",
    );
    assert_eq!(
        bash(&disk.at, "cmp -s from/large to/large && echo same || echo other"),
        "other\n"
    );
    copy::copy(&Context::new(), &request).unwrap();
    crate::support::assert_same(&request.from, &request.to);
}
