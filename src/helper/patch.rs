//! Brings a large file up to date in place: blocks whose hash is another are looked at, and their pages that differ
//! are written.
//!
//! Only for a file whose state at the destination is known: its list of block hashes was proven by an earlier pass,
//! and neither inode nor ctime is another since.

use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, openat};
use rustix::io::Errno;

use super::content::{Buffer, Content, Holes, Reader, bypass_cache, fill, release, write_at};
use super::fault::{Fault, Result, Side};
use super::hash::{HASHED, Hash, hash_of_block, hash_of_zeros};
use super::meta::Meta;
use super::throttle::Throttle;

/// The unit that is written: no file system here has smaller blocks, and no database smaller pages. Direct reads are
/// aligned to it, too.
const PAGE: usize = 4096;

/// What a patch did.
#[derive(Debug)]
pub struct Patched {
    /// The content as it is now; its `data` are the bytes that were written.
    pub content: Content,
    /// What was written.
    pub written: Vec<Written>,
}

/// A stretch that was written, from a page's beginning on and within a block.
#[derive(Debug)]
pub struct Written {
    at: u64,
    len: usize,
    hash: Hash,
}

/// Opens a file of the destination to be patched.
///
/// # Errors
/// As openat(2).
pub fn open(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
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
    let (mut written, mut data, mut complete) = (Vec::new(), 0, true);
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
        if hole {
            data += dig(to, at, len).map_err(failed(Side::Destination, "write"))?;
            written.push(Written { at, len, hash });
            continue;
        }
        let there = fill(to, &mut theirs[..len], at).map_err(failed(Side::Destination, "read"))?;
        for run in runs(&ours[..len], &theirs[..there]) {
            let (at, bytes) = (at + run.start as u64, &ours[run]);
            write_at(to, bytes, at).map_err(failed(Side::Destination, "write"))?;
            // Whoever reads it back waits less.
            release(to, at, bytes.len() as u64);
            data += bytes.len() as u64;
            written.push(Written {
                at,
                len: bytes.len(),
                hash: hash_of_block(bytes),
            });
        }
    }
    let content = Content { list, data, complete };
    Ok(Patched { content, written })
}

/// Where pages of `ours` differ from `theirs`, neighbours together. What is beyond `theirs` is no page yet.
fn runs(ours: &[u8], theirs: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for start in (0..ours.len()).step_by(PAGE) {
        let page = start..(start + PAGE).min(ours.len());
        if theirs.get(page.clone()) == ours.get(page.clone()) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == page.start => run.end = page.end,
            _ => runs.push(page),
        }
    }
    runs
}

/// Makes a hole; writes zeros where the file system has none, and says how many.
fn dig(to: BorrowedFd<'_>, at: u64, len: usize) -> Result<u64, Errno> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(to, flags, at, len as u64) {
        Ok(()) => Ok(0),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_at(to, &vec![0; len], at).map(|()| len as u64),
        Err(errno) => Err(errno),
    }
}

/// Reads from the disk what was written, and says whether it is that. What was not written was proven by an earlier
/// pass, be it a page beside one that was, or a block.
///
/// # Errors
/// When it cannot be read.
pub fn read_back(
    reader: Reader<'_>,
    file: &OwnedFd,
    written: &[Written],
    buffer: &mut Buffer,
) -> Result<bool> {
    bypass_cache(file);
    for Written { at, len, hash } in written {
        reader.cx.go_on()?;
        let room = &mut buffer.bytes()[..len.next_multiple_of(PAGE)];
        let got = fill(file.as_fd(), room, *at)
            .map_err(|errno| Fault::io(reader.side, "read back", &(reader.path)(), errno))?;
        if got < *len || hash_of_block(&room[..*len]) != *hash {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::super::context::Context;
    use super::*;

    #[test]
    fn what_was_written_is_read_back_from_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        // Two blocks and a bit of a third; a page in the middle of the first, and the last bytes, are other.
        let old: Vec<u8> = (0..2 * HASHED + 5000).map(|n| (n * n / 7) as u8).collect();
        let mut new = old.clone();
        new[5 * PAGE + 17] ^= 1;
        *new.last_mut().unwrap() ^= 1;
        std::fs::write(path("new"), &new).unwrap();
        let list: Vec<Hash> = old.chunks(HASHED).map(hash_of_block).collect();

        // The places of what is spoiled after it was written, and whether that is noticed.
        for (spoiled, noticed) in [
            (None, false),
            (Some(5 * PAGE), true),
            (Some(new.len() - 1), true),
            (Some(4 * PAGE), false),
        ] {
            std::fs::write(path("there"), &old).unwrap();
            let (from, to) = (
                File::open(path("new")).unwrap(),
                open(dir_of(&dir).as_fd(), b"there").unwrap(),
            );
            let meta = Meta::of_fd(from.as_fd()).unwrap();
            let cx = Context::new();
            let reader = Reader {
                cx: &cx,
                side: Side::Destination,
                path: &Vec::new,
            };
            let throttle = Throttle::new(0);
            let all = 0..new.len() as u64;
            let patched = patch(reader, &throttle, (from.as_fd(), &meta), (to.as_fd(), &list), all).unwrap();
            assert_eq!(std::fs::read(path("there")).unwrap(), new);
            // A page, and what there is of the last one.
            assert_eq!(patched.content.data, (PAGE + (5000 - PAGE)) as u64);

            let file = File::options()
                .read(true)
                .write(true)
                .open(path("there"))
                .unwrap();
            if let Some(at) = spoiled {
                file.write_all_at(&[!new[at]], at as u64).unwrap();
            }
            let same = read_back(reader, &file.into(), &patched.written, &mut Buffer::default()).unwrap();
            assert_eq!(same, !noticed, "{spoiled:?}");
        }
    }

    fn dir_of(dir: &tempfile::TempDir) -> OwnedFd {
        File::open(dir.path()).unwrap().into()
    }
}
