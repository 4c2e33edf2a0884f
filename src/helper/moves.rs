//! What got another path in the source since the last pass is found by its inode, and moved at the destination instead
//! of being copied again.
//!
//! In two steps, because names may be swapped: first everything that moves goes into a directory of its own at the
//! destination's root, what is deeper before what it is in; then each is put where it belongs when the pass comes by.
//! Nothing is believed for having been moved: a file in a directory that moved is recognised by its own inode and
//! ctime, and one that moved itself is compared by content. What is left over at the end goes, as does everything
//! after a pass that was interrupted.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, mkdirat, renameat};
use rustix::io::Errno;

use super::copy::Pass;
use super::cursor::open_dir;
use super::fault::{Fault, Result, Side, vanished};
use super::known::Draft;
use super::manifest::Record;
use super::meta::{Kind, Meta};
use super::remove;
use super::store::{Standing, Store};
use super::tree::{Entry, EntryId, NO_DIR, Tree};

/// More files than this are not looked for elsewhere, they are copied: a limit on memory.
const MOST: usize = 100_000;

/// Something that the destination has under another path.
#[derive(Debug)]
struct Move {
    /// Where it is at the destination.
    from: Vec<u8>,
    /// What it is in the source now.
    to: EntryId,
    /// For a file: what is known of the destination.
    draft: Option<Draft>,
}

/// Everything that moves.
#[derive(Debug, Default)]
pub struct Moves(Vec<Move>);

impl Moves {
    /// What is known of the files that move, by where they are now.
    pub fn drafts(&self) -> impl Iterator<Item = (EntryId, Draft)> {
        self.0.iter().filter_map(|m| m.draft.map(|draft| (m.to, draft)))
    }
}

/// Finds what moved, while the manifest is read: first all directories, parents before what is in them, then files.
#[derive(Debug)]
pub struct Search<'a> {
    tree: &'a Tree,
    /// The directories of the source by inode; made when the first one is missed.
    dirs: Option<HashMap<u64, EntryId>>,
    /// Directories that moved: their old paths and the new.
    moved: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Files that are not where they were, by inode.
    missed: Vec<(u64, Vec<u8>, Draft)>,
    found: Vec<Move>,
    /// The directory that the last file was in: its old path, and what it is now.
    last: Option<(Vec<u8>, Option<u32>)>,
}

impl<'a> Search<'a> {
    /// In this source.
    #[must_use]
    pub fn new(tree: &'a Tree) -> Self {
        Self {
            tree,
            dirs: None,
            moved: BTreeMap::new(),
            missed: Vec::new(),
            found: Vec::new(),
            last: None,
        }
    }

    /// A directory of the last pass.
    pub fn dir(&mut self, path: &[u8], ino: u64) {
        let tree = self.tree;
        let is_it = |id: &EntryId| {
            let entry = tree.entry(*id);
            entry.dir != NO_DIR && entry.meta.ino == ino
        };
        if tree.find(&self.now(path)).filter(is_it).is_some() {
            return;
        }
        let dirs = self.dirs.get_or_insert_with(|| {
            let entered = tree.entries().filter(|(_, entry)| entry.dir != NO_DIR);
            entered.map(|(id, entry)| (entry.meta.ino, id)).collect()
        });
        if let Some(&to) = dirs.get(&ino) {
            self.moved.insert(path.to_vec(), tree.path(to));
            self.found.push(Move {
                from: path.to_vec(),
                to,
                draft: None,
            });
        }
    }

    /// A file of the last pass: the entry that has its path now, with respect to directories that moved.
    pub fn file(&mut self, path: &[u8], record: &Record) -> Option<(EntryId, Meta)> {
        let (parent, name) = split(path);
        let dir = match &self.last {
            Some((last, dir)) if last == parent => *dir,
            _ => {
                let dir = if parent.is_empty() {
                    Some(0)
                } else {
                    let moved = self.moved.get(parent).map(|new| Cow::from(&new[..]));
                    let now = self.tree.find(&moved.unwrap_or_else(|| self.now(parent)));
                    now.map(|id| self.tree.entry(id).dir).filter(|dir| *dir != NO_DIR)
                };
                self.last = Some((parent.to_vec(), dir));
                dir
            }
        };
        let found = dir.and_then(|dir| {
            let here = self.tree.dir(dir);
            let slot = here.find(name)?;
            let id = EntryId {
                dir,
                slot: slot as u32,
            };
            Some((id, here.entries.get(slot)?.meta))
        });
        let ino = record.source.ino();
        if found.is_none_or(|(_, meta)| meta.ino != ino) && self.missed.len() < MOST {
            self.missed.push((ino, path.to_vec(), Draft::of(record)));
        }
        found
    }

    /// Where something would be if nothing but directories that it is in had moved.
    fn now<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        if self.moved.is_empty() {
            return path.into();
        }
        let parents = (0..path.len()).rev().filter(|at| path.get(*at) == Some(&b'/'));
        for at in parents {
            let (parent, rest) = path.split_at(at);
            if let Some(new) = self.moved.get(parent) {
                return [new, rest].concat().into();
            }
        }
        path.into()
    }

    /// All that moved.
    #[must_use]
    pub fn finish(mut self) -> Moves {
        self.missed.sort_unstable_by_key(|(ino, ..)| *ino);
        if !self.missed.is_empty() {
            for (id, Entry { meta, .. }) in self.tree.entries() {
                if meta.kind != Kind::File || meta.nlink != 1 {
                    continue;
                }
                let Ok(at) = self.missed.binary_search_by_key(&meta.ino, |(ino, ..)| *ino) else {
                    continue;
                };
                if let Some((_, path, draft)) = self.missed.get_mut(at)
                    && draft.is_worth_reading(&meta)
                {
                    self.found.push(Move {
                        from: std::mem::take(path),
                        to: id,
                        draft: Some(*draft),
                    });
                }
            }
        }
        // What is in a directory comes after it, so backwards it is taken out first.
        self.found.sort_unstable_by(|a, b| b.from.cmp(&a.from));
        Moves(self.found)
    }
}

/// A path's directory and its last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// What was taken from its old place at the destination and waits for its new one.
pub struct Staged {
    /// The directory it waits in, at the root of the destination; none when nothing moves.
    place: Option<(Vec<u8>, OwnedFd)>,
    numbers: HashMap<EntryId, usize>,
}

impl Staged {
    /// Takes everything that moves from its old place. What is not there, or not as the last pass left it, stays.
    ///
    /// # Errors
    /// When the destination cannot be read or written.
    pub fn take(pass: &Pass<'_>, moves: &Moves) -> Result<Self> {
        let mut staged = Self {
            place: None,
            numbers: HashMap::new(),
        };
        if moves.0.is_empty() {
            return Ok(staged);
        }
        let root = pass.roots.to;
        let mut name = b".rehome-moves".to_vec();
        while pass.tree.find(&name).is_some() {
            name.push(b'+');
        }
        let failed = |errno| Fault::io(Side::Destination, "create", &name, errno);
        match Meta::of_entry(root, &name) {
            // An earlier pass was interrupted.
            Ok((left, _)) => remove::entry(pass.cx, root, &name, left.kind, &name).map(|_| ())?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
        mkdirat(root, &name, Mode::RWXU).map_err(failed)?;
        let place = open_dir(root, &name).map_err(failed)?;
        let mut parent = Parent::new(pass);
        for (number, one) in moves.0.iter().enumerate() {
            pass.cx.go_on()?;
            match parent.take(one, place.as_fd(), number) {
                Ok(true) => {
                    staged.numbers.insert(one.to, number);
                }
                Ok(false) => {}
                Err(errno) if vanished(errno) || errno == Errno::LOOP => {}
                Err(errno) => return Err(Fault::io(Side::Destination, "move", &one.from, errno)),
            }
        }
        staged.place = Some((name, place));
        Ok(staged)
    }

    /// Whether this entry of the destination's root is the waiting room.
    #[must_use]
    pub fn is_place(&self, name: &[u8]) -> bool {
        self.place.as_ref().is_some_and(|(place, _)| place == name)
    }

    /// Whether the entry waits here.
    #[must_use]
    pub fn has(&self, id: EntryId) -> bool {
        self.numbers.contains_key(&id)
    }

    /// Puts the entry where it belongs, if it waits here. A file there is replaced.
    ///
    /// # Errors
    /// As renameat(2).
    pub fn put(&self, id: EntryId, dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
        match (&self.place, self.numbers.get(&id)) {
            (Some((_, place)), Some(number)) => renameat(place, number.to_string(), dir, name).map(|()| true),
            _ => Ok(false),
        }
    }

    /// How much is moved.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// Removes what is left. Returns how many entries went.
    ///
    /// # Errors
    /// When the destination cannot be written.
    pub fn clear(self, pass: &Pass<'_>) -> Result<u64> {
        match self.place {
            Some((name, _)) => {
                remove::entry(pass.cx, pass.roots.to, &name, Kind::Dir, &name).map(|gone| gone - 1)
            }
            None => Ok(0),
        }
    }
}

/// The directory of the destination that something was taken from last: the next one often is in it, too.
struct Parent<'a> {
    pass: &'a Pass<'a>,
    path: Vec<u8>,
    fd: Option<OwnedFd>,
}

impl<'a> Parent<'a> {
    fn new(pass: &'a Pass<'a>) -> Self {
        Self {
            pass,
            path: Vec::new(),
            fd: None,
        }
    }

    fn take(&mut self, one: &Move, place: BorrowedFd<'_>, number: usize) -> Result<bool, Errno> {
        let (path, name) = split(&one.from);
        let device = self.pass.roots.to_device;
        let dir = self.reach(path)?;
        let (there, mount) = Meta::of_entry(dir, name)?;
        let known = match &one.draft {
            Some(draft) => draft.is_at(&there),
            None => there.kind == Kind::Dir,
        };
        if !known || mount || there.dev != device {
            return Ok(false);
        }
        renameat(dir, name, place, number.to_string()).map(|()| true)
    }

    /// Opens a directory of the destination, without following symlinks.
    fn reach(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        if self.fd.is_none() || self.path != path {
            self.fd = None;
            let mut fd: Option<OwnedFd> = None;
            for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
                let parent = fd.as_ref().map_or(self.pass.roots.to, |fd| fd.as_fd());
                fd = Some(open_dir(parent, name)?);
            }
            self.path = path.to_vec();
            self.fd = fd;
        }
        Ok(self.fd.as_ref().map_or(self.pass.roots.to, |fd| fd.as_fd()))
    }
}

/// Renews what is known of files that move, after they were put in their places: a move changes the ctime.
///
/// # Errors
/// When it cannot be kept.
pub fn renew(moves: &Moves, ctimes: &[(EntryId, super::meta::Stamp)], files: &Store) -> io::Result<()> {
    let ctimes: HashMap<_, _> = ctimes.iter().copied().collect();
    for (id, mut draft) in moves.drafts() {
        match ctimes.get(&id) {
            Some(ctime) => {
                draft.proof.ctime = *ctime;
                files.put(id, Standing::Earlier, &draft)?;
            }
            // What was known of its path is of another file.
            None if matches!(files.get(id)?, Some((Standing::Earlier, _))) => files.forget(id)?,
            None => {}
        }
    }
    Ok(())
}
