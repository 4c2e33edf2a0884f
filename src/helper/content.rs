//! The content of files: copied with its holes and hashed on the way, or read back and hashed.
//!
//! The hash is plain BLAKE3 over the whole length; a hole is hashed as the zeros that it reads as, but not read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Advice, Mode, OFlags, SeekFrom, fadvise, openat, seek};
use rustix::io::{Errno, pread, pwrite};

use super::context::Context;
use super::fault::{Fault, Result, Side};
use super::meta::Meta;
use super::throttle::Throttle;

/// What is held of a file at a time.
pub const BLOCK: usize = 1 << 20;

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

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
#[derive(Debug, Clone, Copy)]
pub struct Content {
    /// The hash of what was read.
    pub hash: Hash,
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

fn hash_zeros(cx: &Context, hasher: &mut blake3::Hasher, mut len: u64) -> Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while len > 0 {
        cx.go_on()?;
        // A few blocks between two looks at whether we shall go on.
        for _ in 0..256 {
            let part = len.min(ZEROS.len() as u64);
            hasher.update(&ZEROS[..part as usize]);
            len -= part;
        }
    }
    Ok(())
}

/// Reads `size` bytes in blocks, holes left out, and gives each block to `each` with its place.
///
/// # Errors
/// When it cannot be read, and what `each` says.
pub fn read(
    reader: Reader<'_>,
    file: BorrowedFd<'_>,
    meta: &Meta,
    buffer: &mut [u8],
    mut each: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<Content> {
    let failed = |errno| Fault::io(reader.side, "read", &(reader.path)(), errno);
    let mut hasher = blake3::Hasher::new();
    let size = meta.size;
    let sparse = meta.blocks.saturating_mul(512) < size;
    let (mut at, mut data, mut complete) = (0, 0, true);
    while at < size {
        let found = if sparse {
            stretch(file, at, size).map_err(failed)?
        } else {
            Some((at, size))
        };
        let (start, end) = found.unwrap_or((size, size));
        hash_zeros(reader.cx, &mut hasher, start - at)?;
        reader.cx.did_bytes(start - at);
        at = start;
        while at < end {
            reader.cx.go_on()?;
            let want = (end - at).min(buffer.len() as u64) as usize;
            let got = match pread(file, &mut buffer[..want], at) {
                Err(Errno::INTR) => continue,
                got => got.map_err(failed)?,
            };
            if got == 0 {
                complete = false;
                break;
            }
            let block = &buffer[..got];
            hasher.update(block);
            each(at, block)?;
            at += got as u64;
            data += got as u64;
            reader.cx.did_bytes(got as u64);
        }
        if !complete {
            break;
        }
    }
    Ok(Content {
        hash: *hasher.finalize().as_bytes(),
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
    buffer: &mut [u8],
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

/// Reads a file from the disk, not from memory where that can be avoided, and hashes it.
///
/// # Errors
/// When it cannot be read.
pub fn hash_from_disk(reader: Reader<'_>, file: &OwnedFd, meta: &Meta, buffer: &mut [u8]) -> Result<Content> {
    // Pages that were written and synced are dropped, so what is hashed comes from the device. Advice can be refused
    // (some file systems know none); the comparison is then one with the page cache.
    match fadvise(file, 0, None, Advice::DontNeed) {
        Ok(()) | Err(_) => read(reader, file.as_fd(), meta, buffer, |_, _| Ok(())),
    }
}
