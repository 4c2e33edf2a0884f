//! `site list` and `site show`: the sites, what is in the directory of each, and the backups that it is in.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::Sites;
use crate::model::{Result, SiteName};
use crate::site::Site;
use crate::site::place::{Measured, measure};
use crate::state::{BackupLine, ProjectDir};

/// So many of the last bytes about a project's backups are looked at: some hundred backups.
pub(super) const FAR: u64 = 64 << 10;
/// Where all of hundreds of projects are, so many first, and more only if no backup is in them.
const NEAR: u64 = 4 << 10;
/// So many backups are told of one site.
const TOLD: usize = 5;

/// A site, and what is in its directory.
#[derive(Debug, Clone, Serialize)]
pub struct SiteReport {
    /// The site.
    #[serde(flatten)]
    pub site: Site,
    /// What is in its directory; `None` if there is none.
    pub measured: Option<Measured>,
    /// Why it could not be looked at.
    pub unseen: Option<String>,
    /// The last backups that it is in, the newest first, as they were written down when they were made: no place is asked.
    pub backups: Vec<SiteBackup>,
}

/// A backup that the directory of a site is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SiteBackup {
    /// Its name.
    pub id: String,
    /// When it began.
    pub began: Timestamp,
    /// Where it is.
    pub places: Vec<String>,
    /// When it was last read back.
    pub verified: Option<Timestamp>,
}

/// What a look at the directory of a site found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// What is in it; `None` if there is none.
    pub measured: Option<Measured>,
    /// Why it could not be looked at.
    pub unseen: Option<String>,
}

/// Looks at the directory of a site, at every file in it.
#[must_use]
pub fn look(directory: &Path) -> Look {
    if directory.symlink_metadata().is_err() {
        return Look::default();
    }
    match measure(directory) {
        Ok(measured) => Look {
            measured: Some(measured),
            unseen: None,
        },
        Err(failure) => Look {
            measured: None,
            unseen: Some(failure.to_string()),
        },
    }
}

impl SiteReport {
    /// A site, and what was found in its directory.
    #[must_use]
    pub fn new(site: Site, look: Look) -> Self {
        Self {
            site,
            measured: look.measured,
            unseen: look.unseen,
            backups: Vec::new(),
        }
    }
}

impl Sites {
    /// Every site, by name.
    ///
    /// # Errors
    /// When the database or the state directory cannot be read.
    pub fn list(&self) -> Result<Vec<SiteReport>> {
        let mut all = self.unmeasured()?;
        for report in &mut all {
            let found = report.site.data.as_deref().map(look).unwrap_or_default();
            (report.measured, report.unseen) = (found.measured, found.unseen);
        }
        Ok(all)
    }

    /// The same without a look at the directories, which may take long.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn unmeasured(&self) -> Result<Vec<SiteReport>> {
        let mut saved = self.saved(&[NEAR, FAR])?;
        let all = self.all()?.into_iter();
        Ok(all
            .map(|site| SiteReport {
                backups: saved.remove(&site.name).unwrap_or_default(),
                ..SiteReport::new(site, Look::default())
            })
            .collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none of this name, or the database or the state directory cannot be read.
    pub fn show(&self, name: &SiteName) -> Result<SiteReport> {
        let site = self.find(name)?;
        let backups = match self.saved(&[NEAR, FAR])?.remove(name) {
            Some(backups) => backups,
            // The last ones of its project may be of others alone.
            None => self.saved(&[FAR])?.remove(name).unwrap_or_default(),
        };
        Ok(report(site, backups))
    }

    /// The backups of every site, whichever project it is of.
    fn saved(&self, within: &[u64]) -> Result<BTreeMap<SiteName, Vec<SiteBackup>>> {
        let mut all = BTreeMap::new();
        for (key, project) in self.state.projects()? {
            // What one project's lines say is no condition for what the others' do.
            if let Err(failure) = add_saved(&project, within, &mut all) {
                self.options
                    .events
                    .warn(format!("the backups of {key} are not known: {failure}"));
            }
        }
        Ok(all)
    }
}

/// Adds the backups of a project's sites, the newest first, out of the first of so many last bytes that have any.
pub(super) fn add_saved(
    project: &ProjectDir,
    within: &[u64],
    all: &mut BTreeMap<SiteName, Vec<SiteBackup>>,
) -> Result<()> {
    let mut lines = Vec::new();
    for bytes in within {
        lines = project.last_backups(*bytes)?.lines;
        let is_made = |line: &BackupLine| matches!(line, BackupLine::Made { .. });
        if lines.iter().any(is_made) {
            break;
        }
    }
    for line in lines.iter().rev() {
        let BackupLine::Made {
            id,
            began,
            places,
            sites,
            ..
        } = line
        else {
            continue;
        };
        let verified = lines.iter().rev().find_map(|line| match line {
            BackupLine::Verified { id: of, at, .. } if of == id => Some(*at),
            _ => None,
        });
        for site in sites {
            let of_site = all.entry(site.clone()).or_default();
            if of_site.len() < TOLD {
                of_site.push(SiteBackup {
                    id: id.clone(),
                    began: *began,
                    places: places.clone(),
                    verified,
                });
            }
        }
    }
    Ok(())
}

pub(super) fn report(site: Site, backups: Vec<SiteBackup>) -> SiteReport {
    let found = site.data.as_deref().map(look).unwrap_or_default();
    SiteReport {
        backups,
        ..SiteReport::new(site, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProjectName, RunId};
    use crate::state::{ProjectKey, StateDir};

    #[test]
    fn the_newest_backups_of_a_site_are_told_first_and_not_those_that_it_is_not_in() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::resolve(Some(root.path()), false, |_| None).unwrap();
        let project = dir.project(&ProjectKey::new(&ProjectName::new("shop").unwrap(), None));
        let blog = SiteName::new("blog").unwrap();
        let at = |day: usize| -> Timestamp { format!("2026-11-{day:02}T02:00:00Z").parse().unwrap() };
        let made = |day: usize, sites: Vec<SiteName>| BackupLine::Made {
            id: format!("day {day}"),
            run: RunId::new("7k2f00000000").unwrap(),
            began: at(day),
            ended: at(day),
            bytes: 1,
            places: vec!["/var/backups".to_owned()],
            whole: true,
            sites,
        };
        for day in 1..=7 {
            project.append_backup(&made(day, vec![blog.clone()])).unwrap();
        }
        project.append_backup(&made(8, Vec::new())).unwrap();
        let verified = BackupLine::Verified {
            id: "day 7".to_owned(),
            at: at(9),
            drill: true,
        };
        project.append_backup(&verified).unwrap();
        let mut all = BTreeMap::new();
        add_saved(&project, &[FAR], &mut all).unwrap();
        let told = &all[&blog];
        let ids: Vec<&str> = told.iter().map(|backup| backup.id.as_str()).collect();
        assert_eq!(ids, ["day 7", "day 6", "day 5", "day 4", "day 3"]);
        assert_eq!((told[0].verified, told[1].verified), (Some(at(9)), None));
        // Behind many that failed the last good one is still found.
        let failed = BackupLine::Failed {
            run: RunId::new("7k2f00000000").unwrap(),
            began: at(10),
            ended: at(10),
            why: "no room ".repeat(200),
        };
        for _ in 0..4 {
            project.append_backup(&failed).unwrap();
        }
        let of = |within: &[u64]| {
            let mut all = BTreeMap::new();
            add_saved(&project, within, &mut all).unwrap();
            all.remove(&blog).map(|backups| backups[0].id.clone())
        };
        assert_eq!(of(&[NEAR]), None);
        assert_eq!(of(&[NEAR, FAR]).as_deref(), Some("day 7"));
    }
}
