//! The plan of a deployment. Pure, as all of `plan`.
//!
//! What an image is once it was pulled or built is not known when the plan is made. The plan says which services may
//! be replaced for that, and [`Swap`] finds out which are; everything else is decided here.

mod back;
mod refuse;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{grace_of, left_out_check, left_out_hook, order, runs_in, starting_of};
use crate::datastore::{Kind, dump::can_dump};
use crate::engine::MountKind;
use crate::model::{Home, ProjectName, Result, RunId, ServiceName};
use crate::observe::deploy::{DatabaseSeen, DeploySeen, ServiceMore};
use crate::observe::{ServiceSeen, World};
use crate::saga::Step;
use crate::steps::deploy::{
    Changing, ComposeFile, DataMount, DeployStep, Dump, Dumping, Images, Roll, SameData, SameDatabase,
    Source, StayUp, Swap, TidyKept,
};
use crate::steps::{Check, Hook, MakeHomes, Moving, Switch, Target, Tidy};

pub use back::back_plan;
pub(super) use refuse::{no_such_service, other_data};
pub use text::render;

/// What is wanted, with every setting resolved.
#[derive(Debug, Clone)]
pub struct DeployWanted {
    /// Only these services; all if empty.
    pub only: Vec<ServiceName>,
    /// The homes of a project that has none yet.
    pub first: Option<First>,
    /// Pull images.
    pub pull: bool,
    /// Build images.
    pub build: bool,
    /// … without the cache.
    pub fresh: bool,
    /// Dump the databases first.
    pub dump: bool,
    /// … but not those of these services.
    pub no_dump: Vec<ServiceName>,
    /// Services that can be are rolled; so long have proxies to learn of it.
    pub rolling: Option<Duration>,
    /// What runs, and when.
    pub hooks: Hooks,
    /// What must answer.
    pub checks: Vec<Check>,
    /// Limit for stopping each service.
    pub stop_timeout: Option<Duration>,
    /// For how long every container must run without a restart.
    pub stable: Duration,
    /// How long a service may take to come up.
    pub limit: Duration,
    /// The deployments that are kept to go back to, this one included.
    pub keep: usize,
    /// Runs that kept something, oldest first.
    pub older: Vec<RunId>,
    /// What `git` says is checked out.
    pub commit: Option<String>,
    /// `COMPOSE_FILE` in `.env`, where it has to be another because of a variant.
    pub compose_file: Option<ComposeFile>,
}

/// The hooks of a deployment, by when they run.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// Before images are pulled or built.
    pub before_pull: Vec<Hook>,
    /// Before any container is replaced.
    pub before_start: Vec<Hook>,
    /// After the services started.
    pub after_start: Vec<Hook>,
    /// After they were seen to stay up.
    pub after_healthy: Vec<Hook>,
    /// After the way back of a deployment that failed.
    pub on_failure: Vec<Hook>,
    /// After a deployment that is done.
    pub after_finish: Vec<Hook>,
}

impl Hooks {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Hook> {
        let steps = [
            &self.before_pull,
            &self.before_start,
            &self.after_start,
            &self.after_healthy,
        ];
        steps
            .into_iter()
            .chain([&self.on_failure, &self.after_finish])
            .flatten()
    }
}

/// Where a project that has no data yet gets its homes.
#[derive(Debug, Clone)]
pub struct First {
    /// The homes.
    pub volumes: Vec<Moving>,
    /// What points the project at them.
    pub switch: Switch,
}

/// A plan: what is said, and what is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeployPlan {
    /// What is said.
    pub facts: DeployFacts,
    /// What is done, in this order.
    pub steps: Vec<DeployStep>,
}

/// What is said about a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeployFacts {
    /// The project.
    pub project: ProjectName,
    /// Its directory.
    pub directory: PathBuf,
    /// What is checked out.
    pub commit: Option<String>,
    /// The run whose replacements are put back.
    #[serde(default)]
    pub back_to: Option<RunId>,
    /// The services, and what becomes of each.
    pub services: Vec<(ServiceName, Becomes)>,
    /// The services that ran when the plan was made.
    #[serde(default)]
    pub were_up: Vec<ServiceName>,
    /// The databases that are dumped.
    pub dumped: Vec<Dumping>,
    /// Hooks that change what going back does not give back, by their titles.
    pub lasting: Vec<String>,
    /// What runs after the way back has ended, if it fails.
    #[serde(default)]
    pub on_failure: Vec<Hook>,
    /// What runs after it is done.
    #[serde(default)]
    pub after_finish: Vec<Hook>,
    /// How many mounts of data stay as they are.
    pub mounts: usize,
    /// What a careful person should know.
    pub warnings: Vec<String>,
}

/// What a deployment makes of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "becomes")]
pub enum Becomes {
    /// It has no container yet.
    New,
    /// Its containers are made anew, because of these keys of its definition.
    Replaced {
        /// The keys.
        why: Vec<String>,
    },
    /// Its containers are made anew if there is another image once it was pulled or built.
    ReplacedIfNewImage,
    /// A database: only seen to run.
    Kept,
    /// Nothing of it changed.
    Unchanged,
    /// It runs to its end once more.
    RunsAgain,
    /// It was stopped by somebody, and stays so.
    StaysStopped,
    /// It was not asked for.
    LeftOut,
}

impl Becomes {
    fn may_change(&self) -> bool {
        matches!(
            self,
            Self::New | Self::Replaced { .. } | Self::ReplacedIfNewImage | Self::RunsAgain | Self::Unchanged
        )
    }

    fn is_up_afterwards(&self) -> bool {
        !matches!(self, Self::StaysStopped | Self::LeftOut)
    }
}

/// Makes the plan of a deployment.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub fn deploy_plan(seen: &DeploySeen, wanted: &DeployWanted) -> Result<DeployPlan> {
    refuse::check(seen, wanted)?;
    let world = &seen.world;
    let ends = |name: &ServiceName| order::ends(world, name);
    let services: Vec<(ServiceName, Becomes)> = world
        .services
        .iter()
        .filter_map(|s| Some((s, seen.services.get(&s.name)?)))
        .filter(|(s, more)| more.active || s.is_up())
        .map(|(s, more)| (s.name.clone(), becomes(s, more, wanted, ends(&s.name))))
        .collect();
    let of = |name: &ServiceName| services.iter().find(|(n, _)| n == name).map(|(_, b)| b);
    let changing: Vec<&ServiceSeen> = world
        .services
        .iter()
        .filter(|s| of(&s.name).is_some_and(Becomes::may_change))
        .collect();
    for service in &changing {
        refuse::image_there(service, seen, wanted)?;
    }
    let up: Vec<ServiceName> = services
        .iter()
        .filter(|(_, becomes)| becomes.is_up_afterwards())
        .map(|(name, _)| name.clone())
        .collect();
    let count = |service: &ServiceSeen| {
        let wanted = seen.services.get(&service.name).map_or(1, |more| more.replicas);
        service.containers.len().max(wanted)
    };
    let starting = starting_of(world, &up, count);

    let runs_now = |name: &ServiceName| world.service(name).is_some_and(ServiceSeen::is_up);
    let runs_then = |service: &ServiceName| up.contains(service);
    let mut left_out = Vec::new();
    let mut hooks_of = |hooks: &[Hook], up: &dyn Fn(&ServiceName) -> bool| -> Vec<DeployStep> {
        let (run, not): (Vec<&Hook>, Vec<&Hook>) = hooks.iter().partition(|hook| runs_in(hook, up));
        left_out.extend(not.into_iter().map(left_out_hook));
        run.into_iter()
            .map(|hook| DeployStep::Hook(hook.clone()))
            .collect()
    };
    let hooks = &wanted.hooks;
    let mut steps = hooks_of(&hooks.before_pull, &runs_now);
    steps.extend(images(seen, wanted, &changing));
    let dumped = dumps(seen, wanted);
    steps.extend(
        dumped
            .iter()
            .map(|what| DeployStep::Dump(Dump { what: what.clone() })),
    );
    steps.extend(hooks_of(&hooks.before_start, &runs_now));
    let (rolled, stopped): (Vec<&ServiceSeen>, Vec<&ServiceSeen>) =
        changing.iter().partition(|service| rolls(seen, wanted, service));
    let definitions = |services: &[&ServiceSeen]| {
        let hashes = services.iter().map(|s| (s.name.clone(), s.definition.clone()));
        hashes.collect()
    };
    let changings = |services: &[&ServiceSeen]| {
        let changing = services.iter().map(|s| changing_of(s, count(s), wanted));
        changing.collect()
    };
    let first = wanted.first.as_ref();
    if let Some(first) = first {
        let volumes = first.volumes.clone();
        steps.push(DeployStep::MakeHomes(MakeHomes { volumes }));
        steps.push(DeployStep::Switch(first.switch.clone()));
    }
    steps.push(DeployStep::Swap(Swap {
        services: changings(&stopped),
        starting: starting.clone(),
        back_to: None,
        definitions: definitions(&stopped),
        fresh: first.map_or_else(Vec::new, |first| first.volumes.clone()),
        limit: wanted.limit,
        alone: None,
    }));
    if let Some(drain) = wanted.rolling.filter(|_| !rolled.is_empty()) {
        steps.push(DeployStep::Roll(Roll {
            services: changings(&rolled),
            definitions: definitions(&rolled),
            stable: wanted.stable,
            drain,
            limit: wanted.limit,
        }));
    }
    steps.extend(hooks_of(&hooks.after_start, &runs_then));
    steps.push(DeployStep::StayUp(StayUp {
        services: starting,
        stable: wanted.stable,
        limit: wanted.limit,
    }));
    steps.extend(hooks_of(&hooks.after_healthy, &runs_then));
    for check in &wanted.checks {
        match check.service.as_ref().is_none_or(&runs_then) {
            true => steps.push(DeployStep::Check(check.clone())),
            false => left_out.push(left_out_check(check)),
        }
    }
    let mut data = same_data(seen, &up);
    if let Some(first) = first {
        data.mounts = first_mounts(world, &first.volumes);
    }
    let mounts = data.mounts.len();
    if mounts > 0 || !data.databases.is_empty() {
        steps.push(DeployStep::SameData(data));
    }
    steps.extend(wanted.compose_file.clone().map(DeployStep::ComposeFile));
    if first.is_some() {
        steps.push(DeployStep::Tidy(Tidy::default()));
    }
    let beyond = wanted.older.len().saturating_sub(wanted.keep.saturating_sub(1));
    if beyond > 0 {
        steps.push(DeployStep::TidyKept(TidyKept {
            runs: wanted.older[..beyond].to_vec(),
            services: world.services.iter().map(|s| s.name.clone()).collect(),
        }));
    }
    let mut warnings = warnings(seen, wanted, &dumped, &services);
    warnings.extend(left_out);
    let lasting = steps.iter().filter_map(|step| match step {
        DeployStep::Hook(hook) if changes_for_good(hook) => Some(hook.title()),
        _ => None,
    });
    Ok(DeployPlan {
        facts: DeployFacts {
            project: world.project.clone(),
            directory: world.directory.clone(),
            commit: wanted.commit.clone(),
            back_to: None,
            services,
            were_up: were_up(world),
            dumped,
            lasting: lasting.collect(),
            on_failure: hooks.on_failure.clone(),
            after_finish: hooks.after_finish.clone(),
            mounts,
            warnings,
        },
        steps,
    })
}

/// Whether going back would not undo what a hook did. Nobody knows what a command does: only what is known to look and
/// change nothing, or to make files that the next deployment makes anew, is not counted.
fn changes_for_good(hook: &Hook) -> bool {
    let words: Vec<&str> = hook.run.iter().map(String::as_str).collect();
    let harmless = ["--check", "--dry-run", "collectstatic"];
    !words.iter().any(|word| harmless.contains(word)) && words != ["nginx", "-t"] && words != ["true"]
}

fn were_up(world: &World) -> Vec<ServiceName> {
    let up = world.services.iter().filter(|s| s.is_up());
    up.map(|s| s.name.clone()).collect()
}

fn becomes(service: &ServiceSeen, more: &ServiceMore, wanted: &DeployWanted, ends: bool) -> Becomes {
    if !wanted.only.is_empty() && !wanted.only.contains(&service.name) {
        return if service.is_up() {
            Becomes::Kept
        } else {
            Becomes::LeftOut
        };
    }
    if service.containers.is_empty() {
        return Becomes::New;
    }
    if !service.is_up() && !ends {
        return Becomes::StaysStopped;
    }
    let outdated = service.containers.iter().any(|c| c.outdated);
    if service.server.is_some() {
        // A new image alone is no reason to make a database anew.
        let image_alone = more.differs.is_empty()
            && service
                .containers
                .iter()
                .any(|c| service.image_now.as_ref() != Some(&c.image));
        return if outdated && !image_alone {
            Becomes::Replaced { why: why(more) }
        } else {
            Becomes::Kept
        };
    }
    if outdated {
        let mut why = why(more);
        if more.differs.is_empty()
            && service
                .containers
                .iter()
                .any(|c| service.image_now.as_ref() != Some(&c.image))
        {
            why = vec![format!("{} is another image by now", service.image)];
        }
        return Becomes::Replaced { why };
    }
    if ends {
        return Becomes::RunsAgain;
    }
    if fetched(more, wanted).is_some() {
        return Becomes::ReplacedIfNewImage;
    }
    Becomes::Unchanged
}

fn changing_of(service: &ServiceSeen, count: usize, wanted: &DeployWanted) -> Changing {
    Changing {
        service: service.name.clone(),
        count,
        signal: service.server.and_then(Kind::stop_signal).map(str::to_owned),
        grace: grace_of(service, wanted.stop_timeout),
        never_kill: service.server.is_some(),
    }
}

fn why(more: &ServiceMore) -> Vec<String> {
    if more.differs.is_empty() {
        vec!["its definition".to_owned()]
    } else {
        more.differs.clone()
    }
}

/// Whether a service is rolled: it runs already, and two generations of it can run side by side.
fn rolls(seen: &DeploySeen, wanted: &DeployWanted, service: &ServiceSeen) -> bool {
    let alone = seen.services.get(&service.name).map(|more| more.alone.is_some());
    wanted.rolling.is_some()
        && alone == Some(false)
        && service.is_up()
        && service.server.is_none()
        && !order::ends(&seen.world, &service.name)
}

/// Where a service's image comes from in this deployment.
fn fetched(more: &ServiceMore, wanted: &DeployWanted) -> Option<Source> {
    if more.build {
        return wanted.build.then_some(Source::Build { fresh: wanted.fresh });
    }
    (wanted.pull && !more.never_pulled && more.image.is_some()).then_some(Source::Pull)
}

/// The same of a service: the image of a database is pulled by whoever upgrades the database.
fn is_fetched(service: &ServiceSeen, more: &ServiceMore, wanted: &DeployWanted) -> Option<Source> {
    let kept = service.server.is_some() && !service.containers.is_empty();
    fetched(more, wanted).filter(|_| !kept)
}

fn images(seen: &DeploySeen, wanted: &DeployWanted, changing: &[&ServiceSeen]) -> Vec<DeployStep> {
    let mut by_source: BTreeMap<bool, (Source, Vec<(ServiceName, String)>)> = BTreeMap::new();
    for service in changing {
        let Some(more) = seen.services.get(&service.name) else {
            continue;
        };
        if let Some(source) = is_fetched(service, more, wanted) {
            let reference = more.image.clone().unwrap_or_else(|| service.image.clone());
            let entry = by_source.entry(more.build).or_insert((source, Vec::new()));
            entry.1.push((service.name.clone(), reference));
        }
    }
    by_source
        .into_values()
        .map(|(source, services)| DeployStep::Images(Images { source, services }))
        .collect()
}

fn dumps(seen: &DeploySeen, wanted: &DeployWanted) -> Vec<Dumping> {
    let dumped =
        |d: &&DatabaseSeen| wanted.dump && d.up && can_dump(d.kind) && !wanted.no_dump.contains(&d.service);
    seen.databases
        .iter()
        .filter(dumped)
        .map(|d| Dumping {
            service: d.service.clone(),
            kind: d.kind,
            user: d.user.clone(),
        })
        .collect()
}

fn same_data(seen: &DeploySeen, up: &[ServiceName]) -> SameData {
    SameData {
        mounts: seen
            .mounts
            .iter()
            .filter(|m| up.contains(&m.service))
            .cloned()
            .collect(),
        databases: seen
            .databases
            .iter()
            .filter(|d| up.contains(&d.service))
            .filter_map(|d| {
                Some(SameDatabase {
                    service: d.service.clone(),
                    user: d.user.clone(),
                    identity: d.identity.as_ref().ok()?.clone(),
                })
            })
            .collect(),
    }
}

/// Where the data must be mounted after a first deployment.
fn first_mounts(world: &World, volumes: &[Moving]) -> Vec<DataMount> {
    let of = |service: &ServiceSeen| {
        let mounts = service.mounts.iter().filter_map(|mount| {
            let moving = volumes.iter().find(|m| m.key == mount.volume)?;
            let Target::Directory { root, sub, name } = &moving.target else {
                return None;
            };
            Some(DataMount {
                service: service.name.clone(),
                target: mount.target.clone(),
                kind: MountKind::Volume(name.clone()),
                home: Some(Home::Block { dir: root.join(sub) }),
            })
        });
        mounts.collect::<Vec<_>>()
    };
    world.services.iter().flat_map(of).collect()
}

pub(super) fn warnings(
    seen: &DeploySeen,
    wanted: &DeployWanted,
    dumped: &[Dumping],
    services: &[(ServiceName, Becomes)],
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, becomes) in services {
        let server = seen.world.service(name).and_then(|s| s.server);
        if let (Becomes::Replaced { why }, Some(kind)) = (becomes, server) {
            warnings.push(format!(
                "the {kind} of service `{name}` is stopped and made anew, because its own definition changed: {}",
                why.join(", ")
            ));
        }
    }
    for (name, becomes) in services.iter().filter(|_| wanted.rolling.is_some()) {
        let alone = seen.services.get(name).and_then(|more| more.alone.as_ref());
        let replaced = matches!(becomes, Becomes::Replaced { .. } | Becomes::ReplacedIfNewImage);
        if let (Some(why), true) = (alone, replaced) {
            warnings.push(format!(
                "service `{name}` cannot be rolled and is stopped first: {why}"
            ));
        }
    }
    for database in &seen.databases {
        let (name, kind) = (&database.service, database.kind);
        if dumped.iter().any(|d| d.service == *name) || wanted.no_dump.contains(name) {
            continue;
        }
        warnings.push(match (wanted.dump, database.up) {
            (false, _) => format!("the {kind} of service `{name}` is not dumped first (--no-backup)"),
            (true, false) => format!("the {kind} of service `{name}` is not dumped first: it does not run"),
            (true, true) => {
                format!("the {kind} of service `{name}` is not dumped first: Rehome cannot do that yet")
            }
        });
    }
    for orphan in &seen.orphans {
        warnings.push(format!(
            "container {orphan} belongs to a service that the files no longer have: it is left as it is"
        ));
    }
    warnings
}
