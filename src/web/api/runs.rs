//! `/api/runs`.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::guard::AuditId;
use super::super::problem::Problem;
use super::super::work::{accepted, take_up};
use super::super::{Server, events as told};
use super::asked::{Named, Nothing, Query};
use super::{Answer, Limit, answer};
use crate::access::Who;
use crate::model::RunId;
use crate::ops::Runs;

fn missing() -> Problem {
    Problem::missing("there is no such run")
}

pub(super) async fn list(State(server): State<Arc<Server>>, Query(query): Query<Limit>) -> Answer {
    let limit = query.lines()? as usize;
    answer(
        &server
            .ask(move |options| async move { Runs::new(options)?.list(limit) })
            .await?,
    )
}

pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Named(id): Named<RunId>,
    _: Query<Nothing>,
) -> Answer {
    let found = server
        .ask(move |options| async move { Runs::new(options)?.show(&id) })
        .await?;
    answer(&found.ok_or_else(missing)?)
}

pub(super) async fn events(
    State(server): State<Arc<Server>>,
    Named(id): Named<RunId>,
    _: Query<Nothing>,
    headers: HeaderMap,
) -> Answer<Response> {
    told::follow(&server, id, &headers).await
}

pub(super) async fn resume(
    server: State<Arc<Server>>,
    who: Extension<Who>,
    audit: Extension<AuditId>,
    id: Named<RunId>,
    _: Query<Nothing>,
) -> Answer<Response> {
    let run = take_up(&server, who.0, audit.0, id.0, false).await?;
    Ok(accepted(&run))
}

pub(super) async fn rollback(
    server: State<Arc<Server>>,
    who: Extension<Who>,
    audit: Extension<AuditId>,
    id: Named<RunId>,
    _: Query<Nothing>,
) -> Answer<Response> {
    let run = take_up(&server, who.0, audit.0, id.0, true).await?;
    Ok(accepted(&run))
}
