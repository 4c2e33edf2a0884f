//! Whether the data fits, byte by byte and inode by inode at the border.

use rehome::observe::World;
use rehome::plan::Wanted;

use crate::support::*;

/// What is asked for beyond five per cent.
const RESERVE: u64 = 64 * 1024 * 1024;

fn with_free(bytes: u64, inodes: u64) -> World {
    let mut world = world_of(vec![
        service("web")
            .mounting("files", "/files")
            .mounting("more", "/more"),
    ]);
    for (name, bytes, files) in [("files", 1_000 * MB, 400), ("more", 500 * MB, 100)] {
        *volume_mut(&mut world, name) = volume(name, bytes, files);
    }
    let probe = &mut world.destination.as_mut().unwrap().probe;
    probe.bytes_free = bytes;
    probe.inodes_free = inodes;
    world
}

fn fits(bytes: u64, inodes: u64, wanted: &Wanted) -> bool {
    match plan(&with_free(bytes, inodes), wanted) {
        Ok(_) => true,
        Err(failure) => {
            assert_eq!(failure.kind, rehome::model::Kind::Refused);
            assert!(
                ["/mnt/kms-data is too small", "/mnt/kms-data has too few inodes"]
                    .contains(&failure.what.as_str()),
                "{failure:?}"
            );
            false
        }
    }
}

const PLENTY: u64 = 1 << 40;

#[test]
fn bytes_are_those_of_all_volumes_and_a_twentieth_and_a_reserve() {
    let needed = 1_500 * MB + 75 * MB + RESERVE;
    assert!(fits(needed, PLENTY, &wanted()));
    assert!(!fits(needed - 1, PLENTY, &wanted()));
}

#[test]
fn only_what_is_copied_counts() {
    let needed = 500 * MB + 25 * MB + RESERVE;
    assert!(fits(needed, PLENTY, &only(&["more"])));
    assert!(!fits(needed - 1, PLENTY, &only(&["more"])));
    let mut fresh = wanted();
    fresh.without_data = vec![key("files")];
    assert!(fits(needed, PLENTY, &fresh));
    assert!(!fits(needed - 1, PLENTY, &fresh));
}

#[test]
fn inodes_are_files_and_directories_and_a_thousand() {
    // 400 files in 21 directories, 100 in 6.
    let needed = 400 + 21 + 100 + 6 + 1000;
    assert!(fits(PLENTY, needed, &wanted()));
    assert!(!fits(PLENTY, needed - 1, &wanted()));
}

#[test]
fn a_file_system_without_a_fixed_number_of_inodes_has_enough() {
    let mut world = with_free(PLENTY, 0);
    world.destination.as_mut().unwrap().probe.inodes_total = 0;
    plan(&world, &wanted()).unwrap();
}

#[test]
fn symlinks_and_special_files_take_inodes_and_second_names_do_not() {
    let free = 400 + 21 + 100 + 6 + 1000;
    let with = |change: fn(&mut rehome::helper::protocol::Scan)| {
        let mut world = with_free(PLENTY, free);
        change(volume_mut(&mut world, "files").scan.as_mut().unwrap());
        plan(&world, &wanted()).is_ok()
    };
    assert!(with(|_| ()));
    assert!(with(|scan| scan.hard_links = 50));
    assert!(!with(|scan| scan.symlinks = 1));
    assert!(!with(|scan| scan.special = 1));
}

#[test]
fn what_a_sparse_file_takes_on_the_disk_counts_and_not_its_length() {
    let needed = 1_500 * MB + 75 * MB + RESERVE;
    let mut world = with_free(needed, PLENTY);
    let scan = volume_mut(&mut world, "files").scan.as_mut().unwrap();
    scan.bytes = 900_000 * MB;
    scan.allocated = 1_000 * MB;
    // A little more than what is allocated, in case a hole is filled.
    assert!(plan(&world, &wanted()).is_err());
    world.destination.as_mut().unwrap().probe.bytes_free += 2 << 20;
    plan(&world, &wanted()).unwrap();
    // Blocks make it more than the length of the files.
    volume_mut(&mut world, "files").scan.as_mut().unwrap().allocated = 1_003 * MB;
    assert!(plan(&world, &wanted()).is_err());
}

#[test]
fn on_the_way_back_it_is_the_disk_of_docker_that_must_have_room() {
    let wanted = back();
    let needed: u64 = kms_on_block()
        .volumes
        .iter()
        .map(|v| v.scan.as_ref().unwrap().bytes)
        .sum();
    let needed = needed + needed / 20 + RESERVE;
    for (free, enough) in [(needed, true), (needed - 1, false)] {
        let mut world = kms_on_block();
        world.docker_disk.as_mut().unwrap().bytes_free = free;
        match plan(&world, &wanted) {
            Ok(_) => assert!(enough),
            Err(failure) => {
                assert!(!enough);
                assert_eq!(failure.what, "the disk of Docker's own volumes is too small");
            }
        }
    }
}
