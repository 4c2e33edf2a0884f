//! One file becomes an object.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::SyncJob;
use super::fetch;
use super::files::Remote;
use super::same::{ATTEMPTS, By, Digest, Verdict, WHOLE, always_written, noted, part_size, was_a_file};
use super::store::Store;
use super::told;
use crate::helper::content::{fill, open_file};
use crate::helper::fault::{Fault, Side, vanished};
use crate::helper::meta::{Kind, Meta};
use crate::model::{Failure, Result};
use crate::s3::{About, Checksum, ETag, Md5Sum, Part, md5};

/// Parts of one file that are on their way at once.
const AT_ONCE: usize = 2;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Its object has the same content.
    Same(By),
    /// It had none, or another one, and has the right one now; so many bytes.
    Written { replaced: bool, bytes: u64 },
    /// Its object is newer than the tree.
    Newer,
    /// The file went away.
    Gone,
}

/// A file and its object.
pub(super) struct Sender<'a> {
    pub store: &'a Store<'a>,
    pub job: &'a SyncJob,
    /// Whether the storage says the MD5 of what it got: seen with an object of our own.
    pub tells_md5: bool,
}

impl Sender<'_> {
    /// Compares the file with its object, and writes that if it is not the same.
    pub fn send(
        &self,
        dir: BorrowedFd<'_>,
        (name, path, key): (&[u8], &[u8], &str),
        remote: Option<&Remote>,
    ) -> Result<Sent> {
        for _ in 0..ATTEMPTS {
            let file = match open_file(dir, name) {
                Ok(file) => file,
                Err(errno) if vanished(errno) => return Ok(Sent::Gone),
                Err(errno) => return Err(told(Fault::io(Side::Source, "open", path, errno))),
            };
            let meta = meta(&file, path)?;
            if meta.kind != Kind::File {
                return Ok(Sent::Gone);
            }
            let sent = match meta.size <= WHOLE {
                true => self.whole(&file, (path, key), &meta, remote)?,
                false => self.in_parts(&file, (path, key), &meta, remote)?,
            };
            if let Some(sent) = sent {
                return Ok(sent);
            }
        }
        Err(always_written("send", path))
    }

    /// `None` when the file changed while it was read.
    fn whole(
        &self,
        file: &OwnedFd,
        (path, key): (&[u8], &str),
        meta: &Meta,
        remote: Option<&Remote>,
    ) -> Result<Option<Sent>> {
        let length = usize::try_from(meta.size).unwrap_or(usize::MAX);
        let room = self.store.wait(Store::room(self.store.memory.clone(), length))?;
        let mut body = vec![0; length];
        let got = fill(file.as_fd(), &mut body, 0)
            .map_err(|errno| told(Fault::io(Side::Source, "read", path, errno)))?;
        if got < length || !self::meta(file, path)?.untouched_since(meta) {
            return Ok(None);
        }
        let sum = md5(&body);
        let digest = Digest::of(&body, sum);
        if let Some(sent) = self.compared(key, &digest, remote)? {
            return Ok(Some(sent));
        }
        self.store
            .throttle
            .take(self.store.cx, digest.bytes)
            .map_err(told)?;
        let (body, about) = (Bytes::from(body), self.about(path, meta, &digest));
        let put = self.store.patiently(|| {
            self.store
                .wait(self.store.bucket.put(key, body.clone(), &sum, &about))
        });
        drop(room);
        let etag = match put {
            Ok(etag) => etag,
            // The answer may have been lost, and the object be there.
            Err(failure) => match noted(self.store, key, &digest) {
                Ok(true) => ETag::Opaque,
                Ok(false) | Err(_) => return Err(failure),
            },
        };
        match etag == ETag::Whole(sum) {
            true => {}
            false if self.tells_md5 && etag != ETag::Opaque => return Err(self.store.bucket.another(key)),
            false => self.prove(key, &digest)?,
        }
        Ok(Some(written(&digest, remote)))
    }

    fn in_parts(
        &self,
        file: &OwnedFd,
        (path, key): (&[u8], &str),
        meta: &Meta,
        remote: Option<&Remote>,
    ) -> Result<Option<Sent>> {
        // The note is sent before the content: so it is read twice. All that has to be computed is, the first time.
        let sends = !self.job.dry_run;
        let read = Digest::read(self.store, file.as_fd(), (meta, path), (remote, sends))?;
        let Some(digest) = read else { return Ok(None) };
        if let Some(sent) = self.compared(key, &digest, remote)? {
            return Ok(Some(sent));
        }
        let about = self.about(path, meta, &digest);
        let store = self.store;
        let upload = store.patiently(|| store.wait(store.bucket.begin(key, &about)))?;
        let sent = self
            .parts(file, (path, key, &upload), &digest, &about)
            .and_then(|sent| match sent {
                Some(parts) => store
                    .wait(store.bucket.complete((key, &upload), parts))
                    .map(|()| true),
                None => Ok(false),
            });
        let failure = match sent {
            Ok(true) => {
                self.prove(key, &digest)?;
                return Ok(Some(written(&digest, remote)));
            }
            Ok(false) => None,
            // The answer may have been lost, and the object be there.
            Err(failure) => match noted(store, key, &digest) {
                Ok(true) => return Ok(Some(written(&digest, remote))),
                // A part that is another one by now is refused: what was said of it is not what came.
                Ok(false) | Err(_) => self::meta(file, path)?.untouched_since(meta).then_some(failure),
            },
        };
        // What is left of it costs money until somebody takes it back.
        if let Err(left) = store.patiently(|| store.wait(store.bucket.abort((key, &upload)))) {
            store.cx.note(format!(
                "{left}; the rule for incomplete uploads takes it back, where there is one"
            ));
        }
        failure.map_or(Ok(None), Err)
    }

    /// Sends the parts; `None` when the file is another by now.
    fn parts(
        &self,
        file: &OwnedFd,
        (path, key, upload): (&[u8], &str, &str),
        digest: &Digest,
        about: &About,
    ) -> Result<Option<Vec<Part>>> {
        let store = self.store;
        let size = part_size(digest.bytes);
        let sums = digest.parts.first().map(Vec::as_slice).unwrap_or_default();
        // A storage that checks the MD5 of each part takes no other one; of another storage it is seen here.
        let mut hasher = (about.checksum != Checksum::Md5).then(blake3::Hasher::new);
        let mut under_way: VecDeque<JoinHandle<Result<Part>>> = VecDeque::new();
        let (mut arrived, mut at) = (Vec::new(), 0);
        for (number, sum) in (1..).zip(sums) {
            store.cx.go_on().map_err(told)?;
            let length = usize::try_from(size.min(digest.bytes - at)).unwrap_or(usize::MAX);
            let room = store.wait(Store::room(store.memory.clone(), length))?;
            let mut body = vec![0; length];
            let got = fill(file.as_fd(), &mut body, at)
                .map_err(|errno| told(Fault::io(Side::Source, "read", path, errno)))?;
            if got < length {
                break;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&body);
            }
            at += length as u64;
            store.throttle.take(store.cx, length as u64).map_err(told)?;
            let part = self.part((key, upload), (number, *sum), Bytes::from(body), about);
            under_way.push_back(store.spawn(async move {
                let part = part.await;
                drop(room);
                part
            }));
            while under_way.len() > AT_ONCE {
                arrived.extend(self.next_of(&mut under_way)?);
            }
        }
        while let Some(part) = self.next_of(&mut under_way)? {
            arrived.push(part);
        }
        let same = hasher.is_none_or(|hasher| hasher.finalize() == digest.blake3);
        Ok((same && at == digest.bytes).then_some(arrived))
    }

    fn part(
        &self,
        (key, upload): (&str, &str),
        (number, sum): (u32, Md5Sum),
        body: Bytes,
        about: &About,
    ) -> impl Future<Output = Result<Part>> + Send + 'static {
        let (bucket, about) = (self.store.bucket.clone(), about.clone());
        let (key, upload) = (key.to_owned(), upload.to_owned());
        async move { bucket.put_part((&key, &upload), number, body, &sum, &about).await }
    }

    fn next_of(&self, sent: &mut VecDeque<JoinHandle<Result<Part>>>) -> Result<Option<Part>> {
        let Some(first) = sent.pop_front() else {
            return Ok(None);
        };
        let part = self.store.wait(first);
        part.map_err(|e| Failure::bug("sending a part ended without a result").because(&e))?
            .map(Some)
    }

    /// What becomes of a file without anything being sent; `None`: send it.
    fn compared(&self, key: &str, digest: &Digest, remote: Option<&Remote>) -> Result<Option<Sent>> {
        let unsent = || self.job.dry_run.then(|| written(digest, remote));
        let Some(remote) = remote else {
            return Ok(unsent());
        };
        match digest.against(remote) {
            Verdict::Same => return Ok(Some(Sent::Same(By::ETag))),
            // An ETag that is no MD5 says nothing against the note.
            Verdict::Doubt if !(self.tells_md5 && matches!(remote.etag, ETag::Whole(_))) => {
                if noted(self.store, key, digest)? {
                    return Ok(Some(Sent::Same(By::Note)));
                }
            }
            Verdict::Doubt | Verdict::Different => {}
        }
        let newer = self
            .job
            .not_over
            .is_some_and(|since| remote.modified.is_none_or(|at| at > since));
        // A first pass may have sent it a moment ago: a file that was written to since goes over that.
        if newer && !was_a_file(self.store, key)? {
            return Ok(Some(Sent::Newer));
        }
        Ok(unsent())
    }

    /// That the storage has what was sent, where its answer did not say so.
    fn prove(&self, key: &str, digest: &Digest) -> Result<()> {
        let store = self.store;
        let head = store.patiently(|| store.wait(store.bucket.head(key)))?;
        let head = head.ok_or_else(|| {
            store
                .bucket
                .another(key)
                .cause("the storage took it, and does not have it")
        })?;
        let remote = Remote {
            bytes: head.bytes,
            etag: head.etag,
            modified: head.modified,
        };
        match digest.against(&remote) {
            Verdict::Same => return Ok(()),
            Verdict::Doubt if !(self.tells_md5 && matches!(head.etag, ETag::Whole(_))) => {
                if fetch::hash(store, key)? == Some((digest.bytes, digest.blake3)) {
                    return Ok(());
                }
            }
            Verdict::Doubt | Verdict::Different => {}
        }
        Err(store.bucket.another(key))
    }

    fn about(&self, path: &[u8], meta: &Meta, digest: &Digest) -> About {
        let said = self.job.about.content_type.clone();
        About {
            content_type: Some(said.unwrap_or_else(|| content_type(path))),
            mtime: Timestamp::new(meta.mtime.sec, i32::try_from(meta.mtime.nsec).unwrap_or(0)).ok(),
            blake3: Some(digest.blake3.to_hex().to_string()),
            ..self.job.about.clone()
        }
    }
}

fn written(digest: &Digest, remote: Option<&Remote>) -> Sent {
    Sent::Written {
        replaced: remote.is_some(),
        bytes: digest.bytes,
    }
}

fn meta(file: &OwnedFd, path: &[u8]) -> Result<Meta> {
    Meta::of_fd(file.as_fd()).map_err(|errno| told(Fault::io(Side::Source, "look at", path, errno)))
}

/// By the end of the name, as web servers do.
fn content_type(path: &[u8]) -> String {
    let name = String::from_utf8_lossy(path);
    let guess = mime_guess::from_path(name.as_ref()).first_or_octet_stream();
    match guess.type_() == "text" {
        // Without it a browser guesses, and is wrong about most of them.
        true => format!("{guess}; charset=utf-8"),
        false => guess.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_names() {
        for (name, wanted) in [
            ("a/b.JPG", "image/jpeg"),
            ("a.pdf", "application/pdf"),
            ("a.html", "text/html; charset=utf-8"),
            ("a.tar.gz", "application/gzip"),
            ("a", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name.as_bytes()), wanted, "{name}");
        }
    }
}
