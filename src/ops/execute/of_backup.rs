//! What is said at the end of a backup, a drill and a restore.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backup::format::BackupId;
use crate::engine::LABEL_RUN;
use crate::event::Outcome;
use crate::model::{ByteSize, Failure, ProjectName, RunId, ServiceName, Span, count};
use crate::ops::App;
use crate::ops::backup::{Lender, tell};
use crate::ops::notify::Telling;
use crate::plan::backup::BackupFacts;
use crate::plan::backup::drill::DrillFacts;
use crate::plan::backup::restore::{Replaced, RestoreFacts};
use crate::saga::State;
use crate::state::BackupLine;
use crate::steps::Cx;
use crate::steps::backup::{lost_places, saved_bytes};

/// What a run about a backup keeps so that another process can go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ops) struct BackupAbout {
    /// What was said about the plan.
    pub backup: About,
    /// Files with secret keys: where they are, not what is in them.
    #[serde(default)]
    pub identities: Vec<PathBuf>,
    /// The project whose backup is restored, if it is not this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lender: Option<Lender>,
    /// A file for Prometheus.
    #[serde(default)]
    pub metrics: Option<PathBuf>,
}

/// Which kind of run it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::ops) enum About {
    /// A backup is made.
    Create(BackupFacts),
    /// One is restored where nothing lasts.
    Drill(DrillFacts),
    /// One is restored.
    Restore(RestoreFacts),
}

impl BackupAbout {
    pub(super) fn project(&self) -> &ProjectName {
        match &self.backup {
            About::Create(facts) => &facts.project,
            About::Drill(facts) => &facts.project,
            About::Restore(facts) => &facts.project,
        }
    }

    /// What the run does, in words.
    pub(super) fn title(&self) -> String {
        match &self.backup {
            About::Create(facts) => format!("back up to {}", facts.places.join(", ")),
            About::Drill(facts) => format!("drill: restore {} where nothing lasts", facts.id),
            About::Restore(facts) => match &facts.id {
                Some(id) => format!("restore {id} from {}", facts.place),
                None => format!("restore {}", facts.place),
            },
        }
    }

    /// Tells who wants to know that a backup begins.
    pub(super) fn began(&self, app: &App, run: &RunId) -> Option<Telling> {
        match &self.backup {
            About::Create(_) => Some(tell::began(app, run, &self.title())),
            About::Drill(_) | About::Restore(_) => None,
        }
    }

    /// Writes down what became of a backup, and tells who wants to know.
    pub(super) async fn ended(
        &self,
        app: &App,
        cx: &Cx,
        (outcome, state): (Outcome, &State),
        failure: Option<&Failure>,
    ) {
        let facts = match &self.backup {
            About::Create(facts) => facts,
            About::Restore(facts) if outcome == Outcome::Done => return let_go(facts, cx).await,
            About::Restore(_) | About::Drill(_) => return,
        };
        // It goes on later, and is told then.
        if matches!(outcome, Outcome::Interrupted | Outcome::Stuck | Outcome::Refused) {
            return;
        }
        let line = match (outcome, saved_bytes(cx)) {
            (Outcome::Done, Ok(bytes)) => BackupLine::Made {
                id: BackupId::at(facts.began, &cx.run).to_string(),
                run: cx.run.clone(),
                began: facts.began,
                ended: Timestamp::now(),
                bytes,
                places: facts.places.clone(),
                whole: facts.whole,
                sites: facts.sites.clone(),
            },
            (_, bytes) => BackupLine::Failed {
                run: cx.run.clone(),
                began: state.started(),
                ended: Timestamp::now(),
                why: match (failure, bytes) {
                    (Some(failure), _) => failure.to_string(),
                    (None, Err(failure)) => failure.to_string(),
                    (None, Ok(_)) => String::new(),
                },
            },
        };
        let run = (&cx.run, self.title());
        tell::ended(
            app,
            (run.0, &run.1),
            (outcome, &line),
            failure,
            self.metrics.as_deref(),
        )
        .await;
    }

    /// The services that ran when the plan was made, and have to run afterwards.
    pub(super) fn were_up(&self) -> Vec<&ServiceName> {
        match &self.backup {
            About::Create(facts) => facts.still.iter().collect(),
            About::Restore(facts) => facts.stopped.iter().collect(),
            About::Drill(_) => Vec::new(),
        }
    }

    /// Why a finished run is not taken back.
    pub(in crate::ops) fn no_way_back(&self, run: &RunId) -> Failure {
        let failure = |what: &str| {
            Failure::refused(format!("run {run} {what}: there is nothing to take back"))
                .data("nothing was changed")
        };
        match &self.backup {
            About::Create(_) => failure("made a backup"),
            About::Drill(_) => failure("was a drill"),
            About::Restore(facts) => {
                let kept = facts
                    .replaced
                    .iter()
                    .map(|r| format!("{} is in {}", r.what, r.kept));
                let failure = Failure::refused(format!("run {run} is a finished restore"))
                    .cause("what it replaced was kept, and what was written since is only in the new data")
                    .data("nothing was changed");
                kept.fold(failure, Failure::cause)
                    .hint("the backup that was made before it brings that state back: rehome backup list")
            }
        }
    }
}

/// Removes the volumes that were nothing before the restore: until its end they are what the way back would need.
async fn let_go(facts: &RestoreFacts, cx: &Cx) {
    for name in facts.replaced.iter().filter_map(|r| r.empty.as_ref()) {
        let removed = cx.engine.remove_own_volume(name, (LABEL_RUN, cx.run.as_str()));
        if let Err(failure) = removed.await {
            cx.events
                .warn(format!("the empty volume {name} is left: {failure}"));
        }
    }
}

/// What became of the data.
pub(super) fn data(about: &BackupAbout, outcome: Outcome, run: &RunId) -> String {
    match (&about.backup, outcome) {
        (About::Create(_), Outcome::RolledBack | Outcome::Failed | Outcome::Refused) => {
            "there is no new backup; the older ones are as they were, and every service runs as it did"
                .to_owned()
        }
        (About::Drill(_), Outcome::RolledBack | Outcome::Failed | Outcome::Refused) => {
            "the stack was not touched, and what the drill made is removed".to_owned()
        }
        (About::Restore(_), Outcome::RolledBack) => {
            format!("run {run} was rolled back; the services have the data that they had before it")
        }
        (About::Restore(_), Outcome::Failed | Outcome::Refused) => "nothing was replaced".to_owned(),
        (_, Outcome::Interrupted) => format!("run {run} can go on or go back"),
        (_, Outcome::Stuck) => format!("run {run} could neither go on nor go back by itself"),
        (_, Outcome::Done) => "it is complete".to_owned(),
    }
}

/// A backup that is missing in one of its places is none that anybody may rely on: it is there, and the command failed.
pub(super) fn judged(
    about: &BackupAbout,
    cx: &Cx,
    (outcome, failure): (Outcome, Option<Failure>),
) -> (Outcome, Option<Failure>) {
    let (About::Create(facts), Outcome::Done) = (&about.backup, outcome) else {
        return (outcome, failure);
    };
    match lost_places(cx) {
        Ok(lost) if lost.is_empty() => (outcome, failure),
        Ok(lost) => {
            let whole: Vec<&str> = facts
                .places
                .iter()
                .filter(|place| !lost.contains_key(*place))
                .map(String::as_str)
                .collect();
            let names: Vec<&str> = lost.keys().map(String::as_str).collect();
            let failure = Failure::environment(format!("the backup is missing in {}", names.join(", ")))
                .data(format!("it is whole in {}", whole.join(", ")));
            let failure = lost.values().fold(failure, |f, why| f.cause(why.to_string()));
            (Outcome::Failed, Some(failure))
        }
        Err(unknown) => (Outcome::Failed, Some(unknown)),
    }
}

/// The closing words.
pub(super) fn summary(
    about: &BackupAbout,
    cx: &Cx,
    (outcome, state): (Outcome, &State),
    verified: &[String],
    downtime: Option<Duration>,
) -> Vec<String> {
    if outcome != Outcome::Done {
        return Vec::new();
    }
    let took = Duration::try_from(Timestamp::now().duration_since(state.started())).ok();
    let took = took.map_or(String::new(), |t| format!(" in {}", Span(t)));
    let mut lines = Vec::new();
    match &about.backup {
        About::Create(facts) => {
            let id = BackupId::at(facts.began, &cx.run);
            lines.push(format!(
                "Backup {id} of {} is in {}{took}",
                facts.project,
                facts.places.join(", ")
            ));
        }
        About::Drill(facts) => lines.push(format!(
            "Backup {} of {} restores{took}: {}",
            facts.id,
            facts.project,
            count(facts.parts.len() as u64, "part")
        )),
        About::Restore(facts) => {
            let from = match &facts.id {
                Some(id) => format!("backup {id}"),
                None => facts.place.clone(),
            };
            lines.push(match &facts.into {
                Some(into) => format!("Volume {into} has the data of {from}{took}"),
                None => format!("{} has the data of {from}{took}", facts.project),
            });
        }
    }
    if !verified.is_empty() {
        lines.push("Verified:".to_owned());
        lines.extend(verified.iter().map(|v| format!("  {v}")));
    }
    if let Some(downtime) = downtime {
        lines.push(match &about.backup {
            About::Create(_) => format!("Services stood still for {}", Span(downtime)),
            _ => format!("Down for {}", Span(downtime)),
        });
    }
    if let About::Restore(facts) = &about.backup {
        let is_kept = |r: &&Replaced| r.empty.is_none() && facts.into.is_none();
        let kept: Vec<_> = facts.replaced.iter().filter(is_kept).collect();
        if !kept.is_empty() {
            lines.push("What it replaced is still there:".to_owned());
            lines.extend(kept.iter().map(|r| match r.now {
                Some(now) => format!("  {}  {}  {}", r.what, ByteSize(now), r.kept),
                None => format!("  {}  {}", r.what, r.kept),
            }));
        }
    }
    lines.push("Next:".to_owned());
    match &about.backup {
        About::Create(_) => {
            lines.push("  rehome backup verify --drill    prove that it restores".to_owned());
            lines.push("  rehome backup list              what is where".to_owned());
        }
        About::Drill(_) => lines.push("  rehome backup list    what is where".to_owned()),
        About::Restore(_) => lines.push("  rehome status    where everything lives now".to_owned()),
    }
    lines
}
