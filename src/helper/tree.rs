//! A tree in memory: names and metadata of every entry, in a few allocations a directory.
//!
//! A million entries take about 150 MB. Nothing here does I/O; [`super::walk`] fills it.

use std::collections::HashMap;
use std::sync::Arc;

use super::cursor::Node;
use super::meta::{Kind, Meta};

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

    /// Adds an entry; a name is at most 255 bytes long on every Linux file system.
    pub fn push(&mut self, name: &[u8], meta: Meta, dir: u32) {
        self.entries.push(Entry {
            meta,
            name: (self.names.len() as u32, name.len() as u16),
            dir,
        });
        self.names.extend_from_slice(name);
    }

    /// Sorts by name and gives back what was allocated too much.
    pub fn close(&mut self) {
        let names = std::mem::take(&mut self.names);
        self.entries
            .sort_unstable_by(|a, b| slice(&names, a.name).cmp(slice(&names, b.name)));
        self.names = names;
        self.names.shrink_to_fit();
        self.entries.shrink_to_fit();
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

/// A walked tree.
#[derive(Debug)]
pub struct Tree {
    /// The metadata of the root directory.
    pub root: Meta,
    /// All directories that were entered; the root is the first.
    pub dirs: Vec<Directory>,
    /// Of entries that are further names of an inode: the first of its names.
    pub links: HashMap<EntryId, EntryId>,
    /// Paths of mount points inside; they count as empty directories.
    pub mounts: Vec<Vec<u8>>,
    /// What could not be read, a few of them, when the walk was told to go on.
    pub unreadable: Vec<String>,
    /// Whether the file system's own `lost+found` was left out.
    pub lost_found: bool,
}

impl Tree {
    /// The directory with this number.
    #[must_use]
    pub fn dir(&self, id: u32) -> &Directory {
        &self.dirs[id as usize]
    }

    /// The entry with this id.
    #[must_use]
    pub fn entry(&self, id: EntryId) -> &Entry {
        &self.dir(id.dir).entries[id.slot as usize]
    }

    /// The name of an entry.
    #[must_use]
    pub fn name(&self, id: EntryId) -> &[u8] {
        self.dir(id.dir).name(self.entry(id))
    }

    /// The path of an entry from the root.
    #[must_use]
    pub fn path(&self, id: EntryId) -> Vec<u8> {
        self.dir(id.dir).node.path(self.name(id))
    }

    /// The entry at a path, without the root itself.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<EntryId> {
        let mut found: Option<EntryId> = None;
        for name in path.split(|byte| *byte == b'/') {
            let dir = found.map_or(0, |id| self.entry(id).dir);
            let slot = self.dirs.get(dir as usize)?.find(name)?;
            found = Some(EntryId {
                dir,
                slot: slot as u32,
            });
        }
        found
    }

    /// Every entry but the root, parents before what is in them, by name.
    pub fn ids(&self) -> impl Iterator<Item = EntryId> + '_ {
        let mut stack = vec![EntryId { dir: 0, slot: 0 }];
        std::iter::from_fn(move || {
            loop {
                let at = stack.last_mut()?;
                let id = *at;
                let Some(entry) = self.dir(id.dir).entries.get(id.slot as usize) else {
                    stack.pop();
                    continue;
                };
                at.slot += 1;
                if entry.dir != NO_DIR {
                    stack.push(EntryId {
                        dir: entry.dir,
                        slot: 0,
                    });
                }
                return Some(id);
            }
        })
    }

    /// Whether the entry is a further name of an inode that came before.
    #[must_use]
    pub fn is_link(&self, id: EntryId) -> bool {
        self.links.contains_key(&id)
    }

    /// Finds the entries that share an inode. The first by path stands for all.
    pub fn find_links(&mut self) {
        let mut first: HashMap<(u32, u64), EntryId> = HashMap::new();
        let mut links = HashMap::new();
        for id in self.ids() {
            let meta = &self.entry(id).meta;
            if meta.nlink > 1 && meta.kind != Kind::Dir {
                let leader = *first.entry((meta.dev, meta.ino)).or_insert(id);
                if leader != id {
                    links.insert(id, leader);
                }
            }
        }
        self.links = links;
    }
}
