//! Bytes on their way into a backup and out of it: compressed, encrypted, and hashed on both sides. Streams only, and
//! the memory has a limit whatever their length.
//!
//! ```text
//! plain -> BLAKE3 -> zstd -> age or nothing -> BLAKE3 -> stored
//! ```
//!
//! What is read back comes to an end only when everything is right: both hashes and sizes, the checksum and the end of
//! zstd's frame, age's own last chunk, and nothing behind it. Until then a reader may have been given bytes that are
//! wrong: whoever uses them before the end must be able to take that back.

mod checked;
mod keys;
mod read;

use std::io::{self, Write};

use age::stream::StreamWriter;

use self::checked::Tally;
use super::format::{Encryption, Sealed};
use crate::model::{Failure, Result, Secret};

pub use self::keys::{Keys, Recipient};
pub use self::read::unseal;

/// The levels that are taken: those above want windows which double the memory.
pub const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;
/// Up to this level zstd works with threads of its own; above, each of them would want a hundred megabytes.
const LEVEL_WITH_THREADS: i32 = 9;
/// How many: a stack runs beside it.
const THREADS: u32 = 2;
/// The work that a passphrase costs each time, as a power of two: 128 MiB of memory for a moment.
const WORK: u8 = 17;

/// How entries are sealed.
#[derive(Debug, Clone)]
pub struct Sealing {
    /// How hard zstd tries; taken from within [`LEVELS`].
    pub level: i32,
    /// For whom.
    pub encryption: Encrypting,
}

/// For whom entries are encrypted.
#[derive(Debug, Clone)]
pub enum Encrypting {
    /// For nobody: they are only compressed.
    None,
    /// For whoever has the key of one of these.
    Recipients(Vec<Recipient>),
    /// For whoever knows this.
    Passphrase(Secret),
}

impl Sealing {
    /// What the manifest says about it.
    #[must_use]
    pub fn encryption(&self) -> Encryption {
        match &self.encryption {
            Encrypting::None => Encryption::None,
            Encrypting::Recipients(all) => Encryption::Recipients {
                recipients: all.iter().map(ToString::to_string).collect(),
            },
            Encrypting::Passphrase(_) => Encryption::Passphrase,
        }
    }

    /// What is added to the name of a file that was sealed: `.zst` or `.zst.age`.
    #[must_use]
    pub fn suffix(&self) -> &'static str {
        match self.encryption {
            Encrypting::None => ".zst",
            Encrypting::Recipients(_) | Encrypting::Passphrase(_) => ".zst.age",
        }
    }
}

/// Seals what is written to it. Without [`Sealer::finish`] what was written is no entry.
pub struct Sealer<W: Write> {
    plain: Tally,
    zstd: zstd::stream::write::Encoder<'static, Outer<W>>,
}

impl<W: Write> Sealer<W> {
    /// Begins an entry.
    ///
    /// # Errors
    /// When there is nobody to encrypt for, or `to` cannot be written.
    pub fn new(to: W, sealing: &Sealing) -> Result<Self> {
        let stored = Hashed {
            to,
            tally: Tally::default(),
        };
        let outer = match encryptor(&sealing.encryption)? {
            None => Outer::Plain(stored),
            Some(age) => Outer::Age(age.wrap_output(stored).map_err(|e| begun(&e))?),
        };
        let level = sealing.level.clamp(*LEVELS.start(), *LEVELS.end());
        let zstd = || -> io::Result<_> {
            let mut zstd = zstd::stream::write::Encoder::new(outer, level)?;
            zstd.include_checksum(true)?;
            if level <= LEVEL_WITH_THREADS {
                zstd.multithread(THREADS)?;
            }
            Ok(zstd)
        };
        Ok(Self {
            plain: Tally::default(),
            zstd: zstd().map_err(|e| begun(&e))?,
        })
    }

    /// Ends the entry: what is known of it now, and what it was written to, which has yet to be made durable.
    ///
    /// # Errors
    /// When the rest cannot be written.
    pub fn finish(self) -> Result<(Sealed, W)> {
        let end = || match self.zstd.finish()? {
            Outer::Plain(stored) => Ok(stored),
            Outer::Age(age) => age.finish(),
        };
        let stored: Hashed<W> = end().map_err(|e| super::failed("cannot write the end of an entry", &e))?;
        let sealed = Sealed {
            bytes: self.plain.bytes,
            blake3: self.plain.hex(),
            stored_bytes: stored.tally.bytes,
            stored_blake3: stored.tally.hex(),
        };
        Ok((sealed, stored.to))
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.zstd.write(bytes)?;
        self.plain.take(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.zstd.flush()
    }
}

fn begun(error: &io::Error) -> Failure {
    super::failed("cannot begin an entry", error)
}

fn encryptor(encryption: &Encrypting) -> Result<Option<age::Encryptor>> {
    let cannot = |e: age::EncryptError| Failure::refused("cannot encrypt the backup").because(&e);
    match encryption {
        Encrypting::None => Ok(None),
        Encrypting::Recipients(all) => {
            age::Encryptor::with_recipients(all.iter().map(Recipient::age).map(|one| one as _))
                .map(Some)
                .map_err(cannot)
        }
        Encrypting::Passphrase(passphrase) => {
            if passphrase.reveal().is_empty() {
                return Err(Failure::refused("cannot encrypt the backup").cause("the passphrase is empty"));
            }
            let mut recipient = age::scrypt::Recipient::new(passphrase.reveal().to_owned().into());
            recipient.set_work_factor(WORK);
            age::Encryptor::with_recipients(std::iter::once(&recipient as _))
                .map(Some)
                .map_err(cannot)
        }
    }
}

/// What zstd writes to.
enum Outer<W: Write> {
    Plain(Hashed<W>),
    Age(StreamWriter<Hashed<W>>),
}

impl<W: Write> Write for Outer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(to) => to.write(bytes),
            Self::Age(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.flush(),
            Self::Age(to) => to.flush(),
        }
    }
}

/// Counts and hashes what goes through.
struct Hashed<W> {
    to: W,
    tally: Tally,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.to.write(bytes)?;
        self.tally.take(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
