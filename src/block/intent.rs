//! What is written down before a file system is made, so that a half-made one is known as Rehome's own afterwards.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::device::Identity;
use super::format::{FileSystem, Wanted};
use super::fsid::FsUuid;
use super::sysfs;
use crate::model::{Failure, Result};
use crate::state::write_durably;

/// The format of the record; another one is not guessed at.
const FORMAT: u32 = 1;
/// Records are removed when their file system is made; more than this is not Rehome's doing.
const LIMIT: usize = 1000;

/// That a file system is about to be made on a device that was proven empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    format: u32,
    /// The device.
    pub device: Identity,
    /// During which boot: numbers and counters are new in the next.
    boot: String,
    /// What the device was called, for people.
    pub names: Vec<PathBuf>,
    /// What is made.
    pub fs: FileSystem,
    /// Its UUID, decided beforehand and known to nobody else.
    pub uuid: FsUuid,
    /// Its label.
    pub label: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

impl Intent {
    /// That this is wanted, from now on.
    pub(super) fn new(device: Identity, names: Vec<PathBuf>, wanted: &Wanted) -> Result<Self> {
        Ok(Self {
            format: FORMAT,
            device,
            boot: boot()?,
            names,
            fs: wanted.fs,
            uuid: wanted.uuid,
            label: wanted.label.clone(),
            since: Timestamp::now(),
        })
    }

    /// Whether it is about this device. During the same boot everything must be equal; after another one the serial
    /// must, and a device without one is not known again.
    ///
    /// # Errors
    /// When the kernel does not say which boot this is.
    pub fn is_of(&self, device: &Identity) -> Result<bool> {
        Ok(if self.boot == boot()? {
            self.device == *device
        } else {
            self.device.is_same_after_boot(device)
        })
    }

    fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("format-{}.json", self.uuid))
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Failure::bug("cannot write an intent").because(&error))?;
        write_durably(&self.path(dir), &json)
    }

    /// Need not be durable: what it says is found done the next time, and it is removed then.
    pub(super) fn remove(&self, dir: &Path) -> Result<()> {
        let path = self.path(dir);
        std::fs::remove_file(&path).map_err(|error| {
            Failure::environment(format!("cannot remove {}", path.display())).because(&error)
        })
    }

    /// All that are in a directory, the oldest first. A missing directory has none.
    ///
    /// # Errors
    /// When one cannot be read or is of a newer format.
    pub fn all(dir: &Path) -> Result<Vec<Self>> {
        let failed = |path: &Path, error: &(dyn std::error::Error + 'static)| {
            Failure::environment(format!("cannot read {}", path.display())).because(error)
        };
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(dir, &error)),
        };
        let mut found: Vec<Self> = Vec::new();
        for entry in entries.take(LIMIT) {
            let entry = entry.map_err(|error| failed(dir, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !(name.starts_with("format-") && name.ends_with(".json")) {
                continue;
            }
            let path = entry.path();
            let bytes = std::fs::read(&path).map_err(|error| failed(&path, &error))?;
            let value: serde_json::Value =
                serde_json::from_slice(&bytes).map_err(|error| failed(&path, &error))?;
            if value.get("format") != Some(&FORMAT.into()) {
                return Err(Failure::refused(format!(
                    "{} was written by another version of Rehome",
                    path.display()
                ))
                .hint("finish with the version that began"));
            }
            found.push(serde_json::from_value(value).map_err(|error| failed(&path, &error))?);
        }
        found.sort_by_key(|intent| intent.since);
        Ok(found)
    }
}

/// Which boot this is. <https://docs.kernel.org/admin-guide/sysctl/kernel.html#random>
fn boot() -> Result<String> {
    let failed = || Failure::environment("the kernel does not say which boot this is");
    sysfs::attribute(Path::new("/proc/sys/kernel/random/boot_id"))
        .map_err(|error| failed().because(&error))?
        .ok_or_else(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::device::Number;
    use crate::model::ByteSize;

    fn intent() -> Intent {
        let device = Identity {
            number: Number { major: 8, minor: 0 },
            size: ByteSize(1 << 30),
            serial: Some("abc".into()),
            diskseq: Some(3),
            start: 0,
        };
        let wanted = Wanted::new(FileSystem::Ext4, None).unwrap();
        Intent::new(device, vec!["/dev/disk/by-id/x".into()], &wanted).unwrap()
    }

    #[test]
    fn it_is_about_one_device_during_a_boot_and_about_one_serial_after_it() {
        let mut intent = intent();
        let same = intent.device.clone();
        let moved = Identity {
            diskseq: Some(4),
            ..same.clone()
        };
        let larger = Identity {
            size: ByteSize(2 << 30),
            ..same.clone()
        };
        assert!(intent.is_of(&same).unwrap());
        assert!(!intent.is_of(&moved).unwrap() && !intent.is_of(&larger).unwrap());
        intent.boot = "another".into();
        assert!(intent.is_of(&same).unwrap() && intent.is_of(&moved).unwrap());
        assert!(!intent.is_of(&larger).unwrap());
        assert!(!intent.is_of(&Identity { serial: None, ..same }).unwrap());
    }

    #[test]
    fn it_is_read_as_it_was_written_and_a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Intent::all(&dir.path().join("missing")).unwrap(), []);
        let mut intent = intent();
        intent.write(dir.path()).unwrap();
        assert_eq!(Intent::all(dir.path()).unwrap(), [intent.clone()]);
        intent.remove(dir.path()).unwrap();
        assert_eq!(Intent::all(dir.path()).unwrap(), []);
        intent.format = 2;
        intent.write(dir.path()).unwrap();
        assert!(
            Intent::all(dir.path())
                .unwrap_err()
                .what
                .ends_with("another version of Rehome")
        );
        std::fs::write(intent.path(dir.path()), "{").unwrap();
        assert!(Intent::all(dir.path()).is_err());
    }
}
