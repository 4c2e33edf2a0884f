//! An object that is written as the application will write, looked at from all sides, and deleted: what a storage does with
//! it is worth more than what its settings say.

use std::time::Duration;

use bytes::Bytes;

use super::{About, Bucket, Checksum, md5, unique_name};
use crate::model::{Failure, Result};

/// How long its address is signed for.
const SIGNED: Duration = Duration::from_secs(300);

/// Goes through it; says what was seen, a line each.
///
/// # Errors
/// At the first thing that is not as it must be. The object is deleted also then, if that is possible.
pub async fn canary(bucket: &Bucket, prefix: &str, about: &About) -> Result<Vec<String>> {
    let key = format!("{prefix}.rehome-canary-{}", unique_name()?);
    let body = Bytes::from(format!("rehome looks whether {key} arrives as it was sent\n"));
    let (checksum, mut said) = wrote(bucket, (&key, &body), about).await?;
    let seen = seen(bucket, (&key, &body), about).await;
    let deleted = bucket.delete(&key).await;
    said.extend(seen?);
    deleted?;
    if bucket.head(&key).await?.is_some() {
        return Err(Failure::refused(format!(
            "{} is still there after it was deleted",
            bucket.shown(&key)
        )));
    }
    said.push("deleted, and gone".to_owned());
    if checksum == Checksum::Signature {
        said.push("the storage does not take Content-MD5: what arrives is compared afterwards".to_owned());
    }
    Ok(said)
}

/// With `Content-MD5`; with the body signed where that is refused.
async fn wrote(
    bucket: &Bucket,
    (key, body): (&str, &Bytes),
    about: &About,
) -> Result<(Checksum, Vec<String>)> {
    let mut first = None;
    for checksum in [Checksum::Md5, Checksum::Signature] {
        let about = About {
            checksum,
            ..about.clone()
        };
        match bucket.put(key, body.clone(), &md5(body), &about).await {
            Ok(_) => {
                let acl = about.acl.map_or_else(
                    || "without an ACL".to_owned(),
                    |acl| format!("with the ACL {acl}"),
                );
                return Ok((checksum, vec![format!("written, {acl}")]));
            }
            Err(failure) => {
                first.get_or_insert(failure);
            }
        }
    }
    Err(first.unwrap_or_else(|| Failure::bug("no checksum was tried")))
}

async fn seen(bucket: &Bucket, (key, body): (&str, &Bytes), about: &About) -> Result<Vec<String>> {
    let wrong = |what: &str| Failure::refused(format!("{} {what}", bucket.shown(key)));
    let mut said = Vec::new();
    let head = bucket
        .head(key)
        .await?
        .ok_or_else(|| wrong("is not there after it was written"))?;
    if head.bytes != body.len() as u64 {
        return Err(wrong(&format!(
            "has {} bytes, and was written with {}",
            head.bytes,
            body.len()
        )));
    }
    let mut content = bucket
        .get(key, 0, None)
        .await?
        .ok_or_else(|| wrong("cannot be read after it was written"))?;
    let mut read = Vec::new();
    while let Some(piece) = bucket
        .more(&mut content)
        .await
        .map_err(|why| wrong("cannot be read").cause(why))?
    {
        read.extend_from_slice(&piece);
        if read.len() > body.len() {
            break;
        }
    }
    if read != body.as_ref() {
        return Err(wrong("has another content than it was written with")
            .hint("the storage keeps what surrounds a body as a part of it; a newer version of it may not"));
    }
    said.push("read back, the same to the byte".to_owned());
    let mut listed = false;
    bucket
        .list(key, &mut |object| {
            listed |= object.key == key;
            Ok(())
        })
        .await?;
    if !listed {
        return Err(wrong("is in no list after it was written"));
    }
    said.push("listed".to_owned());
    let signed = bucket.signed(key, SIGNED).await?;
    let status = |answer: Result<crate::http::Brief, String>, who: &str| {
        answer.map(|brief| brief.status).map_err(|why| {
            Failure::environment(format!(
                "the address of {} cannot be asked {who}",
                bucket.shown(key)
            ))
            .cause(why)
        })
    };
    match status(bucket.asked_by_anybody(&signed).await, "with a signature")? {
        200 => said.push("a signed address answers 200".to_owned()),
        other => return Err(wrong(&format!("answers {other} at a signed address"))),
    }
    let plain = bucket.unsigned(key).await?;
    let public = about
        .acl
        .as_deref()
        .is_some_and(|acl| acl.starts_with("public-read"));
    match (
        status(bucket.asked_by_anybody(&plain).await, "without a signature")?,
        public,
    ) {
        (200, true) => said.push("anybody may read it, as its ACL says".to_owned()),
        (200, false) => {
            return Err(wrong("can be read by anybody, without a signature")
                .hint("the bucket has a policy that opens it: rehome s3 check says more"));
        }
        (code, true) => said.push(format!(
            "its ACL does not open it: without a signature it answers {code}"
        )),
        (code @ (401 | 403), false) => said.push(format!("without a signature it answers {code}")),
        (code, false) => {
            return Err(wrong(&format!(
                "answers {code} without a signature, and should answer 403"
            )));
        }
    }
    Ok(said)
}
