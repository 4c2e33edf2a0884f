//! Reading a file that may take longer than a connection lives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Shared;
use crate::backup::carry;
use crate::backup::format::StorePath;
use crate::model::{Failure, Result};
use crate::s3::{code, told};

/// How often in a row a connection may break without so much more having come.
const BREAKS: u32 = 5;
const PROGRESS: u64 = 1 << 20;

type Body = Pin<Box<dyn AsyncRead + Send>>;

/// A file, from its beginning to its end, whatever happens to connections meanwhile.
pub(super) struct S3Reader {
    shared: Arc<Shared>,
    path: StorePath,
    /// Which version of the file it is.
    etag: Option<String>,
    bytes: u64,
    at: u64,
    body: Option<Body>,
    breaks: u32,
    /// Where it broke last.
    broke_at: u64,
}

impl S3Reader {
    /// All of it, or so many bytes from one of them on.
    pub(super) fn open(
        shared: &Arc<Shared>,
        path: &StorePath,
        part: Option<(u64, u64)>,
    ) -> Result<Option<Self>> {
        let range = part.map(|(at, len)| format!("bytes={at}-{}", (at + len).saturating_sub(1)));
        let request = shared
            .client
            .get_object()
            .bucket(&shared.bucket)
            .key(shared.key(path))
            .set_range(range);
        let object = match shared.wait(request.send()) {
            Ok(object) => object,
            Err(e) if code(&e) == Some("NoSuchKey") => return Ok(None),
            Err(e) => return Err(told(&format!("cannot read {}", shared.shown(path)), &e)),
        };
        let bytes = object.content_length().and_then(|n| u64::try_from(n).ok());
        let bytes = bytes.ok_or_else(|| {
            Failure::environment(format!("cannot read {}", shared.shown(path)))
                .cause("the storage does not say how long it is")
        })?;
        let at = part.map_or(0, |(at, _)| at);
        if part.is_some() && !begins_at(object.content_range(), at) {
            return Err(
                Failure::environment(format!("cannot read {}", shared.shown(path)))
                    .cause("the storage cannot read a part of it"),
            );
        }
        Ok(Some(Self {
            shared: Arc::clone(shared),
            path: path.clone(),
            etag: object.e_tag().map(str::to_owned),
            bytes: at + bytes,
            at,
            body: Some(Box::pin(object.body.into_async_read())),
            breaks: 0,
            broke_at: 0,
        }))
    }

    fn cannot(&self) -> Failure {
        Failure::environment(format!("cannot read {}", self.shared.shown(&self.path)))
    }

    /// Asks for the rest, of the same version.
    fn again(&self) -> Result<Body> {
        let shared = &self.shared;
        let request = shared
            .client
            .get_object()
            .bucket(&shared.bucket)
            .key(shared.key(&self.path))
            .range(format!("bytes={}-", self.at))
            .set_if_match(self.etag.clone());
        let object = match shared.wait(request.send()) {
            Ok(object) => object,
            Err(e) if code(&e) == Some("PreconditionFailed") => {
                return Err(self.cannot().cause("it was replaced while it was read"));
            }
            Err(e) => return Err(told(&self.cannot().what, &e)),
        };
        // All of it is as good, if nothing of it was read yet.
        if self.at > 0 && !begins_at(object.content_range(), self.at) {
            return Err(self
                .cannot()
                .cause("the storage cannot go on where a connection broke"));
        }
        Ok(Box::pin(object.body.into_async_read()))
    }

    fn broken(&mut self, why: &str) -> Result<()> {
        self.body = None;
        if self.at >= self.broke_at + PROGRESS {
            self.breaks = 0;
        }
        self.breaks += 1;
        self.broke_at = self.at;
        tracing::debug!("{} broke at {}: {why}", self.path, self.at);
        if self.breaks <= BREAKS {
            return Ok(());
        }
        Err(self.cannot().cause(format!(
            "the connection broke {} times in a row: {why}",
            self.breaks
        )))
    }

    fn next(&mut self, buf: &mut [u8]) -> Result<usize> {
        while self.at < self.bytes {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.again()?,
            };
            let left = usize::try_from(self.bytes - self.at).unwrap_or(usize::MAX);
            let room = buf.len().min(left);
            let limit = self.shared.limits.answer;
            let read = async { tokio::time::timeout(limit, body.read(&mut buf[..room])).await };
            match self.shared.wait(read) {
                Ok(Ok(n)) if n > 0 => {
                    self.at += n as u64;
                    self.body = Some(body);
                    return Ok(n);
                }
                Ok(Ok(_)) => self.broken("it ended early")?,
                Ok(Err(e)) => self.broken(&e.to_string())?,
                Err(_) => self.broken("nothing came for too long")?,
            }
        }
        Ok(0)
    }
}

/// Whether an answer is about what follows from there.
fn begins_at(range: Option<&str>, at: u64) -> bool {
    range.is_some_and(|range| range.starts_with(&format!("bytes {at}-")))
}

impl io::Read for S3Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.next(buf).map_err(carry)
    }
}
