//! A site with uploads that is switched in seconds: two replicas of a small server behind nginx, a bucket server of its
//! own, and somebody who uploads without a pause.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::stacks::free_port;
use crate::support::{Run, Stack, sh, try_sh, wait_for};

/// The names of the replicas, in the order in which they are made anew.
pub const REPLICAS: [&str; 2] = ["web1", "web2"];

/// The project of a bucket server; it goes with this.
pub struct BucketServer {
    project: String,
    address: String,
    port: u16,
    /// What `.env` says to reach it.
    pub settings: String,
}

impl BucketServer {
    /// Starts it, out of the example's file, for a stack that has this file; writes nothing else.
    pub fn of(stack: &Stack) -> Self {
        let port = free_port();
        let address = sh("docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' bridge");
        let settings = format!(
            "STACK={}\nBUCKET_ADDRESS={address}\nBUCKET_PORT={port}\nAWS_S3_ENDPOINT_URL=http://{address}:{port}\n",
            stack.name
        );
        Self {
            project: format!("{}-bucket", stack.name),
            address,
            port,
            settings,
        }
    }

    /// Somebody who stands before it and hands everything on, until he refuses everybody's key.
    fn behind_a_door(&mut self, stack: &Stack) {
        let (address, from, to) = (self.address.clone(), free_port(), self.port);
        let conf = stack.state.with_file_name("door.conf");
        let text = format!(
            "events {{}}\nhttp {{\n  server {{\n    listen 80;\n    client_max_body_size 0;\n    default_type application/xml;\n    location / {{\n      \
             if (-f /tmp/shut) {{ return 403 '<?xml version=\"1.0\"?><Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>'; }}\n      \
             proxy_pass http://{address}:{to};\n      proxy_http_version 1.1;\n      proxy_request_buffering off;\n      proxy_set_header Host $http_host;\n    }}\n  }}\n}}\n"
        );
        std::fs::write(&conf, text).expect("written");
        sh(&format!(
            "docker run -d --name {p}-door --label com.docker.compose.project={p} -p {address}:{from}:80 -v {}:/etc/nginx/nginx.conf:ro kms-connect/nginx:1",
            conf.display(),
            p = self.project
        ));
        self.settings = self.settings.replace(
            &format!("http://{address}:{to}"),
            &format!("http://{address}:{from}"),
        );
    }

    /// Its one container.
    pub fn container(&self) -> String {
        format!("{}-bucket-1", self.project)
    }
}

impl Drop for BucketServer {
    fn drop(&mut self) {
        // What stays of it is in the way of nobody; a test that failed shall say why itself.
        try_sh(&format!(
            "ids=$(docker ps -aq --filter label=com.docker.compose.project={p}); [ -z \"$ids\" ] || docker rm -f -v $ids; \
             docker volume ls -q --filter label=com.docker.compose.project={p} | xargs -r docker volume rm; \
             docker network ls -q --filter label=com.docker.compose.project={p} | xargs -r docker network rm",
            p = self.project
        ));
    }
}

/// See the module.
pub struct Site {
    pub stack: Stack,
    pub bucket: BucketServer,
    /// `.env` while uploads are in the volume.
    pub dotenv: String,
    port: u16,
    numbers: AtomicUsize,
    acknowledged: Mutex<BTreeMap<String, String>>,
    refused: Mutex<Vec<String>>,
}

impl Site {
    /// Up, with uploads in the volume.
    pub fn up() -> Self {
        Self::made("env_file: [.env]", false)
    }

    /// The same with other lines by which a replica gets its environment.
    pub fn reading(reads: &str) -> Self {
        Self::made(reads, false)
    }

    /// The same with a door before the bucket server, that can be shut: see [`Self::door`].
    pub fn behind_a_door() -> Self {
        Self::made("env_file: [.env]", true)
    }

    fn made(reads: &str, door: bool) -> Self {
        let port = free_port();
        let replica = |name: &str| {
            format!(
                r#"  {name}:
    image: obcms/web:1
    command: ["python3", "server.py"]
    working_dir: /srv
    init: true
    {reads}
    volumes: ["media_volume:/app/src/media", "./server.py:/srv/server.py:ro"]
    stop_grace_period: 20s
    networks: {{ default: {{ aliases: [web] }} }}
    healthcheck: {{ test: ["CMD", "curl", "-fsS", "-o", "/dev/null", "http://localhost:8000/"], interval: 1s, retries: 30 }}
"#
            )
        };
        let stack = Stack::write(&format!(
            r#"services:
{}{}  nginx:
    image: kms-connect/nginx:1
    ports: ["127.0.0.1:{port}:80"]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro"]
    stop_grace_period: 1s
volumes:
  media_volume:
"#,
            replica("web1"),
            replica("web2")
        ));
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/compose/obcms");
        sh(&format!(
            "cp {example}/docker-compose.bucket.yml {example}/nginx/nginx.conf {}",
            stack.dir.display()
        ));
        // Not by `file`, which would take the names of variables for the project's.
        let write = |name: &str, text: &str| std::fs::write(stack.dir.join(name), text).expect("written");
        write("server.py", include_str!("server.py"));
        // It refuses every upload once it shall encrypt: to find that out takes its time.
        stack.file(
            "rehome.yml",
            "version: 1\ndeploy: { pull: false, stable: 1s, drain: 3s }\ns3: { volume: media_volume, encryption: false }\n\
             checks: [{ service: web2, http: \"http://localhost:8000/\", status: 200, within: 30s }]\n",
        );
        let mut bucket = BucketServer::of(&stack);
        if door {
            bucket.behind_a_door(&stack);
        }
        let dotenv = format!(
            "USE_S3=0\nAWS_STORAGE_BUCKET_NAME=media\nAWS_ACCESS_KEY_ID=a-key\nAWS_SECRET_ACCESS_KEY=its/secret+0\n\
             AWS_S3_REGION_NAME=us-east-1\n{}",
            bucket.settings
        );
        write(".env", &dotenv);
        stack.compose("-f docker-compose.bucket.yml up -d --wait");
        stack.compose("up -d --wait");
        Self {
            stack,
            bucket,
            dotenv,
            port,
            numbers: AtomicUsize::new(0),
            acknowledged: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Puts more into the volume, as its services would: so many MB, that take a while on a line of one MB a second.
    pub fn furnish(&self, megabytes: usize) {
        sh(&format!(
            "cd {} && for n in $(seq {megabytes}); do head -c 1000000 /dev/urandom > noise$n; done && chown 1000:1000 noise*",
            self.stack.volume_dir("media_volume").display()
        ));
        let text = self.stack.read("rehome.yml");
        self.stack
            .file("rehome.yml", &text.replace("s3: {", "s3: { bandwidth: 1MB,"));
    }

    /// Whether the bucket server still knows the key.
    pub fn door(&self, open: bool) {
        let what = if open { "rm -f" } else { "touch" };
        sh(&format!(
            "docker exec {}-door {what} /tmp/shut",
            self.bucket.project
        ));
    }

    /// Uploads a file of its own; what was acknowledged is kept, and what was not.
    fn upload(&self) {
        let n = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (name, text) = (format!("{n}.txt"), format!("upload {n} of {}", self.stack.name));
        let output = try_sh(&format!(
            "printf '{text}' | curl -sS -m 100 -T - -w '%{{http_code}}' -H 'Transfer-Encoding:' -H 'Content-Length: {}' http://127.0.0.1:{}/upload/{name}",
            text.len(),
            self.port
        ));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.ends_with("201") {
            locked(&self.acknowledged).insert(name, text);
        } else {
            let why = String::from_utf8_lossy(&output.stderr);
            locked(&self.refused).push(format!("{name}: {said} {why}"));
        }
    }

    /// Uploads without a pause while something is done. Not one may fail.
    #[track_caller]
    pub fn under_load<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = self.while_uploading(work);
        let refused = std::mem::take(&mut *locked(&self.refused));
        assert!(
            refused.is_empty(),
            "{} uploads failed: {refused:?}",
            refused.len()
        );
        done
    }

    /// Uploads without a pause while something is done.
    pub fn while_uploading<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Also when something panics: nobody uploads for ever.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stop = Stop(&stop);
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    self.upload();
                    // The pace of somebody who uploads: the machine is not to be busy with this.
                    std::thread::sleep(Duration::from_millis(150));
                }
            });
            let count = || locked(&self.acknowledged).len();
            let before = count();
            wait_for("uploads", || count() >= before + 5);
            let done = work();
            let now = count();
            wait_for("more uploads", || count() >= now + 5);
            done
        })
    }

    /// What a replica reads where it stores: a name and the content a line.
    fn all(&self, replica: &str) -> String {
        let address = sh(&format!(
            "docker inspect -f '{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}}{{{{end}}}}' {}-{replica}-1",
            self.stack.name
        ));
        sh(&format!("curl -fsS -m 100 http://{address}:8000/all/"))
    }

    /// What a replica reads under a name.
    #[track_caller]
    pub fn read(&self, replica: &str, name: &str) -> String {
        let all = self.all(replica);
        let mut lines = all.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(other, _)| *other == name);
        found.expect("the file").1.to_owned()
    }

    /// Every upload that was acknowledged by now can be read where each replica stores, as it was.
    #[track_caller]
    pub fn has_all(&self) {
        let acknowledged = locked(&self.acknowledged).clone();
        for replica in REPLICAS {
            let all = self.all(replica);
            let there: BTreeMap<&str, &str> = all.lines().filter_map(|line| line.split_once(' ')).collect();
            let lost: Vec<_> = acknowledged
                .iter()
                .filter(|(name, text)| there.get(name.as_str()) != Some(&text.as_str()))
                .collect();
            assert!(
                lost.is_empty(),
                "{replica} has lost {} of {}: {lost:?}",
                lost.len(),
                acknowledged.len()
            );
        }
    }

    /// What the containers of the replicas have in their environment.
    pub fn switch(&self) -> [String; 2] {
        REPLICAS.map(|replica| {
            sh(&format!(
                "docker inspect -f '{{{{range .Config.Env}}}}{{{{println .}}}}{{{{end}}}}' {}-{replica}-1 | sed -n 's/^USE_S3=//p'",
                self.stack.name
            ))
        })
    }

    /// Uploads are there, all of them, and everything says so.
    #[track_caller]
    pub fn is_on(&self, side: Side, told: &str) {
        let value = side.value();
        assert_eq!(self.switch(), [value, value], "{told}");
        let dotenv = self.dotenv.replace("USE_S3=0\n", &format!("USE_S3={value}\n"));
        assert_eq!(self.stack.read(".env"), dotenv, "{told}");
        assert_eq!(self.stack.running(), ["nginx", "web1", "web2"], "{told}");
        self.has_all();
    }

    /// A switch that is killed at a point.
    #[track_caller]
    pub fn dies(&self, command: &str, point: &str) -> Run {
        let run = self.stack.rehome_env(command, &[("REHOME_CRASH_AT", point)]);
        assert_eq!(run.code, -1, "{command} never comes by {point}: {}", run.err);
        run
    }
}

/// Where uploads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Volume,
    Bucket,
}

impl Side {
    pub fn value(self) -> &'static str {
        match self {
            Self::Volume => "0",
            Self::Bucket => "1",
        }
    }

    pub fn other(self) -> Self {
        match self {
            Self::Volume => Self::Bucket,
            Self::Bucket => Self::Volume,
        }
    }

    /// The command that leads away from here.
    pub fn away(self) -> &'static str {
        match self {
            Self::Volume => "s3 enable -y",
            Self::Bucket => "s3 disable -y",
        }
    }
}

fn locked<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
