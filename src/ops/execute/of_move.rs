//! What is said at the end of a move.

use std::time::Duration;

use crate::event::Outcome;
use crate::model::{RunId, Span, count};
use crate::plan::Facts;
use crate::saga::State;

/// What became of the data.
pub(super) fn data(outcome: Outcome, run: &RunId, state: &State) -> String {
    let stopped = state
        .reports()
        .iter()
        .any(|r| r.undo_millis.is_some() && r.title.starts_with("stop "));
    match outcome {
        Outcome::RolledBack if stopped => {
            format!("run {run} was rolled back; the stack is up on its old homes, and they are as they were")
        }
        Outcome::RolledBack => {
            format!("run {run} was rolled back; no service was stopped, and the old homes are as they were")
        }
        Outcome::Interrupted => format!("the old homes are as they were; run {run} can go on or go back"),
        Outcome::Stuck => {
            format!("the old homes are as they were; run {run} could neither go on nor go back by itself")
        }
        Outcome::Refused => "nothing was changed".to_owned(),
        Outcome::Failed | Outcome::Done => "nothing was switched".to_owned(),
    }
}

/// The closing words of a run that is done.
pub(super) fn summary(
    facts: &Facts,
    run: &RunId,
    verified: &[String],
    downtime: Option<Duration>,
) -> Vec<String> {
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
