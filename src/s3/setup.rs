//! A bucket and its settings. Each is asked for first, set where it is another, and read back: some storages do not know one,
//! some take it and forget it, and some refuse every upload once they have it. What the canary does not survive is taken back.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_bucket_cors::GetBucketCorsOutput;
use aws_sdk_s3::operation::get_bucket_encryption::GetBucketEncryptionOutput;
use aws_sdk_s3::operation::get_bucket_lifecycle_configuration::GetBucketLifecycleConfigurationOutput;
use aws_sdk_s3::operation::get_bucket_versioning::GetBucketVersioningOutput;
use aws_sdk_s3::operation::get_public_access_block::GetPublicAccessBlockOutput;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    BucketVersioningStatus, CorsConfiguration, CorsRule, CreateBucketConfiguration, ExpirationStatus,
    LifecycleRule, LifecycleRuleFilter, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    VersioningConfiguration,
};
use serde::{Deserialize, Serialize};

use super::bucket::is_missing;
use super::{About, Bucket, canary, code, told};
use crate::model::{Failure, Kind, Result};

/// Uploads that were not completed after so many days are taken back.
const ABORT_DAYS: i32 = 7;
/// What our rules are called.
const RULE: &str = "rehome-incomplete-uploads";
const CORS_RULE: &str = "rehome";
/// How long a browser may remember a CORS answer, in seconds.
const CORS_AGE: i32 = 3600;

/// What is wanted of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupWanted {
    /// Whether overwritten and deleted objects are kept.
    pub versioning: bool,
    /// Whether objects are encrypted with the storage's own keys where they rest.
    pub encryption: bool,
    /// Whose pages may load from it by script.
    pub cors: Vec<String>,
    /// What objects will be written with.
    pub about: About,
    /// Say what would be done.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupReport {
    /// Each setting, in the order in which it was looked at.
    pub settings: Vec<Setting>,
    /// What the canary saw; nothing in a dry run.
    pub canary: Vec<String>,
}

/// A setting of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Which, in words.
    pub name: String,
    /// What was done.
    pub done: Done,
    /// Why, where that is worth a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What was done about a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It was so already.
    Already,
    /// It is so now, as reading it back shows; in a dry run it would be.
    Set,
    /// This storage does not have it.
    Unsupported,
    /// The storage took it, and does not have it afterwards.
    Forgotten,
    /// The keys may not look at it or change it.
    Denied,
    /// It was set, kept uploads from arriving, and was taken back.
    TakenBack,
}

/// Makes the bucket if it is not there, sees to its settings, and sends a canary. Idempotent.
///
/// # Errors
/// When the storage does not answer, the bucket is somebody else's, or the canary does not come back.
pub async fn setup(bucket: &Bucket, prefix: &str, wanted: &SetupWanted) -> Result<SetupReport> {
    let one = Setup { bucket, wanted };
    let mut report = SetupReport::default();
    let made = one.exists_or_make(prefix).await?;
    let would_be_made = wanted.dry_run && made.done == Done::Set;
    report.settings.push(made);
    if would_be_made {
        // Of a bucket that is not there nothing else can be said.
        return Ok(report);
    }
    report.settings.push(one.block_public_access().await?);
    if wanted.versioning {
        report.settings.push(one.versioning().await?);
    }
    if wanted.encryption {
        report.settings.push(one.encryption().await?);
    }
    report.settings.push(one.lifecycle().await?);
    if !wanted.cors.is_empty() {
        report.settings.push(one.cors().await?);
    }
    if !wanted.dry_run {
        report.canary = one.survived(prefix, &mut report.settings).await?;
    }
    Ok(report)
}

const PUBLIC: &str = "public access is blocked";
const ENCRYPTED: &str = "objects are encrypted where they rest";

struct Setup<'a> {
    bucket: &'a Bucket,
    wanted: &'a SetupWanted,
}

/// What an answer means for a setting.
enum Said<T> {
    Is(T),
    /// There is no such setting on the bucket yet.
    Nothing,
    /// An answer that says yes and cannot be understood.
    Unclear,
    Cannot(Done, String),
}

fn setting(name: &str, done: Done, why: Option<String>) -> Setting {
    Setting {
        name: name.to_owned(),
        done,
        why,
    }
}

/// Sorts an answer: what the storage does not have and what the keys may not are answers too; that it does not answer is none.
fn sorted<T, E>(what: &str, answer: Result<T, SdkError<E, HttpResponse>>) -> Result<Said<T>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let error = match answer {
        Ok(value) => return Ok(Said::Is(value)),
        Err(error) => error,
    };
    let status = error.raw_response().map(|response| response.status().as_u16());
    if status.is_some_and(|status| (200..300).contains(&status)) {
        return Ok(Said::Unclear);
    }
    let code = code(&error).unwrap_or_default().to_owned();
    if code.starts_with("NoSuch") && code.ends_with("Configuration")
        || code == "ServerSideEncryptionConfigurationNotFoundError"
        || (is_missing(Some(&code)) && code != "NoSuchBucket")
    {
        return Ok(Said::Nothing);
    }
    let failure = told(what, &error);
    let why = failure.causes.last().cloned().unwrap_or_default();
    match (status, code.as_str()) {
        (Some(501 | 405), _)
        | (_, "NotImplemented" | "XNotImplemented" | "MethodNotAllowed" | "UnsupportedOperation") => {
            Ok(Said::Cannot(Done::Unsupported, why))
        }
        (Some(401 | 403), _) => Ok(Said::Cannot(Done::Denied, why)),
        // It was understood, and is not wanted in this form: some know only a part of it.
        (Some(400), "InvalidArgument" | "InvalidRequest" | "MalformedXML" | "InvalidXML" | "BadRequest") => {
            Ok(Said::Cannot(Done::Unsupported, why))
        }
        _ => Err(failure),
    }
}

impl Setup<'_> {
    async fn exists_or_make(&self, prefix: &str) -> Result<Setting> {
        const NAME: &str = "the bucket is there";
        let Bucket {
            client, name, region, ..
        } = self.bucket;
        let head = client.head_bucket().bucket(name).send().await;
        let error = match head {
            Ok(_) => return Ok(setting(NAME, Done::Already, None)),
            Err(error) => error,
        };
        let status = error.raw_response().map(|response| response.status().as_u16());
        // Keys with no more rights than they need may list below the prefix, and not look at the bucket.
        if status == Some(403) {
            let listed = client
                .list_objects_v2()
                .bucket(name)
                .prefix(prefix)
                .max_keys(1)
                .send()
                .await;
            return match listed {
                Ok(_) => Ok(setting(NAME, Done::Already, None)),
                Err(error) => Err(told(&format!("cannot look at bucket {name}"), &error)
                    .hint("a bucket of this name may be somebody else's: names are given once in the world")),
            };
        }
        if status != Some(404) {
            return Err(told(&format!("cannot look at bucket {name}"), &error));
        }
        if self.wanted.dry_run {
            return Ok(setting(NAME, Done::Set, None));
        }
        // AWS wants to hear every region but its first; others want their own zone's name, or nothing.
        let region = region.as_deref().filter(|region| *region != "us-east-1");
        let mut made = self.make(region).await;
        if let (Err(error), true) = (&made, region.is_some())
            && matches!(
                code(error),
                Some(
                    "InvalidLocationConstraint"
                        | "IllegalLocationConstraintException"
                        | "InvalidRegion"
                        | "MalformedXML"
                )
            )
        {
            made = self.make(None).await;
        }
        match made {
            Ok(()) => {}
            Err(error)
                if matches!(
                    code(&error),
                    Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists")
                ) =>
            {
                client.head_bucket().bucket(name).send().await.map_err(|e| {
                    told(&format!("cannot make bucket {name}"), &e)
                        .cause("there is one of this name, and it is somebody else's")
                        .hint("take another name: they are given once in the world")
                })?;
                return Ok(setting(NAME, Done::Already, None));
            }
            Err(error) => return Err(told(&format!("cannot make bucket {name}"), &error)),
        }
        client
            .head_bucket()
            .bucket(name)
            .send()
            .await
            .map_err(|e| told(&format!("bucket {name} is not there after it was made"), &e))?;
        Ok(setting(NAME, Done::Set, None))
    }

    async fn make(
        &self,
        region: Option<&str>,
    ) -> Result<(), SdkError<aws_sdk_s3::operation::create_bucket::CreateBucketError, HttpResponse>> {
        let place = region.map(|region| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region))
                .build()
        });
        let request = self.bucket.client.create_bucket().bucket(&self.bucket.name);
        request
            .set_create_bucket_configuration(place)
            .send()
            .await
            .map(drop)
    }

    /// Asks for a setting, sets it where it is another, and reads it back.
    async fn see_to<T>(
        &self,
        name: &str,
        get: impl AsyncFn() -> Result<Said<T>>,
        holds: impl Fn(&T) -> bool,
        put: impl AsyncFnOnce(Option<T>) -> Result<Said<()>>,
    ) -> Result<Setting> {
        let found = match get().await? {
            Said::Is(found) if holds(&found) => return Ok(setting(name, Done::Already, None)),
            Said::Is(found) => Some(found),
            Said::Nothing | Said::Unclear => None,
            Said::Cannot(done, why) => return Ok(setting(name, done, Some(why))),
        };
        if self.wanted.dry_run {
            return Ok(setting(name, Done::Set, None));
        }
        if let Said::Cannot(done, why) = put(found).await? {
            return Ok(setting(name, done, Some(why)));
        }
        let (done, why) = match get().await? {
            Said::Is(found) if holds(&found) => (Done::Set, None),
            Said::Unclear => (
                Done::Set,
                Some("what the storage says of it cannot be understood"),
            ),
            Said::Is(_) | Said::Nothing | Said::Cannot(..) => {
                (Done::Forgotten, Some("the storage took it, and does not have it"))
            }
        };
        Ok(setting(name, done, why.map(str::to_owned)))
    }

    async fn block_public_access(&self) -> Result<Setting> {
        let Bucket { client, name, .. } = self.bucket;
        // Objects that shall be public cannot be while this is set.
        if self
            .wanted
            .about
            .acl
            .as_deref()
            .is_some_and(|acl| acl.starts_with("public-"))
        {
            let why = "`s3.acl` of rehome.yml makes objects public";
            return Ok(setting(PUBLIC, Done::Unsupported, Some(why.to_owned())));
        }
        let get = async || {
            let found = client.get_public_access_block().bucket(name).send().await;
            sorted("cannot see whether public access is blocked", found)
        };
        let put = async |_| {
            let block = PublicAccessBlockConfiguration::builder()
                .block_public_acls(true)
                .ignore_public_acls(true)
                .block_public_policy(true)
                .restrict_public_buckets(true)
                .build();
            let request = client.put_public_access_block().bucket(name);
            let put = request.public_access_block_configuration(block).send().await;
            sorted("cannot block public access", put.map(drop))
        };
        let holds = |found: &GetPublicAccessBlockOutput| {
            found.public_access_block_configuration().is_some_and(|block| {
                [
                    block.block_public_acls(),
                    block.ignore_public_acls(),
                    block.block_public_policy(),
                    block.restrict_public_buckets(),
                ]
                .iter()
                .all(|one| *one == Some(true))
            })
        };
        self.see_to(PUBLIC, get, holds, put).await
    }

    async fn versioning(&self) -> Result<Setting> {
        let Bucket { client, name, .. } = self.bucket;
        let get = async || {
            let found = client.get_bucket_versioning().bucket(name).send().await;
            sorted("cannot see whether there is versioning", found)
        };
        let put = async |_| {
            let on = VersioningConfiguration::builder()
                .status(BucketVersioningStatus::Enabled)
                .build();
            let request = client.put_bucket_versioning().bucket(name);
            let put = request.versioning_configuration(on).send().await;
            sorted("cannot enable versioning", put.map(drop))
        };
        let holds =
            |found: &GetBucketVersioningOutput| found.status() == Some(&BucketVersioningStatus::Enabled);
        self.see_to(
            "what is overwritten or deleted is kept (versioning)",
            get,
            holds,
            put,
        )
        .await
    }

    async fn encryption(&self) -> Result<Setting> {
        let Bucket { client, name, .. } = self.bucket;
        let get = async || {
            let found = client.get_bucket_encryption().bucket(name).send().await;
            sorted("cannot see whether objects are encrypted", found)
        };
        let put = async |_| {
            let by_default = ServerSideEncryptionByDefault::builder()
                .sse_algorithm(ServerSideEncryption::Aes256)
                .build()
                .map_err(broken)?;
            let rule = ServerSideEncryptionRule::builder()
                .apply_server_side_encryption_by_default(by_default)
                .build();
            let rules = ServerSideEncryptionConfiguration::builder()
                .rules(rule)
                .build()
                .map_err(broken)?;
            let request = client.put_bucket_encryption().bucket(name);
            let put = request.server_side_encryption_configuration(rules).send().await;
            sorted("cannot set the encryption", put.map(drop))
        };
        let holds = |found: &GetBucketEncryptionOutput| {
            let rules = found
                .server_side_encryption_configuration()
                .map(|all| all.rules());
            let is_on =
                |rule: &ServerSideEncryptionRule| rule.apply_server_side_encryption_by_default().is_some();
            rules.unwrap_or_default().iter().any(is_on)
        };
        self.see_to(ENCRYPTED, get, holds, put).await
    }

    async fn lifecycle(&self) -> Result<Setting> {
        let Bucket { client, name, .. } = self.bucket;
        let does_it = |rule: &LifecycleRule| {
            let of_all = rule
                .filter()
                .and_then(LifecycleRuleFilter::prefix)
                .is_none_or(str::is_empty);
            let days = rule
                .abort_incomplete_multipart_upload()
                .and_then(AbortIncompleteMultipartUpload::days_after_initiation);
            rule.status() == &ExpirationStatus::Enabled
                && of_all
                && days.is_some_and(|days| days <= ABORT_DAYS)
        };
        let get = async || {
            let found = client
                .get_bucket_lifecycle_configuration()
                .bucket(name)
                .send()
                .await;
            sorted("cannot see the lifecycle rules", found)
        };
        let put = async |found: Option<GetBucketLifecycleConfigurationOutput>| {
            let filter = LifecycleRuleFilter::builder().prefix("").build();
            let abort = AbortIncompleteMultipartUpload::builder()
                .days_after_initiation(ABORT_DAYS)
                .build();
            let rule = LifecycleRule::builder()
                .id(RULE)
                .status(ExpirationStatus::Enabled)
                .filter(filter)
                .abort_incomplete_multipart_upload(abort)
                .build()
                .map_err(broken)?;
            // All of them at once, or those of others would be gone.
            let mut rules = found.map(|found| found.rules().to_vec()).unwrap_or_default();
            rules.retain(|rule| rule.id() != Some(RULE));
            rules.push(rule);
            let all = BucketLifecycleConfiguration::builder()
                .set_rules(Some(rules))
                .build()
                .map_err(broken)?;
            let request = client.put_bucket_lifecycle_configuration().bucket(name);
            let put = request.lifecycle_configuration(all).send().await;
            sorted("cannot write the lifecycle rules", put.map(drop))
        };
        let text = format!("uploads that are not completed go after {ABORT_DAYS} days");
        let holds = |found: &GetBucketLifecycleConfigurationOutput| found.rules().iter().any(does_it);
        self.see_to(&text, get, holds, put).await
    }

    async fn cors(&self) -> Result<Setting> {
        let Bucket { client, name, .. } = self.bucket;
        let does_it = |rule: &CorsRule| {
            let origins = &self.wanted.cors;
            origins
                .iter()
                .all(|origin| rule.allowed_origins().contains(origin))
                && rule.allowed_methods().iter().any(|method| method == "GET")
        };
        let get = async || {
            let found = client.get_bucket_cors().bucket(name).send().await;
            sorted("cannot see the CORS rules", found)
        };
        let put = async |found: Option<GetBucketCorsOutput>| {
            let rule = CorsRule::builder()
                .id(CORS_RULE)
                .set_allowed_origins(Some(self.wanted.cors.clone()))
                .allowed_methods("GET")
                .allowed_methods("HEAD")
                .allowed_headers("*")
                .expose_headers("ETag")
                .max_age_seconds(CORS_AGE)
                .build()
                .map_err(broken)?;
            let mut rules = found.map(|found| found.cors_rules().to_vec()).unwrap_or_default();
            rules.retain(|rule| rule.id() != Some(CORS_RULE));
            rules.push(rule);
            let all = CorsConfiguration::builder()
                .set_cors_rules(Some(rules))
                .build()
                .map_err(broken)?;
            let request = client.put_bucket_cors().bucket(name);
            let put = request.cors_configuration(all).send().await;
            sorted("cannot write the CORS rules", put.map(drop))
        };
        let text = format!("pages of {} may load from it", self.wanted.cors.join(", "));
        let holds = |found: &GetBucketCorsOutput| found.cors_rules().iter().any(does_it);
        self.see_to(&text, get, holds, put).await
    }

    /// The canary; where it does not come back, what was set now is taken back, one after the other, until it does.
    async fn survived(&self, prefix: &str, settings: &mut [Setting]) -> Result<Vec<String>> {
        let mut last = match canary(self.bucket, prefix, &self.wanted.about).await {
            Ok(said) => return Ok(said),
            Err(failure) => failure,
        };
        for one in settings
            .iter_mut()
            .filter(|one| one.done == Done::Set && [PUBLIC, ENCRYPTED].contains(&&*one.name))
        {
            self.take_back(&one.name).await?;
            match canary(self.bucket, prefix, &self.wanted.about).await {
                Ok(said) => {
                    one.done = Done::TakenBack;
                    one.why = Some(format!("with it no upload arrives: {last}"));
                    return Ok(said);
                }
                // It was not this one alone: it stays off, and is told with the next.
                Err(failure) => {
                    one.done = Done::TakenBack;
                    one.why = Some("uploads did not arrive with it, and do not without it".to_owned());
                    last = failure;
                }
            }
        }
        let kind = match last.kind {
            Kind::Environment => Kind::Environment,
            _ => Kind::Refused,
        };
        Err(last
            .with_kind(kind)
            .inside("the bucket does not do what uploads need")
            .data("no file and no setting of the project was changed"))
    }

    async fn take_back(&self, name: &str) -> Result<()> {
        let Bucket {
            client, name: bucket, ..
        } = self.bucket;
        let cannot = format!("cannot take back that {name}");
        match name == PUBLIC {
            true => client
                .delete_public_access_block()
                .bucket(bucket)
                .send()
                .await
                .map(drop)
                .map_err(|e| told(&cannot, &e)),
            false => client
                .delete_bucket_encryption()
                .bucket(bucket)
                .send()
                .await
                .map(drop)
                .map_err(|e| told(&cannot, &e)),
        }
    }
}

fn broken(error: aws_sdk_s3::error::BuildError) -> Failure {
    Failure::bug("a setting cannot be built").because(&error)
}
