//! S3: what the store writes boto3 reads, on two servers of different make, over HTTP and HTTPS.

use std::io::Write as _;

use rehome::backup::store::{Store, open};
use rehome::model::config::Place;
use rehome::s3::Limits;

use crate::support::{Bucket, get, in_a_process, listed, noise, part, path, put, runtime, server, sha256};

/// A day in the life of a place.
fn a_place(server: &str, prefix: &str) {
    let bucket = Bucket::on(server);
    let store = bucket.open(prefix);
    let key = |at: &str| {
        if prefix.is_empty() {
            at.to_owned()
        } else {
            format!("{prefix}/{at}")
        }
    };
    assert!(listed(&store, "").is_empty());
    assert_eq!(get(&store, "kms/1/manifest.json").unwrap(), None);

    put(&store, "kms/1/manifest.json", b"{}").unwrap();
    put(&store, "kms/1/volumes/a%20b.tar.zst", b"").unwrap();
    put(&store, "kms/2/manifest.json", b"{\"a\":1}").unwrap();
    put(&store, "kms-other/1/manifest.json", b"other").unwrap();
    assert_eq!(get(&store, "kms/1/manifest.json").unwrap().unwrap(), b"{}");
    assert_eq!(get(&store, "kms/1/volumes/a%20b.tar.zst").unwrap().unwrap(), b"");
    assert_eq!(bucket.sha256(&key("kms/1/manifest.json")), sha256(b"{}"));
    put(&store, "kms/1/manifest.json", b"{\"b\":22}").unwrap();
    assert_eq!(bucket.sha256(&key("kms/1/manifest.json")), sha256(b"{\"b\":22}"));

    let expected = [
        ("kms/1/manifest.json".to_owned(), 8),
        ("kms/1/volumes/a%20b.tar.zst".to_owned(), 0),
        ("kms/2/manifest.json".to_owned(), 7),
    ];
    assert_eq!(listed(&store, "kms"), expected, "and not what only begins so");
    assert_eq!(listed(&store, "kms/2"), expected[2..]);
    assert_eq!(listed(&store, "kms/2/manifest.json"), []);
    assert!(
        store
            .list(&path("kms"))
            .unwrap()
            .iter()
            .all(|one| one.modified.is_some())
    );

    store.remove(&path("kms/2/manifest.json")).unwrap();
    store.remove(&path("kms/2/manifest.json")).unwrap();
    assert_eq!(get(&store, "kms/2/manifest.json").unwrap(), None);
    assert_eq!(listed(&store, "kms"), expected[..2]);

    // A whole upload in two parts of the real size, and its neighbour that is given up.
    let large = noise(1, 41 << 20);
    put(&store, "kms/3/large", &large).unwrap();
    assert_eq!(bucket.sha256(&key("kms/3/large")), sha256(&large));
    assert!(get(&store, "kms/3/large").unwrap().unwrap() == large);
    let (from, to) = (30 << 20, (30 << 20) + 5000);
    let middle = part(&store, "kms/3/large", from, to - from).unwrap().unwrap();
    assert!(middle == large[from as usize..to as usize]);
    let end = part(&store, "kms/3/large", (41 << 20) - 7, 100).unwrap().unwrap();
    assert!(end == large[(41 << 20) - 7..]);
    assert_eq!(part(&store, "kms/3/none", 0, 1).unwrap(), None);
    let mut given_up = store.put(&path("kms/3/given_up")).unwrap();
    given_up.write_all(&large).unwrap();
    assert_eq!(bucket.unfinished(), format!("['{}']", key("kms/3/given_up")));
    assert_eq!(
        get(&store, "kms/3/given_up").unwrap(),
        None,
        "it appears when it is complete"
    );
    drop(given_up);
    assert_eq!(bucket.unfinished(), "[]");
    assert_eq!(get(&store, "kms/3/given_up").unwrap(), None);
}

#[test]
fn seaweedfs_below_a_prefix() {
    a_place("SEAWEEDFS", "backups/all");
}

#[test]
fn seaweedfs_without_a_prefix() {
    a_place("SEAWEEDFS", "");
}

#[test]
fn moto_below_a_prefix() {
    a_place("MOTO", "backups");
}

#[test]
fn seaweedfs_over_tls() {
    // The authority is one for tests, which only this process trusts.
    let trusted = [("SSL_CERT_FILE", server("CA"))];
    if in_a_process("buckets::seaweedfs_over_tls", &trusted).is_none() {
        a_place("SEAWEEDFS_TLS", "backups");
    }
}

/// More names than a page has.
fn many(server: &str) {
    let bucket = Bucket::on(server);
    bucket.boto(
        "from concurrent.futures import ThreadPoolExecutor as Pool\n\
        def put(n): s3.put_object(Bucket=bucket, Key=f'a/b/{n:04}', Body=b'x' * (n % 7))\n\
        with Pool(16) as pool: list(pool.map(put, range(1103)))\n\
        s3.put_object(Bucket=bucket, Key='a/b/not ours', Body=b'x')",
    );
    let expected: Vec<_> = (0..1103).map(|n| (format!("b/{n:04}"), n % 7)).collect();
    assert_eq!(listed(&bucket.open("a"), ""), expected);
    assert_eq!(listed(&bucket.open("a"), "b"), expected);
}

#[test]
fn seaweedfs_lists_more_than_a_page() {
    many("SEAWEEDFS");
}

#[test]
fn moto_lists_more_than_a_page() {
    many("MOTO");
}

/// What somebody who died had begun.
fn swept(server: &str) {
    let bucket = Bucket::on(server);
    bucket.boto(
        "import time\n\
        for key in ('a/kms/1/x', 'a/kms/2/y', 'a/other/1/x'):\n\
        \x20 id = s3.create_multipart_upload(Bucket=bucket, Key=key)['UploadId']\n\
        \x20 s3.upload_part(Bucket=bucket, Key=key, UploadId=id, PartNumber=1, Body=b'x' * (5 << 20))\n\
        time.sleep(1.1)",
    );
    let store = bucket.open_with(
        bucket.address(),
        crate::support::server("KEYS"),
        "a",
        Limits {
            part: 5 << 20,
            ..Limits::default()
        },
    );
    let store = store.unwrap();
    let mut mine = store.put(&path("kms/3/mine")).unwrap();
    let bytes = noise(2, 11 << 20);
    mine.write_all(&bytes).unwrap();
    assert_eq!(store.sweep(&path("kms")).unwrap(), 2);
    assert_eq!(bucket.unfinished(), "['a/kms/3/mine', 'a/other/1/x']");
    mine.finish().unwrap();
    assert_eq!(bucket.sha256("a/kms/3/mine"), sha256(&bytes));
    assert_eq!(store.sweep(&path("")).unwrap(), 1);
    assert_eq!(store.sweep(&path("")).unwrap(), 0);
    assert_eq!(bucket.unfinished(), "[]");
}

#[test]
fn seaweedfs_is_swept() {
    swept("SEAWEEDFS");
}

#[test]
fn moto_is_swept() {
    swept("MOTO");
}

#[test]
fn a_place_is_opened_as_it_is_written() {
    let bucket = Bucket::on("SEAWEEDFS");
    let (id, secret) = server("KEYS").split_once(':').unwrap();
    let names = |name: &str| match name {
        "USE_MINIO" => Some("1".to_owned()),
        "MINIO_ENDPOINT_URL" => bucket.address().strip_prefix("http://").map(str::to_owned),
        "AWS_ACCESS_KEY_ID" => Some(id.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(secret.to_owned()),
        _ => None,
    };
    let place: Place = format!("s3://{}/kms/", bucket.name).parse().unwrap();
    let _inside = runtime().enter();
    let store = open(&place, &names).unwrap();
    assert_eq!(store.name(), format!("s3://{}/kms", bucket.name));
    put(&*store, "1/manifest.json", b"{}").unwrap();
    assert_eq!(bucket.sha256("kms/1/manifest.json"), sha256(b"{}"));
    // As it is called by asynchronous code.
    let found = runtime().block_on(async {
        runtime()
            .spawn(async move { tokio::task::block_in_place(|| listed(&*store, "")) })
            .await
    });
    assert_eq!(found.unwrap(), [("1/manifest.json".to_owned(), 2)]);
}
