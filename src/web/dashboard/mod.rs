//! What a browser asks for: fills the pages from what ops says, and takes their forms. Each form has its twin in the API.
//!
//! ```text
//! overview   the first page
//! sites      sites: listed, added, shown, switched, removed
//! projects   a project, and its move, deployment and backup, each with its plan first
//! question   a plan and the question below it: the same for whatever can be begun
//! runs       a run, live; the history; the audit
//! lines      what ops says as the pages want it
//! ```

mod lines;
mod overview;
mod projects;
mod question;
mod runs;
mod sites;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, FromRequest, FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get, post};

use super::api::asked::Named;
use super::guard::{AuditId, Csrf};
use super::pages::{self, Frame};
use super::problem::Problem;
use super::{Server, server_name};
use crate::access::Who;
use crate::model::{Failure, Result, RunId};
use crate::ops::Runs;

/// What a handler returns.
type Page = std::result::Result<Response, Problem>;

pub(super) fn router() -> Router<Arc<Server>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/assets/{name}", get(asset))
        .route("/sites", get(sites::list).post(sites::add))
        .route("/sites/{name}", get(sites::overview))
        .route("/sites/{name}/settings", get(sites::settings))
        .route("/sites/{name}/storage", get(sites::ask).post(sites::switch))
        .route("/sites/{name}/move", get(sites::ask_move).post(sites::move_))
        .route("/sites/{name}/remove", post(sites::remove))
        .route("/projects/{name}", get(projects::page))
        .route(
            "/projects/{name}/move",
            get(projects::ask_move).post(projects::move_),
        )
        .route("/projects/{name}/deploy", planned(projects::deploy))
        .route("/projects/{name}/backup", planned(projects::backup))
        .route("/runs/{name}", get(runs::page))
        .route("/runs/{name}/resume", post(runs::resume))
        .route("/runs/{name}/rollback", post(runs::rollback))
        .route("/history", get(runs::history))
        .route("/audit", get(runs::audit))
}

/// What is asked about with its plan, and begun.
fn planned(about: projects::About) -> MethodRouter<Arc<Server>> {
    get(
        move |State(server), visitor: Visitor, Named(name), fields: Fields| {
            projects::ask(server, visitor, name, fields, about)
        },
    )
    .post(move |State(server), actor: Actor, Named(name), fields: Fields| {
        projects::run(server, actor, name, fields, about)
    })
}

async fn asset(Path(name): Path<String>) -> Page {
    let (media, bytes) = pages::asset(&name).ok_or_else(|| Problem::missing("there is nothing here"))?;
    Ok(([(header::CONTENT_TYPE, media)], bytes).into_response())
}

/// A page that was made.
fn html(status: StatusCode, page: Result<String>) -> Page {
    Ok((status, Html(page?)).into_response())
}

/// The page of a run that began.
fn to_run(run: &RunId) -> Response {
    Redirect::to(&format!("/runs/{run}")).into_response()
}

/// Who looks.
struct Visitor {
    who: Who,
    csrf: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Problem> {
        let who = parts.extensions.get::<Who>().cloned();
        let who = who.ok_or_else(|| Problem::from(Failure::bug("a page for nobody")))?;
        let csrf = parts.extensions.get::<Csrf>().and_then(|csrf| csrf.0.as_ref());
        Ok(Self {
            who,
            csrf: csrf.map(|csrf| csrf.reveal().to_owned()).unwrap_or_default(),
        })
    }
}

impl Visitor {
    /// What stands around a page.
    async fn frame(&self, server: &Arc<Server>) -> Result<Frame> {
        let waiting = server
            .ask(|options| async move { Runs::new(options)?.waiting() })
            .await?;
        Ok(Frame {
            user: match &self.who {
                Who::User(name) | Who::Token(name, _) => name.clone(),
            },
            csrf: self.csrf.clone(),
            server: server_name(),
            waiting: waiting.iter().map(lines::waiting).collect(),
        })
    }
}

/// Somebody who changes something, and the line of the audit that it has.
struct Actor {
    visitor: Visitor,
    audit: AuditId,
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> std::result::Result<Self, Problem> {
        let visitor = Visitor::from_request_parts(parts, state).await?;
        let audit = Extension::<AuditId>::from_request_parts(parts, state).await;
        let Extension(audit) = audit.map_err(|_| Problem::from(Failure::bug("a change without a line")))?;
        Ok(Self { visitor, audit })
    }
}

/// The fields of a form or of a query, which may be there more than once. What is not known is refused.
struct Fields(Vec<(String, String)>);

impl Fields {
    /// The same, if there are no others than these.
    fn only(self, known: &[&str]) -> std::result::Result<Self, Problem> {
        let strange = self.0.iter().find(|(name, _)| !known.contains(&name.as_str()));
        match strange {
            None => Ok(self),
            Some((name, _)) => Err(Problem::with(
                StatusCode::BAD_REQUEST,
                format!("there is no field {name:?} here"),
            )),
        }
    }

    /// The text of a field; empty if it is not there.
    fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value.trim())
    }

    /// The text of a field that says something.
    fn said(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |(field, _)| field == name);
        found.map(|(_, value)| value.trim())
    }
}

/// From the query, or from the body of a form.
impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> std::result::Result<Self, Problem> {
        // It takes the one or the other by the method.
        match axum::Form::<Vec<(String, String)>>::from_request(request, state).await {
            Ok(axum::Form(fields)) => Ok(Self(fields)),
            Err(error) => Err(
                Problem::with(StatusCode::BAD_REQUEST, "the form cannot be understood")
                    .cause(error.body_text()),
            ),
        }
    }
}
