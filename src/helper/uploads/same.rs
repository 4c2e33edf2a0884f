//! Whether an object has the content of a file. Size and dates are never enough; what is, is in this order: the MD5 that the
//! storage made of the object or of its parts, the BLAKE3 that was noted when it was written, and reading it.

use std::os::fd::BorrowedFd;

use md5::{Digest as _, Md5};

use super::fetch;
use super::files::{Remote, shown};
use super::lanes::{LANES, Lanes};
use super::store::{Store, UNIT};
use super::{Compared, told};
use crate::helper::content::fill;
use crate::helper::fault::{Fault, Side};
use crate::helper::meta::Meta;
use crate::model::{Failure, Result};
use crate::s3::{ETag, Md5Sum};

/// A file of this size or less is read, compared and sent in one piece.
pub(super) const WHOLE: u64 = 8 << 20;
/// A part of an object is at least this large.
const PART: u64 = 8 << 20;
/// An object has at most 10,000 parts; some room is left.
const PARTS: u64 = 9_000;
/// The parts that other programs make, in MiB.
const OTHERS: [u64; 16] = [5, 6, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 500, 512];
/// How often a file is read anew that somebody writes to.
pub(super) const ATTEMPTS: usize = 4;
/// What is read of a part at once. Parts are of whole MiB.
const PIECE: usize = 64 << 10;
/// So many sizes of parts are tried on an object of somebody else.
const TRIED: usize = 4;

/// How large the parts of an object are. By its length alone, so that its ETag can be told beforehand.
pub(super) fn part_size(bytes: u64) -> u64 {
    PART.max(bytes.div_ceil(PARTS).next_multiple_of(UNIT as u64))
}

/// The requests that bring a file into a bucket: one, or for parts their beginning, each of them, and their end.
pub(in crate::helper) fn puts(bytes: u64) -> u64 {
    match bytes <= WHOLE {
        true => 1,
        false => bytes.div_ceil(part_size(bytes)) + 2,
    }
}

/// What is known of the content of a file, after it was read once.
pub(super) struct Digest {
    pub bytes: u64,
    pub blake3: blake3::Hash,
    /// Of all of it, if that was asked for.
    pub whole: Option<Md5Sum>,
    /// Of the parts that its object may be made of, for each size that they can have.
    pub parts: Vec<Vec<Md5Sum>>,
}

/// How two things were found to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    ETag,
    Note,
    Reading,
}

impl Compared {
    pub(super) fn count(&mut self, by: By) {
        match by {
            By::ETag => self.by_etag += 1,
            By::Note => self.by_note += 1,
            By::Reading => self.by_reading += 1,
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.by_etag += other.by_etag;
        self.by_note += other.by_note;
        self.by_reading += other.by_reading;
    }
}

/// What can be said without asking the storage again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Different,
    /// The ETag is that of something else, or of nothing; what it says is worth as much as the storage is.
    Doubt,
}

impl Digest {
    /// Of a file that is in memory.
    pub fn of(body: &[u8], sum: Md5Sum) -> Self {
        Self {
            bytes: body.len() as u64,
            blake3: blake3::hash(body),
            whole: Some(sum),
            parts: Vec::new(),
        }
    }

    /// Of a file that is read for it, in pieces; `None` when it changed meanwhile. MD5, the slowest of it, only where an
    /// object of the same length is there to be compared with, and of the parts that it is sent in.
    pub fn read(
        store: &Store<'_>,
        file: BorrowedFd<'_>,
        (meta, path): (&Meta, &[u8]),
        (remote, sends): (Option<&Remote>, bool),
    ) -> Result<Option<Self>> {
        let size = meta.size;
        let failed = |errno| told(Fault::io(Side::Source, "read", path, errno));
        let etag = remote
            .filter(|remote| remote.bytes == size)
            .map(|remote| remote.etag);
        let mut whole = matches!(etag, Some(ETag::Whole(_))).then(Md5::new);
        let ours = sends.then(|| part_size(size));
        let theirs = match etag {
            Some(ETag::Parts(_, parts)) => Some(parts),
            _ => None,
        };
        let theirs = theirs.into_iter().flat_map(|parts| sizes(size, parts));
        let theirs = theirs.filter(|size| Some(*size) != ours);
        let mut sums: Vec<Parts> = ours.into_iter().chain(theirs).map(Parts::of).collect();
        let (mut hasher, mut at, mut buffer) = (blake3::Hasher::new(), 0, vec![0; UNIT]);
        while at < size {
            store.cx.go_on().map_err(told)?;
            let want = usize::try_from(size - at).unwrap_or(UNIT).min(UNIT);
            let got = fill(file, &mut buffer[..want], at).map_err(failed)?;
            if got < want {
                return Ok(None);
            }
            let piece = &buffer[..got];
            hasher.update(piece);
            if let Some(whole) = &mut whole {
                whole.update(piece);
            }
            at += got as u64;
            for parts in &mut sums {
                if !parts.follow(file, at, at == size).map_err(failed)? {
                    return Ok(None);
                }
            }
        }
        let after = Meta::of_fd(file).map_err(failed)?;
        if !after.untouched_since(meta) {
            return Ok(None);
        }
        Ok(Some(Self {
            bytes: size,
            blake3: hasher.finalize(),
            whole: whole.map(|whole| whole.finalize().into()),
            parts: sums.into_iter().map(|parts| parts.sums).collect(),
        }))
    }

    /// What the list says of the object.
    pub fn against(&self, remote: &Remote) -> Verdict {
        if self.bytes != remote.bytes {
            return Verdict::Different;
        }
        let same = match remote.etag {
            ETag::Whole(sum) => self.whole == Some(sum),
            ETag::Parts(..) => self.parts.iter().any(|sums| ETag::of_parts(sums) == remote.etag),
            ETag::Opaque => false,
        };
        match same {
            true => Verdict::Same,
            false => Verdict::Doubt,
        }
    }
}

/// The same with what the storage says when it is asked about the one object; by reading it if nothing else is worth
/// anything. `None`: it is another.
pub(super) fn settled(store: &Store<'_>, key: &str, digest: &Digest, remote: &Remote) -> Result<Option<By>> {
    match digest.against(remote) {
        Verdict::Same => return Ok(Some(By::ETag)),
        Verdict::Different => return Ok(None),
        Verdict::Doubt => {}
    }
    // An MD5 that is another is not outweighed by a note that anybody could have copied.
    if !matches!(remote.etag, ETag::Whole(_)) && noted(store, key, digest)? {
        return Ok(Some(By::Note));
    }
    let read = fetch::hash(store, key)?;
    Ok((read == Some((digest.bytes, digest.blake3))).then_some(By::Reading))
}

/// Whether the object is said to have this content, by whoever wrote it.
pub(super) fn noted(store: &Store<'_>, key: &str, digest: &Digest) -> Result<bool> {
    let head = store.patiently(|| store.wait(store.bucket.head(key)))?;
    Ok(head.is_some_and(|head| {
        head.bytes == digest.bytes && head.blake3.as_deref() == Some(digest.blake3.to_hex().as_str())
    }))
}

/// Whether an object was sent from a file, by Rehome or rclone: then it is no upload of the services, however new it is.
pub(super) fn was_a_file(store: &Store<'_>, key: &str) -> Result<bool> {
    let head = store.patiently(|| store.wait(store.bucket.head(key)))?;
    Ok(head.is_some_and(|head| head.blake3.is_some() || head.mtime.is_some()))
}

/// How large the parts can be that an object was made of: ours, or those of other programs.
fn sizes(bytes: u64, parts: u32) -> impl Iterator<Item = u64> {
    let ours = part_size(bytes);
    let others = OTHERS
        .into_iter()
        .map(|mib| mib << 20)
        .filter(move |size| *size != ours);
    let fits = move |size: &u64| bytes.div_ceil(*size) == u64::from(parts);
    std::iter::once(ours).chain(others).filter(fits).take(TRIED)
}

/// The MD5 of each part of a file.
struct Parts {
    size: u64,
    sums: Vec<Md5Sum>,
}

impl Parts {
    fn of(size: u64) -> Self {
        Self {
            size,
            sums: Vec::new(),
        }
    }

    /// Comes after somebody who has read as far as `to`: many parts at once, while the system still has them in memory.
    /// `last`: the file ends there. False when it ends before.
    fn follow(&mut self, file: BorrowedFd<'_>, to: u64, last: bool) -> rustix::io::Result<bool> {
        let from = self.sums.len() as u64 * self.size;
        let whole = usize::try_from((to - from) / self.size)
            .unwrap_or(LANES)
            .min(LANES);
        if whole < LANES && !last {
            return Ok(true);
        }
        let mut from = from;
        if let Some(mut lanes) = Lanes::of(whole) {
            let mut buffer = vec![0; LANES * PIECE];
            for at in (0..self.size).step_by(PIECE) {
                for (part, piece) in (0..).zip(buffer.chunks_exact_mut(PIECE)).take(whole) {
                    if fill(file, piece, from + part * self.size + at)? < PIECE {
                        return Ok(false);
                    }
                }
                lanes.update(&std::array::from_fn(|lane| {
                    &buffer[lane * PIECE..(lane + 1) * PIECE]
                }));
            }
            self.sums.extend(&lanes.finish(self.size)[..whole]);
            from += whole as u64 * self.size;
        }
        let mut buffer = vec![0; PIECE];
        // A part that is not all there yet is for the next time.
        while from < to && (last || to - from >= self.size) {
            let end = to.min(from + self.size);
            let mut hasher = Md5::new();
            while from < end {
                let piece = &mut buffer[..usize::try_from(end - from).unwrap_or(PIECE).min(PIECE)];
                if fill(file, piece, from)? < piece.len() {
                    return Ok(false);
                }
                hasher.update(&*piece);
                from += piece.len() as u64;
            }
            self.sums.push(hasher.finalize().into());
        }
        Ok(true)
    }
}

/// What is said of a file after [`ATTEMPTS`].
pub(super) fn always_written(verb: &str, path: &[u8]) -> Failure {
    Failure::environment(cannot(verb, path)).cause(format!(
        "somebody wrote to it each of the {ATTEMPTS} times that it was read"
    ))
}

/// A path of a tree in a message about it.
pub(super) fn cannot(verb: &str, path: &[u8]) -> String {
    format!("cannot {verb} {}", shown(path))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn the_largest_object_has_few_enough_parts() {
        for bytes in [0, 1, WHOLE + 1, 6 << 30, 5 << 40] {
            assert!(bytes.div_ceil(part_size(bytes)) <= 10_000, "{bytes}");
            assert!(part_size(bytes) >= 5 << 20 && part_size(bytes).is_multiple_of(1 << 20));
        }
        assert_eq!(part_size(6 << 30), PART);
    }

    #[test]
    fn a_file_is_one_request_and_a_large_one_more() {
        assert_eq!([0, 1, WHOLE].map(puts), [1, 1, 1]);
        assert_eq!(puts(WHOLE + 1), (WHOLE + 1).div_ceil(PART) + 2);
        assert_eq!(puts(10 * PART), 12);
    }

    #[test]
    fn parts_are_summed_many_at_a_time_and_by_themselves() {
        let size = 2 * PIECE as u64;
        for (whole, rest) in [
            (0, 1),
            (1, 0),
            (3, 5),
            (4, 0),
            (15, 70_000),
            (16, 0),
            (16, 1),
            (21, 100),
            (40, 0),
        ] {
            let mut bytes = vec![0; whole * 2 * PIECE + rest];
            blake3::Hasher::new().finalize_xof().fill(&mut bytes);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let mut parts = Parts::of(size);
            let end = bytes.len() as u64;
            for to in (30_000..end).step_by(30_000).chain([end]) {
                assert!(parts.follow(file.as_fd(), to, to == end).unwrap());
            }
            let wanted: Vec<Md5Sum> = bytes.chunks(2 * PIECE).map(crate::s3::md5).collect();
            assert!(parts.sums == wanted, "{whole} parts and {rest} bytes");
            // One that ends before is another one by now.
            let longer = end + 1;
            assert!(!Parts::of(size).follow(file.as_fd(), longer, true).unwrap());
        }
    }

    #[test]
    fn what_a_list_says_is_believed_as_far_as_it_goes() {
        let digest = Digest::of(b"hello", crate::s3::md5(b"hello"));
        let remote = |bytes, etag| Remote {
            bytes,
            etag,
            modified: None,
        };
        // md5sum of "hello".
        let sum = ETag::read(Some("5d41402abc4b2a76b9719d911017c592"));
        assert_eq!(digest.against(&remote(5, sum)), Verdict::Same);
        assert_eq!(digest.against(&remote(6, sum)), Verdict::Different);
        assert_eq!(digest.against(&remote(5, ETag::Opaque)), Verdict::Doubt);
        assert_eq!(digest.against(&remote(5, ETag::Whole([7; 16]))), Verdict::Doubt);
    }
}
