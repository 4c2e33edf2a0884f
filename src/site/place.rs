//! The directory of a site: below one root, found and made through open directories, so that no symlink leads it
//! elsewhere.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::block::volume::open_beneath;
use crate::model::{Failure, Owner, Result, SiteName, shell_path};

/// Where sites have their directories unless somebody says otherwise.
pub const DEFAULT_ROOT: &str = "/var/deploy/data";
/// A directory of a site is for its user alone, and for the group of that.
pub const MODE: u32 = 0o750;
/// What is missing above it: anybody may pass, root may write.
const ABOVE: u32 = 0o755;
/// A site with more entries is measured so far and not further.
const ENTRIES: u64 = 1_000_000;
/// Deeper than any program makes it.
const DEEPEST: usize = 128;
/// A directory, as it is opened here: nobody follows a symlink in the last part of its name.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What is where the directory of a site is, or shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Nothing.
    Missing,
    /// A directory.
    There {
        /// Whose it is.
        owner: Owner,
        /// Its permissions.
        mode: u32,
        /// Nothing is in it.
        empty: bool,
    },
}

/// What is in the directory of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Bytes that it occupies on its disk.
    pub bytes: u64,
    /// Files and what else is no directory.
    pub files: u64,
    /// Whose the directory is.
    pub owner: Owner,
    /// When anything in it was changed last.
    pub changed: Timestamp,
    /// Whether that is all of it: what is too much or may not be read is left out.
    pub complete: bool,
}

/// The root with its symlinks resolved, as far as it is there: this path is what containers mount.
///
/// # Errors
/// When it is not absolute, is no directory, or cannot be looked at.
pub fn real_root(root: &Path) -> Result<PathBuf> {
    let cannot = |error: &std::io::Error| {
        Failure::environment(format!("cannot look at {}", root.display())).because(error)
    };
    if !root.is_absolute() {
        return Err(Failure::usage(format!("{} is no absolute path", root.display())));
    }
    for there in root.ancestors() {
        match there.canonicalize() {
            Ok(real) if real.is_dir() => {
                let missing = root.strip_prefix(there).unwrap_or(Path::new(""));
                return Ok(match missing.as_os_str().is_empty() {
                    true => real,
                    false => real.join(missing),
                });
            }
            Ok(_) => {
                return Err(Failure::refused(format!("{} is no directory", there.display()))
                    .data("nothing was changed"));
            }
            // A symlink that leads nowhere is not there either, and cannot be made.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !there.is_symlink() => {}
            Err(error) => return Err(cannot(&error)),
        }
    }
    Err(cannot(&std::io::ErrorKind::NotFound.into()))
}

/// What of a root is missing, the uppermost first.
#[must_use]
pub fn missing_of(root: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = root
        .ancestors()
        .take_while(|path| !path.exists())
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    missing
}

/// The number of the file system that a root is on, or that it will be on.
///
/// # Errors
/// When nothing above it can be looked at.
pub fn device(root: &Path) -> Result<u64> {
    let failed = |errno: Errno| cannot("look at", root, errno);
    let there = root.ancestors().find(|path| path.exists()).unwrap_or(root);
    let open = open_beneath(CWD, there).map_err(failed)?;
    Ok(rustix::fs::fstat(&open).map_err(failed)?.st_dev)
}

/// Looks at the directory of a site.
///
/// # Errors
/// Refuses a symlink, a file, and a mount of its own.
pub fn look(root: &Path, name: &SiteName) -> Result<Place> {
    let path = root.join(name.as_str());
    let failed = |errno: Errno| cannot("look at", &path, errno);
    let root = match open_beneath(CWD, root) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(Place::Missing),
        Err(errno) => return Err(failed(errno)),
    };
    let Some(dir) = open_in(&root, name.as_str(), &path)? else {
        return Ok(Place::Missing);
    };
    let stat = rustix::fs::fstat(&dir).map_err(failed)?;
    let mut empty = true;
    crate::helper::walk::names(dir.as_fd(), |_| {
        empty = false;
        false
    })
    .map_err(failed)?;
    Ok(Place::There {
        owner: Owner {
            uid: stat.st_uid,
            gid: stat.st_gid,
        },
        mode: stat.st_mode & 0o7777,
        empty,
    })
}

/// Makes it, with its owner and mode at once, and what is missing of the root; there already with this owner is fine.
///
/// # Errors
/// When it cannot be made, or another one is there.
pub fn make(root: &Path, name: &SiteName, owner: Owner) -> Result<()> {
    let path = root.join(name.as_str());
    let failed = |errno: Errno| cannot("make", &path, errno);
    let dir = make_root(root)?;
    match look(root, name)? {
        Place::There { .. } => return Ok(()),
        Place::Missing => {}
    }
    let new = format!(".rehome-new-{name}");
    // Of a run that died; it is empty, or it is not ours to remove.
    match rustix::fs::unlinkat(&dir, new.as_str(), AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let made = || -> std::result::Result<(), Errno> {
        rustix::fs::mkdirat(&dir, new.as_str(), Mode::RWXU)?;
        let made = rustix::fs::openat(&dir, new.as_str(), DIRECTORY, Mode::empty())?;
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::fchown(&made, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(MODE))?;
        rustix::fs::fsync(&made)?;
        rustix::fs::renameat_with(&dir, new.as_str(), &dir, name.as_str(), RenameFlags::NOREPLACE)?;
        rustix::fs::fsync(&dir)
    };
    made().map_err(|errno| match errno {
        Errno::PERM | Errno::ACCESS => failed(errno).hint(format!(
            "as root, or: sudo install -d -o {} -g {} -m {MODE:o} {}",
            owner.uid,
            owner.gid,
            shell_path(&path)
        )),
        errno => failed(errno),
    })
}

/// The root, open; what is missing of it is made.
fn make_root(root: &Path) -> Result<OwnedFd> {
    let failed = |errno: Errno| cannot("make", root, errno);
    let mut open = open_beneath(CWD, Path::new("/")).map_err(failed)?;
    for part in root.components().skip(1) {
        let name = part.as_os_str();
        open = match rustix::fs::openat(&open, name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&open, name, Mode::from_raw_mode(ABOVE)).map_err(failed)?;
                let made = rustix::fs::openat(&open, name, DIRECTORY, Mode::empty()).map_err(failed)?;
                // Not what the umask left of it.
                rustix::fs::fchmod(&made, Mode::from_raw_mode(ABOVE)).map_err(failed)?;
                rustix::fs::fsync(&open).map_err(failed)?;
                made
            }
            there => there.map_err(failed)?,
        };
    }
    Ok(open)
}

/// Removes it if nothing is in it, and then those of these directories above it that are empty, the last first. False if
/// something is in it.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_empty(root: &Path, name: &SiteName, above: &[PathBuf]) -> Result<bool> {
    let path = root.join(name.as_str());
    let dir = match open_beneath(CWD, root) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(true),
        Err(errno) => return Err(cannot("look at", root, errno)),
    };
    for entry in [format!(".rehome-new-{name}"), name.to_string()] {
        match rustix::fs::unlinkat(&dir, entry.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(false),
            Err(errno) => return Err(cannot("remove", &path, errno)),
        }
    }
    rustix::fs::fsync(&dir).map_err(|errno| cannot("remove", &path, errno))?;
    for above in above.iter().rev() {
        // Another site may be in it by now.
        match std::fs::remove_dir(above) {
            Err(error)
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                return Err(
                    Failure::environment(format!("cannot remove {}", above.display())).because(&error)
                );
            }
            _ => {}
        }
    }
    Ok(true)
}

/// Measures what is in a directory: never through a symlink, never on another file system.
///
/// # Errors
/// When it is not there, or leads through a symlink.
pub fn measure(path: &Path) -> Result<Measured> {
    let failed = |errno: Errno| cannot("look at", path, errno);
    let dir = open_beneath(CWD, path).map_err(failed)?;
    let stat = rustix::fs::fstat(&dir).map_err(failed)?;
    let mut found = Found {
        device: stat.st_dev,
        bytes: 0,
        files: 0,
        changed: (stat.st_mtime, stat.st_mtime_nsec),
        left: ENTRIES,
        complete: true,
    };
    found.add(dir.as_fd(), DEEPEST);
    Ok(Measured {
        bytes: found.bytes,
        files: found.files,
        owner: Owner {
            uid: stat.st_uid,
            gid: stat.st_gid,
        },
        changed: Timestamp::new(found.changed.0, i32::try_from(found.changed.1).unwrap_or(0))
            .unwrap_or(Timestamp::UNIX_EPOCH),
        complete: found.complete,
    })
}

struct Found {
    device: u64,
    bytes: u64,
    files: u64,
    changed: (i64, u64),
    left: u64,
    complete: bool,
}

impl Found {
    /// What goes away meanwhile is not there; what cannot be read is left out, and that is said.
    fn add(&mut self, dir: BorrowedFd<'_>, deep: usize) {
        let mut below: Vec<Vec<u8>> = Vec::new();
        let read = crate::helper::walk::names(dir, |name| {
            if self.left == 0 {
                self.complete = false;
                return false;
            }
            self.left -= 1;
            match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
                    self.changed = self.changed.max((stat.st_mtime, stat.st_mtime_nsec));
                    match FileType::from_raw_mode(stat.st_mode) {
                        FileType::Directory if stat.st_dev == self.device => below.push(name.to_vec()),
                        FileType::Directory => self.complete = false,
                        _ => self.files += 1,
                    }
                }
                Err(Errno::NOENT) => {}
                Err(_) => self.complete = false,
            }
            true
        });
        self.complete &= read.is_ok();
        for name in below {
            if deep == 0 {
                self.complete = false;
                return;
            }
            match rustix::fs::openat(dir, name.as_slice(), DIRECTORY, Mode::empty()) {
                Ok(next) => self.add(next.as_fd(), deep - 1),
                Err(Errno::NOENT) => {}
                Err(_) => self.complete = false,
            }
        }
    }
}

/// Opens a directory in another; `None` if nothing is there.
fn open_in(root: &OwnedFd, name: &str, path: &Path) -> Result<Option<OwnedFd>> {
    let failed = |errno: Errno| cannot("look at", path, errno);
    let dir = match rustix::fs::openat(root, name, DIRECTORY, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let device = |dir: &OwnedFd| rustix::fs::fstat(dir).map(|stat| stat.st_dev);
    if device(&dir).map_err(failed)? != device(root).map_err(failed)? {
        return Err(refused(path, "another file system is mounted there"));
    }
    Ok(Some(dir))
}

fn refused(path: &Path, cause: &str) -> Failure {
    Failure::refused(format!("{} cannot be the directory of a site", path.display()))
        .cause(cause)
        .data("nothing was written there")
}

fn cannot(verb: &str, path: &Path, errno: Errno) -> Failure {
    match errno {
        Errno::LOOP | Errno::NOTDIR => refused(path, "it is, or leads through, a symlink or a file"),
        errno => Failure::environment(format!("cannot {verb} {}", path.display()))
            .because(&std::io::Error::from(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn name(text: &str) -> SiteName {
        SiteName::new(text).unwrap()
    }

    /// Whoever runs the tests.
    fn me(path: &Path) -> Owner {
        let meta = std::fs::metadata(path).unwrap();
        Owner {
            uid: meta.uid(),
            gid: meta.gid(),
        }
    }

    #[test]
    fn a_directory_is_made_with_its_mode_and_what_is_missing_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = real_root(&dir.path().join("deploy/data")).unwrap();
        let missing = missing_of(&root);
        assert_eq!(missing, [root.parent().unwrap().to_owned(), root.clone()]);
        assert_eq!(look(&root, &name("blog")).unwrap(), Place::Missing);
        let owner = me(dir.path());
        make(&root, &name("blog"), owner).unwrap();
        make(&root, &name("blog"), owner).unwrap();
        let there = Place::There {
            owner,
            mode: MODE,
            empty: true,
        };
        assert_eq!(look(&root, &name("blog")).unwrap(), there);
        assert_eq!(std::fs::metadata(&root).unwrap().mode() & 0o7777, ABOVE);
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 1);

        std::fs::write(root.join("blog/x"), "x").unwrap();
        assert!(!remove_empty(&root, &name("blog"), &missing).unwrap());
        std::fs::remove_file(root.join("blog/x")).unwrap();
        make(&root, &name("shop"), owner).unwrap();
        assert!(remove_empty(&root, &name("blog"), &missing).unwrap());
        assert!(root.join("shop").is_dir(), "another one stays");
        assert!(remove_empty(&root, &name("shop"), &missing).unwrap());
        assert!(!root.parent().unwrap().exists());
        assert!(remove_empty(&root, &name("shop"), &missing).unwrap());
    }

    #[test]
    fn another_owner_is_given_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = real_root(dir.path()).unwrap();
        let owner = Owner { uid: 1234, gid: 4321 };
        let made = make(&root, &name("blog"), owner);
        if me(dir.path()).uid == 0 {
            made.unwrap();
            let meta = std::fs::metadata(root.join("blog")).unwrap();
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1234, 4321, MODE));
        } else {
            let failure = made.unwrap_err();
            assert!(
                failure.hints[0].contains("install -d -o 1234 -g 4321"),
                "{failure:?}"
            );
            assert!(!root.join("blog").exists());
        }
    }

    #[test]
    fn a_symlink_a_file_and_a_dangling_root_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = real_root(dir.path()).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), root.join("link")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        for site in ["link", "dangling", "file"] {
            let refused = look(&root, &name(site)).unwrap_err();
            assert_eq!(refused.kind, crate::model::Kind::Refused, "{site}: {refused:?}");
            assert!(make(&root, &name(site), me(dir.path())).is_err(), "{site}");
        }
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        // The administrator's own symlink is followed, and what it leads to is what is mounted.
        assert_eq!(
            real_root(&root.join("link/data")).unwrap(),
            elsewhere.path().canonicalize().unwrap().join("data")
        );
        assert!(real_root(&root.join("dangling/data")).is_err());
        assert!(real_root(&root.join("file/data")).is_err());
        assert!(real_root(Path::new("data")).is_err());
        // One that became a symlink after it was resolved is not followed.
        assert!(look(&root.join("link"), &name("x")).is_err());
    }

    #[test]
    fn what_is_in_it_is_measured_as_du_does_and_no_symlink_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("site");
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        std::fs::write(path.join("a/b/large"), vec![7; 300_000]).unwrap();
        std::fs::write(path.join("small"), "x").unwrap();
        symlink("/usr", path.join("usr")).unwrap();
        let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000);
        std::fs::File::open(path.join("a/b/large"))
            .unwrap()
            .set_modified(at)
            .unwrap();
        let found = measure(&path).unwrap();
        let du = std::process::Command::new("du")
            .args(["-s", "-B1"])
            .arg(&path)
            .output()
            .unwrap();
        let du: u64 = String::from_utf8_lossy(&du.stdout)
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let own = std::fs::metadata(&path).unwrap().blocks() * 512;
        assert_eq!((found.bytes + own, found.files, found.complete), (du, 3, true));
        assert_eq!(found.changed.as_second(), 4_000_000_000);
        assert!(measure(&path.join("usr")).is_err());
    }
}
