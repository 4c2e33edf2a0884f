//! What a device is made of, as far as each part has to be told that the disk became larger. Reads sysfs alone.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::partition::device_of;
use crate::model::{Failure, Result, shell_path, shell_word};

/// Encrypted, on a volume group, on a partition: nobody stacks more than a few.
const DEEP: usize = 8;

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Beneath {
    /// A disk that is asked for its size anew by a file of sysfs.
    Scsi {
        /// The file.
        rescan: PathBuf,
    },
    /// A logical volume.
    Lvm {
        /// Its name below `/dev/mapper`.
        name: String,
        /// What its group is made of.
        on: Vec<PathBuf>,
    },
    /// Encrypted by dm-crypt.
    Crypt {
        /// Its name below `/dev/mapper`.
        name: String,
    },
}

impl Beneath {
    /// What tells it, in order.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        match self {
            Self::Scsi { rescan } => vec![format!("echo 1 > {}", shell_path(rescan))],
            // pvresize(8), lvextend(8)
            Self::Lvm { name, on } => {
                let device = shell_path(&Path::new("/dev/mapper").join(name));
                let mut commands: Vec<_> = on
                    .iter()
                    .map(|on| format!("pvresize {}", shell_path(on)))
                    .collect();
                commands.push(format!("lvextend --extents +100%FREE {device}"));
                commands
            }
            // cryptsetup-resize(8)
            Self::Crypt { name } => vec![format!("cryptsetup resize {}", shell_word(name))],
        }
    }
}

/// What is beneath a device that is named by its directory of sysfs, from the disk up.
///
/// # Errors
/// When sysfs cannot be read.
pub fn beneath(sys: &Path) -> Result<Vec<Beneath>> {
    let mut found = Vec::new();
    add(sys, DEEP, &mut found)
        .map_err(|error| Failure::environment(format!("cannot read {}", sys.display())).because(&error))?;
    Ok(found)
}

fn add(sys: &Path, deep: usize, found: &mut Vec<Beneath>) -> io::Result<()> {
    let mut sys = sys.canonicalize()?;
    if sys.join("partition").exists() {
        sys.pop();
    }
    let mut on = Vec::new();
    match std::fs::read_dir(sys.join("slaves")) {
        Ok(slaves) => {
            for slave in slaves {
                on.push(slave?.path());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    on.sort();
    if deep > 0 {
        for below in &on {
            add(below, deep - 1, found)?;
        }
    }
    let rescan = sys.join("device/rescan");
    let text = |name: &str| std::fs::read_to_string(sys.join(name)).unwrap_or_default();
    let (name, uuid) = (text("dm/name").trim().to_owned(), text("dm/uuid"));
    let layer = if uuid.starts_with("LVM-") {
        let on = on.iter().filter_map(|on| device_of(on).ok()).collect();
        Beneath::Lvm { name, on }
    } else if uuid.starts_with("CRYPT-") {
        Beneath::Crypt { name }
    } else if rescan.exists() {
        Beneath::Scsi { rescan }
    } else {
        return Ok(());
    };
    if !found.contains(&layer) {
        found.push(layer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_of_an_encrypted_logical_volume_is_told_from_the_disk_up() {
        let sys = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = sys.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let link = |from: &str, to: &str| {
            let from = sys.path().join(from);
            std::fs::create_dir_all(from.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(sys.path().join(to), from).unwrap();
        };
        write("sdb/device/rescan", "");
        write("sdb/sdb1/partition", "1\n");
        write("dm-0/dm/name", "data-media\n");
        write("dm-0/dm/uuid", "LVM-abcdef\n");
        link("dm-0/slaves/sdb1", "sdb/sdb1");
        write("dm-1/dm/name", "my secret\n");
        write("dm-1/dm/uuid", "CRYPT-LUKS2-abcdef\n");
        link("dm-1/slaves/dm-0", "dm-0");
        let told: Vec<_> = beneath(&sys.path().join("dm-1"))
            .unwrap()
            .iter()
            .flat_map(Beneath::commands)
            .collect();
        let rescan = sys.path().canonicalize().unwrap().join("sdb/device/rescan");
        assert_eq!(
            told,
            [
                format!("echo 1 > {}", rescan.display()),
                "pvresize /dev/sdb1".to_owned(),
                "lvextend --extents +100%FREE /dev/mapper/data-media".to_owned(),
                "cryptsetup resize 'my secret'".to_owned(),
            ]
        );
        write("loop0/size", "1\n");
        assert!(beneath(&sys.path().join("loop0")).unwrap().is_empty());
    }
}
