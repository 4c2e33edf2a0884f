//! `/api/runs`.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::guard::AuditId;
use super::super::problem::Problem;
use super::super::runs::Order;
use super::super::{Server, events as told};
use super::asked::{Named, Nothing, Query};
use super::sites::accepted;
use super::{Answer, Limit, answer};
use crate::access::Who;
use crate::model::{Failure, RunId};
use crate::ops::{Recovery, Runs, recover};

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
    take_up(server.0, who.0, audit.0, id.0, false).await
}

pub(super) async fn rollback(
    server: State<Arc<Server>>,
    who: Extension<Who>,
    audit: Extension<AuditId>,
    id: Named<RunId>,
    _: Query<Nothing>,
) -> Answer<Response> {
    take_up(server.0, who.0, audit.0, id.0, true).await
}

async fn take_up(
    server: Arc<Server>,
    who: Who,
    AuditId(audit): AuditId,
    id: RunId,
    back: bool,
) -> Answer<Response> {
    let wanted = id.clone();
    let found = server
        .ask(move |options| async move { Runs::new(options)?.show(&wanted) })
        .await?;
    found.ok_or_else(missing)?;
    let verb = if back { "rollback" } else { "resume" };
    let order = Order {
        who,
        audit,
        command: format!("rehome {verb} {id}"),
    };
    let run = server
        .runs
        .begin(&server, order, move |options| async move {
            let app = Runs::new(options)?.open(&id).await?;
            match recover(&app, Some(&id), back, false).await? {
                Recovery::Finished(finish) => Ok(*finish),
                Recovery::Redeploy(planned) => {
                    planned.leave(&app).await;
                    Err(is_over(&id))
                }
                Recovery::Offer { .. } | Recovery::WouldDo(_) => Err(is_over(&id)),
            }
        })
        .await?;
    Ok(accepted(&run))
}

/// What would go back is a run of its own, with a plan that somebody has to read first.
fn is_over(id: &RunId) -> Failure {
    Failure::refused(format!("run {id} is finished: there is nothing to take up"))
        .data("nothing was changed")
        .hint(format!(
            "what would bring back what it replaced is shown by: rehome rollback {id} --dry-run"
        ))
}
