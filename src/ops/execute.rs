//! Carries a plan through: opens the run, drives the saga, closes it with a report and a line of history.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;
use crate::compose::Located;
use crate::event::{Event, Outcome};
use crate::model::{Failure, Kind, ProjectName, Result, RunId, Span, count};
use crate::plan::{Facts, MovePlan};
use crate::saga::{Ended, Executor, Plan, Point, Probe, State};
use crate::state::{FileStore, HistoryLine, Lock, LockNote, RunDir};
use crate::steps::{Cx, Downtime, Maintenance, StackFiles};

/// The format of [`Header`].
const HEADER: u32 = 1;

/// The project's files before and after the switch, and what else a run needs.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub before: Located,
    pub after: Located,
    /// Somebody's own maintenance page.
    pub page: Option<String>,
}

/// What a journal keeps so that another process can go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    pub version: u32,
    pub command: String,
    pub host: String,
    pub before: Located,
    pub after: Located,
    pub facts: Facts,
}

/// How a run ended, for the display and for `--json`.
#[derive(Debug, Clone)]
pub struct Finish {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, if it is not done.
    pub failure: Option<Failure>,
    /// Everything that is known about it.
    pub report: Value,
    /// What to say at the end, line by line.
    pub summary: Vec<String>,
}

/// Aborts the process at a point of a run, as `kill -9` does, for tests of recovery.
#[derive(Debug, Clone)]
pub struct CrashPoint(pub String);

impl Probe for CrashPoint {
    fn reached(&self, point: Point) {
        if point.to_string() == self.0 {
            std::process::abort();
        }
    }
}

impl Running {
    /// Begins a run.
    pub(super) async fn begin(self, app: &App, plan: MovePlan, mut lock: Lock) -> Result<Finish> {
        let dir = app.state.create_run()?;
        lock.write(&LockNote::mine(
            app.options.command.as_str(),
            Some(dir.id().clone()),
        ))?;
        let header = Header {
            version: HEADER,
            command: app.options.command.clone(),
            host: app.engine.host().url.clone(),
            before: self.before,
            after: self.after,
            facts: plan.facts,
        };
        let facts = &header.facts;
        let names: Vec<_> = facts.volumes.iter().map(|v| v.key.to_string()).collect();
        let title = format!("move {} to {}", names.join(", "), facts.to);
        let saga = Plan {
            run: dir.id().clone(),
            project: facts.project.clone(),
            title: title.clone(),
            header: serde_json::to_value(&header)
                .map_err(|e| Failure::bug("a plan that cannot be written").because(&e))?,
            steps: plan.steps,
            // A move can be taken back to its last step.
            point_of_no_return: None,
        };
        if let Some(page) = &self.page {
            Maintenance::give(dir.path(), page).map_err(|failure| failure.data("nothing was begun"))?;
        }
        let cx = world(app, &header, &dir);
        let store = FileStore::create(&dir.journal())?;
        let ended = executor(app).run(saga, store, &cx).await?;
        Ok(finish(app, &dir, &header, &cx.downtime, ended).await)
    }
}

/// An executor that tells events, heeds Ctrl-C, and crashes where a test wants it to.
pub(super) fn executor(app: &App) -> Executor {
    let executor = Executor::new(Arc::clone(&app.options.events)).heeding(app.options.interrupt.clone());
    match app.options.project.env.get("REHOME_CRASH_AT") {
        // Only in development builds: nobody's environment shall be able to crash a run.
        Some(point) if cfg!(debug_assertions) => executor.with_probe(Arc::new(CrashPoint(point.clone()))),
        _ => executor,
    }
}

/// The world of the steps.
pub(super) fn world(app: &App, header: &Header, dir: &RunDir) -> Cx {
    Cx {
        engine: app.engine.clone(),
        compose: app.compose.clone(),
        project: header.facts.project.clone(),
        files: StackFiles {
            before: header.before.clone(),
            after: header.after.clone(),
        },
        run: dir.id().clone(),
        run_dir: dir.path().to_owned(),
        events: Arc::clone(&app.options.events),
        interrupt: app.options.interrupt.clone(),
        downtime: Downtime::of_run(dir.path()),
        last_round: std::sync::Mutex::default(),
        maintenance: Maintenance::of_run(
            header
                .facts
                .answered
                .iter()
                .map(|a| (a.service.clone(), a.port.clone()))
                .collect(),
            dir.path(),
        ),
    }
}

/// Writes the report and the history, and says how it ended.
pub(super) async fn finish(
    app: &App,
    dir: &RunDir,
    header: &Header,
    downtime: &Downtime,
    ended: Ended,
) -> Finish {
    let Ended {
        outcome,
        failure,
        state,
    } = ended;
    let run = dir.id().clone();
    let measured = downtime.measured();
    let verified: Vec<String> = state.reports().into_iter().filter_map(|r| r.detail).collect();
    let report = json!({
        "run": run,
        "project": header.facts.project,
        "command": header.command,
        "outcome": outcome,
        "plan": header.facts,
        "steps": state.reports(),
        "downtime_millis": measured.map(|d| d.as_millis() as u64),
        "verified": verified,
        "failure": failure,
    });
    let events = &*app.options.events;
    let closed = !matches!(outcome, Outcome::Interrupted | Outcome::Stuck);
    if let Err(failure) = dir.write_report(&report) {
        events.warn(failure.to_string());
    }
    if closed {
        who_is_missing(app, &header.facts).await;
        let line = HistoryLine {
            run: run.clone(),
            command: header.command.clone(),
            project: header.facts.project.clone(),
            started: state.started(),
            ended: Timestamp::now(),
            outcome,
            downtime_millis: measured.map(|d| d.as_millis() as u64),
            volumes: header.facts.volumes.iter().map(|v| v.key.to_string()).collect(),
            verified: (!verified.is_empty()).then(|| verified.join("; ")),
            from: header.facts.volumes.first().map(|v| v.from.clone()),
            to: Some(header.facts.to.clone()),
        };
        if let Err(failure) = app.state.append_history(&line) {
            events.warn(failure.to_string());
        }
    }
    let failure = failure.map(|f| told(f, outcome, &run, &header.facts.project, &state, header));
    let failure = match (failure, outcome) {
        (None, Outcome::Stuck | Outcome::Interrupted) => Some(told(
            Failure::interrupted("the run was stopped before its end"),
            outcome,
            &run,
            &header.facts.project,
            &state,
            header,
        )),
        (failure, _) => failure,
    };
    let summary = if outcome == Outcome::Done {
        summary(header, &run, &verified, measured)
    } else {
        Vec::new()
    };
    Finish {
        run,
        outcome,
        failure,
        report,
        summary,
    }
}

/// Names the services that ran when the plan was made and do not run now. Those that the run stopped are up again,
/// or it had not ended; but an engine that was killed meanwhile leaves others down.
async fn who_is_missing(app: &App, facts: &Facts) {
    let events = &*app.options.events;
    let containers = match app.engine.project_containers(&facts.project).await {
        Ok(containers) => containers,
        Err(failure) => return events.warn(failure.to_string()),
    };
    for service in facts.stopped.iter().chain(&facts.untouched) {
        let mut its = containers.iter().filter(|c| c.service.as_ref() == Some(service));
        if !its.any(|c| c.state.is_up()) {
            events.warn(format!(
                "service `{service}` ran when this run began and does not now; to start it: docker compose start {service}"
            ));
        }
    }
}

/// Adds what became of the data, and what to do.
fn told(
    failure: Failure,
    outcome: Outcome,
    run: &RunId,
    project: &ProjectName,
    state: &State,
    header: &Header,
) -> Failure {
    let stopped = state
        .reports()
        .iter()
        .any(|r| r.undo_millis.is_some() && r.title.starts_with("stop "));
    let (kind, data) = match outcome {
        Outcome::RolledBack => (
            Kind::RolledBack,
            if stopped {
                format!(
                    "run {run} was rolled back; the stack is up on its old homes, and they are as they were"
                )
            } else {
                format!(
                    "run {run} was rolled back; no service was stopped, and the old homes are as they were"
                )
            },
        ),
        Outcome::Interrupted => (
            Kind::Interrupted,
            format!("the old homes are as they were; run {run} can go on or go back"),
        ),
        Outcome::Stuck => (
            Kind::Stuck,
            format!("the old homes are as they were; run {run} could neither go on nor go back by itself"),
        ),
        Outcome::Refused => (Kind::Refused, "nothing was changed".to_owned()),
        Outcome::Failed | Outcome::Done => (failure.kind, "nothing was switched".to_owned()),
    };
    let mut failure = failure.with_kind(kind);
    if failure.data.is_none() {
        failure = failure.data(data);
    }
    match outcome {
        Outcome::Interrupted => failure
            .hint(format!("finish it: rehome resume {run}"))
            .hint(format!("take it back: rehome rollback {run}")),
        Outcome::Stuck => {
            let files: Vec<_> = header
                .before
                .files
                .iter()
                .map(|f| format!("-f {}", f.display()))
                .collect();
            failure.hint(format!(
                "or bring the old stack up by hand: docker compose -p {project} {} up -d --force-recreate",
                files.join(" ")
            ))
        }
        _ => failure,
    }
}

/// The closing words of a run that is done.
fn summary(
    header: &Header,
    run: &RunId,
    verified: &[String],
    downtime: Option<std::time::Duration>,
) -> Vec<String> {
    let facts = &header.facts;
    let mut lines = vec![format!(
        "{} of {} now live{} {}",
        count(facts.volumes.len() as u64, "volume"),
        facts.project,
        if facts.volumes.len() == 1 { "s" } else { "" },
        if facts.back {
            "in Docker's own directory".to_owned()
        } else {
            format!("on {}", facts.to)
        }
    )];
    for volume in &facts.volumes {
        lines.push(format!("  {}  {} → {}", volume.key, volume.from, volume.to));
    }
    if !verified.is_empty() {
        lines.push("Verified:".to_owned());
        lines.extend(verified.iter().map(|v| format!("  {v}")));
    }
    if let Some(downtime) = downtime {
        lines.push(format!("Down for {}", Span(downtime)));
    }
    lines.push("The old homes are still there, as they were at the stop.".to_owned());
    if facts.volumes.iter().any(|v| v.fresh) {
        lines.push("A fresh database needs its admin user again, for example:".to_owned());
        lines.push("  rehome compose -- exec api python manage.py createsuperuser".to_owned());
    }
    lines.push("Next:".to_owned());
    lines.push("  rehome status               where everything lives now".to_owned());
    if facts.back {
        lines.push(format!("  rehome show {run}          what this run did"));
    } else {
        lines.push("  rehome move --to volumes    go back, with everything written since".to_owned());
    }
    lines
}

impl Finish {
    /// The last event of the run.
    #[must_use]
    pub fn event(&self, exit: u8) -> Event {
        Event::Finished {
            run: Some(self.run.clone()),
            outcome: self.outcome,
            exit,
            failure: self.failure.clone(),
            report: Some(self.report.clone()),
        }
    }
}
