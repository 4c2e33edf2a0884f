//! Refuses early, in words: all that can be known beforehand is checked before the first service stops.

use std::path::{Component, Path};

use super::{Destination, Stack, Wanted};
use crate::block::sentinel;
use crate::datastore::{Kind, PostgresVersion};
use crate::engine::{Health, State};
use crate::helper::protocol::{Place, Probe};
use crate::model::config::meeting;
use crate::model::{ByteSize, Failure, Home, Result, shell_path};
use crate::observe::{DestinationSeen, MeantSeen, OverrideSeen, ServiceSeen, VolumeSeen, World};
use crate::steps::{Moving, Target};

/// Beyond the data itself: directories, metadata, and what is written while the move runs.
const HEADROOM_BYTES: u64 = 64 << 20;
const HEADROOM_INODES: u64 = 1000;

/// Checks all that can be known.
///
/// # Errors
/// The first finding, as a refusal.
pub(super) fn check(
    world: &World,
    wanted: &Wanted,
    chosen: &[&VolumeSeen],
    volumes: &[Moving],
    stack: &Stack,
) -> Result<()> {
    let checked = || -> Result<()> {
        if let OverrideSeen::Foreign(failure) = &world.override_file {
            return Err(failure.clone());
        }
        for seen in chosen {
            volume(wanted, seen)?;
        }
        places(volumes)?;
        if let Some(destination) = &world.destination {
            place(destination, chosen, volumes)?;
            room(
                &destination.root.display().to_string(),
                &destination.probe,
                chosen,
                volumes,
            )?;
        }
        if let Some(disk) = &world.docker_disk {
            room("the disk of Docker's own volumes", disk, chosen, volumes)?;
        }
        // Before drift, whose advice is to bring the service up as the files say.
        for service in &world.services {
            databases(world, service, volumes, stack.remake.contains(&service.name))?;
        }
        for service in &world.services {
            let remade = stack.remake.contains(&service.name);
            if remade {
                drift(service)?;
            }
            if remade || stack.stopped().any(|s| *s == service.name) {
                fit(service)?;
            }
        }
        Ok(())
    };
    checked().map_err(|failure| match failure.data {
        Some(_) => failure,
        None => failure.data("nothing was changed"),
    })
}

/// A first deployment finds nothing of the project, and a block volume that is free.
pub(super) fn not_the_first(world: &World, chosen: &[&VolumeSeen], volumes: &[Moving]) -> Result<()> {
    let checked = || -> Result<()> {
        if let OverrideSeen::Foreign(failure) = &world.override_file {
            return Err(failure.clone());
        }
        let service = world.services.iter().find(|s| !s.containers.is_empty());
        if let Some(service) = service {
            return Err(Failure::refused(format!(
                "this is not the first deployment: service `{}` has a container",
                service.name
            ))
            .hint("deploy without --first; to take its data to the block volume: rehome move"));
        }
        if let Some(seen) = chosen.iter().find(|seen| seen.exists) {
            return Err(Failure::refused(format!(
                "this is not the first deployment: volume {} is there",
                seen.name
            ))
            .cause("it may hold data, which the new homes would not have")
            .hint("to take it along: rehome deploy, then rehome move"));
        }
        places(volumes)?;
        match &world.destination {
            Some(destination) => place(destination, chosen, volumes),
            None => Err(Failure::bug("a first deployment without a place for its data")),
        }
    };
    checked().map_err(|failure| match failure.data {
        Some(_) => failure,
        None => failure.data("nothing was changed"),
    })
}

fn volume(wanted: &Wanted, seen: &VolumeSeen) -> Result<()> {
    let key = &seen.key;
    if seen.external {
        return Err(Failure::refused(format!(
            "volume `{key}` is external: it does not belong to this project"
        ))
        .cause(format!(
            "its name is {}, and other projects may use it",
            seen.name
        ))
        .hint(format!(
            "leave it out with --exclude {key}, or bind it by hand with `rehome override --style bind`"
        )));
    }
    match (&wanted.to, &seen.home) {
        (Destination::Block(_), Home::Volume) | (Destination::Volumes, Home::Block { .. }) => {}
        (Destination::Block(_), Home::Block { dir }) => {
            return Err(Failure::refused(format!(
                "volume `{key}` lives on a block volume already: {}",
                dir.display()
            )));
        }
        (Destination::Volumes, Home::Volume) => {
            return Err(Failure::refused(format!(
                "volume `{key}` lives in Docker's own directory already"
            )));
        }
        (_, Home::Other { what }) => {
            return Err(
                Failure::refused(format!("volume `{key}` cannot be moved: it is {what}"))
                    .hint(format!("leave it out with --exclude {key}")),
            );
        }
    }
    if !seen.exists {
        return Err(Failure::refused(format!(
            "volume `{key}` does not exist: the engine has no {}",
            seen.name
        ))
        .cause("it was never made, or the project's name is another than it was")
        .hint("`docker volume ls` lists what there is; name the project with -p if it is another"));
    }
    if seen.is_empty() && !wanted.without_data.contains(key) {
        return Err(Failure::refused(format!("volume `{key}` ({}) is empty", seen.name))
            .cause("an empty source is more often a wrong name than what is wanted")
            .hint(format!("leave it out with --exclude {key}, or say that it shall start empty with --without-data {key}")));
    }
    if let Some(scan) = &seen.scan {
        if let Some(first) = scan.unreadable.first() {
            return Err(
                Failure::refused(format!("volume `{key}` has entries that cannot be read"))
                    .cause(first.clone()),
            );
        }
        if let Some(first) = scan.mounts_inside.first() {
            return Err(Failure::refused(format!(
                "something else is mounted inside of volume `{key}`, at {first}"
            ))
            .hint("unmount it, or move it by itself"));
        }
    }
    if let Some(user) = seen.foreign.iter().find(|f| f.running && f.writable) {
        return Err(Failure::refused(format!(
            "container {} has volume `{key}` writable and is none of the project's services",
            user.container
        ))
        .cause("it would go on writing to the old home")
        .hint(format!("stop it first: `docker stop {}`", user.container)));
    }
    Ok(())
}

/// No two volumes meet, none leaves the block volume.
fn places(volumes: &[Moving]) -> Result<()> {
    let subs: Vec<_> = volumes
        .iter()
        .filter_map(|v| match &v.target {
            Target::Directory { sub, .. } => Some((&v.key, sub.as_path())),
            Target::Volume { .. } => None,
        })
        .collect();
    for (key, sub) in &subs {
        let plain = sub.components().all(|c| matches!(c, Component::Normal(_)));
        if !plain || sub.as_os_str().is_empty() || sub.starts_with("lost+found") {
            return Err(
                Failure::refused(format!("{} is no place for volume `{key}`", sub.display()))
                    .cause("it must be a directory below the block volume's root, never the root itself")
                    .hint(format!("name one with --map {key}=DIRECTORY")),
            );
        }
    }
    for (i, (a, sub_a)) in subs.iter().enumerate() {
        for (b, sub_b) in &subs[i + 1..] {
            if let Some(dir) = meeting(sub_a, sub_b) {
                return Err(Failure::refused(format!(
                    "volumes `{a}` and `{b}` would meet in {}",
                    dir.display()
                ))
                .hint(format!("give one of them another directory: --map {b}=DIRECTORY")));
            }
        }
    }
    Ok(())
}

/// The block volume is one, and the directories on it are free.
fn place(destination: &DestinationSeen, chosen: &[&VolumeSeen], volumes: &[Moving]) -> Result<()> {
    let (root, word) = (destination.root.display(), shell_path(&destination.root));
    let probe = &destination.probe;
    if let Some(meant) = &destination.meant {
        right_volume(meant)?;
    }
    if !destination.is_mount {
        return Err(Failure::refused(format!("nothing is mounted at {root}"))
            .cause(format!(
                "it is a directory of {} ({}): the data would stay on that disk",
                probe.source, probe.fs_type
            ))
            .hint(format!(
                "mount the block volume there first (`findmnt {word}` shows whether it is)"
            )));
    }
    if let Some(same) = chosen
        .iter()
        .find(|v| v.probe.as_ref().is_some_and(|p| p.device == probe.device))
    {
        return Err(Failure::refused(format!(
            "{root} is on the same file system as volume `{}`",
            same.key
        ))
        .cause(format!("both are on {} ({})", probe.source, probe.device)));
    }
    if probe.read_only {
        return Err(Failure::refused(format!("{root} is read-only")).hint(format!(
            "`mount -o remount,rw {word}`, and look at `dmesg` for why it became so"
        )));
    }
    for moving in volumes {
        let Target::Directory { sub, .. } = &moving.target else {
            continue;
        };
        let place = destination.root.join(sub);
        match destination.places.get(sub) {
            Some(Place::Missing | Place::Empty) | None => {}
            Some(Place::Filled { names }) => {
                return Err(Failure::refused(format!("{} is not empty", place.display()))
                    .cause(format!("it holds {}", names.join(", ")))
                    .hint(format!("look at what it is; then move it away, or name another directory with --map {}=DIRECTORY", moving.key)));
            }
            Some(Place::OtherDevice) => {
                return Err(Failure::refused(format!(
                    "something else is mounted at {}",
                    place.display()
                )));
            }
            Some(Place::NotADirectory { what }) => {
                return Err(Failure::refused(format!(
                    "{} is {what}, not a directory",
                    place.display()
                )));
            }
        }
    }
    Ok(())
}

/// Where Rehome's line in fstab says which volume is mounted, that one is: by its UUID and by its sentinel (trap 1).
pub(super) fn right_volume(meant: &MeantSeen) -> Result<()> {
    let (at, word) = (meant.at.display(), shell_path(&meant.at));
    let expected = format!(
        "line {} of /etc/fstab: {}",
        meant.line.number,
        meant.line.text.trim()
    );
    let looking = |failure: Failure| {
        failure
            .cause(expected.clone())
            .hint(format!("see what is mounted there: findmnt {word}"))
            .hint("and what is wrong with it: rehome doctor")
    };
    let Some(there) = &meant.mounted else {
        return Err(Failure::refused(format!("nothing is mounted at {at}"))
            .cause(expected)
            .hint(format!(
                "mount it first: mount {word}; if it cannot be: rehome doctor"
            )));
    };
    let source = there.source.display();
    match (&there.uuid, &there.sentinel) {
        (Ok(Some(uuid)), _) if *uuid != meant.uuid => Err(looking(
            Failure::refused(format!("another volume than it should be is mounted at {at}"))
                .cause(format!("{source} has UUID {uuid}")),
        )),
        (Err(why), _) | (_, Err(why)) => Err(looking(
            Failure::refused(format!(
                "whether the right volume is mounted at {at} cannot be told"
            ))
            .cause(why.clone()),
        )),
        (Ok(_), Ok(sentinel::Found::Right(_))) => Ok(()),
        (Ok(_), Ok(sentinel::Found::Anothers(name))) => Err(looking(
            Failure::refused(format!("the volume at {at} has the sentinel of another")).cause(format!(
                "{source} has {name}, which is not its own: it is a copy, or the wrong one"
            )),
        )),
        (Ok(uuid), Ok(sentinel @ (sentinel::Found::Missing | sentinel::Found::Torn(_)))) => {
            let has = match sentinel {
                sentinel::Found::Torn(name) => format!("a torn sentinel ({name})"),
                _ => "no sentinel".to_owned(),
            };
            let failure = looking(
                Failure::refused(format!("the volume at {at} has {has}")).cause(format!(
                    "Rehome wrote one on the volume that it mounted there; {source} may be another"
                )),
            );
            Err(match uuid {
                // It is the right one, as far as its UUID says.
                Some(_) => failure.hint(format!("to write it again: rehome mount --at {word}")),
                None => failure,
            })
        }
    }
}

/// What is copied fits, in bytes and in inodes.
pub(super) fn room(to: &str, probe: &Probe, chosen: &[&VolumeSeen], volumes: &[Moving]) -> Result<()> {
    let copied = chosen
        .iter()
        .filter(|v| volumes.iter().any(|m| m.key == v.key && !m.fresh));
    let (mut bytes, mut entries) = (0_u64, 0_u64);
    for scan in copied.filter_map(|v| v.scan.as_ref()) {
        bytes += scan.allocated.max(scan.bytes.min(scan.allocated + (1 << 20)));
        entries += scan.entries();
    }
    let needed = bytes + bytes / 20 + HEADROOM_BYTES;
    if probe.bytes_free < needed {
        return Err(Failure::refused(format!("{to} is too small"))
            .cause(format!(
                "{} are needed, {} are free",
                ByteSize(needed),
                ByteSize(probe.bytes_free)
            ))
            .hint("take a larger volume, or leave something out with --exclude"));
    }
    if probe.inodes_total > 0 && probe.inodes_free < entries + HEADROOM_INODES {
        return Err(Failure::refused(format!("{to} has too few inodes"))
            .cause(format!("{} are needed, {} are free", entries + HEADROOM_INODES, probe.inodes_free))
            .hint("make its file system with more inodes (`mkfs.ext4 -i 4096`), or take XFS, which has no fixed number"));
    }
    Ok(())
}

/// A container that is made anew gets what the files say now. If that is not what it was made from, the move would
/// deploy a change as a side effect, and going back would not go back to what ran.
fn drift(service: &ServiceSeen) -> Result<()> {
    let name = &service.name;
    for container in &service.containers {
        match &service.image_now {
            None => {
                return Err(Failure::refused(format!(
                    "the image of service `{name}` is gone: {}",
                    service.image
                ))
                .cause("its container could not be made anew, and nothing is pulled or built during a move")
                .hint(format!("`rehome compose -- pull {name}` or `build {name}`")));
            }
            Some(now) if *now != container.image => {
                return Err(Failure::refused(format!(
                    "service `{name}` runs with an older image than {} is now",
                    service.image
                ))
                .cause(format!(
                    "the container has {}, the tag means {now}",
                    container.image
                ))
                .hint(format!(
                    "deploy the new image by itself first: `rehome compose -- up -d {name}`, then move"
                )));
            }
            Some(_) => {}
        }
        if container.outdated {
            return Err(
                Failure::refused(format!("service `{name}` does not run as its Compose files say"))
                    .cause(format!(
                        "container {} was made from another definition than the files and variables have now",
                        container.name
                    ))
                    .hint(format!(
                        "apply the change by itself first: `rehome compose -- up -d {name}`, then move"
                    )),
            );
        }
    }
    Ok(())
}

/// Whether a service is in a state that the move can bring back and prove.
fn fit(service: &ServiceSeen) -> Result<()> {
    for container in &service.containers {
        let problem = match container.state {
            State::Restarting => "restarts again and again",
            State::Paused => "is paused",
            State::Running(Health::Unhealthy) => "is unhealthy",
            State::Running(Health::Starting) => "is still starting",
            _ => continue,
        };
        return Err(
            Failure::refused(format!("service `{}` {problem} already now", service.name))
                .cause("after the move nobody could tell whether it works")
                .hint(format!(
                    "mend that first: `rehome compose -- logs {}`",
                    service.name
                )),
        );
    }
    Ok(())
}

fn databases(world: &World, service: &ServiceSeen, volumes: &[Moving], remade: bool) -> Result<()> {
    if service.server != Some(Kind::Postgres) {
        return Ok(());
    }
    let name = &service.name;
    let mounts_moved = volumes.iter().any(|v| service.mounts_volume(&v.key));
    // A container that is only stopped and started keeps what it has.
    for container in service.containers.iter().filter(|_| remade) {
        let Some(directory) = &container.data_directory else {
            continue;
        };
        let above = |target: &str| Path::new(directory).starts_with(target);
        let named = service
            .mounts
            .iter()
            .filter(|m| above(&m.target))
            .max_by_key(|m| m.target.len());
        let anonymous = container
            .anonymous
            .iter()
            .filter(|(_, target)| above(target))
            .max_by_key(|(_, t)| t.len());
        let deepest_is_anonymous = match (named, anonymous) {
            (Some(named), Some((_, target))) => target.len() > named.target.len(),
            (None, Some(_)) => true,
            _ => false,
        };
        if let (true, Some((volume, target))) = (deepest_is_anonymous, anonymous) {
            return Err(Failure::refused(format!("PostgreSQL in service `{name}` keeps its data in an anonymous volume"))
                .cause(format!("its data directory is {directory}, and {target} is volume {volume}"))
                .hint(format!("give it a name first: mount a named volume at {target} in the Compose file, and copy the data into it with the service stopped"))
                .hint("PostgreSQL 18 images want the volume at /var/lib/postgresql, not at …/data"));
        }
        if mounts_moved && named.is_none() {
            return Err(Failure::refused(format!(
                "PostgreSQL in service `{name}` keeps its data at {directory}, which is in none of its volumes"
            ))
            .cause("the data lies in the container itself and is lost with it"));
        }
    }
    for moving in volumes
        .iter()
        .filter(|m| !m.fresh && service.mounts_volume(&m.key))
    {
        let Some(seen) = world.volume(&moving.key) else {
            continue;
        };
        for store in seen.datastores.iter().filter(|d| d.kind == Kind::Postgres) {
            let data = store.version.as_deref().and_then(PostgresVersion::parse);
            let server = service.server_version.as_deref().and_then(PostgresVersion::parse);
            if let (Some(data), Some(server)) = (data, server)
                && data != server
            {
                return Err(Failure::refused(format!(
                    "volume `{}` holds the data of PostgreSQL {data}, and the image of service `{name}` is PostgreSQL {server}",
                    moving.key
                ))
                .cause("that server could not start on this data")
                .hint(format!("set the image back to version {data}, or upgrade by dump and restore before the move")));
            }
        }
    }
    Ok(())
}
