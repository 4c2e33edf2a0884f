//! What both the way forward and the way back do with containers: make them, prove what they mount, bring them up.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};

use super::page;
use super::spec::{ExpectedMount, Starting};
use super::world::Cx;
use crate::compose::project::{Condition, rehearse};
use crate::compose::{Call, Located, Version};
use crate::engine::{Container, Gate, Meant, MountKind, same_path};
use crate::model::{Failure, Result, ServiceName, count};

/// Making containers pulls nothing and builds nothing; many of them take a while all the same.
pub(super) const MAKE_LIMIT: Duration = Duration::from_secs(600);

/// A service whose containers are made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Making {
    /// The service.
    pub service: ServiceName,
    /// How many containers it has.
    pub count: usize,
}

/// Makes containers through `docker compose`, without starting any and without touching those of other services.
pub(super) async fn make_containers(cx: &Cx, files: &Located, services: &[Making]) -> Result<()> {
    if services.is_empty() {
        return Ok(());
    }
    let mut arguments: Vec<String> = ["up", "--no-start", "--no-build", "--pull", "never"]
        .map(str::to_owned)
        .to_vec();
    // Compose before 2.32 does not make a container anew when only a volume's name changed.
    arguments.push("--force-recreate".to_owned());
    for making in services.iter().filter(|m| m.count > 1) {
        arguments.extend([
            "--scale".to_owned(),
            format!("{}={}", making.service, making.count),
        ]);
    }
    arguments.extend(services.iter().map(|m| m.service.to_string()));
    if *cx.compose.version() >= Version::HASHES_ALONE
        || !touches_only(cx, files, services, &arguments).await?
    {
        arguments.push("--no-deps".to_owned());
    }
    let call = Call::new(&arguments).limit(MAKE_LIMIT);
    cx.compose.run(files, call).await.map(|_| ())
}

/// Whether the call would do nothing to the containers of other services. An older Compose hashes a service without
/// its dependencies when it is told `--no-deps`: the next plain `docker compose up` would make the container anew. So
/// it is told only where it must be, because a dependency has no container or another definition.
async fn touches_only(cx: &Cx, files: &Located, services: &[Making], arguments: &[String]) -> Result<bool> {
    let containers = cx.engine.project_containers(&cx.project).await?;
    let made: fn(&str) -> bool = |action| action.starts_with("Creat") || action.starts_with("Recreat");
    let touched = rehearse(&cx.compose, files, arguments, made).await?;
    Ok(touched.iter().all(|name| {
        services
            .iter()
            .any(|m| of_service(&containers, &m.service).any(|c| c.name == *name))
    }))
}

/// Every container of a service, running or not, has the expected volumes where they are expected.
pub(super) async fn prove_mounts(cx: &Cx, expected: &[ExpectedMount]) -> Result<()> {
    let containers = cx.engine.project_containers(&cx.project).await?;
    for mount in expected {
        let mut found = false;
        for container in of_service(&containers, &mount.service) {
            found = true;
            let has = container
                .mounts
                .iter()
                .find(|m| same_path(&m.destination, &mount.target));
            match has.map(|m| &m.kind) {
                Some(MountKind::Volume(name)) if *name == mount.volume => {
                    if let Some(lost) = mount.subpath.as_ref()
                        && has.and_then(|m| m.subpath.as_ref()) != Some(lost)
                    {
                        return Err(Failure::environment(format!(
                            "container {} mounts the whole of {} at {} instead of its sub-path `{lost}`",
                            container.name, mount.volume, mount.target
                        ))
                        .cause("Docker Compose before 2.40 loses `subpath` on a volume that points at a directory")
                        .hint("take a newer Compose, or leave this volume out with --exclude"));
                    }
                }
                other => {
                    return Err(Failure::environment(format!(
                        "container {} does not mount {} at {}",
                        container.name, mount.volume, mount.target
                    ))
                    .cause(match other {
                        Some(MountKind::Volume(name)) => format!("it mounts volume {name}"),
                        Some(MountKind::Bind(path)) => format!("it mounts {path}"),
                        _ => "nothing is mounted there".to_owned(),
                    }));
                }
            }
        }
        if !found {
            return Err(Failure::environment(format!(
                "service `{}` has no container",
                mount.service
            )));
        }
    }
    Ok(())
}

/// The service's containers, without those of `docker compose run`.
pub(super) fn of_service<'a>(
    containers: &'a [Container],
    service: &'a ServiceName,
) -> impl Iterator<Item = &'a Container> {
    containers
        .iter()
        .filter(move |c| !c.one_off && c.service.as_ref() == Some(service))
}

/// Starts each service as soon as what it waits for is there, and waits until all are up. Services that do not need
/// each other do not wait for each other.
pub(super) async fn bring_up(cx: &Cx, services: &[Starting], limit: Duration) -> Result<()> {
    let containers = cx.engine.project_containers(&cx.project).await?;
    let of = |starting: &Starting| -> Vec<Container> {
        of_service(&containers, &starting.service)
            .take(starting.up)
            .cloned()
            .collect()
    };
    let mut waiting: Vec<&Starting> = services.iter().collect();
    let mut reached: BTreeSet<(&ServiceName, Condition)> = BTreeSet::new();
    let mut gates = FuturesUnordered::new();
    loop {
        let ready;
        (ready, waiting) = waiting
            .into_iter()
            .partition(|s| s.after.iter().all(|(on, c)| reached.contains(&(on, *c))));
        // All of them are waited for, also when one fails: none may start behind the back of the way back.
        for started in join_all(ready.iter().map(|s| start(cx, s, of(s)))).await {
            started?;
        }
        for starting in &ready {
            reached.insert((&starting.service, Condition::Started));
            for condition in awaited(&starting.service, services) {
                gates.push(pass_gate(cx, &starting.service, of(starting), condition, limit));
            }
        }
        if ready.is_empty() {
            match gates.next().await {
                Some(passed) => reached.insert(passed?),
                None => break,
            };
        }
    }
    if let Some(starting) = waiting.first() {
        return Err(Failure::bug(format!(
            "service `{}` waits for one that is not started",
            starting.service
        )));
    }
    // One after the other: that takes no longer, and one that is restarted once because another was not there yet is
    // no failure. That all stay up is proven later.
    for starting in services {
        let meant = if starting.ends {
            Condition::CompletedSuccessfully
        } else {
            Condition::Healthy
        };
        pass_gate(cx, &starting.service, of(starting), meant, limit).await?;
    }
    Ok(())
}

/// Waits until every container of these services has been up for `stable` without a restart, or has ended well if that
/// is what it is meant to do. Says so in words.
pub(super) async fn stay_up(
    cx: &Cx,
    services: &[Starting],
    stable: Duration,
    limit: Duration,
) -> Result<String> {
    let containers = cx.engine.project_containers(&cx.project).await?;
    let mut waits = Vec::new();
    for starting in services {
        let gate = Gate {
            meant: if starting.ends { Meant::End } else { Meant::Run },
            stable,
            limit,
            ask: false,
        };
        for container in of_service(&containers, &starting.service).take(starting.up) {
            waits.push(cx.engine.wait_until_up(&container.id, &starting.service, gate));
        }
    }
    let waits_made = waits.len() as u64;
    try_join_all(waits).await?;
    Ok(format!("{} up without a restart", count(waits_made, "container")))
}

/// What others wait for a service to reach, beyond its start.
fn awaited(service: &ServiceName, services: &[Starting]) -> BTreeSet<Condition> {
    services
        .iter()
        .flat_map(|s| &s.after)
        .filter(|(on, condition)| on == service && *condition != Condition::Started)
        .map(|(_, condition)| *condition)
        .collect()
}

async fn start(cx: &Cx, starting: &Starting, containers: Vec<Container>) -> Result<()> {
    if containers.len() < starting.up {
        return Err(Failure::environment(format!(
            "service `{}` had {} containers and has {}",
            starting.service,
            starting.up,
            containers.len()
        )));
    }
    page::make_way(cx, &starting.service).await?;
    for started in join_all(containers.iter().map(|c| cx.engine.start(&c.id))).await {
        started.map_err(|f| f.inside(format!("service `{}` could not be started", starting.service)))?;
    }
    Ok(())
}

/// Waits until every container of a service is as far as it shall be.
async fn pass_gate<'a>(
    cx: &Cx,
    service: &'a ServiceName,
    containers: Vec<Container>,
    condition: Condition,
    limit: Duration,
) -> Result<(&'a ServiceName, Condition)> {
    let gate = Gate {
        meant: match condition {
            Condition::CompletedSuccessfully => Meant::End,
            Condition::Started | Condition::Healthy => Meant::Run,
        },
        stable: Duration::ZERO,
        limit,
        ask: true,
    };
    try_join_all(
        containers
            .iter()
            .map(|c| cx.engine.wait_until_up(&c.id, service, gate)),
    )
    .await?;
    Ok((service, condition))
}
