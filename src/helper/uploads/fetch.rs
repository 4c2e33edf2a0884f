//! Reads objects, whatever happens to connections meanwhile.

use super::store::Store;
use crate::model::{Failure, Result};
use crate::s3::Content;

/// How often in a row a connection may break without so much more having come.
const BREAKS: u32 = 6;
const PROGRESS: u64 = 1 << 20;

/// What was said of an object that was read.
pub(super) struct Fetched {
    pub blake3: blake3::Hash,
    pub bytes: u64,
    pub mtime: Option<jiff::Timestamp>,
    /// The BLAKE3 that was noted when it was written.
    pub noted: Option<String>,
}

/// Reads an object from its beginning to its end; `None` if it is not there.
///
/// # Errors
/// When the storage does not answer, refuses, has another object now; and what `each` says.
pub(super) fn fetch(
    store: &Store<'_>,
    key: &str,
    each: &mut dyn FnMut(&[u8], u64) -> Result<()>,
) -> Result<Option<Fetched>> {
    let Some(first) = store.patiently(|| store.wait(store.bucket.get(key, 0, None)))? else {
        return Ok(None);
    };
    let cannot =
        |why: &str| Failure::environment(format!("cannot read {}", store.bucket.shown(key))).cause(why);
    let bytes = first
        .bytes
        .ok_or_else(|| cannot("the storage does not say how long it is"))?;
    let (version, mtime, noted) = (first.version.clone(), first.mtime, first.blake3.clone());
    let (mut hasher, mut at) = (blake3::Hasher::new(), 0u64);
    let (mut breaks, mut broke_at) = (0, 0);
    let mut content: Option<Content> = Some(first);
    while at < bytes || content.is_some() {
        let Some(open) = &mut content else {
            let again = store.patiently(|| store.wait(store.bucket.get(key, at, version.as_deref())))?;
            content = Some(again.ok_or_else(|| cannot("it was deleted while it was read"))?);
            continue;
        };
        store.cx.go_on().map_err(super::told)?;
        let why = match store.wait(store.bucket.more(open)) {
            Ok(Some(piece)) if at + piece.len() as u64 > bytes => {
                return Err(cannot("more came than the storage said there is"));
            }
            Ok(Some(piece)) => {
                each(&piece, at)?;
                hasher.update(&piece);
                at += piece.len() as u64;
                store
                    .throttle
                    .take(store.cx, piece.len() as u64)
                    .map_err(super::told)?;
                continue;
            }
            Ok(None) if at == bytes => break,
            Ok(None) => "it ended early".to_owned(),
            Err(why) => why,
        };
        content = None;
        if at >= broke_at + PROGRESS {
            breaks = 0;
        }
        breaks += 1;
        broke_at = at;
        if breaks > BREAKS {
            return Err(cannot(&format!(
                "the connection broke {breaks} times in a row: {why}"
            )));
        }
        if at == bytes {
            break;
        }
    }
    Ok(Some(Fetched {
        blake3: hasher.finalize(),
        bytes,
        mtime,
        noted,
    }))
}

/// How long an object is, and the hash of what is in it.
pub(super) fn hash(store: &Store<'_>, key: &str) -> Result<Option<(u64, blake3::Hash)>> {
    let fetched = fetch(store, key, &mut |_, _| Ok(()))?;
    Ok(fetched.map(|fetched| (fetched.bytes, fetched.blake3)))
}
