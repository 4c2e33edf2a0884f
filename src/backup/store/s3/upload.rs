//! Writing a file: in one request, or in parts that are sent while the next is filled.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;

use aws_sdk_s3::Config;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use tokio::task::JoinHandle;

use super::Shared;
use crate::backup::carry;
use crate::backup::format::StorePath;
use crate::model::{Failure, Result};
use crate::s3::{Limits, code, told, unique_name};

/// How many parts are sent at once.
const AT_ONCE: usize = 2;
/// No storage takes more parts.
const MOST_PARTS: i32 = 10_000;
/// So many parts are of one size: some providers insist on that. Then each is larger by [`GROWTH`], so that 5 TiB, the
/// largest file there can be, fit into [`MOST_PARTS`].
const SAME_PARTS: i32 = 2_000;
const GROWTH: usize = 168 << 10;
/// How often an upload is taken back: a part that was under way may arrive after it was.
const ABORTS: usize = 5;
/// What an object is told apart by.
const NAME: &str = "rehome-upload";

/// How large a part is. Memory holds three of the first ones; later, when a part alone is that large, only one.
fn part_size(limits: &Limits, number: i32) -> usize {
    let later = usize::try_from(number - SAME_PARTS).unwrap_or(0);
    limits.part + later * GROWTH
}

fn md5(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Md5::digest(bytes))
}

/// A part on its way.
struct Sent {
    bytes: usize,
    task: JoinHandle<Result<CompletedPart>>,
}

/// An upload in parts.
struct Parts {
    id: String,
    sent: VecDeque<Sent>,
    arrived: Vec<CompletedPart>,
}

/// A file on its way.
pub(super) struct S3Upload {
    shared: Arc<Shared>,
    key: String,
    shown: String,
    /// What it is told apart by from what was there before.
    name: String,
    buffer: Vec<u8>,
    bytes: u64,
    parts: Option<Parts>,
    failed: Option<Failure>,
}

impl S3Upload {
    pub(super) fn new(shared: Arc<Shared>, path: &StorePath) -> Result<Self> {
        let shown = shared.shown(path);
        let cannot = |why: &str| Failure::environment(format!("cannot write {shown}")).cause(why);
        if path.as_str().is_empty() {
            return Err(cannot("it is the place itself"));
        }
        Ok(Self {
            key: shared.key(path),
            name: unique_name().map_err(|e| cannot(&e.to_string()))?,
            shared,
            shown,
            buffer: Vec::new(),
            bytes: 0,
            parts: None,
            failed: None,
        })
    }

    fn cannot(&self) -> String {
        format!("cannot write {}", self.shown)
    }

    fn next_number(&self) -> i32 {
        let parts = self
            .parts
            .as_ref()
            .map_or(0, |parts| parts.arrived.len() + parts.sent.len());
        i32::try_from(parts + 1).unwrap_or(i32::MAX)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let size = part_size(&self.shared.limits, self.next_number());
        // Only when more comes: what is as long as one part goes in one request.
        if self.buffer.len() >= size {
            self.send()?;
            return self.take(bytes);
        }
        let room = bytes.len().min(size - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..room]);
        self.bytes += room as u64;
        Ok(room)
    }

    /// Sends what is in the buffer as a part, and waits until there is memory for another.
    fn send(&mut self) -> Result<()> {
        let sent = self.begin().and_then(|()| self.send_part());
        if let Err(failure) = &sent {
            self.failed = Some(failure.clone());
        }
        sent
    }

    fn begin(&mut self) -> Result<()> {
        if self.parts.is_some() {
            return Ok(());
        }
        let shared = &self.shared;
        let request = shared
            .client
            .create_multipart_upload()
            .bucket(&shared.bucket)
            .key(&self.key)
            .metadata(NAME, &self.name);
        let begun = shared
            .wait(request.send())
            .map_err(|e| told(&self.cannot(), &e))?;
        let id = begun.upload_id().map(str::to_owned).ok_or_else(|| {
            Failure::environment(self.cannot()).cause("the storage began an upload without a name for it")
        })?;
        shared.running().insert(id.clone());
        self.parts = Some(Parts {
            id,
            sent: VecDeque::new(),
            arrived: Vec::new(),
        });
        Ok(())
    }

    fn send_part(&mut self) -> Result<()> {
        let number = self.next_number();
        if number > MOST_PARTS {
            return Err(Failure::environment(self.cannot()).cause("it is larger than any storage takes"));
        }
        let body = std::mem::take(&mut self.buffer);
        let bytes = body.len();
        let Some(parts) = &mut self.parts else {
            return Err(Failure::bug("a part of an upload that was not begun"));
        };
        let part = send_part(
            Arc::clone(&self.shared),
            self.key.clone(),
            self.shown.clone(),
            parts.id.clone(),
            number,
            body,
        );
        parts.sent.push_back(Sent {
            bytes,
            task: self.shared.runtime.spawn(part),
        });
        let limit = self.shared.limits.part * (AT_ONCE + 1);
        let next = part_size(&self.shared.limits, number + 1);
        loop {
            let waiting = self.parts.iter().flat_map(|parts| &parts.sent);
            let (count, bytes) = waiting.fold((0, next), |(n, sum), sent| (n + 1, sum + sent.bytes));
            if count == 0 || (count <= AT_ONCE && bytes <= limit) {
                return Ok(());
            }
            self.await_one()?;
        }
    }

    /// Waits for the part that was sent first.
    fn await_one(&mut self) -> Result<()> {
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        let Some(first) = parts.sent.pop_front() else {
            return Ok(());
        };
        let part = self
            .shared
            .runtime
            .block_on(first.task)
            .map_err(|e| Failure::bug("sending a part ended without a result").because(&e))??;
        parts.arrived.push(part);
        Ok(())
    }

    fn put_whole(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let body = std::mem::take(&mut self.buffer);
        let limits = Config::builder().timeout_config(shared.limits.of(body.len()));
        let request = shared
            .client
            .put_object()
            .bucket(&shared.bucket)
            .key(&self.key)
            .metadata(NAME, &self.name)
            .content_md5(md5(&body))
            .body(ByteStream::from(body))
            .customize()
            .config_override(limits);
        let put = shared.wait(request.send());
        self.arrived(put.map(|_| ()).map_err(|e| told(&self.cannot(), &e)))
    }

    fn complete(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.send()?;
        }
        while self.parts.as_ref().is_some_and(|parts| !parts.sent.is_empty()) {
            self.await_one()?;
        }
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        let all = CompletedMultipartUpload::builder()
            .set_parts(Some(std::mem::take(&mut parts.arrived)))
            .build();
        let shared = Arc::clone(&self.shared);
        // Some put all the parts together before they answer.
        let limits = Config::builder().timeout_config(shared.limits.of(shared.limits.part * (AT_ONCE + 1)));
        let request = shared
            .client
            .complete_multipart_upload()
            .bucket(&shared.bucket)
            .key(&self.key)
            .upload_id(&parts.id)
            .multipart_upload(all)
            .customize()
            .config_override(limits);
        let completed = shared.wait(request.send());
        self.arrived(completed.map(|_| ()).map_err(|e| told(&self.cannot(), &e)))?;
        self.let_go();
        Ok(())
    }

    /// Looks at what is there now. An answer that was lost does not count, and neither does a good one.
    fn arrived(&self, answered: Result<()>) -> Result<()> {
        let shared = &self.shared;
        let head = shared.client.head_object().bucket(&shared.bucket).key(&self.key);
        let found = match (shared.wait(head.send()), &answered) {
            (Ok(found), _) => found,
            (Err(_), Err(_)) => return answered,
            (Err(e), Ok(())) => {
                return Err(
                    told(&self.cannot(), &e).inside(format!("cannot prove that {} arrived", self.shown))
                );
            }
        };
        let name = found.metadata().and_then(|all| all.get(NAME));
        let ours = name.is_some_and(|name| *name == self.name);
        let bytes = found.content_length().and_then(|n| u64::try_from(n).ok());
        match (answered, bytes == Some(self.bytes)) {
            (Ok(()), true) if ours || name.is_none() => Ok(()),
            (Err(_), true) if ours => Ok(()),
            (Err(failure), _) => Err(failure),
            (Ok(()), _) => {
                if ours {
                    let request = shared
                        .client
                        .delete_object()
                        .bucket(&shared.bucket)
                        .key(&self.key);
                    if let Err(e) = shared.wait(request.send()) {
                        tracing::debug!("cannot remove {}: {:?}", self.shown, code(&e));
                    }
                }
                Err(Failure::environment(self.cannot()).cause(format!(
                    "the storage took {} bytes, and then had {}",
                    self.bytes,
                    bytes.map_or("an unknown number".to_owned(), |n| n.to_string())
                )))
            }
        }
    }

    /// Nothing is to be taken back any more.
    fn let_go(&mut self) {
        if let Some(parts) = self.parts.take() {
            self.shared.running().remove(&parts.id);
        }
    }
}

async fn send_part(
    shared: Arc<Shared>,
    key: String,
    shown: String,
    id: String,
    number: i32,
    body: Vec<u8>,
) -> Result<CompletedPart> {
    let limits = Config::builder().timeout_config(shared.limits.of(body.len()));
    let part = shared
        .client
        .upload_part()
        .bucket(&shared.bucket)
        .key(key)
        .upload_id(id)
        .part_number(number)
        .content_md5(md5(&body))
        .body(ByteStream::from(body))
        .customize()
        .config_override(limits)
        .send()
        .await
        .map_err(|e| told(&format!("cannot write part {number} of {shown}"), &e))?;
    Ok(CompletedPart::builder()
        .part_number(number)
        .set_e_tag(part.e_tag().map(str::to_owned))
        .build())
}

/// Takes an upload back, until nothing of it is there.
pub(super) async fn abort(shared: &Shared, key: &str, id: &str) -> Result<()> {
    let what = || format!("cannot take back the upload of s3://{}/{key}", shared.bucket);
    for _ in 0..ABORTS {
        let request = shared.client.abort_multipart_upload();
        match request.bucket(&shared.bucket).key(key).upload_id(id).send().await {
            Ok(_) => {}
            Err(e) if code(&e) == Some("NoSuchUpload") => return Ok(()),
            Err(e) => return Err(told(&what(), &e)),
        }
        let request = shared.client.list_parts();
        match request.bucket(&shared.bucket).key(key).upload_id(id).send().await {
            Ok(left) if !left.parts().is_empty() => {}
            Ok(_) => return Ok(()),
            Err(e) if matches!(code(&e), Some("NoSuchUpload" | "NoSuchKey")) => return Ok(()),
            Err(e) => return Err(told(&what(), &e)),
        }
    }
    Err(Failure::environment(what()).cause("parts of it came back again and again"))
}

impl Write for S3Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.take(bytes).map_err(carry)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl super::Upload for S3Upload {
    fn finish(mut self: Box<Self>) -> Result<()> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        match self.parts {
            None => self.put_whole(),
            Some(_) => self.complete(),
        }
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        let (shared, key) = (Arc::clone(&self.shared), std::mem::take(&mut self.key));
        let take_back = async move {
            for sent in parts.sent {
                sent.task.abort();
                // How it ended does not matter any more, only that it did.
                drop(sent.task.await);
            }
            let taken = abort(&shared, &key, &parts.id).await;
            shared.running().remove(&parts.id);
            taken
        };
        // In a thread of its own: nobody may wait for a runtime inside of one, and this may be dropped anywhere.
        let runtime = self.shared.runtime.clone();
        match std::thread::spawn(move || runtime.block_on(take_back)).join() {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::warn!("{failure}; it is swept by the next backup"),
            Err(_) => tracing::warn!(
                "an upload to {} was not taken back; it is swept by the next backup",
                self.shown
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_file_fits_and_the_usual_one_takes_little_memory() {
        let limits = Limits::default();
        let all: usize = (1..=MOST_PARTS).map(|n| part_size(&limits, n)).sum();
        assert!(all >= 5 << 40, "{all}");
        // 60 GB in parts of one size.
        assert_eq!(part_size(&limits, SAME_PARTS), 32 << 20);
        // The largest part of the largest file is one that all take.
        assert!(part_size(&limits, MOST_PARTS) < 2 << 30);
    }
}
