//! The UUID of a file system, and which devices have the same one: a cloned snapshot attached beside its original.
//!
//! The superblocks are read here, not asked of blkid: its cache may name a device that is gone, and where several have
//! the same UUID it answers with one of them.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{Failure, Result};

/// The UUID of a file system, lower case: `0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FsUuid(String);

/// Text that is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no UUID of a file system")]
pub struct ParseUuidError(String);

impl FromStr for FsUuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseUuidError> {
        let shape = text.len() == 36
            && text.bytes().enumerate().all(|(i, byte)| match i {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        if shape {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(ParseUuidError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for FsUuid {
    type Error = ParseUuidError;

    fn try_from(text: String) -> std::result::Result<Self, ParseUuidError> {
        text.parse()
    }
}

impl From<FsUuid> for String {
    fn from(uuid: FsUuid) -> String {
        uuid.0
    }
}

impl fmt::Display for FsUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where a file system keeps its magic bytes and its UUID.
struct Superblock {
    magic_at: u64,
    magic: &'static [u8],
    uuid_at: u64,
}

const SUPERBLOCKS: [Superblock; 3] = [
    // ext2, ext3, ext4: <https://docs.kernel.org/filesystems/ext4/super.html>
    Superblock {
        magic_at: 0x438,
        magic: b"\x53\xef",
        uuid_at: 0x468,
    },
    // XFS: `sb_magicnum` and `sb_uuid` of struct xfs_dsb.
    Superblock {
        magic_at: 0,
        magic: b"XFSB",
        uuid_at: 32,
    },
    // btrfs: <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html#superblock>
    Superblock {
        magic_at: 0x1_0040,
        magic: b"_BHRfS_M",
        uuid_at: 0x1_0020,
    },
];

impl FsUuid {
    /// Reads it from the superblock of an ext, XFS or btrfs file system; of others nothing is known.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub fn of_device(device: &File) -> io::Result<Option<Self>> {
        for superblock in &SUPERBLOCKS {
            let magic = read(device, superblock.magic_at, superblock.magic.len())?;
            if magic.as_deref() == Some(superblock.magic)
                && let Some(bytes) = read(device, superblock.uuid_at, 16)?
            {
                return Ok(Some(Self::of_bytes(&bytes)));
            }
        }
        Ok(None)
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(36);
        for (i, byte) in bytes.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        Self(text)
    }
}

/// `None` behind the end.
fn read(device: &File, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; len];
    match device.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Devices with the same file system UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twins {
    /// Of all of them.
    pub uuid: FsUuid,
    /// At least two.
    pub devices: Vec<PathBuf>,
}

/// Which of these devices (and partitions) have the same file system UUID. Two names of one device count once.
///
/// # Errors
/// When one of them cannot be read.
pub fn twins(devices: &[PathBuf]) -> Result<Vec<Twins>> {
    let mut seen = std::collections::BTreeSet::new();
    let mut found: std::collections::BTreeMap<FsUuid, Vec<PathBuf>> = std::collections::BTreeMap::new();
    for path in devices {
        let look = || -> io::Result<_> {
            let file = File::open(path)?;
            let meta = file.metadata()?;
            let identity = match meta.rdev() {
                0 => (meta.dev(), meta.ino()),
                rdev => (rdev, 0),
            };
            Ok((identity, FsUuid::of_device(&file)?))
        };
        let (identity, uuid) = look().map_err(|error| {
            Failure::environment(format!("cannot read {}", path.display())).because(&error)
        })?;
        if let Some(uuid) = uuid
            && seen.insert(identity)
        {
            found.entry(uuid).or_default().push(path.clone());
        }
    }
    Ok(found
        .into_iter()
        .filter(|(_, devices)| devices.len() > 1)
        .map(|(uuid, devices)| Twins { uuid, devices })
        .collect())
}
