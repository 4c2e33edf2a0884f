//! The sentinel, and directories on a volume.

use std::path::Path;

use rehome::block::dirs::{self, Dir};
use rehome::block::sentinel::{self, Found};
use rehome::model::Owner;

use super::support::{Machine, sh};

const POSTGRES: Owner = Owner { uid: 999, gid: 999 };

#[test]
fn directories_get_their_owner_and_mode_and_are_left_alone_afterwards() {
    let machine = Machine::new();
    let volume = machine.mount();
    let path = Path::new("kms-connect/postgres");
    assert_eq!(dirs::make(&volume, path, POSTGRES, 0o700).unwrap(), Dir::Made);
    let stat = |path: &str| sh("stat", &[&"-c", &"%F %a %u:%g", &machine.target().join(path)]);
    assert_eq!(stat("kms-connect/postgres"), "directory 700 999:999");
    assert_eq!(stat("kms-connect"), "directory 755 0:0");
    let owner = Owner { uid: 70, gid: 70 };
    let there = Dir::There {
        owner: POSTGRES,
        mode: 0o700,
    };
    assert_eq!(dirs::make(&volume, path, owner, 0o755).unwrap(), there);
    assert_eq!(stat("kms-connect/postgres"), "directory 700 999:999");
    assert_eq!(
        sh("ls", &[&"-A", &machine.target().join("kms-connect")]),
        "postgres"
    );
    // A run that died between making and naming it.
    std::fs::create_dir(machine.target().join(".rehome-new-media")).unwrap();
    dirs::make(&volume, Path::new("media"), owner, 0o2775).unwrap();
    assert_eq!(stat("media"), "directory 2775 70:70");
}

#[test]
fn nothing_is_made_through_a_symlink_on_another_mount_or_above_the_root() {
    let machine = Machine::new();
    let volume = machine.mount();
    let target = machine.target();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), target.join("link")).unwrap();
    std::fs::create_dir(target.join("other")).unwrap();
    std::fs::write(target.join("file"), "").unwrap();
    sh("mount", &[&"-t", &"ramfs", &"other", &target.join("other")]);
    std::fs::create_dir(target.join("bound")).unwrap();
    sh(
        "mount",
        &[&"--bind", &target.join("lost+found"), &target.join("bound")],
    );
    let tried = [
        "link", "link/x", "other/x", "bound/x", "file", "file/x", "../x", "/x", "", "a/../x",
    ]
    .map(|path| (path, dirs::make(&volume, Path::new(path), POSTGRES, 0o700)));
    let made = sh(
        "find",
        &[
            &outside.path(),
            &target.join("other"),
            &target.join("lost+found"),
            &"-mindepth",
            &"1",
        ],
    );
    sh("umount", &[&target.join("other")]);
    sh("umount", &[&target.join("bound")]);
    for (path, result) in tried {
        assert!(result.is_err(), "{path}: {result:?}");
    }
    assert_eq!(made, "");
}

#[test]
fn trap_01_nothing_is_made_when_the_volume_went_away_meanwhile() {
    let machine = Machine::new();
    let volume = machine.mount();
    let target = machine.target();
    sh("umount", &[&"--lazy", &target]);
    dirs::make(&volume, Path::new("postgres"), POSTGRES, 0o700).unwrap_err();
    sentinel::make(&volume, &machine.disk.uuid()).unwrap_err();
    assert_eq!(sh("find", &[&target, &"-mindepth", &"1"]), "");
    // Nor when something else is there now.
    sh("mount", &[&"-t", &"ramfs", &"other", &target]);
    let result = dirs::make(&volume, Path::new("postgres"), POSTGRES, 0o700);
    let found = sh("find", &[&target, &"-mindepth", &"1"]);
    sh("umount", &[&target]);
    assert!(result.is_err() && found.is_empty(), "{found}");
}

#[test]
fn the_sentinel_is_right_missing_or_anothers() {
    let machine = Machine::new();
    let volume = machine.mount();
    let (uuid, other) = (
        machine.disk.uuid(),
        "11111111-2222-3333-4444-555555555555".parse().unwrap(),
    );
    assert_eq!(sentinel::check(&volume, &uuid).unwrap(), Found::Missing);
    assert!(sentinel::make(&volume, &uuid).unwrap());
    assert!(!sentinel::make(&volume, &uuid).unwrap());
    let file = machine.target().join(format!(".rehome-{uuid}"));
    let text = sh(
        "python3",
        &[
            &"-c",
            &"import json,sys; print(json.load(open(sys.argv[1]))['uuid'])",
            &file,
        ],
    );
    assert_eq!(text, uuid.to_string());
    assert_eq!(sh("stat", &[&"-c", &"%a %u", &file]), "644 0");
    assert!(matches!(sentinel::check(&volume, &uuid).unwrap(), Found::Right(found) if found.uuid == uuid));
    // The volume was given another UUID.
    let anothers = Found::Anothers(sentinel::name(&uuid));
    assert_eq!(sentinel::check(&volume, &other).unwrap(), anothers);
    let failure = sentinel::make(&volume, &other).unwrap_err();
    assert!(failure.what.contains("another file system"), "{failure}");
    // Its name says one thing, its content another.
    std::fs::rename(&file, machine.target().join(sentinel::name(&other))).unwrap();
    let anothers = Found::Anothers(sentinel::name(&other));
    assert_eq!(sentinel::check(&volume, &other).unwrap(), anothers);
    assert!(sentinel::remove(&volume, &other).unwrap());
    assert!(!sentinel::remove(&volume, &other).unwrap());
    assert_eq!(sentinel::check(&volume, &uuid).unwrap(), Found::Missing);
}

#[test]
fn a_torn_sentinel_is_not_taken_for_anothers_and_is_written_again() {
    let machine = Machine::new();
    let volume = machine.mount();
    let uuid = machine.disk.uuid();
    let name = sentinel::name(&uuid);
    let file = machine.target().join(&name);
    sentinel::make(&volume, &uuid).unwrap();
    let whole = std::fs::read(&file).unwrap();
    for torn in [&b""[..], &whole[..whole.len() / 2], &[0; 100]] {
        std::fs::write(&file, torn).unwrap();
        assert_eq!(
            sentinel::check(&volume, &uuid).unwrap(),
            Found::Torn(name.clone())
        );
        assert!(sentinel::make(&volume, &uuid).unwrap());
        let said = sh("python3", &[&"-m", &"json.tool", &file]);
        assert!(said.contains(&uuid.to_string()), "{said}");
    }
    assert!(matches!(
        sentinel::check(&volume, &uuid).unwrap(),
        Found::Right(_)
    ));
}
