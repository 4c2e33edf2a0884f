//! What can be begun from here: planned, shown, and run. What somebody said yes to is what runs.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::Server;
use super::guard::AuditId;
use super::problem::{Problem, Why};
use super::runs::Order;
use crate::access::Who;
use crate::event::{Event, Events, Level};
use crate::model::{Failure, ProjectName, Result, RunId, shell_path};
use crate::ops::backup::{CreateRequest, PlannedBackup, plan_create};
use crate::ops::site::{PlannedStorage, SiteMoveRequest, Sites, StorageRequest};
use crate::ops::{
    App, DeployRequest, MoveRequest, Options, Planned, PlannedDeploy, Projects, Recovery, Runs, plan_deploy,
    plan_move, recover,
};
use crate::plan;
use crate::saga::Step;

/// What stands behind the number of a size, a span or a count that grows while data is written to.
const UNITS: [&str; 13] = [
    "B", "kB", "MB", "GB", "TB", "ms", "s", "min", "h", "file", "files", "entry", "entries",
];

/// What a rendered plan puts before each of its warnings.
const WARNING: &str = "! ";
/// So many notes are kept of the making of a plan.
const NOTES: usize = 40;

/// What can be begun.
#[derive(Clone)]
pub(super) enum Work {
    /// A site's persistent storage is switched.
    Storage(StorageRequest),
    /// The data of a site moves.
    MoveSite(SiteMoveRequest),
    /// A project is deployed.
    Deploy(ProjectName, DeployRequest),
    /// Volumes of a project move.
    Move(ProjectName, Box<MoveRequest>),
    /// A project is backed up.
    Backup(ProjectName, CreateRequest),
}

/// A plan, as it is shown.
pub(super) struct Shown {
    /// For programs.
    pub json: Value,
    /// For people, as the command line prints it, but for its warnings.
    pub text: String,
    /// What a careful person should know: its warnings, and what was found while it was made.
    pub warnings: Vec<String>,
    /// Which plan it is.
    pub mark: String,
}

impl Shown {
    fn new<P: Serialize, S: Step>(plan: &P, steps: &[S], rendered: &str) -> Result<Self> {
        let (warnings, text): (Vec<&str>, Vec<&str>) =
            rendered.lines().partition(|line| line.starts_with(WARNING));
        let warnings = warnings.iter().map(|line| line[WARNING.len()..].to_owned());
        Ok(Self {
            json: serde_json::to_value(plan)
                .map_err(|e| Failure::bug("a plan that is no JSON").because(&e))?,
            text: text.join("\n").trim_end().to_owned(),
            warnings: warnings.collect(),
            mark: format!(
                "{}-{}",
                mark_of(steps.iter().map(Step::title)),
                mark_of(rendered.lines().map(str::to_owned))
            ),
        })
    }

    /// Whether it is the one that somebody read, where somebody read one. `forward`: `git` brought the files forward for it, as
    /// it said beside that plan: then its steps are compared, and not what becomes of each service.
    fn is(&self, read: Option<&String>, forward: bool) -> Result<()> {
        let steps = |mark: &str| mark.split('-').next().map(str::to_owned);
        let same = |read: &String| match forward {
            true => steps(read) == steps(&self.mark),
            false => *read == self.mark,
        };
        match read {
            Some(read) if !same(read) => {
                Err(Failure::refused("the plan is no longer the one that was shown")
                    .cause("something changed meanwhile")
                    .data("nothing was changed")
                    .hint("read the new one, and say yes to that"))
            }
            _ => Ok(()),
        }
    }
}

fn of_site(planned: &PlannedStorage) -> Result<Shown> {
    let plan = &planned.plan;
    Shown::new(plan, &plan.steps, &plan::site::render(plan))
}

fn of_deployment(planned: &PlannedDeploy) -> Result<Shown> {
    let plan = &planned.plan;
    Shown::new(plan, &plan.steps, &plan::deploy::render(plan))
}

fn of_move(planned: &Planned) -> Result<Shown> {
    let plan = &planned.plan;
    Shown::new(plan, &plan.steps, &plan::render(plan))
}

fn of_backup(planned: &PlannedBackup) -> Result<Shown> {
    let plan = &planned.plan;
    Shown::new(plan, &plan.steps, &plan::backup::render(&plan.facts))
}

/// Of a plan that was read: other words are another mark, but sizes, spans and counts of files may grow meanwhile.
fn mark_of(lines: impl Iterator<Item = String>) -> String {
    let bare = |word: &str| word.trim_matches(|c: char| "(),;:".contains(c)).to_owned();
    let mut hasher = blake3::Hasher::new();
    for line in lines {
        let mut words = line.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let grows = bare(word).parse::<f64>().is_ok()
                && words.next_if(|unit| UNITS.contains(&&*bare(unit))).is_some();
            if !grows {
                hasher.update(word.as_bytes()).update(b" ");
            }
        }
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Keeps what is told while a plan is made.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Events for Heard {
    fn tell(&self, event: Event) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Note { level, text } if level != Level::Detail && notes.len() < NOTES => notes.push(text),
            _ => {}
        }
    }
}

async fn open(options: Options, project: &ProjectName) -> Result<App> {
    Projects::new(options).open(project).await
}

impl Work {
    /// The command that would do the same, for the history.
    fn command(&self) -> String {
        match self {
            Self::Storage(request) => {
                let verb = if request.on { "enable" } else { "disable" };
                format!("rehome site {verb} {}", request.name)
            }
            Self::MoveSite(request) => match &request.to {
                Some(to) => format!("rehome site move {} --to {}", request.name, shell_path(to)),
                None => format!("rehome site move {}", request.name),
            },
            Self::Deploy(project, _) => format!("rehome deploy -p {project}"),
            Self::Move(project, request) => {
                let mut words = format!("rehome move -p {project}");
                if let Some(to) = &request.to {
                    words += &format!(" --to {to}");
                }
                for key in &request.only {
                    words += &format!(" --only {key}");
                }
                words
            }
            Self::Backup(project, _) => format!("rehome backup create -p {project}"),
        }
    }

    /// Whether only the plan is wanted.
    fn is_dry(&self) -> bool {
        match self {
            Self::Storage(request) => request.dry_run,
            Self::MoveSite(request) => request.dry_run,
            Self::Deploy(_, request) => request.dry_run,
            Self::Move(_, request) => request.dry_run,
            Self::Backup(_, request) => request.dry_run,
        }
    }

    fn dry(mut self, dry: bool) -> Self {
        match &mut self {
            Self::Storage(request) => request.dry_run = dry,
            Self::MoveSite(request) => request.dry_run = dry,
            Self::Deploy(_, request) => request.dry_run = dry,
            Self::Move(_, request) => request.dry_run = dry,
            Self::Backup(_, request) => request.dry_run = dry,
        }
        self
    }

    /// Plans it, and changes nothing.
    ///
    /// # Errors
    /// Refuses in words whatever can be known beforehand to go wrong.
    pub(super) async fn plan(self, server: &Server) -> Result<Shown> {
        let work = self.dry(true);
        server
            .ask(move |options| async move {
                let heard = Arc::new(Heard::default());
                let options = Options {
                    events: Arc::<Heard>::clone(&heard),
                    ..options
                };
                let mut shown = match &work {
                    Self::Storage(request) => of_site(&Sites::new(options)?.plan_storage(request).await?),
                    Self::MoveSite(request) => of_site(&Sites::new(options)?.plan_move(request).await?),
                    Self::Deploy(project, request) => {
                        let mut app = open(options, project).await?;
                        of_deployment(&plan_deploy(&mut app, request).await?)
                    }
                    Self::Move(project, request) => {
                        of_move(&plan_move(&open(options, project).await?, request).await?)
                    }
                    Self::Backup(project, request) => {
                        of_backup(&plan_create(&open(options, project).await?, request).await?)
                    }
                }?;
                shown.warnings.extend(heard.notes());
                Ok(shown)
            })
            .await
    }

    /// Plans it and runs it, if the plan is the one that was `read`, where somebody read one. Returns when the run began.
    ///
    /// # Errors
    /// When it is refused before it began.
    pub(super) async fn begin(
        self,
        server: &Arc<Server>,
        who: Who,
        AuditId(audit): AuditId,
        read: Option<String>,
    ) -> Result<RunId> {
        let work = self.dry(false);
        let order = Order {
            who,
            audit,
            command: work.command(),
        };
        let job = move |options: Options| async move {
            let read = read.as_ref();
            match &work {
                Self::Storage(request) => {
                    let planned = Sites::new(options)?.plan_storage(request).await?;
                    of_site(&planned)?.is(read, false)?;
                    planned.run().await
                }
                Self::MoveSite(request) => {
                    let planned = Sites::new(options)?.plan_move(request).await?;
                    of_site(&planned)?.is(read, false)?;
                    planned.run().await
                }
                Self::Deploy(project, request) => {
                    let mut app = open(options, project).await?;
                    let planned = plan_deploy(&mut app, request).await?;
                    let same =
                        of_deployment(&planned).and_then(|shown| shown.is(read, planned.went_forward()));
                    if let Err(failure) = same {
                        planned.leave(&app).await;
                        return Err(failure);
                    }
                    planned.run(&app).await
                }
                Self::Move(project, request) => {
                    let app = open(options, project).await?;
                    let planned = plan_move(&app, request).await?;
                    of_move(&planned)?.is(read, false)?;
                    planned.run(&app).await
                }
                Self::Backup(project, request) => {
                    let app = open(options, project).await?;
                    let planned = plan_create(&app, request).await?;
                    of_backup(&planned)?.is(read, false)?;
                    planned.run(&app).await
                }
            }
        };
        server.runs.begin(server, order, job).await
    }

    /// The answer to a program: the plan, if that is all it wants, or the run that began.
    pub(super) async fn answer(
        self,
        server: &Arc<Server>,
        who: Who,
        audit: AuditId,
    ) -> std::result::Result<Response, Problem> {
        if self.is_dry() {
            let mut response = Json(self.plan(server).await?.json).into_response();
            response
                .extensions_mut()
                .insert(Why("only the plan was asked for".to_owned()));
            return Ok(response);
        }
        Ok(accepted(&self.begin(server, who, audit, None).await?))
    }
}

/// A run began.
pub(super) fn accepted(run: &RunId) -> Response {
    let at = [(header::LOCATION, format!("/api/runs/{run}"))];
    (StatusCode::ACCEPTED, at, Json(json!({ "run": run }))).into_response()
}

/// Takes a run up that waits: finishes it, or takes it `back`.
///
/// # Errors
/// 404 if there is none of this id; when it is refused.
pub(super) async fn take_up(
    server: &Arc<Server>,
    who: Who,
    AuditId(audit): AuditId,
    id: RunId,
    back: bool,
) -> std::result::Result<RunId, Problem> {
    let wanted = id.clone();
    let found = server
        .ask(move |options| async move { Runs::new(options)?.show(&wanted) })
        .await?;
    found.ok_or_else(|| Problem::missing("there is no such run"))?;
    let verb = if back { "rollback" } else { "resume" };
    let order = Order {
        who,
        audit,
        command: format!("rehome {verb} {id}"),
    };
    let job = move |options| async move {
        let app = Runs::new(options)?.open(&id).await?;
        match recover(&app, Some(&id), back, false).await? {
            Recovery::Finished(finish) => Ok(*finish),
            Recovery::Redeploy(planned) => {
                planned.leave(&app).await;
                Err(is_over(&id))
            }
            Recovery::Offer { .. } | Recovery::WouldDo(_) => Err(is_over(&id)),
        }
    };
    Ok(server.runs.begin(server, order, job).await?)
}

/// What would go back is a run of its own, with a plan that somebody has to read first.
fn is_over(id: &RunId) -> Failure {
    Failure::refused(format!("run {id} is finished: there is nothing to take up"))
        .data("nothing was changed")
        .hint(format!(
            "what would bring back what it replaced is shown by: rehome rollback {id} --dry-run"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_plan_has_another_mark_and_a_size_that_grew_has_not() {
        let mark = |titles: &[&str]| mark_of(titles.iter().map(|title| (*title).to_owned()));
        let read = mark(&["copy 63.9 MB while the stack runs", "stop web"]);
        assert_eq!(read, mark(&["copy 1.2 GB while the stack runs", "stop web"]));
        assert_ne!(read, mark(&["copy 63.9 MB while the stack runs", "stop web, db"]));
        assert_ne!(read, mark(&["copy 63.9 MB while the stack runs"]));
        assert_ne!(mark(&["stop 1 service"]), mark(&["stop 2 service"]));
        let read = mark(&["Down for about 12 s: web", "  data  (8.1 kB), 1 file, PostgreSQL"]);
        assert_eq!(
            read,
            mark(&["Down for about 3 s: web", " data (1.2 MB), 312 files, PostgreSQL"])
        );
        assert_ne!(
            read,
            mark(&["Down for about 12 s: web", "  data  (8.1 kB), 1 file"])
        );
        assert_ne!(mark(&["a b", "c"]), mark(&["a", "b c"]));
    }
}
