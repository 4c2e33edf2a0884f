//! Writes a tree as a tar archive into a stream, and says in one figure what went in.
//!
//! One pass, and what is written cannot be taken back: so a small file is read whole before its header goes out, again
//! if it changed meanwhile. A large one goes out as it is read. Memory does not depend on the files' sizes.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::attrs::{self, At};
use super::content::{self, Buffer};
use super::context::Context;
use super::crew::jobs;
use super::cursor::{Cursor, Node, open_dir, open_root};
use super::fault::{Fault, Result, Side, show, show_path, vanished};
use super::hash::{Blocks, hash_of_list};
use super::listed::Small;
use super::listing::{Listing, key};
use super::meta::{Kind, Meta};
use super::place;
use super::protocol::{ArchiveReport, FailClass};
use super::tar::write::Writer;
use super::tar::{Member, STRETCHES, Stretch, What};
use super::tree::{Entry, EntryId, Tree};
use super::walk::{Manner, Walk, walk};
use crate::model::Owner;

/// A file up to this is read whole before it is written.
const HELD: u64 = 8 << 20;

/// So often such a file is read again when it changes meanwhile.
const AGAIN: usize = 3;

/// Archives the tree `dir`, or of that only what is at a path, and the directories on the way there.
///
/// # Errors
/// When something cannot be read, nobody takes the archive, and, unless it is live, when the tree changes meanwhile.
pub fn archive(
    cx: &Context,
    dir: &Path,
    live: bool,
    only: Option<&Path>,
    out: &mut dyn Write,
) -> Result<ArchiveReport> {
    let root = open_root(dir).map_err(|errno| Fault::on_path("open", dir, errno))?;
    let tree = walk(
        cx,
        Walk {
            root: root.as_fd(),
            side: Side::Source,
            manner: if live { Manner::Live } else { Manner::Still },
            jobs: jobs(0),
        },
    )?;
    let only = only.map(|path| only_of(&tree, path)).transpose()?;
    if !attrs::sees_trusted(root.as_fd()) {
        cx.note("attributes in trusted.* cannot be seen without CAP_SYS_ADMIN: they are not archived");
    }
    for mount in &tree.mounts {
        cx.note(format!(
            "{} is a mount of its own; what is in it is not part of the volume",
            show(mount)
        ));
    }
    let mut archiver = Archiver {
        cx,
        tree: &tree,
        cursor: Cursor::new(root.as_fd(), tree.root.dev),
        live,
        writer: Writer::new(out),
        buffer: Buffer::default(),
        listing: Listing::default(),
        firsts: tree.links.values().copied().collect(),
        names: HashMap::new(),
        report: ArchiveReport::default(),
    };
    archiver.expect(only.as_deref());
    archiver.directory(tree.node(0), b".", &tree.root)?;
    for (id, entry) in tree.entries() {
        cx.go_on()?;
        if only
            .as_deref()
            .is_none_or(|only| concerns(only, &tree.path(id)) != Concern::None)
        {
            archiver.entry(id, &entry)?;
        }
    }
    let Archiver {
        writer,
        listing,
        mut report,
        ..
    } = archiver;
    report.tar_bytes = writer.finish().map_err(|error| not_taken(&error))?;
    let listed = listing.finish();
    report.entries = listed.len();
    report.tree = listed.hex();
    Ok(report)
}

/// The path in bytes, if there is something in the tree.
fn only_of(tree: &Tree, path: &Path) -> Result<Vec<u8>> {
    let names = place::components(path)?;
    let only = names.join(&b'/');
    if only.is_empty() || tree.find(&only).is_none() {
        let what = format!("cannot archive {}", show_path(path));
        return Err(Fault::refused(what, "it is not there"));
    }
    Ok(only)
}

/// What a path is to the one that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// It, or something in it.
    Inside,
    /// A directory that it is in.
    Above,
    /// Nothing.
    None,
}

/// What `path` is to `only`.
#[must_use]
pub fn concerns(only: &[u8], path: &[u8]) -> Concern {
    let in_it = |outer: &[u8], inner: &[u8]| {
        outer.is_empty()
            || inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.starts_with(b"/"))
    };
    if path == only || in_it(only, path) {
        Concern::Inside
    } else if in_it(path, only) {
        Concern::Above
    } else {
        Concern::None
    }
}

fn not_taken(error: &std::io::Error) -> Fault {
    Fault::new(FailClass::Other, "nobody takes the archive", error.to_string())
}

/// A file that is open.
struct Opened {
    file: OwnedFd,
    meta: Meta,
    data: Option<Vec<Stretch>>,
    small: Small,
}

struct Archiver<'a> {
    cx: &'a Context,
    tree: &'a Tree,
    cursor: Cursor<'a>,
    live: bool,
    writer: Writer<'a>,
    buffer: Buffer,
    listing: Listing,
    /// Entries that have further names.
    firsts: HashSet<EntryId>,
    /// Under which of its names such an entry is in the archive.
    names: HashMap<EntryId, Vec<u8>>,
    report: ArchiveReport,
}

impl Archiver<'_> {
    /// Tells how much there is to do.
    fn expect(&self, only: Option<&[u8]>) {
        let (mut bytes, mut files) = (0, 1);
        for (id, entry) in self.tree.entries() {
            if only.is_none_or(|only| concerns(only, &self.tree.path(id)) != Concern::None) {
                files += 1;
                if entry.meta.kind == Kind::File && !self.tree.is_link(id) {
                    bytes += entry.meta.size;
                }
            }
        }
        self.cx.expect(bytes, files);
    }

    fn entry(&mut self, id: EntryId, entry: &Entry) -> Result<()> {
        self.cx.did_files(1);
        let tree = self.tree;
        let (name, node) = (tree.name(id), tree.node(id.dir));
        match entry.meta.kind {
            Kind::Socket => {
                self.report.sockets += 1;
                self.cx
                    .note(format!("socket {} was left out", show(&tree.path(id))));
                return Ok(());
            }
            Kind::Dir => return self.directory(node, &name, &entry.meta),
            _ => {}
        }
        let first = tree.links.get(&id).copied();
        if let Some(known) = first.and_then(|first| self.names.get(&first)).cloned() {
            return self.link(id, &entry.meta, &known);
        }
        let written = if entry.meta.kind == Kind::File {
            self.file(id, &entry.meta)?
        } else {
            self.small(id, &entry.meta)?
        };
        let first = first.unwrap_or(id);
        if written && self.firsts.contains(&first) {
            self.names.insert(first, tree.path(id));
        }
        Ok(())
    }

    /// Something that is not there any more, or is another thing now.
    fn gone(&self, path: &[u8]) -> Result<()> {
        self.cx.gone(self.live, path, "archived")
    }

    fn failed(&self, verb: &'static str, path: &[u8], errno: Errno) -> Result<()> {
        if vanished(errno) {
            self.gone(path)
        } else {
            Err(Fault::io(Side::Source, verb, path, errno))
        }
    }

    fn write(&mut self, path: &[u8], meta: &Meta, small: &Small, what: What) -> Result<()> {
        let slash: &[u8] = if meta.kind == Kind::Dir { b"/" } else { b"" };
        let member = Member {
            path: [if path.is_empty() { b"." } else { &b"./"[..] }, path, slash].concat(),
            what,
            mode: meta.mode,
            owner: Owner {
                uid: meta.uid,
                gid: meta.gid,
            },
            mtime: meta.mtime,
            // Those of a further name came with the first.
            xattrs: small.xattrs.clone(),
        };
        self.writer.member(&member).map_err(|error| not_taken(&error))
    }

    /// A directory, by its parent and its name; the root is `.` in itself.
    fn directory(&mut self, parent: &Arc<Node>, name: &[u8], meta: &Meta) -> Result<()> {
        let path = parent.path(if name == b"." { b"" } else { name });
        let opened = self.cursor.enter(parent).and_then(|dir| open_dir(dir, name));
        let read = opened.and_then(|dir| attrs::read(At::Fd(dir.as_fd())));
        let xattrs = match read {
            Ok(xattrs) => xattrs,
            Err(errno) => return self.failed("open", &path, errno),
        };
        let small = Small {
            target: Vec::new(),
            xattrs,
        };
        self.write(&path, meta, &small, What::Dir)?;
        self.listing.add(key(&path), small.half(meta, None));
        Ok(())
    }

    /// A further name of an entry that is in the archive as `known`.
    fn link(&mut self, id: EntryId, walked: &Meta, known: &[u8]) -> Result<()> {
        let (path, name) = (self.tree.path(id), self.tree.name(id));
        let found = self.cursor.enter(self.tree.node(id.dir));
        let same = match found.and_then(|dir| Meta::of_entry(dir, &name)) {
            Ok((meta, _)) => (meta.ino, meta.kind) == (walked.ino, walked.kind),
            Err(errno) => return self.failed("read", &path, errno),
        };
        if !same {
            return self.gone(&path);
        }
        let what = What::Link([b"./", known].concat());
        self.write(&path, walked, &Small::default(), what)?;
        self.listing.link(key(&path), key(known));
        Ok(())
    }

    /// An entry without content. Says whether it is in the archive.
    fn small(&mut self, id: EntryId, walked: &Meta) -> Result<bool> {
        let (path, name) = (self.tree.path(id), self.tree.name(id));
        let read = self.cursor.enter(self.tree.node(id.dir)).and_then(|dir| {
            let (meta, _) = Meta::of_entry(dir, &name)?;
            Ok((meta, Small::read(dir, &name, walked.kind)?))
        });
        let (meta, small) = match read {
            Ok(read) => read,
            // What was a symlink is something else.
            Err(Errno::INVAL) => return self.gone(&path).map(|()| false),
            Err(errno) => return self.failed("read", &path, errno).map(|()| false),
        };
        let what = match meta.kind {
            Kind::Symlink => What::Symlink(small.target.clone()),
            Kind::Fifo => What::Fifo,
            Kind::Char => What::Char(meta.rdev),
            Kind::Block => What::Block(meta.rdev),
            Kind::File | Kind::Dir | Kind::Socket => return self.gone(&path).map(|()| false),
        };
        if meta.kind != walked.kind {
            return self.gone(&path).map(|()| false);
        }
        self.write(&path, &meta, &small, what)?;
        self.listing.add(key(&path), small.half(&meta, None));
        Ok(true)
    }

    /// Opens a file; `None` if it is not there any more.
    fn open(&mut self, id: EntryId, path: &[u8]) -> Result<Option<Opened>> {
        let name = self.tree.name(id);
        let dir = self.cursor.enter(self.tree.node(id.dir));
        let open = || -> Result<Option<Opened>, Errno> {
            let file = content::open_file(dir?, &name)?;
            let meta = Meta::of_fd(file.as_fd())?;
            if meta.kind != Kind::File {
                return Ok(None);
            }
            let data = content::stretches(file.as_fd(), &meta, STRETCHES)?;
            let small = Small {
                target: Vec::new(),
                xattrs: attrs::read(At::Fd(file.as_fd()))?,
            };
            Ok(Some(Opened {
                file,
                meta,
                data,
                small,
            }))
        };
        match open() {
            Ok(Some(opened)) => Ok(Some(opened)),
            Ok(None) => self.gone(path).map(|()| None),
            Err(errno) => self.failed("open", path, errno).map(|()| None),
        }
    }

    /// A regular file. Says whether it is in the archive.
    fn file(&mut self, id: EntryId, walked: &Meta) -> Result<bool> {
        let path = self.tree.path(id);
        let Some(mut opened) = self.open(id, &path)? else {
            return Ok(false);
        };
        if !self.live && !opened.meta.untouched_since(walked) {
            return Err(Fault::source_changed(&path, "it was written to"));
        }
        let mut tries = 0;
        let (hash, complete, untouched) = loop {
            if opened.meta.size > HELD {
                break self.stream(&path, &opened)?;
            }
            let mut held = Vec::new();
            let (hash, complete) = self.read(&path, &opened, &mut |bytes| {
                held.extend_from_slice(bytes);
                Ok(())
            })?;
            let untouched = complete && self.is_untouched(&path, &opened)?;
            if self.live && !untouched && tries < AGAIN {
                tries += 1;
                match self.open(id, &path)? {
                    Some(again) => opened = again,
                    None => return Ok(false),
                }
                continue;
            }
            self.head(&path, &opened)?;
            self.writer.data(&held).map_err(|error| not_taken(&error))?;
            break (hash, complete, untouched);
        };
        if !untouched && !self.live {
            return Err(Fault::source_changed(&path, "it was written to"));
        }
        if !complete {
            self.cx.note(format!(
                "{} became shorter while it was archived; zeros are in place of what went",
                show(&path)
            ));
        } else if !untouched {
            self.cx.note(format!(
                "{} was written to while it was archived; it is in the archive as it was read",
                show(&path)
            ));
        }
        let meta = &opened.meta;
        self.report.bytes += meta.size;
        self.listing.add(key(&path), opened.small.half(meta, Some(hash)));
        // All of it was read, holes too; what is told of the progress counts on everything being read twice.
        self.cx.did_bytes(2 * walked.size);
        Ok(true)
    }

    fn head(&mut self, path: &[u8], opened: &Opened) -> Result<()> {
        let what = What::File {
            size: opened.meta.size,
            data: opened.data.clone(),
        };
        self.write(path, &opened.meta, &opened.small, what)
    }

    fn is_untouched(&self, path: &[u8], opened: &Opened) -> Result<bool> {
        let now =
            Meta::of_fd(opened.file.as_fd()).map_err(|errno| Fault::io(Side::Source, "read", path, errno))?;
        Ok(now.untouched_since(&opened.meta))
    }

    /// A file that is written as it is read.
    fn stream(&mut self, path: &[u8], opened: &Opened) -> Result<(super::hash::Hash, bool, bool)> {
        self.head(path, opened)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let writer = &mut self.writer;
        let mut put = |bytes: &[u8]| writer.data(bytes).map_err(|error| not_taken(&error));
        let read = read(self.cx, path, opened, &mut buffer, &mut put);
        self.buffer = buffer;
        let (hash, complete) = read?;
        Ok((hash, complete, complete && self.is_untouched(path, opened)?))
    }

    fn read(
        &mut self,
        path: &[u8],
        opened: &Opened,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<(super::hash::Hash, bool)> {
        read(self.cx, path, opened, &mut self.buffer, each)
    }
}

/// Reads all data of a file and hands it on; where the file ends too early it is zeros. Returns the hash of the whole
/// content, holes included, and whether there was as much as expected.
fn read(
    cx: &Context,
    path: &[u8],
    opened: &Opened,
    buffer: &mut Buffer,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<(super::hash::Hash, bool)> {
    let size = opened.meta.size;
    let whole = [(0, size)];
    let data = opened.data.as_deref().unwrap_or(&whole);
    let (mut blocks, mut at, mut complete) = (Blocks::default(), 0, true);
    for (start, len) in data {
        blocks.zeros(cx, start - at)?;
        at = *start;
        while at < start + len {
            cx.go_on()?;
            let room = buffer.bytes();
            let want = (start + len - at).min(room.len() as u64) as usize;
            let bytes = &mut room[..want];
            let got = content::fill(opened.file.as_fd(), bytes, at)
                .map_err(|errno| Fault::io(Side::Source, "read", path, errno))?;
            if got < want {
                complete = false;
                bytes[got..].fill(0);
            }
            blocks.update(bytes);
            each(bytes)?;
            at += want as u64;
        }
    }
    blocks.zeros(cx, size - at)?;
    Ok((hash_of_list(&blocks.finish()), complete))
}
