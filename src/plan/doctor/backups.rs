//! Checks of backups: whether there are any, how old the last one is, and whether anybody knows that it is any good.

use jiff::Timestamp;

use super::{About, Finding};
use crate::model::Weekly;
use crate::observe::Checkup;
use crate::state::BackupLine;

/// A project without a schedule has a backup at least this often.
const WEEK: i64 = 7 * 86_400;
/// And a backup is read back at least this often.
const MONTH: i64 = 30 * 86_400;

/// Whether anything would be lost.
fn has_data(seen: &Checkup) -> bool {
    let full = |v: &crate::observe::VolumeSeen| v.scan.is_some() && !v.is_empty();
    seen.world.volumes.iter().any(full)
}

/// The last good backup of the whole project: its name and its time.
fn last_good(seen: &Checkup) -> Option<(&str, Timestamp)> {
    let lines = seen.known.backups.iter().rev();
    lines.into_iter().find_map(|line| match line {
        BackupLine::Made {
            id,
            began,
            whole: true,
            ..
        } => Some((id.as_str(), *began)),
        _ => None,
    })
}

/// None at all: a warning where backups are set up, and good to know where they may be made by something else.
pub(super) fn none(seen: &Checkup) -> Vec<Finding> {
    if !has_data(seen) || last_good(seen).is_some() {
        return Vec::new();
    }
    let (id, what) = ("no-backup", "Rehome knows of no backup of this project");
    let finding = match seen.known.backups_wanted {
        true => Finding::warning(id, About::Project, what).seen("`backup` of rehome.yml says where to"),
        false => Finding::note(id, About::Project, what)
            .seen("a block volume outlives the server, and not a mistaken DELETE"),
    };
    vec![finding.mend("rehome backup create")]
}

/// The last attempt did not come to its end.
pub(super) fn failed(seen: &Checkup) -> Vec<Finding> {
    let attempt = |line: &&BackupLine| !matches!(line, BackupLine::Verified { .. });
    match seen.known.backups.iter().rev().find(attempt) {
        Some(BackupLine::Failed { ended, why, .. }) => vec![
            Finding::warning("backup-failed", About::Project, "the last backup failed")
                .seen(format!("{ended:.0}: {why}"))
                .seen("nothing is pruned until one succeeds")
                .mend("rehome backup create"),
        ],
        _ => Vec::new(),
    }
}

/// So many seconds old may the last one be.
pub(super) fn oldest(seen: &Checkup) -> i64 {
    let schedule = seen.known.backup_schedule.as_deref();
    let interval = schedule.and_then(Weekly::read).map(|weekly| weekly.interval());
    interval.map_or(WEEK, |interval| {
        i64::try_from(interval.as_secs())
            .unwrap_or(WEEK)
            .saturating_mul(2)
    })
}

/// The last good one is older than it should be.
pub(super) fn old(seen: &Checkup) -> Vec<Finding> {
    let Some((id, at)) = last_good(seen).filter(|_| has_data(seen)) else {
        return Vec::new();
    };
    let schedule = seen.known.backup_schedule.as_deref();
    let most = oldest(seen);
    let age = seen.known.now.as_second() - at.as_second();
    if age <= most {
        return Vec::new();
    }
    let finding = Finding::warning(
        "backup-old",
        About::Project,
        format!("the last backup is {} old", days(age)),
    )
    .seen(format!("{id}, of {at:.0}"));
    let finding = match schedule {
        Some(schedule) => finding
            .seen(format!("one is meant to be made at {schedule}"))
            .mend("rehome backup schedule --dry-run"),
        None => finding.seen("nothing in rehome.yml says when backups are made"),
    };
    vec![finding.mend("rehome backup create")]
}

/// Nobody has read one back for long.
pub(super) fn unverified(seen: &Checkup) -> Vec<Finding> {
    let Some((id, _)) = last_good(seen).filter(|_| has_data(seen)) else {
        return Vec::new();
    };
    let verified = seen.known.backups.iter().filter_map(|line| match line {
        BackupLine::Verified { at, .. } => Some(*at),
        _ => None,
    });
    let made = seen.known.backups.iter().filter_map(|line| match line {
        BackupLine::Made { began, .. } => Some(*began),
        _ => None,
    });
    let now = seen.known.now.as_second();
    let (last, first) = (verified.max(), made.min());
    // A project that began with backups lately has time.
    let Some(since) = last.or(first).filter(|at| now - at.as_second() > MONTH) else {
        return Vec::new();
    };
    let age = days(now - since.as_second());
    let what = match last {
        Some(_) => format!("no backup was verified for {age}"),
        None => "no backup was ever verified".to_owned(),
    };
    vec![
        Finding::warning("backup-unverified", About::Project, what)
            .seen(format!("the last one is {id}; whether it restores is not known"))
            .mend("rehome backup verify --drill"),
    ]
}

pub(super) fn days(seconds: i64) -> String {
    match (seconds / 86_400, seconds / 3600) {
        (0 | 1, hours) => format!("{hours} hours"),
        (days, _) => format!("{days} days"),
    }
}
