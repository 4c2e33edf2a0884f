//! The way from a place to its [`Store`].

use std::sync::Arc;

use super::Store;
use super::dir::DirStore;
use super::s3::S3Store;
use crate::backup::format::StorePath;
use crate::model::config::Place;
use crate::model::{Failure, Result};
use crate::s3::{Limits, S3Settings};

/// Opens a place. `names` looks up a variable of the project, in its `.env` and then in the environment; S3 takes its keys
/// and its address from there. Call it where blocking is allowed, in a runtime of several threads.
///
/// A directory that is missing is made by the first [`Store::put`]; a bucket is never made.
///
/// # Errors
/// When there are no keys for S3, or settings contradict each other. The place itself is not asked yet.
pub fn open(place: &Place, names: &dyn Fn(&str) -> Option<String>) -> Result<Arc<dyn Store>> {
    Ok(match place {
        Place::Dir(path) => Arc::new(DirStore::new(path)),
        Place::S3 { bucket, prefix } => {
            let prefix = StorePath::new(prefix.clone())
                .map_err(|e| Failure::usage(format!("{place} is no place for backups")).because(&e))?;
            let settings = S3Settings::from_names(bucket, names)?;
            Arc::new(S3Store::open(bucket, &prefix, &settings, Limits::default())?)
        }
    })
}
