//! Says what became of a backup: to the state directory, to Prometheus, to whoever wants to be notified, and by the ping.
//! What goes wrong here is a warning: how the backup ended stands by then.

use std::path::Path;
use std::time::Duration;

use super::super::App;
use super::super::notify::{About, News, Telling, tell_to};
use crate::event::Outcome;
use crate::model::config::{Format, Moment, Notify};
use crate::model::{Failure, ProjectName, RunId};
use crate::state::{BackupLine, replace_durably};

/// So many of the last backups are looked at for the metrics.
const LATELY: usize = 1000;

/// Tells who wants to know that a backup begins; nobody waits for it here, but [`Telling::end`].
pub(in crate::ops) fn began(app: &App, run: &RunId, title: &str) -> Telling {
    tell_all(app, &news(app, run, title, Moment::Start))
}

/// Writes down how a backup ended, and tells who wants to know. `metrics` is `--metrics`.
pub(in crate::ops) async fn ended(
    app: &App,
    (run, title): (&RunId, &str),
    (outcome, line): (Outcome, &BackupLine),
    failure: Option<&Failure>,
    metrics: Option<&Path>,
) {
    let warn = |failure: Failure| app.options.events.warn(failure.to_string());
    if let Err(failure) = app.state.append_backup(line) {
        warn(failure);
    }
    if let Some(file) = metrics.or(app.settings.backup.metrics.as_deref())
        && let Err(failure) = write_metrics(app, file)
    {
        warn(failure);
    }
    let (began, ended, bytes) = match line {
        BackupLine::Made {
            began, ended, bytes, ..
        } => (*began, *ended, Some(*bytes)),
        BackupLine::Failed { began, ended, .. } => (*began, *ended, None),
        BackupLine::Verified { at, .. } => (*at, *at, None),
    };
    let moment = match outcome {
        Outcome::Done => Moment::Success,
        _ => Moment::Failure,
    };
    let news = News {
        outcome: Some(outcome),
        took: Duration::try_from(ended.duration_since(began)).ok(),
        bytes,
        failure: failure.cloned(),
        ..news(app, run, title, moment)
    };
    tell_all(app, &news).end(app).await;
}

fn news(app: &App, run: &RunId, title: &str, moment: Moment) -> News {
    News {
        about: About::Backup,
        moment,
        project: app.project.name.clone(),
        run: run.clone(),
        title: title.to_owned(),
        outcome: None,
        commit: None,
        took: None,
        bytes: None,
        failure: None,
    }
}

fn tell_all(app: &App, news: &News) -> Telling {
    let backup = &app.settings.backup;
    let ping = (backup.ping.is_some() || backup.ping_from.is_some()).then(|| Notify {
        url: backup.ping.clone(),
        url_from: backup.ping_from.clone(),
        on: vec![Moment::Start, Moment::Success, Moment::Failure],
        format: Format::Healthchecks,
    });
    tell_to(app, app.settings.notify.iter().chain(&ping), news)
}

fn write_metrics(app: &App, file: &Path) -> Result<(), Failure> {
    let lines = app.state.backups(LATELY)?.lines;
    // All may read it: the exporter is another user. It is renamed into its place, so that it never reads a half.
    replace_durably(file, metrics(&app.project.name, &lines).as_bytes())
}

/// What Prometheus' node exporter reads.
fn metrics(project: &ProjectName, lines: &[BackupLine]) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: f64| {
        text += &format!(
            "# HELP rehome_backup_{name} {help}\n# TYPE rehome_backup_{name} gauge\nrehome_backup_{name}{{project=\"{project}\"}} {value}\n"
        );
    };
    let attempts = || {
        lines
            .iter()
            .rev()
            .filter(|line| !matches!(line, BackupLine::Verified { .. }))
    };
    let success = attempts().find_map(|line| match line {
        BackupLine::Made {
            began, ended, bytes, ..
        } => Some((*began, *ended, *bytes)),
        _ => None,
    });
    if let Some((began, ended, bytes)) = success {
        let seconds = ended.duration_since(began).as_secs_f64();
        gauge(
            "last_success_timestamp_seconds",
            "When the last good backup ended.",
            ended.as_second() as f64,
        );
        gauge(
            "size_bytes",
            "What the last good backup takes in one place.",
            bytes as f64,
        );
        gauge("duration_seconds", "How long the last good backup took.", seconds);
    }
    let failed = matches!(attempts().next(), Some(BackupLine::Failed { .. }));
    gauge(
        "last_failed",
        "Whether the last backup failed.",
        if failed { 1.0 } else { 0.0 },
    );
    let verified = lines.iter().rev().find_map(|line| match line {
        BackupLine::Verified { at, .. } => Some(at.as_second()),
        _ => None,
    });
    if let Some(at) = verified {
        gauge(
            "last_verified_timestamp_seconds",
            "When a backup was last read back.",
            at as f64,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_metrics_keep_the_last_success_after_a_failure() {
        let at = |text: &str| format!("2026-11-22T{text}Z").parse::<Timestamp>().unwrap();
        let run = RunId::new("7k2f00000000").unwrap();
        let made = BackupLine::Made {
            id: "20261122T020000Z-7k2f00000000".to_owned(),
            run: run.clone(),
            began: at("02:00:00"),
            ended: at("02:01:01.5"),
            bytes: 12_345_678_901,
            places: Vec::new(),
            whole: true,
            sites: Vec::new(),
        };
        let failed = BackupLine::Failed {
            run,
            began: at("03:00:00"),
            ended: at("03:00:01"),
            why: String::new(),
        };
        let project = ProjectName::new("kms").unwrap();
        insta::assert_snapshot!(metrics(&project, &[made, failed.clone()]));
        assert!(!metrics(&project, &[failed]).contains("success"));
    }
}
