//! What the runs of a project are like. A run that cannot be read is listed as such, never left out.

use jiff::Timestamp;

use super::journal::{Journal, damaged};
use super::record::{PlannedStep, Record};
use super::state::State;
use crate::model::{Failure, Result};
use crate::state::{FileStore, ProjectDir, RunDir};

/// A run as it was found on disk.
#[derive(Debug)]
pub struct Run {
    /// Where it is kept.
    pub dir: RunDir,
    /// What its journal says.
    pub condition: Condition,
}

/// What a journal says about its run.
#[derive(Debug)]
pub enum Condition {
    /// The process ended before the plan was on disk: nothing was changed.
    NeverBegan,
    /// It waits to be resumed or rolled back, or another process is at it right now.
    Open(Box<State>),
    /// It is finished.
    Closed(Box<State>),
    /// Its journal cannot be believed, or not be read by this version.
    Unreadable(Box<Failure>),
}

impl Run {
    /// The state, if the journal could be read.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        match &self.condition {
            Condition::Open(state) | Condition::Closed(state) => Some(state),
            Condition::NeverBegan | Condition::Unreadable(_) => None,
        }
    }

    /// Whether nothing new may begin before a person or `resume` has dealt with it.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        matches!(self.condition, Condition::Open(_) | Condition::Unreadable(_))
    }
}

/// Reads one run.
#[must_use]
pub fn examine(dir: RunDir) -> Run {
    let condition = condition(&dir).unwrap_or_else(|failure| Condition::Unreadable(Box::new(failure)));
    Run { dir, condition }
}

fn condition(dir: &RunDir) -> Result<Condition> {
    if !dir.has_journal()? {
        return Ok(Condition::NeverBegan);
    }
    let path = dir.journal();
    let contents = Journal::read(FileStore::read_only(&path)?)?;
    match State::fold(&contents.entries) {
        Ok(None) => Ok(Condition::NeverBegan),
        Ok(Some(state)) if state.outcome().is_some() => Ok(Condition::Closed(Box::new(state))),
        Ok(Some(state)) => Ok(Condition::Open(Box::new(state))),
        Err((line, illegal)) => Err(damaged(
            &path.display().to_string(),
            format!("line {line}: {illegal}"),
        )),
    }
}

/// The steps of a run that were applied and verified, with when; also those that were taken back later.
///
/// # Errors
/// When its journal cannot be read.
pub fn verified_steps(dir: &RunDir) -> Result<Vec<(PlannedStep, Timestamp)>> {
    if !dir.has_journal()? {
        return Ok(Vec::new());
    }
    let contents = Journal::read(FileStore::read_only(&dir.journal())?)?;
    let mut planned = Vec::new();
    let mut verified = Vec::new();
    for entry in contents.entries {
        match entry.record {
            Record::Opened(opened) => planned = opened.steps,
            Record::Applied { step, .. } => {
                verified.extend(planned.get(step).map(|step| (step.clone(), entry.at)));
            }
            _ => {}
        }
    }
    Ok(verified)
}

/// Reads every run of a project, newest first.
///
/// # Errors
/// When the directory of the runs cannot be read; a single run that cannot be is in the list.
pub fn survey(project: &ProjectDir) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = project.runs()?.into_iter().map(examine).collect();
    // What the journal says is finer than what the file system says, and survives a copy of the state directory.
    runs.sort_by_cached_key(|run| std::cmp::Reverse(run.state().map_or(run.dir.began(), State::started)));
    Ok(runs)
}

/// The newest run that began.
///
/// # Errors
/// As [`survey`].
pub fn newest(project: &ProjectDir) -> Result<Option<Run>> {
    Ok(survey(project)?
        .into_iter()
        .find(|run| !matches!(run.condition, Condition::NeverBegan)))
}

/// The newest run that is not finished, or cannot be read.
///
/// # Errors
/// As [`survey`].
pub fn unfinished(project: &ProjectDir) -> Result<Option<Run>> {
    Ok(survey(project)?.into_iter().find(Run::is_unfinished))
}
