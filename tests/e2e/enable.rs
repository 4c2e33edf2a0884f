//! Uploads go to a bucket and come back, while somebody uploads without a pause: the example stack with two replicas of
//! Django, its real storage classes, and a bucket server of its own. What takes many switches is tried on a smaller site.

mod crash;
mod faults;
mod site;
mod traps;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use site::BucketServer;

use crate::stacks::free_port;
use crate::support::{Stack, sh, try_sh, wait_for};

/// The stack, its bucket server, and where nginx answers.
struct Obcms {
    stack: Stack,
    _bucket: BucketServer,
    port: u16,
}

impl Obcms {
    fn up() -> Self {
        let stack = Stack::write("");
        let from = concat!(env!("CARGO_MANIFEST_DIR"), "/compose/obcms");
        let d = stack.dir.display();
        sh(&format!("rm {d}/docker-compose.yml && cp -R {from}/. {d}"));
        let (port, bucket) = (free_port(), BucketServer::of(&stack));
        // Not by `file`, which would take the names of variables for the project's.
        let text = stack.read(".env.example");
        let more = format!("HTTP_PORT={port}\n{}", bucket.settings);
        std::fs::write(stack.dir.join(".env"), text + &more).expect("written");
        stack.compose("-f docker-compose.bucket.yml up -d --wait");
        stack.compose("up -d --wait");
        // The server refuses every upload once it shall encrypt: to find that out takes its time.
        let config = stack
            .read("rehome.yml")
            .replace("s3:\n", "s3:\n  encryption: false\n");
        std::fs::write(stack.dir.join("rehome.yml"), config).expect("written");
        Self {
            stack,
            _bucket: bucket,
            port,
        }
    }

    /// Uploads a file of its own; what was acknowledged, or why it was not.
    fn upload(&self, n: usize) -> Result<(u64, String), String> {
        let script = format!(
            "printf 'upload {n} of {s}' | curl -sS -m 60 -w '\\n%{{http_code}}' -F 'file=@-;filename=file {n}.txt' http://127.0.0.1:{p}/upload/",
            s = self.stack.name,
            p = self.port
        );
        let output = try_sh(&script);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, code) = said.rsplit_once('\n').ok_or("no answer")?;
        if !code.starts_with('2') {
            return Err(format!(
                "{code}: {body} {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        let answer: serde_json::Value = serde_json::from_str(body).map_err(|e| format!("{e}: {body}"))?;
        let id = answer["id"].as_u64().ok_or("no id")?;
        Ok((id, answer["sha256"].as_str().unwrap_or_default().to_owned()))
    }

    /// Every upload that was acknowledged can be read, as it was.
    #[track_caller]
    fn has(&self, acknowledged: &BTreeMap<u64, String>) {
        for (id, sum) in acknowledged {
            let read = sh(&format!(
                "curl -fsS -m 60 http://127.0.0.1:{}/files/{id}/ | sha256sum",
                self.port
            ));
            assert!(read.starts_with(sum), "upload {id} is another: {read}");
        }
    }

    /// What the services have in their environment.
    fn switch(&self) -> Vec<String> {
        ["web1", "web2", "celery"]
            .map(|service| self.stack.exec(service, "printenv USE_S3"))
            .to_vec()
    }
}

/// Uploads without a pause while something is done; what was acknowledged meanwhile. Not one may fail.
#[track_caller]
fn under_load(obcms: &Obcms, numbers: &AtomicUsize, work: impl FnOnce()) -> BTreeMap<u64, String> {
    let stop = AtomicBool::new(false);
    let (good, bad) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    /// Also when something panics: nobody uploads for ever.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match obcms.upload(numbers.fetch_add(1, Ordering::Relaxed)) {
                    Ok((id, sum)) => drop(good.lock().unwrap().insert(id, sum)),
                    Err(why) => bad.lock().unwrap().push(why),
                }
            }
        });
        wait_for("uploads", || good.lock().unwrap().len() >= 5);
        work();
        let now = good.lock().unwrap().len();
        wait_for("more uploads", || good.lock().unwrap().len() >= now + 5);
    });
    let bad = bad.into_inner().unwrap();
    assert!(bad.is_empty(), "{} uploads failed: {bad:?}", bad.len());
    good.into_inner().unwrap()
}

#[test]
fn uploads_are_switched_to_a_bucket_and_back_and_none_is_lost() {
    let obcms = Obcms::up();
    let (stack, numbers) = (&obcms.stack, AtomicUsize::new(0));
    let dotenv = stack.read(".env");
    let mut all = BTreeMap::new();

    let plan = stack.rehome("s3 enable --dry-run").exits(0).out;
    assert!(
        plan.contains("replace what changed of web1\n") && plan.contains("set USE_S3=1 in .env"),
        "{plan}"
    );
    all.extend(under_load(&obcms, &numbers, || {
        let run = stack.rehome("s3 enable -y").exits(0);
        assert!(run.err.contains("its signed address answers 200"), "{}", run.err);
    }));
    assert_eq!(obcms.switch(), ["1", "1", "1"]);
    assert_eq!(stack.read(".env"), dotenv.replace("\nUSE_S3=0\n", "\nUSE_S3=1\n"));
    obcms.has(&all);
    stack.rehome("s3 enable -y").exits(3).says("already");

    all.extend(under_load(&obcms, &numbers, || {
        stack.rehome("s3 disable -y").exits(0);
    }));
    assert_eq!(obcms.switch(), ["0", "0", "0"]);
    assert_eq!(stack.read(".env"), dotenv);
    obcms.has(&all);
    // The bucket is not needed any more: every upload is in the volume.
    stack.compose("-f docker-compose.bucket.yml stop -t 1");
    obcms.has(&all);
    stack.assert_tidy();
}

#[test]
fn a_switch_that_fails_goes_back_with_what_was_uploaded_meanwhile() {
    let obcms = Obcms::up();
    let (stack, numbers) = (&obcms.stack, AtomicUsize::new(0));
    let dotenv = stack.read(".env");
    // The last check never holds.
    let config = stack.read("rehome.yml").replace(
        "web2, http: \"http://localhost:8000/health/\", status: 200, within: 60s",
        "web2, http: \"http://localhost:8000/health/\", status: 418, within: 5s",
    );
    assert!(config.contains("418"), "{config}");
    std::fs::write(stack.dir.join("rehome.yml"), config).expect("written");
    let all = under_load(&obcms, &numbers, || {
        let run = stack.rehome("s3 enable -y").exits(10);
        assert!(run.err.contains("use media_volume again"), "{}", run.err);
    });
    assert_eq!(obcms.switch(), ["0", "0", "0"]);
    assert_eq!(stack.read(".env"), dotenv);
    stack.compose("-f docker-compose.bucket.yml stop -t 1");
    obcms.has(&all);
    stack.assert_tidy();
}

#[test]
fn a_switch_that_is_killed_is_finished_or_taken_back() {
    let obcms = Obcms::up();
    let stack = &obcms.stack;
    let dotenv = stack.read(".env");
    let mut all = BTreeMap::new();
    all.extend((0..5).map(|n| obcms.upload(n).expect("acknowledged")));
    let plan = stack.rehome("s3 enable --dry-run --json").exits(0).json();
    let steps = plan["steps"].as_array().expect("steps").len();
    // After the variables are set, and in the middle of the services; every point is tried on the smaller site.
    for point in ["after-apply:2", "after-apply:4"] {
        let run = stack.rehome_env("s3 enable -y", &[("REHOME_CRASH_AT", point)]);
        assert_eq!(run.code, -1, "at {point}: {}", run.err);
        let n = 1000 + all.len();
        all.extend([obcms.upload(n).expect("acknowledged")]);
        stack.rehome("rollback -y").exits(0);
        assert_eq!(obcms.switch(), ["0", "0", "0"], "at {point}");
        assert_eq!(stack.read(".env"), dotenv, "at {point}");
        obcms.has(&all);
    }
    let point = format!("after-apply:{}", steps - 2);
    let run = stack.rehome_env("s3 enable -y", &[("REHOME_CRASH_AT", &point)]);
    assert_eq!(run.code, -1, "{}", run.err);
    stack.rehome("resume").exits(0);
    assert_eq!(obcms.switch(), ["1", "1", "1"]);
    obcms.has(&all);
    stack.rehome("rollback -y").exits(3).says("rehome s3 disable");
    stack.assert_tidy();
}

#[test]
fn services_that_do_not_read_the_switch_are_told_before_anything_changes() {
    let stack = Stack::up(
        "services:\n  web:\n    image: rehome-test/busybox:1\n    command: [\"sleep\", \"1000000\"]\n    init: true\n    stop_grace_period: 1s\n    volumes: [\"media:/media\"]\nvolumes:\n  media:\n",
    );
    std::fs::write(
        stack.dir.join(".env"),
        "USE_S3=0\nAWS_STORAGE_BUCKET_NAME=media-of-nobody\nAWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\nAWS_S3_ENDPOINT_URL=http://127.0.0.1:9\n",
    )
    .expect("written");
    stack
        .rehome("s3 enable -y")
        .exits(3)
        .says("no running service reads USE_S3")
        .says("env_file");
    let output = stack
        .command("s3 enable", &[])
        .stdin(Stdio::null())
        .output()
        .expect("ran");
    assert_eq!(output.status.code(), Some(3));
    assert!(stack.read(".env").starts_with("USE_S3=0\n"));
}
