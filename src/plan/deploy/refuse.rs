//! Refuses a deployment early, in words.

use super::{DeployWanted, is_fetched};
use crate::model::{ByteSize, Failure, Result, ServiceName, nearest};
use crate::observe::deploy::{DeploySeen, Elsewhere};
use crate::observe::{ServiceSeen, World};

/// With less than this on the disk nothing is pulled or built: a full disk stops databases.
const LEAST_FREE: u64 = 1 << 30;

/// … or a tenth of a small disk.
fn least_free(total: u64) -> u64 {
    LEAST_FREE.min(total / 10)
}

/// Checks all that can be known.
///
/// # Errors
/// The first finding, as a refusal.
pub(super) fn check(seen: &DeploySeen, wanted: &DeployWanted) -> Result<()> {
    let world = &seen.world;
    let hooks = wanted
        .hooks
        .all()
        .filter_map(|h| Some(("hook", h.place.service()?)));
    let checks = wanted
        .checks
        .iter()
        .filter_map(|c| Some(("check", c.service.as_ref()?)));
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
    if !seen.unset.is_empty() {
        return Err(Failure::refused(format!(
            "the Compose files need variables that are not set: {}",
            seen.unset.join(", ")
        ))
        .cause("Compose would put nothing in their place")
        .data("nothing was changed")
        .hint("set them in .env; one that may be empty is written as ${NAME:-} in the files"));
    }
    let fetches = wanted.pull || wanted.build;
    if let Some(disk) = world
        .docker_disk
        .as_ref()
        .filter(|disk| fetches && disk.bytes_free < least_free(disk.bytes_total))
    {
        return Err(Failure::refused("the disk of Docker's images is almost full")
            .cause(format!(
                "{} of {} are free, {} are needed to pull and build",
                ByteSize(disk.bytes_free),
                ByteSize(disk.bytes_total),
                ByteSize(least_free(disk.bytes_total))
            ))
            .data("nothing was changed")
            .hint(
                "see what takes it: docker system df; images that nothing uses go with: docker image prune",
            ));
    }
    if let Some(first) = seen.elsewhere.first() {
        return Err(other_data(first, &seen.elsewhere));
    }
    Ok(())
}

/// The image that a service is made from is there, or will be fetched.
pub(super) fn image_there(service: &ServiceSeen, seen: &DeploySeen, wanted: &DeployWanted) -> Result<()> {
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

pub(in crate::plan) fn no_such_service(world: &World, what: &str, name: &ServiceName) -> Failure {
    let services: Vec<&str> = world.services.iter().map(|s| s.name.as_str()).collect();
    let which = if what == "command line" { "the" } else { "a" };
    let failure = Failure::refused(format!(
        "{which} {what} names service `{name}`, which project {} does not have",
        world.project
    ))
    .data("nothing was changed");
    match nearest(name.as_str(), services.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("it has: {}", services.join(", "))),
    }
}

pub(in crate::plan) fn other_data(first: &Elsewhere, all: &[Elsewhere]) -> Failure {
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
