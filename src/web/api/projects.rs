//! `/api/projects`.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::super::Server;
use super::super::guard::AuditId;
use super::super::problem::Problem;
use super::super::runs::Order;
use super::asked::{Body, Named, Nothing, Query};
use super::sites::accepted;
use super::{Answer, answer};
use crate::access::Who;
use crate::model::{ProjectName, ServiceName};
use crate::ops::{DeployRequest, Projects, plan_deploy};

pub(super) async fn list(State(server): State<Arc<Server>>, _: Query<Nothing>) -> Answer {
    answer(
        &server
            .ask(|options| async move { Projects::new(options).list().await })
            .await?,
    )
}

fn missing() -> Problem {
    Problem::missing("there is no such project")
}

pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Named(name): Named<ProjectName>,
    _: Query<Nothing>,
) -> Answer {
    let found = server
        .ask(move |options| async move { Projects::new(options).find(&name).await })
        .await?;
    answer(&found.ok_or_else(missing)?)
}

/// What a deployment takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deploy {
    #[serde(default)]
    services: Vec<ServiceName>,
    #[serde(default)]
    no_pull: bool,
    #[serde(default)]
    no_build: bool,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn deploy(
    State(server): State<Arc<Server>>,
    Extension(who): Extension<Who>,
    Extension(AuditId(audit)): Extension<AuditId>,
    Named(name): Named<ProjectName>,
    _: Query<Nothing>,
    Body(body): Body<Deploy>,
) -> Answer<Response> {
    let wanted = name.clone();
    let found = server
        .ask(move |options| async move { Projects::new(options).find(&wanted).await })
        .await?;
    found.ok_or_else(missing)?;
    let request = DeployRequest {
        only: body.services,
        no_pull: body.no_pull,
        no_build: body.no_build,
        dry_run: body.dry_run,
        ..DeployRequest::default()
    };
    if body.dry_run {
        let plan = server
            .ask(move |options| async move {
                let mut app = Projects::new(options).open(&name).await?;
                let planned = plan_deploy(&mut app, &request).await?;
                answer(&planned.plan).map_err(|_| crate::model::Failure::bug("a plan that is no JSON"))
            })
            .await?;
        return Ok(plan.into_response());
    }
    let order = Order {
        who,
        audit,
        command: format!("rehome deploy -p {name}"),
    };
    let run = server
        .runs
        .begin(&server, order, move |options| async move {
            let mut app = Projects::new(options).open(&name).await?;
            let planned = plan_deploy(&mut app, &request).await?;
            planned.run(&app).await
        })
        .await?;
    Ok(accepted(&run))
}
