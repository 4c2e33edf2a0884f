//! What two trees have in common, in numbers.

use super::hash::Hash;
use super::meta::{Kind, Meta};

/// Entries that are on both sides and the same, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Same {
    /// All of them.
    pub entries: u64,
    /// Files, without further names.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories, the root among them.
    pub dirs: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Further names of an inode.
    pub hard_links: u64,
    /// Device nodes and FIFOs.
    pub special: u64,
    /// Extended attributes.
    pub xattrs: u64,
    /// The sum of the hashes of all that was compared of each. The path is part of it, so the order does not matter;
    /// the lowest word first.
    digest: [u64; 4],
}

impl Same {
    /// One entry: `seen` is a hash of all that was compared of it, its path included.
    #[must_use]
    pub fn one(meta: &Meta, is_link: bool, seen: &Hash, xattrs: u32) -> Self {
        let mut one = Self {
            entries: 1,
            xattrs: xattrs.into(),
            ..Self::default()
        };
        for (word, bytes) in one.digest.iter_mut().zip(seen.chunks_exact(8)) {
            *word = bytes.try_into().map_or(0, u64::from_le_bytes);
        }
        match meta.kind {
            _ if is_link => one.hard_links = 1,
            Kind::File => (one.files, one.bytes) = (1, meta.size),
            Kind::Symlink => one.symlinks = 1,
            Kind::Dir => one.dirs = 1,
            Kind::Fifo | Kind::Char | Kind::Block | Kind::Socket => one.special = 1,
        }
        one
    }

    /// The digest, in hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        self.digest
            .iter()
            .rev()
            .map(|word| format!("{word:016x}"))
            .collect()
    }

    /// Adds what others counted.
    pub fn add(&mut self, other: Self) {
        let Self {
            entries,
            files,
            bytes,
            dirs,
            symlinks,
            hard_links,
            special,
            xattrs,
            digest,
        } = other;
        self.entries += entries;
        self.files += files;
        self.bytes += bytes;
        self.dirs += dirs;
        self.symlinks += symlinks;
        self.hard_links += hard_links;
        self.special += special;
        self.xattrs += xattrs;
        let carry = |sum: &mut u64, (word, carry): (u64, u64)| {
            let (first, over) = sum.overflowing_add(word);
            let (second, again) = first.overflowing_add(carry);
            *sum = second;
            u64::from(over) + u64::from(again)
        };
        let mut over = 0;
        for (sum, word) in self.digest.iter_mut().zip(digest) {
            over = carry(sum, (word, over));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(digest: [u64; 4]) -> Same {
        Same {
            digest,
            ..Same::default()
        }
    }

    #[test]
    fn the_digest_is_a_sum_with_carries_in_any_order() {
        let parts = [
            with([u64::MAX, u64::MAX, 0, 7]),
            with([1, 0, u64::MAX, u64::MAX]),
            with([3, u64::MAX, 5, 1]),
        ];
        let sum = |order: [usize; 3]| {
            let mut sum = Same::default();
            order.into_iter().for_each(|at| sum.add(parts[at]));
            sum.hex()
        };
        // As another program adds them: python3, modulo 2^256.
        let wanted = "00000000000000080000000000000005ffffffffffffffff0000000000000003".to_owned();
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            assert_eq!(sum(order), wanted);
        }
    }
}
