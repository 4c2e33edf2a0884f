//! `/etc/fstab`, edited to the byte: every line that is not ours stays as it is, where it is.
//!
//! Our line carries the option `x-rehome`: fstab(5) keeps `x-<name>` "for use by fstab-maintaining programs", mount(8)
//! does not hand it to the kernel, and unlike a comment above the line it stays with it when a person or another program
//! sorts or rewrites the file. <https://man7.org/linux/man-pages/man5/fstab.5.html>
//!
//! What a clash means for the user's command is decided elsewhere.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::fsid::FsUuid;
use super::sysroot::Sysroot;
use crate::helper::mounts::unescape;
use crate::model::{Failure, Result};

/// The option that marks our line.
pub const MARK: &str = "x-rehome";
/// Where it is.
const PATH: &str = "/etc/fstab";
/// A longer one was not written by people.
const LIMIT: u64 = 1 << 20;
/// Asking their mount points anything may never come to an end when the server is away.
const FAR_AWAY: [&str; 9] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "glusterfs",
    "9p",
    "afs",
    "davfs",
];

/// The file, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fstab {
    /// Each with its line end, if it has one.
    lines: Vec<Vec<u8>>,
}

/// A line that says what is mounted where; escapes are undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1.
    pub number: usize,
    /// The line, without its end.
    pub text: String,
    /// `UUID=…`, `/dev/sda`, `server:/export`, without the quotes that it may have.
    pub spec: Vec<u8>,
    /// `/mnt/kms-data`, `none`.
    pub target: PathBuf,
    /// `ext4`; `auto` if nothing is said.
    pub fs_type: String,
    /// `defaults`, `nofail`, …
    pub options: Vec<String>,
    /// 0 if nothing is said.
    pub dump: u32,
    /// In which order it is checked at boot; 0 if nothing is said.
    pub pass: u32,
}

impl Entry {
    fn parse(number: usize, line: &[u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut fields = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|field| !field.is_empty());
        let spec = fields.next().filter(|spec| !spec.starts_with(b"#"))?;
        let target = unescape(fields.next()?);
        let mut words = fields.map(|field| String::from_utf8_lossy(&unescape(field)).into_owned());
        let fs_type = words.next().unwrap_or_else(|| "auto".to_owned());
        let options = words.next().unwrap_or_default();
        let mut count = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        Some(Self {
            number,
            text: String::from_utf8_lossy(line).into_owned(),
            spec: unquoted(&unescape(spec)),
            target: Path::new(OsStr::from_bytes(&target)).to_owned(),
            fs_type,
            options: options
                .split(',')
                .filter(|option| !option.is_empty())
                .map(str::to_owned)
                .collect(),
            dump: count(),
            pass: count(),
        })
    }

    /// Whether it has this option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    /// Whether Rehome wrote it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.has(MARK)
    }

    /// Whether it names the device as the kernel happened to name it at some boot: `/dev/sda`.
    #[must_use]
    pub fn by_kernel_name(&self) -> bool {
        ["sd", "vd", "xvd", "hd", "nvme"]
            .iter()
            .any(|name| self.spec.starts_with(format!("/dev/{name}").as_bytes()))
    }

    /// The UUID that it says, by tag or by link.
    #[must_use]
    pub fn uuid(&self) -> Option<FsUuid> {
        let text = std::str::from_utf8(&self.spec).ok()?;
        let by_link = text.strip_prefix("/dev/disk/by-uuid/");
        let by_tag = text
            .split_once('=')
            .filter(|(tag, _)| tag.eq_ignore_ascii_case("UUID"))
            .map(|(_, uuid)| uuid);
        by_link.or(by_tag)?.parse().ok()
    }

    /// The node or link that it says, by path or by tag.
    #[must_use]
    pub fn device(&self) -> Option<PathBuf> {
        device_of(std::str::from_utf8(&self.spec).ok()?)
    }

    /// Whether it is on another machine, which may be away: asking it anything may never come to an end.
    #[must_use]
    pub fn is_far_away(&self) -> bool {
        self.has("_netdev") || FAR_AWAY.contains(&self.fs_type.as_str()) || self.fs_type.starts_with("fuse")
    }

    fn is_at(&self, target: &Path, names: &dyn Fn(&Path) -> PathBuf) -> bool {
        let own = if self.is_far_away() {
            lexical(&self.target)
        } else {
            names(&self.target)
        };
        self.target.is_absolute() && (own == names(target) || lexical(&self.target) == lexical(target))
    }

    fn is_of(&self, line: &Line, names: &dyn Fn(&Path) -> PathBuf) -> bool {
        let by_path = self
            .device()
            .zip(line.device.as_deref())
            .is_some_and(|(own, device)| names(&own) == names(device));
        self.uuid().as_ref() == Some(&line.uuid) || by_path
    }
}

/// The node or link that a line of fstab or a unit's `What=` names, by path or by tag.
#[must_use]
pub fn device_of(spec: &str) -> Option<PathBuf> {
    if spec.starts_with("/dev/") {
        return Some(spec.into());
    }
    let (tag, value) = spec.split_once('=')?;
    let tags = ["UUID", "LABEL", "PARTUUID", "PARTLABEL"];
    tags.iter().find(|known| tag.eq_ignore_ascii_case(known))?;
    // udev's links; blanks and the like are escaped in them, and such a label is not found.
    Some(
        Path::new("/dev/disk")
            .join(format!("by-{}", tag.to_lowercase()))
            .join(value),
    )
}

/// libmount takes `UUID="…"` as well.
fn unquoted(spec: &[u8]) -> Vec<u8> {
    for quote in *b"\"'" {
        if let Some(at) = spec.iter().position(|byte| *byte == b'=')
            && let Some(value) = spec[at + 1..]
                .strip_prefix(&[quote])
                .and_then(|rest| rest.strip_suffix(&[quote]))
        {
            return [&spec[..=at], value].concat();
        }
    }
    spec.to_owned()
}

/// The line that Rehome wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    uuid: FsUuid,
    target: PathBuf,
    fs_type: String,
    options: Vec<String>,
    device: Option<PathBuf>,
}

impl Line {
    /// For a file system and its mount point, with the options that suit it.
    ///
    /// # Errors
    /// When the mount point is not absolute, has `..` in it, or is `/`; when the type is no word.
    pub fn new(uuid: FsUuid, target: &Path, fs_type: &str) -> Result<Self> {
        let plain = target
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !target.is_absolute() || !plain || target == Path::new("/") {
            return Err(
                Failure::usage(format!("{} cannot be a mount point", target.display()))
                    .hint("give an absolute path without `..`, for example /mnt/kms-data"),
            );
        }
        if fs_type.is_empty() || !fs_type.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Failure::bug(format!("{fs_type:?} is no type of a file system")));
        }
        let mut options = vec!["defaults", "nofail", "discard", "noatime"];
        if is_ext(fs_type) {
            // Only ext2, ext3 and ext4 know it: <https://man7.org/linux/man-pages/man5/ext4.5.html>
            options.push("errors=remount-ro");
        }
        options.push("x-systemd.device-timeout=30s");
        Ok(Self {
            uuid,
            target: lexical(target),
            fs_type: fs_type.to_owned(),
            options: options.into_iter().map(str::to_owned).collect(),
            device: None,
        })
    }

    /// With other options than the usual ones. Those that let a machine boot without the volume stay.
    ///
    /// # Errors
    /// When they are none, or have a blank in them.
    pub fn with_options(mut self, options: &str) -> Result<Self> {
        if options.is_empty() || options.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\')
        {
            return Err(Failure::usage(format!("{options:?} are no mount options"))
                .hint("write them with commas and without blanks: defaults,nofail,noatime"));
        }
        self.options = options
            .split(',')
            .filter(|option| !option.is_empty() && *option != MARK)
            .map(str::to_owned)
            .collect();
        for (option, value) in [("nofail", ""), ("x-systemd.device-timeout", "=30s")] {
            let is_said = |said: &String| said.split('=').next() == Some(option);
            if !self.options.iter().any(is_said) {
                self.options.push(format!("{option}{value}"));
            }
        }
        Ok(self)
    }

    /// Tells the device too, so that a line that names it in another way than by UUID is found.
    #[must_use]
    pub fn on_device(mut self, device: &Path) -> Self {
        self.device = Some(device.to_owned());
        self
    }

    /// Where it is mounted.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Of the file system.
    #[must_use]
    pub fn uuid(&self) -> &FsUuid {
        &self.uuid
    }

    /// `ext4`
    #[must_use]
    pub fn fs_type(&self) -> &str {
        &self.fs_type
    }

    /// As mount(8) takes them, without our mark.
    #[must_use]
    pub fn options(&self) -> String {
        self.options.join(",")
    }

    /// As it is written, without a line end.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        // XFS and btrfs check themselves when they are mounted, their fsck does nothing: fsck.xfs(8), fsck.btrfs(8).
        let pass = if is_ext(&self.fs_type) { 2 } else { 0 };
        let mut line = format!("UUID={} ", self.uuid).into_bytes();
        line.extend(escape(self.target.as_os_str().as_bytes()));
        line.extend(format!(" {} {},{MARK} 0 {pass}", self.fs_type, self.options()).as_bytes());
        line
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes()))
    }
}

fn is_ext(fs_type: &str) -> bool {
    ["ext2", "ext3", "ext4"].contains(&fs_type)
}

/// What fstab cannot have in a field.
fn escape(field: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in field {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'\\' | b'#' => {
                escaped.extend(format!("\\{byte:03o}").as_bytes());
            }
            byte => escaped.push(*byte),
        }
    }
    escaped
}

/// What an edit comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The file is as it should be.
    Unchanged,
    /// The whole new file.
    New(Vec<u8>),
}

/// Why a line is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A person or another program mounts the same file system at the same place already.
    SameByHand,
    /// Something else is mounted there.
    TargetTaken,
    /// The same file system is mounted elsewhere.
    FilesystemElsewhere,
    /// Rehome's own line, for another file system at the same place.
    OursForAnother,
    /// Rehome's own line is there a second time.
    OursTwice,
}

/// A line that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// What it is.
    pub why: Why,
    /// The line.
    pub entry: Entry,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.entry.target.display();
        write!(f, "line {}: ", self.entry.number)?;
        match self.why {
            Why::SameByHand => write!(
                f,
                "mounts the same file system at {target} already, and is not Rehome's"
            )?,
            Why::TargetTaken => write!(f, "mounts something else at {target}")?,
            Why::FilesystemElsewhere => write!(f, "mounts the same file system at {target}")?,
            Why::OursForAnother => write!(f, "Rehome's own, mounts another file system at {target}")?,
            Why::OursTwice => write!(f, "Rehome's own line for {target}, a second time")?,
        }
        write!(f, ": {}", self.entry.text.trim())
    }
}

/// The clashes as a refusal.
#[must_use]
pub fn refusal(line: &Line, clashes: &[Clash]) -> Failure {
    let mut failure = Failure::refused(format!(
        "{PATH} has another idea of {} or of the file system {}",
        line.target.display(),
        line.uuid
    ))
    .data("nothing was changed");
    for clash in clashes {
        failure = failure.cause(clash.to_string());
    }
    failure.hint(format!(
        "look at {PATH}; remove the line if it is no longer wanted, and run this again"
    ))
}

/// What is wrong with how a mount point is mounted at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No line mounts it.
    Missing,
    /// The machine does not come up when the volume is missing.
    NoNofail(Entry),
    /// The kernel may give this name to another disk at the next boot.
    KernelName(Entry),
    /// It is not mounted at boot.
    NoAuto(Entry),
    /// Another file system is mounted at boot than is mounted now.
    OtherFileSystem(Entry),
}

impl Fstab {
    /// Reads it; anything can be read.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        Self {
            lines: bytes
                .split_inclusive(|b| *b == b'\n')
                .map(<[u8]>::to_vec)
                .collect(),
        }
    }

    /// Reads the machine's; one that is not there is empty.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than any was ever written.
    pub fn read(sysroot: &Sysroot) -> Result<Self> {
        use std::io::Read as _;
        let path = sysroot.real(PATH)?;
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > LIMIT => Err(Failure::environment(format!(
                "{} is larger than {LIMIT} bytes",
                path.display()
            ))),
            Ok(_) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::parse(b"")),
            Err(error) => {
                Err(Failure::environment(format!("cannot read {}", path.display())).because(&error))
            }
        }
    }

    /// Puts a new one in the place of this one, whole, with the owner and mode of the old.
    ///
    /// # Errors
    /// When it cannot be written, or is not any more what was read.
    pub fn replace(&self, sysroot: &Sysroot, bytes: &[u8]) -> Result<()> {
        if Self::read(sysroot)? != *self {
            return Err(
                Failure::refused(format!("{PATH} was changed by someone else just now"))
                    .data("nothing was written to it")
                    .hint("run this again"),
            );
        }
        crate::state::replace_durably(&sysroot.real(PATH)?, bytes)
    }

    /// The whole file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.lines.concat()
    }

    /// The lines that mount something.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.lines
            .iter()
            .enumerate()
            .filter_map(|(i, line)| Entry::parse(i + 1, line))
    }

    /// The line that mounts something there, the last if there are several. For `names` see [`names`].
    #[must_use]
    pub fn at(&self, target: &Path, names: &dyn Fn(&Path) -> PathBuf) -> Option<Entry> {
        self.entries().filter(|entry| entry.is_at(target, names)).last()
    }

    /// What is wrong with how this mount point is mounted at boot; `mounted` is what is mounted there now.
    #[must_use]
    pub fn troubles(
        &self,
        target: &Path,
        mounted: Option<&FsUuid>,
        names: &dyn Fn(&Path) -> PathBuf,
    ) -> Vec<Trouble> {
        let Some(entry) = self.at(target, names) else {
            return vec![Trouble::Missing];
        };
        let mut found = Vec::new();
        if !entry.has("nofail") {
            found.push(Trouble::NoNofail(entry.clone()));
        }
        if entry.has("noauto") && !entry.has("x-systemd.automount") {
            found.push(Trouble::NoAuto(entry.clone()));
        }
        if entry
            .uuid()
            .as_ref()
            .zip(mounted)
            .is_some_and(|(said, is)| said != is)
        {
            found.push(Trouble::OtherFileSystem(entry.clone()));
        }
        if entry.by_kernel_name() {
            found.push(Trouble::KernelName(entry));
        }
        found
    }

    /// With our line in it: at the end, or where it was. For `names` see [`names`].
    ///
    /// # Errors
    /// Every line that is in the way.
    pub fn with(&self, line: &Line, names: &dyn Fn(&Path) -> PathBuf) -> Result<Change, Vec<Clash>> {
        let mut clashes = Vec::new();
        let mut own = None;
        for entry in self.entries() {
            let (there, same) = (entry.is_at(&line.target, names), entry.is_of(line, names));
            let why = match (there, same, entry.is_ours()) {
                (false, false, _) => continue,
                (true, true, true) if own.is_none() => {
                    own = Some(entry.number - 1);
                    continue;
                }
                (true, true, true) => Why::OursTwice,
                (true, true, false) => Why::SameByHand,
                (true, false, true) => Why::OursForAnother,
                (true, false, false) => Why::TargetTaken,
                (false, true, _) => Why::FilesystemElsewhere,
            };
            clashes.push(Clash { why, entry });
        }
        if !clashes.is_empty() {
            return Err(clashes);
        }
        let mut lines = self.lines.clone();
        let wanted = line.bytes();
        match own.and_then(|at| lines.get_mut(at)) {
            Some(old) => {
                *old = [&wanted[..], b"\n"].concat();
            }
            None => {
                // A last line without an end gets one, and ours has one: what another program appends is its own line.
                if let Some(last) = lines.last_mut().filter(|last| !last.ends_with(b"\n")) {
                    last.push(b'\n');
                }
                lines.push([&wanted[..], b"\n"].concat());
            }
        }
        Ok(self.change(lines))
    }

    /// Without our line for this mount point.
    #[must_use]
    pub fn without(&self, target: &Path, names: &dyn Fn(&Path) -> PathBuf) -> Change {
        let mut lines = self.lines.clone();
        let ours: Vec<_> = self
            .entries()
            .filter(|entry| entry.is_ours() && entry.is_at(target, names))
            .collect();
        for entry in ours.iter().rev() {
            lines.remove(entry.number - 1);
        }
        self.change(lines)
    }

    fn change(&self, lines: Vec<Vec<u8>>) -> Change {
        if lines == self.lines {
            Change::Unchanged
        } else {
            Change::New(lines.concat())
        }
    }
}

/// How paths are compared on a machine: symlinks followed as far as there is something, the rest as it is written.
pub fn names(sysroot: &Sysroot) -> impl Fn(&Path) -> PathBuf + use<> {
    let sysroot = sysroot.clone();
    move |path| {
        let path = sysroot.at(path);
        let mut there: &Path = &path;
        loop {
            if let Ok(real) = there.canonicalize() {
                let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
                return lexical(&real.join(rest));
            }
            match there.parent() {
                Some(parent) => there = parent,
                None => return lexical(&path),
            }
        }
    }
}

/// Without double and trailing slashes and `.`.
fn lexical(path: &Path) -> PathBuf {
    path.components().collect()
}

#[cfg(test)]
mod tests;
