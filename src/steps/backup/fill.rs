//! Puts a part of a backup into a place that is empty: what a drill and a restore have in common.

use std::path::{Path, PathBuf};

use super::part::{Part, Source};
use super::vault::{Vault, read_entry};
use crate::backup::format::{DumpNote, Entry, VolumeNote, What};
use crate::backup::store::Store;
use crate::engine::{HelperJob, HelperMount};
use crate::helper::protocol::Request;
use crate::model::{ByteSize, Failure, Result, ServiceName, VolumeKey, count};
use crate::steps::Cx;
use crate::steps::dumps::{self, Twin, TwinData, TwinSpec};

/// A backup that is read, with its place open.
pub(super) struct Reading<'a> {
    cx: &'a Cx,
    vault: &'a Vault,
    store: std::sync::Arc<dyn Store>,
    source: &'a Source,
}

/// Where a server's data goes.
pub(super) enum ServerHome {
    /// Nowhere that lasts.
    Nowhere,
    /// Into this mount, which becomes its data.
    Mount(HelperMount),
}

impl<'a> Reading<'a> {
    pub(super) async fn of(cx: &'a Cx, source: &'a Source) -> Result<Self> {
        let vault = cx.vault()?;
        Ok(Self {
            cx,
            vault,
            store: vault.place(&source.place)?,
            source,
        })
    }

    fn open(&self, entry: &Entry) -> Result<Box<dyn std::io::Read + Send>> {
        let (source, vault) = (self.source, self.vault);
        tokio::task::block_in_place(|| read_entry(vault, &*self.store, (&source.project, &source.id), entry))
    }

    /// Starts a server on an empty directory, loads everything, and asks it whether all of it is there. Says what was
    /// compared. The server is gone afterwards; its data stays where it lasts.
    pub(super) async fn server(
        &self,
        service: &ServiceName,
        part: &Part,
        home: ServerHome,
    ) -> Result<String> {
        let Part::Server { kind, dumps, .. } = part else {
            return Err(Failure::bug("a volume was taken for a server"));
        };
        let data = match home {
            ServerHome::Nowhere => TwinData::Nowhere,
            ServerHome::Mount(mount) => TwinData::Mount(mount),
        };
        let spec = TwinSpec::of(self.cx, service, *kind, data).await?;
        let mut twin = Twin::start(self.cx, spec).await?;
        let loaded = async {
            let mut notes: Vec<DumpNote> = Vec::new();
            for entry in dumps {
                let What::Dump(note) = &entry.what else {
                    return Err(Failure::bug("an archive was taken for a dump"));
                };
                self.cx.interrupt.check()?;
                twin.load(note, self.open(entry)?).await.map_err(|failure| {
                    failure.inside(format!("{} cannot be loaded", entry.path))
                })?;
                notes.push(note.clone());
            }
            twin.check(&notes).await
        };
        let said = match loaded.await {
            Ok(said) => twin.end().await.map(|()| said),
            Err(failure) => Err(failure),
        };
        twin.remove().await?;
        Ok(said?.join("; "))
    }

    /// Unpacks the archive of a volume into an empty directory, compares what is on the disk with what was archived, and
    /// puts each database in a file in its place. Says what was compared.
    pub(super) async fn volume(&self, part: &Part, (mount, dir): (HelperMount, PathBuf)) -> Result<String> {
        let Part::Volume {
            key,
            archive,
            databases,
        } = part
        else {
            return Err(Failure::bug("a server was taken for a volume"));
        };
        let What::Volume(note) = &archive.what else {
            return Err(Failure::bug("a dump was taken for an archive"));
        };
        self.unpack(key, (archive, note), &mount, &dir).await?;
        let mut said = vec![format!(
            "{} of {key}: content (BLAKE3), owner, mode, mtime, xattrs and links as they were archived ({})",
            count(note.entries, "entry"),
            ByteSize(note.bytes)
        )];
        for entry in databases {
            let What::Dump(dump) = &entry.what else {
                return Err(Failure::bug("an archive was taken for a dump"));
            };
            let from = self.open(entry)?;
            said.push(dumps::put_sqlite(self.cx, (&mount, &dir), dump, from).await?);
        }
        Ok(said.join("; "))
    }

    async fn unpack(
        &self,
        key: &VolumeKey,
        (archive, note): (&Entry, &VolumeNote),
        mount: &HelperMount,
        dir: &Path,
    ) -> Result<()> {
        let cx = self.cx;
        let request = Request::Unarchive {
            dir: dir.to_owned(),
            only: None,
        };
        let job = HelperJob::new(&cx.run, &cx.project, request, vec![mount.clone()]);
        let from = self.open(archive)?;
        let mut on_line = |line| cx.pass_on(line, "unpack", Some(key));
        let unpacked = tokio::select! {
            biased;
            () = cx.interrupt.raised() => {
                cx.engine.remove_helpers(&cx.run).await?;
                Err(Failure::interrupted("interrupted"))
            }
            unpacked = cx.engine.unarchive(job, from, &mut on_line) => unpacked,
        };
        let unpacked = unpacked.map_err(|f| f.inside(format!("volume `{key}` cannot be unpacked")))?;
        if unpacked.tree != note.tree || unpacked.entries != note.entries {
            return Err(Failure::environment(format!(
                "what was unpacked of volume `{key}` is not what was archived"
            ))
            .cause(format!(
                "{} entries with the hash {} instead of {} with {}",
                unpacked.entries, unpacked.tree, note.entries, note.tree
            )));
        }
        Ok(())
    }
}
