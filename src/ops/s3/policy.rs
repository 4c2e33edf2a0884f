//! The least that a key for uploads must be allowed, as a policy of IAM.
//!
//! Actions, and the resources and conditions that each of them knows:
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>; the grammar:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Uploads;
use crate::model::config::{Bucket, Prefix};
use crate::model::{Failure, Result, shell_word};
use crate::s3::S3Settings;

/// The version of IAM's language, which never changes.
const LANGUAGE: &str = "2012-10-17";
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entity-length>
const LONGEST_USER: usize = 64;

const OBJECTS: [&str; 5] = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
];
/// Where an ACL is sent with each object.
const ACLS: [&str; 2] = ["s3:GetObjectAcl", "s3:PutObjectAcl"];
const BUCKET: [&str; 2] = ["s3:ListBucketMultipartUploads", "s3:GetBucketLocation"];
const SETUP: [&str; 14] = [
    "s3:CreateBucket",
    // Whether it is there is asked without a prefix: https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
    "s3:ListBucket",
    "s3:GetBucketPublicAccessBlock",
    "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketVersioning",
    "s3:PutBucketVersioning",
    "s3:GetEncryptionConfiguration",
    "s3:PutEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:GetBucketCORS",
    "s3:PutBucketCORS",
    // Who else can read.
    "s3:GetBucketAcl",
    "s3:GetBucketPolicyStatus",
];

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct PolicyRequest {
    /// What `s3 setup` needs is allowed as well.
    pub setup: bool,
    /// The region, if the project's files do not say it: some regions have names of their own for everything.
    pub region: Option<String>,
}

/// A policy, as IAM reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

/// One permission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

impl Statement {
    fn allow(sid: &'static str, action: impl Into<Vec<&'static str>>, resource: &str) -> Self {
        Self {
            sid,
            effect: "Allow",
            action: action.into(),
            resource: resource.to_owned(),
            condition: BTreeMap::new(),
        }
    }
}

/// A policy, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCommands {
    /// The user that they make.
    pub user: String,
    /// For a shell, in this order.
    pub commands: Vec<String>,
}

/// The policy for a project's bucket and prefix, and what there is to say about where it has no effect.
///
/// # Errors
/// When no bucket is named, or the variables about the storage contradict each other.
pub fn policy(uploads: &Uploads, request: &PolicyRequest) -> Result<(Policy, Vec<String>)> {
    let bucket = uploads.bucket()?;
    let names = |name: &str| uploads.variable(name).map(str::to_owned);
    let known = S3Settings::from_names(bucket.as_str(), &names)?;
    let region = request.region.as_ref().or(known.region.as_ref());
    let partition = partition(region.map_or("", String::as_str));
    let policy = least(
        partition,
        bucket,
        &uploads.s3.prefix,
        uploads.s3.acl.is_some(),
        request.setup,
    );
    let notes = known.endpoint.as_deref().and_then(elsewhere).into_iter();
    Ok((policy, notes.collect()))
}

/// Every name of AWS begins with the part of it that the region is in.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
fn partition(region: &str) -> &'static str {
    let parts = [("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")];
    let found = parts.iter().find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("aws", |(_, partition)| partition)
}

/// Not everybody who speaks S3 has IAM.
fn elsewhere(endpoint: &str) -> Option<String> {
    let host = crate::model::config::host(endpoint)?;
    let ends = |name: &str| host.ends_with(name);
    if ends(".amazonaws.com") || ends(".amazonaws.com.cn") {
        None
    } else if ends(".digitaloceanspaces.com") {
        Some(
            "DigitalOcean Spaces has no policies of users: make a key that may read, write and delete in this bucket alone"
                .to_owned(),
        )
    } else {
        Some(format!(
            "{host} is not AWS: some, as MinIO, understand this policy; others give their keys rights in their own way"
        ))
    }
}

fn least(partition: &str, bucket: &Bucket, prefix: &Prefix, acl: bool, setup: bool) -> Policy {
    let whole = format!("arn:{partition}:s3:::{bucket}");
    let objects = format!("{whole}/{prefix}*");
    let mut of_objects = OBJECTS.to_vec();
    if acl {
        of_objects.extend(ACLS);
    }
    let mut list = Statement::allow("ListUploads", ["s3:ListBucket"], &whole);
    if !prefix.as_str().is_empty() {
        // AWS takes the key of an object that is not there for the prefix when it decides between 404 and 403, and
        // applications rely on that 404. https://github.com/ceph/ceph/pull/68577
        let only = BTreeMap::from([("s3:prefix", format!("{prefix}*"))]);
        list.condition.insert("StringLike", only);
    }
    let mut statement = vec![
        Statement::allow("Uploads", of_objects, &objects),
        list,
        Statement::allow("Bucket", BUCKET, &whole),
    ];
    if setup {
        statement.push(Statement::allow("SetUpBucket", SETUP, &whole));
    }
    Policy {
        version: LANGUAGE,
        statement,
    }
}

/// The commands that make a user with this policy and a key.
///
/// # Errors
/// When the user's name is none.
pub fn user_commands(policy: &Policy, bucket: &Bucket, user: Option<&str>) -> Result<UserCommands> {
    let user = match user {
        Some(user) => user.to_owned(),
        None => {
            let room = LONGEST_USER - "-uploads".len();
            format!("{:.room$}-uploads", bucket.as_str())
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if user.is_empty() || user.len() > LONGEST_USER || user.starts_with('-') || !user.chars().all(plain) {
        return Err(
            Failure::usage(format!("{user:?} is no name of a user of IAM")).cause(format!(
                "it has {LONGEST_USER} letters, digits and +=,.@_- at most"
            )),
        );
    }
    let text = serde_json::to_string_pretty(policy)
        .map_err(|e| Failure::bug("a policy that cannot be written").because(&e))?;
    let file = format!("{user}-policy.json");
    let (word, file_word) = (shell_word(&user), shell_word(&file));
    let document = shell_word(&format!("file://{file}"));
    let commands = vec![
        format!("cat > {file_word} <<'END_OF_POLICY'\n{text}\nEND_OF_POLICY"),
        format!("aws iam create-user --user-name {word}"),
        format!(
            "aws iam put-user-policy --user-name {word} --policy-name uploads --policy-document {document}"
        ),
        format!("aws iam create-access-key --user-name {word}"),
    ];
    Ok(UserCommands { user, commands })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn made(prefix: &str, acl: bool, setup: bool) -> serde_json::Value {
        let (bucket, prefix) = ("obcms-media".parse().unwrap(), prefix.parse().unwrap());
        serde_json::to_value(least("aws", &bucket, &prefix, acl, setup)).unwrap()
    }

    #[test]
    fn the_least_policy_is_this() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&made("media", false, false)).unwrap());
    }

    #[test]
    fn acls_and_the_setup_are_allowed_only_where_they_are_needed() {
        let text = |acl, setup| made("media", acl, setup).to_string();
        assert!(!text(false, false).contains("Acl") && text(true, false).contains("s3:PutObjectAcl"));
        assert!(
            !text(true, false).contains("CreateBucket") && text(false, true).contains("s3:PutBucketCORS")
        );
    }

    #[test]
    fn a_whole_bucket_has_no_condition() {
        let whole = made("", false, false);
        assert_eq!(whole["Statement"][0]["Resource"], "arn:aws:s3:::obcms-media/*");
        assert!(whole["Statement"][1].get("Condition").is_none());
    }

    #[test]
    fn statements_are_told_apart_as_the_grammar_wants_it() {
        let policy = made("media", true, true);
        let statements = policy["Statement"].as_array().unwrap();
        let ids: BTreeSet<&str> = statements.iter().map(|s| s["Sid"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), statements.len());
        assert!(ids.iter().all(|id| id.bytes().all(|b| b.is_ascii_alphanumeric())));
    }

    #[test]
    fn the_partition_is_that_of_the_region() {
        for (region, name) in [
            ("", "aws"),
            ("eu-central-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
        ] {
            assert_eq!(partition(region), name);
        }
        assert!(elsewhere("https://s3.eu-central-1.amazonaws.com").is_none());
        assert!(
            elsewhere("https://fra1.digitaloceanspaces.com")
                .unwrap()
                .contains("key")
        );
        assert!(elsewhere("http://minio:9000").unwrap().starts_with("minio:9000"));
    }

    #[test]
    fn a_shell_writes_the_policy_and_calls_aws_with_whole_words() {
        let dir = tempfile::tempdir().unwrap();
        // What stands in for `aws` notes its arguments, one a line.
        let script = "aws() { for word; do echo \"$word\" >> told; done; }\n";
        let (bucket, prefix) = ("obcms-media".parse().unwrap(), Prefix::default());
        let policy = least("aws", &bucket, &prefix, false, false);
        let told = user_commands(&policy, &bucket, None).unwrap();
        let done = std::process::Command::new("sh")
            .args(["-euc", &format!("{script}{}", told.commands.join("\n"))])
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(done.success());
        let file = std::fs::read_to_string(dir.path().join("obcms-media-uploads-policy.json")).unwrap();
        let read: serde_json::Value = serde_json::from_str(&file).unwrap();
        assert_eq!(read, serde_json::to_value(&policy).unwrap());
        let words = std::fs::read_to_string(dir.path().join("told")).unwrap();
        assert!(
            words.contains("\nfile://obcms-media-uploads-policy.json\n"),
            "{words}"
        );
        assert_eq!(words.matches("--user-name\nobcms-media-uploads\n").count(), 3);
    }

    #[test]
    fn a_users_name_is_one() {
        let policy = least("aws", &"abc".parse().unwrap(), &Prefix::default(), false, false);
        let long: Bucket = "b".repeat(63).parse().unwrap();
        assert_eq!(user_commands(&policy, &long, None).unwrap().user.len(), 64);
        for name in ["", "a b", "-x", "$(id)", &"u".repeat(65)] {
            assert!(user_commands(&policy, &long, Some(name)).is_err(), "{name}");
        }
    }
}
