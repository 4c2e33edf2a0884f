//! Has Compose make what a stack consists of (networks, volumes, containers) where nothing of it is there, without
//! starting anything: a stack that was lost to its last volume gets its places back before its data. Undo removes what
//! was made, and only that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{ContainerId, Failure, Result, VolumeName, count};
use crate::saga::Step;
use crate::steps::Cx;
use crate::steps::stack::{Making, make_containers};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unstarted {
    /// The services.
    pub services: Vec<Making>,
    /// The volumes that the project has, by their full names.
    pub volumes: Vec<VolumeName>,
}

/// What was there before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    containers: BTreeSet<ContainerId>,
    volumes: BTreeSet<VolumeName>,
}

impl Step for Unstarted {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        format!(
            "make {} without starting",
            count(self.services.len() as u64, "service")
        )
    }

    async fn prepare(&self, cx: &Cx) -> Result<Before> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let mut volumes = BTreeSet::new();
        for name in &self.volumes {
            if cx.engine.find_volume(name).await?.is_some() {
                volumes.insert(name.clone());
            }
        }
        Ok(Before {
            containers: containers.into_iter().map(|c| c.id).collect(),
            volumes,
        })
    }

    async fn apply(&self, cx: &Cx, _: &Before) -> Result<()> {
        make_containers(cx, &cx.files.after, &self.services).await
    }

    async fn verify(&self, cx: &Cx, _: &Before) -> Result<Option<String>> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        for making in &self.services {
            let made = containers
                .iter()
                .filter(|c| c.service.as_ref() == Some(&making.service));
            if made.count() < making.count {
                return Err(Failure::environment(format!(
                    "service `{}` has no container",
                    making.service
                )));
            }
        }
        Ok(None)
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> Result<()> {
        cx.engine_answers().await?;
        for container in cx.engine.project_containers(&cx.project).await? {
            let ours = self
                .services
                .iter()
                .any(|m| container.service.as_ref() == Some(&m.service));
            if ours && !before.containers.contains(&container.id) && !container.state.is_up() {
                cx.engine.remove_container(container.id.as_str()).await?;
            }
        }
        for name in self.volumes.iter().filter(|name| !before.volumes.contains(name)) {
            // An empty one that Compose made a moment ago; with the restored data in it, it was exchanged back before.
            cx.engine
                .remove_own_volume(name, ("com.docker.compose.project", cx.project.as_str()))
                .await?;
        }
        Ok(())
    }
}
