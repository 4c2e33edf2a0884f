//! `hooks:` in rehome.yml.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{scalar, schemas, write_some_span};
use crate::model::ServiceName;

/// What runs beside a deployment, or after a move. A move runs only what is in `after_start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Before images are pulled or built; the old containers run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_pull: Vec<Hook>,

    /// After images were pulled and databases dumped, before any container is replaced: `exec` runs in the old
    /// container, `run` in one of the new image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_start: Vec<Hook>,

    /// After the services started, in this order.
    #[serde(default)]
    pub after_start: Vec<Hook>,

    /// After all of them were seen to stay up, before the checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_healthy: Vec<Hook>,

    /// After a deployment failed and its way back has ended. Changes nothing about how it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<Hook>,

    /// After a deployment that is done. Changes nothing about how it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_finish: Vec<Hook>,
}

impl Hooks {
    /// Each list with its key.
    #[must_use]
    pub fn by_phase(&self) -> [(&'static str, &[Hook]); 6] {
        [
            ("before_pull", &self.before_pull),
            ("before_start", &self.before_start),
            ("after_start", &self.after_start),
            ("after_healthy", &self.after_healthy),
            ("on_failure", &self.on_failure),
            ("after_finish", &self.after_finish),
        ]
    }
}

/// A command: in a service, or on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The service; without one it runs on this machine, in the project's directory.
    #[serde(
        default,
        deserialize_with = "scalar::some",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub service: Option<ServiceName>,

    /// The program and its arguments; no shell is involved.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,

    /// In the service's running container, or in a container of its own that is removed afterwards.
    #[serde(default, skip_serializing_if = "How::is_default")]
    pub how: How,

    /// The user, if it is not the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,

    /// The working directory, if it is not the container's; on this machine relative to the project's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,

    /// Names of variables that it gets; their values are those of the environment or of `.env`. No values stand here,
    /// because what a deployment does is written down, and they may be secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,

    /// How long it may take, as `90s` or `10m`.
    #[serde(
        default,
        deserialize_with = "scalar::some_span",
        serialize_with = "write_some_span",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "schemas::span")]
    pub timeout: Option<Duration>,

    /// What becomes of the run if it fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl Hook {
    /// What is wrong with it, and with which key; the types do not rule it out.
    pub(super) fn mistake(&self) -> Option<(&'static str, String)> {
        let command = self.run.join(" ");
        if self.run.first().is_none_or(String::is_empty) {
            let place = self.service.as_ref().map_or("this machine", ServiceName::as_str);
            return Some(("run", format!("the hook of {place} runs nothing")));
        }
        if self.service.is_none() && self.how == How::Run {
            let what = format!("`{command}` names no service, of whose image a container could be made");
            return Some(("how", what));
        }
        if self.service.is_none() && self.user.is_some() {
            let what = format!("`{command}` runs on this machine, as whoever runs rehome");
            return Some(("user", what));
        }
        let bad = self.env.iter().find(|name| !is_variable(name))?;
        Some(("env", format!("{bad:?} is no name of a variable")))
    }
}

/// What may stand before the `=` of an environment, as shells have it.
pub(super) fn is_variable(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// Where in a service a hook runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// In its running container.
    #[default]
    Exec,
    /// In a container of its own, as `docker compose run --rm --no-deps` makes it, through the image's entrypoint.
    Run,
}

impl How {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of a run when a hook fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run goes back.
    #[default]
    Stop,
    /// The run goes on, with a warning.
    Warn,
    /// The run goes on.
    Ignore,
}
