//! Says what was asked of a bucket, and what became of it: to the state directory, and from there to Prometheus. What goes
//! wrong here is a warning: how the command ended stands by then.

use std::fmt::Write as _;
use std::path::PathBuf;

use jiff::Timestamp;

use super::super::App;
use crate::helper::protocol::Spent;
use crate::model::{ProjectName, Result};
use crate::state::{CommandDone, PlaceHeld, UploadsDone, replace_durably};

/// A command that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Ended {
    /// What was typed after `rehome s3`.
    pub command: &'static str,
    /// `s3://bucket/prefix`.
    pub place: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it took.
    pub spent: Spent,
    /// Files and objects that did not arrive, or could not be compared.
    pub failed: u64,
    /// Whether all was as it should be.
    pub good: bool,
}

/// Writes it down.
pub(in crate::ops) fn ended(app: &App, ended: &Ended) {
    if let Err(failure) = tell(app, ended) {
        app.options.events.warn(failure.to_string());
    }
}

fn tell(app: &App, ended: &Ended) -> Result<()> {
    let done = app.state.change_uploads(|done| ended.add_to(done))?;
    match file(app) {
        // All may read it: the exporter is another user. It is renamed into its place, so that it never reads a half.
        Some(file) => replace_durably(&file, metrics(&app.project.name, &done).as_bytes()),
        None => Ok(()),
    }
}

/// Beside the one of backups, unless it is said: each of both is written whole, and would end the other.
fn file(app: &App) -> Option<PathBuf> {
    let settings = &app.settings;
    let beside = || {
        let backups = settings.backup.metrics.as_ref()?;
        let mut name = backups.file_stem()?.to_owned();
        name.push("-s3.prom");
        Some(backups.with_file_name(name))
    };
    settings.s3.metrics.clone().or_else(beside)
}

impl Ended {
    fn add_to(&self, done: &mut UploadsDone) {
        let place = done.places.entry(self.place.clone()).or_default();
        for (kind, number) in self.spent.asked.by_kind() {
            *place.asked.entry(kind.to_owned()).or_default() += number;
        }
        place.requests_failed += self.spent.asked.failed;
        place.files_failed += self.failed;
        if let Some(held) = self.spent.held {
            place.held = Some(PlaceHeld {
                objects: held.objects,
                bytes: held.bytes,
                at: self.ended,
            });
        }
        let command = place.commands.entry(self.command.to_owned()).or_default();
        let took = self.ended.duration_since(self.began);
        *command = CommandDone {
            good: command.good + u64::from(self.good),
            bad: command.bad + u64::from(!self.good),
            ended: self.ended,
            // It counts nothing when the system's clock was set back meanwhile.
            millis: u64::try_from(took.as_millis()).unwrap_or(0),
            was_good: self.good,
            good_at: if self.good {
                Some(self.ended)
            } else {
                command.good_at
            },
        };
    }
}

/// What Prometheus' node exporter reads.
fn metrics(project: &ProjectName, done: &UploadsDone) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, String)>| {
        if samples.is_empty() {
            return;
        }
        // Writing into a String cannot fail.
        let mut write = || {
            writeln!(text, "# HELP rehome_s3_{name} {help}")?;
            writeln!(text, "# TYPE rehome_s3_{name} {kind}")?;
            samples
                .iter()
                .try_for_each(|(labels, value)| writeln!(text, "rehome_s3_{name}{{{labels}}} {value}"))
        };
        write().unwrap_or_default();
    };
    let places: Vec<_> = done
        .places
        .iter()
        .map(|(name, place)| (labels(project, name), place))
        .collect();
    let held = |of: fn(&PlaceHeld) -> String| -> Vec<_> {
        let known = places.iter().filter_map(|(of, place)| Some((of, place.held?)));
        known.map(|(labels, held)| (labels.clone(), of(&held))).collect()
    };
    family(
        "objects",
        "gauge",
        "Objects below the prefix when they were last listed, with what was written since.",
        held(|held| held.objects.to_string()),
    );
    family(
        "size_bytes",
        "gauge",
        "Bytes of the objects below the prefix.",
        held(|held| held.bytes.to_string()),
    );
    family(
        "seen_timestamp_seconds",
        "gauge",
        "When the objects were last listed.",
        held(|held| held.at.as_second().to_string()),
    );
    let asked = places.iter().flat_map(|(labels, place)| {
        let kinds = place.asked.iter();
        kinds.map(move |(kind, number)| (format!("{labels},kind=\"{kind}\""), number.to_string()))
    });
    family(
        "requests_total",
        "counter",
        "Requests to the storage, repeated ones too.",
        asked.collect(),
    );
    let counted = |of: fn(&crate::state::PlaceDone) -> u64| -> Vec<_> {
        let all = places.iter();
        all.map(|(labels, place)| (labels.clone(), of(place).to_string()))
            .collect()
    };
    family(
        "failed_requests_total",
        "counter",
        "Requests that were refused or had no answer, each attempt by itself.",
        counted(|place| place.requests_failed),
    );
    family(
        "failed_files_total",
        "counter",
        "Files and objects that did not arrive or could not be compared.",
        counted(|place| place.files_failed),
    );
    let commands: Vec<_> = places
        .iter()
        .flat_map(|(labels, place)| {
            let all = place.commands.iter();
            all.map(move |(name, command)| (format!("{labels},command=\"{name}\""), command))
        })
        .collect();
    let runs = commands.iter().flat_map(|(labels, command)| {
        [("done", command.good), ("failed", command.bad)]
            .map(|(outcome, number)| (format!("{labels},outcome=\"{outcome}\""), number.to_string()))
    });
    family(
        "runs_total",
        "counter",
        "Commands that ended, by how they ended.",
        runs.collect(),
    );
    let each = |of: fn(&CommandDone) -> Option<String>| -> Vec<_> {
        let known = commands.iter();
        known
            .filter_map(|(labels, command)| Some((labels.clone(), of(command)?)))
            .collect()
    };
    family(
        "last_run_timestamp_seconds",
        "gauge",
        "When the command last ended.",
        each(|command| Some(command.ended.as_second().to_string())),
    );
    family(
        "last_run_duration_seconds",
        "gauge",
        "How long it took then.",
        each(|command| Some((command.millis as f64 / 1000.0).to_string())),
    );
    family(
        "last_run_failed",
        "gauge",
        "Whether it failed then, or found a difference.",
        each(|command| Some(u8::from(!command.was_good).to_string())),
    );
    family(
        "last_success_timestamp_seconds",
        "gauge",
        "When all was as it should be last.",
        each(|command| Some(command.good_at?.as_second().to_string())),
    );
    text
}

/// Of a place; none of its characters needs an escape, but what another version wrote might.
fn labels(project: &ProjectName, place: &str) -> String {
    let place = place.strip_prefix("s3://").unwrap_or(place);
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let escaped = |text: &str| {
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    format!(
        "project=\"{project}\",bucket=\"{}\",prefix=\"{}\"",
        escaped(bucket),
        escaped(prefix)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::protocol::Held;
    use crate::s3::Asked;

    fn one(command: &'static str, at: &str, good: bool) -> Ended {
        let at: Timestamp = format!("2026-11-22T{at}Z").parse().unwrap();
        Ended {
            command,
            place: "s3://obcms-media/media/".to_owned(),
            began: at - jiff::SignedDuration::from_millis(1_500),
            ended: at,
            spent: Spent {
                asked: Asked {
                    list: 2,
                    put: 30,
                    failed: 3,
                    ..Asked::default()
                },
                held: good.then_some(Held {
                    objects: 30,
                    bytes: 12_345_678_901,
                }),
            },
            failed: u64::from(!good),
            good,
        }
    }

    #[test]
    fn the_metrics_add_up_and_keep_the_last_success_after_a_failure() {
        let mut done = UploadsDone::default();
        for ended in [
            one("sync", "02:00:00", true),
            one("verify", "02:10:00", true),
            one("sync", "03:00:00", false),
        ] {
            ended.add_to(&mut done);
        }
        let project = ProjectName::new("kms").unwrap();
        insta::assert_snapshot!(metrics(&project, &done));
        assert_eq!(metrics(&project, &UploadsDone::default()), "");
    }
}
