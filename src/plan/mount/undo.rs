//! What takes back what a mount did to the machine.

use std::path::Path;

use super::stacked;
use crate::block::bare::Flag;
use crate::block::boot::Piece;
use crate::block::fstab::Change;
use crate::model::{Failure, Result, shell_path};
use crate::observe::{DefinitionSeen, UndoSeen};

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

/// What takes a mount back, in order, and what a person should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoPlan {
    /// In order; none if all of it is done.
    pub actions: Vec<Undo>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// Takes back what a mount did to the machine. What is on the volume stays, and so does the mount point.
///
/// # Errors
/// Refused while something uses the volume, or would the next time it is started.
pub fn plan_undo(seen: &UndoSeen) -> Result<UndoPlan> {
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
            .hint(format!("to unmount it all the same: umount {}", shell_path(&seen.at))));
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
    let mut notes = Vec::new();
    if !actions.is_empty() {
        match &seen.definitions {
            Ok(defined) => undefined(&seen.at, defined)?,
            Err(why) => notes.push(format!(
                "Docker was not asked whether volumes have their data at {at} ({why}): without the mount they would be \
                 looked for on the root disk"
            )),
        }
    }
    Ok(UndoPlan { actions, notes })
}

/// No volume of Docker has its data there: also a stack that is down is started again one day.
fn undefined(at: &Path, defined: &[DefinitionSeen]) -> Result<()> {
    if defined.is_empty() {
        return Ok(());
    }
    let failure = Failure::refused(format!("volumes of Docker have their data at {}", at.display()))
        .data("nothing was changed")
        .hint(
            "if a stack needs them, move their data back first, in its directory: rehome move --to volumes",
        );
    let failure = defined.iter().fold(failure, |failure, one| {
        let unused = if one.unused {
            ", and no container has it"
        } else {
            ""
        };
        failure.cause(format!("{} is {}{unused}", one.name, one.dir.display()))
    });
    let unused: Vec<_> = defined
        .iter()
        .filter(|one| one.unused)
        .map(|one| one.name.as_str())
        .collect();
    Err(match unused.is_empty() {
        true => failure,
        false => failure.hint(format!(
            "if nobody needs them, as after a move back, you may take their definitions away, which leaves the files: \
             docker volume rm {}",
            unused.join(" ")
        )),
    })
}
