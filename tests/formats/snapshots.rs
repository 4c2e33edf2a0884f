//! Format 2: format 1 with volumes in a repository of restic.

use std::collections::BTreeMap;
use std::sync::Arc;

use rehome::backup::catalogue;
use rehome::backup::format::{Entry, What};
use rehome::backup::repository::Repository;
use rehome::backup::seal::{Encrypting, Keys, Sealing};
use rehome::backup::store::{DirStore, Store};
use rehome::helper::context::Context;
use rehome::helper::unarchive::{Job, unarchive};
use rehome::model::Secret;
use rehome::saga::Interrupt;
use rehome::steps::backup::{Vault, read_back, read_entry};

use super::{bash, home, scratch};

const PASSWORD: &str = "known-to-everybody";

/// What `look` says of a directory, but for the hole: restic keeps none.
fn looked(dir: &std::path::Path) -> String {
    let look = home(2).with_file_name("look");
    bash(dir, &format!("{} . || true", look.display()))
}

fn as_it_was() -> String {
    let said = std::fs::read_to_string(home(2).join("files.txt")).unwrap();
    said.replace("hole has a hole\n", "")
}

#[test]
fn a_volume_in_a_snapshot_comes_back_as_it_was() {
    let place: Arc<dyn Store> = Arc::new(DirStore::new(&home(2).join("restic")));
    let found = catalogue::read(&*place, None).unwrap();
    let manifest = found[0].manifest().unwrap();
    read_back(&Interrupt::new(), &*place, manifest).unwrap();

    let password = || Secret::new(PASSWORD.to_owned());
    let notes: Vec<_> = manifest.entries.iter().filter_map(snapshot).collect();
    assert_eq!(notes.len(), 2);
    let repository = Repository::open(&place, &manifest.project, &password())
        .unwrap()
        .unwrap();
    repository.check(&notes).unwrap();
    let wrong = Secret::new("another".to_owned());
    assert!(Repository::open(&place, &manifest.project, &wrong).is_err());

    let sealing = Sealing {
        level: 3,
        encryption: Encrypting::None,
    };
    let vault = Vault::new(sealing, Keys::none(), BTreeMap::new(), Vec::new(), Ok(password()));
    let is_files = |entry: &&Entry| entry.path.as_str().starts_with("volumes/files.");
    let files = manifest.entries.iter().find(is_files).unwrap();
    let mut from = read_entry(&vault, &place, (&manifest.project, &manifest.id), files).unwrap();
    let to = scratch();
    let job = Job {
        dir: to.path(),
        only: None,
        strip: 0,
        like: None,
    };
    unarchive(&Context::new(), job, &mut from).unwrap();
    assert_eq!(looked(to.path()), as_it_was());
}

fn snapshot(entry: &Entry) -> Option<&rehome::backup::format::SnapshotNote> {
    match &entry.what {
        What::Snapshot(note) => Some(note),
        _ => None,
    }
}

#[test]
fn restic_reads_the_repository() {
    let to = scratch();
    let restic = |what: &str| {
        let repository = home(2).join("restic/formats/restic");
        let line = format!(
            "RESTIC_PASSWORD={PASSWORD} restic --no-cache --no-lock -r {} {what}",
            repository.display()
        );
        bash(to.path(), &line)
    };
    restic("check --read-data");
    restic("restore latest --tag volume:files --target files");
    let root = bash(to.path(), "dirname $(find files -name hole)");
    assert_eq!(looked(&to.path().join(root.trim())), as_it_was());
}
