//! `backup prune`: which backups go, and why; then they go.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::App;
use super::places::{self, Opened, blocking};
use super::vault::vault_of;
use crate::backup::catalogue::{self, Found, State};
use crate::backup::format::BackupId;
use crate::backup::repository::Repository;
use crate::backup::retention::{Known, Worth, decide};
use crate::event::Level;
use crate::model::{Failure, Result, count};
use crate::state::{BackupLine, Lock};

/// Nobody goes on with what somebody else's machine left this long ago.
const ABANDONED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// So many of the last attempts are looked at.
const ATTEMPTS: usize = 100;

/// What is decided about one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Which.
    pub id: BackupId,
    /// What it takes.
    pub bytes: u64,
    /// It stays.
    pub stays: bool,
    /// Why, each in words.
    pub why: Vec<String>,
}

/// What is decided about a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlaceDecisions {
    /// Which.
    pub place: String,
    /// Its backups of this project, newest first.
    pub backups: Vec<Decision>,
}

/// What would go, ready to go. The project stays locked while it exists.
pub struct PlannedPrune {
    /// What is decided.
    pub places: Vec<PlaceDecisions>,
    opened: Vec<Opened>,
    lock: Option<Lock>,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// How many backups.
    pub removed: usize,
    /// What they took.
    pub bytes: u64,
    /// How many half files that nobody writes any more.
    pub swept: usize,
}

/// Decides about the backups of this project in each place of the configuration.
///
/// # Errors
/// When somebody works on the project, or an older run is not finished; when a place does not answer.
pub fn plan_prune(app: &App, dry_run: bool) -> Result<PlannedPrune> {
    let lock = match dry_run {
        true => None,
        false => Some(app.lock()?),
    };
    app.no_unfinished_run()?;
    let opened = places::open(app, &[])?;
    let attempts = app.state.backups(ATTEMPTS)?.lines;
    // Those that this machine began: while nobody holds the project's lock, nobody goes on with them.
    let free = lock.is_some() || app.state.locked_by()?.is_none();
    let ours: BTreeSet<String> = match free {
        true => app.state.runs()?.iter().map(|run| run.id().to_string()).collect(),
        false => BTreeSet::new(),
    };
    let now = Timestamp::now();
    let mut places = Vec::new();
    for place in &opened {
        let found = place
            .backups(Some(&app.project.name))
            .map_err(|failure| failure.data("nothing was removed"))?;
        let mut known: Vec<Known> = found.iter().map(|found| known(found, &ours, now)).collect();
        known.extend(last_failure(&attempts).filter(|failed| known.iter().all(|k| k.id != failed.id)));
        let verdicts = decide(&known, &app.settings.backup.keep, now);
        let backups = verdicts.into_iter().filter_map(|(id, verdict)| {
            // An attempt that left nothing here has nothing that could go.
            let found = found.iter().find(|found| found.id == id)?;
            Some(Decision {
                id,
                bytes: found.bytes,
                stays: verdict.stays,
                why: verdict.why,
            })
        });
        places.push(PlaceDecisions {
            place: place.place.to_string(),
            backups: backups.collect(),
        });
    }
    Ok(PlannedPrune { places, opened, lock })
}

fn known(found: &Found, ours: &BTreeSet<String>, now: Timestamp) -> Known {
    let old = |at: Timestamp| now.duration_since(at) > ABANDONED;
    let worth = match &found.state {
        State::Complete(_) => Worth::Good,
        State::Unreadable(_) | State::Damaged(_) => Worth::Unreadable,
        State::Incomplete if ours.contains(found.id.run()) => Worth::Failed,
        State::Incomplete if found.modified.is_some_and(old) && old(found.id.began()) => Worth::Failed,
        State::Incomplete => Worth::Writing,
    };
    Known {
        id: found.id.clone(),
        worth,
        pinned: found.pinned,
    }
}

/// The last attempt, if it failed: it may have left nothing in a place.
fn last_failure(attempts: &[BackupLine]) -> Option<Known> {
    let last = attempts
        .iter()
        .rfind(|line| !matches!(line, BackupLine::Verified { .. }))?;
    match last {
        BackupLine::Failed { run, began, .. } => Some(Known {
            id: BackupId::at(*began, run),
            worth: Worth::Failed,
            pinned: false,
        }),
        _ => None,
    }
}

impl PlannedPrune {
    /// Whether nothing would go.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places
            .iter()
            .all(|place| place.backups.iter().all(|backup| backup.stays))
    }

    /// Removes what goes, the oldest first.
    ///
    /// # Errors
    /// When a place does not answer, or somebody stops it: what is gone by then is gone, whole.
    pub fn carry_out(self, app: &App) -> Result<PruneReport> {
        if self.lock.is_none() {
            return Err(Failure::bug("a dry run was asked to remove"));
        }
        let project = &app.project.name;
        let mut report = PruneReport::default();
        let now = Timestamp::now();
        for (place, opened) in self.places.iter().zip(&self.opened) {
            let going = place.backups.iter().rev().filter(|backup| !backup.stays);
            for backup in going {
                let so_far = format!("{} removed; the others are as they were", report.removed);
                if app.options.interrupt.is_raised() {
                    return Err(
                        Failure::interrupted("stopped before the next backup was removed").data(so_far)
                    );
                }
                blocking(|| catalogue::remove(opened.store.as_ref(), project, &backup.id))
                    .map_err(|failure| failure.data(so_far))?;
                let line = format!("{}: {} is removed", place.place, backup.id);
                app.options.events.note(Level::Info, line);
                report.removed += 1;
                report.bytes += backup.bytes;
            }
            forget(app, opened, place, now)?;
            let below = crate::backup::format::StorePath::new(project.as_str())
                .map_err(|e| Failure::bug("a project's name is no path").because(&e))?;
            report.swept += blocking(|| opened.store.sweep(&below))?;
        }
        Ok(report)
    }
}

/// Lets go of the snapshots of backups that went, of those that were never finished, and of what only these needed.
fn forget(app: &App, opened: &Opened, place: &PlaceDecisions, now: Timestamp) -> Result<()> {
    let project = &app.project.name;
    if !blocking(|| Repository::exists(&opened.store, project))? {
        return Ok(());
    }
    let vault = vault_of(app, &[], None)?;
    let repository = vault.repository(&opened.store, project)?;
    let gone = |id: &BackupId| match place.backups.iter().find(|backup| backup.id == *id) {
        Some(backup) => !backup.stays,
        // Nothing else is left of it: it failed, or somebody has just begun it.
        None => now.duration_since(id.began()) > ABANDONED,
    };
    let forgotten = blocking(|| {
        let forgotten = repository.forget(project, &gone)?;
        repository.prune().map(|()| forgotten)
    })?;
    if forgotten > 0 {
        let snapshots = count(forgotten as u64, "snapshot");
        let line = format!(
            "{}: {snapshots} forgotten, and what only they needed let go",
            place.place
        );
        app.options.events.note(Level::Info, line);
    }
    Ok(())
}
