//! Writes entries of a backup into every place at once. A backup is none before its manifest is there (`publish`), so
//! what a crash leaves here is nobody's backup; undo removes it.
//!
//! A place that fails is left out from there on, and the others go on: half of the copies is better than none, and the
//! run says at its end that one is missing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fan::Fan;
use super::snapshot::{self, take_back};
use super::vault::path_in;
use crate::backup::format::{BackupId, Entry, StorePath, VolumeNote, What};
use crate::backup::seal::Sealer;
use crate::backup::store::Store;
use crate::engine::{HelperJob, Pace};
use crate::helper::protocol::Request;
use crate::model::config::Place;
use crate::model::{Failure, Kind, Result, Secret, VolumeKey, VolumeName, count, file_name};
use crate::saga::Step;
use crate::site::SiteDir;
use crate::steps::dumps::{Dumping, Server, SqliteFile, sweep};
use crate::steps::{Cx, FROM, mount_of};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Save {
    /// When the backup began; with the run it is its name.
    pub began: Timestamp,
    /// Where to.
    pub places: Vec<Place>,
    /// What.
    pub what: Vec<Saving>,
    /// Whether the volumes may be written to meanwhile.
    pub live: bool,
    /// The places that keep volumes as snapshots.
    #[serde(default)]
    pub snapshots: Vec<Place>,
}

/// Something that is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Saving {
    /// Every database of a server.
    Server {
        /// Which.
        what: Dumping,
        /// The volume that has its data.
        volume: Option<VolumeKey>,
        /// Its data directory, relative to the volume's root.
        at: String,
    },
    /// A database in a file.
    Sqlite {
        /// The volume.
        key: VolumeKey,
        /// Its full name.
        name: VolumeName,
        /// The file, relative to the volume's root.
        path: String,
        /// The directory of a site instead of a volume.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<SiteDir>,
    },
    /// The files of a volume.
    Volume {
        /// Its key.
        key: VolumeKey,
        /// Its full name.
        name: VolumeName,
        /// The directory of a site instead of a volume.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<SiteDir>,
    },
    /// A file of the project.
    File {
        /// Its name beside the first Compose file.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
}

impl Saving {
    /// In words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Server { what, .. } => format!("{} of {}", what.kind, what.service),
            Self::Sqlite { key, path, .. } => format!("{path} in {key}"),
            Self::Volume { key, .. } => key.to_string(),
            Self::File { name, .. } => name.clone(),
        }
    }
}

/// The files that are saved: of a volume, or of a site that has a directory instead.
#[derive(Clone, Copy)]
pub(super) struct Files<'a> {
    /// The key.
    pub key: &'a VolumeKey,
    /// The full name.
    pub name: &'a VolumeName,
    /// The directory of a site.
    pub site: Option<&'a SiteDir>,
}

impl Files<'_> {
    /// Whose, in words.
    pub(super) fn describe(&self) -> String {
        match self.site {
            Some(site) => format!("site {}", site.name),
            None => format!("volume `{}`", self.key),
        }
    }
}

impl Step for Save {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let of_files = |s: &&Saving| matches!(s, Saving::File { .. });
        let files = self.what.iter().filter(of_files).count() as u64;
        let others = self.what.iter().filter(|s| !of_files(s));
        let mut names: Vec<_> = others.map(Saving::describe).collect();
        if files > 0 {
            names.push(count(files, "Compose file"));
        }
        format!("save {}", names.join(", "))
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        let vault = cx.vault()?;
        for place in &self.places {
            let store = vault.place(place)?;
            if self.snapshots.contains(place) {
                // A wrong password is said before anything is written.
                vault.restic()?;
                vault.repository_if_any(&store, &cx.project)?;
            }
        }
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        let mut work = Work::of(self, cx).await?;
        for saving in &self.what {
            work.save(saving).await?;
        }
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        // What is there is read back when all of it is.
        Saved::read(cx).map(|_| None)
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        sweep(cx).await?;
        let directory = self.id(cx).directory(&cx.project)?;
        for place in &self.places {
            let Ok(store) = cx.vault()?.place(place) else {
                cx.events.warn(format!(
                    "{place} cannot be reached: what was written there stays, and is no backup"
                ));
                continue;
            };
            let removed = tokio::task::block_in_place(|| {
                remove_all(&*store, &directory)?;
                match self.snapshots.contains(place) {
                    true => take_back(cx.vault()?, &store, (&cx.project, &self.id(cx))),
                    false => Ok(()),
                }
            });
            if let Err(failure) = removed {
                cx.events.warn(format!(
                    "what was written to {place} could not be removed, and is no backup: {failure}"
                ));
            }
        }
        Ok(())
    }
}

impl Save {
    /// The backup's name.
    #[must_use]
    pub fn id(&self, cx: &Cx) -> BackupId {
        BackupId::at(self.began, &cx.run)
    }
}

/// Removes every file below a directory of a place.
pub(super) fn remove_all(store: &dyn Store, directory: &StorePath) -> Result<()> {
    store.sweep(directory)?;
    for stored in store.list(directory)? {
        store.remove(&stored.path)?;
    }
    Ok(())
}

/// What was saved until now. It lies beside the journal, so that a step that comes later has it, also after a crash.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    /// The entries that are in every place that is not lost.
    pub entries: Vec<Entry>,
    /// Those that are in one place: where volumes are not kept in the same way everywhere.
    #[serde(default)]
    pub apart: BTreeMap<String, Vec<Entry>>,
    /// The places that failed, and why.
    pub lost: BTreeMap<String, Failure>,
}

impl Saved {
    const FILE: &str = "saved.json";

    /// Reads it; nothing was saved if there is none.
    pub(super) fn read(cx: &Cx) -> Result<Self> {
        let path = cx.run_dir.join(Self::FILE);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|e| Failure::environment(format!("{} is damaged", path.display())).because(&e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Failure::environment(format!("cannot read {}", path.display())).because(&e)),
        }
    }

    /// What is in a place.
    pub(super) fn of(&self, place: &str) -> Vec<Entry> {
        let apart = self.apart.get(place).into_iter().flatten();
        self.entries.iter().chain(apart).cloned().collect()
    }

    pub(super) fn write(&self, cx: &Cx) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Failure::bug("cannot write entries").because(&e))?;
        crate::state::write_durably(&cx.run_dir.join(Self::FILE), &text)
    }
}

/// The places that an otherwise complete backup is missing in, and why.
///
/// # Errors
/// When that cannot be found out.
pub fn lost_places(cx: &Cx) -> Result<BTreeMap<String, Failure>> {
    Saved::read(cx).map(|saved| saved.lost)
}

/// How many bytes of a backup are stored, in the place that has most.
///
/// # Errors
/// When that cannot be found out.
pub fn saved_bytes(cx: &Cx) -> Result<u64> {
    let stored = |entry: &Entry| match &entry.what {
        What::Snapshot(note) => note.bytes_added,
        What::Dump(_) | What::Volume(_) | What::File { .. } => entry.sealed.stored_bytes,
    };
    let saved = Saved::read(cx)?;
    let apart = saved
        .apart
        .values()
        .map(|entries| entries.iter().map(stored).sum::<u64>());
    Ok(saved.entries.iter().map(stored).sum::<u64>() + apart.max().unwrap_or(0))
}

/// The work of a step: the places that are left, and what is there.
struct Work<'a> {
    cx: &'a Cx,
    live: bool,
    id: BackupId,
    stores: Vec<(Place, Arc<dyn Store>)>,
    snapshots: Vec<Place>,
    saved: Saved,
}

impl<'a> Work<'a> {
    async fn of(save: &Save, cx: &'a Cx) -> Result<Self> {
        let saved = Saved::read(cx)?;
        let mut stores = Vec::new();
        for place in save
            .places
            .iter()
            .filter(|p| !saved.lost.contains_key(&p.to_string()))
        {
            stores.push((place.clone(), cx.vault()?.place(place)?));
        }
        Ok(Self {
            cx,
            live: save.live,
            id: save.id(cx),
            stores,
            snapshots: save.snapshots.clone(),
            saved,
        })
    }

    async fn save(&mut self, saving: &Saving) -> Result<()> {
        let cx = self.cx;
        match saving {
            Saving::Server { what, volume, at } => {
                let server = Server::find(cx, what).await?;
                for part in server.parts().await? {
                    let path = format!("databases/{}/{}", what.service, part.file);
                    let mut sink = self.begin(&path)?;
                    let began = std::time::Instant::now();
                    let mut note = interruptible(cx, server.dump(&part, &mut sink)).await?;
                    note.volume.clone_from(volume);
                    note.at.clone_from(at);
                    self.end(sink, What::Dump(note), began)?;
                }
            }
            Saving::Sqlite {
                key,
                name,
                path,
                site,
            } => {
                let file = format!("databases/{key}/{}.sqlite", file_name(path));
                let mut sink = self.begin(&file)?;
                let began = std::time::Instant::now();
                let database = SqliteFile {
                    volume: key.clone(),
                    mount: mount_of((name, site.as_ref()), FROM.to_owned(), true),
                    path: path.clone(),
                    service: None,
                };
                let note = interruptible(cx, database.dump(cx, &mut sink)).await?;
                self.end(sink, What::Dump(note), began)?;
            }
            Saving::Volume { key, name, site } => {
                let files = Files {
                    key,
                    name,
                    site: site.as_ref(),
                };
                let (apart, together): (Vec<_>, Vec<_>) =
                    (self.stores.iter().cloned()).partition(|(place, _)| self.snapshots.contains(place));
                if !together.is_empty() {
                    let only = (!apart.is_empty()).then_some(&together[..]);
                    let archived = self.save_archive(files, only).await;
                    self.or_lose(archived, &together)?;
                }
                for place in apart {
                    let added = self.save_snapshot(files, &place).await;
                    self.or_lose(added, &[place])?;
                }
            }
            Saving::File { name, path } => {
                let text = std::fs::read(path).map_err(|e| {
                    Failure::environment(format!("cannot read {}", path.display())).because(&e)
                })?;
                let text = without_secrets(text, &cx.vault()?.secrets, path)?;
                let mut sink = self.begin(&format!("project/{}", file_name(name)))?;
                let began = std::time::Instant::now();
                sink.write_all(&text).map_err(|e| sink_failed(&e))?;
                self.end(sink, What::File { name: name.clone() }, began)?;
            }
        }
        Ok(())
    }

    async fn save_archive(
        &mut self,
        files: Files<'_>,
        only: Option<&[(Place, Arc<dyn Store>)]>,
    ) -> Result<()> {
        let mut sink = self.begin_in(&format!("volumes/{}.tar", files.key), only)?;
        let began = std::time::Instant::now();
        let note = interruptible(self.cx, self.archive(files, &mut sink)).await?;
        self.end(sink, What::Volume(note), began)
    }

    async fn save_snapshot(&mut self, files: Files<'_>, place: &(Place, Arc<dyn Store>)) -> Result<()> {
        let (cx, began) = (self.cx, std::time::Instant::now());
        let repository = cx.vault()?.repository_made(&place.1, &cx.project)?;
        let added = snapshot::add(cx, &repository, files, &self.id, self.live);
        let note = interruptible(cx, added).await?;
        let only = std::slice::from_ref(place);
        let mut sink = self.begin_in(&format!("volumes/{}.snapshot.json", files.key), Some(only))?;
        serde_json::to_writer_pretty(&mut sink, &note).map_err(|e| sink_failed(&std::io::Error::from(e)))?;
        self.end(sink, What::Snapshot(note), began)
    }

    /// Goes on without places in which something did not come to an end, while there are others.
    fn or_lose(&mut self, done: Result<()>, places: &[(Place, Arc<dyn Store>)]) -> Result<()> {
        match done {
            Err(failure)
                if failure.kind != Kind::Interrupted
                    && self
                        .stores
                        .iter()
                        .any(|(place, _)| places.iter().all(|(lost, _)| lost != place)) =>
            {
                for (place, _) in places {
                    self.lose(place.to_string(), failure.clone());
                }
                self.saved.write(self.cx)
            }
            done => done,
        }
    }

    fn lose(&mut self, place: String, failure: Failure) {
        self.cx
            .events
            .warn(format!("{place} is left out from here on: {failure}"));
        self.stores.retain(|(p, _)| p.to_string() != place);
        self.saved.lost.insert(place, failure);
    }

    async fn archive(&self, files: Files<'_>, sink: &mut Sink) -> Result<VolumeNote> {
        let (cx, key, name) = (self.cx, files.key, files.name);
        let target = format!("{FROM}/{key}");
        let request = Request::Archive {
            dir: target.clone().into(),
            live: self.live,
            only: None,
        };
        let mount = mount_of((name, files.site), target, true);
        let job = HelperJob {
            pace: if self.live { Pace::Gentle } else { Pace::Usual },
            ..HelperJob::new(&cx.run, &cx.project, request, vec![mount])
        };
        let archived = cx
            .engine
            .archive(job, sink, &mut |line| cx.pass_on(line, "archive", Some(key)))
            .await
            .map_err(|failure| failure.inside(format!("{} cannot be archived", files.describe())))?;
        Ok(VolumeNote {
            key: key.clone(),
            name: name.clone(),
            entries: archived.entries,
            bytes: archived.bytes,
            tree: archived.tree,
            notes: archived.notes,
            site: files.site.map(|site| site.name.clone()),
        })
    }

    /// Begins an entry in every place.
    fn begin(&self, name: &str) -> Result<Sink> {
        self.begin_in(name, None)
    }

    /// Begins an entry in some places, or in every place.
    fn begin_in(&self, name: &str, only: Option<&[(Place, Arc<dyn Store>)]>) -> Result<Sink> {
        let sealing = &self.cx.vault()?.sealing;
        let path = StorePath::new(format!("{name}{}", sealing.suffix()))
            .map_err(|e| Failure::bug("the name of an entry is no path").because(&e))?;
        let in_store = path_in(&self.cx.project, &self.id, path.as_str())?;
        let mut fan = Fan::default();
        tokio::task::block_in_place(|| {
            for (place, store) in only.unwrap_or(&self.stores) {
                match store.put(&in_store) {
                    Ok(upload) => fan.uploads.push((place.to_string(), upload)),
                    Err(failure) => {
                        fan.lost.insert(place.to_string(), failure);
                    }
                }
            }
        });
        if fan.uploads.is_empty() {
            return Err(fan.all_lost());
        }
        let named = |places: &[(Place, Arc<dyn Store>)]| places.iter().map(|(p, _)| p.to_string()).collect();
        Ok(Sink {
            path,
            only: only.map(named),
            sealer: Sealer::new(fan, sealing)?,
        })
    }

    /// Makes an entry appear in every place, and writes down that it is there.
    fn end(&mut self, sink: Sink, what: What, began: std::time::Instant) -> Result<()> {
        let Sink { path, only, sealer } = sink;
        let (sealed, lost) = tokio::task::block_in_place(|| {
            let (sealed, fan) = sealer.finish()?;
            let none_left = fan.uploads.is_empty();
            let mut lost = fan.lost;
            let mut kept = 0;
            for (place, upload) in fan.uploads {
                match upload.finish() {
                    Ok(()) => kept += 1,
                    Err(failure) => {
                        lost.insert(place, failure);
                    }
                }
            }
            if none_left || kept == 0 {
                return Err(Fan {
                    uploads: Vec::new(),
                    lost,
                }
                .all_lost());
            }
            Ok((sealed, lost))
        })?;
        for (place, failure) in lost {
            self.lose(place, failure);
        }
        let entry = Entry {
            path,
            what,
            sealed,
            millis: began.elapsed().as_millis() as u64,
        };
        let keep = |entries: &mut Vec<Entry>| {
            entries.retain(|e| e.path != entry.path);
            entries.push(entry.clone());
        };
        match only {
            None => keep(&mut self.saved.entries),
            Some(places) => {
                for place in places {
                    keep(self.saved.apart.entry(place).or_default());
                }
            }
        }
        self.saved.write(self.cx)
    }
}

/// An entry on its way.
struct Sink {
    path: StorePath,
    /// The places that it is in, if it is not in all.
    only: Option<Vec<String>>,
    sealer: Sealer<Fan>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.sealer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sealer.flush()
    }
}

/// Writing failed: in the words of what failed, where it has some.
fn sink_failed(error: &std::io::Error) -> Failure {
    let told = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
    told.cloned()
        .unwrap_or_else(|| Failure::environment("an entry cannot be written").because(error))
}

/// A Ctrl-C ends it, and what it left running.
async fn interruptible<T>(cx: &Cx, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = cx.interrupt.raised() => {
            cx.engine.remove_helpers(&cx.run).await?;
            Err(Failure::interrupted("interrupted"))
        }
        done = work => done,
    }
}

/// A Compose file without the secrets that stand in it. They are known from the resolved configuration.
fn without_secrets(text: Vec<u8>, secrets: &[Secret], path: &Path) -> Result<Vec<u8>> {
    let text = String::from_utf8(text)
        .map_err(|e| Failure::environment(format!("{} is not UTF-8", path.display())).because(&e))?;
    let left = secrets
        .iter()
        .filter(|secret| secret.reveal().len() >= SHORTEST_SECRET)
        .fold(text, |text, secret| text.replace(secret.reveal(), LEFT_OUT));
    Ok(left.into_bytes())
}

/// A shorter value protects nothing, and its letters may stand anywhere.
const SHORTEST_SECRET: usize = 4;
/// What stands in its place.
const LEFT_OUT: &str = "<left out>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_stands_in_a_compose_file_is_left_out_of_the_backup() {
        let text = b"environment:\n  POSTGRES_PASSWORD: hunter2-long\n  DEBUG: \"1\"\n".to_vec();
        let secrets = [Secret::new("hunter2-long"), Secret::new("1")];
        let left = without_secrets(text, &secrets, Path::new("compose.yml")).unwrap();
        assert_eq!(
            String::from_utf8(left).unwrap(),
            "environment:\n  POSTGRES_PASSWORD: <left out>\n  DEBUG: \"1\"\n"
        );
    }
}
