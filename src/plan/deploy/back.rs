//! The plan of going back to what a finished deployment replaced: the same containers, out of their spares.

use std::collections::BTreeMap;

use super::{Becomes, DeployFacts, DeployPlan, DeployWanted, changing_of, same_data, were_up};
use crate::engine::Spare;
use crate::model::{Failure, Result, RunId, ServiceName};
use crate::observe::ServiceSeen;
use crate::observe::deploy::DeploySeen;
use crate::plan::starting_of;
use crate::steps::Check;
use crate::steps::deploy::{DeployStep, StayUp, Swap};

/// Makes the plan.
///
/// # Errors
/// When the run kept nothing, or what it kept is gone by now.
pub fn back_plan(
    seen: &DeploySeen,
    wanted: &DeployWanted,
    run: &RunId,
    spares: &[Spare],
) -> Result<DeployPlan> {
    let world = &seen.world;
    let of_it: Vec<&Spare> = spares.iter().filter(|spare| spare.run == *run).collect();
    let replaced = |name: &ServiceName| of_it.iter().any(|spare| spare.service == *name);
    if of_it.is_empty() {
        return Err(Failure::refused(format!("run {run} kept nothing to go back to"))
            .cause("it replaced nothing, or a later deployment let go of it")
            .data("nothing was changed"));
    }
    if let Some(spare) = of_it.iter().find(|spare| world.service(&spare.service).is_none()) {
        return Err(Failure::refused(format!(
            "run {run} replaced service `{}`, which the files no longer have",
            spare.service
        ))
        .data("nothing was changed")
        .hint("take the service into the files again, then go back"));
    }
    let up: Vec<ServiceName> = world
        .services
        .iter()
        .filter(|s| s.is_up() || replaced(&s.name))
        .map(|s| s.name.clone())
        .collect();
    let count = |service: &ServiceSeen| match replaced(&service.name) {
        true => of_it.iter().filter(|spare| spare.service == service.name).count(),
        false => service.containers.iter().filter(|c| c.state.is_up()).count(),
    };
    let starting = starting_of(world, &up, count);
    let changing = world.services.iter().filter(|s| replaced(&s.name));
    let mut steps = vec![DeployStep::Swap(Swap {
        services: changing.map(|s| changing_of(s, count(s), wanted)).collect(),
        starting: starting.clone(),
        back_to: Some(run.clone()),
        definitions: BTreeMap::new(),
        fresh: Vec::new(),
        limit: wanted.limit,
        alone: None,
    })];
    steps.push(DeployStep::StayUp(StayUp {
        services: starting,
        stable: wanted.stable,
        limit: wanted.limit,
    }));
    let runs = |check: &&Check| check.service.as_ref().is_none_or(|service| up.contains(service));
    let checks = wanted.checks.iter().filter(runs);
    steps.extend(checks.map(|check| DeployStep::Check(check.clone())));
    let data = same_data(seen, &up);
    let mounts = data.mounts.len();
    if mounts > 0 || !data.databases.is_empty() {
        steps.push(DeployStep::SameData(data));
    }
    let services = world.services.iter().filter(|s| up.contains(&s.name)).map(|s| {
        let becomes = match of_it.iter().find(|spare| spare.service == s.name) {
            Some(spare) => Becomes::Replaced {
                why: vec![format!("back to {} ({})", spare.image_name, spare.image.short())],
            },
            None => Becomes::Kept,
        };
        (s.name.clone(), becomes)
    });
    Ok(DeployPlan {
        facts: DeployFacts {
            project: world.project.clone(),
            directory: world.directory.clone(),
            commit: wanted.commit.clone(),
            back_to: Some(run.clone()),
            services: services.collect(),
            were_up: were_up(world),
            dumped: Vec::new(),
            lasting: Vec::new(),
            on_failure: Vec::new(),
            after_finish: Vec::new(),
            mounts,
            warnings: vec![
                "databases are not taken back: what was migrated stays migrated".to_owned(),
                "the files still say what runs now: the next deployment would bring it again".to_owned(),
            ],
        },
        steps,
    })
}
