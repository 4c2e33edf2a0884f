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

#[test]
fn with_json_the_commands_are_told_with_the_policy() {
    let told = policy(MEDIA, &["--create-user-commands", "--user", "obcms", "--json"]);
    assert_eq!(told["user"], "obcms");
    assert_eq!(told["policy"], policy(MEDIA, &["--json"]));
    assert_eq!(told["commands"].as_array().unwrap().len(), 4);
}
