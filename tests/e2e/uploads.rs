//! Uploads in a bucket: the commands as somebody types them, on a real engine, against a real server.

use std::process::Stdio;

use crate::support::{BUSYBOX, POSTGRES, Stack, sh, tree, try_sh, wait_for};

/// What `scripts/s3 up` says.
fn s3(name: &str) -> String {
    let told = sh(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/s3 up"));
    let line = format!("export REHOME_S3_{name}=");
    told.lines()
        .find_map(|one| one.strip_prefix(&line))
        .unwrap_or_else(|| panic!("scripts/s3 does not say {name}"))
        .to_owned()
}

/// A stack with uploads, and a bucket that is not there yet.
fn stack_on(server: &str) -> Stack {
    let stack = Stack::up(&format!(
        r#"services:
  web:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    stop_grace_period: 1s
    volumes: ["media_volume:/media"]
volumes:
  media_volume:
"#
    ));
    sh(&format!(
        "cd {} && mkdir -p docs 'a b' && for n in $(seq 30); do echo $n > docs/f$n; done && echo x > 'a b/ä+%.txt' \
         && head -c 9000000 /dev/urandom > large && chown -R 1000:1000 .",
        stack.volume_dir("media_volume").display()
    ));
    let (keys, address) = (s3("KEYS"), s3(server));
    let (id, secret) = keys.split_once(':').expect("two keys");
    // Not by `file`, which would take the names of variables for the project's.
    std::fs::write(
        stack.dir.join(".env"),
        format!(
            "USE_S3=0\nAWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\nAWS_STORAGE_BUCKET_NAME={}\n\
             AWS_S3_REGION_NAME=us-east-1\nAWS_S3_ENDPOINT_URL={address}\n",
            stack.name
        ),
    )
    .expect("written");
    // This server refuses every upload once it shall encrypt: to find that out takes its time.
    stack.file("rehome.yml", "version: 1\ns3: { encryption: false }\n");
    stack
}

/// A few lines of Python with boto3's client `s3` and the name of the stack's bucket.
fn boto(stack: &Stack, script: &str) -> String {
    let keys = s3("KEYS");
    let (id, secret) = keys.split_once(':').expect("two keys");
    let file = stack.state.with_file_name("look.py");
    let head = format!(
        "import boto3, hashlib\nfrom botocore.config import Config\nbucket = '{}'\n\
         s3 = boto3.client('s3', endpoint_url='{}', region_name='us-east-1', aws_access_key_id='{id}',\n\
         \x20 aws_secret_access_key='{secret}', config=Config(s3={{'addressing_style': 'path'}}))\n",
        stack.name,
        s3("SEAWEEDFS")
    );
    std::fs::write(&file, head + script).expect("written");
    sh(&format!("{} {}", s3("PYTHON"), file.display()))
}

/// Removes the bucket: the server makes room for each.
fn forget(stack: &Stack) {
    boto(
        stack,
        "for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket):\n\
         \x20 for o in page.get('Contents', []): s3.delete_object(Bucket=bucket, Key=o['Key'])\n\
         for v in s3.list_object_versions(Bucket=bucket).get('Versions', []) + s3.list_object_versions(Bucket=bucket).get('DeleteMarkers', []):\n\
         \x20 s3.delete_object(Bucket=bucket, Key=v['Key'], VersionId=v['VersionId'])\n\
         s3.delete_bucket(Bucket=bucket)",
    );
}

#[test]
fn uploads_go_into_a_bucket_and_back_command_by_command() {
    let stack = stack_on("SEAWEEDFS");
    stack.file("rehome.yml", "version: 1\ns3: { volume: media_volume }\n");
    let dry = stack.rehome("s3 setup --dry-run").exits(0).out;
    assert!(dry.contains("would be set"), "{dry}");
    let set = stack.rehome("s3 setup").exits(0).out;
    assert!(
        set.contains("read back, the same to the byte") && set.contains("taken back"),
        "{set}"
    );
    let again = stack.rehome("s3 setup").exits(0).out;
    assert!(again.contains("already so"), "{again}");
    let check = stack.rehome("s3 check").exits(0).out;
    assert!(
        check.contains("nobody without keys") && !check.contains('✗'),
        "{check}"
    );

    // Not one command touches the stack.
    let shape = stack.shape();
    let dry = stack.rehome("s3 sync --dry-run").exits(0).out;
    assert!(dry.contains("would send   32 files"), "{dry}");
    let found = stack.rehome("s3 verify").exits(3).out;
    assert!(found.contains("32 not in the bucket"), "{found}");
    let sent = stack.rehome("s3 sync").exits(0).out;
    assert!(sent.contains("sent         32 files (9 MB)"), "{sent}");
    let again = stack.rehome("s3 sync --json").exits(0).json();
    assert_eq!(
        (&again["added"], &again["same"]["by_etag"]),
        (&0.into(), &32.into()),
        "{again}"
    );
    stack.rehome("s3 verify").exits(0);
    stack.rehome("s3 verify --read").exits(0);
    assert_eq!(stack.shape(), shape);

    // By somebody else's eyes.
    let there = boto(
        &stack,
        "for o in s3.list_objects_v2(Bucket=bucket, Prefix='media/')['Contents']:\n\
         \x20 print(hashlib.sha256(s3.get_object(Bucket=bucket, Key=o['Key'])['Body'].read()).hexdigest(), o['Key'])",
    );
    let here = sh(&format!(
        "cd {} && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sed 's#  \\./# media/#'",
        stack.volume_dir("media_volume").display()
    ));
    assert_eq!(there, here);

    // What is planted is found, and named.
    boto(
        &stack,
        "s3.put_object(Bucket=bucket, Key='media/docs/f7', Body=b'8\\n')\ns3.delete_object(Bucket=bucket, Key='media/docs/f9')",
    );
    let found = stack.rehome("s3 verify --json").exits(3).json();
    assert_eq!(found["different"]["first"][0]["path"], "docs/f7");
    assert_eq!(found["missing"]["first"][0]["path"], "docs/f9");
    stack.rehome("s3 sync").exits(0);

    // Lost here, and back from there; owners as those beside it.
    let dir = stack.volume_dir("media_volume");
    let before = tree(&dir);
    sh(&format!("rm -r {}/docs", dir.display()));
    let back = stack.rehome("s3 pull").exits(0).out;
    assert!(back.contains("30 new"), "{back}");
    let owners = sh(&format!("find {} -printf '%U:%G\\n' | sort -u", dir.display()));
    assert_eq!(owners, "1000:1000");
    assert_eq!(stack.rehome("s3 verify").exits(0).code, 0);
    let hashes = |tree: &str| tree.lines().filter(|line| line.contains("docs/f")).count();
    assert_eq!(hashes(&tree(&dir)), hashes(&before));
    let aside = stack.state.with_file_name("aside");
    std::fs::create_dir_all(&aside).expect("a directory");
    stack
        .rehome(&format!("s3 pull --to {} --include docs/", aside.display()))
        .exits(0);
    assert_eq!(sh(&format!("find {} -type f | wc -l", aside.display())), "30");
    stack.assert_tidy();
    forget(&stack);
}

#[test]
fn trap_34_a_file_that_does_not_arrive_is_a_failure_with_its_name() {
    let stack = stack_on("SEAWEEDFS");
    stack.rehome("s3 setup").exits(0);
    sh(&format!(
        "cd {} && echo x > \"$(printf 'caf\\351')\"",
        stack.volume_dir("media_volume").display()
    ));
    let run = stack.rehome("s3 sync").exits(1);
    assert!(
        run.out.contains("caf\\xe9: its name is not UTF-8") && run.out.contains("✗ 1 of 32 files"),
        "{}",
        run.out
    );
    // The others are there, and the same command says it again.
    assert!(
        stack
            .rehome("s3 sync")
            .exits(1)
            .out
            .contains("32 files, compared by content")
    );
    stack.rehome("s3 verify").exits(3);
    stack.rehome("s3 verify --exclude caf*").exits(0);
    forget(&stack);
}

/// A small disk, unmounted at the end.
struct Small(std::path::PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        sh(&format!("umount {}", self.0.display()));
    }
}

#[test]
fn a_pull_onto_a_full_disk_fails_in_words_and_the_same_command_goes_on() {
    let stack = stack_on("SEAWEEDFS");
    stack.rehome("s3 setup").exits(0);
    stack.rehome("s3 sync").exits(0);
    let small = Small(stack.state.with_file_name("small"));
    let at = small.0.display().to_string();
    sh(&format!("mkdir {at} && mount -t tmpfs -o size=5m tmpfs {at}"));
    let pull = format!("s3 pull --to {at}");
    let run = stack.rehome(&pull).exits(1);
    assert!(
        run.out.contains("large: ") && run.out.to_lowercase().contains("no space left"),
        "{}",
        run.out
    );
    // The others are there and whole, of this one nothing is.
    let volume = stack.volume_dir("media_volume").display().to_string();
    let differ = format!("diff -rq {volume} {at} || true");
    assert_eq!(sh(&differ), format!("Only in {volume}: large"));
    sh(&format!("mount -o remount,size=64m {at}"));
    stack.rehome(&pull).exits(0);
    assert_eq!(sh(&differ), "");
    drop(small);
    stack.assert_tidy();
    forget(&stack);
}

#[test]
fn over_tls_the_helper_trusts_whom_the_machine_trusts() {
    let stack = stack_on("SEAWEEDFS_TLS");
    let ca = s3("CA");
    let env = [("SSL_CERT_FILE", ca.as_str())];
    stack.rehome_env("s3 setup", &env).exits(0);
    stack.rehome_env("s3 sync", &env).exits(0);
    stack.rehome_env("s3 verify --read", &env).exits(0);
    let stranger = stack.rehome("s3 sync").exits(3);
    assert!(
        stranger.err.contains("cannot be reached") && stranger.err.contains("certificate"),
        "{}",
        stranger.err
    );
    forget(&stack);
}

#[test]
fn no_secret_is_in_the_helpers_environment_arguments_or_mounts_and_the_volume_is_only_read() {
    let stack = stack_on("SEAWEEDFS");
    stack.rehome("s3 setup").exits(0);
    let mut sync = stack
        .command("s3 sync --bandwidth 1MB", &[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    // The one that looks at the volume comes first, and has no network.
    let mut inspected = String::new();
    wait_for("the helper that speaks with the storage", || {
        let ids = sh(&format!(
            "docker ps -q --no-trunc --filter label=rehome.project={}",
            stack.name
        ));
        inspected = ids
            .lines()
            .map(|id| String::from_utf8_lossy(&try_sh(&format!("docker inspect {id}")).stdout).into_owned())
            .find(|said| said.contains("\"NetworkMode\": \"host\""))
            .unwrap_or_default();
        !inspected.is_empty()
    });
    let helper: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
    let secret = s3("KEYS").split_once(':').expect("two keys").1.to_owned();
    assert!(
        !inspected.contains(&secret) && !inspected.contains("rehome-tests"),
        "{inspected}"
    );
    let mounts = helper[0]["Mounts"].as_array().expect("mounts");
    assert!(
        mounts.iter().all(|mount| mount["RW"] == false) && mounts.len() == 1,
        "{mounts:?}"
    );
    let caps = helper[0]["HostConfig"]["CapAdd"].to_string();
    assert!(
        caps.contains("DAC_READ_SEARCH") && !caps.contains("CHOWN"),
        "{caps}"
    );
    let arguments = sh("ps -eo args");
    assert!(
        arguments.contains("s3 sync") && !arguments.contains(&secret),
        "{arguments}"
    );
    // Killed in the middle: what arrived is whole, and the same command goes on.
    sync.kill().expect("killed");
    sync.wait().expect("gone");
    // The helper hears that nobody listens any more, and ends.
    let running = format!("docker ps -q --filter label=rehome.project={}", stack.name);
    wait_for("the end of the helper", || sh(&running).is_empty());
    let again = stack.rehome("s3 sync --json").exits(0).json();
    assert_eq!(again["files"], 32, "{again}");
    stack.rehome("s3 verify --read").exits(0);
    stack.assert_tidy();
    forget(&stack);
}

#[test]
fn trap_20_a_database_does_not_go_into_a_bucket() {
    let stack = stack_on("SEAWEEDFS");
    stack.file(
        "docker-compose.yml",
        &format!(
            r#"services:
  db:
    image: {POSTGRES}
    environment: {{ POSTGRES_PASSWORD: x }}
    stop_grace_period: 5s
    volumes: ["pgdata:/var/lib/postgresql/data"]
    healthcheck: {{ test: ["CMD-SHELL", "pg_isready -h 127.0.0.1 -U postgres"], interval: 1s, retries: 60 }}
volumes:
  pgdata:
"#
        ),
    );
    stack.compose("up -d --wait --remove-orphans");
    let refused = stack.rehome("s3 sync --volume pgdata").exits(3);
    let why = "a database cannot live in a bucket";
    assert!(
        refused.err.contains(why) && refused.err.contains("rehome move"),
        "{}",
        refused.err
    );
}
