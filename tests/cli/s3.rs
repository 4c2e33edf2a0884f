//! `rehome s3` where it needs neither an engine nor a bucket.

use std::path::Path;

use serde_json::Value;

use super::support::{Said, anywhere, event, rehome, said};

/// The figures of the guide that people calculate by.
const GUIDE: [&str; 8] = [
    "--storage",
    "50GB",
    "--puts",
    "100000",
    "--gets",
    "1000000",
    "--egress",
    "100GB",
];

fn cost(options: &[&str]) -> Said {
    anywhere(&[&["s3", "cost"], options].concat())
}

/// A project with these files.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), "services: {}\n").unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn json(dir: &Path, arguments: &[&str]) -> Value {
    let said = said(rehome(dir).args(arguments).arg("--json"));
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn the_costs_of_the_guides_example_are_side_by_side() {
    let said = cost(&GUIDE);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out);
    let all: Value = serde_json::from_str(&cost(&[&GUIDE[..], &["--json"]].concat()).out).unwrap();
    let aws = &all["offers"][0];
    assert_eq!(
        (&aws["region"], &aws["total"]),
        (&"us-east-1".into(), &"11.05".into())
    );
    let parts = ["storage", "puts", "gets", "egress"].map(|part| aws[part].as_str().unwrap());
    assert_eq!(parts, ["1.15", "0.50", "0.40", "9.00"]);
}

#[test]
fn what_nobody_said_is_a_question_mark_and_no_nothing() {
    let said = cost(&["--storage", "2TB", "--region", "eu-central-1"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out);
    let nothing = cost(&[]);
    assert_eq!((nothing.code, nothing.out.as_str()), (2, ""));
    // Why nothing was measured names a directory of this test alone.
    let (why, rest): (Vec<&str>, Vec<&str>) = nothing
        .err
        .lines()
        .partition(|line| line.starts_with("caused by: "));
    assert!(
        why.len() == 1 && why[0].contains("it was not measured either: no Compose file in "),
        "{why:?}"
    );
    insta::assert_snapshot!(rest.join("\n"));
}

#[test]
fn a_mistake_in_a_file_of_prices_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let own = include_str!("../../templates/s3/prices.yml").replace("monthly: 5", "monthly: five");
    std::fs::write(dir.path().join("own.yml"), &own).unwrap();
    let said = said(rehome(dir.path()).args(["s3", "cost", "--storage", "1GB", "--prices", "own.yml"]));
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    let line = own.lines().position(|line| line.contains("five")).unwrap() + 1;
    assert!(
        said.err
            .starts_with(&format!("error: cannot read own.yml:{line}\n")),
        "{}",
        said.err
    );
    assert!(said.err.contains("\"five\" is no price"), "{}", said.err);
}

#[test]
fn a_policy_is_that_of_the_projects_bucket_prefix_and_region() {
    let dir = project(&[
        (
            ".env",
            "AWS_STORAGE_BUCKET_NAME=obcms-media\nAWS_S3_REGION_NAME=cn-north-1\n",
        ),
        ("rehome.yml", "version: 1\ns3: { prefix: uploads }\n"),
    ]);
    let policy = json(dir.path(), &["s3", "policy"]);
    assert_eq!(
        policy["Statement"][0]["Resource"],
        "arn:aws-cn:s3:::obcms-media/uploads/*"
    );
    assert_eq!(
        policy["Statement"][1]["Condition"]["StringLike"]["s3:prefix"],
        "uploads/*"
    );
    let other = json(
        dir.path(),
        &[
            "s3",
            "policy",
            "--bucket",
            "other",
            "--prefix",
            "",
            "--region",
            "us-gov-west-1",
        ],
    );
    assert_eq!(other["Statement"][0]["Resource"], "arn:aws-us-gov:s3:::other/*");
    let plain = said(rehome(dir.path()).args(["s3", "policy"]));
    assert_eq!(serde_json::from_str::<Value>(&plain.out).unwrap(), policy);
}

#[test]
fn where_a_policy_has_no_effect_that_is_said() {
    let dir = project(&[(".env", "USE_DO_SPACES=1\nAWS_S3_REGION_NAME=fra1\n")]);
    let said = said(rehome(dir.path()).args(["s3", "policy", "--bucket", "media"]));
    assert_eq!(said.code, 0);
    assert!(
        said.err.contains("DigitalOcean Spaces has no policies of users"),
        "{}",
        said.err
    );
    assert!(serde_json::from_str::<Value>(&said.out).is_ok());
}

#[test]
fn without_a_bucket_there_is_no_policy() {
    let dir = project(&[]);
    let said = said(rehome(dir.path()).args(["s3", "policy", "--json"]));
    assert_eq!(said.code, 2);
    assert_eq!(event(&said.out)["failure"]["kind"], "usage");
    assert_eq!(anywhere(&["s3", "policy"]).code, 1, "no project either");
}

#[test]
fn settings_are_written_once_and_never_over_somebody_elses() {
    let dir = project(&[]);
    let write = ["s3", "settings", "--framework", "django", "--write"];
    let call = |more: &[&str]| said(rehome(dir.path()).args(write).args(more));
    let dry = call(&["--dry-run"]);
    assert_eq!((dry.code, dry.out.matches("would write ").count()), (0, 4));
    assert!(!dir.path().join("s3_settings.py").exists());
    let done = call(&[]);
    assert_eq!(
        (done.code, done.out.matches("wrote ").count()),
        (0, 4),
        "{}",
        done.err
    );
    let again = call(&[]);
    assert_eq!((again.code, again.out.matches("already so: ").count()), (0, 4));
    std::fs::write(dir.path().join("s3_storages.py"), "mine = True\n").unwrap();
    let refused = call(&["--json"]);
    assert_eq!(refused.code, 3);
    let failure = &event(&refused.out)["failure"];
    assert_eq!(failure["data"], "nothing was written");
    assert!(
        failure["causes"][0]
            .as_str()
            .unwrap()
            .ends_with("/s3_storages.py")
    );
    let mine = std::fs::read_to_string(dir.path().join("s3_storages.py")).unwrap();
    assert_eq!(mine, "mine = True\n");
    // Without a project there is nothing that they could lie beside.
    let nowhere = anywhere(&[&write[..], &["--bucket", "media"]].concat());
    assert_eq!(nowhere.code, 3, "{}", nowhere.err);
}

#[test]
fn a_mistake_in_the_configuration_is_told_before_anything_else() {
    let dir = project(&[("rehome.yml", "version: 1\ns3:\n  prefix: media/../x\n")]);
    let said = said(rehome(dir.path()).args(["s3", "settings", "--framework", "django"]));
    assert_eq!(said.code, 2);
    assert!(said.err.contains("rehome.yml:3\n"), "{}", said.err);
}

#[test]
fn no_secret_of_env_is_in_what_they_say() {
    let env = "AWS_STORAGE_BUCKET_NAME=media\nAWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY=hunter2\n";
    let dir = project(&[(".env", env)]);
    for words in [
        &["s3", "policy", "--create-user-commands"][..],
        &["s3", "settings", "--framework", "django"],
    ] {
        for more in [&[][..], &["--json"], &["-v"]] {
            let said = said(rehome(dir.path()).args(words).args(more));
            assert!(said.code == 0 && said.out.contains("media"), "{}", said.err);
            for secret in ["AKIA", "hunter2"] {
                assert!(
                    !said.out.contains(secret) && !said.err.contains(secret),
                    "{words:?}"
                );
            }
        }
    }
}

#[test]
fn every_example_of_the_help_does_what_it_says() {
    let dir = project(&[("prices.yml", include_str!("../../templates/s3/prices.yml"))]);
    let mut ran = 0;
    for words in [
        &["s3"][..],
        &["s3", "policy"],
        &["s3", "settings"],
        &["s3", "cost"],
        &["s3", "sync"],
        &["s3", "pull"],
    ] {
        let help = anywhere(&[words, &["--help"]].concat()).out;
        let examples = help.split_once("\nExamples:\n").unwrap().1;
        for line in examples.lines().filter_map(|line| line.strip_prefix("  rehome ")) {
            // What follows a wide gap is said about it.
            let call = line.split("  ").next().unwrap();
            let said = said(rehome(dir.path()).args(call.split(' ')));
            // Those that need a bucket say so; what they do is tried end to end.
            if ["s3 setup", "s3 sync", "s3 verify", "s3 pull"]
                .iter()
                .any(|one| call.starts_with(one))
            {
                assert!(
                    said.err.starts_with("error: which bucket?"),
                    "{call}: {}",
                    said.err
                );
                continue;
            }
            assert_eq!(said.code, 0, "{call}: {}", said.err);
            assert!(!said.out.is_empty(), "{call}");
            ran += 1;
        }
    }
    assert_eq!(ran, 12);
}
