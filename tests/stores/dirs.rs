//! Directories as places: what appears when, for whom, and what is left behind.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;

use rehome::backup::store::{DirStore, Store, open};
use rehome::model::config::Place;

use crate::support::{bash, get, listed, noise, part, path, put, run, told};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_place_is_for_its_owner_and_a_file_appears_whole() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("backups/kms");
    let store = open(&Place::Dir(root.clone()), &|_| None).unwrap();
    assert_eq!(store.name(), root.display().to_string());
    assert!(listed(&*store, "").is_empty() && get(&*store, "kms/1/a").unwrap().is_none());
    assert_eq!(store.sweep(&path("")).unwrap(), 0);
    assert!(!root.exists(), "to look makes nothing");

    let mut upload = store.put(&path("kms/1/a")).unwrap();
    upload.write_all(b"hello").unwrap();
    assert_eq!(get(&*store, "kms/1/a").unwrap(), None);
    assert!(listed(&*store, "").is_empty());
    upload.finish().unwrap();
    assert_eq!(bash(&root, "cat kms/1/a; find . -type f | wc -l"), "hello1\n");
    assert_eq!(mode(&root.join("kms/1/a")), 0o600);
    assert!(
        ["kms/1", "kms", ""]
            .iter()
            .all(|below| mode(&root.join(below)) == 0o700)
    );

    let mut upload = store.put(&path("kms/1/a")).unwrap();
    upload.write_all(b"given up").unwrap();
    drop(upload);
    assert_eq!(get(&*store, "kms/1/a").unwrap().unwrap(), b"hello");
    put(&*store, "kms/1/a", b"replaced").unwrap();
    assert_eq!(part(&*store, "kms/1/a", 2, 3).unwrap().unwrap(), b"pla");
    assert_eq!(
        part(&*store, "kms/1/a", 5, 9).unwrap().unwrap(),
        b"ced",
        "there is no more"
    );
    assert_eq!(part(&*store, "kms/1/b", 0, 1).unwrap(), None);
    put(&*store, "kms/2/b/c", b"").unwrap();
    put(&*store, "kms2/1/a", b"x").unwrap();
    assert_eq!(
        listed(&*store, "kms"),
        [("kms/1/a".to_owned(), 8), ("kms/2/b/c".to_owned(), 0)]
    );
    assert_eq!(listed(&*store, "kms/1/a"), []);
    store.remove(&path("kms/2/b/c")).unwrap();
    store.remove(&path("kms/2/b/c")).unwrap();
    assert_eq!(
        bash(&root, "find . | sort"),
        ".\n./kms\n./kms/1\n./kms/1/a\n./kms2\n./kms2/1\n./kms2/1/a\n"
    );
}

#[test]
fn no_path_leads_out() {
    let dir = tempfile::tempdir().unwrap();
    let (real, root, outside) = (
        dir.path().join("real"),
        dir.path().join("link"),
        dir.path().join("outside"),
    );
    std::fs::create_dir(&real).unwrap();
    std::fs::create_dir(&outside).unwrap();
    symlink("real", &root).unwrap();
    std::fs::write(outside.join("theirs"), "theirs").unwrap();
    let store = DirStore::new(&root);
    put(&store, "kms/a", b"through a link to the place itself").unwrap();
    assert!(real.join("kms/a").is_file());

    symlink(&outside, real.join("out")).unwrap();
    symlink(outside.join("theirs"), real.join("kms/theirs")).unwrap();
    for at in ["out/theirs", "out/new", "kms/theirs/x"] {
        assert!(put(&store, at, b"mine").is_err(), "{at}");
        assert!(!matches!(get(&store, at), Ok(Some(_))), "{at}");
        let _refused_or_not_there = store.remove(&path(at));
    }
    assert!(get(&store, "kms/theirs").is_err());
    // What is replaced is the link.
    put(&store, "kms/theirs", b"mine").unwrap();
    assert_eq!(bash(&outside, "cat *"), "theirs");
    assert_eq!(
        listed(&store, ""),
        [("kms/a".to_owned(), 34), ("kms/theirs".to_owned(), 4)]
    );
    assert_eq!(listed(&store, "out"), []);
}

#[test]
fn trap_18_what_a_killed_writer_left_is_swept_and_nothing_else() {
    const PLACE: &str = "REHOME_TEST_PLACE";
    if let Ok(place) = std::env::var(PLACE) {
        let store = DirStore::new(Path::new(&place));
        let mut upload = store.put(&path("kms/1/killed")).unwrap();
        upload.write_all(b"half").unwrap();
        run(Command::new("kill").args(["-KILL", &std::process::id().to_string()]));
    }
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::new(dir.path());
    let name = "dirs::trap_18_what_a_killed_writer_left_is_swept_and_nothing_else";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let killed = child
        .args(["--exact", name])
        .env(PLACE, dir.path())
        .output()
        .unwrap();
    assert!(!killed.status.success());
    let left = || bash(dir.path(), "find . -type f | wc -l").trim().to_owned();
    assert_eq!(left(), "1");
    // Old, but at work; and young, but left.
    let mut mine = store.put(&path("kms/2/mine")).unwrap();
    mine.write_all(b"at work").unwrap();
    bash(
        dir.path(),
        "find kms/2 -type f -exec touch -d '10 years ago' {} +",
    );
    put(&store, "kms/3/complete", b"x").unwrap();
    assert_eq!(left(), "3");
    assert_eq!(store.sweep(&path("kms/3")).unwrap(), 0);
    assert_eq!(store.sweep(&path("kms")).unwrap(), 1);
    assert_eq!(store.sweep(&path("")).unwrap(), 0);
    mine.finish().unwrap();
    assert_eq!(
        bash(dir.path(), "find . | sort"),
        ".\n./kms\n./kms/2\n./kms/2/mine\n./kms/3\n./kms/3/complete\n"
    );
}

/// A file system with little room, until it is dropped.
struct Small(tempfile::TempDir);

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.0.path()));
    }
}

#[test]
fn a_full_disk_is_told_and_what_was_there_stays() {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(dir.path()));
    let small = Small(dir);
    let store = DirStore::new(small.0.path());
    put(&store, "kms/a", b"before").unwrap();
    let failure = put(&store, "kms/a", &noise(1, 4 << 20)).unwrap_err();
    let shown = told(&failure).replace(&small.0.path().display().to_string(), "PLACE");
    assert_eq!(
        shown,
        "writing\n\
        caused by: cannot write PLACE/kms/a\n\
        caused by: the disk is full\n\
        data: the backup was not completed; those before it are as they were\n\
        hint: make room there, or let old backups go: rehome backup prune"
    );
    assert_eq!(get(&store, "kms/a").unwrap().unwrap(), b"before");
    assert_eq!(bash(small.0.path(), "find . -type f | wc -l"), "1\n");
}

#[test]
fn what_is_no_place_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let store = DirStore::new(&dir.path().join("file"));
    for failure in [
        put(&store, "a", b"x").unwrap_err(),
        store.list(&path("")).unwrap_err(),
    ] {
        assert!(
            told(&failure).contains("Not a directory") || told(&failure).contains("File exists"),
            "{}",
            told(&failure)
        );
    }
}
