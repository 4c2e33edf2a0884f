//! A tree in memory: names and metadata of every entry, a directory packed into one allocation.
//!
//! A million entries take about 40 MB. Whoever looks at an entry has its directory unpacked; the last few stay so, for
//! each thread. Nothing here does I/O; [`super::walk`] fills it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::cursor::Node;
use super::meta::{Kind, Meta};
use super::packed::Packed;

/// No directory: an entry that is none, or one that was not entered.
pub const NO_DIR: u32 = u32::MAX;

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its metadata.
    pub meta: Meta,
    name: (u32, u16),
    /// For a directory that was entered: its place in [`Tree::dirs`].
    pub dir: u32,
}

/// A directory with its entries, sorted by name.
#[derive(Debug)]
pub struct Directory {
    /// Where it is.
    pub node: Arc<Node>,
    /// What is in it.
    pub entries: Vec<Entry>,
    names: Vec<u8>,
}

impl Directory {
    /// An empty one, to be filled with [`Self::push`].
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            entries: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Empties it, to be filled for another directory.
    pub fn begin(&mut self, node: Arc<Node>) {
        self.node = node;
        self.entries.clear();
        self.names.clear();
        // One large directory is no reason to hold its memory to the end.
        self.entries.shrink_to(KEPT);
        self.names.shrink_to(KEPT * 16);
    }

    /// Adds an entry; a name is at most 255 bytes long on every Linux file system.
    pub fn push(&mut self, name: &[u8], meta: Meta, dir: u32) {
        self.entries.push(Entry {
            meta,
            name: (self.names.len() as u32, name.len() as u16),
            dir,
        });
        self.names.extend_from_slice(name);
    }

    /// Sorts what was pushed, so that it can be found.
    pub fn sort(&mut self) {
        let names = std::mem::take(&mut self.names);
        self.entries
            .sort_unstable_by(|a, b| slice(&names, a.name).cmp(slice(&names, b.name)));
        self.names = names;
    }

    /// The name of one of its entries.
    #[must_use]
    pub fn name(&self, entry: &Entry) -> &[u8] {
        slice(&self.names, entry.name)
    }

    /// The place of a name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.entries
            .binary_search_by(|entry| self.name(entry).cmp(name))
            .ok()
    }
}

fn slice(names: &[u8], (start, len): (u32, u16)) -> &[u8] {
    names
        .get(start as usize..)
        .and_then(|rest| rest.get(..len.into()))
        .unwrap_or_default()
}

/// An entry by its directory and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// Index into [`Tree::dirs`].
    pub dir: u32,
    /// Index into [`Directory::entries`].
    pub slot: u32,
}

/// A directory of a tree, packed.
#[derive(Debug)]
pub struct Listed {
    node: Arc<Node>,
    ino: u64,
    count: u32,
    /// Whether anything in it has several names.
    has_links: bool,
    packed: Packed,
}

impl Listed {
    /// Of a directory that is complete, and its inode.
    #[must_use]
    pub fn new(dir: &mut Directory, ino: u64) -> Self {
        dir.sort();
        Self {
            ino,
            packed: Packed::new(dir),
            count: dir.entries.len() as u32,
            has_links: dir.entries.iter().any(|entry| has_several_names(&entry.meta)),
            node: Arc::clone(&dir.node),
        }
    }

    /// Unpacks it, into one that nobody needs any more if there is one.
    fn unpack(&self, old: Option<Directory>) -> Directory {
        let mut dir = old.unwrap_or_else(|| Directory::new(Arc::clone(&self.node)));
        dir.begin(Arc::clone(&self.node));
        self.packed.unpack(self.count, &mut dir);
        dir
    }
}

fn has_several_names(meta: &Meta) -> bool {
    meta.nlink > 1 && meta.kind != Kind::Dir
}

/// Entries for which a directory that is used again keeps room.
const KEPT: usize = 4096;

/// Directories that a thread keeps unpacked.
const UNPACKED: usize = 8;

/// A directory that is unpacked: of the tree with this number, the directory with this id.
type Held = (u64, u32, Rc<Directory>);

thread_local! {
    /// The last one first.
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

/// A walked tree.
#[derive(Debug)]
pub struct Tree {
    /// The metadata of the root directory.
    pub root: Meta,
    /// All directories that were entered; the root is the first.
    dirs: Vec<Listed>,
    /// Of entries that are further names of an inode: the first of its names.
    pub links: HashMap<EntryId, EntryId>,
    /// Paths of mount points inside; they count as empty directories.
    pub mounts: Vec<Vec<u8>>,
    /// What could not be read, a few of them, when the walk was told to go on.
    pub unreadable: Vec<String>,
    /// Whether the file system's own `lost+found` was left out.
    pub lost_found: bool,
    /// No other tree of this process has it.
    number: u64,
}

/// The name of an entry.
#[derive(Debug)]
pub struct Name(Rc<Directory>, u32);

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
            .entries
            .get(self.1 as usize)
            .map_or(&[], |entry| self.0.name(entry))
    }
}

impl Tree {
    /// Of directories in any order, whose ids have no gaps. What is special about it is added by [`super::walk`].
    #[must_use]
    pub fn new(root: Meta, mut dirs: Vec<Listed>) -> Self {
        static TREES: AtomicU64 = AtomicU64::new(0);
        // After sorting each directory is at its own id.
        dirs.sort_unstable_by_key(|dir| dir.node.id);
        dirs.shrink_to_fit();
        let mut tree = Self {
            root,
            dirs,
            links: HashMap::new(),
            mounts: Vec::new(),
            unreadable: Vec::new(),
            lost_found: false,
            number: TREES.fetch_add(1, Relaxed),
        };
        tree.links = tree.find_links();
        tree
    }

    /// How many entries there are, without the root.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.dirs.iter().map(|dir| u64::from(dir.count)).sum()
    }

    /// Whether there is nothing but the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of entries of each directory, by id.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.dirs.iter().map(|dir| dir.count)
    }

    /// Every directory that was entered and its inode, the root first, parents before what is in them.
    pub fn inodes(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        (0..).zip(self.dirs.iter().map(|dir| dir.ino))
    }

    /// Where the directory with this id is.
    #[must_use]
    pub fn node(&self, id: u32) -> &Arc<Node> {
        &self.dirs[id as usize].node
    }

    /// The directory with this id.
    #[must_use]
    pub fn dir(&self, id: u32) -> Rc<Directory> {
        HELD.with_borrow_mut(|held| {
            match held
                .iter()
                .position(|(tree, dir, _)| (*tree, *dir) == (self.number, id))
            {
                Some(0) => {}
                Some(at) => held[..=at].rotate_right(1),
                None => {
                    let last = if held.len() < UNPACKED { None } else { held.pop() };
                    let old = last.and_then(|(.., dir)| Rc::try_unwrap(dir).ok());
                    held.insert(0, (self.number, id, Rc::new(self.dirs[id as usize].unpack(old))));
                }
            }
            Rc::clone(&held[0].2)
        })
    }

    /// The entry with this id.
    #[must_use]
    pub fn entry(&self, id: EntryId) -> Entry {
        self.dir(id.dir).entries[id.slot as usize]
    }

    /// The name of an entry.
    #[must_use]
    pub fn name(&self, id: EntryId) -> Name {
        Name(self.dir(id.dir), id.slot)
    }

    /// The path of an entry from the root.
    #[must_use]
    pub fn path(&self, id: EntryId) -> Vec<u8> {
        self.node(id.dir).path(&self.name(id))
    }

    /// The entry at a path, without the root itself.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<EntryId> {
        let mut found: Option<EntryId> = None;
        for name in path.split(|byte| *byte == b'/') {
            let dir = found.map_or(0, |id| self.entry(id).dir);
            if dir == NO_DIR {
                return None;
            }
            let slot = self.dir(dir).find(name)?;
            found = Some(EntryId {
                dir,
                slot: slot as u32,
            });
        }
        found
    }

    /// Every entry but the root, parents before what is in them, by name.
    pub fn entries(&self) -> impl Iterator<Item = (EntryId, Entry)> + '_ {
        let mut stack = vec![(EntryId { dir: 0, slot: 0 }, self.dir(0))];
        std::iter::from_fn(move || {
            loop {
                let (at, dir) = stack.last_mut()?;
                let id = *at;
                let Some(&entry) = dir.entries.get(id.slot as usize) else {
                    stack.pop();
                    continue;
                };
                at.slot += 1;
                if entry.dir != NO_DIR {
                    let first = EntryId {
                        dir: entry.dir,
                        slot: 0,
                    };
                    stack.push((first, self.dir(entry.dir)));
                }
                return Some((id, entry));
            }
        })
    }

    /// Whether the entry is a further name of an inode that came before.
    #[must_use]
    pub fn is_link(&self, id: EntryId) -> bool {
        self.links.contains_key(&id)
    }

    /// Finds the entries that share an inode. The first by path stands for all.
    fn find_links(&self) -> HashMap<EntryId, EntryId> {
        let mut first: HashMap<(u32, u64), EntryId> = HashMap::new();
        let mut links = HashMap::new();
        // Most volumes have none.
        if !self.dirs.iter().any(|dir| dir.has_links) {
            return links;
        }
        for (id, Entry { meta, .. }) in self.entries() {
            if has_several_names(&meta) {
                let leader = *first.entry((meta.dev, meta.ino)).or_insert(id);
                if leader != id {
                    links.insert(id, leader);
                }
            }
        }
        links
    }
}
