//! `grow`: the file system of a block volume, after the volume itself was made larger.

use std::path::Path;

use serde::Serialize;

use super::app::{Options, state_dir};
use super::mount::as_root;
use crate::block::grow::Growable;
use crate::model::{ByteSize, Failure, Result};
use crate::state::LockNote;

/// What was done, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct GrowReport {
    /// As it was.
    pub before: Growable,
    /// The commands that were run, or would be; none where it was as large as it can be.
    pub commands: Vec<String>,
    /// As it is now; nothing with `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Growable>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Grows what is mounted at a directory as far as its device goes.
///
/// # Errors
/// Refused when nothing is mounted there; when the kernel or a program refuses, with the offline way.
pub async fn grow(options: &Options, at: &Path, dry_run: bool) -> Result<GrowReport> {
    as_root()?;
    let host = state_dir(options)?.host();
    // Two at once would write one partition table.
    let _lock = match dry_run {
        true => None,
        false => Some(host.lock(&LockNote::mine(options.command.as_str(), None))?),
    };
    let before = Growable::look(at).await?;
    let commands = before.commands(host.path());
    let mut after = None;
    if !dry_run && !commands.is_empty() {
        let grown = before.grow(host.path()).await?;
        if grown.fs_bytes <= before.fs_bytes {
            let size = ByteSize(grown.fs_bytes);
            return Err(
                Failure::environment(format!("{} did not grow: it still has {size}", at.display()))
                    .data("nothing is lost: it is as it was"),
            );
        }
        after = Some(grown);
    }
    Ok(GrowReport {
        notes: before.notes(),
        before,
        commands,
        after,
    })
}
