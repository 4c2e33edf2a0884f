//! `rehome history` and `rehome show`.

use std::time::Duration;

use serde_json::Value;

use super::super::{Cx, Ending};
use crate::model::{Result, RunId, Span};
use crate::{ops, ui};

pub(super) async fn list(cx: &Cx) -> Result<Ending> {
    let app = cx.open().await?;
    let lines = ops::history(&app)?;
    cx.answer(&lines, || {
        if lines.is_empty() {
            return format!("no runs of {} yet", app.project.name);
        }
        let mut table = ui::Table::new(&["RUN", "BEGAN", ">TOOK", ">DOWN", "OUTCOME", "BY", "WHAT"]);
        let span = |millis: Option<u64>| {
            millis.map_or_else(|| "–".to_owned(), |m| Span(Duration::from_millis(m)).to_string())
        };
        for line in &lines {
            let outcome = match (&line.damaged, line.outcome) {
                (Some(_), _) => "damaged",
                (None, None) => "not finished",
                (None, Some(outcome)) => super::outcome(outcome),
            };
            table.row([
                line.run.to_string(),
                format!("{:.0}", line.started),
                span(line.millis),
                span(line.downtime_millis),
                outcome.to_owned(),
                line.by.clone().unwrap_or_else(|| "–".to_owned()),
                line.title.clone(),
            ]);
        }
        table.render(cx.color.for_stdout())
    })?;
    Ok(Ending::Done)
}

pub(super) async fn show(cx: &Cx, run: &RunId) -> Result<Ending> {
    let app = cx.open().await?;
    let report = ops::show(&app, run)?;
    cx.answer(&report, || text(&report))?;
    Ok(Ending::Done)
}

fn text(report: &Value) -> String {
    let string = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let mut out = format!("Run {}: {}\n", string(&report["run"]), string(&report["title"]));
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    for (name, value) in [
        ("typed", &report["command"]),
        ("by", &report["by"]),
        ("began", &report["started"]),
        ("last", &report["last"]),
    ] {
        if let Some(value) = value.as_str() {
            line(format!("  {name:8} {value}"));
        }
    }
    line(format!(
        "  {:8} {}",
        "outcome",
        report["outcome"].as_str().unwrap_or("not finished")
    ));
    if let Some(millis) = report["downtime_millis"].as_u64() {
        line(format!("  {:8} {}", "down", Span(Duration::from_millis(millis))));
    }
    let away = report["away_millis"].as_object().into_iter().flatten();
    let away: Vec<String> = away
        .filter_map(|(service, millis)| {
            let span = Span(Duration::from_millis(millis.as_u64()?));
            Some(format!("{service} {span}"))
        })
        .collect();
    if !away.is_empty() {
        line(format!("  {:8} {}", "away", away.join(", ")));
    }
    line(String::new());
    for (i, step) in report["steps"].as_array().into_iter().flatten().enumerate() {
        let took = step["millis"]
            .as_u64()
            .map(|m| format!("  {}", Span(Duration::from_millis(m))))
            .unwrap_or_default();
        line(format!(
            "  {:>2}  {:9} {}{took}",
            i + 1,
            string(&step["status"]),
            string(&step["title"])
        ));
        if let Some(detail) = step["detail"].as_str() {
            line(format!("                {detail}"));
        }
        if let Some(what) = step["failure"]["what"].as_str() {
            line(format!("                failed: {what}"));
        }
    }
    if let Some(what) = report["failure"]["what"].as_str() {
        line(format!("\nFailed: {what}"));
        for cause in report["failure"]["causes"].as_array().into_iter().flatten() {
            line(format!("  because {}", string(cause)));
        }
    }
    let images = report["images"].as_object();
    if let Some(images) = images.filter(|images| !images.is_empty()) {
        line("\nWhat ran at its end".to_owned());
        for (service, image) in images {
            line(format!("  {service}: {}", string(image)));
        }
    }
    if let Some(log) = report["hooks_log"].as_str() {
        line(format!("\nThe output of the hooks: {log}"));
    }
    out
}
