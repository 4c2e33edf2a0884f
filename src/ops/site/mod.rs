//! Sites: added, listed, imported, removed, and their persistent storage switched on and off.

mod add;
mod import;
mod list;
mod move_;
mod of_project;
mod remove;
mod storage;

use std::path::{Path, PathBuf};

pub use add::{AddReport, AddRequest, What};
pub use import::{ImportReport, PlannedImport, Skipped};
pub use list::{Look, SiteBackup, SiteReport, look};
pub use move_::{Root, SiteMoveRequest};
pub(in crate::ops) use of_project::{dirs_of, known_of, reports_of};
pub use remove::{PlannedRemove, RemoveReport};
pub use storage::{PlannedStorage, StorageRequest};

use super::app::state_dir;
use super::runs::wanted_in;
use super::{App, Options};
use crate::compose::{Wanted, locate};
use crate::model::{Failure, Kind, Result, ServiceName, SiteName, nearest};
use crate::site::{Site, Store, place};
use crate::state::StateDir;

/// Where the directories of sites are, in the environment.
const ROOT: &str = "DEPLOY_DATA_PATH";
/// The sites of this machine and user.
pub struct Sites {
    options: Options,
    state: StateDir,
}

impl Sites {
    /// Finds out where they are kept. Nothing is opened yet.
    ///
    /// # Errors
    /// When a project is named as well: a site says itself which is its.
    pub fn new(options: Options) -> Result<Self> {
        let project = &options.project;
        let said = [
            (!project.files.is_empty(), "--file"),
            (project.project_name.is_some(), "--project-name"),
            (project.project_directory.is_some(), "--project-directory"),
            (!project.env_files.is_empty(), "--env-file"),
            (!project.profiles.is_empty(), "--profile"),
        ];
        if let Some((_, option)) = said.iter().find(|(said, _)| *said) {
            return Err(
                Failure::usage(format!("{option} says nothing about a site"))
                    .cause("its project is read as `docker compose` reads it in its directory")
                    .data("nothing was changed")
                    .hint("what belongs to every call of the project can stand in its .env: COMPOSE_FILE, COMPOSE_PROJECT_NAME, COMPOSE_PROFILES"),
            );
        }
        Ok(Self {
            state: state_dir(&options)?,
            options,
        })
    }

    fn database(&self) -> PathBuf {
        self.state.path().join(Store::FILE)
    }

    fn store(&self) -> Result<Store> {
        self.state.create()?;
        Store::open(&self.database())
    }

    /// What is known of every site, without a look at its data.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn names(&self) -> Result<Vec<Site>> {
        self.all()
    }

    fn all(&self) -> Result<Vec<Site>> {
        match Store::open_if_there(&self.database())? {
            Some(store) => store.list(),
            None => Ok(Vec::new()),
        }
    }

    /// Whether there is a site of this name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn has(&self, name: &SiteName) -> Result<bool> {
        match Store::open_if_there(&self.database())? {
            Some(store) => Ok(store.find(name)?.is_some()),
            None => Ok(false),
        }
    }

    fn find(&self, name: &SiteName) -> Result<Site> {
        let all = self.all()?;
        if let Some(site) = all.iter().find(|site| site.name == *name) {
            return Ok(site.clone());
        }
        let failure = Failure::refused(format!("there is no site {name}")).data("nothing was changed");
        Err(
            match nearest(name.as_str(), all.iter().map(|site| site.name.as_str())) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure.hint(format!("add it: rehome site add {name} --project DIR")),
            },
        )
    }

    /// Where the directories of sites are: `data_root` of the project's configuration, else of the environment, else the
    /// default. With its symlinks resolved: this is what containers mount.
    fn root(&self, configured: Option<&Path>) -> Result<PathBuf> {
        let env = self.options.project.env.get(ROOT).filter(|path| !path.is_empty());
        match (configured, env) {
            (Some(root), _) => place::real_root(root),
            (None, Some(root)) => {
                let root = crate::model::config::absolute_dir(root).map_err(|error| {
                    Failure::usage(format!("{ROOT}: {error}")).data("nothing was changed")
                })?;
                place::real_root(&root)
            }
            (None, None) => place::real_root(Path::new(place::DEFAULT_ROOT)),
        }
    }

    /// What finds the project in a directory, and nothing else.
    fn wanted_in(&self, directory: &Path) -> Wanted {
        wanted_in(directory, &self.options.project)
    }

    /// Whether there is a project in a directory itself, and not only in one above it.
    ///
    /// # Errors
    /// When there is none.
    fn is_a_project(&self, directory: &Path) -> Result<()> {
        let located = locate(&self.wanted_in(directory)).map_err(|failure| Failure {
            // Not this machine is in the way, but what was said about it.
            kind: Kind::Refused,
            ..failure.data("nothing was changed")
        })?;
        match located.dotenv.parent() {
            Some(home) if home != directory => Err(Failure::refused(format!(
                "{} is not the directory of a project",
                directory.display()
            ))
            .cause(format!("that is {}", home.display()))
            .data("nothing was changed")),
            _ => Ok(()),
        }
    }

    /// Opens the project in a directory.
    async fn open(&self, directory: &Path) -> Result<App> {
        let options = Options {
            project: self.wanted_in(directory),
            ..self.options.clone()
        };
        App::open(options).await
    }
}

/// The service that has the data of a site: the one that was named, or the only one.
fn service_of(app: &App, named: Option<&ServiceName>) -> Result<ServiceName> {
    let active = || app.project.services.values().filter(|service| service.active);
    let names: Vec<&str> = active().map(|service| service.name.as_str()).collect();
    let failure = |what: String| Failure::refused(what).data("nothing was changed");
    match (named, &names[..]) {
        (Some(named), names) if names.contains(&named.as_str()) => Ok(named.clone()),
        (Some(named), _) => {
            let failure = failure(format!("project {} has no service `{named}`", app.project.name));
            Err(match nearest(named.as_str(), names.iter().copied()) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint(format!("it has: {}", names.join(", "))),
            })
        }
        (None, [only]) => ServiceName::new(*only).map_err(|error| Failure::bug(error.to_string())),
        (None, []) => Err(failure(format!("project {} has no service", app.project.name))),
        (None, _) => Err(failure(format!(
            "project {} has several services: which one has the data of the site?",
            app.project.name
        ))
        .cause(names.join(", "))
        .hint("say it with --service")),
    }
}
