//! Uploads in a bucket: the commands as somebody types them, on a real engine, against a real server.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::support::{BUSYBOX, POSTGRES, Stack, s3, sh, tree, try_sh, wait_for};

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

/// What Prometheus' own reader makes of a file: `name{label=value,…} value`, labels in the order of their names.
fn samples(file: &Path) -> BTreeMap<String, f64> {
    const READ: &str = "import json, sys\n\
        from prometheus_client.parser import text_string_to_metric_families as read\n\
        found = {}\n\
        for family in read(open(sys.argv[1]).read()):\n\
        \x20 assert family.type in ('gauge', 'counter') and family.documentation, family\n\
        \x20 for s in family.samples:\n\
        \x20   labels = ','.join(f'{k}={v}' for k, v in sorted(s.labels.items()) if k not in ('project', 'bucket'))\n\
        \x20   found[f'{s.name}{{{labels}}}'] = s.value\n\
        print(json.dumps(found))";
    let script = file.with_extension("py");
    std::fs::write(&script, READ).expect("written");
    let said = sh(&format!(
        "{} {} {}",
        s3("PYTHON"),
        script.display(),
        file.display()
    ));
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn what_is_asked_of_a_bucket_is_written_for_prometheus_and_adds_up() {
    let stack = stack_on("SEAWEEDFS");
    let file = stack.state.with_file_name("rehome-s3.prom");
    let beside = file.with_file_name("rehome.prom");
    stack.file(
        "rehome.yml",
        &format!(
            "version: 1\ns3: {{ encryption: false }}\nbackup: {{ metrics: {} }}\n",
            beside.display()
        ),
    );
    stack.rehome("s3 sync --dry-run").exits(3);
    assert!(!file.exists(), "a dry run is none");
    // There is no bucket yet: a failure is told as well.
    stack.rehome("s3 sync").exits(3);
    let of = |name: &str| format!("rehome_s3_{name}");
    let failed = samples(&file);
    assert_eq!(failed[&of("last_run_failed{command=sync,prefix=media/}")], 1.0);
    assert!(!failed.contains_key(&of("objects{prefix=media/}")), "{failed:?}");
    assert!(!failed.keys().any(|name| name.contains("last_success")));

    stack.rehome("s3 setup").exits(0);
    stack.rehome("s3 sync").exits(0);
    let sent = samples(&file);
    let there = boto(
        &stack,
        "all = s3.list_objects_v2(Bucket=bucket)['Contents']\nprint(len(all), sum(o['Size'] for o in all))",
    );
    assert_eq!(
        format!(
            "{} {}",
            sent[&of("objects{prefix=media/}")],
            sent[&of("size_bytes{prefix=media/}")]
        ),
        there
    );
    let puts = of("requests_total{kind=put,prefix=media/}");
    assert!(sent[&puts] >= 32.0 && sent[&of("last_run_failed{command=sync,prefix=media/}")] == 0.0);
    for (outcome, times) in [("done", 1.0), ("failed", 1.0)] {
        let runs = of(&format!(
            "runs_total{{command=sync,outcome={outcome},prefix=media/}}"
        ));
        assert_eq!(sent[&runs], times, "{outcome}");
    }
    // A comparison asks and writes nothing, and what it finds is a failure.
    stack.rehome("s3 verify").exits(0);
    let compared = samples(&file);
    assert_eq!(compared[&puts], sent[&puts]);
    let lists = of("requests_total{kind=list,prefix=media/}");
    assert!(compared[&lists] > sent[&lists]);
    boto(&stack, "s3.delete_object(Bucket=bucket, Key='media/docs/f7')");
    stack.rehome("s3 verify").exits(3);
    let found = samples(&file);
    assert_eq!(found[&of("last_run_failed{command=verify,prefix=media/}")], 1.0);
    assert_eq!(
        found[&of("last_success_timestamp_seconds{command=verify,prefix=media/}")],
        compared[&of("last_success_timestamp_seconds{command=verify,prefix=media/}")]
    );
    assert_eq!(found[&of("objects{prefix=media/}")], 31.0);
    assert!(!beside.exists(), "that is the backups' own");
    let mode = sh(&format!("stat -c %a {}", file.display()));
    assert_eq!(mode, "644", "the exporter is another user");
    forget(&stack);
}

#[test]
fn costs_are_those_of_the_volume_that_is_measured() {
    let stack = stack_on("SEAWEEDFS");
    let told = stack.rehome("s3 cost --gets 1000").exits(0).out;
    assert!(told.contains("stored, as measured"), "{told}");
    let dir = stack.volume_dir("media_volume");
    let here = sh(&format!(
        "find {d} -type f -printf '%s\\n' | awk '{{ n++; b += $1; p += $1 <= 8388608 ? 1 : 2 + int(($1 + 8388607) / 8388608) }} END {{ print n, b, p }}'",
        d = dir.display()
    ));
    let report = stack.rehome("s3 cost --gets 1000 --json").exits(0).json();
    let usage = &report["usage"];
    let said = format!(
        "{} {} {}",
        usage["objects"], usage["storage"], usage["first_puts"]
    );
    assert_eq!(said, here, "{report}");
    assert_eq!(report["from"]["storage"], "measured: volume media_volume");
    assert_eq!(report["from"]["gets"], "--gets");
    assert_eq!(report["unknown"], serde_json::json!(["--puts", "--egress"]));
    assert!(report["offers"][0]["first_upload"].is_string());
    // What is said counts before it; a volume that is none is told.
    let said = stack.rehome("s3 cost --storage 1GB --json").exits(0).json();
    assert_eq!(said["from"], serde_json::json!({ "storage": "--storage" }));
    stack.rehome("s3 cost --volume nothing").exits(2);
    stack.assert_tidy();
}

#[test]
fn a_proxy_of_the_environment_leads_the_helper_to_the_bucket_and_its_password_does_not_show() {
    let stack = stack_on("SEAWEEDFS");
    stack.rehome("s3 setup").exits(0);
    // A name that only the proxy knows; itself it is only on this machine.
    let text = std::fs::read_to_string(stack.dir.join(".env")).expect("read");
    let far = text.replace(&s3("SEAWEEDFS"), "http://storage.rehome-tests.invalid");
    std::fs::write(stack.dir.join(".env"), far).expect("written");
    let carried = Arc::new(AtomicUsize::new(0));
    let proxy = forward(&s3("SEAWEEDFS"), Arc::clone(&carried));
    let address = format!("http://me:pass-for-tests@{proxy}");
    let env = [("http_proxy", address.as_str())];
    let run = stack.rehome_env("s3 sync -v", &env).exits(0);
    assert!(carried.load(Relaxed) >= 32, "{carried:?}");
    assert!(!run.out.contains("pass-for-tests") && !run.err.contains("pass-for-tests"));
    stack.rehome_env("s3 verify --read", &env).exits(0);
    // Where the environment says that there is none, nobody knows the name.
    let env = [("http_proxy", address.as_str()), ("no_proxy", ".invalid")];
    let lost = stack.rehome_env("s3 verify", &env).exits(1);
    assert!(lost.err.contains("cannot be reached"), "{}", lost.err);
    std::fs::write(stack.dir.join(".env"), text).expect("written");
    forget(&stack);
}

/// A proxy on this machine for plain requests: one each connection, counted, all to one server. Says where it is.
fn forward(to: &str, carried: Arc<AtomicUsize>) -> String {
    let to = to.strip_prefix("http://").expect("plain").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let serve = move |client: TcpStream, to: &str| -> std::io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let (mut head, mut length, mut known) = (String::new(), 0u64, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            // me:pass-for-tests, by base64(1).
            known |= line.contains("bWU6cGFzcy1mb3ItdGVzdHM=");
            match head.is_empty() {
                true => head = line.replacen("http://storage.rehome-tests.invalid", "", 1),
                false if lower.starts_with("proxy-") || lower.starts_with("connection:") => {}
                false => head.push_str(&line),
            }
        }
        if !known {
            return Ok(());
        }
        carried.fetch_add(1, Relaxed);
        let mut server = TcpStream::connect(to)?;
        server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        std::io::copy(&mut reader.take(length), &mut server)?;
        std::io::copy(&mut server, &mut &client)?;
        client.shutdown(Shutdown::Both)
    };
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (serve, to) = (serve.clone(), to.clone());
            // What breaks is the other side's to notice.
            std::thread::spawn(move || serve(client, &to).unwrap_or_default());
        }
    });
    address
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
