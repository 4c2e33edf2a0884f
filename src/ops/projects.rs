//! The projects of an engine, by the labels of their containers, and those that sites have: for the server, which is in no
//! project's directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::runs::wanted_in;
use super::{App, Options};
use crate::engine::{self, Engine, MountKind};
use crate::model::{Failure, Home, ProjectName, Result, ServiceName, SiteName};

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
    /// The services that are up.
    pub up: BTreeSet<ServiceName>,
    /// The volumes that those have, and where the data of each is.
    pub volumes: BTreeMap<String, Option<Home>>,
    /// The sites that are in it.
    pub sites: Vec<SiteName>,
}

impl Projects {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Every project that has a running container, by name.
    ///
    /// # Errors
    /// When the engine does not answer, or the sites cannot be read.
    pub async fn list(&self) -> Result<Vec<ProjectLine>> {
        let sites = super::site::Sites::new(self.options.clone())?.names()?;
        let engine = Engine::connect(engine::resolve_host(&self.options.engine)?).await?;
        let homes: BTreeMap<String, Home> = engine
            .volumes(None)
            .await?
            .into_iter()
            .map(|volume| (volume.name.to_string(), volume.home()))
            .collect();
        let mut found: BTreeMap<ProjectName, ProjectLine> = BTreeMap::new();
        for container in engine.running_containers().await? {
            let Some(name) = container.project.filter(|_| !container.one_off) else {
                continue;
            };
            let line = found.entry(name.clone()).or_insert_with(|| ProjectLine {
                name,
                directory: None,
                up: BTreeSet::new(),
                volumes: BTreeMap::new(),
                sites: Vec::new(),
            });
            let first = container.config_files.first().and_then(|file| file.parent());
            line.directory = line.directory.take().or(first.map(Path::to_owned));
            line.up.extend(container.service);
            for mount in container.mounts {
                if let MountKind::Volume(volume) = mount.kind {
                    let name = volume.to_string();
                    let home = homes.get(&name).cloned();
                    line.volumes.insert(name, home);
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
}
