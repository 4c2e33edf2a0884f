//! Which backups stay. Pure: what there is, the rules and the time go in, and a verdict with its reasons comes out for each.
//!
//! The rules of time are those of restic: newest first, each rule keeps the newest backup of every period until it has as
//! many as it may; the oldest backup of all stays as long as a rule has not. Only good backups count. Around them stands
//! what no rule can take away: the last good one, `minimum`, pinned ones, one that is being written, one that cannot be
//! read; and nothing at all goes while the newest backup failed, or lies in the future.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::format::BackupId;
use crate::model::config::Keep;

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub id: BackupId,
    /// What it is worth.
    pub worth: Worth,
    /// Whether somebody said that it stays.
    pub pinned: bool,
}

/// What a backup is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It is whole.
    Good,
    /// It was begun and not finished, and nobody goes on with it.
    Failed,
    /// It may be that somebody writes it right now.
    Writing,
    /// It is damaged, or of a newer Rehome: a person has to look.
    Unreadable,
}

/// Whether a backup stays, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// It stays.
    pub stays: bool,
    /// Why, each in words.
    pub why: Vec<String>,
}

/// What a rule of time calls the period of a moment.
type Period = fn(Date, i8) -> String;

const RULES: [(&str, Period); 5] = [
    ("hourly", |date, hour| format!("{date} {hour:02}h")),
    ("daily", |date, _| date.to_string()),
    ("weekly", |date, _| {
        let week = date.iso_week_date();
        format!("{}-W{:02}", week.year(), week.week())
    }),
    ("monthly", |date, _| {
        format!("{:04}-{:02}", date.year(), date.month())
    }),
    ("yearly", |date, _| format!("{:04}", date.year())),
];

/// Decides about every backup of a project in a place, in any order; the verdicts come newest first.
#[must_use]
pub fn decide(known: &[Known], keep: &Keep, now: Timestamp) -> Vec<(BackupId, Verdict)> {
    let mut known: Vec<&Known> = known.iter().collect();
    known.sort_by(|a, b| (b.id.began(), &b.id).cmp(&(a.id.began(), &a.id)));
    let good: Vec<&BackupId> = known
        .iter()
        .filter(|k| k.worth == Worth::Good)
        .map(|k| &k.id)
        .collect();
    let rules = by_rules(&good, keep);
    let held = nothing_goes(&known, keep, now);
    let mut place = 0;
    let verdicts = known.into_iter().map(|backup| {
        let mut why = Vec::new();
        if backup.pinned {
            why.push("it is pinned".to_owned());
        }
        match backup.worth {
            Worth::Good => {
                if place == 0 {
                    why.push("it is the last good one".to_owned());
                }
                if place < keep.minimum as usize {
                    why.push(format!("minimum: {} of {}", place + 1, keep.minimum));
                }
                why.extend(rules.get(place).into_iter().flatten().cloned());
                place += 1;
            }
            Worth::Failed => {}
            Worth::Writing => why.push("it may be that it is being written".to_owned()),
            Worth::Unreadable => why.push("it cannot be read: a person has to look at it".to_owned()),
        }
        if why.is_empty() {
            why.extend(held.clone());
        }
        let stays = !why.is_empty();
        if !stays {
            why.push(
                match backup.worth {
                    Worth::Failed => "it was never finished",
                    _ => "no rule keeps it",
                }
                .to_owned(),
            );
        }
        (backup.id.clone(), Verdict { stays, why })
    });
    verdicts.collect()
}

/// Why nothing may go, if nothing may.
fn nothing_goes(newest_first: &[&Known], keep: &Keep, now: Timestamp) -> Option<String> {
    if keep.by_key().iter().all(|(_, n)| *n == 0) {
        return Some("nothing goes: `backup.keep` would keep nothing".to_owned());
    }
    let future = newest_first.iter().find(|known| known.id.began() > now);
    if let Some(known) = future {
        return Some(format!(
            "nothing goes: {} began in the future, so the clock is not to be trusted",
            known.id
        ));
    }
    let ended = newest_first.iter().find(|known| known.worth != Worth::Writing);
    let failed = ended.filter(|known| known.worth != Worth::Good)?;
    Some(format!(
        "nothing goes: the newest backup, {}, is no good; after one that is, old ones go",
        failed.id
    ))
}

/// What the rules of time say of each good backup, newest first.
fn by_rules(newest_first: &[&BackupId], keep: &Keep) -> Vec<Vec<String>> {
    let mut why: Vec<Vec<String>> = newest_first
        .iter()
        .enumerate()
        .map(|(place, _)| match place < keep.last as usize {
            true => vec![format!("last: {} of {}", place + 1, keep.last)],
            false => Vec::new(),
        })
        .collect();
    let counts = [keep.hourly, keep.daily, keep.weekly, keep.monthly, keep.yearly];
    for ((rule, period), count) in RULES.iter().zip(counts) {
        let (mut used, mut before) = (0, None);
        for (place, id) in newest_first.iter().enumerate() {
            if used == count {
                break;
            }
            let at = id.began().to_zoned(TimeZone::UTC);
            let now = period(at.date(), at.hour());
            let newest_of_it = before.as_ref() != Some(&now);
            let oldest = place + 1 == newest_first.len();
            if newest_of_it || oldest {
                used += 1;
                why[place].push(match newest_of_it {
                    true => format!("{rule}: the newest of {now}, {used} of {count}"),
                    false => format!("{rule}: the oldest there is, {used} of {count}"),
                });
            }
            before = Some(now);
        }
    }
    why
}

#[cfg(test)]
mod tests;
