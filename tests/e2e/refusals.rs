//! What is refused before anything changes: in words, with the exit code for it, and the stack as it was.

use crate::before::Before;
use crate::stacks::{small, small_up};
use crate::support::{BUSYBOX, Block, Run, Stack, sh};

/// Runs a move that must be refused, and looks that nothing changed.
#[track_caller]
fn refused(stack: &Stack, arguments: &str, env: &[(&str, &str)], code: i32) -> Run {
    let before = Before::of(stack);
    let run = stack.rehome_env(arguments, env).exits(code);
    before.assert_same(stack);
    run
}

#[test]
fn the_environment_is_missing() {
    let stack = small();
    stack
        .rehome("-H unix:///nowhere.sock status")
        .exits(1)
        .says("no Docker engine answers at unix:///nowhere.sock")
        .says("hint: ");
    // A docker without the plugin, and a docker-compose of version 1.
    let bin = stack.dir.join("bin");
    let b = bin.display();
    sh(&format!(
        "mkdir -p {b}/empty && ln -s $(command -v docker) {b}/docker && \
         printf '#!/bin/sh\\necho 1.29.2\\n' > {b}/docker-compose && chmod +x {b}/docker-compose"
    ));
    // The engine is answered for by the API; only Compose is looked for in PATH.
    let no_plugin = [
        ("PATH", bin.to_str().unwrap()),
        ("DOCKER_CONFIG", "/nonexistent"),
        ("HOME", "/nonexistent"),
    ];
    let hidden = sh(
        "ls -d /usr/local/lib/docker/cli-plugins/docker-compose /usr/libexec/docker/cli-plugins/docker-compose /usr/lib/docker/cli-plugins/docker-compose 2>/dev/null || true",
    );
    if hidden.is_empty() {
        stack
            .rehome_env("status", &no_plugin)
            .exits(1)
            .says("only Compose v1 is here")
            .says("1.29.2");
    } else {
        // The plugin is installed for the whole machine: a docker that knows no plugin stands in.
        sh(&format!(
            "rm {b}/docker && printf '#!/bin/sh\\necho \"docker: unknown command: docker $1\" >&2; exit 1\\n' > {b}/docker && chmod +x {b}/docker && ln -s /bin/sh {b}/sh"
        ));
        stack
            .rehome_env("status", &no_plugin)
            .exits(1)
            .says("only Compose v1 is here")
            .says("1.29.2");
        sh(&format!("rm {b}/docker-compose"));
        stack
            .rehome_env("status", &no_plugin)
            .exits(1)
            .says("Compose plugin is not");
    }
}

#[test]
fn files_that_compose_cannot_read_are_refused_in_its_own_words() {
    let stack = Stack::write("services:\n  app:\n    image: x\n    volums: []\n");
    stack
        .rehome("move --to /mnt -y")
        .exits(1)
        .says("volums")
        .says("data: ");
    let stack = Stack::write("services:\n  app:\n    image: \"${IMAGE:?say which image}\"\n");
    stack.rehome("status").exits(1).says("say which image");
    stack.rehome("-f nope.yml status").exits(2).says("nope.yml");
}

#[test]
fn wishes_that_cannot_be() {
    let block = Block::ext4(100);
    let stack = small_up();
    let to = block.path();
    refused(&stack, &format!("move --to {to} -y --only dat"), &[], 3)
        .says("has no volume `dat`")
        .says("did you mean `data`?");
    refused(&stack, "move --to volume -y", &[], 2).says("no absolute path");
    refused(&stack, &format!("move --to {to}"), &[], 3)
        .says("hint: ")
        .says("-y");
    refused(&stack, &format!("move --to {to} -y --map data=../x"), &[], 2);
    refused(
        &stack,
        &format!("move --to {to} -y --map data=lost+found"),
        &[],
        3,
    )
    .says("is no place for volume `data`");
    refused(&stack, "move --to volumes -y", &[], 3).says("no volume to move back");
    refused(&stack, "resume", &[], 3).says("no run of this project waits");
    // Only what speaks against it is asked for; nothing is on the new home.
    assert_eq!(sh(&format!("ls -A {to}")), "lost+found");
}

#[test]
fn destinations_that_will_not_do() {
    let stack = small_up();
    refused(&stack, "move --to /mnt/is-not-there -y", &[], 3).says("does not exist");
    let plain = stack.dir.join("plain");
    sh(&format!("mkdir {}", plain.display()));
    refused(&stack, &format!("move --to {} -y", plain.display()), &[], 3).says("nothing is mounted at");

    let block = Block::ext4(40);
    let to = block.path().to_owned();
    sh(&format!("mkdir {to}/data && touch {to}/data/precious"));
    refused(&stack, &format!("move --to {to} -y"), &[], 3)
        .says("is not empty")
        .says("precious");
    sh(&format!(
        "rm -r {to}/data && mkdir {to}/elsewhere && ln -s elsewhere {to}/data"
    ));
    refused(&stack, &format!("move --to {to} -y"), &[], 3).says("not a directory");
    sh(&format!("rm {to}/data && mount -o remount,ro {to}"));
    refused(&stack, &format!("move --to {to} -y"), &[], 3).says("is read-only");
    sh(&format!("mount -o remount,rw {to}"));
    // 40 MB cannot take what the volume holds and the headroom.
    refused(&stack, &format!("move --to {to} -y"), &[], 3).says("is too small");
    let few = Block::make(200, "mkfs.ext4 -q -N 64");
    refused(&stack, &format!("move --to {} -y", few.path()), &[], 3).says("too few inodes");
}

#[test]
fn trap_09_a_source_that_somebody_else_writes_to() {
    let block = Block::ext4(200);
    let stack = small_up();
    let name = format!("{}-foreign", stack.name);
    sh(&format!(
        "docker run -d --name {name} --label rehome.test=1 -v {}_data:/x {BUSYBOX} sleep 1000",
        stack.name
    ));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        refused(&stack, &format!("move --to {} -y", block.path()), &[], 3)
            .says(&name)
            .says("docker stop");
    }));
    sh(&format!("docker rm -f {name}"));
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_definition_that_was_changed_but_not_applied() {
    let block = Block::ext4(200);
    let stack = small_up();
    let text = stack
        .read("docker-compose.yml")
        .replace("stop_grace_period: 5s", "stop_grace_period: 6s");
    stack.file("docker-compose.yml", &text);
    refused(&stack, &format!("move --to {} -y", block.path()), &[], 3)
        .says("does not run as its Compose files say")
        .says("up -d app");
}
