//! The bare mount point: the directory that is seen when the volume is not mounted. It is kept empty and immutable, so
//! that nothing is ever written to the root disk in the volume's place (trap 1), also when somebody is root.
//!
//! It is reached below whatever is mounted on it, through a copy of the mount above it that has no mounts of its own
//! (open_tree(2) with OPEN_TREE_CLONE and without AT_RECURSIVE). The copy is attached nowhere and goes with its descriptor:
//! no name space, no temporary directory, nothing to clean up. <https://lwn.net/Articles/759499/>

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::mounted::Mounts;
use super::volume::open_beneath;
use crate::model::{Failure, Result, shell_path};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A mount point, without what is mounted on it.
#[derive(Debug)]
pub struct Bare {
    dir: OwnedFd,
    path: PathBuf,
}

/// Whether the directory may be written to by nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Nobody may.
    Immutable,
    /// It is a directory like any other.
    Plain,
    /// The file system does not know such a flag.
    Unknown,
}

/// What lies in the directory, hidden when something is mounted on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Paths below the mount point, and the bytes of files.
    pub entries: Vec<(PathBuf, u64)>,
    /// Whether there is more than was looked at.
    pub more: bool,
}

impl Bare {
    /// Opens the directory below everything that is mounted on it; `None` if there is none. The path is absolute and
    /// free of symlinks.
    ///
    /// # Errors
    /// When it leads through a symlink, is a file, or cannot be looked under: that takes root, and Linux 5.2 if
    /// something is mounted on it.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let failed = |errno: Errno| {
            let failure = Failure::environment(format!("cannot look under {}", path.display()));
            match errno {
                Errno::LOOP | Errno::NOTDIR => failure.cause("it is, or leads through, a symlink or a file"),
                errno => failure.because(&std::io::Error::from(errno)),
            }
        };
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failed(Errno::INVAL));
        };
        let above = match open_beneath(CWD, above) {
            Ok(above) => above,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = match open_tree(&above, "", flags) {
            Ok(tree) => tree,
            // Where nothing is mounted there is nothing to look under.
            Err(_) if Mounts::about(path)?.here.is_empty() => above,
            Err(errno) => return Err(failed(errno).hint("this takes root, and Linux 5.2 or newer")),
        };
        match rustix::fs::openat(&tree, name, DIRECTORY, Mode::empty()) {
            Ok(dir) => Ok(Some(Self {
                dir,
                path: path.to_owned(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Makes the directory, and what is missing above it. False if it was there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(path: &Path) -> Result<bool> {
        if Self::open(path)?.is_some() {
            return Ok(false);
        }
        let mut missing: Vec<_> = path.ancestors().take_while(|above| !above.exists()).collect();
        missing.reverse();
        for dir in missing {
            // Whatever the umask: users that are not root pass through it to the volume.
            let make = || {
                std::fs::create_dir(dir)?;
                std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
            };
            make().map_err(|error| {
                Failure::environment(format!("cannot make {}", dir.display())).because(&error)
            })?;
        }
        Ok(true)
    }

    /// What lies in it; no more than `limit` entries are looked at, and no other file system.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn hidden(&self, limit: usize) -> Result<Hidden> {
        let mut found = Hidden::default();
        list(self.dir.as_fd(), Path::new(""), limit, &mut found)
            .map_err(|error| self.failed("read", error))?;
        Ok(found)
    }

    /// Whether it is immutable.
    ///
    /// # Errors
    /// When the file system does not answer.
    pub fn flag(&self) -> Result<Flag> {
        match rustix::fs::ioctl_getflags(&self.dir) {
            Ok(flags) if flags.contains(IFlags::IMMUTABLE) => Ok(Flag::Immutable),
            Ok(_) => Ok(Flag::Plain),
            Err(errno) if is_unknown(errno) => Ok(Flag::Unknown),
            Err(errno) => Err(self.failed("read the flags of", errno)),
        }
    }

    /// Proves that it is empty and makes it immutable: [`Flag::Unknown`] where the file system does not know that.
    ///
    /// # Errors
    /// When something lies in it; then it is left as it is. When the flag cannot be set.
    pub fn protect(&self) -> Result<Flag> {
        self.prove_empty()?;
        let flag = self.set(true)?;
        // What was made between the look and the flag; from here on nothing can be.
        if let Err(failure) = self.prove_empty() {
            self.set(false)?;
            return Err(failure);
        }
        Ok(flag)
    }

    /// Takes the flag away again.
    ///
    /// # Errors
    /// When it cannot be taken away.
    pub fn release(&self) -> Result<Flag> {
        self.set(false)
    }

    fn prove_empty(&self) -> Result<()> {
        let hidden = self.hidden(5)?;
        if hidden.entries.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = hidden
            .entries
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect();
        let more = if hidden.more { " and more" } else { "" };
        Err(Failure::refused(format!(
            "the bare mount point {} is not empty",
            self.path.display()
        ))
        .cause(format!("in it lie {}{more}", names.join(", ")))
        .data("nothing was changed; what is mounted there hides these files on the disk below")
        .hint(format!(
            "look at them: mkdir /tmp/below && mount --bind {} /tmp/below, and move away what is needed",
            shell_path(self.path.parent().unwrap_or(Path::new("/")))
        )))
    }

    fn set(&self, on: bool) -> Result<Flag> {
        let set = || {
            let flags = rustix::fs::ioctl_getflags(&self.dir)?;
            let mut wanted = flags;
            wanted.set(IFlags::IMMUTABLE, on);
            if wanted == flags {
                Ok(())
            } else {
                rustix::fs::ioctl_setflags(&self.dir, wanted)
            }
        };
        match set() {
            Ok(()) => self.flag(),
            Err(errno) if is_unknown(errno) => Ok(Flag::Unknown),
            Err(errno) => Err(self.failed("change the flags of", errno)),
        }
    }

    fn failed(&self, doing: &str, errno: Errno) -> Failure {
        Failure::environment(format!(
            "cannot {doing} the bare mount point {}",
            self.path.display()
        ))
        .because(&std::io::Error::from(errno))
    }
}

/// What file systems say that do not know the flag.
fn is_unknown(errno: Errno) -> bool {
    [Errno::NOTTY, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL].contains(&errno)
}

fn list(
    dir: BorrowedFd<'_>,
    below: &Path,
    limit: usize,
    found: &mut Hidden,
) -> std::result::Result<(), Errno> {
    let device = rustix::fs::fstat(dir)?.st_dev;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if found.entries.len() >= limit {
            found.more = true;
            return Ok(());
        }
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let path = below.join(name);
        let kind = FileType::from_raw_mode(stat.st_mode);
        let size = if kind == FileType::RegularFile {
            u64::try_from(stat.st_size).unwrap_or(0)
        } else {
            0
        };
        found.entries.push((path.clone(), size));
        if kind == FileType::Directory && stat.st_dev == device {
            let next = rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())?;
            list(next.as_fd(), &path, limit, found)?;
        }
    }
    Ok(())
}
