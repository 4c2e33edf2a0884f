//! What is mounted where, from `/proc/self/mountinfo`.
//! <https://docs.kernel.org/filesystems/proc.html#proc-pid-mountinfo-information-about-mounts>

use std::io::{BufRead as _, BufReader};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::fault::errno_of;
use super::meta::Meta;

/// A mount. Paths are bytes, unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number of this mount; statx(2) tells it of an open file.
    pub id: u64,
    /// The number of the mount that it is mounted on.
    pub parent: u64,
    /// The peers that it shares mounts with, if it does: mount_namespaces(7).
    pub shared: Option<u64>,
    /// The peers that it takes mounts and unmounts from, if it does.
    pub master: Option<u64>,
    /// `major:minor`.
    pub device: String,
    /// What of the file system is mounted; `/` is all.
    pub root: Vec<u8>,
    /// Where.
    pub point: Vec<u8>,
    /// `ext4`, …
    pub fs_type: String,
    /// `/dev/sda`, …
    pub source: Vec<u8>,
    /// Whether this mount or its file system is read-only.
    pub read_only: bool,
}

/// Reads one line.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Mount> {
    // 36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    let mut fields = line.split(|byte| *byte == b' ');
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    let (id, parent) = (number(fields.next()?)?, number(fields.next()?)?);
    let device = String::from_utf8(fields.next()?.to_vec()).ok()?;
    let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
    let (mut shared, mut master) = (None, None);
    for field in fields.by_ref().take_while(|field| *field != b"-") {
        shared = shared.or(field.strip_prefix(b"shared:").and_then(number));
        master = master.or(field.strip_prefix(b"master:").and_then(number));
    }
    let (fs_type, source) = (fields.next()?, fields.next()?);
    let super_options = fields.next().unwrap_or_default();
    let read_only = |options: &[u8]| options.split(|byte| *byte == b',').any(|option| option == b"ro");
    Some(Mount {
        id,
        parent,
        shared,
        master,
        device,
        root: unescape(root),
        point: unescape(point),
        fs_type: String::from_utf8_lossy(fs_type).into_owned(),
        source: unescape(source),
        read_only: read_only(options) || read_only(super_options),
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits, and so does fstab.
#[must_use]
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| byte == b'\\').and_then(|digits| {
            digits.iter().try_fold(0u32, |code, digit| {
                Some(code * 8 + char::from(*digit).to_digit(8)?)
            })
        });
        match code.and_then(|code| u8::try_from(code).ok()) {
            Some(code) => {
                plain.push(code);
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

impl Mount {
    /// Where on the file system of the mount that it lies on; `None` if it does not lie below that.
    #[must_use]
    pub fn place_on(&self, on: &Mount) -> Option<PathBuf> {
        let below = self.point().strip_prefix(on.point()).ok()?;
        Some(Path::new(std::ffi::OsStr::from_bytes(&on.root)).join(below))
    }

    /// Where, as a path.
    #[must_use]
    pub fn point(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(&self.point))
    }
}

/// Reads the table of a process: `self`, or its number.
///
/// # Errors
/// When mountinfo cannot be read.
pub fn table(process: &str) -> std::io::Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for line in BufReader::new(std::fs::File::open(format!("/proc/{process}/mountinfo"))?).split(b'\n') {
        mounts.extend(parse(&line?));
    }
    Ok(mounts)
}

/// Of a table the mount that holds `path`, which must be absolute and free of symlinks: the one mounted longest down
/// the path, and of several at the same place the last, which hides the others.
#[must_use]
pub fn holder<'a>(table: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    // Of equals the last is the largest.
    table
        .iter()
        .filter(|mount| path.starts_with(mount.point()))
        .max_by_key(|mount| mount.point.len())
}

/// The mount that holds `path` for this process; see [`holder`].
///
/// # Errors
/// When mountinfo cannot be read.
pub fn holding(path: &Path) -> std::io::Result<Option<Mount>> {
    Ok(holder(&table("self")?, path).cloned())
}

/// Whether this directory is the root of its file system, where the file system may keep a `lost+found` of its own.
///
/// # Errors
/// As fstatfs(2).
pub fn is_filesystem_root(dir: BorrowedFd<'_>, meta: &Meta) -> Result<bool, Errno> {
    const EXT4: i64 = 0xef53;
    const EXT4_ROOT: u64 = 2;
    if meta.ino == EXT4_ROOT && rustix::fs::fstatfs(dir)?.f_type as i64 == EXT4 {
        return Ok(true);
    }
    // Elsewhere: the mount point of a mount that shows the whole file system.
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", raw(dir)), Vec::new())?;
    let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    match holding(path) {
        Ok(mount) => {
            Ok(mount.is_some_and(|mount| mount.root == b"/" && mount.point == path.as_os_str().as_bytes()))
        }
        Err(error) => Err(errno_of(&error)),
    }
}

fn raw(fd: BorrowedFd<'_>) -> i32 {
    use std::os::fd::AsRawFd as _;
    fd.as_raw_fd()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes_and_optional_fields() {
        let mount = parse(
            br"36 35 98:0 /mnt\0401 /mnt/my\040disk\134x rw,noatime master:1 shared:7 - ext4 /dev/my\011disk rw,errors=continue",
        )
        .unwrap();
        assert_eq!((mount.id, mount.device.as_str()), (36, "98:0"));
        assert_eq!(mount.root, b"/mnt 1");
        assert_eq!(mount.point, b"/mnt/my disk\\x");
        assert_eq!(mount.fs_type, "ext4");
        assert_eq!(mount.source, b"/dev/my\tdisk");
        assert!(!mount.read_only);
        assert!(parse(b"1 2 0:3 / /x ro - tmpfs none rw").unwrap().read_only);
        assert!(parse(b"1 2 0:3 / /x rw - ext4 /dev/sda ro").unwrap().read_only);
        assert_eq!(parse(b"1 2 0:3 / /x rw"), None);
    }

    #[test]
    fn the_mount_of_proc_is_found() {
        let mount = holding(Path::new("/proc/self")).unwrap().unwrap();
        assert_eq!(
            (mount.fs_type.as_str(), mount.point.as_slice()),
            ("proc", b"/proc".as_slice())
        );
    }
}
