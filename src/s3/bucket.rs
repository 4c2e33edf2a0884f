//! A bucket of objects that an application shares with us: what is asked of it, one request each.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ObjectCannedAcl, StorageClass};
use aws_sdk_s3::{Client, Config};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::list::timestamp;
use super::tally::Tally;
use super::{Access, Asked, ETag, Limits, Listed, Md5Sum, Proxy, Trust, client, code, list, told};
use crate::http::{self, Brief};
use crate::model::{Failure, Result};

/// More pages of a thousand names than any bucket of uploads has.
const MOST_PAGES: usize = 1_000_000;
/// A body of this size or less has as much time as a request without one.
const SMALL: usize = 1 << 20;
/// How long anybody waits who asks without keys.
const ANYBODY: Duration = Duration::from_secs(30);
/// The date of an object as whoever wrote it had it, in seconds: as rclone writes and reads it.
/// <https://rclone.org/s3/#modification-times-and-hashes>
pub(super) const MTIME: &str = "mtime";
/// The BLAKE3 of its content.
pub(super) const BLAKE3: &str = "rehome-blake3";

/// See the module. Its clones share connections.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) region: Option<String>,
    pub(super) authorities: Vec<u8>,
    proxy: Option<Proxy>,
    limits: Limits,
    tally: Tally,
}

/// What the storage says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headed {
    /// Its length.
    pub bytes: u64,
    /// What is said of its content.
    pub etag: ETag,
    /// The BLAKE3 that was noted when it was written, in hex.
    pub blake3: Option<String>,
    /// The date of the file that it was.
    pub mtime: Option<Timestamp>,
    /// When it was written.
    pub modified: Option<Timestamp>,
}

/// By what a storage sees that a body arrived as it was sent. Each goes over the whole body, so it is one of them and not both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// `Content-MD5`, which is itself signed: the storage refuses what arrives as something else.
    #[default]
    Md5,
    /// The signature is of the body too, by its SHA-256: for a storage that does not know the other.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>
    Signature,
}

/// What an object is written with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// A canned ACL, as `private`.
    #[serde(default)]
    pub acl: Option<String>,
    /// `Cache-Control`.
    #[serde(default)]
    pub cache_control: Option<String>,
    /// A storage class, as `STANDARD_IA`.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// `Content-Type`; by its name if it is not said.
    #[serde(default)]
    pub content_type: Option<String>,
    /// The date of the file.
    #[serde(default)]
    pub mtime: Option<Timestamp>,
    /// The BLAKE3 of the content, in hex.
    #[serde(default)]
    pub blake3: Option<String>,
    /// The checksum of each body.
    #[serde(default)]
    pub checksum: Checksum,
}

/// A part that arrived.
#[derive(Debug, Clone)]
pub struct Part(CompletedPart);

impl Bucket {
    /// Makes a client; nothing is asked yet.
    ///
    /// # Errors
    /// When the access has no keys in it, or its authorities cannot be read.
    pub async fn open(access: &Access, name: &str, limits: Limits) -> Result<Self> {
        let client = client(&access.settings, Trust::Handed(access), &limits).await?;
        let tally = Tally::default();
        let counted = client.config().to_builder().interceptor(tally.clone());
        Ok(Self {
            client: Client::from_conf(counted.build()),
            name: name.to_owned(),
            region: access.settings.region.clone(),
            authorities: access.authorities.clone(),
            proxy: access.proxy.clone(),
            limits,
            tally,
        })
    }

    /// What was asked by it and its clones, each attempt by itself.
    #[must_use]
    pub fn asked(&self) -> Asked {
        self.tally.asked()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For people: `s3://bucket/key`.
    #[must_use]
    pub fn shown(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// Every object below a prefix, a thousand a request. Says how many requests it took.
    ///
    /// # Errors
    /// When the storage does not answer or refuses, and what `each` says.
    pub async fn list(
        &self,
        prefix: &str,
        each: &mut (dyn FnMut(Listed<'_>) -> Result<()> + Send),
    ) -> Result<u64> {
        list(&self.client, (&self.name, prefix), MOST_PAGES, each).await
    }

    /// Whether it answers at all: one short list, below a prefix that these keys may list.
    ///
    /// # Errors
    /// When it does not, or refuses.
    pub async fn answers(&self, prefix: &str) -> Result<()> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
        let asked = request.max_keys(1).send().await;
        asked
            .map(drop)
            .map_err(|e| told(&format!("cannot list {}", self.shown(prefix)), &e))
    }

    /// What is known of an object; `None` if it is not there.
    ///
    /// # Errors
    /// When the storage does not answer or refuses.
    pub async fn head(&self, key: &str) -> Result<Option<Headed>> {
        let answer = match self.client.head_object().bucket(&self.name).key(key).send().await {
            Ok(answer) => answer,
            Err(e) if is_missing(code(&e)) => return Ok(None),
            Err(e) => return Err(told(&format!("cannot look at {}", self.shown(key)), &e)),
        };
        let said = |name: &str| answer.metadata().and_then(|all| all.get(name)).cloned();
        Ok(Some(Headed {
            bytes: answer
                .content_length()
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0),
            etag: ETag::read(answer.e_tag()),
            blake3: said(BLAKE3),
            mtime: said(MTIME).and_then(|text| mtime(&text)),
            modified: answer.last_modified().and_then(timestamp),
        }))
    }

    /// Writes an object in one request; a body in memory is cheap to copy, and is sent again when that is needed.
    ///
    /// # Errors
    /// When the storage does not answer, refuses, or says that something else arrived.
    pub async fn put(&self, key: &str, body: Bytes, sum: &Md5Sum, about: &About) -> Result<ETag> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .set_acl(about.acl())
            .set_storage_class(about.class())
            .set_cache_control(about.cache_control.clone())
            .set_content_type(about.content_type.clone())
            .set_content_md5(about.md5(sum));
        for (name, value) in about.metadata() {
            request = request.metadata(name, value);
        }
        let length = body.len();
        let request = request.body(ByteStream::from(body));
        let mut request = request.customize();
        if length > SMALL {
            request = request.config_override(self.limit(length));
        }
        if about.checksum == Checksum::Md5 {
            request = request.disable_payload_signing();
        }
        let put = request
            .send()
            .await
            .map_err(|e| told(&self.cannot_write(key), &e))?;
        Ok(ETag::read(put.e_tag()))
    }

    /// Begins an object in parts. Says what it is called.
    ///
    /// # Errors
    /// When the storage does not answer or refuses.
    pub async fn begin(&self, key: &str, about: &About) -> Result<String> {
        let mut request = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .set_acl(about.acl())
            .set_storage_class(about.class())
            .set_cache_control(about.cache_control.clone())
            .set_content_type(about.content_type.clone());
        for (name, value) in about.metadata() {
            request = request.metadata(name, value);
        }
        let begun = request
            .send()
            .await
            .map_err(|e| told(&self.cannot_write(key), &e))?;
        begun.upload_id().map(str::to_owned).ok_or_else(|| {
            Failure::environment(self.cannot_write(key)).cause("the storage began it without a name for it")
        })
    }

    /// Sends a part; they are counted from 1.
    ///
    /// # Errors
    /// When the storage does not answer, refuses, or says that something else arrived.
    pub async fn put_part(
        &self,
        (key, upload): (&str, &str),
        number: u32,
        body: Bytes,
        sum: &Md5Sum,
        about: &About,
    ) -> Result<Part> {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let limit = self.limit(body.len());
        let mut request = self
            .client
            .upload_part()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload)
            .part_number(number)
            .set_content_md5(about.md5(sum))
            .body(ByteStream::from(body))
            .customize()
            .config_override(limit);
        if about.checksum == Checksum::Md5 {
            request = request.disable_payload_signing();
        }
        let sent = request
            .send()
            .await
            .map_err(|e| told(&format!("cannot write part {number} of {}", self.shown(key)), &e))?;
        let etag = sent.e_tag().map(str::to_owned);
        if let ETag::Whole(arrived) = ETag::read(etag.as_deref())
            && arrived != *sum
        {
            return Err(self.another(key));
        }
        Ok(Part(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(etag)
                .build(),
        ))
    }

    /// Puts the parts together. What the answer says of the content is worth little: some say nothing.
    ///
    /// # Errors
    /// When the storage does not answer or refuses. An answer may be lost although the object is there.
    pub async fn complete(&self, (key, upload): (&str, &str), parts: Vec<Part>) -> Result<()> {
        let parts = parts.into_iter().map(|Part(part)| part).collect();
        let all = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload)
            .multipart_upload(all)
            .customize()
            // Some put all the parts together before they answer.
            .config_override(self.limit(self.limits.part * 3));
        request
            .send()
            .await
            .map(drop)
            .map_err(|e| told(&self.cannot_write(key), &e))
    }

    /// Takes back an object that was begun in parts; one that is not there is fine.
    ///
    /// # Errors
    /// When the storage does not answer or refuses.
    pub async fn abort(&self, (key, upload): (&str, &str)) -> Result<()> {
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e) if is_missing(code(&e)) => Ok(()),
            Err(e) => Err(told(
                &format!("cannot take back the upload of {}", self.shown(key)),
                &e,
            )),
        }
    }

    /// Reads an object from a byte on, in pieces; `None` if it is not there. With what is known of it, so that the rest can
    /// be asked for when the connection breaks.
    ///
    /// # Errors
    /// When the storage does not answer or refuses.
    pub async fn get(&self, key: &str, from: u64, same: Option<&str>) -> Result<Option<Content>> {
        let request = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .set_range((from > 0).then(|| format!("bytes={from}-")))
            .set_if_match(same.map(str::to_owned));
        let cannot = || format!("cannot read {}", self.shown(key));
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(e) if is_missing(code(&e)) => return Ok(None),
            Err(e) if code(&e) == Some("PreconditionFailed") => {
                return Err(Failure::environment(cannot()).cause("it was replaced while it was read"));
            }
            Err(e) => return Err(told(&cannot(), &e)),
        };
        let begins = answer
            .content_range()
            .is_some_and(|range| range.starts_with(&format!("bytes {from}-")));
        if from > 0 && !begins {
            return Err(
                Failure::environment(cannot()).cause("the storage cannot go on where a connection broke")
            );
        }
        let said = |name: &str| answer.metadata().and_then(|all| all.get(name)).cloned();
        Ok(Some(Content {
            bytes: answer.content_length().and_then(|n| u64::try_from(n).ok()),
            version: answer.e_tag().map(str::to_owned),
            blake3: said(BLAKE3),
            mtime: said(MTIME).and_then(|text| mtime(&text)),
            modified: answer.last_modified().and_then(timestamp),
            body: answer.body,
        }))
    }

    /// The next piece of an object that is read; `None` at its end.
    ///
    /// # Errors
    /// Why nothing more came, in words.
    pub async fn more(&self, content: &mut Content) -> Result<Option<Bytes>, String> {
        match tokio::time::timeout(self.limits.answer, content.body.next()).await {
            Ok(piece) => piece.transpose().map_err(|e| e.to_string()),
            Err(_) => Err("nothing came for too long".to_owned()),
        }
    }

    /// Deletes an object; one that is not there is fine.
    ///
    /// # Errors
    /// When the storage does not answer or refuses.
    pub async fn delete(&self, key: &str) -> Result<()> {
        match self
            .client
            .delete_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(e) if is_missing(code(&e)) => Ok(()),
            Err(e) => Err(told(&format!("cannot delete {}", self.shown(key)), &e)),
        }
    }

    /// An address that whoever has it may read the object at, for a while.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub async fn signed(&self, key: &str, within: Duration) -> Result<String> {
        let cannot = || Failure::environment(format!("cannot sign an address of {}", self.shown(key)));
        let config = PresigningConfig::expires_in(within).map_err(|e| cannot().because(&e))?;
        let request = self.client.get_object().bucket(&self.name).key(key);
        let signed = request
            .presigned(config)
            .await
            .map_err(|e| told(&cannot().what, &e))?;
        Ok(signed.uri().to_owned())
    }

    /// The address of an object without a signature.
    ///
    /// # Errors
    /// When there is none.
    pub async fn unsigned(&self, key: &str) -> Result<String> {
        // How an address is made of a bucket and a key, the client alone knows.
        let mut address = self.signed(key, ANYBODY).await?;
        address.truncate(address.find('?').unwrap_or(address.len()));
        Ok(address)
    }

    /// What anybody gets there without keys, or with an address that is signed.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn asked_by_anybody(&self, address: &str) -> Result<Brief, String> {
        let (address, authorities) = (address.to_owned(), self.authorities.clone());
        let proxy = self.proxy.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let through = proxy.as_ref().map(Proxy::reveal);
            http::brief(&address, (&authorities, through), ANYBODY)
        });
        asked.await.map_err(|e| e.to_string())?
    }

    /// What is said of an object that another content arrived of.
    #[must_use]
    pub fn another(&self, key: &str) -> Failure {
        Failure::environment(self.cannot_write(key))
            .cause("what arrived was not what was sent")
            .hint("something on the way changes data; run again, and look for a proxy or bad memory")
    }

    fn cannot_write(&self, key: &str) -> String {
        format!("cannot write {}", self.shown(key))
    }

    fn limit(&self, bytes: usize) -> aws_sdk_s3::config::Builder {
        Config::builder().timeout_config(self.limits.of(bytes))
    }
}

/// An object that is read.
#[derive(Debug)]
pub struct Content {
    /// What is left of it from where reading begins, if that is said.
    pub bytes: Option<u64>,
    /// Which version of the object it is.
    pub version: Option<String>,
    /// The BLAKE3 that was noted when it was written, in hex.
    pub blake3: Option<String>,
    /// The date of the file that it was.
    pub mtime: Option<Timestamp>,
    /// When it was written.
    pub modified: Option<Timestamp>,
    /// What is in it.
    pub body: ByteStream,
}

impl About {
    fn acl(&self) -> Option<ObjectCannedAcl> {
        self.acl.as_deref().map(ObjectCannedAcl::from)
    }

    fn class(&self) -> Option<StorageClass> {
        self.storage_class.as_deref().map(StorageClass::from)
    }

    fn md5(&self, sum: &Md5Sum) -> Option<String> {
        (self.checksum == Checksum::Md5).then(|| BASE64_STANDARD.encode(sum))
    }

    fn metadata(&self) -> impl Iterator<Item = (&'static str, String)> {
        let mtime = self.mtime.map(|at| (MTIME, seconds(at)));
        let blake3 = self.blake3.clone().map(|hash| (BLAKE3, hash));
        mtime.into_iter().chain(blake3)
    }
}

/// As rclone writes it: seconds, a point, and nanoseconds.
fn seconds(at: Timestamp) -> String {
    let nanos = at.as_nanosecond();
    let (whole, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    match rest {
        0 => whole.to_string(),
        _ => format!("{whole}.{rest:09}"),
    }
}

fn mtime(text: &str) -> Option<Timestamp> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = rest.get(..rest.len().min(9))?;
    let nanos: i128 = format!("{digits:0<9}").parse().ok()?;
    let whole: i128 = whole.parse().ok()?;
    Timestamp::from_nanosecond(whole.checked_mul(1_000_000_000)?.checked_add(nanos)?).ok()
}

pub(super) fn is_missing(code: Option<&str>) -> bool {
    matches!(code, Some("NoSuchKey" | "NotFound" | "NoSuchUpload"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_rclone() {
        for text in ["1700000000", "1700000000.123456789", "-1.500000000"] {
            let at = mtime(text).unwrap();
            assert_eq!(mtime(&seconds(at)), Some(at), "{text}");
        }
        assert_eq!(
            seconds(Timestamp::from_second(1_700_000_000).unwrap()),
            "1700000000"
        );
        assert_eq!(
            mtime("1700000000.5").unwrap().as_nanosecond(),
            1_700_000_000_500_000_000
        );
        assert_eq!(mtime("soon"), None);
    }
}
