//! The policy before a linter that knows every action of AWS, the resources and the conditions of each.
//! <https://github.com/duo-labs/parliament>

use serde_json::{Value, json};

use super::support::{asked, project, python, rehome, said};

/// What the linter finds, by the names of its findings.
fn judged(policy: &Value) -> Vec<String> {
    const JUDGE: &str = "
import json, sys
from parliament import analyze_policy_string
print(json.dumps([finding.issue for finding in analyze_policy_string(sys.stdin.read()).findings]))
";
    let found = asked(&mut python(), JUDGE, &policy.to_string());
    serde_json::from_value(found).unwrap()
}

/// The policy of a project with these options.
fn policy(s3: &str, options: &[&str]) -> Value {
    let dir = project(s3);
    let text = said(&mut rehome(dir.path(), &[&["s3", "policy"], options].concat()));
    serde_json::from_str(&text).unwrap()
}

const MEDIA: &str = "{ bucket: obcms-media, acl: private }";

#[test]
fn the_linter_finds_nothing_in_it() {
    for s3 in [MEDIA, "{ bucket: obcms-media, prefix: '' }"] {
        for region in ["eu-central-1", "cn-north-1", "us-gov-west-1"] {
            let policy = policy(s3, &["--region", region]);
            assert!(judged(&policy).is_empty(), "{policy:#}");
        }
    }
}

#[test]
fn who_sets_a_bucket_up_could_have_its_objects_expire_and_that_is_all() {
    assert_eq!(
        judged(&policy(MEDIA, &["--setup"])),
        ["RESOURCE_POLICY_PRIVILEGE_ESCALATION"]
    );
}

#[test]
fn the_linter_would_find_what_could_be_wrong() {
    let good = policy(MEDIA, &[]);
    for (place, value, finding) in [
        ("/Statement/0/Action/0", json!("s3:HeadObject"), "UNKNOWN_ACTION"),
        (
            "/Statement/0/Resource",
            json!("arn:aws:s3:::obcms-media"),
            "RESOURCE_MISMATCH",
        ),
        ("/Statement/1/Sid", json!("Uploads"), "DUPLICATE_SID"),
        ("/Statement/1/Sid", json!("List uploads"), "INVALID_SID"),
        (
            "/Statement/1/Condition",
            json!({ "StringLike": { "s3:perfix": "media/*" } }),
            "UNKNOWN_CONDITION_FOR_ACTION",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        assert!(judged(&bad).contains(&finding.to_owned()), "{finding}: {bad:#}");
    }
}

/// Which action AWS wants for each operation.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>
const ACTIONS: [(&str, &str); 28] = [
    ("abort_multipart_upload", "s3:AbortMultipartUpload"),
    ("complete_multipart_upload", "s3:PutObject"),
    ("create_bucket", "s3:CreateBucket"),
    ("create_multipart_upload", "s3:PutObject"),
    ("delete_bucket_encryption", "s3:PutEncryptionConfiguration"),
    ("delete_object", "s3:DeleteObject"),
    ("delete_public_access_block", "s3:PutBucketPublicAccessBlock"),
    ("get_bucket_acl", "s3:GetBucketAcl"),
    ("get_bucket_cors", "s3:GetBucketCORS"),
    ("get_bucket_encryption", "s3:GetEncryptionConfiguration"),
    (
        "get_bucket_lifecycle_configuration",
        "s3:GetLifecycleConfiguration",
    ),
    ("get_bucket_location", "s3:GetBucketLocation"),
    ("get_bucket_policy_status", "s3:GetBucketPolicyStatus"),
    ("get_bucket_versioning", "s3:GetBucketVersioning"),
    ("get_object", "s3:GetObject"),
    ("get_public_access_block", "s3:GetBucketPublicAccessBlock"),
    ("head_bucket", "s3:ListBucket"),
    ("head_object", "s3:GetObject"),
    ("list_multipart_uploads", "s3:ListBucketMultipartUploads"),
    ("list_objects_v2", "s3:ListBucket"),
    ("list_parts", "s3:ListMultipartUploadParts"),
    ("put_bucket_cors", "s3:PutBucketCORS"),
    ("put_bucket_encryption", "s3:PutEncryptionConfiguration"),
    (
        "put_bucket_lifecycle_configuration",
        "s3:PutLifecycleConfiguration",
    ),
    ("put_bucket_versioning", "s3:PutBucketVersioning"),
    ("put_object", "s3:PutObject"),
    ("put_public_access_block", "s3:PutBucketPublicAccessBlock"),
    ("upload_part", "s3:PutObject"),
];

/// The operations that a file of `src/s3` sends: calls that are given a bucket.
fn operations(file: &str) -> Vec<String> {
    let path = format!("{}/src/s3/{file}.rs", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let code: String = text.split_whitespace().collect();
    let calls = code.match_indices("().bucket(");
    calls
        .map(|(end, _)| code[..end].rsplit('.').next().unwrap().to_owned())
        .collect()
}

#[test]
fn everything_that_is_asked_of_a_bucket_is_allowed() {
    for (files, options) in [
        (&["bucket", "list"][..], &[][..]),
        (&["setup", "check"], &["--setup"]),
    ] {
        let policy = policy(MEDIA, options);
        for file in files {
            let operations = operations(file);
            assert!(!operations.is_empty(), "{file} asks nothing");
            for operation in operations {
                let action = ACTIONS.iter().find(|(name, _)| *name == operation);
                let (_, action) = action.unwrap_or_else(|| panic!("{file}: which action is {operation}?"));
                let allows = |statement: &Value| {
                    // Only lists have a prefix that a condition could be about.
                    (statement.get("Condition").is_none() || operation == "list_objects_v2")
                        && statement["Action"].as_array().unwrap().contains(&json!(action))
                };
                let statements = policy["Statement"].as_array().unwrap();
                assert!(
                    statements.iter().any(allows),
                    "{file}: {operation} wants {action}"
                );
            }
        }
    }
}

#[test]
fn with_json_the_commands_are_told_with_the_policy() {
    let told = policy(MEDIA, &["--create-user-commands", "--user", "obcms", "--json"]);
    assert_eq!(told["user"], "obcms");
    assert_eq!(told["policy"], policy(MEDIA, &["--json"]));
    assert_eq!(told["commands"].as_array().unwrap().len(), 4);
}
