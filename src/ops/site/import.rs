//! `site import`: takes over the sites of a hosting panel's database.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::Sites;
use crate::model::{Result, SiteName};
use crate::site::{MadeOf, Site, Storage, panel};

/// What would be taken over.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedImport {
    /// The sites that are added.
    pub sites: Vec<Site>,
    /// What is not, and why.
    pub skipped: Vec<Skipped>,
}

/// A line of the panel's table that becomes no site.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// What the panel calls it.
    pub name: String,
    /// Why.
    pub why: String,
    /// It is a site already: nothing is wrong with it.
    pub known: bool,
}

/// What was taken over.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    /// The sites that were added.
    pub added: Vec<SiteName>,
    /// What was not, and why.
    pub skipped: Vec<Skipped>,
}

impl Sites {
    /// Reads the database of a panel, and says what it would become. With `projects` each site whose project is in a
    /// directory of its name below that is known to be there.
    ///
    /// # Errors
    /// When it cannot be read, or is none of a panel.
    pub fn plan_import(&self, file: &Path, projects: Option<&Path>) -> Result<PlannedImport> {
        let cwd = &self.options.project.cwd;
        let root = self.root(None)?;
        let known = self.all()?;
        let mut planned = PlannedImport {
            sites: Vec::new(),
            skipped: Vec::new(),
        };
        for line in panel::read(&cwd.join(file))? {
            let mut skip = |why: String, known: bool| {
                planned.skipped.push(Skipped {
                    name: line.name.clone(),
                    why,
                    known,
                });
            };
            let name = match SiteName::new(line.name.as_str()) {
                Ok(name) => name,
                Err(error) => {
                    skip(error.to_string(), false);
                    continue;
                }
            };
            if known.iter().any(|site| site.name == name) {
                skip("it is a site already".to_owned(), true);
                continue;
            }
            if planned.sites.iter().any(|site| site.name == name) {
                planned.skipped.push(Skipped {
                    name: line.name,
                    why: "the panel has it twice".to_owned(),
                    known: false,
                });
                continue;
            }
            let directory = projects.map(|dir| cwd.join(dir).join(name.as_str()));
            let directory = directory.filter(|dir| self.is_a_project(dir).is_ok());
            planned.sites.push(imported(
                name.clone(),
                directory,
                line.persistent_storage.then(|| root.join(name.as_str())),
            ));
        }
        Ok(planned)
    }

    /// Adds them.
    ///
    /// # Errors
    /// When the database of sites cannot be written; those before that one are in it, and are skipped the next time.
    pub fn import(&self, planned: PlannedImport) -> Result<ImportReport> {
        let store = self.store()?;
        let mut added = Vec::new();
        for site in planned.sites {
            store.add(&site)?;
            added.push(site.name);
        }
        Ok(ImportReport {
            added,
            skipped: planned.skipped,
        })
    }
}

fn imported(name: SiteName, directory: Option<PathBuf>, data: Option<PathBuf>) -> Site {
    Site {
        name,
        made_of: match &directory {
            Some(_) => MadeOf::Project,
            None => MadeOf::Imported,
        },
        directory,
        service: None,
        persistent_storage: match &data {
            Some(_) => Storage::Panel,
            None => Storage::Off,
        },
        data,
        made: Timestamp::now(),
    }
}
