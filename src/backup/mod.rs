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
//! ```

pub mod catalogue;
pub mod format;
pub mod retention;
pub mod store;
