//! Running Compose: what is passed on, what is kept away, and how failures are told.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rehome::compose::{Call, Compose, Trouble, project};
use rehome::model::{Failure, Kind};

use crate::support::Lab;

/// A lab whose PATH has these programs, shell scripts, and nothing of Docker.
fn with_programs(programs: &[(&str, &str)]) -> Lab {
    let mut lab = Lab::with("services: {a: {image: x}}\n");
    let bin = lab.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (name, script) in programs {
        let path = lab.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    lab.env.insert("PATH".to_owned(), bin.display().to_string());
    lab
}

const FAKE: &str = r#"if [ "$2" = version ]; then echo 2.40.3; exit 0; fi"#;

async fn refusal(programs: &[(&str, &str)]) -> Failure {
    let lab = with_programs(programs);
    match Compose::find(&lab.env, None).await {
        Ok(found) => panic!("found {}", found.version()),
        Err(failure) => failure,
    }
}

#[tokio::test]
async fn what_is_missing_or_too_old_is_named() {
    let no_plugin = (
        "docker",
        "echo \"docker: 'compose' is not a docker command.\" >&2; exit 1",
    );
    let v1 = ("docker-compose", "echo 1.29.2");
    let mut said = Vec::new();
    for programs in [
        &[][..],
        &[no_plugin],
        &[no_plugin, v1],
        &[v1],
        &[("docker", "echo 2.20.0")],
    ] {
        let failure = refusal(programs).await;
        assert_eq!(failure.kind, Kind::Environment);
        said.push(format!(
            "{}\n{:?}\n{:?}",
            failure.what, failure.causes, failure.hints
        ));
    }
    insta::assert_snapshot!(said.join("\n\n"));
}

#[tokio::test]
async fn a_standalone_program_of_version_2_is_used() {
    let script = r#"if [ "$1" = version ]; then echo v2.30.1; else echo "standalone $*"; fi"#;
    let lab = with_programs(&[("docker-compose", script)]);
    let compose = lab.compose().await;
    assert_eq!(compose.version().numbers, (2, 30, 1));
    let ended = compose.run(&lab.located(), Call::new(["ps"])).await.unwrap();
    assert!(
        ended.stdout.starts_with("standalone --project-directory "),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn everything_is_explicit_and_the_surroundings_are_kept_out() {
    let script = format!(
        "{FAKE}\nfor word in \"$@\"; do echo \"arg $word\"; done\n/usr/bin/env | /usr/bin/sort\necho \"in $PWD\"\nread line && echo \"read $line\"\ntrue"
    );
    let mut lab = with_programs(&[("docker", &script)]);
    lab.write("more.yaml", "services: {}\n");
    lab.write("x.env", "");
    for (key, value) in [
        ("COMPOSE_FILE", "more.yaml"),
        ("COMPOSE_PROFILES", "night,day"),
        ("COMPOSE_REMOVE_ORPHANS", "1"),
        ("COMPOSE_ENV_FILES", "x.env"),
        ("DOCKER_CONTEXT", "elsewhere"),
        ("DOCKER_HOST", "tcp://elsewhere"),
        ("KEPT", "yes"),
    ] {
        lab.env.insert(key.to_owned(), value.to_owned());
    }
    let mut wanted = lab.wanted();
    wanted.project_name = Some("named".to_owned());
    let located = rehome::compose::locate(&wanted).unwrap();
    let compose = Compose::find(&lab.env, Some("unix:///run/other.sock"))
        .await
        .unwrap();

    let out = compose
        .run(&located, Call::new(["up", "-d"]))
        .await
        .unwrap()
        .stdout;

    let root = lab.root().display().to_string();
    let args: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("arg ")).collect();
    let file = format!("{root}/more.yaml");
    let env_file = format!("{root}/x.env");
    assert_eq!(
        args,
        [
            "compose",
            "--project-directory",
            &root,
            "-p",
            "named",
            "-f",
            &file,
            "--env-file",
            &env_file,
            "--profile",
            "night",
            "--profile",
            "day",
            "--ansi",
            "never",
            "--progress",
            "plain",
            "up",
            "-d"
        ]
    );
    for gone in ["COMPOSE_", "DOCKER_CONTEXT", "elsewhere", "read "] {
        assert!(!out.contains(gone), "{gone}: {out}");
    }
    for kept in [
        "\nKEPT=yes\n",
        "\nDOCKER_HOST=unix:///run/other.sock\n",
        &format!("\nin {root}\n"),
    ] {
        assert!(out.contains(kept), "{kept}: {out}");
    }
}

#[tokio::test]
async fn lines_are_told_as_they_come_and_only_the_end_is_kept() {
    let script = format!(
        "{FAKE}\ni=0; while [ $i -lt 3000 ]; do echo \"line $i of many\" >&2; i=$((i+1)); done; echo last words >&2; exit 3"
    );
    let lab = with_programs(&[("docker", &script)]);
    let compose = lab.compose().await;
    let mut lines = Vec::new();
    let mut take = |line: &str| lines.push(line.to_owned());
    let ended = compose
        .attempt(&lab.located(), Call::new(["up"]).lines(&mut take))
        .await
        .unwrap();
    assert_eq!(
        (lines.len(), lines[0].as_str(), lines[3000].as_str()),
        (3001, "line 0 of many", "last words")
    );
    assert!(ended.stderr.len() <= 16 << 10 && ended.stderr.ends_with("last words\n"));
    assert_eq!((ended.success, ended.status.as_str()), (false, "exit status: 3"));
    let failure = compose
        .run(&lab.located(), Call::new(["up"]))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(failure.what, "`docker compose up` failed (exit status: 3)");
    assert_eq!(
        (failure.causes.len(), failure.causes[19].as_str()),
        (20, "last words")
    );
}

/// Whether a process with this id is there and not a zombie.
fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A Compose that starts a child of its own, writes both ids and never ends.
fn endless() -> (Lab, PathBuf) {
    let script = format!(
        "{FAKE}\ntrap '' TERM\n/bin/sleep 1000 &\necho $$ $! > pids.new\n/bin/mv pids.new pids\nwait\nwait"
    );
    let lab = with_programs(&[("docker", &script)]);
    let pids = lab.root().join("pids");
    (lab, pids)
}

#[tokio::test]
async fn what_does_not_end_is_stopped_with_its_children() {
    let (lab, pids) = endless();
    let compose = lab.compose().await;
    let call = Call::new(["up"]).limit(Duration::from_secs(2));
    let failure = compose.run(&lab.located(), call).await.map(|_| ()).unwrap_err();
    assert_eq!(
        failure.what,
        "`docker compose up` did not end within 2.0 s and was stopped"
    );
    gone(&std::fs::read_to_string(pids).unwrap());
}

#[tokio::test]
async fn what_is_dropped_is_stopped_with_its_children() {
    let (lab, pids) = endless();
    let compose = lab.compose().await;
    let located = lab.located();
    let run = compose.run(&located, Call::new(["up"]));
    tokio::select! {
        _ = run => panic!("it ended"),
        () = async { while !pids.exists() { tokio::task::yield_now().await } } => {}
    }
    gone(&std::fs::read_to_string(pids).unwrap());
}

fn gone(pids: &str) {
    let began = Instant::now();
    while pids.split_whitespace().any(lives) {
        assert!(began.elapsed() < Duration::from_secs(10), "{pids} still there");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn composes_own_words_are_the_cause() {
    let mut said = Vec::new();
    for (text, trouble) in [
        ("services: {a: {image: '${X:?give X}'}}", Trouble::MissingVariable),
        ("services: {a: {image: '${X}'}}", Trouble::Invalid),
        ("services:\n  a: {image: x\n b: \n", Trouble::Invalid),
        (
            "services: {a: {image: x, volumes: ['nope:/x']}}",
            Trouble::Invalid,
        ),
        (
            "services: {a: {image: x, env_file: nope.env}}",
            Trouble::MissingFile,
        ),
        (
            "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}",
            Trouble::Invalid,
        ),
        (
            "services: {a: {image: x, depends_on: [b]}, b: {image: x, profiles: [p]}}",
            Trouble::Invalid,
        ),
    ] {
        let lab = Lab::with(text);
        let failure = project::load(&lab.compose().await, &lab.located())
            .await
            .unwrap_err();
        assert_eq!(Trouble::of(&failure.causes.join("\n")), trouble, "{failure:?}");
        let words = format!("{}\n{:?}\n{:?}", failure.what, failure.causes, failure.hints);
        said.push(words.replace(&lab.root().display().to_string(), "LAB"));
    }
    insta::assert_snapshot!(said.join("\n\n"));
}
