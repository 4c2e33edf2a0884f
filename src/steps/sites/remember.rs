//! Writes into the database of sites how it is now.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Failure, Result, SiteName};
use crate::saga::Step;
use crate::site::{Site, Storage, Store};
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Remember {
    /// The database.
    pub database: PathBuf,
    /// The site.
    pub site: SiteName,
    /// How it is.
    pub storage: Storage,
    /// Where its data is.
    pub data: Option<PathBuf>,
}

/// How it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    storage: Storage,
    data: Option<PathBuf>,
}

impl Remember {
    fn find(&self) -> Result<Option<Site>> {
        match Store::open_if_there(&self.database)? {
            Some(store) => store.find(&self.site),
            None => Ok(None),
        }
    }
}

impl Step for Remember {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        format!(
            "write down that persistent storage of {} is {}",
            self.site,
            self.storage.as_str()
        )
    }

    async fn prepare(&self, _: &Cx) -> Result<Before> {
        let site = self
            .find()?
            .ok_or_else(|| Failure::environment(format!("there is no site {} any more", self.site)))?;
        Ok(Before {
            storage: site.persistent_storage,
            data: site.data,
        })
    }

    async fn apply(&self, _: &Cx, _: &Before) -> Result<()> {
        Store::open(&self.database)?.keep(&self.site, self.storage, self.data.as_deref())
    }

    async fn verify(&self, _: &Cx, _: &Before) -> Result<Option<String>> {
        match self.find()? {
            Some(site) if site.persistent_storage == self.storage && site.data == self.data => Ok(None),
            _ => Err(Failure::environment(format!(
                "{} does not say of {} what was written",
                self.database.display(),
                self.site
            ))),
        }
    }

    async fn undo(&self, _: &Cx, before: &Before) -> Result<()> {
        // One that was removed meanwhile is not said to be anything.
        match self.find()? {
            Some(_) => Store::open(&self.database)?.keep(&self.site, before.storage, before.data.as_deref()),
            None => Ok(()),
        }
    }
}
