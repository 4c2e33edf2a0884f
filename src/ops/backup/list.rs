//! `backup list`: which backups there are, and what is in them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::super::App;
use super::places::{self, Opened};
use crate::backup::catalogue::{Found, State, Verified};
use crate::backup::format::{BackupId, Encryption, Entry, What};
use crate::model::config::Place;
use crate::model::{Failure, ProjectName, Result};

/// What `rehome backup list` says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListReport {
    /// The backups, oldest first: by project, then by time.
    pub backups: Vec<Listed>,
    /// What was saved of each project, database and volume.
    pub parts: Vec<Saved>,
    /// The places that did not answer.
    pub failures: Vec<PlaceFailure>,
}

/// A place that did not answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlaceFailure {
    /// Which.
    pub place: String,
    /// Why.
    pub failure: Failure,
}

/// A backup, wherever it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Of which project.
    pub project: ProjectName,
    /// Which.
    pub id: BackupId,
    /// When it began.
    pub began: Timestamp,
    /// What it is worth: the best of its copies.
    pub state: &'static str,
    /// Whether it is encrypted, if that is known.
    pub encrypted: Option<bool>,
    /// The bytes that went in, if that is known.
    pub data_bytes: Option<u64>,
    /// The bytes that a copy takes.
    pub bytes: u64,
    /// Its databases, volumes and files.
    pub parts: Vec<Part>,
    /// Each copy.
    pub copies: Vec<Copied>,
}

/// A copy of a backup.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Copied {
    /// Where.
    pub place: String,
    /// `complete`, `incomplete`, `damaged` or `unreadable`.
    pub state: &'static str,
    /// Why it is unreadable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it takes.
    pub bytes: u64,
    /// Whether it is never pruned.
    pub pinned: bool,
    /// When it was last read back, and how.
    pub verified: Option<Verified>,
}

/// A database, a volume or the project's files in a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Part {
    /// `database`, `volume` or `files`.
    pub is: &'static str,
    /// What it is called: `db/app`, `media_volume`.
    pub name: String,
    /// The bytes that went in.
    pub bytes: u64,
    /// The bytes that it takes.
    pub stored_bytes: u64,
}

/// What is saved of a database or a volume.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Saved {
    /// Of which project.
    pub project: ProjectName,
    /// `database`, `volume` or `files`.
    pub is: &'static str,
    /// What it is called.
    pub name: String,
    /// How many good backups have it.
    pub backups: usize,
    /// When the last of them began.
    pub last: Timestamp,
    /// The bytes that went into the last.
    pub bytes: u64,
    /// When one that has it was last read back.
    pub verified: Option<Timestamp>,
}

/// Looks into the places of the configuration, or into those that are named; of every project if `all`.
///
/// # Errors
/// When there are no places, or none can be opened. One that does not answer is in the report.
pub fn list(app: &App, all: bool, from: &[Place]) -> Result<ListReport> {
    let project = (!all).then_some(&app.project.name);
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for opened in places::open(app, from)? {
        let Opened { place, .. } = &opened;
        match opened.backups(project) {
            Ok(backups) => found.extend(backups.into_iter().map(|backup| (place.to_string(), backup))),
            Err(failure) => failures.push(PlaceFailure {
                place: place.to_string(),
                failure,
            }),
        }
    }
    Ok(report(found, failures))
}

fn report(found: Vec<(String, Found)>, failures: Vec<PlaceFailure>) -> ListReport {
    let mut by_backup: BTreeMap<(ProjectName, BackupId), Vec<(String, Found)>> = BTreeMap::new();
    for (place, backup) in found {
        let key = (backup.project.clone(), backup.id.clone());
        by_backup.entry(key).or_default().push((place, backup));
    }
    let backups: Vec<Listed> = by_backup
        .into_iter()
        .map(|((project, id), copies)| listed(project, id, copies))
        .collect();
    ListReport {
        parts: saved(&backups),
        backups,
        failures,
    }
}

fn listed(project: ProjectName, id: BackupId, copies: Vec<(String, Found)>) -> Listed {
    let manifest = copies.iter().find_map(|(_, found)| found.manifest());
    let parts = manifest.map(|m| parts(&m.entries)).unwrap_or_default();
    let copied: Vec<Copied> = copies
        .iter()
        .map(|(place, found)| Copied {
            place: place.clone(),
            state: match found.state {
                State::Complete(_) => "complete",
                State::Incomplete => "incomplete",
                State::Unreadable(_) => "unreadable",
                State::Damaged(_) => "damaged",
            },
            why: match &found.state {
                State::Unreadable(failure) | State::Damaged(failure) => Some(failure.to_string()),
                State::Complete(_) | State::Incomplete => None,
            },
            bytes: found.bytes,
            pinned: found.pinned,
            verified: found.verified.clone(),
        })
        .collect();
    let best = |state: &&str| {
        ["complete", "incomplete", "damaged", "unreadable"]
            .iter()
            .position(|s| s == state)
    };
    Listed {
        began: id.began(),
        state: copied
            .iter()
            .map(|copy| copy.state)
            .min_by_key(best)
            .unwrap_or("incomplete"),
        encrypted: manifest.map(|m| m.encryption != Encryption::None),
        data_bytes: manifest.map(|m| m.entries.iter().map(Entry::bytes).sum()),
        bytes: copied.iter().map(|copy| copy.bytes).max().unwrap_or(0),
        parts,
        copies: copied,
        project,
        id,
    }
}

fn parts(entries: &[Entry]) -> Vec<Part> {
    let mut found: BTreeMap<(&'static str, String), (u64, u64)> = BTreeMap::new();
    for entry in entries {
        let key = match &entry.what {
            What::Dump(dump) => {
                let server = dump.service.as_ref().map(ToString::to_string);
                // A database in a file is called by the file.
                let server = server
                    .or_else(|| dump.volume.as_ref().map(|volume| format!("{volume}/{}", dump.at)))
                    .unwrap_or_else(|| dump.at.clone());
                let name = match &dump.database {
                    Some(database) => format!("{server}/{database}"),
                    None => server,
                };
                ("database", name)
            }
            What::Volume(volume) => ("volume", volume.key.to_string()),
            What::Snapshot(volume) => ("snapshot", volume.key.to_string()),
            What::File { .. } => ("files", "project files".to_owned()),
        };
        let sum = found.entry(key).or_default();
        sum.0 += entry.bytes();
        sum.1 += match &entry.what {
            What::Snapshot(note) => note.bytes_added,
            _ => entry.sealed.stored_bytes,
        };
    }
    found
        .into_iter()
        .map(|((is, name), (bytes, stored_bytes))| Part {
            is,
            name,
            bytes,
            stored_bytes,
        })
        .collect()
}

/// By project, database and volume; backups come oldest first.
fn saved(backups: &[Listed]) -> Vec<Saved> {
    let mut found: BTreeMap<(&ProjectName, &'static str, &str), Saved> = BTreeMap::new();
    for backup in backups {
        let verified = backup
            .copies
            .iter()
            .filter_map(|copy| Some(copy.verified.as_ref()?.at));
        let verified = verified.max();
        for part in &backup.parts {
            let known = found
                .entry((&backup.project, part.is, &part.name))
                .or_insert_with(|| Saved {
                    project: backup.project.clone(),
                    is: part.is,
                    name: part.name.clone(),
                    backups: 0,
                    last: backup.began,
                    bytes: part.bytes,
                    verified: None,
                });
            known.backups += 1;
            (known.last, known.bytes) = (backup.began, part.bytes);
            known.verified = known.verified.max(verified);
        }
    }
    found.into_values().collect()
}
