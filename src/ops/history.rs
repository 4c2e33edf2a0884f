//! `history` and `show`: what ran, and what one run did. Read from the journals, which cannot be lost without a word.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::App;
use crate::event::Outcome;
use crate::model::{Result, RunId};
use crate::saga::recovery::{Condition, Run, examine, survey};
use crate::state::RunDir;

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Which.
    pub run: RunId,
    /// When it began.
    pub started: Timestamp,
    /// How long it took so far, in milliseconds.
    pub millis: Option<u64>,
    /// Who began it: a user of the machine, where that was written down.
    pub by: Option<String>,
    /// What it did.
    pub title: String,
    /// How it ended; `None` while it waits to be finished.
    pub outcome: Option<Outcome>,
    /// For how long services were down, in milliseconds.
    pub downtime_millis: Option<u64>,
    /// For how long the one service was away that was away the longest, in milliseconds: of a run that replaces services one
    /// by one.
    pub away_millis: Option<u64>,
    /// Its journal cannot be read: why.
    pub damaged: Option<String>,
    /// Whether all of it can still be taken back, while it is not finished.
    #[serde(skip)]
    pub reversible: bool,
}

/// Every run of the project, newest first.
///
/// # Errors
/// When the state directory cannot be read.
pub fn history(app: &App) -> Result<Vec<Line>> {
    Ok(survey(&app.state)?.iter().filter_map(line).collect())
}

/// A run in a line; `None` of one that never began.
pub(super) fn line(run: &Run) -> Option<Line> {
    let id = run.dir.id().clone();
    match &run.condition {
        Condition::NeverBegan => None,
        Condition::Unreadable(failure) => Some(Line {
            run: id,
            started: run.dir.began(),
            millis: None,
            by: None,
            title: "its journal cannot be read".to_owned(),
            outcome: None,
            downtime_millis: None,
            away_millis: None,
            damaged: Some(failure.to_string()),
            reversible: false,
        }),
        Condition::Open(state) | Condition::Closed(state) => {
            let report = report(&run.dir);
            let away = report["away_millis"].as_object();
            let away = away.into_iter().flat_map(serde_json::Map::values);
            Some(Line {
                run: id,
                started: state.started(),
                millis: u64::try_from(state.last().duration_since(state.started()).as_millis()).ok(),
                by: state.opened().header["by"].as_str().map(str::to_owned),
                title: state.opened().title.clone(),
                outcome: state.outcome(),
                downtime_millis: report["downtime_millis"].as_u64(),
                away_millis: away.filter_map(Value::as_u64).max(),
                damaged: None,
                reversible: !state.is_committed(),
            })
        }
    }
}

/// The report of a run; nothing if it has none, which is no failure: the journal says the same, but for times and last words.
pub(super) fn report(dir: &RunDir) -> Value {
    dir.read_report().ok().flatten().unwrap_or_default()
}

/// One run's plan, steps and timings.
///
/// # Errors
/// When there is no such run, or its journal cannot be believed.
pub fn show(app: &App, run: &RunId) -> Result<Value> {
    report_of(examine(app.state.find_run(run.as_str())?))
}

/// What a run did.
pub(super) fn report_of(run: Run) -> Result<Value> {
    let id = run.dir.id().clone();
    let report = report(&run.dir);
    match run.condition {
        Condition::Unreadable(failure) => Err(*failure),
        Condition::NeverBegan => Ok(json!({ "run": id, "title": "ended before it began", "steps": [] })),
        Condition::Open(state) | Condition::Closed(state) => Ok(json!({
            "run": id,
            "title": state.opened().title,
            "by": state.opened().header["by"],
            "command": state.opened().header["command"],
            "plan": state.opened().header["facts"],
            "started": state.started(),
            "last": state.last(),
            "outcome": state.outcome(),
            "resumed": state.resumed(),
            "steps": state.reports(),
            "failure": state.cause().map(|(_, failure)| failure),
            "downtime_millis": report["downtime_millis"],
            "away_millis": report["away_millis"],
            "images": report["images"],
            "hooks_log": run.dir.hooks_log().exists().then(|| run.dir.hooks_log()),
            "journal": run.dir.journal(),
        })),
    }
}
