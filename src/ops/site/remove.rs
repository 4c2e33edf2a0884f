//! `site remove`: forgets a site. Its data stays, unless somebody says its name twice.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Sites;
use crate::compose::sites::{image_project, image_project_name};
use crate::engine::{self, Engine, HelperJob, HelperMount, MountKind};
use crate::helper::protocol::Request;
use crate::model::{Failure, ProjectName, Result, RunId, SiteName, shell_path};
use crate::ops::app::entropy;
use crate::site::place::{Measured, Place, look, measure};
use crate::site::{MadeOf, Site, Storage};
use crate::steps::TO;

/// What would go.
pub struct PlannedRemove {
    /// The site.
    pub site: Site,
    /// What is in the directory that is deleted with it.
    pub deletes: Option<Measured>,
    /// What restores and moves that went back put aside beside it: it stays.
    pub left: Vec<PathBuf>,
    /// The files that Rehome wrote for it and nobody changed.
    pub files: Vec<PathBuf>,
    engine: Option<Engine>,
}

/// What went.
#[derive(Debug, Clone, Serialize)]
pub struct RemoveReport {
    /// The site.
    pub name: SiteName,
    /// Where its data is.
    pub data: Option<PathBuf>,
    /// Whether that was deleted.
    pub deleted: bool,
}

impl Sites {
    /// Looks at what would go with a site.
    ///
    /// # Errors
    /// Refused while its containers have its data, or when what shall be deleted is not a directory of its own.
    pub async fn plan_remove(&self, name: &SiteName, delete_data: bool) -> Result<PlannedRemove> {
        let site = self.find(name)?;
        let is_there = site.directory.as_ref().is_some_and(|dir| dir.is_dir());
        if site.persistent_storage == Storage::On && is_there {
            return Err(Failure::refused(format!("persistent storage of {name} is on"))
                .cause("an override beside its project gives its service a directory")
                .data("nothing was changed")
                .hint(format!(
                    "switch it off first, the data stays: rehome site disable {name}"
                )));
        }
        let engine = match delete_data || matches!(site.made_of, MadeOf::Image { .. }) {
            true => Some(Engine::connect(engine::resolve_host(&self.options.engine)?).await?),
            false => None,
        };
        let mut files = Vec::new();
        if let (Some(engine), MadeOf::Image { image, port, health }) = (&engine, &site.made_of) {
            self.has_no_containers(engine, &site).await?;
            let (compose, settings) =
                image_project(name, image, (port.host, port.container), health.as_deref());
            let directory = self.state.site(name);
            for (file, text) in [("docker-compose.yml", compose), ("rehome.yml", settings)] {
                let path = directory.join(file);
                if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                    files.push(path);
                }
            }
            // What is left of one in which only `COMPOSE_FILE` stood.
            let dotenv = directory.join(".env");
            if std::fs::metadata(&dotenv).is_ok_and(|meta| meta.len() == 0) {
                files.push(dotenv);
            }
        }
        let deletes = match (&engine, delete_data) {
            (Some(engine), true) => Some(self.may_be_deleted(engine, &site).await?),
            _ => None,
        };
        let left = match (&site.data, &deletes) {
            (Some(data), Some(_)) => put_aside(data)?,
            _ => Vec::new(),
        };
        Ok(PlannedRemove {
            site,
            deletes,
            left,
            files,
            engine,
        })
    }

    async fn has_no_containers(&self, engine: &Engine, site: &Site) -> Result<()> {
        let project = ProjectName::new(image_project_name(&site.name))
            .map_err(|error| Failure::bug(error.to_string()))?;
        match engine.project_containers(&project).await?.first() {
            None => Ok(()),
            Some(container) => {
                let directory = site.directory.as_deref().unwrap_or(Path::new("."));
                Err(
                    Failure::refused(format!("site {} has containers: {}", site.name, container.name))
                        .data("nothing was changed")
                        .hint(format!(
                            "rehome down --project-directory {}",
                            shell_path(directory)
                        )),
                )
            }
        }
    }

    async fn may_be_deleted(&self, engine: &Engine, site: &Site) -> Result<Measured> {
        let name = &site.name;
        let refused = |what: String| Failure::refused(what).data("nothing was changed");
        if !engine.host().is_local() {
            return Err(refused(format!(
                "the engine is on another machine ({}), and the data of {name} is on this one",
                engine.host().url
            )));
        }
        let Some(data) = &site.data else {
            return Err(refused(format!("site {name} never had a directory"))
                .hint(format!("without --delete-data: rehome site remove {name}")));
        };
        let (Some(root), true) = (data.parent(), data.ends_with(name.as_str())) else {
            return Err(refused(format!(
                "{} is not a directory of this site",
                data.display()
            )));
        };
        if look(root, name)? == Place::Missing {
            return Err(refused(format!("{} is not there", data.display()))
                .hint("is its volume mounted?")
                .hint(format!("without --delete-data: rehome site remove {name}")));
        }
        let has_it =
            |kind: &MountKind| matches!(kind, MountKind::Bind(path) if Path::new(path).starts_with(data));
        let running = engine.running_containers().await?;
        if let Some(container) = running.iter().find(|c| c.mounts.iter().any(|m| has_it(&m.kind))) {
            return Err(
                refused(format!("container {} has {}", container.name, data.display()))
                    .hint("stop it, and make it anew without that mount"),
            );
        }
        measure(data)
    }

    /// Forgets the site, and deletes what was planned to be.
    ///
    /// # Errors
    /// When its data shall be deleted and `typed` is not its name; when something cannot be removed.
    pub async fn remove(&self, planned: PlannedRemove, typed: Option<&str>) -> Result<RemoveReport> {
        let site = &planned.site;
        let deleted = planned.deletes.is_some();
        if let (true, Some(data), Some(engine)) = (deleted, &site.data, &planned.engine) {
            if typed != Some(site.name.as_str()) {
                return Err(Failure::refused("that is not the name of the site").data("nothing was deleted"));
            }
            delete(engine, &site.name, data).await?;
        }
        for path in &planned.files {
            remove_file(path)?;
        }
        if let (false, Some(dir)) = (planned.files.is_empty(), &site.directory) {
            // What somebody else put beside them stays.
            match std::fs::remove_dir(dir) {
                Err(error) if error.kind() != std::io::ErrorKind::DirectoryNotEmpty => {
                    return Err(
                        Failure::environment(format!("cannot remove {}", dir.display())).because(&error)
                    );
                }
                _ => {}
            }
        }
        self.store()?.remove(&site.name)?;
        Ok(RemoveReport {
            name: site.name.clone(),
            data: site.data.clone(),
            deleted,
        })
    }
}

/// What is called after a directory, with something behind a dot: no site has a dot in its name.
fn put_aside(data: &Path) -> Result<Vec<PathBuf>> {
    let (Some(root), Some(name)) = (data.parent(), data.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let failed = |error: &std::io::Error| {
        Failure::environment(format!("cannot read {}", root.display())).because(error)
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).map_err(|e| failed(&e))? {
        let entry = entry.map_err(|e| failed(&e))?;
        let other = entry.file_name();
        let rest = other.to_str().and_then(|other| other.strip_prefix(name));
        if rest.is_some_and(|rest| rest.starts_with('.')) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// In a helper: it goes through no symlink and onto no other file system, and may remove what belongs to others.
async fn delete(engine: &Engine, name: &SiteName, data: &Path) -> Result<()> {
    let root = data.parent().unwrap_or(Path::new("/"));
    let request = Request::Remove {
        parent: TO.into(),
        path: name.as_str().into(),
    };
    let mount = HelperMount::Bind {
        source: root.to_string_lossy().into_owned(),
        target: TO.into(),
        read_only: false,
    };
    let project =
        ProjectName::new(image_project_name(name)).map_err(|error| Failure::bug(error.to_string()))?;
    let job = HelperJob::new(&RunId::from_entropy(entropy()), &project, request, vec![mount]);
    engine
        .helper(job, &mut |_| {})
        .await
        .map(|_| ())
        .map_err(|failure| {
            failure.data(format!(
                "a part of {} may be deleted; the site is still known, and the same command goes on",
                data.display()
            ))
        })
}

pub(super) fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::environment(format!("cannot remove {}", path.display())).because(&error))
        }
        _ => Ok(()),
    }
}
