//! A bucket that is made, set up and tried, and what is found out about one.

use rehome::s3::{About, Done, Finding, SetupReport, SetupWanted};

use super::Bench;
use crate::support::server;

fn all() -> SetupWanted {
    SetupWanted {
        versioning: true,
        encryption: true,
        cors: vec!["https://www.example.org".to_owned()],
        about: About {
            acl: Some("private".into()),
            ..About::default()
        },
        dry_run: false,
    }
}

fn of(report: &SetupReport, word: &str) -> Done {
    let found = report.settings.iter().find(|one| one.name.contains(word));
    found.unwrap_or_else(|| panic!("{word}: {report:?}")).done
}

#[test]
fn a_bucket_is_made_set_up_and_left_alone_the_second_time() {
    let mut bench = Bench::on("MOTO");
    bench.bucket.name.push_str("-new");
    let dry = bench
        .try_setup(SetupWanted {
            dry_run: true,
            ..all()
        })
        .unwrap();
    assert_eq!((dry.settings.len(), dry.settings[0].done), (1, Done::Set));
    let there = "print(bucket in [b['Name'] for b in s3.list_buckets()['Buckets']])";
    assert_eq!(bench.bucket.boto(there), "False\n");
    let report = bench.try_setup(all()).unwrap();
    assert!(
        report.settings.iter().all(|one| one.done == Done::Set),
        "{report:?}"
    );
    assert_eq!(report.settings.len(), 6);
    // As another client sees it.
    let said = bench.bucket.boto(
        "print(all(s3.get_public_access_block(Bucket=bucket)['PublicAccessBlockConfiguration'].values()))\n\
         print(s3.get_bucket_versioning(Bucket=bucket)['Status'])\n\
         r = s3.get_bucket_lifecycle_configuration(Bucket=bucket)['Rules']\n\
         print(len(r), r[0]['AbortIncompleteMultipartUpload']['DaysAfterInitiation'])\n\
         print(s3.get_bucket_cors(Bucket=bucket)['CORSRules'][0]['AllowedOrigins'])\n\
         e = s3.get_bucket_encryption(Bucket=bucket)['ServerSideEncryptionConfiguration']['Rules'][0]\n\
         print(e['ApplyServerSideEncryptionByDefault']['SSEAlgorithm'])\n\
         print(len(s3.list_objects_v2(Bucket=bucket).get('Contents', [])))",
    );
    assert_eq!(
        said,
        "True\nEnabled\n1 7\n['https://www.example.org']\nAES256\n0\n"
    );
    let again = bench.try_setup(all()).unwrap();
    // What this server says of versioning is no XML.
    let others = again
        .settings
        .iter()
        .filter(|one| !one.name.contains("versioning"));
    assert!(
        others.clone().count() == 5 && others.clone().all(|one| one.done == Done::Already),
        "{again:?}"
    );
}

#[test]
fn rules_of_others_stay() {
    let bench = Bench::on("SEAWEEDFS");
    bench.bucket.boto(
        "s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={'Rules': [\n\
         \x20 {'ID': 'theirs', 'Status': 'Enabled', 'Filter': {'Prefix': 'tmp/'}, 'Expiration': {'Days': 3}}]})",
    );
    let report = bench.try_setup(all()).unwrap();
    assert!(
        report.canary.iter().any(|line| line.contains("read back")),
        "{report:?}"
    );
    let rules = "s3.get_bucket_lifecycle_configuration(Bucket=bucket)['Rules']";
    let said = bench
        .bucket
        .boto(&format!("print(sorted(r['ID'] for r in {rules}))"));
    assert_eq!(said, "['rehome-incomplete-uploads', 'theirs']\n");
}

#[test]
fn what_a_storage_does_not_do_is_gone_around() {
    // This one has no public access block, and refuses every upload once it shall encrypt.
    let bench = Bench::on("SEAWEEDFS");
    let report = bench.try_setup(all()).unwrap();
    assert_eq!(of(&report, "bucket is there"), Done::Already);
    assert_eq!(of(&report, "public access"), Done::Unsupported, "{report:?}");
    assert_eq!(of(&report, "encrypted"), Done::TakenBack, "{report:?}");
    assert_eq!(of(&report, "not completed"), Done::Set);
    assert_eq!(of(&report, "versioning"), Done::Set);
    let again = bench.try_setup(all()).unwrap();
    assert_eq!(
        (of(&again, "versioning"), of(&again, "not completed")),
        (Done::Already, Done::Already)
    );
    bench.fill("echo 1 > a");
    assert_eq!(bench.sync().added, 1);
    let encrypted = report
        .settings
        .iter()
        .find(|one| one.name.contains("encrypted"))
        .unwrap();
    assert!(
        encrypted
            .why
            .as_deref()
            .unwrap()
            .starts_with("with it no upload arrives"),
        "{report:?}"
    );
}

#[test]
fn keys_and_their_rights_are_looked_at_one_by_one() {
    let mut bench = Bench::on("SEAWEEDFS");
    bench.fill("echo 1 > a");
    bench.sync();
    let found = bench.check(About::default(), &[]);
    assert!(found.iter().all(|one| one.finding == Finding::Good), "{found:#?}");
    assert!(found.iter().any(|one| one.said.contains("/s up, ")), "{found:#?}");
    assert_eq!(bench.objects().lines().count(), 1, "nothing is left of it");
    assert_eq!(bench.bucket.unfinished(), "[]");
    let found = bench.check(About::default(), &["https://www.example.org"]);
    let cors = found.iter().find(|one| one.name.contains("CORS")).unwrap();
    assert_eq!(cors.finding, Finding::Error, "{found:#?}");

    bench.keys = server("READER");
    let found = bench.check(About::default(), &[]);
    let wrong: Vec<&str> = found
        .iter()
        .filter(|one| one.finding == Finding::Error)
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(wrong, ["write objects (s3:PutObject)"], "{found:#?}");
    bench.keys = "nobody:at-all-of-them";
    let found = bench.check(About::default(), &[]);
    assert_eq!(
        found[0].said, "the storage does not know this access key",
        "{found:#?}"
    );
    bench.keys = "rehome-tests:wrong";
    assert_eq!(
        bench.check(About::default(), &[])[0].said,
        "the secret key is wrong"
    );
    bench.address = "http://127.0.0.1:9".to_owned();
    assert!(
        bench.check(About::default(), &[])[0]
            .said
            .contains("cannot be reached")
    );
}

#[test]
fn what_anybody_can_read_is_found() {
    let bench = Bench::on("MOTO");
    bench.bucket.boto(
        "s3.put_object(Bucket=bucket, Key='media/open', Body=b'x', ACL='public-read')\n\
         s3.put_bucket_acl(Bucket=bucket, ACL='public-read')",
    );
    let found = bench.check(About::default(), &[]);
    let wrong: Vec<&str> = found
        .iter()
        .filter(|one| one.finding == Finding::Error)
        .map(|one| one.name.as_str())
        .collect();
    assert!(wrong.contains(&"the bucket's ACL"), "{found:#?}");
}
