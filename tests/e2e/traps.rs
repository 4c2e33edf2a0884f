//! The traps that lose data in this field, by number: each is set for real, and Rehome refuses it in words or handles
//! it with nothing lost.

// long because: one test a trap, in the order of their numbers: whoever looks for a number finds it here

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
            panic!(
                "the image could not be removed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// Whether the Compose under test is older than this.
fn compose_before(major: u32, minor: u32) -> bool {
    let version = sh("docker compose version --short");
    let mut numbers = version
        .trim_start_matches('v')
        .split('.')
        .map(|n| n.parse::<u32>());
    let mut next = || numbers.next().unwrap().unwrap();
    (next(), next()) < (major, minor)
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
        // Where it knows `-y`, and where not.
        if compose_before(2, 40) {
            "echo y | docker compose up -d --force-recreate"
        } else {
            "docker compose up -d -y --force-recreate"
        },
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
    assert_eq!(
        (volumes(&stack), ids(&stack)),
        before,
        "something was made or changed"
    );

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
    assert!(
        line.starts_with("! ") && line.contains("make sure"),
        "{}",
        run.out
    );
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
        try_sh(&format!(
            "cd {} && docker compose exec -T db pg_isready -U app",
            stack.dir.display()
        ))
        .status
        .success()
    });
    assert_eq!(table_sum(&stack), rows);
    stack.assert_tidy();
}

#[test]
fn trap_09_a_writer_on_the_volumes_directory_is_refused_and_a_reader_is_pointed_out() {
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
    // Not the volume itself, but the directory that it is: `docker ps --filter volume=` does not list this one.
    start(&format!("{}:/d", dir.display()));
    let run = stack.rehome(&format!("move --to {} -y", block.path()));
    stop();
    run.exits(3).says(&other).says("writable").says("docker stop");
    assert_eq!(stack.shape(), before);
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
        sh(&format!(
            "cd {} && find . -printf '%p {format}\\n' | sort",
            dir.display()
        ))
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
        let output = stack
            .command(arguments, &[])
            .current_dir(dir)
            .output()
            .expect("rehome runs");
        crate::support::Run::of(output)
    };
    // From a sub-directory, and from anywhere with the project's directory or file named.
    let file = stack.dir.join("docker-compose.yml");
    for (dir, global) in [
        (below.as_path(), String::new()),
        (
            std::path::Path::new("/"),
            format!("--project-directory {}", stack.dir.display()),
        ),
    ] {
        rehome(dir, &format!("{global} override --check")).exits(0);
        rehome(dir, &format!("{global} compose -- up -d")).exits(0);
        assert_eq!(
            stack.mounted("app", "/data"),
            home,
            "{global:?} in {}",
            dir.display()
        );
    }
    let first = log(&stack);

    // Compose by itself, with the file named: `.env` is read, and its COMPOSE_FILE is not. (Before 2.32 it would let the
    // containers be, until they are made anew for another reason.)
    sh(&format!(
        "cd / && docker compose -f {} up -d --force-recreate",
        file.display()
    ));
    assert_eq!(
        stack.mounted("app", "/data"),
        format!("{}_data", stack.name),
        "the trap is set"
    );
    let run = stack.rehome("override --check").exits(3);
    assert!(
        run.err.contains(&home) && run.err.contains("the files say"),
        "{}",
        run.err
    );
    stack.rehome("status").exits(0);
    let status = stack.rehome("status --json").exits(0).json();
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains(&home), "{warnings}");
    // What the hint says mends it.
    let mend = "rehome compose -- up -d --force-recreate app web";
    assert!(run.err.contains(mend), "{}", run.err);
    stack.rehome(mend.trim_start_matches("rehome ")).exits(0);
    assert_eq!(stack.mounted("app", "/data"), home);
    assert!(log(&stack).starts_with(&first));
    stack.rehome("override --check").exits(0);
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
        assert_eq!(
            stack.exec("app", "cat /data/schema"),
            format!("{before}\nmigrated")
        );
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
    assert!(
        text.contains("rolled_back") && text.contains("Failed: "),
        "{text}"
    );
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
    wait_for("the first word", || {
        stack.volume_dir("data").join("file").exists()
    });
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

#[test]
fn trap_38_dollars_arrive_once_and_secrets_are_nowhere_but_in_the_containers() {
    let block = Block::ext4(100);
    let stack = small_with(
        "    environment: { PRICE: \"a$$b $${c} $$$$\", PASSWORD: \"pw-$${x}-7f3a-secret\" }\n    env_file: [app.env]",
        "",
    );
    stack.file(
        "app.env",
        "TOKEN=token-91c2-secret\nINTERPOLATED=${FROM_DOTENV}\n",
    );
    stack.file(".env", "# kept\nFROM_DOTENV='dotenv-55d1-secret'\n");
    stack.compose("up -d");
    let environment = |stack: &Stack| {
        stack.exec(
            "app",
            "env | grep -E '^(PRICE|PASSWORD|TOKEN|INTERPOLATED)=' | sort",
        )
    };
    let before = environment(&stack);
    assert!(before.contains("PRICE=a$b ${c} $$"), "{before}");
    assert!(
        before.contains("token-91c2-secret") && before.contains("dotenv-55d1-secret"),
        "{before}"
    );

    // Whatever a helper is given, from its birth to its end.
    let watch = format!(
        "trap 'exit 0' TERM; while true; do ids=$(docker ps -aq --filter label=rehome.project={}); [ -z \"$ids\" ] || docker inspect $ids 2>/dev/null || true; sleep 0.05; done",
        stack.name
    );
    let watcher = std::process::Command::new("bash")
        .args(["-c", &watch])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a watcher");
    let mut said = String::new();
    let to = format!("move --to {}", block.path());
    for arguments in [
        format!("{to} --dry-run --json"),
        format!("{to} -y --json -vv"),
        "status --json".to_owned(),
        "override".to_owned(),
        "env".to_owned(),
        "init --dry-run".to_owned(),
        "config show --json".to_owned(),
        "move --to volumes -y -vv".to_owned(),
    ] {
        let run = stack.rehome(&arguments).exits(0);
        said.push_str(&run.out);
        said.push_str(&run.err);
    }
    let id = stack.rehome("history --json").json()[0]["run"]
        .as_str()
        .expect("a run")
        .to_owned();
    said.push_str(&stack.rehome(&format!("show {id} --json")).exits(0).out);
    sh(&format!("kill {}", watcher.id()));
    let inspected = watcher.wait_with_output().expect("it ends").stdout;
    let inspected = String::from_utf8_lossy(&inspected);
    assert!(inspected.contains("rehome.run"), "no helper was seen");
    let kept = sh(&format!("cd {} && grep -rh . . ", stack.state.display()));
    assert!(kept.contains("data"), "the state directory is somewhere else");
    for secret in ["7f3a-secret", "token-91c2", "dotenv-55d1"] {
        for (text, place) in [
            (said.as_str(), "output"),
            (&inspected, "a helper"),
            (&kept, "the state directory"),
        ] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is in {place}: {line:?}");
        }
    }
    assert_eq!(
        environment(&stack),
        before,
        "the containers have another environment"
    );
    let dotenv = stack.read(".env");
    assert!(
        dotenv.starts_with("# kept\nFROM_DOTENV='dotenv-55d1-secret'\n"),
        "{dotenv}"
    );
}

#[test]
fn trap_39_targets_with_a_slash_at_the_end_are_matched_and_a_windows_path_is_named() {
    let block = Block::ext4(100);
    let stack = Stack::up(&format!(
        r#"services:
  short:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo kept > /short/file; exec sleep 1000000"]
    init: true
    stop_grace_period: 1s
    volumes: ["data:/short/"]
  long:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    stop_grace_period: 1s
    volumes: [{{ type: volume, source: data, target: /long/, read_only: true }}]
volumes:
  data:
"#
    ));
    wait_for("the file", || stack.volume_dir("data").join("file").exists());
    for to in [block.path(), "volumes"] {
        stack.rehome(&format!("move --to {to} -y")).exits(0);
        assert_eq!(stack.exec("long", "cat /long/file"), "kept");
        assert_eq!(stack.exec("short", "cat /short/file"), "kept");
        stack.rehome("override --check").exits(0);
    }

    // Compose takes `v:/v` for a path of Windows: nothing mounts the volume of that name.
    let windows = Stack::write(&format!(
        r#"services:
  app: {{ image: {BUSYBOX}, command: ["true"], volumes: ["v:/v", "data:/data"] }}
volumes:
  v:
  data:
"#
    ));
    sh(&format!(
        "docker volume create {0}_v && docker run --rm -v {0}_v:/v {BUSYBOX} sh -c 'echo x > /v/x'",
        windows.name
    ));
    let run = windows
        .rehome(&format!("move --to {} --only v -y", block.path()))
        .exits(3);
    assert!(run.err.contains("Windows path"), "{}", run.err);
    assert_eq!(volumes(&windows), format!("{}_v", windows.name));
}

#[test]
fn trap_40_twice_nested_and_shared_by_ten_services_all_follow() {
    let block = Block::ext4(100);
    let ten: String = (0..10)
        .map(|i| {
            format!(
                "  s{i}: {{ image: {BUSYBOX}, command: [\"sleep\", \"1000000\"], init: true, stop_grace_period: 1s, volumes: [\"data:/data{}\"] }}\n",
                if i % 2 == 0 { "" } else { ":ro" }
            )
        })
        .collect();
    let stack = Stack::up(&format!(
        r#"services:
  twice:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo outer > /data/file; echo inner > /data/inner/file; exec sleep 1000000"]
    init: true
    stop_grace_period: 1s
    volumes: ["data:/data", "data:/again:ro", "inner:/data/inner"]
{ten}volumes:
  data:
  inner:
"#
    ));
    let running = stack.running();
    assert_eq!(running.len(), 11);
    wait_for("the files", || stack.volume_dir("inner").join("file").exists());
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    assert_eq!(stack.running(), running);
    let home = stack.mounted("twice", "/data");
    assert!(home.contains("_data_block_"), "{home}");
    assert_eq!(stack.mounted("twice", "/again"), home);
    assert!(stack.mounted("twice", "/data/inner").contains("_inner_block_"));
    for i in 0..10 {
        assert_eq!(stack.mounted(&format!("s{i}"), "/data"), home);
    }
    assert_eq!(
        stack.exec("twice", "cat /data/file /again/file /data/inner/file"),
        "outer\nouter\ninner"
    );
    let read_only = stack.exec("twice", "sh -c 'touch /again/x 2>&1 || true'");
    assert!(read_only.contains("Read-only"), "{read_only}");
    assert_eq!(
        sh(&format!("cat {0}/data/file {0}/inner/file", block.path())),
        "outer\ninner"
    );
    stack.assert_tidy();
}

#[test]
fn trap_40_external_volumes_and_driver_options_from_the_environment() {
    let block = Block::ext4(100);
    let elsewhere = Block::ext4(50);
    let stack = Stack::write(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo mine > /data/file; exec sleep 1000000"]
    init: true
    stop_grace_period: 1s
    volumes: ["data:/data", "theirs:/theirs", "options:/options"]
volumes:
  data:
  theirs: {{ external: true, name: NAME_theirs }}
  options:
    driver_opts: {{ type: none, o: bind, device: "${{DEVICE}}" }}
"#
    ));
    stack.file(".env", &format!("DEVICE={}\n", elsewhere.path()));
    sh(&format!(
        "docker volume create {0}_theirs && docker run --rm -v {0}_theirs:/v {BUSYBOX} sh -c 'echo theirs > /v/file' && echo there > {1}/file",
        stack.name,
        elsewhere.path()
    ));
    stack.compose("up -d");
    wait_for("the file", || stack.volume_dir("data").join("file").exists());
    for (key, words) in [
        ("theirs", "is external"),
        ("options", "lives on a block volume already"),
    ] {
        stack
            .rehome(&format!("move --to {} -y --only {key}", block.path()))
            .exits(3)
            .says(words);
    }
    let plan = stack
        .rehome(&format!("move --to {} --dry-run", block.path()))
        .exits(0)
        .out;
    assert!(plan.contains("stays: external"), "{plan}");
    assert!(
        plan.contains(&format!("stays: lives in {} already", elsewhere.path())),
        "{plan}"
    );
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    assert_eq!(
        stack.exec("app", "cat /data/file /theirs/file /options/file"),
        "mine\ntheirs\nthere"
    );
    assert_eq!(stack.mounted("app", "/theirs"), format!("{}_theirs", stack.name));
    assert_eq!(
        stack.mounted("app", "/options"),
        format!("{}_options", stack.name)
    );
    assert!(stack.mounted("app", "/data").contains("_data_block_"));
    stack.compose("up -d");
    assert!(stack.mounted("app", "/data").contains("_data_block_"));
}

#[test]
fn trap_40_two_keys_of_one_volume_are_not_parted() {
    let block = Block::ext4(100);
    let stack = Stack::up(&format!(
        r#"services:
  writer:
    image: {BUSYBOX}
    command: ["sh", "-c", "echo one > /one/file; exec sleep 1000000"]
    init: true
    stop_grace_period: 1s
    volumes: ["one:/one"]
  reader:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    stop_grace_period: 1s
    volumes: ["other:/other"]
volumes:
  one: {{ name: NAME_shared }}
  other: {{ name: NAME_shared }}
"#
    ));
    wait_for("the file", || {
        try_sh(&format!(
            "cd {} && docker compose exec -T reader test -s /other/file",
            stack.dir.display()
        ))
        .status
        .success()
    });
    let before = (ids(&stack), stack.shape());
    for only in ["", " --only one"] {
        stack
            .rehome(&format!("move --to {} -y{only}", block.path()))
            .exits(3)
            .says("are one");
    }
    assert_eq!((ids(&stack), stack.shape()), before);
}

#[test]
fn trap_40_a_service_with_a_subpath_sees_the_same_after_the_move() {
    let block = Block::ext4(100);
    let stack = Stack::write(&format!(
        r#"services:
  seed: {{ image: {BUSYBOX}, command: ["sh", "-c", "mkdir -p /data/sub && echo below > /data/sub/file"], volumes: ["data:/data"] }}
  app:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    stop_grace_period: 1s
    depends_on: {{ seed: {{ condition: service_completed_successfully }} }}
    volumes: [{{ type: volume, source: data, target: /sub, volume: {{ subpath: sub }} }}]
volumes:
  data:
"#
    ));
    let up = try_sh(&format!("cd {} && docker compose up -d", stack.dir.display()));
    if !up.status.success() {
        // An engine or Compose that refuses the file by itself has no such stack to move.
        let words = String::from_utf8_lossy(&up.stderr).into_owned();
        assert!(words.contains("subpath"), "{words}");
        return;
    }
    // Engines before API 1.45 drop the option without a word, and mount the whole volume.
    let seen = stack.exec("app", "find /sub -type f");
    assert!(["/sub/file", "/sub/sub/file"].contains(&seen.as_str()), "{seen}");
    if seen == "/sub/file" && compose_before(2, 40) {
        stack
            .rehome(&format!("move --to {} -y", block.path()))
            .exits(3)
            .says("mounts the sub-path `sub` of volume `data`");
        return;
    }
    for to in [block.path(), "volumes"] {
        stack.rehome(&format!("move --to {to} -y")).exits(0);
        assert_eq!(stack.exec("app", "find /sub -type f"), seen, "to {to}");
        assert_eq!(stack.exec("app", &format!("cat {seen}")), "below");
    }
    stack.assert_tidy();
}
