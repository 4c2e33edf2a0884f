//! What can be in a journal, as plain data. How it is written is `journal`; what it means is `state`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Outcome;
use crate::model::{Failure, ProjectName, RunId};

/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The longest text of a failure or detail that is kept. What another program printed ends up in there, and a journal
/// must stay writable whatever that was.
const MAX_TEXT: usize = 8 * 1024;
/// The most causes or hints of a failure that are kept.
const MAX_TEXTS: usize = 32;

/// A record and when it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// By the clock of the machine, which may have been set in between: for people, never for decisions.
    pub at: Timestamp,
    /// What happened.
    pub record: Record,
}

/// One thing that happened to a run, or is about to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The plan; always first, and only there.
    Opened(Opened),
    /// Another process took the run up again.
    Resumed {
        /// The program and its version.
        by: String,
    },
    /// The step is about to be applied; this is all that undoing it needs.
    Prepared {
        /// Place in the plan.
        step: usize,
        /// See [`Step::Receipt`](super::Step::Receipt).
        receipt: Value,
    },
    /// The step was applied and verified.
    Applied {
        /// Place in the plan.
        step: usize,
        /// What was verified, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// How long it took in the process that finished it.
        millis: u64,
    },
    /// The step could not be prepared, applied or verified.
    Failed {
        /// Place in the plan.
        step: usize,
        /// Why.
        failure: Failure,
    },
    /// From here on steps are only undone.
    UnwindBegan {
        /// Why.
        reason: Reason,
    },
    /// From here on steps are only applied.
    PassedPointOfNoReturn,
    /// The step was undone.
    Undone {
        /// Place in the plan.
        step: usize,
        /// How long it took.
        millis: u64,
    },
    /// The step could not be undone; the run waits for a person.
    UndoFailed {
        /// Place in the plan.
        step: usize,
        /// Why.
        failure: Failure,
    },
    /// The end; nothing follows.
    Closed {
        /// How it ended.
        outcome: Outcome,
    },
}

/// The first record: everything that was decided before the first change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// See [`FORMAT`].
    pub format: u32,
    /// The program and its version.
    pub by: String,
    /// The run.
    pub run: RunId,
    /// The project it changes.
    pub project: ProjectName,
    /// What it does, in words.
    pub title: String,
    /// What the caller needs to go on later: where the project is, which engine. Never a secret.
    pub header: Value,
    /// In order.
    pub steps: Vec<PlannedStep>,
    /// Before this step the run says that it will not go back any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_of_no_return: Option<usize>,
}

/// A step of the plan, with its title beside it: a list of runs shows titles and need not know the kinds of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// In words.
    pub title: String,
    /// As the step serialises itself.
    pub step: Value,
}

/// Why a run goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A step failed; the record before says which and why.
    Failed,
    /// Ctrl-C, or another signal that asks to stop.
    Interrupted,
    /// `rehome rollback`.
    Asked,
}

/// This program, as it signs a journal.
pub(super) fn signature() -> String {
    format!("rehome {}", env!("CARGO_PKG_VERSION"))
}

/// The text, shortened to what a journal keeps.
pub(super) fn clipped_text(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The failure, shortened to what a journal keeps.
pub(super) fn clipped(failure: Failure) -> Failure {
    let some = |texts: Vec<String>| texts.into_iter().take(MAX_TEXTS).map(clipped_text).collect();
    Failure {
        kind: failure.kind,
        what: clipped_text(failure.what),
        causes: some(failure.causes),
        data: failure.data.map(clipped_text),
        hints: some(failure.hints),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_program_printed_does_not_make_a_journal_unwritable() {
        let noise = "é".repeat(1 << 14);
        let failure = (0..100).fold(Failure::environment(noise.as_str()), |f, _| {
            f.cause(noise.as_str())
        });
        let kept = clipped(failure);
        assert_eq!(kept.causes.len(), 32);
        assert_eq!(kept.what.len(), 8 * 1024 + '…'.len_utf8());
        assert_eq!(clipped_text("short".into()), "short");
    }
}
