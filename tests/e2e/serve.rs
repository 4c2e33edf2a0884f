//! `rehome serve` on an engine: a switch by one PATCH, followed by its events; two at once; the server killed in between.

mod document;
mod events;
mod full;

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::listening::address_of;
use crate::sites::site::{Site, Writer};
use crate::support::{Stack, sh, wait_for};

/// A server on the state of a stack.
pub struct Server {
    pub url: String,
    token: String,
    pub child: Child,
}

impl Server {
    pub fn start(site: &Site, env: &[(&str, &str)]) -> Self {
        Self::start_under(&[], site, env)
    }

    /// Started by another program, which becomes the server.
    fn start_under(words: &[String], site: &Site, env: &[(&str, &str)]) -> Self {
        let root = site.root();
        let root = [("DEPLOY_DATA_PATH", root.to_str().expect("ASCII"))];
        Self::of_under(words, &site.stack, &[&root[..], env].concat())
    }

    pub fn of(stack: &Stack, env: &[(&str, &str)]) -> Self {
        Self::of_under(&[], stack, env)
    }

    fn of_under(words: &[String], stack: &Stack, env: &[(&str, &str)]) -> Self {
        let name = format!("t{}", crate::support::unique());
        let made = stack
            .rehome(&format!("serve token create {name} --scope operate"))
            .exits(0);
        let token = made.out.trim().to_owned();
        let mut command = stack.command("serve --listen 127.0.0.1:0", env);
        if let [first, more @ ..] = words {
            let mut outer = Command::new(first);
            outer
                .args(more)
                .arg(command.get_program())
                .args(command.get_args());
            outer.env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
            outer.envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            command = outer;
        }
        // It is in no project's directory.
        let mut child = command
            .current_dir("/")
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let url = address_of(&mut child);
        Self { url, token, child }
    }

    /// One request by curl: its status and its body.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let output = Command::new("curl")
            .args([
                "-sS",
                "-N",
                "--max-time",
                "240",
                "-w",
                "\n%{http_code}",
                "-X",
                method,
            ])
            .args(["-H", &format!("Authorization: Bearer {}", self.token)])
            .args(["-H", "Content-Type: application/json", "-d", body])
            .arg(format!("{}{path}", self.url))
            .output()
            .expect("curl is there");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }

    fn switch(&self, site: &Site, on: bool) -> (u16, Value) {
        let body = format!("{{\"persistent_storage\":{on}}}");
        let (status, text) = self.ask("PATCH", &format!("/api/sites/{}", site.name()), &body);
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    fn run(&self, run: &str) -> Value {
        let (status, text) = self.ask("GET", &format!("/api/runs/{run}"), "");
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Every event of a run, to its end.
    fn events(&self, run: &str) -> Vec<Value> {
        let (status, text) = self.ask("GET", &format!("/api/runs/{run}/events"), "");
        assert_eq!(status, 200, "{text}");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    }

    #[track_caller]
    pub fn to_its_end(&self, run: &str, outcome: &str) {
        let events = self.events(run);
        let kinds: Vec<_> = events
            .iter()
            .filter_map(|event| event["event"].as_str())
            .collect();
        assert!(
            kinds.contains(&"run_started") && kinds.contains(&"step_finished"),
            "{kinds:?}"
        );
        let last = events.last().expect("an end");
        assert_eq!(
            (&last["event"], &last["outcome"]),
            (&"finished".into(), &outcome.into()),
            "{last}"
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub fn added() -> Site {
    let site = Site::up();
    site.rehome(&format!("site add {} --project .", site.name()))
        .exits(0);
    site
}

#[test]
fn one_patch_switches_it_on_and_its_data_survives_a_redeployment() {
    let site = added();
    let server = Server::start(&site, &[]);
    let (status, plan) = {
        let body = r#"{"persistent_storage":true,"dry_run":true}"#;
        let (status, text) = server.ask("PATCH", &format!("/api/sites/{}", site.name()), body);
        (status, serde_json::from_str::<Value>(&text).expect("JSON"))
    };
    assert_eq!(
        (status, plan["facts"]["data"].as_str()),
        (200, site.data().to_str()),
        "{plan}"
    );
    site.is(false);

    // Whoever leaves while it is planned leaves nothing open behind him.
    let left = Command::new("curl")
        .args(["-sS", "--max-time", "0.2", "-X", "PATCH"])
        .args(["-H", &format!("Authorization: Bearer {}", server.token)])
        .args(["-H", "Content-Type: application/json"])
        .args(["-d", r#"{"persistent_storage":true,"dry_run":true}"#])
        .arg(format!("{}/api/sites/{}", server.url, site.name()))
        .status()
        .expect("curl is there");
    assert_eq!(left.code(), Some(28), "it had no time");
    wait_for("the end of its line", || {
        let audit = server.ask("GET", "/api/audit", "").1;
        let audit: Value = serde_json::from_str(&audit).expect("JSON");
        audit[0]["what"] == "PATCH" && audit[0]["outcome"] == "200: only the plan was asked for"
    });

    // Two at once: one runs, the other is refused, and says who is at it.
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| server.switch(&site, true)));
        both.map(|one| one.join().expect("it answers")).into()
    });
    let mut status: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
    status.sort_unstable();
    assert_eq!(status, [202, 409], "{answers:?}");
    let (_, refused) = answers.iter().find(|(status, _)| *status == 409).expect("one");
    assert_eq!(
        refused["title"], "another process is working on this project",
        "{refused}"
    );
    let (_, began) = answers.iter().find(|(status, _)| *status == 202).expect("one");
    let run = began["run"].as_str().expect("an id").to_owned();
    server.to_its_end(&run, "done");
    site.is(true);
    let shown = server.run(&run);
    assert_eq!(
        (&shown["condition"], &shown["outcome"]),
        (&"over".into(), &"done".into()),
        "{shown}"
    );
    assert!(
        shown["by"].as_str().is_some_and(|by| by.starts_with("token ")),
        "{shown}"
    );

    let writer = Writer::start(&site);
    writer.goes_on(10);
    site.stack
        .file(".env", &format!("{}VERSION=2\n", site.dotenv_without("VERSION")));
    let before = site.container();
    let (status, text) = server.ask("POST", &format!("/api/projects/{}/deploy", site.name()), "{}");
    assert_eq!(status, 202, "{text}");
    let began: Value = serde_json::from_str(&text).expect("JSON");
    server.to_its_end(began["run"].as_str().expect("an id"), "done");
    assert_ne!(site.container(), before, "it was made anew");
    site.is(true);
    writer.goes_on(10);
    let acknowledged = writer.end();
    let there = site.notes();
    assert!(
        acknowledged.iter().all(|note| there.contains(note)),
        "something is lost"
    );

    // The same run, once it is over, by the journal of another server.
    let other = Server::start(&site, &[]);
    other.to_its_end(&run, "done");
    let (status, began) = other.switch(&site, false);
    assert_eq!(status, 202, "{began}");
    other.to_its_end(began["run"].as_str().expect("an id"), "done");
    site.is(false);
    let audit = other.ask("GET", "/api/audit", "").1;
    let audit: Value = serde_json::from_str(&audit).expect("JSON");
    assert_eq!(
        (&audit[0]["outcome"], &audit[0]["run"]),
        (&"done".into(), &began["run"]),
        "{audit}"
    );
    // What is left is the spare of the deployment, which would bring back what that replaced.
    let left = |label: &str| {
        sh(&format!(
            "docker ps -a --format '{{{{.Names}}}} {{{{.Status}}}} {{{{.Labels}}}}' --filter label=rehome.project={} {label}",
            site.name()
        ))
    };
    assert_eq!(left(""), left("--filter label=rehome.spare"));
}

#[test]
fn a_server_that_was_killed_finds_its_run_and_finishes_it() {
    let site = added();
    let mut server = Server::start(&site, &[("REHOME_CRASH_AT", "after-apply:2")]);
    // It may die before it has answered.
    let mut asked = Command::new("curl")
        .args([
            "-sS",
            "-X",
            "PATCH",
            "-H",
            "Content-Type: application/json",
            "--config",
            "-",
        ])
        .args(["-d", r#"{"persistent_storage":true}"#])
        .arg(format!("{}/api/sites/{}", server.url, site.name()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("curl is there");
    let header = format!("header = \"Authorization: Bearer {}\"\n", server.token);
    asked
        .stdin
        .take()
        .expect("piped")
        .write_all(header.as_bytes())
        .expect("it reads");
    asked.wait().expect("it ends");
    wait_for("the crash", || matches!(server.child.try_wait(), Ok(Some(_))));

    let server = Server::start(&site, &[]);
    let (_, text) = server.ask("GET", "/api/runs", "");
    let runs: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    assert_eq!(runs[0]["condition"], "waits", "{runs}");
    let run = runs[0]["run"].as_str().expect("an id").to_owned();
    assert_eq!(server.run(&run)["condition"], "waits");
    let told = server.events(&run);
    assert_eq!(told.last().expect("an end")["outcome"], "interrupted");
    let (status, refused) = server.switch(&site, true);
    assert_eq!(status, 409, "{refused}");
    let (status, text) = server.ask("POST", &format!("/api/runs/{run}/resume"), "");
    assert_eq!(status, 202, "{text}");
    server.to_its_end(&run, "done");
    site.is(true);
    let (status, text) = server.ask("POST", &format!("/api/runs/{run}/resume"), "");
    assert_eq!(status, 409, "{text}");
    site.disable().exits(0);
    site.stack.assert_tidy();
}

/// As the unit has it, as far as that can be had without systemd: no more rights than it names, and what it protects is
/// read-only.
fn sandbox() -> Vec<String> {
    let unit = include_str!("../../templates/rehome-serve.service");
    let setting = |name: &str| {
        unit.lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("it is there")
    };
    assert_eq!(setting("ProtectSystem="), "full");
    let rights = setting("CapabilityBoundingSet=").split(' ');
    let rights: String = rights
        .map(|right| format!(",+{}", right["CAP_".len()..].to_lowercase()))
        .collect();
    let script = "umask 0022; for dir in /usr /boot /etc; do mount --bind $dir $dir; mount -o remount,bind,ro $dir; done; \
        exec setpriv --no-new-privs --bounding-set \"$0\" \"$@\"";
    let words = [
        "unshare",
        "--mount",
        "--propagation",
        "slave",
        "bash",
        "-euc",
        script,
    ];
    words
        .into_iter()
        .map(str::to_owned)
        .chain([format!("-all{rights}")])
        .collect()
}

#[test]
fn what_the_unit_leaves_to_it_is_enough_for_a_switch_and_a_deployment() {
    let site = added();
    let server = Server::start_under(&sandbox(), &site, &[]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("it runs");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
    // chown, dac_override, fowner: nothing else.
    assert_eq!(effective, Some("000000000000000b"), "{status}");
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    let goes = |(status, began): (u16, Value)| {
        assert_eq!(status, 202, "{began}");
        server.to_its_end(began["run"].as_str().expect("an id"), "done");
    };
    goes(server.switch(&site, true));
    site.is(true);
    assert_eq!(
        sh(&format!("stat -c '%u:%g %a' {}", site.data().display())),
        "10001:10001 750"
    );
    let note = site.note("in the sandbox").expect("acknowledged");
    site.stack
        .file(".env", &format!("{}VERSION=2\n", site.dotenv_without("VERSION")));
    let before = site.container();
    let (status, text) = server.ask("POST", &format!("/api/projects/{}/deploy", site.name()), "{}");
    goes((status, serde_json::from_str(&text).expect("JSON")));
    assert_ne!(site.container(), before, "it was made anew");
    assert!(site.notes().contains(&note));
    // Whoever works in the project's directory may read what was written there.
    let modes = sh(&format!(
        "cd {} && stat -c %a docker-compose.site.yml",
        site.stack.dir.display()
    ));
    assert_eq!(modes, "644");
    goes(server.switch(&site, false));
    site.is(false);
}
