//! Checks of where the data lives: the disk, its mount, what containers have of it.

use std::path::{Path, PathBuf};

use super::{About, Finding};
use crate::engine::MountKind;
use crate::helper::mounts::{Mount, holder};
use crate::helper::protocol::Probe;
use crate::model::{ByteSize, Home, VolumeKey};
use crate::observe::{Checkup, HomeSeen, VolumeSeen};

fn about(volume: &VolumeSeen) -> About {
    About::Volume(volume.key.clone())
}

/// The volumes on block volumes, and their directories.
pub(super) fn blocks(seen: &Checkup) -> impl Iterator<Item = (&VolumeSeen, &Path)> {
    seen.world.volumes.iter().filter_map(|volume| match &volume.home {
        Home::Block { dir } => Some((volume, dir.as_path())),
        _ => None,
    })
}

/// Whether a directory of the host lies on the file system that is mounted at `/`: what is mounted in the helper is then
/// named by its whole path within that file system. It needs no look at the host, which may be another one.
fn on_root(probe: &Probe, dir: &Path) -> bool {
    let relative = dir.strip_prefix("/").unwrap_or(dir);
    !relative.as_os_str().is_empty() && Path::new(&probe.mount_root).ends_with(relative)
}

/// Where the block volume of a home should be mounted: what the configuration says, else the directory above.
fn mount_point(seen: &Checkup, dir: &Path) -> PathBuf {
    match &seen.known.block_root {
        Some(root) if dir.starts_with(root) => root.clone(),
        _ => dir.parent().unwrap_or(dir).to_owned(),
    }
}

/// The place above a directory where a block volume should be mounted and is not. Of an engine on another host only the
/// configuration is known, and that its disk is that of `/`.
fn missing(seen: &Checkup, dir: &Path) -> Option<PathBuf> {
    let places = seen.unmounted.as_ref().into_iter().flatten();
    let known = places
        .filter(|place| dir.starts_with(place))
        .max_by_key(|place| place.as_os_str().len());
    let configured = || {
        let root = seen
            .known
            .block_root
            .as_ref()
            .filter(|root| dir.starts_with(root))?;
        let volume = blocks(seen).find(|(_, home)| *home == dir)?.0;
        let Some(HomeSeen::There(probe)) = seen.homes.get(&volume.key) else {
            return None;
        };
        on_root(probe, dir).then_some(root)
    };
    known.or_else(configured).cloned()
}

/// The services that mount a volume, as arguments.
fn users(seen: &Checkup, key: &VolumeKey) -> String {
    let users = seen.world.services.iter().filter(|s| s.mounts_volume(key));
    users.map(|s| s.name.to_string()).collect::<Vec<_>>().join(" ")
}

/// What a person does before anything is mounted over data.
const LOOK_FIRST: &str =
    "what was written there meanwhile is hidden as soon as the block volume is mounted: look first";

/// The same for directories that services mount by themselves.
pub(super) fn unmounted_binds(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for place in seen.unmounted.as_ref().into_iter().flatten() {
        for bind in seen
            .binds
            .iter()
            .filter(|bind| Path::new(&bind.source).starts_with(place))
        {
            found.push(
                Finding::error(
                    "home-not-mounted",
                    About::Service(bind.service.clone()),
                    format!(
                        "the block volume of {} of service `{}` is not mounted",
                        bind.source.display(),
                        bind.service
                    ),
                )
                .seen(format!("nothing is mounted at {}", place.display()))
                .seen(LOOK_FIRST)
                .mend(format!("rehome compose -- stop {}", bind.service))
                .mend(format!("ls -la {}", bind.source.display()))
                .mend(format!("mount {}", place.display()))
                .mend(format!(
                    "rehome compose -- up -d --force-recreate {}",
                    bind.service
                )),
            );
        }
    }
    found
}

/// Trap 1: the block volume is not there, and its directory is one of the root disk.
pub(super) fn unmounted(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for (volume, dir) in blocks(seen) {
        let place = missing(seen, dir);
        let point = place.clone().unwrap_or_else(|| mount_point(seen, dir));
        let (key, point) = (&volume.key, point.display());
        match seen.homes.get(key) {
            Some(HomeSeen::Missing) => found.push(
                Finding::error(
                    "home-missing",
                    about(volume),
                    format!("the home of volume `{key}` is not there"),
                )
                .seen(format!("{} does not exist on the engine's host", dir.display()))
                .seen("no container that mounts it can start")
                .mend(format!("mount {point}")),
            ),
            Some(HomeSeen::There(probe)) => match (&place, on_root(probe, dir)) {
                (Some(_), _) => found.push(
                    Finding::error(
                        "home-not-mounted",
                        about(volume),
                        format!("the block volume of volume `{key}` is not mounted: its home is on another disk"),
                    )
                    .seen(format!(
                        "{} is a directory of {} ({})",
                        dir.display(),
                        probe.source,
                        probe.fs_type
                    ))
                    .seen(LOOK_FIRST)
                    .mend(format!("rehome compose -- stop {}", users(seen, key)))
                    .mend(format!("ls -la {}", dir.display()))
                    .mend(format!("mount {point}"))
                    .mend(format!(
                        "rehome compose -- up -d --force-recreate {}",
                        users(seen, key)
                    )),
                ),
                // Nothing says that a block volume was ever meant.
                (None, true) => found.push(
                    Finding::warning(
                        "on-root-disk",
                        about(volume),
                        format!("the data of volume `{key}` is on the server's root disk"),
                    )
                    .seen(format!(
                        "{} is a directory of {} ({}), and neither /etc/fstab nor rehome.yml says that a volume is \
                         mounted above it",
                        dir.display(),
                        probe.source,
                        probe.fs_type
                    )),
                ),
                (None, false) => {}
            },
            _ => {}
        }
    }
    found
}

/// The mounts of the host that hold homes, each once, with the first volume on it. Autofs is the trigger of a mount.
fn held(seen: &Checkup) -> Vec<(&VolumeSeen, &Mount)> {
    let mut found: Vec<(&VolumeSeen, &Mount)> = Vec::new();
    let Ok(table) = &seen.mounts else { return found };
    for (volume, dir) in blocks(seen) {
        if let Some(mount) = holder(table, dir).filter(|m| m.point != b"/" && m.fs_type != "autofs")
            && !found.iter().any(|(_, m)| m.point == mount.point)
        {
            found.push((volume, mount));
        }
    }
    found
}

pub(super) fn read_only(seen: &Checkup) -> Vec<Finding> {
    let broken = held(seen).into_iter().filter(|(_, mount)| mount.read_only);
    broken
        .map(|(volume, mount)| {
            let point = mount.point().display();
            Finding::error(
                "home-read-only",
                about(volume),
                format!("the block volume at {point} is mounted read-only"),
            )
            .seen(format!(
                "{} ({}) has the home of volume `{}`",
                String::from_utf8_lossy(&mount.source),
                mount.fs_type,
                volume.key
            ))
            .seen("a file system that had errors becomes read-only by itself")
            .mend("dmesg | tail -50")
            .mend(format!("mount -o remount,rw {point}"))
        })
        .collect()
}

/// Several mounts at one place: the last hides the others, and an unmount brings older data to light.
pub(super) fn stacked(seen: &Checkup) -> Vec<Finding> {
    let Ok(table) = &seen.mounts else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (volume, top) in held(seen) {
        let here: Vec<&Mount> = table
            .iter()
            .filter(|m| m.point == top.point && m.fs_type != "autofs")
            .collect();
        if here.len() > 1 {
            let point = top.point().display();
            let mut finding = Finding::warning(
                "stacked-mounts",
                about(volume),
                format!(
                    "{} file systems are mounted at {point}, one over the other",
                    here.len()
                ),
            );
            for mount in here {
                let source = String::from_utf8_lossy(&mount.source);
                finding = finding.seen(format!("{source} ({}, device {})", mount.fs_type, mount.device));
            }
            found.push(
                finding
                    .seen("the last one is what is seen now; a reboot may leave another")
                    .mend(format!("findmnt {point}")),
            );
        }
    }
    found
}

/// Trap 27: a mount that arrived late. A running container keeps what was there when it started.
pub(super) fn late_mount(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for (volume, dir) in blocks(seen) {
        let Some(HomeSeen::There(now)) = seen.homes.get(&volume.key) else {
            continue;
        };
        let mut others = Vec::new();
        for (container, target) in mounting(seen, volume) {
            let Some(Ok(table)) = &container.table else {
                continue;
            };
            let has = table
                .iter()
                .rfind(|m| m.point() == Path::new(target.trim_end_matches('/')));
            if let Some(has) = has.filter(|m| m.device != now.device) {
                others.push((
                    container.service.to_string(),
                    format!(
                        "container {} has {} (device {}) at {target}",
                        container.name,
                        String::from_utf8_lossy(&has.source),
                        has.device
                    ),
                ));
            }
        }
        // The engine mounts a volume once for all that have it: where their tables cannot be read, a helper has the same.
        let tables = mounting(seen, volume).any(|(c, _)| matches!(c.table, Some(Ok(_))));
        if let Some(probe) = volume
            .probe
            .as_ref()
            .filter(|p| !tables && p.device != now.device)
        {
            others.push((
                users(seen, &volume.key),
                format!(
                    "running containers have {} (device {})",
                    probe.source, probe.device
                ),
            ));
        }
        if others.is_empty() {
            continue;
        }
        let mut services: Vec<_> = others.iter().map(|(service, _)| service.as_str()).collect();
        services.dedup();
        let services = services.join(" ");
        let mut finding = Finding::error(
            "late-mount",
            about(volume),
            format!(
                "running containers write volume `{}` to another disk than its home",
                volume.key
            ),
        );
        finding
            .evidence
            .extend(others.iter().map(|(_, text)| text.clone()));
        found.push(
            finding
                .seen(format!(
                    "{} is on {} (device {}) now: it was mounted after they were started",
                    dir.display(),
                    now.source,
                    now.device
                ))
                .seen("what they wrote lies hidden under the mount point; at their next start they lose sight of it")
                .mend(format!("rehome compose -- stop {services}"))
                .mend("mkdir -p /mnt/below && mount --bind / /mnt/below")
                .mend(format!("ls -la /mnt/below{}", dir.display())),
        );
    }
    found
}

/// The running containers that have a volume, and where.
fn mounting<'a>(
    seen: &'a Checkup,
    volume: &'a VolumeSeen,
) -> impl Iterator<Item = (&'a crate::observe::ContainerMore, &'a str)> {
    seen.containers
        .iter()
        .filter(|c| c.up)
        .flat_map(move |container| {
            let volume = MountKind::Volume(volume.name.clone());
            let mounts = container.mounts.iter().filter(move |m| m.kind == volume);
            mounts.map(move |m| (container, m.destination.as_str()))
        })
}

/// What could not be looked at.
pub(super) fn unlooked(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for volume in &seen.world.volumes {
        let key = &volume.key;
        let home = seen.homes.get(key);
        if let Some(HomeSeen::Unseen(why)) = home {
            let what = format!("the home of volume `{key}` could not be looked at");
            found.push(Finding::unknown("home-unseen", about(volume), what, why));
        } else if let Some(failure) = &volume.unseen
            && !matches!(home, Some(HomeSeen::Missing))
        {
            let what = format!("volume `{key}` could not be looked into");
            found.push(Finding::unknown(
                "volume-unseen",
                about(volume),
                what,
                &failure.to_string(),
            ));
        }
    }
    if let (Err(why), true) = (&seen.mounts, blocks(seen).next().is_some()) {
        let what = "whether homes are mounted read-only or over each other could not be looked at";
        found.push(Finding::unknown("mounts-unseen", About::Project, what, why));
    }
    for container in &seen.containers {
        if let Some(Err(why)) = &container.table {
            let what = format!(
                "what container {} has mounted could not be looked at",
                container.name
            );
            let about = About::Service(container.service.clone());
            found.push(Finding::unknown("container-mounts-unseen", about, what, why));
        }
    }
    found
}

pub(super) fn on_the_root_disk(seen: &Checkup) -> Vec<Finding> {
    let disk = seen.world.docker_disk.as_ref();
    // Docker's own directory may be on a disk of its own.
    let Some(disk) = disk.filter(|disk| on_root(disk, &seen.data_root.join("volumes"))) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for volume in &seen.world.volumes {
        let key = &volume.key;
        let stays = volume.external || seen.known.staying.contains(key);
        let Some(scan) = volume
            .scan
            .as_ref()
            .filter(|_| !stays && volume.home == Home::Volume)
        else {
            continue;
        };
        if volume.is_empty() {
            continue;
        }
        let to = seen
            .known
            .block_root
            .clone()
            .unwrap_or_else(|| "/mnt/DIRECTORY".into());
        found.push(
            Finding::warning(
                "on-root-disk",
                about(volume),
                format!("the data of volume `{key}` is on the server's root disk"),
            )
            .seen(format!(
                "{} in {} files, in Docker's own directory on {} ({})",
                ByteSize(scan.bytes),
                scan.files,
                disk.source,
                disk.fs_type
            ))
            .mend(format!("rehome move --to {} --only {key}", to.display())),
        );
    }
    found
}
