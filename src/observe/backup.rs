//! What only a backup wants to know: who each database server is asked as, what images run, what the files resolve to
//! without any value in it.

use serde_json::{Value, json};

use super::{Depth, Observer, World};
use crate::backup::format::ServiceNote;
use crate::compose::project::{MountSource, Project};
use crate::engine::Container;
use crate::model::Result;
use crate::site::SiteDir;
use crate::steps::dumps::Dumping;

/// The world, and more.
#[derive(Debug, Clone)]
pub struct Backed {
    /// The world.
    pub world: World,
    /// The database servers, running or not.
    pub databases: Vec<Dumping>,
    /// What runs.
    pub services: Vec<ServiceNote>,
    /// The resolved configuration, without values.
    pub configuration: Value,
}

impl Observer<'_> {
    /// Looks at what a backup is planned from, the directories of these sites among it. Volumes that cannot be looked at are
    /// noted: the plan decides.
    ///
    /// # Errors
    /// As [`Observer::look`].
    pub async fn look_for_backup(&self, sites: Vec<SiteDir>) -> Result<Backed> {
        let depth = Depth {
            scan: None,
            tolerant: true,
            sites,
            ..Depth::default()
        };
        let world = self.look(&depth).await?;
        let all = self.engine.project_containers(self.project_name()).await?;
        Ok(Backed {
            databases: servers(&world, &all),
            services: self.service_notes(&world, &all).await?,
            configuration: configuration(self.project),
            world,
        })
    }

    async fn service_notes(&self, world: &World, all: &[Container]) -> Result<Vec<ServiceNote>> {
        let mut notes = Vec::new();
        for service in &world.services {
            let own = |c: &&Container| !c.one_off && c.service.as_ref() == Some(&service.name);
            let Some(container) = all.iter().find(own) else {
                continue;
            };
            let image = self.engine.find_image(container.image.as_str()).await?;
            notes.push(ServiceNote {
                service: service.name.clone(),
                image: service.image.clone(),
                id: container.image.to_string(),
                digests: image.map(|i| i.digests).unwrap_or_default(),
            });
        }
        Ok(notes)
    }
}

/// The database servers of a project, and as whom each is asked.
fn servers(world: &World, all: &[Container]) -> Vec<Dumping> {
    let mut found = Vec::new();
    for service in &world.services {
        let Some(kind) = service.server else { continue };
        let own = |c: &&Container| !c.one_off && c.service.as_ref() == Some(&service.name);
        let container = all.iter().filter(own).max_by_key(|c| c.state.is_up());
        found.push(Dumping::of(service.name.clone(), kind, container));
    }
    found
}

/// What the files resolve to, for whoever has to build the stack again: names of variables, and never a value.
fn configuration(project: &Project) -> Value {
    let services: serde_json::Map<String, Value> = project
        .services
        .values()
        .map(|service| {
            let mounts: Vec<Value> = service
                .mounts
                .iter()
                .map(|m| {
                    let source = match &m.source {
                        MountSource::Volume { key, .. } => format!("volume {key}"),
                        MountSource::Bind { source, .. } => format!("directory {}", source.display()),
                        MountSource::Anonymous => "an anonymous volume".to_owned(),
                        MountSource::Tmpfs => "tmpfs".to_owned(),
                        _ => "something else".to_owned(),
                    };
                    json!({ "source": source, "target": m.target, "read_only": m.read_only })
                })
                .collect();
            let value = json!({
                "image": service.image,
                "build": service.build,
                "profiles": service.profiles,
                "user": service.user,
                "restart": service.restart,
                "replicas": service.replicas,
                "depends_on": service.depends_on.keys().collect::<Vec<_>>(),
                "environment": service.environment.keys().collect::<Vec<_>>(),
                "mounts": mounts,
            });
            (service.name.to_string(), value)
        })
        .collect();
    let volumes: serde_json::Map<String, Value> = project
        .volumes
        .values()
        .map(|volume| (volume.key.to_string(), json!({ "name": volume.name })))
        .collect();
    json!({ "name": project.name, "services": services, "volumes": volumes })
}
