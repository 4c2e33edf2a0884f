//! What fails in the middle: everything is taken back, the stack is as it was, and the exit code says so.

use crate::before::Before;
use crate::stacks::{small, small_up, small_with};
use crate::support::{BUSYBOX, Block, Run, sh, try_sh, wait_for};
use crate::watched::Watched;

/// The failure that the last event of a run carries.
#[track_caller]
fn failure(run: &Run, outcome: &str) -> serde_json::Value {
    let last = run.events().pop().unwrap();
    assert_eq!(last["event"], "finished", "{last}");
    assert_eq!(last["outcome"], outcome, "{last}");
    last["failure"].clone()
}

#[test]
fn trap_36_a_hook_that_fails_takes_the_move_back_and_is_never_called_a_success() {
    let block = Block::ext4(200);
    let stack = small_up();
    let config = "version: 1\nblock: { exclude: [side_volume] }\nhooks:\n  after_start:\n    - { service: app, run: [sh, -c, 'echo written > /data/by-hook; echo no such table >&2; exit 7'] }\n";
    stack.file("rehome.yml", config);
    let before = Before::of(&stack);
    let run = stack.rehome(&format!("move --to {} -y", block.path())).exits(10);
    let run = run
        .says("exit code 7")
        .says("no such table")
        .says("rolled back")
        .says("is kept in");
    assert!(!run.err.contains("now lives"), "{}", run.err);
    before.assert_same(&stack);
    // What was written to the new home is kept beside it, and the way is free for another try.
    assert_eq!(
        sh(&format!("cat {}/data.kept-*/by-hook", block.path())),
        "written"
    );
    stack.file("rehome.yml", "version: 1\nblock: { exclude: [side_volume] }\n");
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
}

#[test]
fn a_check_that_never_answers() {
    let block = Block::ext4(200);
    let stack = small_up();
    let config = "version: 1\nblock: { exclude: [side_volume] }\nchecks: [ { service: web, http: 'http://localhost:8000/nothing', within: 2s } ]\n";
    stack.file("rehome.yml", config);
    let before = Before::of(&stack);
    stack
        .rehome(&format!("move --to {} -y", block.path()))
        .exits(10)
        .says("did not answer 200")
        .says("it answered 404");
    before.assert_same(&stack);
}

#[test]
fn trap_30_a_container_that_crash_loops_on_the_new_home() {
    let block = Block::ext4(200);
    // It works on the old home and ends at once on the new one.
    let crash = "    entrypoint: [\"sh\", \"-c\", \"grep ' /data ' /proc/mounts | grep -q loop && { echo cannot live here; exit 3; }; trap 'exit 0' TERM; while true; do cat /proc/uptime >> /data/log; sleep 0.1; done\"]";
    let stack = small_with(crash, "");
    let text = stack.read("docker-compose.yml");
    // Without a healthcheck a crash loop looks like "running" between two crashes.
    let text: String = text
        .lines()
        .filter(|l| !l.contains("healthcheck"))
        .map(|l| l.replace("service_healthy", "service_started") + "\n")
        .collect();
    stack.file("docker-compose.yml", &text);
    stack.compose("up -d");
    let before = Before::of(&stack);
    stack
        .rehome(&format!("move --to {} -y", block.path()))
        .exits(10)
        .says("service `app`")
        .says("cannot live here");
    before.assert_same(&stack);
}

#[test]
fn trap_08_a_database_that_does_not_stop_is_not_killed_and_comes_back() {
    let block = Block::ext4(200);
    // Looks like PostgreSQL by its environment, and ignores every polite signal.
    let stubborn = "    environment: { PG_MAJOR: \"15\" }\n    entrypoint: [\"sh\", \"-c\", \"trap '' INT TERM; while true; do cat /proc/uptime >> /data/log; sleep 0.1; done\"]";
    let stack = small_with(stubborn, "");
    stack.compose("up -d");
    let before = Before::of(&stack);
    let run = stack
        .rehome(&format!("move --to {} -y --stop-timeout 2", block.path()))
        .exits(10);
    run.says("service `app` did not stop within 2.0 s")
        .says("still running after SIGINT")
        .says("--stop-timeout 10");
    before.assert_same(&stack);
}

#[test]
fn a_disk_that_fills_up_in_the_middle() {
    let block = Block::ext4(300);
    let stack = small_up();
    let before = Before::of(&stack);
    let mut run = Watched::start(&stack, &format!("move --to {} -y --bandwidth 1MB", block.path()));
    run.until("\"phase\":\"copy\"");
    sh(&format!(
        "dd if=/dev/zero of={}/hog bs=1M status=none || true",
        block.path()
    ));
    // What the stack writes now does not fit any more.
    sh(&format!(
        "head -c 30000000 /dev/urandom > {}/more",
        stack.volume_dir("data").display()
    ));
    let run = run.end();
    assert_eq!(run.code, 10, "{}\n{}", run.out, run.err);
    let failure = failure(&run, "rolled_back");
    assert!(failure.to_string().contains("No space left"), "{failure}");
    assert!(
        failure["hints"][0].as_str().unwrap().contains("free some space"),
        "{failure}"
    );
    before.assert_same(&stack);
}

#[test]
fn a_helper_that_is_killed() {
    let block = Block::ext4(600);
    let stack = small_up();
    sh(&format!(
        "head -c 200000000 /dev/urandom > {}/large",
        stack.volume_dir("data").display()
    ));
    let before = Before::of(&stack);
    let run = Watched::start(&stack, &format!("move --to {} -y --bandwidth 20MB", block.path()));
    let helper = format!(
        "docker ps -q --filter label=rehome.project={} --filter status=running",
        stack.name
    );
    let mut copying = run;
    copying.until("\"phase\":\"copy\"");
    wait_for("a helper", || !sh(&helper).is_empty());
    sh(&format!("docker kill $({helper})"));
    let run = copying.end();
    assert_eq!(run.code, 10, "{}\n{}", run.out, run.err);
    let failure = failure(&run, "rolled_back");
    assert!(
        failure
            .to_string()
            .contains("the helper ended before its work was done"),
        "{failure}"
    );
    before.assert_same(&stack);
}

#[test]
fn a_file_that_cannot_be_read() {
    let block = Block::ext4(200);
    let stack = small();
    // Scattered blocks, so that the map of the file needs a block of its own; that block is wiped in a copy of the
    // image. A copy, because the loop device of the first may outlive its mount while somebody looks at it, and a
    // second mount would then find the whole block in its cache.
    let base = stack.dir.join("damaged");
    let (d, whole, image) = (
        base.display(),
        stack.dir.join("whole.img"),
        stack.dir.join("damaged.img"),
    );
    let (whole, image) = (whole.display(), image.display());
    sh(&format!(
        "mkdir {d} && truncate -s 50M {whole} && mkfs.ext4 -q -b 4096 {whole} && mount -o loop {whole} {d} && \
         for i in $(seq 0 2 200); do printf x | dd of={d}/broken bs=4096 seek=$i conv=notrunc status=none; done; \
         umount {d} && sync && cp --sparse=always {whole} {image} && \
         map=$(debugfs -R 'ex /broken' {image} | awk '$1 == \"0/\" && $2 == \"1\" && !found {{ print $8; found = 1 }}') && \
         [ -n \"$map\" ] && dd if=/dev/zero of={image} bs=4096 seek=$map count=1 conv=notrunc status=none && sync && \
         mount -o loop {image} {d}"
    ));
    let readable = try_sh(&format!("cat {d}/broken > /dev/null")).status.success();
    stack.compose("create");
    let source = stack.volume_dir("data");
    sh(&format!("mount --move {d} {}", source.display()));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        assert!(!readable, "the file can be read after all");
        stack.compose("up -d");
        let (shape, running) = (stack.shape(), stack.running());
        let run = stack.rehome(&format!("move --to {} -y", block.path())).exits(10);
        run.says("volume `data` could not be copied")
            .says("broken")
            .says("no service was stopped");
        assert_eq!(stack.shape(), shape);
        assert_eq!(stack.running(), running);
        stack.assert_tidy();
        stack.compose("down -t 1");
    }));
    sh(&format!("umount -l {}", source.display()));
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn ctrl_c_goes_back_and_a_second_one_leaves_it_to_be_resumed() {
    let block = Block::ext4(600);
    let stack = small_up();
    sh(&format!(
        "head -c 100000000 /dev/urandom > {}/large",
        stack.volume_dir("data").display()
    ));
    let before = Before::of(&stack);
    let to = block.path();
    for (moment, arguments) in [
        ("\"phase\":\"copy\"", "--bandwidth 20MB"),
        ("\"event\":\"step_started\",\"step\":2", ""),
        ("\"event\":\"step_started\",\"step\":4", ""),
        ("\"event\":\"step_started\",\"step\":6", ""),
        ("\"event\":\"step_started\",\"step\":7", ""),
    ] {
        let mut run = Watched::start(&stack, &format!("move --to {to} -y {arguments}"));
        run.until(moment);
        run.signal("INT");
        let run = run.end();
        assert_eq!(run.code, 10, "at {moment}:\n{}\n{}", run.out, run.err);
        before.assert_same(&stack);
        sh(&format!("rm -rf {to}/data.kept-*"));
    }
    let mut run = Watched::start(&stack, &format!("move --to {to} -y --bandwidth 10MB"));
    run.until("\"phase\":\"copy\"");
    // The first is heeded within moments; the process is held so that the second comes before.
    run.signal("STOP");
    run.signal("INT");
    run.signal("TERM");
    run.signal("CONT");
    let run = run.end();
    assert!([10, 11].contains(&run.code), "{}\n{}", run.out, run.err);
    if run.code == 11 {
        stack
            .rehome(&format!("move --to {to} -y"))
            .exits(3)
            .says("is not finished")
            .says("rehome resume");
        stack.rehome("rollback").exits(0);
    }
    before.assert_same(&stack);
}

#[test]
fn two_runs_at_once() {
    let block = Block::ext4(600);
    let stack = small_up();
    sh(&format!(
        "head -c 100000000 /dev/urandom > {}/large",
        stack.volume_dir("data").display()
    ));
    let mut first = Watched::start(&stack, &format!("move --to {} -y --bandwidth 20MB", block.path()));
    first.until("\"phase\":\"copy\"");
    stack
        .rehome(&format!("move --to {} -y", block.path()))
        .exits(3)
        .says("rehome")
        .says(&format!("process {}", first.id()));
    stack.rehome("rollback").exits(3);
    let first = first.end();
    assert_eq!(first.code, 0, "{}\n{}", first.out, first.err);
}

#[test]
fn trap_09_somebody_starts_a_writer_while_the_stack_stands_still() {
    let block = Block::ext4(200);
    let stack = small_up();
    let before = Before::of(&stack);
    let name = format!("{}-intruder", stack.name);
    let mut run = Watched::start(&stack, &format!("move --to {} -y", block.path()));
    run.until("\"event\":\"downtime_began\"");
    sh(&format!(
        "docker run -d --name {name} -v {}_data:/x {BUSYBOX} sh -c 'while true; do date >> /x/intruder; sleep 0.05; done'",
        stack.name
    ));
    let run = run.end();
    try_sh(&format!("docker rm -f {name}"));
    assert_eq!(run.code, 10, "{}\n{}", run.out, run.err);
    let failure = failure(&run, "rolled_back");
    assert!(failure.to_string().contains(&name), "{failure}");
    before.assert_same(&stack);
}

#[test]
fn a_service_that_went_down_meanwhile_is_named_at_the_end() {
    let block = Block::ext4(200);
    let stack = small_up();
    let mut run = Watched::start(&stack, &format!("move --to {} -y --bandwidth 1MB", block.path()));
    run.until("\"phase\":\"copy\"");
    stack.compose("stop side");
    let run = run.end();
    assert_eq!(run.code, 0, "{}\n{}", run.out, run.err);
    let warned = "service `side` ran when this run began and does not now";
    assert!(run.out.contains(warned), "{}", run.out);
    assert!(!run.out.contains("service `app` ran"), "{}", run.out);
    assert_eq!(stack.running(), ["app", "web"]);
}
