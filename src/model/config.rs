//! rehome.yml: what may be in it, and what it means.
//!
//! The doc comments of these types are the descriptions in the JSON Schema.

mod deploy;
mod lines;
mod read;
mod scalar;
mod subdir;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::{Owner, ServiceName, VolumeKey};

pub use deploy::{Deploy, Strategy};
pub use lines::line_of;
pub use read::{ConfigError, parse};
pub use subdir::{ParseSubdirError, Subdir, absolute_dir, default_subdir, meeting};
pub use write::write_commented;

/// The one version of the format that this Rehome reads and writes.
pub const VERSION: u32 = 1;

/// The settings of Rehome for one Compose project. Everything but the version may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "rehome.yml")]
pub struct Config {
    /// The version of this format.
    #[schemars(extend("const" = 1))]
    pub version: u32,

    /// Where volumes live on block storage.
    #[serde(default, skip_serializing_if = "Block::is_empty")]
    pub block: Block,

    /// What runs in the services after they started on a new home. Without this key hooks are detected; with it,
    /// even if it is empty, only these run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,

    /// What must answer before a move counts as done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,

    /// How long a service may take to stop, as `90s` or `10m`.
    #[serde(
        default,
        deserialize_with = "scalar::some_span",
        serialize_with = "write_some_span",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "schemas::span")]
    pub stop_timeout: Option<Duration>,

    /// How the project is deployed.
    #[serde(default, skip_serializing_if = "Deploy::is_default")]
    pub deploy: Deploy,

    /// The move of uploads to S3-compatible storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<serde_json::Value>,

    /// Backups: where to, how long, when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<serde_json::Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: VERSION,
            block: Block::default(),
            hooks: None,
            checks: Vec::new(),
            stop_timeout: None,
            deploy: Deploy::default(),
            s3: None,
            backup: None,
        }
    }
}

/// Where volumes live on block storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The directory on the block volume that holds the volumes' directories; absolute, on the engine's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schemas::absolute")]
    pub root: Option<PathBuf>,

    /// The file name of the override, beside the Compose file.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub override_file: Option<PathBuf>,

    /// What is special about single volumes, by their key in the Compose file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Volume>")]
    pub volumes: BTreeMap<VolumeKey, Volume>,

    /// Volumes that stay where they are.
    #[serde(
        default,
        deserialize_with = "scalar::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(with = "Vec<String>")]
    pub exclude: Vec<VolumeKey>,
}

impl Block {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is special about a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its directory below the root; by default its name without `_data` or `_volume`.
    #[serde(
        default,
        deserialize_with = "scalar::some",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "schemas::subdir")]
    pub path: Option<Subdir>,

    /// The owner of everything in it at its new home, as `UID:GID`; by default what it is at the old one.
    #[serde(
        default,
        deserialize_with = "scalar::some",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "schemas::owner")]
    pub owner: Option<Owner>,
}

/// What runs in the services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// After the services started on the new home, in this order.
    #[serde(default)]
    pub after_start: Vec<Hook>,
}

/// A command in a service's container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The service.
    #[serde(deserialize_with = "scalar::one")]
    #[schemars(with = "String")]
    pub service: ServiceName,

    /// The program and its arguments; no shell is involved.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,

    /// The user, if it is not the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,

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

/// What becomes of a run when a hook fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The move goes back.
    #[default]
    Stop,
    /// The move goes on, with a warning.
    Warn,
    /// The move goes on.
    Ignore,
}

/// A request that must be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The service that is asked, from inside its network.
    #[serde(deserialize_with = "scalar::one")]
    #[schemars(with = "String")]
    pub service: ServiceName,

    /// The URL, as the service itself would call it: `http://localhost:8000/health/`.
    #[schemars(regex(pattern = "^http://"))]
    pub http: String,

    /// The status that it must answer with.
    #[serde(default = "default_status")]
    #[schemars(range(min = 100, max = 599))]
    pub status: u16,

    /// How long it may take until it does, as `60s` or `2m`.
    #[serde(
        default = "default_within",
        deserialize_with = "scalar::span",
        serialize_with = "write_span"
    )]
    #[schemars(schema_with = "schemas::span")]
    pub within: Duration,
}

/// The status a check expects without being told.
pub const fn default_status() -> u16 {
    200
}

/// How long a check waits without being told.
pub const fn default_within() -> Duration {
    Duration::from_secs(60)
}

/// The JSON Schema of rehome.yml, for editors.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

/// A duration as it is written in rehome.yml; reads back as the same.
pub(crate) fn span_text(span: Duration) -> String {
    match (span.subsec_millis(), span.as_secs()) {
        (0, seconds) if seconds >= 60 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        (0, seconds) => format!("{seconds}s"),
        (_, _) => format!("{}ms", span.as_millis()),
    }
}

fn write_span<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&span_text(*span))
}

fn write_some_span<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => write_span(span, serializer),
        None => serializer.serialize_none(),
    }
}

/// What serde's types do not say of themselves.
mod schemas {
    use schemars::{Schema, SchemaGenerator, json_schema};

    pub fn span(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?[a-z]*( ?[0-9]+(\\.[0-9]+)? ?[a-z]+)*$" },
            { "type": "integer", "minimum": 0 },
        ] })
    }

    pub fn absolute(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^/" })
    }

    pub fn subdir(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^/]" })
    }

    pub fn owner(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+:[0-9]+$" })
    }
}

#[cfg(test)]
mod tests;
