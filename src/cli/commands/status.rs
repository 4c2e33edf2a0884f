//! `rehome status`.

use super::super::{Cx, Ending};
use crate::model::{ByteSize, Result};
use crate::ops::{Status, status};
use crate::ui;

pub(super) async fn run(cx: &Cx) -> Result<Ending> {
    let app = cx.open_in_silence().await?;
    let status = status(&app).await?;
    cx.answer(&status, || text(&status, cx.color.for_stdout()))?;
    Ok(Ending::Done)
}

fn text(status: &Status, color: bool) -> String {
    let mut out = format!("{} in {}\n\n", status.project, status.directory.display());
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "–".to_owned(), |b| ByteSize(b).to_string());
    let mut table = ui::Table::new(&[
        "VOLUME",
        "HOME",
        "PATH",
        ">SIZE",
        ">FILES",
        "OWNER",
        ">FREE",
        "MOUNTED BY",
    ]);
    for volume in &status.volumes {
        table.row([
            volume.key.to_string(),
            if volume.exists {
                volume.home.to_string()
            } else {
                "missing".to_owned()
            },
            volume.path.clone().unwrap_or_else(|| volume.name.to_string()),
            size(volume.bytes),
            volume.files.map_or_else(|| "–".to_owned(), |f| f.to_string()),
            volume.owner.map_or_else(|| "–".to_owned(), |o| o.to_string()),
            size(volume.free),
            volume.mounted_by.join(" "),
        ]);
    }
    out.push_str(&table.render(color));
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(String::new());
    for volume in status.volumes.iter().filter(|v| !v.datastores.is_empty()) {
        line(format!("{}: {}", volume.key, volume.datastores.join(", ")));
    }
    for site in &status.sites {
        line(super::site::line(site));
    }
    let up: Vec<_> = status
        .services
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(s, _)| s.to_string())
        .collect();
    line(format!(
        "Running: {}",
        if up.is_empty() {
            "nothing".to_owned()
        } else {
            up.join(", ")
        }
    ));
    line(match status.override_active {
        Some(true) => format!("Override: active ({})", status.override_path.display()),
        Some(false) => format!("Override: NOT active ({})", status.override_path.display()),
        None => "Override: none".to_owned(),
    });
    if let Some(last) = &status.last_run {
        let outcome = last.outcome.map_or("not finished", super::outcome);
        line(format!(
            "Last run: {} {}, {outcome} ({:.0})",
            last.run, last.title, last.started
        ));
    }
    if let Some(run) = &status.unfinished {
        line(format!(
            "\n! run {run} is not finished: `rehome resume {run}` or `rehome rollback {run}`"
        ));
    }
    for warning in &status.warnings {
        line(format!("\n! {warning}"));
    }
    out
}
