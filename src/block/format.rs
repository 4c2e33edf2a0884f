//! Makes a file system on a device that was proven empty, and finishes one that was begun.
//!
//! Never with `-F` or `-f`. Nothing here decides that a device may be formatted: that is a [`Proof`], or an [`Intent`]
//! that was written when there was one. A proof ages while a person thinks about the question: what was proven is looked
//! at again directly before mkfs. Between that look and the exclusive opening of mkfs itself there is a moment, which
//! nothing can close for a program that writes to a device without asking for it.

use std::fmt;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{pread, pwrite};
use serde::{Deserialize, Serialize};

use super::device::Identity;
use super::found::{Found, Signature, cannot_tell, not_empty};
use super::fsid::FsUuid;
use super::intent::Intent;
use super::opened::Opened;
use super::probe::{Content, Proof, STDIN, around, look, signatures, written_to};
use super::tool::Tool;
use crate::model::{ByteSize, Failure, Kind, Result, shell_path};

/// A check of a file system that was made just now reads its metadata only.
const CHECK_LIMIT: Duration = Duration::from_secs(3600);
/// Nothing of a fresh file system is in its last blocks.
const TAIL: u64 = 32 << 10;

/// A file system that Rehome makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSystem {
    /// <https://man7.org/linux/man-pages/man8/mke2fs.8.html>
    Ext4,
    /// <https://man7.org/linux/man-pages/man8/mkfs.xfs.8.html>
    Xfs,
}

impl fmt::Display for FileSystem {
    /// As blkid and mount know it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        })
    }
}

impl FileSystem {
    /// The longest label, in bytes.
    const fn longest_label(self) -> usize {
        match self {
            Self::Ext4 => 16,
            Self::Xfs => 12,
        }
    }

    /// The smallest device. mkfs.xfs refuses less since 5.19; with ext4 less has no journal worth the name.
    const fn smallest(self) -> ByteSize {
        match self {
            Self::Ext4 => ByteSize(64 << 20),
            Self::Xfs => ByteSize(300 << 20),
        }
    }

    /// The package that has its programs, on Debian and Red Hat alike.
    const fn package(self) -> &'static str {
        match self {
            Self::Ext4 => "e2fsprogs",
            Self::Xfs => "xfsprogs",
        }
    }

    /// What makes it on the device that is its stdin.
    ///
    /// Nothing is discarded (`-E nodiscard`, `-K`): an empty device has nothing to give back, and should the samples have
    /// missed something, it is still there for those who can read a disk. Of ext4 one hundredth is kept for root in
    /// place of a twentieth: databases are not root, and would lose 50 GB of each terabyte that is paid for. The rest is
    /// as the distribution has it.
    fn maker(self, uuid: FsUuid, label: Option<&str>) -> Tool {
        let uuid = uuid.to_string();
        let mut args: Vec<String> = match self {
            Self::Ext4 => ["-q", "-m", "1", "-E", "nodiscard", "-U", &uuid]
                .map(String::from)
                .into(),
            Self::Xfs => ["-q", "-K", "-m", &format!("uuid={uuid}")]
                .map(String::from)
                .into(),
        };
        if let Some(label) = label {
            args.extend(["-L".into(), label.into()]);
        }
        args.push(STDIN.into());
        Tool::new(&format!("mkfs.{self}"), args)
    }

    /// That its mkfs is installed: asked before anything is begun.
    ///
    /// # Errors
    /// Names the package.
    pub async fn can_be_made(self) -> Result<()> {
        let asked = Tool::new(&format!("mkfs.{self}"), ["-V"]).run().await;
        asked.map(drop).map_err(|failure| {
            failure
                .inside(format!("an {self} cannot be made on this machine"))
                .with_kind(Kind::Refused)
                .data("nothing was changed")
                .hint(format!("install the package {}", self.package()))
        })
    }

    fn command(self, uuid: FsUuid, label: Option<&str>, node: &Path) -> String {
        self.maker(uuid, label).line().replace(STDIN, &shell_path(node))
    }
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(super) fs: FileSystem,
    pub(super) label: Option<String>,
    pub(super) uuid: FsUuid,
}

impl Wanted {
    /// A file system, perhaps with a label, and with a new UUID.
    ///
    /// # Errors
    /// When the file system cannot have this label.
    pub fn new(fs: FileSystem, label: Option<String>) -> Result<Self> {
        let longest = fs.longest_label();
        let plain = |label: &String| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            (1..=longest).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(known)
        };
        if let Some(label) = label.as_ref().filter(|label| !plain(label)) {
            return Err(
                Failure::usage(format!("{label:?} cannot be the label of an {fs}")).hint(format!(
                    "1 to {longest} letters, digits, dots, underscores and hyphens, beginning with no hyphen"
                )),
            );
        }
        Ok(Self {
            fs,
            label,
            uuid: FsUuid::random()?,
        })
    }

    /// Its UUID.
    #[must_use]
    pub fn uuid(&self) -> FsUuid {
        self.uuid
    }

    /// The command that makes it, as a person would type it.
    #[must_use]
    pub fn command(&self, node: &Path) -> String {
        self.fs.command(self.uuid, self.label.as_deref(), node)
    }
}

impl Intent {
    /// The command that makes it, as a person would type it.
    #[must_use]
    pub fn command(&self, node: &Path) -> String {
        self.fs.command(self.uuid, self.label.as_deref(), node)
    }
}

/// A file system that was made, and found to be there by blkid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formatted {
    /// What it is.
    pub fs: FileSystem,
    /// By what it is mounted.
    pub uuid: FsUuid,
    /// Its label.
    pub label: Option<String>,
    /// On which device.
    pub device: Identity,
}

/// Makes a file system on a device that was found empty while it was held. `names` are for people; the intent is written
/// into `dir` before mkfs begins, and removed when blkid finds what was made.
///
/// # Errors
/// When the device is not the one of the proof, too small, or mkfs fails. What mkfs began, [`finish`] ends.
pub async fn format(
    opened: Opened,
    proof: Proof,
    wanted: &Wanted,
    names: Vec<PathBuf>,
    dir: &Path,
) -> Result<Formatted> {
    let shown = opened.node().display();
    if !proof.is_of(&opened) {
        return Err(
            Failure::bug(format!("{shown} is not what was found empty")).data("nothing was written to it")
        );
    }
    let (size, smallest) = (opened.identity().size, wanted.fs.smallest());
    if size < smallest {
        return Err(
            Failure::refused(format!("{shown} is too small for {}", wanted.fs))
                .cause(format!("it has {size}, and {smallest} is the least"))
                .data("nothing was written to it"),
        );
    }
    opened
        .still_same()
        .map_err(|failure| failure.data("nothing was written to it"))?;
    // `O_EXCL` keeps mounts away, and not a program that just writes.
    match look(&opened, false, &mut |_, _| {}).await {
        Content::Empty(_) => {}
        Content::NotEmpty(found) => {
            return Err(not_empty(opened.node(), &found)
                .cause("it was empty a while ago: somebody has written to it since"));
        }
        Content::CannotTell(doubts) => return Err(cannot_tell(opened.node(), &doubts)),
    }
    // What was begun on a device that is empty now was never begun.
    while let Some(old) = unfinished(dir, &opened)? {
        old.remove(dir)?;
    }
    let intent = Intent::new(opened.identity().clone(), names, wanted)?;
    intent.write(dir)?;
    make(opened, intent, dir).await
}

/// What was begun on this device and not ended; the oldest of several.
///
/// # Errors
/// When intents cannot be read.
pub fn unfinished(dir: &Path, opened: &Opened) -> Result<Option<Intent>> {
    for intent in Intent::all(dir)? {
        if intent.is_of(opened.identity())? {
            return Ok(Some(intent));
        }
    }
    Ok(None)
}

/// Whether a device shows the file system that was begun on it: that, and no other one.
///
/// # Errors
/// When it cannot be told what is on it.
pub async fn shows(opened: &Opened, intent: &Intent) -> Result<bool> {
    let found = signatures(opened).await?;
    Ok(!found.is_empty() && found.iter().all(|one| is_own(one, intent)))
}

fn is_own(signature: &Signature, intent: &Intent) -> bool {
    signature.kind == intent.fs.to_string() && signature.uuid == Some(intent.uuid.to_string())
}

/// Forgets what was begun on a device: it is in use now, and no record may ever say again that it was not.
///
/// # Errors
/// When a record cannot be read or removed.
pub fn forget(dir: &Path, device: &Identity) -> Result<()> {
    for intent in Intent::all(dir)? {
        if intent.is_of(device)? {
            intent.remove(dir)?;
        }
    }
    Ok(())
}

/// Ends what was begun: nothing but the intent is left to remove, or mkfs runs again.
///
/// The device was empty when the intent was written, and the intent's UUID is random and nobody else's: a device that
/// shows that UUID and nothing else was written by our mkfs. Nothing less is a proof. A device that shows nothing may be
/// one whose file system was finished, used for a year and then damaged, so it is looked at like any other, and made a
/// file system on only if it is empty. (mkfs.xfs writes its superblock first, mkfs.ext4 last: a half-made ext4 is often
/// one that Rehome leaves to a person.) A file system that was finished and then used is never made anew, whatever state
/// it is in.
///
/// # Errors
/// When there is something else on it, or the file system was in use since and is damaged; then nothing is written.
pub async fn finish(opened: Opened, intent: Intent, dir: &Path) -> Result<Formatted> {
    if !intent.is_of(opened.identity())? {
        return Err(Failure::refused(format!(
            "what was begun was begun on another device than {}",
            opened.node().display()
        ))
        .data("nothing was written to it"));
    }
    opened.still_same()?;
    match progress(&opened, &intent).await? {
        Progress::Begun => {
            if intent.fs == FileSystem::Xfs {
                erase_own(&opened)?;
            }
            make(opened, intent, dir).await
        }
        Progress::Ended => ended(&opened, &intent, dir).await,
    }
}

/// How far a mkfs came.
enum Progress {
    /// It can be recognised, is not whole, and was never mounted.
    Begun,
    /// It is whole.
    Ended,
}

async fn progress(opened: &Opened, intent: &Intent) -> Result<Progress> {
    let node = opened.node();
    let (mut found, mut doubts) = (Vec::new(), Vec::new());
    around(opened, &mut found, &mut doubts)?;
    found.extend(written_to(opened).await);
    let signatures = signatures(opened).await?;
    let own = signatures.iter().any(|one| is_own(one, intent));
    found.extend(
        signatures
            .into_iter()
            .filter(|one| !is_own(one, intent))
            .map(Found::Signature),
    );
    let size = opened.identity().size.0;
    // ext4 leaves the boot sectors to others; where XFS has its superblock there is one of ours or nothing.
    let head = match intent.fs {
        FileSystem::Ext4 => 1024,
        FileSystem::Xfs => 0,
    };
    let start = read(opened, 0, 4096)?;
    let end = read(opened, size - TAIL, TAIL as usize)?;
    for (at, bytes) in [(0, &start[..head]), (size - TAIL, &end)] {
        if let Some(offset) = bytes.iter().position(|byte| *byte != 0) {
            found.push(Found::Data {
                at: at + offset as u64,
            });
        }
    }
    if !found.is_empty() {
        return Err(not_empty(node, &found).cause(format!(
            "an {} was begun on it at {}, and this is not of it",
            intent.fs, intent.since
        )));
    }
    if !doubts.is_empty() {
        return Err(cannot_tell(node, &doubts));
    }
    if !own {
        return Err(Failure::refused(format!(
            "the {} that was begun on {} is not to be seen on it",
            intent.fs,
            node.display()
        ))
        .data("nothing was written to it")
        .hint("run it again: it is looked at anew"));
    }
    let (never_mounted, check) = match intent.fs {
        // mkfs.xfs sets sb_inprogress, the byte 126, and clears it last; the kernel does not mount it before.
        FileSystem::Xfs => (start[126] == 1, Tool::new("xfs_repair", ["-n", STDIN])),
        // s_mtime and s_mnt_count. <https://docs.kernel.org/filesystems/ext4/super.html>
        FileSystem::Ext4 => (
            start[1024 + 44..1024 + 48] == [0; 4] && start[1024 + 52..1024 + 54] == [0; 2],
            Tool::new("e2fsck", ["-f", "-n", STDIN]),
        ),
    };
    if intent.fs == FileSystem::Xfs && never_mounted {
        return Ok(Progress::Begun);
    }
    let line = check.line().replace(STDIN, &shell_path(node));
    let checked = check.limit(CHECK_LIMIT).with_open(opened.shared()?).ask().await?;
    match (checked.code, never_mounted) {
        (Some(0), _) => Ok(Progress::Ended),
        (Some(_), true) => Ok(Progress::Begun),
        _ => Err(Failure::refused(format!(
            "the {} that was begun on {} is not clean, and may have been in use since",
            intent.fs,
            node.display()
        ))
        .cause(format!("`{line}` ended with {}", checked.status))
        .data("nothing was written to it")
        .hint(format!("look at it: {line}"))),
    }
}

/// Reads a piece of the device.
fn read(opened: &Opened, at: u64, len: usize) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| {
        Failure::environment(format!("cannot read {} at byte {at}", opened.node().display())).because(&error)
    };
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match pread(opened.fd(), &mut bytes[done..], at + done as u64) {
            Ok(0) => return Err(failed(std::io::Error::other("the device ends before its end"))),
            Ok(count) => done += count,
            Err(error) => return Err(failed(error.into())),
        }
    }
    Ok(bytes)
}

/// Erases the first 4 KiB of an XFS of which it was seen that it is ours and was never whole: mkfs.xfs refuses a device
/// that shows a file system. All of it is of our mkfs: the headers of the first group.
fn erase_own(opened: &Opened) -> Result<()> {
    let failed = |error: std::io::Error| {
        Failure::environment(format!(
            "cannot erase what was begun on {}",
            opened.node().display()
        ))
        .because(&error)
    };
    let path = format!("/proc/self/fd/{}", opened.fd().as_raw_fd());
    // Not O_EXCL: the opening that is held has that, so nobody else can.
    let flags = OFlags::WRONLY | OFlags::DSYNC | OFlags::CLOEXEC;
    let device = open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    match pwrite(&device, &[0; 4096], 0) {
        Ok(4096) => Ok(()),
        Ok(_) => Err(failed(std::io::Error::other("it was written in part"))),
        Err(error) => Err(failed(error.into())),
    }
}

async fn make(mut opened: Opened, intent: Intent, dir: &Path) -> Result<Formatted> {
    let maker = intent.fs.maker(intent.uuid, intent.label.as_deref());
    // An answer of a terminal is what mkfs.ext4 would ask for: stdin is the device, so it asks nothing. It opens the
    // device exclusively itself, so ours ends here; the lock stays, with the descriptor that it is given.
    let stdin = opened.shared()?;
    opened.share();
    let begun = maker
        .limit(limit(opened.identity().size))
        .with_open(stdin)
        .run()
        .await;
    begun.map_err(|failure| {
        failure
            .inside(format!(
                "cannot make an {} on {}",
                intent.fs,
                opened.node().display()
            ))
            .data("the device was empty; what is on it now, if anything, was begun by Rehome")
            .hint(format!(
                "mkfs.{} is in the package {}; run it again, and it is finished",
                intent.fs,
                intent.fs.package()
            ))
    })?;
    opened.file().sync_all().map_err(|error| {
        Failure::environment(format!("cannot sync {}", opened.node().display())).because(&error)
    })?;
    ended(&opened, &intent, dir).await
}

/// Without `lazy_itable_init`, which old kernels lack, mkfs.ext4 writes a fiftieth of the device; at 20 MB a second.
fn limit(size: ByteSize) -> Duration {
    Duration::from_secs(600 + size.0 / 50 / 20_000_000)
}

/// What was made is what was wanted, as others see it; then the intent has served.
async fn ended(opened: &Opened, intent: &Intent, dir: &Path) -> Result<Formatted> {
    opened.still_same()?;
    let found = signatures(opened).await?;
    let (kind, uuid) = (intent.fs.to_string(), Some(intent.uuid.to_string()));
    if found.is_empty() || found.iter().any(|one| one.kind != kind || one.uuid != uuid) {
        let mut failure = Failure::environment(format!(
            "mkfs said that it made an {kind} on {}, and something else is there",
            opened.node().display()
        ));
        for one in &found {
            failure = failure.cause(one.to_string());
        }
        return Err(failure.cause(format!("expected: {kind}, UUID {}", intent.uuid)));
    }
    intent.remove(dir)?;
    Ok(Formatted {
        fs: intent.fs,
        uuid: intent.uuid,
        label: intent.label.clone(),
        device: opened.identity().clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_shown_as_it_would_be_typed_and_forces_nothing() {
        let line = |fs, label: &str| {
            let wanted = Wanted::new(fs, Some(label.into())).unwrap();
            let command = wanted.command(Path::new("/dev/sda"));
            command.replace(&wanted.uuid().to_string(), "UUID")
        };
        assert_eq!(
            line(FileSystem::Ext4, "kms-data"),
            "mkfs.ext4 -q -m 1 -E nodiscard -U UUID -L kms-data /dev/sda"
        );
        assert_eq!(
            line(FileSystem::Xfs, "kms-data"),
            "mkfs.xfs -q -K -m uuid=UUID -L kms-data /dev/sda"
        );
    }

    #[test]
    fn a_label_that_the_file_system_cannot_have_is_refused() {
        for (fs, label) in [
            (FileSystem::Ext4, ""),
            (FileSystem::Ext4, "-f"),
            (FileSystem::Ext4, "seventeen-letters"),
            (FileSystem::Xfs, "thirteen-lett"),
            (FileSystem::Xfs, "a b"),
        ] {
            assert!(Wanted::new(fs, Some(label.into())).is_err(), "{label}");
        }
        assert!(Wanted::new(FileSystem::Xfs, None).is_ok());
    }
}
