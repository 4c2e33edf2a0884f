//! The content of files: copied with its holes and hashed on the way, or read back and hashed.
//!
//! A file is hashed in blocks: the hash of its content is that of the list of their BLAKE3 hashes. So the list of a
//! large file can be kept, and the blocks of it that changed be found. A hole is hashed as the zeros that it reads as,
//! but not read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{Advice, Mode, OFlags, SeekFrom, fadvise, fcntl_getfl, fcntl_setfl, openat, seek};
use rustix::io::{Errno, pread, pwrite};

use super::context::Context;
use super::fault::{Fault, Result, Side};
use super::meta::Meta;
use super::throttle::Throttle;

/// What is held of a file at a time.
pub const BLOCK: usize = 1 << 20;

/// What direct reads are aligned to: the largest sector of a disk.
const SECTOR: usize = 4096;

/// A buffer of [`BLOCK`] bytes that can be read into without the page cache.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        let bytes = vec![0; BLOCK + SECTOR];
        let start = bytes.as_ptr().align_offset(SECTOR).min(SECTOR);
        Self { bytes, start }
    }
}

impl Buffer {
    /// Its bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + BLOCK]
    }
}

/// What is hashed at a time, and the unit in which a large file is compared with its last state. It divides [`BLOCK`].
pub const HASHED: usize = 128 << 10;

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// The hash of one block.
#[must_use]
pub fn hash_of_block(block: &[u8]) -> Hash {
    *blake3::hash(block).as_bytes()
}

/// The hash of a block of zeros.
#[must_use]
pub fn hash_of_zeros(len: usize) -> Hash {
    static FULL: OnceLock<Hash> = OnceLock::new();
    let whole = || hash_of_block(&vec![0; HASHED]);
    if len == HASHED {
        *FULL.get_or_init(whole)
    } else {
        hash_of_block(&vec![0; len])
    }
}

/// The hash of a content from those of its blocks.
#[must_use]
pub fn hash_of_list(list: &[Hash]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("rehome: the list of the block hashes of a file");
    hasher.update(list.as_flattened());
    *hasher.finalize().as_bytes()
}

/// Hashes a content that comes in pieces of any length.
#[derive(Default)]
struct Blocks {
    list: Vec<Hash>,
    current: blake3::Hasher,
    filled: usize,
}

impl Blocks {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let part = bytes.len().min(HASHED - self.filled);
            if part == HASHED {
                self.list.push(hash_of_block(&bytes[..part]));
            } else {
                self.current.update(&bytes[..part]);
                self.filled += part;
                self.close(self.filled == HASHED);
            }
            bytes = &bytes[part..];
        }
    }

    fn zeros(&mut self, cx: &Context, mut len: u64) -> Result<()> {
        static ZEROS: [u8; HASHED] = [0; HASHED];
        while len > 0 {
            cx.go_on()?;
            let part = len.min((HASHED - self.filled) as u64) as usize;
            if part == HASHED {
                self.list.push(hash_of_zeros(HASHED));
            } else {
                self.update(&ZEROS[..part]);
            }
            len -= part as u64;
        }
        Ok(())
    }

    fn close(&mut self, close: bool) {
        if close {
            self.list.push(*self.current.finalize().as_bytes());
            self.current.reset();
            self.filled = 0;
        }
    }

    fn finish(mut self) -> (Hash, Vec<Hash>) {
        self.close(self.filled > 0);
        (hash_of_list(&self.list), self.list)
    }
}

/// Where a file has holes, asked as it is gone through from its start.
pub struct Holes {
    size: u64,
    sparse: bool,
    /// The last stretch of data that was found, and up to where nothing else is.
    data: (u64, u64),
}

impl Holes {
    /// Of a file that has this metadata.
    #[must_use]
    pub fn of(meta: &Meta) -> Self {
        Self {
            size: meta.size,
            sparse: is_sparse(meta),
            data: (0, 0),
        }
    }

    /// Whether a part of the file is nothing but hole.
    ///
    /// # Errors
    /// As lseek(2).
    pub fn covers(&mut self, file: BorrowedFd<'_>, at: u64, len: u64) -> Result<bool, Errno> {
        if !self.sparse {
            return Ok(false);
        }
        if at >= self.data.1 {
            self.data = stretch(file, at, self.size)?.unwrap_or((self.size, self.size));
        }
        Ok(at + len <= self.data.0)
    }
}

fn is_sparse(meta: &Meta) -> bool {
    meta.blocks.saturating_mul(512) < meta.size
}

/// On whose behalf a file is read.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// Progress and the wish to stop.
    pub cx: &'a Context,
    /// Which tree is read.
    pub side: Side,
    /// The path of the file, for messages.
    pub path: &'a dyn Fn() -> Vec<u8>,
}

/// What was read of a file.
#[derive(Debug, Clone)]
pub struct Content {
    /// The hash of what was read.
    pub hash: Hash,
    /// The hash of each block of it.
    pub list: Vec<Hash>,
    /// Bytes that were no hole.
    pub data: u64,
    /// Whether the file was as long as expected.
    pub complete: bool,
}

/// Opens a file of a tree for reading; what became a FIFO or a symlink meanwhile does no harm.
///
/// # Errors
/// As openat(2).
pub fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Reading leaves no trace where we may say so.
    match openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}

/// The stretch of data at or after `at`: its start and end. `None` when there is only hole until `size`.
fn stretch(fd: BorrowedFd<'_>, at: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    let start = match seek(fd, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // The file system does not know about holes.
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Some((at, size))),
        Err(errno) => return Err(errno),
    };
    if start >= size {
        return Ok(None);
    }
    let end = match seek(fd, SeekFrom::Hole(start)) {
        Ok(end) => end.min(size),
        // The file became shorter between the two calls.
        Err(Errno::NXIO) => start,
        Err(errno) => return Err(errno),
    };
    Ok((end > start).then_some((start, end)))
}

/// Reads `size` bytes in blocks, holes left out, and gives each block to `each` with its place.
///
/// # Errors
/// When it cannot be read, and what `each` says.
pub fn read(
    reader: Reader<'_>,
    file: BorrowedFd<'_>,
    meta: &Meta,
    buffer: &mut Buffer,
    mut each: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<Content> {
    let buffer = buffer.bytes();
    let failed = |errno| Fault::io(reader.side, "read", &(reader.path)(), errno);
    let mut blocks = Blocks::default();
    let size = meta.size;
    let sparse = is_sparse(meta);
    let (mut at, mut data, mut complete) = (0, 0, true);
    while at < size {
        let found = if sparse {
            stretch(file, at, size).map_err(failed)?
        } else {
            Some((at, size))
        };
        let (start, end) = found.unwrap_or((size, size));
        blocks.zeros(reader.cx, start - at)?;
        reader.cx.did_bytes(start - at);
        at = start;
        while at < end {
            reader.cx.go_on()?;
            let want = (end - at).min(buffer.len() as u64) as usize;
            // Whole sectors, as a direct read wants them; what is beyond is not looked at.
            let sectors = want.next_multiple_of(SECTOR);
            let got = match read_at(file, &mut buffer[..sectors], at) {
                Err(Errno::INTR) => continue,
                got => got.map_err(failed)?.min(want),
            };
            if got == 0 {
                complete = false;
                break;
            }
            let block = &buffer[..got];
            blocks.update(block);
            each(at, block)?;
            at += got as u64;
            data += got as u64;
            reader.cx.did_bytes(got as u64);
        }
        if !complete {
            break;
        }
    }
    let (hash, list) = blocks.finish();
    Ok(Content {
        hash,
        list,
        data,
        complete,
    })
}

/// Copies the content into an empty file.
///
/// # Errors
/// When one side cannot be read or written.
pub fn copy(
    reader: Reader<'_>,
    throttle: &Throttle,
    from: BorrowedFd<'_>,
    meta: &Meta,
    to: BorrowedFd<'_>,
    buffer: &mut Buffer,
) -> Result<Content> {
    let failed = |errno| Fault::io(Side::Destination, "write", &(reader.path)(), errno);
    // Only the last write can end before the end of the file; a hole at the end has no write at all.
    let mut end = 0;
    let content = read(reader, from, meta, buffer, |at, block| {
        throttle.take(reader.cx, block.len() as u64)?;
        let mut done = 0;
        while done < block.len() {
            match pwrite(to, &block[done..], at + done as u64) {
                Ok(0) => return Err(failed(Errno::IO)),
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        end = at + block.len() as u64;
        Ok(())
    })?;
    if content.complete && end < meta.size {
        rustix::fs::ftruncate(to, meta.size).map_err(failed)?;
    }
    Ok(content)
}

/// pread(2); a file system that takes `O_DIRECT` and then does not read like that is asked again without it.
fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    match pread(file, &mut *buffer, at) {
        Err(Errno::INVAL) => {
            let flags = fcntl_getfl(file)?;
            fcntl_setfl(file, flags - OFlags::DIRECT)?;
            pread(file, buffer, at)
        }
        read => read,
    }
}

/// Reads until the buffer is full or the file ends; returns how much there was.
///
/// # Errors
/// As pread(2).
pub fn fill(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        match read_at(file, &mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(got) => {
                done += got;
                // The end of the file, where a direct read cannot go on.
                if !got.is_multiple_of(SECTOR) {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Reads a file from the disk, not from memory where that can be avoided, and hashes it.
///
/// # Errors
/// When it cannot be read.
pub fn hash_from_disk(
    reader: Reader<'_>,
    file: &OwnedFd,
    meta: &Meta,
    buffer: &mut Buffer,
) -> Result<Content> {
    bypass_cache(file);
    read(reader, file.as_fd(), meta, buffer, |_, _| Ok(()))
}

/// Reads some blocks of a file from the disk and compares them with a list of block hashes.
///
/// # Errors
/// When it cannot be read.
pub fn blocks_from_disk(
    reader: Reader<'_>,
    file: &OwnedFd,
    list: &[Hash],
    blocks: &[u32],
    buffer: &mut Buffer,
) -> Result<bool> {
    bypass_cache(file);
    let buffer = &mut buffer.bytes()[..HASHED];
    for &block in blocks {
        reader.cx.go_on()?;
        let at = u64::from(block) * HASHED as u64;
        let got = fill(file.as_fd(), buffer, at)
            .map_err(|errno| Fault::io(reader.side, "read back", &(reader.path)(), errno))?;
        if list.get(block as usize) != Some(&hash_of_block(&buffer[..got])) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is read next comes from the device. A file system that cannot do that is asked to drop the pages that it wrote
/// and synced; that can be refused as well, and the comparison is then one with the page cache.
fn bypass_cache(file: &OwnedFd) {
    let direct = fcntl_getfl(file).and_then(|flags| fcntl_setfl(file, flags | OFlags::DIRECT));
    if direct.is_err() {
        match fadvise(file, 0, None, Advice::DontNeed) {
            Ok(()) | Err(_) => {}
        }
    }
}
