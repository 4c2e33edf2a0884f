//! `/api/sites`.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::super::Server;
use super::super::guard::AuditId;
use super::super::problem::{Problem, Why};
use super::super::work::Work;
use super::asked::{Body, Named, Nothing, Query, bad, whole};
use super::{Answer, answer};
use crate::access::Who;
use crate::model::config::absolute_dir;
use crate::model::{Kind, ServiceName, SiteName};
use crate::ops::site::{AddRequest, RemoveReport, SiteMoveRequest, Sites, StorageRequest, What};
use crate::site::{Published, check_health, check_image};

pub(super) async fn list(State(server): State<Arc<Server>>, _: Query<Nothing>) -> Answer {
    let all = server
        .ask(|options| async move { Sites::new(options)?.unmeasured() })
        .await?;
    answer(&server.measures.of(all))
}

/// What a site is, as JSON and the form say it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Add {
    pub(in crate::web) name: SiteName,
    pub(in crate::web) project: Option<PathBuf>,
    pub(in crate::web) service: Option<ServiceName>,
    pub(in crate::web) image: Option<String>,
    pub(in crate::web) port: Option<Port>,
    pub(in crate::web) health: Option<String>,
    #[serde(default)]
    pub(in crate::web) dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Port {
    #[serde(deserialize_with = "whole")]
    pub(in crate::web) host: u16,
    #[serde(deserialize_with = "whole")]
    pub(in crate::web) container: u16,
}

impl Add {
    /// What is asked of ops.
    pub(in crate::web) fn request(self) -> Answer<AddRequest> {
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
                if port.host == 0 || port.container == 0 {
                    return Err(bad("a port is from 1 to 65535"));
                }
                What::Image {
                    image: check_image(&image).map_err(|what| bad(format!("image is {what}")))?,
                    port: Published {
                        host: port.host,
                        container: port.container,
                    },
                    health: match self.health {
                        Some(path) => {
                            Some(check_health(&path).map_err(|what| bad(format!("health is {what}")))?)
                        }
                        None => None,
                    },
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

pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Named(name): Named<SiteName>,
    _: Query<Nothing>,
) -> Answer {
    server.has_site(&name).await?;
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
    Extension(audit): Extension<AuditId>,
    Named(name): Named<SiteName>,
    _: Query<Nothing>,
    Body(body): Body<Switch>,
) -> Answer<Response> {
    server.has_site(&name).await?;
    let work = Work::Storage(StorageRequest {
        name,
        on: body.persistent_storage,
        owner: None,
        dry_run: body.dry_run,
    });
    work.answer(&server, who, audit).await
}

/// Where its data goes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    to: Option<String>,
    #[serde(default)]
    offline: bool,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn move_(
    State(server): State<Arc<Server>>,
    Extension(who): Extension<Who>,
    Extension(audit): Extension<AuditId>,
    Named(name): Named<SiteName>,
    _: Query<Nothing>,
    Body(body): Body<Move>,
) -> Answer<Response> {
    let to = body.to.as_deref().map(absolute_dir).transpose();
    let to = to.map_err(|why| bad("where it shall go is not understood").cause(why))?;
    server.has_site(&name).await?;
    let work = Work::MoveSite(SiteMoveRequest {
        name,
        to,
        offline: body.offline,
        dry_run: body.dry_run,
    });
    work.answer(&server, who, audit).await
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
) -> Answer<Response> {
    server.has_site(&name).await?;
    let report = server
        .ask(move |options| async move {
            let sites = Sites::new(options)?;
            let planned = sites.plan_remove(&name, query.delete_data.is_some()).await?;
            sites.remove(planned, query.delete_data.as_deref()).await
        })
        .await?;
    let mut response = answer(&report)?.into_response();
    response.extensions_mut().insert(of_removal(&report));
    Ok(response)
}

/// What the audit says of it.
pub(in crate::web) fn of_removal(report: &RemoveReport) -> Why {
    Why(match (&report.data, report.deleted) {
        (Some(data), true) => format!("{} was deleted", data.display()),
        (Some(data), false) => format!("{} stays", data.display()),
        (None, _) => "it had no data".to_owned(),
    })
}
