//! Records as lines: `checksum {"at":…,"record":…}`. What they mean together is `state`.
//!
//! The checksum covers the line and the checksum before it, so that a line that is lost, doubled, swapped or of
//! another journal is found as surely as one that was edited. Only the last line may be torn: it was being written
//! when the power went, so what it announces had not begun.

use std::io::{self, BufRead, Read};

use jiff::Timestamp;

use super::record::{Entry, FORMAT, Record, signature};
use crate::model::{Failure, Result};
use crate::state::Store;

/// The longest line. A plan of hundreds of steps takes some tens of kilobytes.
pub const MAX_LINE: usize = 4 << 20;
/// The longest journal.
pub const MAX_FILE: u64 = 64 << 20;

const CHECKSUM_HEX: usize = 16;

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Every whole record, oldest first. None at all: the run never began.
    pub entries: Vec<Entry>,
    /// How many bytes of a torn line follow them.
    pub torn: u64,
    /// How many bytes the whole records take.
    len: u64,
    /// The checksum of the last.
    chain: String,
}

/// A journal that is open for writing.
#[derive(Debug)]
pub struct Journal<T> {
    store: T,
    records: u64,
    len: u64,
    chain: String,
    /// After a failed write nobody knows what is at the end.
    broken: bool,
}

/// A line that is not written yet. Apart from writing it, because a record that is too large is a step's failure,
/// and a journal that cannot be written is the run's.
#[derive(Debug)]
pub(super) struct Line {
    bytes: Vec<u8>,
    checksum: String,
    entry: Entry,
}

impl Line {
    /// What it says.
    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl<T: Store> Journal<T> {
    /// Begins a journal in an empty store.
    pub(super) fn begin(store: T) -> Self {
        Self {
            store,
            records: 0,
            len: 0,
            chain: String::new(),
            broken: false,
        }
    }

    /// Opens a journal to go on with it. A torn last line is cut off.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is of a newer format. Then nothing was written to it.
    pub fn open(mut store: T) -> Result<(Self, Contents)> {
        let contents = read(&mut store)?;
        if contents.torn > 0 {
            store.truncate(contents.len).map_err(|e| {
                Failure::environment(format!("cannot cut the torn line off {}", store.name()))
                    .because(&e)
                    .data("nothing was changed by this command")
            })?;
        }
        let records = contents.entries.len() as u64;
        let journal = Self {
            store,
            records,
            len: contents.len,
            chain: contents.chain.clone(),
            broken: false,
        };
        Ok((journal, contents))
    }

    /// Reads a journal without changing it, also while a run writes to it.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is of a newer format.
    pub fn read(mut store: T) -> Result<Contents> {
        read(&mut store)
    }

    /// How many records it has.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> String {
        self.store.name()
    }

    /// Makes the line of a record.
    ///
    /// # Errors
    /// When the record is too large to be kept.
    pub(super) fn encode(&self, record: Record) -> Result<Line> {
        let entry = Entry {
            at: Timestamp::now(),
            record,
        };
        let too_large = || Failure::refused("a step recorded more than a journal can keep");
        let json = serde_json::to_vec(&entry)
            .map_err(|e| Failure::bug("a record cannot be written as JSON").because(&e))?;
        let checksum = checksum(&self.chain, &json);
        let mut bytes = Vec::with_capacity(CHECKSUM_HEX + json.len() + 2);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(&json);
        bytes.push(b'\n');
        if bytes.len() > MAX_LINE {
            return Err(too_large().cause(format!(
                "{} bytes, and the limit of a line is {MAX_LINE}",
                bytes.len()
            )));
        }
        if self.len + bytes.len() as u64 > MAX_FILE {
            return Err(too_large().cause(format!("the limit of a journal is {MAX_FILE} bytes")));
        }
        Ok(Line {
            bytes,
            checksum,
            entry,
        })
    }

    /// Writes a line. When this returns it is on disk.
    ///
    /// # Errors
    /// When it may not be. From then on every write fails: the run must stop.
    pub(super) fn write(&mut self, line: Line) -> io::Result<Entry> {
        if self.broken {
            return Err(io::Error::other("a write to this journal failed before"));
        }
        // Blocks the thread for the time of an fsync, on purpose: nothing may happen meanwhile.
        if let Err(e) = self.store.append(&line.bytes) {
            self.broken = true;
            return Err(e);
        }
        self.records += 1;
        self.len += line.bytes.len() as u64;
        self.chain = line.checksum;
        Ok(line.entry)
    }
}

fn checksum(chain: &str, json: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(chain.as_bytes());
    hasher.update(json);
    let mut hex = hasher.finalize().to_hex().to_string();
    hex.truncate(CHECKSUM_HEX);
    hex
}

fn read(store: &mut dyn Store) -> Result<Contents> {
    let name = store.name();
    let cannot = |e: &io::Error| {
        Failure::environment(format!("cannot read the journal {name}"))
            .because(e)
            .data("nothing was changed by this command")
    };
    let mut reader = store.reader().map_err(|e| cannot(&e))?;
    let mut contents = Contents::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        (&mut reader)
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(|e| cannot(&e))?;
        if line.is_empty() {
            break;
        }
        let damaged = |why: &str| Err(damaged(&name, format!("line {number}: {why}")));
        if line.len() > MAX_LINE {
            return damaged(&format!("it is longer than {MAX_LINE} bytes"));
        }
        if contents.len + line.len() as u64 > MAX_FILE {
            return damaged(&format!("the journal is longer than {MAX_FILE} bytes"));
        }
        let Some(whole) = line.strip_suffix(b"\n") else {
            // No end of line, so nothing follows: this is where the power went.
            contents.torn = line.len() as u64;
            break;
        };
        if number == 1 {
            refuse_newer(&name, whole)?;
        }
        match decode(&contents.chain, whole) {
            Ok((checksum, entry)) => {
                contents.chain = checksum;
                contents.len += line.len() as u64;
                contents.entries.push(entry);
            }
            Err(why) => return damaged(&why),
        }
    }
    Ok(contents)
}

fn decode(chain: &str, line: &[u8]) -> std::result::Result<(String, Entry), String> {
    let (found, json) = split(line).ok_or("it does not begin with a checksum")?;
    let expected = checksum(chain, json);
    if found != expected.as_bytes() {
        return Err("its checksum does not match".to_owned());
    }
    let entry =
        serde_json::from_slice(json).map_err(|e| format!("it is no record that this version knows: {e}"))?;
    Ok((expected, entry))
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (checksum, rest) = line.split_at_checked(CHECKSUM_HEX)?;
    Some((checksum, rest.strip_prefix(b" ")?))
}

/// Looks for the format number before anything else is believed: a newer format may have other checksums.
fn refuse_newer(name: &str, line: &[u8]) -> Result<()> {
    let Some(start) = line.iter().position(|b| *b == b'{') else {
        return Ok(());
    };
    let Ok(first) = serde_json::from_slice::<serde_json::Value>(&line[start..]) else {
        return Ok(());
    };
    let opened = &first["record"]["opened"];
    match opened["format"].as_u64() {
        Some(format) if format > u64::from(FORMAT) => {
            let by = opened["by"].as_str().unwrap_or("a newer rehome");
            Err(
                Failure::refused(format!("the journal {name} has format {format}, written by {by}"))
                    .cause(format!("{} knows formats up to {FORMAT}", signature()))
                    .data("nothing was changed by this command, and the journal was left as it is")
                    .hint(format!("use {by}, or a newer one, to go on with this run")),
            )
        }
        _ => Ok(()),
    }
}

/// What a person is told about a journal that cannot be believed.
pub(super) fn damaged(name: &str, why: String) -> Failure {
    let dir = name.strip_suffix("/journal").unwrap_or(name);
    Failure::stuck(format!("the journal {name} is damaged"))
        .cause(why)
        .data("nothing was changed by this command; a run never changes the data that it began with")
        .hint("see what the stack runs on: rehome status")
        .hint(format!("if a whole copy of {name} exists, put it back and resume or roll back the run"))
        .hint(format!(
            "otherwise bring the stack to where it shall be by hand, then set the run aside: mv {dir} {dir}.damaged"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saga::Reason;

    /// Refuses the first line, after half of it.
    #[derive(Default)]
    struct Faulty {
        bytes: Vec<u8>,
        refused: bool,
    }

    impl Store for Faulty {
        fn name(&self) -> String {
            "a faulty disk".into()
        }
        fn reader(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
            Ok(Box::new(io::Cursor::new(&self.bytes)))
        }
        fn append(&mut self, line: &[u8]) -> io::Result<()> {
            let half = if self.refused { line.len() } else { line.len() / 2 };
            self.bytes.extend_from_slice(&line[..half]);
            if std::mem::replace(&mut self.refused, true) {
                Ok(())
            } else {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        fn truncate(&mut self, len: u64) -> io::Result<()> {
            self.bytes.truncate(len as usize);
            Ok(())
        }
    }

    #[test]
    fn nothing_is_written_behind_a_line_that_failed() {
        let mut journal = Journal::begin(Faulty::default());
        let line = |journal: &Journal<Faulty>| {
            journal
                .encode(Record::UnwindBegan {
                    reason: Reason::Asked,
                })
                .unwrap()
        };
        let first = line(&journal);
        let half = first.bytes.len() / 2;
        assert_eq!(
            journal.write(first).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        // The disk would take it now, and the half line before it would make the whole journal unreadable.
        let second = line(&journal);
        assert!(journal.write(second).is_err());
        assert_eq!(journal.store.bytes.len(), half);
        assert_eq!(journal.records(), 0);
        let (mut journal, contents) = Journal::open(journal.store).unwrap();
        assert_eq!((contents.entries.len(), contents.torn), (0, half as u64));
        let third = line(&journal);
        journal.write(third).unwrap();
        assert_eq!(Journal::read(journal.store).unwrap().entries.len(), 1);
    }
}
