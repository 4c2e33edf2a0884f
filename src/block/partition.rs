//! The partition that a file system is on, and how it is made larger.
//!
//! Its end alone moves. A table is kept as it was before it is written, and read again before the kernel is told.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::tool::Tool;
use crate::model::{Failure, Result, shell_path};

/// The unit of sysfs, whatever the device's own sectors are.
pub(super) const SECTOR: u64 = 512;

/// A partition that a file system is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// The whole device: `/dev/sda`.
    pub disk: PathBuf,
    /// Its number.
    pub number: u32,
    /// Bytes behind it that it can take.
    pub free_behind: u64,
    /// What keeps it from taking all that nobody has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
}

/// Why a partition cannot take all that is free behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Its table is MBR, which counts sectors in 32 bits.
    Mbr {
        /// The most sectors that it can have, of the table's own size.
        sectors: u64,
    },
    /// It lies inside of an extended partition, which ends there.
    Extended,
}

impl Partition {
    /// The commands that make it larger. `keep` is where the table is kept as it was.
    #[must_use]
    pub fn commands(&self, keep: &Path) -> Vec<String> {
        vec![
            format!("{} > {}", self.dump().line(), shell_path(&self.copy(keep))),
            format!("echo '{}' | {}", self.size(), self.resize().line()),
            self.tell_kernel().line().to_owned(),
        ]
    }

    /// Why it cannot be as large as its disk, if the table is why.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let disk = self.disk.display();
        let stops = match self.stop? {
            Stop::Mbr { .. } => {
                format!("the partition table of {disk} is MBR, which can give a partition no more than 2 TiB")
            }
            Stop::Extended => format!(
                "partition {} lies inside of an extended partition of the MBR table of {disk}, which ends there",
                self.number
            ),
        };
        Some(format!(
            "{stops}: the rest needs a GPT table, or none. Move the data to a new volume: rehome mount, then rehome move"
        ))
    }

    /// Looks at its table, where more is free than is worth a change.
    async fn within_its_table(mut self, slack: u64, start: u64, end: u64) -> Result<Self> {
        if self.free_behind <= slack {
            return Ok(self);
        }
        let table = Table::parse(&self.dump().run().await?);
        let Some((most, stop)) = table.most(self.number, start) else {
            return Ok(self);
        };
        let free = most.saturating_sub(end);
        if free + slack < self.free_behind {
            self.stop = Some(stop);
            self.free_behind = free;
        }
        Ok(self)
    }

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

    /// What sfdisk(8) is told. `+` is all that is free, in 32 bits where the table has no more: a partition that could
    /// have 3 TiB would get one. There it is told in numbers.
    fn size(&self) -> String {
        match self.stop {
            Some(Stop::Mbr { sectors }) => format!(", {sectors}"),
            Some(Stop::Extended) | None => ", +".to_owned(),
        }
    }

    /// Makes it as large as it can be. `keep` is where the table is kept as it was.
    ///
    /// # Errors
    /// When a program fails, or the table is not what it should be afterwards; with the way back.
    pub async fn grow(&self, keep: &Path) -> Result<()> {
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
        let before = Table::parse(&table).part(self.number);
        self.resize()
            .with_text(&format!("{}\n", self.size()))?
            .run()
            .await
            .map_err(|failure| {
                inside(failure)
                    .data("the file system on it is as it was")
                    .hint(back.clone())
            })?;
        let after = Table::parse(&self.dump().run().await.map_err(inside)?).part(self.number);
        let grown = before
            .zip(after)
            .is_some_and(|(before, after)| before.start == after.start && before.size <= after.size);
        if !grown {
            return Err(Failure::environment(format!(
                "the table of {} is not what it should be after sfdisk wrote it",
                self.disk.display()
            ))
            .data("the kernel was not told: until the next boot everything is as it was")
            .hint(format!(
                "put the table back as it was: sfdisk --no-reread --no-tell-kernel {} < {}",
                shell_path(&self.disk),
                shell_path(&copy)
            )));
        }
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

/// The partition that a device is, if it is one. `slack` is what is not worth a change.
///
/// # Errors
/// When sysfs or the table cannot be read.
pub async fn partition_of(sys: &Path, bytes: u64, slack: u64) -> Result<Option<Partition>> {
    if !sys.join("partition").exists() {
        return Ok(None);
    }
    let cannot =
        |e: std::io::Error| Failure::environment(format!("cannot read {}", sys.display())).because(&e);
    let real = std::fs::canonicalize(sys).map_err(cannot)?;
    let disk = real.parent().unwrap_or(&real).to_owned();
    let start = number(&sys.join("start"))? * SECTOR;
    let end = start + bytes;
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
    let partition = Partition {
        disk: device_of(&disk)?,
        number: u32::try_from(number(&sys.join("partition"))?).unwrap_or(u32::MAX),
        free_behind: next.saturating_sub(end),
        stop: None,
    };
    partition.within_its_table(slack, start, end).await.map(Some)
}

/// `/dev/sda1` of `/sys/dev/block/8:1`.
pub(super) fn device_of(sys: &Path) -> Result<PathBuf> {
    let cannot =
        |e: std::io::Error| Failure::environment(format!("cannot read {}", sys.display())).because(&e);
    let real = std::fs::canonicalize(sys).map_err(cannot)?;
    let name = real.file_name().unwrap_or_default();
    // The kernel writes the slash of `cciss/c0d0` as `!`.
    Ok(Path::new("/dev").join(name.to_string_lossy().replace('!', "/")))
}

pub(super) fn number(path: &Path) -> Result<u64> {
    let cannot = |e: &dyn std::fmt::Display| {
        Failure::environment(format!("cannot read {}", path.display())).cause(e.to_string())
    };
    let text = std::fs::read_to_string(path).map_err(|e| cannot(&e))?;
    text.trim().parse().map_err(|e| cannot(&e))
}

/// What `sfdisk --dump` says of a table. <https://man7.org/linux/man-pages/man8/sfdisk.8.html>
#[derive(Debug, Default)]
struct Table {
    mbr: bool,
    /// Bytes of a sector.
    sector: u64,
    parts: Vec<Part>,
}

/// A partition, in sectors of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    number: u32,
    start: u64,
    size: u64,
    extended: bool,
}

impl Table {
    fn parse(dump: &str) -> Self {
        let mut table = Self {
            sector: SECTOR,
            ..Self::default()
        };
        for line in dump.lines() {
            match line.split_once(": ") {
                Some(("label", label)) => table.mbr = label == "dos",
                Some(("sector-size", bytes)) => table.sector = bytes.trim().parse().unwrap_or(SECTOR).max(1),
                // /dev/sda2 : start=       22528, size=     1638400, type=5
                Some((node, fields)) if node.starts_with('/') => {
                    table.parts.extend(Part::parse(node, fields))
                }
                _ => {}
            }
        }
        table
    }

    fn part(&self, number: u32) -> Option<Part> {
        self.parts.iter().copied().find(|part| part.number == number)
    }

    /// The byte at which a partition that begins at a byte must end, if the table says so, and why.
    fn most(&self, number: u32, start: u64) -> Option<(u64, Stop)> {
        if !self.mbr {
            return None;
        }
        // Those from 5 on are inside of an extended one.
        let around = self.parts.iter().find(|part| {
            let (begin, end) = (part.start * self.sector, (part.start + part.size) * self.sector);
            part.extended && (begin..end).contains(&start)
        });
        if let Some(around) = around.filter(|_| number > 4) {
            return Some(((around.start + around.size) * self.sector, Stop::Extended));
        }
        // As fdisk(8) has it, which lets the last sector have no higher number either.
        let sectors = u64::from(u32::MAX).saturating_sub(start / self.sector);
        Some((u64::from(u32::MAX) * self.sector, Stop::Mbr { sectors }))
    }
}

impl Part {
    fn parse(node: &str, fields: &str) -> Option<Self> {
        let number = node.trim_end();
        let digits = number.len() - number.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let field = |name: &str| {
            fields
                .split(',')
                .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
                .map(str::trim)
        };
        Some(Self {
            number: number[number.len() - digits..].parse().ok()?,
            start: field("start")?.parse().ok()?,
            size: field("size")?.parse().ok()?,
            extended: field("type").is_some_and(|kind| ["5", "f", "85"].contains(&kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn table(text: &str) -> Table {
        Table::parse(text)
    }

    #[test]
    fn an_mbr_ends_at_2_tib_and_a_gpt_does_not() {
        let text = "label: dos\nlabel-id: 0x1\ndevice: /dev/sdb\nunit: sectors\nsector-size: 512\n\n\
                    /dev/sdb1 : start=        2048, size=  4294965000, type=83\n";
        let (end, stop) = table(text).most(1, MIB).unwrap();
        assert_eq!(end, 2_199_023_255_040, "what fdisk(8) says");
        assert_eq!(
            stop,
            Stop::Mbr {
                sectors: u64::from(u32::MAX) - 2048
            }
        );
        assert!(table(&text.replace("dos", "gpt")).most(1, MIB).is_none());
        // With sectors of 4 KiB it ends at 16 TiB.
        let large = table(&text.replace("size: 512", "size: 4096"));
        assert_eq!(large.most(1, MIB).unwrap().0, 8 * 2_199_023_255_040);
    }

    #[test]
    fn a_logical_partition_ends_with_the_extended_one() {
        let text = "label: dos\nsector-size: 512\n\n\
                    /dev/nvme0n1p1 : start=        2048, size=       20480, type=83\n\
                    /dev/nvme0n1p2 : start=       22528, size=     1638400, type=5\n\
                    /dev/nvme0n1p5 : start=       24576, size=      204800, type=83\n";
        let table = table(text);
        assert_eq!(table.parts.len(), 3);
        let end = (22528 + 1_638_400) * 512;
        assert_eq!(table.most(5, 24576 * 512), Some((end, Stop::Extended)));
        assert!(matches!(table.most(1, MIB), Some((_, Stop::Mbr { .. }))));
    }
}
