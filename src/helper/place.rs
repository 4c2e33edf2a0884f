//! Making, removing, renaming and swapping places below a directory, for the host. Every function may run again after a crash.
//!
//! Paths are relative and plain: no `..`, no symlink on the way, no other file system.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::{Mode, RenameFlags, mkdirat, renameat_with};
use rustix::io::Errno;

use super::context::Context;
use super::cursor::{open_dir, open_root};
use super::fault::{Fault, Result, show_path};
use super::meta::{Kind, Meta};
use super::probe::filled;
use super::protocol::Number;
use super::remove;

/// The components of a path below a directory.
///
/// # Errors
/// Refuses a path that is absolute or leads upwards.
pub fn components(path: &Path) -> Result<Vec<&[u8]>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name.as_bytes()),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                let because = "it must be relative and without `..`";
                return Err(Fault::refused(
                    format!("the path {} is refused", show_path(path)),
                    because,
                ));
            }
        }
    }
    Ok(names)
}

/// What is one step down.
#[derive(Debug)]
pub enum Step {
    /// A directory, open.
    Into(OwnedFd),
    /// Nothing.
    Missing,
    /// A mount.
    OtherDevice,
    /// Something else.
    NotADirectory(Kind),
}

/// Goes one step down.
///
/// # Errors
/// As openat(2).
pub fn step(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Step, Errno> {
    let (meta, mount) = match Meta::of_entry(dir, name) {
        Err(Errno::NOENT) => return Ok(Step::Missing),
        found => found?,
    };
    if meta.kind != Kind::Dir {
        return Ok(Step::NotADirectory(meta.kind));
    }
    if mount || meta.dev != Meta::of_fd(dir)?.dev {
        return Ok(Step::OtherDevice);
    }
    open_dir(dir, name).map(Step::Into)
}

/// Where a path ends: the directory that holds its last component, and that component.
struct End<'a> {
    dir: OwnedFd,
    name: &'a [u8],
}

/// Goes to the directory that holds the last component of `path`. `None` when a directory on the way is missing and
/// shall not be made.
fn reach<'a>(verb: &str, parent: &Path, path: &'a Path, make: bool) -> Result<Option<End<'a>>> {
    let full = parent.join(path);
    let failed = |errno| Fault::on_path(verb, &full, errno);
    let refused = |because: String| Fault::refused(format!("cannot {verb} {}", show_path(&full)), because);
    let mut names = components(path)?;
    let Some(last) = names.pop() else {
        return Err(refused("the path is empty".to_owned()));
    };
    let mut dir = open_root(parent).map_err(failed)?;
    for name in names {
        dir = match step(dir.as_fd(), name).map_err(failed)? {
            Step::Into(next) => next,
            Step::Missing if make => make_one(&dir, name).map_err(failed)?,
            Step::Missing => return Ok(None),
            Step::OtherDevice => return Err(refused("a mount of its own is on the way".to_owned())),
            Step::NotADirectory(kind) => return Err(refused(format!("a {} is on the way", kind.word()))),
        };
    }
    Ok(Some(End { dir, name: last }))
}

fn make_one(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    mkdirat(dir, name, mode)?;
    let made = open_dir(dir.as_fd(), name)?;
    // Not what the umask left of it.
    rustix::fs::fchmod(&made, mode)?;
    rustix::fs::fsync(&made)?;
    rustix::fs::fsync(dir)?;
    Ok(made)
}

/// Makes the directory `path` below `parent`; there already and empty is fine.
///
/// # Errors
/// Refuses what is not empty or no directory.
pub fn make_dir(parent: &Path, path: &Path) -> Result<()> {
    let full = parent.join(path);
    let failed = |errno| Fault::on_path("make", &full, errno);
    let refused = |because: String| {
        Err(Fault::refused(
            format!("cannot make {}", show_path(&full)),
            because,
        ))
    };
    let Some(End { dir, name }) = reach("make", parent, path, true)? else {
        return refused("its parent went away".to_owned());
    };
    match step(dir.as_fd(), name).map_err(failed)? {
        Step::Missing => make_one(&dir, name).map(drop).map_err(failed),
        Step::Into(there) => {
            let names = filled(there.as_fd()).map_err(failed)?;
            if names.is_empty() {
                return Ok(());
            }
            refused(format!("it is not empty: it holds {}", names.join(", ")))
        }
        Step::OtherDevice => refused("it is a mount of its own".to_owned()),
        Step::NotADirectory(kind) => refused(format!("a {} is there", kind.word())),
    }
}

/// Removes the tree `path` below `parent`, if it is there.
///
/// # Errors
/// Refuses to leave the file system; when something cannot be removed.
pub fn remove(cx: &Context, parent: &Path, path: &Path) -> Result<()> {
    let full = parent.join(path);
    let failed = |errno| Fault::on_path("remove", &full, errno);
    let Some(End { dir, name }) = reach("remove", parent, path, false)? else {
        return Ok(());
    };
    let kind = match Meta::of_entry(dir.as_fd(), name) {
        Err(Errno::NOENT) => return Ok(()),
        found => found.map_err(failed)?.0.kind,
    };
    remove::entry(cx, dir.as_fd(), name, kind, full.as_os_str().as_bytes())?;
    rustix::fs::fsync(&dir).map_err(failed)
}

/// Renames `from` to `to` below `parent`; done already is fine. Never replaces anything.
///
/// # Errors
/// Refuses when `to` is there and `from` as well, or neither.
pub fn rename(parent: &Path, from: &Path, to: &Path) -> Result<()> {
    let failed = |errno| Fault::on_path("rename", &parent.join(from), errno);
    let refused = |because: String| {
        let (from, to) = (show_path(&parent.join(from)), show_path(&parent.join(to)));
        Err(Fault::refused(format!("cannot rename {from} to {to}"), because))
    };
    let there = |end: &End<'_>| match Meta::of_entry(end.dir.as_fd(), end.name) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(failed(errno)),
    };
    let old = reach("rename", parent, from, false)?;
    let Some(new) = reach("rename", parent, to, false)? else {
        return refused("the directory it shall go to is missing".to_owned());
    };
    let old_there = old.as_ref().map(there).transpose()?.unwrap_or(false);
    match (old.filter(|_| old_there), there(&new)?) {
        (None, true) => Ok(()),
        (None, false) => refused("neither of them is there".to_owned()),
        (Some(_), true) => refused("both of them are there".to_owned()),
        (Some(old), false) => {
            let flags = RenameFlags::NOREPLACE;
            match renameat_with(&old.dir, old.name, &new.dir, new.name, flags) {
                // The file system does not know the flag; we have just seen that the name is free.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    rustix::fs::renameat(&old.dir, old.name, &new.dir, new.name).map_err(failed)?;
                }
                done => done.map_err(failed)?,
            }
            rustix::fs::fsync(&new.dir).map_err(failed)?;
            rustix::fs::fsync(&old.dir).map_err(failed)
        }
    }
}

/// Swaps two entries below `parent`, so that `inode` is at the left one afterwards; there already is fine.
///
/// # Errors
/// Refuses when that inode is at neither of them, when one is missing or a mount, and where the file system cannot swap.
pub fn exchange(parent: &Path, (left, right): (&Path, &Path), inode: u64) -> Result<()> {
    let names = || (show_path(&parent.join(left)), show_path(&parent.join(right)));
    let failed = |errno| Fault::on_path("exchange", &parent.join(left), errno);
    let refused = |because: String| {
        let (left, right) = names();
        Err(Fault::refused(
            format!("cannot exchange {left} and {right}"),
            because,
        ))
    };
    let (a, b) = (
        reach("exchange", parent, left, false)?,
        reach("exchange", parent, right, false)?,
    );
    let at = |end: &Option<End<'_>>| -> Result<Option<u64>> {
        let Some(end) = end else { return Ok(None) };
        match Meta::of_entry(end.dir.as_fd(), end.name) {
            Ok((_, true)) => refused("one of them is a mount of its own".to_owned()).map(|()| None),
            Ok((meta, false)) => Ok(Some(meta.ino)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(errno)),
        }
    };
    let (at_left, at_right) = (at(&a)?, at(&b)?);
    let (Some(a), Some(b)) = (&a, &b) else {
        return if at_left == Some(inode) {
            Ok(())
        } else {
            refused("one of them is missing".to_owned())
        };
    };
    match (at_left, at_right) {
        // After a crash it may be there and not yet on the disk.
        (Some(there), _) if there == inode => {}
        (Some(_), Some(there)) if there == inode => {
            match renameat_with(&a.dir, a.name, &b.dir, b.name, RenameFlags::EXCHANGE) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    return refused("this file system cannot swap two entries at once".to_owned());
                }
                done => done.map_err(failed)?,
            }
        }
        (None, _) | (_, None) => return refused("one of them is missing".to_owned()),
        (Some(_), Some(_)) => return refused(format!("inode {inode} is at neither of them")),
    }
    rustix::fs::fsync(&a.dir).map_err(failed)?;
    rustix::fs::fsync(&b.dir).map_err(failed)
}

/// Which inode is at each path below `parent`.
///
/// # Errors
/// When that cannot be found out; that nothing is there is no error.
pub fn numbers(parent: &Path, paths: &[std::path::PathBuf]) -> Result<Vec<Option<Number>>> {
    let number = |path: &std::path::PathBuf| {
        let Some(End { dir, name }) = reach("look at", parent, path, false)? else {
            return Ok(None);
        };
        match Meta::of_entry(dir.as_fd(), name) {
            Ok((meta, _)) => Ok(Some(Number {
                inode: meta.ino,
                device: format!("{}:{}", meta.dev >> 20, meta.dev & 0xf_ffff),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Fault::on_path("look at", &parent.join(path), errno)),
        }
    };
    paths.iter().map(number).collect()
}

/// Whether the user that the helper runs as may write into each directory.
///
/// # Errors
/// When a directory is not there.
pub fn access(dirs: &[std::path::PathBuf]) -> Result<Vec<bool>> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    dirs.iter()
        .map(
            |dir| match accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty()) {
                Ok(()) => Ok(true),
                Err(Errno::ACCESS | Errno::ROFS | Errno::PERM) => Ok(false),
                Err(errno) => Err(Fault::on_path("look at", dir, errno)),
            },
        )
        .collect()
}
