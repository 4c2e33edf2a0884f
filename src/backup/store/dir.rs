//! Backups in a directory. Everything is reached from the directory itself, a name at a time and past no symlink, so that
//! nothing below it leads out of it; the directory may be a symlink itself.
//!
//! A file is written under a temporary name that no [`StorePath`] can have, locked by who writes it. The system lets go
//! of that lock when the writer ends, however it ends: that is how [`Store::sweep`] knows what was left behind (trap 18).

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::{Store, Stored, Upload};
use crate::backup::carry;
use crate::backup::format::StorePath;
use crate::model::{Failure, Result};

/// More files than any place for backups has.
const MOST_FILES: usize = 1_000_000;
/// A directory that somebody else tidies away at the same moment is made again this often.
const TRIES: usize = 10;
/// Temporary files: `~` is in no [`StorePath`].
const TEMPORARY: &str = ".rehome~";

const TO_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory as a place for backups.
#[derive(Debug, Clone)]
pub struct DirStore {
    root: PathBuf,
}

impl DirStore {
    /// The directory need not be there yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn told(&self, doing: &str, path: &StorePath, error: &io::Error) -> Failure {
        told(
            &format!("cannot {doing} {}", self.root.join(path.as_str()).display()),
            error,
        )
    }

    /// The directory of backups itself.
    fn open_root(&self, make: bool) -> io::Result<Option<File>> {
        if make {
            make_dirs(&self.root)?;
        }
        let flags = TO_DIR.difference(OFlags::NOFOLLOW);
        match rustix::fs::open(&self.root, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// A directory below it; `None` if it is not there and not to be made.
    fn open_below<'a>(&self, names: impl Iterator<Item = &'a str>, make: bool) -> io::Result<Option<File>> {
        let Some(mut dir) = self.open_root(make)? else {
            return Ok(None);
        };
        for name in names {
            let mut open = rustix::fs::openat(&dir, name, TO_DIR, Mode::empty());
            if make && matches!(open, Err(Errno::NOENT)) {
                match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) => sync_dir(&dir)?,
                    Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                open = rustix::fs::openat(&dir, name, TO_DIR, Mode::empty());
            }
            dir = match open {
                Ok(fd) => fd.into(),
                Err(Errno::NOENT | Errno::NOTDIR) if !make => return Ok(None),
                Err(e) => return Err(e.into()),
            };
        }
        Ok(Some(dir))
    }

    fn begin(&self, path: &StorePath) -> io::Result<DirUpload> {
        let (parents, name) = split(path)?;
        for _ in 0..TRIES {
            let made = self.open_below(parents.split('/').filter(|n| !n.is_empty()), true);
            let dir = match made {
                Ok(Some(dir)) => dir,
                Ok(None) => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let temporary = temporary_name()?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file: File = match rustix::fs::openat(&dir, &temporary, flags, Mode::from_raw_mode(0o600)) {
                Ok(fd) => fd.into(),
                Err(Errno::EXIST | Errno::NOENT) => continue,
                Err(e) => return Err(e.into()),
            };
            match file.try_lock() {
                Ok(()) => {}
                // Swept in the moment before it was locked.
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => {
                    tracing::debug!("no locks in {}: {e}", self.root.display());
                }
            }
            if file.metadata()?.nlink() == 0 {
                continue;
            }
            return Ok(DirUpload {
                shown: self.root.join(path.as_str()),
                dir,
                file,
                temporary: Some(temporary),
                name: name.to_owned(),
            });
        }
        Err(io::Error::other(
            "what was just made there went away again and again",
        ))
    }

    /// Every entry of every directory below a path.
    fn walk(
        &self,
        below: &StorePath,
        see: &mut dyn FnMut(&File, &str, &OsStr, FileType) -> io::Result<()>,
    ) -> io::Result<()> {
        // By path, and not kept open: there may be more directories than a process may have open files.
        let mut open = vec![below.as_str().to_owned()];
        let mut seen = 0;
        while let Some(path) = open.pop() {
            let names = path.split('/').filter(|name| !name.is_empty());
            let Some(dir) = self.open_below(names, false)? else {
                continue;
            };
            let mut buffer = Vec::with_capacity(32 << 10);
            let mut listed = RawDir::new(&dir, buffer.spare_capacity_mut());
            while let Some(entry) = listed.next() {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                seen += 1;
                if seen > MOST_FILES {
                    return Err(io::Error::other(format!("more than {MOST_FILES} files")));
                }
                let mut kind = entry.file_type();
                if kind == FileType::Unknown {
                    kind = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        Err(Errno::NOENT) => continue,
                        Err(e) => return Err(e.into()),
                    };
                }
                let plain = name.to_str().ok().filter(|name| StorePath::new(*name).is_ok());
                if let (FileType::Directory, Some(plain)) = (kind, plain) {
                    open.push(joined(&path, plain));
                    continue;
                }
                see(&dir, &path, OsStr::from_bytes(name.to_bytes()), kind)?;
            }
        }
        Ok(())
    }

    /// Takes away directories that have become empty, from below.
    fn tidy(&self, path: &StorePath) -> io::Result<()> {
        let mut path = path.as_str();
        while let Some((parents, _)) = path.rsplit_once('/') {
            path = parents;
            let (above, name) = parents.rsplit_once('/').unwrap_or(("", parents));
            let above = above.split('/').filter(|n| !n.is_empty());
            let Some(dir) = self.open_below(above, false)? else {
                continue;
            };
            match rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR) {
                Ok(()) => sync_dir(&dir)?,
                Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn reading(&self, path: &StorePath) -> Result<Option<Reading>> {
        let open = || -> io::Result<Option<File>> {
            let (parents, name) = split(path)?;
            let parents = parents.split('/').filter(|name| !name.is_empty());
            let Some(dir) = self.open_below(parents, false)? else {
                return Ok(None);
            };
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file: File = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
                Ok(fd) => fd.into(),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP) => return Err(io::Error::other("it is a symbolic link")),
                Err(e) => return Err(e.into()),
            };
            match file.metadata()?.is_file() {
                true => Ok(Some(file)),
                false => Err(io::Error::other("it is no regular file")),
            }
        };
        let file = open().map_err(|e| self.told("read", path, &e))?;
        let shown = self.root.join(path.as_str());
        Ok(file.map(|file| Reading { file, shown }))
    }
}

impl Store for DirStore {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn put(&self, path: &StorePath) -> Result<Box<dyn Upload>> {
        let upload = self.begin(path).map_err(|e| self.told("write", path, &e))?;
        Ok(Box::new(upload))
    }

    fn get(&self, path: &StorePath) -> Result<Option<Box<dyn Read + Send>>> {
        let reading = self.reading(path)?;
        Ok(reading.map(|reading| Box::new(reading) as Box<dyn Read + Send>))
    }

    fn get_part(&self, path: &StorePath, at: u64, len: u64) -> Result<Option<Box<dyn Read + Send>>> {
        let Some(mut reading) = self.reading(path)? else {
            return Ok(None);
        };
        let sought = reading.file.seek(SeekFrom::Start(at));
        sought.map_err(|e| self.told("read", path, &e))?;
        Ok(Some(Box::new(reading.take(len))))
    }

    fn list(&self, below: &StorePath) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        let mut see = |dir: &File, path: &str, name: &OsStr, kind: FileType| {
            let fine = name
                .to_str()
                .and_then(|name| StorePath::new(joined(path, name)).ok());
            let (Some(path), FileType::RegularFile) = (fine, kind) else {
                return Ok(());
            };
            let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            found.push(Stored {
                path,
                bytes: u64::try_from(stat.st_size).unwrap_or(0),
                modified: Timestamp::from_second(stat.st_mtime).ok(),
            });
            Ok(())
        };
        self.walk(below, &mut see)
            .map_err(|e| self.told("list", below, &e))?;
        Ok(found)
    }

    fn remove(&self, path: &StorePath) -> Result<()> {
        let remove = || -> io::Result<()> {
            let (parents, name) = split(path)?;
            let parents = parents.split('/').filter(|name| !name.is_empty());
            let Some(dir) = self.open_below(parents, false)? else {
                return Ok(());
            };
            match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
                Ok(()) => sync_dir(&dir)?,
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
            self.tidy(path)
        };
        remove().map_err(|e| self.told("remove", path, &e))
    }

    fn sweep(&self, below: &StorePath) -> Result<usize> {
        let mut swept = Vec::new();
        let mut see = |dir: &File, path: &str, name: &OsStr, kind: FileType| {
            if kind != FileType::RegularFile || !name.as_bytes().starts_with(TEMPORARY.as_bytes()) {
                return Ok(());
            }
            // For writing: a network file system gives an exclusive lock only then.
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file: File = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
                Ok(fd) => fd.into(),
                Err(Errno::NOENT) => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(()),
                // Where there are no locks nobody can tell, and it stays.
                Err(TryLockError::Error(e)) => {
                    tracing::debug!("no locks in {}: {e}", self.root.display());
                    return Ok(());
                }
            }
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) => {
                    sync_dir(dir)?;
                    swept.push(joined(path, "left"));
                    Ok(())
                }
                Err(Errno::NOENT) => Ok(()),
                Err(e) => Err(e.into()),
            }
        };
        self.walk(below, &mut see)
            .map_err(|e| self.told("tidy up", below, &e))?;
        for left in &swept {
            if let Ok(left) = StorePath::new(left.as_str()) {
                self.tidy(&left).map_err(|e| self.told("tidy up", below, &e))?;
            }
        }
        Ok(swept.len())
    }
}

/// A file under its temporary name.
struct DirUpload {
    /// Where it will be, for people.
    shown: PathBuf,
    dir: File,
    file: File,
    /// `None` when it has its own name.
    temporary: Option<String>,
    name: String,
}

impl DirUpload {
    fn told(&self, error: &io::Error) -> Failure {
        told(&format!("cannot write {}", self.shown.display()), error)
    }
}

impl Write for DirUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => Err(carry(self.told(&e))),
            fine => fine,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for DirUpload {
    fn finish(mut self: Box<Self>) -> Result<()> {
        let mut publish = || -> io::Result<()> {
            self.file.sync_all()?;
            if let Some(temporary) = &self.temporary {
                rustix::fs::renameat(&self.dir, temporary, &self.dir, &self.name)?;
                self.temporary = None;
            }
            sync_dir(&self.dir)
        };
        publish().map_err(|e| self.told(&e))
    }
}

impl Drop for DirUpload {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Best effort: what stays is known by its lock, and swept the next time.
            if let Err(e) = rustix::fs::unlinkat(&self.dir, temporary, AtFlags::empty()) {
                tracing::debug!("cannot remove {temporary} beside {}: {e}", self.shown.display());
            }
        }
    }
}

/// A file whose errors name it.
struct Reading {
    file: File,
    shown: PathBuf,
}

impl Read for Reading {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buf) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                Err(carry(told(&format!("cannot read {}", self.shown.display()), &e)))
            }
            other => other,
        }
    }
}

/// An error of the file system, in words where there are better ones.
fn told(what: &str, error: &io::Error) -> Failure {
    let failure = Failure::environment(what);
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => failure
            .cause("the disk is full")
            .data("the backup was not completed; those before it are as they were")
            .hint("make room there, or let old backups go: rehome backup prune"),
        io::ErrorKind::PermissionDenied => failure
            .because(error)
            .hint("run as a user who may do that, or choose another place under backup.to in rehome.yml"),
        io::ErrorKind::ReadOnlyFilesystem => failure
            .because(error)
            .hint("the file system is mounted read-only; look into the kernel's log for why"),
        _ => failure.because(error),
    }
}

/// The directories of a path, and its last name.
fn split(path: &StorePath) -> io::Result<(&str, &str)> {
    match path.as_str().rsplit_once('/') {
        Some(both) => Ok(both),
        None if path.as_str().is_empty() => Err(io::Error::other("it is the place itself")),
        None => Ok(("", path.as_str())),
    }
}

fn joined(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}/{name}"),
    }
}

/// A name that nobody had before.
fn temporary_name() -> io::Result<String> {
    let mut random = [0; 8];
    let got = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    if got < random.len() {
        return Err(io::Error::other("the system gave too little chance"));
    }
    Ok(format!(
        "{TEMPORARY}{}-{:016x}",
        std::process::id(),
        u64::from_ne_bytes(random)
    ))
}

/// Makes the directory of backups for its owner alone, and what is missing above it.
fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dirs(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => parent.map_or(Ok(()), |parent| sync_dir(&File::open(parent)?)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

/// Makes the names in a directory durable, where the file system has a way to.
fn sync_dir(dir: impl AsFd) -> io::Result<()> {
    match rustix::fs::fsync(dir) {
        Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
