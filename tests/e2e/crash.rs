//! The real binary is killed at every point of a run, and the next command finishes it or takes it back.
//!
//! Every day a fixed share of the points is taken; with `REHOME_CAMPAIGN=full` all of them, each both ways, and a
//! second crash during the recovery.

use crate::before::Before;
use crate::stacks::{log, small_up};
use crate::support::{Block, Stack, sh, wait_for};

/// The steps of the small stack's move; that it has this many is checked by each test.
const STEPS: usize = 9;
/// Every day one point in so many is taken.
const SHARE: usize = 15;

/// Every named point of a run, in the order of the steps.
fn points() -> Vec<String> {
    let of_step = [
        "before-prepare",
        "after-prepare",
        "before-apply",
        "after-apply",
        "after-verify",
    ];
    let steps = (0..STEPS).flat_map(|step| of_step.map(|moment| format!("{moment}:{step}")));
    // Opened, two records a step, Closed.
    let records =
        (0..STEPS * 2 + 2).flat_map(|n| ["before-journal", "after-journal"].map(|m| format!("{m}:{n}")));
    steps.chain(records).collect()
}

fn full() -> bool {
    std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full")
}

/// The moment after the last record: the run is over, and only its report is missing.
fn closed() -> String {
    format!("after-journal:{}", STEPS * 2 + 1)
}

/// The points of one of `shards` tests that share the work.
fn share(shard: usize, shards: usize) -> Vec<String> {
    let stride = if full() { 1 } else { SHARE };
    points()
        .into_iter()
        .step_by(stride)
        .skip(shard)
        .step_by(shards)
        .collect()
}

/// Runs a move that dies at a point. False when the run ends without coming by there.
fn crash(stack: &Stack, arguments: &str, point: &str) -> bool {
    let run = stack.rehome_env(arguments, &[("REHOME_CRASH_AT", point)]);
    assert!(
        [-1, 0].contains(&run.code),
        "at {point}: {}\n{}",
        run.code,
        run.err
    );
    run.code == -1
}

/// Crashes at each point and takes the run back; the same stack serves all of them, because each is as it was before.
fn back_from(shard: usize, shards: usize) {
    let block = Block::ext4(300);
    let stack = small_up();
    let to = block.path();
    let plan = stack
        .rehome(&format!("move --to {to} --dry-run --json"))
        .exits(0)
        .json();
    assert_eq!(plan["steps"].as_array().unwrap().len(), STEPS);
    for point in share(shard, shards) {
        if point == closed() {
            // Nothing to take back; that the move is complete then is seen when it is resumed.
            continue;
        }
        let written = log(&stack);
        let before = Before::of(&stack);
        if !crash(&stack, &format!("move --to {to} -y"), &point) {
            panic!("the run never comes by {point}");
        }
        if point == "before-journal:0" {
            stack.rehome("rollback").exits(3);
        } else {
            stack
                .rehome(&format!("move --to {to} -y"))
                .exits(3)
                .says("is not finished");
            if full() {
                // The way back dies as well, once, somewhere in its middle.
                let died = stack
                    .rehome_env("rollback", &[("REHOME_CRASH_AT", "after-undo:2")])
                    .code;
                if died == 0 {
                    before.assert_same(&stack);
                    continue;
                }
            }
            stack.rehome("rollback").exits(0);
        }
        wait_for("the writer", || stack.running() == ["app", "side", "web"]);
        assert!(log(&stack).starts_with(&written), "lines were lost at {point}");
        before.assert_same(&stack);
        sh(&format!("rm -rf {to}/data.kept-*"));
        assert_eq!(sh(&format!("ls -A {to}")), "lost+found", "at {point}");
    }
}

/// Crashes at each point and finishes the run.
fn on_from(shard: usize, shards: usize) {
    for point in share(shard, shards) {
        let block = Block::ext4(300);
        let stack = small_up();
        let to = block.path();
        let written = log(&stack);
        assert!(
            crash(&stack, &format!("move --to {to} -y"), &point),
            "the run never comes by {point}"
        );
        if full() && point != "before-journal:0" && point != closed() {
            crash(&stack, "resume", "after-apply:6");
        }
        match point.as_str() {
            "before-journal:0" => {
                stack.rehome("resume").exits(3);
                assert!(stack.mounted("app", "/data").ends_with("_data"));
            }
            _ => {
                let run = stack.rehome("resume");
                // A crash after the last record left nothing to resume; and the crash during the recovery may have
                // come by no point, and then the run was finished there.
                let over = run.code == 3 && run.err.contains("no run of this project waits");
                assert!(
                    run.code == 0 || over && (full() || point == closed()),
                    "at {point}: {}\n{}",
                    run.code,
                    run.err
                );
                assert!(
                    stack.mounted("app", "/data").contains("_data_block_"),
                    "at {point}"
                );
                assert!(
                    stack.mounted("web", "/www").contains("_data_block_"),
                    "at {point}"
                );
            }
        }
        assert_eq!(stack.running(), ["app", "side", "web"], "at {point}");
        assert!(log(&stack).starts_with(&written), "lines were lost at {point}");
        stack.assert_tidy();
    }
}

#[test]
fn killed_and_taken_back_1() {
    back_from(0, 2);
}

#[test]
fn killed_and_taken_back_2() {
    back_from(1, 2);
}

#[test]
fn killed_and_finished_1() {
    on_from(0, 2);
}

#[test]
fn killed_and_finished_2() {
    on_from(1, 2);
}

#[test]
fn a_stack_that_somebody_changed_between_crash_and_recovery() {
    let block = Block::ext4(300);
    let stack = small_up();
    let to = block.path();
    let before = Before::of(&stack);
    let after_stop = "after-journal:6";

    // Somebody brings the old stack up by hand: the run notices, and goes back instead of copying under a writer.
    assert!(crash(&stack, &format!("move --to {to} -y"), after_stop));
    assert_eq!(
        stack.running(),
        ["side"],
        "the crash came while the stack stood still"
    );
    stack.compose("up -d");
    stack.rehome("resume").exits(10).says("may write to volume");
    before.assert_same(&stack);

    // Somebody starts the writer, and stops it again: what it wrote is on the old home only.
    assert!(crash(&stack, &format!("move --to {to} -y"), "after-journal:10"));
    stack.compose("start app");
    stack.compose("stop app");
    stack
        .rehome("resume")
        .exits(10)
        .says("ran again after it was stopped");
    before.assert_same(&stack);

    // Somebody removes the containers: they are made anew on the way back.
    assert!(crash(&stack, &format!("move --to {to} -y"), after_stop));
    stack.compose("rm -f app web");
    stack.rehome("rollback").exits(0);
    before.assert_same(&stack);

    // Somebody edits the Compose file: the run does not start something else than it stopped.
    assert!(crash(&stack, &format!("move --to {to} -y"), "after-journal:12"));
    let text = stack.read("docker-compose.yml");
    stack.file(
        "docker-compose.yml",
        &text.replace("stop_grace_period: 5s", "stop_grace_period: 7s"),
    );
    stack
        .rehome("resume")
        .exits(10)
        .says("was changed since the plan was made");
    stack.file("docker-compose.yml", &text);
    before.assert_same(&stack);

    // Somebody removes the override after the switch: the run goes back.
    assert!(crash(&stack, &format!("move --to {to} -y"), "after-journal:12"));
    sh(&format!("rm {}/docker-compose.block.yml", stack.dir.display()));
    stack
        .rehome("rollback --project-directory . -f docker-compose.yml")
        .exits(0);
    before.assert_same(&stack);
}

#[test]
fn a_torn_last_line_is_dropped_and_damage_before_it_is_an_error_in_words() {
    let block = Block::ext4(300);
    let stack = small_up();
    let to = block.path();
    let before = Before::of(&stack);
    assert!(crash(&stack, &format!("move --to {to} -y"), "after-journal:6"));
    let journal = sh(&format!("ls {}/projects/*/runs/*/journal", stack.state.display()));
    let whole = std::fs::read(&journal).unwrap();
    let text = String::from_utf8_lossy(&whole).trim_end_matches('\0').to_owned();
    // A torn line at the end: the power went while it was written.
    std::fs::write(&journal, &text.as_bytes()[..text.len() - 20]).unwrap();
    stack.rehome("rollback").exits(0);
    before.assert_same(&stack);

    assert!(crash(&stack, &format!("move --to {to} -y"), "after-journal:6"));
    let journal = sh(&format!(
        "ls -t {}/projects/*/runs/*/journal | head -1",
        stack.state.display()
    ));
    let whole = std::fs::read(&journal).unwrap();
    let mut damaged = whole.clone();
    damaged[300] ^= 1;
    std::fs::write(&journal, &damaged).unwrap();
    let run = stack.rehome("rollback").exits(12);
    run.says("line 1").says("data: ").says("hint: ");
    // With the journal put back, the way is free again.
    std::fs::write(&journal, &whole).unwrap();
    stack.rehome("rollback").exits(0);
    before.assert_same(&stack);
}
