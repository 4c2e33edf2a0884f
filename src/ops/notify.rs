//! Tells addresses of deployments and backups: at the start, when it is done, when it is not. Nothing that goes wrong here is more than
//! a warning, and nothing here is waited for longer than [`LIMIT`]. An address is a secret and never shown.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinHandle;

use super::App;
use crate::event::Outcome;
use crate::http;
use crate::model::config::{Format, Moment, Notify, host};
use crate::model::{ByteSize, Failure, ProjectName, RunId, Secret, Span, count};

/// How long an address may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What a run is, for those who are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum About {
    /// A deployment.
    Deployment,
    /// A backup.
    Backup,
}

/// What is told.
#[derive(Debug, Clone)]
pub(super) struct News {
    /// Of what.
    pub about: About,
    /// When.
    pub moment: Moment,
    /// Of which project.
    pub project: ProjectName,
    /// Of which run.
    pub run: RunId,
    /// What the run does, in words.
    pub title: String,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
    /// What is deployed.
    pub commit: Option<String>,
    /// How long it took, if it ended.
    pub took: Option<Duration>,
    /// How large it is.
    pub bytes: Option<u64>,
    /// Why it is not done.
    pub failure: Option<Failure>,
}

/// A request of which nothing may show.
struct Message {
    url: Secret,
    headers: Vec<(&'static str, String)>,
    body: String,
    /// What the address may be called.
    called: String,
}

/// Warnings, once all have been told or given up.
pub(super) struct Telling(Vec<JoinHandle<Option<String>>>);

impl Telling {
    /// Waits for the end, which comes in time.
    pub(super) async fn end(self, app: &App) {
        for ended in join_all(self.0).await {
            match ended {
                Ok(None) => {}
                Ok(Some(warning)) => app.options.events.warn(warning),
                Err(error) => app
                    .options
                    .events
                    .warn(format!("a notification broke off: {error}")),
            }
        }
    }
}

/// Begins to tell everybody who wants to know; nobody waits for it here.
pub(super) fn tell(app: &App, news: &News) -> Telling {
    tell_to(app, &app.settings.notify, news)
}

/// The same for these addresses.
pub(super) fn tell_to<'a>(app: &App, to: impl IntoIterator<Item = &'a Notify>, news: &News) -> Telling {
    let mut under_way = Vec::new();
    for notify in to.into_iter().filter(|n| n.on.contains(&news.moment)) {
        match address(app, notify) {
            Ok(url) => {
                let message = message(notify, url, news);
                under_way.push(tokio::task::spawn_blocking(move || send(&message)));
            }
            Err(why) => app.options.events.warn(format!("nobody is notified: {why}")),
        }
    }
    Telling(under_way)
}

fn address(app: &App, notify: &Notify) -> Result<Secret, String> {
    if let Some(url) = &notify.url {
        return Ok(Secret::new(url));
    }
    let name = notify.url_from.as_deref().unwrap_or_default();
    let variables = app.located.variables(&app.options.project.env);
    let mut variables = variables.map_err(|failure| failure.to_string())?;
    match variables.remove(name) {
        Some(url) if host(url.trim()).is_some() => Ok(Secret::new(url.trim())),
        Some(_) => Err(format!("{name} holds no address with https:// or http://")),
        None => Err(format!("{name} is set neither in the environment nor in .env")),
    }
}

fn send(message: &Message) -> Option<String> {
    let headers: Vec<_> = message
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let why = match http::post(message.url.reveal(), &headers, &message.body, LIMIT) {
        Ok(200..=299) => return None,
        Ok(status) => format!("it answered {status}"),
        Err(why) => why,
    };
    Some(format!("{} could not be notified: {why}", message.called))
}

fn message(notify: &Notify, url: Secret, news: &News) -> Message {
    let mut headers = Vec::new();
    let (url, body) = match notify.format {
        Format::Json => {
            headers.push(("Content-Type", "application/json".to_owned()));
            (url, object(news).to_string())
        }
        Format::Slack => {
            headers.push(("Content-Type", "application/json".to_owned()));
            (url, json!({ "text": text(news) }).to_string())
        }
        Format::Ntfy => {
            let (priority, tag) = match news.moment {
                Moment::Start => ("low", "hourglass"),
                Moment::Success => ("default", "white_check_mark"),
                Moment::Failure => ("high", "rotating_light"),
            };
            let title = match (news.about, news.moment) {
                (About::Deployment, Moment::Start) => "deployment began",
                (About::Deployment, Moment::Success) => "deployed",
                (About::Deployment, Moment::Failure) => "deployment failed",
                (About::Backup, Moment::Start) => "backup began",
                (About::Backup, Moment::Success) => "backed up",
                (About::Backup, Moment::Failure) => "backup failed",
            };
            headers.push(("Title", format!("{}: {title}", news.project)));
            headers.push(("Priority", priority.to_owned()));
            headers.push(("Tags", tag.to_owned()));
            (url, text(news))
        }
        Format::Healthchecks => {
            let end = match news.moment {
                Moment::Start => "/start",
                Moment::Success => "",
                Moment::Failure => "/fail",
            };
            (below(&url, end), text(news))
        }
    };
    Message {
        url,
        headers,
        body,
        called: notify.shown(),
    }
}

/// An address with more of a path, before its query.
fn below(url: &Secret, end: &str) -> Secret {
    let (path, query) = match url.reveal().split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (url.reveal(), String::new()),
    };
    Secret::new(format!("{}{end}{query}", path.trim_end_matches('/')))
}

fn object(news: &News) -> serde_json::Value {
    json!({
        "event": news.moment,
        "of": news.about,
        "project": news.project,
        "run": news.run,
        "title": news.title,
        "outcome": news.outcome,
        "commit": news.commit,
        "host": machine(),
        "duration_seconds": news.took.map(|took| took.as_secs()),
        "bytes": news.bytes,
        "failure": news.failure.as_ref().map(said),
    })
}

/// One message for people.
fn text(news: &News) -> String {
    let (project, run) = (&news.project, &news.run);
    let what = match (news.moment, news.outcome) {
        (Moment::Start, _) => format!("{project}: {} began", news.title),
        (Moment::Success, _) => format!("{project}: {} is done", news.title),
        (Moment::Failure, Some(Outcome::RolledBack)) => {
            format!("{project}: {} failed and was rolled back", news.title)
        }
        (Moment::Failure, Some(Outcome::Stuck)) => {
            format!("{project}: {} is stuck and needs a person", news.title)
        }
        (Moment::Failure, Some(Outcome::Interrupted)) => {
            format!(
                "{project}: {} was interrupted and waits to be finished",
                news.title
            )
        }
        (Moment::Failure, _) => format!("{project}: {} failed", news.title),
    };
    let took = news
        .took
        .map(|took| format!(", {}", Span(took)))
        .unwrap_or_default();
    let size = news
        .bytes
        .map(|bytes| format!(", {}", ByteSize(bytes)))
        .unwrap_or_default();
    let mut text = format!("{what} (run {run} on {}{took}{size})", machine());
    if let Some(failure) = &news.failure {
        text += &format!("\n{}", said(failure));
    }
    text
}

/// What happened and because of what; no more than a message holds.
fn said(failure: &Failure) -> String {
    const CAUSES: usize = 3;
    let causes = failure.causes.iter().take(CAUSES).map(String::as_str);
    let mut lines: Vec<&str> = std::iter::once(failure.what.as_str()).chain(causes).collect();
    let more = failure.causes.len().saturating_sub(CAUSES);
    let more = (more > 0).then(|| format!("and {}", count(more as u64, "cause")));
    lines.extend(more.as_deref());
    lines.join("\n").chars().take(2000).collect()
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(moment: Moment) -> News {
        let ended = moment != Moment::Start;
        let failed = moment == Moment::Failure;
        News {
            about: About::Deployment,
            moment,
            project: ProjectName::new("kms").unwrap(),
            run: RunId::new("7k2f00000000").unwrap(),
            title: "deploy v2".to_owned(),
            outcome: match moment {
                Moment::Start => None,
                Moment::Success => Some(Outcome::Done),
                Moment::Failure => Some(Outcome::RolledBack),
            },
            commit: Some("v2".to_owned()),
            took: ended.then_some(Duration::from_secs(61)),
            bytes: None,
            failure: failed.then(|| Failure::environment("the check failed").cause("it answered 500")),
        }
    }

    fn to(format: Format, moment: Moment) -> Message {
        let notify = Notify {
            url: None,
            url_from: Some("HOOK_URL".to_owned()),
            on: vec![moment],
            format,
        };
        message(
            &notify,
            Secret::new("https://hc.example/s3cret?x=1"),
            &news(moment),
        )
    }

    #[test]
    fn a_rollback_is_told_as_a_failure_with_its_reason() {
        let told: serde_json::Value = serde_json::from_str(&to(Format::Json, Moment::Failure).body).unwrap();
        assert_eq!(told["event"], "failure");
        assert_eq!(told["outcome"], "rolled_back");
        assert_eq!((&told["project"], &told["commit"]), (&json!("kms"), &json!("v2")));
        assert_eq!(told["duration_seconds"], 61);
        assert_eq!(told["failure"], "the check failed\nit answered 500");
        let node = std::process::Command::new("uname").arg("-n").output().unwrap();
        assert_eq!(told["host"], String::from_utf8_lossy(&node.stdout).trim());
        let text = to(Format::Slack, Moment::Failure).body;
        assert!(
            text.contains("failed and was rolled back") && text.contains("it answered 500"),
            "{text}"
        );
    }

    #[test]
    fn each_service_is_told_as_it_takes_it() {
        let url = |moment| to(Format::Healthchecks, moment).url.reveal().to_owned();
        assert_eq!(url(Moment::Start), "https://hc.example/s3cret/start?x=1");
        assert_eq!(url(Moment::Success), "https://hc.example/s3cret?x=1");
        assert_eq!(url(Moment::Failure), "https://hc.example/s3cret/fail?x=1");
        let ntfy = to(Format::Ntfy, Moment::Success);
        assert_eq!(ntfy.headers[0], ("Title", "kms: deployed".to_owned()));
        assert!(
            ntfy.body
                .starts_with("kms: deploy v2 is done (run 7k2f00000000 on "),
            "{}",
            ntfy.body
        );
        let slack: serde_json::Value = serde_json::from_str(&to(Format::Slack, Moment::Start).body).unwrap();
        assert!(
            slack["text"]
                .as_str()
                .unwrap()
                .starts_with("kms: deploy v2 began"),
            "{slack}"
        );
    }

    #[test]
    fn a_backup_is_told_as_one() {
        let news = News {
            about: About::Backup,
            title: "backup".to_owned(),
            bytes: Some(1_200_000),
            ..news(Moment::Success)
        };
        let told = object(&news);
        assert_eq!(
            (&told["of"], &told["bytes"]),
            (&json!("backup"), &json!(1_200_000))
        );
        let text = text(&news);
        assert!(
            text.starts_with("kms: backup is done (run ") && text.contains("1.2 MB)"),
            "{text}"
        );
    }

    #[test]
    fn a_warning_does_not_name_the_address() {
        let mut message = to(Format::Json, Moment::Start);
        message.url = Secret::new("http://127.0.0.1:1/s3cret");
        let warning = send(&message).unwrap();
        assert!(
            warning.starts_with("the address in HOOK_URL could not be notified: "),
            "{warning}"
        );
        assert!(
            !warning.contains("s3cret") && !warning.contains("127.0.0.1"),
            "{warning}"
        );
    }
}
