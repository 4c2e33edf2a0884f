//! Growing a mounted file system, and the partition below it, into a device that became larger.
//!
//! Nothing here makes anything smaller. What is already as large as it can be is left alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::tool::Tool;
use crate::helper::mounts::{self, Mount};
use crate::model::{ByteSize, Failure, Result};

/// Growing writes the tables of the new part: seconds for a terabyte, more where the storage is slow.
const LIMIT: Duration = Duration::from_secs(600);
/// What is not worth a change: alignment and the backup table of GPT; a last group of ext4 that is smaller than its own
/// tables, which resize2fs leaves out.
const SLACK: u64 = 16 << 20;
/// The unit of sysfs, whatever the device's own sectors are.
const SECTOR: u64 = 512;

/// File systems that grow while they are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grows {
    /// By resize2fs(8).
    Ext4,
    /// By xfs_growfs(8).
    Xfs,
}

/// A partition that a file system is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// The whole device: `/dev/sda`.
    pub disk: PathBuf,
    /// Its number.
    pub number: u32,
    /// Bytes behind it that nobody has.
    pub free_behind: u64,
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
            partition: partition_of(&sys, device_bytes)?,
        })
    }

    /// The commands that make it as large as it can be, in order; none if it is. `keep` is where a copy of a partition
    /// table is put before it is written anew.
    #[must_use]
    pub fn commands(&self, keep: &Path) -> Vec<String> {
        let mut commands = Vec::new();
        if let Some(partition) = self.growing_partition() {
            let copy = partition.copy(keep);
            commands.push(format!("{} > {}", partition.dump().line(), copy.display()));
            commands.push(format!("echo ', +' | {}", partition.resize().line()));
            commands.push(partition.tell_kernel().line().to_owned());
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
        let (at, device) = (self.at.display(), self.device.display());
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
            Grows::Ext4 => failure
                .hint("stop everything that uses it, then offline:")
                .hint(format!(
                    "umount {at} && e2fsck -f {device} && resize2fs {device} && mount {at}"
                )),
            Grows::Xfs => failure.hint("xfs grows only while it is mounted; `dmesg` may say what is wrong"),
        }
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

impl Partition {
    /// Its end alone moves. The table is not re-read, as that fails while a partition is in use; the kernel is told of
    /// this one by [`Self::tell_kernel`].
    fn resize(&self) -> Tool {
        let number = self.number.to_string();
        let disk = self.disk.to_string_lossy();
        Tool::new(
            "sfdisk",
            ["--no-reread", "--no-tell-kernel", "-N", &number, &disk],
        )
    }

    fn dump(&self) -> Tool {
        Tool::new("sfdisk", ["--dump".as_ref(), self.disk.as_os_str()])
    }

    /// Where the table is kept as it was.
    fn copy(&self, keep: &Path) -> PathBuf {
        let disk = self.disk.file_name().unwrap_or_default().to_string_lossy();
        keep.join(format!("partitions-{disk}.sfdisk"))
    }

    fn tell_kernel(&self) -> Tool {
        let number = self.number.to_string();
        let disk = self.disk.to_string_lossy();
        Tool::new("partx", ["--update", "--nr", &number, &disk])
    }

    async fn grow(&self, keep: &Path) -> Result<()> {
        let inside = |failure: Failure| {
            failure.inside(format!(
                "cannot grow partition {} of {}",
                self.number,
                self.disk.display()
            ))
        };
        let copy = self.copy(keep);
        let table = self.dump().run().await.map_err(inside)?;
        crate::state::write_durably(&copy, table.as_bytes()).map_err(inside)?;
        let back = format!("the table as it was is in {}", copy.display());
        self.resize().with_text(", +\n")?.run().await.map_err(|failure| {
            inside(failure)
                .data("the file system on it is as it was")
                .hint(back.clone())
        })?;
        self.tell_kernel().run().await.map_err(|failure| {
            inside(failure)
                .data("the table on the disk has the new end, and the file system is as it was")
                .hint(format!(
                    "the kernel is told at the next boot, or by: {}",
                    self.tell_kernel().line()
                ))
                .hint(back)
        })?;
        Ok(())
    }
}

/// `/dev/sda1` of `/sys/dev/block/8:1`.
fn device_of(sys: &Path) -> Result<PathBuf> {
    let cannot =
        |e: std::io::Error| Failure::environment(format!("cannot read {}", sys.display())).because(&e);
    let real = std::fs::canonicalize(sys).map_err(cannot)?;
    let name = real.file_name().unwrap_or_default();
    // The kernel writes the slash of `cciss/c0d0` as `!`.
    Ok(Path::new("/dev").join(name.to_string_lossy().replace('!', "/")))
}

fn number(path: &Path) -> Result<u64> {
    let cannot = |e: &dyn std::fmt::Display| {
        Failure::environment(format!("cannot read {}", path.display())).cause(e.to_string())
    };
    let text = std::fs::read_to_string(path).map_err(|e| cannot(&e))?;
    text.trim().parse().map_err(|e| cannot(&e))
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
            use std::os::unix::ffi::OsStrExt as _;
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

/// The partition that a device is, if it is one.
fn partition_of(sys: &Path, bytes: u64) -> Result<Option<Partition>> {
    if !sys.join("partition").exists() {
        return Ok(None);
    }
    let cannot =
        |e: std::io::Error| Failure::environment(format!("cannot read {}", sys.display())).because(&e);
    let real = std::fs::canonicalize(sys).map_err(cannot)?;
    let disk = real.parent().unwrap_or(&real).to_owned();
    let end = number(&sys.join("start"))? * SECTOR + bytes;
    let mut next = number(&disk.join("size"))? * SECTOR;
    for entry in std::fs::read_dir(&disk).map_err(cannot)? {
        let other = entry.map_err(cannot)?.path();
        if other.join("partition").exists() {
            let start = number(&other.join("start"))? * SECTOR;
            if start >= end {
                next = next.min(start);
            }
        }
    }
    Ok(Some(Partition {
        disk: device_of(&disk)?,
        number: u32::try_from(number(&sys.join("partition"))?).unwrap_or(u32::MAX),
        free_behind: next.saturating_sub(end),
    }))
}
