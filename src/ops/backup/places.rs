//! The places of a project's backups, opened.

use std::sync::Arc;

use super::super::App;
use crate::backup::catalogue::{self, Found};
use crate::backup::store::{self, Store};
use crate::model::config::Place;
use crate::model::{Failure, ProjectName, Result};

/// A place, and the way to it.
#[derive(Clone)]
pub struct Opened {
    /// As it is written.
    pub place: Place,
    /// The way to it. Its methods block.
    pub store: Arc<dyn Store>,
}

/// Opens places, or those of the configuration if none are named.
///
/// # Errors
/// When there are none, and when one cannot be opened.
pub fn open(app: &App, named: &[Place]) -> Result<Vec<Opened>> {
    let configured = app.settings.backup.places();
    let places = match named.is_empty() {
        true => &configured[..],
        false => named,
    };
    if places.is_empty() {
        return Err(Failure::usage("no place for backups is named")
            .data("nothing was changed")
            .hint("write it into rehome.yml: backup: { to: [ { dir: /var/backups/NAME } ] }"));
    }
    let variables = app.located.variables(&app.options.project.env)?;
    let names = |name: &str| variables.get(name).cloned();
    let open = |place: &Place| {
        blocking(|| store::open(place, &names)).map(|store| Opened {
            place: place.clone(),
            store,
        })
    };
    places.iter().map(open).collect()
}

impl Opened {
    /// The backups that it has, oldest first.
    ///
    /// # Errors
    /// As [`catalogue::read`].
    pub fn backups(&self, project: Option<&ProjectName>) -> Result<Vec<Found>> {
        blocking(|| catalogue::read(self.store.as_ref(), project))
    }
}

/// What blocks, where that is allowed.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
