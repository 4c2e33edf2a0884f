//! A server with a state directory of its own, and curl.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::listening::address_of;

pub const PASSWORD: &str = "correct horse battery";

/// The command line, on the server's state.
pub fn rehome(state: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = command(state)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A call that fails before it reads has closed it.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

pub fn command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rehome"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", state)
        // Nobody answers there.
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .current_dir(state.parent().unwrap())
        .arg("--state-dir")
        .arg(state);
    command
}

pub struct Server {
    pub dir: tempfile::TempDir,
    pub url: String,
    pub operate: String,
    pub read: String,
    child: Child,
}

/// An answer, as curl saw it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.body);
        self
    }
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let added = rehome(
            &state,
            &["serve", "user", "add", "ada", "--password-stdin"],
            &format!("{PASSWORD}\n"),
        );
        assert!(added.status.success(), "{added:?}");
        let token = |name: &str, scope: &str| {
            let made = rehome(&state, &["serve", "token", "create", name, "--scope", scope], "");
            assert!(made.status.success(), "{made:?}");
            String::from_utf8(made.stdout).unwrap().trim().to_owned()
        };
        let (operate, read) = (token("ops", "operate"), token("eyes", "read"));
        let mut child = command(&state)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let url = address_of(&mut child);
        Self {
            dir,
            url,
            operate,
            read,
            child,
        }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn rehome(&self, arguments: &[&str], input: &str) -> Output {
        rehome(&self.state(), arguments, input)
    }

    /// curl with these arguments, the path last.
    #[track_caller]
    pub fn curl(&self, arguments: &[&str], path: &str) -> Answer {
        let output = Command::new("curl")
            .args(["-sS", "-i", "--path-as-is", "--max-time", "60", "-H", "Expect:"])
            .args(arguments)
            .arg(format!("{}{path}", self.url))
            .output()
            .expect("curl is there");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Answer {
            status,
            headers: headers
                .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    /// With a token.
    #[track_caller]
    pub fn with(&self, token: &str, arguments: &[&str], path: &str) -> Answer {
        let header = format!("Authorization: Bearer {token}");
        self.curl(&[&["-H", &header], arguments].concat(), path)
    }

    /// With a token and a body of JSON.
    #[track_caller]
    pub fn json(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        self.with(
            token,
            &["-X", method, "-H", "Content-Type: application/json", "-d", body],
            path,
        )
    }

    /// The cookie of a login, and its CSRF token.
    #[track_caller]
    pub fn log_in(&self) -> (String, String) {
        let answer = self.curl(
            &["-d", &format!("name=ada&password={}", PASSWORD.replace(' ', "+"))],
            "/login",
        );
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = answer.header("set-cookie").unwrap();
        let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
        let who = self.curl(&["-H", &cookie], "/api/whoami").is(200).json();
        (cookie, who["csrf"].as_str().unwrap().to_owned())
    }

    /// Every file below the state directory but the server's own database.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut open = vec![self.state()];
        let mut found = Vec::new();
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
                if entry.path().is_dir() {
                    open.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found.retain(|path| {
            !path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("serve.db")
        });
        found.sort();
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What another program reads in the server's database.
pub fn sql(state: &Path, query: &str) -> String {
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=30)\nfor row in db.execute(sys.argv[2]): print(*row, sep='|')\ndb.commit()";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(state.join("serve.db"))
        .arg(query)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
