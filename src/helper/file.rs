//! The content of one file in a pass: it is copied, patched, or found to be what it was.
//!
//! Who copies which file when is not decided here, but in [`super::files`].

use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{ftruncate, ioctl_ficlone};
use rustix::io::Errno;

use super::attrs;
use super::back::{Copied, differs, keep};
use super::blocks::BlockLists;
use super::content::{self, Buffer, Content, Reader, is_sparse};
use super::copy::{Hand, Pass};
use super::fault::{Fault, Result, Side, errno_of, vanished};
use super::hash::{HASHED, Hash};
use super::known::LARGE;
use super::manifest::{NO_LIST, settled};
use super::meta::{Kind, Meta, Stamp};
use super::patch;
use super::store::{self, Standing, Store};
use super::structure;
use super::throttle::Throttle;
use super::tree::EntryId;

/// From this length on a file is written out at once. Smaller ones are better written by the kernel, many at a time.
const STREAMED: u64 = 1 << 20;

/// What all who copy share.
pub struct Shared<'a> {
    /// The pass.
    pub pass: &'a Pass<'a>,
    /// When it began.
    pub start: Stamp,
    /// How much a second.
    pub throttle: Throttle,
    /// What is known of each file.
    pub files: &'a Store,
    /// The block hashes of large files.
    pub lists: &'a BlockLists,
    /// Whether the destination may share blocks with the source, as far as is known.
    pub clones: AtomicBool,
}

/// What became of the files.
#[derive(Debug, Default)]
pub struct Done {
    /// Files whose content is at the destination now and was not before.
    pub copied: u64,
    /// How many of them were patched.
    pub patched: u64,
    /// Files that turned out to have the content that they had.
    pub kept: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// What can be read back when everything is written, linked and synced.
    pub late: Vec<Copied>,
}

impl Done {
    /// Adds what others did.
    pub fn extend(&mut self, other: Self) {
        self.copied += other.copied;
        self.patched += other.patched;
        self.kept += other.kept;
        self.bytes += other.bytes;
        self.late.extend(other.late);
    }
}

/// A file of the source and its place at the destination, open.
pub struct Opened {
    /// Which.
    pub id: EntryId,
    from: OwnedFd,
    to: OwnedFd,
    /// The source's metadata.
    pub meta: Meta,
    /// Whether the source is as it was walked.
    as_walked: bool,
    /// Before anything was read.
    now: Stamp,
    way: Way,
}

/// How the destination gets the content.
enum Way {
    /// It is written; out at once or not.
    Write { streamed: bool },
    /// It shares the blocks of the disk with the source.
    Clone,
    /// It has one with these block hashes, and gets what differs.
    Patch { list: Vec<Hash>, same_length: bool },
    /// It has it already.
    Keep(Content),
}

/// What became of a stretch of a file.
pub struct Part {
    /// The content of the source there.
    pub content: Content,
    /// Whether anything had to be written.
    pub changed: bool,
}

/// What is known of the content of a file at the destination.
enum Before {
    /// Its block hashes, and its length: it can be patched.
    Listed { list: Vec<Hash>, size: u64 },
    /// Its hash: it can stay, if the source has the same.
    Hashed(Hash),
}

/// One who copies.
pub struct Copier<'a> {
    /// With the others.
    pub shared: &'a Shared<'a>,
    hand: Hand<'a>,
    buffer: Buffer,
    /// Files that are still to be synced and read back.
    pub unread: Vec<Copied>,
    /// What became of the others.
    pub done: Done,
}

impl<'a> Copier<'a> {
    /// Has done nothing yet.
    #[must_use]
    pub fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            shared,
            hand: shared.pass.roots.hand(),
            buffer: Buffer::default(),
            unread: Vec::new(),
            done: Done::default(),
        }
    }

    /// Fails, or with a live source passes over what changed.
    fn changed(&self, id: EntryId, because: &str) -> Result<()> {
        if self.shared.pass.request.live {
            return Ok(());
        }
        Err(Fault::source_changed(&self.shared.pass.tree.path(id), because))
    }

    fn failed(&self, side: Side, verb: &'static str, id: EntryId) -> impl Fn(Errno) -> Fault + use<'a> {
        let tree = self.shared.pass.tree;
        move |errno| Fault::io(side, verb, &tree.path(id), errno)
    }

    /// Opens both sides and decides how the content gets over. `None` when nothing is left to do, or the file went away,
    /// which only a live source may do.
    ///
    /// # Errors
    /// When a side cannot be opened, or the source changed and may not.
    pub fn open(&mut self, id: EntryId) -> Result<Option<Opened>> {
        let pass = self.shared.pass;
        let (node, walked) = (pass.tree.node(id.dir), pass.tree.entry(id).meta);
        let name = pass.tree.name(id);
        let opened = self.hand.from.enter(node);
        let from = match opened.and_then(|dir| content::open_file(dir, &name)) {
            Ok(file) => file,
            Err(errno) if vanished(errno) => return self.changed(id, "it went away").map(|()| None),
            Err(errno) => return Err(self.failed(Side::Source, "open", id)(errno)),
        };
        let now = Stamp::now();
        let meta = Meta::of_fd(from.as_fd()).map_err(self.failed(Side::Source, "read", id))?;
        if meta.kind != Kind::File {
            return self.changed(id, "it became something else").map(|()| None);
        }
        let as_walked = meta.untouched_since(&walked);
        if !as_walked {
            self.changed(id, "its size, time or inode is not what it was a moment ago")?;
        }
        let from_side = (from, meta);
        let (to, way) = match self.before(id, &meta)? {
            Some((to, Before::Listed { list, size })) => {
                // As long as it will be, so that its parts can be patched in any order.
                ftruncate(&to, meta.size).map_err(self.failed(Side::Destination, "set the length of", id))?;
                let same_length = size == meta.size;
                (to, Way::Patch { list, same_length })
            }
            Some((to, Before::Hashed(hash))) => match self.is_still(id, &from_side, hash)? {
                Some(content) => (to, Way::Keep(content)),
                None => self.create(id, &from_side)?,
            },
            None => self.create(id, &from_side)?,
        };
        let (from, meta) = from_side;
        Ok(Some(Opened {
            id,
            from,
            to,
            meta,
            as_walked,
            now,
            way,
        }))
    }

    /// The destination of a file, open, when its state is known.
    fn before(&mut self, id: EntryId, meta: &Meta) -> Result<Option<(OwnedFd, Before)>> {
        let (pass, failed) = (self.shared.pass, self.failed(Side::Destination, "reach", id));
        let known = self.shared.files.get(id).map_err(store::failed)?;
        let Some((Standing::Earlier, draft)) = known.filter(|_| meta.nlink == 1) else {
            return Ok(None);
        };
        let (proof, size) = (&draft.proof, draft.size());
        let before = if draft.is_listed() {
            let blocks = size.div_ceil(HASHED as u64);
            let list = self.shared.lists.get(proof.list, blocks, &proof.hash);
            match list.filter(|_| pass.request.patch) {
                Some(list) => Before::Listed { list, size },
                None => return Ok(None),
            }
        } else {
            Before::Hashed(proof.hash)
        };
        let dir = self.hand.to.enter(pass.tree.node(id.dir)).map_err(&failed)?;
        let to = match patch::open(dir, &pass.tree.name(id)) {
            Ok(to) => to,
            Err(errno) if vanished(errno) || errno == Errno::LOOP => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let there = Meta::of_fd(to.as_fd()).map_err(&failed)?;
        Ok(draft.is_at(&there).then_some((to, before)))
    }

    /// The content of the source, if it is the one with this hash.
    fn is_still(
        &mut self,
        id: EntryId,
        (from, meta): &(OwnedFd, Meta),
        hash: Hash,
    ) -> Result<Option<Content>> {
        let pass = self.shared.pass;
        let reader = Reader {
            cx: pass.cx,
            side: Side::Source,
            path: &|| pass.tree.path(id),
        };
        self.shared.throttle.take(pass.cx, meta.size)?;
        let all = 0..meta.size;
        let content = content::read(reader, from.as_fd(), meta, all, &mut self.buffer, |_, _| Ok(()))?;
        Ok(Some(content).filter(|content| content.complete && content.hash() == hash))
    }

    /// Makes the file at the destination, empty, or with the content already where that costs nothing.
    fn create(&mut self, id: EntryId, (from, meta): &(OwnedFd, Meta)) -> Result<(OwnedFd, Way)> {
        let tree = self.shared.pass.tree;
        let failed = self.failed(Side::Destination, "create", id);
        let dir = self.hand.to.enter(tree.node(id.dir)).map_err(&failed)?;
        let to = structure::new_file(dir, &tree.name(id), meta.mode).map_err(&failed)?;
        let length = |to: &OwnedFd| ftruncate(to, meta.size).map_err(&failed);
        if meta.size > 0 && self.shared.clones.load(Relaxed) {
            match ioctl_ficlone(&to, from) {
                Ok(()) => return length(&to).map(|()| (to, Way::Clone)),
                // Two file systems, or one that cannot.
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL) => {
                    self.shared.clones.store(false, Relaxed);
                }
                // If it matters, writing tells.
                Err(_) => {}
            }
        }
        let streamed = meta.size >= STREAMED;
        // As long as it will be, so that what is written of it can be read back, and holes need no write.
        if streamed || is_sparse(meta) {
            length(&to)?;
        }
        Ok((to, Way::Write { streamed }))
    }

    /// Brings a stretch of a file over, and reads it back where that can be done at once.
    ///
    /// # Errors
    /// When a side cannot be read or written, or what is read back differs.
    pub fn stretch(&mut self, opened: &Opened, range: Range<u64>) -> Result<Part> {
        let Opened {
            id, from, to, meta, ..
        } = opened;
        let pass = self.shared.pass;
        let path = || pass.tree.path(*id);
        let reader = |side| Reader {
            cx: pass.cx,
            side,
            path: &path,
        };
        let (source, throttle) = ((from.as_fd(), meta), &self.shared.throttle);
        let read_back = pass.request.read_back;
        let destination = reader(Side::Destination);
        let (content, changed, same) = match &opened.way {
            Way::Keep(content) => (content.clone(), false, true),
            Way::Write { streamed } => {
                let to = (to.as_fd(), *streamed);
                let buffer = &mut self.buffer;
                let content =
                    content::copy(reader(Side::Source), throttle, source, to, range.clone(), buffer)?;
                let same = if *streamed && read_back && content.complete {
                    let file = self.reopen(*id)?;
                    let back = content::hash_from_disk(destination, &file, meta, range, &mut self.buffer)?;
                    back.list == content.list
                } else {
                    true
                };
                (content, true, same)
            }
            Way::Clone => {
                let file = self.reopen(*id)?;
                let content = content::hash_from_disk(destination, &file, meta, range, &mut self.buffer)?;
                (content, true, true)
            }
            Way::Patch { list, same_length } => {
                let to = (to.as_fd(), &list[..]);
                let patch::Patched { content, written } =
                    patch::patch(reader(Side::Source), throttle, source, to, range)?;
                let same = if read_back && !written.is_empty() {
                    patch::read_back(destination, &self.reopen(*id)?, &written, &mut self.buffer)?
                } else {
                    true
                };
                (content, !written.is_empty() || !same_length, same)
            }
        };
        if !same {
            return Err(differs(&path()));
        }
        Ok(Part { content, changed })
    }

    /// A file of the destination, to be read.
    fn reopen(&mut self, id: EntryId) -> Result<OwnedFd> {
        let tree = self.shared.pass.tree;
        let dir = self.hand.to.enter(tree.node(id.dir));
        dir.and_then(|dir| content::open_file(dir, &tree.name(id)))
            .map_err(self.failed(Side::Destination, "read back", id))
    }

    /// Gives the file everything but its content, and says what is known of it.
    ///
    /// # Errors
    /// When a side cannot be read or written, or the source changed and may not.
    pub fn finish(&mut self, opened: &Opened, part: Part) -> Result<()> {
        let (
            Opened {
                id, from, to, meta, ..
            },
            Part { content, changed },
        ) = (opened, part);
        let (pass, id) = (self.shared.pass, *id);
        let xattrs = attrs::read(attrs::At::Fd(from.as_fd())).map_err(self.failed(
            Side::Source,
            "read attributes of",
            id,
        ))?;
        let wanted = meta.wanted(pass.request.owner, pass.grain);
        let set = match opened.way {
            Way::Write { .. } | Way::Clone => attrs::complete(to.as_fd(), &wanted, &xattrs),
            Way::Patch { .. } | Way::Keep(_) => {
                attrs::apply(attrs::At::Fd(to.as_fd()), Kind::File, &wanted, &xattrs).map(|_| ())
            }
        };
        set.map_err(self.failed(Side::Destination, "set the metadata of", id))?;
        let after = Meta::of_fd(from.as_fd()).map_err(self.failed(Side::Source, "read", id))?;
        let untouched = after.untouched_since(meta) && content.complete;
        if !untouched {
            self.changed(id, "it was written to")?;
        }
        let list = if content.complete && meta.size > LARGE {
            let added = self.shared.lists.add(&content.list);
            added.map_err(|error| {
                let errno = errno_of(&error);
                self.failed(Side::Destination, "keep the block hashes of", id)(errno)
            })?
        } else {
            NO_LIST
        };
        match (&opened.way, changed) {
            (Way::Keep(_), _) => self.done.kept += 1,
            (Way::Patch { .. }, false) if content.complete => self.done.kept += 1,
            (Way::Patch { .. }, _) => {
                self.done.copied += 1;
                self.done.patched += 1;
                self.done.bytes += content.data;
            }
            (Way::Write { .. } | Way::Clone, _) => {
                self.done.copied += 1;
                self.done.bytes += content.data;
            }
        }
        let written = matches!(opened.way, Way::Write { .. });
        if !(written && pass.request.read_back) {
            // What is told of the progress counts on everything being read twice.
            pass.cx.did_bytes(meta.size);
        }
        pass.cx.did_files(1);
        // What ended before its end has no hash worth comparing; the next pass takes it again.
        if !content.complete {
            return Ok(());
        }
        let copied = Copied {
            id,
            hash: content.hash(),
            list,
            size: meta.size,
            trusted: opened.as_walked && untouched && settled(meta.ctime, self.shared.start, opened.now),
            unread: matches!(opened.way, Way::Write { streamed: false }) && pass.request.read_back,
        };
        if meta.nlink > 1 {
            // Its further names will touch it.
            self.done.late.push(copied);
        } else if copied.unread {
            self.unread.push(copied);
        } else {
            let there = Meta::of_fd(to.as_fd()).map_err(self.failed(Side::Destination, "read back", id))?;
            if there.size != meta.size {
                return Err(differs(&pass.tree.path(id)));
            }
            keep(self.shared.files, &copied, &there)?;
        }
        Ok(())
    }
}
