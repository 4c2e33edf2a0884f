//! `/api/sites`.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::super::Server;
use super::super::guard::AuditId;
use super::super::problem::Problem;
use super::super::runs::Order;
use super::asked::{Body, Named, Nothing, Query, bad, whole};
use super::{Answer, answer};
use crate::access::Who;
use crate::model::{Kind, RunId, ServiceName, SiteName, is_image_reference};
use crate::ops::site::{AddRequest, Sites, StorageRequest, What};
use crate::site::Published;

pub(super) async fn list(State(server): State<Arc<Server>>, _: Query<Nothing>) -> Answer {
    let all = server
        .ask(|options| async move { Sites::new(options)?.names() })
        .await?;
    answer(&server.measures.of(all))
}

/// What a site is, as JSON says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    name: SiteName,
    project: Option<PathBuf>,
    service: Option<ServiceName>,
    image: Option<String>,
    port: Option<Port>,
    health: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    #[serde(deserialize_with = "whole")]
    host: u16,
    #[serde(deserialize_with = "whole")]
    container: u16,
}

impl Add {
    fn request(self) -> Answer<AddRequest> {
        let strange = |c: char| c.is_control() || c.is_whitespace();
        let what = match (self.project, self.image, self.port) {
            (Some(directory), None, None) if self.health.is_none() => {
                if !directory.is_absolute() {
                    return Err(bad("project is the absolute path of a directory"));
                }
                What::Project {
                    directory,
                    service: self.service,
                }
            }
            (None, Some(image), Some(port)) if self.service.is_none() => {
                let health = self.health.as_deref().unwrap_or("/");
                if !is_image_reference(&image) {
                    return Err(bad("image is the reference of an image, as ghost:5"));
                }
                if !health.starts_with('/') || health.chars().count() > 1024 || health.contains(strange) {
                    return Err(bad("health is a path, as / or /health"));
                }
                if port.host == 0 || port.container == 0 {
                    return Err(bad("a port is from 1 to 65535"));
                }
                What::Image {
                    image,
                    port: Published {
                        host: port.host,
                        container: port.container,
                    },
                    health: self.health,
                }
            }
            _ => {
                return Err(bad(
                    "a site is a project (and a service of it), or an image with a port (and a health path)",
                ));
            }
        };
        Ok(AddRequest {
            name: self.name,
            what,
            dry_run: self.dry_run,
        })
    }
}

pub(super) async fn add(
    State(server): State<Arc<Server>>,
    _: Query<Nothing>,
    Body(body): Body<Add>,
) -> Answer<Response> {
    let request = body.request()?;
    let dry_run = request.dry_run;
    let name = request.name.clone();
    let report = server
        .ask(move |options| async move { Sites::new(options)?.add(&request).await })
        .await;
    let report = report.map_err(|failure| match failure.kind {
        // It was understood: what it says is not so on this machine.
        Kind::Usage => Problem::of(StatusCode::CONFLICT, failure),
        _ => failure.into(),
    })?;
    let status = if dry_run {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let at = [(header::LOCATION, format!("/api/sites/{name}"))];
    Ok((status, at, answer(&report)?).into_response())
}

fn missing(name: &SiteName) -> Problem {
    Problem::missing(format!("there is no site {name}"))
}

/// 404 if there is none of this name.
async fn is_there(server: &Server, name: &SiteName) -> Answer<()> {
    let wanted = name.clone();
    let there = server
        .ask(move |options| async move { Sites::new(options)?.has(&wanted) })
        .await?;
    if there { Ok(()) } else { Err(missing(name)) }
}

pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Named(name): Named<SiteName>,
    _: Query<Nothing>,
) -> Answer {
    is_there(&server, &name).await?;
    let report = server
        .ask(move |options| async move { Sites::new(options)?.show(&name) })
        .await?;
    answer(&server.measures.seen(report))
}

/// What can be changed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    persistent_storage: bool,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn switch(
    State(server): State<Arc<Server>>,
    Extension(who): Extension<Who>,
    Extension(AuditId(audit)): Extension<AuditId>,
    Named(name): Named<SiteName>,
    _: Query<Nothing>,
    Body(body): Body<Switch>,
) -> Answer<Response> {
    is_there(&server, &name).await?;
    let on = body.persistent_storage;
    let command = format!("rehome site {} {name}", if on { "enable" } else { "disable" });
    let request = StorageRequest {
        name,
        on,
        owner: None,
        dry_run: body.dry_run,
    };
    if body.dry_run {
        let plan = server
            .ask(move |options| async move {
                let planned = Sites::new(options)?.plan_storage(&request).await?;
                Ok(planned.plan)
            })
            .await?;
        return Ok(answer(&plan)?.into_response());
    }
    let order = Order { who, audit, command };
    let run = server
        .runs
        .begin(&server, order, move |options| async move {
            Sites::new(options)?.plan_storage(&request).await?.run().await
        })
        .await?;
    Ok(accepted(&run))
}

/// A run began.
pub(super) fn accepted(run: &RunId) -> Response {
    let at = [(header::LOCATION, format!("/api/runs/{run}"))];
    (StatusCode::ACCEPTED, at, Json(json!({ "run": run }))).into_response()
}

/// Whether its data goes as well: its name, typed once more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delete {
    delete_data: Option<String>,
}

pub(super) async fn remove(
    State(server): State<Arc<Server>>,
    Named(name): Named<SiteName>,
    Query(query): Query<Delete>,
) -> Answer {
    is_there(&server, &name).await?;
    let report = server
        .ask(move |options| async move {
            let sites = Sites::new(options)?;
            let planned = sites.plan_remove(&name, query.delete_data.is_some()).await?;
            sites.remove(planned, query.delete_data.as_deref()).await
        })
        .await?;
    answer(&report)
}
