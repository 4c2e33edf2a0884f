//! Reads the world once: the project, its containers and volumes, what is in them, the block volume. Everything here
//! only looks; what follows from it is decided by `plan`.

pub mod backup;
pub mod boot;
mod checkup;
mod containers;
pub mod deploy;
mod destination;
mod doctor;
mod machine;
pub mod mounting;
mod sites;
mod volumes;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::compose::{Compose, Dotenv, Located, Override, Project};
use crate::engine::{Engine, HelperJob, HelperMount};
use crate::event::{Event, Events};
use crate::helper::protocol::{Answer, Line, Request};
use crate::model::{Failure, Kind, ProjectName, Result, RunId, VolumeKey};
use crate::site::SiteDir;

pub use boot::{BootSeen, DeviceIs, MissingSeen, PointSeen, UnitSeen, Waits};
pub use checkup::{
    AnonymousSeen, BindSeen, Checkup, ContainerMore, EngineVolume, HomeSeen, Known, Looked, OverrideState,
    PostgresSeen, SecretFile, SiteChecked, SiteKnown, Write,
};
pub use destination::{meant, meant_in_time};
pub use machine::{BareSeen, Candidate, ContentSeen, DefinitionSeen, DeviceSeen, MachineSeen, UndoSeen};
pub use world::{
    ContainerSeen, DestinationSeen, ForeignUse, Framework, MeantSeen, MountedSeen, OverrideSeen, ServiceSeen,
    SiteSeen, VolumeMount, VolumeSeen, World,
};

/// What is needed to look.
pub struct Observer<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// `docker compose`.
    pub compose: &'a Compose,
    /// Where the project is.
    pub located: &'a Located,
    /// The resolved project.
    pub project: &'a Project,
    /// The label of helpers.
    pub run: RunId,
    /// Where progress goes.
    pub events: Arc<dyn Events>,
    /// The environment that Rehome was called with.
    pub env: &'a BTreeMap<String, String>,
}

/// How closely to look.
#[derive(Debug, Clone, Default)]
pub struct Depth {
    /// Walk these volumes; all that exist if `None`.
    pub scan: Option<Vec<VolumeKey>>,
    /// Note why a volume cannot be looked at, and go on.
    pub tolerant: bool,
    /// Ask the databases and images for their versions and directories.
    pub ask_servers: bool,
    /// The block volume and the sub-directories to look at.
    pub destination: Option<(PathBuf, Vec<PathBuf>)>,
    /// Look at the disk that Docker's own volumes are on.
    pub docker_disk: bool,
    /// Where the override would be written.
    pub override_path: PathBuf,
    /// The directories of sites that are looked at as if they were volumes.
    pub sites: Vec<SiteDir>,
}

impl Observer<'_> {
    /// Looks at the world.
    ///
    /// # Errors
    /// When the engine, Compose or the helper does not answer.
    pub async fn look(&self, depth: &Depth) -> Result<World> {
        let name = self.project_name().clone();
        let all = self.engine.project_containers(&name).await?;
        let mut services = self.services(&all, depth.ask_servers).await?;
        self.mount_sites(&mut services, &depth.sites);
        let mut volumes = self.volumes(&services, depth).await?;
        volumes.extend(self.sites(&services, depth).await?);
        let destination = match &depth.destination {
            Some((root, subs)) => Some(self.destination(root, subs).await?),
            None => None,
        };
        let docker_disk = if depth.docker_disk {
            Some(self.docker_disk().await?)
        } else {
            None
        };
        Ok(World {
            project: name,
            directory: self.located.directory.clone(),
            services,
            volumes,
            destination,
            docker_disk,
            override_file: override_seen(&depth.override_path, self.project_name())?,
            dotenv_compose_file: Dotenv::read(&self.located.dotenv)?.get("COMPOSE_FILE", self.env),
            shell_compose_file: self.env.get("COMPOSE_FILE").filter(|v| !v.is_empty()).cloned(),
            engine_volumes: self
                .engine
                .volumes(None)
                .await?
                .into_iter()
                .map(|v| v.name)
                .collect(),
        })
    }

    /// Runs one request in a helper.
    async fn ask(
        &self,
        request: Request,
        mounts: Vec<HelperMount>,
        volume: Option<&VolumeKey>,
    ) -> Result<Answer> {
        let job = HelperJob::new(&self.run, self.project_name(), request, mounts);
        self.engine
            .helper(job, &mut |line| match line {
                Line::Progress {
                    bytes,
                    bytes_total,
                    files,
                    files_total,
                } => self.events.tell(Event::Progress {
                    phase: "scan".to_owned(),
                    volume: volume.cloned(),
                    bytes,
                    bytes_total,
                    files,
                    files_total,
                }),
                Line::Note { text } => self.events.note(crate::event::Level::Detail, text),
                Line::Turn { .. } | Line::Answer(_) | Line::Failed { .. } => {}
            })
            .await
    }

    fn project_name(&self) -> &ProjectName {
        &self.project.name
    }
}

/// Reads what lies where the override would be written.
fn override_seen(path: &Path, project: &ProjectName) -> Result<OverrideSeen> {
    if path.as_os_str().is_empty() {
        return Ok(OverrideSeen::Missing);
    }
    match Override::read(path, project) {
        Ok(None) => Ok(OverrideSeen::Missing),
        Ok(Some(found)) => Ok(OverrideSeen::Ours(found.content)),
        Err(failure) if failure.kind == Kind::Refused => Ok(OverrideSeen::Foreign(failure)),
        Err(failure) => Err(failure),
    }
}

fn wrong_answer(answer: &Answer) -> Failure {
    Failure::bug(format!("the helper answered something else: {answer:?}"))
}
