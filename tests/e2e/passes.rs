//! The passes to Compose (`up`, `down`, `ps`, `logs`, `exec`), `restart`, the guard for data, and what is said when the
//! stack runs with other files.

use std::io::Write;
use std::process::Stdio;

use crate::stacks::{log, postgres_up, small, small_up, small_with, table_sum};
use crate::support::{BUSYBOX, Block, Run, Stack, sh, tree, try_sh, wait_for};

/// The id of the one container of a service.
fn id(stack: &Stack, service: &str) -> String {
    sh(&format!(
        "docker ps -aq --no-trunc --filter label=com.docker.compose.project={} --filter label=com.docker.compose.service={service}",
        stack.name
    ))
}

/// When a service was started last, as the engine has it.
fn started(stack: &Stack, service: &str) -> String {
    sh(&format!(
        "docker inspect -f '{{{{.State.StartedAt}}}}' {}",
        id(stack, service)
    ))
}

/// Rehome in a directory below the project's.
fn below(stack: &Stack, arguments: &str) -> Run {
    let sub = stack.dir.join("app/deep");
    std::fs::create_dir_all(&sub).unwrap();
    let mut command = stack.command(arguments, &[]);
    Run::of(command.current_dir(sub).output().expect("rehome runs"))
}

#[test]
fn trap_02_up_cannot_be_asked_keeps_the_old_volume_and_says_that_it_is_not_what_the_files_say() {
    let stack = small_up();
    let other = stack.dir.join("elsewhere");
    std::fs::create_dir(&other).unwrap();
    let first = log(&stack);
    let made = sh(&format!("docker volume inspect {}", stack.volume("data")));
    let file = stack.read("docker-compose.yml");
    let changed = format!(
        "volumes:\n  data: {{ driver_opts: {{ type: none, o: bind, device: {} }} }}\n",
        other.display()
    );
    stack.file(
        "docker-compose.yml",
        &file.replace("volumes:\n  data:\n", &changed),
    );
    for arguments in ["up", "up -d --force-recreate", "compose -- up -d"] {
        let mut child = stack
            .command(arguments, &[])
            .stdin(Stdio::piped())
            .spawn()
            .expect("rehome runs");
        // As `echo y | docker compose up -d`, which deletes the volume. Nobody may be there to read it.
        drop(child.stdin.take().unwrap().write_all(b"y\ny\ny\n"));
        let run = Run::of(child.wait_with_output().unwrap());
        if arguments.starts_with("up") {
            run.exits(1)
                .says("does not have the data that the files say")
                .says(&other.display().to_string())
                .says("in Docker's own directory");
        }
        assert!(log(&stack).starts_with(&first), "{arguments}: lines are lost");
        let now = sh(&format!("docker volume inspect {}", stack.volume("data")));
        assert_eq!(now, made, "{arguments}");
    }
    assert_eq!(sh(&format!("ls -A {}", other.display())), "");
    stack
        .rehome("up -d -y")
        .exits(3)
        .says("answers yes when Compose asks")
        .says("--allow-data-loss");
}

#[test]
fn trap_13_what_destroys_data_is_refused_and_the_volume_is_still_there() {
    let stack = postgres_up();
    let rows = table_sum(&stack);
    let kept = (stack.volume("postgres_data"), id(&stack, "db"));
    for line in [
        "down -v",
        "down --volumes",
        "down -t 5 -v",
        "up -d -V",
        "compose -- down -v",
        "compose -- rm -sfv db",
        "exec -T db dropdb -U app app",
        "compose -- exec -T db rm -rf /var/lib/postgresql/data/pgdata",
        "compose -- run --rm db rm -rf /var/lib/postgresql/data",
    ] {
        stack
            .rehome(line)
            .exits(3)
            .says("error: `docker compose ")
            .says("nothing was changed")
            .says("--allow-data-loss");
    }
    let drops = stack
        .command("exec -T db sh -c", &[])
        .arg("psql -U app -d postgres -c 'DROP DATABASE app'")
        .output();
    Run::of(drops.unwrap()).exits(3).says("DROP DATABASE");
    assert_eq!((stack.volume("postgres_data"), id(&stack, "db")), kept);
    assert_eq!(table_sum(&stack), rows);

    // Said so, and nothing to go back to.
    stack
        .rehome("down --allow-data-loss -v")
        .exits(3)
        .says("there is no dump of the PostgreSQL in db")
        .says("--no-backup");
    // A deployment dumps it.
    stack.rehome("deploy --no-pull -y").exits(0);
    let dumps = sh(&format!(
        "find {} -path '*/dumps/db/*.dump'",
        stack.state.display()
    ));
    assert_eq!(dumps.lines().count(), 2, "{dumps}");
    let one = dumps.lines().next().unwrap();
    sh(&format!("cp {one} {one}.kept && : > {one}"));
    stack
        .rehome("down --allow-data-loss -v")
        .exits(3)
        .says("there is no dump of the PostgreSQL in db");
    sh(&format!("mv {one}.kept {one}"));
    assert_eq!(table_sum(&stack), rows);
    stack.rehome("down --allow-data-loss -v").exits(0);
    assert_eq!(
        sh(&format!("docker volume ls -q | grep '{}' || true", stack.name)),
        ""
    );
}

#[test]
fn data_may_be_lost_without_a_dump_if_that_is_said_twice() {
    let stack = postgres_up();
    stack.rehome("down --no-backup -v").exits(2);
    stack.rehome("down --allow-data-loss --no-backup -v").exits(0);
    assert_eq!(
        sh(&format!("docker volume ls -q | grep '{}' || true", stack.name)),
        ""
    );
}

#[test]
fn a_hook_that_destroys_data_is_refused_with_its_line_before_anything_is_done() {
    let block = Block::ext4(100);
    let stack = small_up();
    stack.file(
        "rehome.yml",
        "version: 1\nblock:\n  exclude: [side_volume]\nhooks:\n  after_start:\n    - { service: app, run: [\"true\"] }\n    - service: app\n      run: [sh, -c, \"cd /data && rm -rf ./*\"]\n",
    );
    let before = (stack.shape(), tree(&stack.volume_dir("side_volume")));
    for line in [
        "deploy --no-pull --dry-run".to_owned(),
        "deploy --no-pull -y".to_owned(),
        format!("move --to {} -y", block.path()),
    ] {
        stack
            .rehome(&line)
            .exits(3)
            .says("(rehome.yml:8) destroys data")
            .says("`rm -r ./*`")
            .says("nothing was changed");
    }
    assert_eq!((stack.shape(), tree(&stack.volume_dir("side_volume"))), before);
    // No hooks, no danger; and no database that would have to be dumped.
    stack.rehome("deploy --no-pull --no-hooks --dry-run").exits(0);
    stack
        .rehome("deploy --no-pull --allow-data-loss --dry-run")
        .exits(0);
}

#[test]
fn trap_29_from_a_directory_below_the_override_is_used_and_a_lost_one_is_said() {
    let block = Block::ext4(100);
    let stack = small_up();
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    let home = stack.mounted("app", "/data");
    assert!(home.contains("_data_block_"), "{home}");
    let first = log(&stack);
    below(&stack, "down").exits(0);
    assert_eq!(stack.running(), [""; 0]);
    let run = below(&stack, "up").exits(0);
    assert!(!run.err.contains("warning:"), "{}", run.err);
    assert_eq!(stack.mounted("app", "/data"), home);
    assert!(log(&stack).starts_with(&first));
    let run = below(&stack, "ps --services").exits(0);
    assert_eq!(run.out.lines().count(), 3, "{}", run.out);

    // `.env` loses it: the stack still runs with it.
    let env = stack.read(".env");
    stack.file(".env", "# cleaned\n");
    let said = |run: &Run| {
        let lines = run.err.lines().filter(|l| l.contains("rehome env --write"));
        assert_eq!(lines.count(), 1, "{}", run.err);
    };
    let run = stack.rehome("ps -q").exits(0);
    said(&run);
    assert_eq!(run.out.lines().count(), 3, "{}", run.out);
    let run = stack.rehome("--json env").exits(0);
    said(&run);
    assert_eq!(run.json()["current"], false);
    let run = stack.rehome("status").exits(0);
    assert_eq!(run.out.matches("rehome env --write").count(), 1, "{}", run.out);
    assert!(!run.err.contains("warning"), "{}", run.err);
    for line in ["up", "restart app"] {
        stack
            .rehome(line)
            .exits(3)
            .says("start on their old homes")
            .says("rehome env --write");
    }
    assert_eq!(stack.mounted("app", "/data"), home);
    stack.rehome("env --write").exits(0);
    assert_eq!(stack.read(".env").trim(), format!("# cleaned\n{}", env.trim()));
    let run = stack.rehome("up").exits(0);
    assert!(!run.err.contains("warning:"), "{}", run.err);

    // Somebody starts it without the override, and it writes to the old home: nobody but a person knows what is right.
    stack.compose("-f docker-compose.yml up -d --force-recreate");
    let old = stack.mounted("app", "/data");
    assert_ne!(old, home);
    let run = stack.rehome("ps -q").exits(0);
    assert!(
        run.err
            .contains("its data is elsewhere than these say; rehome status"),
        "{}",
        run.err
    );
    stack
        .rehome("up")
        .exits(3)
        .says("would come up on another volume than it has now")
        .says(&home);
    assert_eq!(stack.mounted("app", "/data"), old);
}

#[test]
fn containers_of_other_files_are_said_in_one_line_with_what_mends_it() {
    let stack = small();
    stack.file(
        "more.yml",
        "services:\n  app:\n    environment: { MORE: \"1\" }\n",
    );
    stack.compose("-f docker-compose.yml -f more.yml up -d");
    let first = log(&stack);
    let drifted = |run: &Run| run.err.matches("made with other Compose files").count();
    for line in [
        "ps -q",
        "history",
        "env",
        "deploy --no-pull --dry-run",
        "exec -T app true",
    ] {
        let run = stack.rehome(line).exits(0);
        assert_eq!(drifted(&run), 1, "{line}: {}", run.err);
        assert!(run.err.contains("rehome up -d app"), "{line}: {}", run.err);
        assert!(!run.out.contains("made with other"), "{line}: {}", run.out);
    }
    let run = stack.rehome("status --json").exits(0);
    assert_eq!(drifted(&run), 0, "{}", run.err);
    let warnings = run.json()["warnings"].to_string();
    assert!(warnings.contains("made with other Compose files"), "{warnings}");
    let run = stack.rehome("--json restart side").exits(0);
    let notes = run.events();
    let note = notes.iter().find(|e| e["level"] == "warning").expect("a note");
    assert!(note["text"].as_str().unwrap().contains("rehome up -d"), "{note}");
    assert_eq!(notes.last().unwrap()["outcome"], "done");
    // What it names mends it.
    let mend = run_of_mend(note["text"].as_str().unwrap());
    stack.rehome(&mend).exits(0);
    assert_eq!(drifted(&stack.rehome("ps -q").exits(0)), 0);
    assert!(log(&stack).starts_with(&first));
}

/// `up -d app web` of `…; rehome up -d app web`.
fn run_of_mend(line: &str) -> String {
    line.split("; rehome ").nth(1).expect("a command").to_owned()
}

#[test]
fn trap_32_a_restart_with_another_environment_makes_the_service_anew_and_proves_it() {
    let stack = small_with(
        "    environment: { USE_S3: \"${USE_S3}\", TOKEN: \"${TOKEN}\" }",
        "",
    );
    stack.file(".env", "USE_S3=0\nTOKEN=old-s3cr3t\n");
    stack.compose("up -d");
    let first = log(&stack);
    let env = |name: &str| stack.exec("app", &format!("sh -c 'echo ${name}'"));
    assert_eq!(
        (env("USE_S3").as_str(), env("TOKEN").as_str()),
        ("0", "old-s3cr3t")
    );
    stack.file(".env", "USE_S3=1\nTOKEN=new-s3cr3t\n");
    // The trap itself.
    stack.compose("restart app");
    assert_eq!(env("USE_S3"), "0");

    let (app, side) = (id(&stack, "app"), started(&stack, "side"));
    let run = stack.rehome("restart --dry-run").exits(0);
    assert!(run.out.contains("app is made anew"), "{}", run.out);
    assert!(run.out.contains("side is restarted"), "{}", run.out);
    assert_eq!(
        (id(&stack, "app"), started(&stack, "side")),
        (app.clone(), side.clone())
    );

    let run = stack
        .rehome("restart app")
        .exits(0)
        .says("app is made anew")
        .says("environment.TOKEN, environment.USE_S3")
        .says("app has what the files say (inspected)");
    for text in [&run.out, &run.err] {
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    assert_eq!(
        (env("USE_S3").as_str(), env("TOKEN").as_str()),
        ("1", "new-s3cr3t")
    );
    assert_ne!(id(&stack, "app"), app);
    assert_eq!(started(&stack, "side"), side, "nobody asked for it");
    assert!(log(&stack).starts_with(&first), "the volume is another one");
    assert_eq!(stack.running(), ["app", "side", "web"]);
    // A plain `up` has nothing to do afterwards.
    let (app, web) = (id(&stack, "app"), id(&stack, "web"));
    stack.compose("up -d");
    assert_eq!((id(&stack, "app"), id(&stack, "web")), (app.clone(), web));

    // Nothing differs: the same container, started again.
    let before = started(&stack, "app");
    let run = stack.rehome("restart app").exits(0).says("app is restarted");
    assert!(!run.err.contains("anew"), "{}", run.err);
    assert_eq!(id(&stack, "app"), app);
    assert_ne!(started(&stack, "app"), before);
    stack.rehome("restart ap").exits(3).says("did you mean `app`?");
}

#[test]
fn a_database_is_restarted_by_its_own_rules() {
    let stack = postgres_up();
    let rows = table_sum(&stack);
    let db = id(&stack, "db");
    stack.rehome("restart db").exits(0).says("db is restarted");
    assert_eq!(id(&stack, "db"), db);
    wait_for("the server to answer", || {
        try_sh(&format!(
            "cd {} && docker compose exec -T db pg_isready -U app",
            stack.dir.display()
        ))
        .status
        .success()
    });
    assert_eq!(table_sum(&stack), rows);
    let said = sh(&format!("docker logs {db} 2>&1"));
    assert!(said.contains("received fast shutdown request"), "{said}");
    assert!(said.contains("database system is shut down"), "{said}");
    assert!(!said.contains("not properly shut down"), "{said}");
}

#[test]
fn arguments_exit_codes_and_streams_are_handed_on() {
    let stack = small();
    let run = stack.rehome("up").exits(0);
    assert_eq!(run.out, "");
    assert_eq!(
        stack.running(),
        ["app", "side", "web"],
        "without -d it would not have ended"
    );
    let run = stack.rehome("exec -T app false").exits(1);
    assert_eq!(run.out, "");
    let mut child = stack
        .command("exec -T app sh -c", &[])
        .arg("read line; echo got $line; echo err >&2; exit 42")
        .stdin(Stdio::piped())
        .spawn()
        .expect("rehome runs");
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let run = Run::of(child.wait_with_output().unwrap()).exits(42);
    assert_eq!(run.out, "got hello\n");
    assert!(run.err.contains("err"), "{}", run.err);
    let typed = sh(&format!(
        "cd {} && printf 'echo typed $((40 + 2)); exit 7\\n' | script -qec '{} --state-dir {} exec app sh -c \"tty; exec sh\"; echo code $?' /dev/null",
        stack.dir.display(),
        env!("CARGO_BIN_EXE_rehome"),
        stack.state.display()
    ));
    for part in ["/dev/pts/", "typed 42", "code 7"] {
        assert!(typed.contains(part), "{part}: {typed}");
    }
    stack.compose("exec -T side sh -c 'echo spoken > /proc/1/fd/1'");
    let run = stack.rehome("logs --no-log-prefix --tail 1 side").exits(0);
    assert_eq!(run.out, "spoken\n");
    assert_ne!(stack.rehome("logs nobody").code, 0);
    stack.rehome("down --remove-orphans -t 1").exits(0);
    assert_eq!(stack.running(), [""; 0]);
    assert!(sh("docker volume ls -q").contains(&format!("{}_data", stack.name)));
}

#[test]
fn what_changes_something_waits_for_nobody_and_what_looks_is_in_nobodys_way() {
    let stack = small();
    stack.rehome("up").exits(0);
    let lock = stack.state.join("projects").join(&stack.name).join("lock");
    let mut holder = std::process::Command::new("flock")
        .args(["--no-fork", "--exclusive"])
        .arg(&lock)
        .args(["sh", "-c", "echo locked; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 7];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut word).unwrap();
    let before = (stack.shape(), started(&stack, "app"));
    for line in ["up", "down", "restart app"] {
        stack
            .rehome(line)
            .exits(3)
            .says("another process is working on this project");
    }
    stack.rehome("ps -q").exits(0);
    stack.rehome("exec -T app true").exits(0);
    stack.rehome("restart --dry-run app").exits(0);
    assert_eq!((stack.shape(), started(&stack, "app")), before);
    holder.kill().unwrap();
    holder.wait().unwrap();
    stack.rehome("down").exits(0);
}

#[test]
fn a_restart_that_cannot_make_the_service_leaves_it_running() {
    let stack = small();
    stack.compose("up -d");
    let file = stack.read("docker-compose.yml");
    let other = file.replacen(&format!("image: {BUSYBOX}"), "image: rehome-test/nowhere:1", 1);
    stack.file("docker-compose.yml", &other);
    let before = (stack.shape(), started(&stack, "app"));
    stack
        .rehome("restart app")
        .exits(3)
        .says("the image rehome-test/nowhere:1 of service `app` is not here")
        .says("rehome deploy");
    assert_eq!((stack.shape(), started(&stack, "app")), before);
}

#[test]
fn trap_08_a_restart_does_not_kill_a_database_that_takes_its_time() {
    // Looks like PostgreSQL by its environment, and ignores every polite signal.
    let stack = small_with(
        "    environment: { PG_MAJOR: \"15\" }\n    entrypoint: [\"sh\", \"-c\", \"trap '' INT TERM; while true; do cat /proc/uptime >> /data/log; sleep 0.1; done\"]",
        "",
    );
    stack.compose("up -d");
    let before = (id(&stack, "app"), started(&stack, "app"));
    stack
        .rehome("restart app --timeout 2")
        .exits(1)
        .says("service `app` did not stop within 2.0 s")
        .says("may still do so")
        .says("--stop-timeout 10");
    assert_eq!(
        (id(&stack, "app"), started(&stack, "app")),
        before,
        "it was killed"
    );
    assert_eq!(stack.running(), ["app", "side", "web"]);
}
