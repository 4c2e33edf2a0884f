//! Checks of sites: whether each has the directory that it is meant to have, and whether that is in a backup. A root whose
//! block volume is not mounted is told with the other directories that services mount.

use std::path::Path;

use super::backups::{days, oldest};
use super::missing::place;
use super::{About, Finding};
use crate::compose::sites::DATA;
use crate::engine::{MountKind, same_path};
use crate::model::ServiceName;
use crate::observe::{Checkup, SiteChecked};
use crate::state::BackupLine;

/// Storage that is on, and is not.
pub(super) fn storage(seen: &Checkup) -> Vec<Finding> {
    let on = seen.sites.iter().filter(|site| site.known.on);
    on.filter_map(|site| {
        data(seen, site)
            .or_else(|| unread(site))
            .or_else(|| unmounted(seen, site))
    })
    .collect()
}

fn error(site: &SiteChecked, id: &'static str, what: String) -> Finding {
    Finding::error(id, About::Site(site.known.name.clone()), what)
}

/// The directory is not there. Below a block volume that is away it need not be.
fn data(seen: &Checkup, site: &SiteChecked) -> Option<Finding> {
    let (name, dir) = (&site.known.name, site.known.dir.as_ref()?);
    let is_away = place(&seen.boot, dir).is_some();
    let dir = dir.display();
    match &site.there {
        Ok(true) => None,
        Ok(false) if is_away => None,
        Ok(false) => Some(
            error(
                site,
                "site-data-missing",
                format!("the directory of site {name} is not there: its container cannot start again"),
            )
            .seen(format!("{dir} does not exist"))
            .mend(format!("rehome backup restore --only {}", name.key())),
        ),
        Err(why) => Some(unlooked(site, "directory", why)),
    }
}

fn unlooked(site: &SiteChecked, what: &str, why: &str) -> Finding {
    let name = &site.known.name;
    let what = format!("the {what} of site {name} could not be looked at");
    Finding::unknown("site-unlooked", About::Site(name.clone()), what, why)
}

/// The project is not read with the override that gives it the directory.
fn unread(site: &SiteChecked) -> Option<Finding> {
    let name = &site.known.name;
    match &site.known.has {
        Ok(Some(_)) => None,
        Ok(None) => Some(
            error(
                site,
                "site-override-inactive",
                format!("persistent storage of site {name} is on, and the project is read without it"),
            )
            .seen("the next container of its service has no directory: what it writes goes with it")
            .mend(format!("rehome site enable {name}")),
        ),
        Err(why) => Some(unlooked(site, "override", why)),
    }
}

/// A container that runs does not have it.
fn unmounted(seen: &Checkup, site: &SiteChecked) -> Option<Finding> {
    let (service, dir) = site.known.has.as_ref().ok()?.as_ref()?;
    let without = containers_without(seen, service, dir);
    (!without.is_empty()).then(|| {
        let name = &site.known.name;
        without
            .iter()
            .fold(
                error(
                    site,
                    "site-not-mounted",
                    format!("service `{service}` runs without the directory of site {name}"),
                ),
                |finding, container| {
                    finding.seen(format!(
                        "container {container} does not have {} at {DATA}",
                        dir.display()
                    ))
                },
            )
            .seen("what it writes there goes with it")
            .mend(format!("rehome compose -- up -d {service}"))
    })
}

fn containers_without<'a>(seen: &'a Checkup, service: &ServiceName, dir: &Path) -> Vec<&'a str> {
    let up = seen.containers.iter().filter(|c| c.up && c.service == *service);
    let without = up.filter(|c| {
        !c.mounts.iter().any(|mount| {
            same_path(&mount.destination, DATA)
                && matches!(&mount.kind, MountKind::Bind(source) if Path::new(source) == dir)
        })
    });
    without.map(|c| c.name.as_str()).collect()
}

/// Backups are made, and the directory is in none that is as young as the last one should be.
pub(super) fn backups(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    let wanted = |site: &&SiteChecked| seen.known.backups_wanted && site.known.on && site.there == Ok(true);
    for site in seen.sites.iter().filter(wanted) {
        let name = &site.known.name;
        let last = seen.known.backups.iter().rev().find_map(|line| match line {
            BackupLine::Made { id, began, sites, .. } if sites.contains(name) => Some((id, *began)),
            _ => None,
        });
        let age = last.map(|(_, at)| seen.known.now.as_second() - at.as_second());
        let what = match age {
            Some(age) if age <= oldest(seen) => continue,
            Some(age) => format!(
                "the last backup with the data of site {name} is {} old",
                days(age)
            ),
            None => format!("the data of site {name} is in no backup that Rehome knows of"),
        };
        let mut finding = Finding::warning("site-no-backup", About::Site(name.clone()), what);
        if let Some((id, at)) = last {
            finding = finding.seen(format!("{id}, of {at:.0}"));
        }
        found.push(finding.mend("rehome backup create"));
    }
    found
}
