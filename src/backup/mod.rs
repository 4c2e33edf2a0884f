//! Backups as such: what one looks like, how its bytes are sealed, where they are kept, which of them stay.
//!
//! Nothing here knows Docker: dumps and archives come in as bytes and go out as bytes. All of it blocks; whoever is
//! asynchronous calls it where blocking is allowed.
//!
//! ```text
//! format     the manifest of a backup, and the name of everything in it
//! seal       bytes on their way into a backup and out of it: compressed, encrypted, hashed on both sides
//! store      where backups are kept: a directory, a bucket
//! catalogue  which backups a place has, and what is known of each
//! retention  which of them stay
//! repository snapshots of volumes in the format of restic, in a store
//! ```

pub mod catalogue;
pub mod format;
pub mod repository;
pub mod retention;
pub mod seal;
pub mod store;

use std::io;

use crate::model::Failure;

/// A failure on its way through a reader or writer; [`failed`] finds it again.
fn carry(failure: Failure) -> io::Error {
    io::Error::other(failure)
}

/// The failure that an error of a reader or writer carries.
fn carried(error: &io::Error) -> Option<&Failure> {
    error.get_ref()?.downcast_ref()
}

/// What a reader or writer of a backup said, in words: what it carries itself, or `what` because of the error.
#[must_use]
pub fn failed(what: &str, error: &io::Error) -> Failure {
    match carried(error) {
        Some(failure) => failure.clone().inside(what),
        None => Failure::environment(what).because(error),
    }
}
