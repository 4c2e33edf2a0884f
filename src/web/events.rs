//! What a run tells, as server-sent events. Of a run of this process everything, of any other what its journal says.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};

use super::Server;
use super::problem::Problem;
use super::runs::Log;
use crate::event::{Event, Outcome};
use crate::model::{Failure, RunId};
use crate::ops::{RunCondition, Runs, Told};

/// A proxy must not take a silent stream for a dead one.
const ALIVE: Duration = Duration::from_secs(15);
/// The journal of another process is looked at so often: nothing tells of it.
const LOOK: Duration = Duration::from_millis(500);

/// The events of a run, from the one after `Last-Event-ID` on.
pub(super) async fn follow(
    server: &Arc<Server>,
    id: RunId,
    headers: &HeaderMap,
) -> std::result::Result<Response, Problem> {
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    // The numbers of a journal and those of this process are different ones.
    let after = |mark: &str| {
        let number = last
            .strip_prefix(mark)
            .and_then(|number| number.parse::<u64>().ok());
        number.map_or(0, |number| number.saturating_add(1))
    };
    if let Some(log) = server.runs.log(&id) {
        return Ok(answer(of_memory(log, after("m"))));
    }
    let told = journal(server, &id).await?;
    let Some(told) = told else {
        return Err(Problem::missing("there is no such run"));
    };
    Ok(answer(of_journal(Arc::clone(server), id, after("j"), told)))
}

fn answer(stream: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // nginx would keep it back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(stream)).into_response()
}

fn written(mark: &str, number: u64, text: &str) -> String {
    format!("id: {mark}{number}\ndata: {text}\n\n")
}

fn of_memory(log: Arc<Log>, from: u64) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let news = log.listen();
    stream::unfold(Some((log, news, from)), |state| async move {
        let (log, mut news, mut next) = state?;
        loop {
            news.borrow_and_update();
            let (events, over) = log.since(next);
            let mut out = String::new();
            for (number, text) in events {
                out += &written("m", number, &text);
                next = number + 1;
            }
            match (out.is_empty(), over) {
                (true, true) => return None,
                (false, over) => return Some((Ok(out.into()), (!over).then_some((log, news, next)))),
                (true, false) => {}
            }
            match tokio::time::timeout(ALIVE, news.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((Ok(Bytes::from_static(b": alive\n\n")), Some((log, news, next)))),
            }
        }
    })
}

async fn journal(server: &Arc<Server>, id: &RunId) -> crate::model::Result<Option<Told>> {
    let (id, exit) = (id.clone(), server.exit);
    server
        .ask(move |options| async move { Runs::new(options)?.told(&id, exit) })
        .await
}

fn of_journal(
    server: Arc<Server>,
    id: RunId,
    from: u64,
    told: Told,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold(Some((server, id, from, Some(told))), |state| async move {
        let (server, id, mut next, mut told) = state?;
        let mut silent = Duration::ZERO;
        loop {
            let now = match told.take() {
                Some(told) => told,
                None => {
                    tokio::time::sleep(LOOK).await;
                    silent += LOOK;
                    // That it cannot be read any more is the end; who asks again is told why.
                    journal(&server, &id).await.ok().flatten()?
                }
            };
            let mut out = String::new();
            for (number, event) in (0_u64..).zip(&now.events) {
                if number >= next
                    && let Ok(text) = serde_json::to_string(event)
                {
                    out += &written("j", number, &text);
                }
            }
            next = next.max(now.events.len() as u64);
            if now.condition != RunCondition::Running {
                out += &waiting(&server, &id, now.condition);
                return Some((Ok(out.into()), None));
            }
            if !out.is_empty() {
                return Some((Ok(out.into()), Some((server, id, next, None))));
            }
            if silent >= ALIVE {
                return Some((
                    Ok(Bytes::from_static(b": alive\n\n")),
                    Some((server, id, next, None)),
                ));
            }
        }
    })
}

/// The end of a run that waits: its process is gone, and told nobody. Without a number, as it is in no journal.
fn waiting(server: &Server, id: &RunId, condition: RunCondition) -> String {
    if condition != RunCondition::Waits {
        return String::new();
    }
    let end = Event::Finished {
        run: Some(id.clone()),
        outcome: Outcome::Interrupted,
        exit: (server.exit)(Outcome::Interrupted),
        failure: Some(
            Failure::interrupted("the run was stopped before its end")
                .hint(format!("finish it: rehome resume {id}"))
                .hint(format!("take it back: rehome rollback {id}")),
        ),
        report: None,
    };
    serde_json::to_string(&end)
        .map(|text| format!("data: {text}\n\n"))
        .unwrap_or_default()
}
