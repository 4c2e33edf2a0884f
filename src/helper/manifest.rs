//! The manifest: which files' content at the destination was proven equal, and how to recognise that neither side was
//! touched since.
//!
//! A file is in it only when it may be trusted ([`settled`]), so whatever is missing, from one file to the whole
//! manifest, is copied and compared again. It is a stream of entries, all directories first, parents before what is in
//! them, each path without the part it shares with the one before; a checksum at the end covers everything.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::Path;

use super::hash::Hash;
use super::meta::{Meta, Stamp};

/// The first bytes; the digit is the format number.
const MAGIC: &[u8; 20] = b"rehome manifest  3\n\0";
const FILE: u8 = 1;
const DIR: u8 = 2;
const END: u8 = 0;
/// Longer than any path the walk lets through.
const LONGEST_PATH: usize = 2 << 20;

/// Timestamps of file systems are taken from a clock that ticks a few milliseconds, on some in seconds, and a memory
/// map may write for a while without a new one.
const MARGIN_SECONDS: i64 = 2;

/// Whether content read now would show in ctime if it changed later: only when the ctime is clearly in the past, both
/// of the pass and of this moment (the clock may have been set back since the pass began). A ctime in the future is
/// never settled.
#[must_use]
pub fn settled(ctime: Stamp, pass: Stamp, now: Stamp) -> bool {
    let limit = pass.min(now);
    ctime
        < Stamp {
            sec: limit.sec.saturating_sub(MARGIN_SECONDS),
            nsec: limit.nsec,
        }
}

/// What is known about the destination of a file whose content was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The content of both sides.
    pub hash: Hash,
    /// The inode at the destination.
    pub ino: u64,
    /// The ctime at the destination after everything was written: a change behind our back shows in it.
    pub ctime: Stamp,
    /// The place of the list of its block hashes, or [`NO_LIST`].
    pub list: u64,
}

/// A file too small to have a list of block hashes.
pub const NO_LIST: u64 = u64::MAX;

/// An entry of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory: its inode in the source, by which it is recognised when it has another path.
    Dir {
        /// Inode.
        ino: u64,
    },
    /// A file.
    File(Record),
}

/// A file in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Size, mtime, ctime and inode of the source.
    pub source: Fingerprint,
    /// The destination.
    pub proof: Proof,
}

impl Record {
    /// The length of what [`Self::encode`] adds.
    pub const LENGTH: usize = 100;

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { source, proof } = self;
        out.extend_from_slice(&source.size.to_le_bytes());
        out.extend_from_slice(&source.ino.to_le_bytes());
        put_stamp(out, source.mtime);
        put_stamp(out, source.ctime);
        out.extend_from_slice(&proof.ino.to_le_bytes());
        put_stamp(out, proof.ctime);
        out.extend_from_slice(&proof.list.to_le_bytes());
        out.extend_from_slice(&proof.hash);
    }

    /// Reads one.
    ///
    /// # Errors
    /// As reading.
    pub fn decode(input: &mut impl Read) -> io::Result<Self> {
        let source = Fingerprint {
            size: number(input)?,
            ino: number(input)?,
            mtime: stamp(input)?,
            ctime: stamp(input)?,
        };
        let (ino, ctime, list) = (number(input)?, stamp(input)?, number(input)?);
        let hash = array(input)?;
        Ok(Self {
            source,
            proof: Proof {
                hash,
                ino,
                ctime,
                list,
            },
        })
    }
}

/// What changes when the content of a file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    size: u64,
    ino: u64,
    mtime: Stamp,
    ctime: Stamp,
}

impl Fingerprint {
    /// Of a source whose content may have changed while it was copied: no file has it. What is known of the
    /// destination is worth keeping all the same.
    #[must_use]
    pub fn of_nothing(size: u64) -> Self {
        Self {
            size,
            ino: u64::MAX,
            mtime: Stamp::default(),
            ctime: Stamp {
                sec: i64::MIN,
                nsec: 0,
            },
        }
    }

    /// Whether size and mtime are those of this entry: if anything else is not, it is most likely the metadata alone
    /// that changed.
    #[must_use]
    pub fn looks_like(&self, meta: &Meta) -> bool {
        (self.size, self.mtime) == (meta.size, meta.mtime)
    }

    /// The inode.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// The length of the content that was proven.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl From<&Meta> for Fingerprint {
    fn from(meta: &Meta) -> Self {
        Self {
            size: meta.size,
            ino: meta.ino,
            mtime: meta.mtime,
            ctime: meta.ctime,
        }
    }
}

fn put_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    out.extend_from_slice(&stamp.sec.to_le_bytes());
    out.extend_from_slice(&stamp.nsec.to_le_bytes());
}

/// Hashes what goes through. A buffer lies before it: BLAKE3 is several times as fast with large pieces.
#[derive(Debug)]
struct Hashed<'a> {
    file: &'a File,
    hasher: blake3::Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A manifest that is being written.
#[derive(Debug)]
pub struct Out<'a> {
    to: BufWriter<Hashed<'a>>,
    /// The path before this one.
    before: Vec<u8>,
    line: Vec<u8>,
}

impl Out<'_> {
    /// Adds an entry.
    ///
    /// # Errors
    /// As writing.
    pub fn entry(&mut self, path: &[u8], entry: &Entry) -> io::Result<()> {
        let Self { to, before, line } = self;
        let shared = path.iter().zip(&*before).take_while(|(a, b)| a == b).count();
        line.clear();
        line.push(match entry {
            Entry::Dir { .. } => DIR,
            Entry::File(_) => FILE,
        });
        line.extend_from_slice(&(shared as u32).to_le_bytes());
        line.extend_from_slice(&((path.len() - shared) as u32).to_le_bytes());
        line.extend_from_slice(&path[shared..]);
        match entry {
            Entry::Dir { ino } => line.extend_from_slice(&ino.to_le_bytes()),
            Entry::File(record) => record.encode(line),
        }
        before.truncate(shared);
        before.extend_from_slice(&path[shared..]);
        to.write_all(line)
    }
}

/// The directory that a manifest, and what is kept beside it, lies in.
#[must_use]
pub fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Writes a manifest with what `entries` adds: all or nothing, also when the power fails.
///
/// # Errors
/// As writing, syncing and renaming a file, and what `entries` says.
pub fn write(path: &Path, entries: impl FnOnce(&mut Out<'_>) -> io::Result<()>) -> io::Result<()> {
    let parent = directory_of(path);
    let temporary = tempfile::NamedTempFile::new_in(parent)?;
    stream(temporary.as_file(), entries)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(parent)?.sync_all()
}

fn stream(mut file: &File, entries: impl FnOnce(&mut Out<'_>) -> io::Result<()>) -> io::Result<()> {
    let hashed = Hashed {
        file,
        hasher: blake3::Hasher::new(),
    };
    let mut out = Out {
        to: BufWriter::with_capacity(1 << 16, hashed),
        before: Vec::new(),
        line: Vec::new(),
    };
    out.to.write_all(MAGIC)?;
    entries(&mut out)?;
    out.to.write_all(&[END])?;
    let Hashed { hasher, .. } = out.to.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.write_all(hasher.finalize().as_bytes())
}

/// Why a manifest is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("there is none")]
    Missing,
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads a manifest, one entry at a time. Nothing is told before the checksum over the whole was found right.
///
/// # Errors
/// [`Unusable`]: then nothing of what `each` was told may be kept. What `each` says is one.
pub fn read(path: &Path, mut each: impl FnMut(&[u8], Entry) -> io::Result<()>) -> Result<(), Unusable> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unusable::Missing),
        opened => opened?,
    };
    let len = file.metadata()?.len();
    let body = len.checked_sub(32).ok_or(Unusable::Damaged("it is too short"))?;
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut (&mut file).take(body), &mut hasher)?;
    let mut checksum = [0; 32];
    file.read_exact(&mut checksum)?;
    if hasher.finalize() != checksum {
        return Err(Unusable::Damaged("its checksum does not match"));
    }
    file.rewind()?;
    let mut input = BufReader::with_capacity(1 << 16, file.take(body));
    if array(&mut input)? != *MAGIC {
        return Err(Unusable::Damaged("it is of another format"));
    }
    let mut path = Vec::new();
    loop {
        let [kind] = array(&mut input)?;
        match kind {
            END => return Ok(()),
            FILE | DIR => {}
            _ => return Err(Unusable::Damaged("an entry is of an unknown type")),
        }
        let shared = u32::from_le_bytes(array(&mut input)?) as usize;
        let added = u32::from_le_bytes(array(&mut input)?) as usize;
        if shared > path.len() || added > LONGEST_PATH - shared {
            return Err(Unusable::Damaged("a path is too long"));
        }
        path.truncate(shared);
        path.resize(shared + added, 0);
        input.read_exact(&mut path[shared..])?;
        if kind == DIR {
            let ino = number(&mut input)?;
            each(&path, Entry::Dir { ino })?;
            continue;
        }
        each(&path, Entry::File(Record::decode(&mut input)?))?;
    }
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(input: &mut impl Read) -> io::Result<u64> {
    array(input).map(u64::from_le_bytes)
}

fn stamp(input: &mut impl Read) -> io::Result<Stamp> {
    let sec = i64::from_le_bytes(array(input)?);
    Ok(Stamp {
        sec,
        nsec: u32::from_le_bytes(array(input)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sec: i64, nsec: u32) -> Stamp {
        Stamp { sec, nsec }
    }

    #[test]
    fn only_what_is_two_seconds_old_is_settled() {
        let start = at(1000, 500);
        let later = at(1010, 0);
        assert!(settled(at(998, 499), start, later));
        assert!(!settled(at(998, 500), start, later));
        assert!(!settled(at(1000, 0), start, later));
        // Changed during the pass: it may change again within the same tick.
        assert!(!settled(at(1005, 0), start, later));
        // A ctime in the future, as after the clock was set back before the pass.
        assert!(!settled(at(4600, 0), start, later));
        // The clock was set back an hour during the pass: by the new clock this file was touched just now.
        assert!(!settled(at(-2590, 0), start, at(-2590, 0)));
        assert!(settled(at(-3000, 0), start, at(-2590, 0)));
    }

    fn entries() -> Vec<(Vec<u8>, Entry)> {
        let dirs = [
            (b"a".to_vec(), Entry::Dir { ino: 1 << 63 }),
            (b"d".to_vec(), Entry::Dir { ino: 2 }),
        ];
        const PATHS: [&[u8]; 4] = [b"a", b"a/b\xff", b"a/c", b"b"];
        let files = PATHS.iter().zip(1u8..).map(|(path, n)| {
            let number = u64::from(n);
            let source = Fingerprint {
                size: number << 40,
                ino: number + 7,
                mtime: at(-5, 999_999_999),
                ctime: at(1 << 40, n.into()),
            };
            let proof = Proof {
                hash: [n; 32],
                ino: number + 9,
                ctime: at(number as i64, 4),
                list: number << 33,
            };
            (path.to_vec(), Entry::File(Record { source, proof }))
        });
        dirs.into_iter().chain(files).collect()
    }

    fn write_all(path: &Path, entries: &[(Vec<u8>, Entry)]) -> io::Result<()> {
        write(path, |out| {
            entries
                .iter()
                .try_for_each(|(path, entry)| out.entry(path, entry))
        })
    }

    fn load(path: &Path) -> Result<Vec<(Vec<u8>, Entry)>, Unusable> {
        let mut found = Vec::new();
        read(path, |path, entry| {
            found.push((path.to_vec(), entry));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest");
        assert!(matches!(load(&path), Err(Unusable::Missing)));
        write_all(&path, &entries()).unwrap();
        assert_eq!(load(&path).unwrap(), entries());
        write_all(&path, &[]).unwrap();
        assert_eq!(load(&path).unwrap(), []);
        let names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["manifest"], "no temporary file is left");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest");
        write_all(&path, &entries()).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(load(&path), Err(Unusable::Damaged(_))), "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(matches!(load(&path), Err(Unusable::Damaged(_))), "cut at {at}");
        }
    }

    #[test]
    fn a_wrong_record_under_a_right_checksum_is_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest");
        for body in [
            &b""[..],
            &[9],
            &[FILE],
            &[FILE, 1, 0, 0, 0, 0, 0, 0, 0],
            &[FILE, 0, 0, 0, 0, 255, 255, 255, 255],
            &[DIR, 0, 0, 0, 0, 1, 0, 0, 0, b'a'],
        ] {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(body);
            let checksum = blake3::hash(&bytes);
            bytes.extend_from_slice(checksum.as_bytes());
            std::fs::write(&path, &bytes).unwrap();
            assert!(load(&path).is_err(), "{body:?}");
        }
    }
}
