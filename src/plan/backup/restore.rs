//! The plan of a restore: new homes beside the old, filled and compared while the stack runs, and then exchanged. Pure.

mod anew;
mod chosen;
mod elsewhere;
mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::anew::{all_of_it, making, missing_images};
use self::chosen::chosen;
use self::elsewhere::{into_a_volume, one_database};
pub use self::facts::{PassedOver, Replaced, RestoreFacts, passed_over};
use self::facts::{facts, replaced, untouched};
use super::drill::{room, server_can_start};
use super::{BackupPlan, is_right, volume_of};
use crate::backup::format::{Manifest, What};
use crate::datastore::Kind;
use crate::model::{Failure, Home, Result, ServiceName, VolumeKey, VolumeName, shell_path};
use crate::observe::{ServiceSeen, SiteSeen, VolumeSeen, World};
use crate::plan::{STABLE, START_LIMIT, Stack, all_of, left_out_check, order, starting_of, stopping_waves};
use crate::steps::backup::{
    BackupStep, BringUp, Data, Exchange, Input, Refill, Source, StrangeFile, Unstarted,
};
use crate::steps::deploy::StayUp;
use crate::steps::{Check, ExpectedMount, MakeHomes, Moving, Starting, Stop, Target, Tidy};

/// What a restore is planned from.
#[derive(Debug, Clone)]
pub struct RestoreSeen {
    /// The world.
    pub world: World,
    /// How many containers each active service shall have, and whether it is built.
    pub active: BTreeMap<ServiceName, (usize, bool)>,
    /// What is restored.
    pub origin: Origin,
}

/// What is restored.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A backup.
    Backup {
        /// What is in it.
        manifest: Box<Manifest>,
        /// Where it is.
        source: Source,
        /// Newer ones that are no good, newest first, if the last one is meant.
        worse: Vec<PassedOver>,
    },
    /// A file that Rehome did not write.
    File {
        /// Which.
        file: StrangeFile,
        /// The first bytes of what is in it.
        head: Vec<u8>,
    },
}

/// What is wanted, with every setting resolved.
#[derive(Debug, Clone, Default)]
pub struct RestoreWanted {
    /// Only these services' databases and these volumes; all if empty.
    pub only: Vec<String>,
    /// Only this database of a server.
    pub database: Option<String>,
    /// Only this path of a volume; relative.
    pub path: Option<PathBuf>,
    /// So many components are cut off the paths of a tar that Rehome did not write.
    pub strip: u32,
    /// Into this volume, which is made, and nothing is replaced.
    pub into: Option<VolumeName>,
    /// Limit for stopping each service.
    pub stop_timeout: Option<Duration>,
    /// What must answer afterwards.
    pub checks: Vec<Check>,
    /// Four hex digits for the names of new homes.
    pub suffix: String,
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
    let inputs = chosen(seen, wanted)?;
    room(&seen.world, inputs.iter().filter_map(Input::size).sum())?;
    let mut plan = RestorePlan {
        facts: facts(seen, safety.as_ref()),
        steps: Vec::new(),
    };
    if safety.is_none() && wanted.into.is_none() && !nothing_to_lose(&seen.world, &wanted.only) {
        plan.facts.warnings.push(
            "the present state is not backed up first: what is replaced stays only beside the new data"
                .to_owned(),
        );
    }
    if let Some(safety) = safety {
        // Its own last step would remove what this run still needs.
        let steps = safety.steps.into_iter();
        plan.steps
            .extend(steps.filter(|step| !matches!(step, BackupStep::Tidy(_))));
    }
    match (&wanted.into, inputs.as_slice()) {
        (Some(into), _) => into_a_volume(seen, inputs, into, &mut plan)?,
        (None, [input]) if wanted.database.is_some() && is_postgres(input) => {
            one_database(seen, wanted, input, &mut plan)?;
        }
        (None, _) => in_their_places(seen, wanted, inputs, &mut plan)?,
    }
    plan.steps.push(BackupStep::Tidy(Tidy::default()));
    Ok(plan)
}

fn is_postgres(input: &Input) -> bool {
    input.server().is_some_and(|(_, kind)| kind == Kind::Postgres)
}

/// New homes beside the old, which change places.
fn in_their_places(
    seen: &RestoreSeen,
    wanted: &RestoreWanted,
    inputs: Vec<Input>,
    plan: &mut RestorePlan,
) -> Result<()> {
    let world = &seen.world;
    let mut pairs: Vec<Pair> = Vec::new();
    for input in inputs {
        if let Some((service, _)) = input.server() {
            // An image that is missing is fetched where the whole stack is.
            if !nothing_is_there(world) {
                server_can_start(world, service)?;
            }
        }
        let volume = home_of(world, &input)?;
        let (moving, data) = beside(volume, &input, &wanted.suffix)?;
        if pairs.iter().any(|(_, m, _)| m.key == moving.key) {
            return Err(Failure::refused(format!(
                "volume `{}` has two databases: they cannot be restored at once",
                moving.key
            ))
            .data("nothing was changed")
            .hint("restore one of them with --only SERVICE"));
        }
        pairs.push((input, moving, data));
    }
    let from_nothing = nothing_is_there(world);
    if from_nothing && wanted.path.is_some() {
        return Err(
            Failure::refused("there is no volume yet that a path could be put into")
                .data("nothing was changed")
                .hint("restore all of it first; or into a volume of its own: --into VOLUME"),
        );
    }
    // Without its directory the container of a site cannot be made.
    let (first, pairs): (Vec<_>, Vec<_>) = pairs
        .into_iter()
        .partition(|(_, moving, _)| from_nothing && moving.site.is_some());
    let volumes: Vec<Moving> = first
        .iter()
        .chain(&pairs)
        .map(|(_, moving, _)| moving.clone())
        .collect();
    let keys: BTreeSet<VolumeKey> = volumes.iter().map(|v| v.key.clone()).collect();
    let stack = match &wanted.path {
        Some(path) if !has_database_below(seen, path, &keys) => Stack::untouched(world),
        _ => order::stack_of(world, &keys),
    };
    // A path is exchanged below services that go on.
    let goes_on = stack.stop.is_empty() && wanted.path.is_some();
    if goes_on {
        plan.facts.warnings.push(
            "services go on meanwhile: who has a file of it open goes on with the one that is replaced"
                .to_owned(),
        );
    } else {
        nobody_else(world, &keys)?;
    }

    if !first.is_empty() {
        plan.steps.extend(filled(&first));
        plan.steps.push(exchanged(&first, wanted));
    }
    let starting = match from_nothing {
        true => {
            plan.steps.extend(missing_images(seen));
            plan.steps.push(BackupStep::Unstarted(Unstarted {
                services: making(seen),
                volumes: world
                    .volumes
                    .iter()
                    .filter(|v| !v.external && v.site.is_none())
                    .map(|v| v.name.clone())
                    .collect(),
            }));
            all_of_it(seen)
        }
        false => starting_again(world, &stack),
    };
    if !pairs.is_empty() {
        plan.steps.extend(filled(&pairs));
        if !goes_on {
            plan.steps
                .push(BackupStep::Stop(stop(world, &stack, &starting, &volumes, wanted)));
        }
        plan.steps.push(exchanged(&pairs, wanted));
    }
    plan.facts.replaced = first
        .iter()
        .chain(&pairs)
        .map(|(input, moving, _)| replaced(world, input, moving))
        .collect();
    plan.facts.untouched = untouched(world, &keys);
    for service in stack.stopped().filter(|name| lacks_its_directory(world, name)) {
        plan.facts.warnings.push(format!(
            "the directory of service `{service}` is gone: if anything fails, it stays gone, and so the service stays stopped"
        ));
    }
    bring_back(seen, wanted, &stack, starting, plan);
    Ok(())
}

/// What is restored, where it goes, and where the data is that it replaces.
type Pair = (Input, Moving, Data);

/// The steps that make new homes, and fill them.
fn filled(pairs: &[Pair]) -> Vec<BackupStep> {
    let make = BackupStep::MakeHomes(MakeHomes {
        volumes: pairs.iter().map(|(_, moving, _)| moving.clone()).collect(),
    });
    let fill = pairs.iter().map(|(input, moving, _)| {
        BackupStep::Refill(Refill {
            input: input.clone(),
            home: moving.clone(),
        })
    });
    [make].into_iter().chain(fill).collect()
}

/// The step that puts them in the places of the old.
fn exchanged(pairs: &[Pair], wanted: &RestoreWanted) -> BackupStep {
    BackupStep::Exchange(Exchange {
        volumes: pairs.iter().map(|(_, moving, _)| moving.clone()).collect(),
        homes: pairs.iter().map(|(.., data)| data.clone()).collect(),
        path: wanted.path.clone(),
    })
}

/// The services that were stopped come back, stay up, and what must answer answers.
fn bring_back(
    seen: &RestoreSeen,
    wanted: &RestoreWanted,
    stack: &Stack,
    starting: Vec<Starting>,
    plan: &mut RestorePlan,
) {
    plan.facts.stopped = stack.stopped().cloned().collect();
    plan.facts.started = starting.iter().map(|s| s.service.clone()).collect();
    let is_up =
        |name: &ServiceName| starting.iter().any(|s| s.service == *name) || stack.untouched.contains(name);
    let mut checks = Vec::new();
    for check in &wanted.checks {
        match check.service.as_ref().is_none_or(&is_up) {
            true => checks.push(BackupStep::Check(check.clone())),
            false => plan.facts.warnings.push(left_out_check(check)),
        }
    }
    if !starting.is_empty() {
        plan.steps.push(BackupStep::BringUp(BringUp {
            services: starting.clone(),
            limit: START_LIMIT,
            stop_on_the_way_back: true,
            signals: signals(&seen.world),
        }));
        plan.steps.push(BackupStep::StayUp(StayUp {
            services: starting,
            stable: STABLE,
            limit: START_LIMIT,
        }));
    }
    plan.steps.extend(checks);
}

/// The services that are started on the way back: as they ran, but for those whose containers cannot be, because the
/// directory of their site was gone before.
fn back(world: &World, stack: &Stack, starting: &[Starting]) -> Vec<Starting> {
    match stack.stopped().any(|name| lacks_its_directory(world, name)) {
        true => starting_but(world, stack, |name| !lacks_its_directory(world, name)),
        false => starting.to_vec(),
    }
}

/// Whether the directory of a site that a service mounts is not there. Docker starts no container without it.
fn lacks_its_directory(world: &World, name: &ServiceName) -> bool {
    let gone = |v: &VolumeSeen| v.site.is_some() && !v.exists;
    let mut mounts = world.service(name).into_iter().flat_map(|s| &s.mounts);
    mounts.any(|mount| world.volume(&mount.volume).is_some_and(gone))
}

/// How the services of a stack that are stopped are started again.
fn starting_again(world: &World, stack: &Stack) -> Vec<Starting> {
    starting_but(world, stack, |_| true)
}

fn starting_but(world: &World, stack: &Stack, keep: impl Fn(&ServiceName) -> bool) -> Vec<Starting> {
    let stopped = stack.stopped().rev();
    let running: Vec<ServiceName> = stopped.filter(|name| keep(name)).cloned().collect();
    starting_of(world, &running, |s| {
        s.containers.iter().filter(|c| c.state.is_up()).count()
    })
}

/// Whether a database in a file is below a path: now, or in the backup.
fn has_database_below(seen: &RestoreSeen, path: &Path, keys: &BTreeSet<VolumeKey>) -> bool {
    let now = seen.world.volumes.iter().filter(|v| keys.contains(&v.key));
    let mut now = now.flat_map(|v| &v.datastores).map(|d| d.path.as_str());
    let saved = match &seen.origin {
        Origin::Backup { manifest, .. } => manifest.entries.as_slice(),
        Origin::File { .. } => &[],
    };
    let mut saved = saved.iter().filter_map(|entry| match &entry.what {
        What::Dump(note) if note.volume.as_ref().is_some_and(|key| keys.contains(key)) => {
            Some(note.at.as_str())
        }
        _ => None,
    });
    let below = |at: &str| Path::new(at.trim_start_matches("./")).starts_with(path);
    now.any(below) || saved.any(below)
}

/// Neither a container nor a volume of the project is there.
#[must_use]
pub fn nothing_is_there(world: &World) -> bool {
    world.services.iter().all(|s| s.containers.is_empty())
}

/// Of what is meant by these names, or of all if there are none, nothing is there that a restore could replace: there
/// is no present state to back up first.
#[must_use]
pub fn nothing_to_lose(world: &World, only: &[String]) -> bool {
    let is_meant = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
    let servers = world.services.iter().filter(|s| s.server.is_some());
    let volumes = world.volumes.iter().filter(|v| v.exists || v.unseen.is_some());
    nothing_is_there(world)
        || !(servers.map(|s| s.name.as_str()))
            .chain(volumes.map(|v| v.key.as_str()))
            .any(is_meant)
}

/// The volume that something belongs into now.
fn home_of<'a>(world: &'a World, input: &Input) -> Result<&'a VolumeSeen> {
    let by_server = || {
        let (service, kind) = input.server()?;
        volume_of(world, kind, service)
    };
    // Where nothing is there yet, nothing is recognised.
    let by_key = || input.volume().and_then(|key| world.volume(key));
    let found = match nothing_is_there(world) {
        true => by_key().or_else(by_server),
        false => by_server().or_else(by_key),
    };
    found.ok_or_else(|| {
        if let Some(site) = input.site() {
            return Failure::refused(format!(
                "project {} has no directory for site {site} of the backup",
                world.project
            ))
            .data("nothing was changed")
            .hint(format!(
                "give it one: rehome site add {site} --project .; rehome site enable {site}"
            ))
            .hint("or leave this part out with --only");
        }
        Failure::refused(format!(
            "project {} has no volume for {} of the backup",
            world.project,
            input.describe()
        ))
        .data("nothing was changed")
        .hint("was the volume renamed in the Compose file? put the old name back, or leave this part out with --only")
    })
}

/// The place beside a volume's data, on the same file system.
fn beside(volume: &VolumeSeen, input: &Input, suffix: &str) -> Result<(Moving, Data)> {
    if let Some(site) = &volume.site {
        can_have(volume, site)?;
    }
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
    Ok((moving(volume, input, target), data))
}

/// The directory of a site is where it belongs, or can be made there.
fn can_have(volume: &VolumeSeen, site: &SiteSeen) -> Result<()> {
    is_right(site)?;
    if let Some(failure) = &volume.unseen {
        return Err(failure
            .clone()
            .inside(format!("{} cannot be restored", volume.describe())));
    }
    match site.of.dir.parent() {
        Some(root) if !site.root_there => Err(Failure::refused(format!("{} is not there", root.display()))
            .cause(format!("it is the root of site {}", site.of.name))
            .data("nothing was changed")
            .hint("is it on a volume that is not mounted?")
            .hint(format!("or make it: sudo install -d -m 755 {}", shell_path(root)))),
        _ => Ok(()),
    }
}

fn moving(volume: &VolumeSeen, input: &Input, target: Target) -> Moving {
    Moving {
        bytes: input.size().unwrap_or_default(),
        entries: 0,
        ..all_of(volume, target)
    }
}

/// A container outside of the project must not have the data that is replaced.
fn nobody_else(world: &World, keys: &BTreeSet<VolumeKey>) -> Result<()> {
    for volume in world.volumes.iter().filter(|v| keys.contains(&v.key)) {
        if let Some(other) = volume.foreign.iter().find(|f| f.running) {
            return Err(Failure::refused(format!(
                "container {} has {} and is not one of the project's services",
                other.container,
                match volume.site_dir() {
                    Some(site) => site.dir.display().to_string(),
                    None => format!("volume {}", volume.name),
                }
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
            false => back(world, stack, starting),
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
    // The directory of a site is none of the engine's volumes.
    let of = |key: &VolumeKey| world.volume(key).filter(|v| v.site.is_none());
    let name_of = |key: &VolumeKey| of(key).map(|v| v.name.clone());
    crate::plan::mounts(world, stack, name_of, &keys)
}

fn signals(world: &World) -> BTreeMap<ServiceName, String> {
    let of = |s: &ServiceSeen| Some((s.name.clone(), s.server.and_then(Kind::stop_signal)?.to_owned()));
    world.services.iter().filter_map(of).collect()
}
