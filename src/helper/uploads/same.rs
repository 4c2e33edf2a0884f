//! Whether an object has the content of a file. Size and dates are never enough; what is, is in this order: the MD5 that the
//! storage made of the object or of its parts, the BLAKE3 that was noted when it was written, and reading it.

use std::os::fd::BorrowedFd;

use md5::{Digest as _, Md5};

use super::fetch;
use super::files::{Remote, shown};
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
    /// object of the same length is there to be compared with.
    pub fn read(
        store: &Store<'_>,
        file: BorrowedFd<'_>,
        (meta, path): (&Meta, &[u8]),
        remote: Option<&Remote>,
    ) -> Result<Option<Self>> {
        let size = meta.size;
        let etag = remote
            .filter(|remote| remote.bytes == size)
            .map(|remote| remote.etag);
        let mut whole = matches!(etag, Some(ETag::Whole(_))).then(Md5::new);
        let mut sums: Vec<Parts> = match etag {
            Some(ETag::Parts(_, parts)) => sizes(size, parts).map(Parts::of).collect(),
            _ => Vec::new(),
        };
        let (mut hasher, mut at, mut buffer) = (blake3::Hasher::new(), 0, vec![0; UNIT]);
        while at < size {
            store.cx.go_on().map_err(told)?;
            let want = usize::try_from(size - at).unwrap_or(UNIT).min(UNIT);
            let got = fill(file, &mut buffer[..want], at)
                .map_err(|errno| told(Fault::io(Side::Source, "read", path, errno)))?;
            if got < want {
                return Ok(None);
            }
            let piece = &buffer[..got];
            hasher.update(piece);
            if let Some(whole) = &mut whole {
                whole.update(piece);
            }
            sums.iter_mut().for_each(|parts| parts.update(piece));
            at += got as u64;
        }
        let after = Meta::of_fd(file).map_err(|errno| told(Fault::io(Side::Source, "read", path, errno)))?;
        if !after.untouched_since(meta) {
            return Ok(None);
        }
        Ok(Some(Self {
            bytes: size,
            blake3: hasher.finalize(),
            whole: whole.map(|whole| whole.finalize().into()),
            parts: sums.into_iter().map(Parts::finish).collect(),
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

/// The MD5 of each part of what goes by.
struct Parts {
    size: u64,
    filled: u64,
    hasher: Md5,
    sums: Vec<Md5Sum>,
}

impl Parts {
    fn of(size: u64) -> Self {
        Self {
            size,
            filled: 0,
            hasher: Md5::new(),
            sums: Vec::new(),
        }
    }

    fn update(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let room = usize::try_from(self.size - self.filled).unwrap_or(usize::MAX);
            let (now, rest) = piece.split_at(room.min(piece.len()));
            self.hasher.update(now);
            self.filled += now.len() as u64;
            if self.filled == self.size {
                self.sums.push(self.hasher.finalize_reset().into());
                self.filled = 0;
            }
            piece = rest;
        }
    }

    fn finish(mut self) -> Vec<Md5Sum> {
        if self.filled > 0 {
            self.sums.push(self.hasher.finalize().into());
        }
        self.sums
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
    fn parts_are_summed_wherever_pieces_end() {
        let bytes: Vec<u8> = (0..100u8).collect();
        let mut parts = Parts::of(30);
        bytes.chunks(7).for_each(|piece| parts.update(piece));
        let wanted: Vec<Md5Sum> = bytes.chunks(30).map(crate::s3::md5).collect();
        assert_eq!(parts.finish(), wanted);
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
