//! `site move`: the data of a site gets another root. Looks once, plans, and hands the plan out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::storage::{PlannedStorage, content, owner_of};
use super::{Sites, service_of};
use crate::engine::Container;
use crate::model::{Failure, Result, SiteName};
use crate::observe::Depth;
use crate::ops::deploy::{DeployRequest, look};
use crate::ops::places::block_volumes;
use crate::plan::site_move::{SiteMoveWanted, site_move_plan};
use crate::site::{Site, SiteDir, place};
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

/// A root that data of sites can move to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// A mounted block volume.
    Block(PathBuf),
    /// Where data of other sites is.
    OfSites(PathBuf),
}

impl Sites {
    /// The roots on this machine that the data of a site can move to, but for the one where it is.
    ///
    /// # Errors
    /// When the database, or what is mounted, cannot be read.
    pub fn roots(&self, name: &SiteName) -> Result<Vec<Root>> {
        let all = self.all()?;
        let root = |site: &Site| site.data.as_deref().and_then(Path::parent).map(Path::to_owned);
        let here = all.iter().find(|site| site.name == *name).and_then(root);
        let of_sites: BTreeSet<PathBuf> = all.iter().filter_map(root).collect();
        let block = block_volumes()?
            .into_iter()
            .filter(|path| !of_sites.contains(path));
        let known = of_sites.iter().filter(|path| path.is_dir()).cloned();
        let mut found: Vec<Root> = block.map(Root::Block).chain(known.map(Root::OfSites)).collect();
        found.retain(|root| match root {
            Root::Block(path) | Root::OfSites(path) => Some(path) != here.as_ref(),
        });
        Ok(found)
    }

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
        let configured = self.root(app.settings.data_root.as_deref())?;
        let root = match &request.to {
            Some(root) => place::real_root(root)?,
            None => configured.clone(),
        };
        is_there(&root)?;
        let (seen, deploy) = look(&app, &DeployRequest::of_what_is_here(request.dry_run)).await?;
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
            configured,
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
