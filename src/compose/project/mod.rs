//! The resolved project: what `docker compose config` says, typed as far as Rehome needs it.
//!
//! Compose prints the secrets of every service. Values of environments, labels, commands and driver options are
//! therefore never part of a `Debug` output, and no service or volume is ever serialised.

mod graph;
mod load;
mod raw;
mod unused;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ProjectName, Secret, ServiceName, VolumeKey, VolumeName};

pub use graph::{Nested, Use};
pub use load::{definitions, load, rehearse, unset, would_remake};

/// A project as Compose resolved it, the services of every profile and unused volumes included.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// Its services.
    pub services: BTreeMap<ServiceName, Service>,
    /// Its top-level volumes.
    pub volumes: BTreeMap<VolumeKey, Volume>,
    /// The files of its top-level `secrets:`.
    pub secret_files: Vec<PathBuf>,
}

/// A service.
#[derive(Clone)]
pub struct Service {
    /// Its key in the Compose file.
    pub name: ServiceName,
    /// Whether it belongs to the active profiles: `docker compose up` would start it.
    pub active: bool,
    /// The profiles it is gated by.
    pub profiles: Vec<String>,
    /// The image, if one is named.
    pub image: Option<String>,
    /// Whether it has a `build:`.
    pub build: bool,
    /// `never`, `build`, `missing`, …: when Compose pulls its image.
    pub pull_policy: Option<String>,
    /// A fixed container name.
    pub container_name: Option<String>,
    /// Overrides the image's user.
    pub user: Option<String>,
    /// Overrides the image's working directory.
    pub working_dir: Option<String>,
    /// Overrides the image's command.
    pub command: Option<Vec<String>>,
    /// Overrides the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Environment, `env_file` merged in; `None` where it is taken from the surroundings and not set there.
    pub environment: BTreeMap<String, Option<Secret>>,
    /// What is said about the health check.
    pub healthcheck: Healthcheck,
    /// `unless-stopped`, `on-failure:3`, …; `None` is `no`.
    pub restart: Option<String>,
    /// Services it depends on, those that follow from links, `volumes_from` and shared namespaces included.
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// Services named in `links`.
    pub links: BTreeSet<ServiceName>,
    /// Services whose network, IPC or PID namespace it shares: it lives and dies with their containers.
    pub namespaces_of: BTreeSet<ServiceName>,
    /// Whose mounts it takes over.
    pub volumes_from: Vec<VolumesFrom>,
    /// `volumes:` of the service, in order.
    pub mounts: Vec<Mount>,
    /// `tmpfs:` of the service: target with options.
    pub tmpfs: Vec<String>,
    /// Overrides the image's stop signal.
    pub stop_signal: Option<String>,
    /// How long a stop may take; `None` is ten seconds.
    pub stop_grace_period: Option<Duration>,
    /// How many containers.
    pub replicas: u32,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Labels of its containers.
    pub labels: BTreeMap<String, Secret>,
    /// A hash of its whole definition, to see whether the files were changed meanwhile. `COMPOSE_FILE` in its
    /// environment is left out: it gets there through `env_file: .env`, and is what a move sets itself.
    pub definition: String,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("active", &self.active)
            .field("image", &self.image)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

/// What a Compose file says about a service's health check. The image may have one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Healthcheck {
    /// Nothing: the image's, if it has one.
    Unsaid,
    /// There is one.
    Present,
    /// Switched off.
    Disabled,
}

/// How one service depends on another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// What must be the case before the dependent starts.
    pub condition: Condition,
    /// Without it the dependent starts even where the other is not part of the run.
    pub required: bool,
    /// The dependent is restarted when Compose recreates the other.
    pub restart: bool,
}

/// What a dependent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It was started.
    Started,
    /// Its health check passes.
    Healthy,
    /// It ended with exit code 0.
    CompletedSuccessfully,
}

/// Whose mounts a service takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesFrom {
    /// Whose.
    pub source: VolumesSource,
    /// Whether they are mounted read-only.
    pub read_only: bool,
}

/// A service of the project, or a container outside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumesSource {
    /// A service.
    Service(ServiceName),
    /// `container:NAME`
    Container(String),
}

/// One entry of a service's `volumes:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// Where, cleaned.
    pub target: String,
    /// Where, as the Compose file spells it: what an override has to repeat (trap 39).
    pub written_target: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// SELinux label, `z` or `Z`.
    pub selinux: Option<String>,
}

/// What a mount brings into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A volume of the project.
    Volume {
        /// Its key.
        key: VolumeKey,
        /// The new volume is not filled from the image.
        nocopy: bool,
        /// Only this directory of it.
        subpath: Option<String>,
    },
    /// A volume without a name: it goes with the container.
    Anonymous,
    /// A directory of the host.
    Bind {
        /// Which.
        source: PathBuf,
        /// As printed. Where nothing is printed its meaning depends on the version of Compose (trap 38).
        create_host_path: Option<bool>,
        /// `rshared`, …
        propagation: Option<String>,
    },
    /// Memory.
    Tmpfs,
    /// Something that a newer Compose knows (`image`, `cluster`, `npipe`).
    Other(String),
}

impl Mount {
    /// The volume's key, if it is a volume of the project.
    #[must_use]
    pub fn volume(&self) -> Option<&VolumeKey> {
        match &self.source {
            MountSource::Volume { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The host's address, if one is named.
    pub host_ip: Option<String>,
    /// The host's port or range; `None` is any.
    pub published: Option<String>,
    /// The container's port.
    pub target: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// A top-level volume.
#[derive(Clone)]
pub struct Volume {
    /// Its key in the Compose file.
    pub key: VolumeKey,
    /// Its full name in the engine.
    pub name: VolumeName,
    /// Made and owned by somebody else.
    pub external: bool,
    /// The driver, if one is named; `local` otherwise.
    pub driver: Option<String>,
    /// The driver's options. `o` may hold a password.
    pub driver_opts: BTreeMap<String, Secret>,
    /// Labels.
    pub labels: BTreeMap<String, Secret>,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("key", &self.key)
            .field("name", &self.name)
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

/// What is behind a volume, as its definition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// Docker's own directory.
    Docker,
    /// A directory of the engine's host, bound by driver options.
    Bound {
        /// Which.
        device: PathBuf,
    },
    /// Defined elsewhere: only the engine knows.
    External,
    /// Something that Rehome does not move, in words.
    Other(String),
}

impl Volume {
    /// What is behind it.
    #[must_use]
    pub fn kind(&self) -> VolumeKind {
        let option = |name: &str| self.driver_opts.get(name).map(Secret::reveal).unwrap_or_default();
        if self.external {
            return VolumeKind::External;
        }
        match self.driver.as_deref().unwrap_or("local") {
            "local" => {}
            "" => {}
            driver => return VolumeKind::Other(format!("driver {driver}")),
        }
        if self.driver_opts.is_empty() {
            return VolumeKind::Docker;
        }
        let is_bind = option("o")
            .split(',')
            .any(|word| word == "bind" || word == "rbind");
        if is_bind && option("device").starts_with('/') {
            return VolumeKind::Bound {
                device: PathBuf::from(option("device")),
            };
        }
        match option("type") {
            "" => {
                let names: Vec<&str> = self.driver_opts.keys().map(String::as_str).collect();
                VolumeKind::Other(format!("driver options {}", names.join(", ")))
            }
            kind => VolumeKind::Other(format!("driver options of type {kind}")),
        }
    }
}
