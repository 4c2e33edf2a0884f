//! What a place has, played in memory.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use super::super::format::{Consistency, Encryption, Entry, Sealed, SnapshotNote, What};
use super::super::store::Upload;
use super::*;
use crate::model::RunId;

/// A place in memory. `gone` are the paths in the order in which they were removed.
#[derive(Default, Clone)]
struct Memory {
    files: Arc<Mutex<BTreeMap<StorePath, Vec<u8>>>>,
    gone: Arc<Mutex<Vec<String>>>,
}

struct Writing(Memory, StorePath, Vec<u8>);

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.2.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Upload for Writing {
    fn finish(self: Box<Self>) -> Result<()> {
        self.0.files.lock().unwrap().insert(self.1, self.2);
        Ok(())
    }
}

impl Store for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }
    fn put(&self, path: &StorePath) -> Result<Box<dyn Upload>> {
        Ok(Box::new(Writing(self.clone(), path.clone(), Vec::new())))
    }
    fn get(&self, path: &StorePath) -> Result<Option<Box<dyn Read + Send>>> {
        let found = self.files.lock().unwrap().get(path).cloned();
        Ok(found.map(|bytes| Box::new(std::io::Cursor::new(bytes)) as Box<dyn Read + Send>))
    }
    fn get_part(&self, path: &StorePath, at: u64, len: u64) -> Result<Option<Box<dyn Read + Send>>> {
        let Some(mut from) = self.get(path)? else {
            return Ok(None);
        };
        std::io::copy(&mut from.by_ref().take(at), &mut std::io::sink()).unwrap();
        Ok(Some(Box::new(from.take(len))))
    }
    fn list(&self, below: &StorePath) -> Result<Vec<Stored>> {
        let within = format!("{below}/");
        let files = self.files.lock().unwrap();
        let mine = |path: &StorePath| below.as_str().is_empty() || path.as_str().starts_with(&within);
        let found = files.iter().filter(|(path, _)| mine(path));
        Ok(found
            .map(|(path, bytes)| Stored {
                path: path.clone(),
                bytes: bytes.len() as u64,
                modified: None,
            })
            .collect())
    }
    fn remove(&self, path: &StorePath) -> Result<()> {
        self.gone.lock().unwrap().push(path.to_string());
        self.files.lock().unwrap().remove(path);
        Ok(())
    }
    fn sweep(&self, _: &StorePath) -> Result<usize> {
        Ok(0)
    }
}

fn project() -> ProjectName {
    ProjectName::new("kms").unwrap()
}

fn id(day: u32) -> BackupId {
    let at: Timestamp = format!("2026-11-{day:02}T02:00:00Z").parse().unwrap();
    BackupId::at(at, &RunId::new("7k2f00000000").unwrap())
}

fn manifest(day: u32) -> Manifest {
    let at = id(day).began();
    Manifest {
        id: id(day),
        project: project(),
        began: at,
        ended: at,
        rehome: "0".to_owned(),
        engine: "e".to_owned(),
        machine: "m".to_owned(),
        consistency: Consistency::Live,
        encryption: Encryption::None,
        services: Vec::new(),
        entries: vec![Entry {
            path: StorePath::new("project/compose.yml.zst").unwrap(),
            what: What::File {
                name: "compose.yml".to_owned(),
            },
            sealed: Sealed {
                bytes: 9,
                blake3: String::new(),
                stored_bytes: 5,
                stored_blake3: String::new(),
            },
            millis: 1,
        }],
        left_out: Vec::new(),
        configuration: serde_json::Value::Null,
    }
}

fn put(store: &Memory, day: u32, name: &str, bytes: &[u8]) {
    let path = join(&id(day).directory(&project()).unwrap(), name).unwrap();
    write(store, &path, bytes).unwrap();
}

fn backup(store: &Memory, day: u32) {
    put(store, day, "project/compose.yml.zst", b"12345");
    put(store, day, MANIFEST, &manifest(day).to_bytes().unwrap());
}

#[test]
fn what_a_place_has_is_told_apart() {
    let store = Memory::default();
    for day in [3, 1, 4, 5, 6] {
        backup(&store, day);
    }
    // Being written; too short; another one's manifest; without one of its files.
    put(&store, 2, "project/compose.yml.zst", b"12345");
    put(&store, 4, "project/compose.yml.zst", b"1234");
    put(&store, 5, MANIFEST, &manifest(1).to_bytes().unwrap());
    let file = join(&id(6).directory(&project()).unwrap(), "project/compose.yml.zst").unwrap();
    store.remove(&file).unwrap();
    // What is none.
    for other in [
        "lost/found/x",
        "kms/notes.txt",
        "kms/2026/x",
        "KMS/20261101T020000Z-a/x",
    ] {
        write(&store, &StorePath::new(other).unwrap(), b"x").unwrap();
    }
    let found = read(&store, Some(&project())).unwrap();
    let told: Vec<String> = found
        .iter()
        .map(|found| match &found.state {
            State::Complete(_) => "complete".to_owned(),
            State::Incomplete => "incomplete".to_owned(),
            State::Unreadable(failure) | State::Damaged(failure) => failure.causes[0].clone(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "complete",
            "incomplete",
            "complete",
            "project/compose.yml.zst has 4 bytes, and was written with 5",
            "its manifest is that of 20261101T020000Z-7k2f00000000 of kms",
            "project/compose.yml.zst is not there",
        ]
    );
    assert_eq!(read(&store, None).unwrap(), found);
    assert_eq!(read(&store, Some(&ProjectName::new("km").unwrap())).unwrap(), []);
    assert_eq!(found[0].bytes, 5 + manifest(1).to_bytes().unwrap().len() as u64);
    assert_eq!(one(&store, &project(), &id(3)).unwrap().as_ref(), Some(&found[2]));
    assert_eq!(one(&store, &project(), &id(9)).unwrap(), None);
}

#[test]
fn what_is_said_about_a_backup_is_found_again() {
    let store = Memory::default();
    backup(&store, 1);
    let verified = Verified {
        at: id(2).began(),
        how: How::Drill,
        said: vec!["12 tables".to_owned()],
    };
    write_verified(&store, &project(), &id(1), &verified).unwrap();
    pin(&store, &project(), &id(1)).unwrap();
    let found = one(&store, &project(), &id(1)).unwrap().unwrap();
    assert_eq!((found.verified, found.pinned), (Some(verified), true));
    put(&store, 1, VERIFIED, b"{}");
    assert_eq!(one(&store, &project(), &id(1)).unwrap().unwrap().verified, None);
    assert!(pin(&store, &project(), &id(9)).is_err());
}

#[test]
fn what_was_found_damaged_counts_for_nothing_until_it_is_found_whole() {
    let store = Memory::default();
    backup(&store, 1);
    let state = || one(&store, &project(), &id(1)).unwrap().unwrap();
    let verified = Verified::by_hashes(id(2).began(), 1);
    write_verified(&store, &project(), &id(1), &verified).unwrap();

    let why = Failure::refused("x.zst is not what was written").cause("its BLAKE3 is another");
    write_damaged(&store, &project(), &id(1), (id(3).began(), &why)).unwrap();
    let State::Damaged(failure) = state().state else {
        panic!("{:?}", state().state);
    };
    assert!(
        failure.causes[0].starts_with("found on 2026-11-03T02:00:00Z: x.zst is not"),
        "{failure:?}"
    );
    assert_eq!((state().manifest(), state().verified), (None, None));

    // What cannot be read was said all the same.
    put(&store, 1, DAMAGED, b"{");
    assert!(matches!(state().state, State::Damaged(_)));

    write_verified(&store, &project(), &id(1), &verified).unwrap();
    assert!(matches!(state().state, State::Complete(_)));
}

#[test]
fn the_manifest_goes_first_and_a_pinned_one_stays() {
    let store = Memory::default();
    backup(&store, 1);
    backup(&store, 2);
    pin(&store, &project(), &id(1)).unwrap();
    let failure = remove(&store, &project(), &id(1)).unwrap_err();
    assert_eq!(failure.data.as_deref(), Some("it was not removed"));
    assert_eq!(store.gone.lock().unwrap().len(), 0);
    unpin(&store, &project(), &id(1)).unwrap();
    store.gone.lock().unwrap().clear();
    assert_eq!(remove(&store, &project(), &id(1)).unwrap(), 2);
    assert!(store.gone.lock().unwrap()[0].ends_with("/manifest.json"));
    let left = read(&store, None).unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].id == id(2) && left[0].manifest().is_some());
}

#[test]
fn only_a_backup_with_a_snapshot_is_of_the_newer_format() {
    let format = |manifest: &Manifest| {
        let bytes = manifest.to_bytes().unwrap();
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), *manifest);
        let written: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        written["format"].clone()
    };
    let mut manifest = manifest(1);
    assert_eq!(format(&manifest), 1);
    let note = SnapshotNote {
        key: crate::model::VolumeKey::new("media").unwrap(),
        name: crate::model::VolumeName::new("kms_media").unwrap(),
        id: "5f3a".repeat(16),
        entries: 3,
        bytes: 1 << 30,
        files_added: 1,
        bytes_added: 12,
        site: None,
        notes: Vec::new(),
    };
    let entry = Entry {
        path: StorePath::new("volumes/media.snapshot.json.zst").unwrap(),
        what: What::Snapshot(note),
        ..manifest.entries[0].clone()
    };
    assert_eq!((entry.bytes(), manifest.entries[0].bytes()), (1 << 30, 9));
    manifest.entries.push(entry);
    assert_eq!(format(&manifest), 2);
}
