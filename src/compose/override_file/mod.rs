//! The override: the generated Compose file that points volumes at their new home.
//!
//! Style `volume` replaces the definition of a top-level volume, under a new explicit name: Compose never finds the
//! old volume under it, so it never asks to recreate that (trap 2). Style `bind` replaces the mounts of the services.
//! What neither can express is refused in words by [`Override::build`].

mod build;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Failure, ProjectName, Result, Secret, ServiceName, VolumeKey, VolumeName};

use super::project::{MountSource, Project, VolumeKind};
use super::replace::{read_text, replace_file};

pub use build::Destination;

/// No override is larger.
const LIMIT: u64 = 1 << 20;

/// How an override points at the new home.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// The top-level volume is bound to the directory. Everything that a volume can do keeps working.
    #[default]
    Volume,
    /// The services mount the directory itself: for external volumes and for sites.
    Bind,
}

/// The content of an override file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The project that it is for.
    pub project: ProjectName,
    /// Volumes with a new definition.
    pub volumes: BTreeMap<VolumeKey, Definition>,
    /// Volumes whose mounts were replaced.
    pub binds: BTreeMap<VolumeKey, Bound>,
}

/// The new definition of a top-level volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its full name in the engine.
    pub name: VolumeName,
    /// The directory that it is bound to; none for Docker's own.
    pub device: Option<PathBuf>,
    /// The labels of the base file, restated: `!override` drops them.
    pub labels: BTreeMap<String, String>,
}

/// Mounts of a directory in place of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The directory.
    pub device: PathBuf,
    /// The mounts of each service.
    pub mounts: Vec<BindMount>,
}

/// One mount of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BindMount {
    /// The service.
    pub service: ServiceName,
    /// The target in the spelling of the base file: another spelling would be another mount (trap 39).
    pub target: String,
    /// The directory or, where the base mounts a `subpath`, one below it.
    pub source: PathBuf,
    /// Restated from the base.
    pub read_only: bool,
    /// Restated from the base.
    pub selinux: Option<String>,
}

/// An override file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it says.
    pub content: Override,
    /// Whether somebody changed the text since Rehome wrote it.
    pub edited: bool,
}

impl Override {
    /// One that changes nothing.
    #[must_use]
    pub fn empty(project: ProjectName) -> Self {
        Self {
            project,
            volumes: BTreeMap::new(),
            binds: BTreeMap::new(),
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.binds.is_empty()
    }

    /// The volumes that it concerns.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<&VolumeKey> {
        self.volumes.keys().chain(self.binds.keys()).collect()
    }

    /// The directory where it says that a volume lives.
    #[must_use]
    pub fn device(&self, key: &VolumeKey) -> Option<&Path> {
        let bound = self.binds.get(key).map(|bound| bound.device.as_path());
        bound.or_else(|| self.volumes.get(key)?.device.as_deref())
    }

    /// This one, and for all other volumes what the older one said.
    #[must_use]
    pub fn over(mut self, older: &Override) -> Self {
        let known: BTreeSet<VolumeKey> = self.keys().into_iter().cloned().collect();
        for (key, definition) in older.volumes.iter().filter(|(key, _)| !known.contains(*key)) {
            self.volumes.insert(key.clone(), definition.clone());
        }
        for (key, bound) in older.binds.iter().filter(|(key, _)| !known.contains(*key)) {
            self.binds.insert(key.clone(), bound.clone());
        }
        self
    }

    /// Without a volume.
    #[must_use]
    pub fn without(mut self, key: &VolumeKey) -> Self {
        self.volumes.remove(key);
        self.binds.remove(key);
        self
    }

    /// Where a resolved project is not what this override asks for, in words. Nothing means: it is in effect.
    #[must_use]
    pub fn deviations(&self, resolved: &Project) -> Vec<String> {
        let mut words = Vec::new();
        for (key, definition) in &self.volumes {
            let Some(volume) = resolved.volumes.get(key) else {
                words.push(format!("volume {key} is not part of the project"));
                continue;
            };
            if volume.name != definition.name {
                words.push(format!(
                    "volume {key} resolves to {} instead of {}",
                    volume.name, definition.name
                ));
            }
            let wanted = match &definition.device {
                Some(device) => VolumeKind::Bound {
                    device: device.clone(),
                },
                None => VolumeKind::Docker,
            };
            if volume.kind() != wanted {
                words.push(format!("volume {key} does not lead to its home"));
            }
        }
        for mount in self.binds.values().flat_map(|bound| &bound.mounts) {
            let mounts = resolved
                .services
                .get(&mount.service)
                .map(|service| &service.mounts[..])
                .unwrap_or_default();
            let at: Vec<_> = mounts
                .iter()
                .filter(|m| m.written_target == mount.target)
                .collect();
            let is_bound = matches!(at[..], [one] if one.read_only == mount.read_only
                && matches!(&one.source, MountSource::Bind { source, .. } if *source == mount.source));
            if !is_bound {
                let (service, target, source) = (&mount.service, &mount.target, mount.source.display());
                words.push(format!("service {service} does not mount {source} at {target}"));
            }
        }
        words
    }

    /// Reads an override file, if there is one.
    ///
    /// # Errors
    /// When the file was not written by Rehome, is for another project, or cannot be understood any more.
    pub fn read(path: &Path, project: &ProjectName) -> Result<Option<Found>> {
        let Some(text) = read_text(path, LIMIT)? else {
            return Ok(None);
        };
        let found = Self::parse(&text).map_err(|failure| {
            failure.inside(format!("{} cannot be used as the override", path.display()))
        })?;
        if found.content.project != *project {
            return Err(
                Failure::refused(format!("{} is the override of another project", path.display()))
                    .cause(format!(
                        "it was written for {}, this is {project}",
                        found.content.project
                    ))
                    .hint("name another file with `block.override` in rehome.yml"),
            );
        }
        Ok(Some(found))
    }

    /// Writes it, atomically.
    ///
    /// # Errors
    /// When it cannot be written; the old content is then untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        replace_file(path, self.render().as_bytes())
    }
}

/// Labels leave their wrapping here: they are written into the override as they stand in the base file.
fn revealed(labels: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(key, value)| (key.clone(), value.reveal().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests;
