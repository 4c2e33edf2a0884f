//! What only a deployment wants to know: why a container would be made anew, what data each has mounted, who each
//! database is, what older deployments kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Depth, Observer, World};
use crate::compose::project::{self, Mount, MountSource, Service, VolumeKind};
use crate::datastore::{Kind, dump};
use crate::engine::{Container, Image, MountKind, same_path};
use crate::model::{Home, Result, RunId, ServiceName};
use crate::steps::deploy::DataMount;

/// The world, and more.
#[derive(Debug, Clone)]
pub struct DeploySeen {
    /// The world.
    pub world: World,
    /// More of each service.
    pub services: BTreeMap<ServiceName, ServiceMore>,
    /// The data that containers have mounted now.
    pub mounts: Vec<DataMount>,
    /// Where the files would have data mounted from somewhere else than the containers have now.
    pub elsewhere: Vec<Elsewhere>,
    /// The database servers.
    pub databases: Vec<DatabaseSeen>,
    /// Containers of services that the files no longer have.
    pub orphans: Vec<String>,
    /// The runs that kept spares, oldest first.
    pub kept: Vec<RunId>,
    /// Variables of the files that are not set: Compose puts nothing in their place.
    pub unset: Vec<String>,
    /// Files that must be there and are not.
    pub missing: Vec<PathBuf>,
}

/// More of a service.
#[derive(Debug, Clone)]
pub struct ServiceMore {
    /// Of the active profiles.
    pub active: bool,
    /// Has a `build:`.
    pub build: bool,
    /// `pull_policy: never` or `build`: its image comes from no registry.
    pub never_pulled: bool,
    /// The image of the files.
    pub image: Option<String>,
    /// The engine has that image.
    pub image_here: bool,
    /// How many containers it shall have.
    pub replicas: usize,
    /// Why two generations of it cannot run side by side; `None` if they can.
    pub alone: Option<String>,
    /// What of its definition differs from what its containers were made of, by the key in the files. Never a value.
    pub differs: Vec<String>,
}

/// A place where a service has data, and would have other data afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The service.
    pub service: ServiceName,
    /// Where, in its containers.
    pub target: String,
    /// What is there now, in words.
    pub now: String,
    /// What the files say, in words.
    pub then: String,
}

/// A database server of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSeen {
    /// Its service.
    pub service: ServiceName,
    /// Its kind.
    pub kind: Kind,
    /// As whom it is asked.
    pub user: String,
    /// Whether it runs.
    pub up: bool,
    /// Who it says it is; why it does not say.
    pub identity: super::Looked<String>,
}

impl Observer<'_> {
    /// Looks at what a deployment is planned from.
    ///
    /// # Errors
    /// As [`Observer::look`].
    pub async fn look_for_deploy(&self, require: &[PathBuf]) -> Result<DeploySeen> {
        let depth = Depth {
            scan: Some(Vec::new()),
            ask_servers: true,
            docker_disk: true,
            ..Depth::default()
        };
        let world = self.look(&depth).await?;
        let all = self.engine.project_containers(self.project_name()).await?;
        let mut services = BTreeMap::new();
        for service in self.project.services.values() {
            let differs = self.differs(service, &all).await?;
            let named = super::containers::image_of(service, self.project_name());
            let more = ServiceMore {
                image_here: self.engine.find_image(&named).await?.is_some(),
                active: service.active,
                build: service.build,
                never_pulled: matches!(service.pull_policy.as_deref(), Some("never" | "build")),
                image: service.image.clone(),
                replicas: service.replicas as usize,
                alone: alone(service),
                differs,
            };
            services.insert(service.name.clone(), more);
        }
        let directory = &self.located.directory;
        let missing = require.iter().map(|path| directory.join(path));
        let kept: BTreeSet<(i64, RunId)> = self.runs_with_spares().await?;
        Ok(DeploySeen {
            mounts: self.data_mounts(&all).await?,
            elsewhere: self.elsewhere(&all, &world),
            databases: self.databases(&all, &world).await,
            orphans: all
                .iter()
                .filter(|c| !c.one_off)
                .filter(|c| {
                    c.service
                        .as_ref()
                        .is_some_and(|s| !self.project.services.contains_key(s))
                })
                .map(|c| c.name.clone())
                .collect(),
            kept: kept.into_iter().map(|(_, run)| run).collect(),
            unset: project::unset(self.compose, self.located).await?,
            missing: missing.filter(|path| !path.exists()).collect(),
            services,
            world,
        })
    }

    /// What of a service's definition differs from what any of its containers was made of, by the key in the files.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn differs(&self, service: &Service, all: &[Container]) -> Result<Vec<String>> {
        let mut differs: Vec<String> = Vec::new();
        let of_it = |c: &&Container| !c.one_off && c.service.as_ref() == Some(&service.name);
        for container in all.iter().filter(of_it) {
            let image = self.engine.find_image(container.image.as_str()).await?;
            for key in differences(service, container, image.as_ref()) {
                if !differs.contains(&key) {
                    differs.push(key);
                }
            }
        }
        Ok(differs)
    }

    /// With when their oldest spare was made, so that they are in order.
    async fn runs_with_spares(&self) -> Result<BTreeSet<(i64, RunId)>> {
        let mut first: BTreeMap<RunId, i64> = BTreeMap::new();
        for spare in self.engine.spares(self.project_name()).await? {
            let made = first.entry(spare.run).or_insert(spare.made);
            *made = spare.made.min(*made);
        }
        Ok(first.into_iter().map(|(run, made)| (made, run)).collect())
    }

    /// The named volumes and directories that containers may write to. What is anonymous goes with its container.
    async fn data_mounts(&self, all: &[Container]) -> Result<Vec<DataMount>> {
        let mut found: Vec<DataMount> = Vec::new();
        for container in all.iter().filter(|c| !c.one_off) {
            let Some(service) = &container.service else {
                continue;
            };
            for mount in &container.mounts {
                let home = match &mount.kind {
                    MountKind::Volume(name) if super::containers::is_anonymous(name.as_str()) => continue,
                    MountKind::Volume(name) => self.engine.find_volume(name).await?.map(|v| v.home()),
                    MountKind::Bind(_) if mount.writable => None,
                    MountKind::Bind(_) | MountKind::Other(_) => continue,
                };
                let data = DataMount {
                    service: service.clone(),
                    target: mount.destination.clone(),
                    kind: mount.kind.clone(),
                    home,
                };
                if !found.contains(&data) {
                    found.push(data);
                }
            }
        }
        Ok(found)
    }

    /// Where the containers have other data than the files say.
    #[must_use]
    pub fn elsewhere(&self, all: &[Container], world: &World) -> Vec<Elsewhere> {
        let mut found: Vec<Elsewhere> = Vec::new();
        for container in all.iter().filter(|c| !c.one_off) {
            let Some(service) = container
                .service
                .as_ref()
                .and_then(|s| self.project.services.get(s))
            else {
                continue;
            };
            for mount in &service.mounts {
                let then = match &mount.source {
                    MountSource::Volume { key, .. } => match self.project.volumes.get(key) {
                        Some(volume) => MountKind::Volume(volume.name.clone()),
                        None => continue,
                    },
                    MountSource::Bind { source, .. } if !mount.read_only => {
                        MountKind::Bind(source.to_string_lossy().into_owned())
                    }
                    _ => continue,
                };
                let mut there = container.mounts.iter();
                let Some(now) = there.find(|m| same_path(&m.destination, &mount.target)) else {
                    continue;
                };
                if now.kind != then && now.writable {
                    found.push(Elsewhere {
                        service: service.name.clone(),
                        target: mount.target.clone(),
                        now: words(&now.kind),
                        then: words(&then),
                    });
                }
            }
        }
        // The name is the same, and what it means is not (trap 2).
        for volume in self.project.volumes.values() {
            let Some(seen) = world.volume(&volume.key).filter(|seen| seen.exists) else {
                continue;
            };
            let then = match volume.kind() {
                VolumeKind::Docker => Home::Volume,
                VolumeKind::Bound { device } => Home::Block { dir: device },
                VolumeKind::External | VolumeKind::Other(_) => continue,
            };
            let differs = seen.home != then && !matches!(seen.home, Home::Other { .. });
            for service in self.project.users_of(&volume.key).into_iter().filter(|_| differs) {
                found.push(Elsewhere {
                    service,
                    target: format!("volume {}", volume.name),
                    now: place(&seen.home),
                    then: place(&then),
                });
            }
        }
        found.dedup();
        found
    }

    async fn databases(&self, all: &[Container], world: &World) -> Vec<DatabaseSeen> {
        let mut found = Vec::new();
        for service in &world.services {
            let Some(kind) = service.server else { continue };
            let own = |c: &&Container| !c.one_off && c.service.as_ref() == Some(&service.name);
            let Some(container) = all.iter().filter(own).max_by_key(|c| c.state.is_up()) else {
                continue;
            };
            let identity = match kind {
                Kind::Postgres if container.state.is_up() => {
                    self.ask_postgres(container, dump::IDENTITY).await
                }
                Kind::Postgres => Err("it does not run".to_owned()),
                _ => Err(format!("{kind} has no identity that can be asked for")),
            };
            found.push(DatabaseSeen {
                service: service.name.clone(),
                kind,
                user: dump::user(kind, |name| container.env(name)),
                up: container.state.is_up(),
                identity,
            });
        }
        found
    }
}

/// Why two containers of a service cannot run side by side. Two must never write to one place.
fn alone(service: &Service) -> Option<String> {
    if let Some(name) = &service.container_name {
        return Some(format!("its container_name is {name}"));
    }
    if let Some(port) = service.ports.iter().find_map(|p| p.published.as_ref()) {
        return Some(format!("it has port {port} of the host"));
    }
    if !service.namespaces_of.is_empty() || !service.volumes_from.is_empty() {
        return Some("it lives in the container of another service".to_owned());
    }
    let writes =
        |m: &&Mount| !m.read_only && !matches!(m.source, MountSource::Tmpfs | MountSource::Anonymous);
    let mount = service.mounts.iter().find(writes)?;
    Some(format!("it may write to {}", mount.target))
}

fn words(kind: &MountKind) -> String {
    match kind {
        MountKind::Volume(name) => format!("volume {name}"),
        MountKind::Bind(path) => format!("directory {path}"),
        MountKind::Other(what) => what.clone(),
    }
}

fn place(home: &Home) -> String {
    match home {
        Home::Volume => "in Docker's own directory".to_owned(),
        Home::Block { dir } => format!("in {}", dir.display()),
        Home::Other { what } => what.clone(),
    }
}

/// What of a definition differs from a container, as far as the container shows it: the keys, and never a value, for
/// it may be a secret. Nothing is found where Compose sees more than a container shows (networks, labels, limits).
fn differences(service: &Service, container: &Container, image: Option<&Image>) -> Vec<String> {
    let mut keys = Vec::new();
    if let Some(named) = service
        .image
        .as_ref()
        .filter(|named| **named != container.image_name)
    {
        keys.push(format!("image ({} → {named})", container.image_name));
    }
    for (name, value) in &service.environment {
        let now = container.env(name);
        if let Some(value) = value
            && now != Some(value.reveal())
        {
            keys.push(format!("environment.{name}"));
        }
    }
    let of_image: BTreeSet<&str> = image
        .iter()
        .flat_map(|i| &i.env)
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| name)
        .collect();
    for name in container.env.keys() {
        if !service.environment.contains_key(name) && !of_image.contains(name.as_str()) {
            keys.push(format!("environment.{name}"));
        }
    }
    if service
        .command
        .as_ref()
        .is_some_and(|command| !container.command.ends_with(command))
    {
        keys.push("command".to_owned());
    }
    if service
        .entrypoint
        .as_ref()
        .is_some_and(|entry| !container.command.starts_with(entry))
    {
        keys.push("entrypoint".to_owned());
    }
    if service.user.as_ref().is_some_and(|user| *user != container.user) {
        keys.push("user".to_owned());
    }
    if service
        .working_dir
        .as_ref()
        .is_some_and(|dir| *dir != container.working_dir)
    {
        keys.push("working_dir".to_owned());
    }
    let restart = service.restart.as_deref().unwrap_or("no");
    if restart.split(':').next() != Some(container.restart.as_str()) {
        keys.push("restart".to_owned());
    }
    for mount in &service.mounts {
        if !container
            .mounts
            .iter()
            .any(|m| same_path(&m.destination, &mount.target))
        {
            keys.push(format!("volumes ({})", mount.target));
        }
    }
    keys
}
