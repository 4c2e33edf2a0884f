//! S3-compatible storage: how it is found, and asked. What providers differ in, and what is done about it:
//!
//! - Bodies are sent from memory with a `Content-MD5`, the one checksum that nearly all of them check; the checksums that
//!   the client would add as a trailer are refused by some, and stored as data by others.
//! - What was written is compared with what the storage says of it: some answer with an empty ETag, and an answer may be
//!   lost although the file arrived.
//! - `If-None-Match` locks nothing on some; nothing here relies on it.
//!
//! Nothing here knows of files, containers or backups.

mod access;
mod bucket;
mod canary;
mod check;
mod connect;
mod etag;
mod keys;
mod list;
mod proxy;
mod settings;
mod setup;
mod tally;
mod words;

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;

use crate::model::{Failure, Result};

pub use access::Access;
pub use bucket::{About, Bucket, Checksum, Content, Headed, Part};
pub use canary::canary;
pub use check::{Examined, Finding, check};
pub use connect::{Trust, client};
pub use etag::{ETag, Md5Sum, md5};
pub use keys::{key_of, path_of};
pub use list::{Listed, list, timestamp};
pub use proxy::Proxy;
pub use settings::{S3Keys, S3Settings};
pub use setup::{Done, Setting, SetupReport, SetupWanted, setup};
pub use tally::Asked;
pub use words::{code, told};

/// A name that nothing else has.
///
/// # Errors
/// When the system gives no chance.
pub fn unique_name() -> Result<String> {
    let mut random = [0; 16];
    // Up to 256 bytes come whole or not at all: getrandom(2).
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Failure::environment("the system gave no chance").because(&errno))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

/// How long is waited, and how often is asked again.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For an answer, and for more of one that has begun.
    pub answer: Duration,
    /// What a line must carry at least, in bytes a second: a large part has more time.
    pub slowest: u64,
    /// How often a request is sent before it has failed.
    pub attempts: u32,
    /// The first parts of an upload, in bytes; shorter files go in one request. At least 5 MiB, or no storage takes it.
    pub part: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            slowest: 64 << 10,
            attempts: 5,
            part: 32 << 20,
        }
    }
}

impl Limits {
    /// The limits of a request that carries so many bytes.
    #[must_use]
    pub fn of(&self, bytes: usize) -> TimeoutConfig {
        let carried = Duration::from_secs(bytes as u64 / self.slowest.max(1));
        TimeoutConfig::builder()
            .connect_timeout(self.connect)
            .operation_attempt_timeout(self.answer + carried)
            .build()
    }
}
