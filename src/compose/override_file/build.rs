//! From wishes to an override, or to the words that say why not.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Failure, Result, ServiceName, VolumeKey, VolumeName, nearest};

use super::super::project::{Mount, MountSource, Project, Service, Volume, VolumeKind};
use super::{BindMount, Bound, Definition, Override, Style, revealed};

/// Where a volume shall live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// In this directory of the engine's host.
    Directory(PathBuf),
    /// In Docker's own directory, in a volume with a new name.
    Docker,
}

impl Override {
    /// Makes the override for these volumes. `suffix` makes the names of the new volumes new.
    ///
    /// # Errors
    /// Refuses what the style cannot express, naming what can.
    pub fn build(
        project: &Project,
        style: Style,
        suffix: u16,
        wanted: &BTreeMap<VolumeKey, Destination>,
    ) -> Result<Self> {
        let mut made = Self::empty(project.name.clone());
        refuse_shared_directories(wanted)?;
        for (key, destination) in wanted {
            let volume = volume(project, key)?;
            refuse_unmovable(project, volume)?;
            if let Destination::Directory(device) = destination {
                refuse_odd_directory(key, device)?;
            }
            match (style, destination) {
                (Style::Volume, _) => {
                    made.volumes
                        .insert(key.clone(), definition(project, volume, suffix, destination)?);
                }
                (Style::Bind, Destination::Directory(device)) => {
                    made.binds.insert(key.clone(), bound(project, volume, device)?);
                }
                (Style::Bind, Destination::Docker) => {
                    return Err(Failure::refused(format!(
                        "style bind cannot bring volume {key} back to Docker"
                    ))
                    .cause("it replaces mounts by directories")
                    .hint("use --style volume"));
                }
            }
        }
        Ok(made)
    }

    /// Whether a volume of the project can be pointed elsewhere, all of its users with it.
    ///
    /// # Errors
    /// Refuses what would part them, naming the way out.
    pub fn check_movable(project: &Project, key: &VolumeKey) -> Result<()> {
        refuse_unmovable(project, volume(project, key)?)
    }
}

fn volume<'a>(project: &'a Project, key: &VolumeKey) -> Result<&'a Volume> {
    if let Some((service, mount)) = windows_path(project, key) {
        return Err(
            Failure::refused(format!("service {service} does not mount volume {key}"))
                .cause(format!(
                    "Compose reads {:?} as a Windows path; the container has an anonymous volume there",
                    mount.target
                ))
                .hint(format!(
                    "write it as `type: volume, source: {key}, target: …`, or give the volume a longer name"
                )),
        );
    }
    project.volumes.get(key).ok_or_else(|| {
        let keys = || project.volumes.keys().map(VolumeKey::as_str);
        let failure = Failure::refused(format!("project {} has no volume {key}", project.name));
        match (nearest(key.as_str(), keys()), keys().collect::<Vec<_>>()) {
            (Some(near), _) => failure.hint(format!("did you mean {near}?")),
            (None, all) if all.is_empty() => {
                failure.hint("it has none; a volume without a name has to get one first")
            }
            (None, all) => failure.hint(format!("it has {}", all.join(", "))),
        }
    })
}

/// A mount `v:/data` with a volume of one letter is a drive to Compose.
fn windows_path<'a>(project: &'a Project, key: &VolumeKey) -> Option<(&'a ServiceName, &'a Mount)> {
    let drive = format!("{key}:");
    if key.as_str().len() != 1 {
        return None;
    }
    project.services.values().find_map(|service| {
        let mount = service.mounts.iter().find(|mount| {
            matches!(mount.source, MountSource::Anonymous | MountSource::Bind { .. })
                && mount.target.starts_with(&drive)
        })?;
        Some((&service.name, mount))
    })
}

fn refuse_unmovable(project: &Project, volume: &Volume) -> Result<()> {
    let key = &volume.key;
    if let VolumeKind::Other(what) = volume.kind() {
        return Err(Failure::refused(format!("volume {key} cannot be moved"))
            .cause(format!("its data is not in a directory of this host: {what}"))
            .hint(format!("leave it where it is: --exclude {key}")));
    }
    let twin = project
        .volumes
        .values()
        .find(|other| other.name == volume.name && other.key != *key);
    if let Some(twin) = twin {
        return Err(
            Failure::refused(format!("volumes {key} and {} are one", twin.key))
                .cause(format!(
                    "both are the Docker volume {}; moving one key would part its users",
                    volume.name
                ))
                .hint("use one key for it in the Compose file"),
        );
    }
    Ok(())
}

fn refuse_odd_directory(key: &VolumeKey, device: &Path) -> Result<()> {
    let refused = |why: &str| {
        Err(Failure::refused(format!("{device:?} cannot be the home of volume {key}")).cause(why.to_owned()))
    };
    let Some(text) = device.to_str() else {
        return refused("a Compose file can only name paths in UTF-8");
    };
    if !device.is_absolute() || device.components().any(|part| part == Component::ParentDir) {
        return refused("it has to be an absolute path without `..`");
    }
    if device.parent().is_none() {
        return refused("it is the root directory");
    }
    if text.chars().any(char::is_control) {
        return refused("it holds a control character");
    }
    Ok(())
}

fn refuse_shared_directories(wanted: &BTreeMap<VolumeKey, Destination>) -> Result<()> {
    let directories: Vec<_> = wanted
        .iter()
        .filter_map(|(key, destination)| match destination {
            Destination::Directory(device) => Some((key, device)),
            Destination::Docker => None,
        })
        .collect();
    for (key, device) in &directories {
        if let Some((other, _)) = directories
            .iter()
            .find(|(other, outer)| other != key && device.starts_with(outer))
        {
            return Err(
                Failure::refused(format!("volumes {other} and {key} would share a directory"))
                    .cause(format!(
                        "{} is the home of one and lies in that of the other",
                        device.display()
                    ))
                    .hint("give each its own with --map"),
            );
        }
    }
    Ok(())
}

fn definition(
    project: &Project,
    volume: &Volume,
    suffix: u16,
    destination: &Destination,
) -> Result<Definition> {
    let key = &volume.key;
    if volume.external {
        return Err(
            Failure::refused(format!("volume {key} is external: style volume cannot move it"))
                .cause(format!(
                    "the Docker volume {} belongs to somebody else, who may use it too",
                    volume.name
                ))
                .hint("--style bind changes the mounts of this project's services only"),
        );
    }
    let (home, device) = match destination {
        Destination::Directory(device) => ("block", Some(device.clone())),
        Destination::Docker => ("volume", None),
    };
    let name = format!("{}_{key}_{home}_{suffix:04x}", project.name);
    let name = VolumeName::new(name)
        .map_err(|error| Failure::refused(format!("volume {key} cannot get a new name")).because(&error))?;
    if project.volumes.values().any(|other| other.name == name) {
        return Err(Failure::bug(format!("the new name {name} is in use already")));
    }
    Ok(Definition {
        name,
        device,
        labels: revealed(&volume.labels),
    })
}

fn bound(project: &Project, volume: &Volume, device: &Path) -> Result<Bound> {
    let key = &volume.key;
    let mut mounts = Vec::new();
    for service in project.services.values() {
        for mount in service.mounts.iter().filter(|mount| mount.volume() == Some(key)) {
            refuse_double_target(service, mount)?;
            mounts.push(bind_mount(service, mount, device)?);
        }
    }
    if mounts.is_empty() {
        return Err(Failure::refused(format!(
            "no service mounts volume {key}: style bind has nothing to change"
        ))
        .hint("use --style volume"));
    }
    Ok(Bound {
        device: device.to_owned(),
        mounts,
    })
}

/// A target that stands twice cannot be replaced: which of the two would it be?
fn refuse_double_target(service: &Service, mount: &Mount) -> Result<()> {
    let same = |other: &&Mount| clean(&other.target) == clean(&mount.target);
    let spellings: Vec<&str> = service
        .mounts
        .iter()
        .filter(same)
        .map(|m| m.written_target.as_str())
        .collect();
    let as_tmpfs = service
        .tmpfs
        .iter()
        .any(|text| clean(text.split(':').next().unwrap_or(text)) == clean(&mount.target));
    if spellings.len() < 2 && !as_tmpfs {
        return Ok(());
    }
    let what = if as_tmpfs {
        "as a volume and as a tmpfs".to_owned()
    } else {
        spellings.join(" and ")
    };
    Err(
        Failure::refused(format!("service {} mounts {} twice", service.name, mount.target))
            .cause(format!(
                "it is written {what}; Compose and the engine do not agree on what that means"
            ))
            .hint("remove one of them in the Compose file, or use --style volume"),
    )
}

fn clean(target: &str) -> PathBuf {
    super::super::locate::absolute(Path::new("/"), Path::new(target))
}

fn bind_mount(service: &Service, mount: &Mount, device: &Path) -> Result<BindMount> {
    let mut source = device.to_owned();
    if let MountSource::Volume {
        subpath: Some(subpath),
        ..
    } = &mount.source
    {
        let subpath = Path::new(subpath);
        if !subpath
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(Failure::refused(format!(
                "service {} mounts a subpath that leaves its volume",
                service.name
            )));
        }
        source.extend(subpath.components().filter(|part| *part != Component::CurDir));
    }
    Ok(BindMount {
        service: service.name.clone(),
        target: mount.written_target.clone(),
        source,
        read_only: mount.read_only,
        selinux: mount.selinux.clone(),
    })
}
