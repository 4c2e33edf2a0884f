//! An append-only file of lines, each on disk before the next thing happens. The journal's floor.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags};

use super::durable;
use crate::model::{Failure, Result};

/// Room that is taken on the disk when a journal begins, so that a disk that fills up later, perhaps by the very copy
/// that the journal is about, does not stop a run in its middle.
const RESERVE: u64 = 1 << 20;

/// Where lines are kept. A trait, so that the simulation can tear, lose and refuse them.
pub trait Store: Send {
    /// What it is called in messages: the path.
    fn name(&self) -> String;

    /// Reads from the beginning.
    ///
    /// # Errors
    /// When it cannot be read.
    fn reader(&mut self) -> io::Result<Box<dyn BufRead + '_>>;

    /// Adds bytes at the end; when this returns they survive a power loss.
    ///
    /// # Errors
    /// When they may not be there. Nothing may be appended after that: what is at the end is unknown.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;

    /// Cuts to a length; when this returns the cut survives a power loss.
    ///
    /// # Errors
    /// When it may not be cut.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// A file, locked while it is open for writing.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    file: File,
}

impl FileStore {
    /// Makes the file, which must not exist, and its entry in the directory durable.
    ///
    /// # Errors
    /// When it exists, cannot be made, or the disk has no room for it.
    pub fn create(path: &Path) -> Result<Self> {
        let refuse = |e: &io::Error| {
            Failure::environment(format!("cannot create the journal {}", path.display()))
                .because(e)
                .data("nothing was begun")
                .hint("make room or choose another state directory with --state-dir")
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| refuse(&e))?;
        let store = Self {
            path: path.to_owned(),
            file,
        };
        store.lock()?;
        store.reserve().map_err(|e| refuse(&e))?;
        store.file.sync_all().map_err(|e| refuse(&e))?;
        if let Some(parent) = path.parent() {
            durable::sync_dir(parent)?;
        }
        Ok(store)
    }

    /// Opens the file to go on with it.
    ///
    /// # Errors
    /// When it cannot be opened, or another process has it open for writing.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(|e| cannot_open(path, &e))?;
        let store = Self {
            path: path.to_owned(),
            file,
        };
        store.lock()?;
        // A run that goes on is better than one that is refused because the disk is full.
        if let Err(e) = store.reserve() {
            tracing::debug!("no room reserved for {}: {e}", path.display());
        }
        Ok(store)
    }

    /// Opens the file to look at it, also while a run writes to it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn read_only(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(|e| cannot_open(path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// The lock of the project keeps runs apart; this one holds also when two state directories' names for a project
    /// lead to one file.
    fn lock(&self) -> Result<()> {
        match self.file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::refused("this run is being worked on by another process")
                    .cause(format!("{} is locked", self.path.display()))
                    .data("nothing was changed by this command")
                    .hint("wait for the other process to end"))
            }
            Err(TryLockError::Error(e)) => {
                Err(Failure::environment(format!("cannot lock {}", self.path.display())).because(&e))
            }
        }
    }

    fn reserve(&self) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, RESERVE) {
            // Not every file system can; then there is no reserve.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> Failure {
    Failure::environment(format!("cannot open the journal {}", path.display())).because(error)
}

impl Store for FileStore {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn reader(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        self.file.rewind()?;
        Ok(Box::new(BufReader::new(&self.file)))
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let result = self.file.write_all(line).and_then(|()| self.file.sync_all());
        if result.is_err() {
            // A line whose sync failed may look whole until the power goes. If it cannot be cut off either, opening
            // the journal finds it torn or finds it whole, and both are read correctly.
            if let Err(e) = self.truncate(before) {
                tracing::debug!("cannot cut {} back to {before} bytes: {e}", self.path.display());
            }
        }
        result
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn lines_are_appended_cut_and_read_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut store = FileStore::create(&path).unwrap();
        store.append(b"one\n").unwrap();
        store.append(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        store.truncate(4).unwrap();
        store.append(b"three\n").unwrap();
        let mut text = String::new();
        store.reader().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\nthree\n");

        let refused = FileStore::open(&path).unwrap_err();
        assert_eq!(refused.kind, crate::model::Kind::Refused);
        let mut looking = FileStore::read_only(&path).unwrap();
        assert!(looking.append(b"four\n").is_err(), "a reader cannot write");
        drop(store);
        FileStore::open(&path).unwrap().append(b"four\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\nthree\nfour\n");
    }

    #[test]
    fn a_journal_that_is_there_is_never_begun_anew_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        std::fs::write(&path, "here\n").unwrap();
        assert!(FileStore::create(&path).is_err());
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(FileStore::open(&dir.path().join("link")).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"here\n");
    }

    #[test]
    fn a_line_that_was_written_but_not_synced_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        // A pipe takes bytes and cannot be synced: fsync(2), EINVAL.
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let mut store = FileStore::open(&path).unwrap();
        let error = store.append(b"one\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn room_is_taken_on_the_disk_without_changing_the_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let store = FileStore::create(&path).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.len(), 0);
        let works = rustix::fs::fallocate(&store.file, FallocateFlags::KEEP_SIZE, 0, 4096).is_ok();
        assert_eq!(works, meta.blocks() * 512 >= RESERVE);
    }
}
