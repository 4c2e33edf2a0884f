//! Holds every plan to the rules that must never break, whatever made it.

use super::MovePlan;
use crate::model::{Failure, Result};
use crate::steps::MoveStep;

/// Checks a plan.
///
/// # Errors
/// A broken rule is a bug in the planner, found before anything changed.
pub(super) fn check(plan: &MovePlan) -> Result<()> {
    let broken =
        |rule: &str| Err(Failure::bug(format!("the plan breaks a rule: {rule}")).data("nothing was changed"));
    let at = |wanted: fn(&MoveStep) -> bool| plan.steps.iter().position(wanted);
    let stop = at(|s| matches!(s, MoveStep::Stop(_)));
    let delta = at(|s| matches!(s, MoveStep::Delta(_)));
    let verify = at(|s| matches!(s, MoveStep::Verify(_)));
    let switch = at(|s| matches!(s, MoveStep::Switch(_)));
    let start = at(|s| matches!(s, MoveStep::Start(_)));
    let make = at(|s| matches!(s, MoveStep::MakeHomes(_)));
    if make != Some(0) {
        return broken("the new homes come first, so that their undo comes last");
    }
    if !(stop.is_some() && stop < switch && switch < start) {
        return broken("stop, switch, start, in this order");
    }
    let copies = plan.facts.volumes.iter().any(|v| !v.fresh);
    if copies && !(delta.is_some() && stop < delta && delta < verify && verify < switch) {
        return broken("what is copied is copied and compared between stop and switch");
    }
    let targets = plan.facts.volumes.iter().map(|v| &v.to);
    let mut seen = std::collections::BTreeSet::new();
    for target in targets {
        if !seen.insert(target) {
            return broken("no two volumes share a home");
        }
    }
    if let (Some(MoveStep::Stop(stop)), Some(MoveStep::Start(start))) = (
        stop.and_then(|i| plan.steps.get(i)),
        start.and_then(|i| plan.steps.get(i)),
    ) {
        let stopped: std::collections::BTreeSet<_> = stop.containers.iter().map(|c| &c.service).collect();
        let started: std::collections::BTreeSet<_> = start.services.iter().map(|s| &s.service).collect();
        if stopped != started {
            return broken("what is stopped is started, no more and no less");
        }
    }
    Ok(())
}
