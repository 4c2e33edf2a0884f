//! The move as it should be, there and back, compared by programs that are not Rehome.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::stacks::{furnish, log, postgres, postgres_up, small, small_up, table_sum};
use crate::support::{Block, POSTGRES_70, sh, tree};

#[test]
fn a_move_brings_every_entry_and_leaves_the_source_alone() {
    let block = Block::ext4(200);
    let stack = small();
    stack.compose("up -d");
    furnish(&stack, "data");
    // Still: the log that `app` appends to would differ between the two looks.
    stack.compose("stop app");
    let source = stack.volume_dir("data");
    let before = tree(&source);

    let run = stack
        .rehome(&format!("move --to {} -y --json", block.path()))
        .exits(0);
    let events = run.events();
    let last = events.last().expect("events");
    assert_eq!(last["event"], "finished");
    assert_eq!(last["outcome"], "done");

    assert_eq!(tree(&source), before, "the source was changed");
    assert_eq!(tree(&block.root.join("data")), before, "the new home differs");
    // What was stopped stays stopped; what ran runs; nobody is on the old home.
    assert_eq!(stack.running(), ["side", "web"]);
    assert!(stack.mounted("app", "/data").contains("_data_block_"));
    assert!(stack.mounted("web", "/www").contains("_data_block_"));
    assert_eq!(
        stack.mounted("side", "/side"),
        format!("{}_side_volume", stack.name)
    );
    // Plain compose, as its owner types it, follows.
    stack.compose("up -d");
    assert!(stack.mounted("app", "/data").contains("_data_block_"));
    assert!(stack.read(".env").contains("COMPOSE_FILE=docker-compose.yml:"));
    stack.assert_tidy();
}

#[test]
fn a_running_writer_loses_nothing_there_and_back() {
    let block = Block::ext4(200);
    let stack = small_up();
    let first = log(&stack);
    assert!(first.len() > 2, "the writer writes");
    stack
        .rehome(&format!("move --to {} -y", block.path()))
        .exits(0)
        .says("compared");
    let second = log(&stack);
    assert!(second.starts_with(&first), "lines of the log were lost");
    assert!(stack.mounted("app", "/data").contains("_block_"));

    stack.rehome("move --to volumes -y").exits(0);
    let third = log(&stack);
    assert!(
        third.starts_with(&second),
        "lines of the log were lost on the way back"
    );
    let home = stack.mounted("app", "/data");
    assert!(!home.contains("_block_"), "{home}");
    let dir = sh(&format!("docker volume inspect -f '{{{{.Mountpoint}}}}' {home}"));
    assert!(
        dir.starts_with("/var/lib/docker") || dir.contains("/volumes/"),
        "{dir}"
    );
    assert_eq!(stack.running(), ["app", "side", "web"]);
    stack.assert_tidy();
}

#[test]
fn a_volume_whose_old_name_is_free_goes_back_to_it_and_needs_no_override() {
    let block = Block::ext4(200);
    let stack = small_up();
    let settings = stack.read(".env");
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    sh(&format!("docker volume rm {}_data", stack.name));
    let before = log(&stack);

    stack.rehome("move --to volumes -y").exits(0);
    assert_eq!(stack.mounted("app", "/data"), format!("{}_data", stack.name));
    assert!(log(&stack).starts_with(&before), "lines of the log were lost");
    assert_eq!(stack.read("docker-compose.block.yml"), "", "an override is left");
    assert_eq!(stack.read(".env"), settings);
    assert_eq!(stack.running(), ["app", "side", "web"]);
    stack.assert_tidy();
}

#[test]
fn trap_08_postgres_moves_under_a_steady_write_load_and_loses_no_committed_row() {
    let block = Block::ext4(600);
    let stack = postgres_up();
    let before = table_sum(&stack);
    let identity = "psql -tAX -U app -d app -c 'select system_identifier from pg_control_system()'";
    let identifier = stack.exec("db", identity);
    // A client that commits row after row and says each one that was committed.
    let mut writer = Command::new("bash")
        .args([
            "-c",
            &format!(
                "cd {} && n=0; while true; do n=$((n+1)); \
                 docker compose exec -T db psql -qX -U app -d app -c \"insert into t (v) values ('load $n')\" >/dev/null 2>&1 && echo $n; done",
                stack.dir.display()
            ),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a writer");
    let mut lines = BufReader::new(writer.stdout.take().expect("stdout")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert!(first.parse::<u64>().is_ok(), "the writer works");

    let run = stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    assert!(
        run.err.contains("shut down"),
        "the clean stop is proven and said:\n{}",
        run.err
    );
    // A few rows on the new home, then stop.
    let after_move: Vec<String> = lines.by_ref().take(5).map(|l| l.expect("text")).collect();
    assert_eq!(after_move.len(), 5);
    sh(&format!("kill {}", writer.id()));
    writer.wait().expect("it ends");
    let mut committed: Vec<String> = vec![first];
    committed.extend(after_move);
    committed.extend(lines.map_while(Result::ok));

    let rows = stack.exec(
        "db",
        "psql -tAX -U app -d app -c \"select v from t where v like 'load %'\"",
    );
    let rows: std::collections::BTreeSet<&str> = rows.lines().collect();
    let lost: Vec<_> = committed
        .iter()
        .filter(|n| !rows.contains(format!("load {n}").as_str()))
        .collect();
    assert!(lost.is_empty(), "committed and lost: {lost:?}");
    assert_eq!(stack.exec("db", identity), identifier, "another database");
    let seeded = stack.exec("db", "psql -tAX -U app -d app -c \"select count(*), md5(string_agg(id || v, ',' order by id)) from t where id <= 2000\"");
    assert_eq!(seeded, before);

    let both = table_sum(&stack);
    stack.rehome("move --to volumes -y").exits(0);
    assert_eq!(table_sum(&stack), both, "the way back lost something");
    assert_eq!(stack.exec("db", identity), identifier);
    stack.assert_tidy();
}

#[test]
fn what_waits_for_a_healthy_service_does_not_wait_for_the_interval_of_its_check() {
    let block = Block::ext4(300);
    let stack = small();
    let rarely = stack
        .read("docker-compose.yml")
        .replace("interval: 1s", "interval: 8s");
    stack.file("docker-compose.yml", &rarely);
    stack.compose("up -d");
    furnish(&stack, "data");
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    let seconds = |service: &str, what: &str| -> f64 {
        let id = stack.compose(&format!("ps -q {service}"));
        let time = sh(&format!("docker inspect -f '{what}' {id}"));
        sh(&format!("date -d '{time}' +%s.%N")).parse().unwrap()
    };
    let started = seconds("web", "{{.State.StartedAt}}");
    let checked = seconds(
        "app",
        r#"{{(index .State.Health.Log 0).Start.Format "2006-01-02T15:04:05.999999999Z07:00"}}"#,
    );
    assert!(
        started < checked,
        "web was started at {started}, app was checked first at {checked}"
    );
    stack.assert_tidy();
}

#[test]
fn how_a_copy_is_proven_can_be_chosen_and_is_said() {
    let block = Block::ext4(300);
    let stack = small_up();
    let full = stack
        .rehome(&format!("move --to {} -y --verify full --jobs 2", block.path()))
        .exits(0);
    assert!(
        full.err.contains("both sides read after the stop"),
        "{}",
        full.err
    );
    let stream = stack
        .rehome("move --to volumes -y --verify stream --block-delta off")
        .exits(0);
    assert!(stream.err.contains("as it was written"), "{}", stream.err);
    stack.assert_tidy();
}

#[test]
fn trap_23_numeric_owners_of_the_source_are_kept() {
    let block = Block::ext4(400);
    let stack = postgres(POSTGRES_70);
    let before = table_sum(&stack);
    let owners = |dir: &std::path::Path| {
        sh(&format!(
            "cd {} && find . -maxdepth 2 -type d -printf '%p %U:%G %m\\n' | sort",
            dir.display()
        ))
    };
    let source = owners(&stack.volume_dir("postgres_data"));
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    assert_eq!(owners(&block.root.join("postgres")), source);
    assert!(source.lines().any(|line| line == "./pgdata 70:0 700"), "{source}");
    assert_eq!(table_sum(&stack), before);
}

#[test]
fn an_owner_that_is_asked_for_is_given_to_every_entry() {
    let block = Block::ext4(100);
    let stack = small_up();
    stack
        .rehome(&format!("move --to {} -y --owner data=1000:1001", block.path()))
        .exits(0);
    let owners = sh(&format!(
        "find {}/data -printf '%U:%G\\n' | sort -u",
        block.path()
    ));
    // What `app` (root) wrote after the start is root's.
    let owners: Vec<_> = owners.lines().filter(|o| *o != "0:0").collect();
    assert_eq!(owners, ["1000:1001"]);
    assert_eq!(
        sh(&format!("stat -c %u:%g {}", stack.volume_dir("data").display())),
        "999:998",
        "the source is as it was"
    );
}
