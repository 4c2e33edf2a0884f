//! `site move`: the data of a site gets another root. Looks once, plans, and hands the plan out.

use std::path::{Path, PathBuf};

use super::storage::{PlannedStorage, content, of_one_service, owner_of};
use super::{Sites, service_of};
use crate::engine::Container;
use crate::model::{Failure, Result, SiteName};
use crate::observe::Depth;
use crate::ops::deploy::look;
use crate::plan::site_move::{SiteMoveWanted, site_move_plan};
use crate::site::{SiteDir, place};
use crate::steps::Copying;

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct SiteMoveRequest {
    /// The site.
    pub name: SiteName,
    /// The root that it gets; that of the configuration or the environment if it is not said.
    pub to: Option<PathBuf>,
    /// No copying while the service runs.
    pub offline: bool,
    /// Only the plan is wanted: the lock is not needed.
    pub dry_run: bool,
}

impl Sites {
    /// Looks at the world and plans the move.
    ///
    /// # Errors
    /// Refuses in words whatever can be known beforehand to go wrong.
    pub async fn plan_move(&self, request: &SiteMoveRequest) -> Result<PlannedStorage> {
        let site = self.find(&request.name)?;
        let name = &site.name;
        let refused = |what: String| Failure::refused(what).data("nothing was changed");
        let Some(from) = site.data.clone() else {
            return Err(refused(format!("{name} has no data yet"))
                .hint(format!("it gets a directory with: rehome site enable {name}")));
        };
        let (app, lock) = self.open_to_change(&site, request.dry_run).await?;
        let root = match &request.to {
            Some(root) => place::real_root(root)?,
            None => self.root(app.settings.data_root.as_deref())?,
        };
        is_there(&root)?;
        let (seen, deploy) = look(&app, &of_one_service(request.dry_run)).await?;
        let service = service_of(&app, site.service.as_ref())?;
        let containers = app.engine.project_containers(&app.project.name).await?;
        let of_it = |c: &&Container| !c.one_off && c.service.as_ref() == Some(&service);
        let depth = Depth {
            scan: Some(vec![name.key()]),
            destination: Some((root.clone(), vec![name.as_str().into()])),
            override_path: app.settings.override_path.clone(),
            sites: vec![SiteDir {
                name: name.clone(),
                dir: from.clone(),
            }],
            ..Depth::default()
        };
        let world = app.look(&app.looking(), &depth).await?;
        let wanted = SiteMoveWanted {
            place: place::look(&root, name)?,
            owner: owner_of(&app, &service, containers.iter().find(of_it), None).await?,
            offline: request.offline,
            copying: Copying::default(),
            override_path: app.settings.site_override_path.clone(),
            content: content(&app)?,
            database: self.database(),
            deploy,
            service,
            from,
            root,
            site,
        };
        let plan = site_move_plan(&seen, &world, &wanted)?;
        if lock.is_some() {
            // The run writes into it at its end: that this works is known before anything is stopped.
            self.store()?;
        }
        Ok(PlannedStorage {
            plan,
            after: app.located.clone(),
            app,
            lock,
        })
    }
}

/// A root that is not there may be a block volume that is not.
fn is_there(root: &Path) -> Result<()> {
    match root.is_dir() {
        true => Ok(()),
        false => Err(
            Failure::refused(format!("there is no directory {}", root.display()))
                .data("nothing was changed")
                .hint("is the volume mounted that it is on? findmnt; then make it: mkdir -p"),
        ),
    }
}
