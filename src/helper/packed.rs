//! A directory's entries in few bytes: what a tree of millions of files is kept in memory as.
//!
//! Neighbours have much in common: the beginning of the name, the owner, the inode's number, the time. Only what is
//! other is kept, in numbers of as many bytes as they need: some 35 bytes an entry instead of 150. Nothing here does
//! I/O, and nothing packed leaves the process: the format is nobody's business.

use super::meta::{Kind, Meta, Stamp};
use super::tree::{Directory, Entry, NO_DIR};

const KINDS: [Kind; 7] = [
    Kind::File,
    Kind::Dir,
    Kind::Symlink,
    Kind::Fifo,
    Kind::Char,
    Kind::Block,
    Kind::Socket,
];

/// Mode, owner, links and devices are those of the entry before.
const SAME_CLASS: u8 = 1 << 3;
/// A directory that was entered.
const ENTERED: u8 = 1 << 4;
/// The file's blocks are as many as its length wants.
const DENSE: u8 = 1 << 5;

/// A block of most file systems, in the kernel's units of 512 bytes.
const PAGE: u64 = 8;

/// Bytes that an entry seldom needs more than.
const USUAL: usize = 48;

/// What is packed of a directory.
#[derive(Debug)]
pub struct Packed(Box<[u8]>);

impl Packed {
    /// Packs entries that are sorted by name.
    #[must_use]
    pub fn new(dir: &Directory) -> Self {
        let mut out = Out(Vec::with_capacity(dir.entries.len() * USUAL));
        let (mut name, mut last) = (&[][..], None::<Meta>);
        for entry in &dir.entries {
            let next = dir.name(entry);
            let shared = name.iter().zip(next).take_while(|(a, b)| a == b).count();
            out.number(shared as u64);
            out.number((next.len() - shared) as u64);
            out.0.extend_from_slice(&next[shared..]);
            name = next;
            out.entry(entry, last.as_ref());
            last = Some(entry.meta);
        }
        Self(out.0.into_boxed_slice())
    }

    /// Unpacks `count` entries into an empty directory.
    pub fn unpack(&self, count: u32, dir: &mut Directory) {
        let mut input = In(&self.0);
        let (mut name, mut last) = (Vec::with_capacity(256), None::<Meta>);
        dir.entries.reserve_exact(count as usize);
        for _ in 0..count {
            let shared = input.number() as usize;
            name.truncate(shared);
            let added = input.number() as usize;
            name.extend_from_slice(input.take(added));
            let (meta, below) = input.entry(last.as_ref());
            dir.push(&name, meta, below);
            last = Some(meta);
        }
    }
}

struct Out(Vec<u8>);

impl Out {
    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// How far it is from another one, in either direction.
    fn step(&mut self, from: u64, to: u64) {
        let step = to.wrapping_sub(from) as i64;
        self.number(((step << 1) ^ (step >> 63)) as u64);
    }

    fn stamp(&mut self, from: Stamp, to: Stamp) {
        self.step(from.sec as u64, to.sec as u64);
        self.0.extend_from_slice(&to.nsec.to_le_bytes());
    }

    fn entry(&mut self, entry: &Entry, last: Option<&Meta>) {
        let meta = &entry.meta;
        let kind = KINDS.iter().position(|kind| *kind == meta.kind);
        let same = last.is_some_and(|last| class(last) == class(meta));
        let dense = meta.blocks == dense(meta.size);
        let flag = |is, flag| if is { flag } else { 0 };
        self.0.push(
            kind.unwrap_or_default() as u8
                | flag(same, SAME_CLASS)
                | flag(entry.dir != NO_DIR, ENTERED)
                | flag(dense, DENSE),
        );
        if !same {
            let (mode, numbers) = class(meta);
            self.number(mode.into());
            numbers.into_iter().for_each(|number| self.number(number.into()));
        }
        if entry.dir != NO_DIR {
            self.number(entry.dir.into());
        }
        self.step(last.map_or(0, |last| last.ino), meta.ino);
        self.number(meta.size);
        if !dense {
            self.number(meta.blocks);
        }
        self.stamp(last.map_or(Stamp::default(), |last| last.mtime), meta.mtime);
        self.stamp(meta.mtime, meta.ctime);
        self.stamp(meta.mtime, meta.atime);
    }
}

/// What most entries of a directory have in common.
fn class(meta: &Meta) -> (u16, [u32; 5]) {
    (meta.mode, [meta.uid, meta.gid, meta.nlink, meta.dev, meta.rdev])
}

fn dense(size: u64) -> u64 {
    size.div_ceil(4096).saturating_mul(PAGE)
}

/// What was packed in this process: it ends where it should.
struct In<'a>(&'a [u8]);

impl In<'_> {
    fn take(&mut self, len: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 || shift > 63 {
                return number;
            }
        }
    }

    fn step(&mut self, from: u64) -> u64 {
        let folded = self.number();
        let step = (folded >> 1) as i64 ^ -((folded & 1) as i64);
        from.wrapping_add(step as u64)
    }

    fn stamp(&mut self, from: Stamp) -> Stamp {
        let sec = self.step(from.sec as u64) as i64;
        let mut nsec = [0; 4];
        nsec.iter_mut().for_each(|byte| *byte = self.byte());
        Stamp {
            sec,
            nsec: u32::from_le_bytes(nsec),
        }
    }

    fn entry(&mut self, last: Option<&Meta>) -> (Meta, u32) {
        let flags = self.byte();
        let kind = KINDS.get(usize::from(flags & 7)).copied().unwrap_or(Kind::Socket);
        let (mode, [uid, gid, nlink, dev, rdev]) = match last {
            Some(last) if flags & SAME_CLASS != 0 => class(last),
            _ => (
                self.number() as u16,
                std::array::from_fn(|_| self.number() as u32),
            ),
        };
        let below = if flags & ENTERED == 0 {
            NO_DIR
        } else {
            self.number() as u32
        };
        let ino = self.step(last.map_or(0, |last| last.ino));
        let size = self.number();
        let blocks = if flags & DENSE == 0 {
            self.number()
        } else {
            dense(size)
        };
        let mtime = self.stamp(last.map_or(Stamp::default(), |last| last.mtime));
        let (ctime, atime) = (self.stamp(mtime), self.stamp(mtime));
        let meta = Meta {
            kind,
            mode,
            uid,
            gid,
            nlink,
            dev,
            rdev,
            ino,
            size,
            blocks,
            mtime,
            ctime,
            atime,
        };
        (meta, below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::cursor::Node;
    use proptest::prelude::*;

    fn stamps() -> impl Strategy<Value = Stamp> {
        let sec = prop_oneof![
            Just(0),
            Just(i64::MIN),
            Just(i64::MAX),
            any::<i64>(),
            1_700_000_000..1_800_000_000i64
        ];
        (sec, 0..1_000_000_000u32).prop_map(|(sec, nsec)| Stamp { sec, nsec })
    }

    fn numbers() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0..100_000u64]
    }

    prop_compose! {
        fn metas()(
            kind in 0..KINDS.len(),
            (mode, uid, gid) in (0..0o10000u16, prop_oneof![Just(999), any::<u32>()], any::<u32>()),
            (nlink, dev, rdev) in (1..3u32, 0..3u32, prop_oneof![Just(0), any::<u32>()]),
            (ino, size, blocks) in (numbers(), numbers(), numbers()),
            is_dense in any::<bool>(),
            (mtime, ctime, atime) in (stamps(), stamps(), stamps()),
        ) -> Meta {
            let kind = KINDS[kind];
            let blocks = if is_dense { dense(size) } else { blocks };
            Meta { kind, mode, uid, gid, nlink, dev, rdev, ino, size, blocks, mtime, ctime, atime }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            names in prop::collection::btree_set(prop::collection::vec(1..=255u8, 1..20), 0..40),
            metas in prop::collection::vec((metas(), prop_oneof![Just(NO_DIR), 0..1_000_000u32], any::<bool>()), 40),
        ) {
            let mut dir = Directory::new(Node::root());
            let mut last: Option<Meta> = None;
            for (name, (mut meta, below, alike)) in names.iter().zip(metas) {
                if let Some(last) = last.filter(|_| alike) {
                    (meta.mode, meta.uid, meta.gid) = (last.mode, last.uid, last.gid);
                    (meta.nlink, meta.dev, meta.rdev) = (last.nlink, last.dev, last.rdev);
                }
                dir.push(name, meta, below);
                last = Some(meta);
            }
            let packed = Packed::new(&dir);
            let mut again = Directory::new(Node::root());
            packed.unpack(dir.entries.len() as u32, &mut again);
            prop_assert_eq!(again.entries.len(), dir.entries.len());
            for (a, b) in again.entries.iter().zip(&dir.entries) {
                prop_assert_eq!(again.name(a), dir.name(b));
                prop_assert_eq!((a.meta, a.dir), (b.meta, b.dir));
            }
        }
    }

    #[test]
    fn usual_entries_take_little() {
        let mut dir = Directory::new(Node::root());
        for n in 0..1000u32 {
            let at = |sec: i64, nsec| Stamp {
                sec: 1_790_000_000 + sec,
                nsec,
            };
            let size = u64::from(n * 7919 % 64_000);
            let meta = Meta {
                kind: Kind::File,
                mode: 0o644,
                uid: 1000,
                gid: 1000,
                nlink: 1,
                dev: 0x800_0010,
                rdev: 0,
                ino: 12_345_678 + u64::from(n) * 3,
                size,
                blocks: dense(size),
                mtime: at(i64::from(n) * 977, n * 997_331),
                ctime: at(5_000_000 + i64::from(n), n * 887_331),
                atime: at(6_000_000, n * 787_331),
            };
            dir.push(format!("IMG_{n:05}.jpeg").as_bytes(), meta, NO_DIR);
        }
        let packed = Packed::new(&dir).0.len();
        assert!(packed < 40_000, "{packed} bytes for 1000 entries");
    }
}
