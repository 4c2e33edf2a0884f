//! The UUID of a file system, and which devices have the same one: a cloned snapshot attached beside its original.
//!
//! The superblocks are read here, not asked of blkid: its cache may name a device that is gone, and where several have
//! the same UUID it answers with one of them.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::model::{Failure, Result};

/// The UUID of a file system, printed as blkid prints it: `0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FsUuid(u128);

impl FsUuid {
    /// A random one, version 4. <https://www.rfc-editor.org/rfc/rfc9562#section-5.4>
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub fn random() -> Result<Self> {
        let mut bytes = [0_u8; 16];
        // Up to 256 bytes come whole or not at all: getrandom(2).
        getrandom(&mut bytes, GetRandomFlags::empty())
            .map_err(|error| Failure::environment("cannot make a random UUID").because(&error))?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for FsUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        f.pad(&parts.join("-"))
    }
}

/// A text that is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no UUID")]
pub struct ParseUuidError(String);

impl FromStr for FsUuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let error = || ParseUuidError(text.to_owned());
        let lengths: Vec<_> = text.split('-').map(str::len).collect();
        let hex = text.replace('-', "");
        if lengths != [8, 4, 4, 4, 12] || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        u128::from_str_radix(&hex, 16).map(Self).map_err(|_| error())
    }
}

impl TryFrom<String> for FsUuid {
    type Error = ParseUuidError;

    fn try_from(text: String) -> Result<Self, ParseUuidError> {
        text.parse()
    }
}

impl From<FsUuid> for String {
    fn from(uuid: FsUuid) -> Self {
        uuid.to_string()
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
            let mut magic = [0; 8];
            let magic = &mut magic[..superblock.magic.len()];
            let mut uuid = [0; 16];
            if read(device, superblock.magic_at, magic)?
                && *magic == *superblock.magic
                && read(device, superblock.uuid_at, &mut uuid)?
            {
                return Ok(Some(Self(u128::from_be_bytes(uuid))));
            }
        }
        Ok(None)
    }
}

/// Reads what is at a place of a device. False behind the end.
///
/// # Errors
/// When the device cannot be read.
pub(super) fn read(device: &File, at: u64, bytes: &mut [u8]) -> io::Result<bool> {
    match device.read_exact_at(bytes, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Devices (and partitions) with the same file system UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twins {
    /// Of all of them.
    pub uuid: FsUuid,
    /// At least two.
    pub devices: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_random_of_version_4_and_read_as_it_is_printed() {
        let one = FsUuid::random().unwrap();
        assert_ne!(one, FsUuid::random().unwrap());
        let text = one.to_string();
        assert_eq!(&text[14..15], "4");
        assert!("89ab".contains(&text[19..20]), "{text}");
        assert_eq!(text.parse(), Ok(one));
        assert_eq!(text.to_uppercase().parse(), Ok(one));
        for wrong in [
            "",
            "ABCD-1234",
            &text[1..],
            &text.replace('-', "x"),
            &text.replace('4', "é"),
        ] {
            assert!(wrong.parse::<FsUuid>().is_err(), "{wrong}");
        }
    }
}
