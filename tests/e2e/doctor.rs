//! `rehome doctor` on real stacks: each planted fault is found by its id, and nothing on a clean one.

use std::collections::BTreeSet;

use crate::stacks::postgres_up;
use crate::support::{BUSYBOX, Block, POSTGRES, Run, Stack, sh, try_sh, wait_for};

/// A service that writes to a volume, with all that a careful person says about it.
pub fn careful() -> String {
    format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo hello > /data/file; exec sleep 1000000"]
    init: true
    volumes: ["data:/data"]
    restart: unless-stopped
    stop_grace_period: 1s
    healthcheck: {{ test: ["CMD", "test", "-s", "/data/file"], interval: 1s, retries: 10 }}
volumes:
  data:
"#
    )
}

/// The same, up and healthy.
pub fn careful_up() -> Stack {
    let stack = Stack::write(&careful());
    stack.compose("up -d --wait");
    stack
}

/// The ids of the findings that are no notes; without the one on how full the disk of this machine happens to be.
#[track_caller]
fn ids(run: &Run) -> BTreeSet<String> {
    let json = run.json();
    let findings = json["findings"].as_array().unwrap();
    let root = sh("df --output=source \"$(docker info --format '{{.DockerRootDir}}')\" | tail -1");
    let of_this_machine = |f: &serde_json::Value| {
        f["id"] == "disk-full" && f["what"].as_str().unwrap().starts_with(&format!("{root} ("))
    };
    let loud = findings
        .iter()
        .filter(|f| f["severity"] != "note" && !of_this_machine(f));
    loud.map(|f| f["id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn finds(stack: &Stack, code: i32, wanted: &[&str]) {
    found(stack, &stack.rehome("doctor --json"), code, wanted);
}

/// The same on the make-believe machine of a block volume.
#[track_caller]
pub fn finds_on(block: &Block, stack: &Stack, code: i32, wanted: &[&str]) {
    found(
        stack,
        &stack.rehome(&format!("{} --json", doctor_on(block))),
        code,
        wanted,
    );
}

pub fn doctor_on(block: &Block) -> String {
    format!("doctor --sysroot {}", block.sysroot.as_ref().unwrap().display())
}

#[track_caller]
fn found(stack: &Stack, run: &Run, code: i32, wanted: &[&str]) {
    let wanted: BTreeSet<_> = wanted.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!((ids(run), run.code), (wanted, code), "{}\n{}", run.out, run.err);
    stack.assert_tidy();
}

/// Moves it to a block volume.
pub fn moved(stack: &Stack, block: &Block) {
    stack
        .rehome(&format!("move --to {} --no-hooks --yes", block.path()))
        .exits(0);
}

#[test]
fn a_clean_stack_prints_one_line() {
    let block = Block::by_rehome(160);
    let stack = careful_up();
    // Before the move it is on the root disk, which is a warning and the command that mends it.
    finds(&stack, 0, &["on-root-disk"]);
    moved(&stack, &block);
    finds_on(&block, &stack, 0, &[]);
    let run = stack.rehome(&doctor_on(&block)).exits(0);
    assert_eq!(run.out.lines().count(), 1, "{}", run.out);
    assert!(run.out.contains("nothing is at risk"), "{}", run.out);
}

#[test]
fn a_clean_database_prints_one_line_and_its_faults_are_found() {
    let block = Block::by_rehome(400);
    let stack = postgres_up();
    let file = stack.read("docker-compose.yml");
    let careful = file
        .replace(
            "    restart: unless-stopped\n",
            "    restart: unless-stopped\n    stop_grace_period: 2m\n",
        )
        .replace(
            "    command: [\"sleep\"",
            "    restart: unless-stopped\n    command: [\"sleep\"",
        );
    stack.file("docker-compose.yml", &careful);
    stack.compose("up -d --wait");
    moved(&stack, &block);
    finds_on(&block, &stack, 0, &[]);
    let run = stack.rehome(&doctor_on(&block)).exits(0);
    assert_eq!(run.out.lines().count(), 1, "{}", run.out);
    // Trap 6, planted in the catalogue: what a newer library does to a database …
    let psql = |query: &str| stack.exec("db", &format!("psql -qtAX -U app -d postgres -c \"{query}\""));
    psql("CREATE DATABASE words TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'");
    finds_on(&block, &stack, 0, &[]);
    psql("UPDATE pg_database SET datcollversion = '1.0' WHERE datname = 'words'");
    finds_on(&block, &stack, 3, &["collation-version"]);
    let run = stack.rehome(&doctor_on(&block)).exits(3);
    // What it says mends it.
    let mends: Vec<_> = run
        .out
        .lines()
        .filter_map(|line| line.find("docker exec ").map(|at| &line[at..]))
        .collect();
    assert_eq!(mends.len(), 2, "{}", run.out);
    for mend in mends {
        sh(mend);
    }
    finds_on(&block, &stack, 0, &[]);
    // … and an image whose library has no versions, as Alpine's.
    psql("UPDATE pg_database SET datcollversion = '2.36' WHERE datname = 'app'");
    finds_on(&block, &stack, 3, &["collation-version"]);
    psql("UPDATE pg_database SET datcollversion = NULL WHERE datname = 'app'");
    finds_on(&block, &stack, 0, &[]);
    // Trap 8.
    stack.file(
        "docker-compose.yml",
        &careful.replace("stop_grace_period: 2m", "stop_grace_period: 5s"),
    );
    finds_on(&block, &stack, 0, &["stop-grace"]);
    let run = stack.rehome(&format!("{} -v", doctor_on(&block))).exits(0);
    assert!(run.out.contains("stop_grace_period: 2m"), "{}", run.out);
    assert!(!run.out.contains("secret-pw-7") && !run.err.contains("secret-pw-7"));
}

#[test]
fn trap_05_a_database_in_an_anonymous_volume_is_found() {
    // The image has a volume at …/data; the named one is mounted beside it.
    let stack = Stack::write(&format!(
        r#"services:
  db:
    image: {POSTGRES}
    environment: {{ POSTGRES_PASSWORD: secret-pw-7 }}
    volumes: ["pg:/var/lib/postgresql/wrong"]
    restart: unless-stopped
    stop_grace_period: 2m
    healthcheck: {{ test: ["CMD-SHELL", "pg_isready -h 127.0.0.1"], interval: 1s, retries: 60 }}
volumes:
  pg:
"#
    ));
    stack.compose("up -d --wait");
    finds(&stack, 3, &["database-outside-of-volumes"]);
}

#[test]
fn trap_13_a_stack_that_is_down_is_found_before_the_prune() {
    let stack = careful_up();
    stack.compose("down");
    finds(&stack, 3, &["on-root-disk", "prunable"]);
    let mend = "compose -- up --no-start";
    let run = stack.rehome("doctor").exits(3);
    assert!(run.out.contains(&format!("mend: rehome {mend}\n")), "{}", run.out);
    stack.rehome(mend).exits(0);
    finds(&stack, 0, &["on-root-disk"]);
}

#[test]
fn trap_23_a_user_that_cannot_write_its_data_is_found() {
    let stack = Stack::write(
        &careful()
            .replace("    init: true", "    init: true\n    user: \"1000:1000\"")
            .replace("echo hello > /data/file; ", ""),
    );
    stack.file(
        "docker-compose.yml",
        &stack
            .read("docker-compose.yml")
            .replace("test\", \"-s\", \"/data/file", "true"),
    );
    stack.compose("up -d --wait");
    let dir = stack.volume_dir("data");
    sh(&format!("echo hello > {}/file", dir.display()));
    finds(&stack, 0, &["cannot-write", "on-root-disk"]);
    let before = crate::support::tree(&dir);
    stack.rehome("doctor").exits(0);
    assert_eq!(
        crate::support::tree(&dir),
        before,
        "a check-up leaves nothing behind"
    );
    sh(&format!("chown 1000:1000 {}", dir.display()));
    finds(&stack, 0, &["on-root-disk"]);
}

#[test]
fn trap_27_a_mount_that_arrives_late_is_found() {
    let block = Block::by_rehome(160);
    let stack = careful_up();
    moved(&stack, &block);
    let (root, device) = (block.path(), block.device.as_str());
    // The server comes up without its block volume …
    stack.compose("stop");
    sh(&format!("umount {root}"));
    finds_on(&block, &stack, 3, &["home-missing"]);
    // … somebody makes the directory, which takes some doing, and the stack starts on it …
    assert!(!try_sh(&format!("mkdir {root}/data")).status.success());
    sh(&format!("chattr -i {root} && mkdir {root}/data"));
    stack.compose("start");
    finds_on(&block, &stack, 3, &["home-not-mounted"]);
    // … and then it is mounted.
    sh(&format!("mount {device} {root}"));
    finds_on(&block, &stack, 3, &["late-mount", "hidden-files"]);
    stack.compose("stop");
    stack.compose("up -d --force-recreate --wait");
    finds_on(&block, &stack, 0, &["hidden-files"]);
    sh(&format!("mount -o remount,ro {root}"));
    let run = stack.rehome(&format!("{} --json", doctor_on(&block))).exits(3);
    assert!(ids(&run).contains("home-read-only"), "{}", run.out);
    sh(&format!("mount -o remount,rw {root}"));
    stack.compose("down");
    sh(&format!(
        "umount {root} && rm -r {root}/data && mount {device} {root}"
    ));
    stack.compose("up -d --wait");
    finds_on(&block, &stack, 0, &["mount-point-writable"]);
    block.mount();
    finds_on(&block, &stack, 0, &[]);
}

#[test]
fn what_the_next_boot_does_wrong_is_found() {
    let block = Block::by_rehome(160);
    let stack = careful_up();
    moved(&stack, &block);
    let sysroot = block.sysroot.as_ref().unwrap();
    let fstab = sysroot.join("etc/fstab");
    let line = std::fs::read_to_string(&fstab).unwrap();
    let write = |text: &str| std::fs::write(&fstab, text).unwrap();
    write("# nothing\n");
    finds_on(&block, &stack, 3, &["no-fstab-line"]);
    write("/dev/sdzz /mnt/data ext4 defaults,nofail 0 2\n");
    finds_on(&block, &stack, 3, &["device-name-in-fstab"]);
    write(&line.replace(",nofail", ""));
    finds_on(&block, &stack, 0, &["no-nofail"]);
    write(&line);
    sh(&format!(
        "rm {}/etc/systemd/system/docker.service.d/rehome-*.conf",
        sysroot.display()
    ));
    finds_on(&block, &stack, 0, &["engine-does-not-wait"]);
    // What the finding says mends it.
    block.mount();
    finds_on(&block, &stack, 0, &[]);
    // A volume that was copied, and took the place of the first.
    sh(&format!(
        "cd {} && mv .rehome-* .rehome-11111111-2222-3333-4444-555555555555",
        block.path()
    ));
    finds_on(&block, &stack, 3, &["other-file-system"]);
}

#[test]
fn trap_29_an_override_that_is_dropped_is_found() {
    let block = Block::by_rehome(160);
    let stack = careful_up();
    moved(&stack, &block);
    sh(&format!("sed -i /^COMPOSE_FILE/d {}/.env", stack.dir.display()));
    let run = stack.rehome("doctor --json").exits(3);
    for id in ["override-inactive", "other-volume", "other-files"] {
        assert!(ids(&run).contains(id), "{id}: {}", run.out);
    }
    stack.rehome("env --write").exits(0);
    finds_on(&block, &stack, 0, &[]);
    // A file after it that points the volume elsewhere.
    stack.file(
        "late.yml",
        "volumes: { data: !override { name: NAME_elsewhere } }\n",
    );
    let files = stack.read(".env").trim_end().to_owned() + ":late.yml\n";
    stack.file(".env", &files);
    let run = stack.rehome("doctor --json").exits(3);
    assert!(ids(&run).contains("override-without-effect"), "{}", run.out);
}

#[test]
fn what_else_a_careless_stack_lacks_is_found() {
    let block = Block::by_rehome(160);
    let stack = Stack::write(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo hello > /cache/file; exec sleep 1000000"]
    init: true
    volumes: ["/cache", "{root}/site:/site", "careless:/data"]
    environment: ["SECRET_KEY"]
volumes:
  careless:
"#,
        root = block.path()
    ));
    stack.file(".env", "SECRET_KEY=hidden-9\n");
    stack.file(
        "rehome.yml",
        &format!("version: 1\nblock:\n  root: {}\n", block.path()),
    );
    sh(&format!(
        "chmod -R a+rX {}",
        stack.dir.parent().unwrap().display()
    ));
    stack.compose("up -d");
    wait_for("the file", || {
        try_sh(&format!(
            "cd {} && docker compose exec -T app test -s /cache/file",
            stack.dir.display()
        ))
        .status
        .success()
    });
    finds_on(
        &block,
        &stack,
        3,
        &[
            "anonymous-volume",
            "bind-is-created",
            "no-restart-policy",
            "open-secret",
        ],
    );
    let run = stack.rehome(&format!("{} -v", doctor_on(&block))).exits(3);
    assert!(
        !run.out.contains("hidden-9") && run.out.contains("SECRET_KEY"),
        "{}",
        run.out
    );
    sh(&format!("chmod 600 {}/.env", stack.dir.display()));
    finds_on(
        &block,
        &stack,
        3,
        &["anonymous-volume", "bind-is-created", "no-restart-policy"],
    );
}
