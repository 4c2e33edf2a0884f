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
use super::blocks::BlockLists;
use super::content::{self, Buffer, Content, HASHED, Hash, Reader};
use super::context::Context;
use super::crew::{jobs, work_off};
use super::cursor::{Cursor, open_root};
use super::fault::{Fault, Result, Side, escape, show, show_path, vanished};
use super::known::{Draft, Earlier, Known, LARGE, Open, known, write_manifest};
use super::manifest::{NO_LIST, Proof, settled};
use super::meta::{Grain, Kind, Meta, Stamp};
use super::moves::{self, Staged};
use super::patch;
use super::protocol::{CopyReport, CopyRequest, FailClass};
use super::structure;
use super::throttle::Throttle;
use super::tree::{EntryId, Tree};
use super::walk::{Manner, Walk, walk};

/// What a thread takes at a time, in bytes of content.
const BATCH: u64 = 4 << 20;

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
    let lists_path = request.manifest.with_extension("blocks");
    let on_lists = |error: std::io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Fault::on_path("keep block hashes in", &lists_path, errno)
    };
    let lists = BlockLists::open(&lists_path).map_err(on_lists)?;
    let mut known = known(cx, &request.manifest, &tree);
    let mut proofs = std::mem::take(&mut known.proofs);

    let moves = std::mem::take(&mut known.moves);
    let staged = Staged::take(&pass, &moves)?;
    report.moved = staged.count();
    let structure = structure::bring(&pass, &to_meta, (&proofs, &staged))?;
    report.deleted = staged.clear(&pass)?;
    known.earlier.forget(moves.drafts().map(|(id, _)| id).collect());
    known.earlier.add(moves::renewed(&moves, structure.moved));
    proofs.forget(structure.stale);
    proofs.forget(structure.renewed.iter().map(|(id, _)| *id).collect());
    proofs.add(structure.renewed);
    report.deleted += structure.deleted;
    report.metadata_changed = structure.metadata_changed;
    report.sockets = structure.sockets;

    let to_copy: u64 = structure.content.iter().map(|id| tree.entry(*id).meta.size).sum();
    cx.expect(to_copy, structure.content.len() as u64);
    let to_patch = structure
        .content
        .iter()
        .any(|id| known.earlier.get(*id).is_some_and(Draft::is_listed));
    if to_patch {
        Open::mark(&request.manifest)?;
    }
    let copied = contents(&pass, (start, &known, &lists), &structure.content)?;
    let (kept, taken): (Vec<&Copied>, Vec<&Copied>) = copied.iter().partition(|copied| copied.kept);
    report.metadata_changed += kept.len() as u64;
    report.files_copied = taken.len() as u64;
    report.files_patched = taken.iter().filter(|copied| copied.changed.is_some()).count() as u64;
    report.bytes_copied = copied.iter().map(|copied| copied.data).sum();
    proofs.forget(structure::link(&pass, &structure.links)?);
    sync(&to)?;
    let back = read_back(&pass, &lists, copied)?;
    proofs.add(back.proofs);
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
    lists.sync().map_err(on_lists)?;
    write_manifest(&request.manifest, &tree, &proofs, &Earlier::new(back.drafts))?;
    Open::clear(&request.manifest)?;
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

/// A file that was copied, to be read back.
struct Copied {
    id: EntryId,
    hash: Option<Hash>,
    /// The place of its list of block hashes, or [`NO_LIST`].
    list: u64,
    /// The blocks that were rewritten, when not all of it was.
    changed: Option<Vec<u32>>,
    /// Whether none was, because the content is what it was.
    kept: bool,
    data: u64,
    size: u64,
    /// Whether the source was as it was walked, and long enough ago, before and after.
    trusted: bool,
}

/// What the copying of a file works with.
struct Copier<'a> {
    pass: &'a Pass<'a>,
    start: Stamp,
    throttle: &'a Throttle,
    earlier: &'a Earlier,
    lists: &'a BlockLists,
    hand: Hand<'a>,
    buffer: Buffer,
    copied: Vec<Copied>,
}

fn contents(
    pass: &Pass<'_>,
    (start, known, lists): (Stamp, &Known, &BlockLists),
    files: &[EntryId],
) -> Result<Vec<Copied>> {
    let mut batches = batches(pass.tree, files);
    // In the order of the tree; the stack gives out the last first.
    batches.reverse();
    let throttle = Throttle::new(pass.request.bandwidth);
    let state = || Copier {
        pass,
        start,
        throttle: &throttle,
        earlier: &known.earlier,
        lists,
        hand: pass.roots.hand(),
        buffer: Buffer::default(),
        copied: Vec::new(),
    };
    let done = work_off(pass.cx, pass.jobs, batches, state, |copier, batch, _| {
        for &id in batch {
            pass.cx.go_on()?;
            let copied = copier.file(id)?;
            copier.copied.extend(copied);
            pass.cx.did_files(1);
        }
        Ok(())
    })?;
    Ok(done.into_iter().flat_map(|copier| copier.copied).collect())
}

/// Files of one directory each, not too much at a time. Two threads that make files in the same directory wait for each
/// other in the kernel.
fn batches<'a>(tree: &Tree, files: &'a [EntryId]) -> Vec<&'a [EntryId]> {
    let mut bytes = 0;
    let together = |a: &EntryId, b: &EntryId| {
        bytes += tree.entry(*a).meta.size;
        let same = a.dir == b.dir && bytes < BATCH;
        if !same {
            bytes = 0;
        }
        same
    };
    files.chunk_by(together).collect()
}

impl Copier<'_> {
    /// Copies one file. `None` when it went away, which only a live source may do.
    fn file(&mut self, id: EntryId) -> Result<Option<Copied>> {
        let pass = self.pass;
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
        let from = match self
            .hand
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
        let reader = Reader {
            cx: pass.cx,
            side: Side::Source,
            path: &path,
        };
        let before = self
            .before(id, &meta)
            .map_err(failed(Side::Destination, "reach"))?;
        let mut kept = false;
        let updated = match before {
            Some((to, Before::Listed(list, size))) => {
                let source = (from.as_fd(), &meta);
                let patched = patch::patch(reader, self.throttle, source, to.as_fd(), (&list, size))?;
                kept = patched.changed.is_empty() && size == meta.size;
                Some((to, patched.content, patched.changed))
            }
            Some((to, Before::Hashed(hash))) => {
                self.throttle.take(pass.cx, meta.size)?;
                let content = content::read(reader, from.as_fd(), &meta, &mut self.buffer, |_, _| Ok(()))?;
                kept = content.complete && content.hash == hash;
                kept.then_some((to, Content { data: 0, ..content }, Vec::new()))
            }
            None => None,
        };
        let (to, content, rewritten) = match updated {
            Some((to, content, changed)) => (to, content, Some(changed)),
            None => {
                let dir = self
                    .hand
                    .to
                    .enter(&dir.node)
                    .map_err(failed(Side::Destination, "reach"))?;
                let to = structure::new_file(dir, name).map_err(failed(Side::Destination, "create"))?;
                let content = content::copy(
                    reader,
                    self.throttle,
                    from.as_fd(),
                    &meta,
                    to.as_fd(),
                    &mut self.buffer,
                )?;
                (to, content, None)
            }
        };
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
        let list = if content.complete && meta.size > LARGE {
            let added = self.lists.add(&content.list);
            added.map_err(|error| {
                failed(Side::Destination, "keep the block hashes of")(
                    Errno::from_io_error(&error).unwrap_or(Errno::IO),
                )
            })?
        } else {
            NO_LIST
        };
        Ok(Some(Copied {
            id,
            // What ended before its end has no hash worth comparing; the next pass takes it again.
            hash: content.complete.then_some(content.hash),
            list,
            kept: kept && content.complete,
            changed: rewritten,
            data: content.data,
            size: meta.size,
            trusted: as_walked && untouched && settled(meta.ctime, self.start, now),
        }))
    }

    /// The destination of a file, open, when its state is known.
    fn before(&mut self, id: EntryId, meta: &Meta) -> std::result::Result<Option<(OwnedFd, Before)>, Errno> {
        let Some(draft) = self.earlier.get(id).filter(|_| meta.nlink == 1) else {
            return Ok(None);
        };
        let (proof, size) = (&draft.proof, draft.size());
        let before = if draft.is_listed() {
            if !self.pass.request.patch {
                return Ok(None);
            }
            let blocks = size.div_ceil(HASHED as u64);
            match self.lists.get(proof.list, blocks, &proof.hash) {
                Some(list) => Before::Listed(list, size),
                None => return Ok(None),
            }
        } else {
            Before::Hashed(proof.hash)
        };
        let tree = self.pass.tree;
        let dir = self.hand.to.enter(&tree.dir(id.dir).node)?;
        let to = match patch::open(dir, tree.name(id)) {
            Ok(to) => to,
            Err(errno) if vanished(errno) || errno == Errno::LOOP => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let there = Meta::of_fd(to.as_fd())?;
        Ok(draft.is_at(&there).then_some((to, before)))
    }
}

/// What is known of the content of a file at the destination.
enum Before {
    /// Its block hashes, and its length: it can be patched.
    Listed(Vec<Hash>, u64),
    /// Its hash: it can stay, if the source has the same.
    Hashed(Hash),
}

/// What was read back.
#[derive(Default)]
struct Back {
    proofs: Vec<(EntryId, Proof)>,
    /// Large files whose source is not to be trusted yet.
    drafts: Vec<(EntryId, Draft)>,
}

/// Reads everything back that was written, and compares; or only looks at it, when it is not to be read back.
fn read_back(pass: &Pass<'_>, lists: &BlockLists, mut copied: Vec<Copied>) -> Result<Back> {
    copied.reverse();
    let state = || (pass.roots.hand().to, Buffer::default(), Back::default());
    let done = work_off(
        pass.cx,
        pass.jobs,
        copied,
        state,
        |(cursor, buffer, back), file, _| {
            let Some(hash) = file.hash else { return Ok(()) };
            let path = || pass.tree.path(file.id);
            let failed = |errno| Fault::io(Side::Destination, "read back", &path(), errno);
            let node = &pass.tree.dir(file.id.dir).node;
            let dir = cursor.enter(node).map_err(failed)?;
            let name = pass.tree.name(file.id);
            let reader = Reader {
                cx: pass.cx,
                side: Side::Destination,
                path: &path,
            };
            let (meta, same) = if pass.request.read_back {
                let fd = content::open_file(dir, name).map_err(failed)?;
                let meta = Meta::of_fd(fd.as_fd()).map_err(failed)?;
                let same = match &file.changed {
                    None => content::hash_from_disk(reader, &fd, &meta, buffer)?.hash == hash,
                    // The other blocks were read back by an earlier pass, and the file was not touched since.
                    Some(changed) => {
                        let blocks = file.size.div_ceil(HASHED as u64);
                        let list = lists.get(file.list, blocks, &hash).unwrap_or_default();
                        content::blocks_from_disk(reader, &fd, &list, changed, buffer)?
                    }
                };
                (meta, same)
            } else {
                let (meta, _) = Meta::of_entry(dir, name).map_err(failed)?;
                // What is told of the progress counts on everything being read twice.
                pass.cx.did_bytes(file.size);
                (meta, meta.kind == Kind::File)
            };
            let same = same && meta.size == file.size;
            if !same {
                return Err(Fault::new(
                    FailClass::Differs,
                    format!("{} is not what was written", escape(&path())),
                    "reading it back from the destination gave another content",
                ));
            }
            let proof = Proof {
                hash,
                ino: meta.ino,
                ctime: meta.ctime,
                list: file.list,
            };
            if file.trusted {
                back.proofs.push((file.id, proof));
            } else if file.list != NO_LIST {
                back.drafts.push((file.id, Draft::of_untrusted(proof, file.size)));
            }
            Ok(())
        },
    )?;
    let mut all = Back::default();
    for (_, _, back) in done {
        all.proofs.extend(back.proofs);
        all.drafts.extend(back.drafts);
    }
    Ok(all)
}
