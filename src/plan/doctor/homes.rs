//! Checks of where the data lives: the disk, its mount, what containers have of it.

use std::path::{Path, PathBuf};

use super::{About, Finding};
use crate::engine::{MountKind, same_path};
use crate::helper::mounts::{Mount, holder};
use crate::helper::protocol::Probe;
use crate::model::{ByteSize, Home, VolumeKey, shell_path};
use crate::observe::{Checkup, HomeSeen, VolumeSeen};

pub(super) fn about(volume: &VolumeSeen) -> About {
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
pub(super) fn on_root(probe: &Probe, dir: &Path) -> bool {
    let relative = dir.strip_prefix("/").unwrap_or(dir);
    !relative.as_os_str().is_empty() && Path::new(&probe.mount_root).ends_with(relative)
}

/// The services that mount a volume, as arguments.
pub(super) fn users(seen: &Checkup, key: &VolumeKey) -> String {
    let users = seen.world.services.iter().filter(|s| s.mounts_volume(key));
    users.map(|s| s.name.to_string()).collect::<Vec<_>>().join(" ")
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
            let (point, word) = (mount.point().display(), shell_path(mount.point()));
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
            .mend(format!("mount -o remount,rw {word}"))
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
                    .mend(format!("findmnt {}", shell_path(top.point()))),
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
            if let Some(has) = at(table, target).filter(|m| m.device != now.device) {
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
                .mend(format!("ls -la {}", shell_path(&below(dir)))),
        );
    }
    found
}

/// The same of directories that services mount by themselves.
pub(super) fn late_bind(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for bind in &seen.binds {
        let Some(now) = seen.boot.binds.get(&bind.source) else {
            continue;
        };
        let (service, source) = (&bind.service, bind.source.display());
        let (mut evidence, mut writes) = (Vec::new(), false);
        for container in seen.containers.iter().filter(|c| c.up && c.service == *service) {
            let Some(Ok(table)) = &container.table else {
                continue;
            };
            let mount = container.mounts.iter().find(|mount| {
                matches!(mount.kind, MountKind::Bind(_)) && same_path(&mount.destination, &bind.target)
            });
            let has = mount.and_then(|mount| at(table, &mount.destination));
            if let Some((mount, has)) = mount.zip(has.filter(|has| has.device != *now)) {
                writes |= mount.writable;
                evidence.push(format!(
                    "container {} has {} (device {}) at {}",
                    container.name,
                    String::from_utf8_lossy(&has.source),
                    has.device,
                    bind.target
                ));
            }
        }
        if evidence.is_empty() {
            continue;
        }
        let about = About::Service(service.clone());
        let mut finding = if writes {
            let what =
                format!("service `{service}` writes to another disk than the one that has {source} now");
            Finding::error("late-mount", about, what)
        } else {
            let what =
                format!("service `{service}` reads from another disk than the one that has {source} now");
            Finding::warning("late-mount", about, what)
        };
        finding.evidence = evidence;
        found.push(
            finding
                .seen(format!(
                    "{source} is on device {now} now: it was mounted after they were started"
                ))
                .mend(format!("rehome compose -- stop {service}"))
                .mend("mkdir -p /mnt/below && mount --bind / /mnt/below")
                .mend(format!("ls -la {}", shell_path(&below(&bind.source)))),
        );
    }
    found
}

/// A directory of the disk of `/`, where the mends make it seen.
fn below(dir: &Path) -> PathBuf {
    Path::new("/mnt/below").join(dir.strip_prefix("/").unwrap_or(dir))
}

/// What a container has at a place.
fn at<'a>(table: &'a [Mount], target: &str) -> Option<&'a Mount> {
    let target = Path::new(target.trim_end_matches('/'));
    table.iter().rfind(|mount| mount.point() == target)
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
            .mend(format!("rehome move --to {} --only {key}", shell_path(&to))),
        );
    }
    found
}
