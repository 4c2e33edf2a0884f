//! The projects of an engine, by the labels of their containers, and those that ran here before: for the server, which is in
//! no project's directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::app::state_dir;
use super::places::block_volumes;
use super::runs::{before, wanted_in};
use super::{App, Options, Status, doctor, status};
use crate::engine::{self, Engine, MountKind};
use crate::model::{Failure, Home, ProjectName, Result, ServiceName, SiteName};
use crate::plan::doctor::Diagnosis;
use crate::saga::recovery::examine;
use crate::state::{BackupLine, ProjectKey};

/// So many of the last things that happened to backups of a project are looked at.
const BACKUPS: usize = 1000;

/// The projects of this machine.
pub struct Projects {
    options: Options,
}

/// A project.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectLine {
    /// Its name.
    pub name: ProjectName,
    /// Where its files are, as Compose noted it.
    pub directory: Option<PathBuf>,
    /// The services that have containers.
    pub services: BTreeMap<ServiceName, ServiceLine>,
    /// The volumes that those have, by their full names.
    pub volumes: BTreeMap<String, VolumeLine>,
    /// The sites that are in it.
    pub sites: Vec<SiteName>,
}

/// A service of a project.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ServiceLine {
    /// The image of its containers.
    pub image: String,
    /// How many of them are up.
    pub up: u64,
    /// How many there are.
    pub containers: u64,
}

/// A volume of a project.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeLine {
    /// Where its data lives.
    #[serde(flatten)]
    pub home: Home,
    /// Where that is on the engine's host.
    pub path: PathBuf,
}

/// What is found out about a project by a look at it: it starts helpers and takes seconds.
#[derive(Debug)]
pub struct Looked {
    /// Where its data lives.
    pub status: Status,
    /// What is at risk.
    pub diagnosis: Diagnosis,
}

/// A backup that was made here.
#[derive(Debug, Clone)]
pub struct Backup {
    /// Of which project.
    pub project: ProjectName,
    /// Its name.
    pub id: String,
    /// When it was made.
    pub made: Timestamp,
    /// What it takes in one place.
    pub bytes: u64,
    /// Where it is.
    pub places: Vec<String>,
}

impl ProjectLine {
    fn new(name: ProjectName) -> Self {
        Self {
            name,
            directory: None,
            services: BTreeMap::new(),
            volumes: BTreeMap::new(),
            sites: Vec::new(),
        }
    }
}

impl Projects {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Every project that has a container or that something was done to here, by name.
    ///
    /// # Errors
    /// When the engine does not answer, or the state directory cannot be read.
    pub async fn list(&self) -> Result<Vec<ProjectLine>> {
        let sites = super::site::Sites::new(self.options.clone())?.names()?;
        let engine = Engine::connect(engine::resolve_host(&self.options.engine)?).await?;
        let volumes: BTreeMap<String, VolumeLine> = engine
            .volumes(None)
            .await?
            .into_iter()
            .map(|volume| {
                let home = volume.home();
                let path = match &home {
                    Home::Block { dir } => dir.clone(),
                    _ => volume.mountpoint.into(),
                };
                (volume.name.to_string(), VolumeLine { home, path })
            })
            .collect();
        let mut found = self.known(&engine)?;
        for container in engine.compose_containers().await? {
            let Some(name) = container.project.filter(|_| !container.one_off) else {
                continue;
            };
            let line = found
                .entry(name.clone())
                .or_insert_with(|| ProjectLine::new(name));
            // What Compose noted is newer than what a run did.
            if let Some(directory) = container.config_files.first().and_then(|file| file.parent()) {
                line.directory = Some(directory.to_owned());
            }
            if let Some(service) = container.service {
                let service = line.services.entry(service).or_default();
                service.containers += 1;
                service.up += u64::from(container.state.is_up());
                service.image = container.image_name;
            }
            for mount in container.mounts {
                if let MountKind::Volume(volume) = mount.kind
                    && let Some(known) = volumes.get(&volume.to_string())
                {
                    line.volumes.insert(volume.to_string(), known.clone());
                }
            }
        }
        for line in found.values_mut() {
            let of_it = sites
                .iter()
                .filter(|site| site.directory.is_some() && site.directory == line.directory);
            line.sites = of_it.map(|site| site.name.clone()).collect();
        }
        Ok(found.into_values().collect())
    }

    /// The projects of this engine that the state directory knows, as their last runs found them: one that is down has no
    /// container that tells of it.
    fn known(&self, engine: &Engine) -> Result<BTreeMap<ProjectName, ProjectLine>> {
        let host = (!engine.host().is_default()).then(|| engine.host().url.as_str());
        let mut found = BTreeMap::new();
        for (key, project) in state_dir(&self.options)?.projects()? {
            // Any of the last ones says where it is: not all are read for that.
            let mut runs = project.runs()?.into_iter().map(examine);
            let Some(state) = runs.find_map(|run| run.state().cloned()) else {
                continue;
            };
            let name = state.opened().project.clone();
            let directory = before(&state)
                .ok()
                .and_then(|before| before.dotenv.parent().map(Path::to_owned));
            // What a test or a copy of it left is no project.
            if key == ProjectKey::new(&name, host) && directory.as_ref().is_some_and(|dir| dir.is_dir()) {
                let line = ProjectLine {
                    directory,
                    ..ProjectLine::new(name.clone())
                };
                found.insert(name, line);
            }
        }
        Ok(found)
    }

    /// One of them.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn find(&self, name: &ProjectName) -> Result<Option<ProjectLine>> {
        Ok(self.list().await?.into_iter().find(|line| line.name == *name))
    }

    /// Opens one where it is.
    ///
    /// # Errors
    /// When there is none of this name, or what is in its directory now is another.
    pub async fn open(&self, name: &ProjectName) -> Result<App> {
        let refused = |what: String| Failure::refused(what).data("nothing was changed");
        let line = self.find(name).await?;
        let directory = line.and_then(|line| line.directory);
        let directory = directory.ok_or_else(|| refused(format!("where project {name} is, is not known")))?;
        let mut options = self.options.clone();
        options.project = wanted_in(&directory, &options.project);
        let app = App::open(options).await?;
        match app.project.name == *name {
            true => Ok(app),
            false => Err(refused(format!(
                "in {} is project {}, and {name} was begun with another name",
                directory.display(),
                app.project.name
            ))),
        }
    }

    /// Looks at one, and changes nothing.
    ///
    /// # Errors
    /// When it cannot be opened, or the engine, Compose or the helper does not answer. Refused while a run is at it: a helper
    /// that reads a volume would be in the way of a step that removes it.
    pub async fn look(&self, name: &ProjectName) -> Result<Looked> {
        let app = self.open(name).await?;
        if let Some(holder) = app.state.locked_by()? {
            let failure = Failure::refused(format!("{name} is not looked at while somebody works on it"));
            return Err(match holder {
                Some(note) => failure.cause(note.to_string()),
                None => failure,
            });
        }
        Ok(Looked {
            status: status(&app).await?,
            diagnosis: doctor::project(&app, None).await?,
        })
    }

    /// The directories that the data of a project can move to: the mounted block volumes, and the one of its configuration.
    ///
    /// # Errors
    /// When it cannot be opened, or what is mounted cannot be read.
    pub async fn targets(&self, name: &ProjectName) -> Result<Vec<PathBuf>> {
        let app = self.open(name).await?;
        let mut found = app.settings.block_root.clone().into_iter().collect::<Vec<_>>();
        if app.engine.host().is_local() {
            found.extend(block_volumes()?);
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The last backups that were made from here, of every project or of one, newest first.
    ///
    /// # Errors
    /// When the state directory cannot be read.
    pub fn backups(&self, of: Option<&ProjectName>, limit: usize) -> Result<Vec<Backup>> {
        let mut found = Vec::new();
        for (key, project) in state_dir(&self.options)?.projects()? {
            // A key that was made of another engine's host as well is not the name alone.
            let Ok(name) = ProjectName::new(key.to_string()) else {
                continue;
            };
            if of.is_some_and(|of| *of != name) {
                continue;
            }
            for line in project.backups(BACKUPS)?.lines {
                if let BackupLine::Made {
                    id,
                    ended,
                    bytes,
                    places,
                    ..
                } = line
                {
                    found.push(Backup {
                        project: name.clone(),
                        id,
                        made: ended,
                        bytes,
                        places,
                    });
                }
            }
        }
        found.sort_by_key(|backup| std::cmp::Reverse(backup.made));
        found.truncate(limit);
        Ok(found)
    }
}

impl VolumeLine {
    /// Whether it lies on a block volume.
    #[must_use]
    pub fn is_on_block(&self) -> bool {
        matches!(self.home, Home::Block { .. })
    }
}
