//! One line a finished run, for people who ask what happened when. Losing it is a warning: the journals say the same.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dir::ProjectDir;
use super::durable;
use crate::event::Outcome;
use crate::model::{Failure, ProjectName, Result, RunId};

/// The longest line that is read or written.
const MAX_LINE: usize = 64 << 10;

/// A finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// The run.
    pub run: RunId,
    /// What was typed, in words: `rehome move --to /mnt/kms-data`.
    pub command: String,
    /// The project.
    pub project: ProjectName,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// How long services were down, in milliseconds, if any was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime_millis: Option<u64>,
    /// The volumes that it was about.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// What was verified, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// Where the data was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What could be read of a history.
#[derive(Debug, Default, PartialEq)]
pub struct HistoryRead {
    /// The newest lines, oldest first.
    pub lines: Vec<HistoryLine>,
    /// How many lines could not be read: torn, edited, or of another version.
    pub unreadable: usize,
}

impl ProjectDir {
    fn history_path(&self) -> PathBuf {
        self.path().join("history.jsonl")
    }

    /// Adds a finished run, durable.
    ///
    /// # Errors
    /// When it cannot be written: a warning for the caller, not the end of a run that is finished.
    pub fn append_history(&self, line: &HistoryLine) -> Result<()> {
        let path = self.history_path();
        let cannot = |e: &dyn std::fmt::Display| {
            Failure::environment(format!("cannot write {}", path.display()))
                .cause(e.to_string())
                .data("only the history lacks this run; its journal is complete")
        };
        let mut text = serde_json::to_vec(line).map_err(|e| cannot(&e))?;
        text.push(b'\n');
        if text.len() > MAX_LINE {
            return Err(cannot(&format!(
                "the line of run {} is longer than {MAX_LINE} bytes",
                line.run
            )));
        }
        self.create()?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| cannot(&e))?;
        // A line that was torn by a crash must not take this one with it.
        if !ends_with_newline(&mut file).map_err(|e| cannot(&e))? {
            text.insert(0, b'\n');
        }
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(|e| cannot(&e))?;
        durable::sync_dir(self.path())
    }

    /// Reads the newest lines, at most `limit`.
    ///
    /// # Errors
    /// When the file is there and cannot be read. Single lines that cannot be are counted.
    pub fn history(&self, limit: usize) -> Result<HistoryRead> {
        let path = self.history_path();
        let cannot =
            |e: &std::io::Error| Failure::environment(format!("cannot read {}", path.display())).because(e);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(HistoryRead::default()),
            Err(e) => return Err(cannot(&e)),
        };
        let mut reader = BufReader::new(file);
        let mut lines = VecDeque::new();
        let mut unreadable = 0;
        let mut text = Vec::new();
        loop {
            text.clear();
            (&mut reader)
                .take(MAX_LINE as u64)
                .read_until(b'\n', &mut text)
                .map_err(|e| cannot(&e))?;
            if text.is_empty() {
                return Ok(HistoryRead {
                    lines: lines.into(),
                    unreadable,
                });
            }
            if text == b"\n" {
                continue;
            }
            match serde_json::from_slice(&text) {
                Ok(line) => lines.push_back(line),
                Err(_) => unreadable += 1,
            }
            if lines.len() > limit {
                lines.pop_front();
            }
        }
    }
}

fn ends_with_newline(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::super::{ProjectKey, StateDir};
    use super::*;

    fn line(run: &str) -> HistoryLine {
        HistoryLine {
            run: RunId::new(run).unwrap(),
            command: "rehome move --to /mnt/kms-data".into(),
            project: ProjectName::new("kms").unwrap(),
            started: "2001-02-03T04:05:06Z".parse().unwrap(),
            ended: "2001-02-03T04:15:06Z".parse().unwrap(),
            outcome: Outcome::Done,
            downtime_millis: Some(41_000),
            volumes: vec!["postgres_data".into()],
            verified: Some("14 212 files".into()),
            from: Some("volume".into()),
            to: Some("/mnt/kms-data".into()),
        }
    }

    #[test]
    fn a_torn_line_costs_that_line_only() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::resolve(Some(root.path()), false, |_| None).unwrap();
        let project = dir.project(&ProjectKey::new(&ProjectName::new("kms").unwrap(), None));
        assert_eq!(project.history(10).unwrap(), HistoryRead::default());
        project.append_history(&line("aaaa")).unwrap();
        project.append_history(&line("bbbb")).unwrap();
        let path = project.history_path();
        let whole = std::fs::read_to_string(&path).unwrap();
        assert!(
            whole.starts_with(r#"{"run":"aaaa","command":"rehome move --to /mnt/kms-data","project":"kms""#)
        );
        std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
        assert_eq!(
            project.history(10).unwrap(),
            HistoryRead {
                lines: vec![line("aaaa")],
                unreadable: 1
            }
        );
        project.append_history(&line("cccc")).unwrap();
        let read = HistoryRead {
            lines: vec![line("aaaa"), line("cccc")],
            unreadable: 1,
        };
        assert_eq!(project.history(10).unwrap(), read);
        assert_eq!(project.history(1).unwrap().lines, [line("cccc")], "the newest");
    }
}
