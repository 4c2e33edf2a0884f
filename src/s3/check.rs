//! What works with these keys and what does not, one thing after the other; and who else can read.

use std::time::{Duration, Instant};

use aws_sdk_s3::types::Grant;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{About, Bucket, code, md5, told, unique_name};
use crate::model::{ByteSize, Failure, Result};

/// What is sent and read to measure the line.
const TRIAL_BYTES: usize = 8 << 20;
/// The smallest part that a storage takes.
const PART_BYTES: usize = 5 << 20;
/// How often is asked to see how fast it answers.
const ASKED: usize = 5;
/// So many objects are asked for without keys.
const SAMPLED: usize = 20;
/// A clock that is off by more than this is refused by every storage.
const SKEW: i64 = 15 * 60;
/// By more than this it is worth a word.
const SKEW_NOTED: i64 = 60;
/// Whoever anybody is.
const ANYBODY: [&str; 2] = [
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
];

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// What.
    pub name: String,
    /// What was found.
    pub finding: Finding,
    /// In words.
    pub said: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It is as it should be.
    Good,
    /// It could be better, or could not be looked at.
    Warning,
    /// It does not work, or is open to anybody.
    Error,
}

/// Looks at all of it. Everything that it writes is deleted again.
///
/// # Errors
/// When not even the beginning could be made; everything else is in the list.
pub async fn check(bucket: &Bucket, prefix: &str, about: &About, cors: &[String]) -> Result<Vec<Examined>> {
    let mut found = Found(Vec::new());
    if !found.connection(bucket, prefix).await? {
        return Ok(found.0);
    }
    let key = format!("{prefix}.rehome-check-{}", unique_name()?);
    let wrote = found.rights(bucket, &key, about).await;
    if wrote {
        found.line(bucket, &key, about).await;
        found.right("delete objects (s3:DeleteObject)", bucket.delete(&key).await);
        let gone = bucket.head(&key).await;
        if let Ok(Some(_)) = gone {
            found.add(
                "delete objects (s3:DeleteObject)",
                Finding::Error,
                "it is still there afterwards",
            );
        }
    }
    found.cors(bucket, cors).await;
    found.exposure(bucket, prefix, about).await;
    Ok(found.0)
}

struct Found(Vec<Examined>);

impl Found {
    fn add(&mut self, name: &str, finding: Finding, said: impl Into<String>) {
        self.0.push(Examined {
            name: name.to_owned(),
            finding,
            said: said.into(),
            hints: Vec::new(),
        });
    }

    fn failed(&mut self, name: &str, finding: Finding, failure: Failure) {
        let said = failure.causes.first().cloned().unwrap_or(failure.what);
        self.0.push(Examined {
            name: name.to_owned(),
            finding,
            said,
            hints: failure.hints,
        });
    }

    fn right<T>(&mut self, name: &str, done: Result<T>) -> Option<T> {
        match done {
            Ok(value) => {
                self.add(name, Finding::Good, "allowed");
                Some(value)
            }
            Err(failure) => {
                self.failed(name, Finding::Error, failure);
                None
            }
        }
    }

    /// Whether it answers these keys; how fast, and what time it has.
    async fn connection(&mut self, bucket: &Bucket, prefix: &str) -> Result<bool> {
        const NAME: &str = "connection and keys";
        let mut times = Vec::new();
        for _ in 0..ASKED {
            let began = Instant::now();
            if let Err(failure) = bucket.answers(prefix).await {
                self.failed(NAME, Finding::Error, failure);
                self.clock(bucket).await?;
                return Ok(false);
            }
            times.push(began.elapsed());
        }
        times.sort_unstable();
        let median = times.get(ASKED / 2).copied().unwrap_or_default();
        self.add(
            NAME,
            Finding::Good,
            format!(
                "a list is answered within {} ms (median of {ASKED})",
                median.as_millis()
            ),
        );
        self.clock(bucket).await?;
        Ok(true)
    }

    async fn clock(&mut self, bucket: &Bucket) -> Result<()> {
        let Ok(address) = bucket.unsigned("x").await else {
            return Ok(());
        };
        let Ok(brief) = bucket.asked_by_anybody(&address).await else {
            return Ok(());
        };
        let Some(there) = brief.date else { return Ok(()) };
        let off = Timestamp::now().duration_since(there).as_secs();
        let said = format!(
            "this machine is {} s {} the storage",
            off.abs(),
            if off < 0 { "behind" } else { "before" }
        );
        let (finding, said) = match off.abs() {
            ..=SKEW_NOTED => (
                Finding::Good,
                "the same as the storage's, within a minute".to_owned(),
            ),
            off if off <= SKEW => (Finding::Warning, said),
            _ => (Finding::Error, said),
        };
        self.add("clock", finding, said);
        if let Some(last) = self.0.last_mut()
            && last.finding != Finding::Good
        {
            last.hints
                .push("set the clock: timedatectl set-ntp true".to_owned());
        }
        Ok(())
    }

    /// Whether an object could be written.
    async fn rights(&mut self, bucket: &Bucket, key: &str, about: &About) -> bool {
        self.add("list objects (s3:ListBucket)", Finding::Good, "allowed");
        let body = Bytes::from_static(b"rehome looks what these keys may do\n");
        let plain = About {
            acl: None,
            ..about.clone()
        };
        let put = bucket.put(key, body.clone(), &md5(&body), &plain).await;
        let Some(_) = self.right("write objects (s3:PutObject)", put) else {
            return false;
        };
        if about.acl.is_some() {
            let put = bucket.put(key, body.clone(), &md5(&body), about).await;
            self.right("write objects with their ACL (s3:PutObjectAcl)", put);
        }
        let read = bucket.get(key, 0, None).await.and_then(|content| {
            content.ok_or_else(|| Failure::environment("cannot read").cause("what was written is not there"))
        });
        self.right("read objects (s3:GetObject)", read.map(drop));
        let part = Bytes::from(vec![0; PART_BYTES]);
        let sum = md5(&part);
        let parts = async {
            let upload = bucket.begin(key, &plain).await?;
            let sent = bucket.put_part((key, &upload), 1, part, &sum, &plain).await;
            let aborted = bucket.abort((key, &upload)).await;
            sent.and(aborted)
        };
        self.right(
            "large objects in parts, and taking them back (s3:AbortMultipartUpload)",
            parts.await,
        );
        true
    }

    /// How much the line carries.
    async fn line(&mut self, bucket: &Bucket, key: &str, about: &About) {
        const NAME: &str = "what the line carries";
        // Nothing that could be made smaller on the way.
        let mut body = vec![0; TRIAL_BYTES];
        blake3::Hasher::new()
            .update(key.as_bytes())
            .finalize_xof()
            .fill(&mut body);
        let body = Bytes::from(body);
        let began = Instant::now();
        if let Err(failure) = bucket.put(key, body.clone(), &md5(&body), about).await {
            return self.failed(NAME, Finding::Warning, failure);
        }
        let up = began.elapsed();
        let began = Instant::now();
        let read = async {
            let mut content = bucket
                .get(key, 0, None)
                .await?
                .ok_or_else(|| Failure::environment("it is gone"))?;
            let mut bytes = 0;
            while let Some(piece) = bucket.more(&mut content).await.map_err(Failure::environment)? {
                bytes += piece.len();
            }
            Ok::<_, Failure>(bytes)
        };
        match read.await {
            Ok(TRIAL_BYTES) => {}
            Ok(other) => {
                return self.add(
                    NAME,
                    Finding::Error,
                    format!("{other} bytes came of {TRIAL_BYTES}"),
                );
            }
            Err(failure) => return self.failed(NAME, Finding::Warning, failure),
        }
        let rate = |took: Duration| ByteSize((TRIAL_BYTES as f64 / took.as_secs_f64().max(0.001)) as u64);
        let said = format!(
            "{}/s up, {}/s down, one object of {}",
            rate(up),
            rate(began.elapsed()),
            ByteSize(TRIAL_BYTES as u64)
        );
        self.add(NAME, Finding::Good, said);
    }

    async fn cors(&mut self, bucket: &Bucket, wanted: &[String]) {
        const NAME: &str = "pages of other origins (CORS)";
        let found = bucket.client.get_bucket_cors().bucket(&bucket.name).send().await;
        let origins: Vec<String> = match &found {
            Ok(found) => found
                .cors_rules()
                .iter()
                .flat_map(|rule| rule.allowed_origins().to_vec())
                .collect(),
            Err(e) if code(e).is_some_and(|code| code.starts_with("NoSuchCORS")) => Vec::new(),
            Err(e) if wanted.is_empty() => {
                tracing::debug!("CORS cannot be looked at: {:?}", code(e));
                return;
            }
            Err(e) => return self.failed(NAME, Finding::Warning, told("cannot see the CORS rules", e)),
        };
        let missing: Vec<&String> = wanted.iter().filter(|one| !origins.contains(one)).collect();
        match (missing.as_slice(), origins.iter().any(|one| one == "*")) {
            ([], true) => self.add(
                NAME,
                Finding::Warning,
                "any page may load by script what a signed address opens",
            ),
            ([], false) if origins.is_empty() => self.add(NAME, Finding::Good, "none"),
            ([], false) => self.add(NAME, Finding::Good, origins.join(", ")),
            (missing, _) => {
                let names: Vec<&str> = missing.iter().map(|one| one.as_str()).collect();
                self.add(NAME, Finding::Error, format!("no rule for {}", names.join(", ")));
                if let Some(last) = self.0.last_mut() {
                    last.hints.push("rehome s3 setup".to_owned());
                }
            }
        }
    }

    /// What anybody can list or read.
    async fn exposure(&mut self, bucket: &Bucket, prefix: &str, about: &About) {
        let public = about.acl.as_deref().is_some_and(|acl| acl.starts_with("public-"));
        let Ok(address) = bucket.unsigned("x").await else {
            return;
        };
        let list = address.trim_end_matches('x');
        match bucket.asked_by_anybody(list).await {
            Ok(brief) if brief.status == 200 => self.open("who can list the bucket", "anybody, without keys"),
            Ok(brief) => self.add(
                "who can list the bucket",
                Finding::Good,
                format!("nobody without keys (it answers {})", brief.status),
            ),
            Err(why) => self.add("who can list the bucket", Finding::Warning, why),
        }
        if let Ok(acl) = bucket.client.get_bucket_acl().bucket(&bucket.name).send().await
            && acl.grants().iter().any(is_for_anybody)
        {
            self.open("the bucket's ACL", "it is open to anybody");
        }
        if let Ok(status) = bucket
            .client
            .get_bucket_policy_status()
            .bucket(&bucket.name)
            .send()
            .await
            && status.policy_status().and_then(|status| status.is_public()) == Some(true)
        {
            self.open("the bucket's policy", "it opens the bucket to anybody");
        }
        let mut keys = Vec::new();
        // An error ends the list early: a sample is all that is wanted.
        let listed = bucket
            .client
            .list_objects_v2()
            .bucket(&bucket.name)
            .prefix(prefix)
            .max_keys(SAMPLED as i32)
            .send()
            .await;
        match listed {
            Ok(listed) => keys.extend(
                listed
                    .contents()
                    .iter()
                    .filter_map(|object| object.key().map(str::to_owned)),
            ),
            Err(e) => {
                return self.failed(
                    "who can read objects",
                    Finding::Warning,
                    told("cannot list the bucket", &e),
                );
            }
        }
        let mut open = Vec::new();
        for key in &keys {
            let Ok(address) = bucket.unsigned(key).await else {
                continue;
            };
            if bucket
                .asked_by_anybody(&address)
                .await
                .is_ok_and(|brief| brief.status == 200)
            {
                open.push(key.as_str());
            }
        }
        match (open.as_slice(), public) {
            ([], _) => self.add(
                "who can read objects",
                Finding::Good,
                format!("nobody without keys ({} of them asked)", keys.len()),
            ),
            (open, true) => self.add(
                "who can read objects",
                Finding::Good,
                format!(
                    "anybody, as `s3.acl` says ({} of {} asked)",
                    open.len(),
                    keys.len()
                ),
            ),
            (open, false) => {
                let shown: Vec<&str> = open.iter().take(3).copied().collect();
                self.open(
                    "who can read objects",
                    &format!(
                        "anybody, without keys: {} of {}, as {}",
                        open.len(),
                        keys.len(),
                        shown.join(", ")
                    ),
                );
            }
        }
    }

    fn open(&mut self, name: &str, said: &str) {
        self.add(name, Finding::Error, said);
        if let Some(last) = self.0.last_mut() {
            last.hints
                .push("block public access: rehome s3 setup, or the settings of the provider".to_owned());
        }
    }
}

fn is_for_anybody(grant: &Grant) -> bool {
    let uri = grant.grantee().and_then(|grantee| grantee.uri());
    uri.is_some_and(|uri| ANYBODY.contains(&uri))
}
