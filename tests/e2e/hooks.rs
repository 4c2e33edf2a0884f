//! What runs beside a deployment, what it is checked by, who is told of it, and the files that come under a condition: one
//! small stack, with everything of each kind. What happened is read from what the commands left behind, not from Rehome.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::support::{BUSYBOX, Run, Stack, sh, try_sh, wait_for};

/// Serves `index.html` on port 8000; `VERSION` is what the deployment changes.
fn compose(version: &str) -> String {
    format!(
        "services:
  app:
    image: {BUSYBOX}
    command: [sh, -c, 'mkdir -p /www; echo version {version} >/www/index.html; echo started; touch /ready; exec httpd -f -p 8000 -h /www']
    environment: {{ VERSION: '{version}' }}
    volumes: [data:/data]
    stop_grace_period: 1s
  idle:
    image: {BUSYBOX}
    command: [sleep, '1000']
    stop_grace_period: 1s
volumes:
  data:
"
    )
}

/// Writes `word` and what it sees of itself into the volume; deployments do not touch that.
fn write(word: &str) -> String {
    format!("[sh, -c, 'echo {word} $VERSION $TOKEN $(pwd) $(id -u) >>/data/log']")
}

/// Everything of each kind.
fn rehome_yml(checks: &str) -> String {
    let all = [
        "version: 1".to_owned(),
        "deploy: { stable: 1s, pull: false }".to_owned(),
        "hooks:".to_owned(),
        "  before_pull:".to_owned(),
        "    - { run: [sh, -c, 'echo before_pull $TOKEN $(pwd) >>log'], env: [TOKEN], dir: sub }".to_owned(),
        "  before_start:".to_owned(),
        format!("    - {{ service: app, run: {} }}", write("old")),
        format!(
            "    - {{ service: app, how: run, user: '7', dir: /tmp, env: [TOKEN], run: {} }}",
            write("one-shot")
        ),
        "  after_start:".to_owned(),
        format!(
            "    - {{ service: app, user: '0', dir: /data, env: [TOKEN], run: {} }}",
            write("new")
        ),
        "    - { service: app, run: ['false'], on_failure: warn }".to_owned(),
        "    - { service: app, run: ['false'], on_failure: ignore }".to_owned(),
        "  after_healthy:".to_owned(),
        format!("    - {{ service: app, run: {} }}", write("healthy")),
        "  on_failure:".to_owned(),
        "    - { run: [sh, -c, 'echo on_failure >>sub/log'] }".to_owned(),
        "    - { run: ['false'] }".to_owned(),
        "  after_finish:".to_owned(),
        "    - { run: [sh, -c, 'echo after_finish >>sub/log; exit 3'] }".to_owned(),
        checks.to_owned(),
    ];
    all.join("\n")
}

const CHECKS: &str = "\
checks:
  - { service: app, http: 'http://localhost:8000/', body: 'version 2', within: 20s }
  - { service: app, tcp: 8000, within: 20s }
  - { service: app, command: [sh, -c, 'exit 3'], code: 3 }
  - { service: app, log_free_of: Traceback, within: 1s }
  - { service: app, file: /ready }
  - { command: [sh, -c, 'test -e sub'] }
  - { file: sub/log }
";

fn stack() -> Stack {
    let stack = Stack::write(&compose("1"));
    // Hooks as another user write there too.
    std::fs::create_dir(stack.dir.join("sub")).unwrap();
    stack.file(".env", "TOKEN=s3cret-token\n");
    stack.compose("up -d");
    stack.exec("app", "sh -c 'touch /data/log; chmod 666 /data/log'");
    stack
}

/// Every file that Rehome keeps of its runs.
fn kept(stack: &Stack) -> String {
    sh(&format!("cat $(find {} -type f)", stack.state.display()))
}

fn hooks_log(stack: &Stack) -> PathBuf {
    PathBuf::from(sh(&format!("find {} -name hooks.log", stack.state.display())))
}

#[test]
fn hooks_and_checks_of_every_kind_run_where_and_when_they_are_meant_to() {
    let stack = stack();
    stack.file("docker-compose.yml", &compose("2"));
    stack.file("rehome.yml", &rehome_yml(CHECKS));
    let planned = stack.rehome("deploy --dry-run").exits(0);
    for line in [
        "run on this machine: sh -c echo before_pull",
        "run in a new container of app: sh -c echo one-shot",
        "Going back does not undo: run on this machine",
        "check that port 8000 in app takes connections within 20 s",
        "check that the log of app stays free of \"Traceback\" for 1.0 s",
        "check that sub/log is there on this machine within 1 min 0 s",
        "When it is done: run on this machine",
    ] {
        assert!(planned.out.contains(line), "{line}\n{}", planned.out);
    }
    assert_eq!(stack.read("sub/log"), "", "a dry run ran");

    let run = stack
        .rehome("deploy -y")
        .exits(0)
        .says("the configuration lets the run go on")
        .says("this changes nothing about the deployment");
    let dir = stack.dir.join("sub");
    assert_eq!(
        stack.read("sub/log"),
        format!("before_pull s3cret-token {}\nafter_finish\n", dir.display())
    );
    // Before the start in the old container, and in one of the new definition; afterwards in the new one.
    assert_eq!(
        stack.exec("app", "cat /data/log"),
        "old 1 / 0\none-shot 2 s3cret-token /tmp 7\nnew 2 s3cret-token /data 0\nhealthy 2 / 0"
    );
    assert_eq!(
        sh(&format!(
            "docker ps -aq --filter label=rehome.project={} --filter label=com.docker.compose.oneoff=True",
            stack.name
        )),
        "",
        "the one-shot container is left"
    );
    // Its value is nobody's business.
    assert!(
        !kept(&stack).contains("s3cret"),
        "a value of the environment was written down"
    );
    assert!(
        !run.err.contains("s3cret") && !run.out.contains("s3cret"),
        "{}",
        run.err
    );
    let log = std::fs::read_to_string(hooks_log(&stack)).unwrap();
    assert!(log.contains("# run in app: false"), "{log}");
}

#[test]
fn a_check_that_fails_takes_the_deployment_back_and_says_what_was_found() {
    let stack = stack();
    stack.file("docker-compose.yml", &compose("2"));
    for (check, words) in [
        (
            "{ service: app, http: 'http://localhost:8000/', body: 'version 3', within: 1s }",
            "it answered 200 without \"version 3\"",
        ),
        (
            "{ service: app, http: 'http://localhost:8000/none', within: 1s }",
            "it answered 404",
        ),
        ("{ service: app, tcp: 8001, within: 1s }", "port 8001"),
        (
            "{ service: app, command: [sh, -c, 'echo no such table; exit 1'], within: 1s }",
            "it ended with 1: no such table",
        ),
        ("{ service: app, log_free_of: started }", "wrote: started"),
        ("{ service: app, file: /gone, within: 1s }", "/gone is not there"),
        ("{ tcp: 1, within: 1s }", "refused"),
        (
            "{ http: 'https://localhost:1/', within: 1s }",
            "the check https://localhost:1/ from this machine",
        ),
    ] {
        let checks = format!("checks:\n  - {check}\n");
        stack.file("rehome.yml", &rehome_yml(&checks));
        std::fs::write(stack.dir.join("sub/log"), "").unwrap();
        stack.rehome("deploy -y").exits(10).says(words);
        let served = stack.exec("app", "wget -qO- http://localhost:8000/");
        assert_eq!(served, "version 1", "{check}");
        let log = stack.read("sub/log");
        assert!(log.ends_with("\non_failure\n"), "{check}: {log}");
    }
}

#[test]
fn a_hook_that_takes_too_long_or_wants_what_is_not_set_leaves_nothing_behind() {
    let stack = stack();
    stack.file("docker-compose.yml", &compose("2"));
    let hook = "version: 1\ndeploy: { stable: 1s, pull: false }\nhooks:\n  before_start:\n    - { service: app, how: run, run: [sleep, '1000'], timeout: 3s }\n";
    stack.file("rehome.yml", hook);
    stack
        .rehome("deploy -y")
        .exits(10)
        .says("did not end within 3.0 s");
    let left = sh(&format!(
        "docker ps -aq --filter label=com.docker.compose.project={} --filter label=com.docker.compose.oneoff=True",
        stack.name
    ));
    assert_eq!(left, "", "the container of the hook is left");

    let hook = "version: 1\nhooks:\n  after_finish:\n    - { run: [logger], env: [NO_SUCH_VARIABLE] }\n";
    stack.file("rehome.yml", hook);
    stack
        .rehome("deploy -y")
        .exits(3)
        .says("wants NO_SUCH_VARIABLE, which is not set")
        .says("nothing was changed");
    let here = "version: 1\ndeploy: { stable: 1s, pull: false }\nhooks:\n  before_pull:\n    - { run: [sh, -c, 'echo $$ >sub/pid; sleep 1000'], timeout: 2s }\n";
    stack.file("rehome.yml", here);
    stack
        .rehome("deploy -y")
        .exits(10)
        .says("did not end within 2.0 s");
    let pid = stack.read("sub/pid");
    assert!(
        !try_sh(&format!("kill -0 {}", pid.trim())).status.success(),
        "it still runs"
    );
    assert_eq!(stack.exec("app", "wget -qO- http://localhost:8000/"), "version 1");
}

/// Listens on this machine; answers each request with a status and keeps it.
fn listener(status: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&kept);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut asked, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap();
                }
                asked.push_str(&line);
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            shared
                .lock()
                .unwrap()
                .push(asked + &String::from_utf8(body).unwrap());
            stream
                .write_all(
                    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
                )
                .unwrap();
        }
    });
    (port, kept)
}

#[test]
fn who_wants_to_know_is_told_and_one_that_fails_changes_nothing() {
    let stack = stack();
    let (good, told) = listener("200 OK");
    let (bad, refused) = listener("500 Internal Server Error");
    stack.file(
        ".env",
        &format!("TOKEN=x\nHOOK_URL=http://127.0.0.1:{bad}/s3cret-path\n"),
    );
    let yml = |checks: &str| {
        format!(
            "version: 1
deploy: {{ stable: 1s, pull: false }}
notify:
  - {{ url: 'http://127.0.0.1:{good}/hook' }}
  - {{ url: 'http://127.0.0.1:{good}/ping', format: healthchecks, on: [success, failure] }}
  - {{ url_from: HOOK_URL, format: slack }}
  - {{ url_from: NOT_SET, on: [start] }}
{checks}"
        )
    };
    stack.file("docker-compose.yml", &compose("2"));
    stack.file("rehome.yml", &yml(""));
    let run = stack
        .rehome("deploy -y")
        .exits(0)
        .says("the address in HOOK_URL could not be notified: it answered 500")
        .says("NOT_SET is set neither in the environment nor in .env");
    assert!(!run.err.contains("s3cret"), "{}", run.err);
    let body = |request: &String| -> serde_json::Value {
        serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    };
    let of = |path: &str| -> Vec<String> {
        let all = told.lock().unwrap();
        all.iter()
            .filter(|r| r.starts_with(&format!("POST {path} ")))
            .cloned()
            .collect()
    };
    let hooks: Vec<_> = of("/hook").iter().map(body).collect();
    assert_eq!(hooks.len(), 2);
    assert_eq!(
        (&hooks[0]["event"], &hooks[1]["event"]),
        (&"start".into(), &"success".into())
    );
    assert_eq!(hooks[1]["project"], stack.name);
    assert_eq!(hooks[1]["outcome"], "done");
    assert_eq!(hooks[0]["run"], hooks[1]["run"]);
    assert_eq!(of("/ping").len(), 1);
    assert_eq!(refused.lock().unwrap().len(), 2);

    stack.file("docker-compose.yml", &compose("3"));
    stack.file(
        "rehome.yml",
        &yml("checks: [ { service: app, tcp: 1, within: 1s } ]\n"),
    );
    stack.rehome("deploy -y").exits(10);
    let last = of("/hook").last().map(body).unwrap();
    assert_eq!(
        (&last["event"], &last["outcome"]),
        (&"failure".into(), &"rolled_back".into())
    );
    assert!(last["failure"].as_str().unwrap().contains("port 1"), "{last}");
    assert_eq!(of("/ping/fail").len(), 1);
    assert!(!kept(&stack).contains("s3cret"), "an address was written down");
    let shown = stack.rehome("config show").exits(0).out;
    assert!(
        shown.contains("the address in HOOK_URL") && !shown.contains("/hook"),
        "{shown}"
    );
}

#[test]
fn a_variant_is_deployed_when_its_condition_holds_and_compose_file_follows() {
    let stack = stack();
    stack.file("tls.yml", "services:\n  app:\n    environment: { TLS: 'on' }\n");
    stack.file(
        "rehome.yml",
        "version: 1\ndeploy: { stable: 1s, pull: false }\nvariants:\n  - { file: tls.yml, when: { files: [sub/a.pem, sub/b.pem] } }\n",
    );
    let tls = || stack.exec("app", "sh -c 'echo TLS=$TLS'");
    let shown = stack.rehome("config show").exits(0).out;
    assert!(
        shown.contains("tls.yml not active: sub/a.pem, sub/b.pem are not there"),
        "{shown}"
    );
    stack.rehome("deploy -y").exits(0);
    assert_eq!(tls(), "TLS=");
    assert_eq!(stack.read(".env"), "TOKEN=s3cret-token\n");

    stack.file("sub/a.pem", "").file("sub/b.pem", "");
    let planned = stack.rehome("deploy --dry-run").exits(0).out;
    assert!(
        planned.contains("set COMPOSE_FILE=docker-compose.yml:tls.yml in .env"),
        "{planned}"
    );
    stack.rehome("deploy -y").exits(0);
    assert_eq!(tls(), "TLS=on");
    // A plain `docker compose` has the same files.
    assert_eq!(
        stack.read(".env"),
        "TOKEN=s3cret-token\nCOMPOSE_FILE=docker-compose.yml:tls.yml\n"
    );
    assert!(stack.compose("config").contains("TLS: \"on\"") || stack.compose("config").contains("TLS: 'on'"));

    std::fs::remove_file(stack.dir.join("tls.yml")).unwrap();
    stack.file(".env", "TOKEN=s3cret-token\n");
    stack
        .rehome("deploy -y")
        .exits(3)
        .says("there is no Compose file")
        .says("sub/a.pem, sub/b.pem are there");
    std::fs::remove_file(stack.dir.join("sub/a.pem")).unwrap();
    stack.rehome("deploy -y").exits(0);
    assert_eq!(tls(), "TLS=");
}

#[test]
fn git_goes_forward_before_a_deployment_and_back_when_it_does_not_come_about() {
    let stack = stack();
    let (dir, origin) = (stack.dir.display(), stack.dir.with_file_name("origin.git"));
    let other = stack.dir.with_file_name("other");
    let (origin, other) = (origin.display(), other.display());
    let yml = |port: u16| {
        format!(
            "version: 1\ndeploy: {{ git: pull, stable: 1s, pull: false }}\nchecks: [ {{ service: app, tcp: {port}, within: 2s }} ]\n"
        )
    };
    stack.file("rehome.yml", &yml(8000));
    let who = "-c user.name=x -c user.email=x@example.org";
    sh(&format!(
        "cd {dir} && git init -q -b main && git add docker-compose.yml rehome.yml && git {who} commit -qm one
         git init -q --bare -b main {origin} && git remote add origin {origin} && git push -q -u origin main
         git clone -q {origin} {other}"
    ));
    let push = |version: &str, port: u16| {
        std::fs::write(format!("{other}/docker-compose.yml"), compose(version)).unwrap();
        std::fs::write(format!("{other}/rehome.yml"), yml(port)).unwrap();
        sh(&format!(
            "cd {other} && git pull -q && git {who} commit -qam 'version {version}' && git push -q && git rev-parse HEAD"
        ))
    };
    let head = || sh(&format!("git -C {dir} rev-parse HEAD"));
    let served = || stack.exec("app", "wget -qO- http://localhost:8000/");
    let first = head();
    let second = push("2", 8000);

    let dry = stack
        .rehome("deploy --dry-run")
        .exits(0)
        .says("git would go forward by 1 commit")
        .says("version 2");
    assert!(dry.out.contains("app   does not change"), "{}", dry.out);
    assert_eq!(head(), first);
    let asked = stack.rehome("deploy");
    assert_ne!(asked.code, 0);
    asked.says("git went back to");
    assert_eq!(head(), first);
    stack.file("rehome.yml", &(yml(8000) + "# mine\n"));
    stack
        .rehome("deploy -y")
        .exits(3)
        .says("tracked files were changed")
        .says("rehome.yml");
    stack.file("rehome.yml", &yml(8000));

    stack
        .rehome("deploy -y")
        .exits(0)
        .says("git went forward by 1 commit");
    assert_eq!((head(), served()), (second.clone(), "version 2".to_owned()));
    // What it brings fails, by the check that it brings; then what it brings cannot even be planned.
    push("3", 1);
    let failed = stack.rehome("deploy -y").exits(10).says("git went back to");
    assert!(!failed.err.contains("The files still say"), "{}", failed.err);
    assert_eq!((head(), served()), (second.clone(), "version 2".to_owned()));
    sh(&format!(
        "cd {other} && echo nonsense: >>rehome.yml && git {who} commit -qam bad && git push -q"
    ));
    stack
        .rehome("deploy -y")
        .exits(2)
        .says("unknown key")
        .says("git went back to");
    assert_eq!(head(), second);
    // Two ways: none is straight.
    sh(&format!("cd {dir} && git {who} commit -q --allow-empty -m own"));
    stack
        .rehome("deploy -y")
        .exits(3)
        .says("git cannot go straight forward");
    assert_eq!(served(), "version 2");
}

#[test]
fn https_is_asked_from_this_machine_and_only_whom_it_trusts_is_believed() {
    let stack = stack();
    let dir = stack.dir.join("sub");
    let d = dir.display();
    sh(&format!(
        "cd {d} && openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca 2>/dev/null
         openssl req -newkey rsa:2048 -nodes -keyout key.pem -out req.pem -subj /CN=localhost 2>/dev/null
         openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out cert.pem \
             -extfile <(echo subjectAltName=DNS:localhost) 2>/dev/null"
    ));
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut server = std::process::Command::new("openssl")
        .args(["s_server", "-quiet", "-www", "-accept", &free.to_string()])
        .args(["-key", "key.pem", "-cert", "cert.pem"])
        .current_dir(&dir)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    stack.file(
        "rehome.yml",
        &format!(
            "version: 1\ndeploy: {{ stable: 1s, pull: false }}\nchecks: [ {{ http: 'https://localhost:{free}/', body: 's_server', within: 2s }} ]\n"
        ),
    );
    let ca = dir.join("ca.pem");
    let trusted = stack.rehome_env("deploy -y", &[("SSL_CERT_FILE", ca.to_str().unwrap())]);
    let unknown = stack.rehome("deploy -y");
    server.kill().unwrap();
    server.wait().unwrap();
    trusted.exits(0).says("answered 200");
    unknown.exits(10).says("no secure connection");
}

#[test]
fn the_container_of_a_hook_goes_with_ctrl_c_and_after_kill_9_with_the_rollback() {
    let stack = stack();
    stack.file("docker-compose.yml", &compose("2"));
    stack.file(
        "rehome.yml",
        "version: 1\ndeploy: { pull: false }\nhooks:\n  before_start:\n    - { service: app, how: run, run: [sleep, '1000'] }\n",
    );
    let one_off = || {
        sh(&format!(
            "docker ps -q --filter label=com.docker.compose.project={} --filter label=com.docker.compose.oneoff=True",
            stack.name
        ))
    };
    for signal in ["INT", "KILL"] {
        let child = stack.command("deploy -y", &[]).spawn().unwrap();
        wait_for("the hook's container", || !one_off().is_empty());
        sh(&format!("kill -{signal} {}", child.id()));
        let ended = Run::of(child.wait_with_output().unwrap());
        if signal == "KILL" {
            assert_ne!(one_off(), "", "nobody was there to remove it");
            stack.rehome("rollback -y").exits(0);
        } else {
            ended.exits(10);
        }
        assert_eq!(one_off(), "", "{signal}");
        assert_eq!(stack.exec("app", "wget -qO- http://localhost:8000/"), "version 1");
    }
}
