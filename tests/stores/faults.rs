//! S3 over a network that fails, and with keys that are not good enough.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use rehome::backup::store::Store as _;
use rehome::backup::store::s3::S3Store;
use rehome::model::Kind;
use rehome::s3::Limits;

use crate::proxy::{ALWAYS, Faults, Proxy};
use crate::support::{Bucket, get, noise, path, put, runtime, server, sha256, told};

/// Small parts, little patience.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(3),
    slowest: 1 << 20,
    attempts: 3,
    part: 5 << 20,
};

/// A bucket behind a network.
struct Far {
    bucket: Bucket,
    proxy: Proxy,
    store: S3Store,
}

fn far() -> Far {
    let bucket = Bucket::on("SEAWEEDFS");
    let proxy = Proxy::before(bucket.address(), Faults::default());
    let store = bucket
        .open_with(&proxy.address(), server("KEYS"), "kms", LIMITS)
        .unwrap();
    Far { bucket, proxy, store }
}

#[test]
fn errors_that_pass_are_not_seen() {
    let far = far();
    far.proxy.set(Faults {
        errors: 2,
        ..Faults::default()
    });
    put(&far.store, "a", b"hello").unwrap();
    assert_eq!(far.proxy.left().errors, 0);
    // A new connection each: those that are open know no faults.
    let again = far
        .bucket
        .open_with(&far.proxy.address(), server("KEYS"), "kms", LIMITS)
        .unwrap();
    far.proxy.set(Faults {
        silent: 1,
        ..Faults::default()
    });
    assert_eq!(get(&again, "a").unwrap().unwrap(), b"hello");
    assert_eq!(far.proxy.left().silent, 0);
}

#[test]
fn errors_that_stay_are_told() {
    let far = far();
    far.proxy.set(Faults {
        errors: ALWAYS,
        ..Faults::default()
    });
    let failure = put(&far.store, "a", b"hello").unwrap_err();
    assert_eq!(failure.kind, Kind::Environment);
    let shown = told(&failure).replace(&far.bucket.name, "BUCKET");
    assert_eq!(
        shown,
        "cannot write s3://BUCKET/kms/a\n\
        caused by: the storage is in trouble or busy\n\
        caused by: the storage answered 500 InternalError: on fire\n\
        hint: it was tried again several times; run again later"
    );
    far.proxy.set(Faults::default());
    assert_eq!(get(&far.store, "a").unwrap(), None);
}

#[test]
fn silence_is_told_in_time() {
    let far = far();
    far.proxy.set(Faults {
        silent: ALWAYS,
        ..Faults::default()
    });
    let began = Instant::now();
    let failure = far.store.list(&path("")).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(
        failure.causes[0],
        "the storage did not answer in time",
        "{}",
        told(&failure)
    );
}

#[test]
fn a_part_whose_connection_breaks_is_sent_again() {
    let far = far();
    let bytes = noise(3, 23 << 20);
    far.proxy.set(Faults {
        cuts_up: 2,
        after: 3 << 20,
        ..Faults::default()
    });
    put(&far.store, "large", &bytes).unwrap();
    assert_eq!(far.proxy.left().cuts_up, 0, "the faults did not strike");
    assert_eq!(far.bucket.sha256("kms/large"), sha256(&bytes));
    assert_eq!(far.bucket.unfinished(), "[]");
}

#[test]
fn an_upload_that_cannot_be_ended_leaves_nothing() {
    let far = far();
    put(&far.store, "large", b"what was there before").unwrap();
    far.proxy.set(Faults {
        cuts_up: ALWAYS,
        after: 3 << 20,
        ..Faults::default()
    });
    let failure = put(&far.store, "large", &noise(4, 23 << 20)).unwrap_err();
    assert!(
        told(&failure).contains("the storage cannot be reached"),
        "{}",
        told(&failure)
    );
    assert_eq!(far.bucket.unfinished(), "[]");
    assert_eq!(far.bucket.sha256("kms/large"), sha256(b"what was there before"));
}

#[test]
fn reading_goes_on_where_it_broke() {
    let far = far();
    let bytes = noise(5, 20 << 20);
    put(&far.store, "large", &bytes).unwrap();
    // Each connection carries three megabytes more.
    far.proxy.set(Faults {
        cuts_down: ALWAYS,
        after: 3 << 20,
        ..Faults::default()
    });
    assert!(get(&far.store, "large").unwrap().unwrap() == bytes);
    assert!(far.proxy.left().cuts_down <= ALWAYS - 5, "{:?}", far.proxy.left());
}

#[test]
fn reading_that_does_not_go_on_is_told() {
    let far = far();
    put(&far.store, "large", &noise(5, 20 << 20)).unwrap();
    far.proxy.set(Faults {
        cuts_down: ALWAYS,
        after: 300 << 10,
        ..Faults::default()
    });
    let failure = get(&far.store, "large").unwrap_err();
    assert!(
        told(&failure).contains("the connection broke 6 times in a row"),
        "{}",
        told(&failure)
    );
}

#[test]
fn what_is_replaced_while_it_is_read_is_not_mixed() {
    let far = far();
    // More than the buffers on the way hold.
    put(&far.store, "large", &noise(6, 64 << 20)).unwrap();
    let mut from = far.store.get(&path("large")).unwrap().unwrap();
    let mut some = vec![0; 1 << 20];
    from.read_exact(&mut some).unwrap();
    put(&far.store, "large", &noise(7, 64 << 20)).unwrap();
    far.proxy.set(Faults {
        cuts_down: 1,
        after: 2 << 20,
        ..Faults::default()
    });
    let failure = from.read_to_end(&mut some).unwrap_err();
    let failure = rehome::backup::failed("reading", &failure);
    assert!(
        told(&failure).contains("it was replaced while it was read"),
        "{}",
        told(&failure)
    );
    assert!(noise(6, 64 << 20).starts_with(&some), "bytes of the other one");
}

#[test]
fn keys_that_are_not_good_enough() {
    let bucket = Bucket::on("SEAWEEDFS");
    let first = |keys: &str, name: &str| {
        let bucket = std::mem::ManuallyDrop::new(Bucket::named(name));
        let store = bucket
            .open_with(server("SEAWEEDFS"), keys, "kms", LIMITS)
            .unwrap();
        let failure = put(&store, "a", b"hello").unwrap_err();
        assert_eq!(failure.kind, Kind::Refused, "{}", told(&failure));
        told(&failure).lines().nth(1).unwrap().to_owned()
    };
    let name = &bucket.name;
    assert_eq!(
        first("rehome-tests:wrong", name),
        "caused by: the secret key is wrong"
    );
    assert_eq!(
        first("nobody:wrong", name),
        "caused by: the storage does not know this access key"
    );
    assert_eq!(
        first(server("READER"), name),
        "caused by: these keys may not do that"
    );
    assert_eq!(
        first(server("KEYS"), "rehome-no-such-bucket"),
        "caused by: there is no such bucket"
    );

    // Reading is what those keys are for.
    put(&bucket.open("kms"), "a", b"hello").unwrap();
    let reader = bucket
        .open_with(bucket.address(), server("READER"), "kms", LIMITS)
        .unwrap();
    assert_eq!(get(&reader, "a").unwrap().unwrap(), b"hello");
    let failure = reader.remove(&path("a")).unwrap_err();
    assert_eq!(
        failure.causes[0],
        "these keys may not do that",
        "{}",
        told(&failure)
    );
    let mut upload = reader.put(&path("b")).unwrap();
    let failure = upload.write_all(&noise(8, 6 << 20)).unwrap_err();
    let failure = rehome::backup::failed("cannot back up", &failure);
    assert!(
        told(&failure).contains("these keys may not do that"),
        "{}",
        told(&failure)
    );
    assert!(upload.finish().is_err(), "a failure stays one");
}

#[test]
fn a_clock_that_is_wrong_is_told() {
    let bucket = Bucket::on("SEAWEEDFS");
    // The server's answer, as AWS words it: the clock of a test cannot be turned.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 16 << 10];
            let _read = client.read(&mut request);
            let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and \
                the current time is too large.</Message></Error>";
            let head = format!(
                "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            client.write_all((head + body).as_bytes()).unwrap_or_default();
        }
    });
    let store = bucket
        .open_with(&format!("http://127.0.0.1:{port}"), server("KEYS"), "", LIMITS)
        .unwrap();
    let failure = store.list(&path("")).unwrap_err();
    assert_eq!(
        failure.causes[0],
        "this machine's clock and the storage's differ too much",
        "{}",
        told(&failure)
    );
}

#[test]
fn nobody_there_is_told() {
    let bucket = Bucket::on("SEAWEEDFS");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let store = bucket.open_with(&address, server("KEYS"), "", LIMITS).unwrap();
    let failure = store.list(&path("")).unwrap_err();
    assert!(
        told(&failure).contains("cannot be reached: Connection refused"),
        "{}",
        told(&failure)
    );
}

#[test]
fn no_keys_are_told_before_anything_is_asked() {
    let names = |name: &str| match name {
        "AWS_S3_ENDPOINT_URL" => Some("http://127.0.0.1:1".to_owned()),
        // A profile that nobody has, so that those of this machine are not taken.
        "AWS_PROFILE" => Some("rehome-tests-have-none".to_owned()),
        _ => None,
    };
    let _inside = runtime().enter();
    let place = "s3://bucket/kms".parse().unwrap();
    let failure = rehome::backup::store::open(&place, &names).err().unwrap();
    assert_eq!(
        failure.what,
        "there are no keys for the S3 storage",
        "{}",
        told(&failure)
    );
}
