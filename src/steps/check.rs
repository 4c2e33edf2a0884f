//! Asks until the answer is as it should be: a URL, a port, a command, a log, a file; from inside a service, or from this
//! machine. Changes nothing.

use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::world::{Cx, wrong_answer};
use crate::engine::{Container, HelperJob, Network};
use crate::helper::protocol::{Answer, Request};
use crate::model::config::Question;
use crate::model::{Failure, Result, ServiceName, Span};
use crate::saga::Step;
use crate::{child, http};

/// The limit of one try.
const TRY: Duration = Duration::from_secs(10);
/// Reading a log of some gigabytes takes longer than asking.
const READ_LOG: Duration = Duration::from_secs(120);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// In which service `localhost` is, the command runs, the file lies; this machine if in none.
    pub service: Option<ServiceName>,
    /// What is asked.
    #[serde(flatten)]
    pub question: Question,
    /// How long it may take until it is so; for how long a log is watched.
    pub within: Duration,
}

/// What one try found.
enum Found {
    /// It is as it should be, in words.
    Good(String),
    /// Not yet.
    NotYet(String),
    /// It will not become so.
    Never(String),
}

impl Step for Check {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let within = format!(" within {}", Span(self.within));
        let place = match &self.service {
            Some(service) => format!(" in {service}"),
            None => " from this machine".to_owned(),
        };
        match &self.question {
            Question::Http { url, status, body } => {
                let body = body
                    .as_ref()
                    .map_or(String::new(), |text| format!(" with {text:?}"));
                format!("check that {url}{place} answers {status}{body}{within}")
            }
            Question::Tcp { tcp } => format!("check that port {tcp}{place} takes connections{within}"),
            Question::Command { command, code } => {
                let place = place.replace(" from ", " on ");
                let command = command.join(" ");
                format!("check that `{command}`{place} ends with {code}{within}")
            }
            Question::Log { log_free_of } => {
                let service = self.service.as_ref().map_or("", ServiceName::as_str);
                let watched = match self.within.is_zero() {
                    true => String::new(),
                    false => format!(" for {}", Span(self.within)),
                };
                format!("check that the log of {service} stays free of {log_free_of:?}{watched}")
            }
            Question::File { file } => {
                let place = place.replace(" from ", " on ");
                format!("check that {file} is there{place}{within}")
            }
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let began = Instant::now();
        let watched = matches!(self.question, Question::Log { .. });
        loop {
            let found = self.try_once(cx).await.unwrap_or_else(|failure| {
                let causes = failure.causes.join("; ");
                Found::NotYet(match causes.is_empty() {
                    true => failure.to_string(),
                    false => format!("{}: {causes}", failure.what),
                })
            });
            let over = began.elapsed() >= self.within;
            match found {
                Found::Good(words) if !watched || over => {
                    return Ok(Some(format!("{words} after {}", Span(began.elapsed()))));
                }
                Found::Never(last) => return Err(self.failure(last)),
                Found::NotYet(last) if over => return Err(self.failure(last)),
                Found::Good(_) | Found::NotYet(_) => {}
            }
            tokio::select! {
                () = cx.interrupt.raised() => return Err(Failure::interrupted("interrupted")),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

impl Check {
    fn failure(&self, last: String) -> Failure {
        let place = match &self.service {
            Some(service) => format!("in service `{service}`"),
            None => "from this machine".to_owned(),
        };
        let how = match &self.question {
            Question::Http { status, .. } => format!("did not answer {status} within {}", Span(self.within)),
            Question::Log { .. } => "failed".to_owned(),
            _ => format!("did not succeed within {}", Span(self.within)),
        };
        Failure::environment(format!("the check {} {place} {how}", self.question)).cause(last)
    }

    async fn try_once(&self, cx: &Cx) -> Result<Found> {
        let containers = match &self.service {
            Some(service) => cx.all_running(service).await?,
            None => Vec::new(),
        };
        match (&self.question, containers.first()) {
            (Question::Http { url, status, body }, at) => {
                let wanted = body.is_some();
                let answer = match at {
                    Some(container) => inside_http(cx, container, url, wanted).await?,
                    None => here_http(url, wanted).await?,
                };
                Ok(judge(&answer, *status, body.as_deref()))
            }
            (Question::Tcp { tcp }, Some(container)) => {
                let request = Request::Tcp {
                    port: *tcp,
                    timeout_millis: TRY.as_millis() as u64,
                };
                match inside(cx, container, request).await? {
                    Answer::Done => Ok(Found::Good(format!("port {tcp} took a connection"))),
                    other => Err(wrong_answer(&other)),
                }
            }
            (Question::Tcp { tcp }, None) => {
                let connected =
                    tokio::time::timeout(TRY, tokio::net::TcpStream::connect(("localhost", *tcp)));
                Ok(match connected.await {
                    Ok(Ok(_)) => Found::Good(format!("port {tcp} took a connection")),
                    Ok(Err(error)) => Found::NotYet(error.to_string()),
                    Err(_) => Found::NotYet(format!("nothing came within {}", Span(TRY))),
                })
            }
            (Question::Command { command, code }, at) => self.command(cx, at, command, *code).await,
            (Question::Log { log_free_of }, _) => log(cx, &containers, log_free_of).await,
            (Question::File { file }, at) => {
                let there = match at {
                    Some(container) => cx.engine.path_exists(&container.id, file).await?,
                    None => cx.files.after.directory.join(file).exists(),
                };
                Ok(match there {
                    true => Found::Good(format!("{file} was there")),
                    false => Found::NotYet(format!("{file} is not there")),
                })
            }
        }
    }

    async fn command(&self, cx: &Cx, at: Option<&Container>, command: &[String], code: i64) -> Result<Found> {
        // A command may take its time, and has at least that of a try.
        let limit = self.within.max(TRY);
        let (ended, said) = match at {
            Some(container) => {
                let output = cx
                    .engine
                    .exec(&container.id, command, None, limit, &mut |_| {})
                    .await?;
                (Some(output.code), format!("{}{}", output.stdout, output.stderr))
            }
            None => {
                let (program, arguments) = command
                    .split_first()
                    .ok_or_else(|| Failure::bug("a check that runs nothing"))?;
                let mut child = tokio::process::Command::new(program);
                child
                    .args(arguments)
                    .current_dir(&cx.files.after.directory)
                    .env_clear()
                    .envs(&cx.env);
                let ended = child::run(child, Stdio::null(), limit, &mut |_| {})
                    .await
                    .map_err(|broken| broken.failure(&command.join(" "), limit))?;
                let said = format!("{}{}", ended.stdout, ended.stderr);
                (ended.code.map(i64::from), said)
            }
        };
        if ended == Some(code) {
            return Ok(Found::Good(format!("`{}` ended with {code}", command.join(" "))));
        }
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        let how = ended.map_or_else(
            || "it was killed".to_owned(),
            |code| format!("it ended with {code}"),
        );
        Ok(Found::NotYet(match last {
            Some(line) => format!("{how}: {}", line.trim()),
            None => how,
        }))
    }
}

/// Whether an answer over HTTP is the wanted one.
fn judge(answer: &http::Answer, status: u16, body: Option<&str>) -> Found {
    match body {
        _ if answer.status != status => Found::NotYet(format!("it answered {}", answer.status)),
        Some(text) if !answer.body.contains(text) => {
            Found::NotYet(format!("it answered {status} without {text:?}"))
        }
        _ => Found::Good(format!("answered {status}")),
    }
}

async fn inside(cx: &Cx, container: &Container, request: Request) -> Result<Answer> {
    let job = HelperJob {
        network: Network::Of(container.id.clone()),
        ..HelperJob::new(&cx.run, &cx.project, request, Vec::new())
    };
    cx.run_job(job, "check", None).await
}

async fn inside_http(cx: &Cx, container: &Container, url: &str, body: bool) -> Result<http::Answer> {
    let request = Request::Http {
        url: url.to_owned(),
        body,
        timeout_millis: TRY.as_millis() as u64,
    };
    match inside(cx, container, request).await? {
        Answer::Http { status, body } => Ok(http::Answer { status, body }),
        other => Err(wrong_answer(&other)),
    }
}

async fn here_http(url: &str, body: bool) -> Result<http::Answer> {
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || http::get(&url, body, TRY))
        .await
        .map_err(|e| Failure::bug("a check that ended by itself").because(&e))?
        .map_err(Failure::environment)
}

async fn log(cx: &Cx, containers: &[Container], text: &str) -> Result<Found> {
    for container in containers {
        let found = cx
            .engine
            .logged(&container.id, &container.started_at, text, READ_LOG)
            .await?;
        if let Some(line) = found {
            return Ok(Found::Never(format!("{} wrote: {line}", container.name)));
        }
    }
    Ok(Found::Good(format!("the log was free of {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_of_the_first_version_is_read_and_every_question_comes_back() {
        let old = serde_json::json!({
            "service": "api", "url": "http://localhost/", "status": 200, "within": { "secs": 60, "nanos": 0 },
        });
        let check: Check = serde_json::from_value(old).unwrap();
        assert_eq!(
            check.title(),
            "check that http://localhost/ in api answers 200 within 1 min 0 s"
        );
        for question in [
            Question::Http {
                url: "http://x/".to_owned(),
                status: 204,
                body: Some("ok".to_owned()),
            },
            Question::Tcp { tcp: 5432 },
            Question::Command {
                command: vec!["true".to_owned()],
                code: 0,
            },
            Question::Log {
                log_free_of: "Traceback".to_owned(),
            },
            Question::File {
                file: "/run/ready".to_owned(),
            },
        ] {
            let one = Check {
                question,
                ..check.clone()
            };
            let text = serde_json::to_value(&one).unwrap();
            assert_eq!(serde_json::from_value::<Check>(text).unwrap(), one);
        }
    }
}
