//! What is in a tree, entry by entry, in so few bytes that it fits into memory for millions of them: of each the hash of
//! its path and that of everything else about it. Two trees are the same when their listings are.
//!
//! The order in which entries come does not matter, and neither does which of several names of a file comes first. So a
//! walk of a disk can be compared with an archive that another program wrote in another order.

use std::collections::{HashMap, HashSet};

use super::attrs::Xattrs;
use super::hash::Hash;
use super::meta::{Kind, Stamp};
use crate::model::Owner;

/// Half of a BLAKE3 hash: nobody finds two entries that share one.
pub type Half = u128;

fn half(hash: &blake3::Hash) -> Half {
    let bytes = hash.as_bytes().first_chunk::<16>();
    bytes.map_or(0, |bytes| Half::from_le_bytes(*bytes))
}

/// The hash of a path from the root of the tree; the root's own is empty.
#[must_use]
pub fn key(path: &[u8]) -> Half {
    half(&blake3::hash(path))
}

/// All about an entry that has to be the same, but its path and its further names.
#[derive(Debug, Clone, Copy)]
pub struct Looks<'a> {
    /// Its type.
    pub kind: Kind,
    /// The low twelve bits of the mode; that of a symlink does not count.
    pub mode: u16,
    /// Numeric owner.
    pub owner: Owner,
    /// Modification time.
    pub mtime: Stamp,
    /// For device nodes: which device.
    pub rdev: u32,
    /// What a symlink points at.
    pub target: &'a [u8],
    /// Extended attributes, sorted by name.
    pub xattrs: &'a Xattrs,
    /// A file's length and the hash of its content.
    pub content: Option<(u64, Hash)>,
}

impl Looks<'_> {
    /// In one number.
    #[must_use]
    pub fn half(&self) -> Half {
        let mut all = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            all.update(&(bytes.len() as u64).to_le_bytes());
            all.update(bytes);
        };
        let mode = if self.kind == Kind::Symlink { 0 } else { self.mode };
        field(&[self.kind as u8]);
        for number in [
            mode.into(),
            self.owner.uid,
            self.owner.gid,
            self.rdev,
            self.mtime.nsec,
        ] {
            field(&number.to_le_bytes());
        }
        field(&self.mtime.sec.to_le_bytes());
        field(self.target);
        if let Some((size, hash)) = &self.content {
            field(&size.to_le_bytes());
            field(hash);
        }
        for (name, value) in self.xattrs {
            field(name);
            field(value);
        }
        half(&all.finalize())
    }
}

/// A listing that grows.
#[derive(Debug, Default, Clone)]
pub struct Listing {
    entries: Vec<(Half, Half)>,
    /// Further names, each with the first one.
    links: HashMap<Half, Half>,
    /// Names that have further ones.
    firsts: HashSet<Half>,
}

impl Listing {
    /// An entry. One that has this path already is replaced by it.
    pub fn add(&mut self, path: Half, looks: Half) {
        if self.firsts.remove(&path) {
            self.pass_on(path);
        }
        self.links.remove(&path);
        self.entries.push((path, looks));
    }

    /// A further name of an entry that is there, under the name `of`.
    pub fn link(&mut self, path: Half, of: Half) {
        let first = self.links.get(&of).copied().unwrap_or(of);
        if first == path {
            return;
        }
        if self.firsts.remove(&path) {
            self.pass_on(path);
        }
        self.firsts.insert(first);
        self.links.insert(path, first);
    }

    /// The first name goes to another entry: one of the further names is the first now.
    fn pass_on(&mut self, first: Half) {
        let Some(looks) = self.entries.iter().rfind(|(path, _)| *path == first) else {
            return;
        };
        let looks = looks.1;
        let mut names: Vec<Half> = self
            .links
            .iter()
            .filter(|l| *l.1 == first)
            .map(|l| *l.0)
            .collect();
        names.sort_unstable();
        let Some((heir, others)) = names.split_first() else {
            return;
        };
        self.links.remove(heir);
        self.entries.push((*heir, looks));
        for name in others {
            self.links.insert(*name, *heir);
            self.firsts.insert(*heir);
        }
    }

    /// Adds what others listed of other parts of the same tree.
    pub fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.links.extend(other.links);
        self.firsts.extend(other.firsts);
    }

    /// No more entries come.
    #[must_use]
    pub fn finish(self) -> Listed {
        let Self {
            mut entries, links, ..
        } = self;
        // Stable: of several with the same path the last one stays.
        entries.sort_by_key(|(path, _)| *path);
        entries.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                *kept = *next;
            }
            same
        });
        if !links.is_empty() {
            entries.retain(|(path, _)| !links.contains_key(path));
            // All names of one file, whichever is the first.
            let mut groups: HashMap<Half, Half> = HashMap::new();
            for (name, first) in &links {
                let sum = groups.entry(*first).or_insert(*first);
                *sum = sum.wrapping_add(*name);
            }
            let shared = |looks: Half, group: Half| {
                half(&blake3::hash(
                    [looks.to_le_bytes(), group.to_le_bytes()].as_flattened(),
                ))
            };
            for (path, looks) in &mut entries {
                if let Some(group) = groups.get(path) {
                    *looks = shared(*looks, *group);
                }
            }
            let firsts = entries.len();
            for (name, first) in links {
                let found = entries[..firsts].binary_search_by_key(&first, |(path, _)| *path);
                // What is a name of nothing is like nothing that is on a disk.
                let looks = found.map_or(0, |at| entries[at].1);
                entries.push((name, looks));
            }
            entries.sort_unstable();
        }
        Listed(entries)
    }
}

/// A listing that is complete, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed(Vec<(Half, Half)>);

impl Listed {
    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the entry with this path looks like.
    #[must_use]
    pub fn get(&self, path: Half) -> Option<Half> {
        let at = self.0.binary_search_by_key(&path, |(path, _)| *path).ok()?;
        self.0.get(at).map(|(_, looks)| *looks)
    }

    /// One figure for the tree: the BLAKE3 of all entries, in hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut all =
            blake3::Hasher::new_derive_key("rehome: the entries of a tree, sorted by the hash of their path");
        for (path, looks) in &self.0 {
            all.update(&path.to_le_bytes());
            all.update(&looks.to_le_bytes());
        }
        all.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(build: impl FnOnce(&mut Listing)) -> Listed {
        let mut listing = Listing::default();
        build(&mut listing);
        listing.finish()
    }

    #[test]
    fn neither_the_order_nor_the_first_name_matters() {
        let one = listed(|l| {
            l.add(1, 10);
            l.add(2, 20);
            l.link(3, 2);
            l.link(4, 3);
        });
        let other = listed(|l| {
            l.add(4, 20);
            l.link(3, 4);
            l.add(1, 10);
            l.link(2, 4);
        });
        assert_eq!(one, other);
        assert_eq!((one.len(), one.hex()), (4, other.hex()));
        // Copies are no further names, and neither are those of another file.
        let copies = listed(|l| (1..=4).for_each(|n| l.add(n, if n == 1 { 10 } else { 20 })));
        assert_ne!(one, copies);
        let regrouped = listed(|l| {
            l.add(1, 10);
            l.add(2, 20);
            l.add(3, 20);
            l.link(4, 3);
        });
        assert_ne!(one, regrouped);
        assert_ne!(copies, regrouped);
    }

    #[test]
    fn the_last_of_several_with_one_path_counts() {
        let two = listed(|l| {
            l.add(1, 10);
            l.add(1, 11);
        });
        assert_eq!(two, listed(|l| l.add(1, 11)));
        // The first name is written again: what it was lives on under the others.
        let again = listed(|l| {
            l.add(1, 10);
            l.link(2, 1);
            l.link(3, 1);
            l.add(1, 11);
        });
        let wanted = listed(|l| {
            l.add(3, 10);
            l.link(2, 3);
            l.add(1, 11);
        });
        assert_eq!(again, wanted);
        // A further name becomes a file of its own, and the other way round.
        let own = listed(|l| {
            l.add(1, 10);
            l.link(2, 1);
            l.add(2, 12);
        });
        assert_ne!(own.get(2), own.get(1));
        assert_eq!(own.get(2), Some(12));
    }
}
