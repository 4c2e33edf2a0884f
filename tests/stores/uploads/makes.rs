//! What every storage has to do, on servers of each make that there is: SeaweedFS and moto every day; Garage and Ceph's
//! radosgw, of whose family DigitalOcean Spaces is, in `scripts/campaign`. What one takes another refuses.

use rehome::helper::protocol::SyncJob;
use rehome::model::Kind;
use rehome::s3::{About, Done, Finding, SetupWanted};

use super::{Bench, differences, of_others, sorted, there_and_back};
use crate::support::{bash, makes, server, told};

/// The same on each; which one it was is said when it fails.
fn on_each(test: impl Fn(&str)) {
    for make in makes() {
        println!("on {make}");
        test(&make);
    }
}

#[test]
fn there_and_back_on_each() {
    on_each(there_and_back);
}

#[test]
fn each_difference_is_found_on_each() {
    on_each(differences);
}

#[test]
fn what_others_wrote_is_known_on_each() {
    on_each(of_others);
}

/// Names that are fine on a disk, and that a way over URLs, XML and signatures can spoil.
#[test]
fn names_arrive_as_they_are_on_each() {
    const NAMES: [&str; 23] = [
        " begins with a blank",
        "ends with one ",
        "two  blanks",
        "plus+plus",
        "100%",
        "%2F%2e%2e",
        "..two dots",
        "ends with dots...",
        "~tilde",
        "*",
        "?query=1&other=2",
        "#hash",
        "a;b,c:d@e=f$g",
        "[1]{2}|3^4`5",
        "\"'<>",
        "&amp;",
        "ä",
        "a\u{308}",
        "😀",
        "漢字",
        "CASE",
        "case",
        "\u{a0}no break",
    ];
    on_each(|make| {
        let bench = Bench::on(make);
        let tree = bench.path("tree");
        for (n, name) in NAMES.iter().enumerate() {
            std::fs::write(tree.join(name), format!("{n}")).unwrap();
            let dir = tree.join("below").join(name);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(name), format!("{n} below")).unwrap();
        }
        // With the prefix before it the longest key that there can be; Garage's table takes none of that length.
        let longest = if make == "GARAGE" { 450 } else { 1024 };
        let mut left = longest - "media/".len();
        let mut long = tree.clone();
        while left > 250 {
            long.push("d".repeat(200));
            left -= 201;
        }
        std::fs::create_dir_all(&long).unwrap();
        std::fs::write(long.join("f".repeat(left)), "long").unwrap();
        let report = bench.sync();
        assert_eq!((report.added, report.failed.count), (47, 0), "{make}: {report:?}");
        // sha256sum escapes what has a backslash in it.
        let here = bash(
            &tree,
            "find . -type f -printf '%P\\0' | while IFS= read -r -d '' f; do echo \"$(sha256sum <\"$f\" | cut -c1-64) media/$f\"; done",
        );
        let there = bench.objects();
        let (there, here) = (sorted(&there), sorted(&here));
        let other: Vec<_> = there
            .iter()
            .zip(&here)
            .filter(|(there, here)| there != here)
            .collect();
        assert!(there.len() == here.len() && other.is_empty(), "{make}: {other:?}");
        let found = bench.verify(true);
        assert_eq!(
            (found.same.total(), found.extra.count),
            (47, 0),
            "{make}: {found:?}"
        );
        let pulled = bench.pull("back", false, false);
        assert_eq!((pulled.added, pulled.failed.count), (47, 0), "{make}: {pulled:?}");
        assert_eq!(bash(bench.dir.path(), "diff -r tree back"), "");
    });
}

#[test]
fn a_backslash_stays_one_or_its_file_is_told_on_each() {
    on_each(|make| {
        let bench = Bench::on(make);
        bench.fill(r"mkdir back; echo 1 > back/slash; echo 2 > 'back\slash'; echo 3 > fine");
        let report = bench.sync();
        let first = bench
            .bucket
            .boto("print(s3.get_object(Bucket=bucket, Key='media/back/slash')['Body'].read())");
        assert_eq!(first, "b'1\\n'\n", "{make}");
        // SeaweedFS makes a slash of it, and one file would have been written over the other.
        let spoiled = make == "SEAWEEDFS";
        assert_eq!(
            (report.added, report.failed.count),
            if spoiled { (2, 1) } else { (3, 0) },
            "{make}: {report:?}"
        );
        if spoiled {
            assert_eq!(report.failed.first[0].path, r"back\slash");
            assert!(
                report.failed.first[0]
                    .why
                    .contains("makes a slash of the backslash"),
                "{report:?}"
            );
        }
        // Of the trial nothing is left, and what is not there is missing.
        let found = bench.verify(true);
        let wanted = if spoiled { (2, 1, 0) } else { (3, 0, 0) };
        assert_eq!(
            (found.same.total(), found.missing.count, found.extra.count),
            wanted,
            "{make}: {found:?}"
        );
        if !spoiled {
            assert_eq!(bench.pull("back", false, false).added, 3, "{make}");
            assert_eq!(bash(bench.dir.path(), "diff -r tree back"), "");
        }
    });
}

/// What each make does with the settings: bucket, public access, versioning, encryption, incomplete uploads, CORS.
fn wanted_of(make: &str) -> [Done; 6] {
    use Done::{Set, TakenBack, Unsupported};
    match make {
        // With public access blocked it refuses every upload.
        "RADOSGW" => [Set, TakenBack, Set, Unsupported, Set, Set],
        "GARAGE" => [Set, Unsupported, Unsupported, Unsupported, Set, Set],
        // With encryption it refuses every upload.
        "SEAWEEDFS" => [Set, Unsupported, Set, TakenBack, Set, Set],
        "MOTO" => [Set, Set, Set, Set, Set, Set],
        other => panic!("what does {other} do?"),
    }
}

#[test]
fn a_bucket_is_made_and_set_up_as_far_as_each_can() {
    on_each(|make| {
        let mut bench = Bench::on(make);
        bench.bucket.name.push_str("-new");
        let wanted = SetupWanted {
            versioning: true,
            encryption: true,
            cors: vec!["https://www.example.org".to_owned()],
            about: About::default(),
            dry_run: false,
        };
        let report = bench
            .try_setup(wanted.clone())
            .unwrap_or_else(|failure| panic!("{make}: {}", told(&failure)));
        let done: Vec<Done> = report.settings.iter().map(|one| one.done).collect();
        assert_eq!(done, wanted_of(make), "{make}: {report:#?}");
        let canary = report.canary.join("\n");
        for seen in [
            "read back, the same to the byte",
            "listed",
            "a signed address answers 200",
            "deleted, and gone",
        ] {
            assert!(canary.contains(seen), "{make}: {canary}");
        }
        assert!(
            canary.contains("without a signature it answers 40"),
            "{make}: {canary}"
        );
        assert_eq!(bench.objects(), "", "{make}");
        // What was set is so the second time, and uploads arrive.
        let again = bench.try_setup(wanted).unwrap();
        for (first, second) in report.settings.iter().zip(&again.settings) {
            let wanted = if first.done == Done::Set {
                Done::Already
            } else {
                first.done
            };
            // What moto says of versioning is no XML.
            if make != "MOTO" {
                assert_eq!(second.done, wanted, "{make}: {again:#?}");
            }
        }
        bench.fill("echo 1 > a; head -c 9000000 /dev/urandom > b");
        assert_eq!(bench.sync().added, 2, "{make}");
        let checked = bench.check(About::default(), &["https://www.example.org"]);
        // moto lets everybody do everything.
        assert!(
            make == "MOTO" || checked.iter().all(|one| one.finding != Finding::Error),
            "{make}: {checked:#?}"
        );
    });
}

#[test]
fn what_is_wrong_with_keys_and_places_is_said_on_each() {
    on_each(|make| {
        let mut bench = Bench::on(make);
        bench.fill("for n in $(seq 30); do echo $n > f$n; done");
        let refused = |bench: &Bench, why: &str| {
            let failure = bench.try_sync(SyncJob::default()).unwrap_err();
            assert!(
                failure.kind == Kind::Refused && failure.causes[0] == why,
                "{make}: {}",
                told(&failure)
            );
        };
        // moto takes every key.
        if make != "MOTO" {
            bench.keys = "rehome-tests:another-secret-than-that";
            refused(&bench, "the secret key is wrong");
            bench.keys = "nobody-at-all:another-secret-than-that";
            refused(&bench, "the storage does not know this access key");
            bench.keys = server("KEYS");
        }
        // The others take any region.
        if make == "GARAGE" {
            let region = std::mem::replace(&mut bench.bucket.region, "elsewhere-1");
            refused(&bench, "the bucket is in another region");
            bench.bucket.region = region;
        }
        let name = std::mem::replace(&mut bench.bucket.name, "rehome-is-not-there".to_owned());
        refused(&bench, "there is no such bucket");
        bench.bucket.name = name;
        assert_eq!(bench.sync().added, 30, "{make}");
    });
}
