//! The one page that is there for everybody, and the way out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;

use super::guard::{From, cookie_of, is_secure};
use super::listen::Peer;
use super::pages::{self, LoginView};
use super::problem::{Problem, Why};
use super::{Server, joined, server_name};
use crate::access::Deed;
use crate::model::{Failure, Result, Secret, Span};

pub(super) fn router() -> Router<Arc<Server>> {
    Router::new()
        .route("/login", get(page).post(login))
        .route("/logout", post(logout))
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
    /// Where to go then.
    #[serde(default)]
    next: Option<String>,
}

/// The login page, from which the way leads on to where somebody wanted to go.
pub(super) fn login_for(uri: &Uri) -> String {
    let wanted = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    match wanted != "/" && is_of_here(wanted) {
        true => format!("/login?next={}", pages::part(wanted)),
        false => "/login".to_owned(),
    }
}

/// Whether that is a path on this server, and not the address of another: `//other` and `/\\other` are none.
fn is_of_here(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != '\\';
    path.starts_with('/') && !path.starts_with("//") && path.len() <= 512 && path.chars().all(plain)
}

fn form(status: StatusCode, next: Option<String>, user: String, problem: Option<&str>) -> Response {
    let view = LoginView {
        csrf: String::new(),
        server: server_name(),
        next,
        user,
        problem: problem.map(str::to_owned),
    };
    match pages::login(&view) {
        Ok(page) => (status, Html(page)).into_response(),
        Err(failure) => Problem::from(failure).into_response(),
    }
}

#[derive(Deserialize)]
struct Asked {
    next: Option<String>,
}

async fn page(asked: std::result::Result<Query<Asked>, QueryRejection>) -> Response {
    let next = asked.ok().and_then(|Query(asked)| asked.next);
    form(
        StatusCode::OK,
        next.filter(|next| is_of_here(next)),
        String::new(),
        None,
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
    let next = asked.next.clone().filter(|next| is_of_here(next));
    let user = asked.name.chars().take(64).collect();
    match attempt(&server, &from, asked).await {
        Ok(Attempt::In(secret)) => {
            let mut response = Redirect::to(next.as_deref().unwrap_or("/")).into_response();
            set_cookie(response.headers_mut(), Some(&secret), is_secure(peer, &headers));
            response
        }
        Ok(Attempt::Wrong) => {
            server.failed_logins.fetch_add(1, Ordering::Relaxed);
            let says = "Name or password is wrong.";
            form(StatusCode::UNAUTHORIZED, next, user, Some(says))
        }
        Ok(Attempt::Later(seconds)) => {
            let span = Span(Duration::from_secs(seconds));
            let says = format!("Too many attempts. Try again in {span}.");
            let mut response = form(StatusCode::TOO_MANY_REQUESTS, next, user, Some(&says));
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            response
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_on_from_the_login_stays_on_this_server() {
        let of = |uri: &str| login_for(&uri.parse().unwrap());
        assert_eq!(of("/"), "/login");
        assert_eq!(of("/sites/blog?on=1"), "/login?next=%2Fsites%2Fblog%3Fon%3D1");
        assert_eq!(of("//evil.example/x"), "/login");
        for strange in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a b",
            "/a\n",
            "sites",
        ] {
            assert!(!is_of_here(strange), "{strange:?}");
        }
        assert!(!is_of_here(&format!("/{}", "x".repeat(512))));
    }
}
