//! What follows the end of a deployment: hooks and notifications. How it ended stands by then; what goes wrong here is a
//! warning.

use std::time::Duration;

use jiff::Timestamp;

use crate::event::Outcome;
use crate::model::config::Moment;
use crate::model::{Failure, RunId};
use crate::ops::App;
use crate::ops::notify::{About, News, Telling, tell};
use crate::plan::deploy::DeployFacts;
use crate::saga::State;
use crate::steps::Cx;

/// Tells who wants to know that a run begins.
pub(super) fn began(app: &App, facts: &DeployFacts, run: &RunId) -> Telling {
    tell(app, &news(facts, run, Moment::Start))
}

/// Runs the hooks that are for this end.
pub(super) async fn hooks(app: &App, facts: &DeployFacts, cx: &Cx, outcome: Outcome) {
    let hooks = match outcome {
        Outcome::Done => &facts.after_finish,
        Outcome::RolledBack | Outcome::Failed => &facts.on_failure,
        // The way back has not ended.
        Outcome::Refused | Outcome::Interrupted | Outcome::Stuck => return,
    };
    for hook in hooks {
        if let Err(failure) = hook.carry_out(cx).await {
            let said = [&[failure.what], failure.causes.as_slice()].concat().join(": ");
            app.options
                .events
                .warn(format!("{said}; this changes nothing about the deployment"));
        }
    }
}

/// Tells who wants to know how it ended.
pub(super) async fn ended(
    app: &App,
    facts: &DeployFacts,
    (run, outcome, state): (&RunId, Outcome, &State),
    failure: Option<&Failure>,
) {
    let moment = match outcome {
        Outcome::Done => Moment::Success,
        _ => Moment::Failure,
    };
    let news = News {
        outcome: Some(outcome),
        took: Duration::try_from(Timestamp::now().duration_since(state.started())).ok(),
        failure: failure.cloned(),
        ..news(facts, run, moment)
    };
    tell(app, &news).end(app).await;
}

fn news(facts: &DeployFacts, run: &RunId, moment: Moment) -> News {
    News {
        about: About::Deployment,
        moment,
        project: facts.project.clone(),
        run: run.clone(),
        title: super::of_deploy::title(facts),
        outcome: None,
        commit: facts.commit.clone(),
        took: None,
        bytes: None,
        failure: None,
    }
}
