//! Failures as RFC 9457 says them.

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;

use super::pages::{self, ErrorView};
use crate::model::{Failure, Kind};

/// A failure, and the status that it is answered with. Its answer carries it along, for the audit and for the page that
/// a browser is shown instead.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) failure: Box<Failure>,
    back: Option<String>,
}

/// What the audit says about an answer that succeeded, if not only its status.
#[derive(Debug, Clone)]
pub(super) struct Why(pub String);

impl Problem {
    /// The same under another status than that of its kind.
    pub(super) fn with(status: StatusCode, what: impl Into<String>) -> Self {
        let failure = match status.is_server_error() {
            true => Failure::environment(what),
            false => Failure::usage(what),
        };
        Self::of(status, failure)
    }

    /// A failure under another status than that of its kind.
    pub(super) fn of(status: StatusCode, failure: Failure) -> Self {
        Self {
            status,
            failure: Box::new(failure),
            back: None,
        }
    }

    pub(super) fn missing(what: impl Into<String>) -> Self {
        Self::with(StatusCode::NOT_FOUND, what)
    }

    pub(super) fn cause(mut self, text: impl Into<String>) -> Self {
        *self.failure = self.failure.cause(text);
        self
    }

    /// What became of the data.
    pub(super) fn of_data(mut self, text: impl Into<String>) -> Self {
        *self.failure = self.failure.data(text);
        self
    }

    /// Where a browser goes on from it; to the first page, if nothing is said.
    pub(super) fn back(mut self, path: impl Into<String>) -> Self {
        self.back = Some(path.into());
        self
    }

    /// The same for a browser.
    pub(super) fn page(&self) -> Response {
        let view = ErrorView {
            status: self.status.as_u16(),
            failure: (*self.failure).clone(),
            back: self.back.clone().unwrap_or_else(|| "/".to_owned()),
        };
        match pages::error(&view) {
            Ok(page) => (self.status, Html(page)).into_response(),
            Err(failure) => (self.status, failure.what).into_response(),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = match failure.kind {
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::Refused => StatusCode::CONFLICT,
            Kind::Environment | Kind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
            Kind::RolledBack | Kind::Stuck | Kind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, failure)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, failure, .. } = &self;
        let status = *status;
        let kind = serde_json::to_value(failure.kind).unwrap_or_default();
        let mut body = json!({
            "type": format!("urn:rehome:{}", kind.as_str().unwrap_or("bug")),
            "status": status.as_u16(),
            "title": failure.what,
        });
        if !failure.causes.is_empty() {
            body["detail"] = failure.causes.join("; ").into();
        }
        if let Some(data) = &failure.data {
            body["data"] = data.as_str().into();
        }
        if !failure.hints.is_empty() {
            body["hints"] = failure.hints.clone().into();
        }
        let media = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, media, body.to_string()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// There is nothing at this path.
pub(super) async fn nothing_here() -> Problem {
    Problem::missing("there is nothing here")
}

/// There is something, but it is not asked for in this way.
pub(super) async fn not_so() -> Problem {
    Problem::with(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done with it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_status() {
        let status = |failure: Failure| Problem::from(failure).status.as_u16();
        assert_eq!(status(Failure::usage("x")), 400);
        assert_eq!(status(Failure::refused("x")), 409);
        assert_eq!(status(Failure::environment("x")), 503);
        assert_eq!(status(Failure::bug("x")), 500);
    }
}
