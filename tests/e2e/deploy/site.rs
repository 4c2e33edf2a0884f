//! The small stack that deployments are tried on, and what they are judged by: `docker inspect`, and a client that asks
//! all the time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stacks::free_port;
use crate::support::{BUSYBOX, Run, Stack, sh, try_sh, wait_for};

/// What a version of `app` does when it starts. It is well when nothing is said here.
#[derive(Clone, Copy, Default)]
pub struct Version<'a> {
    /// Runs before it serves: `exit 3`.
    pub starts: &'a str,
    /// The migration, as the hook runs it.
    pub migrates: &'a str,
    /// It serves no `/health`: its own healthcheck does not notice.
    pub unwell: bool,
}

/// Images that go when the test ends; after the containers that are made of them.
pub struct Images(pub String);

impl Drop for Images {
    fn drop(&mut self) {
        // What was pulled anew leaves an image without a tag behind.
        let output = try_sh(&format!(
            "docker image ls --format '{{{{.Repository}}}} {{{{if eq .Tag \"<none>\"}}}}{{{{.ID}}}}{{{{else}}}}{{{{.Repository}}}}:{{{{.Tag}}}}{{{{end}}}}' \
             | awk '$1 ~ \"(^|/){}/app$\" {{ print $2 }}' | xargs -r docker rmi -f >/dev/null",
            self.0
        ));
        if !output.status.success() && !std::thread::panicking() {
            panic!("images are left: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// `app`, an image of its own in versions; `once`, which ends well; `store`, which writes; `side`, which somebody
/// stopped. Ready in seconds.
pub struct Site {
    pub stack: Stack,
    pub port: u16,
    _images: Images,
}

impl Site {
    /// Up, with version 1.
    pub fn up() -> Self {
        Self::up_from("NAME/app")
    }

    /// The same with the images in a repository: of a registry. `NAME` in it becomes the project's name.
    pub fn up_from(repository: &str) -> Self {
        let port = free_port();
        let stack = Stack::write(&format!(
            r#"services:
  app:
    image: {repository}:${{TAG}}
    environment: {{ COLOUR: "${{COLOUR:-blue}}" }}
    ports: ["127.0.0.1:{port}:8000"]
    volumes: ["data:/data", "/scratch"]
    depends_on: {{ store: {{ condition: service_healthy }}, once: {{ condition: service_completed_successfully }} }}
    restart: unless-stopped
    stop_grace_period: 2s
    init: true
    healthcheck: {{ test: ["CMD", "test", "-e", "/tmp/up"], interval: 1s, retries: 5 }}
  once:
    image: {BUSYBOX}
    pull_policy: never
    command: ["sh", "-c", "echo ran >> /data/once"]
    environment: {{ COLOUR: "${{COLOUR:-blue}}" }}
    volumes: ["data:/data"]
  store:
    image: {BUSYBOX}
    pull_policy: never
    command: ["sh", "-c", "trap 'exit 0' TERM; while true; do cat /proc/uptime >> /data/log; sleep 0.1; done"]
    volumes: ["data:/data"]
    stop_grace_period: 2s
    healthcheck: {{ test: ["CMD", "test", "-s", "/data/log"], interval: 1s, retries: 5 }}
  side:
    image: {BUSYBOX}
    pull_policy: never
    command: ["sleep", "1000000"]
    environment: {{ COLOUR: "${{COLOUR:-blue}}" }}
    init: true
volumes:
  data:
"#
        ));
        let images = Images(stack.name.clone());
        stack.file(".env", "TAG=1\n");
        stack.file(
            "rehome.yml",
            "version: 1\nhooks: { after_start: [ { service: app, run: [sh, -c, 'eval \"$MIGRATE\"'] } ] }\n\
             checks: [ { service: app, http: 'http://localhost:8000/health', within: 2s } ]\n\
             deploy: { pull: false, stable: 1s, limit: 30s }\n",
        );
        let site = Self {
            stack,
            port,
            _images: images,
        };
        let repository = repository.replace("NAME", &site.stack.name);
        site.make(&format!("{repository}:1"), Version::default());
        site.stack.compose("up -d");
        site.stack.compose("stop -t 0 side");
        site
    }

    /// Makes an image of `app` without a builder. Its version is its tag; two with one tag differ all the same.
    pub fn make(&self, image: &str, version: Version) {
        let (_, tag) = image.rsplit_once(':').unwrap();
        let health = if version.unwell {
            "true"
        } else {
            "touch /www/health"
        };
        let starts = if version.starts.is_empty() {
            "true"
        } else {
            version.starts
        };
        let migrates = if version.migrates.is_empty() {
            "echo whole $VERSION >> /data/migrated"
        } else {
            version.migrates
        };
        let command = json!([
            "sh",
            "-c",
            format!(
                "{starts}; mkdir -p /www && printf $VERSION > /www/version && {health} && touch /tmp/up && exec httpd -f -p 8000 -h /www"
            )
        ]);
        sh(&format!(
            "id=$(docker create {BUSYBOX}); docker commit --change 'CMD {command}' --change 'ENV VERSION={tag}' \
             --change 'ENV MIGRATE=\"{migrates}\"' $id {image} >/dev/null; docker rm $id >/dev/null"
        ));
    }

    /// Makes the next version, and lets the files say it.
    pub fn next(&self, tag: &str, version: Version) {
        self.make(&format!("{}/app:{tag}", self.stack.name), version);
        self.wants(tag);
    }

    /// The files name this version.
    pub fn wants(&self, tag: &str) {
        self.stack.file(".env", &format!("TAG={tag}\nCOLOUR=of-{tag}\n"));
    }

    /// `rehome deploy`.
    pub fn deploy(&self) -> Run {
        self.stack.rehome("deploy -y")
    }

    /// Lines that the hooks and the service that ends wrote into the volume.
    pub fn written(&self, file: &str) -> Vec<String> {
        let text = self.stack.exec("store", &format!("cat /data/{file}"));
        text.lines().map(str::to_owned).collect()
    }
}

/// The run that the last event of `--json` is about.
pub fn finished(run: &Run, outcome: &str) -> Value {
    let last = run.events().pop().expect("an event");
    assert_eq!(last["event"], "finished", "{last}");
    assert_eq!(last["outcome"], outcome, "{last}");
    last
}

/// What containers are made of, by `docker inspect`: all that was asked for. Left out is what the engine makes of a
/// container's own id.
pub fn made_of(stack: &Stack) -> BTreeMap<String, Value> {
    let ids = sh(&format!(
        "docker ps -aq --filter label=com.docker.compose.project={} | tr '\\n' ' '",
        stack.name
    ));
    let all: Vec<Value> = serde_json::from_str(&sh(&format!("docker inspect {ids}"))).unwrap();
    all.into_iter()
        .map(|mut container| {
            let id = container["Id"].as_str().unwrap()[..12].to_owned();
            container["Config"].as_object_mut().unwrap().remove("Hostname");
            // An anonymous volume stays with its container by being named; what is mounted in the end is compared.
            let host = container["HostConfig"].as_object_mut().unwrap();
            host.remove("Binds");
            for mount in host
                .get_mut("Mounts")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if mount["Type"] == "volume" {
                    mount.as_object_mut().unwrap().remove("Source");
                }
            }
            let mut mounts = container["Mounts"].as_array().unwrap().clone();
            mounts.sort_by_key(|m| m["Destination"].as_str().unwrap().to_owned());
            for mount in &mut mounts {
                // `z` and the like, which only `Binds` has.
                mount.as_object_mut().unwrap().remove("Mode");
            }
            let networks = container["NetworkSettings"]["Networks"].as_object().unwrap();
            let networks: BTreeMap<_, Vec<_>> = networks
                .iter()
                .map(|(name, endpoint)| {
                    let aliases = endpoint["Aliases"].as_array().cloned().unwrap_or_default();
                    let mut aliases: Vec<_> = aliases
                        .iter()
                        .map(|a| a.as_str().unwrap().to_owned())
                        .filter(|a| *a != id)
                        .collect();
                    aliases.sort();
                    aliases.dedup();
                    (name.clone(), aliases)
                })
                .collect();
            let made = json!({
                "image": container["Image"],
                "config": container["Config"],
                "host": container["HostConfig"],
                "mounts": mounts,
                "networks": networks,
                "running": container["State"]["Running"],
            });
            (container["Name"].as_str().unwrap().to_owned(), made)
        })
        .collect()
}

/// Both are made of the same.
#[track_caller]
pub fn assert_same(now: &BTreeMap<String, Value>, before: &BTreeMap<String, Value>) {
    let (now, before) = (flat(&json!(now)), flat(&json!(before)));
    let paths = now.keys().chain(before.keys());
    let differ: BTreeMap<_, _> = paths
        .filter(|path| now.get(*path) != before.get(*path))
        .map(|path| (path, (before.get(path), now.get(path))))
        .collect();
    assert!(differ.is_empty(), "before and now:\n{differ:#?}");
}

/// Every leaf by its path.
fn flat(value: &Value) -> BTreeMap<String, Value> {
    let below = |key: &str, value: &Value| -> Vec<(String, Value)> {
        let leaves = flat(value).into_iter();
        leaves
            .map(|(path, leaf)| (format!("/{key}{path}"), leaf))
            .collect()
    };
    match value {
        Value::Object(map) => map.iter().flat_map(|(key, value)| below(key, value)).collect(),
        Value::Array(list) => (0..)
            .zip(list)
            .flat_map(|(n, value)| below(&format!("{n}"), value))
            .collect(),
        leaf => BTreeMap::from([(String::new(), leaf.clone())]),
    }
}

/// The id of a service's container.
pub fn id_of(stack: &Stack, service: &str) -> String {
    sh(&format!(
        "docker ps -aq --no-trunc --filter label=com.docker.compose.project={} --filter label=com.docker.compose.service={service}",
        stack.name
    ))
}

/// The spares and tags that Rehome keeps of a project.
pub fn kept(stack: &Stack) -> (usize, usize) {
    let count = |script: String| sh(&script).lines().count();
    (
        count(format!(
            "docker ps -aq --filter label=rehome.spare --filter label=rehome.project={}",
            stack.name
        )),
        count(format!(
            "docker image ls -q --filter reference='rehome-kept/{}/*'",
            stack.name
        )),
    )
}

/// How often the client asks.
const PACE: Duration = Duration::from_millis(5);

/// Somebody who asks a port all the time.
pub struct Client {
    over: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<Asked>>>,
    thread: Option<JoinHandle<()>>,
}

/// When a request was made, and its answer if there was one.
type Asked = (Instant, Option<String>);

/// What a client heard.
#[derive(Debug)]
pub struct Heard {
    /// The different answers, in their order.
    pub answers: Vec<String>,
    /// Requests that were not.
    pub lost: usize,
    /// The times when none was, one after the other.
    pub gaps: Vec<Duration>,
}

impl Client {
    /// Begins, and waits for the first answer. It gives a request up after two seconds, and asks again.
    pub fn of(port: u16, path: &str) -> Self {
        Self::with(port, path, Duration::from_secs(2))
    }

    /// The same for one who waits for an answer as long as it takes: behind a proxy that tries another container when
    /// one went away under its hands.
    pub fn patient(port: u16, path: &str) -> Self {
        Self::with(port, path, Duration::from_secs(30))
    }

    fn with(port: u16, path: &str, limit: Duration) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (told, book) = (Arc::clone(&over), Arc::clone(&heard));
        let path = path.to_owned();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let answer = ask(port, &path, limit);
                let mut book = book.lock().unwrap();
                // A proxy that was started this moment does not listen yet: what was never there is not lost.
                if answer.is_some() || !book.is_empty() {
                    book.push((asked, answer));
                }
                drop(book);
                std::thread::sleep(PACE);
            }
        });
        let client = Self {
            over,
            heard,
            thread: Some(thread),
        };
        client.hears_now();
        client
    }

    /// Waits for an answer to a request that is made from now on.
    #[track_caller]
    fn hears_now(&self) {
        let now = Instant::now();
        wait_for("an answer", || {
            let heard = self.heard.lock().unwrap();
            heard
                .iter()
                .rev()
                .any(|(asked, answer)| *asked > now && answer.is_some())
        });
    }

    /// Asks once more, and says what was heard.
    #[track_caller]
    pub fn end(mut self) -> Heard {
        self.hears_now();
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        let mut answers: Vec<String> = heard.iter().filter_map(|(_, answer)| answer.clone()).collect();
        let answered = answers.len();
        answers.dedup();
        // From the first lost one until the next answer.
        let mut gaps = Vec::new();
        let mut since = None;
        for (asked, answer) in &heard {
            match (answer, since) {
                (None, None) => since = Some(*asked),
                (Some(_), Some(began)) => {
                    gaps.push(*asked - began);
                    since = None;
                }
                _ => {}
            }
        }
        Heard {
            lost: heard.len() - answered,
            answers,
            gaps,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The body of a page, if it is answered with 200.
fn ask(port: u16, path: &str, limit: Duration) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?;
    // Cut off in the middle by the end of a container, it is no answer.
    (status == "200" && !body.is_empty()).then(|| body.trim().to_owned())
}
