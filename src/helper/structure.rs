//! The part of a pass that is not content: directories, symlinks, special files, hard links, metadata, and what has
//! to go from the destination.

use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::attrs::{self, At};
use super::content::open_file;
use super::copy::{Hand, Pass};
use super::crew::work_off;
use super::cursor::{Node, open_dir};
use super::fault::{Fault, Result, Side, show, vanished};
use super::known::Draft;
use super::meta::{Kind, Meta, Stamp};
use super::mounts;
use super::moves::Staged;
use super::remove;
use super::store::{self, Records, Standing, Store};
use super::tree::{Directory, EntryId, NO_DIR};
use super::walk::{is_lost_found, names};

/// What [`bring`] did, and what it leaves to do.
#[derive(Debug, Default)]
pub struct Structure {
    /// Files whose content has to be copied.
    pub content: Vec<Run>,
    /// Their number.
    pub files: u64,
    /// Further names of inodes.
    pub links: Vec<EntryId>,
    /// Their bytes.
    pub bytes: u64,
    /// Whether block hashes are known of any of them.
    pub listed: bool,
    /// Files that were put into their new places: the ctime at the destination.
    pub moved: Vec<(EntryId, Stamp)>,
    /// Entries removed.
    pub deleted: u64,
    /// Entries whose metadata alone was changed.
    pub metadata_changed: u64,
    /// Sockets skipped.
    pub sockets: u64,
}

/// Neighbours in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The directory.
    pub dir: u32,
    /// Their places in it.
    pub slots: Range<u32>,
}

impl Structure {
    /// Puts a file onto the list.
    fn wants(&mut self, id: EntryId, size: u64) {
        self.files += 1;
        self.bytes += size;
        match self.content.last_mut() {
            Some(run) if run.dir == id.dir && run.slots.end == id.slot => run.slots.end += 1,
            _ => self.content.push(Run {
                dir: id.dir,
                slots: id.slot..id.slot + 1,
            }),
        }
    }
}

/// Brings everything to the state of the source that is neither content nor a hard link nor metadata of directories.
///
/// # Errors
/// When a side cannot be read or written.
pub fn bring(pass: &Pass<'_>, to_root: &Meta, (files, staged): (&Store, &Staged)) -> Result<Structure> {
    let failed = |errno| Fault::io(Side::Destination, "read", b"", errno);
    // A destination that is a file system's root has a `lost+found` that is not ours to delete.
    let spare = mounts::is_filesystem_root(pass.roots.to, to_root).map_err(failed)?;
    if spare && pass.tree.find(b"lost+found").is_some() {
        return Err(Fault::refused(
            "cannot copy lost+found",
            "the source has data under this name and the destination is the root of a file system, which keeps its \
             own: choose a sub-directory",
        ));
    }
    let root = Arc::clone(pass.tree.node(0));
    let state = || {
        let maker = Maker {
            pass,
            files,
            staged,
            spare,
            hand: pass.roots.hand(),
            did: Structure::default(),
        };
        let room = Room {
            there: Directory::new(Arc::clone(pass.tree.node(0))),
            records: Records::default(),
        };
        (maker, room)
    };
    let makers = work_off(
        pass.cx,
        pass.jobs,
        vec![root],
        state,
        |(maker, room), node, more| maker.directory(room, &node, more),
    )?;
    let mut all = Structure::default();
    for (Maker { did, .. }, _) in makers {
        all.content.extend(did.content);
        all.links.extend(did.links);
        all.files += did.files;
        all.bytes += did.bytes;
        all.listed |= did.listed;
        all.moved.extend(did.moved);
        all.deleted += did.deleted;
        all.metadata_changed += did.metadata_changed;
        all.sockets += did.sockets;
    }
    all.content.sort_unstable_by_key(|run| (run.dir, run.slots.start));
    all.links.sort_unstable();
    Ok(all)
}

/// Room for one directory, used again for the next.
struct Room {
    /// What the destination has.
    there: Directory,
    records: Records,
}

struct Maker<'a> {
    pass: &'a Pass<'a>,
    files: &'a Store,
    staged: &'a Staged,
    spare: bool,
    hand: Hand<'a>,
    did: Structure,
}

impl<'a> Maker<'a> {
    fn directory(&mut self, room: &mut Room, node: &Arc<Node>, more: &mut Vec<Arc<Node>>) -> Result<()> {
        let tree = self.pass.tree;
        let source = tree.dir(node.id);
        let failed = |errno| match errno {
            Errno::XDEV => Fault::refused(
                format!("cannot write to {}", show(&node.path(b""))),
                "the destination is a mount of its own there",
            ),
            errno => Fault::io(Side::Destination, "read", &node.path(b""), errno),
        };
        let Room { there, records } = room;
        let dir = self.hand.to.enter(node).map_err(failed)?;
        there.begin(Arc::clone(node));
        list(dir, there).map_err(failed)?;
        // What is of another kind goes and is made anew; sockets are not copied.
        let stays = |wanted: Kind, there: Kind| wanted == there && there != Kind::Socket;
        for entry in &there.entries {
            let (name, meta) = (there.name(entry), &entry.meta);
            let kept_anyway = (self.spare && is_lost_found(node, name, meta))
                || (node.depth == 0 && self.staged.is_place(name));
            let wanted = source.find(name).map(|slot| source.entries[slot].meta.kind);
            if !wanted.is_some_and(|wanted| stays(wanted, meta.kind)) && !kept_anyway {
                self.did.deleted += remove::entry(self.pass.cx, dir, name, meta.kind, &node.path(name))?;
            }
        }
        let known = self.files.of_dir(node.id, source.entries.len(), records);
        let known = known.map_err(store::failed)?.iter();
        for (slot, (entry, known)) in source.entries.iter().zip(known).enumerate() {
            let id = EntryId {
                dir: node.id,
                slot: slot as u32,
            };
            let found = there
                .find(source.name(entry))
                .map(|slot| &there.entries[slot].meta);
            let found = found.filter(|found| stays(entry.meta.kind, found.kind));
            match entry.meta.kind {
                Kind::Socket => {
                    self.did.sockets += 1;
                    self.pass
                        .cx
                        .note(format!("socket {} was skipped", show(&tree.path(id))));
                }
                Kind::Dir => {
                    self.make_directory(node, id, found)?;
                    if entry.dir != NO_DIR {
                        more.push(Arc::clone(tree.node(entry.dir)));
                    }
                }
                _ if tree.is_link(id) => self.did.links.push(id),
                Kind::File => self.file(node, (id, &entry.meta), found, known)?,
                Kind::Symlink => self.symlink(node, id, found)?,
                Kind::Fifo | Kind::Char | Kind::Block => self.special(node, id, found)?,
            }
        }
        Ok(())
    }

    fn make_directory(&mut self, node: &Arc<Node>, id: EntryId, found: Option<&Meta>) -> Result<()> {
        let (cx, name) = (self.pass.cx, self.pass.tree.name(id));
        let name = &*name;
        let moves = self.staged.has(id);
        if found.is_some() && !moves {
            return Ok(());
        }
        let failed = |errno| Fault::io(Side::Destination, "create", &self.pass.tree.path(id), errno);
        let dir = self.hand.to.enter(node).map_err(failed)?;
        if found.is_some() {
            self.did.deleted += remove::entry(cx, dir, name, Kind::Dir, &node.path(name))?;
        }
        if !self.staged.put(id, dir, name).map_err(failed)? {
            mkdirat(dir, name, Mode::RWXU).map_err(failed)?;
        }
        Ok(())
    }

    fn failed(&self, side: Side, verb: &str, id: EntryId, errno: Errno) -> Fault {
        Fault::io(side, verb, &self.pass.tree.path(id), errno)
    }

    /// A file whose content is proven gets its metadata, any other is put onto the list.
    fn file(
        &mut self,
        node: &Arc<Node>,
        (id, meta): (EntryId, &Meta),
        found: Option<&Meta>,
        known: Option<(Standing, Draft)>,
    ) -> Result<()> {
        let pass = self.pass;
        let wanted = meta.wanted(pass.request.owner, pass.grain);
        let Some((Standing::Proven, mut draft)) = known else {
            if self.staged.has(id) {
                self.put_file(node, id)?;
            }
            self.did.listed |= known.is_some_and(|(_, draft)| draft.is_listed());
            self.did.wants(id, meta.size);
            return Ok(());
        };
        let proof = &draft.proof;
        let Some(found) = found
            .filter(|found| found.ino == proof.ino && found.ctime == proof.ctime && found.size == meta.size)
        else {
            self.files.forget(id).map_err(store::failed)?;
            self.did.wants(id, meta.size);
            return Ok(());
        };
        // Neither ctime moved, so the metadata is as the last pass left it, unless another owner is asked for now.
        if wanted.holds(found) {
            return Ok(());
        }
        let changed = self.update(node, id, |dir, name| {
            let fd = open_file(dir, name)?;
            let at = At::Fd(fd.as_fd());
            let xattrs = attrs::read(at)?;
            attrs::apply(at, Kind::File, &wanted, &xattrs)?;
            Meta::of_fd(fd.as_fd())
        })?;
        draft.proof.ctime = changed.ctime;
        self.files
            .put(id, Standing::Proven, &draft)
            .map_err(store::failed)
    }

    fn put_file(&mut self, node: &Arc<Node>, id: EntryId) -> Result<()> {
        let name = self.pass.tree.name(id);
        let name = &*name;
        let put = self.hand.to.enter(node).and_then(|dir| {
            self.staged.put(id, dir, name)?;
            Meta::of_entry(dir, name)
        });
        let (meta, _) = put.map_err(|errno| self.failed(Side::Destination, "move", id, errno))?;
        self.did.moved.push((id, meta.ctime));
        Ok(())
    }

    fn update<T>(
        &mut self,
        node: &Arc<Node>,
        id: EntryId,
        change: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T> {
        let name = self.pass.tree.name(id);
        let name = &*name;
        let done = self.hand.to.enter(node).and_then(|dir| change(dir, name));
        self.did.metadata_changed += 1;
        done.map_err(|errno| self.failed(Side::Destination, "set the metadata of", id, errno))
    }

    fn symlink(&mut self, node: &Arc<Node>, id: EntryId, found: Option<&Meta>) -> Result<()> {
        let name = self.pass.tree.name(id);
        let name = &*name;
        let from = self.hand.from.enter(node);
        let target = match from.and_then(|dir| rustix::fs::readlinkat(dir, name, Vec::new())) {
            Ok(target) => target,
            // It went away or became something else: the next pass sees what.
            Err(errno) if vanished(errno) || errno == Errno::INVAL => return self.changed(id),
            Err(errno) => return Err(self.failed(Side::Source, "read", id, errno)),
        };
        let there = match found {
            Some(found) => {
                let read = self
                    .hand
                    .to
                    .enter(node)
                    .and_then(|dir| rustix::fs::readlinkat(dir, name, Vec::new()));
                let read = read.map_err(|errno| self.failed(Side::Destination, "read", id, errno))?;
                (read == target).then_some(found)
            }
            None => None,
        };
        self.small(node, id, found, there, |dir| symlinkat(&target, dir, name))
    }

    fn special(&mut self, node: &Arc<Node>, id: EntryId, found: Option<&Meta>) -> Result<()> {
        let (name, meta) = (self.pass.tree.name(id), self.pass.tree.entry(id).meta);
        let name = &*name;
        let kind = match meta.kind {
            Kind::Char => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = makedev(meta.rdev >> 20, meta.rdev & 0xf_ffff);
        let there = found.filter(|found| found.rdev == meta.rdev);
        self.small(node, id, found, there, |dir| {
            mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device)
        })
    }

    /// An entry without content: `there` is what the destination has if it is the right thing already.
    fn small(
        &mut self,
        node: &Arc<Node>,
        id: EntryId,
        found: Option<&Meta>,
        there: Option<&Meta>,
        make: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<()> {
        let (pass, name) = (self.pass, self.pass.tree.name(id));
        let (name, meta) = (&*name, pass.tree.entry(id).meta);
        let read = self
            .hand
            .from
            .enter(node)
            .and_then(|dir| attrs::read(At::Entry(dir, name)));
        let xattrs = match read {
            Ok(xattrs) => xattrs,
            Err(errno) if vanished(errno) => return self.changed(id),
            Err(errno) => return Err(self.failed(Side::Source, "read attributes of", id, errno)),
        };
        let wanted = meta.wanted(pass.request.owner, pass.grain);
        // Shared inodes are made anew: which names belong together is known only at the end.
        let there = there.filter(|there| there.nlink == 1 && meta.nlink == 1);
        let dir = self
            .hand
            .to
            .enter(node)
            .map_err(|errno| Fault::io(Side::Destination, "reach", &pass.tree.path(id), errno))?;
        let at = At::Entry(dir, name);
        let did = match there {
            Some(there) if wanted.holds(there) => attrs::replace(at, &xattrs).and_then(|changed| {
                if changed {
                    attrs::apply(at, meta.kind, &wanted, &xattrs)?;
                }
                Ok(changed)
            }),
            Some(_) => attrs::apply(at, meta.kind, &wanted, &xattrs).map(|_| true),
            None => (if found.is_some() {
                unlinkat(dir, name, AtFlags::empty())
            } else {
                Ok(())
            })
            .and_then(|()| make(dir))
            .and_then(|()| attrs::apply(at, meta.kind, &wanted, &xattrs))
            .map(|_| false),
        };
        let changed = did.map_err(|errno| self.failed(Side::Destination, "write", id, errno))?;
        self.did.metadata_changed += u64::from(changed);
        Ok(())
    }

    fn changed(&self, id: EntryId) -> Result<()> {
        if self.pass.request.live {
            return Ok(());
        }
        Err(Fault::source_changed(
            &self.pass.tree.path(id),
            "it went away or became something else",
        ))
    }
}

/// Reads a directory of the destination.
fn list(dir: BorrowedFd<'_>, there: &mut Directory) -> Result<(), Errno> {
    let mut failed = None;
    names(dir, |name| {
        match Meta::of_entry(dir, name) {
            Ok((meta, _)) => there.push(name, meta, NO_DIR),
            Err(errno) => failed = Some(errno),
        }
        failed.is_none()
    })?;
    there.sort();
    failed.map_or(Ok(()), Err)
}

/// Makes an empty file in place of whatever has this name. Never writes into what is there: it may have other names.
/// Its mode is the wanted one at once where the umask allows that.
///
/// # Errors
/// As unlinkat(2) and openat(2).
pub fn new_file(dir: BorrowedFd<'_>, name: &[u8], mode: u16) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(u32::from(mode) & 0o777);
    let make = || openat(dir, name, flags, mode);
    // In a first pass nothing is there: one system call less a file.
    match make() {
        Err(Errno::EXIST) => {
            unlinkat(dir, name, AtFlags::empty())?;
            make()
        }
        made => made,
    }
}

/// Gives inodes their further names. Returns the files whose inode was touched by that.
///
/// # Errors
/// When the destination cannot be read or written.
pub fn link(pass: &Pass<'_>, links: &[EntryId]) -> Result<Vec<EntryId>> {
    let tree = pass.tree;
    let (mut first, mut second) = (pass.roots.hand().to, pass.roots.hand().to);
    let mut touched = Vec::new();
    for &id in links {
        pass.cx.go_on()?;
        let Some(&leader) = tree.links.get(&id) else {
            continue;
        };
        let failed = |errno| Fault::io(Side::Destination, "link", &tree.path(id), errno);
        let (old, new) = (tree.name(leader), tree.name(id));
        let from = first.enter(tree.node(leader.dir)).map_err(failed)?;
        let to = second.enter(tree.node(id.dir)).map_err(failed)?;
        let there = |dir, name: &[u8]| match Meta::of_entry(dir, name) {
            Ok((meta, _)) => Ok(Some(meta)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(errno)),
        };
        let Some(original) = there(from, &old)? else {
            // The first name went away before it could be copied, which only a live source may do.
            continue;
        };
        let other = there(to, &new)?;
        if other.is_some_and(|other| (other.dev, other.ino) == (original.dev, original.ino)) {
            continue;
        }
        if other.is_some() {
            unlinkat(to, &*new, AtFlags::empty()).map_err(failed)?;
        }
        linkat(from, &*old, to, &*new, AtFlags::empty()).map_err(failed)?;
        touched.push(leader);
    }
    Ok(touched)
}

/// Gives directories, the root included, their metadata: last of all, because everything in them touches it. Returns
/// how many were changed.
///
/// # Errors
/// When a side cannot be read or written.
pub fn finish_directories(pass: &Pass<'_>) -> Result<u64> {
    let tree = pass.tree;
    let all: Vec<u32> = (0..tree.counts().len() as u32).collect();
    let state = || (pass.roots.hand(), 0);
    let done = work_off(pass.cx, pass.jobs, all, state, |(hand, changed), id, _| {
        let below = tree.dir(id);
        for entry in below.entries.iter().filter(|entry| entry.meta.kind == Kind::Dir) {
            *changed += u64::from(finish_directory(
                pass,
                hand,
                &below.node,
                (below.name(entry), &entry.meta),
            )?);
        }
        if id == 0 {
            *changed += u64::from(finish_directory(pass, hand, &below.node, (b".", &tree.root))?);
        }
        Ok(())
    })?;
    Ok(done.into_iter().map(|(_, changed)| changed).sum())
}

fn finish_directory(
    pass: &Pass<'_>,
    hand: &mut Hand<'_>,
    node: &Arc<Node>,
    (name, walked): (&[u8], &Meta),
) -> Result<bool> {
    let path = || node.path(if name == b"." { b"" } else { name });
    let from = hand.from.enter(node).and_then(|dir| open_dir(dir, name));
    let from = match from {
        Ok(from) => from,
        Err(errno) if vanished(errno) && pass.request.live => return Ok(false),
        Err(errno) if vanished(errno) => return Err(Fault::source_changed(&path(), errno.to_string())),
        Err(errno) => return Err(Fault::io(Side::Source, "open", &path(), errno)),
    };
    let xattrs = attrs::read(At::Fd(from.as_fd()))
        .map_err(|errno| Fault::io(Side::Source, "read attributes of", &path(), errno))?;
    let wanted = walked.wanted(pass.request.owner, pass.grain);
    let mut set = || -> Result<bool, Errno> {
        let to = open_dir(hand.to.enter(node)?, name)?;
        let at = At::Fd(to.as_fd());
        if wanted.holds(&Meta::of_fd(to.as_fd())?) && attrs::read(at)? == xattrs {
            return Ok(false);
        }
        attrs::apply(at, Kind::Dir, &wanted, &xattrs)?;
        Ok(true)
    };
    set().map_err(|errno| Fault::io(Side::Destination, "set the metadata of", &path(), errno))
}
