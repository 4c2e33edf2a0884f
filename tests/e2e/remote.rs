//! An engine on another machine, over SSH: one login a command, and the same deployments and moves as at home.
//!
//! The machine is an engine of the test's own behind a real `sshd` on the loopback interface.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::deploy::site::{Site, Version, assert_same, finished, made_of};
use crate::own_engine::OwnEngine;
use crate::stacks::free_port;
use crate::support::{BUSYBOX, Run, Stack, sh, unique, wait_for};

/// A server that lets in whoever has its key, and writes down who came.
struct Server {
    dir: PathBuf,
    port: u16,
    process: Child,
}

impl Server {
    fn new() -> Self {
        let (id, port) = (unique(), free_port());
        let dir = std::env::temp_dir().join(format!("rehome-e2e-sshd-{id}"));
        sh(&format!(
            "mkdir -p {d}/bin /run/sshd; cd {d}
             ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f key
             cp key.pub authorized; echo \"[127.0.0.1]:{port} $(cat host.pub)\" > known
             printf '%s\\n' 'Port {port}' 'ListenAddress 127.0.0.1' 'HostKey {d}/host' 'AuthorizedKeysFile {d}/authorized' \
               'StrictModes no' 'UsePAM no' 'PasswordAuthentication no' 'PidFile none' 'LogLevel VERBOSE' > sshd
             printf '%s\\n' 'IdentityFile {d}/key' 'IdentitiesOnly yes' 'UserKnownHostsFile {d}/known' \
               'StrictHostKeyChecking yes' > ssh
             printf '#!/bin/sh\\nexec /usr/bin/ssh -F {d}/ssh \"$@\"\\n' > bin/ssh; chmod +x bin/ssh",
            d = dir.display()
        ));
        let log = std::fs::File::create(dir.join("log")).unwrap();
        // It wants to be called by its whole name.
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.join("sshd"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd starts");
        let server = Self { dir, port, process };
        wait_for("sshd", || server.log().contains("Server listening"));
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// How often somebody logged in.
    fn logins(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    /// The engine of this test, as it is reached from outside.
    fn url(&self, socket: &str) -> String {
        format!("ssh://root@127.0.0.1:{}{socket}", self.port)
    }

    /// Rehome as on another machine: it has this server's key, and knows no engine but that one.
    fn rehome(&self, stack: &Stack, socket: &str, arguments: &str, env: &[(&str, &str)]) -> Run {
        let path = format!("{}/bin:{}", self.dir.display(), std::env::var("PATH").unwrap());
        let mut env = env.to_vec();
        env.extend([("PATH", path.as_str()), ("DOCKER_HOST", "unix:///nowhere")]);
        stack.rehome_env(&format!("-H {} {arguments}", self.url(socket)), &env)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let killed = self.process.kill();
        let ended = self.process.wait();
        let removed = std::fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            assert!(killed.is_ok() && ended.is_ok() && removed.is_ok());
        }
    }
}

/// Programs that a command left behind: `ssh` of this server.
fn left(server: &Server) -> String {
    // In brackets, so that the shell does not find itself.
    sh(&format!("pgrep -af -- '[-]p {} ' || true", server.port))
}

#[test]
fn a_deployment_on_another_machine_logs_in_once_and_goes_back_there_too() {
    let engine = OwnEngine::with(&[BUSYBOX]);
    let site = Site::up();
    let stack = &site.stack;
    let socket = engine.socket();
    let server = Server::new();
    let rehome = |arguments: &str| server.rehome(stack, &socket, arguments, &[]);
    let before = made_of(stack);

    site.next("2", Version::default());
    let run = rehome("deploy -y --json").exits(0);
    assert_eq!(server.logins(), 1, "one command, one login:\n{}", server.log());
    finished(&run, "done");
    assert_eq!(site.written("migrated"), ["whole 2"]);
    assert_ne!(made_of(stack), before);
    assert_eq!(left(&server), "");

    let good = made_of(stack);
    site.next(
        "3",
        Version {
            starts: "echo the setting is missing >&2; exit 3",
            ..Version::default()
        },
    );
    rehome("deploy -y").exits(10).says("the setting is missing");
    assert_eq!(server.logins(), 2, "{}", server.log());
    assert_same(&made_of(stack), &good);

    // The passes, with the terminal's own input; what somebody sends there arrives whole, and so does its end.
    site.wants("2");
    let said = rehome("exec -T app cat /www/version").exits(0);
    assert_eq!(said.out.trim(), "2");
    let listed = rehome("ps").exits(0).out;
    assert!(listed.contains(&format!("{}-app-1", stack.name)), "{listed}");
    let status = rehome("status --json").exits(0).json();
    assert_eq!(status["services"]["app"], 1, "{status}");
    assert_eq!(status["volumes"][0]["key"], "data", "{status}");
    assert_eq!(server.logins(), 5, "{}", server.log());

    // Another name of the same engine has other runs: what was deployed through it is not known here.
    let outcomes = |run: Run| {
        let lines = run.exits(0).json();
        let lines = lines.as_array().unwrap().clone();
        lines
            .iter()
            .map(|line| line["outcome"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(outcomes(stack.rehome("history --json")), [""; 0]);
    assert_eq!(outcomes(rehome("history --json")), ["rolled_back", "done"]);
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let engine = OwnEngine::with(&[BUSYBOX]);
    let site = Site::up();
    let stack = &site.stack;
    let server = Server::new();
    site.next("2", Version::default());
    // On this machine, between the dumps and the first replacement: all connections of the server are cut.
    let cut = format!("pkill -9 -P {}", server.process.id());
    let settings = stack.read("rehome.yml").replace(
        "hooks: {",
        &format!("hooks: {{ before_start: [ {{ run: [sh, -c, '{cut}'] }} ],"),
    );
    stack.file("rehome.yml", &settings);
    server.rehome(stack, &engine.socket(), "deploy -y", &[]).exits(0);
    assert_eq!(site.written("migrated"), ["whole 2"]);
    assert!(server.logins() > 1, "{}", server.log());
}

#[test]
fn a_command_that_is_killed_leaves_no_connection_behind() {
    let engine = OwnEngine::with(&[BUSYBOX]);
    let site = Site::up();
    let stack = &site.stack;
    let (socket, server) = (engine.socket(), Server::new());
    let before = made_of(stack);
    site.next("2", Version::default());
    let dead = server.rehome(
        stack,
        &socket,
        "deploy -y",
        &[("REHOME_CRASH_AT", "after-apply:0")],
    );
    assert_eq!(dead.code, -1, "{}", dead.err);
    wait_for("the end of its ssh", || left(&server).is_empty());
    server.rehome(stack, &socket, "rollback -y", &[]).exits(0);
    assert_same(&made_of(stack), &before);
    assert_eq!(stack.running(), ["app", "store"]);
    assert_eq!(left(&server), "");
}

#[test]
fn a_server_that_does_not_let_one_in_or_has_no_engine_says_so() {
    let stack = Stack::write(&format!("services: {{ app: {{ image: '{BUSYBOX}' }} }}\n"));
    let server = Server::new();
    server
        .rehome(&stack, "/nowhere/docker.sock", "status", &[])
        .exits(1)
        .says("no Docker engine answers at ssh://root@127.0.0.1")
        .says("/nowhere/docker.sock");
    std::fs::write(server.dir.join("authorized"), "").unwrap();
    server
        .rehome(&stack, "", "status", &[])
        .exits(1)
        .says("cannot log in at 127.0.0.1")
        .says("Permission denied (publickey")
        .says("this has to work without a question: ssh -p");
    // Another server than the one that is known.
    sh(&format!("sed -i 's/^.127/[128/' {}/known", server.dir.display()));
    server
        .rehome(&stack, "", "status", &[])
        .exits(1)
        .says("Host key verification failed");
}
