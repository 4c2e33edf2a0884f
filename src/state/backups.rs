//! One line for each backup that ended and for each that was verified, for `rehome doctor` and metrics: no place has to be
//! asked. Losing it is a warning: the places say what they have.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dir::ProjectDir;
use super::lines::{self, LinesRead};
use crate::model::{Result, RunId, SiteName};

/// What happened to a backup of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "was")]
pub enum BackupLine {
    /// It was made, and is in these places.
    Made {
        /// Its name.
        id: String,
        /// The run that made it.
        run: RunId,
        /// When it began.
        began: Timestamp,
        /// When it ended.
        ended: Timestamp,
        /// What it takes in one place.
        bytes: u64,
        /// Where it is, without any secret.
        places: Vec<String>,
        /// Whether it is of the whole project, and not of what `--only` named.
        whole: bool,
        /// The sites whose directories are in it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sites: Vec<SiteName>,
    },
    /// It was not.
    Failed {
        /// The run that tried.
        run: RunId,
        /// When it began.
        began: Timestamp,
        /// When it ended.
        ended: Timestamp,
        /// What went wrong, one line.
        why: String,
    },
    /// It was read back, and was right.
    Verified {
        /// Its name.
        id: String,
        /// When.
        at: Timestamp,
        /// Whether it was also restored into throw-away containers.
        drill: bool,
    },
}

impl ProjectDir {
    fn backups_path(&self) -> PathBuf {
        self.path().join("backups.jsonl")
    }

    /// Adds what happened, durable.
    ///
    /// # Errors
    /// When it cannot be written: a warning for the caller, not the end of a backup that is made.
    pub fn append_backup(&self, line: &BackupLine) -> Result<()> {
        self.create()?;
        lines::append(&self.backups_path(), line).map_err(|failure| {
            failure.data("`rehome doctor` does not know of this backup; the places where it is do")
        })
    }

    /// Reads what happened last, at most so many lines, oldest first.
    ///
    /// # Errors
    /// When the file is there and cannot be read. Single lines that cannot be are counted.
    pub fn backups(&self, limit: usize) -> Result<LinesRead<BackupLine>> {
        lines::newest(&self.backups_path(), limit)
    }

    /// Reads what the last so many bytes say, oldest first: for whoever asks hundreds of projects.
    ///
    /// # Errors
    /// As [`ProjectDir::backups`].
    pub fn last_backups(&self, bytes: u64) -> Result<LinesRead<BackupLine>> {
        lines::last(&self.backups_path(), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ProjectKey, StateDir};
    use super::*;
    use crate::model::ProjectName;

    #[test]
    fn what_was_written_is_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::resolve(Some(root.path()), false, |_| None).unwrap();
        let project = dir.project(&ProjectKey::new(&ProjectName::new("kms").unwrap(), None));
        let at: Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
        let run = RunId::new("7k2f00000000").unwrap();
        let lines = [
            BackupLine::Failed {
                run: run.clone(),
                began: at,
                ended: at,
                why: "disk full".to_owned(),
            },
            BackupLine::Made {
                id: "20261122T020000Z-7k2f00000000".to_owned(),
                run,
                began: at,
                ended: at,
                bytes: 7,
                places: vec!["/var/backups/kms".to_owned()],
                whole: true,
                sites: vec![SiteName::new("blog").unwrap()],
            },
            BackupLine::Verified {
                id: "20261122T020000Z-7k2f00000000".to_owned(),
                at,
                drill: false,
            },
        ];
        assert_eq!(project.backups(10).unwrap(), LinesRead::default());
        for line in &lines {
            project.append_backup(line).unwrap();
        }
        assert_eq!(project.backups(10).unwrap().lines, lines);
        assert_eq!(project.backups(1).unwrap().lines, lines[2..]);
        let text = std::fs::read(project.backups_path()).unwrap();
        let at = |n: usize| {
            text.split_inclusive(|b| *b == b'\n')
                .skip(n)
                .map(<[u8]>::len)
                .sum::<usize>() as u64
        };
        // A line that begins before is no line, and none is lost that begins there.
        for (bytes, from) in [
            (at(0) + 1, 0),
            (at(0), 0),
            (at(0) - 1, 1),
            (at(1), 1),
            (at(2) + 1, 2),
            (at(2), 2),
            (at(2) - 1, 3),
            (0, 3),
        ] {
            let read = project.last_backups(bytes).unwrap();
            assert_eq!(
                (read.lines.as_slice(), read.unreadable),
                (&lines[from..], 0),
                "{bytes}"
            );
        }
    }
}
