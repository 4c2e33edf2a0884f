//! What a check-up sees beyond the world: plain data, filled by `doctor` beside it, read by `plan::doctor`. No I/O and
//! no judgement here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

use super::{BootSeen, World};
use crate::compose::Version;
use crate::engine::Mount;
use crate::helper::mounts;
use crate::helper::protocol::{Probe, Scan};
use crate::model::{Home, ProjectName, RunId, ServiceName, SiteName, VolumeKey, VolumeName};
use crate::state::{BackupLine, Measured};

/// What was seen, or why it could not be looked at.
pub type Looked<T> = std::result::Result<T, String>;

/// All that findings are made from.
#[derive(Debug, Clone)]
pub struct Checkup {
    /// What every plan is made from.
    pub world: World,
    /// What is known without looking at the engine.
    pub known: Known,
    /// The engine's version.
    pub engine: String,
    /// Docker's own directory on the engine's host.
    pub data_root: PathBuf,
    /// The version of Compose.
    pub compose: Version,
    /// The mount table of the engine's host.
    pub mounts: Looked<Vec<mounts::Mount>>,
    /// The directories of the homes on block volumes, each mounted anew: what a container gets that is started now.
    pub homes: BTreeMap<VolumeKey, HomeSeen>,
    /// What the machine knows of its block volumes. Nothing where the engine is on another machine.
    pub boot: BootSeen,
    /// The containers of the services.
    pub containers: Vec<ContainerMore>,
    /// Directories of the host that services mount by themselves.
    pub binds: Vec<BindSeen>,
    /// The project's sites.
    pub sites: Vec<SiteChecked>,
    /// Every volume of the engine.
    pub engine_volumes: Vec<EngineVolume>,
    /// Anonymous volumes of the services.
    pub anonymous: Vec<AnonymousSeen>,
    /// Files that hold secrets.
    pub secrets: Vec<SecretFile>,
}

/// What is known without looking at the engine.
#[derive(Debug, Clone)]
pub struct Known {
    /// The project's Compose files.
    pub files: Vec<PathBuf>,
    /// Where the override is written.
    pub override_path: PathBuf,
    /// Where the configuration says that the block volume is mounted.
    pub block_root: Option<PathBuf>,
    /// Volumes that stay where they are, as the configuration says.
    pub staying: BTreeSet<VolumeKey>,
    /// A run that waits to be finished.
    pub unfinished: Option<RunId>,
    /// What the volumes held when they were measured, the oldest first.
    pub sizes: Vec<Measured>,
    /// What happened to backups lately, the oldest first.
    pub backups: Vec<BackupLine>,
    /// Whether the configuration says where backups are kept.
    pub backups_wanted: bool,
    /// When it says that they are made.
    pub backup_schedule: Option<String>,
    /// Now.
    pub now: Timestamp,
    /// Where the machine's own files are, if not at `/`.
    pub sysroot: Option<PathBuf>,
    /// The override, if there is one that Rehome wrote.
    pub written: Option<OverrideState>,
    /// The project's sites.
    pub sites: Vec<SiteKnown>,
}

/// A site of the project, as it is meant to be.
#[derive(Debug, Clone)]
pub struct SiteKnown {
    /// Its name.
    pub name: SiteName,
    /// Its storage is on.
    pub on: bool,
    /// Where its data is.
    pub dir: Option<PathBuf>,
    /// Which service gets which directory by the override that the project is read with.
    pub has: Looked<Option<(ServiceName, PathBuf)>>,
}

/// The same, and what is there.
#[derive(Debug, Clone)]
pub struct SiteChecked {
    /// What is meant.
    pub known: SiteKnown,
    /// Whether its directory is there.
    pub there: Looked<bool>,
}

/// The override against the project.
#[derive(Debug, Clone, Default)]
pub struct OverrideState {
    /// The volumes that it concerns.
    pub keys: BTreeSet<VolumeKey>,
    /// Those of them that the project does not have any more.
    pub gone: Vec<VolumeKey>,
    /// Where the resolved project is not what it asks for.
    pub deviations: Vec<String>,
    /// Somebody changed its text.
    pub edited: bool,
}

/// What is at the directory of a home.
#[derive(Debug, Clone)]
pub enum HomeSeen {
    /// Nothing.
    Missing,
    /// A directory on this file system. Whether it is read-only is not said by this: the helper has it so.
    There(Probe),
    /// It could not be looked at.
    Unseen(String),
}

/// More about a container of a service.
#[derive(Debug, Clone)]
pub struct ContainerMore {
    /// Its service.
    pub service: ServiceName,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Its restart policy.
    pub restart: String,
    /// Whether it has a healthcheck, of the files or of the image.
    pub healthcheck: bool,
    /// The user it runs as, as configured; empty is root.
    pub user: String,
    /// The Compose files that it was made with.
    pub config_files: Vec<PathBuf>,
    /// What is mounted in it.
    pub mounts: Vec<Mount>,
    /// Its own mount table, while it is up.
    pub table: Option<Looked<Vec<mounts::Mount>>>,
    /// Whether its user may write where it mounts a volume writable, while it is up.
    pub writes: Vec<Write>,
    /// What its PostgreSQL says, while it is up.
    pub postgres: Option<PostgresSeen>,
}

/// Whether a container's user may write to the root of a volume.
#[derive(Debug, Clone)]
pub struct Write {
    /// Which volume.
    pub volume: VolumeKey,
    /// Where.
    pub target: String,
    /// What `test -w` says there.
    pub may: Looked<bool>,
}

/// What a PostgreSQL server says of itself.
#[derive(Debug, Clone)]
pub struct PostgresSeen {
    /// Databases whose collation version is another than that of the libraries: name, recorded, actual (trap 6).
    pub collations: Looked<Vec<[String; 3]>>,
    /// Whether pages have checksums.
    pub checksums: Looked<bool>,
}

/// A directory of the host that a service mounts.
#[derive(Debug, Clone)]
pub struct BindSeen {
    /// The service.
    pub service: ServiceName,
    /// The directory.
    pub source: PathBuf,
    /// Where.
    pub target: String,
    /// Whether Docker makes it when it is missing. Nothing printed is no: so it is up to Compose 2.40, and whether it is
    /// later is asked in [`Checkup::compose`].
    pub create: Option<bool>,
}

/// A volume of the engine.
#[derive(Debug, Clone)]
pub struct EngineVolume {
    /// Its name.
    pub name: VolumeName,
    /// Where its data lives.
    pub home: Home,
    /// The project that its labels name.
    pub project: Option<ProjectName>,
    /// Its key there.
    pub key: Option<VolumeKey>,
    /// No container has it, not even one that is stopped.
    pub unused: bool,
}

/// An anonymous volume of a service.
#[derive(Debug, Clone)]
pub struct AnonymousSeen {
    /// The service.
    pub service: ServiceName,
    /// Its name.
    pub name: VolumeName,
    /// Where.
    pub target: String,
    /// What is in it.
    pub scan: Looked<Scan>,
}

/// A file that holds secrets.
#[derive(Debug, Clone)]
pub struct SecretFile {
    /// Which.
    pub path: PathBuf,
    /// Its mode, the low twelve bits.
    pub mode: u32,
    /// Whether every user of the host gets to it: the file and each directory above let them.
    pub open: bool,
    /// A file of `secrets:`, which is mounted as it is; otherwise one of variables.
    pub mounted: bool,
    /// The names of the variables in it that look secret.
    pub names: Vec<String>,
}
