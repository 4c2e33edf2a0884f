//! What every request passes: which host it means, who it is, what it may, the audit, and the headers of the answer.
//!
//! Nothing is looked at before it is known who asks: what exists and what does not is answered alike.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::Server;
use super::listen::Peer;
use super::login::{cookie_name, login_for};
use super::pages::ASSETS;
use super::problem::{Problem, Why};
use crate::access::{Deed, Session, Who};
use crate::model::{Failure, Result, Secret};

/// What a request may carry.
const BODY: usize = 64 * 1024;
/// In so long.
const BODY_TIME: Duration = Duration::from_secs(20);
/// A question of a program is answered in so long.
const ANSWER: Duration = Duration::from_secs(30);
/// A change looks at the world before it answers, and so does a page with a plan: it reads through large volumes.
const CHANGE: Duration = Duration::from_secs(300);

/// On every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` a browser would say `Origin: null` of its own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (header::CACHE_CONTROL, "no-store"),
];

/// From which address a request is, in words.
#[derive(Debug, Clone)]
pub(super) struct From(pub String);

/// The line of the audit of a request that changes something.
#[derive(Debug, Clone, Copy)]
pub(super) struct AuditId(pub i64);

/// What is to be sent with a change of this session.
#[derive(Debug, Clone)]
pub(super) struct Csrf(pub Option<Secret>);

/// See the module.
pub(super) async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    server.requests.fetch_add(1, Ordering::Relaxed);
    let programs = is_for_programs(request.uri().path());
    let mut response = match passed(&server, request, next).await {
        Ok(response) => response,
        Err(response) => *response,
    };
    if !programs && let Some(problem) = response.extensions().get::<Problem>() {
        response = problem.page();
    }
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

type Stopped = Box<Response>;

fn stopped(problem: impl IntoResponse) -> Stopped {
    Box::new(problem.into_response())
}

fn failed(failure: Failure) -> Stopped {
    stopped(Problem::from(failure))
}

async fn passed(
    server: &Arc<Server>,
    mut request: Request,
    next: Next,
) -> std::result::Result<Response, Stopped> {
    let peer = request
        .extensions()
        .get::<Peer>()
        .copied()
        .unwrap_or(Peer::Socket);
    if !is_meant(server, request.headers(), request.uri()) {
        return Err(stopped(Problem::with(
            StatusCode::MISDIRECTED_REQUEST,
            "this is no name of this server: rehome serve --host-name NAME",
        )));
    }
    let from = address(peer, request.headers());
    request.extensions_mut().insert(From(from.clone()));
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let limit = match changes || !is_for_programs(request.uri().path()) {
        true => CHANGE,
        false => ANSWER,
    };
    let path = request.uri().path().to_owned();
    // What the login page is made of says nothing about anything.
    if path == "/login" || path.starts_with(ASSETS) {
        let request = if changes {
            if !is_of_here(request.headers()) {
                return Err(stopped(foreign()));
            }
            whole(request).await?.0
        } else {
            request
        };
        return Ok(answered(next, request, limit).await);
    }
    let Some((who, session)) = who(server, peer, request.headers()).await.map_err(failed)? else {
        return Err(nobody(request.uri(), changes));
    };
    request.extensions_mut().insert(who.clone());
    let csrf = session.as_ref().map(|session| session.csrf.clone());
    request.extensions_mut().insert(Csrf(csrf));
    if !changes {
        return Ok(answered(next, request, limit).await);
    }
    let change = Change {
        server: Arc::clone(server),
        who,
        session,
        from,
    };
    // A task of its own: whoever leaves, by a second click for instance, stops nothing in its middle, and the audit gets its
    // end.
    match tokio::spawn(change.carry_out(request, next)).await {
        Ok(response) => response,
        Err(error) => Err(failed(
            Failure::bug("a change was not answered to its end").because(&error),
        )),
    }
}

/// The answer, if it comes in time.
async fn answered(next: Next, request: Request, limit: Duration) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::with(
            StatusCode::GATEWAY_TIMEOUT,
            "this takes too long; what was begun goes on",
        )
        .into_response(),
    }
}

/// Somebody changes something.
struct Change {
    server: Arc<Server>,
    who: Who,
    session: Option<Session>,
    from: String,
}

impl Change {
    /// Begins its line of the audit, sees whether it is allowed, does it, and ends the line.
    async fn carry_out(self, mut request: Request, next: Next) -> std::result::Result<Response, Stopped> {
        let Self {
            server,
            who,
            session,
            from,
        } = self;
        let (method, on) = (request.method().to_string(), request.uri().path().to_owned());
        let name = who.to_string();
        let audit = server
            .store(move |store| {
                store.note(&Deed {
                    who: &name,
                    from: &from,
                    what: &method,
                    on: &on,
                })
            })
            .await
            .map_err(failed)?;
        request.extensions_mut().insert(AuditId(audit));
        let response = match allowed(&who, session.as_ref(), request).await {
            Ok(request) => answered(next, request, CHANGE).await,
            Err(response) => *response,
        };
        // Of a run that began the line ends when the run does; if that never comes, it is open, and the run tells more.
        let at = response.headers().get(header::LOCATION);
        let at = at.and_then(|at| at.to_str().ok()).unwrap_or_default();
        if at.starts_with("/runs/") || at.starts_with("/api/runs/") {
            return Ok(response);
        }
        let told = response.extensions();
        let why = told.get::<Why>().map(|why| why.0.clone());
        let why = why.or_else(|| told.get::<Problem>().map(|problem| problem.failure.what.clone()));
        let outcome = match (response.status().as_u16(), why) {
            (status, Some(why)) => format!("{status}: {why}"),
            (status, None) => status.to_string(),
        };
        server
            .store(move |store| store.answered(audit, &outcome))
            .await
            .map_err(failed)?;
        Ok(response)
    }
}

fn is_for_programs(path: &str) -> bool {
    path == "/metrics" || path == "/api" || path.starts_with("/api/")
}

/// Without a login: the same for everything.
fn nobody(uri: &Uri, changes: bool) -> Stopped {
    if !is_for_programs(uri.path()) {
        // What was sent is lost: it goes on at the page above, which the form was of.
        let above = uri.path().rsplit_once('/').map(|(above, _)| above);
        let above = above.and_then(|above| above.parse::<Uri>().ok());
        return stopped(Redirect::to(&match (changes, above) {
            (false, _) => login_for(uri),
            (true, Some(above)) => login_for(&above),
            (true, None) => login_for(&Uri::from_static("/")),
        }));
    }
    let mut response =
        Problem::with(StatusCode::UNAUTHORIZED, "log in first, or send a token").into_response();
    let scheme = HeaderValue::from_static("Bearer realm=\"rehome\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    Box::new(response)
}

fn foreign() -> Problem {
    Problem::with(StatusCode::FORBIDDEN, "this was sent by another site")
}

/// Whether somebody who is in may do this.
async fn allowed(
    who: &Who,
    session: Option<&Session>,
    request: Request,
) -> std::result::Result<Request, Stopped> {
    if !who.may_operate() {
        let problem = Problem::with(StatusCode::FORBIDDEN, "this token may only read");
        return Err(stopped(problem));
    }
    if session.is_some() && !is_of_here(request.headers()) {
        return Err(stopped(foreign()));
    }
    let (request, body) = whole(request).await?;
    let Some(session) = session else {
        return Ok(request);
    };
    let header = request
        .headers()
        .get("x-csrf-token")
        .and_then(|value| value.to_str().ok());
    let sent = header.map(str::to_owned).or_else(|| field(&request, &body));
    // Hashed, so that how long it takes says nothing about how much of it is right.
    let same = |sent: &str| blake3::hash(sent.as_bytes()) == blake3::hash(session.csrf.reveal().as_bytes());
    match sent.is_some_and(|sent| same(&sent)) {
        true => Ok(request),
        false => Err(stopped(
            Problem::with(
                StatusCode::FORBIDDEN,
                "the form is too old, or was sent by another site",
            )
            .cause("X-CSRF-Token, or the field csrf, is missing or of another session"),
        )),
    }
}

/// The field `csrf` of a form.
fn field(request: &Request, body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Sent {
        csrf: String,
    }
    let media = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    if !media.starts_with("application/x-www-form-urlencoded") {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let uri = Uri::builder().path_and_query(format!("/?{text}")).build().ok()?;
    let sent = axum::extract::Query::<Sent>::try_from_uri(&uri).ok()?;
    Some(sent.0.csrf)
}

/// Reads the body, within its limits, before anything is done.
async fn whole(request: Request) -> std::result::Result<(Request, bytes::Bytes), Stopped> {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, BODY)).await;
    match read {
        Ok(Ok(bytes)) => Ok((Request::from_parts(parts, Body::from(bytes.clone())), bytes)),
        Ok(Err(_)) => {
            let what = format!("a request carries at most {BODY} bytes");
            Err(stopped(Problem::with(StatusCode::PAYLOAD_TOO_LARGE, what)))
        }
        Err(_) => Err(stopped(Problem::with(
            StatusCode::REQUEST_TIMEOUT,
            "the request did not come to its end",
        ))),
    }
}

async fn who(
    server: &Arc<Server>,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Option<(Who, Option<Session>)>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let token = match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim().to_owned(),
            // Whoever says who he is is not taken for somebody else.
            _ => return Ok(None),
        };
        let found = server.store(move |store| store.by_token(&token)).await?;
        return Ok(found.map(|who| (who, None)));
    }
    let Some(secret) = cookie_of(peer, headers) else {
        return Ok(None);
    };
    let found = server.store(move |store| store.session(&secret)).await?;
    Ok(found.map(|session| (Who::User(session.user.clone()), Some(session))))
}

/// The secret of the session's cookie.
pub(super) fn cookie_of(peer: Peer, headers: &HeaderMap) -> Option<String> {
    let name = cookie_name(is_secure(peer, headers));
    let all = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'));
    pairs.find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

/// Whether the browser speaks TLS with a proxy on this machine.
pub(super) fn is_secure(peer: Peer, headers: &HeaderMap) -> bool {
    let proto = headers
        .get("x-forwarded-proto")
        .and_then(|value| value.to_str().ok());
    peer.is_near() && proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"))
}

/// From where a request is. A proxy on this machine says it; anybody else could say anything.
fn address(peer: Peer, headers: &HeaderMap) -> String {
    let said = headers.get_all("x-forwarded-for").into_iter().next_back();
    let said = said.and_then(|value| {
        value
            .to_str()
            .ok()?
            .rsplit(',')
            .next()?
            .trim()
            .parse::<IpAddr>()
            .ok()
    });
    match said.filter(|_| peer.is_near()) {
        Some(ip) => ip.to_canonical().to_string(),
        None => peer.to_string(),
    }
}

/// The host of `name:port`, `[::1]:port` or either without a port.
fn host_of(authority: &str) -> Option<String> {
    let parsed: axum::http::uri::Authority = authority.parse().ok()?;
    if authority.contains('@') {
        return None;
    }
    let host = parsed.host().trim_start_matches('[').trim_end_matches(']');
    Some(host.to_ascii_lowercase())
}

/// Whether a request means this server: what a browser on this machine was told under another name is none of ours.
fn is_meant(server: &Server, headers: &HeaderMap, uri: &Uri) -> bool {
    let mut said = headers.get_all(header::HOST).into_iter();
    let (Some(host), None) = (said.next(), said.next()) else {
        return false;
    };
    let host = host.to_str().ok().and_then(host_of);
    let named = |host: &String| server.hosts.contains(host);
    let in_uri = uri.authority().map(|authority| host_of(authority.as_str()));
    host.as_ref().is_some_and(named) && in_uri.is_none_or(|of_uri| of_uri == host)
}

/// Whether the page that sent this is of this server, as far as the browser says it.
fn is_of_here(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("?").to_owned())
    };
    let site = text(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let host = text(header::HOST);
    let origin = text(header::ORIGIN).or_else(|| text(header::REFERER));
    origin.is_none_or(|origin| {
        let uri: Option<Uri> = origin.parse().ok();
        let authority = uri.and_then(|uri| uri.authority().map(ToString::to_string));
        authority.is_some() && authority == host
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn another_origin_is_told_from_ours() {
        let of_here = |pairs: &[(&'static str, &str)]| {
            let mut all = vec![("host", "localhost:7434")];
            all.extend(pairs);
            is_of_here(&headers(&all))
        };
        assert!(of_here(&[]), "a program says nothing");
        assert!(of_here(&[("origin", "http://localhost:7434")]));
        assert!(of_here(&[
            ("origin", "https://localhost:7434"),
            ("sec-fetch-site", "same-origin")
        ]));
        for origin in [
            "null",
            "http://localhost:1",
            "http://evil.example",
            "",
            "http://localhost:7434.evil.example",
        ] {
            assert!(!of_here(&[("origin", origin)]), "{origin}");
            assert!(!of_here(&[("referer", origin)]), "{origin}");
        }
        assert!(!of_here(&[("sec-fetch-site", "cross-site")]));
        assert!(!of_here(&[("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn hosts_are_read_without_their_port() {
        assert_eq!(host_of("LocalHost:80").as_deref(), Some("localhost"));
        assert_eq!(host_of("[::1]:80").as_deref(), Some("::1"));
        assert_eq!(host_of("127.0.0.1").as_deref(), Some("127.0.0.1"));
        for strange in ["", "a b", "evil@localhost", "a/b"] {
            assert_eq!(host_of(strange), None, "{strange}");
        }
    }

    #[test]
    fn only_a_proxy_on_this_machine_says_for_whom_it_asks() {
        let near = Peer::Address("127.0.0.1".parse().unwrap());
        let far = Peer::Address("192.0.2.7".parse().unwrap());
        let map = headers(&[
            ("x-forwarded-for", "10.0.0.1, 198.51.100.9"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(address(near, &map), "198.51.100.9");
        assert_eq!(address(far, &map), "192.0.2.7");
        assert!(is_secure(near, &map) && !is_secure(far, &map));
    }
}
