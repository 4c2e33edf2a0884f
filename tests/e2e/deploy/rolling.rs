//! A service that can run twice is rolled, and whoever asks through the proxy loses nothing; the first start of a project
//! on a block volume.

use super::site::{Client, assert_same, kept, made_of};
use crate::stacks::free_port;
use crate::support::{BUSYBOX, Block, Stack, wait_for};

/// A web application that writes nothing, behind a proxy that asks Docker for its address again and again.
fn rolled() -> (Stack, u16) {
    let port = free_port();
    let stack = Stack::write(&format!(
        r#"services:
  app:
    image: kms-connect/api:1
    entrypoint: []
    command: gunicorn --bind 0.0.0.0:8000 --workers 2 --graceful-timeout 10 --chdir /srv wsgi:app
    environment: {{ VERSION: "${{VERSION:-1}}" }}
    volumes: ["./app:/srv:ro"]
    healthcheck:
      test: ["CMD", "curl", "-fsS", "-o", "/dev/null", "http://localhost:8000/"]
      interval: 1s
      retries: 20
  proxy:
    image: kms-connect/nginx:1
    ports: ["127.0.0.1:{port}:80"]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro"]
    depends_on: {{ app: {{ condition: service_healthy }} }}
"#
    ));
    std::fs::create_dir(stack.dir.join("app")).unwrap();
    stack.file(
        "app/wsgi.py",
        "import os\n\n\ndef app(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [('version ' + os.environ['VERSION']).encode()]\n",
    );
    stack.file(
        "nginx.conf",
        "events {}\nhttp {\n  access_log off;\n  resolver 127.0.0.11 valid=1s;\n  server {\n    listen 80;\n    set $app app;\n    \
         location / { proxy_pass http://$app:8000; proxy_connect_timeout 2s; proxy_next_upstream error timeout; }\n  }\n}\n",
    );
    stack.file("rehome.yml", &settings(200));
    stack.compose("up -d");
    (stack, port)
}

/// Rolled, with a check that wants this status.
fn settings(status: u16) -> String {
    format!(
        "version: 1\nhooks: {{ after_start: [] }}\n\
         checks: [ {{ service: app, http: 'http://localhost:8000/', status: {status}, within: 2s }} ]\n\
         deploy: {{ strategy: rolling, pull: false, stable: 1s, drain: 3s }}\n"
    )
}

#[test]
fn a_rolling_deployment_loses_no_request_and_neither_does_its_way_back() {
    let (stack, port) = rolled();
    let client = Client::patient(port, "/");
    stack.file(".env", "VERSION=2\n");
    stack
        .rehome("deploy -y")
        .exits(0)
        .says("roll what changed of app");
    let heard = client.end();
    assert_eq!(heard.lost, 0, "{heard:?}");
    assert_eq!(heard.answers.first().unwrap(), "version 1");
    assert_eq!(heard.answers.last().unwrap(), "version 2");
    assert_eq!(kept(&stack), (1, 1));

    let before = made_of(&stack);
    let client = Client::patient(port, "/");
    stack.file(".env", "VERSION=3\n");
    stack.file("rehome.yml", &settings(404));
    stack.rehome("deploy -y").exits(10).says("was rolled back");
    let heard = client.end();
    assert_eq!(heard.lost, 0, "{heard:?}");
    assert!(
        heard.answers.iter().any(|answer| answer == "version 3"),
        "{heard:?}"
    );
    assert_eq!(heard.answers.last().unwrap(), "version 2");
    assert_same(&made_of(&stack), &before);
    // What the good one kept stays, what this one kept is gone.
    assert_eq!(kept(&stack), (1, 1));
}

#[test]
fn a_rolling_deployment_that_was_killed_is_finished_or_taken_back() {
    let (stack, port) = rolled();
    let before = made_of(&stack);
    stack.file(".env", "VERSION=2\n");
    // Its second step rolls.
    for point in ["before-apply:1", "after-apply:1"] {
        let client = Client::patient(port, "/");
        let run = stack.rehome_env("deploy -y", &[("REHOME_CRASH_AT", point)]);
        assert_eq!(run.code, -1, "{}", run.err);
        stack.rehome("rollback").exits(0);
        assert_eq!(client.end().lost, 0, "at {point}");
        assert_same(&made_of(&stack), &before);
    }
    let run = stack.rehome_env("deploy -y", &[("REHOME_CRASH_AT", "after-apply:1")]);
    assert_eq!(run.code, -1, "{}", run.err);
    stack.rehome("resume").exits(0);
    assert_eq!(stack.running(), ["app", "proxy"]);
    assert_eq!(stack.exec("app", "printenv VERSION"), "2");
}

/// A project that was never started.
fn new() -> Stack {
    let stack = Stack::write(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo hello >> /data/log; exec sleep 1000000"]
    volumes: ["data:/data"]
    init: true
volumes:
  data:
"#
    ));
    stack.file("rehome.yml", "version: 1\ndeploy: { pull: false, stable: 1s }\n");
    stack
}

#[test]
fn the_first_start_has_its_data_on_the_block_volume() {
    let (block, stack) = (Block::ext4(200), new());
    let log = std::path::Path::new(block.path()).join("data/log");
    let first = format!("deploy --first={} -y", block.path());

    // A first start that fails leaves nothing running, and the files as they were.
    stack.file(
        "rehome.yml",
        "version: 1\nchecks: [ { service: app, tcp: 9, within: 1s } ]\ndeploy: { pull: false, stable: 1s }\n",
    );
    stack.rehome(&first).exits(10);
    assert_eq!(stack.running(), Vec::<String>::new());
    assert!(!stack.dir.join(".env").exists() || !stack.read(".env").contains("COMPOSE_FILE"));
    assert!(!log.exists());

    stack.file("rehome.yml", "version: 1\ndeploy: { pull: false, stable: 1s }\n");
    stack.rehome(&first).exits(0);
    wait_for("the first line", || log.exists());
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "hello\n");
    assert!(stack.mounted("app", "/data").contains("_block_"));
    stack.rehome("override --check").exits(0);

    // There is only one first time.
    stack
        .rehome(&first)
        .exits(3)
        .says("this is not the first deployment");
    // The test mounted the volume by hand: the doctor knows that the next boot would not.
    stack.rehome("deploy -y").exits(3).says("no-fstab-line");
    stack.rehome("deploy -y --despite no-fstab-line").exits(0);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "hello\n");
}
