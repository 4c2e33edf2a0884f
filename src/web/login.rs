//! The one page that is there for everybody, and the way out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;

use super::guard::{From, cookie_of, is_secure};
use super::listen::Peer;
use super::problem::{Problem, Why};
use super::{Server, joined};
use crate::access::Deed;
use crate::model::{Failure, Result, Secret};

pub(super) fn router() -> Router<Arc<Server>> {
    Router::new()
        .route("/login", get(page).post(login))
        .route("/logout", post(logout))
        .route("/", get(home))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: String,
    password: Secret,
    /// A page may send it; before the login there is no session that it could be of.
    #[serde(default)]
    #[allow(dead_code)]
    csrf: Option<String>,
}

fn form(says: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Log in – Rehome</title>\
         <main><h1>Rehome</h1><p role=\"status\">{says}</p><form method=\"post\" action=\"/login\">\
         <p><label for=\"name\">Name</label> <input id=\"name\" name=\"name\" autocomplete=\"username\" required></p>\
         <p><label for=\"password\">Password</label> <input id=\"password\" name=\"password\" type=\"password\" \
         autocomplete=\"current-password\" required></p><p><button>Log in</button></p></form></main></html>\n"
    )
}

async fn page() -> Html<String> {
    Html(form(""))
}

async fn home() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Rehome</title><main><h1>Rehome</h1><p><a href=\"/api/openapi.json\">What can be asked</a></p></main></html>\n",
    )
}

async fn login(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Extension(From(from)): Extension<From>,
    headers: HeaderMap,
    asked: std::result::Result<Form<Login>, axum::extract::rejection::FormRejection>,
) -> Response {
    let Ok(Form(asked)) = asked else {
        return Problem::with(
            StatusCode::BAD_REQUEST,
            "a login is a form with `name` and `password`",
        )
        .into_response();
    };
    match attempt(&server, &from, asked).await {
        Ok(Attempt::In(secret)) => {
            let mut response = Redirect::to("/").into_response();
            set_cookie(response.headers_mut(), Some(&secret), is_secure(peer, &headers));
            response
        }
        Ok(Attempt::Wrong) => {
            server.failed_logins.fetch_add(1, Ordering::Relaxed);
            let says = "Name or password is wrong.";
            (StatusCode::UNAUTHORIZED, Html(form(says))).into_response()
        }
        Ok(Attempt::Later(seconds)) => {
            let says = "Too many attempts. Try again later.";
            let after = [(header::RETRY_AFTER, seconds.to_string())];
            (StatusCode::TOO_MANY_REQUESTS, after, Html(form(says))).into_response()
        }
        Err(failure) => Problem::from(failure).into_response(),
    }
}

enum Attempt {
    In(Secret),
    Wrong,
    Later(u64),
}

async fn attempt(server: &Arc<Server>, from: &str, asked: Login) -> Result<Attempt> {
    let Login { name, password, .. } = asked;
    {
        // Looked at and counted in one go: many at once are counted as many.
        let mut attempts = server
            .attempts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        if let Some(wait) = attempts.wait(from, &name, now) {
            return Ok(Attempt::Later(wait.as_secs().max(1)));
        }
        attempts.begin(from, &name, now);
    }
    let user = name.clone();
    let kept = server.store(move |store| store.password(&user)).await?;
    let place = server.hashing.acquire().await;
    let place = place.map_err(|error| Failure::bug("nobody can log in any more").because(&error))?;
    let comparing = Arc::clone(server);
    let is = tokio::task::spawn_blocking(move || comparing.passwords.is(kept.as_deref(), &password)).await;
    drop(place);
    let is = joined(is)?;
    if is {
        let mut attempts = server
            .attempts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        attempts.succeeded(from, &name);
    }
    let from = from.to_owned();
    server
        .store(move |store| {
            let who = format!("web user {name}");
            let id = store.note(&Deed {
                who: &who,
                from: &from,
                what: "login",
                on: "/login",
            })?;
            store.answered(id, if is { "done" } else { "refused: wrong" })?;
            match is {
                true => store.begin_session(&name).map(Attempt::In),
                false => Ok(Attempt::Wrong),
            }
        })
        .await
}

async fn logout(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    if let Some(secret) = cookie_of(peer, &headers) {
        let ended = server.store(move |store| store.end_session(&secret)).await;
        if let Err(failure) = ended {
            return Problem::from(failure).into_response();
        }
    }
    let mut response = Redirect::to("/login").into_response();
    set_cookie(response.headers_mut(), None, is_secure(peer, &headers));
    response.extensions_mut().insert(Why("logged out".to_owned()));
    response
}

/// The name of the cookie. Browsers take one with the prefix only with `Secure`, which wants TLS.
pub(super) fn cookie_name(secure: bool) -> &'static str {
    match secure {
        true => "__Host-rehome",
        false => "rehome",
    }
}

fn set_cookie(headers: &mut HeaderMap, secret: Option<&Secret>, secure: bool) {
    let name = cookie_name(secure);
    let end = if secure { "; Secure" } else { "" };
    let text = match secret {
        Some(secret) => format!(
            "{name}={}; HttpOnly; SameSite=Strict; Path=/{end}",
            secret.reveal()
        ),
        None => format!("{name}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0{end}"),
    };
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        headers.insert(header::SET_COOKIE, value);
    }
}
