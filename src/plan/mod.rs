//! Makes a plan out of what was observed and what is wanted. Pure: no I/O, no clock, no randomness; the same world
//! and wish give the same plan, and tests read it as text.

pub mod backup;
pub mod deploy;
pub mod doctor;
mod facts;
mod lint;
pub mod mount;
mod order;
mod page;
mod refuse;
pub mod restart;
pub mod site;
pub mod site_move;
pub mod size;
mod text;
pub mod uploads;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::compose::project::Condition;
use crate::datastore::Kind;
use crate::model::config::absolute_dir;
use crate::model::{Failure, Home, Owner, Result, ServiceName, VolumeKey, VolumeName, nearest};
use crate::observe::{ContainerSeen, ServiceSeen, VolumeSeen, World};
use crate::steps::{
    Check, Copying, Delta, ExpectedMount, Hook, HookPlace, MakeHomes, Making, MoveStep, Moving, PreCopy,
    Prove, Start, Starting, Stop, Stopping, Switch, Target, Tidy, Verify, Writer,
};

pub use facts::{Facts, MovePlan, VolumeFacts};
pub use order::{Stack, stack_of};
pub use page::Answered;
pub use text::render;

/// A service without a rule of its own may take this long to stop.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// A service may take this long to come up.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Containers must run this long without a restart.
const STABLE: Duration = Duration::from_secs(5);

/// Where the data shall go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To directories on a mounted block volume.
    Block(PathBuf),
    /// Back to Docker volumes.
    Volumes,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "volumes" {
            return Ok(Self::Volumes);
        }
        absolute_dir(text).map(Self::Block).map_err(|error| {
            // `--to volume` must not become a directory of that name.
            format!("{error}, or `volumes` for Docker's own")
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(directory) => write!(f, "{}", directory.display()),
            Self::Volumes => f.write_str("volumes"),
        }
    }
}

/// What is wanted, with every setting resolved.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where to.
    pub to: Destination,
    /// Only these; all if empty.
    pub only: Vec<VolumeKey>,
    /// Not these, and who said so (`--exclude`, `rehome.yml`).
    pub exclude: BTreeMap<VolumeKey, String>,
    /// Sub-directories that were named.
    pub map: BTreeMap<VolumeKey, PathBuf>,
    /// Owners that were named.
    pub owners: BTreeMap<VolumeKey, Owner>,
    /// Volumes to start empty.
    pub without_data: Vec<VolumeKey>,
    /// No copying while the stack runs.
    pub offline: bool,
    /// Limit for stopping each service.
    pub stop_timeout: Option<Duration>,
    /// Limit for the downtime.
    pub max_downtime: Option<Duration>,
    /// How it is copied.
    pub copying: Copying,
    /// A maintenance page answers while services are stopped.
    pub maintenance: bool,
    /// What runs after the start.
    pub hooks: Vec<Hook>,
    /// What must answer.
    pub checks: Vec<Check>,
    /// Four hex digits for new volume names.
    pub suffix: String,
    /// Where the override is written and how the project finds it.
    pub switch: SwitchWanted,
}

/// The files that the switch writes, computed beforehand.
#[derive(Debug, Clone, Default)]
pub struct SwitchWanted {
    /// The override's path.
    pub override_path: PathBuf,
    /// The project's `.env`.
    pub dotenv: PathBuf,
}

/// Makes the plan of a move. `base_names` are the names that the volumes have without the override. The switch's contents depend on the volumes; `switch` computes them (it is pure as well,
/// and lives in `ops` because it needs the Compose files).
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub fn move_plan(
    world: &World,
    wanted: &Wanted,
    base_names: &BTreeMap<VolumeKey, VolumeName>,
    switch: impl FnOnce(&[Moving]) -> Result<Switch>,
) -> Result<MovePlan> {
    let chosen = choose(world, wanted)?;
    let volumes = chosen
        .iter()
        .map(|seen| moving(world, wanted, base_names, seen))
        .collect::<Result<Vec<_>>>()?;
    let keys: BTreeSet<_> = volumes.iter().map(|v| v.key.clone()).collect();
    let stack = stack_of(world, &keys);
    refuse::check(world, wanted, &chosen, &volumes, &stack)?;
    let copied: Vec<_> = volumes.iter().filter(|v| !v.fresh).cloned().collect();

    let stopping = stopping_waves(world, &stack, wanted.stop_timeout);
    let starting = starting(world, &stack);
    let making: Vec<_> = stack
        .remake
        .iter()
        .filter_map(|name| world.service(name))
        .map(|s| Making {
            service: s.name.clone(),
            count: s.containers.len(),
        })
        .collect();
    let switch = switch(&volumes)?;

    let mut steps = vec![MoveStep::MakeHomes(MakeHomes {
        volumes: volumes.clone(),
    })];
    let pre_copied = !stack.stop.is_empty() && !wanted.offline && !copied.is_empty();
    if pre_copied {
        steps.push(MoveStep::PreCopy(PreCopy {
            volumes: copied.clone(),
            copying: wanted.copying,
            max_downtime: wanted.max_downtime,
        }));
    }
    steps.push(MoveStep::Stop(Stop {
        waves: stopping.clone(),
        start: starting.clone(),
        mounts: mounts(
            world,
            &stack,
            |key| world.volume(key).map(|v| v.name.clone()),
            &keys,
        ),
        mounting: making.clone(),
        volumes: volumes.clone(),
        copying: pre_copied.then_some(wanted.copying),
        start_limit: START_LIMIT,
    }));
    if !copied.is_empty() {
        steps.push(MoveStep::Delta(Delta {
            volumes: copied.clone(),
            copying: wanted.copying,
            max_downtime: wanted.max_downtime,
            pre_copied,
        }));
        steps.push(MoveStep::Verify(Verify {
            volumes: copied,
            copying: wanted.copying,
        }));
    }
    steps.push(MoveStep::Switch(switch));
    let new_name = |key: &VolumeKey| {
        volumes
            .iter()
            .find(|v| v.key == *key)
            .map(|v| v.target.volume_name().clone())
    };
    steps.push(MoveStep::Start(Start {
        services: starting.clone(),
        make: making,
        mounts: mounts(world, &stack, new_name, &keys),
        stopping: stopping.into_iter().flatten().collect(),
        volumes: volumes.clone(),
        definitions: definitions(world, &stack),
        limit: START_LIMIT,
    }));
    let running: Vec<ServiceName> = starting.iter().map(|s| s.service.clone()).collect();
    steps.push(MoveStep::Prove(Prove {
        services: starting,
        volumes: volumes.clone(),
        writers: writers(world, &keys, &running),
        stable: STABLE,
        limit: START_LIMIT,
    }));
    let mut left_out = Vec::new();
    let up = |name: &ServiceName| world.service(name).is_some_and(ServiceSeen::is_up);
    for hook in &wanted.hooks {
        if runs_in(hook, up) {
            steps.push(MoveStep::Hook(hook.clone()));
        } else {
            left_out.push(left_out_hook(hook));
        }
    }
    for check in &wanted.checks {
        if check.service.as_ref().is_none_or(up) {
            steps.push(MoveStep::Check(check.clone()));
        } else {
            left_out.push(left_out_check(check));
        }
    }
    steps.push(MoveStep::Tidy(Tidy::default()));

    let mut facts = facts::gather(world, wanted, &chosen, &volumes, &stack);
    if wanted.maintenance {
        let page = page::page(world, &stack)?;
        facts.answered = page.answered;
        facts.warnings.extend(page.warnings);
    }
    facts.warnings.extend(left_out);
    let plan = MovePlan { facts, steps };
    lint::check(&plan)?;
    Ok(plan)
}

/// The homes that the volumes of a project get that has none of them yet.
///
/// # Errors
/// Refuses what is there already, and a block volume that is none or is not free.
pub fn first_homes(
    world: &World,
    wanted: &Wanted,
    base_names: &BTreeMap<VolumeKey, VolumeName>,
) -> Result<Vec<Moving>> {
    let chosen: Vec<&VolumeSeen> = world
        .volumes
        .iter()
        .filter(|v| !v.external && v.home == Home::Volume && !wanted.exclude.contains_key(&v.key))
        .collect();
    let volumes = chosen
        .iter()
        .map(|seen| moving(world, wanted, base_names, seen))
        .collect::<Result<Vec<_>>>()?;
    refuse::not_the_first(world, &chosen, &volumes)?;
    Ok(volumes)
}

/// Whether a hook has what it runs in, when these services are up.
fn runs_in(hook: &Hook, up: impl Fn(&ServiceName) -> bool) -> bool {
    match &hook.place {
        HookPlace::Exec { service } => up(service),
        HookPlace::Run { .. } | HookPlace::Here {} => true,
    }
}

fn left_out_hook(hook: &Hook) -> String {
    let service = hook.place.service().map_or("", ServiceName::as_str);
    let command = hook.run.join(" ");
    format!("the hook `{command}` is left out: service `{service}` does not run")
}

fn left_out_check(check: &Check) -> String {
    let service = check.service.as_ref().map_or("", ServiceName::as_str);
    format!(
        "the check {} is left out: service `{service}` does not run",
        check.question
    )
}

/// What to do about a name that nothing has: the one that was meant, or all there are.
fn did_you_mean(failure: Failure, name: &str, known: &[&str]) -> Failure {
    match nearest(name, known.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("it has: {}", known.join(", "))),
    }
}

/// Which volumes move.
fn choose<'a>(world: &'a World, wanted: &Wanted) -> Result<Vec<&'a VolumeSeen>> {
    let known = || world.volumes.iter().map(|v| v.key.as_str());
    let named = wanted
        .only
        .iter()
        .chain(wanted.exclude.keys())
        .chain(wanted.map.keys())
        .chain(wanted.owners.keys())
        .chain(&wanted.without_data);
    for key in named {
        if world.volume(key).is_none() {
            let failure = Failure::refused(format!("project {} has no volume `{key}`", world.project))
                .data("nothing was changed");
            return Err(did_you_mean(failure, key.as_str(), &known().collect::<Vec<_>>()));
        }
    }
    let services = || world.services.iter().map(|s| s.name.as_str());
    let hooks = wanted
        .hooks
        .iter()
        .filter_map(|h| Some(("hook", h.place.service()?)));
    let checks = wanted
        .checks
        .iter()
        .filter_map(|c| Some(("check", c.service.as_ref()?)));
    for (what, name) in hooks.chain(checks) {
        if world.service(name).is_none() {
            let failure = Failure::refused(format!(
                "a {what} names service `{name}`, which project {} does not have",
                world.project
            ))
            .data("nothing was changed");
            return Err(did_you_mean(
                failure,
                name.as_str(),
                &services().collect::<Vec<_>>(),
            ));
        }
    }
    let movable = |v: &&VolumeSeen| match wanted.to {
        Destination::Block(_) => v.home == Home::Volume && !v.external,
        Destination::Volumes => matches!(v.home, Home::Block { .. }) && !v.external,
    };
    let chosen: Vec<_> = if wanted.only.is_empty() {
        world
            .volumes
            .iter()
            .filter(movable)
            .filter(|v| !wanted.exclude.contains_key(&v.key))
            .collect()
    } else {
        world
            .volumes
            .iter()
            .filter(|v| wanted.only.contains(&v.key))
            .collect()
    };
    if chosen.is_empty() {
        let failure = Failure::refused(match wanted.to {
            Destination::Block(_) => "there is no volume to move: none lives in Docker's own directory",
            Destination::Volumes => "there is no volume to move back: none lives on a block volume",
        });
        return Err(failure
            .data("nothing was changed")
            .hint("`rehome status` shows where each volume lives"));
    }
    Ok(chosen)
}

fn moving(
    world: &World,
    wanted: &Wanted,
    base_names: &BTreeMap<VolumeKey, VolumeName>,
    seen: &VolumeSeen,
) -> Result<Moving> {
    let strange =
        |e: &crate::model::ParseNameError| Failure::bug("a new volume name that is none").because(e);
    let target = match &wanted.to {
        Destination::Block(root) => Target::Directory {
            root: root.clone(),
            sub: match wanted.map.get(&seen.key) {
                Some(sub) => sub.clone(),
                None => crate::model::config::default_subdir(&seen.key).into(),
            },
            name: VolumeName::new(format!("{}_{}_block_{}", world.project, seen.key, wanted.suffix))
                .map_err(|e| strange(&e))?,
        },
        Destination::Volumes => {
            let original = match base_names.get(&seen.key) {
                Some(name) => name.clone(),
                None => {
                    VolumeName::new(format!("{}_{}", world.project, seen.key)).map_err(|e| strange(&e))?
                }
            };
            // The old volume is still there after a move, whole, and nothing is written over it.
            let name = if world.engine_volumes.contains(&original) {
                VolumeName::new(format!("{original}_{}", wanted.suffix)).map_err(|e| strange(&e))?
            } else {
                original
            };
            Target::Volume { name }
        }
    };
    let whole = Moving {
        owner: wanted.owners.get(&seen.key).copied(),
        ..all_of(seen, target)
    };
    Ok(match wanted.without_data.contains(&seen.key) {
        true => Moving {
            fresh: true,
            bytes: 0,
            entries: 0,
            ..whole
        },
        false => whole,
    })
}

/// All that a volume has, as far as somebody has looked.
fn all_of(volume: &VolumeSeen, target: Target) -> Moving {
    let scan = volume.scan.as_ref();
    Moving {
        key: volume.key.clone(),
        source: volume.name.clone(),
        target,
        owner: None,
        fresh: false,
        bytes: scan.map_or(0, |scan| scan.bytes),
        // Each further name of a file is one, too.
        entries: scan.map_or(0, |scan| scan.entries() + scan.hard_links),
        datastores: volume
            .datastores
            .iter()
            .map(|d| (d.kind, d.path.clone()))
            .collect(),
        site: volume.site_dir().cloned(),
    }
}

/// How the services of a stack are stopped; `limit` is what somebody said each may take.
fn stopping_waves(world: &World, stack: &Stack, limit: Option<Duration>) -> Vec<Vec<Stopping>> {
    let of_wave = |wave: &Vec<ServiceName>| {
        wave.iter()
            .filter_map(|name| world.service(name))
            .flat_map(|service| containers_of(service, limit))
            .collect()
    };
    stack.stop.iter().map(of_wave).collect()
}

/// How the containers of a service are stopped that are up.
fn containers_of(service: &ServiceSeen, limit: Option<Duration>) -> Vec<Stopping> {
    let database: Option<Kind> = service.server;
    let grace = grace_of(service, limit);
    let stopping = |container: &ContainerSeen| Stopping {
        service: service.name.clone(),
        id: container.id.clone(),
        name: container.name.clone(),
        signal: database.and_then(Kind::stop_signal).map(str::to_owned),
        grace,
        never_kill: database.is_some(),
    };
    service
        .containers
        .iter()
        .filter(|c| c.state.is_up())
        .map(stopping)
        .collect()
}

/// How long a service may take to stop.
fn grace_of(service: &ServiceSeen, said: Option<Duration>) -> Duration {
    let least = service.server.and_then(Kind::grace);
    said.or(least.map(|g| g.max(service.stop_grace.unwrap_or_default())))
        .or(service.stop_grace)
        .unwrap_or(STOP_GRACE)
}

fn starting(world: &World, stack: &Stack) -> Vec<Starting> {
    let running: Vec<_> = stack.stopped().rev().cloned().collect();
    starting_of(world, &running, |service| {
        service.containers.iter().filter(|c| c.state.is_up()).count()
    })
}

/// How services are brought up, each after what it waits for of the others; `up` is how many containers of each.
fn starting_of(world: &World, running: &[ServiceName], up: impl Fn(&ServiceSeen) -> usize) -> Vec<Starting> {
    let condition = |service: &ServiceSeen, on: &ServiceName| {
        let said = service.depends_on.iter().find(|(name, _)| name == on);
        said.map_or(Condition::Started, |(_, condition)| *condition)
    };
    running
        .iter()
        .filter_map(|name| world.service(name))
        .map(|service| Starting {
            service: service.name.clone(),
            after: order::needs(world, service, running)
                .into_iter()
                .map(|on| (on.clone(), condition(service, on)))
                .collect(),
            ends: order::ends(world, &service.name),
            up: up(service),
        })
        .collect()
}

/// What the containers of the stack have mounted, by the name that each volume has.
fn mounts(
    world: &World,
    stack: &Stack,
    name_of: impl Fn(&VolumeKey) -> Option<VolumeName>,
    moved: &BTreeSet<VolumeKey>,
) -> Vec<ExpectedMount> {
    let mut expected = Vec::new();
    for service in stack.remake.iter().filter_map(|name| world.service(name)) {
        for mount in service.mounts.iter().filter(|m| moved.contains(&m.volume)) {
            if let Some(volume) = name_of(&mount.volume) {
                expected.push(ExpectedMount {
                    service: service.name.clone(),
                    target: mount.target.clone(),
                    volume,
                    subpath: mount.subpath.clone(),
                });
            }
        }
    }
    expected
}

fn definitions(world: &World, stack: &Stack) -> BTreeMap<ServiceName, String> {
    stack
        .remake
        .iter()
        .filter_map(|name| world.service(name))
        .map(|s| (s.name.clone(), s.definition.clone()))
        .collect()
}

fn writers(world: &World, moved: &BTreeSet<VolumeKey>, running: &[ServiceName]) -> Vec<Writer> {
    let mut writers = Vec::new();
    for service in world.services.iter().filter(|s| running.contains(&s.name)) {
        for mount in service
            .mounts
            .iter()
            .filter(|m| moved.contains(&m.volume) && !m.read_only)
        {
            let writer = Writer {
                service: service.name.clone(),
                volume: mount.volume.clone(),
            };
            if !writers.contains(&writer) {
                writers.push(writer);
            }
        }
    }
    writers
}
