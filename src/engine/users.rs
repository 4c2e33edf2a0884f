//! Who has a volume or a directory: the containers that mount it, of any project.

use std::collections::HashMap;
use std::path::Path;

use super::{Container, Engine, MountKind};
use crate::model::{Result, VolumeName};

impl Engine {
    /// Every container that has this volume, of any project, running or not.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn containers_with_volume(&self, volume: &VolumeName) -> Result<Vec<Container>> {
        // The engine's filter also matches destinations; the mounts decide.
        let mut found = self
            .containers(HashMap::from([("volume", vec![volume.to_string()])]))
            .await?;
        found.retain(|c| {
            c.mounts
                .iter()
                .any(|m| m.kind == MountKind::Volume(volume.clone()))
        });
        Ok(found)
    }

    /// Every container, of any project, that has this volume or its directory writable, running or not.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn writers_of(&self, volume: &VolumeName) -> Result<Vec<Container>> {
        let mut found = self.containers_with_volume(volume).await?;
        found.retain(|c| {
            c.mounts
                .iter()
                .any(|m| m.writable && m.kind == MountKind::Volume(volume.clone()))
        });
        let Some(volume) = self.find_volume(volume).await? else {
            return Ok(found);
        };
        let mut directories = vec![volume.mountpoint.clone()];
        if let crate::model::Home::Block { dir } = volume.home() {
            directories.push(dir.to_string_lossy().into_owned());
        }
        for container in self.running_containers().await? {
            let inside = directories.iter().any(|d| writes_in(&container, Path::new(d)));
            if inside && !found.iter().any(|c| c.id == container.id) {
                found.push(container);
            }
        }
        Ok(found)
    }

    /// Every container, of any project, that has a directory of the engine's host writable, or one in it; running or not.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn writers_in(&self, directory: &Path) -> Result<Vec<Container>> {
        let mut found = self.containers(HashMap::new()).await?;
        found.retain(|container| writes_in(container, directory));
        Ok(found)
    }
}

/// Whether a container has a directory of the host, or one in it, writable.
fn writes_in(container: &Container, directory: &Path) -> bool {
    let inside = |kind: &MountKind| matches!(kind, MountKind::Bind(source) if Path::new(source).starts_with(directory));
    container.mounts.iter().any(|m| m.writable && inside(&m.kind))
}
