//! Compares two trees entry by entry: names, types, metadata, links, and content by hash.
//!
//! [`super::verify`] and [`super::compare`] say what a difference means.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::attrs::{self, At};
use super::content::{self, Buffer, Reader};
use super::context::Context;
use super::copy::{Hand, Roots};
use super::crew::work_off;
use super::cursor::Node;
use super::fault::{Fault, Result, Side, show, vanished};
use super::hash::Hash;
use super::manifest::Proof;
use super::meta::{Grain, Kind, Meta};
use super::same::Same;
use super::store::{self, Records, Store};
use super::tree::{EntryId, NO_DIR, Tree};
use crate::model::Owner;

/// The two trees and how they are compared.
pub struct Pair<'a> {
    /// Progress, the wish to stop.
    pub cx: &'a Context,
    /// What the right has to be like.
    pub left: &'a Tree,
    /// What is compared with it.
    pub right: &'a Tree,
    /// Both roots, open.
    pub roots: Roots<'a>,
    /// The owner that everything on the right has to have instead of that on the left.
    pub owner: Option<Owner>,
    /// What times the right can keep.
    pub grain: Grain,
    /// What is known of the left, where content need not be read again.
    pub known: Option<&'a Store>,
    /// Whether the times of directories count.
    pub directory_times: bool,
    /// Whether somebody may write while we compare: what goes away then is a difference and not a fault.
    pub live: bool,
    /// Threads.
    pub jobs: usize,
}

/// An entry by the tree it is in; the root is `None`.
pub type Id = Option<EntryId>;

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Only on the left.
    Missing,
    /// Only on the right.
    Extra,
    /// On both sides, and different: in what.
    Different(String),
}

/// A finding and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// On the left, or on the right for an extra entry.
    pub id: Id,
    /// On the right, if it is there.
    pub right: Id,
    /// What.
    pub finding: Finding,
}

/// The whole comparison, in no particular order.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is the same.
    pub same: Same,
    /// What is not.
    pub wrong: Vec<Found>,
}

/// An entry whose metadata is the same on both sides, waiting for its content to be compared.
struct Pending {
    left: EntryId,
    right: EntryId,
    /// The hash of what was compared so far.
    seen: Hash,
    xattrs: u32,
}

struct Comparer<'a> {
    pair: &'a Pair<'a>,
    hand: Hand<'a>,
    buffer: Buffer,
    records: Records,
    findings: Findings,
    pending: Vec<Pending>,
}

enum Work {
    Directory(Arc<Node>, u32),
    Content(Pending),
}

/// Compares everything.
///
/// # Errors
/// When a side cannot be read.
pub fn compare(pair: &Pair<'_>) -> Result<Findings> {
    let state = || Comparer {
        pair,
        hand: pair.roots.hand(),
        buffer: Buffer::default(),
        records: Records::default(),
        findings: Findings::default(),
        pending: Vec::new(),
    };
    let root = Work::Directory(Arc::clone(pair.left.node(0)), 0);
    let done = work_off(
        pair.cx,
        pair.jobs,
        vec![root],
        state,
        |comparer, work, more| match work {
            Work::Directory(node, right) => comparer.directory(&node, right, more),
            Work::Content(pending) => comparer.content(pending),
        },
    )?;
    let (mut all, mut pending) = (Findings::default(), Vec::new());
    for comparer in done {
        all.add(comparer.findings);
        pending.extend(comparer.pending);
    }
    // Content last: by now it is known how much there is.
    pending.sort_unstable_by_key(|pending: &Pending| std::cmp::Reverse(pending.left));
    let bytes: u64 = pending
        .iter()
        .map(|pending| pair.left.entry(pending.left).meta.size)
        .sum();
    pair.cx.expect(bytes, pending.len() as u64);
    let work = pending.into_iter().map(Work::Content).collect();
    let done = work_off(pair.cx, pair.jobs, work, state, |comparer, work, _| match work {
        Work::Content(pending) => comparer.content(pending),
        Work::Directory(..) => Ok(()),
    })?;
    for comparer in done {
        all.add(comparer.findings);
    }
    Ok(all)
}

impl Findings {
    fn add(&mut self, other: Self) {
        self.same.add(other.same);
        self.wrong.extend(other.wrong);
    }
}

impl Comparer<'_> {
    fn directory(&mut self, node: &Arc<Node>, right_id: u32, more: &mut Vec<Work>) -> Result<()> {
        let (left, right) = (self.pair.left.dir(node.id), self.pair.right.dir(right_id));
        if node.depth == 0 {
            let metas = (self.pair.left.root, self.pair.right.root);
            self.entry((None, None), node, (b".", b""), metas, None)?;
        }
        let mut path = node.path_below();
        let parent = path.len();
        let mut records = std::mem::take(&mut self.records);
        let known = match self.pair.known {
            Some(store) => store.of_dir(node.id, left.entries.len(), &mut records),
            None => Ok(&records),
        };
        // Without a store there are no records.
        let known = known
            .map_err(store::failed)?
            .iter()
            .chain(std::iter::repeat(None));
        for (slot, (entry, known)) in left.entries.iter().zip(known).enumerate() {
            if entry.meta.kind == Kind::Socket {
                continue;
            }
            let name = left.name(entry);
            let id = EntryId {
                dir: node.id,
                slot: slot as u32,
            };
            let there = right.find(name);
            let Some((slot, other)) = there.map(|slot| (slot, &right.entries[slot])) else {
                self.missing(id);
                continue;
            };
            let other_id = EntryId {
                dir: right_id,
                slot: slot as u32,
            };
            if entry.meta.kind != other.meta.kind {
                let what = format!(
                    "a {} instead of a {}",
                    other.meta.kind.word(),
                    entry.meta.kind.word()
                );
                self.tell(Some(id), Some(other_id), Finding::Different(what));
                self.below(entry.dir, true);
                self.below(other.dir, false);
                continue;
            }
            let (ids, metas) = ((Some(id), Some(other_id)), (entry.meta, other.meta));
            path.truncate(parent);
            path.extend_from_slice(name);
            self.entry(ids, node, (name, &path), metas, store::proof(known))?;
            match (entry.dir, other.dir) {
                (NO_DIR, dir) => self.below(dir, false),
                (dir, NO_DIR) => self.below(dir, true),
                (dir, other) => more.push(Work::Directory(Arc::clone(self.pair.left.node(dir)), other)),
            }
        }
        for (slot, entry) in right.entries.iter().enumerate() {
            let stray = entry.meta.kind != Kind::Socket || !self.pair.live;
            // A socket on the left is not expected on the right.
            let known = left
                .find(right.name(entry))
                .is_some_and(|slot| left.entries[slot].meta.kind != Kind::Socket);
            if stray && !known {
                let id = Some(EntryId {
                    dir: right_id,
                    slot: slot as u32,
                });
                self.tell(id, id, Finding::Extra);
                self.below(entry.dir, false);
            }
        }
        self.records = records;
        Ok(())
    }

    fn tell(&mut self, id: Id, right: Id, finding: Finding) {
        self.findings.wrong.push(Found { id, right, finding });
    }

    fn same(&mut self, id: Id, meta: &Meta, seen: Hash, xattrs: u32) {
        let is_link = id.is_some_and(|id| self.pair.left.is_link(id));
        self.findings.same.add(Same::one(meta, is_link, &seen, xattrs));
    }

    fn missing(&mut self, id: EntryId) {
        self.tell(Some(id), None, Finding::Missing);
        self.below(self.pair.left.entry(id).dir, true);
    }

    /// Everything below a directory that is on one side only.
    fn below(&mut self, dir: u32, left: bool) {
        if dir == NO_DIR {
            return;
        }
        let tree = if left { self.pair.left } else { self.pair.right };
        let mut dirs = vec![dir];
        while let Some(dir) = dirs.pop() {
            for (slot, entry) in tree.dir(dir).entries.iter().enumerate() {
                let id = Some(EntryId {
                    dir,
                    slot: slot as u32,
                });
                let finding = if left { Finding::Missing } else { Finding::Extra };
                if entry.meta.kind != Kind::Socket {
                    self.tell(id, if left { None } else { id }, finding);
                }
                if entry.dir != NO_DIR {
                    dirs.push(entry.dir);
                }
            }
        }
    }

    /// Compares all but content.
    fn entry(
        &mut self,
        (id, other): (Id, Id),
        node: &Arc<Node>,
        (name, path): (&[u8], &[u8]),
        (left, right): (Meta, Meta),
        proof: Option<Proof>,
    ) -> Result<()> {
        if let Some(what) = self.metadata(id, other, &left, &right) {
            self.tell(id, other, Finding::Different(what));
            return Ok(());
        }
        let live = self.pair.live;
        let sides = read_small(&mut self.hand, node, name, left.kind);
        let (a, b) = match sides {
            (Ok(a), Ok(b)) => (a, b),
            (Err(errno), _) | (_, Err(errno)) if vanished(errno) && live => {
                self.tell(
                    id,
                    other,
                    Finding::Different("it changed while it was compared".to_owned()),
                );
                return Ok(());
            }
            (Err(errno), _) if vanished(errno) => {
                return Err(Fault::source_changed(path, errno.to_string()));
            }
            (Err(errno), _) => return Err(Fault::io(Side::Source, "read", path, errno)),
            (_, Err(errno)) => return Err(Fault::io(Side::Destination, "read", path, errno)),
        };
        if let Some(what) = a.differs_in(&b) {
            self.tell(id, other, Finding::Different(what));
            return Ok(());
        }
        let mut seen = self.digest(id, path, &right, &a);
        let xattrs = a.xattrs.len() as u32;
        if let (Kind::File, Some(id), Some(other)) = (left.kind, id, other)
            && !self.pair.left.is_link(id)
        {
            match proof {
                Some(proof) if proof.ino == right.ino && proof.ctime == right.ctime => {
                    seen = with_content(&seen, &proof.hash);
                }
                _ => {
                    self.pending.push(Pending {
                        left: id,
                        right: other,
                        seen,
                        xattrs,
                    });
                    return Ok(());
                }
            }
        }
        self.same(id, &left, seen, xattrs);
        Ok(())
    }

    /// In what the metadata of two entries of the same type differs.
    fn metadata(&self, id: Id, other: Id, left: &Meta, right: &Meta) -> Option<String> {
        let pair = self.pair;
        let wanted = left.wanted(pair.owner, pair.grain);
        if (right.uid, right.gid) != (wanted.owner.uid, wanted.owner.gid) {
            return Some(format!(
                "owner {}:{} instead of {}",
                right.uid, right.gid, wanted.owner
            ));
        }
        if right.mode != left.mode && left.kind != Kind::Symlink {
            return Some(format!("mode {:04o} instead of {:04o}", right.mode, left.mode));
        }
        if left.kind == Kind::File && right.size != left.size {
            return Some(format!("{} bytes instead of {}", right.size, left.size));
        }
        if right.rdev != left.rdev {
            return Some("another device number".to_owned());
        }
        let time_counts = left.kind != Kind::Dir || pair.directory_times;
        if time_counts && right.mtime.rounded(pair.grain) != wanted.mtime {
            let (a, b) = (right.mtime, wanted.mtime);
            return Some(format!(
                "mtime {}.{:09} instead of {}.{:09}",
                a.sec, a.nsec, b.sec, b.nsec
            ));
        }
        let leader = |tree: &Tree, id: Id| {
            id.and_then(|id| tree.links.get(&id))
                .map(|leader| tree.path(*leader))
                .unwrap_or_default()
        };
        let (a, b) = (leader(pair.left, id), leader(pair.right, other));
        if a != b {
            let words = |path: &[u8]| {
                if path.is_empty() {
                    "no hard link".to_owned()
                } else {
                    format!("a hard link to {}", show(path))
                }
            };
            return Some(format!("{} instead of {}", words(&b), words(&a)));
        }
        None
    }

    /// Everything that was compared of an entry, but content, in one hash. The right side's values: they are what the
    /// services will see.
    fn digest(&self, id: Id, path: &[u8], right: &Meta, small: &Small) -> Hash {
        let mut seen = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            seen.update(&(bytes.len() as u64).to_le_bytes());
            seen.update(bytes);
        };
        field(path);
        field(&[right.kind as u8]);
        for number in [
            right.mode.into(),
            right.uid,
            right.gid,
            right.rdev,
            right.mtime.nsec,
        ] {
            field(&number.to_le_bytes());
        }
        field(&right.mtime.sec.to_le_bytes());
        field(&(if right.kind == Kind::File { right.size } else { 0 }).to_le_bytes());
        let leader = id.and_then(|id| self.pair.left.links.get(&id));
        field(
            &leader
                .map(|leader| self.pair.left.path(*leader))
                .unwrap_or_default(),
        );
        field(&small.target);
        for (key, value) in &small.xattrs {
            field(key);
            field(value);
        }
        *seen.finalize().as_bytes()
    }

    /// Compares the content of a file by reading both sides.
    fn content(&mut self, pending: Pending) -> Result<()> {
        let Pending {
            left,
            right,
            seen,
            xattrs,
        } = pending;
        let pair = self.pair;
        pair.cx.did_files(1);
        let a = self.hash(Side::Source, left, pair.left)?;
        let b = self.hash(Side::Destination, right, pair.right)?;
        let what = match (a, b) {
            (Some(a), Some(b)) if a == b => {
                let meta = pair.left.entry(left).meta;
                self.same(Some(left), &meta, with_content(&seen, &a), xattrs);
                return Ok(());
            }
            (Some(_), Some(_)) => "other content",
            _ => "it changed while it was compared",
        };
        self.tell(Some(left), Some(right), Finding::Different(what.to_owned()));
        Ok(())
    }

    /// `None` when it changed since the walk, which only a live tree may do.
    fn hash(&mut self, side: Side, id: EntryId, tree: &Tree) -> Result<Option<Hash>> {
        let path = || tree.path(id);
        let live = self.pair.live;
        let changed = |because: &str| match side {
            _ if live => Ok(None),
            Side::Source => Err(Fault::source_changed(&path(), because)),
            Side::Destination => {
                let what = format!("{} changed while it was compared", show(&path()));
                Err(Fault::new(super::protocol::FailClass::Differs, what, because))
            }
        };
        let cursor = if side == Side::Source {
            &mut self.hand.from
        } else {
            &mut self.hand.to
        };
        let opened = cursor.enter(tree.node(id.dir));
        let file = match opened.and_then(|dir| content::open_file(dir, &tree.name(id))) {
            Ok(file) => file,
            Err(errno) if vanished(errno) => return changed("it went away"),
            Err(errno) => return Err(Fault::io(side, "open", &path(), errno)),
        };
        let stat =
            |file: BorrowedFd<'_>| Meta::of_fd(file).map_err(|errno| Fault::io(side, "read", &path(), errno));
        let meta = stat(file.as_fd())?;
        if !meta.untouched_since(&tree.entry(id).meta) {
            return changed("its size, time or inode is not what it was a moment ago");
        }
        let reader = Reader {
            cx: self.pair.cx,
            side,
            path: &path,
        };
        let content = content::hash_from_disk(reader, &file, &meta, 0..meta.size, &mut self.buffer)?;
        if !content.complete || !stat(file.as_fd())?.untouched_since(&meta) {
            return changed("it was written to");
        }
        Ok(Some(content.hash()))
    }
}

/// The hash of an entry with its content.
fn with_content(seen: &Hash, content: &Hash) -> Hash {
    *blake3::hash(&[*seen, *content].concat()).as_bytes()
}

/// What an entry has besides metadata and content.
#[derive(Debug, Default)]
struct Small {
    target: Vec<u8>,
    xattrs: attrs::Xattrs,
}

impl Small {
    fn differs_in(&self, other: &Self) -> Option<String> {
        if self.target != other.target {
            return Some(format!(
                "it points at {} instead of {}",
                show(&other.target),
                show(&self.target)
            ));
        }
        let lacks = |a: &attrs::Xattrs, b: &attrs::Xattrs| a.iter().find(|pair| !b.contains(pair)).cloned();
        let key = lacks(&self.xattrs, &other.xattrs)
            .or_else(|| lacks(&other.xattrs, &self.xattrs))?
            .0;
        Some(format!("other extended attribute {}", show(&key)))
    }
}

fn read_small(
    hand: &mut Hand<'_>,
    node: &Arc<Node>,
    name: &[u8],
    kind: Kind,
) -> (Result<Small, Errno>, Result<Small, Errno>) {
    let read = |dir: BorrowedFd<'_>| {
        let target = if kind == Kind::Symlink {
            rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes()
        } else {
            Vec::new()
        };
        // The root is no entry of anything that we could reach.
        let at = if name == b"." {
            At::Fd(dir)
        } else {
            At::Entry(dir, name)
        };
        Ok(Small {
            target,
            xattrs: attrs::read(at)?,
        })
    };
    (
        hand.from.enter(node).and_then(read),
        hand.to.enter(node).and_then(read),
    )
}
