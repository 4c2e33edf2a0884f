//! Servers, buckets, and what the tests look with.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rehome::backup::format::StorePath;
use rehome::backup::store::Store;
use rehome::backup::store::s3::S3Store;
use rehome::model::{Failure, Result};
use rehome::s3::{Limits, S3Settings};

/// Whether there is time for everything.
pub fn full() -> bool {
    std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full")
}

pub fn path(text: &str) -> StorePath {
    StorePath::new(text).unwrap()
}

/// Runs a program that has to succeed, and returns what it said.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    assert!(
        status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).unwrap()
}

#[track_caller]
pub fn bash(dir: &Path, script: &str) -> String {
    run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(dir))
}

/// The runtime that stores wait in.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    })
}

/// What `scripts/s3 up` and, for the longer suite, `scripts/s3-server` say, without the prefix.
fn servers() -> &'static BTreeMap<String, String> {
    static SERVERS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let mut told = run(Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/s3")).arg("up"));
        for name in more() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/s3-server");
            told += &run(Command::new(script).arg(name));
        }
        let pairs = told
            .lines()
            .filter_map(|line| line.strip_prefix("export REHOME_S3_")?.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    })
}

/// How the servers are reached, and with what.
pub fn server(name: &str) -> &'static str {
    let said = servers().get(name);
    said.unwrap_or_else(|| panic!("the scripts of S3 servers do not say {name}"))
}

/// The servers that take long to install: `REHOME_S3_EXTRA` has them in `scripts/campaign`.
fn more() -> Vec<String> {
    let names = std::env::var("REHOME_S3_EXTRA").unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
}

/// A server of each make that there is: two every day, more in the longer suite.
pub fn makes() -> Vec<String> {
    let mut all = vec!["SEAWEEDFS".to_owned(), "MOTO".to_owned()];
    all.extend(more().iter().map(|name| name.to_uppercase()));
    all
}

/// Bytes that cannot be compressed, the same each time.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

pub fn put(store: &dyn Store, at: &str, bytes: &[u8]) -> Result<()> {
    let mut upload = store.put(&path(at))?;
    upload
        .write_all(bytes)
        .map_err(|e| rehome::backup::failed("writing", &e))?;
    upload.finish()
}

pub fn get(store: &dyn Store, at: &str) -> Result<Option<Vec<u8>>> {
    let Some(mut from) = store.get(&path(at))? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)
        .map_err(|e| rehome::backup::failed("reading", &e))?;
    Ok(Some(bytes))
}

/// So many bytes of a file, from one of them on.
pub fn part(store: &dyn Store, below: &str, at: u64, len: u64) -> Result<Option<Vec<u8>>> {
    let Some(mut from) = store.get_part(&path(below), at, len)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    Ok(Some(bytes))
}

/// The paths and sizes of a list, sorted.
pub fn listed(store: &dyn Store, below: &str) -> Vec<(String, u64)> {
    let found = store.list(&path(below)).unwrap();
    let mut found: Vec<_> = found
        .into_iter()
        .map(|one| (one.path.to_string(), one.bytes))
        .collect();
    found.sort();
    found
}

/// Everything that a failure says.
pub fn told(failure: &Failure) -> String {
    let mut lines = vec![failure.what.clone()];
    lines.extend(failure.causes.iter().map(|c| format!("caused by: {c}")));
    lines.extend(failure.data.iter().map(|d| format!("data: {d}")));
    lines.extend(failure.hints.iter().map(|h| format!("hint: {h}")));
    let all = lines.join("\n");
    assert!(
        !format!("{failure:?}").contains("secret-for-tests"),
        "a secret is shown: {all}"
    );
    all
}

/// A bucket of its own, emptied and removed at the end.
pub struct Bucket {
    pub name: String,
    server: &'static str,
    /// Which requests are signed for.
    pub region: &'static str,
}

impl Bucket {
    /// On the server that `scripts/s3` calls so.
    pub fn on(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let bucket = Self {
            name: format!("rehome-{}-{n}", std::process::id()),
            server: server(name),
            region: servers()
                .get(&format!("{name}_REGION"))
                .map_or("us-east-1", |region| region),
        };
        bucket.boto("s3.create_bucket(Bucket=bucket)");
        bucket
    }

    /// One that is there already, or is not: it is left as it is.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            server: server("SEAWEEDFS"),
            region: "us-east-1",
        }
    }

    pub fn address(&self) -> &'static str {
        self.server
    }

    /// A few lines of Python with boto3's client `s3` and the name of the bucket.
    #[track_caller]
    pub fn boto(&self, script: &str) -> String {
        run(&mut self.python(script))
    }

    fn python(&self, script: &str) -> Command {
        let (id, secret) = server("KEYS").split_once(':').unwrap();
        let head = "import boto3, hashlib, os, sys\n\
            from botocore.config import Config\n\
            s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name=sys.argv[3], verify=os.environ['REHOME_S3_CA'],\n\
            \x20 config=Config(s3={'addressing_style': 'path'}, request_checksum_calculation='when_required'))\n\
            bucket = sys.argv[2]\n";
        let mut command = Command::new(server("PYTHON"));
        command
            .args([
                "-c",
                &format!("{head}{script}"),
                self.server,
                &self.name,
                self.region,
            ])
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("REHOME_S3_CA", server("CA"));
        command
    }

    /// What boto3 reads, as SHA-256.
    pub fn sha256(&self, key: &str) -> String {
        let read = "h = hashlib.sha256()\n\
            for chunk in s3.get_object(Bucket=bucket, Key='KEY')['Body'].iter_chunks(1 << 20): h.update(chunk)\n\
            print(h.hexdigest())";
        self.boto(&read.replace("KEY", key)).trim().to_owned()
    }

    /// The uploads that never came to their end.
    pub fn unfinished(&self) -> String {
        let list =
            "print(sorted(u['Key'] for u in s3.list_multipart_uploads(Bucket=bucket).get('Uploads', [])))";
        self.boto(list).trim().to_owned()
    }

    /// Through another address, with other keys, other limits.
    pub fn open_with(&self, address: &str, keys: &str, prefix: &str, limits: Limits) -> Result<S3Store> {
        let (id, secret) = keys.split_once(':').unwrap();
        let names = |name: &str| match name {
            "AWS_S3_ENDPOINT_URL" => Some(address.to_owned()),
            "AWS_ACCESS_KEY_ID" => Some(id.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(secret.to_owned()),
            _ => None,
        };
        let _inside = runtime().enter();
        let settings = S3Settings::from_names(&self.name, &names)?;
        S3Store::open(&self.name, &path(prefix), &settings, limits)
    }

    pub fn open(&self, prefix: &str) -> S3Store {
        self.open_with(self.server, server("KEYS"), prefix, Limits::default())
            .unwrap()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let empty = "for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket):\n\
            \x20 keys = [{'Key': o['Key']} for o in page.get('Contents', [])]\n\
            \x20 if keys: s3.delete_objects(Bucket=bucket, Delete={'Objects': keys, 'Quiet': True})\n\
            try: old = s3.list_object_versions(Bucket=bucket)\n\
            except s3.exceptions.ClientError: old = {}\n\
            for o in old.get('Versions', []) + old.get('DeleteMarkers', []):\n\
            \x20 s3.delete_object(Bucket=bucket, Key=o['Key'], VersionId=o['VersionId'])\n\
            s3.delete_bucket(Bucket=bucket)";
        // What stays is forgotten with the server; a test that failed shall say why itself.
        self.python(empty).output().map(drop).unwrap_or_default();
    }
}

/// The SHA-256 of bytes, by sha256sum.
pub fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    said.split_whitespace().next().unwrap().to_owned()
}

/// Runs one test of this program in a process of its own, with these variables; `None` in that process.
pub fn in_a_process(test: &str, variables: &[(&str, &str)]) -> Option<String> {
    const CHILD: &str = "REHOME_TEST_CHILD";
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test);
    let said = run(child.envs(variables.iter().copied()));
    assert!(said.contains("1 passed"), "{test} did not run: {said}");
    Some(said)
}
