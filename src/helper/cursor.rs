//! Reaching a directory of a tree, one component at a time.
//!
//! Every directory is opened relative to its parent and without following symlinks, so nobody who renames things
//! while we work can lead us out of the tree; and as no path is ever handed to the kernel in one piece, paths may be
//! longer than it would take.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::meta::Meta;

/// How a directory is opened.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Directories that one cursor keeps open. Deeper paths are walked again from the nearest open one.
const OPEN: usize = 16;

/// A directory by its name and its parents.
#[derive(Debug)]
pub struct Node {
    parent: Option<Arc<Node>>,
    name: Box<[u8]>,
    /// Components below the root.
    pub depth: u32,
    /// Its place in [`super::tree::Tree::dirs`].
    pub id: u32,
}

impl Node {
    /// The root of a tree.
    #[must_use]
    pub fn root() -> Arc<Self> {
        Arc::new(Self {
            parent: None,
            name: Box::default(),
            depth: 0,
            id: 0,
        })
    }

    /// A directory in `parent`.
    #[must_use]
    pub fn child(parent: &Arc<Self>, name: &[u8], id: u32) -> Arc<Self> {
        Arc::new(Self {
            parent: Some(Arc::clone(parent)),
            name: name.into(),
            depth: parent.depth + 1,
            id,
        })
    }

    /// From the root, which is not among them, down to this one.
    fn chain(self: &Arc<Self>) -> Vec<&Arc<Self>> {
        let mut chain = Vec::with_capacity(self.depth as usize);
        let mut next = self;
        while let Some(parent) = &next.parent {
            chain.push(next);
            next = parent;
        }
        chain.reverse();
        chain
    }

    /// The path of the entry `name` in this directory, or with an empty name of the directory itself.
    #[must_use]
    pub fn path(self: &Arc<Self>, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::new();
        for part in self.chain().into_iter().map(|node| &*node.name).chain([name]) {
            if !part.is_empty() {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
        path
    }

    /// What the path of every entry of this directory begins with: its own, and a slash.
    #[must_use]
    pub fn path_below(self: &Arc<Self>) -> Vec<u8> {
        let mut path = self.path(b"");
        if !path.is_empty() {
            path.push(b'/');
        }
        path
    }
}

/// Opens a tree's root.
///
/// # Errors
/// As open(2); the root itself may be no symlink.
pub fn open_root(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, DIRECTORY, Mode::empty())
}

/// Opens the directory `name` in `dir`.
///
/// # Errors
/// As openat(2); `name` may be no symlink.
pub fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(dir, name, DIRECTORY, Mode::empty())
}

/// One thread's way through a tree. Going to a directory near the last one costs little.
#[derive(Debug)]
pub struct Cursor<'a> {
    root: BorrowedFd<'a>,
    device: u32,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    node: Arc<Node>,
    fd: Option<OwnedFd>,
}

impl<'a> Cursor<'a> {
    /// At the root of a tree on the given device.
    #[must_use]
    pub fn new(root: BorrowedFd<'a>, device: u32) -> Self {
        Self {
            root,
            device,
            levels: Vec::new(),
        }
    }

    /// Goes to a directory.
    ///
    /// # Errors
    /// As openat(2) for the first component that cannot be opened; `EXDEV` where it is on another device.
    pub fn enter(&mut self, node: &Arc<Node>) -> Result<BorrowedFd<'_>, Errno> {
        if node.parent.is_none() {
            return Ok(self.root);
        }
        // One entry after the other of the same directory is what is asked for most.
        let here = |level: &Level| level.fd.is_some() && Arc::ptr_eq(&level.node, node);
        if !self.levels.last().is_some_and(here) {
            self.go(node)?;
        }
        match self.levels.last() {
            Some(Level { fd: Some(fd), .. }) => Ok(fd.as_fd()),
            // It was opened above.
            _ => Err(Errno::BADF),
        }
    }

    /// Opens what leads to a directory, and that itself.
    fn go(&mut self, node: &Arc<Node>) -> Result<(), Errno> {
        let chain = node.chain();
        let common = self
            .levels
            .iter()
            .zip(&chain)
            .take_while(|(level, node)| Arc::ptr_eq(&level.node, node))
            .count();
        self.levels.truncate(common);
        let first_closed = |levels: &[Level]| {
            levels
                .iter()
                .rposition(|level| level.fd.is_some())
                .map_or(0, |open| open + 1)
        };
        for (depth, node) in chain.into_iter().enumerate().skip(first_closed(&self.levels)) {
            let parent = match depth.checked_sub(1).and_then(|above| self.levels.get(above)) {
                Some(Level { fd: Some(fd), .. }) => fd.as_fd(),
                _ => self.root,
            };
            let fd = open_dir(parent, &node.name)?;
            if Meta::of_fd(fd.as_fd())?.dev != self.device {
                return Err(Errno::XDEV);
            }
            match self.levels.get_mut(depth) {
                Some(level) => level.fd = Some(fd),
                None => self.levels.push(Level {
                    node: Arc::clone(node),
                    fd: Some(fd),
                }),
            }
            if let Some(far) = self.levels.get_mut(depth.wrapping_sub(OPEN)) {
                far.fd = None;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_longer_than_the_kernel_takes_is_reached_with_few_open_directories() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_root(dir.path()).unwrap();
        let device = Meta::of_fd(root.as_fd()).unwrap().dev;
        let name = [b'd'; 200];
        let mut nodes = vec![Node::root()];
        let mut cursor = Cursor::new(root.as_fd(), device);
        for id in 1..100 {
            let parent = Arc::clone(nodes.last().unwrap());
            rustix::fs::mkdirat(cursor.enter(&parent).unwrap(), &name[..], Mode::RWXU).unwrap();
            nodes.push(Node::child(&parent, &name, id));
        }
        let inode =
            |cursor: &mut Cursor<'_>, node: &Arc<Node>| Meta::of_fd(cursor.enter(node).unwrap()).unwrap().ino;
        let down: Vec<_> = nodes.iter().map(|node| inode(&mut cursor, node)).collect();
        let mut up: Vec<_> = nodes.iter().rev().map(|node| inode(&mut cursor, node)).collect();
        up.reverse();
        assert_eq!(down, up);
        assert!(cursor.levels.iter().filter(|level| level.fd.is_some()).count() <= OPEN);
        assert_eq!(nodes[99].path(b"x").len(), 99 * 201 + 1);
    }

    #[test]
    fn a_symlink_is_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("way-out")).unwrap();
        let root = open_root(dir.path()).unwrap();
        let device = Meta::of_fd(root.as_fd()).unwrap().dev;
        let node = Node::child(&Node::root(), b"way-out", 1);
        let error = Cursor::new(root.as_fd(), device).enter(&node).unwrap_err();
        assert!(matches!(error, Errno::NOTDIR | Errno::LOOP), "{error}");
    }
}
