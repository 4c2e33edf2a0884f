//! The plans of backups and restores as text.

use std::fmt::Write;

use super::BackupFacts;
use super::restore::RestoreFacts;
use crate::model::ByteSize;
use crate::model::config::Consistency;

/// What a backup will do.
#[must_use]
pub fn render(facts: &BackupFacts) -> String {
    let mut out = format!("Back up {} to {}\n\n", facts.project, facts.places.join(", "));
    let width = facts
        .saved
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    for (name, how) in &facts.saved {
        line(&mut out, format_args!("  {name:width$}  {how}"));
    }
    for left in &facts.left_out {
        line(&mut out, format_args!("  not saved: {left}"));
    }
    out.push('\n');
    let still: Vec<_> = facts.still.iter().map(|s| s.as_str()).collect();
    line(
        &mut out,
        match (facts.consistency, still.is_empty()) {
            (Consistency::Live, _) | (_, true) => {
                format!("Every service goes on meanwhile; {}", facts.encryption)
            }
            (Consistency::Pause, _) => format!(
                "Paused while volumes are read: {}; {}",
                still.join(", "),
                facts.encryption
            ),
            (Consistency::Stop, _) => format!(
                "Stopped while volumes are read: {}; {}",
                still.join(", "),
                facts.encryption
            ),
        },
    );
    warnings(&mut out, &facts.warnings);
    out
}

/// What a restore will do.
#[must_use]
pub fn render_restore(facts: &RestoreFacts) -> String {
    let mut out = match &facts.id {
        Some(id) => format!(
            "Restore {} from backup {id} in {}\n  made at {}{}\n\n",
            facts.project,
            facts.place,
            facts.from,
            facts
                .machine
                .as_ref()
                .map_or(String::new(), |m| format!(" on {m}"))
        ),
        None => format!(
            "Restore {} from {}\n  last written to at {}\n\n",
            facts.project, facts.place, facts.from
        ),
    };
    let width = facts
        .replaced
        .iter()
        .map(|r| r.what.len())
        .max()
        .unwrap_or_default();
    for replaced in &facts.replaced {
        let now = match (&facts.into, &replaced.empty, replaced.now) {
            (Some(into), ..) => format!("into volume {into}, which is made; nothing is replaced"),
            (None, Some(_), _) => "nothing is there now".to_owned(),
            (None, None, Some(now)) => format!("replaces {} in {}", ByteSize(now), replaced.key),
            (None, None, None) => format!("replaces what is there in {}", replaced.key),
        };
        line(
            &mut out,
            match replaced.bytes {
                Some(bytes) => format!("  {:width$}  {} restored, {now}", replaced.what, ByteSize(bytes)),
                None => format!("  {:width$}  {now}", replaced.what),
            },
        );
        if replaced.empty.is_none() && facts.into.is_none() {
            line(
                &mut out,
                format_args!("  {:width$}  what is replaced stays in {}", "", replaced.kept),
            );
        }
    }
    if !facts.untouched.is_empty() {
        line(
            &mut out,
            format_args!("  not touched: {}", facts.untouched.join(", ")),
        );
    }
    out.push('\n');
    match &facts.safety {
        Some(places) => line(
            &mut out,
            format_args!("First the present state is backed up to {}", places.join(", ")),
        ),
        None if facts.from_nothing => line(
            &mut out,
            "The stack is not there: it is made first, from its files",
        ),
        None if facts.into.is_some() => line(&mut out, "Every service goes on with what it has"),
        None => line(&mut out, "The present state is not backed up"),
    }
    let names = |services: &[crate::model::ServiceName]| -> String {
        let names: Vec<_> = services.iter().map(|s| s.as_str()).collect();
        names.join(", ")
    };
    if !facts.stopped.is_empty() {
        line(
            &mut out,
            format_args!(
                "It is restored and compared beside what is there; then {} stop, and start on it",
                names(&facts.stopped)
            ),
        );
    } else if !facts.started.is_empty() {
        line(&mut out, format_args!("Then {} start", names(&facts.started)));
    }
    warnings(&mut out, &facts.warnings);
    out
}

fn warnings(out: &mut String, warnings: &[String]) {
    if !warnings.is_empty() {
        out.push('\n');
    }
    for warning in warnings {
        line(out, format_args!("Note: {warning}"));
    }
}

fn line(out: &mut String, text: impl std::fmt::Display) {
    // Writing into a String does not fail.
    if writeln!(out, "{text}").is_err() {
        out.push('\n');
    }
}
