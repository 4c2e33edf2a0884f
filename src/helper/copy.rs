//! One pass of copying: brings the destination to the state of the source, and proves it.
//!
//! The order makes a pass that is interrupted anywhere safe to repeat: structure, content, links, sync, read-back,
//! metadata of directories, sync, and only then the manifest, in one rename. What the manifest does not vouch for is
//! copied again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;

use super::attrs;
use super::content::{self, BLOCK, Hash, Reader};
use super::context::Context;
use super::crew::{jobs, work_off};
use super::cursor::{Cursor, open_root};
use super::fault::{Fault, Result, Side, escape, show, show_path, vanished};
use super::manifest::{self, Fingerprint, Proof, Record, Unusable, settled};
use super::meta::{Grain, Kind, Meta, Stamp};
use super::protocol::{CopyReport, CopyRequest, FailClass};
use super::structure;
use super::throttle::Throttle;
use super::tree::{EntryId, Tree};
use super::walk::{Manner, Walk, walk};

/// What is known of the content of files, by entry of the source. A sorted list: half the memory of a map.
#[derive(Debug, Default)]
pub struct Proofs(Vec<(EntryId, Proof)>);

impl Proofs {
    fn new(mut list: Vec<(EntryId, Proof)>) -> Self {
        list.sort_unstable_by_key(|(id, _)| *id);
        list.shrink_to_fit();
        Self(list)
    }

    /// The proof of an entry's content, if there is one.
    #[must_use]
    pub fn get(&self, id: EntryId) -> Option<&Proof> {
        let at = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.0.get(at).map(|(_, proof)| proof)
    }

    /// Forgets the proofs of some entries.
    fn forget(&mut self, mut stale: Vec<EntryId>) {
        stale.sort_unstable();
        self.0.retain(|(id, _)| stale.binary_search(id).is_err());
    }

    /// Adds proofs of entries that have none.
    fn add(&mut self, proofs: Vec<(EntryId, Proof)>) {
        self.0.extend(proofs);
        self.0.sort_unstable_by_key(|(id, _)| *id);
    }
}

/// What all steps of a pass share.
pub struct Pass<'a> {
    /// Progress, notes, the wish to stop.
    pub cx: &'a Context,
    /// What is asked for.
    pub request: &'a CopyRequest,
    /// The source as it was walked.
    pub tree: &'a Tree,
    /// Both roots, open.
    pub roots: Roots<'a>,
    /// What times the destination can keep.
    pub grain: Grain,
    /// Threads.
    pub jobs: usize,
}

/// The root directories of both trees.
#[derive(Debug, Clone, Copy)]
pub struct Roots<'a> {
    /// The source.
    pub from: BorrowedFd<'a>,
    /// The source's device.
    pub from_device: u32,
    /// The destination.
    pub to: BorrowedFd<'a>,
    /// The destination's device.
    pub to_device: u32,
}

/// One thread's way through both trees.
pub struct Hand<'a> {
    /// In the source.
    pub from: Cursor<'a>,
    /// In the destination.
    pub to: Cursor<'a>,
}

impl<'a> Roots<'a> {
    /// At both roots.
    #[must_use]
    pub fn hand(self) -> Hand<'a> {
        Hand {
            from: Cursor::new(self.from, self.from_device),
            to: Cursor::new(self.to, self.to_device),
        }
    }
}

/// Copies.
///
/// # Errors
/// When a side cannot be read or written, when what was read back differs, and, unless the source is live, when it
/// changes.
pub fn copy(cx: &Context, request: &CopyRequest) -> Result<CopyReport> {
    let began = Instant::now();
    let (from, to) = open_pair(&request.from, &request.to, &request.manifest)?;
    // The order matters: whatever is written after this moment has a ctime after it, and what was written before
    // through a memory map has one by the time of the walk, because syncing makes the next store fault.
    let start = Stamp::now();
    rustix::fs::syncfs(&from).map_err(|errno| Fault::io(Side::Source, "sync", b"", errno))?;
    let jobs = jobs(request.jobs);
    let manner = if request.live { Manner::Live } else { Manner::Still };
    let tree = walk(
        cx,
        Walk {
            root: from.as_fd(),
            side: Side::Source,
            manner,
            jobs,
        },
    )?;
    let to_meta = stat_root(&to, Side::Destination)?;
    let pass = Pass {
        cx,
        request,
        tree: &tree,
        roots: Roots {
            from: from.as_fd(),
            from_device: tree.root.dev,
            to: to.as_fd(),
            to_device: to_meta.dev,
        },
        grain: Grain::measure(to.as_fd()),
        jobs,
    };
    for mount in &tree.mounts {
        cx.note(format!(
            "{} is a mount of its own; what is in it is not part of the volume",
            show(mount)
        ));
    }
    let mut report = CopyReport {
        entries: tree.ids().count() as u64 + 1,
        ..CopyReport::default()
    };
    let mut proofs = load_proofs(cx, &request.manifest, &tree);

    let structure = structure::bring(&pass, &to_meta, &proofs)?;
    proofs.forget(structure.stale);
    proofs.forget(structure.renewed.iter().map(|(id, _)| *id).collect());
    proofs.add(structure.renewed);
    report.deleted = structure.deleted;
    report.metadata_changed = structure.metadata_changed;
    report.sockets = structure.sockets;

    let to_copy: u64 = structure.content.iter().map(|id| tree.entry(*id).meta.size).sum();
    cx.expect(to_copy, structure.content.len() as u64);
    let copied = contents(&pass, start, structure.content)?;
    report.files_copied = copied.len() as u64;
    report.bytes_copied = copied.iter().map(|copied| copied.data).sum();
    proofs.forget(structure::link(&pass, &structure.links)?);
    sync(&to)?;
    proofs.add(read_back(&pass, copied)?);
    report.metadata_changed += structure::finish_directories(&pass)?;
    sync(&to)?;

    for id in tree
        .ids()
        .filter(|id| tree.entry(*id).meta.kind == Kind::File && !tree.is_link(*id))
    {
        let size = tree.entry(id).meta.size;
        report.bytes_total += size;
        if proofs.get(id).is_none() {
            report.dirty += 1;
            report.dirty_bytes += size;
        }
    }
    write_manifest(&request.manifest, &tree, &proofs)?;
    report.millis = began.elapsed().as_millis() as u64;
    Ok(report)
}

/// Opens both roots and refuses what would make a tree its own destination.
fn open_pair(from: &Path, to: &Path, manifest: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let canonical = |path: &Path| {
        path.canonicalize().map_err(|error| {
            Fault::new(
                FailClass::Other,
                format!("cannot find {}", show_path(path)),
                error.to_string(),
            )
        })
    };
    let refused = |because: &str| {
        Err(Fault::refused(
            format!("cannot copy {} to {}", show_path(from), show_path(to)),
            because,
        ))
    };
    let (real_from, real_to) = (canonical(from)?, canonical(to)?);
    if real_from.starts_with(&real_to) || real_to.starts_with(&real_from) {
        return refused("one is inside the other");
    }
    let beside = manifest
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let beside = canonical(beside)?;
    if beside.starts_with(&real_to) || beside.starts_with(&real_from) {
        return refused("the manifest would lie inside one of them");
    }
    let open = |path: &Path| open_root(path).map_err(|errno| Fault::on_path("open", path, errno));
    let (from, to) = (open(from)?, open(to)?);
    let (a, b) = (
        stat_root(&from, Side::Source)?,
        stat_root(&to, Side::Destination)?,
    );
    if (a.dev, a.ino) == (b.dev, b.ino) {
        return refused("they are the same directory");
    }
    Ok((from, to))
}

/// The metadata of an open root.
pub(super) fn stat_root(root: &OwnedFd, side: Side) -> Result<Meta> {
    Meta::of_fd(root.as_fd()).map_err(|errno| Fault::io(side, "read", b"", errno))
}

fn sync(to: &OwnedFd) -> Result<()> {
    // Reports what the kernel could not write in the background, too.
    rustix::fs::syncfs(to).map_err(|errno| Fault::io(Side::Destination, "sync", b"", errno))
}

/// What the manifest vouches for, of the files that are in the source now and were not touched since.
pub fn load_proofs(cx: &Context, manifest: &Path, tree: &Tree) -> Proofs {
    let mut proofs = Vec::new();
    let read = manifest::read(manifest, |path, record| {
        let Some(id) = tree.find(path) else { return };
        let meta = &tree.entry(id).meta;
        if meta.kind == Kind::File && !tree.is_link(id) && Fingerprint::from(meta) == record.source {
            proofs.push((id, record.proof));
        }
    });
    match read {
        Ok(()) => Proofs::new(proofs),
        Err(Unusable::Missing) => Proofs::default(),
        Err(unusable) => {
            cx.note(format!(
                "the manifest is not used, everything is compared again: {unusable}"
            ));
            Proofs::default()
        }
    }
}

fn write_manifest(path: &Path, tree: &Tree, proofs: &Proofs) -> Result<()> {
    let records = tree.ids().filter_map(|id| {
        let proof = *proofs.get(id)?;
        Some((
            tree.path(id),
            Record {
                source: Fingerprint::from(&tree.entry(id).meta),
                proof,
            },
        ))
    });
    manifest::write(path, records).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Fault::on_path("write the manifest", path, errno)
    })
}

/// A file that was copied, to be read back.
struct Copied {
    id: EntryId,
    hash: Option<Hash>,
    data: u64,
    size: u64,
    /// Whether the source was as it was walked, and long enough ago, before and after.
    trusted: bool,
}

fn contents(pass: &Pass<'_>, start: Stamp, mut files: Vec<EntryId>) -> Result<Vec<Copied>> {
    // In the order of the tree; the stack gives out the last first.
    files.reverse();
    let throttle = Throttle::new(pass.request.bandwidth);
    let state = || (pass.roots.hand(), vec![0; BLOCK], Vec::new());
    let done = work_off(
        pass.cx,
        pass.jobs,
        files,
        state,
        |(hand, buffer, copied), id, _| {
            copied.extend(content_of(pass, start, &throttle, hand, buffer, id)?);
            pass.cx.did_files(1);
            Ok(())
        },
    )?;
    Ok(done.into_iter().flat_map(|(_, _, copied)| copied).collect())
}

/// Copies one file. `None` when it went away, which only a live source may do.
fn content_of(
    pass: &Pass<'_>,
    start: Stamp,
    throttle: &Throttle,
    hand: &mut Hand<'_>,
    buffer: &mut [u8],
    id: EntryId,
) -> Result<Option<Copied>> {
    let (tree, live) = (pass.tree, pass.request.live);
    let (dir, walked, name) = (tree.dir(id.dir), &tree.entry(id).meta, tree.name(id));
    let path = || tree.path(id);
    let changed = |because: &str| {
        if live {
            Ok(())
        } else {
            Err(Fault::source_changed(&path(), because))
        }
    };
    let failed = |side, verb| move |errno| Fault::io(side, verb, &path(), errno);
    let from = match hand
        .from
        .enter(&dir.node)
        .and_then(|dir| content::open_file(dir, name))
    {
        Ok(file) => file,
        Err(errno) if vanished(errno) => return changed("it went away").map(|()| None),
        Err(errno) => return Err(failed(Side::Source, "open")(errno)),
    };
    let now = Stamp::now();
    let meta = Meta::of_fd(from.as_fd()).map_err(failed(Side::Source, "read"))?;
    if meta.kind != Kind::File {
        return changed("it became something else").map(|()| None);
    }
    let as_walked = meta.untouched_since(walked);
    if !as_walked {
        changed("its size, time or inode is not what it was a moment ago")?;
    }
    let dir = hand
        .to
        .enter(&dir.node)
        .map_err(failed(Side::Destination, "reach"))?;
    let to = structure::new_file(dir, name).map_err(failed(Side::Destination, "create"))?;
    let reader = Reader {
        cx: pass.cx,
        side: Side::Source,
        path: &path,
    };
    let content = content::copy(reader, throttle, from.as_fd(), &meta, to.as_fd(), buffer)?;
    let xattrs =
        attrs::read(attrs::At::Fd(from.as_fd())).map_err(failed(Side::Source, "read attributes of"))?;
    let wanted = meta.wanted(pass.request.owner, pass.grain);
    attrs::apply(attrs::At::Fd(to.as_fd()), Kind::File, &wanted, &xattrs)
        .map_err(failed(Side::Destination, "set the metadata of"))?;
    let after = Meta::of_fd(from.as_fd()).map_err(failed(Side::Source, "read"))?;
    let untouched = after.untouched_since(&meta) && content.complete;
    if !untouched {
        changed("it was written to")?;
    }
    let trusted = as_walked && untouched && settled(meta.ctime, start, now);
    // What ended before its end has no hash worth comparing; the next pass takes it again.
    let hash = content.complete.then_some(content.hash);
    Ok(Some(Copied {
        id,
        hash,
        data: content.data,
        size: meta.size,
        trusted,
    }))
}

/// Reads everything back that was written, and compares.
fn read_back(pass: &Pass<'_>, mut copied: Vec<Copied>) -> Result<Vec<(EntryId, Proof)>> {
    copied.reverse();
    let state = || (pass.roots.hand().to, vec![0; BLOCK], Vec::new());
    let done = work_off(
        pass.cx,
        pass.jobs,
        copied,
        state,
        |(cursor, buffer, proofs), file, _| {
            let Some(hash) = file.hash else { return Ok(()) };
            let path = || pass.tree.path(file.id);
            let failed = |errno| Fault::io(Side::Destination, "read back", &path(), errno);
            let node = &pass.tree.dir(file.id.dir).node;
            let fd = cursor
                .enter(node)
                .and_then(|dir| content::open_file(dir, pass.tree.name(file.id)))
                .map_err(failed)?;
            let meta = Meta::of_fd(fd.as_fd()).map_err(failed)?;
            let reader = Reader {
                cx: pass.cx,
                side: Side::Destination,
                path: &path,
            };
            let content = content::hash_from_disk(reader, &fd, &meta, buffer)?;
            if content.hash != hash || meta.size != file.size {
                return Err(Fault::new(
                    FailClass::Differs,
                    format!("{} is not what was written", escape(&path())),
                    "reading it back from the destination gave another content",
                ));
            }
            if file.trusted {
                proofs.push((
                    file.id,
                    Proof {
                        hash,
                        ino: meta.ino,
                        ctime: meta.ctime,
                    },
                ));
            }
            Ok(())
        },
    )?;
    Ok(done.into_iter().flat_map(|(_, _, proofs)| proofs).collect())
}
