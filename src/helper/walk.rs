//! Walks a tree into memory: every entry's name and metadata, by several threads.
//!
//! It never follows a symlink, never enters another device or mount, and holds few directories open however deep the
//! tree is.

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::fs::{RawDir, SeekFrom};
use rustix::io::Errno;

use super::context::Context;
use super::crew::work_off;
use super::cursor::{Cursor, Node};
use super::fault::{Fault, Result, Side, show, vanished};
use super::meta::{Kind, Meta};
use super::mounts;
use super::tree::{Directory, Listed, NO_DIR, Tree};

/// Deeper than any program makes it; beyond this it is a loop or an attack.
const DEEPEST: u32 = 4096;

/// Paths of unreadable entries that are kept.
const UNREADABLE: usize = 20;

/// How a walk takes what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nobody else changes the tree: an entry that goes away is a fault.
    Still,
    /// Somebody does: an entry that goes away is passed over.
    Live,
    /// Whatever cannot be read is passed over and listed.
    Lenient,
}

/// What a walk is about.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    /// The root, open.
    pub root: BorrowedFd<'a>,
    /// Which tree it is, for messages.
    pub side: Side,
    /// What to do when an entry cannot be read.
    pub manner: Manner,
    /// Threads.
    pub jobs: usize,
}

/// Names of a directory, bytes of any kind, without `.` and `..`.
///
/// # Errors
/// As getdents(2).
pub fn names(dir: BorrowedFd<'_>, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), Errno> {
    // The descriptor is shared with whoever read it before.
    rustix::fs::seek(dir, SeekFrom::Start(0))?;
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !each(name) {
            break;
        }
    }
    Ok(())
}

struct Shared<'a> {
    walk: Walk<'a>,
    device: u32,
    skip_lost_found: bool,
    next_id: AtomicU32,
}

struct Hand<'a> {
    cursor: Cursor<'a>,
    /// The directory that is read; kept for the next, so that reading one allocates little.
    here: Directory,
    dirs: Vec<Listed>,
    mounts: Vec<Vec<u8>>,
    unreadable: Vec<String>,
    lost_found: bool,
}

/// Walks.
///
/// # Errors
/// When an entry cannot be read and [`Manner`] does not pass over it.
pub fn walk(cx: &Context, walk: Walk<'_>) -> Result<Tree> {
    let failed = |errno| Fault::io(walk.side, "read", b"", errno);
    let root = Meta::of_fd(walk.root).map_err(failed)?;
    if root.kind != Kind::Dir {
        return Err(Fault::refused(
            "cannot walk the tree",
            format!("its root is a {}", root.kind.word()),
        ));
    }
    let skip_lost_found = mounts::is_filesystem_root(walk.root, &root).map_err(failed)?;
    let shared = Shared {
        walk,
        device: root.dev,
        skip_lost_found,
        next_id: AtomicU32::new(1),
    };
    let hands = work_off(
        cx,
        walk.jobs,
        vec![Node::root()],
        || Hand {
            cursor: Cursor::new(walk.root, root.dev),
            here: Directory::new(Node::root()),
            dirs: Vec::new(),
            mounts: Vec::new(),
            unreadable: Vec::new(),
            lost_found: false,
        },
        |hand, node, more| list(&shared, hand, node, more),
    )?;
    let (mut dirs, mut specials) = (Vec::new(), Vec::new());
    for hand in hands {
        dirs.extend(hand.dirs);
        specials.push((hand.mounts, hand.unreadable, hand.lost_found));
    }
    let mut tree = Tree::new(root, dirs);
    for (mounts, unreadable, lost_found) in specials {
        tree.mounts.extend(mounts);
        tree.unreadable.extend(unreadable);
        tree.lost_found |= lost_found;
    }
    tree.mounts.sort_unstable();
    tree.unreadable.sort_unstable();
    tree.unreadable.truncate(UNREADABLE);
    Ok(tree)
}

/// Reads one directory.
fn list(shared: &Shared<'_>, hand: &mut Hand<'_>, node: Arc<Node>, more: &mut Vec<Arc<Node>>) -> Result<()> {
    if node.depth > DEEPEST {
        return Err(Fault::refused(
            format!("cannot walk {}…", show(&node.path(b"")[..200])),
            format!("it is deeper than {DEEPEST} levels"),
        ));
    }
    hand.here.begin(node);
    let ino = fill(shared, hand, more)?;
    hand.dirs.push(Listed::new(&mut hand.here, ino));
    Ok(())
}

/// Returns the directory's inode, or 0 when it was passed over.
fn fill(shared: &Shared<'_>, hand: &mut Hand<'_>, more: &mut Vec<Arc<Node>>) -> Result<u64> {
    let Hand {
        cursor,
        here,
        mounts,
        unreadable,
        lost_found,
        ..
    } = hand;
    let node = Arc::clone(&here.node);
    let mut entry = |dir: BorrowedFd<'_>, name: &[u8]| -> Result<()> {
        let (meta, mount) = match Meta::of_entry(dir, name) {
            Ok(found) => found,
            Err(errno) => return pass_over(shared, unreadable, &node, name, errno),
        };
        if shared.skip_lost_found && is_lost_found(&node, name, &meta) {
            *lost_found = true;
            return Ok(());
        }
        if mount || (meta.kind == Kind::Dir && meta.dev != shared.device) {
            mounts.push(node.path(name));
            if meta.kind == Kind::Dir {
                here.push(name, meta, NO_DIR);
            }
            return Ok(());
        }
        let id = if meta.kind == Kind::Dir {
            let id = shared.next_id.fetch_add(1, Relaxed);
            more.push(Node::child(&node, name, id));
            id
        } else {
            NO_DIR
        };
        here.push(name, meta, id);
        Ok(())
    };
    let mut fault = None;
    let read = cursor.enter(&node).and_then(|dir| {
        names(dir, |name| {
            fault = entry(dir, name).err();
            fault.is_none()
        })?;
        Ok(Meta::of_fd(dir)?.ino)
    });
    match (fault, read) {
        (Some(fault), _) => Err(fault),
        (None, Ok(ino)) => Ok(ino),
        (None, Err(errno)) => pass_over(shared, unreadable, &node, b"", errno).map(|()| 0),
    }
}

/// The directory that the file system itself keeps for fsck: not data, and nothing that can be moved.
#[must_use]
pub fn is_lost_found(node: &Node, name: &[u8], meta: &Meta) -> bool {
    node.depth == 0 && name == b"lost+found" && meta.kind == Kind::Dir && meta.uid == 0
}

fn pass_over(
    shared: &Shared<'_>,
    unreadable: &mut Vec<String>,
    node: &Arc<Node>,
    name: &[u8],
    errno: Errno,
) -> Result<()> {
    let path = || node.path(name);
    match shared.walk.manner {
        Manner::Still if vanished(errno) && shared.walk.side == Side::Source => {
            Err(Fault::source_changed(&path(), errno.to_string()))
        }
        Manner::Live | Manner::Lenient if vanished(errno) => Ok(()),
        Manner::Lenient => {
            if unreadable.len() < UNREADABLE {
                unreadable.push(format!("{}: {errno}", show(&path())));
            }
            Ok(())
        }
        Manner::Still | Manner::Live => Err(Fault::io(shared.walk.side, "read", &path(), errno)),
    }
}
