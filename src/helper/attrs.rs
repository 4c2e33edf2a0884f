//! Extended attributes (POSIX ACLs and file capabilities are among them), and putting metadata onto entries.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

use super::meta::{Kind, Meta, Wanted, nameless_file};
use crate::model::Owner;

/// The kernel's own limit for a list of names and for a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const LARGEST: usize = 64 << 10;

/// The way to an open directory in `/proc`, and a name in it, which has at most 255 bytes.
const LONGEST_PATH: usize = 320;

/// No data of whoever owns the entry: the label that the machine's security module sets, and the shape in which XFS
/// shows an administrator the ACLs that `system.posix_acl_*` hold already.
const NOT_DATA: [&[u8]; 3] = [
    b"security.selinux",
    b"trusted.SGI_ACL_FILE",
    b"trusted.SGI_ACL_DEFAULT",
];

/// Whether an attribute belongs to whoever owns the entry, and is copied with it.
#[must_use]
pub fn is_data(name: &[u8]) -> bool {
    !NOT_DATA.contains(&name)
}

/// Whether `trusted.*` attributes are seen here, tried on a nameless file. The kernel hides them from whoever has no
/// `CAP_SYS_ADMIN`; a file system that has none of them hides nothing.
#[must_use]
pub fn sees_trusted(dir: BorrowedFd<'_>) -> bool {
    let tried = nameless_file(dir).and_then(|file| At::Fd(file.as_fd()).set(b"trusted.rehome", b"?"));
    tried != Err(Errno::PERM)
}

/// Extended attributes by name, sorted.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry that attributes are read from or written to.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// An open file or directory.
    Fd(BorrowedFd<'a>),
    /// The entry of a directory, a symlink itself and not what it points at.
    Entry(BorrowedFd<'a>, &'a [u8]),
}

impl At<'_> {
    /// There are no system calls for attributes relative to a directory before Linux 6.13, but the last component of
    /// this path is not followed by the `l…` calls, and what precedes it is the open directory itself.
    fn by_path<T>(
        dir: BorrowedFd<'_>,
        name: &[u8],
        call: impl FnOnce(&[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut room = [0; LONGEST_PATH];
        let mut rest = &mut room[..];
        write!(rest, "/proc/self/fd/{}/", dir.as_raw_fd())
            .and_then(|()| rest.write_all(name))
            .map_err(|_| Errno::NAMETOOLONG)?;
        let free = rest.len();
        call(&room[..LONGEST_PATH - free])
    }

    fn list(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Fd(fd) => rustix::fs::flistxattr(fd, buffer),
            Self::Entry(dir, name) => Self::by_path(dir, name, |path| rustix::fs::llistxattr(path, buffer)),
        }
    }

    fn get(self, key: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Fd(fd) => rustix::fs::fgetxattr(fd, key, buffer),
            Self::Entry(dir, name) => {
                Self::by_path(dir, name, |path| rustix::fs::lgetxattr(path, key, buffer))
            }
        }
    }

    fn set(self, key: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Fd(fd) => rustix::fs::fsetxattr(fd, key, value, XattrFlags::empty()),
            Self::Entry(dir, name) => {
                let set = |path: &[u8]| rustix::fs::lsetxattr(path, key, value, XattrFlags::empty());
                Self::by_path(dir, name, set)
            }
        }
    }

    fn remove(self, key: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Fd(fd) => rustix::fs::fremovexattr(fd, key),
            Self::Entry(dir, name) => Self::by_path(dir, name, |path| rustix::fs::lremovexattr(path, key)),
        }
    }
}

/// All attributes of an entry. A file system without attributes has none.
///
/// # Errors
/// As listxattr(2) and getxattr(2).
pub fn read(at: At<'_>) -> Result<Xattrs, Errno> {
    // Most entries have none or one with a short name; those that have more are asked again.
    let mut small = [0; 512];
    let mut large = Vec::new();
    let list = match at.list(&mut small) {
        Ok(len) => &small[..len],
        Err(Errno::RANGE) => {
            large.resize(LARGEST, 0);
            let len = at.list(&mut large)?;
            &large[..len]
        }
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for key in list
        .split(|byte| *byte == 0)
        .filter(|key| !key.is_empty() && is_data(key))
    {
        match value(at, key) {
            Ok(value) => found.push((key.to_vec(), value)),
            // Removed between the two calls.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn value(at: At<'_>, key: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 512];
    match at.get(key, &mut small) {
        Ok(len) => Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; LARGEST];
            let len = at.get(key, &mut large)?;
            large.truncate(len);
            large.shrink_to_fit();
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}

/// Gives an entry exactly these attributes: also those that it inherited from a default ACL go. Says whether anything
/// changed.
///
/// # Errors
/// As setxattr(2); `ENOTSUP` when the file system cannot keep what the source has.
pub fn replace(at: At<'_>, wanted: &Xattrs) -> Result<bool, Errno> {
    let found = read(at)?;
    if found == *wanted {
        return Ok(false);
    }
    for (key, _) in found
        .iter()
        .filter(|(key, _)| !wanted.iter().any(|(other, _)| key == other))
    {
        match at.remove(key) {
            // Gone with another one, as the mask goes with an ACL.
            Ok(()) | Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    for (key, value) in wanted.iter().filter(|pair| !found.contains(pair)) {
        at.set(key, value)?;
    }
    Ok(true)
}

/// As [`apply`], for a file that was just made: what it has already costs no system call that the journal of the file
/// system has to hear of.
///
/// # Errors
/// As the system calls.
pub fn complete(fd: BorrowedFd<'_>, wanted: &Wanted, xattrs: &Xattrs) -> Result<(), Errno> {
    let made = Meta::of_fd(fd)?;
    let Owner { uid, gid } = wanted.owner;
    if (made.uid, made.gid) != (uid, gid) {
        rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    // An ACL, inherited or set, is part of the mode.
    let changed = replace(At::Fd(fd), xattrs)?;
    if changed || made.mode != wanted.mode {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(wanted.mode.into()))?;
    }
    rustix::fs::futimens(fd, &wanted.times())
}

/// Puts owner, attributes, mode and times onto an entry, in the order that keeps them all: a change of the owner
/// clears setuid bits and capabilities, and everything touches the times. Says whether attributes changed.
///
/// # Errors
/// As the system calls.
pub fn apply(at: At<'_>, kind: Kind, wanted: &Wanted, xattrs: &Xattrs) -> Result<bool, Errno> {
    let owner = (
        Some(Uid::from_raw(wanted.owner.uid)),
        Some(Gid::from_raw(wanted.owner.gid)),
    );
    let mode = Mode::from_raw_mode(wanted.mode.into());
    match at {
        At::Fd(fd) => {
            rustix::fs::fchown(fd, owner.0, owner.1)?;
            let changed = replace(at, xattrs)?;
            rustix::fs::fchmod(fd, mode)?;
            rustix::fs::futimens(fd, &wanted.times())?;
            Ok(changed)
        }
        At::Entry(dir, name) => {
            rustix::fs::chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
            let changed = replace(at, xattrs)?;
            if kind != Kind::Symlink {
                // Follows symlinks, but the caller has just made or seen this entry, and nobody else writes here.
                rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
            }
            rustix::fs::utimensat(dir, name, &wanted.times(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(changed)
        }
    }
}
