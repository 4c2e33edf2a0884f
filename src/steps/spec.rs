//! The nouns that steps share: what is copied from where to where, which containers are stopped. Plain data, because
//! it is written into the journal.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::compose::project::Condition;
use crate::datastore::Kind;
use crate::engine::HelperMount;
use crate::model::{ContainerId, Owner, ServiceName, VolumeKey, VolumeName};
use crate::site::SiteDir;

/// Inside a helper: the source volume.
pub const FROM: &str = "/from";
/// Inside a helper: the destination (the block volume's root, or the new Docker volume).
pub const TO: &str = "/to";
/// Inside a helper: the run's own small volume with the manifests.
pub const STATE: &str = "/state";

/// How volumes are copied, and how it is proven that they arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copying {
    /// Threads; 0 is as many as suit the machine.
    pub jobs: usize,
    /// Bytes a second at most; 0 is no limit.
    pub bandwidth: u64,
    /// How it is proven.
    pub proof: CopyProof,
    /// Write all of a large file again when some of it changed.
    pub whole_files: bool,
}

/// How it is proven that a copy is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyProof {
    /// Everything that was written is read back from the disk.
    #[default]
    ReadBack,
    /// What is copied while the stack runs is taken to be what was written, unless a database is in the volume. What is
    /// copied after the stop is read back.
    Stream,
    /// As [`Self::ReadBack`], and after the stop both sides are read again from the beginning to the end.
    Full,
}

/// Where a volume's data goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Target {
    /// A directory on a mounted block volume, under a new volume definition bound to it.
    Directory {
        /// The mount point of the block volume.
        root: PathBuf,
        /// The directory below it.
        sub: PathBuf,
        /// The new full name of the volume.
        name: VolumeName,
    },
    /// A Docker volume of its own.
    Volume {
        /// Its full name.
        name: VolumeName,
    },
}

impl Target {
    /// The full name of the Docker volume that the containers will mount.
    #[must_use]
    pub fn volume_name(&self) -> &VolumeName {
        match self {
            Target::Directory { name, .. } | Target::Volume { name } => name,
        }
    }

    /// The mount that gives a helper this target, and the path of the data inside the helper.
    #[must_use]
    pub fn mount(&self, read_only: bool) -> (HelperMount, PathBuf) {
        self.mount_at(TO.into(), read_only)
    }

    fn mount_at(&self, target: String, read_only: bool) -> (HelperMount, PathBuf) {
        let path = PathBuf::from(&target);
        match self {
            Target::Directory { root, sub, .. } => (
                HelperMount::Bind {
                    source: root.to_string_lossy().into_owned(),
                    target,
                    read_only,
                },
                path.join(sub),
            ),
            Target::Volume { name } => (
                HelperMount::Volume {
                    name: name.clone(),
                    target,
                    read_only,
                },
                path,
            ),
        }
    }

    /// Where the data will be, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Target::Directory { root, sub, .. } => root.join(sub).display().to_string(),
            Target::Volume { name } => format!("volume {name}"),
        }
    }
}

/// One volume on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// Its key in the Compose files.
    pub key: VolumeKey,
    /// The Docker volume that the containers mount until now.
    pub source: VolumeName,
    /// Where its data goes.
    pub target: Target,
    /// Another owner for everything, if the configuration asks for one.
    pub owner: Option<Owner>,
    /// Start empty on the new home instead of copying.
    pub fresh: bool,
    /// Bytes at planning time.
    pub bytes: u64,
    /// Entries at planning time.
    pub entries: u64,
    /// The databases in it: kind and data directory relative to its root.
    pub datastores: Vec<(Kind, String)>,
    /// The directory of a site that the containers have, and no Docker volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteDir>,
}

/// The mount that gives a helper the data of a volume, or the directory that a site has instead of one. A volume of that
/// name would be made, empty, where somebody forgot to ask (trap 3).
#[must_use]
pub fn mount_of(
    (name, site): (&VolumeName, Option<&SiteDir>),
    target: String,
    read_only: bool,
) -> HelperMount {
    match site {
        Some(site) => HelperMount::Bind {
            source: site.dir.to_string_lossy().into_owned(),
            target,
            read_only,
        },
        None => HelperMount::Volume {
            name: name.clone(),
            target,
            read_only,
        },
    }
}

impl Moving {
    /// The mount that gives a helper the source, which it never writes to, and the path of the data inside. It is a
    /// place of the volume's own, so that one helper can have several volumes.
    #[must_use]
    pub fn source_mount(&self) -> (HelperMount, PathBuf) {
        let target = format!("{FROM}/{}", self.key);
        let path = PathBuf::from(&target);
        (mount_of((&self.source, self.site.as_ref()), target, true), path)
    }

    /// The same for the target.
    #[must_use]
    pub fn target_mount(&self, read_only: bool) -> (HelperMount, PathBuf) {
        self.target.mount_at(format!("{TO}/{}", self.key), read_only)
    }
}

/// A container that is stopped for the move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Its service.
    pub service: ServiceName,
    /// Which container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// The signal to send first, where the engine's own would not do.
    pub signal: Option<String>,
    /// How long it may take.
    pub grace: Duration,
    /// A database server is never killed: when it does not end in time, the move goes back.
    pub never_kill: bool,
}

/// A service that is brought up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starting {
    /// The service.
    pub service: ServiceName,
    /// What it waits for, of the services that are started with it.
    pub after: Vec<(ServiceName, Condition)>,
    /// It is meant to end by itself.
    pub ends: bool,
    /// How many of its containers were up.
    pub up: usize,
}

/// What a container of a service must have mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedMount {
    /// The service.
    pub service: ServiceName,
    /// The path in the container.
    pub target: String,
    /// The Docker volume.
    pub volume: VolumeName,
    /// The part of it, if it is not the whole.
    #[serde(default)]
    pub subpath: Option<String>,
}
