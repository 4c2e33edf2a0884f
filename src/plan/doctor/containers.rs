//! Checks of the containers: what they may write, what is kept in them, whether they come back.

use super::databases::homeless;
use super::{About, Finding};
use crate::compose::project::Condition;
use crate::engine::State;
use crate::model::ByteSize;
use crate::observe::{Checkup, ServiceSeen};

/// Traps 22 and 23: the data belongs to somebody else than the container's user.
pub(super) fn cannot_write(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for container in &seen.containers {
        for write in &container.writes {
            let about = About::Service(container.service.clone());
            let (service, key) = (&container.service, &write.volume);
            match &write.may {
                Ok(true) => {}
                Ok(false) => {
                    let user = if container.user.is_empty() {
                        "root"
                    } else {
                        &container.user
                    };
                    let mut finding = Finding::warning(
                        "cannot-write",
                        about,
                        format!("service `{service}` cannot write to volume `{key}`"),
                    )
                    .seen(format!(
                        "`test -w {}` fails in container {}, which runs as {user}",
                        write.target, container.name
                    ));
                    let scan = seen.world.volume(key).and_then(|v| v.scan.as_ref());
                    if let Some((owner, mode)) = scan.and_then(|s| Some((s.root_owner?, s.root_mode))) {
                        finding = finding.seen(format!("the volume belongs to {owner}, mode {mode:04o}"));
                    }
                    let owner = if container.user.is_empty() {
                        "0:0"
                    } else {
                        &container.user
                    };
                    found.push(finding.mend(format!(
                        "docker exec --user 0 {} chown {owner} {}",
                        container.name, write.target
                    )));
                }
                Err(why) => found.push(Finding::unknown(
                    "cannot-write",
                    about,
                    format!("whether service `{service}` can write to volume `{key}` could not be asked"),
                    why,
                )),
            }
        }
    }
    found
}

/// What goes with a container. A database in one is told by its own check.
pub(super) fn anonymous(seen: &Checkup) -> Vec<Finding> {
    let mut told = Vec::new();
    for service in &seen.world.services {
        for container in &service.containers {
            let more = seen.containers.iter().find(|c| c.name == container.name);
            if more.is_some_and(|more| homeless(container, more).is_some()) {
                told.extend(container.anonymous.iter().map(|(name, _)| name.clone()));
            }
        }
    }
    let mut found = Vec::new();
    for volume in seen.anonymous.iter().filter(|v| !told.contains(&v.name)) {
        let about = About::Service(volume.service.clone());
        let (service, target) = (&volume.service, &volume.target);
        match &volume.scan {
            Ok(scan) if scan.files == 0 => {}
            Ok(scan) => {
                let what = format!("service `{service}` keeps data in an anonymous volume at {target}");
                let id = "anonymous-volume";
                let mut finding = match scan.datastores.first() {
                    Some(store) => {
                        Finding::error(id, about, what).seen(format!("a database is in it: {}", store.kind))
                    }
                    None => Finding::warning(id, about, what),
                };
                finding = finding
                    .seen(format!(
                        "{} in {} files, in volume {}",
                        ByteSize(scan.bytes),
                        scan.files,
                        volume.name
                    ))
                    .seen("it is left behind when the container is made anew without it, and the next prune takes it");
                found.push(
                    finding
                        .mend(format!("write a named volume into the Compose file: volumes: [\"{service}_data:{target}\"]"))
                        .mend(format!("rehome compose -- stop {service}"))
                        .mend(format!(
                            "docker run --rm -v {}:/from:ro -v {}_{service}_data:/to alpine cp -a /from/. /to/",
                            volume.name, seen.world.project
                        ))
                        .mend(format!("rehome compose -- up -d {service}")),
                );
            }
            Err(why) => found.push(Finding::unknown(
                "anonymous-volume",
                about,
                format!("the anonymous volume of service `{service}` at {target} could not be looked into"),
                why,
            )),
        }
    }
    found
}

/// Whether others wait for its end, or it has come to one by itself.
fn is_meant_to_end(seen: &Checkup, service: &ServiceSeen) -> bool {
    let awaited = seen.world.services.iter().any(|other| {
        let mut waits = other.depends_on.iter();
        waits.any(|(name, condition)| *name == service.name && *condition == Condition::CompletedSuccessfully)
    });
    awaited || service.containers.iter().any(|c| c.state == State::Exited(0))
}

pub(super) fn no_restart(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in running(seen) {
        let mut containers = seen.containers.iter().filter(|c| c.service == service.name);
        if containers.any(|c| c.restart == "no") {
            found.push(
                Finding::warning(
                    "no-restart-policy",
                    About::Service(service.name.clone()),
                    format!(
                        "service `{}` stays down after a reboot of the server",
                        service.name
                    ),
                )
                .seen("its container has no restart policy")
                .write(&service.name, "restart: unless-stopped"),
            );
        }
    }
    found
}

/// Trap 30: without one, running is all that anybody knows.
pub(super) fn no_healthcheck(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in running(seen) {
        let mut containers = seen.containers.iter().filter(|c| c.service == service.name);
        if !containers.any(|c| !c.healthcheck) {
            continue;
        }
        let id = "no-healthcheck";
        let about = About::Service(service.name.clone());
        let what = format!("service `{}` has no healthcheck", service.name);
        found.push(match service.server {
            Some(kind) => Finding::warning(id, about, what).seen(format!(
                "nobody can tell when {kind} is ready, and what needs it starts too early"
            )),
            None => Finding::note(id, about, what).seen("it counts as healthy as soon as it runs"),
        });
    }
    found
}

fn running(seen: &Checkup) -> impl Iterator<Item = &ServiceSeen> {
    let services = seen.world.services.iter();
    services.filter(|service| service.is_up() && !is_meant_to_end(seen, service))
}
