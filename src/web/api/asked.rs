//! What a request says, read strictly: what is not known is refused.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::problem::Problem;

/// A request that cannot be understood.
pub(super) fn bad(what: impl Into<String>) -> Problem {
    Problem::with(StatusCode::BAD_REQUEST, what)
}

/// A whole number, also if it is written as `80.0`: to JSON that is the same.
pub(super) fn whole<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    let number = f64::deserialize(from)?;
    let is_one = number.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(&number);
    // Nothing is lost: it was looked at.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    is_one
        .then_some(number as u16)
        .ok_or_else(|| serde::de::Error::custom("this is a whole number from 0 to 65535"))
}

/// No keys at all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// What is behind the `?`.
pub(super) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => Err(bad("the query cannot be understood").cause(error.body_text())),
        }
    }
}

/// The name in the path. What can be no name is not there.
pub(in crate::web) struct Named<T>(pub T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let missing = || Problem::missing("there is nothing of this name");
        let name = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|_| missing())?;
        name.parse().map(Self).map_err(|_| missing())
    }
}

/// The body.
pub(super) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media = request.headers().get(header::CONTENT_TYPE);
        let media = media.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        // A form of another site can be sent without the browser asking first; JSON cannot.
        if media != "application/json" {
            return Err(Problem::with(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "this takes application/json",
            ));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|error| bad("the body cannot be read").cause(error.body_text()))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| bad("the body cannot be understood").cause(error.to_string()))
    }
}
