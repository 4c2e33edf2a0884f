//! The engine is restarted in the middle of a move: Rehome waits for it, and the stack is on its old data or on
//! complete new data.

use crate::before::Before;
use crate::own_engine::OwnEngine;
use crate::stacks::{furnish, log, restarting};
use crate::support::{BUSYBOX, Block, Stack, sh, wait_for};
use crate::watched::Watched;

/// Everything that was written before is there, and all services run, each on the same home.
#[track_caller]
fn assert_whole(stack: &Stack, written: &[String], code: i32, moment: &str) {
    wait_for(&format!("all services, after {moment}"), || {
        stack.running() == ["app", "side", "web"]
    });
    assert!(log(stack).starts_with(written), "lines were lost at {moment}");
    for (service, target) in [("app", "/data"), ("web", "/www")] {
        let home = stack.mounted(service, target);
        assert_eq!(
            home.contains("_data_block_"),
            code == 0,
            "at {moment}: {service} is on {home}"
        );
    }
    stack.assert_tidy();
}

/// Restarts the engine at a moment of a move; `gently` lets it stop its containers first.
fn restart_at(moment: &str, gently: bool) {
    let block = Block::ext4(300);
    let mut engine = OwnEngine::with(&[BUSYBOX]);
    let stack = restarting();
    stack.compose("up -d");
    furnish(&stack, "data");
    sh(&format!(
        "head -c 40000000 /dev/urandom > {}/large",
        stack.volume_dir("data").display()
    ));
    let before = Before::of(&stack);
    let written = log(&stack);

    let to = block.path();
    let mut run = Watched::start(&stack, &format!("move --to {to} -y --bandwidth 20MB"));
    run.until(moment);
    if gently {
        engine.stop();
    } else {
        engine.kill();
    }
    engine.start();
    let run = run.end();
    assert!(
        [0, 10].contains(&run.code),
        "at {moment}: {}\n{}\n{}",
        run.code,
        run.out,
        run.err
    );
    assert_whole(&stack, &written, run.code, moment);
    if run.code == 10 {
        before.assert_same(&stack);
        sh(&format!("rm -rf {to}/data.kept-*"));
        // And the way is free for another try.
        stack.rehome(&format!("move --to {to} -y")).exits(0);
        assert_whole(&stack, &written, 0, moment);
    }
}

#[test]
fn while_it_is_copied() {
    restart_at("\"phase\":\"copy\"", false);
}

#[test]
fn while_the_services_stop() {
    restart_at("\"event\":\"step_started\",\"step\":2", true);
}

#[test]
fn while_nothing_may_run() {
    restart_at("\"event\":\"step_started\",\"step\":3", false);
}

#[test]
fn while_both_homes_are_compared() {
    restart_at("\"event\":\"step_started\",\"step\":4", true);
}

#[test]
fn while_it_starts_on_the_new_home() {
    restart_at("\"event\":\"step_started\",\"step\":6", false);
}

#[test]
fn while_it_is_proven() {
    restart_at("\"event\":\"step_started\",\"step\":7", true);
}

#[test]
fn an_engine_that_stays_away_leaves_a_run_that_can_be_taken_back() {
    let block = Block::ext4(300);
    let mut engine = OwnEngine::with(&[BUSYBOX]);
    let stack = restarting();
    stack.compose("up -d");
    furnish(&stack, "data");
    let before = Before::of(&stack);
    let written = log(&stack);
    let to = block.path();
    let mut run = Watched::start(&stack, &format!("move --to {to} -y"));
    run.until("\"event\":\"step_started\",\"step\":3");
    engine.kill();
    let run = run.end();
    assert_eq!(run.code, 12, "{}\n{}", run.out, run.err);
    for words in [
        "does not answer any more",
        "the old homes are as they were",
        "rehome rollback",
    ] {
        assert!(run.out.contains(words), "{words:?} is not in\n{}", run.out);
    }
    // Without an engine nothing can be known, and that is said.
    stack.rehome("rollback").exits(1).says("engine");
    engine.start();
    stack.rehome("rollback").exits(0);
    assert_whole(&stack, &written, 10, "rollback");
    before.assert_same(&stack);
}
