//! Checks of what may go wrong around the stack: prunes, full disks, old homes, other users of the host.

use std::collections::BTreeMap;

use super::super::size::{Earlier, a_day};
use super::{About, Finding};
use crate::helper::protocol::{Probe, Scan};
use crate::model::{ByteSize, Home, VolumeKey, shell_path, shell_word};
use crate::observe::{Checkup, EngineVolume, HomeSeen, SecretFile, VolumeSeen};
use crate::state::Measured;

/// Below this share of a file system, in percent, and below [`AMPLE`], it is time to do something.
const LOW: u64 = 10;
/// Below this it is late.
const VERY_LOW: u64 = 3;
/// So much is enough, whatever the share.
const AMPLE: u64 = 50_000_000_000;
/// A disk that is full within so many days is told of, and is at risk within so many.
const SOON: u64 = 60;
const VERY_SOON: u64 = 7;
/// Engines before this are without support.
const ENGINE: u32 = 23;
/// Compose before this does not see that only a volume's name changed.
const COMPOSE: (u32, u32, u32) = (2, 32, 0);

pub(super) fn unfinished_run(seen: &Checkup) -> Vec<Finding> {
    let run = seen.known.unfinished.iter();
    run.map(|run| {
        Finding::error(
            "unfinished-run",
            About::Project,
            format!("run {run} is not finished"),
        )
        .seen("its journal says what was done; nothing new begins before it is finished or taken back")
        .mend(format!("rehome resume {run}"))
        .mend(format!("rehome rollback {run}"))
    })
    .collect()
}

/// Trap 13: what a prune takes while the stack is down.
pub(super) fn prunable(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for volume in &seen.world.volumes {
        let unused = seen
            .engine_volumes
            .iter()
            .any(|v| v.unused && v.name == volume.name);
        let Some(scan) = volume
            .scan
            .as_ref()
            .filter(|_| unused && volume.home == Home::Volume && !volume.is_empty())
        else {
            continue;
        };
        let (id, about) = ("prunable", About::Volume(volume.key.clone()));
        let what = format!(
            "a `docker volume prune -a` would delete volume `{}` now",
            volume.key
        );
        let mounted = seen.world.services.iter().any(|s| s.mounts_volume(&volume.key));
        let finding = if mounted {
            Finding::error(id, about, what)
                .seen("no container has it: the stack is down")
                .mend("rehome compose -- up --no-start")
        } else {
            Finding::warning(id, about, what).seen("no service mounts it")
        };
        found.push(finding.seen(format!(
            "{} in {} files, as {}; `docker system prune --volumes` takes it as well on engines before 23",
            ByteSize(scan.bytes),
            scan.files,
            volume.name
        )));
    }
    found
}

/// Room on each file system that has data, told once.
pub(super) fn space(seen: &Checkup) -> Vec<Finding> {
    let mut told: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for volume in &seen.world.volumes {
        let probe = match seen.homes.get(&volume.key) {
            Some(HomeSeen::There(probe)) => Some(probe),
            _ => volume.probe.as_ref(),
        };
        let Some(probe) = probe.filter(|p| !told.contains(&p.device.as_str())) else {
            continue;
        };
        told.push(&probe.device);
        let about = || About::Volume(volume.key.clone());
        let place = format!(
            "{} ({}), which has volume `{}`",
            probe.source, probe.fs_type, volume.key
        );
        let bytes = if probe.bytes_free < AMPLE {
            share(probe.bytes_free, probe.bytes_total)
        } else {
            100
        };
        if bytes < LOW {
            let what = format!("{place}, is nearly full");
            found.push(
                worse(bytes, "disk-full", about(), what)
                    .seen(format!(
                        "{} free of {}",
                        ByteSize(probe.bytes_free),
                        ByteSize(probe.bytes_total)
                    ))
                    .mend(largest(probe, volume.home == Home::Volume)),
            );
        }
        let inodes = share(probe.inodes_free, probe.inodes_total);
        if probe.inodes_total > 0 && inodes < LOW {
            let what = format!("{place}, has nearly no inodes left");
            found.push(
                worse(inodes, "inodes-used", about(), what)
                    .seen(format!(
                        "{} free of {}: no more files than that can be made",
                        probe.inodes_free, probe.inodes_total
                    ))
                    .mend(largest(probe, volume.home == Home::Volume)),
            );
        }
    }
    found
}

/// What a disk can run out of.
#[derive(Clone, Copy)]
struct Filling {
    now: fn(&Scan) -> u64,
    earlier: fn(&Measured) -> &BTreeMap<VolumeKey, u64>,
    /// `None` where there is no fixed number.
    free: fn(&Probe) -> Option<u64>,
}

const BYTES: Filling = Filling {
    now: |scan| scan.allocated,
    earlier: |measured| &measured.bytes,
    free: |probe| Some(probe.bytes_free),
};

const INODES: Filling = Filling {
    now: Scan::entries,
    earlier: |measured| &measured.entries,
    free: |probe| (probe.inodes_total > 0).then_some(probe.inodes_free),
};

/// A disk that runs out of something soon.
struct Soon<'a> {
    /// A volume on it.
    volume: &'a VolumeSeen,
    days: u64,
    /// What is free.
    free: u64,
    /// What is used more by a day.
    rate: u64,
}

impl Soon<'_> {
    fn finding(&self, id: &'static str, what: String) -> Finding {
        let about = About::Volume(self.volume.key.clone());
        match self.days < VERY_SOON {
            true => Finding::error(id, about, what),
            false => Finding::warning(id, about, what),
        }
    }
}

/// Disks that are full soon, at the rate at which their volumes grew since `rehome size` measured them first.
pub(super) fn full_soon(seen: &Checkup) -> Vec<Finding> {
    let bytes = soon(seen, BYTES).into_iter().map(|disk| {
        let (key, days) = (&disk.volume.key, disk.days);
        let what = format!("the disk of volume `{key}` is full in {days} days");
        let (rate, free) = (ByteSize(disk.rate), ByteSize(disk.free));
        disk.finding("full-soon", what)
            .seen(format!("it grows by {rate} a day, and {free} are free"))
            .mend("rehome size")
    });
    let inodes = soon(seen, INODES).into_iter().map(|disk| {
        let (key, days) = (&disk.volume.key, disk.days);
        let what = format!("the disk of volume `{key}` has no inodes left in {days} days");
        disk.finding("inodes-soon", what)
            .seen(format!(
                "{} files and directories more a day, and {} inodes are free",
                disk.rate, disk.free
            ))
            .mend("rehome size")
    });
    bytes.chain(inodes).collect()
}

fn soon(seen: &Checkup, of: Filling) -> Vec<Soon<'_>> {
    // Of each disk: what is free, what it grows by a day, a volume on it.
    let mut disks: BTreeMap<&str, (u64, u64, &VolumeSeen)> = BTreeMap::new();
    for volume in &seen.world.volumes {
        let probe = match seen.homes.get(&volume.key) {
            Some(HomeSeen::There(probe)) => Some(probe),
            _ => volume.probe.as_ref(),
        };
        let first = seen.known.sizes.iter().find_map(|measured| {
            Some(Earlier {
                at: measured.at.as_second(),
                bytes: *(of.earlier)(measured).get(&volume.key)?,
            })
        });
        let (Some(probe), Some(scan), Some(first)) = (probe, &volume.scan, first) else {
            continue;
        };
        let Some(free) = (of.free)(probe) else {
            continue;
        };
        let rate = a_day(first, (of.now)(scan), seen.known.now.as_second()).unwrap_or(0);
        let disk = disks.entry(&probe.device).or_insert((free, 0, volume));
        disk.1 = disk.1.saturating_add(rate);
    }
    disks
        .into_values()
        .filter_map(|(free, rate, volume)| {
            let days = free.checked_div(rate).filter(|days| *days < SOON)?;
            Some(Soon {
                volume,
                days,
                free,
                rate,
            })
        })
        .collect()
}

fn share(free: u64, total: u64) -> u64 {
    free.saturating_mul(100).checked_div(total).unwrap_or(100)
}

fn worse(percent: u64, id: &'static str, about: About, what: String) -> Finding {
    if percent < VERY_LOW {
        Finding::error(id, about, what)
    } else {
        Finding::warning(id, about, what)
    }
}

fn largest(probe: &Probe, docker: bool) -> String {
    if docker {
        "docker system df".to_owned()
    } else {
        format!("df -h {}", shell_word(&probe.source))
    }
}

/// Variables and secrets that every user of the host can read.
pub(super) fn open_secrets(seen: &Checkup) -> Vec<Finding> {
    let open = seen.secrets.iter().filter(|file| file.open);
    open.filter_map(|file| {
        let SecretFile { path, mode, .. } = file;
        let directory = shell_path(path.parent().unwrap_or(path));
        let what = format!("every user of this host can read {}", path.display());
        if file.mounted {
            // Its mode is what the container sees: only the way to it can be closed.
            Some(
                Finding::warning("open-secret", About::Project, what)
                    .seen(format!("mode {mode:04o}; it is a file of `secrets:`"))
                    .mend(format!("chmod o-x {directory}")),
            )
        } else if file.names.is_empty() {
            None
        } else {
            Some(
                Finding::warning("open-secret", About::Project, what)
                    .seen(format!("mode {mode:04o}; it sets {}", file.names.join(", ")))
                    .mend(format!("chmod o-r {}", shell_path(path))),
            )
        }
    })
    .collect()
}

/// Trap 4: the volume that people think of may be another project's.
pub(super) fn namesakes(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for volume in &seen.world.volumes {
        let foreign = |other: &&EngineVolume| {
            other.unused
                && other.key.as_ref() == Some(&volume.key)
                && other.project.as_ref().is_some_and(|p| *p != seen.world.project)
        };
        let others: Vec<_> = seen.engine_volumes.iter().filter(foreign).collect();
        if others.is_empty() {
            continue;
        }
        let (id, about) = ("namesake", About::Volume(volume.key.clone()));
        let mut finding = if volume.exists && volume.is_empty() {
            Finding::warning(
                id,
                about,
                format!(
                    "volume `{}` is empty, and another project left one of that name",
                    volume.key
                ),
            )
        } else {
            Finding::note(
                id,
                about,
                format!("another project left a volume `{}` that nobody uses", volume.key),
            )
        };
        for other in others {
            let project = other.project.as_ref().map_or("", |p| p.as_str());
            finding = finding
                .seen(format!("{} of project {project}", other.name))
                .mend(format!("docker volume inspect {}", other.name));
        }
        found.push(finding.seen(format!(
            "the project is {}, its volume is {}",
            seen.world.project, volume.name
        )));
    }
    found
}

/// What finished moves left: it is the way back for whoever needs one, and takes room.
pub(super) fn old_homes(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for old in seen.engine_volumes.iter().filter(|v| v.unused) {
        let own = old.project.as_ref() == Some(&seen.world.project);
        let Some(key) = old.key.as_ref().filter(|_| own) else {
            continue;
        };
        if seen.world.volumes.iter().any(|v| v.name == old.name) {
            continue;
        }
        let about = About::Volume(key.clone());
        let place = match &old.home {
            Home::Block { dir } => format!("{}, bound to {}", old.name, dir.display()),
            _ => format!("{}, in Docker's own directory", old.name),
        };
        found.push(match seen.world.volume(key) {
            Some(now) => Finding::note(
                "old-home",
                about,
                format!("an old home of volume `{key}` is still there"),
            )
            .seen(place)
            .seen(format!("the volume is {} now", now.name)),
            None => Finding::note(
                "left-volume",
                about,
                format!("volume `{key}` is not in the Compose files any more, and still there"),
            )
            .seen(place),
        });
    }
    found
}

pub(super) fn old_versions(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    let major = seen.engine.split('.').next().and_then(|n| n.parse::<u32>().ok());
    if major.is_some_and(|major| major < ENGINE) {
        found.push(
            Finding::note(
                "engine-old",
                About::Project,
                format!("Docker Engine {} is old", seen.engine),
            )
            .seen(format!("versions before {ENGINE} get no corrections")),
        );
    }
    if seen.compose.numbers < COMPOSE {
        found.push(
            Finding::note(
                "compose-old",
                About::Project,
                format!("Docker Compose {} is old", seen.compose.text),
            )
            .seen("before 2.32 it keeps a container on its old volume when only the volume's name changed"),
        );
    }
    found
}
