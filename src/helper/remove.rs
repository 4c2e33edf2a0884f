//! Removes entries, with all that is in them: never through a symlink, never into another file system.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, unlinkat};

use super::context::Context;
use super::cursor::{Cursor, open_dir};
use super::fault::{Fault, Result, Side, show};
use super::meta::{Kind, Meta};
use super::tree::EntryId;
use super::walk::{Manner, Walk};

/// Removes the entry `name` of `dir`; `path` is for messages. Returns how many entries went.
///
/// # Errors
/// When something cannot be removed, and when there is a mount inside.
pub fn entry(cx: &Context, dir: BorrowedFd<'_>, name: &[u8], kind: Kind, path: &[u8]) -> Result<u64> {
    let failed = |errno| Fault::io(Side::Destination, "remove", path, errno);
    if kind != Kind::Dir {
        unlinkat(dir, name, AtFlags::empty()).map_err(failed)?;
        return Ok(1);
    }
    let (meta, mount) = Meta::of_entry(dir, name).map_err(failed)?;
    if mount || meta.dev != Meta::of_fd(dir).map_err(failed)?.dev {
        return Err(Fault::refused(
            format!("cannot remove {}", show(path)),
            "it is a mount of its own",
        ));
    }
    let root = open_dir(dir, name).map_err(failed)?;
    let walk = Walk {
        root: root.as_fd(),
        side: Side::Destination,
        manner: Manner::Still,
        jobs: 1,
    };
    let tree = super::walk::walk(cx, walk)?;
    if let Some(mount) = tree.mounts.first() {
        return Err(Fault::refused(
            format!("cannot remove {}", show(path)),
            format!("{} in it is a mount of its own", show(mount)),
        ));
    }
    let mut ids: Vec<(EntryId, Kind)> = tree.entries().map(|(id, entry)| (id, entry.meta.kind)).collect();
    // What is in a directory comes after it, so backwards it is emptied first.
    ids.reverse();
    let mut cursor = Cursor::new(root.as_fd(), tree.root.dev);
    for &(id, kind) in &ids {
        cx.go_on()?;
        let flags = if kind == Kind::Dir {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        cursor
            .enter(tree.node(id.dir))
            .and_then(|dir| unlinkat(dir, &*tree.name(id), flags))
            .map_err(failed)?;
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(failed)?;
    Ok(ids.len() as u64 + 1)
}
