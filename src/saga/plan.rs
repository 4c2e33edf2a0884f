//! Everything that is decided before a run begins: from the caller into the journal, and out of it again.

use serde_json::Value;

use super::journal::{Journal, damaged};
use super::record::{Entry, FORMAT, Opened, PlannedStep, signature};
use super::state::State;
use super::step::{Step, decode_receipt};
use crate::model::{Failure, ProjectName, Result, RunId};
use crate::state::Store;

/// Everything that is decided before a run begins.
#[derive(Debug, Clone)]
pub struct Plan<S> {
    /// The run.
    pub run: RunId,
    /// The project it changes.
    pub project: ProjectName,
    /// What it does, in words.
    pub title: String,
    /// What the caller needs to go on later. Never a secret.
    pub header: Value,
    /// In order.
    pub steps: Vec<S>,
    /// Before this step the run records that it will not go back any more.
    pub point_of_no_return: Option<usize>,
}

/// The first record.
pub(super) fn opened<S: Step>(plan: &Plan<S>) -> Result<Opened> {
    let planned = |step: &S| {
        let title = step.title();
        serde_json::to_value(step).map(|step| PlannedStep { title, step })
    };
    let steps = plan
        .steps
        .iter()
        .map(planned)
        .collect::<std::result::Result<_, _>>();
    Ok(Opened {
        format: FORMAT,
        by: signature(),
        run: plan.run.clone(),
        project: plan.project.clone(),
        title: plan.title.clone(),
        header: plan.header.clone(),
        steps: steps.map_err(|e| {
            Failure::refused("the plan cannot be written down")
                .because(&e)
                .data("nothing was begun")
        })?,
        point_of_no_return: plan.point_of_no_return,
    })
}

/// What an opened journal says.
pub(super) fn read_state<T: Store>(journal: &Journal<T>, entries: &[Entry]) -> Result<State> {
    match State::fold(entries) {
        Ok(Some(state)) => Ok(state),
        Ok(None) => Err(Failure::refused("this run never began")
            .cause(format!("{} is empty", journal.name()))
            .data("nothing was changed by it")),
        Err((line, illegal)) => Err(damaged(&journal.name(), format!("line {line}: {illegal}"))),
    }
}

/// The steps as this version knows them; a run of a version that was different is refused as a whole.
pub(super) fn read_steps<S: Step>(state: &State) -> Result<Vec<S>> {
    let opened = state.opened();
    let other_version = |failure: Failure| {
        failure.data("nothing was changed by this command").hint(format!(
            "the run was begun by {}: use that version to go on",
            opened.by
        ))
    };
    let mut steps = Vec::with_capacity(opened.steps.len());
    for planned in &opened.steps {
        steps.push(S::deserialize(&planned.step).map_err(|e| {
            other_version(
                Failure::refused(format!("this version does not know the step `{}`", planned.title))
                    .because(&e),
            )
        })?);
    }
    for (step, receipt) in state.receipts() {
        let it: &S = &steps[step];
        decode_receipt(&it.title(), receipt)
            .and_then(|r| it.understands(&r))
            .map_err(other_version)?;
    }
    Ok(steps)
}
