//! Checks of places where a block volume should be mounted and is not: what is written there is written to another disk.

use std::path::{Path, PathBuf};

use super::homes::{about, blocks, on_root, users};
use super::{About, Finding};
use crate::model::shell_path;
use crate::observe::{BootSeen, Checkup, DeviceIs, HomeSeen, MissingSeen, Waits};

/// What a person does before anything is mounted over data.
const LOOK_FIRST: &str =
    "what was written there meanwhile is hidden as soon as the block volume is mounted: look first";

/// What is known of a place above a directory where a block volume should be mounted and is not.
pub(super) fn place<'a>(seen: &'a BootSeen, dir: &Path) -> Option<&'a MissingSeen> {
    let above = |place: &&MissingSeen| place.below.iter().any(|below| below == dir);
    let places = seen.missing.iter().filter(above);
    places.max_by_key(|place| place.at.as_os_str().len())
}

/// The same of an engine on another host: only the configuration is known, and that its disk is that of `/`.
fn configured(seen: &Checkup, dir: &Path) -> Option<PathBuf> {
    let root = seen.known.block_root.as_ref();
    let root = root.filter(|root| dir.starts_with(root))?;
    let volume = blocks(seen).find(|(_, home)| *home == dir)?.0;
    let Some(HomeSeen::There(probe)) = seen.homes.get(&volume.key) else {
        return None;
    };
    on_root(probe, dir).then(|| root.clone())
}

/// Where the block volume of a home should be mounted: what the configuration says, else the directory above.
fn mount_point(seen: &Checkup, dir: &Path) -> PathBuf {
    match &seen.known.block_root {
        Some(root) if dir.starts_with(root) => root.clone(),
        _ => dir.parent().unwrap_or(dir).to_owned(),
    }
}

impl Finding {
    /// What is known of the place.
    fn of_place(mut self, place: &MissingSeen) -> Self {
        if let Some(line) = &place.line {
            self = self.seen(format!(
                "line {} of /etc/fstab: {}",
                line.number,
                line.text.trim()
            ));
        }
        match &place.device {
            DeviceIs::Attached(node) => self.seen(format!("its disk is attached: {}", node.display())),
            DeviceIs::Gone => self.seen("no disk with this file system is attached to the machine"),
            DeviceIs::Untold => self,
        }
    }

    /// How the volume gets there.
    fn mount(self, place: Option<&MissingSeen>, at: &Path) -> Self {
        let gone = place.is_some_and(|place| place.device == DeviceIs::Gone);
        let finding = if gone {
            self.mend("attach the volume to this machine, at the provider")
        } else {
            self
        };
        finding.mend(format!("mount {}", shell_path(at)))
    }
}

/// Trap 1: the block volume is not there, and its directory is one of another disk.
pub(super) fn homes(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for (volume, dir) in blocks(seen) {
        let place = place(&seen.boot, dir);
        let meant = place.map(|place| place.at.clone());
        let meant = meant.or_else(|| configured(seen, dir));
        let point = meant.clone().unwrap_or_else(|| mount_point(seen, dir));
        let key = &volume.key;
        match seen.homes.get(key) {
            Some(HomeSeen::Missing) => {
                let mut finding = Finding::error(
                    "home-missing",
                    about(volume),
                    format!("the home of volume `{key}` is not there"),
                )
                .seen(format!("{} does not exist on the engine's host", dir.display()))
                .seen("no container that mounts it can start");
                if let Some(place) = place {
                    finding = finding.of_place(place);
                }
                found.push(finding.mount(place, &point));
            }
            Some(HomeSeen::There(probe)) if meant.is_some() => {
                let mut finding = Finding::error(
                    "home-not-mounted",
                    about(volume),
                    format!("the block volume of volume `{key}` is not mounted: its home is on another disk"),
                )
                .seen(format!(
                    "{} is a directory of {} ({})",
                    dir.display(),
                    probe.source,
                    probe.fs_type
                ));
                if let Some(place) = place {
                    finding = finding.of_place(place);
                }
                found.push(
                    finding
                        .seen(LOOK_FIRST)
                        .mend(format!("rehome compose -- stop {}", users(seen, key)))
                        .mend(format!("ls -la {}", shell_path(dir)))
                        .mount(place, &point)
                        .mend(format!(
                            "rehome compose -- up -d --force-recreate {}",
                            users(seen, key)
                        )),
                );
            }
            // Nothing says that a block volume was ever meant.
            Some(HomeSeen::There(probe)) if on_root(probe, dir) => found.push(
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
            _ => {}
        }
    }
    found
}

/// The same of directories that services mount by themselves.
pub(super) fn binds(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for bind in &seen.binds {
        let Some(place) = place(&seen.boot, &bind.source) else {
            continue;
        };
        let (service, source) = (&bind.service, bind.source.display());
        found.push(
            Finding::error(
                "home-not-mounted",
                About::Service(service.clone()),
                format!("the block volume of {source} of service `{service}` is not mounted"),
            )
            .seen(format!("nothing is mounted at {}", place.at.display()))
            .of_place(place)
            .seen(LOOK_FIRST)
            .mend(format!("rehome compose -- stop {service}"))
            .mend(format!("ls -la {}", shell_path(&bind.source)))
            .mount(Some(place), &place.at)
            .mend(format!("rehome compose -- up -d --force-recreate {service}")),
        );
    }
    found
}

/// The same of the places alone, where no engine answers that knows what is below: after a boot without its volume the
/// engine waits.
pub(super) fn places(seen: &BootSeen) -> Vec<Finding> {
    let mut found = Vec::new();
    for place in &seen.missing {
        let at = place.at.display();
        let (id, what) = match place.device {
            DeviceIs::Gone => (
                "volume-not-attached",
                format!("the block volume of {at} is not attached"),
            ),
            _ => (
                "home-not-mounted",
                format!("the block volume of {at} is not mounted"),
            ),
        };
        let mut finding = Finding::error(id, About::Project, what).of_place(place);
        if place.waits == Some(Waits::Yes) {
            finding = finding
                .seen("docker.service waits for it: until it is mounted, no container of this machine runs");
        }
        if place.written == Some(true) {
            finding = finding
                .seen(LOOK_FIRST)
                .mend(format!("ls -la {}", shell_path(&place.at)));
        }
        found.push(
            finding
                .mount(Some(place), &place.at)
                .mend("systemctl start docker"),
        );
    }
    found
}
