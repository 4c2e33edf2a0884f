//! The plans of restores that replace no volume: into a new one, and of one database of a running PostgreSQL. Pure.

use std::collections::BTreeSet;

use super::facts::untouched;
use super::{
    Replaced, RestorePlan, RestoreSeen, RestoreWanted, bring_back, home_of, moving, starting_again, stop,
};
use crate::datastore::dump::postgres::name_beside;
use crate::model::{Failure, Result, VolumeName};
use crate::observe::ServiceSeen;
use crate::plan::backup::drill::server_can_start;
use crate::plan::order;
use crate::steps::backup::{BackupStep, Database, ExchangeDatabases, Input, Refill, RefillDatabase};
use crate::steps::{MakeHomes, Target};

/// A volume that is made for it, and nothing else is changed.
pub(super) fn into_a_volume(
    seen: &RestoreSeen,
    inputs: Vec<Input>,
    into: &VolumeName,
    plan: &mut RestorePlan,
) -> Result<()> {
    let world = &seen.world;
    let [input] = <[Input; 1]>::try_from(inputs).map_err(|inputs| {
        let names: Vec<String> = inputs.iter().map(Input::describe).collect();
        Failure::usage("one volume takes one part of a backup: say which with --only")
            .cause(format!("the backup has {}", names.join(", ")))
            .data("nothing was changed")
    })?;
    if world.engine_volumes.contains(into) {
        return Err(Failure::refused(format!("volume {into} is there already"))
            .data("nothing was changed; nothing is ever restored over what is there")
            .hint("name one that is not there; or restore in place, without --into"));
    }
    if let Some((service, _)) = input.server() {
        server_can_start(world, service)?;
    }
    let volume = home_of(world, &input)?;
    let home = moving(volume, &input, Target::Volume { name: into.clone() });
    plan.steps.push(BackupStep::MakeHomes(MakeHomes {
        volumes: vec![home.clone()],
    }));
    plan.facts.replaced = vec![Replaced {
        what: input.describe(),
        key: volume.key.clone(),
        bytes: input.size(),
        now: None,
        kept: String::new(),
        empty: None,
    }];
    plan.facts.into = Some(into.clone());
    plan.facts.untouched = untouched(world, &BTreeSet::new());
    plan.steps.push(BackupStep::Refill(Refill { input, home }));
    Ok(())
}

/// A database beside the one in use, which change their names; the server goes on.
pub(super) fn one_database(
    seen: &RestoreSeen,
    wanted: &RestoreWanted,
    input: &Input,
    plan: &mut RestorePlan,
) -> Result<()> {
    let world = &seen.world;
    let (Some((service, _)), Some(name)) = (input.server(), &wanted.database) else {
        return Err(Failure::bug("no database of a server was chosen"));
    };
    if !world.service(service).is_some_and(ServiceSeen::is_up) {
        return Err(Failure::refused(format!("service `{service}` does not run"))
            .cause("one database is loaded into the server that has the others")
            .data("nothing was changed")
            .hint(format!("rehome compose -- up -d {service}")));
    }
    let database = Database {
        service: service.clone(),
        name: name.clone(),
        beside: name_beside(name, &wanted.suffix),
    };
    let stack = order::dependents_of(world, service);
    let starting = starting_again(world, &stack);
    plan.facts.replaced = vec![Replaced {
        what: format!("database {name} of {service}"),
        key: home_of(world, input)?.key.clone(),
        bytes: input.size(),
        now: None,
        kept: format!("database {}", database.beside),
        empty: None,
    }];
    plan.facts.warnings.push(format!(
        "whoever is connected to database {name} is disconnected; the other databases of {service} go on"
    ));
    plan.steps.push(BackupStep::RefillDatabase(RefillDatabase {
        input: input.clone(),
        database: database.clone(),
    }));
    if !stack.stop.is_empty() {
        plan.steps
            .push(BackupStep::Stop(stop(world, &stack, &starting, &[], wanted)));
    }
    plan.steps
        .push(BackupStep::ExchangeDatabases(ExchangeDatabases { database }));
    bring_back(seen, wanted, &stack, starting, plan);
    Ok(())
}
