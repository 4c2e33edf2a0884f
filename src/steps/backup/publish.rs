//! Makes a backup one: reads every entry back from every place, and writes the manifest last. A place in which anything
//! is missing or different gets none.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::save::{Saved, remove_all, saved_bytes};
use super::vault::{manifest_of, path_in, read_entry};
use crate::backup::catalogue::{self, Verified};
use crate::backup::format::{BackupId, Encryption, Entry, MANIFEST, Manifest, PINNED, ServiceNote, What};
use crate::backup::store::Store;
use crate::model::config::{Consistency, Place};
use crate::model::{ByteSize, Failure, Result, count};
use crate::saga::{Interrupt, Step};
use crate::steps::Cx;
use crate::steps::dumps::{Dumping, Server};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Publish {
    /// When the backup began.
    pub began: Timestamp,
    /// Where it is.
    pub places: Vec<Place>,
    /// It is not pruned.
    pub pin: bool,
    /// What the services did meanwhile.
    pub consistency: Consistency,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// What ran.
    pub services: Vec<ServiceNote>,
    /// What is not in it.
    pub left_out: Vec<String>,
    /// The resolved configuration, without values.
    pub configuration: serde_json::Value,
    /// The machine it is made on.
    pub machine: String,
    /// The servers whose dumps are read by their own programs once more, where that is possible: a server cannot read
    /// what it encrypted for somebody else.
    pub prove: Vec<Dumping>,
    /// How large each entry of the last backup was, by path.
    pub last: BTreeMap<String, u64>,
}

impl Step for Publish {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        "read it back, and write the manifest".to_owned()
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        let mut saved = Saved::read(cx)?;
        let mut compared = false;
        let mut proven = false;
        for place in &self.places {
            if saved.lost.contains_key(&place.to_string()) {
                continue;
            }
            let store = cx.vault()?.place(place)?;
            let manifest = self.manifest(cx, saved.of(&place.to_string()));
            if !std::mem::replace(&mut compared, true) {
                for warning in shrunk(&self.last, &manifest.entries) {
                    cx.events.warn(warning);
                }
            }
            let bytes = manifest.to_bytes()?;
            let published = async {
                tokio::task::block_in_place(|| read_back(&cx.interrupt, &*store, &manifest))?;
                if !proven && self.is_readable_here() {
                    self.prove(cx, &store, &manifest).await?;
                    proven = true;
                }
                tokio::task::block_in_place(|| self.write(cx, &*store, &manifest, &bytes))
            };
            if let Err(failure) = published.await {
                if failure.kind == crate::model::Kind::Interrupted {
                    return Err(failure);
                }
                cx.events.warn(format!("{place} has no whole copy: {failure}"));
                saved.lost.insert(place.to_string(), failure);
                saved.write(cx)?;
            }
        }
        match saved.lost.len() < self.places.len() {
            true => Ok(()),
            false => Err(none_whole(saved.lost)),
        }
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let saved = Saved::read(cx)?;
        let id = BackupId::at(self.began, &cx.run);
        let mut whole: u64 = 0;
        for place in &self.places {
            if saved.lost.contains_key(&place.to_string()) {
                continue;
            }
            let store = cx.vault()?.place(place)?;
            tokio::task::block_in_place(|| manifest_of(&*store, &cx.project, &id))?;
            whole += 1;
        }
        let apart = saved.apart.values().max_by_key(|entries| entries.len());
        let entries = saved.entries.len() + apart.map_or(0, Vec::len);
        let stored = saved_bytes(cx)?;
        let (entries, places) = (count(entries as u64, "entry"), count(whole, "place"));
        let mut said = format!(
            "{entries}, {} stored, each read back from {places} and compared (BLAKE3)",
            ByteSize(stored)
        );
        if self.is_readable_here() && !self.prove.is_empty() {
            said.push_str("; dumps read to their end by the server's own program");
        }
        Ok(Some(said))
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        // What makes it a backup goes first.
        let id = BackupId::at(self.began, &cx.run);
        let (manifest, directory) = (path_in(&cx.project, &id, MANIFEST)?, id.directory(&cx.project)?);
        for place in &self.places {
            let removed = match cx.vault()?.place(place) {
                Ok(store) => tokio::task::block_in_place(|| {
                    store.remove(&manifest)?;
                    remove_all(&*store, &directory)
                }),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = removed {
                cx.events.warn(format!(
                    "backup {id} could not be removed from {place}: {failure}"
                ));
            }
        }
        Ok(())
    }
}

impl Publish {
    fn manifest(&self, cx: &Cx, entries: Vec<Entry>) -> Manifest {
        Manifest {
            id: BackupId::at(self.began, &cx.run),
            project: cx.project.clone(),
            began: self.began,
            ended: Timestamp::now(),
            rehome: env!("CARGO_PKG_VERSION").to_owned(),
            engine: cx.engine.version().to_owned(),
            machine: self.machine.clone(),
            consistency: self.consistency,
            encryption: self.encryption.clone(),
            services: self.services.clone(),
            entries,
            left_out: self.left_out.clone(),
            configuration: self.configuration.clone(),
        }
    }

    /// Whether what was written can be read on this machine: with recipients it cannot, and is not meant to.
    fn is_readable_here(&self) -> bool {
        !matches!(self.encryption, Encryption::Recipients { .. })
    }

    /// The dumps are read to their end by the program that would restore them.
    async fn prove(&self, cx: &Cx, store: &Arc<dyn Store>, manifest: &Manifest) -> Result<()> {
        for what in &self.prove {
            let server = Server::find(cx, what).await?;
            let mut parts = server.parts().await?;
            for entry in &manifest.entries {
                let What::Dump(note) = &entry.what else { continue };
                if note.service.as_ref() != Some(&what.service) {
                    continue;
                }
                let of_it = |p: &crate::datastore::dump::Part| p.database == note.database;
                let Some(at) = parts.iter().position(of_it) else {
                    continue;
                };
                let part = parts.swap_remove(at);
                let from = tokio::task::block_in_place(|| {
                    read_entry(cx.vault()?, store, (&cx.project, &manifest.id), entry)
                })?;
                server.prove(&part, from).await?;
            }
        }
        Ok(())
    }

    fn write(&self, cx: &Cx, store: &dyn Store, manifest: &Manifest, bytes: &[u8]) -> Result<()> {
        let put = |name: &str, bytes: &[u8]| -> Result<()> {
            let path = path_in(&cx.project, &manifest.id, name)?;
            let mut upload = store.put(&path)?;
            upload.write_all(bytes).map_err(|e| {
                Failure::environment(format!("cannot write {path} to {}", store.name())).because(&e)
            })?;
            upload.finish()
        };
        if self.pin {
            put(PINNED, b"")?;
        }
        put(MANIFEST, bytes)?;
        let verified = Verified::by_hashes(Timestamp::now(), manifest.entries.len());
        catalogue::write_verified(store, &cx.project, &manifest.id, &verified)
    }
}

/// Every entry as it is stored, against its hash.
///
/// # Errors
/// When one is missing or another, or Ctrl-C was pressed.
pub fn read_back(interrupt: &Interrupt, store: &dyn Store, manifest: &Manifest) -> Result<()> {
    for entry in &manifest.entries {
        let path = path_in(&manifest.project, &manifest.id, entry.path.as_str())?;
        let Some(mut from) = store.get(&path)? else {
            return Err(Failure::refused(format!("{path} is missing in {}", store.name())));
        };
        let unreadable = |e: std::io::Error| {
            Failure::environment(format!("cannot read {path} in {}", store.name())).because(&e)
        };
        let (mut hasher, mut read) = (blake3::Hasher::new(), 0u64);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let n = from.read(&mut buffer).map_err(unreadable)?;
            if n == 0 {
                break;
            }
            interrupt.check()?;
            hasher.update(&buffer[..n]);
            read += n as u64;
        }
        let sealed = &entry.sealed;
        if read != sealed.stored_bytes || hasher.finalize().to_hex().as_str() != sealed.stored_blake3 {
            return Err(
                Failure::refused(format!("{path} in {} is not what was written", store.name())).cause(
                    match read == sealed.stored_bytes {
                        true => "its BLAKE3 is another".to_owned(),
                        false => format!("it has {read} bytes instead of {}", sealed.stored_bytes),
                    },
                ),
            );
        }
    }
    Ok(())
}

/// An entry of this size or larger is expected to keep its size more or less.
const WORTH_A_WORD: u64 = 64 << 10;

/// What became much smaller since the last backup (traps 14 and 19).
fn shrunk(last: &BTreeMap<String, u64>, now: &[Entry]) -> Vec<String> {
    let size = |path: &str| now.iter().find(|e| e.path.as_str() == path).map(Entry::bytes);
    let mut warnings = Vec::new();
    for (path, before) in last.iter().filter(|(_, before)| **before >= WORTH_A_WORD) {
        match size(path) {
            None => warnings.push(format!("{path} was in the last backup and is not in this one")),
            Some(bytes) if bytes < before / 2 => warnings.push(format!(
                "{path} has {}, and had {} in the last backup: look whether something is missing",
                ByteSize(bytes),
                ByteSize(*before)
            )),
            Some(_) => {}
        }
    }
    warnings
}

fn none_whole(lost: BTreeMap<String, Failure>) -> Failure {
    let failure = Failure::environment("no place has a whole copy of the backup")
        .data("it is removed again; the older backups are as they were");
    lost.into_values()
        .fold(failure, |all, one| all.cause(one.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::format::{Sealed, StorePath};

    fn entry(path: &str, bytes: u64) -> Entry {
        let sealed = Sealed {
            bytes,
            blake3: String::new(),
            stored_bytes: 1,
            stored_blake3: String::new(),
        };
        let what = What::File { name: "x".into() };
        Entry {
            path: StorePath::new(path).unwrap(),
            what,
            sealed,
            millis: 1,
        }
    }

    #[test]
    fn what_shrank_or_went_is_said_and_a_small_change_is_not() {
        let last = BTreeMap::from([
            ("volumes/media.tar.zst".to_owned(), 1 << 20),
            ("volumes/static.tar.zst".to_owned(), 1 << 20),
            ("databases/db/app.dump.zst".to_owned(), 1 << 20),
            ("databases/db/small.dump.zst".to_owned(), 1 << 10),
        ]);
        let now = [
            entry("volumes/media.tar.zst", 100),
            entry("volumes/static.tar.zst", 600 << 10),
            entry("databases/db/small.dump.zst", 10),
        ];
        assert_eq!(
            shrunk(&last, &now),
            [
                "databases/db/app.dump.zst was in the last backup and is not in this one",
                "volumes/media.tar.zst has 100 B, and had 1 MB in the last backup: look whether something is missing",
            ]
        );
    }
}
