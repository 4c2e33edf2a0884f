//! Unit files of systemd: what a mount's unit is called, and which units that are not ours mount a path.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::sysroot::Sysroot;
use crate::model::{Failure, Result};

/// Where people, packages and programs put them. What the generators made of fstab (`/run/systemd/generator`) is not
/// among them: fstab is read itself. <https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html>
pub(super) const PLACES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// A longer file is no unit.
const LIMIT: u64 = 64 << 10;
/// Of a directory no more entries are looked at.
const ENTRIES: usize = 20_000;

/// The name of a path's unit: `mnt-kms\x2ddata.mount`, as `systemd-escape --path` makes it. The path is absolute, without
/// `.` and `..`.
#[must_use]
pub fn unit_name(path: &Path, suffix: &str) -> String {
    format!("{}.{suffix}", escape(path))
}

/// A path as it is said in the name of a unit.
#[must_use]
pub fn escape(path: &Path) -> String {
    let parts: Vec<&[u8]> = path
        .as_os_str()
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut name = String::new();
    for (i, byte) in parts.join(&b'/').iter().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if i == 0 => name.push_str("\\x2e"),
            byte if byte.is_ascii_alphanumeric() || b":_.".contains(byte) => name.push(char::from(*byte)),
            byte => {
                // Writing to a string does not fail.
                let _written = write!(name, "\\x{byte:02x}");
            }
        }
    }
    name
}

/// Whose unit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// DigitalOcean's "automatically format and mount": `/etc/systemd/system/mnt-NAME.mount` of a
    /// `scsi-0DO_Volume_NAME`. <https://docs.digitalocean.com/products/volumes/details/naming-conventions/>
    DigitalOcean,
    /// Somebody else's.
    Unknown,
}

/// A unit that mounts a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountUnit {
    /// The file, as the machine knows it.
    pub file: PathBuf,
    /// Where it mounts it, if it says so.
    pub at: Option<PathBuf>,
    /// What it mounts; an automount unit does not say.
    pub what: Option<String>,
    /// Whose it is.
    pub maker: Maker,
}

/// Every mount and automount unit for this path, by its name and by what its `Where=` says, and every one that mounts
/// this device, wherever.
///
/// # Errors
/// When a directory of units is there and cannot be read.
pub fn mounting(sysroot: &Sysroot, target: &Path, device: Option<&Path>) -> Result<Vec<MountUnit>> {
    let names_of = super::fstab::names(sysroot);
    let device = device.map(&names_of);
    let names = [unit_name(target, "mount"), unit_name(target, "automount")];
    let target: PathBuf = target.components().collect();
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for place in PLACES {
        let dir = sysroot.real(place)?;
        let failed = |error: std::io::Error| {
            Failure::environment(format!("cannot read {}", dir.display())).because(&error)
        };
        // Where /lib is a symlink to /usr/lib, the same files would be found twice.
        match dir.canonicalize() {
            Ok(real) if !seen.contains(&real) => seen.push(real),
            Ok(_) => continue,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        }
        for entry in std::fs::read_dir(&dir).map_err(failed)?.take(ENTRIES) {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let is_mount = [".mount", ".automount"]
                .iter()
                .any(|suffix| name.as_bytes().ends_with(suffix.as_bytes()));
            if !is_mount {
                continue;
            }
            let text = match read(sysroot, &entry.path()) {
                Ok(text) => text,
                // A symlink to nowhere, a directory: systemd does not read it either.
                Err(error) => {
                    tracing::debug!(%error, unit = %entry.path().display(), "unit file");
                    continue;
                }
            };
            let at = value(&text, "Where");
            let here = at.is_some_and(|at| Path::new(at).components().collect::<PathBuf>() == target);
            let same = value(&text, "What")
                .and_then(super::fstab::device_of)
                .is_some_and(|what| Some(names_of(&what)) == device);
            if here || same || names.iter().any(|own| name == OsStr::new(own)) {
                found.push(MountUnit {
                    file: Path::new(place).join(&name),
                    at: at.map(PathBuf::from),
                    what: value(&text, "What").map(str::to_owned),
                    maker: maker(&text),
                });
            }
        }
    }
    Ok(found)
}

/// As `systemctl link` and `systemctl mask` make them, units are absolute links; of an image they are meant in it.
fn read(sysroot: &Sysroot, file: &Path) -> std::io::Result<String> {
    let file = match std::fs::read_link(file) {
        Ok(to) if to == Path::new("/dev/null") => Ok(to),
        Ok(to) if to.is_absolute() => sysroot.real(&to),
        _ => sysroot.real(sysroot.inside(file)),
    };
    let file = file.map_err(|failure| std::io::Error::other(failure.to_string()))?;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last value of a setting, as systemd takes it.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
        .next_back()
}

fn maker(text: &str) -> Maker {
    let of_volume = value(text, "What").is_some_and(|what| what.contains("/scsi-0DO_Volume_"));
    let says_so = value(text, "Description")
        .is_some_and(|words| words.contains("DO Volume") || words.contains("DigitalOcean"));
    if of_volume || says_so {
        Maker::DigitalOcean
    } else {
        Maker::Unknown
    }
}
