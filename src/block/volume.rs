//! A mounted volume, held open: proven to be the file system of one device, at one place.
//!
//! Whoever makes something on a volume does it through this descriptor, never through the path: when the volume is not
//! mounted, or not any more, there is nothing to make it in, and nothing lands on the root disk.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;

use crate::helper::fault::show;
use crate::helper::mounts::{self, Mount};
use crate::helper::walk::names;
use crate::model::{ByteSize, Failure, Result};

/// A directory, as it is opened here: nobody follows a symlink in the last part of its name.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The root directory of a mounted volume, open.
#[derive(Debug)]
pub struct Volume {
    root: OwnedFd,
    path: PathBuf,
    device: PathBuf,
    mount: Mount,
    number: u64,
}

impl Volume {
    /// Opens the volume that is mounted at `path`, an absolute path free of symlinks, and proves that it is the whole
    /// file system of `device`.
    ///
    /// # Errors
    /// When nothing is mounted there, something else, only a part, when something hides it, or when the path leads
    /// through a symlink.
    pub fn open(path: &Path, device: &Path) -> Result<Self> {
        let refused = |cause: String| {
            Failure::refused(format!(
                "{} is not mounted at {}",
                device.display(),
                path.display()
            ))
            .cause(cause)
            .data("nothing was written there")
        };
        let unreadable = |error: std::io::Error| {
            Failure::environment(format!("cannot look at {}", path.display())).because(&error)
        };
        let root = open_beneath(CWD, path).map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR => refused("it is, or leads through, a symlink or a file".to_owned()),
            Errno::NOENT => refused("there is no such directory".to_owned()),
            errno => unreadable(errno.into()),
        })?;
        let mounts = mounts::table("self").map_err(unreadable)?;
        let mount = mounts
            .into_iter()
            .rfind(|mount| mount.point == path.as_os_str().as_bytes())
            .ok_or_else(|| refused("nothing is mounted there".to_owned()))?;
        if !is_of(&mount, device).map_err(unreadable)? {
            return Err(refused(format!(
                "what is mounted there is {} ({})",
                String::from_utf8_lossy(&mount.source),
                mount.fs_type
            )));
        }
        if mount.root != b"/" {
            return Err(refused(format!(
                "only its directory {} is mounted there",
                String::from_utf8_lossy(&mount.root)
            )));
        }
        let stat = rustix::fs::fstat(&root).map_err(|errno| unreadable(errno.into()))?;
        if !shows(root.as_fd(), &stat, &mount).map_err(|errno| unreadable(errno.into()))? {
            return Err(refused("another mount hides it".to_owned()));
        }
        Ok(Self {
            root,
            path: path.to_owned(),
            device: device.to_owned(),
            mount,
            number: stat.st_dev,
        })
    }

    /// Proves again that the path leads to what is held open.
    ///
    /// # Errors
    /// As [`Volume::open`]; also when something else is mounted there by now.
    pub fn prove(&self) -> Result<()> {
        let now = Self::open(&self.path, &self.device)?;
        if now.mount.id == self.mount.id && now.number == self.number {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "what is mounted at {} changed meanwhile",
            self.path.display()
        ))
        .data("nothing was written there"))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is mounted.
    #[must_use]
    pub fn mount(&self) -> &Mount {
        &self.mount
    }

    /// The `st_dev` of every file on it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// What is on it, for a person to recognise it by: how much, and the first names in its root.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self) -> Result<String> {
        const NAMED: usize = 8;
        let failed = |errno: Errno| {
            Failure::environment(format!("cannot look at {}", self.path.display()))
                .because(&std::io::Error::from(errno))
        };
        let size = rustix::fs::fstatvfs(&self.root).map_err(failed)?;
        let used = ByteSize((size.f_blocks - size.f_bfree) * size.f_frsize);
        let (mut first, mut count) = (BTreeSet::new(), 0_usize);
        names(self.root.as_fd(), |name| {
            if name != b"lost+found" {
                count += 1;
                first.insert(show(name));
                if first.len() > NAMED {
                    first.pop_last();
                }
            }
            true
        })
        .map_err(failed)?;
        if count == 0 {
            return Ok("nothing is on it".to_owned());
        }
        let beyond = match count - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let first: Vec<String> = first.into_iter().collect();
        Ok(format!(
            "{used} are used; in its root: {}{beyond}",
            first.join(", ")
        ))
    }

    /// Opens a directory of this volume below one that is open: no symlink, no other file system.
    pub(super) fn step(&self, dir: BorrowedFd<'_>, name: &OsStr) -> std::result::Result<OwnedFd, Errno> {
        let next = rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())?;
        let stat = rustix::fs::fstat(&next)?;
        match mount_id(next.as_fd())? {
            _ if stat.st_dev != self.number => Err(Errno::XDEV),
            Some(id) if id != self.mount.id => Err(Errno::XDEV),
            _ => Ok(next),
        }
    }
}

/// Opens a directory, and every directory above it, without following a symlink. openat2(2) could do it in one call,
/// from Linux 5.6 on.
///
/// # Errors
/// As open(2); `ELOOP` or `ENOTDIR` for a symlink, `EINVAL` for a path with `..`.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let mut parts = path.components();
    let start = if path.is_absolute() { "/" } else { "." };
    let mut open = rustix::fs::openat(dir, start, DIRECTORY, Mode::empty())?;
    if path.is_absolute() {
        parts.next();
    }
    for part in parts {
        match part {
            Component::Normal(name) => open = rustix::fs::openat(&open, name, DIRECTORY, Mode::empty())?,
            Component::CurDir => {}
            _ => return Err(Errno::INVAL),
        }
    }
    Ok(open)
}

/// Whether a mount shows a file system of this block device. btrfs gives its mounts numbers of their own; there the name
/// of the source is looked at.
///
/// # Errors
/// When the device is not there, or is none.
pub fn is_of(mount: &Mount, device: &Path) -> std::io::Result<bool> {
    let meta = std::fs::metadata(device)?;
    if !meta.file_type().is_block_device() {
        return Err(std::io::Error::other(format!(
            "{} is no block device",
            device.display()
        )));
    }
    let number = meta.rdev();
    let text = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    let source = Path::new(OsStr::from_bytes(&mount.source));
    let by_source = mount.fs_type == "btrfs"
        && source.is_absolute()
        && std::fs::metadata(source).is_ok_and(|source| source.rdev() == number);
    Ok(mount.device == text || by_source)
}

/// Whether an open directory is the root of this mount: by the number of the mount, which kernels before 5.8 do not
/// tell, else by that of the device.
fn shows(dir: BorrowedFd<'_>, stat: &Stat, mount: &Mount) -> std::result::Result<bool, Errno> {
    if let Some(id) = mount_id(dir)? {
        return Ok(id == mount.id);
    }
    let number = format!(
        "{}:{}",
        rustix::fs::major(stat.st_dev),
        rustix::fs::minor(stat.st_dev)
    );
    Ok(mount.device == number)
}

fn mount_id(dir: BorrowedFd<'_>) -> std::result::Result<Option<u64>, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(dir, "", flags, StatxFlags::MNT_ID) {
        Ok(told) if told.stx_mask & StatxFlags::MNT_ID.bits() != 0 => Ok(Some(told.stx_mnt_id)),
        Ok(_) | Err(Errno::NOSYS) => Ok(None),
        Err(errno) => Err(errno),
    }
}
