//! Carries a plan through: opens the run, drives the saga, closes it with a report and a line of history. What is said
//! at the end is in `of_move`, `of_deploy` and their like.

mod after;
mod of_backup;
mod of_deploy;
mod of_move;
mod of_site;
mod of_uploads;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;
use super::backup::{Watchdog, vault_of};
use super::git::Pulled;
use crate::compose::Located;
use crate::engine::{Container, Published};
use crate::event::{Event, Events, Outcome};
use crate::model::{Failure, Kind, ProjectName, Result, RunId, ServiceName};
use crate::plan::Facts;
use crate::plan::deploy::DeployFacts;
use crate::s3::S3Settings;
use crate::saga::{Ended, Executor, Plan, Point, Probe, State, Step};
use crate::state::{FileStore, HistoryLine, Lock, RunDir};
use crate::steps::{Cx, Downtime, Maintenance, StackFiles, Storage};

pub(super) use of_backup::{About, BackupAbout};
pub(super) use of_site::SiteAbout;
pub(super) use of_uploads::UploadsAbout;

/// The format of [`Header`].
const HEADER: u32 = 1;

/// The project's files before and after the switch, and what else a run needs.
#[derive(Debug)]
pub(super) struct Running {
    pub before: Located,
    pub after: Located,
    /// Somebody's own maintenance page.
    pub page: Option<String>,
    /// What git brought, which goes back with the run.
    pub pulled: Option<Pulled>,
    /// Takes the run back when this process is killed.
    pub watchdog: Option<Watchdog>,
}

/// What a journal keeps so that another process can go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    pub version: u32,
    /// Who began it: a user of the machine.
    #[serde(default)]
    pub by: Option<String>,
    pub command: String,
    pub host: String,
    pub before: Located,
    pub after: Located,
    pub facts: RunFacts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled: Option<Pulled>,
}

/// What was said about the plan of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RunFacts {
    /// Of a move.
    Move(Facts),
    /// Of a deployment.
    Deploy(DeployFacts),
    /// Of a backup, a drill or a restore.
    Backup(Box<BackupAbout>),
    /// Of a switch of uploads.
    Uploads(Box<UploadsAbout>),
    /// Of a switch of a site's persistent storage.
    Site(Box<SiteAbout>),
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
    /// What was compared, step by step.
    pub verified: Vec<String>,
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
    /// A run that leaves the project's files as they are.
    pub(super) fn as_it_is(app: &App) -> Self {
        Self {
            before: app.located.clone(),
            after: app.located.clone(),
            page: None,
            pulled: None,
            watchdog: None,
        }
    }

    /// Begins a run.
    pub(super) async fn begin<S: Step<Cx = Cx>>(
        self,
        app: &App,
        (facts, steps): (RunFacts, Vec<S>),
        mut lock: Lock,
    ) -> Result<Finish> {
        let dir = app.state.create_run()?;
        let note = app.options.note(Some(dir.id().clone()));
        lock.write(&note)?;
        let header = Header {
            version: HEADER,
            by: Some(note.user),
            command: app.options.command.clone(),
            host: app.engine.host().url.clone(),
            before: self.before,
            after: self.after,
            facts,
            pulled: self.pulled,
        };
        let saga = Plan {
            run: dir.id().clone(),
            project: header.facts.project().clone(),
            title: header.facts.title(),
            header: serde_json::to_value(&header)
                .map_err(|e| Failure::bug("a plan that cannot be written").because(&e))?,
            steps,
            // All of it can be taken back, to its last step.
            point_of_no_return: None,
        };
        if let Some(page) = &self.page {
            Maintenance::give(dir.path(), page).map_err(|failure| failure.data("nothing was begun"))?;
        }
        let cx = world(app, &header, &dir)?;
        let store = FileStore::create(&dir.journal())?;
        let began = match &header.facts {
            RunFacts::Deploy(facts) => Some(after::began(app, facts, dir.id())),
            RunFacts::Backup(about) => about.began(app, dir.id()),
            RunFacts::Move(_) | RunFacts::Uploads(_) | RunFacts::Site(_) => None,
        };
        let mut watchdog = self.watchdog;
        if let Some(watchdog) = &mut watchdog {
            watchdog
                .watch(dir.id())
                .map_err(|failure| failure.data("nothing was begun"))?;
        }
        let ended = executor(app).run(saga, store, &cx).await;
        // Of a run that waits to be taken back the services may still stand still.
        let over = ended
            .as_ref()
            .is_ok_and(|ended| !matches!(ended.outcome, Outcome::Interrupted | Outcome::Stuck));
        if let Some(Err(failure)) = watchdog.filter(|_| over).map(Watchdog::leave) {
            app.options.events.warn(failure.to_string());
        }
        if let Some(began) = began {
            began.end(app).await;
        }
        Ok(finish(app, &dir, &header, &cx, ended?).await)
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
///
/// # Errors
/// When the keys of a backup are not there.
pub(super) fn world(app: &App, header: &Header, dir: &RunDir) -> Result<Cx> {
    let vault = match &header.facts {
        RunFacts::Backup(about) => Some(vault_of(app, &about.identities, about.lender.as_ref())?),
        RunFacts::Move(_) | RunFacts::Deploy(_) | RunFacts::Uploads(_) | RunFacts::Site(_) => None,
    };
    let storage = match &header.facts {
        RunFacts::Uploads(about) => {
            let variables = app.located.variables(&app.options.project.env)?;
            let bucket = &about.uploads.media.bucket;
            Some(Storage::new(S3Settings::from_names(bucket, &|name| {
                variables.get(name).cloned()
            })?))
        }
        RunFacts::Move(_) | RunFacts::Deploy(_) | RunFacts::Backup(_) | RunFacts::Site(_) => None,
    };
    Ok(Cx {
        engine: app.engine.clone(),
        compose: app.compose.clone(),
        project: header.facts.project().clone(),
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
        maintenance: Maintenance::of_run(header.facts.answered(), dir.path()),
        env: app.options.project.env.clone(),
        vault,
        storage,
    })
}

/// Writes the report and the history, and says how it ended.
pub(super) async fn finish(app: &App, dir: &RunDir, header: &Header, cx: &Cx, ended: Ended) -> Finish {
    let Ended {
        outcome,
        failure,
        state,
    } = ended;
    let run = dir.id().clone();
    let measured = cx.downtime.measured();
    let away = cx.downtime.away();
    let verified: Vec<String> = state.reports().into_iter().filter_map(|r| r.detail).collect();
    let closed = !matches!(outcome, Outcome::Interrupted | Outcome::Stuck);
    let containers = match closed {
        true => project_containers(app, &header.facts).await,
        false => None,
    };
    let images = images(containers.as_deref().unwrap_or_default());
    let mut report = json!({
        "run": run,
        "project": header.facts.project(),
        "by": header.by,
        "images": images,
        "command": header.command,
        "outcome": outcome,
        "plan": header.facts,
        "steps": state.reports(),
        "downtime_millis": measured.map(|d| d.as_millis() as u64),
        "away_millis": away.iter().map(|(s, d)| (s.to_string(), d.as_millis() as u64)).collect::<BTreeMap<_, _>>(),
        "verified": verified,
        "failure": failure,
    });
    let events = &*app.options.events;
    if closed {
        if let Some(containers) = &containers {
            who_is_missing(events, &header.facts, containers);
        }
        let line = HistoryLine {
            run: run.clone(),
            by: header.by.clone(),
            command: header.command.clone(),
            project: header.facts.project().clone(),
            started: state.started(),
            ended: Timestamp::now(),
            outcome,
            downtime_millis: measured.map(|d| d.as_millis() as u64),
            volumes: header.facts.volumes(),
            verified: (!verified.is_empty()).then(|| verified.join("; ")),
            from: header.facts.from(),
            to: header.facts.to(),
            commit: header.facts.commit(),
            images,
        };
        if let Err(failure) = app.state.append_history(&line) {
            events.warn(failure.to_string());
        }
    }
    let failure = failure.map(|f| told(f, outcome, &run, &state, header));
    let (outcome, failure) = match &header.facts {
        RunFacts::Backup(about) => of_backup::judged(about, cx, (outcome, failure)),
        _ => (outcome, failure),
    };
    let failure = match (failure, outcome) {
        (None, Outcome::Stuck | Outcome::Interrupted) => Some(told(
            Failure::interrupted("the run was stopped before its end"),
            outcome,
            &run,
            &state,
            header,
        )),
        (failure, _) => failure,
    };
    let files_went_back = match (&header.pulled, outcome) {
        (Some(pulled), Outcome::RolledBack | Outcome::Failed) => pulled.take_back(app).await,
        _ => false,
    };
    if let RunFacts::Deploy(facts) = &header.facts {
        after::hooks(app, facts, cx, outcome).await;
        after::ended(app, facts, (&run, outcome, &state), failure.as_ref()).await;
    }
    if let RunFacts::Backup(about) = &header.facts {
        about.ended(app, cx, (outcome, &state), failure.as_ref()).await;
    }
    if let RunFacts::Uploads(about) = &header.facts {
        about.ended(app, cx, (outcome, &state)).await;
    }
    if let RunFacts::Site(about) = &header.facts {
        about.ended(cx, outcome).await;
    }
    let summary = match &header.facts {
        RunFacts::Move(facts) if outcome == Outcome::Done => {
            of_move::summary(facts, &run, &verified, measured)
        }
        RunFacts::Deploy(facts) => of_deploy::summary(
            facts,
            dir,
            (outcome, &state, files_went_back),
            &verified,
            measured,
        ),
        RunFacts::Uploads(about) => about.summary(outcome, &verified, &away),
        RunFacts::Site(about) => about.summary(outcome, &verified, measured, &away),
        RunFacts::Backup(about) => of_backup::summary(about, cx, (outcome, &state), &verified, measured),
        RunFacts::Move(_) => Vec::new(),
    };
    report["summary"] = summary.clone().into();
    if let Err(failure) = dir.write_report(&report) {
        events.warn(failure.to_string());
    }
    Finish {
        run,
        outcome,
        failure,
        verified,
        report,
        summary,
    }
}

/// The project's containers, at the end of a run. That they cannot be asked for is told, and changes nothing about it.
async fn project_containers(app: &App, facts: &RunFacts) -> Option<Vec<Container>> {
    let containers = app.engine.project_containers(facts.project()).await;
    containers
        .map_err(|failure| app.options.events.warn(failure.to_string()))
        .ok()
}

/// What each service that is up was made from.
fn images(containers: &[Container]) -> BTreeMap<ServiceName, String> {
    let up = containers.iter().filter(|c| c.state.is_up());
    up.filter_map(|c| {
        Some((
            c.service.clone()?,
            format!("{} ({})", c.image_name, c.image.short()),
        ))
    })
    .collect()
}

/// Names the services that ran when the plan was made and do not run now. Those that the run stopped are up again,
/// or it had not ended; but an engine that was killed meanwhile leaves others down.
fn who_is_missing(events: &dyn Events, facts: &RunFacts, containers: &[Container]) {
    for service in facts.were_up() {
        let mut its = containers.iter().filter(|c| c.service.as_ref() == Some(service));
        if !its.any(|c| c.state.is_up()) {
            events.warn(format!(
                "service `{service}` ran when this run began and does not now; to start it: docker compose start {service}"
            ));
        }
    }
}

/// Adds what became of the data, and what to do.
fn told(failure: Failure, outcome: Outcome, run: &RunId, state: &State, header: &Header) -> Failure {
    let data = match &header.facts {
        RunFacts::Move(_) => of_move::data(outcome, run, state),
        RunFacts::Deploy(_) => of_deploy::data(outcome, run, state),
        RunFacts::Backup(about) => of_backup::data(about, outcome, run),
        RunFacts::Uploads(about) => about.data(outcome, run),
        RunFacts::Site(about) => about.data(outcome, run),
    };
    let kind = match outcome {
        Outcome::RolledBack => Kind::RolledBack,
        Outcome::Interrupted => Kind::Interrupted,
        Outcome::Stuck => Kind::Stuck,
        Outcome::Refused => Kind::Refused,
        Outcome::Failed | Outcome::Done => failure.kind,
    };
    let mut failure = failure.with_kind(kind);
    if failure.data.is_none() {
        failure = failure.data(data);
    }
    if let (Outcome::Interrupted | Outcome::Stuck, RunFacts::Site(about)) = (outcome, &header.facts) {
        failure = about.where_it_is(failure);
    }
    match outcome {
        Outcome::Interrupted => failure
            .hint(format!("finish it: rehome resume {run}"))
            .hint(format!("take it back: rehome rollback {run}")),
        // What stands in its way is the bucket or the engine, and not the files of the stack.
        Outcome::Stuck if matches!(header.facts, RunFacts::Uploads(_)) => {
            failure.hint(format!("once that is mended: rehome rollback {run}"))
        }
        Outcome::Stuck => {
            let files: Vec<_> = header
                .before
                .files
                .iter()
                .map(|f| format!("-f {}", f.display()))
                .collect();
            failure.hint(format!(
                "or bring the old stack up by hand: docker compose -p {} {} up -d --force-recreate",
                header.facts.project(),
                files.join(" ")
            ))
        }
        _ => failure,
    }
}

impl RunFacts {
    pub(super) fn project(&self) -> &ProjectName {
        match self {
            Self::Move(facts) => &facts.project,
            Self::Deploy(facts) => &facts.project,
            Self::Backup(about) => about.project(),
            Self::Uploads(about) => &about.uploads.project,
            Self::Site(about) => &about.storage.project,
        }
    }

    /// What the run does, in words.
    fn title(&self) -> String {
        match self {
            Self::Move(facts) => format!("move {} to {}", self.volumes().join(", "), facts.to),
            Self::Deploy(facts) => of_deploy::title(facts),
            Self::Backup(about) => about.title(),
            Self::Uploads(about) => about.title(),
            Self::Site(about) => about.title(),
        }
    }

    fn volumes(&self) -> Vec<String> {
        match self {
            Self::Move(facts) => facts.volumes.iter().map(|v| v.key.to_string()).collect(),
            Self::Deploy(_) | Self::Backup(_) | Self::Site(_) => Vec::new(),
            Self::Uploads(about) => vec![about.uploads.media.key.to_string()],
        }
    }

    fn from(&self) -> Option<String> {
        match self {
            Self::Move(facts) => facts.volumes.first().map(|v| v.from.clone()),
            Self::Deploy(_) | Self::Backup(_) | Self::Uploads(_) | Self::Site(_) => None,
        }
    }

    fn to(&self) -> Option<String> {
        match self {
            Self::Move(facts) => Some(facts.to.clone()),
            Self::Deploy(_) | Self::Backup(_) | Self::Uploads(_) | Self::Site(_) => None,
        }
    }

    fn commit(&self) -> Option<String> {
        match self {
            Self::Move(_) | Self::Backup(_) | Self::Uploads(_) | Self::Site(_) => None,
            Self::Deploy(facts) => facts.commit.clone(),
        }
    }

    /// The ports on which a maintenance page answers.
    fn answered(&self) -> Vec<(ServiceName, Published)> {
        match self {
            Self::Move(facts) => {
                let answered = facts.answered.iter();
                answered.map(|a| (a.service.clone(), a.port.clone())).collect()
            }
            Self::Deploy(_) | Self::Backup(_) | Self::Uploads(_) | Self::Site(_) => Vec::new(),
        }
    }

    /// The services that ran when the plan was made.
    fn were_up(&self) -> Vec<&ServiceName> {
        match self {
            Self::Move(facts) => facts.stopped.iter().chain(&facts.untouched).collect(),
            Self::Deploy(facts) => facts.were_up.iter().collect(),
            Self::Backup(about) => about.were_up(),
            Self::Uploads(about) => about.uploads.were_up.iter().collect(),
            Self::Site(about) => about.storage.were_up.iter().collect(),
        }
    }
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
