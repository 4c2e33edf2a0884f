//! The plan of a deployment. Pure, as all of `plan`.
//!
//! What an image is once it was pulled or built is not known when the plan is made. The plan says which services may
//! be replaced for that, and [`Swap`] finds out which are; everything else is decided here.

mod back;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{grace_of, order, starting_of};
use crate::datastore::{Kind, dump::can_dump};
use crate::model::{Failure, ProjectName, Result, RunId, ServiceName, nearest};
use crate::observe::deploy::{DatabaseSeen, DeploySeen, Elsewhere, ServiceMore};
use crate::observe::{ServiceSeen, World};
use crate::saga::Step;
use crate::steps::deploy::{
    Changing, DeployStep, Dump, Dumping, Images, SameData, SameDatabase, Source, StayUp, Swap, TidyKept,
};
use crate::steps::{Hook, HttpCheck, OnFailure};

pub use back::back_plan;
pub use text::render;

/// What is wanted, with every setting resolved.
#[derive(Debug, Clone)]
pub struct DeployWanted {
    /// Only these services; all if empty.
    pub only: Vec<ServiceName>,
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
    /// What runs after the start.
    pub hooks: Vec<Hook>,
    /// What must answer.
    pub checks: Vec<HttpCheck>,
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
    pub dumped: Vec<ServiceName>,
    /// Hooks that change what going back does not give back.
    pub lasting: Vec<String>,
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
    check(seen, wanted)?;
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
        image_there(service, seen, wanted)?;
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

    let mut steps = images(seen, wanted, &changing);
    let dumped = dumps(seen, wanted);
    steps.extend(
        dumped
            .iter()
            .map(|what| DeployStep::Dump(Dump { what: what.clone() })),
    );
    steps.push(DeployStep::Swap(Swap {
        services: changing
            .iter()
            .map(|service| changing_of(service, count(service), wanted))
            .collect(),
        starting: starting.clone(),
        back_to: None,
        definitions: changing
            .iter()
            .map(|s| (s.name.clone(), s.definition.clone()))
            .collect(),
        limit: wanted.limit,
    }));
    let runs = |service: &ServiceName| up.contains(service);
    let (hooks, left_out): (Vec<&Hook>, Vec<&Hook>) = wanted.hooks.iter().partition(|h| runs(&h.service));
    steps.extend(hooks.iter().map(|hook| DeployStep::Hook((*hook).clone())));
    steps.push(DeployStep::StayUp(StayUp {
        services: starting,
        stable: wanted.stable,
        limit: wanted.limit,
    }));
    let checks = wanted.checks.iter().filter(|check| runs(&check.service));
    steps.extend(checks.map(|check| DeployStep::HttpCheck(check.clone())));
    let data = same_data(seen, &up);
    let mounts = data.mounts.len();
    steps.push(DeployStep::SameData(data));
    let beyond = wanted.older.len().saturating_sub(wanted.keep.saturating_sub(1));
    if beyond > 0 {
        steps.push(DeployStep::TidyKept(TidyKept {
            runs: wanted.older[..beyond].to_vec(),
            services: world.services.iter().map(|s| s.name.clone()).collect(),
        }));
    }
    let mut warnings = warnings(seen, wanted, &dumped, &services);
    warnings.extend(left_out.iter().map(|hook| {
        format!(
            "the hook `{}` is left out: service `{}` does not run",
            hook.run.join(" "),
            hook.service
        )
    }));
    Ok(DeployPlan {
        facts: DeployFacts {
            project: world.project.clone(),
            directory: world.directory.clone(),
            commit: wanted.commit.clone(),
            back_to: None,
            services,
            were_up: were_up(world),
            dumped: dumped.into_iter().map(|d| d.service).collect(),
            lasting: hooks
                .iter()
                .filter(|h| h.on_failure == OnFailure::Stop)
                .map(|h| h.title())
                .collect(),
            mounts,
            warnings,
        },
        steps,
    })
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

fn check(seen: &DeploySeen, wanted: &DeployWanted) -> Result<()> {
    let world = &seen.world;
    let hooks = wanted.hooks.iter().map(|h| ("hook", &h.service));
    let checks = wanted.checks.iter().map(|c| ("check", &c.service));
    let asked = wanted.only.iter().map(|s| ("command line", s));
    for (what, name) in hooks.chain(checks).chain(asked) {
        if world.service(name).is_none() {
            return Err(no_such_service(world, what, name));
        }
    }
    if let Some(path) = seen.missing.first() {
        return Err(Failure::refused(format!("{} is not there", path.display()))
            .cause("`deploy.require` in rehome.yml says that it must be")
            .data("nothing was changed"));
    }
    if let Some(first) = seen.elsewhere.first() {
        return Err(other_data(first, &seen.elsewhere));
    }
    Ok(())
}

/// The image that a service is made from is there, or will be fetched.
fn image_there(service: &ServiceSeen, seen: &DeploySeen, wanted: &DeployWanted) -> Result<()> {
    let Some(more) = seen.services.get(&service.name).filter(|more| !more.image_here) else {
        return Ok(());
    };
    if is_fetched(service, more, wanted).is_some() {
        return Ok(());
    }
    let name = &service.name;
    let image = more.image.as_deref().unwrap_or(&service.image);
    let verb = if more.build { "build" } else { "pull" };
    Err(Failure::refused(format!(
        "service `{name}` needs image {image}, which the engine does not have"
    ))
    .cause(format!("this deployment does not {verb} it"))
    .data("nothing was changed")
    .hint(format!("docker compose -p {} {verb} {name}", seen.world.project)))
}

fn no_such_service(world: &World, what: &str, name: &ServiceName) -> Failure {
    let services: Vec<&str> = world.services.iter().map(|s| s.name.as_str()).collect();
    let failure = Failure::refused(format!(
        "a {what} names service `{name}`, which project {} does not have",
        world.project
    ))
    .data("nothing was changed");
    match nearest(name.as_str(), services.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("it has: {}", services.join(", "))),
    }
}

fn other_data(first: &Elsewhere, all: &[Elsewhere]) -> Failure {
    let failure = Failure::refused(format!(
        "service `{}` would come up with other data than it has now",
        first.service
    ));
    all.iter()
        .fold(failure, |failure, e| {
            failure.cause(format!("{} of {}: now {}, then {}", e.target, e.service, e.now, e.then))
        })
        .data("nothing was changed; the data is where it was")
        .hint("to take the data along: rehome move")
        .hint("`rehome status` shows where each volume lives, `rehome override --check` whether the override is active")
}

fn warnings(
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
