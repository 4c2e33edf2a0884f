//! Which volume is mounted where a move goes: Rehome's line in fstab and the sentinel say which it should be.

use insta::assert_snapshot;
use rehome::block::fsid::FsUuid;
use rehome::block::fstab::Fstab;
use rehome::block::sentinel::{Found, Sentinel};
use rehome::observe::{MeantSeen, MountedSeen};
use rehome::plan::Destination;

use crate::support::*;

const OURS: &str = "0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11";
const OTHER: &str = "7c1f0a52-0000-4000-8000-00000000beef";

fn uuid(text: &str) -> FsUuid {
    text.parse().unwrap()
}

fn right() -> MountedSeen {
    MountedSeen {
        source: "/dev/sdb".into(),
        uuid: Ok(Some(uuid(OURS))),
        sentinel: Ok(Found::Right(Sentinel {
            format: 1,
            uuid: uuid(OURS),
            made: "2026-01-01T00:00:00Z".parse().unwrap(),
            by: "rehome 0.1.0".to_owned(),
        })),
    }
}

pub fn meant(at: &str, mounted: Option<MountedSeen>) -> MeantSeen {
    let target = at.replace(' ', "\\040");
    let text = format!("# first\nUUID={OURS} {target} ext4 defaults,nofail,x-rehome 0 2\n");
    MeantSeen {
        line: Fstab::parse(text.as_bytes()).entries().next().unwrap(),
        uuid: uuid(OURS),
        at: at.into(),
        mounted,
    }
}

/// What is said when this is mounted where the volume should be.
fn with(mounted: Option<MountedSeen>) -> String {
    let mut world = kms();
    world.destination.as_mut().unwrap().meant = Some(meant(ROOT, mounted));
    refusal(&world, &wanted())
}

#[test]
fn the_right_volume_is_moved_to() {
    let unreadable = MountedSeen {
        uuid: Ok(None),
        ..right()
    };
    for mounted in [right(), unreadable] {
        let mut world = kms();
        world.destination.as_mut().unwrap().meant = Some(meant(ROOT, Some(mounted)));
        plan(&world, &wanted()).unwrap();
    }
}

#[test]
fn trap_01_another_volume_than_the_line_says_is_not_moved_to() {
    let other = MountedSeen {
        uuid: Ok(Some(uuid(OTHER))),
        sentinel: Ok(Found::Missing),
        ..right()
    };
    assert_snapshot!(with(Some(other)), @r"
        error: another volume than it should be is mounted at /mnt/kms-data
        caused by: /dev/sdb has UUID 7c1f0a52-0000-4000-8000-00000000beef
        caused by: line 2 of /etc/fstab: UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms-data ext4 defaults,nofail,x-rehome 0 2
        data: nothing was changed
        hint: see what is mounted there: findmnt /mnt/kms-data
        hint: and what is wrong with it: rehome doctor
    ");
    let copied = MountedSeen {
        sentinel: Ok(Found::Anothers(format!(".rehome-{OTHER}"))),
        ..right()
    };
    assert_snapshot!(with(Some(copied)), @r"
        error: the volume at /mnt/kms-data has the sentinel of another
        caused by: /dev/sdb has .rehome-7c1f0a52-0000-4000-8000-00000000beef, which is not its own: it is a copy, or the wrong one
        caused by: line 2 of /etc/fstab: UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms-data ext4 defaults,nofail,x-rehome 0 2
        data: nothing was changed
        hint: see what is mounted there: findmnt /mnt/kms-data
        hint: and what is wrong with it: rehome doctor
    ");
}

#[test]
fn trap_01_a_volume_without_its_sentinel_is_not_moved_to() {
    let bare = MountedSeen {
        sentinel: Ok(Found::Missing),
        ..right()
    };
    assert_snapshot!(with(Some(bare)), @r"
        error: the volume at /mnt/kms-data has no sentinel
        caused by: Rehome wrote one on the volume that it mounted there; /dev/sdb may be another
        caused by: line 2 of /etc/fstab: UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms-data ext4 defaults,nofail,x-rehome 0 2
        data: nothing was changed
        hint: see what is mounted there: findmnt /mnt/kms-data
        hint: and what is wrong with it: rehome doctor
        hint: to write it again: rehome mount --at /mnt/kms-data
    ");
    // Who may not read the disk has nothing but the sentinel to go by.
    let unknown = MountedSeen {
        uuid: Ok(None),
        sentinel: Ok(Found::Missing),
        ..right()
    };
    assert!(!with(Some(unknown)).contains("rehome mount"));
}

#[test]
fn what_cannot_be_told_is_not_moved_to() {
    let unread = MountedSeen {
        uuid: Err("cannot read /dev/sdb: Input/output error".to_owned()),
        ..right()
    };
    assert_snapshot!(with(Some(unread)), @r"
        error: whether the right volume is mounted at /mnt/kms-data cannot be told
        caused by: cannot read /dev/sdb: Input/output error
        caused by: line 2 of /etc/fstab: UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms-data ext4 defaults,nofail,x-rehome 0 2
        data: nothing was changed
        hint: see what is mounted there: findmnt /mnt/kms-data
        hint: and what is wrong with it: rehome doctor
    ");
}

#[test]
fn the_volume_of_the_line_is_mounted_first() {
    let mut world = kms();
    let destination = world.destination.as_mut().unwrap();
    destination.root = "/mnt/my data/kms".into();
    destination.meant = Some(meant("/mnt/my data", None));
    let mut wanted = wanted();
    wanted.to = Destination::Block("/mnt/my data/kms".into());
    assert_snapshot!(refusal(&world, &wanted), @r"
        error: nothing is mounted at /mnt/my data
        caused by: line 2 of /etc/fstab: UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/my\040data ext4 defaults,nofail,x-rehome 0 2
        data: nothing was changed
        hint: mount it first: mount '/mnt/my data'; if it cannot be: rehome doctor
    ");
}
