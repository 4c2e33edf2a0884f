//! `rehome grow`.

use super::super::args::Grow;
use super::super::{Cx, Ending};
use crate::model::{ByteSize, Result};
use crate::ops::{GrowReport, grow};

pub(super) async fn run(cx: &Cx, args: &Grow) -> Result<Ending> {
    let report = grow(&cx.options()?, &args.at, args.dry_run).await?;
    cx.answer(&report, || text(&report))?;
    Ok(Ending::Done)
}

fn text(report: &GrowReport) -> String {
    let at = report.before.at.display();
    let size = |bytes| ByteSize(bytes).to_string();
    let mut out = match &report.after {
        Some(after) => format!(
            "{at} grew from {} to {}:\n",
            size(report.before.fs_bytes),
            size(after.fs_bytes)
        ),
        None if report.commands.is_empty() => {
            let question = match report.before.stopped() {
                true => "",
                false => " Was the volume made larger at the provider, and does the server know of it?",
            };
            format!(
                "{at} is as large as {}: {}.{question}\n",
                report.before.device.display(),
                size(report.before.fs_bytes)
            )
        }
        None => format!(
            "{at} has {} of the {} of its device. This would be run:\n",
            size(report.before.fs_bytes),
            size(report.before.device_bytes + report.before.partition.as_ref().map_or(0, |p| p.free_behind))
        ),
    };
    for command in &report.commands {
        out.push_str(&format!("  {command}\n"));
    }
    for note in &report.notes {
        out.push_str(&format!("! {note}\n"));
    }
    out
}
