//! What a plan says beforehand, as data: the text and `--json` are made from it, and it is kept in the journal.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Answered, Destination, Stack, Wanted};
use crate::model::{Home, Owner, ProjectName, ServiceName, VolumeKey, VolumeName};
use crate::observe::{VolumeSeen, World};
use crate::steps::{MoveStep, Moving};

/// A plan: what is said, and what is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MovePlan {
    /// What is said.
    pub facts: Facts,
    /// What is done, in this order.
    pub steps: Vec<MoveStep>,
}

/// What is said about a plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Facts {
    /// The project.
    pub project: ProjectName,
    /// Its directory.
    pub directory: PathBuf,
    /// `/mnt/kms-data`, or `Docker volumes`.
    pub to: String,
    /// Whether the data goes back to Docker's own directory.
    pub back: bool,
    /// The volumes that move.
    pub volumes: Vec<VolumeFacts>,
    /// The volumes that stay, and why.
    pub staying: Vec<(VolumeKey, String)>,
    /// The block volume, in words.
    pub destination: Option<String>,
    /// Services that are stopped, in that order.
    pub stopped: Vec<ServiceName>,
    /// Services whose containers are made anew.
    pub remade: Vec<ServiceName>,
    /// Services that go on running.
    pub untouched: Vec<ServiceName>,
    /// Whether it copies while the stack runs.
    pub pre_copy: bool,
    /// About how long the stopped services are down.
    pub downtime: Duration,
    /// The ports on which a maintenance page answers meanwhile.
    #[serde(default)]
    pub answered: Vec<Answered>,
    /// The override's path.
    pub override_path: PathBuf,
    /// The `.env` that is edited.
    pub dotenv: PathBuf,
    /// What a careful person should know.
    pub warnings: Vec<String>,
}

/// What is said about one volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumeFacts {
    /// Its key.
    pub key: VolumeKey,
    /// Where it lives now: the volume's name, or the directory.
    pub from: String,
    /// Where it will live.
    pub to: String,
    /// Bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Starts empty.
    pub fresh: bool,
    /// Another owner.
    pub owner: Option<Owner>,
    /// Databases in it.
    pub datastores: Vec<String>,
}

/// A disk of a small cloud server copies about this much a second; the estimate is only that.
const BYTES_A_SECOND: u64 = 100_000_000;
const FILES_A_SECOND: u64 = 15_000;

pub(super) fn gather(
    world: &World,
    wanted: &Wanted,
    chosen: &[&VolumeSeen],
    volumes: &[Moving],
    stack: &Stack,
) -> Facts {
    let pre_copy = !wanted.offline && !stack.stop.is_empty() && volumes.iter().any(|v| !v.fresh);
    let entries: u64 = volumes.iter().map(|v| v.entries).sum();
    let bytes: u64 = volumes.iter().map(|v| v.bytes).sum();
    let mut seconds = 3 + stack.stopped().count() as u64 * 2 + entries / FILES_A_SECOND;
    if !pre_copy {
        seconds += bytes / BYTES_A_SECOND;
    }
    Facts {
        project: world.project.clone(),
        directory: world.directory.clone(),
        to: match &wanted.to {
            Destination::Block(root) => root.display().to_string(),
            Destination::Volumes => "Docker volumes".to_owned(),
        },
        back: wanted.to == Destination::Volumes,
        volumes: chosen
            .iter()
            .zip(volumes)
            .map(|(seen, moving)| VolumeFacts {
                key: seen.key.clone(),
                from: match &seen.home {
                    Home::Block { dir } => dir.display().to_string(),
                    _ => seen.name.to_string(),
                },
                to: moving.target.describe(),
                bytes: moving.bytes,
                files: if moving.fresh {
                    0
                } else {
                    seen.scan.as_ref().map_or(0, |s| s.files)
                },
                fresh: moving.fresh,
                owner: moving.owner,
                datastores: seen.datastores.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        staying: world
            .volumes
            .iter()
            .filter(|v| !volumes.iter().any(|m| m.key == v.key))
            .map(|v| (v.key.clone(), why_it_stays(v, wanted)))
            .collect(),
        destination: world.destination.as_ref().map(|d| {
            format!(
                "{} on {}, {} free of {}",
                d.probe.fs_type,
                d.probe.source,
                crate::model::ByteSize(d.probe.bytes_free),
                crate::model::ByteSize(d.probe.bytes_total)
            )
        }),
        stopped: stack.stopped().cloned().collect(),
        remade: stack.remake.clone(),
        untouched: stack.untouched.clone(),
        pre_copy,
        downtime: if stack.stop.is_empty() {
            Duration::ZERO
        } else {
            Duration::from_secs(seconds)
        },
        answered: Vec::new(),
        override_path: wanted.switch.override_path.clone(),
        dotenv: wanted.switch.dotenv.clone(),
        warnings: warnings(world, chosen, volumes),
    }
}

fn why_it_stays(volume: &VolumeSeen, wanted: &Wanted) -> String {
    if let Some(who) = wanted.exclude.get(&volume.key) {
        return format!("excluded by {who}");
    }
    match (&volume.home, &wanted.to) {
        _ if volume.external => "external: it does not belong to this project".to_owned(),
        (Home::Block { dir }, Destination::Block(_)) => format!("lives in {} already", dir.display()),
        (Home::Volume, Destination::Volumes) => "lives in Docker's own directory already".to_owned(),
        (Home::Other { what }, _) => format!("cannot be moved: {what}"),
        _ => "not asked for".to_owned(),
    }
}

fn warnings(world: &World, chosen: &[&VolumeSeen], volumes: &[Moving]) -> Vec<String> {
    let mut warnings = Vec::new();
    for moving in volumes.iter().filter(|m| m.fresh) {
        warnings.push(format!(
            "volume `{}` starts EMPTY on its new home: its data is not copied, and stays whole in {}",
            moving.key, moving.source
        ));
    }
    for seen in chosen {
        // Trap 4: the project's name changes with its directory, and then this is not the volume that people think of.
        let suffix = format!("_{}", seen.key);
        // What lives on a block volume has its old volume under the plain name: that one is well known.
        let own = format!("{}_{}", world.project, seen.key);
        let left_behind = |name: &VolumeName| matches!(seen.home, Home::Block { .. }) && name.as_str() == own;
        let alike: Vec<_> = world
            .engine_volumes
            .iter()
            .filter(|name| name.as_str().ends_with(&suffix) && **name != seen.name && !left_behind(name))
            .map(ToString::to_string)
            .collect();
        if !alike.is_empty() {
            warnings.push(format!(
                "volume `{}` is {}; there is also {}, which is not touched: make sure that this is the one you mean",
                seen.key,
                seen.name,
                alike.join(", ")
            ));
        }
        for user in seen.foreign.iter().filter(|f| f.running && !f.writable) {
            warnings.push(format!(
                "container {} reads volume `{}` and will go on reading the old home",
                user.container, seen.key
            ));
        }
        for user in seen.foreign.iter().filter(|f| !f.running) {
            warnings.push(format!(
                "container {} (not running) has volume `{}` and will still have the old home if it is started",
                user.container, seen.key
            ));
        }
        if let Some(scan) = seen.scan.as_ref().filter(|s| s.sockets > 0) {
            warnings.push(format!(
                "{} sockets in volume `{}` are not copied: they belong to running programs",
                scan.sockets, seen.key
            ));
        }
    }
    if let Some(shell) = &world.shell_compose_file {
        warnings.push(format!(
            "COMPOSE_FILE={shell} is set in your shell and goes before the one in .env: afterwards run `eval \"$(rehome env)\"`, and change it where it is set"
        ));
    }
    warnings
}
