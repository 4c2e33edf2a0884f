//! The sites of a project: those that its override gives a directory, and those that the database of sites knows.

use std::collections::BTreeMap;
use std::path::Path;

use super::SiteReport;
use super::list::{FAR, add_saved, report};
use super::storage::content;
use crate::model::{Result, SiteName};
use crate::observe::{Looked, SiteKnown};
use crate::ops::App;
use crate::ops::app::state_dir;
use crate::site::{Site, SiteDir, Storage, Store};

/// The directories of a project's sites, also where the storage is switched off and the data stayed. They are directories
/// of this machine: of an engine on another one nothing is known, and that is said.
///
/// # Errors
/// When the override or the database of sites cannot be read.
pub(in crate::ops) fn dirs_of(app: &App) -> Result<Vec<SiteDir>> {
    let content = content(app)?;
    if !app.engine.host().is_local() {
        if !content.is_empty() {
            app.options.events.warn(
                "the engine is on another machine: the directories of sites are only looked at where they are"
                    .to_owned(),
            );
        }
        return Ok(Vec::new());
    }
    let mut dirs: Vec<SiteDir> = content
        .services
        .into_values()
        .map(|mount| SiteDir {
            name: mount.site,
            dir: mount.source,
        })
        .collect();
    for site in sites_of(app)? {
        if let Some(dir) = site
            .data
            .filter(|_| dirs.iter().all(|known| known.name != site.name))
        {
            dirs.push(SiteDir { name: site.name, dir });
        }
    }
    dirs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(dirs)
}

/// The sites of a project that the database knows.
///
/// # Errors
/// When it cannot be read.
fn sites_of(app: &App) -> Result<Vec<Site>> {
    let path = state_dir(&app.options)?.path().join(Store::FILE);
    let Some(store) = Store::open_if_there(&path)? else {
        return Ok(Vec::new());
    };
    let home = app.located.dotenv.parent().unwrap_or(&app.located.directory);
    let same = |other: &Path| other == home || same_file(other, home);
    let mut sites = store.list()?;
    sites.retain(|site| site.directory.as_deref().is_some_and(same));
    Ok(sites)
}

/// The same, with what is in the directory of each and its backups.
///
/// # Errors
/// When the database or the project's state cannot be read.
pub(in crate::ops) fn reports_of(app: &App) -> Result<Vec<SiteReport>> {
    let sites = sites_of(app)?;
    let mut saved = BTreeMap::new();
    if !sites.is_empty() {
        add_saved(&app.state, &[FAR], &mut saved)?;
    }
    Ok(sites
        .into_iter()
        .map(|site| {
            let backups = saved.remove(&site.name).unwrap_or_default();
            report(site, backups)
        })
        .collect())
}

/// What a check-up has to know of each site. That the override cannot be read is one of the things to find.
///
/// # Errors
/// When the database of sites cannot be read.
pub(in crate::ops) fn known_of(app: &App) -> Result<Vec<SiteKnown>> {
    let read = content(app).map_err(|failure| failure.to_string());
    let has = |name: &SiteName| -> Looked<_> {
        let mut services = read.as_ref().map_err(Clone::clone)?.services.iter();
        let found = services.find(|(_, mount)| mount.site == *name);
        Ok(found.map(|(service, mount)| (service.clone(), mount.source.clone())))
    };
    let known = |site: Site| SiteKnown {
        on: site.persistent_storage == Storage::On,
        has: has(&site.name),
        dir: site.data,
        name: site.name,
    };
    Ok(sites_of(app)?.into_iter().map(known).collect())
}

/// Two names of one directory; one that is not there is none.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
