//! The content of files in a pass: each is copied, patched, or found to be what it was.
//!
//! A large file is worked on by several threads, each at a stretch of it, and what they write goes past the page cache
//! and is read back at once. Small files go through the cache; when enough of them wait there, they are synced, and read
//! back by other threads while the next are copied.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Sender, unbounded};

use super::back::{BackReader, Copied};
use super::blocks::BlockLists;
use super::content::Content;
use super::copy::Pass;
use super::crew::work_off;
use super::fault::{Fault, Result};
use super::file::{Copier, Done, Opened, Part, Shared};
use super::meta::Stamp;
use super::store::Store;
use super::structure::Run;
use super::throttle::Throttle;
use super::tree::{EntryId, Tree};

/// What a thread takes at a time, in bytes of content.
const BATCH: u64 = 4 << 20;

/// What a thread takes of a large file: whole blocks.
const PART: u64 = 64 << 20;

/// What waits in the page cache before it is synced to be read back, in bytes and in files.
const GROUP: u64 = 256 << 20;
const GROUP_FILES: usize = 20_000;

/// How many read back for each that copies. They do nothing but wait for the disk: with 32 of them 100,000 small files
/// took 7 seconds, with 8 of them 8.5, and 11.5 when nothing was read back before everything was copied.
const READERS: usize = 4;
const MOST_READERS: usize = 32;

/// Files that wait in the page cache.
#[derive(Default)]
struct Group {
    batches: Vec<Vec<Copied>>,
    bytes: u64,
    files: usize,
}

enum Work {
    Files(Run),
    Part(Arc<Large>, usize),
}

/// A file that several threads work on.
struct Large {
    opened: Opened,
    /// What became of each part, in order.
    parts: Mutex<Vec<Option<Part>>>,
}

/// Brings the content of all these files over.
///
/// # Errors
/// When a side cannot be read or written, when what is read back differs, and, unless it is live, when the source
/// changes.
pub fn bring(
    pass: &Pass<'_>,
    start: Stamp,
    (known, lists): (&Store, &BlockLists),
    files: &[Run],
) -> Result<Done> {
    let mut batches: Vec<_> = batches(pass.tree, files).into_iter().map(Work::Files).collect();
    // In the order of the tree; the stack gives out the last first.
    batches.reverse();
    let shared = Shared {
        pass,
        start,
        throttle: Throttle::new(pass.request.bandwidth),
        files: known,
        lists,
        clones: AtomicBool::new(true),
    };
    let group = Mutex::default();
    let fault: Mutex<Option<Fault>> = Mutex::new(None);
    // The first fault is the one to be told: the others only hear that it is over.
    let ended = |ended: Fault| {
        lock(&fault).get_or_insert(ended);
        pass.cx.stop();
    };
    let (ready, groups) = unbounded::<Vec<Copied>>();
    let mut all = std::thread::scope(|scope| {
        let readers = if pass.request.read_back {
            (READERS * pass.jobs).min(MOST_READERS)
        } else {
            0
        };
        let readers: Vec<_> = (0..readers)
            .map(|_| {
                let groups = groups.clone();
                scope.spawn(|| {
                    let mut reader = BackReader::new(pass, known);
                    let files = groups.into_iter().flatten();
                    match files.into_iter().try_for_each(|file| reader.file(&file)) {
                        Ok(()) => {}
                        Err(fault) => ended(fault),
                    }
                })
            })
            .collect();
        drop(groups);
        let copied = work_off(
            pass.cx,
            pass.jobs,
            batches,
            || Thread {
                copier: Copier::new(&shared),
                group: &group,
            },
            |thread, work, more| thread.work(work, more, &ready),
        );
        drop(ready);
        let mut all = Done::default();
        match copied {
            Ok(threads) => threads
                .into_iter()
                .for_each(|thread| all.extend(thread.copier.done)),
            Err(fault) => ended(fault),
        }
        for reader in readers {
            match reader.join() {
                Ok(()) => {}
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    if let Some(fault) = fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(fault);
    }
    let rest = group.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.late.extend(rest.batches.into_iter().flatten());
    Ok(all)
}

/// Files of one directory each, not too much at a time. Two threads that make files in the same directory wait for each
/// other in the kernel.
fn batches(tree: &Tree, files: &[Run]) -> Vec<Run> {
    let mut batches: Vec<Run> = Vec::new();
    let mut bytes = 0;
    for Run { dir, slots } in files {
        let here = tree.dir(*dir);
        for slot in slots.clone() {
            let size = here.entries.get(slot as usize).map_or(0, |entry| entry.meta.size);
            match batches.last_mut() {
                Some(batch) if batch.dir == *dir && batch.slots.end == slot && bytes < BATCH => {
                    batch.slots.end += 1;
                    bytes += size;
                }
                _ => {
                    batches.push(Run {
                        dir: *dir,
                        slots: slot..slot + 1,
                    });
                    bytes = size;
                }
            }
        }
    }
    batches
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the threads.
struct Thread<'a> {
    copier: Copier<'a>,
    group: &'a Mutex<Group>,
}

impl<'a> Thread<'a> {
    fn work(&mut self, work: Work, more: &mut Vec<Work>, ready: &Sender<Vec<Copied>>) -> Result<()> {
        match work {
            Work::Files(Run { dir, slots }) => {
                for slot in slots {
                    let id = EntryId { dir, slot };
                    self.copier.shared.pass.cx.go_on()?;
                    self.file(id, more)?;
                }
            }
            Work::Part(large, number) => self.part(&large, number)?,
        }
        self.pass_on(ready)
    }

    /// Has the files of this batch read back when enough of them wait. Who completes a group syncs it.
    fn pass_on(&mut self, ready: &Sender<Vec<Copied>>) -> Result<()> {
        if self.copier.unread.is_empty() {
            return Ok(());
        }
        let full = {
            let mut group = lock(self.group);
            group.bytes += self.copier.unread.iter().map(|file| file.size).sum::<u64>();
            group.files += self.copier.unread.len();
            group.batches.push(std::mem::take(&mut self.copier.unread));
            if group.bytes < GROUP && group.files < GROUP_FILES {
                return Ok(());
            }
            std::mem::take(&mut *group)
        };
        self.copier.shared.pass.sync()?;
        for batch in full.batches {
            // Nobody reads any more only after a fault, which is told elsewhere.
            if ready.send(batch).is_err() {
                return self.copier.shared.pass.cx.go_on();
            }
        }
        Ok(())
    }

    /// Brings one file over, or leaves it as parts.
    fn file(&mut self, id: EntryId, more: &mut Vec<Work>) -> Result<()> {
        let Some(opened) = self.copier.open(id)? else {
            self.copier.shared.pass.cx.did_files(1);
            return Ok(());
        };
        let size = opened.meta.size;
        let parts = size.div_ceil(PART) as usize;
        if parts > 1 {
            let mut none = Vec::new();
            none.resize_with(parts, || None);
            let large = Arc::new(Large {
                opened,
                parts: Mutex::new(none),
            });
            more.extend(
                (0..parts)
                    .rev()
                    .map(|number| Work::Part(Arc::clone(&large), number)),
            );
            return Ok(());
        }
        let part = self.copier.stretch(&opened, 0..size)?;
        self.copier.finish(&opened, part)
    }

    fn part(&mut self, large: &Arc<Large>, number: usize) -> Result<()> {
        let from = number as u64 * PART;
        let part = self
            .copier
            .stretch(&large.opened, from..(from + PART).min(large.opened.meta.size))?;
        let all: Option<Vec<Part>> = {
            let mut parts = lock(&large.parts);
            if let Some(place) = parts.get_mut(number) {
                *place = Some(part);
            }
            if parts.iter().all(Option::is_some) {
                parts.drain(..).collect()
            } else {
                None
            }
        };
        let Some(all) = all else { return Ok(()) };
        let mut whole = Part {
            content: Content {
                list: Vec::new(),
                data: 0,
                complete: true,
            },
            changed: false,
        };
        for part in all {
            whole.content.list.extend(part.content.list);
            whole.content.data += part.content.data;
            whole.content.complete &= part.content.complete;
            whole.changed |= part.changed;
        }
        self.copier.finish(&large.opened, whole)
    }
}
