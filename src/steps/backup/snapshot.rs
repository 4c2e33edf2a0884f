//! Snapshots of volumes: added to the repository of a place by a helper that reads the volume, read as the archive that each
//! would have been, and checked.

use std::io::{PipeReader, Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use rustic_core::repofile::{Node, NodeType};

use super::save::Files;
use super::vault::Vault;
use crate::backup::format::{BackupId, Manifest, SnapshotNote, What};
use crate::backup::repository::{Repository, Snapshot};
use crate::backup::store::Store;
use crate::engine::{HelperJob, Pace};
use crate::helper::meta::{Stamp, device};
use crate::helper::protocol::{Request, SnapshotRequest};
use crate::helper::remote::Ask;
use crate::helper::tar::write::Writer;
use crate::helper::tar::{Member, What as Kind};
use crate::model::{Failure, Owner, ProjectName, Result, count};
use crate::steps::{Cx, FROM, mount_of};

/// Adds a snapshot of a volume.
pub(super) async fn add(
    cx: &Cx,
    repository: &Repository,
    files: Files<'_>,
    id: &BackupId,
    live: bool,
) -> Result<SnapshotNote> {
    let (key, name) = (files.key, files.name);
    let target = format!("{FROM}/{key}");
    let request = Request::Snapshot(SnapshotRequest {
        dir: target.clone().into(),
        live,
        name: key.to_string(),
        host: cx.project.to_string(),
        tags: Repository::tags(&cx.project, key.as_str(), id),
    });
    let mount = mount_of((name, files.site), target, true);
    let job = HelperJob {
        pace: if live { Pace::Gentle } else { Pace::Usual },
        ..HelperJob::new(&cx.run, &cx.project, request, vec![mount])
    };
    let mut serve = |ask: Ask, body: Bytes| serve(repository, ask, &body);
    let mut on_line = |line| cx.pass_on(line, "snapshot", Some(key));
    let added = cx
        .engine
        .snapshot(job, &mut serve, &mut on_line)
        .await
        .map_err(|failure| failure.inside(format!("there is no snapshot of {}", files.describe())))?;
    let report = added.report;
    Ok(SnapshotNote {
        key: key.clone(),
        name: name.clone(),
        id: report.id,
        entries: report.entries,
        bytes: report.bytes,
        files_added: report.files_new + report.files_changed,
        bytes_added: report.bytes_added,
        notes: added.notes,
        site: files.site.map(|site| site.name.clone()),
    })
}

/// Does what a helper asks for.
fn serve(repository: &Repository, ask: Ask, body: &[u8]) -> Result<Vec<u8>> {
    let files = &repository.files;
    match ask {
        Ask::Key => repository.key(),
        Ask::List { of } => serde_json::to_vec(&files.list(of)?)
            .map_err(|e| Failure::bug("a list of files cannot be written").because(&e)),
        Ask::Read { of, id } => files.read(of, &id, None).map(Vec::from),
        Ask::Part { of, id, at, len } => files.read(of, &id, Some((at, len))).map(Vec::from),
        Ask::Write { of, id } => files.write(of, &id, &[body]).map(|()| Vec::new()),
    }
}

/// Whether volumes are in it as snapshots.
#[must_use]
pub fn has_snapshots(manifest: &Manifest) -> bool {
    notes(manifest).next().is_some()
}

fn notes(manifest: &Manifest) -> impl Iterator<Item = &SnapshotNote> {
    manifest.entries.iter().filter_map(|entry| match &entry.what {
        What::Snapshot(note) => Some(note),
        What::Dump(_) | What::Volume(_) | What::File { .. } => None,
    })
}

/// Reads every pack and blob that the snapshots of a backup need. Says what was compared.
///
/// # Errors
/// When anything is missing or different, naming it.
pub fn check_snapshots(repository: &Repository, manifest: &Manifest) -> Result<String> {
    let notes: Vec<&SnapshotNote> = notes(manifest).collect();
    repository.check(&notes)?;
    let snapshots = count(notes.len() as u64, "snapshot");
    Ok(format!(
        "every pack and blob of {snapshots} read and compared (SHA-256)"
    ))
}

/// A snapshot as a tar archive, with every piece of it compared with its hash. Reading fails at its end if anything was
/// missing or different.
pub(super) fn read(repository: &Repository, note: &SnapshotNote) -> Result<Box<dyn Read + Send>> {
    let snapshot = repository.snapshot(note)?;
    let entries = note.entries;
    let broken = |e: std::io::Error| Failure::environment("a snapshot cannot be read").because(&e);
    let (pipe, mut to) = std::io::pipe().map_err(broken)?;
    let thread = std::thread::Builder::new().spawn(move || archive(&snapshot, entries, &mut to));
    Ok(Box::new(Archive {
        pipe,
        thread: Some(thread.map_err(broken)?),
    }))
}

/// The end of the pipe that is read, and whoever writes into the other.
struct Archive {
    pipe: PipeReader,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.pipe.read(buffer)?;
        if got > 0 || buffer.is_empty() {
            return Ok(got);
        }
        // An end is only one if the other side meant it.
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(0),
            Some(Ok(Err(failure))) => Err(std::io::Error::other(failure)),
            Some(Err(_)) => Err(std::io::Error::other(Failure::bug("reading a snapshot failed"))),
        }
    }
}

fn archive(snapshot: &Snapshot, entries: u64, to: &mut dyn Write) -> Result<()> {
    let broken = |e: std::io::Error| crate::backup::failed("a snapshot cannot be handed on", &e);
    let mut writer = Writer::new(to);
    writer
        .member(&member(b".", Kind::Dir, &snapshot.root))
        .map_err(broken)?;
    let mut firsts = std::collections::HashMap::new();
    let mut written = 1;
    for entry in snapshot.entries()? {
        let (path, node) = entry?;
        let path = path.into_os_string().into_encoded_bytes();
        let path = [b"./", &path[..]].concat();
        let kind = kind(&node)?;
        written += 1;
        let shares = (node.meta.links > 1 && node.meta.inode != 0 && !node.is_dir())
            .then_some((node.meta.device_id, node.meta.inode));
        if let Some(first) = shares.and_then(|inode| firsts.get(&inode)).cloned() {
            writer
                .member(&member(&path, Kind::Link(first), &node))
                .map_err(broken)?;
            continue;
        }
        firsts.extend(shares.map(|inode| (inode, path.clone())));
        let is_file = matches!(kind, Kind::File { .. });
        writer.member(&member(&path, kind, &node)).map_err(broken)?;
        if is_file {
            snapshot.content(&node, &mut Data(&mut writer))?;
        }
    }
    writer.finish().map_err(broken)?;
    match written == entries {
        true => Ok(()),
        false => Err(Failure::refused(format!(
            "the snapshot has {written} entries instead of {entries}"
        ))),
    }
}

/// The content of the member that was begun.
struct Data<'a, 'b>(&'a mut Writer<'b>);

impl Write for Data<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.data(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn kind(node: &Node) -> Result<Kind> {
    // In the numbering of the C library, as restic keeps it.
    let packed = |number: u64| device(rustix::fs::major(number), rustix::fs::minor(number));
    Ok(match &node.node_type {
        NodeType::File => Kind::File {
            size: node.meta.size,
            data: None,
        },
        NodeType::Dir => Kind::Dir,
        NodeType::Symlink { .. } => {
            Kind::Symlink(node.node_type.to_link().as_os_str().as_encoded_bytes().to_vec())
        }
        NodeType::Fifo => Kind::Fifo,
        NodeType::Chardev { device } => Kind::Char(packed(*device)),
        NodeType::Dev { device } => Kind::Block(packed(*device)),
        NodeType::Socket => {
            return Err(Failure::refused(format!(
                "the snapshot has a socket, {:?}",
                node.name
            )));
        }
    })
}

fn member(path: &[u8], what: Kind, node: &Node) -> Member {
    let slash: &[u8] = if what == Kind::Dir { b"/" } else { b"" };
    let meta = &node.meta;
    let further = matches!(what, Kind::Link(_));
    let attributes = meta.extended_attributes.iter().filter(|_| !further);
    let mut xattrs: Vec<_> = attributes
        .map(|x| (x.name.clone().into_bytes(), x.value.clone().unwrap_or_default()))
        .collect();
    xattrs.sort();
    Member {
        path: [path, slash].concat(),
        what,
        mode: mode(meta.mode.unwrap_or(0)),
        owner: Owner {
            uid: meta.uid.unwrap_or(0),
            gid: meta.gid.unwrap_or(0),
        },
        mtime: meta.mtime.map_or_else(Stamp::default, stamp),
        xattrs,
    }
}

fn stamp(time: jiff::Timestamp) -> Stamp {
    let nanos = time.as_nanosecond();
    Stamp {
        sec: nanos.div_euclid(1_000_000_000) as i64,
        nsec: nanos.rem_euclid(1_000_000_000) as u32,
    }
}

/// The mode of a file out of Go's. <https://pkg.go.dev/io/fs#FileMode>
fn mode(go: u32) -> u16 {
    let special = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];
    let special = special.iter().filter(|(bit, _)| go & bit != 0);
    special.fold((go & 0o777) as u16, |all, (_, bit)| all | bit)
}

/// Forgets the snapshots of a backup that came to nothing.
pub(super) fn take_back(vault: &Vault, store: &Arc<dyn Store>, of: (&ProjectName, &BackupId)) -> Result<()> {
    let (project, id) = of;
    match vault.repository_if_any(store, project)? {
        Some(repository) => repository.forget(project, &|gone| gone == id).map(drop),
        None => Ok(()),
    }
}
