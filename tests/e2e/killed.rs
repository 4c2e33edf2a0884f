//! The real binary is killed with SIGKILL at moments that nobody chose, and the next command finishes the move or
//! takes it back. The chosen moments are in `crash`.

use std::hash::{BuildHasher, RandomState};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::before::Before;
use crate::stacks::{log, small_up};
use crate::support::{Block, Run, Stack, sh, tree, wait_for};

/// How many moves are killed, of each of the two kinds.
fn rounds() -> usize {
    if std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full") {
        40
    } else {
        3
    }
}

/// A part of a whole, another each time.
fn random_part(of: Duration) -> Duration {
    of.mul_f64((RandomState::new().hash_one(0) % 10_000) as f64 / 10_000.0)
}

/// How long a move of the small stack takes here and now.
fn usual() -> Duration {
    let block = Block::ext4(300);
    let stack = small_up();
    let began = Instant::now();
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    began.elapsed()
}

/// Moves, and kills that after a while. Whether it had ended by itself.
fn kill_after(stack: &Stack, to: &str, moment: Duration) -> bool {
    let mut child: Child = stack
        .command(&format!("move --to {to} -y"), &[])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap().success()
}

/// Nothing waited: the kill came before the first record or after the last. Then going back is another move, and that
/// is asked for.
fn nothing_waits(run: &Run) -> bool {
    let words = [
        "no run of this project waits",
        "there is nothing to take up",
        "Going back is a move of its own",
    ];
    run.code == 3 && words.iter().any(|words| run.err.contains(words))
}

/// Both services on one home; whether it is the new one.
#[track_caller]
fn moved(stack: &Stack, told: &str) -> bool {
    let new = ["app", "web"].map(|service| {
        let target = if service == "app" { "/data" } else { "/www" };
        stack.mounted(service, target).contains("_data_block_")
    });
    assert_eq!(new[0], new[1], "the services are on two homes; {told}");
    new[0]
}

/// A process that was killed while it looked may leave a helper: it ends by itself, and the next command takes it away.
fn next_command_tidies(stack: &Stack, command: &str) {
    let looking = format!("docker ps -q --filter label=rehome.project={}", stack.name);
    wait_for("the helper to end", || sh(&looking).is_empty());
    stack.rehome(command).exits(3);
}

#[test]
fn at_any_moment_and_taken_back() {
    let usual = usual();
    let block = Block::ext4(300);
    let mut stack = small_up();
    for _ in 0..rounds() {
        let before = Before::of(&stack);
        let written = log(&stack);
        let moment = random_part(usual);
        let ended = kill_after(&stack, block.path(), moment);
        let run = stack.rehome("rollback");
        let told = format!(
            "killed after {moment:?} of {usual:?}; rollback: {}\n{}",
            run.code, run.err
        );
        assert!(run.code == 0 || nothing_waits(&run), "{told}");
        if nothing_waits(&run) {
            next_command_tidies(&stack, "rollback");
        }
        assert_eq!(stack.running(), ["app", "side", "web"], "{told}");
        assert!(log(&stack).starts_with(&written), "lines were lost; {told}");
        if moved(&stack, &told) {
            assert!(ended || run.code != 0, "{told}");
            stack.assert_tidy();
            stack = small_up();
        } else {
            before.assert_same(&stack);
        }
        sh(&format!("rm -rf {0}/data {0}/data.kept-*", block.path()));
    }
}

#[test]
fn at_any_moment_and_finished() {
    let usual = usual();
    for _ in 0..rounds() {
        let block = Block::ext4(300);
        let stack = small_up();
        let written = log(&stack);
        let source = stack.volume_dir("data");
        let before = tree(&source.join("a"));
        let moment = random_part(usual);
        kill_after(&stack, block.path(), moment);
        let run = stack.rehome("resume");
        let told = format!(
            "killed after {moment:?} of {usual:?}; resume: {}\n{}",
            run.code, run.err
        );
        assert!(run.code == 0 || nothing_waits(&run), "{told}");
        if nothing_waits(&run) {
            next_command_tidies(&stack, "resume");
        }
        assert_eq!(stack.running(), ["app", "side", "web"], "{told}");
        assert!(log(&stack).starts_with(&written), "lines were lost; {told}");
        assert_eq!(tree(&source.join("a")), before, "the source was changed; {told}");
        if moved(&stack, &told) {
            assert_eq!(
                tree(&block.root.join("data/a")),
                before,
                "the copy differs; {told}"
            );
        } else {
            assert_ne!(run.code, 0, "{told}");
        }
        stack.assert_tidy();
    }
}
