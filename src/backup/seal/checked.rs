//! Counting and hashing, and a reader whose end is an error unless both are as they should be.

use std::io::{self, ErrorKind, Read};

use super::super::carry;
use crate::model::Failure;

/// How many bytes went by, and their hash.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) bytes: u64,
    hasher: blake3::Hasher,
}

impl Tally {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    pub(super) fn hex(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}

/// What a stream has to be.
pub(super) struct Expected {
    /// For people: `stored bytes`.
    pub(super) what: &'static str,
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

/// Reads what has to be of a certain length and hash. After an error there is never an end, only the error again.
pub(super) struct Checked<R> {
    from: R,
    tally: Tally,
    expected: Expected,
    end: Option<Result<(), Failure>>,
}

impl<R> Checked<R> {
    pub(super) fn new(from: R, expected: Expected) -> Self {
        Self {
            from,
            tally: Tally::default(),
            expected,
            end: None,
        }
    }

    fn judge(&self) -> Result<(), Failure> {
        let Expected { what, bytes, blake3 } = &self.expected;
        match self.tally.bytes {
            found if found < *bytes => Err(damaged(format!("{found} {what} instead of {bytes}"))),
            _ if self.tally.hex() != *blake3 => {
                Err(damaged(format!("the {what} do not match their hash (BLAKE3)")))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(end) = &self.end {
            return end.clone().map(|()| 0).map_err(carry);
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let end = match self.from.read(buf) {
            Ok(0) => self.judge(),
            Ok(n) => {
                self.tally.take(&buf[..n]);
                let Expected { what, bytes, .. } = &self.expected;
                if self.tally.bytes <= *bytes {
                    return Ok(n);
                }
                Err(damaged(format!("more than {bytes} {what}")))
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Err(e),
            // A failure of the layer below, or of the place: told as it is. zstd and age know no other kind than these.
            Err(e) => Err(match super::super::carried(&e) {
                Some(failure) => failure.clone(),
                None if matches!(
                    e.kind(),
                    ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::Other
                ) =>
                {
                    damaged(e.to_string())
                }
                None => Failure::environment("cannot read the backup").because(&e),
            }),
        };
        let told = end.clone().map(|()| 0).map_err(carry);
        self.end = Some(end);
        told
    }
}

/// The backup is not what was written.
pub(super) fn damaged(why: impl Into<String>) -> Failure {
    Failure::refused("an entry of the backup is damaged").cause(why)
}
