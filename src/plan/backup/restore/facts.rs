//! What is said about a restore before it begins. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Origin, RestoreSeen, nothing_is_there};
use crate::backup::format::{BackupId, What};
use crate::datastore::{Kind, PostgresVersion};
use crate::model::{ProjectName, ServiceName, VolumeKey, VolumeName, count};
use crate::observe::World;
use crate::plan::backup::BackupPlan;
use crate::steps::backup::Input;
use crate::steps::{Moving, Target};

/// What is said about the plan of a restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreFacts {
    /// The project.
    pub project: ProjectName,
    /// The backup; `None` for a file that Rehome did not write.
    pub id: Option<BackupId>,
    /// Where it is, in words.
    pub place: String,
    /// From when the data is; of a file, when it was last written to.
    pub from: Timestamp,
    /// The machine it was made on, if that is known.
    pub machine: Option<String>,
    /// What is replaced.
    pub replaced: Vec<Replaced>,
    /// A volume that is made, and gets the data instead.
    pub into: Option<VolumeName>,
    /// What the project has and the backup not: it stays as it is.
    pub untouched: Vec<String>,
    /// Services that are stopped, in that order.
    pub stopped: Vec<ServiceName>,
    /// Services that start afterwards.
    pub started: Vec<ServiceName>,
    /// The stack is not there: it is made first.
    pub from_nothing: bool,
    /// Where the present state is saved first; nowhere if it was not wanted, or there is none.
    pub safety: Option<Vec<String>>,
    /// What a careful person should know.
    pub warnings: Vec<String>,
}

/// Data that is replaced.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replaced {
    /// `PostgreSQL of db`, `volume media`.
    pub what: String,
    /// The volume that has it.
    pub key: VolumeKey,
    /// Bytes of the dump or archive, if they are known.
    pub bytes: Option<u64>,
    /// Bytes that are there now, if that is known.
    pub now: Option<u64>,
    /// Where the data stays that is replaced.
    pub kept: String,
    /// A Docker volume that only Compose made in this run: what it has is nothing, and it goes at the end. Of a site whose
    /// directory is not there, a name that no volume has.
    pub empty: Option<VolumeName>,
}

/// A backup that is newer than the one that is taken, and cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Which.
    pub id: BackupId,
    /// Where it is.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

/// What is said about newer backups that cannot be taken, newest first.
#[must_use]
pub fn passed_over(worse: &[PassedOver]) -> Option<String> {
    let newest = &worse.first()?.id;
    let copies = worse.iter().filter(|one| one.id == *newest);
    let why: Vec<_> = copies
        .map(|one| format!("{} (in {})", one.why, one.place))
        .collect();
    let others: BTreeSet<_> = worse
        .iter()
        .map(|one| &one.id)
        .filter(|id| *id != newest)
        .collect();
    let more = match others.len() {
        0 => String::new(),
        n => format!("; {} before it, too", count(n as u64, "other")),
    };
    let why = why.join("; ");
    Some(format!(
        "the newest backup, {newest} of {}, is passed over: {why}{more}",
        newest.began()
    ))
}

/// What is known before anything is chosen.
pub(super) fn facts(seen: &RestoreSeen, safety: Option<&BackupPlan>) -> RestoreFacts {
    let from_nothing = nothing_is_there(&seen.world);
    let (id, place, from, machine) = match &seen.origin {
        Origin::Backup { manifest, source, .. } => (
            Some(manifest.id.clone()),
            source.place.to_string(),
            manifest.began,
            Some(manifest.machine.clone()),
        ),
        Origin::File { file, .. } => (None, file.path.display().to_string(), file.changed, None),
    };
    RestoreFacts {
        project: seen.world.project.clone(),
        id,
        place,
        from,
        machine,
        replaced: Vec::new(),
        into: None,
        untouched: Vec::new(),
        stopped: Vec::new(),
        started: Vec::new(),
        from_nothing,
        safety: safety.map(|plan| plan.facts.places.clone()),
        warnings: warnings(seen),
    }
}

/// What becomes of the data that is there.
pub(super) fn replaced(world: &World, input: &Input, moving: &Moving) -> Replaced {
    let volume = world.volume(&moving.key);
    let scan = volume.and_then(|v| v.scan.as_ref());
    let empty = match &moving.target {
        Target::Volume { name } if volume.is_some_and(|v| !v.exists) => Some(name.clone()),
        // The engine has no such volume, and none is missed at the end.
        Target::Directory { name, .. } if volume.is_some_and(|v| v.site.is_some() && !v.exists) => {
            Some(name.clone())
        }
        Target::Volume { .. } | Target::Directory { .. } => None,
    };
    Replaced {
        what: input.describe(),
        key: moving.key.clone(),
        bytes: input.size(),
        // It is the volume's, and not the path's.
        now: scan.filter(|_| input.path().is_none()).map(|scan| scan.bytes),
        kept: moving.target.describe(),
        empty,
    }
}

/// What a restore leaves as it is.
pub(super) fn untouched(world: &World, keys: &BTreeSet<VolumeKey>) -> Vec<String> {
    let others = world
        .volumes
        .iter()
        .filter(|v| v.exists && !keys.contains(&v.key));
    others.map(|v| v.key.to_string()).collect()
}

fn warnings(seen: &RestoreSeen) -> Vec<String> {
    let world = &seen.world;
    let mut warnings = Vec::new();
    let Origin::Backup { manifest, worse, .. } = &seen.origin else {
        warnings
            .push("Rehome did not write it: what is in it is compared with nothing but itself".to_owned());
        return warnings;
    };
    warnings.extend(passed_over(worse));
    if manifest.project != world.project {
        warnings.push(format!("the backup is one of project {}", manifest.project));
    }
    for entry in &manifest.entries {
        let What::Dump(note) = &entry.what else { continue };
        let Some(service) = note.service.as_ref().and_then(|name| world.service(name)) else {
            continue;
        };
        let was = note.version.as_deref().and_then(PostgresVersion::parse);
        let is = service.server_version.as_deref().and_then(PostgresVersion::parse);
        if let (Kind::Postgres, Some(was), Some(is)) = (note.kind, was, is)
            && was != is
        {
            let warning = format!(
                "PostgreSQL {was} is restored into {is} in service `{}`",
                service.name
            );
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}
