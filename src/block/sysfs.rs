//! What the kernel says of a block device in `/sys/dev/block`. Always of this machine: a sysroot has no kernel.
//! <https://www.kernel.org/doc/Documentation/ABI/stable/sysfs-block>

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The number of a device: major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Number {
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
}

impl Number {
    /// From `st_rdev` or `st_dev`.
    #[must_use]
    pub fn of(device: u64) -> Self {
        Self {
            major: rustix::fs::major(device),
            minor: rustix::fs::minor(device),
        }
    }

    /// Its directory.
    #[must_use]
    pub fn directory(self) -> PathBuf {
        PathBuf::from(format!("/sys/dev/block/{self}"))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// What the kernel says where there is nothing to say.
const NO_ANSWER: [Errno; 5] = [
    Errno::OPNOTSUPP,
    Errno::INVAL,
    Errno::NXIO,
    Errno::NODATA,
    Errno::NODEV,
];

/// An attribute, without the newline at its end; `None` if there is no such one, or it says nothing.
///
/// # Errors
/// When it cannot be read.
pub fn attribute(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
            Ok((!text.is_empty()).then(|| text.to_owned()))
        }
        // Some drivers have the file and then no answer; a device may go meanwhile.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.kind() == io::ErrorKind::NotADirectory
                || NO_ANSWER
                    .iter()
                    .any(|none| error.raw_os_error() == Some(none.raw_os_error())) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An attribute that is a number.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn numeric(path: &Path) -> io::Result<Option<u64>> {
    attribute(path)?
        .map(|text| {
            text.parse()
                .map_err(|_| io::Error::other(format!("{} says {text:?}", path.display())))
        })
        .transpose()
}

/// The number in a `dev` file.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn number(directory: &Path) -> io::Result<Number> {
    let path = directory.join("dev");
    let text = attribute(&path)?.unwrap_or_default();
    text.split_once(':')
        .and_then(|(major, minor)| {
            Some(Number {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        })
        .ok_or_else(|| io::Error::other(format!("{} says {text:?}", path.display())))
}

/// The disk that a partition is of; `None` for a whole disk.
///
/// # Errors
/// When sysfs cannot be read.
pub fn disk_of(number: Number) -> io::Result<Option<PathBuf>> {
    let directory = number.directory();
    if !directory.join("partition").try_exists()? {
        return Ok(None);
    }
    // The link leads to /sys/devices/…/sda/sda1.
    Ok(std::fs::canonicalize(directory)?.parent().map(Path::to_owned))
}

/// Whether a device is there only since somebody set it up, and is not after the next boot: a loop device, memory, a disk of
/// a network block server. Also of their partitions.
///
/// # Errors
/// When sysfs cannot be read.
pub fn is_set_up_by_hand(number: Number) -> io::Result<bool> {
    let disk = match disk_of(number)? {
        Some(disk) => disk,
        None => std::fs::canonicalize(number.directory())?,
    };
    let name = disk.file_name().unwrap_or_default().to_string_lossy();
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    Ok(["loop", "ram", "zram", "nbd"].contains(&kind))
}

/// The names of the partitions that the kernel knows.
///
/// # Errors
/// When sysfs cannot be read.
pub fn partitions(number: Number) -> io::Result<Vec<String>> {
    let directory = number.directory();
    let mut found = Vec::new();
    for name in names(&directory)? {
        // Most names are files, and have nothing below them.
        if attribute(&directory.join(&name).join("partition"))?.is_some() {
            found.push(name);
        }
    }
    Ok(found)
}

/// The names of the devices that are made of this one (LVM, RAID, encryption), and of the loop devices that show it.
///
/// # Errors
/// When sysfs cannot be read.
pub fn holders(number: Number) -> io::Result<Vec<String>> {
    let mut found = names(&number.directory().join("holders"))?;
    // A loop device over a disk neither holds it nor opens it exclusively.
    for name in names(Path::new("/sys/block"))? {
        let file = Path::new("/sys/block").join(&name).join("loop/backing_file");
        if let Some(behind) = attribute(&file)?
            && is_device(Path::new(&behind), number)
        {
            found.push(name);
        }
    }
    Ok(found)
}

/// The nodes of all disks and partitions that hold something by themselves: neither those that others are made of, nor
/// memory, nor drives for what one puts in.
///
/// # Errors
/// When sysfs cannot be read.
pub fn nodes() -> io::Result<Vec<PathBuf>> {
    let class = Path::new("/sys/class/block");
    let mut found = Vec::new();
    for name in names(class)? {
        let other = ["ram", "zram", "fd", "sr"]
            .iter()
            .any(|kind| name.starts_with(kind));
        let directory = class.join(&name);
        // A device that goes meanwhile is none.
        if other || numeric(&directory.join("size"))?.unwrap_or(0) == 0 || !directory.join("dev").exists() {
            continue;
        }
        let Ok(number) = number(&directory) else { continue };
        if holders(number)?.is_empty() {
            // The kernel's own name of the node; `!` stands for a slash in it.
            found.push(PathBuf::from("/dev").join(name.replace('!', "/")));
        }
    }
    Ok(found)
}

/// Whether a path is a device node with this number.
#[must_use]
pub fn is_device(path: &Path, number: Number) -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.file_type().is_block_device() && Number::of(meta.rdev()) == number)
}

/// The sorted names in a directory; none if it is missing.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}
