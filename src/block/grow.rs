//! Growing a mounted file system, and the partition below it, into a device that became larger.
//!
//! Nothing here makes anything smaller. What is already as large as it can be is left alone.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::beneath::{Beneath, beneath};
use super::partition::{Partition, SECTOR, device_of, number, partition_of};
use super::tool::Tool;
use crate::helper::mounts::{self, Mount};
use crate::model::{ByteSize, Failure, Result, shell_path};

/// Growing writes the tables of the new part: seconds for a terabyte, more where the storage is slow.
const LIMIT: Duration = Duration::from_secs(600);
/// What is not worth a change: alignment and the backup table of GPT; a last group of ext4 that is smaller than its own
/// tables, which resize2fs leaves out.
const SLACK: u64 = 16 << 20;

/// File systems that grow while they are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grows {
    /// By resize2fs(8).
    Ext4,
    /// By xfs_growfs(8).
    Xfs,
}

/// A mounted file system, and how far it can grow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Growable {
    /// Where it is mounted.
    pub at: PathBuf,
    /// Its device: `/dev/sda1`.
    pub device: PathBuf,
    /// What it is.
    pub fs: Grows,
    /// Its size in bytes.
    pub fs_bytes: u64,
    /// Its device's size in bytes.
    pub device_bytes: u64,
    /// The partition, if it is on one.
    pub partition: Option<Partition>,
    /// What has to know of a larger disk before its device is larger, from the disk up.
    pub beneath: Vec<Beneath>,
}

impl Growable {
    /// Looks.
    ///
    /// # Errors
    /// Refused when nothing that can grow is mounted exactly at `at`.
    pub async fn look(at: &Path) -> Result<Self> {
        let refuse = |what: String| Failure::refused(what).data("nothing was changed");
        let mount = mounts::holding(at)
            .map_err(|e| Failure::environment("cannot read the mount table").because(&e))?
            .filter(|mount| mount.point == at.as_os_str().as_encoded_bytes());
        if let Some(part) = mount.as_ref().filter(|mount| mount.root != b"/") {
            return Err(part_of(at, part));
        }
        let Some(mount) = mount else {
            return Err(refuse(format!("nothing is mounted at {}", at.display()))
                .hint("`findmnt` lists what is mounted where"));
        };
        let fs = match mount.fs_type.as_str() {
            "ext4" => Grows::Ext4,
            "xfs" => Grows::Xfs,
            other => {
                return Err(refuse(format!(
                    "{} is {other}: Rehome grows ext4 and xfs",
                    at.display()
                )));
            }
        };
        let sys = PathBuf::from(format!("/sys/dev/block/{}", mount.device));
        let device = device_of(&sys)?;
        let device_bytes = number(&sys.join("size"))? * SECTOR;
        Ok(Self {
            at: at.to_owned(),
            fs_bytes: size_of(fs, &device, &mount).await?,
            device,
            fs,
            device_bytes,
            partition: partition_of(&sys, device_bytes, SLACK).await?,
            beneath: beneath(&sys)?,
        })
    }

    /// The commands that make it as large as it can be, in order; none if it is. `keep` is where a copy of a partition
    /// table is put before it is written anew.
    #[must_use]
    pub fn commands(&self, keep: &Path) -> Vec<String> {
        let mut commands = Vec::new();
        if let Some(partition) = self.growing_partition() {
            commands.extend(partition.commands(keep));
        }
        if self.fs_grows() {
            commands.push(self.resize().line().to_owned());
        }
        commands
    }

    /// Makes it as large as it can be, and says what it is then. `keep` as for [`Self::commands`].
    ///
    /// # Errors
    /// When a program fails or the kernel refuses, with the way to do it offline. What is there stays as it is.
    pub async fn grow(&self, keep: &Path) -> Result<Self> {
        if let Some(partition) = self.growing_partition() {
            partition.grow(keep).await?;
        }
        if self.fs_grows()
            && let Err(failure) = self.resize().limit(LIMIT).run().await
        {
            return Err(self.refused(failure).await);
        }
        Self::look(&self.at).await
    }

    /// An online resize goes on in steps: what became of it is looked at and not guessed.
    async fn refused(&self, failure: Failure) -> Failure {
        let at = self.at.display();
        let data = match Self::look(&self.at).await {
            Ok(now) if now.fs_bytes == self.fs_bytes => {
                format!("it is as it was, {}, and in use", ByteSize(self.fs_bytes))
            }
            Ok(now) => format!(
                "it is in use and has {} now; before it had {}",
                ByteSize(now.fs_bytes),
                ByteSize(self.fs_bytes)
            ),
            Err(_) => "nothing was deleted; how large it is now could not be looked at".to_owned(),
        };
        let failure = failure
            .inside(format!("cannot grow the file system at {at} while it is mounted"))
            .data(data);
        match self.fs {
            Grows::Ext4 => {
                let (at, device) = (shell_path(&self.at), shell_path(&self.device));
                failure
                    .hint("stop everything that uses it, then offline:")
                    .hint(format!(
                        "umount {at} && e2fsck -f {device} && resize2fs {device} && mount {at}"
                    ))
            }
            Grows::Xfs => failure.hint("xfs grows only while it is mounted; `dmesg` may say what is wrong"),
        }
    }

    /// Whether its partition table is why it cannot be larger.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.partition
            .as_ref()
            .is_some_and(|partition| partition.stop.is_some())
    }

    /// What a person should know: why it cannot be larger, and where nothing is free, what may have to be told first.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.partition.iter().filter_map(Partition::note).collect();
        if self.growing_partition().is_none() && !self.fs_grows() && notes.is_empty() {
            let commands: Vec<String> = self.beneath.iter().flat_map(Beneath::commands).collect();
            if !commands.is_empty() {
                notes.push(format!(
                    "if it was made larger and the server does not know of it: {}; then run this again",
                    commands.join(" && ")
                ));
            }
        }
        notes
    }

    fn growing_partition(&self) -> Option<&Partition> {
        self.partition
            .as_ref()
            .filter(|partition| partition.free_behind > SLACK)
    }

    fn fs_grows(&self) -> bool {
        self.growing_partition().is_some() || self.device_bytes.saturating_sub(self.fs_bytes) > SLACK
    }

    fn resize(&self) -> Tool {
        match self.fs {
            Grows::Ext4 => Tool::new("resize2fs", [&self.device]),
            Grows::Xfs => Tool::new("xfs_growfs", [&self.at]),
        }
    }
}

/// A part of a file system that is mounted by itself is not it: where the whole is, is said.
fn part_of(at: &Path, part: &Mount) -> Failure {
    let failure = Failure::refused(format!(
        "only the directory {} of a file system is mounted at {}",
        String::from_utf8_lossy(&part.root),
        at.display()
    ))
    .data("nothing was changed");
    let table = mounts::table("self").unwrap_or_default();
    let whole = table
        .iter()
        .find(|mount| mount.device == part.device && mount.root == b"/");
    match whole {
        Some(whole) => failure.hint(format!("rehome grow --at {}", shell_path(whole.point()))),
        None => failure.hint(format!(
            "`findmnt --source {}` lists where it is mounted",
            shell_path(Path::new(std::ffi::OsStr::from_bytes(&part.source)))
        )),
    }
}

/// The size that the file system itself knows, without what a device may have more.
async fn size_of(fs: Grows, device: &Path, mount: &Mount) -> Result<u64> {
    let wrong = |said: &str| {
        Failure::environment(format!("cannot read the size of {}", device.display())).cause(said)
    };
    match fs {
        Grows::Ext4 => {
            let said = Tool::new("dumpe2fs", [Path::new("-h"), device]).run().await?;
            let field = |name: &str| {
                let line = said.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().parse::<u64>().ok()
            };
            match (field("Block count:"), field("Block size:")) {
                (Some(count), Some(size)) => Ok(count.saturating_mul(size)),
                _ => Err(wrong("dumpe2fs did not say it")),
            }
        }
        Grows::Xfs => {
            let said = Tool::new("xfs_info", [std::ffi::OsStr::from_bytes(&mount.point)])
                .run()
                .await?;
            // data     =                       bsize=4096   blocks=153600, imaxpct=25
            let data = said
                .lines()
                .find(|line| line.starts_with("data"))
                .unwrap_or_default();
            let field = |name: &str| {
                let word = data.split([' ', ',']).find_map(|word| word.strip_prefix(name))?;
                word.parse::<u64>().ok()
            };
            match (field("blocks="), field("bsize=")) {
                (Some(count), Some(size)) => Ok(count.saturating_mul(size)),
                _ => Err(wrong("xfs_info did not say it")),
            }
        }
    }
}
