//! The plan of a restore: new homes beside the old, filled and compared while the stack runs, and then exchanged. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::drill::{room, server_can_start};
use super::{BackupPlan, volume_of};
use crate::backup::format::{BackupId, Manifest, What};
use crate::datastore::{Kind, PostgresVersion};
use crate::model::{Failure, Home, ProjectName, Result, ServiceName, VolumeKey, VolumeName, count};
use crate::observe::{ServiceSeen, VolumeSeen, World};
use crate::plan::{
    STABLE, START_LIMIT, Stack, did_you_mean, left_out_check, order, starting_of, stopping_waves,
};
use crate::steps::backup::{BackupStep, BringUp, Data, Exchange, Part, Refill, Source, Unstarted, parts_of};
use crate::steps::deploy::{Images, Source as ImageSource, StayUp};
use crate::steps::{Check, ExpectedMount, MakeHomes, Making, Moving, Starting, Stop, Target, Tidy};

/// What a restore is planned from.
#[derive(Debug, Clone)]
pub struct RestoreSeen {
    /// The world.
    pub world: World,
    /// How many containers each active service shall have, and whether it is built.
    pub active: BTreeMap<ServiceName, (usize, bool)>,
    /// The backup.
    pub manifest: Manifest,
    /// Where it is.
    pub source: Source,
    /// Newer ones that are no good, newest first, if the last one is meant.
    pub worse: Vec<PassedOver>,
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

/// What is wanted, with every setting resolved.
#[derive(Debug, Clone, Default)]
pub struct RestoreWanted {
    /// Only these services' databases and these volumes; all if empty.
    pub only: Vec<String>,
    /// Limit for stopping each service.
    pub stop_timeout: Option<Duration>,
    /// What must answer afterwards.
    pub checks: Vec<Check>,
    /// Four hex digits for the names of new homes.
    pub suffix: String,
}

/// What is said about the plan of a restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreFacts {
    /// The project.
    pub project: ProjectName,
    /// The backup.
    pub id: BackupId,
    /// Where it is, in words.
    pub place: String,
    /// From when the data is.
    pub from: Timestamp,
    /// The machine it was made on.
    pub machine: String,
    /// What is replaced.
    pub replaced: Vec<Replaced>,
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
    /// Bytes of the dump or archive.
    pub bytes: u64,
    /// Bytes that are there now.
    pub now: u64,
    /// Where the data stays that is replaced.
    pub kept: String,
    /// A Docker volume that only Compose made in this run: what it has is nothing, and it goes at the end.
    pub empty: Option<VolumeName>,
}

/// A plan: what is said, and what is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestorePlan {
    /// What is said.
    pub facts: RestoreFacts,
    /// What is done.
    pub steps: Vec<BackupStep>,
}

/// Makes the plan of a restore. `safety` is the backup of the present state, if there is to be one.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub fn restore_plan(
    seen: &RestoreSeen,
    wanted: &RestoreWanted,
    safety: Option<BackupPlan>,
) -> Result<RestorePlan> {
    let world = &seen.world;
    let parts = chosen(seen, wanted)?;
    let mut pairs: Vec<(Part, Moving, Data)> = Vec::new();
    for part in parts {
        if let Part::Server { service, .. } = &part {
            // An image that is missing is fetched where the whole stack is.
            if !nothing_is_there(world) {
                server_can_start(world, service)?;
            }
        }
        let volume = home_of(world, &part)?;
        let (moving, data) = beside(volume, &part, &wanted.suffix)?;
        if pairs.iter().any(|(_, m, _)| m.key == moving.key) {
            return Err(Failure::refused(format!(
                "volume `{}` has two databases: they cannot be restored at once",
                moving.key
            ))
            .data("nothing was changed")
            .hint("restore one of them with --only SERVICE"));
        }
        pairs.push((part, moving, data));
    }
    room(world, pairs.iter().map(|(part, ..)| part.bytes()).sum())?;
    let from_nothing = nothing_is_there(world);
    let volumes: Vec<Moving> = pairs.iter().map(|(_, moving, _)| moving.clone()).collect();
    let keys: BTreeSet<VolumeKey> = volumes.iter().map(|v| v.key.clone()).collect();
    let stack = order::stack_of(world, &keys);
    nobody_else(world, &keys)?;

    let mut steps = Vec::new();
    let has_safety = safety.is_some();
    let safety_places = safety.as_ref().map(|plan| plan.facts.places.clone());
    if let Some(plan) = safety {
        // Its own last step would remove what this run still needs.
        steps.extend(
            plan.steps
                .into_iter()
                .filter(|step| !matches!(step, BackupStep::Tidy(_))),
        );
    }
    let starting = match from_nothing {
        true => {
            steps.extend(missing_images(seen));
            steps.push(BackupStep::Unstarted(Unstarted {
                services: making(seen),
                volumes: world
                    .volumes
                    .iter()
                    .filter(|v| !v.external)
                    .map(|v| v.name.clone())
                    .collect(),
            }));
            all_of_it(seen)
        }
        false => {
            let running: Vec<ServiceName> = stack.stopped().rev().cloned().collect();
            starting_of(world, &running, |s| {
                s.containers.iter().filter(|c| c.state.is_up()).count()
            })
        }
    };
    steps.push(BackupStep::MakeHomes(MakeHomes {
        volumes: volumes.clone(),
    }));
    for (part, moving, _) in &pairs {
        steps.push(BackupStep::Refill(Refill {
            source: seen.source.clone(),
            part: part.clone(),
            home: moving.clone(),
        }));
    }
    steps.push(BackupStep::Stop(stop(world, &stack, &starting, &volumes, wanted)));
    steps.push(BackupStep::Exchange(Exchange {
        volumes: volumes.clone(),
        homes: pairs.iter().map(|(.., data)| data.clone()).collect(),
    }));
    steps.push(BackupStep::BringUp(BringUp {
        services: starting.clone(),
        limit: START_LIMIT,
        stop_on_the_way_back: true,
        signals: signals(world),
    }));
    if !starting.is_empty() {
        steps.push(BackupStep::StayUp(StayUp {
            services: starting.clone(),
            stable: STABLE,
            limit: START_LIMIT,
        }));
    }
    let mut warnings = warnings(seen, has_safety);
    let is_up =
        |name: &ServiceName| starting.iter().any(|s| s.service == *name) || stack.untouched.contains(name);
    for check in &wanted.checks {
        match check.service.as_ref().is_none_or(&is_up) {
            true => steps.push(BackupStep::Check(check.clone())),
            false => warnings.push(left_out_check(check)),
        }
    }
    steps.push(BackupStep::Tidy(Tidy::default()));
    Ok(RestorePlan {
        facts: RestoreFacts {
            project: world.project.clone(),
            id: seen.manifest.id.clone(),
            place: seen.source.place.to_string(),
            from: seen.manifest.began,
            machine: seen.manifest.machine.clone(),
            replaced: pairs
                .iter()
                .map(|(part, moving, _)| replaced(world, part, moving))
                .collect(),
            untouched: untouched(world, &keys),
            stopped: stack.stopped().cloned().collect(),
            started: starting.iter().map(|s| s.service.clone()).collect(),
            from_nothing,
            safety: safety_places,
            warnings,
        },
        steps,
    })
}

/// Neither a container nor a volume of the project is there.
#[must_use]
pub fn nothing_is_there(world: &World) -> bool {
    world.services.iter().all(|s| s.containers.is_empty())
}

/// The parts that were asked for.
fn chosen(seen: &RestoreSeen, wanted: &RestoreWanted) -> Result<Vec<Part>> {
    let parts = parts_of(&seen.manifest.entries);
    let names = |part: &Part| {
        let service = match part {
            Part::Server { service, .. } => Some(service.to_string()),
            Part::Volume { .. } => None,
        };
        let volume = part.volume().map(ToString::to_string);
        service.into_iter().chain(volume).collect::<Vec<_>>()
    };
    let known: Vec<String> = parts.iter().flat_map(&names).collect();
    for name in &wanted.only {
        if !known.contains(name) {
            let failure = Failure::refused(format!("backup {} has no `{name}`", seen.manifest.id))
                .data("nothing was changed");
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(did_you_mean(failure, name, &known));
        }
    }
    let is_wanted =
        |part: &Part| wanted.only.is_empty() || names(part).iter().any(|n| wanted.only.contains(n));
    let chosen: Vec<Part> = parts.into_iter().filter(is_wanted).collect();
    match chosen.is_empty() {
        true => Err(
            Failure::refused(format!("backup {} has nothing to restore", seen.manifest.id))
                .data("nothing was changed"),
        ),
        false => Ok(chosen),
    }
}

/// The volume that a part belongs into now.
fn home_of<'a>(world: &'a World, part: &Part) -> Result<&'a VolumeSeen> {
    let by_server = || match part {
        Part::Server { service, kind, .. } => volume_of(world, *kind, service),
        Part::Volume { .. } => None,
    };
    // Where nothing is there yet, nothing is recognised.
    let by_key = || part.volume().and_then(|key| world.volume(key));
    let found = match nothing_is_there(world) {
        true => by_key().or_else(by_server),
        false => by_server().or_else(by_key),
    };
    found.ok_or_else(|| {
        Failure::refused(format!(
            "project {} has no volume for {} of the backup",
            world.project,
            part.describe()
        ))
        .data("nothing was changed")
        .hint("was the volume renamed in the Compose file? put the old name back, or leave this part out with --only")
    })
}

/// The place beside a volume's data, on the same file system.
fn beside(volume: &VolumeSeen, part: &Part, suffix: &str) -> Result<(Moving, Data)> {
    let strange =
        |e: &crate::model::ParseNameError| Failure::bug("a new volume name that is none").because(e);
    let name = VolumeName::new(format!("{}_before_{suffix}", volume.name)).map_err(|e| strange(&e))?;
    let (target, data) = match &volume.home {
        Home::Volume => (Target::Volume { name }, Data::Docker {}),
        Home::Block { dir } => {
            let (Some(root), Some(sub)) = (dir.parent(), dir.file_name()) else {
                return Err(Failure::refused(format!(
                    "volume `{}` is the whole of {}: there is no place beside it",
                    volume.key,
                    dir.display()
                ))
                .data("nothing was changed"));
            };
            let mut beside = sub.to_owned();
            beside.push(format!(".before-{suffix}"));
            let target = Target::Directory {
                root: root.to_owned(),
                sub: beside.into(),
                name,
            };
            let data = Data::Directory {
                root: root.to_owned(),
                sub: sub.into(),
            };
            (target, data)
        }
        Home::Other { what } => {
            return Err(
                Failure::refused(format!("volume `{}` cannot be restored: {what}", volume.key))
                    .data("nothing was changed"),
            );
        }
    };
    if volume.external && !volume.exists {
        return Err(
            Failure::refused(format!("external volume {} does not exist", volume.name))
                .data("nothing was changed")
                .hint(format!("docker volume create {}", volume.name)),
        );
    }
    let moving = Moving {
        key: volume.key.clone(),
        source: volume.name.clone(),
        target,
        owner: None,
        fresh: false,
        bytes: part.bytes(),
        entries: 0,
        datastores: volume
            .datastores
            .iter()
            .map(|d| (d.kind, d.path.clone()))
            .collect(),
    };
    Ok((moving, data))
}

/// A container outside of the project must not have the data that is replaced.
fn nobody_else(world: &World, keys: &BTreeSet<VolumeKey>) -> Result<()> {
    for volume in world.volumes.iter().filter(|v| keys.contains(&v.key)) {
        if let Some(other) = volume.foreign.iter().find(|f| f.running) {
            return Err(Failure::refused(format!(
                "container {} has volume {} and is not one of the project's services",
                other.container, volume.name
            ))
            .cause("it would go on with the data that is replaced")
            .data("nothing was changed")
            .hint(format!("docker stop {}", other.container)));
        }
    }
    Ok(())
}

fn stop(
    world: &World,
    stack: &Stack,
    starting: &[Starting],
    volumes: &[Moving],
    wanted: &RestoreWanted,
) -> Stop {
    Stop {
        waves: stopping_waves(world, stack, wanted.stop_timeout),
        start: match stack.stop.is_empty() {
            // Nothing runs: nothing is brought back.
            true => Vec::new(),
            false => starting.to_vec(),
        },
        mounts: mounts(world, stack, volumes),
        mounting: Vec::new(),
        volumes: volumes.to_vec(),
        copying: None,
        start_limit: START_LIMIT,
    }
}

/// What the services have mounted, before and afterwards: names do not change.
fn mounts(world: &World, stack: &Stack, volumes: &[Moving]) -> Vec<ExpectedMount> {
    let keys: BTreeSet<VolumeKey> = volumes.iter().map(|v| v.key.clone()).collect();
    let name_of = |key: &VolumeKey| world.volume(key).map(|v| v.name.clone());
    crate::plan::mounts(world, stack, name_of, &keys)
}

fn signals(world: &World) -> BTreeMap<ServiceName, String> {
    let of = |s: &ServiceSeen| Some((s.name.clone(), s.server.and_then(Kind::stop_signal)?.to_owned()));
    world.services.iter().filter_map(of).collect()
}

/// Every active service, dependencies first.
fn all_of_it(seen: &RestoreSeen) -> Vec<Starting> {
    let world = &seen.world;
    let active: Vec<ServiceName> = world
        .services
        .iter()
        .filter(|s| seen.active.contains_key(&s.name))
        .map(|s| s.name.clone())
        .collect();
    starting_of(world, &active, |s| {
        seen.active.get(&s.name).map_or(1, |(count, _)| *count)
    })
}

fn making(seen: &RestoreSeen) -> Vec<Making> {
    let active = seen.active.iter();
    active
        .map(|(service, (count, _))| Making {
            service: service.clone(),
            count: *count,
        })
        .collect()
}

/// The images of a stack that is made anew, where the engine does not have them.
fn missing_images(seen: &RestoreSeen) -> Vec<BackupStep> {
    let of = |built: bool| -> Vec<(ServiceName, String)> {
        let missing = seen.world.services.iter().filter(|s| s.image_now.is_none());
        missing
            .filter(|s| seen.active.get(&s.name).is_some_and(|(_, build)| *build == built))
            .map(|s| (s.name.clone(), s.image.clone()))
            .collect()
    };
    let step = |services: Vec<(ServiceName, String)>, source: ImageSource| {
        (!services.is_empty()).then_some(BackupStep::Images(Images { source, services }))
    };
    let pulled = step(of(false), ImageSource::Pull);
    pulled
        .into_iter()
        .chain(step(of(true), ImageSource::Build { fresh: false }))
        .collect()
}

fn replaced(world: &World, part: &Part, moving: &Moving) -> Replaced {
    let volume = world.volume(&moving.key);
    let now = volume.and_then(|v| v.scan.as_ref());
    let empty = match &moving.target {
        Target::Volume { name } if volume.is_some_and(|v| !v.exists) => Some(name.clone()),
        Target::Volume { .. } | Target::Directory { .. } => None,
    };
    Replaced {
        what: part.describe(),
        key: moving.key.clone(),
        bytes: part.bytes(),
        now: now.map_or(0, |scan| scan.bytes),
        kept: moving.target.describe(),
        empty,
    }
}

fn untouched(world: &World, keys: &BTreeSet<VolumeKey>) -> Vec<String> {
    let others = world
        .volumes
        .iter()
        .filter(|v| v.exists && !keys.contains(&v.key));
    others.map(|v| v.key.to_string()).collect()
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

fn warnings(seen: &RestoreSeen, safety: bool) -> Vec<String> {
    let (world, manifest) = (&seen.world, &seen.manifest);
    let mut warnings: Vec<String> = passed_over(&seen.worse).into_iter().collect();
    if manifest.project != world.project {
        warnings.push(format!("the backup is one of project {}", manifest.project));
    }
    if !safety && !nothing_is_there(world) {
        warnings.push(
            "the present state is not backed up first: what is replaced stays only beside the new data"
                .to_owned(),
        );
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
