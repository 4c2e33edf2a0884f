//! Small files are compared with their objects while the list of these still comes in: in most runs nothing else is left to
//! do. Only what is the same is known afterwards; everything else, and whatever goes wrong here, is looked at in its turn.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};

use super::Compared;
use super::files::{Found, Local, Remote, find};
use super::lanes::{LANES, sums};
use super::store::Store;
use crate::helper::content::{fill, open_file};
use crate::helper::cursor::Cursor;
use crate::helper::meta::{Kind, Meta};
use crate::helper::tree::EntryId;
use crate::model::Result;
use crate::s3::{ETag, Md5Sum};

/// Larger files are read in their turn: each thread holds [`LANES`] of these.
const SMALL: u64 = 128 << 10;
/// More threads would hold too much.
const MOST: usize = 16;

/// A file, by its place among those of the tree, and the MD5 of its object.
type Pair = (usize, Md5Sum);

/// Lists the bucket, and says of each file whether it is known to be the same by now.
pub(super) fn find_and_compare(store: &Store<'_>, local: &Local) -> Result<(Found, Vec<bool>)> {
    let (tell, told) = channel::<Pair>();
    let (told, over) = (Mutex::new(told), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let one = || {
            let mut hand = Hand::of(local);
            while let Some(pairs) = next(&told).filter(|_| !over.load(Relaxed)) {
                hand.compare(store, &pairs);
            }
            hand.same
        };
        let hands: Vec<_> = (0..store.jobs.min(MOST)).map(|_| scope.spawn(one)).collect();
        let found = find(store, local, &mut |at, key, remote| {
            let size = local.tree.entry(local.files[at]).meta.size;
            // What a storage makes of a backslash is found out first.
            if let ETag::Whole(sum) = remote.etag
                && remote.bytes == size
                && size <= SMALL
                && !key.contains('\\')
            {
                // There is always somebody to hear it: they end after this.
                tell.send((at, sum)).unwrap_or_default();
            }
        });
        drop(tell);
        over.store(found.is_err(), Relaxed);
        let mut same = vec![false; local.files.len()];
        for hand in hands {
            match hand.join() {
                Ok(places) => places.into_iter().for_each(|at| same[at] = true),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok((found?, same))
    })
}

/// What is left to be looked at, with its object. The last is worked on first.
pub(super) fn left_of(
    local: &Local,
    remotes: Vec<Option<Remote>>,
    same: &[bool],
) -> Vec<(EntryId, Option<Remote>)> {
    let all = local.files.iter().copied().zip(remotes).zip(same);
    all.filter(|(_, same)| !**same)
        .map(|(item, _)| item)
        .rev()
        .collect()
}

/// What is known to be the same, in the words of a report.
pub(super) fn known(same: &[bool]) -> Compared {
    Compared {
        by_etag: same.iter().filter(|same| **same).count() as u64,
        ..Compared::default()
    }
}

/// As many as go side by side, or fewer if no more are known yet; `None` after the last.
fn next(told: &Mutex<Receiver<Pair>>) -> Option<Vec<Pair>> {
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let first = told.recv().ok()?;
    let mut pairs = vec![first];
    pairs.extend(told.try_iter().take(LANES - 1));
    Some(pairs)
}

/// One who compares, and what he needs for it.
struct Hand<'a> {
    local: &'a Local,
    cursor: Cursor<'a>,
    buffers: Vec<Vec<u8>>,
    same: Vec<usize>,
}

impl<'a> Hand<'a> {
    fn of(local: &'a Local) -> Self {
        Self {
            local,
            cursor: Cursor::new(local.root.as_fd(), local.tree.root.dev),
            buffers: vec![Vec::new(); LANES],
            same: Vec::new(),
        }
    }

    fn compare(&mut self, store: &Store<'_>, pairs: &[Pair]) {
        let mut buffers = std::mem::take(&mut self.buffers);
        let mut read: Vec<(&Pair, &[u8])> = Vec::with_capacity(LANES);
        for (pair, buffer) in pairs.iter().zip(&mut buffers) {
            if store.cx.go_on().is_ok()
                && let Some(content) = self.read(pair.0, buffer)
            {
                read.push((pair, content));
            }
        }
        let contents: Vec<&[u8]> = read.iter().map(|(_, content)| *content).collect();
        for (((at, wanted), content), sum) in read.iter().zip(sums(&contents)) {
            if sum == *wanted {
                self.same.push(*at);
                store.cx.did_files(1);
                store.cx.did_bytes(2 * content.len() as u64);
            }
        }
        self.buffers = buffers;
    }

    /// The content of a file that is as it was when the tree was read, and stays so meanwhile.
    fn read<'b>(&mut self, at: usize, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        let id = self.local.files[at];
        let size = self.local.tree.entry(id).meta.size;
        let dir = self.cursor.enter(self.local.tree.node(id.dir)).ok()?;
        let file = open_file(dir, &self.local.tree.name(id)).ok()?;
        let meta = Meta::of_fd(file.as_fd()).ok()?;
        if meta.kind != Kind::File || meta.size != size {
            return None;
        }
        let length = usize::try_from(size).ok()?;
        buffer.resize(buffer.len().max(length), 0);
        let content = &mut buffer[..length];
        let whole = fill(file.as_fd(), content, 0).ok()? == length;
        (whole && Meta::of_fd(file.as_fd()).ok()?.untouched_since(&meta)).then_some(content)
    }
}
