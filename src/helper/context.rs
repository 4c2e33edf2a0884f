//! What an operation shares with whoever started it: progress, notes, and the wish to stop.
//!
//! Operations never write lines themselves; [`super::run`] reads this and does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::fault::{Fault, Result, show};
use super::protocol::{FailClass, Line};

/// Notes told of one request; what is beyond is counted.
const NOTES: u64 = 20;

/// How far an operation is, and what it has to say. Its clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Context(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    bytes_read: AtomicU64,
    bytes_total: AtomicU64,
    files: AtomicU64,
    files_total: AtomicU64,
    stopped: AtomicBool,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    waiting: Vec<String>,
    told: u64,
    beyond: u64,
}

impl Context {
    /// A fresh one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what there is to do.
    pub fn expect(&self, bytes: u64, files: u64) {
        self.0.bytes_total.store(bytes, Relaxed);
        self.0.files_total.store(files, Relaxed);
    }

    /// Counts bytes that were read. All content is read twice, copied and read back or on both sides, so each is told
    /// as half a byte: what is told grows evenly and ends at the total.
    pub fn did_bytes(&self, bytes: u64) {
        self.0.bytes_read.fetch_add(bytes, Relaxed);
    }

    /// Counts entries done.
    pub fn did_files(&self, files: u64) {
        self.0.files.fetch_add(files, Relaxed);
    }

    /// Says something worth a line.
    pub fn note(&self, text: impl Into<String>) {
        let mut notes = self.0.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.told < NOTES {
            notes.told += 1;
            notes.waiting.push(text.into());
        } else {
            notes.beyond += 1;
        }
    }

    /// An entry went away, or became something else, before it was `done`: of a tree that is written to meanwhile that is a
    /// note, of one that stands still a fault.
    ///
    /// # Errors
    /// See above.
    pub fn gone(&self, live: bool, path: &[u8], done: &str) -> Result<()> {
        if !live {
            let because = "it went away or became something else";
            return Err(Fault::source_changed(path, because));
        }
        self.note(format!("{} went away while it was {done}", show(path)));
        Ok(())
    }

    /// Takes the notes that were not told yet.
    pub fn take_notes(&self) -> Vec<String> {
        let mut notes = self.0.notes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut notes.waiting)
    }

    /// At the end: the sentence about the notes that were only counted, if there are any.
    pub fn notes_beyond(&self) -> Option<String> {
        let beyond = self.0.notes.lock().unwrap_or_else(PoisonError::into_inner).beyond;
        (beyond > 0).then(|| format!("{beyond} more notes like these"))
    }

    /// The state as a line.
    #[must_use]
    pub fn progress(&self) -> Line {
        let bytes_total = self.0.bytes_total.load(Relaxed);
        Line::Progress {
            // A live file may grow while it is read.
            bytes: (self.0.bytes_read.load(Relaxed) / 2).min(bytes_total),
            bytes_total,
            files: self.0.files.load(Relaxed),
            files_total: self.0.files_total.load(Relaxed),
        }
    }

    /// Asks the operation to end soon.
    pub fn stop(&self) {
        self.0.stopped.store(true, Relaxed);
    }

    /// Fails when the operation was asked to end; to be called between pieces of work.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub fn go_on(&self) -> Result<()> {
        if self.0.stopped.load(Relaxed) {
            return Err(Fault::new(
                FailClass::Other,
                "stopped before the end",
                "the host went away",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_told_up_to_a_limit_and_counted_beyond() {
        let cx = Context::new();
        for n in 0..23 {
            cx.note(format!("note {n}"));
        }
        assert_eq!(cx.take_notes().len(), 20);
        assert!(cx.take_notes().is_empty());
        cx.note("one more");
        assert!(cx.take_notes().is_empty());
        assert_eq!(cx.notes_beyond().as_deref(), Some("4 more notes like these"));
    }
}
