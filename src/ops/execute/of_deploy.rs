//! What is said at the end of a deployment.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::datastore::dump;
use crate::event::Outcome;
use crate::model::{RunId, Span};
use crate::plan::deploy::DeployFacts;
use crate::saga::State;
use crate::state::RunDir;
use crate::steps::deploy::Dump;

/// How the titles of steps begin that replace containers.
const REPLACING: [&str; 3] = ["replace ", "put back ", "roll "];

/// What the run does.
pub(super) fn title(facts: &DeployFacts) -> String {
    match (&facts.back_to, &facts.commit) {
        (Some(run), _) => format!("go back to what ran before {run}"),
        (None, Some(commit)) => format!("deploy {commit}"),
        (None, None) => "deploy".to_owned(),
    }
}

/// What became of the data, and of the services.
pub(super) fn data(outcome: Outcome, run: &RunId, state: &State) -> String {
    let replaced = state
        .reports()
        .iter()
        .any(|r| r.undo_millis.is_some() && REPLACING.iter().any(|words| r.title.starts_with(words)));
    match outcome {
        Outcome::RolledBack if replaced => format!(
            "run {run} was rolled back; the services run the images and the configuration that they had, and their data is where it was"
        ),
        Outcome::RolledBack => format!("run {run} was rolled back; no service was replaced"),
        Outcome::Interrupted => format!("the data is where it was; run {run} can go on or go back"),
        Outcome::Stuck => {
            format!("the data is where it was; run {run} could neither go on nor go back by itself")
        }
        Outcome::Refused | Outcome::Failed | Outcome::Done => "nothing was changed".to_owned(),
    }
}

/// The closing words.
pub(super) fn summary(
    facts: &DeployFacts,
    dir: &RunDir,
    (outcome, state, files_went_back): (Outcome, &State, bool),
    verified: &[String],
    downtime: Option<Duration>,
) -> Vec<String> {
    let mut lines = Vec::new();
    match outcome {
        Outcome::Done => {
            lines.push(match &facts.back_to {
                Some(run) => format!("{} runs what it ran before {run}", facts.project),
                None => format!("{} is deployed", facts.project),
            });
            if !verified.is_empty() {
                lines.push("Verified:".to_owned());
                lines.extend(verified.iter().map(|v| format!("  {v}")));
            }
            if let Some(downtime) = downtime {
                lines.push(format!(
                    "Services that were replaced were down for {}",
                    Span(downtime)
                ));
            }
            if replaced_something(state) {
                lines.push("Next:".to_owned());
                lines.push(format!(
                    "  rehome rollback {}    go back to what ran before",
                    dir.id()
                ));
            }
        }
        Outcome::RolledBack => {
            let ran: Vec<_> = state
                .reports()
                .into_iter()
                .filter(|r| r.undo_millis.is_some() && facts.lasting.contains(&r.title))
                .map(|r| r.title)
                .collect();
            if !ran.is_empty() {
                lines.push(format!("Going back did not undo: {}", ran.join("; ")));
            }
            if !files_went_back {
                lines.push(
                    "The files still say what was just tried: the next deployment would try it again."
                        .to_owned(),
                );
            }
            lines.extend(dumps(facts, dir));
        }
        _ => lines.extend(dumps(facts, dir)),
    }
    lines
}

/// Whether there is something to go back to: containers that went left spares.
fn replaced_something(state: &State) -> bool {
    let went = |receipt: &Value| {
        receipt["containers"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    };
    state.receipts().any(|(_, receipt)| went(receipt))
}

/// Where the dumps of the start are, and how they are restored.
fn dumps(facts: &DeployFacts, dir: &RunDir) -> Vec<String> {
    let place = dir.path().join(Dump::DIRECTORY);
    let mut lines = Vec::new();
    for dumped in &facts.dumped {
        let directory = place.join(dumped.service.as_str());
        let Ok(files) = std::fs::read_dir(&directory) else {
            continue;
        };
        lines.push(format!(
            "  {} of {}: {}",
            dumped.kind,
            dumped.service,
            directory.display()
        ));
        let mut files: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        files.sort();
        for file in &files {
            lines.extend(
                dump::restoring(&dumped.service, dumped.kind, &dumped.user, file)
                    .map(|line| format!("    {line}")),
            );
        }
    }
    if !lines.is_empty() {
        lines.insert(
            0,
            "The databases as they were before, and how each is put back:".to_owned(),
        );
    }
    lines
}
