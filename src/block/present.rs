//! Which file systems the disks and partitions of this machine have now, read from all of them: whoever attaches a copy of
//! a volume does not ask how it is called, and a disk that udev made no links for is attached all the same.
//!
//! A disk may never answer (a dead path to a SAN, a session that is gone), so each is read by a thread of its own and
//! nobody waits for the last of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::fsid::FsUuid;
use super::sysfs;

/// More disks and partitions than this are not read.
const DEVICES: usize = 256;
/// They are read at once; whichever has not answered by then is one that could not be read.
const LIMIT: Duration = Duration::from_secs(5);

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    found: BTreeMap<FsUuid, Vec<PathBuf>>,
    /// What could not be read, so that nobody knows what is on it.
    pub unread: Vec<PathBuf>,
}

impl Present {
    /// Reads all of them. It blocks, for some seconds at most.
    ///
    /// # Errors
    /// When the kernel does not say which there are.
    pub fn look() -> io::Result<Self> {
        Ok(Self::of(sysfs::nodes()?))
    }

    /// Reads these.
    #[must_use]
    pub fn of(mut nodes: Vec<PathBuf>) -> Self {
        let mut seen = Self {
            unread: nodes.split_off(nodes.len().min(DEVICES)),
            found: BTreeMap::new(),
        };
        let (answer, answers) = mpsc::channel();
        let mut waiting = Vec::new();
        for node in nodes {
            let (answer, of) = (answer.clone(), node.clone());
            let read = move || {
                let uuid = uuid_of(&of);
                // Nobody hears it who comes too late.
                answer.send((of, uuid)).ok();
            };
            match std::thread::Builder::new().spawn(read) {
                Ok(_) => waiting.push(node),
                Err(_) => seen.unread.push(node),
            }
        }
        let end = Instant::now() + LIMIT;
        while !waiting.is_empty() {
            let Ok((node, uuid)) = answers.recv_timeout(end.saturating_duration_since(Instant::now())) else {
                break;
            };
            waiting.retain(|other| *other != node);
            match uuid {
                Ok(Some(uuid)) => seen.found.entry(uuid).or_default().push(node),
                Ok(None) => {}
                Err(_) => seen.unread.push(node),
            }
        }
        seen.unread.append(&mut waiting);
        seen.unread.sort();
        for nodes in seen.found.values_mut() {
            nodes.sort();
        }
        seen
    }

    /// The devices that have this file system, sorted.
    #[must_use]
    pub fn with(&self, uuid: &FsUuid) -> &[PathBuf] {
        self.found.get(uuid).map_or(&[], Vec::as_slice)
    }
}

/// What is not there, or not any more, has none.
fn uuid_of(node: &Path) -> io::Result<Option<FsUuid>> {
    let gone = |error: &io::Error| {
        let none = [Errno::NOENT, Errno::NXIO, Errno::NODEV, Errno::NOMEDIUM];
        none.iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    };
    match File::open(node).and_then(|device| FsUuid::of_device(&device)) {
        Err(error) if gone(&error) => Ok(None),
        read => read,
    }
}
