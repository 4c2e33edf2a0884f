//! `site enable` and `site disable`: looks once, plans, and hands the plan out; what is said yes to is what runs.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Sites, service_of};
use crate::compose::project::{MountSource, Service};
use crate::compose::sites::{DATA, DATA_DIR};
use crate::compose::{Dotenv, Located, SiteOverride, compose_file_with, compose_file_without};
use crate::engine::{Container, same_path};
use crate::model::{Failure, Owner, Result, ServiceName, SiteName, shell_path};
use crate::observe::meant_in_time;
use crate::ops::App;
use crate::ops::deploy::{DeployRequest, look};
use crate::ops::execute::{Finish, RunFacts, Running, SiteAbout};
use crate::plan::site::{StoragePlan, StorageWanted, storage_plan};
use crate::site::Site;
use crate::site::place::{self, Place};
use crate::state::Lock;
use crate::steps::deploy::ComposeFile;

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct StorageRequest {
    /// The site.
    pub name: SiteName,
    /// On, or off.
    pub on: bool,
    /// Whose the directory shall be, if not its container's user's.
    pub owner: Option<Owner>,
    /// Only the plan is wanted: the lock is not needed.
    pub dry_run: bool,
}

/// A plan, ready to run. The project stays locked while it exists.
pub struct PlannedStorage {
    /// What will be done.
    pub plan: StoragePlan,
    pub(super) app: App,
    pub(super) after: Located,
    pub(super) lock: Option<Lock>,
}

impl PlannedStorage {
    /// Runs it.
    ///
    /// # Errors
    /// Only when the run could not be begun; how it ended is in [`Finish`].
    pub async fn run(self) -> Result<Finish> {
        let lock = self
            .lock
            .ok_or_else(|| Failure::bug("a dry run was asked to run"))?;
        let StoragePlan { facts, steps } = self.plan;
        let about = RunFacts::Site(Box::new(SiteAbout { storage: facts }));
        let running = Running {
            after: self.after,
            ..Running::as_it_is(&self.app)
        };
        running.begin(&self.app, (about, steps), lock).await
    }
}

impl Sites {
    /// Opens the project of a site, on this machine and with nothing unfinished; locked, unless only a plan is wanted.
    pub(super) async fn open_to_change(&self, site: &Site, dry_run: bool) -> Result<(App, Option<Lock>)> {
        let name = &site.name;
        let refused = |what: String| Failure::refused(what).data("nothing was changed");
        let Some(directory) = &site.directory else {
            return Err(refused(format!("where the project of {name} is, is not known"))
                .cause("it came from a panel, whose database does not say it")
                .hint(format!("rehome site add {name} --project DIR")));
        };
        self.is_a_project(directory)?;
        let app = self.open(directory).await?;
        if !app.engine.host().is_local() {
            return Err(refused(format!(
                "the engine is on another machine: {}",
                app.engine.host().url
            ))
            .cause("the directories of sites are made and looked after on the machine that has them")
            .hint("run rehome there"));
        }
        let lock = match dry_run {
            true => None,
            false => Some(app.lock()?),
        };
        app.no_unfinished_run().map_err(|failure| {
            failure.hint(format!(
                "in the project's directory: cd {}",
                shell_path(directory)
            ))
        })?;
        if lock.is_some() {
            app.engine.remove_left_helpers(&app.project.name).await?;
        }
        Ok((app, lock))
    }

    /// Looks at the world and plans the switch.
    ///
    /// # Errors
    /// Refuses in words whatever can be known beforehand to go wrong.
    pub async fn plan_storage(&self, request: &StorageRequest) -> Result<PlannedStorage> {
        let site = self.find(&request.name)?;
        let name = &site.name;
        let (app, lock) = self.open_to_change(&site, request.dry_run).await?;
        let (seen, deploy) = look(&app, &DeployRequest::of_what_is_here(request.dry_run)).await?;
        let service = service_of(&app, site.service.as_ref())?;
        let containers = app.engine.project_containers(&app.project.name).await?;
        let of_it = |c: &&Container| !c.one_off && c.service.as_ref() == Some(&service);
        let container = containers.iter().find(of_it);

        let content = content(&app)?;
        let has = content.services.get(&service).map(|mount| mount.source.clone());
        let root = self.root(app.settings.data_root.as_deref())?;
        let (place, meant, owner) = match request.on {
            true => (
                place::look(&root, name)?,
                meant_in_time(root.clone()).await?,
                owner_of(&app, &service, container, request.owner).await?,
            ),
            false => (Place::Missing, None, Owner { uid: 0, gid: 0 }),
        };
        let resolved = app.project.services.get(&service);
        let other_data = resolved.and_then(|resolved| other_data(resolved, has.as_deref()));
        let data_inside = match container {
            Some(container)
                if request.on && !container.mounts.iter().any(|m| same_path(&m.destination, DATA)) =>
            {
                app.engine.path_exists(&container.id, DATA).await?
            }
            _ => false,
        };
        let after_content = content.clone().with(&service, None);
        let (after, compose_file) = files(&app, request.on || !after_content.is_empty())?;
        let wanted = StorageWanted {
            on: request.on,
            root,
            place,
            meant,
            owner,
            other_data,
            other_dir: container
                .and_then(|container| container.env(DATA_DIR))
                .is_some_and(|dir| !same_path(dir, DATA)),
            data_inside,
            override_path: app.settings.site_override_path.clone(),
            content,
            compose_file,
            database: self.database(),
            deploy,
            service,
            site,
        };
        let plan = storage_plan(&seen, &wanted)?;
        if lock.is_some() {
            // The run writes into it at its end: that this works is known before anything is stopped.
            self.store()?;
        }
        Ok(PlannedStorage {
            plan,
            app,
            after,
            lock,
        })
    }
}

/// What the override says, if the project is read with it: one that nothing points at says nothing.
pub(super) fn content(app: &App) -> Result<SiteOverride> {
    let path = &app.settings.site_override_path;
    let found =
        SiteOverride::read(path, &app.project.name).map_err(|failure| failure.data("nothing was changed"))?;
    match found {
        Some(found) if app.located.files.contains(path) => Ok(found),
        _ => Ok(SiteOverride::empty(app.project.name.clone())),
    }
}

/// The project's files afterwards, and what `COMPOSE_FILE` has to be for that, if it is not.
fn files(app: &App, with: bool) -> Result<(Located, Option<ComposeFile>)> {
    let located = &app.located;
    let (path, block) = (&app.settings.site_override_path, &app.settings.override_path);
    let (after, value) = if with {
        // The override of volumes stays the last: it is where everything else looks for it.
        let mut after = located.with_file_before(path, block);
        let home = located.dotenv.parent().unwrap_or(Path::new("/"));
        for (file, written) in after.files.iter().zip(&mut after.written) {
            if file == path {
                *written = path.strip_prefix(home).unwrap_or(path).display().to_string();
            }
        }
        let last = if after.files.contains(block) { block } else { path };
        let value = compose_file_with(&after, last)?;
        (after, Some(value))
    } else {
        (located.without_file(path), compose_file_without(located, path)?)
    };
    let now = Dotenv::read(&located.dotenv)?.get("COMPOSE_FILE", &BTreeMap::new());
    let compose_file = (now != value).then(|| ComposeFile {
        dotenv: located.dotenv.clone(),
        value,
    });
    Ok((after, compose_file))
}

/// What a service has at `/data` that is not the directory of the site, in words.
fn other_data(service: &Service, own: Option<&Path>) -> Option<String> {
    let at = service.mounts.iter().find(|mount| same_path(&mount.target, DATA));
    let tmpfs = || {
        let is_there = |text: &String| {
            text.split(':')
                .next()
                .is_some_and(|target| same_path(target, DATA))
        };
        service.tmpfs.iter().any(is_there).then(|| "memory".to_owned())
    };
    match at.map(|mount| &mount.source) {
        Some(MountSource::Bind { source, .. }) if Some(source.as_path()) == own => None,
        Some(MountSource::Bind { source, .. }) => Some(format!("directory {}", source.display())),
        Some(MountSource::Volume { key, .. }) => Some(format!("volume {key}")),
        Some(MountSource::Anonymous) => Some("a volume without a name".to_owned()),
        Some(MountSource::Tmpfs) => Some("memory".to_owned()),
        Some(MountSource::Other(what)) => Some(what.clone()),
        None => tmpfs(),
    }
}

/// Whose the directory is to be: the user of the container, or of the image that it will be made from.
pub(super) async fn owner_of(
    app: &App,
    service: &ServiceName,
    container: Option<&Container>,
    said: Option<Owner>,
) -> Result<Owner> {
    if let Some(owner) = said {
        return Ok(owner);
    }
    if let Some(container) = container {
        return app
            .engine
            .numeric_user(container)
            .await
            .map_err(|failure| failure.data("nothing was changed"));
    }
    let resolved = app.project.services.get(service);
    let image = match resolved.and_then(|resolved| resolved.image.as_deref()) {
        Some(image) => app.engine.find_image(image).await?,
        None => None,
    };
    let user = resolved.and_then(|resolved| resolved.user.clone());
    let user = user.or(image.map(|image| image.user));
    user.as_deref().and_then(numeric).ok_or_else(|| {
        Failure::refused(format!("which user service `{service}` runs as cannot be told"))
            .cause("it has no container yet, and its user is a name that only the image can tell, or its image is not here")
            .data("nothing was changed")
            .hint("start it first: docker compose up -d")
            .hint("or say whose the directory shall be: --owner UID:GID")
    })
}

/// A user as an image or a Compose file writes it, where it is a number. The group of a bare number is that of root,
/// unless the image knows the user.
fn numeric(user: &str) -> Option<Owner> {
    if user.is_empty() || user == "root" {
        return Some(Owner { uid: 0, gid: 0 });
    }
    user.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_is_a_name_is_not_guessed() {
        let owner = |uid, gid| Some(Owner { uid, gid });
        for (text, wanted) in [
            ("", owner(0, 0)),
            ("root", owner(0, 0)),
            ("1000:1001", owner(1000, 1001)),
            ("1000", None),
            ("node", None),
            ("node:node", None),
        ] {
            assert_eq!(numeric(text), wanted, "{text:?}");
        }
    }
}
