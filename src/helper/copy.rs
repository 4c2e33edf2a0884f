//! One pass of copying: brings the destination to the state of the source, and proves it.
//!
//! The order makes a pass that is interrupted anywhere safe to repeat: structure, content, links, sync, read-back,
//! metadata of directories, sync, and only then the manifest, in one rename. What the manifest does not vouch for is
//! copied again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use super::attrs;
use super::back::read_back;
use super::blocks::BlockLists;
use super::context::Context;
use super::crew::jobs;
use super::cursor::{Cursor, open_root};
use super::fault::{Fault, Result, Side, errno_of, show, show_path};
use super::files;
use super::known::{Known, Open, Sum, known, write_manifest};
use super::manifest::directory_of;
use super::meta::{Grain, Meta, Stamp};
use super::moves::{self, Staged};
use super::protocol::{CopyReport, CopyRequest, FailClass};
use super::store;
use super::structure;
use super::tree::Tree;
use super::walk::{Manner, Walk, walk};

/// What all steps of a pass share.
pub struct Pass<'a> {
    /// Progress, notes, the wish to stop.
    pub cx: &'a Context,
    /// What is asked for.
    pub request: &'a CopyRequest,
    /// The source as it was walked.
    pub tree: &'a Tree,
    /// Both roots, open.
    pub roots: Roots<'a>,
    /// What times the destination can keep.
    pub grain: Grain,
    /// Threads.
    pub jobs: usize,
}

impl Pass<'_> {
    /// Has the destination's file system write everything. Reports what the kernel could not write in the background,
    /// too.
    ///
    /// # Errors
    /// As syncfs(2).
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(self.roots.to).map_err(|errno| Fault::io(Side::Destination, "sync", b"", errno))
    }
}

/// The root directories of both trees.
#[derive(Debug, Clone, Copy)]
pub struct Roots<'a> {
    /// The source.
    pub from: BorrowedFd<'a>,
    /// The source's device.
    pub from_device: u32,
    /// The destination.
    pub to: BorrowedFd<'a>,
    /// The destination's device.
    pub to_device: u32,
}

/// One thread's way through both trees.
pub struct Hand<'a> {
    /// In the source.
    pub from: Cursor<'a>,
    /// In the destination.
    pub to: Cursor<'a>,
}

impl<'a> Roots<'a> {
    /// At both roots.
    #[must_use]
    pub fn hand(self) -> Hand<'a> {
        Hand {
            from: Cursor::new(self.from, self.from_device),
            to: Cursor::new(self.to, self.to_device),
        }
    }
}

/// Copies.
///
/// # Errors
/// When a side cannot be read or written, when what was read back differs, and, unless the source is live, when it
/// changes.
pub fn copy(cx: &Context, request: &CopyRequest) -> Result<CopyReport> {
    let began = Instant::now();
    let (from, to) = open_pair(&request.from, &request.to, &request.manifest)?;
    // The order matters: whatever is written after this moment has a ctime after it, and what was written before
    // through a memory map has one by the time of the walk, because syncing makes the next store fault.
    let start = Stamp::now();
    rustix::fs::syncfs(&from).map_err(|errno| Fault::io(Side::Source, "sync", b"", errno))?;
    let jobs = jobs(request.jobs);
    let manner = if request.live { Manner::Live } else { Manner::Still };
    let tree = walk(
        cx,
        Walk {
            root: from.as_fd(),
            side: Side::Source,
            manner,
            jobs,
        },
    )?;
    let to_meta = stat_root(&to, Side::Destination)?;
    let pass = Pass {
        cx,
        request,
        tree: &tree,
        roots: Roots {
            from: from.as_fd(),
            from_device: tree.root.dev,
            to: to.as_fd(),
            to_device: to_meta.dev,
        },
        grain: Grain::measure(to.as_fd()),
        jobs,
    };
    if !attrs::sees_trusted(to.as_fd()) {
        cx.note("attributes in trusted.* cannot be seen without CAP_SYS_ADMIN: they are neither copied nor compared");
    }
    for mount in &tree.mounts {
        cx.note(format!(
            "{} is a mount of its own; what is in it is not part of the volume",
            show(mount)
        ));
    }
    let mut report = CopyReport {
        entries: tree.len() + 1,
        ..CopyReport::default()
    };
    let lists_path = request.manifest.with_extension("blocks");
    let on_lists = |error: std::io::Error| {
        let errno = errno_of(&error);
        Fault::on_path("keep block hashes in", &lists_path, errno)
    };
    let lists = BlockLists::open(&lists_path).map_err(on_lists)?;
    let Known { files: known, moves } = known(cx, &request.manifest, &tree)?;

    let staged = Staged::take(&pass, &moves)?;
    report.moved = staged.count();
    let structure = structure::bring(&pass, &to_meta, (&known, &staged))?;
    report.deleted = staged.clear(&pass)?;
    moves::renew(&moves, &structure.moved, &known).map_err(store::failed)?;
    report.deleted += structure.deleted;
    report.metadata_changed = structure.metadata_changed;
    report.sockets = structure.sockets;

    cx.expect(structure.bytes, structure.files);
    if structure.listed || moves.drafts().any(|(_, draft)| draft.is_listed()) {
        Open::mark(&request.manifest)?;
    }
    let done = files::bring(&pass, start, (&known, &lists), &structure.content)?;
    report.metadata_changed += done.kept;
    report.files_copied = done.copied;
    report.files_patched = done.patched;
    report.bytes_copied = done.bytes;
    for id in structure::link(&pass, &structure.links)? {
        known.forget(id).map_err(store::failed)?;
    }
    pass.sync()?;
    read_back(&pass, &known, done.late)?;
    report.metadata_changed += structure::finish_directories(&pass)?;
    pass.sync()?;

    lists.sync().map_err(on_lists)?;
    let Sum {
        bytes,
        dirty,
        dirty_bytes,
    } = write_manifest(&request.manifest, &tree, &known)?;
    (report.bytes_total, report.dirty, report.dirty_bytes) = (bytes, dirty, dirty_bytes);
    Open::clear(&request.manifest)?;
    report.millis = began.elapsed().as_millis() as u64;
    Ok(report)
}

/// Opens both roots and refuses what would make a tree its own destination.
fn open_pair(from: &Path, to: &Path, manifest: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let canonical = |path: &Path| {
        path.canonicalize().map_err(|error| {
            Fault::new(
                FailClass::Other,
                format!("cannot find {}", show_path(path)),
                error.to_string(),
            )
        })
    };
    let refused = |because: &str| {
        Err(Fault::refused(
            format!("cannot copy {} to {}", show_path(from), show_path(to)),
            because,
        ))
    };
    let (real_from, real_to) = (canonical(from)?, canonical(to)?);
    if real_from.starts_with(&real_to) || real_to.starts_with(&real_from) {
        return refused("one is inside the other");
    }
    let beside = canonical(directory_of(manifest))?;
    if beside.starts_with(&real_to) || beside.starts_with(&real_from) {
        return refused("the manifest would lie inside one of them");
    }
    let open = |path: &Path| open_root(path).map_err(|errno| Fault::on_path("open", path, errno));
    let (from, to) = (open(from)?, open(to)?);
    let (a, b) = (
        stat_root(&from, Side::Source)?,
        stat_root(&to, Side::Destination)?,
    );
    if (a.dev, a.ino) == (b.dev, b.ino) {
        return refused("they are the same directory");
    }
    Ok((from, to))
}

/// The metadata of an open root.
pub(super) fn stat_root(root: &OwnedFd, side: Side) -> Result<Meta> {
    Meta::of_fd(root.as_fd()).map_err(|errno| Fault::io(side, "read", b"", errno))
}
