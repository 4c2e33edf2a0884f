//! Files of a tree as objects of a bucket, and back: against real servers, and looked at with boto3.

// long because: one bench, and all that happens to files on their way there and back.

mod behind;
mod makes;
mod settings;

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rehome::helper::context::Context;
use rehome::helper::protocol::{
    Compared, InUse, PullReport, SyncJob, SyncReport, UploadsAnswer, UploadsCompared, UploadsJob,
    UploadsRequest,
};
use rehome::helper::uploads::work;
use rehome::model::{Failure, Kind, Result};
use rehome::s3::{About, Access, Examined, S3Settings, SetupReport, SetupWanted};

use crate::proxy::{ALWAYS, Faults, Proxy};
use crate::support::{Bucket, bash, noise, server, sha256, told};

/// A tree and a bucket.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub bucket: Bucket,
    address: String,
    keys: &'static str,
}

impl Bench {
    pub fn on(server_name: &str) -> Self {
        let bucket = Bucket::on(server_name);
        Self {
            dir: tempfile::tempdir().unwrap(),
            address: bucket.address().to_owned(),
            bucket,
            keys: server("KEYS"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn fill(&self, script: &str) {
        bash(&self.path("tree"), script);
    }

    fn access(&self) -> Access {
        let (id, secret) = self.keys.split_once(':').unwrap();
        let names = |name: &str| match name {
            "AWS_S3_ENDPOINT_URL" => Some(self.address.clone()),
            "AWS_S3_REGION_NAME" => Some(self.bucket.region.to_owned()),
            "AWS_ACCESS_KEY_ID" => Some(id.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(secret.to_owned()),
            _ => None,
        };
        Access {
            settings: S3Settings::from_names(&self.bucket.name, &names).unwrap(),
            authorities: std::fs::read(server("CA")).unwrap(),
            proxy: None,
        }
    }

    fn request(&self, dir: &Path, job: UploadsJob) -> UploadsRequest {
        UploadsRequest {
            dir: dir.to_owned(),
            bucket: self.bucket.name.clone(),
            prefix: "media".parse().unwrap(),
            include: Vec::new(),
            exclude: Vec::new(),
            jobs: 0,
            bandwidth: 0,
            job,
        }
    }

    fn try_sync(&self, job: SyncJob) -> Result<SyncReport> {
        let request = self.request(&self.path("tree"), UploadsJob::Sync(job));
        match work(&Context::new(), &request, &self.access())? {
            UploadsAnswer::Synced(report) => Ok(report),
            other => panic!("{other:?}"),
        }
    }

    pub fn sync(&self) -> SyncReport {
        self.try_sync(SyncJob::default()).unwrap()
    }

    pub fn verify(&self, read: bool) -> UploadsCompared {
        self.compared(UploadsJob::Verify { read, in_use: None })
    }

    fn verify_in_use(&self, in_use: InUse) -> UploadsCompared {
        let in_use = Some(in_use);
        self.compared(UploadsJob::Verify { read: false, in_use })
    }

    fn compared(&self, job: UploadsJob) -> UploadsCompared {
        let request = self.request(&self.path("tree"), job);
        match work(&Context::new(), &request, &self.access()).unwrap() {
            UploadsAnswer::Verified(report) => report,
            other => panic!("{other:?}"),
        }
    }

    pub fn pull(&self, to: &str, dry_run: bool, only_missing: bool) -> PullReport {
        let job = UploadsJob::Pull {
            dry_run,
            only_missing,
            since: None,
        };
        self.pulled(to, job)
    }

    fn pull_since(&self, since: jiff::Timestamp) -> PullReport {
        let job = UploadsJob::Pull {
            dry_run: false,
            only_missing: false,
            since: Some(since),
        };
        self.pulled("tree", job)
    }

    fn pulled(&self, to: &str, job: UploadsJob) -> PullReport {
        let request = self.request(&self.path(to), job);
        match work(&Context::new(), &request, &self.access()).unwrap() {
            UploadsAnswer::Pulled(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn try_setup(&self, wanted: SetupWanted) -> Result<SetupReport> {
        let request = self.request(Path::new("/"), UploadsJob::SetUp(wanted));
        match work(&Context::new(), &request, &self.access())? {
            UploadsAnswer::SetUp(report) => Ok(report),
            other => panic!("{other:?}"),
        }
    }

    fn check(&self, about: About, cors: &[&str]) -> Vec<Examined> {
        let cors = cors.iter().map(|&one| one.to_owned()).collect();
        let request = self.request(Path::new("/"), UploadsJob::Check { about, cors });
        match work(&Context::new(), &request, &self.access()).unwrap() {
            UploadsAnswer::Checked { found } => found,
            other => panic!("{other:?}"),
        }
    }

    /// Every key and the SHA-256 of its content, as boto3 reads them.
    fn objects(&self) -> String {
        self.bucket.boto(
            "for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket):\n\
             \x20 for o in page.get('Contents', []):\n\
             \x20   print(hashlib.sha256(s3.get_object(Bucket=bucket, Key=o['Key'])['Body'].read()).hexdigest(), o['Key'])",
        )
    }

    /// The same of the files of a tree, as sha256sum reads them.
    fn files(&self, of: &str) -> String {
        bash(
            &self.path(of),
            "find . -type f -print0 | xargs -0 -r sha256sum | sed 's/^\\\\//; s#  \\./# media/#'",
        )
    }
}

pub fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Names that have hurt somebody, an empty file, one of exactly a part, and one in parts.
const TREE: &str = "mkdir -p 'a b/c+d' 2025 deep/er/and/deeper; echo 1 > 'a b/c+d/100%.txt'; echo 2 > 'a b/~(x)!*.jpg'
    echo nfc > \"$(printf 'caf\\303\\251')\"; echo nfd > \"$(printf 'cafe\\314\\201')\"; echo upper > README; echo lower > readme
    echo q > \"it's & \\\"quoted\\\" <xml>;a=b?c#d\"; : > empty; head -c 8388608 /dev/urandom > 2025/whole
    head -c 20000001 /dev/urandom > deep/er/and/deeper/parts.bin; touch -d @1700000000.123456789 2025/whole; touch -d @5 empty
    echo x > .hidden; printf '\\303\\244' > 'ä.svg'";

fn there_and_back(server_name: &str) {
    let bench = Bench::on(server_name);
    bench.fill(TREE);
    let report = bench.sync();
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!(
        (report.files, report.added, report.replaced),
        (12, 12, 0),
        "{report:?}"
    );
    assert_eq!(report.sent_bytes, report.bytes);
    assert_eq!(sorted(&bench.objects()), sorted(&bench.files("tree")));

    // Nothing is sent twice.
    let again = bench.sync();
    assert_eq!(
        (again.added, again.replaced, again.sent_bytes),
        (0, 0, 0),
        "{again:?}"
    );
    assert_eq!(again.same.total(), 12);
    let whole = bench.verify(false);
    assert_eq!(whole.same, again.same, "{whole:?}");
    let read = bench.verify(true);
    assert_eq!(
        read.same,
        Compared {
            by_reading: 12,
            ..Compared::default()
        },
        "{read:?}"
    );

    // What the storage was told beside the content.
    let said = bench.bucket.boto(
        "h = s3.head_object(Bucket=bucket, Key='media/2025/whole')\n\
         print(h['Metadata'].get('mtime'), len(h['Metadata'].get('rehome-blake3', '')))\n\
         print(s3.head_object(Bucket=bucket, Key='media/ä.svg')['ContentType'])",
    );
    assert_eq!(said, "1700000000.123456789 64\nimage/svg+xml\n");
    assert_eq!(bench.bucket.unfinished(), "[]");

    // Into an empty directory, with the owner of that.
    bash(&bench.path("back"), "chown 12:34 .; chmod 2750 .");
    let pulled = bench.pull("back", false, false);
    assert_eq!(
        (pulled.objects, pulled.added, pulled.got_bytes),
        (12, 12, report.bytes),
        "{pulled:?}"
    );
    assert_eq!(sorted(&bench.files("back")), sorted(&bench.files("tree")));
    let stat = "stat -c '%u:%g %a %Y' 2025/whole empty 2025";
    let said = bash(&bench.path("back"), &format!("{stat} | cut -d' ' -f1-3"));
    let wanted = ["12:34 644 1700000000", "12:34 644 5"];
    assert_eq!(said.lines().take(2).collect::<Vec<_>>(), wanted);
    let dir = said.lines().nth(2).unwrap();
    assert!(
        dir.starts_with("12:34 2750") || dir.starts_with("12:34 750"),
        "{said}"
    );
    let pulled = bench.pull("back", false, false);
    assert_eq!(
        (pulled.added, pulled.replaced, pulled.same.total()),
        (0, 0, 12),
        "{pulled:?}"
    );
}

#[test]
fn a_tree_becomes_objects_and_a_tree_again() {
    there_and_back("SEAWEEDFS");
}

#[test]
fn over_tls_too() {
    there_and_back("SEAWEEDFS_TLS");
}

fn differences(server_name: &str) {
    let bench = Bench::on(server_name);
    bench.fill(
        "for n in $(seq 20); do echo content-$n > f$n; done; touch -d @1000000000 f*; head -c 12000000 /dev/urandom > large",
    );
    bench.sync();
    assert_eq!(bench.verify(false).same.by_etag, 21);
    // Same length, same date, the same notes beside it: only the content is another.
    bench.bucket.boto(
        "h = s3.head_object(Bucket=bucket, Key='media/f3')\n\
         s3.put_object(Bucket=bucket, Key='media/f3', Body=b'CONTENT-3\\n', Metadata=h['Metadata'])\n\
         s3.delete_object(Bucket=bucket, Key='media/f4')\n\
         s3.put_object(Bucket=bucket, Key='media/f5', Body=b'shorter')\n\
         s3.put_object(Bucket=bucket, Key='media/other', Body=b'x')\n\
         h = s3.head_object(Bucket=bucket, Key='media/large')\n\
         body = bytearray(s3.get_object(Bucket=bucket, Key='media/large')['Body'].read()); body[9000000] ^= 1\n\
         s3.put_object(Bucket=bucket, Key='media/large', Body=bytes(body), Metadata=h['Metadata'])",
    );
    for read in [false, true] {
        let found = bench.verify(read);
        let paths = |all: &rehome::helper::protocol::Troubles| -> Vec<String> {
            all.first.iter().map(|one| one.path.clone()).collect()
        };
        assert_eq!(paths(&found.different), ["f3", "f5", "large"], "{found:?}");
        assert_eq!(
            (paths(&found.missing), paths(&found.extra)),
            (vec!["f4".into()], vec!["other".into()])
        );
        assert_eq!(found.same.total(), 17);
        assert!(found.failed.is_empty());
    }
    let report = bench.sync();
    assert_eq!(
        (report.added, report.replaced, report.extra),
        (1, 3, 1),
        "{report:?}"
    );
    let found = bench.verify(true);
    assert_eq!(
        (found.same.total(), found.different.count, found.missing.count),
        (21, 0, 0)
    );
}

#[test]
fn each_difference_is_found_by_content() {
    differences("SEAWEEDFS");
}

fn of_others(server_name: &str) {
    let bench = Bench::on(server_name);
    bench.fill(
        "echo small > small; head -c 13000000 /dev/urandom > large; head -c 26000000 /dev/urandom > other",
    );
    let tree = bench.path("tree");
    bench.bucket.boto(&format!(
        "from boto3.s3.transfer import TransferConfig\n\
         t = '{}/'\n\
         s3.put_object(Bucket=bucket, Key='media/small', Body=open(t + 'small', 'rb'))\n\
         s3.upload_file(t + 'large', bucket, 'media/large', Config=TransferConfig(multipart_chunksize=5 << 20))\n\
         s3.upload_file(t + 'other', bucket, 'media/other', Config=TransferConfig(multipart_chunksize=7 << 20))",
        tree.display()
    ));
    let found = bench.verify(false);
    // Parts of 7 MiB are nobody's habit: the object is read.
    let wanted = Compared {
        by_etag: 2,
        by_note: 0,
        by_reading: 1,
    };
    assert_eq!(found.same, wanted, "{found:?}");
    // To send it again costs less than to read it.
    let report = bench.sync();
    assert_eq!((report.replaced, report.same.by_etag), (1, 2), "{report:?}");
}

#[test]
fn what_others_wrote_is_known_by_its_content_too() {
    of_others("SEAWEEDFS");
}

#[test]
fn what_can_be_no_object_is_told_and_the_others_arrive() {
    let bench = Bench::on("SEAWEEDFS");
    bench.fill("echo a > fine; ln -s fine link; mkfifo pipe; printf 'b' > \"$(printf 'two\\nlines')\"");
    let tree = bench.path("tree");
    std::fs::write(tree.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "latin-1").unwrap();
    let mut long = tree.clone();
    (0..5).for_each(|_| long.push("d".repeat(250)));
    std::fs::create_dir_all(&long).unwrap();
    std::fs::write(long.join("f"), "deep").unwrap();

    let report = bench.sync();
    assert_eq!(
        (report.files, report.added, report.left_out, report.failed.count),
        (1, 1, 2, 3)
    );
    let why: Vec<&str> = report.failed.first.iter().map(|one| one.why.as_str()).collect();
    assert!(why.iter().any(|why| why.contains("not UTF-8")), "{why:?}");
    assert!(why.iter().any(|why| why.contains("control character")), "{why:?}");
    assert!(why.iter().any(|why| why.contains("1,024 bytes")), "{why:?}");
    assert!(
        report.failed.first.iter().any(|one| one.path == "caf\\xe9"),
        "{report:?}"
    );
    // They are not there, and a verification does not pass over that.
    assert_eq!(bench.verify(false).missing.count, 3);
}

#[test]
fn trap_19_nothing_is_deleted_because_a_tree_is_empty_or_much_smaller() {
    let bench = Bench::on("SEAWEEDFS");
    bench.fill("for n in $(seq 30); do echo $n > f$n; done");
    bench.sync();
    let delete = SyncJob {
        delete: true,
        ..SyncJob::default()
    };
    bench.fill("mkdir ../aside; mv f* ../aside");
    let failure = bench.try_sync(delete.clone()).unwrap_err();
    assert_eq!(failure.kind, Kind::Refused);
    assert!(failure.what.contains("the tree is empty"), "{}", told(&failure));
    bench.fill("mv ../aside/f1* .");
    let failure = bench.try_sync(delete.clone()).unwrap_err();
    assert!(failure.what.starts_with("19 of 30 objects"), "{}", told(&failure));
    assert_eq!(bench.objects().lines().count(), 30);
    // One or two go, and many when it is said.
    bench.fill("mv ../aside/f2* ../aside/f3* ../aside/f4 ../aside/f5 ../aside/f6 .");
    let report = bench
        .try_sync(SyncJob {
            dry_run: true,
            ..delete.clone()
        })
        .unwrap();
    assert_eq!(report.deleted, 3);
    assert_eq!(bench.objects().lines().count(), 30, "a dry run deletes nothing");
    assert_eq!(bench.try_sync(delete.clone()).unwrap().deleted, 3);
    bench.fill("rm f1*");
    let shrink = SyncJob {
        shrink: true,
        ..delete
    };
    assert_eq!(bench.try_sync(shrink).unwrap().deleted, 11);
    assert_eq!(sorted(&bench.objects()), sorted(&bench.files("tree")));
}

#[test]
fn only_what_is_meant_is_sent_compared_and_deleted() {
    let bench = Bench::on("SEAWEEDFS");
    bench.fill("mkdir cache docs; echo 1 > cache/a; echo 2 > docs/b.tmp; echo 3 > docs/c");
    bench.bucket.boto("s3.put_object(Bucket=bucket, Key='media/cache/kept', Body=b'x')\ns3.put_object(Bucket=bucket, Key='mediation/x', Body=b'x')");
    let job = SyncJob {
        delete: true,
        shrink: true,
        ..SyncJob::default()
    };
    let request = UploadsRequest {
        exclude: vec!["cache/".into(), "*.tmp".into()],
        ..bench.request(&bench.path("tree"), UploadsJob::Sync(job))
    };
    let UploadsAnswer::Synced(report) = work(&Context::new(), &request, &bench.access()).unwrap() else {
        panic!("no report");
    };
    assert_eq!(
        (report.files, report.added, report.extra, report.deleted),
        (1, 1, 0, 0),
        "{report:?}"
    );
    let keys: Vec<String> = bench
        .objects()
        .lines()
        .map(|line| line[65..].to_owned())
        .collect();
    assert_eq!(keys, ["media/cache/kept", "media/docs/c", "mediation/x"]);
}

#[test]
fn what_is_newer_in_the_bucket_stays() {
    let bench = Bench::on("SEAWEEDFS");
    bench.fill("echo old > both; echo same > same; echo new > only-here");
    bench
        .bucket
        .boto("s3.put_object(Bucket=bucket, Key='media/both', Body=b'uploaded by the site')");
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(60);
    let job = SyncJob {
        not_over: Some(since),
        ..SyncJob::default()
    };
    let report = bench.try_sync(job).unwrap();
    assert_eq!(
        (report.added, report.replaced, report.newer),
        (2, 0, 1),
        "{report:?}"
    );
    assert_eq!(bench.bucket.sha256("media/both"), sha256(b"uploaded by the site"));
    // And comes back, if that is wanted.
    assert_eq!(bench.pull("tree", false, true).kept, 1);
    let pulled = bench.pull("tree", false, false);
    assert_eq!((pulled.replaced, pulled.same.total()), (1, 2), "{pulled:?}");
    assert_eq!(bash(&bench.path("tree"), "cat both"), "uploaded by the site");
}

#[test]
fn what_a_first_pass_sent_is_no_upload_of_the_site_however_new_it_is() {
    let bench = Bench::on("SEAWEEDFS");
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(120);
    bench.fill("echo first > edited; echo first > same");
    bench.sync();
    bench.fill("echo second > edited");
    let job = SyncJob {
        not_over: Some(since),
        ..SyncJob::default()
    };
    let report = bench.try_sync(job).unwrap();
    assert_eq!(
        (report.replaced, report.newer, report.same.total()),
        (1, 0, 1),
        "{report:?}"
    );
    assert_eq!(bench.bucket.sha256("media/edited"), sha256(b"second\n"));
    // Nor does it go over a file that is another by now, whatever the clocks say.
    bench.fill("echo third > edited; touch -d '1 hour ago' edited");
    let report = bench.pull_since(since);
    assert_eq!((report.replaced, report.kept), (0, 1), "{report:?}");
    assert_eq!(bash(&bench.path("tree"), "cat edited"), "third\n");
    // A comparison lets the services write over their objects, and finds what was not sent.
    bench
        .bucket
        .boto("s3.put_object(Bucket=bucket, Key='media/same', Body=b'by the site')");
    let report = bench.verify_in_use(InUse { since, bucket: true });
    assert_eq!((report.meanwhile, report.different.count), (1, 1), "{report:?}");
    assert_eq!(report.different.first[0].path, "edited");
}

#[test]
fn on_the_way_back_only_what_is_new_comes_and_nothing_newer_is_written_over() {
    let bench = Bench::on("SEAWEEDFS");
    bench.fill(
        "echo old > edited-here; echo old > replaced-there; echo old > deleted-here; touch -d '1 hour ago' *",
    );
    bench.sync();
    bench.fill("rm deleted-here");
    // Objects have whole seconds: what follows is in another one.
    let said = bench.bucket.boto(
        "old = s3.head_object(Bucket=bucket, Key='media/deleted-here')['LastModified']\n\
         def put(key):\n\
         \x20 s3.put_object(Bucket=bucket, Key='media/' + key, Body=b'there')\n\
         \x20 return s3.head_object(Bucket=bucket, Key='media/' + key)['LastModified']\n\
         new = old\n\
         while new <= old: new = put('new')\n\
         put('replaced-there')\n\
         put('edited-here')\n\
         print(int(new.timestamp()))",
    );
    let since = jiff::Timestamp::from_second(said.trim().parse().unwrap()).unwrap();
    bench.fill("echo here > edited-here; touch -d '1 minute' edited-here");
    let report = bench.pull_since(since);
    assert_eq!(
        (report.added, report.replaced, report.kept),
        (1, 1, 2),
        "{report:?}"
    );
    let found = bash(&bench.path("tree"), "grep -H . *");
    assert_eq!(found, "edited-here:here\nnew:there\nreplaced-there:there\n");
    // What was just written on either side is no difference.
    let report = bench.verify_in_use(InUse { since, bucket: false });
    assert_eq!(
        (report.meanwhile, report.different.count, report.extra.count),
        (1, 0, 1),
        "{report:?}"
    );
}

#[test]
fn a_dry_run_writes_nothing() {
    let bench = Bench::on("SEAWEEDFS");
    bench.fill("echo 1 > a; head -c 9000000 /dev/urandom > b");
    let report = bench
        .try_sync(SyncJob {
            dry_run: true,
            ..SyncJob::default()
        })
        .unwrap();
    assert_eq!((report.added, report.sent_bytes), (2, 9_000_002));
    assert_eq!(bench.objects(), "");
    bench.sync();
    let report = bench.pull("back", true, false);
    assert_eq!((report.added, report.bytes), (2, 9_000_002));
    assert_eq!(bench.files("back"), "");
}

#[test]
fn objects_have_what_they_shall_be_written_with() {
    let bench = Bench::on("MOTO");
    bench.fill("echo 1 > a.css; head -c 9000000 /dev/urandom > b");
    let about = About {
        acl: Some("public-read".into()),
        cache_control: Some("max-age=86400".into()),
        storage_class: Some("STANDARD_IA".into()),
        ..About::default()
    };
    bench
        .try_sync(SyncJob {
            about,
            ..SyncJob::default()
        })
        .unwrap();
    for key in ["media/a.css", "media/b"] {
        let said = bench.bucket.boto(&format!(
            "h = s3.head_object(Bucket=bucket, Key='{key}')\n\
             g = [g['Grantee'].get('URI', '') for g in s3.get_object_acl(Bucket=bucket, Key='{key}')['Grants']]\n\
             print(h['CacheControl'], h['StorageClass'], any('AllUsers' in u for u in g))"
        ));
        assert_eq!(said, "max-age=86400 STANDARD_IA True\n", "{key}");
    }
}

#[test]
fn a_network_that_fails_is_waited_for() {
    let mut bench = Bench::on("SEAWEEDFS");
    bench.fill("for n in $(seq 60); do echo $n > f$n; done; head -c 20000000 /dev/urandom > large");
    let proxy = Proxy::before(bench.bucket.address(), Faults::default());
    bench.address = proxy.address();
    for faults in [
        Faults {
            errors: 4,
            ..Faults::default()
        },
        Faults {
            cuts_up: 5,
            after: 900,
            ..Faults::default()
        },
        Faults {
            cuts_down: 5,
            after: 900,
            ..Faults::default()
        },
    ] {
        proxy.set(faults);
        let report = bench.sync();
        assert!(report.failed.is_empty(), "{report:?}");
        assert_eq!(sorted(&bench.objects()), sorted(&bench.files("tree")));
        proxy.set(faults);
        let found = bench.verify(true);
        assert_eq!(found.same.total(), 61, "{found:?}");
        bench.bucket.boto("for n in range(1, 40): s3.delete_object(Bucket=bucket, Key=f'media/f{n}')\ns3.delete_object(Bucket=bucket, Key='media/large')");
    }
    assert_eq!(bench.bucket.unfinished(), "[]");
}

#[test]
fn a_network_that_is_gone_for_longer_than_a_request_is_tried_is_waited_for() {
    let mut bench = Bench::on("SEAWEEDFS");
    bench.fill("for n in $(seq 40); do head -c 500000 /dev/urandom > f$n; done");
    let proxy = Proxy::before(bench.bucket.address(), Faults::default());
    bench.address = proxy.address();
    let request = UploadsRequest {
        bandwidth: 2_000_000,
        ..bench.request(&bench.path("tree"), UploadsJob::Sync(SyncJob::default()))
    };
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| work(&Context::new(), &request, &bench.access()).unwrap());
        while bench.objects().is_empty() {
            assert!(!sync.is_finished(), "it ended before anything arrived");
        }
        proxy.set(Faults {
            cuts_up: ALWAYS,
            ..Faults::default()
        });
        let enough = std::time::Instant::now() + std::time::Duration::from_secs(15);
        while std::time::Instant::now() < enough {
            assert!(!sync.is_finished(), "it gave up");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        proxy.set(Faults::default());
        let UploadsAnswer::Synced(report) = sync.join().unwrap() else {
            panic!("no report");
        };
        assert!(report.failed.is_empty(), "{report:?}");
    });
    assert_eq!(sorted(&bench.objects()), sorted(&bench.files("tree")));
}

#[test]
fn what_refuses_everything_ends_it_with_the_reason() {
    let mut bench = Bench::on("SEAWEEDFS");
    bench.fill("for n in $(seq 200); do echo $n > f$n; done");
    bench.keys = server("READER");
    let failure = bench.try_sync(SyncJob::default()).unwrap_err();
    assert_eq!(failure.kind, Kind::Refused, "{}", told(&failure));
    assert!(
        told(&failure).contains("these keys may not do that"),
        "{}",
        told(&failure)
    );
    bench.keys = "rehome-tests:wrong";
    let failure = bench.try_sync(SyncJob::default()).unwrap_err();
    assert!(
        told(&failure).contains("the secret key is wrong"),
        "{}",
        told(&failure)
    );
    bench.keys = server("KEYS");
    bench.bucket.boto("s3.delete_bucket(Bucket=bucket)");
    let failure: Failure = bench.try_sync(SyncJob::default()).unwrap_err();
    assert!(
        told(&failure).contains("there is no such bucket"),
        "{}",
        told(&failure)
    );
    bench.bucket.boto("s3.create_bucket(Bucket=bucket)");
}

#[test]
fn a_file_that_is_written_to_all_the_time_is_told_and_the_others_arrive() {
    let bench = Bench::on("SEAWEEDFS");
    bench.fill("echo 1 > a");
    let busy = bench.path("tree").join("busy");
    std::fs::write(&busy, noise(1, 30_000_000)).unwrap();
    let stop = AtomicBool::new(false);
    /// Also when something panics: nobody waits for ever.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let report = std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let file = std::fs::File::options().write(true).open(&busy).unwrap();
            let mut n = 0u64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                file.write_all_at(&n.to_le_bytes(), n % 1000).unwrap();
            }
        });
        bench.sync()
    });
    assert_eq!((report.added, report.failed.count), (1, 1), "{report:?}");
    assert!(
        report.failed.first[0].why.contains("somebody wrote to it"),
        "{report:?}"
    );
    assert_eq!(bench.sync().added, 1);
    assert_eq!(sorted(&bench.objects()), sorted(&bench.files("tree")));
    assert_eq!(bench.bucket.unfinished(), "[]");
}

#[test]
fn a_pull_follows_no_link_and_writes_over_no_directory() {
    let bench = Bench::on("SEAWEEDFS");
    bench.fill("mkdir d; echo 1 > d/f; echo 2 > dir; echo 3 > fine");
    bench.sync();
    bash(&bench.path("back"), "mkdir ../outside dir; ln -s ../outside d");
    bench
        .bucket
        .boto("s3.put_object(Bucket=bucket, Key='media/marker/', Body=b'')");
    let report = bench.pull("back", false, false);
    assert_eq!((report.added, report.failed.count), (1, 2), "{report:?}");
    assert_eq!(
        bash(bench.dir.path(), "ls outside; ls -A back; ls"),
        "d\ndir\nfine\nback\noutside\ntree\n"
    );
}
