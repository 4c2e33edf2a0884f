//! `site list` and `site show`: the sites, and what is in the directory of each.

use serde::Serialize;

use super::Sites;
use crate::model::{Result, SiteName};
use crate::site::Site;
use crate::site::place::{Measured, measure};

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
}

impl Sites {
    /// Every site, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self) -> Result<Vec<SiteReport>> {
        Ok(self.all()?.into_iter().map(report).collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none of this name, or the database cannot be read.
    pub fn show(&self, name: &SiteName) -> Result<SiteReport> {
        self.find(name).map(report)
    }
}

fn report(site: Site) -> SiteReport {
    let there = site.data.as_ref().filter(|path| path.symlink_metadata().is_ok());
    let (measured, unseen) = match there.map(|path| measure(path)) {
        None => (None, None),
        Some(Ok(measured)) => (Some(measured), None),
        Some(Err(failure)) => (None, Some(failure.to_string())),
    };
    SiteReport {
        site,
        measured,
        unseen,
    }
}
