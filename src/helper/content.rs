//! The content of files: copied with its holes and hashed on the way, or read and hashed. A hole is not read.

use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Advice, Mode, OFlags, SeekFrom, fadvise, fcntl_getfl, fcntl_setfl, openat, seek};
use rustix::io::{Errno, pread, pwrite};

use super::context::Context;
use super::fault::{Fault, Result, Side};
use super::hash::{Blocks, Hash, hash_of_list};
use super::meta::Meta;
use super::throttle::Throttle;

/// What is held of a file at a time.
pub const BLOCK: usize = 1 << 20;

/// What direct reads are aligned to: the largest sector of a disk.
const SECTOR: usize = 4096;

/// How far behind what is written it is expected to be on the disk.
const BEHIND: u64 = 16 << 20;

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

/// Whether less is allocated than the length says.
#[must_use]
pub fn is_sparse(meta: &Meta) -> bool {
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

/// What was read of a file, or of a stretch of it.
#[derive(Debug, Clone)]
pub struct Content {
    /// The hash of each block of it.
    pub list: Vec<Hash>,
    /// Bytes that were no hole.
    pub data: u64,
    /// Whether there was as much as expected.
    pub complete: bool,
}

impl Content {
    /// The hash of what was read.
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash_of_list(&self.list)
    }
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

/// Where a file has data, if it has holes: the start and length of each stretch. What comes after `most` of them is taken
/// as one to the end.
///
/// # Errors
/// As lseek(2).
pub fn stretches(file: BorrowedFd<'_>, meta: &Meta, most: usize) -> Result<Option<Vec<(u64, u64)>>, Errno> {
    if !is_sparse(meta) {
        return Ok(None);
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = stretch(file, at, meta.size)? {
        let end = if found.len() + 1 >= most { meta.size } else { end };
        found.push((start, end - start));
        at = end;
        if end == meta.size {
            break;
        }
    }
    Ok((found != [(0, meta.size)]).then_some(found))
}

/// Reads a stretch of a file in blocks, holes left out, and gives each block to `each` with its place. A stretch begins
/// at a block to be hashed.
///
/// # Errors
/// When it cannot be read, and what `each` says.
pub fn read(
    reader: Reader<'_>,
    file: BorrowedFd<'_>,
    meta: &Meta,
    range: Range<u64>,
    buffer: &mut Buffer,
    mut each: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<Content> {
    let buffer = buffer.bytes();
    let failed = |errno| Fault::io(reader.side, "read", &(reader.path)(), errno);
    let mut blocks = Blocks::default();
    let sparse = is_sparse(meta);
    let last = range.end;
    let (mut at, mut data, mut complete) = (range.start, 0, true);
    while at < last {
        let found = if sparse {
            stretch(file, at, last).map_err(failed)?
        } else {
            Some((at, last))
        };
        let (start, end) = found.unwrap_or((last, last));
        blocks.zeros(reader.cx, start - at)?;
        reader.cx.did_bytes(start - at);
        at = start;
        while at < end {
            reader.cx.go_on()?;
            let want = (end - at).min(buffer.len() as u64) as usize;
            let sectors = want.next_multiple_of(SECTOR);
            let got = match read_at(file, &mut buffer[..sectors], at) {
                Err(Errno::INTR) => continue,
                got => got.map_err(failed)?.min(want),
            };
            if got == 0 {
                complete = false;
                break;
            }
            // What is beyond the end is not of the file, even if it grew.
            let bytes = &buffer[..got];
            blocks.update(bytes);
            each(at, bytes)?;
            at += got as u64;
            data += got as u64;
            reader.cx.did_bytes(got as u64);
        }
        if !complete {
            break;
        }
    }
    Ok(Content {
        list: blocks.finish(),
        data,
        complete,
    })
}

/// Copies a stretch of the content into a file that has nothing there yet; it may be too short afterwards, when it ends
/// in a hole. What is `streamed` is on its way to the disk at once, and leaves the page cache to others.
///
/// # Errors
/// When one side cannot be read or written.
pub fn copy(
    reader: Reader<'_>,
    throttle: &Throttle,
    (from, meta): (BorrowedFd<'_>, &Meta),
    (to, streamed): (BorrowedFd<'_>, bool),
    range: Range<u64>,
    buffer: &mut Buffer,
) -> Result<Content> {
    let failed = |errno| Fault::io(Side::Destination, "write", &(reader.path)(), errno);
    let start = range.start;
    read(reader, from, meta, range, buffer, |at, bytes| {
        let len = bytes.len() as u64;
        throttle.take(reader.cx, len)?;
        write_at(to, bytes, at).map_err(failed)?;
        if streamed {
            release(to, at, len);
            if let Some(behind) = at.checked_sub(BEHIND).filter(|behind| *behind >= start) {
                release(to, behind, len);
            }
        }
        Ok(())
    })
}

/// Has the kernel begin to write a stretch out if it is still to be written, and forget it if it is on the disk. Advice
/// that it may ignore. With a length of 0 the stretch goes to the end.
///
/// Without it everything waits in memory for the sync at the end: 2 GB in large files took 1.1 s, and 0.65 s with it.
pub fn release(file: BorrowedFd<'_>, at: u64, len: u64) {
    match fadvise(file, at, NonZeroU64::new(len), Advice::DontNeed) {
        Ok(()) | Err(_) => {}
    }
}

/// Has what is read next go past the page cache. Says whether the file system can.
fn make_direct(file: BorrowedFd<'_>) -> bool {
    let flags = fcntl_getfl(file);
    flags
        .and_then(|flags| fcntl_setfl(file, flags | OFlags::DIRECT))
        .is_ok()
}

/// pwrite(2), all of it.
///
/// # Errors
/// As pwrite(2).
pub fn write_at(file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        match pwrite(file, &bytes[done..], at + done as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// pread(2); a file system that takes `O_DIRECT` and then does not read like that is asked again without it.
fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    match pread(file, &mut *buffer, at) {
        Err(Errno::INVAL) => {
            fcntl_setfl(file, fcntl_getfl(file)? - OFlags::DIRECT)?;
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

/// Reads a stretch of a file from the disk, not from memory where that can be avoided, and hashes it.
///
/// # Errors
/// When it cannot be read.
pub fn hash_from_disk(
    reader: Reader<'_>,
    file: &OwnedFd,
    meta: &Meta,
    range: Range<u64>,
    buffer: &mut Buffer,
) -> Result<Content> {
    bypass_cache(file);
    read(reader, file.as_fd(), meta, range, buffer, |_, _| Ok(()))
}

/// What is read next comes from the device, after what was written there was written to it. A file system that cannot do
/// that is asked to drop the pages that it synced; that can be refused as well, and the comparison is then one with the
/// page cache.
pub fn bypass_cache(file: &OwnedFd) {
    if !make_direct(file.as_fd()) {
        release(file.as_fd(), 0, 0);
    }
}
