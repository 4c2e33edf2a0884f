//! What systemd does by itself at boot: whether it starts a mount unit, and what it knows of the engine's unit.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::boot::systemd_runs;
use super::sysroot::Sysroot;
use super::tool::Tool;
use super::units::{MountUnit, PLACES};
use crate::model::{Failure, Result};

/// Of a directory of units no more entries are looked at.
const ENTRIES: usize = 20_000;

/// Whether a unit is started at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Another unit wants it.
    Wanted,
    /// Nobody does: `systemctl enable` was not said.
    Unwanted,
    /// It is a link to `/dev/null`: nothing starts it.
    Masked,
}

/// Looks whether a unit is started at boot: by the links that `systemctl enable` makes.
/// <https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html#%5BInstall%5D%20Section%20Options>
///
/// # Errors
/// When a directory of units is there and cannot be read.
pub fn start(sysroot: &Sysroot, unit: &MountUnit) -> Result<Start> {
    let file = sysroot.entry(&unit.file)?;
    let masked = std::fs::read_link(&file).is_ok_and(|to| to == Path::new("/dev/null"));
    let Some(name) = unit.file.file_name().filter(|_| !masked) else {
        return Ok(Start::Masked);
    };
    for place in PLACES {
        let dir = sysroot.real(place)?;
        let failed = |error: std::io::Error| {
            Failure::environment(format!("cannot read {}", dir.display())).because(&error)
        };
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        for entry in entries.take(ENTRIES) {
            let entry = entry.map_err(failed)?;
            let wants = [b".wants".as_slice(), b".requires"]
                .iter()
                .any(|end| entry.file_name().as_bytes().ends_with(end));
            if wants && entry.path().join(name).symlink_metadata().is_ok() {
                return Ok(Start::Wanted);
            }
        }
    }
    Ok(Start::Unwanted)
}

/// What systemd knows of `docker.service`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineUnit {
    /// Whether there is one: the engine of a snap, and a user's own, have other names or none.
    pub loaded: bool,
    /// What it waits for, whoever wrote that.
    waits_for: Vec<PathBuf>,
}

impl EngineUnit {
    /// Asks systemd; `None` where it does not run, or of an image.
    ///
    /// # Errors
    /// When systemctl fails.
    pub async fn ask(sysroot: &Sysroot) -> Result<Option<Self>> {
        if !sysroot.is_machine() || !systemd_runs(sysroot) {
            return Ok(None);
        }
        let args = [
            "show",
            "--property=LoadState",
            "--property=RequiresMountsFor",
            "docker.service",
        ];
        Ok(Some(Self::parse(&Tool::new("systemctl", args).run().await?)))
    }

    /// Reads what `systemctl show` prints.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        Self {
            loaded: value("LoadState=").is_some_and(|state| state.trim() == "loaded"),
            waits_for: value("RequiresMountsFor=")
                .unwrap_or_default()
                .split_whitespace()
                .map(PathBuf::from)
                .collect(),
        }
    }

    /// Whether it waits for a mount point: `RequiresMountsFor=` means every mount on the way to a path.
    #[must_use]
    pub fn waits_for(&self, at: &Path) -> bool {
        self.waits_for.iter().any(|path| path.starts_with(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_waits_for_is_read() {
        // As systemd 252 prints it.
        let unit = EngineUnit::parse("RequiresMountsFor=/mnt/kms-data/postgres /var/lib\nLoadState=loaded\n");
        assert!(unit.loaded);
        assert!(unit.waits_for(Path::new("/mnt/kms-data")));
        assert!(!unit.waits_for(Path::new("/mnt/kms")));
        let none = EngineUnit::parse("LoadState=not-found\nRequiresMountsFor=\n");
        assert_eq!(none, EngineUnit::default());
    }
}
