//! The world as it was seen: plain data, filled by `observe`, read by `plan`. No I/O and no judgement here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Looked;
use crate::block::fsid::FsUuid;
use crate::block::fstab::Entry;
use crate::block::sentinel;
use crate::compose::Override;
use crate::compose::project::Condition;
use crate::datastore::{Datastore, Kind};
use crate::engine::{Published, State};
use crate::helper::protocol::{Place, Probe, Scan};
use crate::model::{ContainerId, Failure, Home, ImageId, ProjectName, ServiceName, VolumeKey, VolumeName};
use crate::site::SiteDir;

/// All that a plan is made from.
#[derive(Debug, Clone)]
pub struct World {
    /// The project's resolved name.
    pub project: ProjectName,
    /// Its directory.
    pub directory: PathBuf,
    /// Services, dependencies first.
    pub services: Vec<ServiceSeen>,
    /// The project's named volumes.
    pub volumes: Vec<VolumeSeen>,
    /// The block volume that was asked for.
    pub destination: Option<DestinationSeen>,
    /// The disk that Docker's own volumes are on, if data shall go there.
    pub docker_disk: Option<Probe>,
    /// What lies where the override would be written.
    pub override_file: OverrideSeen,
    /// `COMPOSE_FILE` in the project's `.env`.
    pub dotenv_compose_file: Option<String>,
    /// `COMPOSE_FILE` in the environment that Rehome was called with: it shadows `.env`.
    pub shell_compose_file: Option<String>,
    /// Every volume name of the engine, to find namesakes of other projects (trap 4).
    pub engine_volumes: Vec<VolumeName>,
}

impl World {
    /// A service by name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&ServiceSeen> {
        self.services.iter().find(|s| s.name == *name)
    }

    /// A volume by its key.
    #[must_use]
    pub fn volume(&self, key: &VolumeKey) -> Option<&VolumeSeen> {
        self.volumes.iter().find(|v| v.key == *key)
    }
}

/// A service of the project, and its containers.
#[derive(Debug, Clone)]
pub struct ServiceSeen {
    /// Name.
    pub name: ServiceName,
    /// What it depends on, and what it waits for.
    pub depends_on: Vec<(ServiceName, Condition)>,
    /// Services whose container it shares (`network_mode: service:x`, `volumes_from`): if theirs is made anew, so
    /// must be this one's.
    pub attached_to: Vec<ServiceName>,
    /// The image reference of the files.
    pub image: String,
    /// What that reference means in the engine now.
    pub image_now: Option<ImageId>,
    /// A hash of its definition in the files now.
    pub definition: String,
    /// `stop_grace_period`, if it is set.
    pub stop_grace: Option<Duration>,
    /// The database server that it looks like.
    pub server: Option<Kind>,
    /// The major version of the server in the image that the files name now, if it is PostgreSQL and said so.
    pub server_version: Option<String>,
    /// Where it mounts which volume.
    pub mounts: Vec<VolumeMount>,
    /// Its containers, one-off ones left out.
    pub containers: Vec<ContainerSeen>,
}

impl ServiceSeen {
    /// Whether any of its containers is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.containers.iter().any(|c| c.state.is_up())
    }

    /// Whether it mounts a volume.
    #[must_use]
    pub fn mounts_volume(&self, key: &VolumeKey) -> bool {
        self.mounts.iter().any(|m| m.volume == *key)
    }
}

/// A mount of a volume in a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Which volume.
    pub volume: VolumeKey,
    /// Where.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
    /// The part of the volume that its containers have there, if it is not the whole.
    pub subpath: Option<String>,
}

/// A container of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSeen {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// The image it was made from.
    pub image: ImageId,
    /// Compose would make it anew: it was made from another definition than the files have now.
    pub outdated: bool,
    /// Anonymous volumes it has, with their destination.
    pub anonymous: Vec<(VolumeName, String)>,
    /// The data directory that its database server reports, if it is one that was asked.
    pub data_directory: Option<String>,
    /// What its working directory shows that it is written with.
    pub frameworks: Vec<Framework>,
    /// Its command line.
    pub command: Vec<String>,
    /// Its ports on the host.
    pub ports: Vec<Published>,
}

/// What an application is written with, by the file that each has in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framework {
    /// Python, with its own migrations.
    Django,
    /// Node.js.
    Prisma,
    /// Ruby.
    Rails,
    /// PHP.
    Laravel,
    /// Python, with SQLAlchemy.
    Alembic,
}

impl Framework {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Django,
        Self::Prisma,
        Self::Rails,
        Self::Laravel,
        Self::Alembic,
    ];

    /// The file in the working directory that it is known by.
    #[must_use]
    pub fn known_by(self) -> &'static str {
        match self {
            Self::Django => "manage.py",
            Self::Prisma => "prisma/schema.prisma",
            Self::Rails => "bin/rails",
            Self::Laravel => "artisan",
            Self::Alembic => "alembic.ini",
        }
    }
}

/// A named volume of the project.
#[derive(Debug, Clone)]
pub struct VolumeSeen {
    /// Its key in the files.
    pub key: VolumeKey,
    /// Its resolved full name.
    pub name: VolumeName,
    /// `external: true`.
    pub external: bool,
    /// Whether the engine has it.
    pub exists: bool,
    /// Where its data lives.
    pub home: Home,
    /// What is in it, if it was looked at.
    pub scan: Option<Scan>,
    /// The file system that it lies on, if it was looked at.
    pub probe: Option<Probe>,
    /// Why it could not be looked at, where that was let pass.
    pub unseen: Option<Failure>,
    /// Databases found in it.
    pub datastores: Vec<Datastore>,
    /// Who else has it.
    pub foreign: Vec<ForeignUse>,
    /// It is the directory of a site, and no volume of the engine.
    pub site: Option<SiteSeen>,
}

impl VolumeSeen {
    /// The directory of the site that it is.
    #[must_use]
    pub fn site_dir(&self) -> Option<&SiteDir> {
        self.site.as_ref().map(|site| &site.of)
    }

    /// In words: `volume media`, `site blog`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.site_dir() {
            Some(site) => format!("site {}", site.name),
            None => format!("volume {}", self.key),
        }
    }

    /// Nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scan
            .as_ref()
            .is_some_and(|s| s.files + s.symlinks + s.special == 0 && s.dirs <= 1)
    }
}

/// The directory of a site, which is looked at as a volume is.
#[derive(Debug, Clone)]
pub struct SiteSeen {
    /// Which.
    pub of: SiteDir,
    /// Whether the root of all sites is there.
    pub root_there: bool,
    /// Which block volume is meant to be mounted there, and which is.
    pub meant: Option<MeantSeen>,
}

/// A container outside of the project's services that has a volume or its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignUse {
    /// The container's name.
    pub container: String,
    /// Running, paused or restarting.
    pub running: bool,
    /// May write.
    pub writable: bool,
}

/// The block volume that was asked for.
#[derive(Debug, Clone)]
pub struct DestinationSeen {
    /// The directory that was named.
    pub root: PathBuf,
    /// What it is.
    pub probe: Probe,
    /// Whether something is mounted exactly there.
    pub is_mount: bool,
    /// What is at the sub-directories that the plan may use.
    pub places: BTreeMap<PathBuf, Place>,
    /// What the line says that Rehome wrote into fstab for this place; only known on the engine's own host.
    pub meant: Option<MeantSeen>,
}

/// A place of which Rehome's line in fstab says which volume is mounted there.
#[derive(Debug, Clone)]
pub struct MeantSeen {
    /// The line.
    pub line: Entry,
    /// The UUID that it says.
    pub uuid: FsUuid,
    /// Where, without symlinks.
    pub at: PathBuf,
    /// What is mounted there; `None` if nothing is.
    pub mounted: Option<MountedSeen>,
}

/// What is mounted at such a place.
#[derive(Debug, Clone)]
pub struct MountedSeen {
    /// Its device: `/dev/sdb`.
    pub source: PathBuf,
    /// Its UUID, if it has one that Rehome knows and whoever calls may read the device.
    pub uuid: Looked<Option<FsUuid>>,
    /// Its sentinel against the UUID of the line.
    pub sentinel: Looked<sentinel::Found>,
}

/// What lies where the override would be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverrideSeen {
    /// Nothing.
    Missing,
    /// An override that Rehome wrote.
    Ours(Override),
    /// Somebody else's file, or one for another project: why it is not used.
    Foreign(Failure),
}
