//! One line a finished run, for people who ask what happened when. Losing it is a warning: the journals say the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dir::ProjectDir;
use super::lines::{self, LinesRead};
use crate::event::Outcome;
use crate::model::{ProjectName, Result, RunId, ServiceName};

/// A finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// The run.
    pub run: RunId,
    /// Who began it: a user of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
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
    /// What was checked out, of a deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What each service ran at its end: `crs-trial/app:2 (sha256 5f2a…)`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<ServiceName, String>,
}

/// What could be read of a history.
pub type HistoryRead = LinesRead<HistoryLine>;

impl ProjectDir {
    fn history_path(&self) -> PathBuf {
        self.path().join("history.jsonl")
    }

    /// Adds a finished run, durable.
    ///
    /// # Errors
    /// When it cannot be written: a warning for the caller, not the end of a run that is finished.
    pub fn append_history(&self, line: &HistoryLine) -> Result<()> {
        self.create()?;
        lines::append(&self.history_path(), line)
            .map_err(|failure| failure.data("only the history lacks this run; its journal is complete"))
    }

    /// Reads the newest lines, at most `limit`.
    ///
    /// # Errors
    /// When the file is there and cannot be read. Single lines that cannot be are counted.
    pub fn history(&self, limit: usize) -> Result<HistoryRead> {
        lines::newest(&self.history_path(), limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ProjectKey, StateDir};
    use super::*;

    fn line(run: &str) -> HistoryLine {
        HistoryLine {
            run: RunId::new(run).unwrap(),
            by: None,
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
            commit: None,
            images: BTreeMap::new(),
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
