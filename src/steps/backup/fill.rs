//! Puts a part of a backup into a place that is empty: what a drill and a restore have in common.

use std::path::{Path, PathBuf};

use super::part::{Part, Source};
use super::vault::{Vault, read_entry};
use crate::backup::format::{DumpNote, Entry, What};
use crate::backup::store::Store;
use crate::datastore::Kind;
use crate::engine::{Container, HelperJob, HelperMount, MountKind, Unarchived};
use crate::helper::protocol::Request;
use crate::model::{ByteSize, Failure, Result, ServiceName, VolumeKey, VolumeName, count};
use crate::steps::Cx;
use crate::steps::dumps::{Dumping, SqliteFile, Twin, TwinSpec};
use crate::steps::stack::of_service;
use crate::steps::{TO, Target};

/// A backup that is read, with its place open.
pub(super) struct Reading<'a> {
    cx: &'a Cx,
    vault: &'a Vault,
    store: std::sync::Arc<dyn Store>,
    source: &'a Source,
}

/// What has to come out of an archive or a snapshot.
struct Expected<'a> {
    entries: u64,
    bytes: u64,
    /// The hash of everything, of an archive.
    tree: Option<&'a str>,
}

impl<'a> Expected<'a> {
    fn of(entry: &'a Entry) -> Result<Self> {
        let (entries, bytes, tree) = match &entry.what {
            What::Volume(note) => (note.entries, note.bytes, Some(&*note.tree)),
            What::Snapshot(note) => (note.entries, note.bytes, None),
            What::Dump(_) | What::File { .. } => {
                return Err(Failure::bug("a dump was taken for an archive"));
            }
        };
        Ok(Self { entries, bytes, tree })
    }
}

/// All of a home, as one mount at this place.
pub(super) fn whole(target: &Target, at: &str) -> HelperMount {
    match target {
        Target::Volume { name } => HelperMount::Volume {
            name: name.clone(),
            target: at.to_owned(),
            read_only: false,
        },
        Target::Directory { root, sub, .. } => HelperMount::Bind {
            source: root.join(sub).to_string_lossy().into_owned(),
            target: at.to_owned(),
            read_only: false,
        },
    }
}

/// A home in the place of the volume that a container has.
fn in_place_of(like: &Container, volume: &VolumeName, home: &Target) -> Result<HelperMount> {
    let mounted = like
        .mounts
        .iter()
        .find(|m| m.kind == MountKind::Volume(volume.clone()));
    match mounted {
        Some(mount) => Ok(whole(home, &mount.destination)),
        None => Err(Failure::environment(format!(
            "container {} does not have volume {volume}",
            like.name
        ))),
    }
}

impl<'a> Reading<'a> {
    pub(super) async fn of(cx: &'a Cx, source: &'a Source) -> Result<Self> {
        let vault = cx.vault()?.of(&source.project);
        Ok(Self {
            cx,
            vault,
            store: vault.place(&source.place)?,
            source,
        })
    }

    pub(super) fn open(&self, entry: &Entry) -> Result<Box<dyn std::io::Read + Send>> {
        let (source, vault) = (self.source, self.vault);
        tokio::task::block_in_place(|| read_entry(vault, &self.store, (&source.project, &source.id), entry))
    }

    /// Starts a server on an empty home, loads everything, and asks it whether all of it is there. Says what was
    /// compared. The server is gone afterwards; its data stays, unless it had no home of its own: a home is what the
    /// server shall have in the place of a volume.
    pub(super) async fn server(&self, part: &Part, home: Option<(&VolumeName, &Target)>) -> Result<String> {
        let Part::Server {
            service, kind, dumps, ..
        } = part
        else {
            return Err(Failure::bug("a volume was taken for a server"));
        };
        let mut twin = twin_of(self.cx, (service, *kind), home).await?;
        let loaded = async {
            let mut notes: Vec<DumpNote> = Vec::new();
            for entry in dumps {
                let What::Dump(note) = &entry.what else {
                    return Err(Failure::bug("an archive was taken for a dump"));
                };
                self.cx.interrupt.check()?;
                twin.load(note, self.open(entry)?)
                    .await
                    .map_err(|failure| failure.inside(format!("{} cannot be loaded", entry.path)))?;
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

    /// Unpacks the archive of a volume into an empty directory, or only a path of it, compares what is on the disk with
    /// what was archived, and puts each database in a file in its place. Says what was compared.
    pub(super) async fn volume(&self, part: &Part, only: Option<&Path>, home: &Target) -> Result<String> {
        let Part::Volume {
            key,
            archive,
            databases,
        } = part
        else {
            return Err(Failure::bug("a server was taken for a volume"));
        };
        let expected = Expected::of(archive)?;
        let tar = match only {
            // How much of it that is, nobody knows.
            Some(_) => Tar {
                only,
                ..Tar::default()
            },
            None => Tar {
                bytes: expected.bytes,
                entries: expected.entries,
                ..Tar::default()
            },
        };
        let unpacked = unpack(self.cx, self.open(archive)?, key, tar, home).await?;
        // A snapshot has no hash of all: its pieces were compared, and what is on the disk with them.
        let tree = expected.tree.unwrap_or(&unpacked.tree);
        if only.is_none() && (unpacked.tree != tree || unpacked.entries != expected.entries) {
            return Err(Failure::environment(format!(
                "what was unpacked of volume `{key}` is not what was archived"
            ))
            .cause(format!(
                "{} entries with the hash {} instead of {} with {tree}",
                unpacked.entries, unpacked.tree, expected.entries
            )));
        }
        let how = match expected.tree {
            Some(_) => ("BLAKE3", "archived"),
            None => ("SHA-256", "in the snapshot"),
        };
        let mut said = vec![compared(key, &unpacked, how)];
        for entry in databases {
            let What::Dump(dump) = &entry.what else {
                return Err(Failure::bug("an archive was taken for a dump"));
            };
            if only.is_some_and(|path| !Path::new(&dump.at).starts_with(path)) {
                continue;
            }
            let file = SqliteFile {
                volume: key.clone(),
                mount: whole(home, TO),
                path: dump.at.clone(),
                service: None,
            };
            said.extend(file.load(self.cx, dump, self.open(entry)?).await?);
        }
        Ok(said.join("; "))
    }
}

/// Starts a server like that of a service on a home of its own, or on one that goes with it.
pub(super) async fn twin_of<'c>(
    cx: &'c Cx,
    (service, kind): (&ServiceName, Kind),
    home: Option<(&VolumeName, &Target)>,
) -> Result<Twin<'c>> {
    let containers = cx.engine.project_containers(&cx.project).await?;
    let like = of_service(&containers, service).next().ok_or_else(|| {
        Failure::environment(format!(
            "service `{service}` has no container to make its server like"
        ))
    })?;
    let data = home
        .map(|(volume, target)| in_place_of(like, volume, target))
        .transpose()?;
    let spec = TwinSpec {
        what: Dumping::of(service.clone(), kind, Some(like)),
        like: like.id.clone(),
        image: None,
        data,
    };
    Twin::start(cx, &spec).await
}

/// What was compared while an archive was unpacked.
pub(super) fn compared(key: &VolumeKey, unpacked: &Unarchived, (hash, were): (&str, &str)) -> String {
    format!(
        "{} of {key}: content ({hash}), owner, mode, mtime, xattrs and links as they were {were} ({})",
        count(unpacked.entries, "entry"),
        ByteSize(unpacked.bytes)
    )
}

/// What is unpacked of a tar.
#[derive(Default)]
pub(super) struct Tar<'a> {
    /// Only this path.
    pub only: Option<&'a Path>,
    /// So many components are cut off its paths.
    pub strip: u32,
    /// Of whose owner and mode the root is where the tar does not say it: a mount, and the directory in a helper.
    pub like: Option<(HelperMount, PathBuf)>,
    /// Bytes of content and entries, for the progress; 0 is unknown.
    pub bytes: u64,
    /// See there.
    pub entries: u64,
}

/// Unpacks a tar into an empty home.
pub(super) async fn unpack(
    cx: &Cx,
    from: Box<dyn std::io::Read + Send>,
    key: &VolumeKey,
    tar: Tar<'_>,
    home: &Target,
) -> Result<Unarchived> {
    let mut mounts = vec![whole(home, TO)];
    let like = tar.like.map(|(mount, path)| {
        mounts.push(mount);
        path
    });
    let request = Request::Unarchive {
        dir: TO.into(),
        only: tar.only.map(Path::to_owned),
        strip: tar.strip,
        like,
        bytes: tar.bytes,
        entries: tar.entries,
    };
    let job = HelperJob::new(&cx.run, &cx.project, request, mounts);
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
    for note in &unpacked.notes {
        cx.events.warn(note.clone());
    }
    Ok(unpacked)
}
