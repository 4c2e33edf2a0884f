//! What takes back what a mount did to the machine.

use std::path::Path;

use super::stacked;
use crate::block::bare::Flag;
use crate::block::boot::Piece;
use crate::block::fstab::Change;
use crate::model::{Failure, Result};
use crate::observe::UndoSeen;

/// One thing to do on the way back. Each can be done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// Unmount.
    Unmount,
    /// Take a unit file or link away.
    RemoveUnit(Piece),
    /// Take the line of fstab away.
    RemoveLine {
        /// The line.
        line: String,
        /// The whole new file, as far as it is known when the plan is made.
        bytes: Vec<u8>,
    },
    /// Have systemd read units and fstab again.
    Reload,
    /// Make the bare mount point writable again.
    Release,
}

/// Takes back what a mount did to the machine. What is on the volume stays, and so does the mount point.
///
/// # Errors
/// Refused while something uses the volume.
pub fn plan_undo(seen: &UndoSeen) -> Result<Vec<Undo>> {
    let at = seen.at.display();
    if seen.mounts.here.len() > 1 {
        return Err(stacked(seen.at.as_path(), seen.mounts.here.len()));
    }
    let names = |path: &Path| seen.names.get(path).map_or_else(|| path.to_owned(), Clone::clone);
    let line = seen.fstab.without(&seen.at, &names);
    let ours = seen.ours || !seen.pieces.is_empty() || matches!(line, Change::New(_));
    if !seen.mounts.here.is_empty() && !ours {
        return Err(Failure::refused(format!("what is mounted at {at} was not mounted by Rehome"))
            .cause("it has no sentinel, and there is neither a line in /etc/fstab nor a unit that Rehome wrote")
            .data("nothing was changed")
            .hint(format!("to unmount it all the same: umount {at}")));
    }
    if !seen.users.is_empty() {
        let failure = Failure::refused(format!("the volume at {at} is in use"))
            .data("nothing was changed")
            .hint("move the data back first: rehome move --to volumes; or stop what uses it");
        return Err(seen
            .users
            .iter()
            .fold(failure, |failure, user| failure.cause(user.clone())));
    }
    let mut actions = Vec::new();
    if !seen.mounts.here.is_empty() {
        actions.push(Undo::Unmount);
    }
    actions.extend(seen.pieces.iter().cloned().map(Undo::RemoveUnit));
    if let Change::New(bytes) = line {
        let line = seen
            .fstab
            .at(&seen.at, &names)
            .map_or_else(String::new, |entry| entry.text);
        actions.push(Undo::RemoveLine { line, bytes });
    }
    let told = actions
        .iter()
        .any(|action| matches!(action, Undo::RemoveUnit(_) | Undo::RemoveLine { .. }));
    if told && seen.systemd {
        actions.push(Undo::Reload);
    }
    if seen.flag == Some(Flag::Immutable) {
        actions.push(Undo::Release);
    }
    Ok(actions)
}
