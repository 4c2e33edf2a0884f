//! Brings a large file up to date in place: blocks whose hash is another are looked at, and their pages that differ
//! are written.
//!
//! Only for a file whose state at the destination is known: its list of block hashes was proven by an earlier pass,
//! and neither inode nor ctime is another since.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, openat};
use rustix::io::Errno;

use super::content::{Content, Holes, Reader, fill, write_at};
use super::fault::{Fault, Result, Side};
use super::hash::{HASHED, Hash, hash_of_block, hash_of_zeros};
use super::meta::Meta;
use super::throttle::Throttle;

/// The unit that is written: no file system here has smaller blocks, and no database smaller pages.
const PAGE: usize = 4096;

/// What a patch did.
#[derive(Debug)]
pub struct Patched {
    /// The content as it is now; its `data` are the bytes that were written.
    pub content: Content,
    /// The blocks that were written to.
    pub changed: Vec<u32>,
}

/// Opens a file of the destination to be patched.
///
/// # Errors
/// As openat(2).
pub fn open(dir: BorrowedFd<'_>, name: &[u8]) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Patches a stretch of `to`, of which `old` lists the blocks. It is not longer than the source, and is as long when all
/// is patched.
///
/// # Errors
/// When a side cannot be read or written.
pub fn patch(
    reader: Reader<'_>,
    throttle: &Throttle,
    (from, meta): (BorrowedFd<'_>, &Meta),
    (to, old): (BorrowedFd<'_>, &[Hash]),
    range: Range<u64>,
) -> Result<Patched> {
    let failed = |side, verb| move |errno| Fault::io(side, verb, &(reader.path)(), errno);
    let mut holes = Holes::of(meta);
    let (mut ours, mut theirs) = (vec![0; HASHED], vec![0; HASHED]);
    let mut list = Vec::with_capacity((range.end - range.start).div_ceil(HASHED as u64) as usize);
    let (mut changed, mut data, mut complete) = (Vec::new(), 0, true);
    for at in range.clone().step_by(HASHED) {
        reader.cx.go_on()?;
        let index = at / HASHED as u64;
        let len = (range.end - at).min(HASHED as u64) as usize;
        let hole = holes
            .covers(from, at, len as u64)
            .map_err(failed(Side::Source, "read"))?;
        let hash = if hole {
            hash_of_zeros(len)
        } else {
            throttle.take(reader.cx, len as u64)?;
            if fill(from, &mut ours[..len], at).map_err(failed(Side::Source, "read"))? < len {
                complete = false;
                break;
            }
            hash_of_block(&ours[..len])
        };
        reader.cx.did_bytes(len as u64);
        list.push(hash);
        // A block that was shorter had another hash, too.
        if old.get(index as usize) == Some(&hash) {
            continue;
        }
        changed.push(index as u32);
        data += if hole {
            dig(to, at, len as u64).map_err(failed(Side::Destination, "write"))?
        } else {
            let there = fill(to, &mut theirs[..len], at).map_err(failed(Side::Destination, "read"))?;
            write_pages(to, &ours[..len], &theirs[..there], at).map_err(failed(Side::Destination, "write"))?
        };
    }
    let content = Content { list, data, complete };
    Ok(Patched { content, changed })
}

/// Writes the pages of `ours` that differ from `theirs`, neighbours together. What is beyond `theirs` is no page yet.
fn write_pages(to: BorrowedFd<'_>, ours: &[u8], theirs: &[u8], at: u64) -> Result<u64, Errno> {
    let differs = |page: usize| {
        let range = page * PAGE..((page + 1) * PAGE).min(ours.len());
        theirs.get(range.clone()) != ours.get(range)
    };
    let pages = ours.len().div_ceil(PAGE);
    let (mut page, mut written) = (0, 0);
    while page < pages {
        if !differs(page) {
            page += 1;
            continue;
        }
        let first = page;
        while page < pages && differs(page) {
            page += 1;
        }
        let run = &ours[first * PAGE..(page * PAGE).min(ours.len())];
        write_at(to, run, at + (first * PAGE) as u64)?;
        written += run.len() as u64;
    }
    Ok(written)
}

/// Makes a hole; writes zeros where the file system has none.
fn dig(to: BorrowedFd<'_>, at: u64, len: u64) -> Result<u64, Errno> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(to, flags, at, len) {
        Ok(()) => Ok(0),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; len as usize];
            write_pages(to, &zeros, &[], at)
        }
        Err(errno) => Err(errno),
    }
}
