//! Files of JSON lines that only grow: what a crash tears is one line, and the next one is read again.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::durable;
use crate::model::{Failure, Result};

/// The longest line that is read or written.
const MAX_LINE: usize = 64 << 10;

/// What could be read of such a file.
#[derive(Debug, PartialEq)]
pub struct LinesRead<T> {
    /// The newest lines, oldest first.
    pub lines: Vec<T>,
    /// How many lines could not be read: torn, edited, or of another version.
    pub unreadable: usize,
}

impl<T> Default for LinesRead<T> {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            unreadable: 0,
        }
    }
}

/// Adds a line, durable. The directory is there already.
///
/// # Errors
/// When it cannot be written.
pub(super) fn append(path: &Path, line: &impl Serialize) -> Result<()> {
    let cannot = |e: &dyn std::fmt::Display| {
        Failure::environment(format!("cannot write {}", path.display())).cause(e.to_string())
    };
    let mut text = serde_json::to_vec(line).map_err(|e| cannot(&e))?;
    text.push(b'\n');
    if text.len() > MAX_LINE {
        return Err(cannot(&format!("a line of it is longer than {MAX_LINE} bytes")));
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| cannot(&e))?;
    // A line that was torn by a crash must not take this one with it.
    if !ends_with_newline(&mut file).map_err(|e| cannot(&e))? {
        text.insert(0, b'\n');
    }
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .map_err(|e| cannot(&e))?;
    durable::sync_dir(path.parent().unwrap_or(Path::new("")))
}

/// Reads the newest lines, at most `limit`; none if there is no file.
///
/// # Errors
/// When the file is there and cannot be read. Single lines that cannot be are counted.
pub(super) fn newest<T: DeserializeOwned>(path: &Path, limit: usize) -> Result<LinesRead<T>> {
    read(path, limit, None)
}

/// Reads the lines in the last so many bytes: what it costs does not grow with the file.
///
/// # Errors
/// As [`newest`].
pub(super) fn last<T: DeserializeOwned>(path: &Path, bytes: u64) -> Result<LinesRead<T>> {
    read(path, usize::MAX, Some(bytes))
}

fn read<T: DeserializeOwned>(path: &Path, limit: usize, bytes: Option<u64>) -> Result<LinesRead<T>> {
    let cannot =
        |e: &std::io::Error| Failure::environment(format!("cannot read {}", path.display())).because(e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(LinesRead::default()),
        Err(e) => return Err(cannot(&e)),
    };
    let mut reader = BufReader::new(file);
    if let Some(bytes) = bytes {
        begin_before_the_end(&mut reader, bytes).map_err(|e| cannot(&e))?;
    }
    let mut lines = VecDeque::new();
    let mut unreadable = 0;
    let mut text = Vec::new();
    loop {
        text.clear();
        (&mut reader)
            .take(MAX_LINE as u64)
            .read_until(b'\n', &mut text)
            .map_err(|e| cannot(&e))?;
        if text.is_empty() {
            return Ok(LinesRead {
                lines: lines.into(),
                unreadable,
            });
        }
        if text == b"\n" {
            continue;
        }
        match serde_json::from_slice(&text) {
            Ok(line) => lines.push_back(line),
            Err(_) => unreadable += 1,
        }
        if lines.len() > limit {
            lines.pop_front();
        }
    }
}

/// Goes to the first line that begins in the last so many bytes.
fn begin_before_the_end(reader: &mut BufReader<File>, bytes: u64) -> std::io::Result<()> {
    let len = reader.get_ref().metadata()?.len();
    if bytes >= len {
        return Ok(());
    }
    // From the byte before: if that ends a line, the next one begins just there.
    reader.seek(SeekFrom::Start(len - bytes - 1))?;
    let mut passed = Vec::new();
    loop {
        passed.clear();
        let read = reader.take(MAX_LINE as u64).read_until(b'\n', &mut passed)?;
        if read == 0 || passed.ends_with(b"\n") {
            return Ok(());
        }
    }
}

fn ends_with_newline(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
