//! The plan of a deployment as a careful person reads it before saying yes.

use std::fmt::Write;

use super::{Becomes, DeployPlan};
use crate::saga::Step;
use crate::steps::OnFailure;
use crate::steps::deploy::DeployStep;

/// Renders a plan.
#[must_use]
pub fn render(plan: &DeployPlan) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    render_into(plan, &mut out).map_or_else(|_| String::new(), |()| out)
}

fn render_into(plan: &DeployPlan, out: &mut String) -> std::fmt::Result {
    let facts = &plan.facts;
    match (&facts.back_to, &facts.commit) {
        (Some(run), _) => write!(out, "Take {} back to what ran before run {run}", facts.project)?,
        (None, Some(commit)) => write!(out, "Deploy {} at {commit}", facts.project)?,
        (None, None) => write!(out, "Deploy {}", facts.project)?,
    }
    writeln!(out, "\n")?;
    let width = facts.services.iter().map(|(name, _)| name.as_str().len()).max();
    let width = width.unwrap_or_default();
    for (name, becomes) in &facts.services {
        writeln!(out, "  {name:width$}  {}", words(becomes))?;
    }
    writeln!(out, "\nWhat happens")?;
    for (i, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {:>2}  {}", i + 1, describe(step))?;
    }
    writeln!(out)?;
    let new = |(_, becomes): &(_, Becomes)| *becomes == Becomes::New;
    writeln!(
        out,
        "{}",
        if facts.services.iter().all(new) {
            "If anything fails, what was made is taken away again; what was written to a new home is kept beside it."
        } else {
            "If anything fails, the services go back to the images and the configuration that run now, and are looked at again."
        }
    )?;
    if !facts.lasting.is_empty() {
        writeln!(out, "Going back does not undo: {}", facts.lasting.join("; "))?;
    }
    for (when, hooks) in [
        ("If it fails, after the way back", &facts.on_failure),
        ("When it is done", &facts.after_finish),
    ] {
        for hook in hooks {
            writeln!(out, "{when}: {}", hook.title())?;
        }
    }
    if !facts.dumped.is_empty() {
        let names: Vec<_> = facts.dumped.iter().map(|d| d.service.to_string()).collect();
        writeln!(out, "Dumped first, and read back: {}", names.join(", "))?;
    }
    for warning in &facts.warnings {
        writeln!(out, "\n! {warning}")?;
    }
    Ok(())
}

fn words(becomes: &Becomes) -> String {
    match becomes {
        Becomes::New => "is new".to_owned(),
        Becomes::Replaced { why } => format!("is replaced: {}", why.join(", ")),
        Becomes::ReplacedIfNewImage => "is replaced if there is a new image".to_owned(),
        Becomes::Kept => "goes on running".to_owned(),
        Becomes::Unchanged => "does not change".to_owned(),
        Becomes::RunsAgain => "runs to its end once more".to_owned(),
        Becomes::StaysStopped => "was stopped, and stays stopped".to_owned(),
        Becomes::LeftOut => "was not asked for, and stays stopped".to_owned(),
    }
}

fn describe(step: &DeployStep) -> String {
    match step {
        DeployStep::Hook(hook) if hook.on_failure != OnFailure::Stop => {
            format!("{} (a failure does not stop the deployment)", hook.title())
        }
        other => other.title(),
    }
}
