//! The traps that lose data in this field, by number: each is set for real, and Rehome refuses it in words or handles
//! it with nothing lost.

use crate::stacks::{postgres, postgres_up, small, small_up, small_with, table_sum};
use crate::support::{BUSYBOX, Block, POSTGRES, Stack, sh, tree, try_sh, wait_for};

/// Every volume of the engine that belongs to a stack.
fn volumes(stack: &Stack) -> String {
    sh(&format!(
        "docker volume ls -q | grep '{}' | sort || true",
        stack.name
    ))
}

/// Ids of the project's containers: whoever makes one anew changes them.
fn ids(stack: &Stack) -> String {
    sh(&format!(
        "docker ps -aq --no-trunc --filter label=com.docker.compose.project={} | sort",
        stack.name
    ))
}

/// The log that `app` of the small stack writes.
fn log(stack: &Stack) -> Vec<String> {
    let text = stack.exec("app", "cat /data/log");
    text.lines().map(str::to_owned).collect()
}

/// An image that goes with the test.
struct Image(String);

impl Image {
    fn build(name: &str, dockerfile: &str) -> Self {
        sh(&format!("docker build -q -t {name} - <<'END'\n{dockerfile}\nEND"));
        Self(name.to_owned())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let output = try_sh(&format!("docker rmi -f {}", self.0));
        if !output.status.success() && !std::thread::panicking() {
            panic!("the image could not be removed: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn trap_02_plain_up_with_or_without_a_yes_keeps_the_new_home_and_the_old_volume() {
    let block = Block::ext4(100);
    let stack = small_up();
    let old = stack.volume("data");
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    let kept = tree(&stack.volume_dir("data"));
    let home = stack.mounted("app", "/data");
    assert!(home.contains("_data_block_"), "{home}");
    let first = log(&stack);
    for command in [
        "docker compose up -d",
        "echo y | docker compose up -d",
        "docker compose up -d -y --force-recreate",
        "docker compose down && docker compose up -d",
    ] {
        let output = try_sh(&format!("cd {} && {command}", stack.dir.display()));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command}: {said}");
        assert!(!said.contains("data will be lost"), "{command}: {said}");
        assert_eq!(stack.mounted("app", "/data"), home, "{command}");
        assert!(log(&stack).starts_with(&first), "{command}: lines are lost");
    }
    assert_eq!(tree(&stack.volume_dir("data")), kept, "{old} was changed");
}

#[test]
fn trap_03_a_mistyped_a_missing_and_an_empty_volume_are_refused_and_none_is_created() {
    let block = Block::ext4(100);
    let stack = small_up();
    let before = (volumes(&stack), ids(&stack));
    let to = format!("move --to {} -y", block.path());
    stack
        .rehome(&format!("{to} --only dat"))
        .exits(3)
        .says("has no volume `dat`")
        .says("did you mean `data`?");
    stack
        .rehome(&format!("{to} --without-data date"))
        .exits(3)
        .says("has no volume `date`");
    let other = format!("{}_other", stack.name);
    stack
        .rehome(&format!("-p {other} {to}"))
        .exits(3)
        .says("does not exist")
        .says(&format!("{other}_data"));
    assert_eq!((volumes(&stack), ids(&stack)), before, "something was made or changed");

    let empty = small();
    empty.compose("create");
    let before = volumes(&empty);
    empty
        .rehome(&format!("move --to {} -y", block.path()))
        .exits(3)
        .says("is empty")
        .says("--without-data data");
    assert_eq!(volumes(&empty), before);
    assert_eq!(sh(&format!("ls {}", block.path())), "lost+found");
}

#[test]
fn trap_04_a_namesake_of_another_project_is_pointed_out_and_not_touched() {
    let block = Block::ext4(100);
    let stack = small_up();
    let other = format!("{}_backend_data", stack.name);
    sh(&format!(
        "docker volume create {other} && docker run --rm -v {other}:/v {BUSYBOX} sh -c 'echo theirs > /v/file'"
    ));
    let run = stack
        .rehome(&format!("move --to {} --dry-run", block.path()))
        .exits(0);
    let line = run.out.lines().find(|l| l.contains(&other)).unwrap_or_default();
    assert!(line.starts_with("! ") && line.contains("make sure"), "{}", run.out);
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    assert_eq!(
        sh(&format!("docker run --rm -v {other}:/v {BUSYBOX} cat /v/file")),
        "theirs"
    );
    assert!(sh(&format!("ls {}/data", block.path())).contains("log"));
}

#[test]
fn trap_05_postgres_on_an_anonymous_volume_is_refused_with_the_way_to_name_it() {
    let block = Block::ext4(300);
    // The image declares its data directory a volume, and the file mounts the named volume above it: what looks like
    // the database's volume holds nothing.
    let stack = Stack::write(&format!(
        r#"services:
  db:
    image: {POSTGRES}
    environment: {{ POSTGRES_USER: app, POSTGRES_PASSWORD: secret-pw-7, POSTGRES_DB: app }}
    volumes: ["postgres_data:/var/lib/postgresql"]
    healthcheck: {{ test: ["CMD-SHELL", "pg_isready -U app -d app"], interval: 1s, retries: 30 }}
volumes:
  postgres_data:
"#
    ));
    stack.compose("up -d --wait");
    let before = (ids(&stack), stack.shape());
    for more in ["", " --without-data postgres_data"] {
        stack
            .rehome(&format!("move --to {} -y{more}", block.path()))
            .exits(3)
            .says("anonymous volume")
            .says("/var/lib/postgresql/data")
            .says("mount a named volume at /var/lib/postgresql/data");
    }
    assert_eq!((ids(&stack), stack.shape()), before);
}

#[test]
fn trap_07_an_image_of_another_major_version_is_refused_before_anything_stops() {
    let block = Block::ext4(300);
    let stack = postgres_up();
    let rows = table_sum(&stack);
    let image = Image::build(
        &format!("rehome-test/{}:16", stack.name),
        &format!("FROM {POSTGRES}\nENV PG_MAJOR=16"),
    );
    let file = stack.read("docker-compose.yml");
    stack.file("docker-compose.yml", &file.replace(POSTGRES, &image.0));
    let refused = |when: &str| {
        let before = (ids(&stack), stack.running());
        let run = stack.rehome(&format!("move --to {} -y", block.path())).exits(3);
        assert!(run.err.contains("PostgreSQL 15"), "{when}:\n{}", run.err);
        assert!(run.err.contains("PostgreSQL 16"), "{when}:\n{}", run.err);
        assert!(
            !run.err.contains("up -d"),
            "{when}: starting that image is no advice:\n{}",
            run.err
        );
        assert_eq!((ids(&stack), stack.running()), before, "{when}");
    };
    refused("running with the old image");
    stack.compose("stop db");
    refused("stopped with the old image");
    stack.compose("down");
    refused("without a container");
    stack.file("docker-compose.yml", &file);
    stack.compose("up -d --wait");
    assert_eq!(table_sum(&stack), rows);
}

#[test]
fn trap_08_a_postgres_that_does_not_end_cleanly_stops_the_move_and_comes_back() {
    let block = Block::ext4(300);
    // A wrapper that ends the server at once when it is asked to stop: no checkpoint is written.
    let image = Image::build(
        &format!("rehome-test/brutal-{}:15", std::process::id()),
        &format!(
            "FROM {POSTGRES}\nENTRYPOINT [\"sh\", \"-c\", \"docker-entrypoint.sh postgres & pid=$!; trap 'kill -9 $(head -1 $PGDATA/postmaster.pid); wait; exit 0' INT TERM; wait $pid\"]"
        ),
    );
    let stack = postgres(&image.0);
    let rows = table_sum(&stack);
    let home = stack.mounted("db", "/var/lib/postgresql/data");
    stack
        .rehome(&format!("move --to {} -y", block.path()))
        .exits(10)
        .says("did not shut down cleanly")
        .says("in production");
    assert_eq!(stack.running(), ["api", "db"]);
    assert_eq!(stack.mounted("db", "/var/lib/postgresql/data"), home);
    wait_for("the server to answer", || {
        try_sh(&format!("cd {} && docker compose exec -T db pg_isready -U app", stack.dir.display()))
            .status
            .success()
    });
    assert_eq!(table_sum(&stack), rows);
    stack.assert_tidy();
}

#[test]
fn trap_09_a_second_writer_on_volume_or_directory_is_refused_and_a_reader_is_pointed_out() {
    let block = Block::ext4(100);
    let stack = small_up();
    let volume = stack.volume("data");
    let dir = stack.volume_dir("data");
    let other = format!("{}-second", stack.name);
    let before = stack.shape();
    let start = |mount: &str| {
        sh(&format!(
            "docker run -d --init --rm --name {other} --label com.docker.compose.project.of={} -v {mount} {BUSYBOX} sleep 1000000",
            stack.name
        ));
    };
    let stop = || sh(&format!("docker rm -f {other}"));
    for mount in [format!("{volume}:/d"), format!("{}:/d", dir.display())] {
        start(&mount);
        let run = stack.rehome(&format!("move --to {} -y", block.path()));
        stop();
        run.exits(3).says(&other).says("writable").says("docker stop");
        assert_eq!(stack.shape(), before, "{mount}");
    }
    start(&format!("{volume}:/d:ro"));
    let run = stack.rehome(&format!("move --to {} -y", block.path()));
    stop();
    run.exits(0).says(&other).says("will go on reading the old home");
}

#[test]
fn trap_11_and_12_the_root_keeps_owner_and_mode_and_lost_found_is_left_alone() {
    let block = Block::ext4(400);
    // The data directory is the volume's root itself: PostgreSQL refuses to start unless it is its own, with mode 0700.
    let stack = Stack::write(&format!(
        r#"services:
  db:
    image: {POSTGRES}
    environment: {{ POSTGRES_USER: app, POSTGRES_PASSWORD: secret-pw-7, POSTGRES_DB: app }}
    volumes: ["postgres_data:/var/lib/postgresql/data"]
    healthcheck: {{ test: ["CMD-SHELL", "pg_isready -U app -d app"], interval: 1s, retries: 30 }}
volumes:
  postgres_data:
"#
    ));
    stack.compose("up -d --wait");
    let stat = |dir: &std::path::Path| sh(&format!("stat -c '%u:%g %a' {}", dir.display()));
    let root = stat(&stack.volume_dir("postgres_data"));
    assert!(root.starts_with("999:") && root.ends_with(" 700"), "{root}");
    let lost_found = stat(&block.root.join("lost+found"));
    let to = format!("move --to {} -y", block.path());
    stack
        .rehome(&format!("{to} --map postgres_data=lost+found"))
        .exits(3)
        .says("is no place for volume `postgres_data`");
    // A directory with nothing but a lost+found is as empty as one can be that is a file system's root.
    stack.rehome(&to).exits(0).says("shut down");
    assert_eq!(stat(&block.root.join("postgres")), root);
    assert_eq!(stat(&block.root.join("lost+found")), lost_found);
    assert!(!block.root.join("postgres/lost+found").exists());
    assert_eq!(
        stack.exec("db", "psql -tAX -U app -d app -c 'show data_directory'"),
        "/var/lib/postgresql/data"
    );
    assert_eq!(stack.running(), ["db"]);
}

#[test]
fn trap_22_nothing_is_chowned_unless_it_is_configured_and_then_once() {
    let block = Block::ext4(100);
    let stack = small_up();
    stack.compose("stop app");
    let source = stack.volume_dir("data");
    let owners = |dir: &std::path::Path, format: &str| {
        sh(&format!("cd {} && find . -printf '%p {format}\\n' | sort", dir.display()))
    };
    // The change time of an inode moves with every chown, even one that changes nothing.
    let before = owners(&source, "%U:%G %m %C@");
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    assert_eq!(owners(&source, "%U:%G %m %C@"), before, "the source was touched");
    let home = block.root.join("data");
    assert_eq!(owners(&home, "%U:%G"), owners(&source, "%U:%G"));
    // Whatever is run later leaves the new home alone as well.
    let arrived = owners(&home, "%U:%G %C@");
    stack.compose("up -d --no-deps web");
    stack.rehome("status").exits(0);
    stack.rehome("compose -- up -d --no-deps web").exits(0);
    assert_eq!(owners(&home, "%U:%G %C@"), arrived);
}

#[test]
fn trap_29_an_override_that_a_start_from_elsewhere_dropped_is_found_and_rehome_never_drops_it() {
    let block = Block::ext4(100);
    let stack = small_up();
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    let home = stack.mounted("app", "/data");
    let below = stack.dir.join("deep/er");
    std::fs::create_dir_all(&below).expect("a directory");
    let rehome = |dir: &std::path::Path, arguments: &str| {
        let output = stack.command(arguments, &[]).current_dir(dir).output().expect("rehome runs");
        crate::support::Run::of(output)
    };
    // From a sub-directory, and from anywhere with the project's directory or file named.
    let file = stack.dir.join("docker-compose.yml");
    for (dir, global) in [
        (below.as_path(), String::new()),
        (std::path::Path::new("/"), format!("--project-directory {}", stack.dir.display())),
    ] {
        rehome(dir, &format!("{global} override --check")).exits(0);
        rehome(dir, &format!("{global} compose -- up -d")).exits(0);
        assert_eq!(stack.mounted("app", "/data"), home, "{global:?} in {}", dir.display());
    }
    let first = log(&stack);

    // Compose by itself, with the file named: `.env` is read, and its COMPOSE_FILE is not.
    sh(&format!("cd / && docker compose -f {} up -d", file.display()));
    assert_eq!(stack.mounted("app", "/data"), stack.volume("data"), "the trap is set");
    let run = stack.rehome("override --check").exits(3);
    assert!(run.err.contains(&home) && run.err.contains("the files say"), "{}", run.err);
    stack.rehome("status").exits(0);
    let status = stack.rehome("status --json").exits(0).json();
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains(&home), "{warnings}");
    // What the hint says mends it.
    assert!(run.err.contains("rehome compose -- up -d"), "{}", run.err);
    stack.rehome("compose -- up -d").exits(0);
    assert_eq!(stack.mounted("app", "/data"), home);
    assert!(log(&stack).starts_with(&first));
    stack.rehome("override --check").exits(0);
}

/// True in a container whose `/data` is the small block volume, false on the engine's own disk.
const ON_BLOCK: &str = "[ $$(df -Pk /data | awk 'NR==2 {print $$2}') -lt 200000 ]";

#[test]
fn trap_30_a_service_without_healthcheck_that_crash_loops_on_the_new_home_is_taken_back() {
    let block = Block::ext4(100);
    let stack = Stack::up(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo here >> /data/file; if {ON_BLOCK}; then sleep 1; echo no home for me; exit 1; fi; exec sleep 1000000"]
    volumes: ["data:/data"]
    restart: unless-stopped
    init: true
    stop_grace_period: 1s
volumes:
  data:
"#
    ));
    let before = stack.shape();
    let run = stack
        .rehome(&format!("move --to {} -y", block.path()))
        .exits(10)
        .says("service `app`")
        .says("no home for me");
    assert!(!run.err.contains("done in") || run.err.contains("as it was"), "{}", run.err);
    assert_eq!(stack.shape(), before);
    assert_eq!(stack.running(), ["app"]);
    assert!(!stack.read(".env").contains("COMPOSE_FILE"));
    stack.assert_tidy();
}

#[test]
fn trap_31_a_one_shot_service_is_no_failure_before_or_after_the_move() {
    let block = Block::ext4(100);
    let stack = Stack::up(&format!(
        r#"services:
  migrate:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo migrated >> /data/schema"]
    volumes: ["data:/data"]
    restart: "no"
  app:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    volumes: ["data:/data"]
    init: true
    stop_grace_period: 1s
    depends_on: {{ migrate: {{ condition: service_completed_successfully }} }}
volumes:
  data:
"#
    ));
    assert_eq!(stack.running(), ["app"]);
    for to in [block.path(), "volumes"] {
        let before = stack.exec("app", "cat /data/schema");
        stack.rehome(&format!("move --to {to} -y")).exits(0);
        assert_eq!(stack.running(), ["app"], "to {to}");
        let migrate = stack.mounted("migrate", "/data");
        assert_eq!(migrate, stack.mounted("app", "/data"), "to {to}");
        // What had ended was not run again by the move, and can be run by its owner.
        assert_eq!(stack.exec("app", "cat /data/schema"), before, "to {to}");
        stack.compose("up -d");
        assert_eq!(stack.running(), ["app"], "to {to}");
        assert_eq!(stack.exec("app", "cat /data/schema"), format!("{before}\nmigrated"));
    }
}

#[test]
fn trap_36_a_rollback_is_never_reported_as_a_success() {
    let block = Block::ext4(100);
    let stack = small_up();
    let config = stack.read("rehome.yml");
    stack.file(
        "rehome.yml",
        &format!("{config}hooks:\n  after_start:\n    - {{ service: app, run: [\"sh\", \"-c\", \"echo broken; exit 7\"] }}\n"),
    );
    let before = stack.shape();
    let run = stack
        .rehome(&format!("move --to {} -y --json", block.path()))
        .exits(10);
    let last = run.events().pop().expect("events");
    assert_eq!(
        (&last["event"], &last["outcome"], &last["exit"]),
        (&"finished".into(), &"rolled_back".into(), &10.into())
    );
    assert!(last["failure"].to_string().contains("broken"), "{last}");
    assert_eq!(stack.shape(), before);
    let history = stack.rehome("history --json").exits(0).json();
    assert_eq!(history[0]["outcome"], "rolled_back");
    let id = history[0]["run"].as_str().expect("a run").to_owned();
    let text = stack.rehome(&format!("show {id}")).exits(0).out;
    assert!(text.contains("rolled_back") && text.contains("Failed: "), "{text}");
    assert!(stack.rehome("history").exits(0).out.contains("rolled back"));
    assert!(stack.rehome("status").exits(0).out.contains("rolled back"));
}

#[test]
fn trap_37_a_service_that_takes_its_time_to_stop_is_waited_for() {
    let block = Block::ext4(100);
    let stack = Stack::up(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sh", "-c", "trap 'sleep 5; echo the last word > /data/file; exit 0' TERM; echo first > /data/file; while true; do sleep 0.1; done"]
    volumes: ["data:/data"]
    stop_grace_period: 20s
volumes:
  data:
"#
    ));
    wait_for("the first word", || stack.volume_dir("data").join("file").exists());
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    assert_eq!(
        sh(&format!("cat {}/file", stack.volume_dir("data").display())),
        "the last word",
        "it was killed"
    );
    // The new container began anew on the data that was there at the end.
    assert_eq!(stack.running(), ["app"]);
    assert_eq!(stack.exec("app", "cat /data/file"), "first");
}
