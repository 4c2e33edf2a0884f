//! `rehome doctor`.

use super::super::args::Doctor;
use super::super::{Cx, Ending};
use crate::model::{Result, count};
use crate::ops::doctor;
use crate::plan::doctor::{Diagnosis, Finding, Severity};
use crate::ui::{self, Paint};

pub(super) async fn run(cx: &Cx, args: &Doctor) -> Result<Ending> {
    let diagnosis = doctor(cx.options()?, args.sysroot.as_deref()).await?;
    let notes = cx.global.verbose > 0;
    cx.answer(&diagnosis, || {
        text(&diagnosis, notes, cx.color.for_stdout(), ui::width())
    })?;
    Ok(match diagnosis.count(Severity::Error) {
        0 => Ending::Done,
        _ => Ending::Code(3),
    })
}

/// Errors first; a clean stack is one line.
fn text(diagnosis: &Diagnosis, notes: bool, color: bool, width: usize) -> String {
    let paint = Paint(color);
    let mut out = String::new();
    for finding in &diagnosis.findings {
        if finding.severity != Severity::Note || notes {
            out.push_str(&told(finding, paint, width));
            out.push('\n');
        }
    }
    let mut parts = Vec::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let number = diagnosis.count(severity) as u64;
        if number > 0 {
            parts.push(count(number, &severity.to_string()));
        }
    }
    let unknown = diagnosis.count(Severity::Unknown);
    if unknown > 0 {
        parts.push(format!("{unknown} that could not be looked at"));
    }
    let harmless = diagnosis.findings.iter().all(|f| f.severity == Severity::Note);
    let hidden = diagnosis.count(Severity::Note) > 0 && !notes;
    let hint = if hidden {
        " (`rehome doctor -v` shows notes)"
    } else {
        ""
    };
    let whose = diagnosis
        .project
        .as_ref()
        .map_or_else(String::new, |project| format!("{project}: "));
    let line = match (harmless, parts.is_empty()) {
        (true, true) => paint.good(&format!("{whose}nothing is at risk")),
        (true, false) => format!(
            "{}, {}{hint}",
            paint.good(&format!("{whose}nothing is at risk")),
            parts.join(", ")
        ),
        (false, _) => format!("{whose}{}{hint}", parts.join(", ")),
    };
    let looked = if diagnosis.engine {
        let volumes = count(diagnosis.volumes as u64, "volume");
        let services = count(diagnosis.services as u64, "service");
        format!("{volumes} and {services} were looked at")
    } else {
        "without the engine only the machine itself was looked at".to_owned()
    };
    out.push_str(&format!("{line}; {looked}\n"));
    out
}

/// A finding: what is the matter, what was seen below it, each command on a line of its own.
fn told(finding: &Finding, paint: Paint, width: usize) -> String {
    let label = format!("{}:", finding.severity);
    let painted = match finding.severity {
        Severity::Error => paint.bad(&label),
        Severity::Warning => paint.warning(&label),
        Severity::Unknown | Severity::Note => paint.label(&label),
    };
    let first = format!(
        "{} {}",
        ui::clean(&finding.what),
        paint.dim(&format!("[{}]", finding.id))
    );
    let mut out = format!("{painted} {}\n", ui::fill(&first, width, label.len() + 1, 4));
    for line in &finding.evidence {
        out.push_str(&format!("    {}\n", ui::fill(&ui::clean(line), width, 4, 4)));
    }
    for command in &finding.mend {
        // Never wrapped: it is there to be copied.
        out.push_str(&format!("  {} {}\n", paint.good("mend:"), ui::clean(command)));
    }
    out
}
