//! The runs of every project that the state directory knows: what each did, its events as they were told, and the way to
//! take one up again. For the server, which is in no project's directory.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::app::state_dir;
use super::execute::RunFacts;
use super::history::{Line, line, report, report_of};
use super::{App, Options};
use crate::compose::{FoundBy, Located, Wanted};
use crate::event::{Event, Outcome};
use crate::model::{Failure, Result, RunId};
use crate::saga::recovery::{Condition, examine, survey};
use crate::saga::{Entry, Journal, Reason, Record, State, StepReport};
use crate::state::{FileStore, LockNote, ProjectDir, StateDir};

/// What says of one project where it is must not be taken for what says it of all.
pub(super) const OF_ONE_PROJECT: [&str; 6] = [
    "COMPOSE_FILE",
    "COMPOSE_PROJECT_NAME",
    "COMPOSE_ENV_FILES",
    "COMPOSE_PROFILES",
    "COMPOSE_DISABLE_ENV_FILE",
    "PWD",
];

/// The runs of this machine and user.
pub struct Runs {
    options: Options,
    state: StateDir,
}

/// A run, of whichever project.
#[derive(Debug, Clone, Serialize)]
pub struct RunLine {
    /// Its project, as the state directory calls it.
    pub project: String,
    /// What it did.
    #[serde(flatten)]
    pub line: Line,
    /// How it is.
    pub condition: RunCondition,
}

/// How a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunCondition {
    /// A process is at it.
    Running,
    /// It was interrupted, and waits to be finished or taken back.
    Waits,
    /// It is over.
    Over,
    /// Its journal cannot be believed.
    Damaged,
}

/// A run with its steps.
#[derive(Debug, Clone)]
pub struct RunShown {
    /// The run.
    pub line: RunLine,
    /// Its steps, in order.
    pub steps: Vec<StepReport>,
    /// Why it did not end well.
    pub failure: Option<Failure>,
    /// What was said at its end, line by line.
    pub summary: Vec<String>,
    /// Whether it is a move.
    pub is_move: bool,
}

/// What a run told so far, by its journal.
#[derive(Debug, Clone)]
pub struct Told {
    /// In order. What is kept of a run are its steps: progress and notes are not.
    pub events: Vec<Event>,
    /// How it is.
    pub condition: RunCondition,
}

impl Runs {
    /// Finds out where they are kept.
    ///
    /// # Errors
    /// When there is no place for the state.
    pub fn new(options: Options) -> Result<Self> {
        Ok(Self {
            state: state_dir(&options)?,
            options,
        })
    }

    /// The last runs of all projects, newest first.
    ///
    /// # Errors
    /// When the state directory cannot be read.
    pub fn list(&self, limit: usize) -> Result<Vec<RunLine>> {
        let mut found = Vec::new();
        for (key, project) in self.state.projects()? {
            let holder = holder(&project)?;
            for run in survey(&project)? {
                let Some(line) = line(&run) else { continue };
                found.push(RunLine {
                    project: key.to_string(),
                    condition: condition(&run.condition, run.dir.id(), &holder),
                    line,
                });
            }
        }
        found.sort_by_key(|run| std::cmp::Reverse(run.line.started));
        found.truncate(limit);
        Ok(found)
    }

    /// What a run did, step by step, and how it is; `None` if there is none of this id.
    ///
    /// # Errors
    /// When its journal cannot be believed.
    pub fn show(&self, id: &RunId) -> Result<Option<Value>> {
        let Some((key, project)) = self.find(id)? else {
            return Ok(None);
        };
        let run = examine(project.find_run(id.as_str())?);
        let how = condition(&run.condition, id, &holder(&project)?);
        let mut report = report_of(run)?;
        report["project"] = key.into();
        report["condition"] = serde_json::to_value(how).unwrap_or_default();
        Ok(Some(report))
    }

    /// A run with its steps; `None` if there is none of this id, or it never began.
    ///
    /// # Errors
    /// When the state directory cannot be read. A journal that cannot be is told in the line.
    pub fn find_shown(&self, id: &RunId) -> Result<Option<RunShown>> {
        let Some((key, project)) = self.find(id)? else {
            return Ok(None);
        };
        let run = examine(project.find_run(id.as_str())?);
        let Some(line) = line(&run) else {
            return Ok(None);
        };
        let line = RunLine {
            project: key,
            condition: condition(&run.condition, id, &holder(&project)?),
            line,
        };
        let (failure, state) = match &run.condition {
            Condition::Unreadable(failure) => (Some((**failure).clone()), None),
            _ => (None, run.state()),
        };
        let cause = state.and_then(State::cause).map(|(_, failure)| failure.clone());
        let facts = state.map(|state| state.opened().header["facts"].clone());
        let facts = facts.and_then(|facts| serde_json::from_value::<RunFacts>(facts).ok());
        let report = match line.condition {
            RunCondition::Over => report(&run.dir),
            _ => Value::Null,
        };
        let said = report["summary"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        Ok(Some(RunShown {
            line,
            summary: said.map(str::to_owned).collect(),
            steps: state.map(State::reports).unwrap_or_default(),
            failure: failure.or(cause),
            is_move: matches!(facts, Some(RunFacts::Move(_))),
        }))
    }

    /// The runs that wait to be finished, newest first.
    ///
    /// # Errors
    /// When the state directory cannot be read.
    pub fn waiting(&self) -> Result<Vec<RunLine>> {
        let mut all = self.list(usize::MAX)?;
        all.retain(|run| run.condition == RunCondition::Waits);
        Ok(all)
    }

    /// What a run told so far; `None` if there is none of this id.
    ///
    /// # Errors
    /// When its journal cannot be read.
    pub fn told(&self, id: &RunId, exit: fn(Outcome) -> u8) -> Result<Option<Told>> {
        let Some((_, project)) = self.find(id)? else {
            return Ok(None);
        };
        let dir = project.find_run(id.as_str())?;
        // Before the journal is read: a run that ends in between is then read to its end.
        let holder = holder(&project)?;
        let how = condition(&examine(dir.clone()).condition, id, &holder);
        let entries = match dir.has_journal()? {
            true => Journal::read(FileStore::read_only(&dir.journal())?)?.entries,
            false => Vec::new(),
        };
        Ok(Some(Told {
            events: events(&entries, exit),
            condition: how,
        }))
    }

    /// Opens the project of a run where it is, to take the run up again.
    ///
    /// # Errors
    /// When there is no such run, its journal cannot be believed, or the project cannot be opened.
    pub async fn open(&self, id: &RunId) -> Result<App> {
        let Some((_, project)) = self.find(id)? else {
            return Err(Failure::refused(format!("there is no run {id}")).data("nothing was changed"));
        };
        let run = examine(project.find_run(id.as_str())?);
        let state = match run.condition {
            Condition::Open(state) | Condition::Closed(state) => state,
            Condition::NeverBegan => {
                return Err(
                    Failure::refused(format!("run {id} ended before it began")).data("it changed nothing")
                );
            }
            Condition::Unreadable(failure) => return Err(*failure),
        };
        let before = before(&state)?;
        let mut options = self.options.clone();
        options.project = self.wanted(before);
        let app = App::open(options).await?;
        if app.project.name != state.opened().project {
            return Err(Failure::refused(format!(
                "run {id} is of project {}, and where that was is now {}",
                state.opened().project,
                app.project.name
            ))
            .data("nothing was changed"));
        }
        Ok(app)
    }

    /// What finds a project again as it was found when the run began.
    fn wanted(&self, before: Located) -> Wanted {
        let home = before.dotenv.parent().unwrap_or(Path::new("/")).to_owned();
        let mut wanted = wanted_in(&home, &self.options.project);
        // Otherwise the files say it themselves, and may have been changed by the run.
        if before.found_by == FoundBy::Flags {
            wanted.project_name = before.project_name.map(|name| name.to_string());
            wanted.project_directory = Some(before.directory);
            wanted.files = before.files;
            wanted.env_files = before.env_files;
            wanted.profiles = before.profiles;
        }
        wanted
    }

    fn find(&self, id: &RunId) -> Result<Option<(String, ProjectDir)>> {
        for (key, project) in self.state.projects()? {
            if project.path().join("runs").join(id.as_str()).is_dir() {
                return Ok(Some((key.to_string(), project)));
            }
        }
        Ok(None)
    }
}

/// What finds the project in a directory, and nothing else.
pub(super) fn wanted_in(directory: &Path, said: &Wanted) -> Wanted {
    let mut env = said.env.clone();
    for name in OF_ONE_PROJECT {
        env.remove(name);
    }
    Wanted {
        cwd: directory.to_owned(),
        env,
        ..Wanted::default()
    }
}

/// Where the project's files were when a run began.
pub(super) fn before(state: &State) -> Result<Located> {
    serde_json::from_value(state.opened().header["before"].clone()).map_err(|e| {
        Failure::refused(format!("run {} was begun by another version", state.opened().run)).because(&e)
    })
}

fn holder(project: &ProjectDir) -> Result<Option<Option<LockNote>>> {
    project.locked_by()
}

fn condition(condition: &Condition, id: &RunId, holder: &Option<Option<LockNote>>) -> RunCondition {
    // Of a holder that has not said yet what it does nothing can be said but that it is at work.
    let at_it = |note: &Option<LockNote>| match note.as_ref().and_then(|note| note.run.as_ref()) {
        Some(run) => run == id,
        None => note.is_none(),
    };
    match condition {
        Condition::Open(_) | Condition::NeverBegan if holder.as_ref().is_some_and(at_it) => {
            RunCondition::Running
        }
        Condition::Open(_) => RunCondition::Waits,
        Condition::Closed(_) | Condition::NeverBegan => RunCondition::Over,
        Condition::Unreadable(_) => RunCondition::Damaged,
    }
}

/// The records of a journal as the events that were told when they were written.
fn events(entries: &[Entry], exit: fn(Outcome) -> u8) -> Vec<Event> {
    let mut told = Vec::new();
    let mut opened = None;
    let mut cause = None;
    for entry in entries {
        let titles: &[crate::saga::PlannedStep] =
            opened.map_or(&[], |opened: &crate::saga::Opened| &opened.steps);
        let title = |step: usize| titles.get(step).map(|s| s.title.clone()).unwrap_or_default();
        let event = match &entry.record {
            Record::Opened(of) => {
                opened = Some(of);
                started(of, false)
            }
            Record::Resumed { .. } => match opened {
                Some(of) => started(of, true),
                None => continue,
            },
            Record::Prepared { step, .. } => Event::StepStarted {
                step: *step,
                of: titles.len(),
                title: title(*step),
            },
            Record::Applied { step, detail, millis } => Event::StepFinished {
                step: *step,
                title: title(*step),
                millis: *millis,
                detail: detail.clone(),
            },
            Record::Failed { step, failure } | Record::UndoFailed { step, failure } => {
                cause = Some(failure.clone());
                Event::StepFailed {
                    step: *step,
                    title: title(*step),
                    failure: failure.clone(),
                }
            }
            Record::UnwindBegan { reason } => Event::UnwindStarted {
                reason: match reason {
                    Reason::Failed => "a step failed",
                    Reason::Interrupted => "it was interrupted",
                    Reason::Asked => "somebody asked for it",
                }
                .to_owned(),
            },
            Record::PassedPointOfNoReturn => continue,
            Record::Undone { step, millis } => Event::StepUndone {
                step: *step,
                title: title(*step),
                millis: *millis,
            },
            Record::Closed { outcome } => Event::Finished {
                run: opened.map(|of| of.run.clone()),
                outcome: *outcome,
                exit: exit(*outcome),
                failure: cause.clone().filter(|_| *outcome != Outcome::Done),
                report: None,
            },
        };
        told.push(event);
    }
    told
}

fn started(of: &crate::saga::Opened, resumed: bool) -> Event {
    Event::RunStarted {
        run: of.run.clone(),
        project: of.project.clone(),
        title: of.title.clone(),
        resumed,
    }
}
