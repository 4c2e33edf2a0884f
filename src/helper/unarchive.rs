//! Unpacks a tar archive from a stream into a directory, and proves by reading the disk that it arrived.
//!
//! The archive may come from anywhere, so it is not trusted: every entry is reached one directory at a time from the
//! root, through directories only, never through a symlink, and nothing that was there before is touched. What stands
//! in an archive twice counts as it stands there last.

mod back;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Uid, ftruncate, linkat, makedev, mkdirat, mknodat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use self::back::Back;
use super::archive::{Concern, concerns};
use super::attrs::{self, At, Xattrs};
use super::content::{self, Buffer};
use super::context::Context;
use super::cursor::{Cursor, Node, open_root};
use super::fault::{Fault, Result, Side, show, show_path};
use super::hash::{Blocks, Hash, hash_of_list};
use super::listing::{Half, Listing, Looks, key};
use super::meta::{Grain, Kind, Meta, Stamp, Wanted};
use super::mounts;
use super::place::{self, Step};
use super::probe;
use super::protocol::UnarchiveReport;
use super::structure::new_file;
use super::tar::read::Reader;
use super::tar::{Member, What};

/// What of a large file waits in the page cache before it is on its way to the disk.
const BEHIND: u64 = 16 << 20;

/// What shall be unpacked, and where.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The directory; empty, unless only a path is wanted.
    pub dir: &'a Path,
    /// Only what is at this path, to the same place.
    pub only: Option<&'a Path>,
    /// So many components are cut off the beginning of each path: a directory that has no more is the root, and anything
    /// else that has no more is left out.
    pub strip: u32,
    /// Of whose owner and mode the root is where the archive does not say it.
    pub like: Option<&'a Path>,
}

/// Unpacks.
///
/// # Errors
/// When the archive is damaged or names what it must not, the disk cannot be written, or what is on it afterwards is not
/// what the archive says. What was unpacked until then stays.
pub fn unarchive(cx: &Context, job: Job<'_>, from: &mut (dyn Read + Send)) -> Result<UnarchiveReport> {
    let failed = |errno| Fault::on_path("open", job.dir, errno);
    let root = open_root(job.dir).map_err(failed)?;
    let meta = Meta::of_fd(root.as_fd()).map_err(failed)?;
    let only = match job.only {
        Some(only) => Some(free(&root, job.dir, only)?),
        None => {
            let names = probe::filled(root.as_fd()).map_err(failed)?;
            if !names.is_empty() {
                let what = format!("cannot unpack into {}", show_path(job.dir));
                let because = format!("it is not empty: it holds {}", names.join(", "));
                return Err(Fault::refused(what, because));
            }
            None
        }
    };
    let grain = Grain::measure(root.as_fd());
    let mut landing = Landing {
        cx,
        root: root.as_fd(),
        spare: mounts::is_filesystem_root(root.as_fd(), &meta).map_err(failed)?,
        only,
        strip: job.strip as usize,
        grain,
        cursor: Cursor::new(root.as_fd(), meta.dev),
        other: Cursor::new(root.as_fd(), meta.dev),
        dirs: BTreeMap::from([(
            Vec::new(),
            Landed {
                node: Node::root(),
                made: job.only.is_none(),
            },
        )]),
        given: BTreeMap::new(),
        said: Listing::default(),
        exact: (grain != Grain::NANOSECOND).then(Listing::default),
        buffer: Buffer::default(),
        landed: 0,
    };
    let mut reader = Reader::new(from);
    while let Some(member) = reader.member()? {
        cx.go_on()?;
        landing.member(member, &mut reader)?;
    }
    if let (Some(only), 0) = (job.only, landing.landed) {
        let what = format!("cannot unpack {}", show_path(only));
        return Err(Fault::refused(what, "the archive has nothing under this path"));
    }
    let like = match job.like {
        Some(like) => Some(meta_of(like)?),
        None => None,
    };
    landing.finish_directories(like.as_ref())?;
    rustix::fs::syncfs(&root).map_err(|errno| Fault::io(Side::Destination, "sync", b"", errno))?;
    landing.prove()
}

/// The path in bytes, if nothing is there yet.
fn free(root: &OwnedFd, dir: &Path, path: &Path) -> Result<Vec<u8>> {
    let full = dir.join(path);
    let refused = |because: String| Fault::refused(format!("cannot unpack to {}", show_path(&full)), because);
    let names = place::components(path)?;
    if names.is_empty() {
        return Err(refused("the path is empty".to_owned()));
    }
    let mut here: Option<OwnedFd> = None;
    for (depth, name) in (1..).zip(&names) {
        let at = here.as_ref().map_or(root.as_fd(), |fd| fd.as_fd());
        let last = depth == names.len();
        match place::step(at, name).map_err(|errno| Fault::on_path("look at", &full, errno))? {
            Step::Missing => break,
            _ if last => return Err(refused("something is there already".to_owned())),
            Step::Into(next) => here = Some(next),
            Step::OtherDevice => return Err(refused("a mount of its own is on the way".to_owned())),
            Step::NotADirectory(kind) => return Err(refused(format!("a {} is on the way", kind.word()))),
        }
    }
    Ok(names.join(&b'/'))
}

fn meta_of(dir: &Path) -> Result<Meta> {
    open_root(dir)
        .and_then(|fd| Meta::of_fd(fd.as_fd()))
        .map_err(|errno| Fault::on_path("look at", dir, errno))
}

/// A directory on the disk.
struct Landed {
    node: Arc<Node>,
    /// Whether it is ours, and not one that was there before.
    made: bool,
}

struct Landing<'a> {
    cx: &'a Context,
    root: BorrowedFd<'a>,
    /// Whether the root is that of a file system, which keeps a `lost+found` of its own.
    spare: bool,
    only: Option<Vec<u8>>,
    strip: usize,
    grain: Grain,
    cursor: Cursor<'a>,
    other: Cursor<'a>,
    /// The directories that were come by, by path.
    dirs: BTreeMap<Vec<u8>, Landed>,
    /// What the archive says of directories.
    given: BTreeMap<Vec<u8>, (Wanted, Xattrs)>,
    /// What the archive says of everything, as this file system keeps it.
    said: Listing,
    /// The same as the archive has it, where the file system keeps less.
    exact: Option<Listing>,
    buffer: Buffer,
    /// Entries that were unpacked.
    landed: u64,
}

/// The path of the directory that an entry is in, and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

fn refused(path: &[u8], because: impl Into<String>) -> Fault {
    Fault::refused(format!("the archive cannot be unpacked: {}", show(path)), because)
}

impl Landing<'_> {
    /// A path of the archive as one from the root; `None` when nothing is left of it.
    fn path(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let names = place::components(Path::new(OsStr::from_bytes(path)))
            .map_err(|_| refused(path, "it leads out of the directory"))?;
        if path.contains(&0) {
            return Err(refused(path, "no file can have this name"));
        }
        if names.len() < self.strip {
            return Ok(None);
        }
        Ok(Some(names[self.strip..].join(&b'/')))
    }

    fn member(&mut self, mut member: Member, reader: &mut Reader<'_>) -> Result<()> {
        let Some(path) = self.path(&member.path)? else {
            return Ok(());
        };
        if path.is_empty() && self.strip > 0 && member.what != What::Dir {
            return Ok(());
        }
        let concern = match &self.only {
            Some(only) => concerns(only, &path),
            None => Concern::Inside,
        };
        if concern == Concern::None || (concern == Concern::Above && member.what != What::Dir) {
            return Ok(());
        }
        if self.spare && path.split(|byte| *byte == b'/').next() == Some(b"lost+found") {
            return Err(refused(
                &path,
                "it is the root of a file system that it shall go to, which keeps its own: choose a sub-directory",
            ));
        }
        let wanted = Wanted {
            owner: member.owner,
            mode: member.mode,
            mtime: member.mtime.rounded(self.grain),
            atime: member.mtime.rounded(self.grain),
        };
        if member.what == What::Dir {
            if concern == Concern::Inside {
                self.directory(&path)?;
                self.landed += 1;
            }
            self.cx.did_files(1);
            let looks = |mtime| looks(&member, Kind::Dir, mtime, (0, &[]), None);
            let (said, exact) = (looks(wanted.mtime), looks(member.mtime));
            // Of a directory on the way it counts only if it has to be made, which is known at the end.
            if concern == Concern::Inside {
                self.say(&path, said, exact);
            }
            self.given.insert(path, (wanted, member.xattrs));
            return Ok(());
        }
        if path.is_empty() {
            return Err(refused(&member.path, "the root of a tree has to be a directory"));
        }
        self.landed += 1;
        self.cx.did_files(1);
        if let What::Link(target) = &member.what {
            return self.link(&path, target);
        }
        let (parent, name) = split(&path);
        let node = self.directory(parent)?;
        self.clear(&node, name, &path)?;
        let target = match &mut member.what {
            What::Symlink(target) => std::mem::take(target),
            _ => Vec::new(),
        };
        let (kind, rdev, content) = match &member.what {
            What::File { size, .. } => {
                let hash = self.file((&node, name), &path, (&wanted, &member.xattrs), *size, reader)?;
                (Kind::File, 0, Some((*size, hash)))
            }
            What::Char(device) => (Kind::Char, *device, None),
            What::Block(device) => (Kind::Block, *device, None),
            What::Fifo => (Kind::Fifo, 0, None),
            What::Symlink(_) | What::Link(_) | What::Dir => (Kind::Symlink, 0, None),
        };
        if kind != Kind::File {
            let small = self.small((&node, name), (kind, rdev, &target), (&wanted, &member.xattrs));
            small.map_err(|errno| Fault::io(Side::Destination, "make", &path, errno))?;
        }
        let looks = |mtime| looks(&member, kind, mtime, (rdev, &target), content);
        self.say(&path, looks(wanted.mtime), looks(member.mtime));
        Ok(())
    }

    /// Notes what the archive says of an entry: as it is kept here, and as it is.
    fn say(&mut self, path: &[u8], said: Half, exact: Half) {
        self.said.add(key(path), said);
        if let Some(listing) = &mut self.exact {
            listing.add(key(path), exact);
        }
    }

    /// Reaches a directory, and makes what is missing of it.
    fn directory(&mut self, path: &[u8]) -> Result<Arc<Node>> {
        if let Some(known) = self.dirs.get(path) {
            return Ok(Arc::clone(&known.node));
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends: Vec<usize> = ends.map(|(at, _)| at).chain([path.len()]).collect();
        let mut node = self
            .dirs
            .get(&[][..])
            .map_or_else(Node::root, |root| Arc::clone(&root.node));
        let mut start = 0;
        for end in ends {
            let (here, name) = (&path[..end], &path[start..end]);
            start = end + 1;
            if let Some(known) = self.dirs.get(here) {
                node = Arc::clone(&known.node);
                continue;
            }
            let failed = |errno| Fault::io(Side::Destination, "make", here, errno);
            let dir = self.cursor.enter(&node).map_err(failed)?;
            let made = match place::step(dir, name).map_err(failed)? {
                Step::Missing => {
                    mkdirat(dir, name, Mode::RWXU).map_err(failed)?;
                    true
                }
                // Of a path that is unpacked into what is there, this is above it.
                Step::Into(_) => false,
                Step::OtherDevice => return Err(refused(path, "a mount of its own is on the way")),
                Step::NotADirectory(kind) => {
                    let because = format!("{} in its path is a {}", show(here), kind.word());
                    return Err(refused(path, because));
                }
            };
            node = Node::child(&node, name, 0);
            let landed = Landed {
                node: Arc::clone(&node),
                made,
            };
            self.dirs.insert(here.to_vec(), landed);
        }
        Ok(node)
    }

    /// Removes what the archive had under this name before; a directory stays, and is a fault.
    fn clear(&mut self, node: &Arc<Node>, name: &[u8], path: &[u8]) -> Result<()> {
        if self.dirs.contains_key(path) {
            return Err(refused(path, "the archive has it as a directory, too"));
        }
        let dir = self.cursor.enter(node);
        match dir.and_then(|dir| unlinkat(dir, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Fault::io(Side::Destination, "replace", path, errno)),
        }
    }

    /// A further name of something that was unpacked before.
    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let Some(first) = self.path(target)? else {
            return Err(refused(path, "the file that it is another name of is left out"));
        };
        if let Some(only) = &self.only
            && concerns(only, &first) != Concern::Inside
        {
            let because = format!(
                "it is another name of {}, which is not in {}: unpack a directory that has both",
                show(&first),
                show(only)
            );
            return Err(refused(path, because));
        }
        if first == path {
            return Err(refused(path, "it is another name of itself"));
        }
        let ((above, old), (parent, new)) = (split(&first), split(path));
        let Some(from) = self.dirs.get(above).map(|dir| Arc::clone(&dir.node)) else {
            let because = format!("it is another name of {}, which is not before it", show(&first));
            return Err(refused(path, because));
        };
        let to = self.directory(parent)?;
        self.clear(&to, new, path)?;
        let from = self.other.enter(&from);
        let to = self.cursor.enter(&to);
        match from.and_then(|from| linkat(from, old, to?, new, AtFlags::empty())) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::PERM) => {
                let because = format!(
                    "it is another name of {}, which is no file before it",
                    show(&first)
                );
                return Err(refused(path, because));
            }
            Err(errno) => return Err(Fault::io(Side::Destination, "link", path, errno)),
        }
        self.said.link(key(path), key(&first));
        if let Some(exact) = &mut self.exact {
            exact.link(key(path), key(&first));
        }
        Ok(())
    }

    fn file(
        &mut self,
        (node, name): (&Arc<Node>, &[u8]),
        path: &[u8],
        (wanted, xattrs): (&Wanted, &Xattrs),
        size: u64,
        reader: &mut Reader<'_>,
    ) -> Result<Hash> {
        let failed = |errno| Fault::io(Side::Destination, "write", path, errno);
        let dir = self.cursor.enter(node).map_err(failed)?;
        // Nobody else may read it before it has its owner and mode.
        let file = new_file(dir, name, 0o600).map_err(failed)?;
        let (mut blocks, mut end) = (Blocks::default(), 0);
        while let Some((at, len)) = reader.piece(self.buffer.bytes())? {
            self.cx.go_on()?;
            let bytes = &self.buffer.bytes()[..len];
            content::write_at(file.as_fd(), bytes, at).map_err(failed)?;
            blocks.zeros(self.cx, at - end)?;
            blocks.update(bytes);
            end = at + len as u64;
            self.cx.did_bytes(len as u64);
            if let Some(behind) = at.checked_sub(BEHIND) {
                content::release(file.as_fd(), at, len as u64);
                content::release(file.as_fd(), behind, len as u64);
            }
        }
        if end < size {
            ftruncate(&file, size).map_err(failed)?;
            blocks.zeros(self.cx, size - end)?;
        }
        attrs::complete(file.as_fd(), wanted, xattrs)
            .map_err(|errno| Fault::io(Side::Destination, "set the metadata of", path, errno))?;
        Ok(hash_of_list(&blocks.finish()))
    }

    /// An entry without content.
    fn small(
        &mut self,
        (node, name): (&Arc<Node>, &[u8]),
        (kind, rdev, target): (Kind, u32, &[u8]),
        (wanted, xattrs): (&Wanted, &Xattrs),
    ) -> Result<(), Errno> {
        let dir = self.cursor.enter(node)?;
        let kind_of_node = match kind {
            Kind::Char => Some(FileType::CharacterDevice),
            Kind::Block => Some(FileType::BlockDevice),
            Kind::Fifo => Some(FileType::Fifo),
            _ => None,
        };
        match kind_of_node {
            Some(file_type) => {
                let device = makedev(rdev >> 20, rdev & 0xf_ffff);
                mknodat(dir, name, file_type, Mode::RUSR | Mode::WUSR, device)?;
            }
            None => symlinkat(target, dir, name)?,
        }
        attrs::apply(At::Entry(dir, name), kind, wanted, xattrs).map(|_| ())
    }

    /// Gives directories what the archive says of them: last, because everything in them touches it.
    fn finish_directories(&mut self, like: Option<&Meta>) -> Result<()> {
        let common = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
        for (path, landed) in self.dirs.iter().filter(|(_, landed)| landed.made) {
            self.cx.go_on()?;
            let mut set = || -> Result<(), Errno> {
                let dir = self.cursor.enter(&landed.node)?;
                match self.given.get(path) {
                    Some((wanted, xattrs)) => {
                        attrs::apply(At::Fd(dir), Kind::Dir, wanted, xattrs).map(|_| ())
                    }
                    // The archive says nothing of it.
                    None if path.is_empty() => match like {
                        Some(like) => {
                            let (uid, gid) = (Uid::from_raw(like.uid), Gid::from_raw(like.gid));
                            rustix::fs::fchown(dir, Some(uid), Some(gid))?;
                            rustix::fs::fchmod(dir, Mode::from_raw_mode(like.mode.into()))
                        }
                        None => Ok(()),
                    },
                    None => rustix::fs::fchmod(dir, common),
                }
            };
            set().map_err(|errno| Fault::io(Side::Destination, "set the metadata of", path, errno))?;
        }
        Ok(())
    }

    /// Reads everything back, and compares it with what the archive said.
    fn prove(mut self) -> Result<UnarchiveReport> {
        let read = Back::read(&mut self)?;
        let Self {
            said,
            exact,
            dirs,
            given,
            ..
        } = self;
        let (mut said, mut exact) = (said, exact);
        let adopted: Vec<Vec<u8>> = dirs
            .into_iter()
            .filter(|(path, landed)| landed.made && !given.contains_key(path))
            .map(|(path, _)| path)
            .collect();
        // Of directories that the archive only implies it says nothing that could be compared.
        for path in &adopted {
            if let Some(found) = read.listed.get(key(path)) {
                said.add(key(path), found);
                if let Some(exact) = &mut exact {
                    exact.add(key(path), found);
                }
            }
        }
        let said = said.finish();
        if said != read.listed {
            return Err(read.differs(&said));
        }
        let exact = exact.map_or(said, Listing::finish);
        Ok(UnarchiveReport {
            entries: exact.len(),
            bytes: read.bytes,
            tree: exact.hex(),
        })
    }
}

fn looks(
    member: &Member,
    kind: Kind,
    mtime: Stamp,
    (rdev, target): (u32, &[u8]),
    content: Option<(u64, Hash)>,
) -> Half {
    Looks {
        kind,
        mode: member.mode,
        owner: member.owner,
        mtime,
        rdev,
        target,
        xattrs: &member.xattrs,
        content,
    }
    .half()
}
