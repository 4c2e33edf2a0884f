//! Lists what is on a disk, content included, by several threads, past the page cache where that can be done.

use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::io::Errno;

use super::attrs::{self, At, Xattrs};
use super::content::{self, Buffer, Reader};
use super::context::Context;
use super::crew::{jobs, work_off};
use super::cursor::Cursor;
use super::fault::{Fault, Result, Side, show};
use super::hash::Hash;
use super::listing::{Half, Listing, Looks, key};
use super::meta::{Kind, Meta};
use super::protocol::FailClass;
use super::tree::{EntryId, Tree};
use crate::model::Owner;

/// Entries that a thread takes at a time.
const RUN: u32 = 256;

/// What an entry has besides metadata and content.
#[derive(Debug, Default)]
pub struct Small {
    /// What a symlink points at.
    pub target: Vec<u8>,
    /// Attributes.
    pub xattrs: Xattrs,
}

impl Small {
    /// Of an entry that is no directory.
    ///
    /// # Errors
    /// As the system calls; `EINVAL` when it is no symlink any more.
    pub fn read(dir: BorrowedFd<'_>, name: &[u8], kind: Kind) -> Result<Self, Errno> {
        let target = if kind == Kind::Symlink {
            rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes()
        } else {
            Vec::new()
        };
        let xattrs = attrs::read(At::Entry(dir, name))?;
        Ok(Self { target, xattrs })
    }

    /// All about the entry, in one number.
    #[must_use]
    pub fn half(&self, meta: &Meta, content: Option<Hash>) -> Half {
        let looks = Looks {
            kind: meta.kind,
            mode: meta.mode,
            owner: Owner {
                uid: meta.uid,
                gid: meta.gid,
            },
            mtime: meta.mtime,
            rdev: meta.rdev,
            target: &self.target,
            xattrs: &self.xattrs,
            content: content.map(|hash| (meta.size, hash)),
        };
        looks.half()
    }
}

/// An entry that is no directory.
///
/// # Errors
/// When it cannot be read, or becomes shorter meanwhile.
pub fn entry(
    cx: &Context,
    dir: BorrowedFd<'_>,
    (name, path): (&[u8], &[u8]),
    meta: &Meta,
    buffer: &mut Buffer,
) -> Result<Half> {
    let failed = |errno| Fault::io(Side::Destination, "read back", path, errno);
    let small = Small::read(dir, name, meta.kind).map_err(failed)?;
    if meta.kind != Kind::File {
        return Ok(small.half(meta, None));
    }
    let reader = Reader {
        cx,
        side: Side::Destination,
        path: &|| path.to_vec(),
    };
    let file = content::open_file(dir, name).map_err(failed)?;
    let content = content::hash_from_disk(reader, &file, meta, 0..meta.size, buffer)?;
    if !content.complete {
        let what = format!("{} became shorter while it was read back", show(path));
        return Err(Fault::new(
            FailClass::Differs,
            what,
            "something else writes to it",
        ));
    }
    Ok(small.half(meta, Some(content.hash())))
}

/// A directory by itself.
///
/// # Errors
/// When it cannot be read.
pub fn directory(dir: BorrowedFd<'_>, path: &[u8]) -> Result<Half> {
    let read = || -> Result<Half, Errno> {
        let small = Small {
            target: Vec::new(),
            xattrs: attrs::read(At::Fd(dir))?,
        };
        Ok(small.half(&Meta::of_fd(dir)?, None))
    };
    read().map_err(|errno| Fault::io(Side::Destination, "read back", path, errno))
}

/// Everything of a tree that was walked, its root included; `prefix` is the path of that.
///
/// # Errors
/// When something cannot be read.
pub fn tree(cx: &Context, root: BorrowedFd<'_>, tree: &Tree, prefix: &[u8]) -> Result<Listing> {
    let below = |path: Vec<u8>| join(prefix, &path);
    let runs: Vec<(u32, Range<u32>)> = (0..)
        .zip(tree.counts())
        .flat_map(|(dir, count)| {
            let starts = (0..count).step_by(RUN as usize);
            starts.map(move |start| (dir, start..count.min(start.saturating_add(RUN))))
        })
        .collect();
    let state = || {
        let cursor = Cursor::new(root, tree.root.dev);
        (cursor, Buffer::default(), Listing::default())
    };
    let parts = work_off(
        cx,
        jobs(0),
        runs,
        state,
        |(cursor, buffer, listing), (id, slots), _| {
            let here = tree.dir(id);
            for slot in slots {
                cx.go_on()?;
                let entry_id = EntryId { dir: id, slot };
                // A further name is one of the file that was listed under its first.
                if tree.is_link(entry_id) {
                    continue;
                }
                let Some(found) = here.entries.get(slot as usize) else {
                    continue;
                };
                let (name, meta) = (here.name(found), &found.meta);
                let path = below(here.node.path(name));
                let failed = |errno| Fault::io(Side::Destination, "read back", &path, errno);
                let dir = cursor.enter(&here.node).map_err(failed)?;
                let looks = if meta.kind == Kind::Dir {
                    let fd = super::cursor::open_dir(dir, name).map_err(failed)?;
                    directory(fd.as_fd(), &path)?
                } else {
                    entry(cx, dir, (name, &path), meta, buffer)?
                };
                listing.add(key(&path), looks);
            }
            Ok(())
        },
    )?;
    let mut all = Listing::default();
    all.add(key(prefix), directory(root, prefix)?);
    for (_, _, part) in parts {
        all.extend(part);
    }
    let mut firsts: HashMap<EntryId, Half> = HashMap::new();
    for (name, first) in &tree.links {
        let first = *firsts
            .entry(*first)
            .or_insert_with(|| key(&below(tree.path(*first))));
        all.link(key(&below(tree.path(*name))), first);
    }
    Ok(all)
}

/// A path below another; both may be empty.
#[must_use]
pub fn join(above: &[u8], below: &[u8]) -> Vec<u8> {
    match (above, below) {
        (above, []) => above.to_vec(),
        ([], below) => below.to_vec(),
        (above, below) => [above, b"/", below].concat(),
    }
}
