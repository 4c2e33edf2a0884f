//! Restores of less than all of it, to another place, and from files that Rehome did not write.

use std::path::Path;

use super::{create, data, place, restore, ruin, shop};
use crate::stacks::furnish;
use crate::support::{BUSYBOX, Stack, sh, tree, wait_for};

/// What a query answers, in one of the databases of [`shop`].
fn ask(stack: &Stack, database: &str, query: &str) -> String {
    stack.exec(
        "db",
        &format!("psql -tAX -h 127.0.0.1 -U app -d {database} -c \"{query}\""),
    )
}

fn databases(stack: &Stack) -> String {
    ask(
        stack,
        "app",
        "select string_agg(datname, ' ' order by datname) from pg_database where not datistemplate",
    )
}

/// Where the engine has a volume that is in no Compose file.
fn data_of(volume: &str) -> std::path::PathBuf {
    sh(&format!(
        "docker volume inspect -f '{{{{.Mountpoint}}}}' {volume}"
    ))
    .into()
}

#[test]
fn a_directory_that_was_deleted_is_back_and_one_that_was_changed_is_kept() {
    let stack = shop();
    let uploads = stack.volume_dir("uploads");
    let before = tree(&uploads.join("a/b"));
    create(&stack, "").exits(0);
    let shape = stack.shape();

    // Two levels of it are gone: the first that is missing is put there.
    sh(&format!("rm -rf {}/a/b", uploads.display()));
    restore(&stack, "--no-safety-backup --only uploads --path a/b/c")
        .exits(0)
        .says("has the data of backup");
    assert_eq!(tree(&uploads.join("a/b")), before);
    assert_eq!(stack.shape(), shape, "a service was touched");

    // It is there, and something else is in it.
    sh(&format!(
        "cd {}/a/b && echo changed > c/file && echo new > new",
        uploads.display()
    ));
    let changed = tree(&uploads.join("a/b"));
    restore(&stack, "--no-safety-backup --only uploads --path /a/b").exits(0);
    assert_eq!(tree(&uploads.join("a/b")), before);
    let kept = sh(&format!(
        "docker volume ls -q | grep {}_uploads_before",
        stack.name
    ));
    assert!(
        kept.lines().any(|volume| {
            let dir = data_of(volume).join("a/b");
            dir.exists() && tree(&dir) == changed
        }),
        "what was replaced is nowhere"
    );
    assert_eq!(stack.shape(), shape, "a service was touched");

    // What is not in the backup, and what leads elsewhere, is refused, and nothing is changed.
    sh(&format!(
        "mv {d}/a/b {d}/a/real && ln -s real {d}/a/b",
        d = uploads.display()
    ));
    let state = tree(&uploads);
    let run = restore(&stack, "--no-safety-backup --only uploads --path a/nothing");
    assert_eq!(run.code, 10, "{}", run.err);
    assert!(run.err.contains("nothing under this path"), "{}", run.err);
    let run = restore(&stack, "--no-safety-backup --only uploads --path a/b/c");
    assert_eq!(run.code, 10, "{}", run.err);
    assert!(run.err.contains("a symlink is on the way"), "{}", run.err);
    restore(&stack, "--only uploads --path ../x")
        .exits(2)
        .says("leads out of the volume");
    restore(&stack, "--path a").exits(0);
    assert_ne!(tree(&uploads), state);
    stack.assert_tidy();
}

#[test]
fn a_part_goes_into_a_volume_of_its_own_and_nothing_is_touched() {
    let stack = shop();
    let before = tree(&stack.volume_dir("uploads"));
    create(&stack, "").exits(0);
    ruin(&stack);
    let (ruined, shape) = (data(&stack), stack.shape());
    let aside = format!("{}-aside", stack.name);
    restore(&stack, &format!("--only uploads --into {aside}"))
        .exits(0)
        .says(&format!("Volume {aside} has the data of backup"));
    assert_eq!(tree(&data_of(&aside)), before);
    restore(&stack, &format!("--only uploads --path a/b --into {aside}"))
        .exits(3)
        .says("is there already");
    assert_eq!(tree(&data_of(&aside)), before);
    // A server's data directory, on which a server starts.
    let server = format!("{}-server", stack.name);
    restore(&stack, &format!("--only db --into {server}")).exits(0);
    let version = sh(&format!("cat {}/PG_VERSION", data_of(&server).display()));
    assert!(!version.is_empty());
    assert_eq!(
        (data(&stack), stack.shape()),
        (ruined, shape),
        "the stack was touched"
    );
    sh(&format!("docker volume rm {aside} {server}"));
    stack.assert_tidy();
}

#[test]
fn one_database_is_restored_while_the_others_go_on() {
    let stack = shop();
    stack.exec(
        "db",
        "psql -q -h 127.0.0.1 -U app -d app -c 'create database other'",
    );
    stack.exec(
        "db",
        "psql -q -h 127.0.0.1 -U app -d app -c \"alter database app set work_mem = '7MB'\"",
    );
    let sum = "select count(*), md5(string_agg(id || v, ',' order by id)) from t";
    let before = ask(&stack, "app", sum);
    create(&stack, "").exits(0);
    ruin(&stack);
    let ruined = ask(&stack, "app", sum);
    // What is written elsewhere since then stays.
    ask(&stack, "other", "create table since (i int)");
    let started = "docker inspect -f '{{.State.StartedAt}}' ";
    let db = sh(&format!(
        "docker ps -q --filter label=com.docker.compose.project={} --filter label=com.docker.compose.service=db",
        stack.name
    ));
    let began = sh(&format!("{started}{db}"));

    restore(&stack, "--no-safety-backup --only db --database application")
        .exits(3)
        .says("has no database `application`");
    restore(&stack, "--no-safety-backup --only db --database app")
        .exits(0)
        .says("2000 rows in 1 table counted and equal");
    assert_eq!(ask(&stack, "app", sum), before);
    assert_eq!(
        ask(&stack, "app", "show work_mem"),
        "7MB",
        "its settings are lost"
    );
    assert_eq!(ask(&stack, "other", "select count(*) from since"), "0");
    assert_eq!(sh(&format!("{started}{db}")), began, "the server was restarted");
    assert_eq!(stack.running(), ["api", "db"]);
    let kept = databases(&stack);
    let kept = kept
        .split(' ')
        .find(|name| name.starts_with("app_before_"))
        .expect("what was replaced")
        .to_owned();
    assert_eq!(ask(&stack, &kept, sum), ruined);

    // A check that fails takes it back; one that is gone comes back, too.
    let there = databases(&stack);
    stack.file(
        "rehome.yml",
        "version: 1\nchecks: [ { service: api, command: [\"false\"], within: 1s } ]\n",
    );
    stack.exec("db", "psql -q -h 127.0.0.1 -U app -d app -c 'truncate t'");
    restore(&stack, "--no-safety-backup --only db --database app").exits(10);
    assert_eq!(ask(&stack, "app", sum), "0|");
    assert_eq!(databases(&stack), there);
    stack.file("rehome.yml", "version: 1\n");
    stack.exec(
        "db",
        "psql -q -h 127.0.0.1 -U app -d postgres -c 'drop database app with (force)'",
    );
    restore(&stack, "--no-safety-backup --only db --database app").exits(0);
    assert_eq!(ask(&stack, "app", sum), before);
    stack.assert_tidy();
}

#[test]
fn a_restore_of_one_database_that_is_killed_ends_as_before_or_complete() {
    let stack = shop();
    let sum = "select count(*), md5(string_agg(id || v, ',' order by id)) from t";
    let before = ask(&stack, "app", sum);
    create(&stack, "").exits(0);
    let command = format!(
        "backup restore --latest --no-safety-backup --only db --database app --from {} -y",
        place(&stack).display()
    );
    let plan = stack
        .rehome(&format!("{command} --dry-run --json"))
        .exits(0)
        .json();
    let all = super::points(plan["steps"].as_array().expect("steps").len());
    let full = std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full");
    // Every day two of them: while it is loaded, and when both have changed their names.
    for (n, point) in all
        .iter()
        .skip(2)
        .step_by(if full { 1 } else { 8 })
        .take(if full { all.len() } else { 2 })
        .enumerate()
    {
        stack.exec(
            "db",
            "psql -q -h 127.0.0.1 -U app -d app -c 'delete from t where id > 10'",
        );
        let ruined = ask(&stack, "app", sum);
        let run = stack.rehome_env(&command, &[("REHOME_CRASH_AT", point)]);
        assert_eq!(run.code, -1, "at {point}: {}", run.err);
        if n % 2 == 0 {
            stack.rehome("rollback").exits(0);
            assert_eq!(ask(&stack, "app", sum), ruined, "back from {point}");
            assert_eq!(databases(&stack), "app postgres", "after {point}");
        } else {
            stack.rehome("resume").exits(0);
            assert_eq!(ask(&stack, "app", sum), before, "on from {point}");
        }
        assert_eq!(stack.running(), ["api", "db"], "after {point}");
    }
    stack.assert_tidy();
}

#[test]
fn dumps_and_tars_of_other_programs_are_restored() {
    let stack = shop();
    let before = data(&stack);
    let dir = stack.dir.display().to_string();
    // As people make them.
    sh(&format!(
        "cd {dir} && docker compose exec -T db pg_dump -U app -h 127.0.0.1 app | gzip > app.sql.gz"
    ));
    sh(&format!(
        "cd {dir} && docker compose exec -T db pg_dump -U app -h 127.0.0.1 -Fc app > app.dump"
    ));
    sh(&format!(
        "mkdir -p {dir}/old/data && cp -a {}/. {dir}/old/data && cd {dir}/old && tar --xattrs --xattrs-include='*' -czf ../uploads.tgz data",
        stack.volume_dir("uploads").display()
    ));
    for file in ["app.sql.gz", "app.dump"] {
        ruin(&stack);
        let command = format!("backup restore --no-safety-backup -y --from {file} --only db");
        stack.rehome(&command).exits(2).says("--database NAME");
        stack.rehome(&format!("{command} --database app")).exits(0);
        assert_eq!(data(&stack).0, before.0, "{file}");
    }
    let command = "backup restore --no-safety-backup -y --from uploads.tgz --only uploads --strip 1";
    stack.rehome(command).exits(0);
    // Times of directories are in GNU's tar as they were, and of what it keeps nothing is lost.
    assert_eq!(data(&stack), before);
    assert_eq!(stack.running(), ["api", "db"]);

    // What is damaged or meant for something else replaces nothing.
    let shape = stack.shape();
    sh(&format!(
        "cd {dir} && head -c 3000 app.sql.gz > half.sql.gz && head -c 3000000 uploads.tgz > half.tgz"
    ));
    for (command, code) in [
        ("--from half.sql.gz --only db --database app", 10),
        ("--from half.tgz --only uploads --strip 1", 10),
        ("--from uploads.tgz --only db --database app", 10),
        ("--from app.dump --only uploads", 3),
        ("--from app.dump", 2),
        ("--from app.dump --latest --only db --database app", 2),
    ] {
        let run = stack.rehome(&format!("backup restore --no-safety-backup -y {command}"));
        assert_eq!(run.code, code, "{command}: {}", run.err);
        assert_eq!(
            (data(&stack), stack.shape()),
            (before.clone(), shape.clone()),
            "after {command}"
        );
    }
    stack.assert_tidy();
}

#[test]
fn a_backup_is_restored_into_another_project() {
    let stack = shop();
    let before = data(&stack);
    stack.file(".env", "BACKUP_KEY=only-in-the-one-project\n");
    let settings = format!(
        "version: 1\nbackup: {{ to: [ {{ dir: {} }} ], encrypt: {{ passphrase_from: BACKUP_KEY }} }}\n",
        place(&stack).display()
    );
    stack.file("rehome.yml", &settings);
    stack.rehome("backup create").exits(0);
    let other = Stack::up(&stack.read("docker-compose.yml"));
    wait_for("the database", || other.running() == ["api", "db"]);
    furnish(&other, "uploads");
    let shape = stack.shape();
    let into = format!(
        "backup restore --latest --no-safety-backup -y --into {}",
        other.dir.display()
    );
    // Killed and resumed from its own directory, where the passphrase is not.
    let run = stack.rehome_env(&into, &[("REHOME_CRASH_AT", "after-apply:1")]);
    assert_eq!(run.code, -1, "{}", run.err);
    let run = stack.rehome(&format!("--project-directory {} resume", other.dir.display()));
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(data(&other), before);
    assert_eq!(stack.shape(), shape, "the project that it is of was touched");
    assert_eq!(data(&stack), before);
    other.assert_tidy();
}

#[test]
fn a_database_in_a_file_is_restored_with_its_directory_and_not_alone() {
    let stack = Stack::up(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    volumes: ["data:/data"]
volumes:
  data:
"#
    ));
    let dir = stack.volume_dir("data");
    sqlite(
        &dir,
        "mkdir -p site",
        "create table t (i int); insert into t values (1), (2), (3)",
    );
    create(&stack, "").exits(0);
    sqlite(&dir, "true", "delete from t");
    restore(&stack, "--no-safety-backup --path site/app.sqlite3")
        .exits(3)
        .says("is an SQLite database");
    let run = restore(&stack, "--no-safety-backup --path site").exits(0);
    let said = format!("{}{}", run.out, run.err);
    assert!(said.contains("stop app"), "its service went on: {said}");
    assert_eq!(sqlite(&dir, "true", "select sum(i) from t"), "6");
    stack.assert_tidy();
}

fn sqlite(dir: &Path, first: &str, query: &str) -> String {
    let python = "import sqlite3, sys; c = sqlite3.connect('site/app.sqlite3'); c.execute('pragma journal_mode = delete'); \
                  [print(r[0]) for q in sys.argv[1].split(';') for r in c.execute(q)]; c.commit()";
    sh(&format!(
        "cd {} && {first} && python3 -c \"{python}\" \"{query}\"",
        dir.display()
    ))
}
