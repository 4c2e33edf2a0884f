//! Where backups are kept. A file appears only when it is complete, and whoever reads gets all of it or an error.

mod dir;
mod open;
pub mod s3;

use std::io::{Read, Write};

use jiff::Timestamp;

use super::format::StorePath;
use crate::model::Result;

pub use dir::DirStore;
pub use open::open;

/// A place for backups.
///
/// Its methods block, for as long as a slow network takes: call them where that is allowed.
pub trait Store: Send + Sync {
    /// For people, and without any secret: `/var/backups/kms`, `s3://bucket/kms`.
    fn name(&self) -> String;

    /// Begins a file. It is not there before [`Upload::finish`], and what was there under that path stays until then.
    ///
    /// # Errors
    /// When the place cannot be written.
    fn put(&self, path: &StorePath) -> Result<Box<dyn Upload>>;

    /// Reads a file from its beginning; `None` if it is not there. A connection that breaks is made again, and goes on
    /// where it was.
    ///
    /// # Errors
    /// When the place does not answer, or refuses.
    fn get(&self, path: &StorePath) -> Result<Option<Box<dyn Read + Send>>>;

    /// Reads so many bytes of a file from one of them on, or fewer if it ends before; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn get_part(&self, path: &StorePath, at: u64, len: u64) -> Result<Option<Box<dyn Read + Send>>>;

    /// Every complete file below a path, in no order; none if the path is not there.
    ///
    /// # Errors
    /// When the place does not answer, or refuses.
    fn list(&self, below: &StorePath) -> Result<Vec<Stored>>;

    /// Removes a file; gone already is fine.
    ///
    /// # Errors
    /// When the place does not answer, or refuses.
    fn remove(&self, path: &StorePath) -> Result<()>;

    /// Removes what uploads left that never came to their end below a path, and whose process is gone; says how many.
    ///
    /// # Errors
    /// When the place does not answer, or refuses.
    fn sweep(&self, below: &StorePath) -> Result<usize>;
}

/// A file on its way into a [`Store`]. Dropped without [`Upload::finish`] it never was.
pub trait Upload: Write + Send {
    /// Makes it durable, then makes it appear.
    ///
    /// # Errors
    /// When it did not arrive; then it is not there.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A file in a [`Store`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Below the place.
    pub path: StorePath,
    /// Bytes.
    pub bytes: u64,
    /// When it appeared there, by the place's clock.
    pub modified: Option<Timestamp>,
}
