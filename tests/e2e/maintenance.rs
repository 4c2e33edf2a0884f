//! `--maintenance`: the published port answers 503 with the page while the stack stands still, and 200 by the service
//! itself before and afterwards, whichever way the move ends.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::before::Before;
use crate::stacks::{free_port, furnish, small};
use crate::support::{Block, Stack, sh, try_sh, wait_for};
use crate::watched::Watched;

/// So slowly is copied after the stop that the page is up long before it is over.
const SLOWLY: &str = "--offline --bandwidth 500KB";
/// What the built-in page says.
const WORDS: &str = "Back in a moment";

/// The small stack with its web server on a port of the host, and the port.
fn published() -> (Stack, u16) {
    let port = free_port();
    let stack = small();
    let text = stack.read("docker-compose.yml");
    let text = text.replace(
        "volumes: [\"data:/www:ro\"]",
        &format!("volumes: [\"data:/www:ro\"]\n    ports: [\"127.0.0.1:{port}:8000\", \"127.0.0.1::8000\"]"),
    );
    stack.file("docker-compose.yml", &text);
    stack.compose("up -d");
    furnish(&stack, "data");
    (stack, port)
}

/// What the port says: status line, head and body; nothing when nobody answers.
fn ask(port: u16, options: &str) -> String {
    let output = try_sh(&format!(
        "curl -sS -i --max-time 10 {options} http://127.0.0.1:{port}/a/b/c/file"
    ));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn status(port: u16) -> String {
    let answer = ask(port, "");
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

/// The real service has its port, and no page is left.
#[track_caller]
fn assert_served(stack: &Stack, port: u16) {
    assert_eq!(pages(stack), "");
    wait_for("the service's own answer", || status(port) == "200");
    assert!(ask(port, "").ends_with("hello\n"));
    stack.assert_tidy();
}

/// The containers of pages of a stack, running or not.
fn pages(stack: &Stack) -> String {
    sh(&format!(
        "docker ps -aq --filter label=rehome.page --filter label=rehome.project={}",
        stack.name
    ))
}

/// Asks all the time, and keeps what was answered, one after the other, each once.
struct Visitor {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Visitor {
    fn of(port: u16) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut seen: Vec<String> = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let now = status(port);
                if !now.is_empty() && seen.last() != Some(&now) {
                    seen.push(now);
                }
            }
            seen
        });
        Self { over, thread }
    }

    fn saw(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn visitors_get_the_page_while_the_stack_stands_still() {
    let block = Block::ext4(200);
    let (stack, port) = published();
    let arguments = format!("move --to {} -y --maintenance {SLOWLY}", block.path());
    let plan = stack.rehome(&format!("{arguments} --dry-run")).exits(0);
    let said = format!("a maintenance page answers meanwhile on port 127.0.0.1:{port} (web)");
    assert!(plan.out.contains(&said), "{}", plan.out);
    assert_eq!(status(port), "200");

    let visitor = Visitor::of(port);
    let mut run = Watched::start(&stack, &arguments);
    run.until(&format!("a maintenance page answers on port 127.0.0.1:{port}"));
    let answer = ask(port, "");
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{answer}"
    );
    for line in [
        "Retry-After: 30",
        "Cache-Control: no-store",
        "Content-Type: text/html; charset=utf-8",
        "Connection: close",
    ] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line}: {answer}");
    }
    assert!(answer.contains(WORDS), "{answer}");
    let head = ask(port, "--head");
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");

    // Who may come in from outside may do nothing there.
    let inspect = |what: &str| sh(&format!("docker inspect -f '{what}' {}", pages(&stack)));
    assert_eq!(inspect("{{.HostConfig.ReadonlyRootfs}}"), "true");
    assert_eq!(
        inspect("{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}}"),
        "[ALL] []"
    );
    assert_eq!(inspect("{{.Config.User}} {{len .Mounts}}"), "65534:65534 0");
    assert_eq!(
        inspect("{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"),
        "bridge"
    );
    assert!(inspect("{{.HostConfig.SecurityOpt}}").contains("no-new-privileges"));
    assert!(!inspect("{{index .Config.Labels \"rehome.run\"}}").is_empty());

    let run = run.end();
    assert_eq!(run.code, 0, "{}\n{}", run.out, run.err);
    assert_eq!(
        run.out.matches("a maintenance page answers on").count(),
        1,
        "{}",
        run.out
    );
    assert_served(&stack, port);
    assert_eq!(visitor.saw(), ["200", "503", "200"]);
}

#[test]
fn the_page_answers_until_the_service_is_started_whose_port_it_has() {
    let block = Block::ext4(200);
    let (stack, port) = published();
    // Web waits until app is well, and that is now for us to say.
    let text = stack.read("docker-compose.yml").replace(
        r#"["CMD", "test", "-s", "/data/log"], interval: 1s, retries: 5"#,
        r#"["CMD-SHELL", "test ! -e /data/wait || test -e /tmp/go"], interval: 1s, retries: 100"#,
    );
    stack.file("docker-compose.yml", &text);
    stack.compose("up -d");
    stack.exec("app", "touch /data/wait");
    let mut run = Watched::start(
        &stack,
        &format!("move --to {} -y --maintenance --offline", block.path()),
    );
    run.until("a maintenance page answers");
    let app_runs = || {
        let running = try_sh(&format!(
            "cd {} && docker compose exec -T app true </dev/null",
            stack.dir.display()
        ));
        running.status.success() && stack.mounted("app", "/data").contains("_data_block_")
    };
    wait_for("app on its new home", app_runs);
    assert_eq!(status(port), "503", "app runs, and web waits for it");
    stack.exec("app", "touch /tmp/go");
    let run = run.end();
    assert_eq!(run.code, 0, "{}\n{}", run.out, run.err);
    assert_served(&stack, port);
}

#[test]
fn a_page_of_ones_own() {
    let block = Block::ext4(200);
    let (stack, port) = published();
    let to = block.path();
    stack
        .rehome(&format!("move --to {to} -y --maintenance-page none.html"))
        .exits(3)
        .says("cannot read the maintenance page none.html")
        .says("nothing was changed");
    // Longer than any argument of a process may be.
    let long = "<p>Wir ziehen um.</p>".repeat(10_000);
    stack.file("own.html", &long);
    let mut run = Watched::start(
        &stack,
        &format!("move --to {to} -y --maintenance-page own.html {SLOWLY}"),
    );
    // It was read when the plan was made.
    run.until("\"step_started\"");
    stack.file("own.html", "another");
    run.until("a maintenance page answers");
    let answer = ask(port, "");
    assert!(answer.ends_with(&format!("\r\n\r\n{long}")), "{answer}");
    let run = run.end();
    assert_eq!(run.code, 0, "{}\n{}", run.out, run.err);
    assert_served(&stack, port);
}

#[test]
fn a_failure_while_the_page_answers_gives_the_port_back() {
    let block = Block::ext4(200);
    let (stack, port) = published();
    let before = Before::of(&stack);
    let visitor = Visitor::of(port);
    let mut run = Watched::start(
        &stack,
        &format!("move --to {} -y --maintenance {SLOWLY}", block.path()),
    );
    run.until("a maintenance page answers");
    wait_for("the page", || status(port) == "503");
    let copier = format!(
        "docker ps --filter label=rehome.project={} --format '{{{{.ID}}}} {{{{.Label \"rehome.page\"}}}}{{{{.Ports}}}}' | awk 'NF == 1 {{ print $1 }}'",
        stack.name
    );
    wait_for("the copier", || !sh(&copier).is_empty());
    sh(&format!("docker kill $({copier})"));
    let run = run.end();
    assert_eq!(run.code, 10, "{}\n{}", run.out, run.err);
    assert_served(&stack, port);
    before.assert_same(&stack);
    assert_eq!(visitor.saw(), ["200", "503", "200"]);
}

#[test]
fn a_failure_after_the_start_gives_the_port_back() {
    let block = Block::ext4(200);
    let (stack, port) = published();
    let config = "version: 1\nblock: { exclude: [side_volume] }\nhooks:\n  after_start:\n    - { service: app, run: [sh, -c, 'exit 7'] }\n";
    stack.file("rehome.yml", config);
    let before = Before::of(&stack);
    stack
        .rehome(&format!("move --to {} -y --maintenance", block.path()))
        .exits(10)
        .says("exit code 7");
    assert_served(&stack, port);
    before.assert_same(&stack);
}

#[test]
fn ctrl_c_gives_the_port_back() {
    let block = Block::ext4(200);
    let (stack, port) = published();
    let before = Before::of(&stack);
    let mut run = Watched::start(
        &stack,
        &format!("move --to {} -y --maintenance {SLOWLY}", block.path()),
    );
    run.until("a maintenance page answers");
    run.signal("INT");
    let run = run.end();
    assert_eq!(run.code, 10, "{}\n{}", run.out, run.err);
    assert_served(&stack, port);
    before.assert_same(&stack);
}

#[test]
fn a_port_that_somebody_else_takes_costs_the_page_and_not_the_move() {
    let block = Block::ext4(200);
    let (stack, port) = published();
    let mut run = Watched::start(
        &stack,
        &format!("move --to {} -y --maintenance {SLOWLY}", block.path()),
    );
    // Web is stopped first, and then it takes a while until the rest is.
    run.until("downtime_began");
    let mut taken = None;
    while taken.is_none() {
        taken = TcpListener::bind(("127.0.0.1", port)).ok();
    }
    run.until("no maintenance page answers");
    drop(taken);
    let run = run.end();
    assert_eq!(run.code, 0, "{}\n{}", run.out, run.err);
    assert!(!run.out.contains("a maintenance page answers on"), "{}", run.out);
    assert_served(&stack, port);
}

/// A move with a page that dies at a point. Says whether the page had answered.
fn crash(stack: &Stack, block: &Block, point: &str) -> bool {
    let run = stack.rehome_env(
        &format!("move --to {} -y --json --maintenance {SLOWLY}", block.path()),
        &[("REHOME_CRASH_AT", point)],
    );
    assert_eq!(run.code, -1, "at {point}: {}", run.err);
    run.out.contains("a maintenance page answers")
}

// The steps without copying beforehand: 0 make, 1 stop, 2 copy, 3 compare, 4 switch, 5 start, 6 prove, 7 tidy.

#[test]
fn killed_and_taken_back_no_page_is_left() {
    let block = Block::ext4(200);
    let (stack, port) = published();
    // While it is opened, while it answers, and after it was closed.
    for point in ["after-apply:1", "before-apply:5", "after-apply:5"] {
        let before = Before::of(&stack);
        let answered = crash(&stack, &block, point);
        assert!(answered || point == "after-apply:1", "at {point}");
        stack.rehome("rollback").exits(0);
        assert_served(&stack, port);
        before.assert_same(&stack);
        sh(&format!("rm -rf {}/data.kept-*", block.path()));
    }
}

#[test]
fn killed_the_page_goes_with_its_process() {
    let block = Block::ext4(200);
    let (stack, port) = published();
    assert!(crash(&stack, &block, "after-apply:3"));
    // Without another command: who brings the stack up by hand has the port.
    wait_for("the end of the page", || pages(&stack).is_empty());
    stack.compose("up -d");
    wait_for("the service's own answer", || status(port) == "200");
    stack.rehome("rollback").exits(0);
    assert_served(&stack, port);
}

#[test]
fn killed_and_finished_the_page_answers_again_until_the_start() {
    for point in ["after-apply:1", "after-apply:3", "after-apply:5"] {
        let block = Block::ext4(200);
        let (stack, port) = published();
        crash(&stack, &block, point);
        let visitor = Visitor::of(port);
        let run = stack.rehome("resume --json").exits(0);
        let seen = visitor.saw();
        if point == "after-apply:5" {
            assert_eq!(seen, ["200"], "it was started already: nobody is sent away again");
        } else {
            assert!(
                run.out
                    .contains(&format!("a maintenance page answers on port 127.0.0.1:{port}")),
                "at {point}: {}",
                run.out
            );
            assert_eq!(
                seen.last().map(String::as_str),
                Some("200"),
                "at {point}: {seen:?}"
            );
        }
        assert!(stack.mounted("web", "/www").contains("_data_block_"));
        assert_served(&stack, port);
    }
}
