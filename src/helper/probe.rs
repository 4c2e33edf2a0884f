//! What file system a directory is on, and what is at places below it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, StatVfsMountFlags, openat};
use rustix::io::Errno;

use super::cursor::open_root;
use super::fault::{Fault, Result, errno_of, escape};
use super::meta::{Kind, Meta};
use super::mounts;
use super::place::{self, Step};
use super::protocol::{FailClass, Place, Probe};
use super::walk::names;

/// Names told of a directory that is not empty.
const NAMES: usize = 5;

/// Probes.
///
/// # Errors
/// When the directory is not there or `/proc` is not.
pub fn probe(dir: &Path, below: &[std::path::PathBuf]) -> Result<Probe> {
    let failed = |errno| Fault::on_path("probe", dir, errno);
    let real = dir.canonicalize().map_err(|error| failed(errno_of(&error)))?;
    let fd = open_root(&real).map_err(failed)?;
    let mount = mounts::holding(&real)
        .map_err(|error| failed(errno_of(&error)))?
        .ok_or_else(|| {
            Fault::new(
                FailClass::Other,
                "cannot find the mount",
                "mountinfo does not list it",
            )
        })?;
    let stat = rustix::fs::fstatvfs(&fd).map_err(failed)?;
    let mounted_read_only = mount.read_only || stat.f_flag.contains(StatVfsMountFlags::RDONLY);
    let mut places = Vec::with_capacity(below.len());
    for path in below {
        places.push(look(fd.as_fd(), dir, path)?);
    }
    Ok(Probe {
        device: mount.device,
        mount_root: escape(&mount.root),
        fs_type: mount.fs_type,
        source: escape(&mount.source),
        read_only: mounted_read_only || refuses_a_file(fd.as_fd()).map_err(failed)?,
        bytes_total: stat.f_blocks.saturating_mul(stat.f_frsize),
        bytes_free: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes_total: stat.f_files,
        inodes_free: stat.f_ffree,
        block_size: stat.f_bsize,
        // The two halves in the order in which `stat -f` prints them.
        fs_id: format!("{:016x}", stat.f_fsid.rotate_left(32)),
        below: places,
    })
}

/// Flags do not tell everything (a device that went read-only under a mount that did not), so a file is made: a
/// nameless one where the file system can.
fn refuses_a_file(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    let made = match openat(dir, ".", OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
            let name = format!(".rehome-probe-{}", rustix::process::getpid().as_raw_nonzero());
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(dir, &*name, flags, mode)
                .and_then(|_| rustix::fs::unlinkat(dir, &*name, rustix::fs::AtFlags::empty()))
        }
        made => made.map(drop),
    };
    match made {
        Ok(()) => Ok(false),
        Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Ok(true),
        // Full is not read-only; the free space is told anyway.
        Err(Errno::NOSPC | Errno::DQUOT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn look(root: BorrowedFd<'_>, dir: &Path, path: &Path) -> Result<Place> {
    let relative = path.strip_prefix(dir).unwrap_or(path);
    let failed = |errno| Fault::on_path("look at", path, errno);
    let mut here: Option<OwnedFd> = None;
    for name in place::components(relative)? {
        let at = here.as_ref().map_or(root, OwnedFd::as_fd);
        match place::step(at, name).map_err(failed)? {
            Step::Into(fd) => here = Some(fd),
            Step::Missing => return Ok(Place::Missing),
            Step::OtherDevice => return Ok(Place::OtherDevice),
            Step::NotADirectory(kind) => {
                return Ok(Place::NotADirectory {
                    what: format!("a {}", kind.word()),
                });
            }
        }
    }
    let found = filled(here.as_ref().map_or(root, OwnedFd::as_fd)).map_err(failed)?;
    Ok(if found.is_empty() {
        Place::Empty
    } else {
        Place::Filled { names: found }
    })
}

/// A few names of what is in a directory, apart from the file system's own `lost+found`.
pub(super) fn filled(dir: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let spare = mounts::is_filesystem_root(dir, &Meta::of_fd(dir)?)?;
    let lost_found = spare
        && Meta::of_entry(dir, b"lost+found").is_ok_and(|(meta, _)| meta.kind == Kind::Dir && meta.uid == 0);
    let mut found = Vec::new();
    names(dir, |name| {
        if !(lost_found && name == b"lost+found") {
            found.push(escape(name));
        }
        found.len() < NAMES
    })?;
    found.sort_unstable();
    Ok(found)
}
