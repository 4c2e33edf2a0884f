//! Backups that older versions wrote, and that every later one has to read: `make` says how they were made and what is
//! in them. They are read by today's code, and by zstd, age, tar, sqlite3 and restic.
//!
//! A new format gets a directory of its own here; the ones that are there stay as they are.
//!
//! Needs root (files get their owners back) and Debian's age, zstd, attr, sqlite3 and restic.

// All of this is test code; clippy by itself excuses only the functions that are marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod snapshots;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use rehome::backup::catalogue::{self, Found, How, State};
use rehome::backup::format::{Encryption, Entry, FORMAT, MANIFEST, Manifest, What};
use rehome::backup::seal::{Keys, unseal};
use rehome::backup::store::{DirStore, Store};
use rehome::datastore::Kind;
use rehome::helper::context::Context;
use rehome::helper::unarchive::{Job, unarchive};
use rehome::model::ProjectName;
use rehome::saga::Interrupt;
use rehome::steps::backup::{path_in, read_back};

/// How the backups of a format are kept.
const KINDS: [&str; 2] = ["plain", "age"];

fn home(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/formats")
        .join(format.to_string())
}

/// A directory for the files of a test; not in /tmp, which may be a tmpfs without attributes.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The formats whose volumes are archives; `snapshots` has the others.
const ARCHIVES: u32 = 1;
const _: () = assert!(FORMAT == 2, "a new format needs its fixture: see `make`");

/// A line of shell in a directory, which has to succeed.
#[track_caller]
fn bash(dir: &Path, script: &str) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(dir)
        .output()
        .unwrap();
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {err}");
    String::from_utf8(out).unwrap()
}

/// Every backup that is kept here: its format, its place, what the catalogue says of it.
fn each(mut check: impl FnMut(u32, &DirStore, &Found, &Manifest)) {
    for format in 1..=ARCHIVES {
        for kind in KINDS {
            let store = DirStore::new(&home(format).join(kind));
            let found = catalogue::read(&store, None).unwrap();
            let [one] = &found[..] else {
                panic!("format {format} has no backup `{kind}`: {found:?}")
            };
            let manifest = one.manifest().unwrap_or_else(|| panic!("{:?}", one.state));
            check(format, &store, one, manifest);
        }
    }
}

/// An entry as what it was.
fn opened(format: u32, store: &DirStore, manifest: &Manifest, entry: &Entry) -> Box<dyn Read + Send> {
    let path = path_in(&manifest.project, &manifest.id, entry.path.as_str()).unwrap();
    let keys = Keys::none().with_file(&home(format).join("key.txt")).unwrap();
    unseal(store.get(&path).unwrap().unwrap(), &entry.sealed, &keys).unwrap()
}

/// The archive of the volume with files of every kind.
fn archive(manifest: &Manifest) -> (&Entry, &str) {
    let is_files = |entry: &&Entry| matches!(&entry.what, What::Volume(note) if note.key.as_str() == "files");
    let entry = manifest.entries.iter().find(is_files).unwrap();
    match &entry.what {
        What::Volume(note) => (entry, &note.tree),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_backup_of_every_format_is_listed_with_all_that_is_in_it() {
    each(|format, _, found, manifest| {
        assert_eq!(found.project, ProjectName::new("formats").unwrap());
        assert_eq!(found.verified.as_ref().map(|v| v.how), Some(How::Hashes));
        assert_eq!(manifest.machine, "server-1");
        let suffix = match &manifest.encryption {
            Encryption::None => "",
            Encryption::Recipients { recipients } => {
                assert_eq!(recipients.len(), 1);
                ".age"
            }
            Encryption::Passphrase => panic!("none was made"),
        };
        let mut paths: Vec<_> = manifest
            .entries
            .iter()
            .map(|entry| entry.path.to_string())
            .collect();
        paths.sort();
        let wanted = [
            "databases/cache/dump.rdb.zst",
            "databases/notes/notes%2edb.sqlite.zst",
            "project/compose%2eyml.zst",
            "volumes/files.tar.zst",
            "volumes/notes.tar.zst",
        ];
        assert_eq!(
            paths,
            wanted.map(|path| format!("{path}{suffix}")),
            "format {format}"
        );
        let dump = |kind| {
            let of = |entry: &Entry| match &entry.what {
                What::Dump(note) if note.kind == kind => Some(note.clone()),
                What::Dump(_) | What::Volume(_) | What::Snapshot(_) | What::File { .. } => None,
            };
            manifest.entries.iter().find_map(of).unwrap()
        };
        assert_eq!(dump(Kind::Sqlite).rows["note"], 3);
        assert_eq!(dump(Kind::Redis).facts["keys"], "db0=3");
    });
}

#[test]
fn every_hash_is_right_inside_and_out() {
    each(|format, store, _, manifest| {
        read_back(&Interrupt::new(), store, manifest).unwrap();
        for entry in &manifest.entries {
            let mut open = opened(format, store, manifest, entry);
            let bytes = std::io::copy(&mut open, &mut std::io::sink()).unwrap();
            assert_eq!(bytes, entry.sealed.bytes, "{}", entry.path);
        }
    });
}

#[test]
fn files_are_unpacked_as_they_were() {
    each(|format, store, _, manifest| {
        let (entry, tree) = archive(manifest);
        let to = scratch();
        let mut open = opened(format, store, manifest, entry);
        let job = Job {
            dir: to.path(),
            only: None,
            strip: 0,
            like: None,
        };
        let report = unarchive(&Context::new(), job, &mut open).unwrap();
        assert_eq!(
            report.tree, tree,
            "what is compared after a restore is computed in another way"
        );
        same_files(format, to.path());
    });
}

fn same_files(format: u32, dir: &Path) {
    let look = home(format).with_file_name("look");
    let found = bash(dir, &format!("{} .", look.display()));
    assert_eq!(
        found,
        std::fs::read_to_string(home(format).join("files.txt")).unwrap()
    );
}

#[test]
fn other_programs_read_all_of_it() {
    each(|format, store, found, manifest| {
        let (place, key) = (store.name(), home(format).join("key.txt"));
        let dir = PathBuf::from(format!("{place}/{}/{}", found.project, found.id));
        let open = |entry: &Entry| match entry.path.as_str().ends_with(".age") {
            true => format!("age -d -i {} {} | zstd -dcq", key.display(), entry.path),
            false => format!("zstd -dcq {}", entry.path),
        };
        let to = scratch();
        let (files, _) = archive(manifest);
        let tar = "tar --numeric-owner --same-owner -p --xattrs --xattrs-include='*' -x -C";
        bash(&dir, &format!("{} | {tar} {}", open(files), to.path().display()));
        same_files(format, to.path());

        let entry = |name: &str| {
            manifest
                .entries
                .iter()
                .find(|e| e.path.as_str().contains(name))
                .unwrap()
        };
        let to = scratch();
        let sql = bash(
            &dir,
            &format!(
                "{} > {to}/db; sqlite3 {to}/db .dump",
                open(entry(".sqlite")),
                to = to.path().display()
            ),
        );
        assert_eq!(
            sql,
            std::fs::read_to_string(home(format).join("notes.sql")).unwrap()
        );
        assert_eq!(
            bash(&dir, &format!("{} | head -c 5", open(entry(".rdb")))),
            "REDIS"
        );
        let compose = bash(&dir, &open(entry("project/")));
        assert!(
            compose.contains("name: formats") && !compose.contains("a-secret"),
            "{compose}"
        );
    });
}

/// A manifest as JSON, changed, with the hash that belongs to it.
fn rewritten(bytes: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut envelope: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    change(&mut envelope);
    let hash = blake3::hash(envelope["manifest"].to_string().as_bytes());
    envelope["blake3"] = hash.to_hex().to_string().into();
    envelope.to_string().into_bytes()
}

fn manifest_file(format: u32, kind: &str) -> PathBuf {
    let place = home(format).join(kind);
    bash(&place, &format!("find $PWD -name {MANIFEST}")).trim().into()
}

#[test]
fn what_a_later_version_adds_within_a_format_is_passed_over() {
    for format in 1..=ARCHIVES {
        let bytes = std::fs::read(manifest_file(format, "plain")).unwrap();
        let today = Manifest::from_bytes(&bytes).unwrap();
        let later = rewritten(&bytes, |envelope| {
            let unknown = serde_json::json!({ "anything": [1, { "at": "all" }] });
            envelope["unknown"] = unknown.clone();
            envelope["manifest"]["unknown"] = unknown.clone();
            envelope["manifest"]["services"][0]["unknown"] = unknown.clone();
            envelope["manifest"]["encryption"]["unknown"] = unknown.clone();
            for entry in envelope["manifest"]["entries"].as_array_mut().unwrap() {
                entry["unknown"] = unknown.clone();
                entry["what"]["unknown"] = unknown.clone();
                entry["sealed"]["unknown"] = unknown.clone();
            }
        });
        assert_eq!(Manifest::from_bytes(&later).unwrap(), today);
    }
}

#[test]
fn a_newer_format_is_refused_in_words_and_listed_as_unreadable() {
    let place = scratch();
    let newer = FORMAT + 1;
    bash(
        &home(ARCHIVES).join("plain"),
        &format!("cp -a . {}", place.path().display()),
    );
    let file = bash(place.path(), &format!("find $PWD -name {MANIFEST}"));
    let bytes = std::fs::read(file.trim()).unwrap();
    let later = rewritten(&bytes, |envelope| envelope["format"] = newer.into());
    let failure = Manifest::from_bytes(&later).unwrap_err();
    assert_eq!(
        failure.what,
        format!("the backup has format {newer}, and this Rehome reads up to {FORMAT}")
    );
    assert_eq!(failure.data.as_deref(), Some("nothing was changed"));
    assert_eq!(
        failure.hints,
        ["use the version of rehome that made it, or a newer one"]
    );
    std::fs::write(file.trim(), later).unwrap();
    let found = catalogue::read(&DirStore::new(place.path()), None).unwrap();
    assert_eq!(found[0].state, State::Unreadable(failure));
}
