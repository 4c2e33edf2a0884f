//! Directories on a volume, made through its open root: never through a symlink, never on another file system.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Gid, Mode, RenameFlags, Uid};
use rustix::io::Errno;

use super::volume::Volume;
use crate::model::{Failure, Owner, Result};

/// What became of a directory that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dir {
    /// It was made.
    Made,
    /// It was there, and was left as it is.
    There {
        /// Whose it is.
        owner: Owner,
        /// Its permissions.
        mode: u32,
    },
}

/// The mode of directories above the one that was asked for: anybody may pass, root may write.
const ABOVE: (Owner, u32) = (Owner { uid: 0, gid: 0 }, 0o755);

/// Makes a directory below the root of a volume, with its owner and mode, and what is missing above it. It appears with
/// both at once: a run that dies leaves none with another owner.
///
/// # Errors
/// When the volume is not where it was, the path leads out of it (`..`, a symlink, another mount) or is not below its
/// root, or it cannot be made.
pub fn make(volume: &Volume, path: &Path, owner: Owner, mode: u32) -> Result<Dir> {
    let names: Option<Vec<&OsStr>> = path
        .components()
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let names = names
        .filter(|names| !names.is_empty())
        .ok_or_else(|| Failure::usage(format!("{} is no path below a volume", path.display())))?;
    volume.prove()?;
    let whole = volume.path().join(path);
    let failed = |errno: Errno| {
        let failure = Failure::environment(format!("cannot make {}", whole.display()));
        match errno {
            Errno::XDEV => failure.cause("another file system is mounted on the way"),
            Errno::LOOP | Errno::NOTDIR => failure.cause("a symlink or a file is on the way"),
            errno => failure.because(&std::io::Error::from(errno)),
        }
    };
    let mut open: Option<OwnedFd> = None;
    let mut last = Dir::Made;
    for (i, name) in names.iter().enumerate() {
        let dir = open.as_ref().map_or(volume.root(), |open| open.as_fd());
        let (owner, mode) = if i + 1 == names.len() {
            (owner, mode)
        } else {
            ABOVE
        };
        let (next, what) = step(volume, dir, name, owner, mode).map_err(failed)?;
        open = Some(next);
        last = what;
    }
    Ok(last)
}

/// Owner and mode of a directory below the root of a volume; `None` if there is none.
///
/// # Errors
/// When the volume is not where it was, or the path leads out of it.
pub fn find(volume: &Volume, path: &Path) -> Result<Option<(Owner, u32)>> {
    volume.prove()?;
    let failed = |errno: Errno| {
        Failure::environment(format!("cannot look at {}", volume.path().join(path).display()))
            .because(&std::io::Error::from(errno))
    };
    let mut open: Option<OwnedFd> = None;
    for name in path {
        let dir = open.as_ref().map_or(volume.root(), |open| open.as_fd());
        match volume.step(dir, name) {
            Ok(next) => open = Some(next),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        }
    }
    match open {
        None => Ok(None),
        Some(dir) => owner_and_mode(&dir).map(Some).map_err(failed),
    }
}

fn owner_and_mode(dir: &OwnedFd) -> std::result::Result<(Owner, u32), Errno> {
    let stat = rustix::fs::fstat(dir)?;
    let owner = Owner {
        uid: stat.st_uid,
        gid: stat.st_gid,
    };
    Ok((owner, stat.st_mode & 0o7777))
}

fn step(
    volume: &Volume,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    owner: Owner,
    mode: u32,
) -> std::result::Result<(OwnedFd, Dir), Errno> {
    match volume.step(dir, name) {
        Ok(there) => {
            let (owner, mode) = owner_and_mode(&there)?;
            return Ok((there, Dir::There { owner, mode }));
        }
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let mut new = OsString::from(".rehome-new-");
    new.push(name);
    // Of a run that died; it is empty, or it is not ours to remove.
    match rustix::fs::unlinkat(dir, &new, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    rustix::fs::mkdirat(dir, &new, Mode::from_raw_mode(0o700))?;
    let made = volume.step(dir, &new)?;
    rustix::fs::fchown(
        &made,
        Some(Uid::from_raw(owner.uid)),
        Some(Gid::from_raw(owner.gid)),
    )?;
    rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?;
    rustix::fs::fsync(&made)?;
    rustix::fs::renameat_with(dir, &new, dir, name, RenameFlags::NOREPLACE)?;
    rustix::fs::fsync(dir)?;
    Ok((made, Dir::Made))
}
