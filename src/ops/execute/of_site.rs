//! What is said at the end of a switch of a site's persistent storage.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::compose::sites::DATA;
use crate::event::Outcome;
use crate::model::{Failure, RunId, ServiceName, Span, shell_path};
use crate::plan::site::StorageFacts;
use crate::saga::Step as _;
use crate::steps::Cx;
use crate::steps::deploy::TidyKept;

/// What such a switch keeps so that another process can go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ops) struct SiteAbout {
    /// What was said about the plan.
    pub storage: StorageFacts,
}

impl SiteAbout {
    /// What the run does, in words.
    pub(super) fn title(&self) -> String {
        let StorageFacts {
            site, on, data, from, ..
        } = &self.storage;
        match (from, on) {
            (Some(_), _) => format!("move the data of {site} to {}", data.display()),
            (None, true) => format!("persistent storage of {site} on"),
            (None, false) => format!("persistent storage of {site} off"),
        }
    }

    /// What became of the data.
    pub(super) fn data(&self, outcome: Outcome, run: &RunId) -> String {
        let StorageFacts {
            service, data, from, ..
        } = &self.storage;
        // What is moved is only read: it is what counts.
        let data = from.as_ref().unwrap_or(data).display();
        match outcome {
            Outcome::RolledBack => {
                format!(
                    "run {run} was rolled back; service `{service}` has what it had, and nothing in {data} was deleted"
                )
            }
            Outcome::Interrupted => {
                format!("nothing in {data} was deleted; run {run} can go on or go back")
            }
            Outcome::Stuck => {
                format!("nothing in {data} was deleted; run {run} could neither go on nor go back by itself")
            }
            Outcome::Refused | Outcome::Failed | Outcome::Done => "nothing was changed".to_owned(),
        }
    }

    /// The run is looked for in the project's directory, and a site is switched from anywhere.
    pub(super) fn where_it_is(&self, failure: Failure) -> Failure {
        failure.hint(format!(
            "in the project's directory: cd {}",
            shell_path(&self.storage.directory)
        ))
    }

    /// Lets go of the old containers: the way back of a switch that is done is another one.
    pub(super) async fn ended(&self, cx: &Cx, outcome: Outcome) {
        if outcome != Outcome::Done || !self.storage.replaces {
            return;
        }
        let kept = TidyKept {
            runs: vec![cx.run.clone()],
            services: vec![self.storage.service.clone()],
        };
        if let Err(failure) = kept.apply(cx, &()).await {
            cx.events.warn(format!(
                "old containers are left until the next deployment: {failure}"
            ));
        }
    }

    /// That a finished switch is not taken back by its journal.
    pub(in crate::ops) fn no_way_back(&self, run: &RunId) -> Failure {
        if let Some(root) = self.storage.from.as_ref().and_then(|from| from.parent()) {
            return Failure::refused(format!("run {run} is a finished move of the data of a site"))
                .data("nothing was changed")
                .hint(format!(
                    "the way back, with what was written since: rehome site move {} --to {}; what it left in {} has to be put aside first",
                    self.storage.site,
                    shell_path(root),
                    root.display()
                ));
        }
        let back = if self.storage.on { "disable" } else { "enable" };
        Failure::refused(format!("run {run} is a finished switch of persistent storage"))
            .data("nothing was changed")
            .hint(format!("the way back: rehome site {back} {}", self.storage.site))
    }

    /// The closing words.
    pub(super) fn summary(
        &self,
        outcome: Outcome,
        verified: &[String],
        measured: Option<Duration>,
        away: &BTreeMap<ServiceName, Duration>,
    ) -> Vec<String> {
        if outcome != Outcome::Done {
            return Vec::new();
        }
        let StorageFacts {
            site,
            service,
            data,
            on,
            replaces,
            directory,
            from,
            unconfigured,
            ..
        } = &self.storage;
        let root = data.parent().filter(|_| *unconfigured);
        let data = data.display();
        let mut lines = vec![match on {
            _ if from.is_some() => format!("The data of {site} is in {data}"),
            true => format!("Persistent storage of {site} is on: {data} at {DATA}"),
            false => format!("Persistent storage of {site} is off; its data stays in {data}"),
        }];
        if !verified.is_empty() {
            lines.push("Verified:".to_owned());
            lines.extend(verified.iter().map(|line| format!("  {line}")));
        }
        if let Some(span) = measured.or(away.get(service).copied()) {
            lines.push(format!("{service} was down for {}", Span(span)));
        }
        lines.push("Next:".to_owned());
        if let Some(from) = from {
            // Else the next `enable` is refused: it would begin with nothing at the other root.
            lines.extend(root.map(|root| {
                format!(
                    "  data_root: {}    in rehome.yml; or DEPLOY_DATA_PATH, where all sites of this machine are there",
                    root.display()
                )
            }));
            lines.push(format!(
                "  {} is as it was; delete it when you do not need it any more",
                shell_path(from)
            ));
            return lines;
        }
        if !replaces {
            lines.push(format!(
                "  rehome up --project-directory {}    starts it",
                shell_path(directory)
            ));
        }
        lines.push(match on {
            true => format!("  rehome site show {site}       how much is in it"),
            false => format!("  rehome site enable {site}     gives it the same data again"),
        });
        lines
    }
}
