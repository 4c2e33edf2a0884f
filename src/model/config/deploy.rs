//! `deploy:` in rehome.yml.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{scalar, schemas, write_span};
use crate::model::ServiceName;

/// How the project is deployed. Everything may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deploy {
    /// How a service is replaced.
    pub strategy: Strategy,

    /// How long proxies have to learn of new containers before others are stopped: the old ones when a service is rolled,
    /// the next replica when uploads are switched.
    #[serde(deserialize_with = "scalar::span", serialize_with = "write_span")]
    #[schemars(schema_with = "schemas::span")]
    pub drain: Duration,

    /// What is done with the git repository that the files are in, before anything else.
    pub git: Git,

    /// Pull the images of services that have no `build:`. Databases are never pulled.
    pub pull: bool,

    /// Build the services that have a `build:`.
    pub build: bool,

    /// Services whose databases are not dumped before a deployment: caches.
    #[serde(deserialize_with = "scalar::list")]
    #[schemars(with = "Vec<String>")]
    pub no_dump: Vec<ServiceName>,

    /// Files that must be there before anything is done, relative to the Compose file.
    #[serde(deserialize_with = "scalar::list")]
    #[schemars(with = "Vec<String>")]
    pub require: Vec<PathBuf>,

    /// The deployments whose images, containers and dumps are kept to go back to.
    #[schemars(range(min = 1, max = 100))]
    pub keep_images: usize,

    /// For how long every container must run without a restart.
    #[serde(deserialize_with = "scalar::span", serialize_with = "write_span")]
    #[schemars(schema_with = "schemas::span")]
    pub stable: Duration,

    /// How long a service may take to come up.
    #[serde(deserialize_with = "scalar::span", serialize_with = "write_span")]
    #[schemars(schema_with = "schemas::span")]
    pub limit: Duration,
}

/// How a service is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The old containers are stopped, then the new are started.
    #[default]
    StopFirst,
    /// The new containers are started, and the old are stopped once the new are well: only of services that write to no
    /// volume and have neither a container name nor a port of the host; the others are stopped first.
    Rolling,
}

/// What a deployment does with the git repository that the files are in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Git {
    /// Nothing.
    #[default]
    None,
    /// Fetches, and goes forward to what the branch follows; back again if the deployment does not come about.
    Pull,
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            strategy: Strategy::StopFirst,
            drain: Duration::from_secs(3),
            git: Git::None,
            pull: true,
            build: true,
            no_dump: Vec::new(),
            require: Vec::new(),
            keep_images: 3,
            stable: Duration::from_secs(5),
            limit: Duration::from_secs(180),
        }
    }
}

impl Deploy {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
