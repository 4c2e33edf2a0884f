//! What a journal says: a fold over its records, and the one thing to do next. Pure; the executor obeys.
//!
//! A record is legal when it answers what [`State::next`] asked for. So there is one place that knows the order of
//! things, and a journal whose records cannot have happened is found to be damaged.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::record::{Entry, Opened, Reason, Record};
use crate::event::Outcome;
use crate::model::{Failure, Kind};

/// A record that cannot follow the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} cannot be here: {expected} was due")]
pub struct Illegal {
    found: String,
    expected: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Next<'a> {
    /// Prepare the step and record its receipt.
    Prepare(usize),
    /// Apply the step with the recorded receipt, verify it, and record that.
    Apply(usize, &'a Value),
    /// Record that there is no way back from here.
    PassPoint,
    /// Record that the way back begins, because the step failed.
    Unwind(usize, &'a Failure),
    /// Undo the step with the recorded receipt, and record that.
    Undo(usize, &'a Value),
    /// Record the end.
    Close(Outcome),
    /// Nothing, until somebody resumes the run: this failed where there was no other way.
    Stuck(usize, &'a Failure),
    /// Nothing.
    Ended(Outcome),
}

/// What a journal says about its run.
#[derive(Debug, Clone)]
pub struct State {
    opened: Opened,
    started: Timestamp,
    last: Timestamp,
    tracks: Vec<Track>,
    phase: Phase,
    resumed: u32,
}

#[derive(Debug, Clone)]
enum Track {
    Pending,
    Prepared { receipt: Value },
    Applied { receipt: Value, work: Work },
    Undone { work: Option<Work>, millis: u64 },
}

#[derive(Debug, Clone)]
struct Work {
    detail: Option<String>,
    millis: u64,
}

type At = (usize, Failure);

#[derive(Debug, Clone)]
enum Phase {
    /// Going forward, free to go back.
    Forward { failed: Option<At> },
    /// Going forward, with no way back.
    Committed { stuck: Option<At> },
    /// Going back.
    Unwinding {
        reason: Reason,
        cause: Option<At>,
        stuck: Option<At>,
    },
    /// At the end.
    Closed { outcome: Outcome, cause: Option<At> },
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// Begun; nothing, half or all of it may be there.
    Prepared,
    /// Done and verified.
    Applied,
    /// Taken back.
    Undone,
}

/// One step of a run, for reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// In words.
    pub title: String,
    /// How far it is.
    pub status: StepStatus,
    /// What was verified, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How long it took to do, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
    /// How long it took to take back, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_millis: Option<u64>,
    /// Why it could not be done, or not be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl State {
    /// Reads a whole journal. `None` if it has no records: the run never began.
    ///
    /// # Errors
    /// The line, from 1, and what is wrong with it, when the records cannot have happened in this order.
    pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Option<Self>, (usize, Illegal)> {
        let mut state: Option<Self> = None;
        for (line, entry) in (1..).zip(entries) {
            match &mut state {
                None => state = Some(Self::open(entry).map_err(|e| (line, e))?),
                Some(state) => state.accept(entry).map_err(|e| (line, e))?,
            }
        }
        Ok(state)
    }

    /// Reads the first record.
    ///
    /// # Errors
    /// When it is no plan, or one that cannot be.
    pub fn open(entry: &Entry) -> Result<Self, Illegal> {
        let illegal = |found: &str, expected: &str| Illegal {
            found: found.into(),
            expected: expected.into(),
        };
        let Record::Opened(opened) = &entry.record else {
            return Err(illegal(&describe(&entry.record), "the plan of the run"));
        };
        if opened.point_of_no_return.is_some_and(|p| p >= opened.steps.len()) {
            return Err(illegal(
                "a point of no return behind the last step",
                "one before a step",
            ));
        }
        Ok(Self {
            tracks: vec![Track::Pending; opened.steps.len()],
            opened: opened.clone(),
            started: entry.at,
            last: entry.at,
            phase: Phase::Forward { failed: None },
            resumed: 0,
        })
    }

    /// The one thing to do next.
    #[must_use]
    pub fn next(&self) -> Next<'_> {
        match &self.phase {
            Phase::Forward {
                failed: Some((step, failure)),
            } => Next::Unwind(*step, failure),
            Phase::Forward { failed: None } => self.next_forward(self.opened.point_of_no_return),
            Phase::Committed { stuck: None } => self.next_forward(None),
            Phase::Committed {
                stuck: Some((step, failure)),
            }
            | Phase::Unwinding {
                stuck: Some((step, failure)),
                ..
            } => Next::Stuck(*step, failure),
            Phase::Unwinding {
                stuck: None, cause, ..
            } => self.next_back(cause.as_ref()),
            Phase::Closed { outcome, .. } => Next::Ended(*outcome),
        }
    }

    fn next_forward(&self, point: Option<usize>) -> Next<'_> {
        for (step, track) in self.tracks.iter().enumerate() {
            match track {
                Track::Applied { .. } => {}
                Track::Prepared { receipt } => return Next::Apply(step, receipt),
                // Undone steps are never seen on the way forward: the way back has no return.
                Track::Pending | Track::Undone { .. } if point == Some(step) => return Next::PassPoint,
                Track::Pending | Track::Undone { .. } => return Next::Prepare(step),
            }
        }
        Next::Close(Outcome::Done)
    }

    fn next_back(&self, cause: Option<&At>) -> Next<'_> {
        for (step, track) in self.tracks.iter().enumerate().rev() {
            match track {
                Track::Pending | Track::Undone { .. } => {}
                Track::Prepared { receipt } | Track::Applied { receipt, .. } => {
                    return Next::Undo(step, receipt);
                }
            }
        }
        let nothing_begun = self.tracks.iter().all(|t| matches!(t, Track::Pending));
        Next::Close(match cause {
            Some((_, failure)) if nothing_begun => match failure.kind {
                Kind::Refused => Outcome::Refused,
                Kind::Interrupted => Outcome::RolledBack,
                _ => Outcome::Failed,
            },
            _ => Outcome::RolledBack,
        })
    }

    /// Whether a record may follow.
    ///
    /// # Errors
    /// When it does not answer what is due.
    pub fn admits(&self, record: &Record) -> Result<(), Illegal> {
        let next = self.next();
        let open = !matches!(next, Next::Ended(_));
        let legal = match record {
            Record::Opened(_) => false,
            Record::Resumed { .. } => open,
            Record::Prepared { step, .. } => next == Next::Prepare(*step),
            Record::Applied { step, .. } => matches!(next, Next::Apply(due, _) if due == *step),
            Record::Failed { step, .. } => {
                matches!(next, Next::Prepare(due) | Next::Apply(due, _) if due == *step)
            }
            Record::UnwindBegan {
                reason: Reason::Failed,
            } => matches!(next, Next::Unwind(..)),
            Record::UnwindBegan {
                reason: Reason::Interrupted | Reason::Asked,
            } => {
                matches!(self.phase, Phase::Forward { failed: None })
            }
            Record::PassedPointOfNoReturn => next == Next::PassPoint,
            Record::Undone { step, .. } | Record::UndoFailed { step, .. } => {
                matches!(next, Next::Undo(due, _) if due == *step)
            }
            Record::Closed { outcome } => next == Next::Close(*outcome),
        };
        if legal {
            Ok(())
        } else {
            Err(Illegal {
                found: describe(record),
                expected: next.describe(),
            })
        }
    }

    /// Takes the next record in.
    ///
    /// # Errors
    /// When it may not follow; then nothing changed.
    pub fn accept(&mut self, entry: &Entry) -> Result<(), Illegal> {
        self.admits(&entry.record)?;
        self.last = entry.at;
        match &entry.record {
            Record::Opened(_) => {}
            Record::Resumed { .. } => {
                self.resumed = self.resumed.saturating_add(1);
                if let Phase::Committed { stuck } | Phase::Unwinding { stuck, .. } = &mut self.phase {
                    *stuck = None;
                }
            }
            Record::Prepared { step, receipt } => {
                self.tracks[*step] = Track::Prepared {
                    receipt: receipt.clone(),
                }
            }
            Record::Applied { step, detail, millis } => {
                let track = &mut self.tracks[*step];
                if let Track::Prepared { receipt } = track {
                    let work = Work {
                        detail: detail.clone(),
                        millis: *millis,
                    };
                    *track = Track::Applied {
                        receipt: std::mem::take(receipt),
                        work,
                    };
                }
            }
            Record::Failed { step, failure } => {
                let at = Some((*step, failure.clone()));
                match &mut self.phase {
                    Phase::Forward { failed } => *failed = at,
                    Phase::Committed { stuck } => *stuck = at,
                    Phase::Unwinding { .. } | Phase::Closed { .. } => {}
                }
            }
            Record::UnwindBegan { reason } => {
                let cause = match &mut self.phase {
                    Phase::Forward { failed } => failed.take(),
                    _ => None,
                };
                self.phase = Phase::Unwinding {
                    reason: *reason,
                    cause,
                    stuck: None,
                };
            }
            Record::PassedPointOfNoReturn => self.phase = Phase::Committed { stuck: None },
            Record::Undone { step, millis } => {
                let track = &mut self.tracks[*step];
                let work = match track {
                    Track::Applied { work, .. } => Some(work.clone()),
                    _ => None,
                };
                *track = Track::Undone {
                    work,
                    millis: *millis,
                };
            }
            Record::UndoFailed { step, failure } => {
                if let Phase::Unwinding { stuck, .. } = &mut self.phase {
                    *stuck = Some((*step, failure.clone()));
                }
            }
            Record::Closed { outcome } => {
                let cause = match &mut self.phase {
                    Phase::Unwinding { cause, .. } => cause.take(),
                    _ => None,
                };
                self.phase = Phase::Closed {
                    outcome: *outcome,
                    cause,
                };
            }
        }
        Ok(())
    }

    /// The plan and its header.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// When it began.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// When the last record was written.
    #[must_use]
    pub fn last(&self) -> Timestamp {
        self.last
    }

    /// How often it was taken up again.
    #[must_use]
    pub fn resumed(&self) -> u32 {
        self.resumed
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Closed { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// Why it goes or went back, or is stuck on the way forward: the step and the failure.
    #[must_use]
    pub fn cause(&self) -> Option<(usize, &Failure)> {
        let at = match &self.phase {
            Phase::Forward { failed } => failed,
            Phase::Committed { stuck } => stuck,
            Phase::Unwinding { cause, .. } | Phase::Closed { cause, .. } => cause,
        };
        at.as_ref().map(|(step, failure)| (*step, failure))
    }

    /// Why it is going back, if it is.
    #[must_use]
    pub fn unwinding(&self) -> Option<Reason> {
        match self.phase {
            Phase::Unwinding { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Whether there is no way back any more.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        matches!(self.phase, Phase::Committed { .. })
    }

    /// The receipts that are still needed, with the step that each belongs to.
    pub fn receipts(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.tracks
            .iter()
            .enumerate()
            .filter_map(|(step, track)| match track {
                Track::Prepared { receipt } | Track::Applied { receipt, .. } => Some((step, receipt)),
                Track::Pending | Track::Undone { .. } => None,
            })
    }

    /// Every step, in order.
    #[must_use]
    pub fn reports(&self) -> Vec<StepReport> {
        let stuck = match self.next() {
            Next::Stuck(step, failure) => Some((step, failure)),
            _ => None,
        };
        let failure = |step| {
            let at = |(s, f): (usize, &Failure)| (s == step).then(|| f.clone());
            stuck.and_then(at).or_else(|| self.cause().and_then(at))
        };
        let report = |(step, (planned, track)): (usize, (&super::PlannedStep, &Track))| {
            let (status, work, undo_millis) = match track {
                Track::Pending => (StepStatus::Pending, None, None),
                Track::Prepared { .. } => (StepStatus::Prepared, None, None),
                Track::Applied { work, .. } => (StepStatus::Applied, Some(work), None),
                Track::Undone { work, millis } => (StepStatus::Undone, work.as_ref(), Some(*millis)),
            };
            StepReport {
                title: planned.title.clone(),
                status,
                detail: work.and_then(|w| w.detail.clone()),
                millis: work.map(|w| w.millis),
                undo_millis,
                failure: failure(step),
            }
        };
        self.opened
            .steps
            .iter()
            .zip(&self.tracks)
            .enumerate()
            .map(report)
            .collect()
    }
}

impl Next<'_> {
    /// In words, with steps counted from 1 as people do.
    fn describe(&self) -> String {
        match self {
            Next::Prepare(step) => format!("the preparation of step {}", step + 1),
            Next::Apply(step, _) => format!("the application of step {}", step + 1),
            Next::PassPoint => "the point of no return".into(),
            Next::Unwind(step, _) => format!("the way back, as step {} failed", step + 1),
            Next::Undo(step, _) => format!("the undoing of step {}", step + 1),
            Next::Close(outcome) => format!("the end of the run ({})", word(*outcome)),
            Next::Stuck(..) => "another attempt".into(),
            Next::Ended(_) => "nothing".into(),
        }
    }
}

fn describe(record: &Record) -> String {
    match record {
        Record::Opened(_) => "a plan".into(),
        Record::Resumed { .. } => "a resumption".into(),
        Record::Prepared { step, .. } => format!("the preparation of step {}", step.saturating_add(1)),
        Record::Applied { step, .. } => format!("the application of step {}", step.saturating_add(1)),
        Record::Failed { step, .. } => format!("the failure of step {}", step.saturating_add(1)),
        Record::UnwindBegan { .. } => "the beginning of the way back".into(),
        Record::PassedPointOfNoReturn => "the point of no return".into(),
        Record::Undone { step, .. } => format!("the undoing of step {}", step.saturating_add(1)),
        Record::UndoFailed { step, .. } => format!("the failed undoing of step {}", step.saturating_add(1)),
        Record::Closed { outcome } => format!("the end of the run ({})", word(*outcome)),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::RolledBack => "rolled back",
        Outcome::Refused => "refused",
        Outcome::Interrupted => "interrupted",
        Outcome::Stuck => "stuck",
        Outcome::Failed => "failed",
    }
}
