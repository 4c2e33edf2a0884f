//! The disk of the state directory is full: a change is refused or done, and never half of it.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::listening::address_of;

/// A server whose state directory is a small disk that nobody else sees.
struct Small {
    _dir: tempfile::TempDir,
    /// As seen through the server.
    state: PathBuf,
    url: String,
    token: String,
    child: Child,
}

impl Small {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (small, token) = (dir.path().join("small"), dir.path().join("token"));
        std::fs::create_dir(&small).unwrap();
        let script = "mount -t tmpfs -o size=600k,nr_inodes=300 none \"$0\"\n\
            \"$1\" --state-dir \"$0/state\" serve token create all --scope operate >\"$2\"\n\
            exec \"$1\" --state-dir \"$0/state\" serve --listen 127.0.0.1:0";
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "bash", "-euc", script])
            .arg(&small)
            .arg(env!("CARGO_BIN_EXE_rehome"))
            .arg(&token)
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let url = address_of(&mut child);
        Self {
            state: PathBuf::from(format!("/proc/{}/root{}/state", child.id(), small.display())),
            token: std::fs::read_to_string(&token).unwrap().trim().to_owned(),
            url,
            child,
            _dir: dir,
        }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let output: Output = Command::new("curl")
            .args(["-sS", "--max-time", "60", "-w", "\n%{http_code}", "-X", method])
            .args(["-H", &format!("Authorization: Bearer {}", self.token)])
            .args(["-H", "Content-Type: application/json", "-d", body])
            .arg(format!("{}{path}", self.url))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// Leaves so many KB of the disk free.
    fn leave(&self, kilobytes: u32) {
        // df would look for the disk among our own. One that keeps something for itself is full before it is.
        let script = "free() { stat -f -c '%a %S' \"$0\" | awk '{ print int($1 * $2 / 1024) }'; }\n\
            rm -f \"$0/../filler\"\n\
            head -c $(( ($(free) - $1) * 1024 )) /dev/zero >\"$0/../filler\" 2>/dev/null || true\n\
            [ $(free) -le \"$1\" ]";
        let filled = Command::new("bash")
            .args(["-euc", script])
            .arg(&self.state)
            .arg(kilobytes.to_string())
            .status();
        assert!(filled.unwrap().success());
    }

    /// Leaves so many files to be made on the disk, however small.
    fn leave_files(&self, count: u32) {
        let script = "mkdir \"$0/../many\"\nfree=$(stat -f -c %d \"$0\")\n\
            for ((n = 0; n < free - $1; n++)); do : >\"$0/../many/$n\"; done\n[ $(stat -f -c %d \"$0\") -eq \"$1\" ]";
        let filled = Command::new("bash")
            .args(["-euc", script])
            .arg(&self.state)
            .arg(count.to_string())
            .status();
        assert!(filled.unwrap().success());
    }

    fn room_for_files(&self) {
        std::fs::remove_dir_all(self.state.join("../many")).unwrap();
    }

    fn room(&self) {
        std::fs::remove_file(self.state.join("../filler")).unwrap();
    }

    /// Whether a site is in the list, and whether its files are there: all, or nothing of them.
    #[track_caller]
    fn is_whole(&self, name: &str, wanted: bool) {
        let (status, list) = self.ask("GET", "/api/sites", "");
        assert_eq!(status, 200, "{list}");
        let listed = list.as_array().unwrap().iter().any(|site| site["name"] == name);
        let directory = self.state.join("sites").join(name);
        let files = ["docker-compose.yml", "rehome.yml"].map(|file| directory.join(file).exists());
        assert_eq!((listed, files), (wanted, [wanted; 2]), "{name}");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn what_a_full_disk_refuses_is_not_half_there_and_works_with_room() {
    let server = Small::start();
    let body = |name: &str, port: u32| {
        format!("{{\"name\":\"{name}\",\"image\":\"x\",\"port\":{{\"host\":{port},\"container\":80}}}}")
    };
    let (status, first) = server.ask("POST", "/api/sites", &body("first", 20_000));
    assert_eq!(status, 201, "{first}");
    let (mut refused, mut done) = (0, 0);
    for left in (0..40).step_by(4).chain([0]) {
        let name = format!("s{}", refused + done);
        let body = body(&name, 20_001 + refused + done);
        server.leave(left);
        let (status, answer) = server.ask("POST", "/api/sites", &body);
        server.is_whole("first", true);
        if status == 201 {
            done += 1;
            server.is_whole(&name, true);
            server.room();
            continue;
        }
        refused += 1;
        assert!([500, 503].contains(&status), "{left}: {answer}");
        assert!(
            answer["title"].is_string() && answer["type"].is_string(),
            "{answer}"
        );
        server.is_whole(&name, false);
        let (status, answer) = server.ask("PATCH", "/api/sites/first", r#"{"persistent_storage":true}"#);
        assert_eq!(status, 503, "{left}: {answer}");
        // Nothing is in the way of the same once more.
        server.room();
        let (status, answer) = server.ask("POST", "/api/sites", &body);
        assert_eq!(status, 201, "{left}: {answer}");
        server.is_whole(&name, true);
    }
    assert!(refused > 1 && done > 0, "{refused} {done}");
}

#[test]
fn a_disk_that_takes_no_more_files_leaves_no_half_of_a_site() {
    let server = Small::start();
    let body = |n: u32| {
        format!(
            "{{\"name\":\"s{n}\",\"image\":\"x\",\"port\":{{\"host\":{},\"container\":80}}}}",
            20_000 + n
        )
    };
    // The databases are there.
    assert_eq!(server.ask("POST", "/api/sites", &body(100)).0, 201);
    let (mut refused, mut done) = (0, 0);
    for left in 0..8 {
        let name = format!("s{left}");
        server.leave_files(left);
        let (status, answer) = server.ask("POST", "/api/sites", &body(left));
        server.is_whole(&name, status == 201);
        server.room_for_files();
        if status == 201 {
            done += 1;
            continue;
        }
        refused += 1;
        assert!([500, 503].contains(&status), "{left}: {answer}");
        let (status, answer) = server.ask("POST", "/api/sites", &body(left));
        assert_eq!(status, 201, "{left}: {answer}");
        server.is_whole(&name, true);
    }
    assert!(refused > 2 && done > 0, "{refused} {done}");
}
