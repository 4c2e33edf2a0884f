//! The bare mount point.

use std::path::Path;

use rehome::block::bare::{Bare, Flag};

use super::support::{Machine, ask, in_own_namespace, sh};

/// A machine whose root disk is a disk of its own: the flag is asked of ext4, not of what the tests run on.
struct Root {
    machine: Machine,
    volume: Machine,
}

impl Root {
    fn new() -> Self {
        let (machine, volume) = (Machine::new(), Machine::new());
        sh("mount", &[&machine.disk.device, &machine.target()]);
        Self { machine, volume }
    }

    fn point(&self) -> std::path::PathBuf {
        self.machine.target().join("mnt/kms-data")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        while ask("umount", &[&self.volume.disk.device]).0 {}
    }
}

/// As lsattr sees it, when nothing is mounted there.
fn is_immutable(point: &Path) -> bool {
    let said = sh("lsattr", &[&"-d", &point]);
    said.split_whitespace().next().unwrap().contains('i')
}

#[test]
fn trap_01_an_empty_mount_point_takes_nothing_even_from_root() {
    let root = Root::new();
    let point = root.point();
    assert!(Bare::open(&point).unwrap().is_none());
    assert!(Bare::make(&point).unwrap());
    assert!(!Bare::make(&point).unwrap());
    let bare = Bare::open(&point).unwrap().unwrap();
    assert_eq!(bare.flag().unwrap(), Flag::Plain);
    for _ in 0..2 {
        assert_eq!(bare.protect().unwrap(), Flag::Immutable);
    }
    assert!(is_immutable(&point));
    assert!(!ask("mkdir", &[&point.join("postgres")]).0);
    // It is a mount point all the same.
    sh("mount", &[&root.volume.disk.device, &point]);
    sh("mkdir", &[&point.join("postgres")]);
    sh("umount", &[&point]);
    for _ in 0..2 {
        assert_eq!(bare.release().unwrap(), Flag::Plain);
    }
    assert!(!is_immutable(&point));
}

#[test]
fn it_is_reached_below_what_is_mounted_on_it() {
    // The whole table is compared: others mount too.
    if !in_own_namespace("bare::it_is_reached_below_what_is_mounted_on_it") {
        return;
    }
    let root = Root::new();
    let point = root.point();
    Bare::make(&point).unwrap();
    sh("mount", &[&"-t", &"ramfs", &"first", &point]);
    sh("mount", &[&root.volume.disk.device, &point]);
    let mounted = sh("findmnt", &[&"-rn", &"-o", &"TARGET"]);
    assert_eq!(
        Bare::open(&point).unwrap().unwrap().protect().unwrap(),
        Flag::Immutable
    );
    sh("mkdir", &[&point.join("on-the-volume")]);
    assert_eq!(
        mounted,
        sh("findmnt", &[&"-rn", &"-o", &"TARGET"]),
        "nothing stays behind"
    );
    sh("umount", &[&point]);
    sh("umount", &[&point]);
    assert!(is_immutable(&point));
    sh("mount", &[&root.volume.disk.device, &point]);
    assert_eq!(
        Bare::open(&point).unwrap().unwrap().release().unwrap(),
        Flag::Plain
    );
    sh("umount", &[&point]);
    assert!(!is_immutable(&point));
}

#[test]
fn trap_27_files_hidden_under_a_mount_are_listed_and_nothing_is_made_immutable_over_them() {
    let root = Root::new();
    let point = root.point();
    Bare::make(&point).unwrap();
    std::fs::create_dir(point.join("postgres")).unwrap();
    std::fs::write(point.join("postgres/PG_VERSION"), "15\n").unwrap();
    std::os::unix::fs::symlink("/etc", point.join("link")).unwrap();
    sh("mount", &[&root.volume.disk.device, &point]);
    let bare = Bare::open(&point).unwrap().unwrap();
    let failure = bare.protect().unwrap_err();
    assert!(failure.what.ends_with("is not empty"), "{failure}");
    assert_eq!(bare.flag().unwrap(), Flag::Plain);
    let mut hidden = bare.hidden(100).unwrap();
    hidden.entries.sort();
    let told: Vec<_> = hidden
        .entries
        .iter()
        .map(|(path, size)| (path.to_str().unwrap(), *size))
        .collect();
    assert_eq!(told, [("link", 0), ("postgres", 0), ("postgres/PG_VERSION", 3)]);
    assert!(!hidden.more);
    let some = bare.hidden(1).unwrap();
    assert!(some.more && some.entries.len() == 1);
}

#[test]
fn a_file_system_that_does_not_know_the_flag_is_no_error() {
    let machine = Machine::new();
    let above = machine.target();
    sh("mount", &[&"-t", &"ramfs", &"root", &above]);
    let point = above.join("data");
    Bare::make(&point).unwrap();
    let bare = Bare::open(&point).unwrap().unwrap();
    let told = (bare.flag(), bare.protect(), bare.release());
    drop(bare);
    sh("umount", &[&above]);
    assert_eq!(told, (Ok(Flag::Unknown), Ok(Flag::Unknown), Ok(Flag::Unknown)));
}

#[test]
fn a_symlink_is_no_mount_point() {
    let machine = Machine::new();
    let link = machine.target().join("link");
    std::os::unix::fs::symlink("/", &link).unwrap();
    assert!(Bare::open(&link).is_err());
    assert!(Bare::open(&link.join("etc")).is_err());
}
