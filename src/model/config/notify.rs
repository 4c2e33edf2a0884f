//! `notify:` in rehome.yml.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An address that is told of deployments. It says one of `url` and `url_from`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^https?://"))]
    pub url: Option<String>,

    /// The variable of the environment or of `.env` that holds the address: whoever knows it may write there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<String>,

    /// When it is told; all of it if it is not said.
    #[serde(default = "Moment::all", skip_serializing_if = "Moment::are_all")]
    pub on: Vec<Moment>,

    /// How it is told.
    #[serde(default)]
    pub format: Format,
}

// An address may be a secret.
impl std::fmt::Debug for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notify")
            .field("url_from", &self.url_from)
            .field("on", &self.on)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// When somebody is told of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// It begins.
    Start,
    /// It is done.
    Success,
    /// It is not: it went back, is stuck or was interrupted.
    Failure,
}

impl Moment {
    fn all() -> Vec<Self> {
        vec![Self::Start, Self::Success, Self::Failure]
    }

    fn are_all(moments: &[Self]) -> bool {
        moments == Self::all()
    }
}

/// How an address is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// An object with everything.
    #[default]
    Json,
    /// An incoming webhook of Slack, or of who understands the same.
    Slack,
    /// A topic of ntfy.
    Ntfy,
    /// A check of healthchecks.io: `/start`, nothing, `/fail`.
    Healthchecks,
}

impl Notify {
    /// It as it may be shown: without the address.
    #[must_use]
    pub fn shown(&self) -> String {
        match (&self.url_from, self.url.as_deref().and_then(host)) {
            (Some(name), _) => format!("the address in {name}"),
            (None, Some(host)) => host.to_owned(),
            (None, None) => String::new(),
        }
    }

    /// What is wrong with it, and with which key. It does not name the address.
    pub(super) fn mistake(&self) -> Option<(&'static str, String)> {
        match (&self.url, &self.url_from) {
            (None, None) => Some(("", "it names no address: say `url` or `url_from`".to_owned())),
            (Some(_), Some(_)) => Some(("url_from", "it names two addresses".to_owned())),
            (None, Some(name)) if !super::hook::is_variable(name) => {
                Some(("url_from", format!("{name:?} is no name of a variable")))
            }
            (Some(url), None) if host(url).is_none() => {
                Some(("url", "it is no URL with https:// or http://".to_owned()))
            }
            _ => None,
        }
    }
}

/// The host of an address, which may be shown.
#[must_use]
pub fn host(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    (!host.is_empty()).then_some(host)
}
