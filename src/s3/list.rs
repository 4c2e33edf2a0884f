//! Lists of objects.

use aws_sdk_s3::Client;
use jiff::Timestamp;

use super::{ETag, told};
use crate::model::{Failure, Result};

/// An object in a list.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its length.
    pub bytes: u64,
    /// What is said of its content.
    pub etag: ETag,
    /// When it was written, by the storage's clock.
    pub modified: Option<Timestamp>,
}

/// Every object of a bucket below a prefix, a thousand a request. Says how many requests it took.
///
/// # Errors
/// When the storage does not answer or refuses, when the list has more pages than that, and what `each` says.
pub async fn list(
    client: &Client,
    (bucket, prefix): (&str, &str),
    most_pages: usize,
    each: &mut (dyn FnMut(Listed<'_>) -> Result<()> + Send),
) -> Result<u64> {
    let what = || format!("cannot list s3://{bucket}/{prefix}");
    let mut from: Option<String> = None;
    for page in 1..=most_pages {
        let answer = client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .set_continuation_token(from.clone())
            .send()
            .await
            .map_err(|e| told(&what(), &e))?;
        for object in answer.contents() {
            let Some(key) = object.key() else { continue };
            each(Listed {
                key,
                bytes: object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                etag: ETag::read(object.e_tag()),
                modified: object.last_modified().and_then(timestamp),
            })?;
        }
        match (answer.is_truncated(), answer.next_continuation_token()) {
            (Some(true), Some(next)) if from.as_deref() != Some(next) => from = Some(next.to_owned()),
            (Some(true), _) => {
                let why = "the storage does not say how its list goes on";
                return Err(Failure::environment(what()).cause(why));
            }
            _ => return Ok(page as u64),
        }
    }
    Err(Failure::environment(what()).cause(format!("the list has more than {most_pages} pages")))
}

/// A date of the storage.
pub fn timestamp(at: &aws_sdk_s3::primitives::DateTime) -> Option<Timestamp> {
    Timestamp::from_second(at.secs()).ok()
}
