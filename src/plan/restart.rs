//! The plan of a restart: which services are only restarted, and which are made anew because the files say something
//! else than their containers were made of (trap 32). Pure, as all of `plan`.

use std::time::Duration;

use super::deploy::{no_such_service, other_data};
use super::{grace_of, starting_of};
use crate::datastore::Kind;
use crate::model::{Failure, Result, ServiceName};
use crate::observe::ServiceSeen;
use crate::observe::deploy::DeploySeen;
use crate::steps::{Making, Starting, Stopping};

/// What a restart does.
#[derive(Debug, Clone)]
pub struct RestartPlan {
    /// The services, dependencies first.
    pub services: Vec<Restarted>,
    /// Their containers that run, in the order in which they are stopped.
    pub stopping: Vec<Stopping>,
    /// Those that are made anew.
    pub making: Vec<Making>,
    /// How they are brought up.
    pub starting: Vec<Starting>,
}

/// A service that is restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restarted {
    /// Which.
    pub service: ServiceName,
    /// Why it is made anew, by the keys of its definition; it is only restarted if there is nothing.
    pub why: Vec<String>,
    /// Its image's name means another image by now, and nothing else differs: it keeps the one it has.
    pub newer_image: bool,
}

/// Plans the restart of these services; of all that run if none is named.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub fn restart_plan(
    seen: &DeploySeen,
    named: &[ServiceName],
    stop_timeout: Option<Duration>,
) -> Result<RestartPlan> {
    let world = &seen.world;
    if let Some(name) = named.iter().find(|name| world.service(name).is_none()) {
        return Err(no_such_service(world, "command line", name));
    }
    let mut services: Vec<Restarted> = Vec::new();
    let mut chosen: Vec<&ServiceSeen> = Vec::new();
    // Dependencies first: whose container a service shares is looked at before it.
    for service in &world.services {
        let asked = match named.is_empty() {
            true => service.is_up(),
            false => named.contains(&service.name),
        };
        let host = service
            .attached_to
            .iter()
            .find(|host| services.iter().any(|r| r.service == **host && !r.why.is_empty()));
        let taken_along = host.is_some() && service.is_up();
        if !asked && !taken_along {
            continue;
        }
        if service.containers.is_empty() {
            return Err(
                Failure::refused(format!("service `{}` has no container to restart", service.name))
                    .data("nothing was changed")
                    .hint(format!("rehome up -d {}", service.name)),
            );
        }
        let mut restarted = restarted(service, seen);
        if let (Some(host), true) = (host, restarted.why.is_empty()) {
            restarted.why = vec![format!("it shares the container of {host}")];
        }
        services.push(restarted);
        chosen.push(service);
    }
    let remade = |name: &ServiceName| services.iter().any(|r| r.service == *name && !r.why.is_empty());
    let elsewhere: Vec<_> = seen
        .elsewhere
        .iter()
        .filter(|e| remade(&e.service))
        .cloned()
        .collect();
    if let Some(first) = elsewhere.first() {
        return Err(other_data(first, &elsewhere));
    }
    let names: Vec<ServiceName> = chosen.iter().map(|s| s.name.clone()).collect();
    let remade_of = chosen.iter().filter(|s| remade(&s.name));
    Ok(RestartPlan {
        stopping: chosen
            .iter()
            .rev()
            .flat_map(|service| stopping(service, stop_timeout))
            .collect(),
        making: remade_of
            .map(|service| Making {
                service: service.name.clone(),
                count: service.containers.len(),
            })
            .collect(),
        starting: starting_of(world, &names, |service| service.containers.len()),
        services,
    })
}

fn restarted(service: &ServiceSeen, seen: &DeploySeen) -> Restarted {
    let differs = seen.services.get(&service.name).map(|more| more.differs.clone());
    let differs = differs.unwrap_or_default();
    let outdated = service.containers.iter().any(|c| c.outdated);
    let other_image = service
        .containers
        .iter()
        .any(|c| service.image_now.as_ref().is_some_and(|now| *now != c.image));
    // Compose would make it anew for a new image alone; to take that is a deployment.
    let newer_image = outdated && differs.is_empty() && other_image;
    let mut why = match (outdated && !newer_image, differs.is_empty()) {
        (false, _) => Vec::new(),
        (true, true) => vec!["its definition".to_owned()],
        (true, false) => differs,
    };
    if other_image && !why.is_empty() {
        why.push(format!("{} is another image by now", service.image));
    }
    Restarted {
        service: service.name.clone(),
        why,
        newer_image,
    }
}

fn stopping(service: &ServiceSeen, stop_timeout: Option<Duration>) -> Vec<Stopping> {
    let up = service.containers.iter().filter(|c| c.state.is_up());
    up.map(|container| Stopping {
        service: service.name.clone(),
        id: container.id.clone(),
        name: container.name.clone(),
        signal: service.server.and_then(Kind::stop_signal).map(str::to_owned),
        grace: grace_of(service, stop_timeout),
        never_kill: service.server.is_some(),
    })
    .collect()
}
