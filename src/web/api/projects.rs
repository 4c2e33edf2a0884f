//! `/api/projects`.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use serde::Deserialize;

use super::super::Server;
use super::super::guard::AuditId;
use super::super::work::Work;
use super::asked::{Body, Named, Nothing, Query, bad};
use super::{Answer, answer};
use crate::access::Who;
use crate::model::{ProjectName, ServiceName, VolumeKey};
use crate::ops::backup::CreateRequest;
use crate::ops::{DeployRequest, MoveRequest, Projects};
use crate::plan::Destination;

pub(super) async fn list(State(server): State<Arc<Server>>, _: Query<Nothing>) -> Answer {
    answer(
        &server
            .ask(|options| async move { Projects::new(options).list().await })
            .await?,
    )
}

pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Named(name): Named<ProjectName>,
    _: Query<Nothing>,
) -> Answer {
    answer(&server.project(&name).await?)
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
    Extension(audit): Extension<AuditId>,
    Named(name): Named<ProjectName>,
    _: Query<Nothing>,
    Body(body): Body<Deploy>,
) -> Answer<Response> {
    server.project(&name).await?;
    let request = DeployRequest {
        only: body.services,
        no_pull: body.no_pull,
        no_build: body.no_build,
        dry_run: body.dry_run,
        ..DeployRequest::default()
    };
    Work::Deploy(name, request).answer(&server, who, audit).await
}

/// What a move takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    to: Option<String>,
    #[serde(default)]
    volumes: Vec<VolumeKey>,
    #[serde(default)]
    offline: bool,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn move_(
    State(server): State<Arc<Server>>,
    Extension(who): Extension<Who>,
    Extension(audit): Extension<AuditId>,
    Named(name): Named<ProjectName>,
    _: Query<Nothing>,
    Body(body): Body<Move>,
) -> Answer<Response> {
    let to = match body.to.as_deref().map(str::parse::<Destination>) {
        None => None,
        Some(Ok(to)) => Some(to),
        Some(Err(why)) => return Err(bad("where it shall go is not understood").cause(why)),
    };
    server.project(&name).await?;
    let request = MoveRequest {
        to,
        only: body.volumes,
        offline: body.offline,
        dry_run: body.dry_run,
        ..MoveRequest::default()
    };
    Work::Move(name, Box::new(request))
        .answer(&server, who, audit)
        .await
}

/// What a backup takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backup {
    #[serde(default)]
    only: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    pin: bool,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn backup(
    State(server): State<Arc<Server>>,
    Extension(who): Extension<Who>,
    Extension(audit): Extension<AuditId>,
    Named(name): Named<ProjectName>,
    _: Query<Nothing>,
    Body(body): Body<Backup>,
) -> Answer<Response> {
    server.project(&name).await?;
    let request = CreateRequest {
        only: body.only,
        exclude: body.exclude,
        pin: body.pin,
        dry_run: body.dry_run,
        ..CreateRequest::default()
    };
    Work::Backup(name, request).answer(&server, who, audit).await
}
