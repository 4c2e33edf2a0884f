//! Checks of what is special about databases.

use std::path::Path;
use std::time::Duration;

use super::{About, Finding};
use crate::datastore::{Kind, PostgresVersion};
use crate::engine::MountKind;
use crate::model::Span;
use crate::observe::{Checkup, ContainerMore, ContainerSeen, ServiceSeen};

/// A database that has less to stop is killed when it has much in memory (trap 8).
const GRACE: Duration = Duration::from_secs(60);
/// What Docker gives where nothing is said.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

fn about(service: &ServiceSeen) -> About {
    About::Service(service.name.clone())
}

/// The services with their containers, seen from both sides.
fn containers(seen: &Checkup) -> impl Iterator<Item = (&ServiceSeen, &ContainerSeen, &ContainerMore)> {
    seen.world.services.iter().flat_map(move |service| {
        service.containers.iter().filter_map(move |container| {
            let more = seen.containers.iter().find(|c| c.name == container.name)?;
            Some((service, container, more))
        })
    })
}

/// The anonymous volume or the container itself that has a database's data (trap 5).
pub(super) fn homeless<'a>(container: &'a ContainerSeen, more: &ContainerMore) -> Option<(&'a str, String)> {
    let directory = container.data_directory.as_deref()?;
    let mounts = more
        .mounts
        .iter()
        .filter(|m| Path::new(directory).starts_with(&m.destination));
    let holds = mounts.max_by_key(|m| m.destination.len());
    match holds.map(|m| &m.kind) {
        None => Some((directory, "the container itself, and is lost with it".to_owned())),
        Some(MountKind::Volume(name)) if container.anonymous.iter().any(|(own, _)| own == name) => Some((
            directory,
            format!("the anonymous volume {name}, and goes with the container"),
        )),
        _ => None,
    }
}

pub(super) fn outside_of_volumes(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for (service, container, more) in containers(seen) {
        let Some((directory, place)) = homeless(container, more) else {
            continue;
        };
        let name = &service.name;
        found.push(
            Finding::error(
                "database-outside-of-volumes",
                about(service),
                format!("the database of service `{name}` is in none of the project's volumes"),
            )
            .seen(format!("its data directory is {directory}"))
            .seen(format!("that is in {place}"))
            .seen("PostgreSQL 18 images want the volume at /var/lib/postgresql, older ones at /var/lib/postgresql/data")
            .mend(format!(
                "docker exec {} sh -c 'pg_dumpall -U \"${{POSTGRES_USER:-postgres}}\"' > {name}.sql",
                container.name
            )),
        );
    }
    found
}

/// Trap 7.
pub(super) fn other_version(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for volume in &seen.world.volumes {
        for store in volume.datastores.iter().filter(|d| d.kind == Kind::Postgres) {
            let service = store.service.as_ref().and_then(|name| seen.world.service(name));
            let Some(service) = service else { continue };
            let data = store.version.as_deref().and_then(PostgresVersion::parse);
            let server = service.server_version.as_deref().and_then(PostgresVersion::parse);
            if let (Some(data), Some(server)) = (data, server)
                && data != server
            {
                found.push(
                    Finding::error(
                        "postgres-version",
                        about(service),
                        format!(
                            "the image of service `{}` is PostgreSQL {server}, and its data is of PostgreSQL {data}",
                            service.name
                        ),
                    )
                    .seen(format!("PG_VERSION in volume `{}` says {data}", volume.key))
                    .seen("that server cannot start on this data")
                    .write(&service.name, &format!("an image of PostgreSQL {data}")),
                );
            }
        }
    }
    found
}

/// Trap 6: the C library or ICU of the image is another than the one that the indexes were made with.
pub(super) fn collations(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for (service, _, more) in containers(seen) {
        match more.postgres.as_ref().map(|p| &p.collations) {
            Some(Ok(others)) if !others.is_empty() => {
                let mut finding = Finding::error(
                    "collation-version",
                    about(service),
                    format!(
                        "indexes of service `{}` may be wrong: its image sorts text in another way",
                        service.name
                    ),
                );
                for [database, recorded, actual] in others {
                    finding = finding.seen(format!(
                        "database {database} was made with collation version {recorded}, the image has {actual}"
                    ));
                }
                for [database, ..] in others {
                    // A name that a shell would take for something else is left to a person.
                    let known = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
                    if !database.chars().all(known) || database.starts_with('-') {
                        continue;
                    }
                    let quoted = if database.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                        database.clone()
                    } else {
                        format!("\\\"{database}\\\"")
                    };
                    let ask = |query: &str| {
                        format!(
                            "docker exec {} sh -c 'psql -U \"${{POSTGRES_USER:-postgres}}\" -d {database} -c \"{query}\"'",
                            more.name
                        )
                    };
                    finding = finding
                        .mend(ask(&format!("REINDEX DATABASE {quoted}")))
                        .mend(ask(&format!("ALTER DATABASE {quoted} REFRESH COLLATION VERSION")));
                }
                found.push(finding);
            }
            // Before 15 a database does not note it.
            Some(Err(why)) if !why.contains("datcollversion") => found.push(Finding::unknown(
                "collation-version",
                about(service),
                format!("PostgreSQL in container {} could not be asked", more.name),
                why,
            )),
            _ => {}
        }
    }
    found
}

pub(super) fn checksums(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for (service, _, more) in containers(seen) {
        if let Some(Ok(false)) = more.postgres.as_ref().map(|p| &p.checksums) {
            found.push(
                Finding::note(
                    "checksums-off",
                    about(service),
                    format!("the pages of service `{}` have no checksums: damage of the disk is not noticed", service.name),
                )
                .seen("data_checksums is off; it can be switched on while the server stands still")
                .mend(format!("rehome compose -- stop {}", service.name))
                .mend(format!(
                    "rehome compose -- run --rm --no-deps --user postgres {} pg_checksums --enable --progress",
                    service.name
                ))
                .mend(format!("rehome compose -- start {}", service.name)),
            );
        }
    }
    found
}

/// Trap 8. What keeps nothing in a volume may be killed.
pub(super) fn short_grace(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in &seen.world.services {
        let keeps = service.mounts.iter().any(|m| !m.read_only);
        let Some(kind) = service.server.filter(|kind| keeps && kind.grace().is_some()) else {
            continue;
        };
        let grace = service.stop_grace.unwrap_or(DEFAULT_GRACE);
        if grace < GRACE {
            found.push(
                Finding::warning(
                    "stop-grace",
                    about(service),
                    format!(
                        "{kind} in service `{}` is killed when it takes more than {} to stop",
                        service.name,
                        Span(grace)
                    ),
                )
                .seen(match service.stop_grace {
                    Some(_) => "`stop_grace_period` says so".to_owned(),
                    None => "there is no `stop_grace_period`: that is Docker's own limit".to_owned(),
                })
                .write(&service.name, "stop_grace_period: 2m"),
            );
        }
    }
    found
}
