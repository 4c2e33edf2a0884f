//! What is asked of a storage, counted where it leaves: each attempt by itself, because each is charged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use serde::{Deserialize, Serialize};

/// Requests by their kind, repeated ones too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Pages of lists.
    pub list: u64,
    /// What is known of an object or of the bucket.
    pub head: u64,
    /// Objects, or what is left of them.
    pub get: u64,
    /// Objects, and for those in parts: the beginning, each part, the end.
    pub put: u64,
    /// Objects, and uploads that are taken back.
    pub delete: u64,
    /// What is about the bucket itself.
    pub bucket: u64,
    /// Those of all kinds that were refused, or had no answer. That something is not there is an answer.
    pub failed: u64,
}

impl Asked {
    /// The kinds, each with its number.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 6] {
        [
            ("list", self.list),
            ("head", self.head),
            ("get", self.get),
            ("put", self.put),
            ("delete", self.delete),
            ("bucket", self.bucket),
        ]
    }

    /// Both together.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            list: self.list + more.list,
            head: self.head + more.head,
            get: self.get + more.get,
            put: self.put + more.put,
            delete: self.delete + more.delete,
            bucket: self.bucket + more.bucket,
            failed: self.failed + more.failed,
        }
    }
}

/// Counts. Its clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    list: AtomicU64,
    head: AtomicU64,
    get: AtomicU64,
    put: AtomicU64,
    delete: AtomicU64,
    bucket: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    /// So far.
    pub fn asked(&self) -> Asked {
        let counts = &self.0;
        Asked {
            list: counts.list.load(Relaxed),
            head: counts.head.load(Relaxed),
            get: counts.get.load(Relaxed),
            put: counts.put.load(Relaxed),
            delete: counts.delete.load(Relaxed),
            bucket: counts.bucket.load(Relaxed),
            failed: counts.failed.load(Relaxed),
        }
    }

    /// Which of them a request is, by its method and by what the client says in the query.
    fn of(&self, method: &str, uri: &str) -> &AtomicU64 {
        let query = uri.split_once('?').map_or("", |(_, query)| query);
        let has = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
        let counts = &self.0;
        match method {
            "HEAD" => &counts.head,
            "GET" if has("list-type") => &counts.list,
            "GET" if has("x-id") => &counts.get,
            "PUT" if has("x-id") => &counts.put,
            "POST" if has("uploads") || has("uploadId") => &counts.put,
            "DELETE" if has("x-id") => &counts.delete,
            _ => &counts.bucket,
        }
    }
}

/// Whether a storage did not do what it was asked. What it does not have (404), does not know (501), or has in another
/// version (412) is an answer.
fn is_failure(status: Option<u16>) -> bool {
    status.is_none_or(|status| status >= 400 && !matches!(status, 404 | 412 | 501))
}

impl Intercept for Tally {
    fn name(&self) -> &'static str {
        "Tally"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        self.of(request.method(), request.uri()).fetch_add(1, Relaxed);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let status = context.response().map(|response| response.status().as_u16());
        // An answer that broke off, or that came too late.
        let broke = matches!(status, Some(..400)) && matches!(context.output_or_error(), Some(Err(_)));
        if broke || is_failure(status) {
            self.0.failed.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_of_one_kind() {
        for (method, uri, kind) in [
            (
                "GET",
                "http://h/b/?list-type=2&prefix=a%2F&continuation-token=x",
                "list",
            ),
            ("HEAD", "http://h/b/a", "head"),
            ("HEAD", "http://h/b", "head"),
            ("GET", "http://h/b/a?x-id=GetObject", "get"),
            ("GET", "http://h/b/?lifecycle", "bucket"),
            ("PUT", "http://h/b/a%3Fuploads?x-id=PutObject", "put"),
            (
                "PUT",
                "http://h/b/a?x-id=UploadPart&partNumber=1&uploadId=u",
                "put",
            ),
            ("POST", "http://h/b/a?uploads", "put"),
            ("POST", "http://h/b/a?uploadId=u", "put"),
            ("PUT", "http://h/b/", "bucket"),
            ("DELETE", "http://h/b/a?x-id=DeleteObject", "delete"),
            (
                "DELETE",
                "http://h/b/a?x-id=AbortMultipartUpload&uploadId=u",
                "delete",
            ),
            ("DELETE", "http://h/b/?publicAccessBlock", "bucket"),
        ] {
            let tally = Tally::default();
            tally.of(method, uri).fetch_add(1, Relaxed);
            let counted: Vec<_> = tally
                .asked()
                .by_kind()
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .collect();
            assert_eq!(counted, [(kind, 1)], "{method} {uri}");
        }
    }

    #[test]
    fn that_something_is_not_there_is_an_answer() {
        for status in [200, 204, 307, 404, 412, 501] {
            assert!(!is_failure(Some(status)), "{status}");
        }
        for status in [400, 403, 429, 500, 503] {
            assert!(is_failure(Some(status)), "{status}");
        }
        assert!(is_failure(None));
    }
}
