//! The plan as a careful person reads it before saying yes.

use std::fmt::Write;

use super::{MovePlan, VolumeFacts};
use crate::model::{ByteSize, Span, count};
use crate::steps::MoveStep;

/// Renders a plan. Lines are kept below 100 characters where names allow it.
#[must_use]
pub fn render(plan: &MovePlan) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    render_into(plan, &mut out).map_or_else(|_| String::new(), |()| out)
}

fn render_into(plan: &MovePlan, out: &mut String) -> std::fmt::Result {
    let facts = &plan.facts;
    let number = facts.volumes.len();
    writeln!(
        out,
        "Move {} of {} {}",
        count(number as u64, "volume"),
        facts.project,
        if facts.back {
            "back to Docker volumes".to_owned()
        } else {
            format!("to {}", facts.to)
        }
    )?;
    if let Some(destination) = &facts.destination {
        writeln!(out, "  {} is {destination}", facts.to)?;
    }
    writeln!(out)?;
    volumes(plan, out)?;
    writeln!(out, "\nWhat happens")?;
    for (i, step) in plan.steps.iter().enumerate() {
        let mark = match step {
            MoveStep::Stop(_) if !facts.stopped.is_empty() => "   ← down from here",
            MoveStep::Start(_) if !facts.stopped.is_empty() => "   ← up from here",
            _ => "",
        };
        writeln!(out, "  {:>2}  {}{mark}", i + 1, describe(step))?;
    }
    writeln!(out)?;
    downtime(plan, out)?;
    writeln!(
        out,
        "If anything fails, every step is taken back in reverse and the stack runs on its old homes as before."
    )?;
    writeln!(
        out,
        "The old homes are only read. They are neither changed nor deleted, now or later."
    )?;
    for warning in &facts.warnings {
        writeln!(out, "\n! {warning}")?;
    }
    Ok(())
}

fn volumes(plan: &MovePlan, out: &mut String) -> std::fmt::Result {
    let facts = &plan.facts;
    let widest = |f: fn(&VolumeFacts) -> usize| facts.volumes.iter().map(f).max().unwrap_or_default();
    let staying = facts
        .staying
        .iter()
        .map(|(k, _)| k.as_str().len())
        .max()
        .unwrap_or_default();
    let (key, from, to) = (
        widest(|v| v.key.as_str().len()).max(staying),
        widest(|v| v.from.len()),
        widest(|v| v.to.len()),
    );
    for volume in &facts.volumes {
        let mut what = if volume.fresh {
            "STARTS EMPTY, nothing is copied".to_owned()
        } else {
            format!("{}, {}", ByteSize(volume.bytes), count(volume.files, "file"))
        };
        if !volume.fresh && !volume.datastores.is_empty() {
            write!(what, ", {}", volume.datastores.join(", "))?;
        }
        if let Some(owner) = volume.owner {
            write!(what, ", owner becomes {owner}")?;
        }
        writeln!(
            out,
            "  {:key$}  {:from$}  →  {:to$}  {what}",
            volume.key, volume.from, volume.to
        )?;
    }
    for (name, why) in &facts.staying {
        writeln!(out, "  {name:key$}  stays: {why}")?;
    }
    Ok(())
}

fn describe(step: &MoveStep) -> String {
    use crate::saga::Step;
    match step {
        MoveStep::Switch(switch) => switch.title(),
        MoveStep::Hook(hook) => match hook.on_failure {
            crate::steps::OnFailure::Stop => hook.title(),
            _ => format!("{} (a failure does not stop the move)", hook.title()),
        },
        other => other.title(),
    }
}

fn downtime(plan: &MovePlan, out: &mut String) -> std::fmt::Result {
    let facts = &plan.facts;
    if facts.stopped.is_empty() {
        return writeln!(
            out,
            "Nothing runs, so nothing is stopped; what is stopped stays stopped."
        );
    }
    let names: Vec<_> = facts.stopped.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "Down for about {}: {}",
        Span(facts.downtime),
        names.join(", ")
    )?;
    writeln!(
        out,
        "  {}",
        if facts.pre_copy {
            "the data is copied while they run; they stand still for what changed since, and to be compared"
        } else if facts.volumes.iter().all(|v| v.fresh) {
            "nothing is copied"
        } else {
            "the data is copied while they stand still (--offline)"
        }
    )?;
    if !facts.answered.is_empty() {
        let mut ports: Vec<_> = facts
            .answered
            .iter()
            .map(|a| format!("{} ({})", a.port, a.service))
            .collect();
        // One port may be published under every address of each kind.
        ports.dedup();
        writeln!(
            out,
            "  a maintenance page answers meanwhile on port{} {}",
            if ports.len() == 1 { "" } else { "s" },
            ports.join(", ")
        )?;
    }
    if !facts.untouched.is_empty() {
        let names: Vec<_> = facts.untouched.iter().map(ToString::to_string).collect();
        writeln!(out, "Running on: {}", names.join(", "))?;
    }
    Ok(())
}
