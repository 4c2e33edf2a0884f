//! The tar format, as bytes: POSIX pax with what GNU tar adds to it for sparse files and attributes.
//! <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>,
//! <https://www.gnu.org/software/tar/manual/html_section/Tar-Internals.html>
//!
//! Nothing here touches a file. What is written here GNU tar reads; what is read here GNU tar, busybox, bsdtar, Python
//! and star may have written. The crate that makes the helper's image reads and writes less of it: no sparse files of
//! pax, and no attributes with a line break in them.

pub mod pax;
pub mod read;
pub mod write;

use super::attrs::Xattrs;
use super::meta::{Kind, Stamp};
use crate::model::Owner;

/// The unit of an archive.
pub const BLOCK: usize = 512;

/// A file in more stretches than this is written as if the last one went to its end, and not read at all: each takes
/// memory.
pub const STRETCHES: usize = 1 << 20;

/// A stretch of data in a sparse file: where it begins, and how long it is.
pub type Stretch = (u64, u64);

/// One member of an archive, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path as the archive has it; whoever unpacks must not trust it.
    pub path: Vec<u8>,
    /// What it is.
    pub what: What,
    /// The low twelve bits of the mode.
    pub mode: u16,
    /// Numeric owner.
    pub owner: Owner,
    /// Modification time.
    pub mtime: Stamp,
    /// Extended attributes, sorted by name.
    pub xattrs: Xattrs,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File {
        /// Its length.
        size: u64,
        /// Where it has data, if it has holes.
        data: Option<Vec<Stretch>>,
    },
    /// A directory.
    Dir,
    /// A symbolic link, and what it points at.
    Symlink(Vec<u8>),
    /// A further name of the member with this path.
    Link(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device, packed as [`super::meta::device`] does.
    Char(u32),
    /// A block device.
    Block(u32),
}

impl What {
    /// The kind of entry it makes; a further name makes none.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::File { .. } => Some(Kind::File),
            Self::Dir => Some(Kind::Dir),
            Self::Symlink(_) => Some(Kind::Symlink),
            Self::Link(_) => None,
            Self::Fifo => Some(Kind::Fifo),
            Self::Char(_) => Some(Kind::Char),
            Self::Block(_) => Some(Kind::Block),
        }
    }
}

/// How much follows so many bytes up to the next block.
#[must_use]
pub fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK as u64) - bytes
}
