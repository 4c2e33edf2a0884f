//! The sentinel: the small file in the root of a volume that is named by the file system's UUID. A stack that asks for
//! it before it starts cannot start on an empty directory, nor on another volume (trap 1).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::fsid::FsUuid;
use super::volume::Volume;
use crate::model::{Failure, Result, shell_path};

/// What its name begins with.
const PREFIX: &str = ".rehome-";
/// The only form so far.
const FORMAT: u32 = 1;
/// A longer one is not ours.
const LIMIT: u64 = 4096;
/// Of a root directory no more entries are looked at.
const ENTRIES: usize = 100_000;

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sentinel {
    /// Of this file.
    pub format: u32,
    /// Of the file system.
    pub uuid: FsUuid,
    /// When it was made.
    pub made: Timestamp,
    /// The version of Rehome that made it.
    pub by: String,
}

/// What is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The right one.
    Right(Sentinel),
    /// None.
    Missing,
    /// One of this file system that says nothing, or not all, as after a crash of the server; its name.
    Torn(String),
    /// One of another file system; its name.
    Anothers(String),
}

/// The name of the sentinel of a file system.
#[must_use]
pub fn name(uuid: &FsUuid) -> String {
    format!("{PREFIX}{uuid}")
}

/// Whether something that is named like a sentinel is in a directory: enough to offer it, and no proof of anything.
#[must_use]
pub fn has_any(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return false;
    };
    let names = entries
        .take(ENTRIES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut uuids = names.filter_map(|name| name.strip_prefix(PREFIX)?.parse::<FsUuid>().ok());
    uuids.next().is_some()
}

/// Looks for it.
///
/// # Errors
/// When the volume cannot be read.
pub fn check(volume: &Volume, uuid: &FsUuid) -> Result<Found> {
    look(volume, uuid).map_err(|error| {
        Failure::environment(format!(
            "cannot look for the sentinel on {}",
            volume.path().display()
        ))
        .because(&error)
    })
}

fn look(volume: &Volume, uuid: &FsUuid) -> io::Result<Found> {
    let own = name(uuid);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::openat(volume.root(), own.as_str(), flags, Mode::empty()) {
        Ok(file) => {
            let mut text = Vec::new();
            File::from(file).take(LIMIT).read_to_end(&mut text)?;
            return Ok(match serde_json::from_slice::<Sentinel>(&text) {
                Ok(sentinel) if sentinel.uuid == *uuid => Found::Right(sentinel),
                Ok(_) => Found::Anothers(own),
                Err(_) => Found::Torn(own),
            });
        }
        Err(Errno::NOENT) => {}
        Err(Errno::LOOP) => return Ok(Found::Anothers(own)),
        Err(errno) => return Err(errno.into()),
    }
    for entry in rustix::fs::Dir::read_from(volume.root())?.take(ENTRIES) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let other = name.strip_prefix(PREFIX).map(str::parse::<FsUuid>);
        if let Some(Ok(_)) = other {
            return Ok(Found::Anothers(name));
        }
    }
    Ok(Found::Missing)
}

/// Makes it, durably, unless it is there. False if it was. A torn one is written again.
///
/// # Errors
/// When the volume is not where it was, has the sentinel of another file system, or cannot be written to.
pub fn make(volume: &Volume, uuid: &FsUuid) -> Result<bool> {
    volume.prove()?;
    match check(volume, uuid)? {
        Found::Right(_) => return Ok(false),
        Found::Missing | Found::Torn(_) => {}
        Found::Anothers(name) => {
            return Err(Failure::refused(format!(
                "{} has the sentinel of another file system: {name}",
                volume.path().display()
            ))
            .cause("a volume that was copied byte by byte and given a new UUID looks like this")
            .data("nothing was written to it")
            .hint(format!(
                "if this is the volume that you want, remove the old one: rm {}",
                shell_path(&volume.path().join(&name))
            )));
        }
    }
    let sentinel = Sentinel {
        format: FORMAT,
        uuid: *uuid,
        made: Timestamp::now(),
        by: format!("rehome {}", env!("CARGO_PKG_VERSION")),
    };
    write(volume, &sentinel)
        .map_err(|error| {
            Failure::environment(format!(
                "cannot write the sentinel on {}",
                volume.path().display()
            ))
            .because(&error)
        })
        .map(|()| true)
}

fn write(volume: &Volume, sentinel: &Sentinel) -> io::Result<()> {
    let own = name(&sentinel.uuid);
    // One of a run that died is overwritten; a symlink is not followed.
    let new = format!("{own}.new");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(volume.root(), new.as_str(), flags, Mode::from_raw_mode(0o644))?;
    let mut file = File::from(file);
    file.write_all(&serde_json::to_vec(sentinel)?)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    rustix::fs::renameat(volume.root(), new.as_str(), volume.root(), own.as_str())?;
    Ok(rustix::fs::fsync(volume.root())?)
}

/// Takes it away. False if it was not there.
///
/// # Errors
/// When the volume is not where it was, or cannot be written to.
pub fn remove(volume: &Volume, uuid: &FsUuid) -> Result<bool> {
    volume.prove()?;
    let gone = match rustix::fs::unlinkat(volume.root(), name(uuid), AtFlags::empty()) {
        Ok(()) => rustix::fs::fsync(volume.root()).map(|()| true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    };
    gone.map_err(|errno| {
        Failure::environment(format!(
            "cannot remove the sentinel of {}",
            volume.path().display()
        ))
        .because(&io::Error::from(errno))
    })
}
