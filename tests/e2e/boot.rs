//! Boots with and without the block volume: an engine of its own is stopped and started in place of a machine.

use crate::own_engine::OwnEngine;
use crate::stacks::{furnish, log, restarting, small};
use crate::support::{BUSYBOX, Block, Stack, sh, try_sh, wait_for};

/// What the engine says of why a service does not run.
fn error(stack: &Stack, service: &str) -> String {
    let id = stack.compose(&format!("ps -aq {service}"));
    sh(&format!("docker inspect -f '{{{{.State.Error}}}}' {id}"))
}

fn here(stack: &Stack, block: &Block, more: &str) -> String {
    let sysroot = block.sysroot.as_ref().unwrap().display();
    stack
        .rehome(&format!("mount --at /mnt/data --yes --sysroot {sysroot} {more}"))
        .exits(0)
        .err
}

/// Brings the stack up as systemd would when the volume appears.
fn run_unit(stack: &Stack, block: &Block) {
    let text = unit(stack, block);
    assert!(started(&text), "{text}");
}

/// Runs the command of a unit, and tells whether it was done.
fn started(unit: &str) -> bool {
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let (directory, command) = (value("WorkingDirectory="), value("ExecStart="));
    try_sh(&format!("cd {directory} && env -i {command}"))
        .status
        .success()
}

/// The unit that does.
fn unit(stack: &Stack, block: &Block) -> String {
    let file = format!("etc/systemd/system/rehome-{}.service", stack.name);
    std::fs::read_to_string(block.sysroot.as_ref().unwrap().join(file)).unwrap()
}

#[test]
fn trap_01_without_its_volume_nothing_starts_and_nothing_is_written_in_its_place() {
    let block = Block::by_rehome(300);
    let mut engine = OwnEngine::with(&[BUSYBOX]);
    let stack = restarting();
    stack.compose("up -d");
    furnish(&stack, "data");
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    here(&stack, &block, "");
    let written = log(&stack);

    // The machine comes up, and its volume does not.
    engine.stop();
    let root = block.path();
    sh(&format!("umount {root}"));
    // Where systemd runs the engine does not start now, and whoever is woken up asks what is wrong.
    let sysroot = block.sysroot.as_ref().unwrap().display();
    let doctor = format!("doctor --json --sysroot {sysroot}");
    let run = stack.rehome(&doctor).exits(3);
    assert!(
        run.out.contains("\"home-not-mounted\"") && run.out.contains("\"engine-silent\""),
        "{}",
        run.out
    );
    engine.start();
    wait_for("the engine to try it", || {
        error(&stack, "app").contains("no such file or directory")
    });
    assert_eq!(stack.running(), ["side"], "what needs no block volume runs");
    // Somebody tries by hand.
    assert!(
        !try_sh(&format!("cd {} && docker compose up -d app", stack.dir.display()))
            .status
            .success()
    );
    assert!(!try_sh(&format!("mkdir {root}/data")).status.success());
    assert_eq!(sh(&format!("ls -A {root}")), "", "nothing is on the root disk");
    let run = stack.rehome(&doctor).exits(3);
    assert!(run.out.contains("\"home-missing\""), "{}", run.out);

    // Trap 28: the volume comes, and the engine does not try again. The unit does.
    here(&stack, &block, "");
    assert_eq!(stack.running(), ["side"]);
    run_unit(&stack, &block);
    wait_for("the stack", || stack.running() == ["app", "side", "web"]);
    assert!(log(&stack).starts_with(&written), "lines were lost");
}

#[test]
fn trap_28_the_unit_brings_back_what_ran_and_nothing_else() {
    let block = Block::by_rehome(300);
    let stack = small();
    stack.compose("up -d");
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    // Stopped by its owner: it stays so.
    stack.compose("stop side");
    here(&stack, &block, "");
    let before = stack.shape();
    stack.compose("stop");
    run_unit(&stack, &block);
    wait_for("the stack", || stack.running() == ["app", "web"]);
    assert_eq!(stack.shape(), before, "no container is made anew");
    // The unit is for the files that Compose finds: a move back is followed without a word to systemd.
    let text = unit(&stack, &block);
    stack.rehome("move --to volumes -y").exits(0);
    here(&stack, &block, "");
    assert_eq!(unit(&stack, &block), text);
}

#[test]
fn trap_28_a_unit_from_before_the_move_makes_nothing_on_the_old_homes() {
    let block = Block::by_rehome(300);
    let stack = small();
    stack.compose("up -d");
    // The files are named by hand, and not yet in .env: the unit has them as they are before the move.
    let files = format!("-f {}/docker-compose.yml", stack.dir.display());
    let sysroot = block.sysroot.as_ref().unwrap().display();
    stack
        .rehome(&format!("{files} mount --at /mnt/data --yes --sysroot {sysroot}"))
        .exits(0);
    assert!(unit(&stack, &block).contains(" -f "), "{}", unit(&stack, &block));
    stack
        .rehome(&format!("{files} move --to {} -y", block.path()))
        .exits(0);
    let moved = stack.shape();
    stack.compose("stop");
    run_unit(&stack, &block);
    assert_eq!(stack.shape(), moved, "on the new homes, as before");
    // Its owner took the stack down: nothing is made in its place, least of all on the old home.
    stack.compose("down");
    let text = unit(&stack, &block);
    assert!(!started(&text));
    assert_eq!(stack.shape(), std::collections::BTreeMap::new());
    stack.compose("up -d");
    assert_eq!(stack.shape(), moved);
    stack.rehome("move --to volumes -y").exits(0);
}

#[test]
fn the_projects_directories_are_made_with_their_owners() {
    let block = Block::by_rehome(300);
    let stack = small();
    stack.compose("up -d");
    furnish(&stack, "data");
    let said = here(&stack, &block, "");
    assert!(said.contains("make /mnt/data/data"), "{said}");
    let root = block.path();
    // As the volume has it; `side_volume` stays where it is.
    assert_eq!(sh(&format!("stat -c '%u:%g %a' {root}/data")), "999:998 751");
    assert_eq!(sh(&format!("ls {root}")), "data\nlost+found");
    stack.rehome(&format!("move --to {root} -y")).exits(0);
    assert_eq!(sh(&format!("stat -c '%u:%g %a' {root}/data")), "999:998 751");
    // A volume in use is not taken back.
    let sysroot = block.sysroot.as_ref().unwrap().display();
    let run = stack
        .rehome(&format!("mount --undo --at /mnt/data --yes --sysroot {sysroot}"))
        .exits(3);
    assert!(run.err.contains("is in use"), "{}", run.err);
    stack.rehome("move --to volumes -y").exits(0);
}

#[test]
fn volumes_that_would_meet_get_no_directory_and_the_others_do() {
    let block = Block::by_rehome(300);
    let stack = Stack::up(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sh", "-c", "touch /one/x /two/x /other/x && exec sleep 1000000"]
    init: true
    volumes: ["media_data:/one", "media_volume:/two", "other:/other"]
volumes:
  media_data:
  media_volume:
  other:
"#
    ));
    wait_for("the files", || stack.volume_dir("other").join("x").exists());
    let said = here(&stack, &block, "");
    for words in [
        "no directory is made for media_data: it would meet `media_volume` in media",
        "no directory is made for media_volume: it would meet `media_data` in media",
        "make /mnt/data/other",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(sh(&format!("ls {}", block.path())), "lost+found\nother");
    // As the move refuses it.
    let run = stack.rehome(&format!("move --to {} -y", block.path())).exits(3);
    assert!(run.err.contains("would meet in media"), "{}", run.err);
}
