//! A run, live; the history; the audit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;

use super::super::Server;
use super::super::api::asked::Named;
use super::super::pages::{
    self, AuditLine, AuditView, HistoryView, LogLine, ProgressLine, RunState, RunView, StepLine, StepState,
    Tone,
};
use super::super::problem::Problem;
use super::super::work::take_up;
use super::{Actor, Fields, Page, Visitor, html, lines, to_run};
use crate::access;
use crate::event::{Event, Level};
use crate::model::{ByteSize, RunId, Span};
use crate::ops::{RunShown, Runs};
use crate::saga::{StepReport, StepStatus};

/// So many lines on a page of the history and of the audit.
const LINES: usize = 50;
/// So many lines of what a run said.
const LOG: usize = 500;

pub(super) async fn page(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(id): Named<RunId>,
    fields: Fields,
) -> Page {
    fields.only(&[])?;
    let wanted = id.clone();
    let shown = server
        .ask(move |options| async move { Runs::new(options)?.find_shown(&wanted) })
        .await?;
    let shown = shown.ok_or_else(|| Problem::missing("there is no such run").back("/history"))?;
    let events = server.runs.log(&id).map(|log| log.since(0).0).unwrap_or_default();
    let events = events
        .iter()
        .filter_map(|(_, text)| serde_json::from_str(text).ok());
    let told = Told::of(events);
    let RunShown {
        line,
        steps,
        failure,
        summary,
        is_move,
    } = shown;
    let waiting = lines::waiting(&line);
    let line = lines::run(line);
    let live = line.state.is_live();
    let view = RunView {
        frame: visitor.frame(&server).await?,
        steps: steps.iter().map(|report| step(report, live)).collect(),
        progress: if live { told.progress() } else { Vec::new() },
        log: told.log,
        summary: summary.join("\n"),
        failure: failure.filter(|_| !live),
        waiting: (line.state == RunState::Waiting).then_some(waiting),
        wizard: is_move,
        line,
    };
    html(StatusCode::OK, pages::run(&view))
}

fn step(report: &StepReport, live: bool) -> StepLine {
    let failed = report.failure.is_some();
    StepLine {
        title: report.title.clone(),
        state: match report.status {
            StepStatus::Pending if failed => StepState::Failed,
            StepStatus::Pending => StepState::Ahead,
            StepStatus::Prepared if failed || !live => StepState::Failed,
            StepStatus::Prepared => StepState::Running,
            StepStatus::Applied if failed => StepState::Failed,
            StepStatus::Applied => StepState::Done,
            StepStatus::Undone => StepState::Undone,
        },
        millis: report.undo_millis.or(report.millis),
        detail: match (&report.failure, report.status) {
            (Some(failure), _) => Some(failure.what.clone()),
            (None, StepStatus::Prepared) if !live => Some("it was cut off here".to_owned()),
            (None, _) => report.detail.clone(),
        },
    }
}

/// What the events of a run come to.
#[derive(Default)]
struct Told {
    log: Vec<LogLine>,
    /// The last of each piece of work of the step that is under way.
    works: Vec<Event>,
}

impl Told {
    fn of(events: impl Iterator<Item = Event>) -> Self {
        let mut told = Self::default();
        for event in events {
            told.take(event);
        }
        let over = told.log.len().saturating_sub(LOG);
        told.log.drain(..over);
        told
    }

    fn say(&mut self, level: Level, text: String) {
        self.log.push(LogLine { level, text });
    }

    /// As the script of the page takes them.
    fn take(&mut self, event: Event) {
        match event {
            Event::StepStarted { .. } | Event::StepFinished { .. } | Event::StepFailed { .. } => {
                self.works.clear();
            }
            Event::Progress { .. } => {
                self.works.retain(|known| work(known) != work(&event));
                self.works.push(event);
            }
            Event::UnwindStarted { reason } => self.say(Level::Warning, format!("going back: {reason}")),
            Event::DowntimeBegan => self.say(Level::Info, "services are down".to_owned()),
            Event::DowntimeEnded { millis } => {
                self.say(
                    Level::Info,
                    format!("services are up again, after {}", span(millis)),
                );
            }
            Event::ServiceAway { service } => self.say(Level::Info, format!("{service} is away")),
            Event::ServiceBack { service, millis } => {
                self.say(Level::Info, format!("{service} is back, after {}", span(millis)));
            }
            Event::Note { level, text } if level != Level::Detail => self.say(level, text),
            Event::HookOutput { service, line } => self.say(Level::Info, format!("{service}: {line}")),
            _ => {}
        }
    }

    fn progress(&self) -> Vec<ProgressLine> {
        self.works.iter().filter_map(progress).collect()
    }
}

fn span(millis: u64) -> Span {
    Span(Duration::from_millis(millis))
}

/// What a piece of work is called.
fn work(event: &Event) -> Option<String> {
    match event {
        Event::Progress {
            phase,
            volume: Some(volume),
            ..
        } => Some(format!("{phase} {volume}")),
        Event::Progress { phase, .. } => Some(phase.clone()),
        _ => None,
    }
}

fn progress(event: &Event) -> Option<ProgressLine> {
    let Event::Progress {
        bytes,
        bytes_total,
        files,
        files_total,
        ..
    } = event
    else {
        return None;
    };
    let (done, all) = match *bytes_total {
        0 => (*files, *files_total),
        total => (*bytes, total),
    };
    Some(ProgressLine {
        work: work(event)?,
        percent: (done.saturating_mul(100))
            .checked_div(all)
            .map(|percent| percent.min(100)),
        text: match (*bytes_total, *files_total) {
            (0, 0) => format!("{files} files, {}", ByteSize(*bytes)),
            (0, all) => format!("{files} of {all} files"),
            (all, _) => format!("{} of {}", ByteSize(*bytes), ByteSize(all)),
        },
    })
}

pub(super) async fn resume(
    server: State<Arc<Server>>,
    actor: Actor,
    id: Named<RunId>,
    fields: Fields,
) -> Page {
    on(server.0, actor, id.0, fields, false).await
}

pub(super) async fn rollback(
    server: State<Arc<Server>>,
    actor: Actor,
    id: Named<RunId>,
    fields: Fields,
) -> Page {
    on(server.0, actor, id.0, fields, true).await
}

async fn on(server: Arc<Server>, actor: Actor, id: RunId, fields: Fields, back: bool) -> Page {
    fields.only(&["csrf"])?;
    let page = format!("/runs/{id}");
    let run = take_up(&server, actor.visitor.who, actor.audit, id, back).await;
    Ok(to_run(&run.map_err(|problem| problem.back(page))?))
}

/// The number of a page, from the first one on.
fn number(fields: &Fields, name: &str) -> std::result::Result<Option<u32>, Problem> {
    let bad = |_| Problem::with(StatusCode::BAD_REQUEST, format!("{name} is a number"));
    fields.said(name).map(str::parse::<u32>).transpose().map_err(bad)
}

pub(super) async fn history(State(server): State<Arc<Server>>, visitor: Visitor, fields: Fields) -> Page {
    let page = number(&fields.only(&["page"])?, "page")?.unwrap_or(0);
    let first = LINES.saturating_mul(page as usize);
    let limit = first.saturating_add(LINES + 1);
    let mut all = lines::runs(&server, None, limit).await?;
    let more = all.len() == limit;
    all.truncate(first.saturating_add(LINES));
    let view = HistoryView {
        frame: visitor.frame(&server).await?,
        runs: all.split_off(first.min(all.len())),
        older: more.then(|| format!("/history?page={}", page.saturating_add(1))),
    };
    html(StatusCode::OK, pages::history(&view))
}

pub(super) async fn audit(State(server): State<Arc<Server>>, visitor: Visitor, fields: Fields) -> Page {
    if !visitor.who.may_operate() {
        let problem = Problem::with(StatusCode::FORBIDDEN, "the audit is for those who may operate");
        return Err(problem);
    }
    let before = number(&fields.only(&["before"])?, "before")?.map(i64::from);
    let found = server
        .store(move |store| store.audit(LINES as u32, before))
        .await?;
    // A request does not say in its path what its run did.
    let runs = lines::runs(&server, None, usize::MAX).await?;
    let titles: BTreeMap<String, String> = runs.into_iter().map(|run| (run.run, run.title)).collect();
    let view = AuditView {
        frame: visitor.frame(&server).await?,
        older: found
            .last()
            .filter(|line| found.len() == LINES && line.id > 1)
            .map(|line| format!("/audit?before={}", line.id)),
        lines: found.into_iter().map(|line| audit_line(line, &titles)).collect(),
    };
    html(StatusCode::OK, pages::audit(&view))
}

fn audit_line(line: access::AuditLine, titles: &BTreeMap<String, String>) -> AuditLine {
    let begins = |with: &str| line.outcome.starts_with(with);
    let tone = match () {
        // Without a reason behind it, it was asked for.
        () if begins("2") || begins("3") || line.outcome == "done" || line.outcome == "rolled_back" => {
            Tone::Good
        }
        () if line.is_open() => Tone::Live,
        () if begins("refused") || begins("4") => Tone::Warning,
        () => Tone::Bad,
    };
    AuditLine {
        at: line.at,
        who: line.who,
        from: line.from,
        what: match line.run.as_ref().and_then(|run| titles.get(run)) {
            Some(title) if !line.on.ends_with("/resume") && !line.on.ends_with("/rollback") => title.clone(),
            _ => words(&line.what, &line.on),
        },
        outcome: match (tone, line.outcome.split_once(": ")) {
            (Tone::Good, None) => "done".to_owned(),
            (Tone::Good, Some((_, why))) => format!("done: {why}"),
            _ => line.outcome,
        },
        tone,
        run: line.run,
    }
}

/// A request in words, as far as it is one of those that change something.
fn words(what: &str, on: &str) -> String {
    let path: Vec<&str> = on.strip_prefix("/api").unwrap_or(on).split('/').skip(1).collect();
    match (what, &path[..]) {
        ("login", _) => "log in".to_owned(),
        ("POST", ["logout"]) => "log out".to_owned(),
        ("POST", ["sites"]) => "add a site".to_owned(),
        ("PATCH", ["sites", name]) | ("POST", ["sites", name, "storage"]) => {
            format!("switch the persistent storage of {name}")
        }
        ("DELETE", ["sites", name]) | ("POST", ["sites", name, "remove"]) => format!("remove site {name}"),
        ("POST", ["sites", name, "move"]) => format!("move the data of {name}"),
        ("POST", ["projects", name, "move"]) => format!("move data of {name}"),
        ("POST", ["projects", name, "deploy"]) => format!("deploy {name}"),
        ("POST", ["projects", name, "backup"]) => format!("back up {name}"),
        ("POST", ["runs", id, "resume"]) => format!("finish run {id}"),
        ("POST", ["runs", id, "rollback"]) => format!("take back run {id}"),
        _ => format!("{what} {on}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_in_words() {
        for (what, on, told) in [
            (
                "PATCH",
                "/api/sites/blog",
                "switch the persistent storage of blog",
            ),
            (
                "POST",
                "/sites/blog/storage",
                "switch the persistent storage of blog",
            ),
            ("POST", "/api/projects/kms/move", "move data of kms"),
            ("POST", "/api/sites/blog/move", "move the data of blog"),
            ("POST", "/logout", "log out"),
            ("PUT", "/api/sites/blog", "PUT /api/sites/blog"),
            ("POST", "/strange", "POST /strange"),
        ] {
            assert_eq!(words(what, on), told);
        }
    }

    #[test]
    fn only_the_last_of_each_work_is_under_way() {
        let progress = |phase: &str, bytes| Event::Progress {
            phase: phase.to_owned(),
            volume: None,
            bytes,
            bytes_total: 200,
            files: 0,
            files_total: 0,
        };
        let started = Event::StepStarted {
            step: 1,
            of: 2,
            title: "compare".to_owned(),
        };
        let all = [progress("copy", 10), progress("scan", 50), progress("copy", 150)];
        let told = Told::of(all.clone().into_iter()).progress();
        let told: Vec<_> = told
            .iter()
            .map(|line| (line.work.as_str(), line.percent))
            .collect();
        assert_eq!(told, [("scan", Some(25)), ("copy", Some(75))]);
        let over = all.into_iter().chain([started, progress("compare", 0)]);
        assert_eq!(Told::of(over).progress().len(), 1, "the others are over");
    }
}
