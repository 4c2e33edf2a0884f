//! Backups on S3-compatible storage; what providers differ in is said in [`crate::s3`].
//!
//! The client is asynchronous. The store keeps the runtime it was opened in, and waits in it.

mod read;
mod upload;

use std::collections::HashSet;
use std::future::Future;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_s3::Client;
use jiff::Timestamp;
use tokio::runtime::Handle;

use self::read::S3Reader;
use self::upload::S3Upload;
use super::{Store, Stored, Upload};
use crate::backup::format::StorePath;
use crate::model::{Failure, Result};
use crate::s3::{Limits, Listed, S3Settings, Trust, client, code, list, timestamp, told};

/// More pages of a thousand names than any place for backups has.
const MOST_PAGES: usize = 1_000;

/// A bucket as a place for backups.
pub struct S3Store {
    shared: Arc<Shared>,
}

/// What a store and its files under way have in common.
struct Shared {
    client: Client,
    runtime: Handle,
    bucket: String,
    prefix: StorePath,
    limits: Limits,
    opened: Timestamp,
    /// The uploads that are under way here.
    running: Mutex<HashSet<String>>,
}

impl S3Store {
    /// Finds the keys and the region, and asks nothing of the storage itself yet. To be called in a runtime of several
    /// threads, where blocking is allowed.
    ///
    /// # Errors
    /// When there are no keys, or no region.
    pub fn open(bucket: &str, prefix: &StorePath, settings: &S3Settings, limits: Limits) -> Result<Self> {
        let runtime = Handle::try_current()
            .map_err(|e| Failure::bug("S3 storage was opened outside of a runtime").because(&e))?;
        let client = runtime.block_on(client(settings, Trust::Machine, &limits))?;
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                runtime,
                bucket: bucket.to_owned(),
                prefix: prefix.clone(),
                limits,
                opened: Timestamp::now(),
                running: Mutex::default(),
            }),
        })
    }
}

impl Shared {
    fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The key of a path.
    fn key(&self, path: &StorePath) -> String {
        match (self.prefix.as_str(), path.as_str()) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}/{path}"),
        }
    }

    /// What the keys below a path begin with.
    fn keys_below(&self, path: &StorePath) -> String {
        let key = self.key(path);
        if key.is_empty() { key } else { key + "/" }
    }

    /// The path of a key; `None` for what is not ours.
    fn path(&self, key: &str) -> Option<StorePath> {
        let below = match self.prefix.as_str() {
            "" => key,
            prefix => key.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        StorePath::new(below)
            .ok()
            .filter(|path| !path.as_str().is_empty())
    }

    fn shown(&self, path: &StorePath) -> String {
        format!("s3://{}/{}", self.bucket, self.key(path))
    }

    fn running(&self) -> MutexGuard<'_, HashSet<String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn list(&self, below: &StorePath) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        let mut each = |object: Listed<'_>| {
            found.extend(self.path(object.key).map(|path| Stored {
                path,
                bytes: object.bytes,
                modified: object.modified,
            }));
            Ok(())
        };
        let prefix = self.keys_below(below);
        list(&self.client, (&self.bucket, &prefix), MOST_PAGES, &mut each).await?;
        Ok(found)
    }

    async fn sweep(&self, below: &StorePath) -> Result<usize> {
        let what = || format!("cannot tidy up {}", self.shown(below));
        let mut left = Vec::new();
        let mut from: (Option<String>, Option<String>) = (None, None);
        for _ in 0..MOST_PAGES {
            let page = self
                .client
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(self.keys_below(below))
                .set_key_marker(from.0.clone())
                .set_upload_id_marker(from.1.clone())
                .send()
                .await
                .map_err(|e| told(&what(), &e))?;
            for upload in page.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else {
                    continue;
                };
                let before = upload
                    .initiated()
                    .and_then(timestamp)
                    .is_none_or(|at| at < self.opened);
                if before && self.path(key).is_some() && !self.running().contains(id) {
                    left.push((key.to_owned(), id.to_owned()));
                }
            }
            let next = (page.next_key_marker(), page.next_upload_id_marker());
            let next = (next.0.map(str::to_owned), next.1.map(str::to_owned));
            if page.is_truncated() != Some(true) || next == from || next.0.is_none() {
                break;
            }
            from = next;
        }
        for (key, id) in &left {
            upload::abort(self, key, id).await.map_err(|e| e.inside(what()))?;
        }
        Ok(left.len())
    }
}

impl Store for S3Store {
    fn name(&self) -> String {
        let name = format!("s3://{}/{}", self.shared.bucket, self.shared.prefix);
        name.trim_end_matches('/').to_owned()
    }

    fn put(&self, path: &StorePath) -> Result<Box<dyn Upload>> {
        Ok(Box::new(S3Upload::new(Arc::clone(&self.shared), path)?))
    }

    fn get(&self, path: &StorePath) -> Result<Option<Box<dyn Read + Send>>> {
        let reader = S3Reader::open(&self.shared, path, None)?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn Read + Send>))
    }

    fn get_part(&self, path: &StorePath, at: u64, len: u64) -> Result<Option<Box<dyn Read + Send>>> {
        let reader = S3Reader::open(&self.shared, path, Some((at, len)))?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn Read + Send>))
    }

    fn list(&self, below: &StorePath) -> Result<Vec<Stored>> {
        self.shared.wait(self.shared.list(below))
    }

    fn remove(&self, path: &StorePath) -> Result<()> {
        let shared = &self.shared;
        let request = shared
            .client
            .delete_object()
            .bucket(&shared.bucket)
            .key(shared.key(path));
        match shared.wait(request.send()) {
            Ok(_) => Ok(()),
            Err(e) if code(&e) == Some("NoSuchKey") => Ok(()),
            Err(e) => Err(told(&format!("cannot remove {}", shared.shown(path)), &e)),
        }
    }

    /// The storage does not know which process an upload belongs to. Taken are those that began before this store was
    /// opened; the caller holds the lock of what lies below the path.
    fn sweep(&self, below: &StorePath) -> Result<usize> {
        self.shared.wait(self.shared.sweep(below))
    }
}
