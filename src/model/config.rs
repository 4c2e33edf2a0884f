//! rehome.yml: what may be in it, and what it means.
//!
//! The doc comments of these types are the descriptions in the JSON Schema.

mod backup;
mod check;
mod deploy;
mod hook;
mod lines;
mod notify;
mod place;
mod prices;
mod read;
mod s3;
mod scalar;
mod subdir;
mod variant;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::{Owner, VolumeKey};

pub use backup::{Backup, COMPRESSION, Consistency, Encrypt, Keep, schedule as check_schedule};
pub use check::{Check, Question};
pub use deploy::{Deploy, Git, Strategy};
pub use hook::{Hook, Hooks, How, OnFailure};
pub use lines::line_of;
pub use notify::{Format, Moment, Notify, host};
pub use place::{Destination, ParsePlaceError, Place, Volumes};
pub use prices::{Cost, Offer, Prices, Tier, Usage};
pub use read::{ConfigError, parse, read_yaml};
pub use s3::{Acl, Bucket, CONCURRENCY, Concurrency, ParseS3Error, Prefix, S3};
pub use subdir::{ParseSubdirError, Subdir, absolute_dir, default_subdir, meeting};
pub use variant::{Variant, When};
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

    /// The directory that holds those of sites, as `rehome site enable` makes them; absolute. Without it
    /// `DEPLOY_DATA_PATH` of the environment says it, and then it is /var/deploy/data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schemas::absolute")]
    pub data_root: Option<PathBuf>,

    /// What runs beside a deployment, or after a move. Without this key hooks are detected; with it, even if it is
    /// empty, only these run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,

    /// What must be so before a move or a deployment counts as done.
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

    /// Compose files that belong to the project only under a condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,

    /// Who is told of deployments and backups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,

    /// Uploads in S3-compatible storage.
    #[serde(default, skip_serializing_if = "S3::is_default")]
    pub s3: S3,

    /// Backups: where to, how long, when.
    #[serde(default, skip_serializing_if = "Backup::is_default")]
    pub backup: Backup,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: VERSION,
            block: Block::default(),
            data_root: None,
            hooks: None,
            checks: Vec::new(),
            stop_timeout: None,
            deploy: Deploy::default(),
            variants: Vec::new(),
            notify: Vec::new(),
            s3: S3::default(),
            backup: Backup::default(),
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

    pub fn bucket(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^s3://[^/]{3,63}(/.*)?$" })
    }

    pub fn owner(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+:[0-9]+$" })
    }
}

#[cfg(test)]
mod tests;
