//! `site list` and `site show`: the sites, and what is in the directory of each.

use std::path::Path;

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
        }
    }
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
    let found = site.data.as_deref().map(look).unwrap_or_default();
    SiteReport::new(site, found)
}
