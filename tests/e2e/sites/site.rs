//! The example site, and somebody who writes notes into it without a pause.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::stacks::free_port;
use crate::support::{Run, Stack, sh, wait_for};

pub fn full() -> bool {
    std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full")
}

/// See the module.
pub struct Site {
    pub stack: Stack,
    pub port: u16,
    /// The project's name and directory, where they are not those of the stack.
    pub project: Option<(String, PathBuf)>,
}

/// The example in Python.
pub const PYTHON: &str = include_str!("../../../compose/sites/python/docker-compose.yml");
/// The same in Node.js.
pub const NODE: &str = include_str!("../../../compose/sites/node/docker-compose.yml");

impl Site {
    /// Its files.
    pub fn written() -> Self {
        Self::of(PYTHON)
    }

    /// The files of one of the examples.
    pub fn of(text: &str) -> Self {
        let stack = Stack::write(text);
        let port = free_port();
        stack.file(".env", &format!("# The site\nPORT={port}\n"));
        Self {
            stack,
            port,
            project: None,
        }
    }

    /// It runs.
    pub fn up() -> Self {
        Self::up_with(PYTHON)
    }

    /// One of the examples runs.
    pub fn up_with(text: &str) -> Self {
        let site = Self::of(text);
        site.stack.compose("up -d --wait");
        site
    }

    pub fn name(&self) -> &str {
        &self.stack.name
    }

    /// The root of all sites.
    pub fn root(&self) -> PathBuf {
        self.stack.state.with_file_name("data")
    }

    pub fn data(&self) -> PathBuf {
        self.root().join(self.name())
    }

    pub fn rehome(&self, arguments: &str) -> Run {
        self.rehome_env(arguments, &[])
    }

    pub fn rehome_env(&self, arguments: &str, env: &[(&str, &str)]) -> Run {
        let root = self.root();
        let root = [("DEPLOY_DATA_PATH", root.to_str().expect("ASCII"))];
        self.stack.rehome_env(arguments, &[&root[..], env].concat())
    }

    pub fn enable(&self) -> Run {
        self.rehome(&format!("site enable {} -y", self.name()))
    }

    pub fn disable(&self) -> Run {
        self.rehome(&format!("site disable {} -y", self.name()))
    }

    pub fn dotenv(&self) -> String {
        self.stack.read(".env")
    }

    /// `.env` without the line of a variable.
    pub fn dotenv_without(&self, name: &str) -> String {
        let line = format!("{name}=");
        let text = self.dotenv();
        text.lines()
            .filter(|l| !l.starts_with(&line))
            .map(|l| format!("{l}\n"))
            .collect()
    }

    /// The id of its one container.
    #[track_caller]
    pub fn container(&self) -> String {
        let project = self.project.as_ref().map_or(self.name(), |(name, _)| name);
        let found = sh(&format!(
            "docker ps -q --no-trunc --filter label=com.docker.compose.project={project}"
        ));
        assert_eq!(found.lines().count(), 1, "{found:?}");
        found
    }

    /// What the container is made of, apart from its id.
    pub fn shape(&self) -> BTreeMap<String, String> {
        self.stack.shape()
    }

    /// Its container has the directory, or has not; and the database of sites says so.
    #[track_caller]
    pub fn is(&self, on: bool) {
        self.is_so(on, "");
    }

    /// The same, after what.
    #[track_caller]
    pub fn is_so(&self, on: bool, after: &str) {
        let inspected = sh(&format!(
            "docker inspect -f '{{{{range .Mounts}}}}{{{{.Type}}}} {{{{.Source}}}} {{{{.Destination}}}} {{{{.RW}}}};{{{{end}}}}|{{{{range .Config.Env}}}}{{{{.}}}};{{{{end}}}}' {}",
            self.container()
        ));
        let (mounts, env) = inspected.split_once('|').expect("both");
        let wanted = match on {
            true => format!("bind {} /data true;", self.data().display()),
            false => String::new(),
        };
        assert_eq!(mounts, wanted, "{after}");
        assert_eq!(env.contains("DATA_DIR=/data;"), on, "{env} {after}");
        let shown = self
            .rehome(&format!("site show {} --json", self.name()))
            .exits(0)
            .json();
        assert_eq!(
            shown["persistent_storage"],
            if on { "on" } else { "off" },
            "{after}"
        );
        let answers = || {
            self.request("GET /health", "")
                .is_some_and(|(status, _)| status == 200)
        };
        wait_for("the site", answers);
    }

    /// The notes, as another program reads them in the database.
    #[track_caller]
    pub fn notes(&self) -> BTreeSet<String> {
        self.notes_in(&self.data())
    }

    /// The same of a copy of its directory.
    #[track_caller]
    pub fn notes_in(&self, data: &Path) -> BTreeSet<String> {
        ask(data, "SELECT text FROM notes")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub fn integrity(&self) -> String {
        ask(&self.data(), "PRAGMA integrity_check")
    }

    /// Writes a note; returns it once it is acknowledged.
    pub fn note(&self, text: &str) -> Option<String> {
        let (status, _) = self.request("POST /", text)?;
        (status == 201).then(|| text.to_owned())
    }

    fn request(&self, line: &str, body: &str) -> Option<(u16, String)> {
        request(self.port, line, body)
    }
}

/// What another program reads in the database of a site.
fn ask(data: &Path, query: &str) -> String {
    sh(&format!(
        "python3 - <<'EOF'\nimport sqlite3\nfor row in sqlite3.connect('{}/notes.db', timeout=30).execute('{query}'): print(row[0])\nEOF",
        data.display()
    ))
}

/// One request; nothing if it was not answered.
fn request(port: u16, line: &str, body: &str) -> Option<(u16, String)> {
    let limit = Duration::from_secs(20);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    let text = format!(
        "{line} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split_whitespace().nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

/// Writes notes without a pause. A note that was not acknowledged may be there or not.
pub struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub fn start(site: &Site) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (port, stopped, told) = (site.port, Arc::clone(&stop), Arc::clone(&acknowledged));
        let thread = std::thread::spawn(move || {
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let note = format!("note {n}");
                match request(port, "POST /", &note) {
                    Some((201, _)) => told.lock().unwrap().push(note),
                    // It is away, or has no place for notes.
                    _ => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        Self {
            stop,
            acknowledged,
            thread: Some(thread),
        }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until so many more are acknowledged.
    #[track_caller]
    pub fn goes_on(&self, more: usize) {
        let now = self.count();
        wait_for("notes", || self.count() >= now + more);
    }

    /// What is acknowledged by now.
    pub fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Ends it; what was acknowledged.
    pub fn end(mut self) -> Vec<String> {
        self.join();
        std::mem::take(&mut *self.acknowledged.lock().unwrap())
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the writer ends");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // That of an image is no project of the stack.
        if let Some((project, _)) = &self.project {
            crate::support::try_sh(&format!(
                "ids=$(docker ps -aq --filter label=com.docker.compose.project={project}; docker ps -aq --filter label=rehome.project={project}); \
                 [ -z \"$ids\" ] || docker rm -f -v $ids; \
                 docker network ls -q --filter label=com.docker.compose.project={project} | xargs -r docker network rm"
            ));
        }
    }
}
