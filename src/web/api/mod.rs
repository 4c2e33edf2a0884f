//! What can be asked and changed, as JSON. `templates/openapi.json` says the same, and a test holds both together.

pub(super) mod asked;
mod projects;
mod runs;
pub(super) mod sites;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use self::asked::{Nothing, Query};
use super::Server;
use super::guard::Csrf;
use super::problem::Problem;
use crate::access::Who;
use crate::ops::site::Sites;
use crate::ops::{RunCondition, Runs};
use crate::site::Storage;

/// What a handler returns.
pub(super) type Answer<T = Json<Value>> = std::result::Result<T, Problem>;

/// The description of all of it, as it is served.
const OPENAPI: &str = include_str!("../../../templates/openapi.json");

pub(super) fn router() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/whoami", get(whoami))
        .route("/api/openapi.json", get(openapi))
        .route("/api/audit", get(audit))
        .route("/metrics", get(metrics))
        .route("/api/sites", get(sites::list).post(sites::add))
        .route(
            "/api/sites/{id}",
            get(sites::show).patch(sites::switch).delete(sites::remove),
        )
        .route("/api/sites/{id}/move", post(sites::move_))
        .route("/api/projects", get(projects::list))
        .route("/api/projects/{id}", get(projects::show))
        .route("/api/projects/{id}/deploy", post(projects::deploy))
        .route("/api/projects/{id}/move", post(projects::move_))
        .route("/api/projects/{id}/backup", post(projects::backup))
        .route("/api/runs", get(runs::list))
        .route("/api/runs/{id}", get(runs::show))
        .route("/api/runs/{id}/events", get(runs::events))
        .route("/api/runs/{id}/resume", post(runs::resume))
        .route("/api/runs/{id}/rollback", post(runs::rollback))
}

/// A value as JSON.
fn answer<T: serde::Serialize>(value: &T) -> Answer {
    let value = serde_json::to_value(value);
    let failed = |error: serde_json::Error| {
        Problem::from(crate::model::Failure::bug("an answer that cannot be written as JSON").because(&error))
    };
    value.map(Json).map_err(failed)
}

async fn whoami(
    Extension(who): Extension<Who>,
    Extension(Csrf(csrf)): Extension<Csrf>,
    _: Query<Nothing>,
) -> Json<Value> {
    let csrf = csrf.as_ref().map(crate::model::Secret::reveal);
    Json(match who {
        // It is what this session's own page has to send back, and nobody else reads the answer.
        Who::User(name) => json!({ "kind": "user", "name": name, "scope": "operate", "csrf": csrf }),
        Who::Token(name, scope) => json!({ "kind": "token", "name": name, "scope": scope }),
    })
}

async fn openapi(_: Query<Nothing>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: Option<u32>,
}

impl Limit {
    /// How many are wanted: 100, and at most 1000.
    fn lines(&self) -> Answer<u32> {
        match self.limit.unwrap_or(100) {
            limit @ 1..=1000 => Ok(limit),
            _ => Err(asked::bad("limit is from 1 to 1000")),
        }
    }
}

async fn audit(
    State(server): State<Arc<Server>>,
    Extension(who): Extension<Who>,
    Query(query): Query<Limit>,
) -> Answer {
    if !who.may_operate() {
        let status = axum::http::StatusCode::FORBIDDEN;
        return Err(Problem::with(status, "the audit is for those who may operate"));
    }
    let limit = query.lines()?;
    answer(&server.store(move |store| store.audit(limit, None)).await?)
}

async fn metrics(State(server): State<Arc<Server>>, _: Query<Nothing>) -> Answer<Response> {
    let (all, runs) = server
        .ask(|options| async move {
            Ok((
                Sites::new(options.clone())?.names()?,
                Runs::new(options)?.list(usize::MAX)?,
            ))
        })
        .await?;
    let on = all
        .iter()
        .filter(|site| site.persistent_storage == Storage::On)
        .count();
    let of = |condition| runs.iter().filter(|run| run.condition == condition).count();
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        let written = write!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
        );
        debug_assert!(written.is_ok(), "a text takes everything");
    };
    let requests = server.requests.load(Ordering::Relaxed);
    let failed = server.failed_logins.load(Ordering::Relaxed);
    metric("rehome_sites", "gauge", "Sites that are known.", all.len() as u64);
    metric(
        "rehome_sites_persistent",
        "gauge",
        "Sites whose persistent storage is on.",
        on as u64,
    );
    metric(
        "rehome_runs_running",
        "gauge",
        "Runs that a process is at.",
        of(RunCondition::Running) as u64,
    );
    metric(
        "rehome_runs_waiting",
        "gauge",
        "Runs that wait to be finished.",
        of(RunCondition::Waits) as u64,
    );
    metric(
        "rehome_runs_damaged",
        "gauge",
        "Runs whose journal cannot be read.",
        of(RunCondition::Damaged) as u64,
    );
    metric(
        "rehome_serve_runs",
        "gauge",
        "Runs of this server.",
        server.runs.under_way() as u64,
    );
    metric(
        "rehome_serve_requests_total",
        "counter",
        "Requests since the server began.",
        requests,
    );
    metric(
        "rehome_serve_failed_logins_total",
        "counter",
        "Wrong passwords since the server began.",
        failed,
    );
    let media = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((media, out).into_response())
}
