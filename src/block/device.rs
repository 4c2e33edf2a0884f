//! Which block devices there are, and which one a name leads to. Looks at names and at sysfs, never at content.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, SeekFrom, fstat, seek};
use serde::{Deserialize, Serialize};

pub use super::provider::Provider;
pub use super::sysfs::Number;

use super::provider::{self, DIRECTORIES};
use super::sysfs;
use super::sysroot::Sysroot;
use crate::model::{ByteSize, Failure, Result};

/// Links that lead to links: as many as the kernel follows, nearly.
const HOPS: usize = 32;
/// Links in one directory that are looked at.
const LINKS: usize = 10_000;

/// A block device and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its node: `/dev/sda`.
    pub node: PathBuf,
    /// Its number, when it was looked at.
    pub number: Number,
}

/// A volume of a cloud that is attached to this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Whose it is.
    pub provider: Provider,
    /// A disk of the host (AWS instance store, Google local SSD): its content ends with the machine, so it is no home.
    pub ends_with_the_machine: bool,
    /// Its links, as the machine names them: `/dev/disk/by-id/…`. Sorted; the provider's own come first.
    pub links: Vec<PathBuf>,
    /// The device they lead to.
    pub device: Device,
}

/// The volumes that are attached, known by their links. Links that lead to one device are one volume; links to
/// partitions are none, whatever their name is: a volume may be called `x-part1`.
///
/// # Errors
/// When the links cannot be read.
pub fn attached(sysroot: &Sysroot) -> Result<Vec<Attached>> {
    let mut found: Vec<(Provider, bool, PathBuf, Device)> = Vec::new();
    for directory in DIRECTORIES {
        let failed = |error: io::Error| {
            Failure::environment(format!("cannot look for volumes in {directory}")).because(&error)
        };
        let entries = match std::fs::read_dir(sysroot.at(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        for entry in entries.take(LINKS) {
            let name = entry.map_err(failed)?.file_name();
            let Some((provider, local)) = name
                .to_str()
                .and_then(|name| provider::recognise(directory, name))
            else {
                continue;
            };
            let link = Path::new(directory).join(&name);
            // A link to nothing is one that udev has not removed yet.
            let Some(device) = follow(sysroot, &link).map_err(failed)? else {
                continue;
            };
            if sysfs::disk_of(device.number).map_err(failed)?.is_none() {
                found.push((provider, local, link, device));
            }
        }
    }
    found.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
    let mut volumes: Vec<Attached> = Vec::new();
    for (provider, local, link, device) in found {
        match volumes.iter_mut().find(|v| v.device.number == device.number) {
            Some(volume) => {
                volume.links.push(link);
                volume.ends_with_the_machine |= local;
            }
            None => volumes.push(Attached {
                provider,
                ends_with_the_machine: local,
                links: vec![link],
                device,
            }),
        }
    }
    Ok(volumes)
}

/// The block device that `--device PATH` names: a whole disk or a partition.
///
/// # Errors
/// When the path leads nowhere, or to something else.
pub fn by_path(sysroot: &Sysroot, path: &Path) -> Result<Device> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(Failure::usage(format!("{shown} is no absolute path"))
            .hint("name the device as in /dev/disk/by-id/…: ls -l /dev/disk/by-id"));
    }
    follow(sysroot, path)
        .map_err(|error| Failure::environment(format!("cannot look at {shown}")).because(&error))?
        .ok_or_else(|| {
            Failure::refused(format!("{shown} is no block device"))
                .cause("it does not exist, or leads to something that is no disk or partition")
                .hint("see which there are: ls -l /dev/disk/by-id; lsblk")
        })
}

/// Follows links by hand, because a made-up `/dev/disk` in a sysroot leads out of it: nodes are the kernel's. What the
/// sysroot has is taken from there, the rest from the machine.
fn follow(sysroot: &Sysroot, path: &Path) -> io::Result<Option<Device>> {
    let mut path = path.to_owned();
    for _ in 0..HOPS {
        let here = sysroot.at(&path);
        let here = if here.symlink_metadata().is_ok() {
            here
        } else {
            path.clone()
        };
        let meta = match here.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if meta.is_symlink() {
            let target = std::fs::read_link(&here)?;
            let parent = path.parent().unwrap_or(Path::new("/"));
            path = plain(&parent.join(target));
        } else if meta.file_type().is_block_device() {
            return Ok(Some(Device {
                node: here,
                number: Number::of(meta.rdev()),
            }));
        } else {
            return Ok(None);
        }
    }
    Err(io::Error::other(format!("too many links at {}", path.display())))
}

/// Without `.` and `..`; the directories below `/dev` are no links.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// What makes a device the same one as before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number; another one after the next boot.
    pub number: Number,
    /// Its size.
    pub size: ByteSize,
    /// What its maker calls it, where the kernel knows.
    pub serial: Option<String>,
    /// Counts every disk that ever appeared since the boot; Linux 5.15 and later.
    pub diskseq: Option<u64>,
    /// Where a partition begins on its disk, in sectors of 512 bytes; 0 for a whole disk.
    pub start: u64,
}

/// Where a serial is, by driver: virtio, NVMe, SCSI, device mapper.
const SERIALS: [&str; 5] = ["serial", "device/serial", "wwid", "device/wwid", "dm/uuid"];

impl Identity {
    /// Of an open device. The size is asked of the descriptor and of sysfs, which must agree.
    ///
    /// # Errors
    /// When it is no block device, is gone, or the two disagree.
    pub fn of(open: impl AsFd) -> io::Result<Self> {
        let open = open.as_fd();
        let stat = fstat(open)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Err(io::Error::other("it is no block device"));
        }
        let number = Number::of(stat.st_rdev);
        let directory = number.directory();
        if !directory.try_exists()? {
            return Err(io::Error::other(format!(
                "the kernel has no block device {number} any more"
            )));
        }
        let size = seek(open, SeekFrom::End(0))?;
        let sectors = sysfs::numeric(&directory.join("size"))?
            .ok_or_else(|| io::Error::other(format!("{} says no size", directory.display())))?;
        if sectors.checked_mul(512) != Some(size) {
            return Err(io::Error::other(format!(
                "it has {size} bytes by itself and {sectors} sectors of 512 bytes in sysfs"
            )));
        }
        let disk = sysfs::disk_of(number)?.unwrap_or_else(|| directory.clone());
        let mut serial = None;
        for name in SERIALS {
            if serial.is_none() {
                serial = sysfs::attribute(&disk.join(name))?;
            }
        }
        Ok(Self {
            number,
            size: ByteSize(size),
            serial,
            diskseq: sysfs::numeric(&disk.join("diskseq"))?,
            start: sysfs::numeric(&directory.join("start"))?.unwrap_or(0),
        })
    }

    /// Whether it may be the same device after a boot, when numbers and counters are new: only a serial says so.
    #[must_use]
    pub fn is_same_after_boot(&self, other: &Self) -> bool {
        self.serial.is_some()
            && self.serial == other.serial
            && self.size == other.size
            && self.start == other.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_a_sysroot_are_followed_out_of_it_and_never_around() {
        let root = tempfile::tempdir().unwrap();
        let by_id = root.path().join("dev/disk/by-id");
        std::fs::create_dir_all(&by_id).unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, by_id.join(name)).unwrap();
        link("../../no-such-device", "scsi-0DO_Volume_gone");
        link("../../null", "scsi-0DO_Volume_null");
        link("scsi-0DO_Volume_round", "scsi-0DO_Volume_round");
        let sysroot = Sysroot::new(Some(root.path()));
        let at = |name: &str| follow(&sysroot, &Path::new("/dev/disk/by-id").join(name));
        assert_eq!(at("scsi-0DO_Volume_gone").unwrap(), None);
        assert_eq!(at("scsi-0DO_Volume_null").unwrap(), None);
        assert!(at("scsi-0DO_Volume_round").is_err());
        let failure = by_path(&sysroot, Path::new("/dev/null")).unwrap_err();
        assert_eq!(failure.what, "/dev/null is no block device");
        assert!(by_path(&sysroot, Path::new("loop0")).is_err());
        assert_eq!(
            plain(Path::new("/dev/disk/by-id/../../loop3")),
            Path::new("/dev/loop3")
        );
    }

    #[test]
    fn after_a_boot_only_a_serial_says_that_a_device_is_the_same() {
        let one = Identity {
            number: Number { major: 8, minor: 0 },
            size: ByteSize(1 << 30),
            serial: Some("abc".into()),
            diskseq: Some(3),
            start: 0,
        };
        let mut other = Identity {
            number: Number { major: 8, minor: 16 },
            diskseq: Some(9),
            ..one.clone()
        };
        assert!(one.is_same_after_boot(&other));
        other.size = ByteSize(2 << 30);
        assert!(!one.is_same_after_boot(&other));
        let nameless = Identity { serial: None, ..one };
        assert!(!nameless.is_same_after_boot(&nameless.clone()));
    }
}
