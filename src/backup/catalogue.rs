//! Which backups a place has, and what is known of each.
//!
//! A backup without a manifest is none: it is being written, or was never finished. One whose files are not those that its
//! manifest names is none either; its bytes are only read when it is verified.

use std::collections::BTreeMap;
use std::io::Read as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::{BackupId, DAMAGED, MANIFEST, MANIFEST_LIMIT, Manifest, PINNED, StorePath, VERIFIED};
use super::store::{Store, Stored};
use crate::model::{Failure, ProjectName, Result, count};

/// A place with more backups is not looked through.
const MOST: usize = 20_000;
/// A longer note about a backup is none.
const NOTE_LIMIT: u64 = 1 << 20;

/// A backup in a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Which.
    pub id: BackupId,
    /// Of which project.
    pub project: ProjectName,
    /// What it is worth.
    pub state: State,
    /// All of its files together.
    pub bytes: u64,
    /// When the last of its files appeared, by the place's clock.
    pub modified: Option<Timestamp>,
    /// Whether it is never pruned.
    pub pinned: bool,
    /// When it was last read back.
    pub verified: Option<Verified>,
}

/// What a backup is worth, as far as can be told without reading it.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Its manifest is sound, and every file is there in its size.
    Complete(Box<Manifest>),
    /// It has no manifest: it is being written, or was never finished.
    Incomplete,
    /// It is damaged, or of a newer Rehome.
    Unreadable(Failure),
    /// Its files look right, and were not what was written when they were last read back.
    Damaged(Failure),
}

impl Found {
    /// Its manifest, if it is whole.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.state {
            State::Complete(manifest) => Some(manifest),
            State::Incomplete | State::Unreadable(_) | State::Damaged(_) => None,
        }
    }
}

/// When a backup was read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When.
    pub at: Timestamp,
    /// How.
    pub how: How,
    /// What was compared, in words.
    #[serde(default)]
    pub said: Vec<String>,
}

impl Verified {
    /// Every entry was read and compared with its hash.
    #[must_use]
    pub fn by_hashes(at: Timestamp, entries: usize) -> Self {
        let said = format!(
            "{} read back and compared (BLAKE3)",
            count(entries as u64, "entry")
        );
        Self {
            at,
            how: How::Hashes,
            said: vec![said],
        }
    }

    /// It was restored where nothing lasts.
    #[must_use]
    pub fn by_drill(at: Timestamp, said: Vec<String>) -> Self {
        Self {
            at,
            how: How::Drill,
            said,
        }
    }
}

/// What was found when a backup was read back and was not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Damage {
    at: Timestamp,
    why: String,
}

/// How a backup was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Every byte, against the hashes of its manifest.
    Hashes,
    /// It was restored into throw-away containers.
    Drill,
}

/// The backups of a project, or of every project, that a place has, oldest first. What lies there beside backups is not
/// looked at.
///
/// # Errors
/// When the place does not answer or refuses; when it has more backups than can be meant. A backup that cannot be read is
/// [`State::Unreadable`].
pub fn read(store: &dyn Store, project: Option<&ProjectName>) -> Result<Vec<Found>> {
    let below = match project {
        Some(project) => path(project.as_str())?,
        None => StorePath::default(),
    };
    let mut files: BTreeMap<(BackupId, ProjectName), Vec<Stored>> = BTreeMap::new();
    for file in store.list(&below)? {
        let mut names = file.path.as_str().splitn(3, '/');
        let (Some(of), Some(id), Some(_)) = (names.next(), names.next(), names.next()) else {
            continue;
        };
        if let (Ok(of), Ok(id)) = (ProjectName::new(of), id.parse::<BackupId>()) {
            files.entry((id, of)).or_default().push(file);
        }
        if files.len() > MOST {
            return Err(
                Failure::refused(format!("{} has more than {MOST} backups", store.name()))
                    .hint("name a place with fewer: a directory or a prefix of its own for this project"),
            );
        }
    }
    let found = files
        .into_iter()
        .map(|((id, project), files)| look(store, id, project, &files));
    found.collect()
}

/// One of them; `None` if the place does not have it.
///
/// # Errors
/// As [`read`].
pub fn one(store: &dyn Store, project: &ProjectName, id: &BackupId) -> Result<Option<Found>> {
    let files = store.list(&id.directory(project)?)?;
    match files.is_empty() {
        true => Ok(None),
        false => look(store, id.clone(), project.clone(), &files).map(Some),
    }
}

fn look(store: &dyn Store, id: BackupId, project: ProjectName, files: &[Stored]) -> Result<Found> {
    let directory = id.directory(&project)?;
    let below = |file: &Stored| {
        let name = file.path.as_str().strip_prefix(directory.as_str())?;
        Some(name.strip_prefix('/')?.to_owned())
    };
    let sizes: BTreeMap<String, u64> = files.iter().filter_map(|f| Some((below(f)?, f.bytes))).collect();
    let state = match sizes.get(MANIFEST) {
        None => State::Incomplete,
        Some(_) => match whole(store, &directory, (&id, &project), &sizes)? {
            Ok(_) if sizes.contains_key(DAMAGED) => State::Damaged(found_damaged(store, &directory, &id)?),
            Ok(manifest) => State::Complete(Box::new(manifest)),
            Err(failure) => State::Unreadable(failure),
        },
    };
    let verified = match sizes.contains_key(VERIFIED) {
        true => small(store, &join(&directory, VERIFIED)?, NOTE_LIMIT)?,
        false => None,
    };
    // What cannot be read was not said by this Rehome: then it counts as not verified.
    let verified = verified.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(Found {
        bytes: files.iter().map(|file| file.bytes).sum(),
        modified: files.iter().filter_map(|file| file.modified).max(),
        pinned: sizes.contains_key(PINNED),
        id,
        project,
        state,
        verified,
    })
}

/// The manifest, if it is sound and about these files. The inner failure is the backup's, the outer one the place's.
fn whole(
    store: &dyn Store,
    directory: &StorePath,
    (id, project): (&BackupId, &ProjectName),
    sizes: &BTreeMap<String, u64>,
) -> Result<Result<Manifest>> {
    let damaged = |why: String| {
        Failure::refused(format!("backup {id} is damaged"))
            .cause(why)
            .data("nothing was changed")
    };
    let Some(bytes) = small(store, &join(directory, MANIFEST)?, MANIFEST_LIMIT)? else {
        return Ok(Err(damaged(format!(
            "its manifest is gone, or longer than {MANIFEST_LIMIT} bytes"
        ))));
    };
    let manifest = match Manifest::from_bytes(&bytes) {
        Ok(manifest) => manifest,
        Err(failure) => return Ok(Err(failure)),
    };
    if manifest.id != *id || manifest.project != *project {
        return Ok(Err(damaged(format!(
            "its manifest is that of {} of {}",
            manifest.id, manifest.project
        ))));
    }
    for entry in &manifest.entries {
        let expected = entry.sealed.stored_bytes;
        let why = match sizes.get(entry.path.as_str()) {
            None => format!("{} is not there", entry.path),
            Some(bytes) if *bytes != expected => {
                format!(
                    "{} has {}, and was written with {expected}",
                    entry.path,
                    count(*bytes, "byte")
                )
            }
            Some(_) => continue,
        };
        return Ok(Err(damaged(why)));
    }
    Ok(Ok(manifest))
}

/// What is noted at a backup that was found damaged.
fn found_damaged(store: &dyn Store, directory: &StorePath, id: &BackupId) -> Result<Failure> {
    let noted = small(store, &join(directory, DAMAGED)?, NOTE_LIMIT)?;
    let noted: Option<Damage> = noted.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let failure = Failure::refused(format!("backup {id} is damaged")).data("nothing was changed");
    let failure = match noted {
        Some(Damage { at, why }) => failure.cause(format!("found on {at:.0}: {why}")),
        None => failure.cause(format!("{DAMAGED} lies beside it, and cannot be read")),
    };
    Ok(failure.hint(format!("to read it once more: rehome backup verify {id}")))
}

/// A file that fits into memory; `None` if it is gone by now, or longer than it may be.
fn small(store: &dyn Store, path: &StorePath, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(from) = store.get(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    from.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::environment(format!("cannot read {path} of {}", store.name())).because(&e))?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// Says in the place that a backup was read back.
///
/// # Errors
/// When it cannot be written there.
pub fn write_verified(
    store: &dyn Store,
    project: &ProjectName,
    id: &BackupId,
    verified: &Verified,
) -> Result<()> {
    let bytes = serde_json::to_vec(verified)
        .map_err(|e| Failure::bug("what was verified cannot be written").because(&e))?;
    let directory = id.directory(project)?;
    write(store, &join(&directory, VERIFIED)?, &bytes)?;
    store.remove(&join(&directory, DAMAGED)?)
}

/// Says in the place that a backup was read back and is not what was written: no list goes on calling it verified, and
/// nothing counts on it.
///
/// # Errors
/// When the place does not answer, or refuses.
pub fn write_damaged(
    store: &dyn Store,
    project: &ProjectName,
    id: &BackupId,
    (at, why): (Timestamp, &Failure),
) -> Result<()> {
    let damage = Damage {
        at,
        why: why.to_string(),
    };
    let bytes = serde_json::to_vec(&damage)
        .map_err(|e| Failure::bug("what was found damaged cannot be written").because(&e))?;
    let directory = id.directory(project)?;
    write(store, &join(&directory, DAMAGED)?, &bytes)?;
    store.remove(&join(&directory, VERIFIED)?)
}

/// Keeps a backup from being pruned.
///
/// # Errors
/// When the place does not have it, or cannot be written.
pub fn pin(store: &dyn Store, project: &ProjectName, id: &BackupId) -> Result<()> {
    let directory = id.directory(project)?;
    if store.list(&directory)?.is_empty() {
        return Err(
            Failure::refused(format!("{} has no backup {id} of {project}", store.name()))
                .data("nothing was changed")
                .hint("which there are: rehome backup list"),
        );
    }
    write(store, &join(&directory, PINNED)?, b"pinned\n")
}

/// Lets a backup be pruned again; one that is not pinned, or not there, is fine.
///
/// # Errors
/// When the place does not answer, or refuses.
pub fn unpin(store: &dyn Store, project: &ProjectName, id: &BackupId) -> Result<()> {
    store.remove(&join(&id.directory(project)?, PINNED)?)
}

/// Removes a backup: its manifest first, so that half of one is none. Says how many files went.
///
/// # Errors
/// When it is pinned; when the place does not answer, or refuses. What is left of it is no backup then, and can be
/// removed again.
pub fn remove(store: &dyn Store, project: &ProjectName, id: &BackupId) -> Result<usize> {
    let directory = id.directory(project)?;
    let files = store.list(&directory)?;
    let (manifest, pinned) = (join(&directory, MANIFEST)?, join(&directory, PINNED)?);
    if files.iter().any(|file| file.path == pinned) {
        return Err(Failure::refused(format!("backup {id} is pinned"))
            .data("it was not removed")
            .hint(format!("rehome backup unpin {id}")));
    }
    store.remove(&manifest)?;
    for file in files.iter().filter(|file| file.path != manifest) {
        store.remove(&file.path)?;
    }
    store.sweep(&directory)?;
    Ok(files.len())
}

fn write(store: &dyn Store, path: &StorePath, bytes: &[u8]) -> Result<()> {
    let mut upload = store.put(path)?;
    upload
        .write_all(bytes)
        .map_err(|e| Failure::environment(format!("cannot write {path} in {}", store.name())).because(&e))?;
    upload.finish()
}

fn path(text: &str) -> Result<StorePath> {
    StorePath::new(text).map_err(|e| Failure::bug("a project's name is no path").because(&e))
}

fn join(directory: &StorePath, name: &str) -> Result<StorePath> {
    directory
        .join(name)
        .map_err(|e| Failure::bug("the name of a file of a backup is no path").because(&e))
}

#[cfg(test)]
mod tests;
