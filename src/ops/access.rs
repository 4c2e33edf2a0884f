//! Who may come in to `rehome serve`: its database, in the state directory.

use super::Options;
use super::app::state_dir;
use crate::access::Store;
use crate::model::Result;

/// Opens the database of users, tokens and sessions, and makes it if it is not there.
///
/// # Errors
/// When it cannot be opened, or the state directory cannot be made.
pub fn access(options: &Options) -> Result<Store> {
    let state = state_dir(options)?;
    state.create()?;
    Store::open(&state.path().join(Store::FILE))
}
