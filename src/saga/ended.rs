//! How a run ended, and what a person is told about it.

use super::state::{Next, State};
use crate::event::Outcome;
use crate::model::{Failure, Kind};

/// How a run ended, or where it stopped.
#[derive(Debug, Clone)]
pub struct Ended {
    /// `Done`, `RolledBack`, `Refused` and `Failed` are final; `Interrupted` and `Stuck` leave an open journal.
    pub outcome: Outcome,
    /// Why, unless it is done or was rolled back because somebody asked. What became of the data is said by the
    /// steps, or by the caller, who knows what they were about.
    pub failure: Option<Failure>,
    /// All that the journal says, timings and what was verified included.
    pub state: State,
}

/// What became of the run, once there is nothing to do or the journal cannot be written.
pub(super) fn ended(state: State, stopped: Option<Failure>) -> Ended {
    let (outcome, failure) = match (stopped, state.next()) {
        (Some(failure), _) => (Outcome::Interrupted, Some(failure)),
        (None, Next::Stuck(step, failure)) => (Outcome::Stuck, Some(stuck(&state, step, failure))),
        (None, Next::Ended(outcome)) => (outcome, why(&state, outcome)),
        (None, _) => (
            Outcome::Interrupted,
            Some(Failure::bug("the run stopped before its end")),
        ),
    };
    Ended {
        outcome,
        failure,
        state,
    }
}

/// An outcome in words.
pub(super) fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "everything was done and verified",
        Outcome::RolledBack => "it was rolled back",
        Outcome::Refused | Outcome::Failed => "it ended before anything was changed",
        Outcome::Interrupted => "it was interrupted",
        Outcome::Stuck => "it is stuck",
    }
}

/// Why a run that is closed did not do what it should.
fn why(state: &State, outcome: Outcome) -> Option<Failure> {
    let cause = state.cause().map(|(_, failure)| failure.clone());
    match outcome {
        Outcome::Done => None,
        Outcome::RolledBack => cause.map(|failure| failure.with_kind(Kind::RolledBack)),
        Outcome::Refused | Outcome::Failed | Outcome::Interrupted | Outcome::Stuck => cause,
    }
}

fn stuck(state: &State, step: usize, failure: &Failure) -> Failure {
    let run = &state.opened().run;
    let title = state
        .opened()
        .steps
        .get(step)
        .map_or("a step", |s| s.title.as_str());
    let failure = failure.clone().with_kind(Kind::Stuck);
    if state.is_committed() {
        return failure
            .inside(format!(
                "cannot finish `{title}`, and there is no way back from here"
            ))
            .hint(format!("when the cause is gone: rehome resume {run}"));
    }
    let failure = failure.inside(format!("cannot undo `{title}`"));
    let failure = match state.cause() {
        Some((_, cause)) => failure.cause(format!("it was to be undone because: {cause}")),
        None => failure,
    };
    failure.hint(format!("when the cause is gone: rehome rollback {run}"))
}
