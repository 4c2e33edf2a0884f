//! What was unpacked, read back from the disk.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use super::super::archive::{Concern, concerns};
use super::super::context::Context;
use super::super::crew::jobs;
use super::super::cursor::open_dir;
use super::super::fault::{Fault, Result, Side, show};
use super::super::listed::{self, join};
use super::super::listing::{Listed, Listing, Looks, key};
use super::super::meta::{Kind, Meta};
use super::super::protocol::FailClass;
use super::super::tree::Tree;
use super::super::walk::{Manner, Walk, walk};
use super::{Landing, split};

/// What is on the disk.
pub(super) struct Back {
    pub(super) listed: Listed,
    /// Bytes of its files' content.
    pub(super) bytes: u64,
    /// Paths that are in no tree: one file, and directories above what was asked for.
    single: Vec<Vec<u8>>,
    /// A tree, and the path of its root.
    tree: Option<(Tree, Vec<u8>)>,
}

impl Back {
    /// Reads everything that was unpacked.
    pub(super) fn read(landing: &mut Landing<'_>) -> Result<Self> {
        let cx = landing.cx;
        let mut back = Self {
            listed: Listing::default().finish(),
            bytes: 0,
            single: Vec::new(),
            tree: None,
        };
        let mut listing = Listing::default();
        let Some(only) = landing.only.clone() else {
            listing.extend(back.tree(cx, landing.root, Vec::new())?);
            back.listed = listing.finish();
            return Ok(back);
        };
        let above: Vec<_> = landing
            .dirs
            .iter()
            .filter(|(path, landed)| landed.made && concerns(&only, path) == Concern::Above)
            .map(|(path, landed)| (path.clone(), Arc::clone(&landed.node)))
            .collect();
        for (path, node) in above {
            let failed = |errno| Fault::io(Side::Destination, "read back", &path, errno);
            let dir = landing.cursor.enter(&node).map_err(failed)?;
            listing.add(key(&path), listed::directory(dir, &path)?);
            // It had to be made, so it counts what the archive says of it.
            if let Some((wanted, xattrs)) = landing.given.get(&path) {
                let said = Looks {
                    kind: Kind::Dir,
                    mode: wanted.mode,
                    owner: wanted.owner,
                    mtime: wanted.mtime,
                    rdev: 0,
                    target: &[],
                    xattrs,
                    content: None,
                };
                let said = said.half();
                landing.say(&path, said, said);
            }
            back.single.push(path);
        }
        let (parent, name) = split(&only);
        let node = landing.directory(parent)?;
        let failed = |errno| Fault::io(Side::Destination, "read back", &only, errno);
        let dir = landing.cursor.enter(&node).map_err(failed)?;
        let (meta, _) = Meta::of_entry(dir, name).map_err(failed)?;
        if meta.kind == Kind::Dir {
            let root = open_dir(dir, name).map_err(failed)?;
            listing.extend(back.tree(cx, root.as_fd(), only)?);
        } else {
            let looks = listed::entry(cx, dir, (name, &only), &meta, &mut landing.buffer)?;
            listing.add(key(&only), looks);
            back.bytes += if meta.kind == Kind::File { meta.size } else { 0 };
            back.single.push(only);
        }
        back.listed = listing.finish();
        Ok(back)
    }

    fn tree(&mut self, cx: &Context, root: BorrowedFd<'_>, prefix: Vec<u8>) -> Result<Listing> {
        let tree = walk(
            cx,
            Walk {
                root,
                side: Side::Destination,
                manner: Manner::Still,
                jobs: jobs(0),
            },
        )?;
        for (id, entry) in tree.entries() {
            if entry.meta.kind == Kind::File && !tree.is_link(id) {
                self.bytes += entry.meta.size;
            }
        }
        let listing = listed::tree(cx, root, &tree, &prefix)?;
        self.tree = Some((tree, prefix));
        Ok(listing)
    }

    /// The first entry that is not what was said.
    pub(super) fn differs(&self, said: &Listed) -> Fault {
        let below = self.tree.iter().flat_map(|(tree, prefix)| {
            let below = tree.entries().map(|(id, _)| join(prefix, &tree.path(id)));
            std::iter::once(prefix.clone()).chain(below)
        });
        let mut paths = self.single.iter().cloned().chain(below);
        let wrong = paths.find(|path| said.get(key(path)) != self.listed.get(key(path)));
        match wrong {
            Some(path) => Fault::new(
                FailClass::Differs,
                format!("{} is not on the disk as the archive has it", show(&path)),
                "everything was read back after it was written",
            ),
            None => Fault::new(
                FailClass::Differs,
                "the disk has not everything that the archive has",
                format!("{} entries instead of {}", self.listed.len(), said.len()),
            ),
        }
    }
}
