//! What was done between the project's uploads and a bucket, summed up, for metrics. Losing it costs figures: counters begin
//! anew, as Prometheus knows them to.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dir::ProjectDir;
use super::durable::write_durably;
use crate::model::{Failure, Result};

/// More places than a project ever had; the ones that were used longest ago go.
const MOST: usize = 50;
/// A file above this is none of ours.
const LIMIT: u64 = 1 << 20;

/// By place, `s3://bucket/prefix`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadsDone {
    /// Each place that was ever used.
    pub places: BTreeMap<String, PlaceDone>,
}

/// What was done with one place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlaceDone {
    /// Requests by their kind.
    pub asked: BTreeMap<String, u64>,
    /// Those of them that were refused, or had no answer.
    pub requests_failed: u64,
    /// Files and objects that did not arrive, or could not be compared.
    pub files_failed: u64,
    /// What it has, and when that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<PlaceHeld>,
    /// By command, `sync`.
    pub commands: BTreeMap<String, CommandDone>,
}

/// What a place has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceHeld {
    /// Objects below the prefix.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When that was seen.
    pub at: Timestamp,
}

/// How a command ended, each time together and the last time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandDone {
    /// How often all was as it should be.
    pub good: u64,
    /// How often it was not.
    pub bad: u64,
    /// When it ended last.
    pub ended: Timestamp,
    /// How long it took then, in milliseconds.
    pub millis: u64,
    /// Whether all was as it should be then.
    pub was_good: bool,
    /// When it was so last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good_at: Option<Timestamp>,
}

impl ProjectDir {
    fn uploads_path(&self) -> PathBuf {
        self.path().join("uploads.json")
    }

    /// What was done.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn uploads(&self) -> Result<UploadsDone> {
        let path = self.uploads_path();
        let cannot = |why: String| {
            Failure::environment(format!("cannot read {}", path.display()))
                .cause(why)
                .hint("it only has figures for metrics, and may be removed")
        };
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file
                .take(LIMIT)
                .read_to_string(&mut text)
                .map_err(|e| cannot(e.to_string()))?,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(UploadsDone::default()),
            Err(e) => return Err(cannot(e.to_string())),
        };
        serde_json::from_str(&text).map_err(|e| cannot(e.to_string()))
    }

    /// Changes it, durable: one at a time, because a comparison and another one need not wait for each other otherwise.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn change_uploads(&self, change: impl FnOnce(&mut UploadsDone)) -> Result<UploadsDone> {
        self.create()?;
        let path = self.path().join("uploads.lock");
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|e| Failure::environment(format!("cannot lock {}", path.display())).because(&e))?;
        let mut done = self.uploads()?;
        change(&mut done);
        while done.places.len() > MOST
            && let Some(oldest) = done.oldest()
        {
            done.places.remove(&oldest);
        }
        let text = serde_json::to_vec(&done)
            .map_err(|e| Failure::bug("figures of uploads that cannot be written").because(&e))?;
        write_durably(&self.uploads_path(), &text)?;
        drop(lock);
        Ok(done)
    }
}

impl UploadsDone {
    fn oldest(&self) -> Option<String> {
        let used = |place: &PlaceDone| place.commands.values().map(|command| command.ended).max();
        let oldest = self.places.iter().min_by_key(|(_, place)| used(place));
        oldest.map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ProjectKey, StateDir};
    use super::*;
    use crate::model::ProjectName;

    fn project(root: &std::path::Path) -> ProjectDir {
        let dir = StateDir::resolve(Some(root), false, |_| None).unwrap();
        dir.project(&ProjectKey::new(&ProjectName::new("kms").unwrap(), None))
    }

    #[test]
    fn two_at_a_time_lose_nothing() {
        let root = tempfile::tempdir().unwrap();
        let project = project(root.path());
        assert_eq!(project.uploads().unwrap(), UploadsDone::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let add = |done: &mut UploadsDone| {
                            done.places.entry("s3://b/".into()).or_default().files_failed += 1;
                        };
                        project.change_uploads(add).unwrap();
                    }
                });
            }
        });
        assert_eq!(project.uploads().unwrap().places["s3://b/"].files_failed, 40);
    }

    #[test]
    fn places_that_nobody_uses_go_and_a_damaged_file_is_told() {
        let root = tempfile::tempdir().unwrap();
        let project = project(root.path());
        let begin: Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
        for n in 0..60i64 {
            let add = |done: &mut UploadsDone| {
                let command = CommandDone {
                    ended: begin + jiff::SignedDuration::from_secs(n),
                    ..CommandDone::default()
                };
                let place = done.places.entry(format!("s3://b{n}/")).or_default();
                place.commands.insert("sync".into(), command);
            };
            project.change_uploads(add).unwrap();
        }
        let done = project.uploads().unwrap();
        assert_eq!(done.places.len(), 50);
        assert!(done.places.contains_key("s3://b59/") && !done.places.contains_key("s3://b9/"));
        std::fs::write(project.uploads_path(), "{").unwrap();
        assert!(project.uploads().unwrap_err().hints[0].contains("may be removed"));
    }
}
