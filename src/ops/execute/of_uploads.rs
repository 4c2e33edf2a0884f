//! What is said at the end of a switch of uploads.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::Outcome;
use crate::model::{Failure, RunId, ServiceName, Span};
use crate::ops::App;
use crate::ops::s3::{Ended, ended};
use crate::plan::uploads::{Direction, SwitchFacts};
use crate::saga::{State, Step as _};
use crate::steps::Cx;
use crate::steps::deploy::TidyKept;
use crate::steps::uploads::spent;

/// What a switch keeps so that another process can go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ops) struct UploadsAbout {
    /// What was said about the plan.
    pub uploads: SwitchFacts,
}

impl UploadsAbout {
    /// What the run does, in words.
    pub(super) fn title(&self) -> String {
        let SwitchFacts { direction, media, .. } = &self.uploads;
        match direction {
            Direction::ToBucket => format!("uploads of {} to {}", media.key, media.place()),
            Direction::ToVolume => format!("uploads of {} back to {}", media.place(), media.key),
        }
    }

    /// What became of the data, and of the services.
    pub(super) fn data(&self, outcome: Outcome, run: &RunId) -> String {
        let volume = &self.uploads.media.key;
        match (outcome, self.uploads.direction) {
            (Outcome::RolledBack, Direction::ToBucket) => format!(
                "run {run} was rolled back; the services use {volume} again, and it has what was uploaded meanwhile"
            ),
            (Outcome::RolledBack, Direction::ToVolume) => format!(
                "run {run} was rolled back; the services use the bucket again, and it has what was written meanwhile"
            ),
            (Outcome::Interrupted, _) => {
                format!(
                    "nothing is lost: some uploads may be in {volume} and some in the bucket; run {run} can go on or go back"
                )
            }
            (Outcome::Stuck, _) => format!(
                "nothing is lost: some uploads may be in {volume} and some in the bucket; run {run} could neither go on nor go back by itself"
            ),
            (Outcome::Refused | Outcome::Failed | Outcome::Done, _) => "nothing was changed".to_owned(),
        }
    }

    /// Writes down what it asked of the storage.
    fn tell(&self, app: &App, cx: &Cx, (outcome, state): (Outcome, &State)) {
        // It goes on later, and is told then.
        if matches!(outcome, Outcome::Interrupted | Outcome::Stuck | Outcome::Refused) {
            return;
        }
        let took = match spent(cx) {
            Ok(took) => took,
            Err(failure) => return cx.events.warn(failure.to_string()),
        };
        let told = Ended {
            command: match self.uploads.direction {
                Direction::ToBucket => "enable",
                Direction::ToVolume => "disable",
            },
            place: self.uploads.media.place(),
            began: state.started(),
            ended: Timestamp::now(),
            spent: took.spent,
            failed: took.failed,
            good: outcome == Outcome::Done,
        };
        ended(app, &told);
    }

    /// Says what became of it, and lets go of the old containers: the way back of a switch that is done is another one.
    pub(super) async fn ended(&self, app: &App, cx: &Cx, (outcome, state): (Outcome, &State)) {
        self.tell(app, cx, (outcome, state));
        if outcome != Outcome::Done {
            return;
        }
        let kept = TidyKept {
            runs: vec![cx.run.clone()],
            services: self.uploads.services.clone(),
        };
        if let Err(failure) = kept.apply(cx, &()).await {
            cx.events.warn(format!(
                "old containers are left until the next deployment: {failure}"
            ));
        }
    }

    /// That a finished switch is not taken back by its journal.
    pub(in crate::ops) fn no_way_back(&self, run: &RunId) -> Failure {
        let back = match self.uploads.direction {
            Direction::ToBucket => "rehome s3 disable",
            Direction::ToVolume => "rehome s3 enable",
        };
        Failure::refused(format!("run {run} is a finished switch of uploads"))
            .cause("what was uploaded since is only where it put them")
            .data("nothing was changed")
            .hint(format!("the way back brings that along: {back}"))
    }

    /// The closing words.
    pub(super) fn summary(
        &self,
        outcome: Outcome,
        verified: &[String],
        away: &BTreeMap<ServiceName, Duration>,
    ) -> Vec<String> {
        if outcome != Outcome::Done {
            return Vec::new();
        }
        let SwitchFacts {
            direction,
            media,
            project,
            ..
        } = &self.uploads;
        let mut lines = vec![match direction {
            Direction::ToBucket => format!("Uploads of {project} are in {}", media.place()),
            Direction::ToVolume => format!("Uploads of {project} are in {} again", media.key),
        }];
        if !verified.is_empty() {
            lines.push("Verified:".to_owned());
            lines.extend(verified.iter().map(|line| format!("  {line}")));
        }
        let services = self.uploads.services.iter();
        let spans = services.filter_map(|s| away.get(s).map(|span| format!("{s} for {}", Span(*span))));
        let spans: Vec<String> = spans.collect();
        if !spans.is_empty() {
            lines.push(format!("Away, one after the other: {}", spans.join(", ")));
        }
        lines.push("Next:".to_owned());
        match direction {
            Direction::ToBucket => {
                lines.push(format!("  {} stays as it is: nothing was deleted", media.key));
                lines.push("  rehome s3 verify     whether every file of it is in the bucket".to_owned());
                lines.push("  rehome s3 disable    the way back".to_owned());
            }
            Direction::ToVolume => {
                lines.push("  the bucket stays as it is: nothing was deleted".to_owned());
                lines.push("  rehome s3 enable     to the bucket again".to_owned());
            }
        }
        lines
    }
}
