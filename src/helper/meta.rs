//! What is known about an entry without opening it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags, Timespec, Timestamps, openat, statx,
};
use rustix::io::Errno;

use crate::model::Owner;

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A socket: it means nothing without the process that listens, so it is never copied.
    Socket,
}

impl Kind {
    /// The word for it in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "FIFO",
            Self::Char => "character device",
            Self::Block => "block device",
            Self::Socket => "socket",
        }
    }
}

/// A point in time as the file system keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds, less than a thousand million.
    pub nsec: u32,
}

impl Stamp {
    /// The kernel's clock now. It is the one that ctime is taken from, in all containers.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Self {
            sec: now.tv_sec,
            nsec: now.tv_nsec as u32,
        }
    }

    /// This time on a file system that keeps times in steps of `grain` nanoseconds.
    #[must_use]
    pub fn rounded(self, grain: Grain) -> Self {
        Self {
            sec: self.sec,
            nsec: self.nsec - self.nsec % grain.0,
        }
    }

    fn spec(self) -> Timespec {
        Timespec {
            tv_sec: self.sec,
            tv_nsec: self.nsec.into(),
        }
    }
}

/// The step, in nanoseconds, in which a file system keeps times: 1 for most, a second for ext4 with small inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grain(u32);

/// Makes a file without a name, to be tried on: it is gone when it is closed.
///
/// # Errors
/// As openat(2); not every file system can.
pub fn nameless_file(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(dir, ".", flags, Mode::RUSR | Mode::WUSR)
}

impl Grain {
    /// Whole nanoseconds.
    pub const NANOSECOND: Self = Self(1);

    /// Measures it with a nameless file; a file system that cannot make one is taken to keep nanoseconds.
    #[must_use]
    pub fn measure(dir: BorrowedFd<'_>) -> Self {
        const FINE: Stamp = Stamp {
            sec: 1_000_000_000,
            nsec: 999_999_999,
        };
        let measured = nameless_file(dir).and_then(|file| {
            let times = Timestamps {
                last_access: FINE.spec(),
                last_modification: FINE.spec(),
            };
            rustix::fs::futimens(&file, &times)?;
            Meta::of_fd(file.as_fd())
        });
        match measured {
            Ok(meta) => Self(1_000_000_000 - meta.mtime.nsec.min(FINE.nsec)),
            Err(_) => Self::NANOSECOND,
        }
    }
}

/// The metadata of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Type.
    pub kind: Kind,
    /// The low twelve bits of the mode.
    pub mode: u16,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Names of this inode, also outside of the tree.
    pub nlink: u32,
    /// The device it lives on, as [`device`] packs it.
    pub dev: u32,
    /// For device nodes: which device.
    pub rdev: u32,
    /// Inode.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Allocated, in units of 512 bytes.
    pub blocks: u64,
    /// Content changed.
    pub mtime: Stamp,
    /// Content or metadata changed; nobody can set it.
    pub ctime: Stamp,
    /// Read.
    pub atime: Stamp,
}

/// Major and minor number in 32 bits, as the kernel itself keeps them.
#[must_use]
pub fn device(major: u32, minor: u32) -> u32 {
    (major << 20) | (minor & 0xf_ffff)
}

impl Meta {
    /// Of the entry `name` in a directory, a symlink itself and not what it points at; and whether it is the root
    /// of a mount.
    ///
    /// # Errors
    /// As statx(2).
    pub fn of_entry(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(Self, bool), Errno> {
        Self::stat(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    /// Of an open file.
    ///
    /// # Errors
    /// As statx(2).
    pub fn of_fd(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        Self::stat(fd, b"", AtFlags::EMPTY_PATH).map(|(meta, _)| meta)
    }

    fn stat(dir: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Result<(Self, bool), Errno> {
        let found = statx(dir, name, flags, StatxFlags::BASIC_STATS)?;
        let kind = match FileType::from_raw_mode(found.stx_mode.into()) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::Char,
            FileType::BlockDevice => Kind::Block,
            FileType::Socket => Kind::Socket,
            FileType::Unknown => return Err(Errno::INVAL),
        };
        let stamp = |time: rustix::fs::StatxTimestamp| Stamp {
            sec: time.tv_sec,
            nsec: time.tv_nsec.min(999_999_999),
        };
        let meta = Self {
            kind,
            mode: found.stx_mode & 0o7777,
            uid: found.stx_uid,
            gid: found.stx_gid,
            nlink: found.stx_nlink,
            dev: device(found.stx_dev_major, found.stx_dev_minor),
            rdev: device(found.stx_rdev_major, found.stx_rdev_minor),
            ino: found.stx_ino,
            size: found.stx_size,
            blocks: found.stx_blocks,
            mtime: stamp(found.stx_mtime),
            ctime: stamp(found.stx_ctime),
            atime: stamp(found.stx_atime),
        };
        Ok((meta, found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)))
    }

    /// Whether this is still the same content as far as the kernel's bookkeeping tells: size, mtime, ctime, inode,
    /// type.
    #[must_use]
    pub fn untouched_since(&self, earlier: &Self) -> bool {
        self.kind == earlier.kind
            && self.size == earlier.size
            && self.mtime == earlier.mtime
            && self.ctime == earlier.ctime
            && self.ino == earlier.ino
    }

    /// What an entry of the destination must look like.
    #[must_use]
    pub fn wanted(&self, owner: Option<Owner>, grain: Grain) -> Wanted {
        let owner = owner.unwrap_or(Owner {
            uid: self.uid,
            gid: self.gid,
        });
        Wanted {
            owner,
            mode: self.mode,
            mtime: self.mtime.rounded(grain),
            atime: self.atime,
        }
    }
}

/// Owner, mode and times that an entry of the destination is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Numeric owner.
    pub owner: Owner,
    /// The low twelve bits of the mode.
    pub mode: u16,
    /// Modification time, as the destination can keep it.
    pub mtime: Stamp,
    /// Access time: set together with mtime, never compared.
    pub atime: Stamp,
}

impl Wanted {
    /// Whether an entry already looks like that.
    #[must_use]
    pub fn holds(&self, found: &Meta) -> bool {
        self.owner
            == (Owner {
                uid: found.uid,
                gid: found.gid,
            })
            && (self.mode == found.mode || found.kind == Kind::Symlink)
            && self.mtime == found.mtime
    }

    /// The two times as the system call takes them.
    #[must_use]
    pub fn times(&self) -> Timestamps {
        Timestamps {
            last_access: self.atime.spec(),
            last_modification: self.mtime.spec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_down_to_what_a_file_system_keeps() {
        let time = Stamp {
            sec: 7,
            nsec: 123_456_789,
        };
        assert_eq!(time.rounded(Grain(1)), time);
        assert_eq!(
            time.rounded(Grain(100)),
            Stamp {
                sec: 7,
                nsec: 123_456_700
            }
        );
        assert_eq!(time.rounded(Grain(1_000_000_000)), Stamp { sec: 7, nsec: 0 });
    }

    #[test]
    fn a_file_system_of_today_keeps_nanoseconds() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap();
        assert_eq!(Grain::measure(fd.as_fd()), Grain::NANOSECOND);
    }
}
