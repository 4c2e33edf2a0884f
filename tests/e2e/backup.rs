//! Backups of real stacks: made, read back, rehearsed, restored; and what must not come of a bad one.

mod pieces;

use std::path::{Path, PathBuf};

use crate::stacks::{furnish, postgres_up, small_up, table_sum};
use crate::support::{BUSYBOX, Block, POSTGRES, Run, Stack, sh, tree, try_sh, wait_for};

/// PostgreSQL, a writer, and a volume of files that nobody changes by himself.
fn shop() -> Stack {
    let stack = Stack::up(&format!(
        r#"services:
  db:
    image: {POSTGRES}
    environment: {{ POSTGRES_USER: app, POSTGRES_PASSWORD: secret-pw-7, POSTGRES_DB: app }}
    volumes: ["postgres_data:/var/lib/postgresql/data"]
    restart: unless-stopped
    healthcheck: {{ test: ["CMD-SHELL", "pg_isready -h 127.0.0.1 -U app -d app"], interval: 1s, retries: 60 }}
  api:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    stop_grace_period: 1s
    volumes: ["uploads:/uploads"]
    depends_on: {{ db: {{ condition: service_healthy }} }}
volumes:
  postgres_data:
  uploads:
"#
    ));
    wait_for("the database", || stack.running() == ["api", "db"]);
    stack.exec(
        "db",
        "psql -q -h 127.0.0.1 -U app -d app -c 'create table t (id bigserial primary key, v text); insert into t (v) select md5(i::text) from generate_series(1, 2000) i'",
    );
    furnish(&stack, "uploads");
    stack
}

/// Where this stack's backups are.
fn place(stack: &Stack) -> PathBuf {
    stack.state.with_file_name("backups")
}

fn create(stack: &Stack, more: &str) -> Run {
    stack.rehome(&format!("backup create --to {} {more}", place(stack).display()))
}

fn restore(stack: &Stack, more: &str) -> Run {
    stack.rehome(&format!(
        "backup restore --latest --from {} -y {more}",
        place(stack).display()
    ))
}

/// The directories of the complete backups in a place, oldest first.
fn backups(place: &Path) -> Vec<String> {
    let found = sh(&format!(
        "find {} -name manifest.json -printf '%h\n' | sort",
        place.display()
    ));
    found.lines().map(str::to_owned).collect()
}

/// What the data is, told by other programs: the table's checksum, and every file.
fn data(stack: &Stack) -> (String, String) {
    let sum = stack.exec(
        "db",
        "psql -tAX -h 127.0.0.1 -U app -d app -c \"select count(*), md5(string_agg(id || v, ',' order by id)) from t\"",
    );
    (sum, tree(&stack.volume_dir("uploads")))
}

fn ruin(stack: &Stack) {
    stack.exec(
        "db",
        "psql -q -h 127.0.0.1 -U app -d app -c 'delete from t where id > 10; create table later (i int)'",
    );
    sh(&format!(
        "cd {} && rm -rf a && echo new > new && touch -d @1000000000 new .",
        stack.volume_dir("uploads").display()
    ));
}

#[test]
fn what_was_ruined_is_back_and_what_was_replaced_is_kept() {
    let stack = shop();
    let before = data(&stack);
    create(&stack, "").exits(0).says("read back from 1 place");
    // A dump is what `pg_restore` of somebody else says it is.
    let directory = backups(&place(&stack)).remove(0);
    let listed = sh(&format!(
        "zstd -dcq {directory}/databases/db/app.dump.zst | pg_restore -l"
    ));
    assert!(listed.contains("TABLE DATA public t app"), "{listed}");
    let names = sh(&format!(
        "zstd -dcq {directory}/volumes/uploads.tar.zst | tar -t | sort | head -n 3"
    ));
    assert!(names.contains("a/"), "{names}");
    // No secret of the files is beside the data.
    let files = sh(&format!(
        "zstd -dcq {directory}/project/*.zst; cat {directory}/manifest.json"
    ));
    assert!(!files.contains("secret-pw-7"), "{files}");

    ruin(&stack);
    let ruined = data(&stack);
    assert_ne!(ruined, before);
    let run = restore(&stack, "--json").exits(0);
    let last = run.events().pop().expect("events");
    assert_eq!(last["outcome"], "done");
    assert_eq!(data(&stack), before);
    let later = stack.exec(
        "db",
        "psql -tAX -h 127.0.0.1 -U app -d app -c \"select to_regclass('later') is null\"",
    );
    assert_eq!(later, "t", "a table that the backup does not have is there");
    assert_eq!(stack.running(), ["api", "db"]);
    // What was replaced is a volume beside it, and a backup.
    let kept = sh(&format!(
        "docker volume ls -q | grep {}_uploads_before",
        stack.name
    ));
    let kept = sh(&format!("docker volume inspect -f '{{{{.Mountpoint}}}}' {kept}"));
    assert_eq!(tree(Path::new(&kept)), ruined.1);
    assert_eq!(
        backups(&place(&stack)).len(),
        2,
        "the state before the restore is a backup"
    );
    stack.assert_tidy();
}

#[test]
fn a_stack_that_was_destroyed_to_the_last_volume_is_back() {
    let stack = shop();
    let before = data(&stack);
    create(&stack, "").exits(0);
    stack.compose("down -v");
    assert_eq!(
        sh(&format!("docker volume ls -q | grep -c ^{}_ || true", stack.name)),
        "0"
    );
    restore(&stack, "").exits(0).says("has the data of backup");
    assert_eq!(data(&stack), before);
    assert_eq!(stack.running(), ["api", "db"]);
    stack.assert_tidy();
}

#[test]
fn a_drill_tells_what_it_compared_and_leaves_nothing() {
    let stack = shop();
    let shape = stack.shape();
    create(&stack, "").exits(0);
    let run = stack
        .rehome(&format!(
            "backup verify --drill --from {}",
            place(&stack).display()
        ))
        .exits(0);
    let said = run
        .says("2000 rows in 1 table counted and equal")
        .says("restored in");
    assert!(said.out.contains("uploads") || said.err.contains("uploads"));
    assert_eq!(stack.shape(), shape, "the stack was touched");
    stack.assert_tidy();
    let note = sh(&format!("cat {}/verified.json", backups(&place(&stack))[0]));
    assert!(note.contains("\"how\":\"drill\""), "{note}");
}

#[test]
fn trap_14_a_backup_that_fails_is_none_and_the_older_ones_stay() {
    // The place is full.
    let small_disk = Block::ext4(12);
    let stack = shop();
    let to = small_disk.path();
    stack
        .rehome(&format!("backup create --to {to} --only db"))
        .exits(0);
    let older = backups(&small_disk.root);
    assert_eq!(older.len(), 1);
    sh(&format!(
        "head -c 40000000 /dev/urandom > {}/large",
        stack.volume_dir("uploads").display()
    ));
    let run = stack.rehome(&format!("backup create --to {to}"));
    assert_eq!(run.code, 10, "{}", run.err);
    let run = run.says("the older backups are as they were");
    assert!(run.err.contains("the disk is full"), "{}", run.err);
    assert_eq!(backups(&small_disk.root), older);
    let left = sh(&format!(
        "find {to} -type f | grep -v {} | grep -v lost+found || true",
        older[0]
    ));
    assert_eq!(left, "", "half a backup is left");

    // The database is down.
    stack.compose("stop db");
    stack
        .rehome(&format!("backup create --to {to}"))
        .exits(3)
        .says("service `db` does not run");
    assert_eq!(backups(&small_disk.root), older);
    stack.assert_tidy();
}

#[test]
fn trap_14_what_shrank_much_is_said() {
    let stack = shop();
    sh(&format!(
        "head -c 3000000 /dev/urandom > {}/photo",
        stack.volume_dir("uploads").display()
    ));
    create(&stack, "").exits(0);
    sh(&format!(
        "rm -rf {d}/photo {d}/a",
        d = stack.volume_dir("uploads").display()
    ));
    create(&stack, "").exits(0).says("volumes/uploads.tar.zst has");
}

#[test]
fn trap_10_the_files_of_a_running_database_are_no_backup() {
    let stack = shop();
    stack.file("rehome.yml", "version: 1\nbackup: { no_dump: [db] }\n");
    create(&stack, "")
        .exits(3)
        .says("its files are written to while they are read");
    assert!(!place(&stack).exists(), "something was written");
    // Stopped, they are.
    create(&stack, "--consistency stop").exits(0);
    assert_eq!(stack.running(), ["api", "db"]);
    let before = data(&stack);
    ruin(&stack);
    restore(&stack, "--no-safety-backup").exits(0);
    assert_eq!(data(&stack), before);
}

#[test]
fn trap_24_a_backup_and_its_restore_take_the_servers_own_clients() {
    let stack = shop();
    let before = data(&stack);
    // Clients of another age on this machine, first in the search path: whoever takes one fails.
    let bin = stack.dir.join("bin");
    sh(&format!(
        "mkdir {b} && for p in pg_dump pg_dumpall pg_restore psql; do \
         printf '#!/bin/sh\necho $0 >> {b}/called\nexit 1\n' > {b}/$p; chmod 755 {b}/$p; done",
        b = bin.display()
    ));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let place = place(&stack).display().to_string();
    let run = |command: String| stack.rehome_env(&command, &[("PATH", path.as_str())]).exits(0);
    run(format!("backup create --to {place}"));
    ruin(&stack);
    run(format!(
        "backup restore --latest --no-safety-backup --from {place} -y"
    ));
    assert_eq!(data(&stack), before);
    assert!(!bin.join("called").exists(), "{}", stack.read("bin/called"));
    // The version is the server's.
    let manifest = sh(&format!("cat {}/manifest.json", backups(Path::new(&place))[0]));
    let server = stack.exec("db", "postgres --version");
    let version = server.split_whitespace().nth(2).unwrap();
    assert!(
        manifest.contains(&format!("\"version\":\"{version}")),
        "{server}: {manifest}"
    );
}

#[test]
fn services_that_are_paused_or_stopped_for_a_backup_come_back_also_when_it_fails() {
    let stack = small_up();
    let shape = stack.shape();
    create(&stack, "--consistency pause").exits(0).says("paused");
    assert_eq!(stack.shape(), shape);
    wait_for("the writer", || stack.running() == ["app", "side", "web"]);

    create(&stack, "--consistency stop").exits(0).says("stood still");
    assert_eq!(stack.running(), ["app", "side", "web"]);

    // Its place goes away while they stand still.
    for how in ["pause", "stop"] {
        let disk = Block::ext4(6);
        sh(&format!(
            "head -c 20000000 /dev/urandom > {}/large",
            stack.volume_dir("data").display()
        ));
        let run = stack.rehome(&format!("backup create --consistency {how} --to {}", disk.path()));
        assert_eq!(run.code, 10, "{}", run.err);
        assert_eq!(stack.running(), ["app", "side", "web"], "after {how}");
        let paused = sh(&format!(
            "docker ps -q --filter status=paused --filter label=com.docker.compose.project={}",
            stack.name
        ));
        assert_eq!(paused, "");
    }
    stack.assert_tidy();
}

#[test]
fn services_that_stand_still_come_back_when_the_backup_is_killed() {
    let stack = small_up();
    for how in ["stop", "pause"] {
        let command = format!(
            "backup create --consistency {how} --to {}",
            place(&stack).display()
        );
        // The second step is the one after which they stand still.
        let run = stack.rehome_env(&command, &[("REHOME_CRASH_AT", "after-verify:1")]);
        assert_eq!(run.code, -1, "{}", run.err);
        wait_for("the services", || {
            let paused = "docker ps -q --filter status=paused --filter label=com.docker.compose.project=";
            stack.running() == ["app", "side", "web"] && sh(&format!("{paused}{}", stack.name)).is_empty()
        });
        wait_for("the run to be taken back", || {
            stack.rehome("resume --dry-run").code == 3
        });
        let runs = stack.rehome("history --json").exits(0).out;
        assert!(runs.contains("rolled_back"), "{runs}");
    }
    assert_eq!(backups(&place(&stack)), Vec::<String>::new());
    stack.assert_tidy();
}

#[test]
fn trap_15_a_damaged_backup_is_no_restore_and_replaces_nothing() {
    let stack = shop();
    create(&stack, "").exits(0);
    ruin(&stack);
    let ruined = data(&stack);
    let shape = stack.shape();
    let directory = backups(&place(&stack)).remove(0);
    let spoil: [(&str, &str); 5] = [
        (
            "a bit",
            "python3 -c \"p='FILE'; d=bytearray(open(p,'rb').read()); d[len(d)//2]^=1; open(p,'wb').write(d)\"",
        ),
        ("its end", "truncate -s -7 FILE"),
        ("all of it", "rm FILE"),
        ("more", "printf x >> FILE"),
        ("another", "cp DIR/databases/db/globals.sql.zst FILE"),
    ];
    for (what, how) in spoil {
        let file = format!("{directory}/volumes/uploads.tar.zst");
        sh(&format!("cp -a {directory} {directory}.kept"));
        sh(&how.replace("FILE", &file).replace("DIR", &directory));
        let verified = stack.rehome(&format!("backup verify --from {}", place(&stack).display()));
        assert_eq!(verified.code, 3, "{what}: {}", verified.err);
        let run = restore(&stack, "--no-safety-backup");
        assert_ne!(run.code, 0, "{what}: {}", run.err);
        assert_eq!(data(&stack), ruined, "after {what}");
        assert_eq!(stack.shape(), shape, "after {what}");
        sh(&format!("rm -rf {directory} && mv {directory}.kept {directory}"));
    }
    let newer = "python3 -c \"p='DIR/manifest.json'; d=open(p).read(); open(p,'w').write(d.replace('\\\"format\\\":1','\\\"format\\\":99',1))\"";
    sh(&newer.replace("DIR", &directory));
    let id = directory.rsplit('/').next().unwrap();
    stack
        .rehome(&format!(
            "backup restore {id} --from {} -y",
            place(&stack).display()
        ))
        .exits(3)
        .says("has format 99");
    stack.assert_tidy();
}

#[test]
fn what_is_encrypted_for_somebody_is_read_with_his_key_alone() {
    let stack = shop();
    let key = stack.state.with_file_name("key.txt");
    sh(&format!("age-keygen -o {} 2>/dev/null", key.display()));
    let recipient = sh(&format!("age-keygen -y {}", key.display()));
    stack.file(
        "rehome.yml",
        &format!("version: 1\nbackup: {{ encrypt: {{ recipients: [{recipient}] }} }}\n"),
    );
    let before = data(&stack);
    create(&stack, "").exits(0).says("this machine cannot read it");
    let directory = backups(&place(&stack)).remove(0);
    // The programs themselves read it.
    let listed = sh(&format!(
        "age -d -i {} {directory}/databases/db/app.dump.zst.age | zstd -dcq | pg_restore -l",
        key.display()
    ));
    assert!(listed.contains("TABLE DATA public t app"), "{listed}");
    ruin(&stack);
    let ruined = data(&stack);
    let run = restore(&stack, "--no-safety-backup --only uploads");
    assert_eq!(run.code, 10, "{}", run.err);
    assert_eq!(data(&stack), ruined);
    // The database goes on with what it has.
    let key = format!("--no-safety-backup --only uploads --identity {}", key.display());
    restore(&stack, &key).exits(0);
    assert_eq!(data(&stack), (ruined.0, before.1));
}

/// The points of a restore at which it is killed, without those at which nothing was written yet.
fn points(steps: usize) -> Vec<String> {
    let moments = ["after-prepare", "before-apply", "after-apply", "after-verify"];
    (0..steps)
        .flat_map(|step| moments.map(|moment| format!("{moment}:{step}")))
        .collect()
}

#[test]
fn a_restore_that_is_killed_ends_as_before_or_complete() {
    let stack = shop();
    let before = data(&stack);
    create(&stack, "").exits(0);
    ruin(&stack);
    let ruined = data(&stack);
    let command = format!(
        "backup restore --latest --no-safety-backup --from {} -y",
        place(&stack).display()
    );
    let plan = stack
        .rehome(&format!("{command} --dry-run --json"))
        .exits(0)
        .json();
    let all = points(plan["steps"].as_array().expect("steps").len());
    let full = std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full");
    // Every day three of them, one of them while it is restored and one after the exchange.
    let stride = if full { 1 } else { 16 };
    for (n, point) in all.iter().step_by(stride).enumerate() {
        let run = stack.rehome_env(&command, &[("REHOME_CRASH_AT", point)]);
        assert_eq!(run.code, -1, "at {point}: {}", run.err);
        stack.rehome(&command).exits(3).says("is not finished");
        if n % 2 == 0 {
            stack.rehome("rollback").exits(0);
            assert_eq!(data(&stack), ruined, "back from {point}");
        } else {
            stack.rehome("resume").exits(0);
            assert_eq!(data(&stack), before, "on from {point}");
            ruin_again(&stack);
            assert_eq!(data(&stack), ruined);
        }
        assert_eq!(stack.running(), ["api", "db"], "after {point}");
        stack.assert_tidy();
    }
}

/// From what was restored to what [`ruin`] leaves.
fn ruin_again(stack: &Stack) {
    stack.exec(
        "db",
        "psql -q -h 127.0.0.1 -U app -d app -c 'delete from t where id > 10'",
    );
    sh(&format!(
        "cd {} && rm -rf a && echo new > new && touch -d @1000000000 new .",
        stack.volume_dir("uploads").display()
    ));
}

#[test]
fn a_place_that_fails_does_not_take_the_other_with_it() {
    let stack = shop();
    let full = Block::ext4(6);
    sh(&format!(
        "head -c 30000000 /dev/urandom > {}/large",
        stack.volume_dir("uploads").display()
    ));
    let run = create(&stack, &format!("--to {}", full.path()));
    assert_eq!(run.code, 1, "{}", run.err);
    let run = run.says("the backup is missing in");
    assert!(
        run.err.contains(&format!("whole in {}", place(&stack).display())),
        "{}",
        run.err
    );
    assert_eq!(backups(&place(&stack)).len(), 1);
    assert_eq!(backups(&full.root), Vec::<String>::new());
    let verify = format!("backup verify --from {}", place(&stack).display());
    let said = stack.rehome(&verify).exits(0).out;
    assert!(said.contains("every hash"), "{said}");
}

#[test]
fn a_stack_on_a_block_volume_is_restored_there() {
    let block = Block::ext4(400);
    let stack = postgres_up();
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    let before = table_sum(&stack);
    create(&stack, "").exits(0);
    stack.exec("db", "psql -q -U app -d app -c 'drop table t'");
    restore(&stack, "").exits(0);
    assert_eq!(table_sum(&stack), before);
    assert!(
        stack
            .mounted("db", "/var/lib/postgresql/data")
            .contains("_block_")
    );
    let there = sh(&format!("ls {}", block.path()));
    assert!(there.contains("postgres.before-"), "{there}");
    assert!(
        try_sh(&format!("test -s {}/postgres/pgdata/PG_VERSION", block.path()))
            .status
            .success()
    );
    stack.assert_tidy();
}

#[test]
fn a_move_waits_for_a_backup_and_without_a_good_one_there_is_none() {
    let block = Block::ext4(200);
    let stack = small_up();
    let shape = stack.shape();
    let to = place(&stack);
    let settings = |dir: &Path| format!("version: 1\nbackup: {{ to: [ {{ dir: {} }} ] }}\n", dir.display());
    let command = format!("move --to {} --backup -y", block.path());
    // Its place is full.
    let full = Block::ext4(6);
    sh(&format!(
        "head -c 20000000 /dev/urandom > {}/large",
        stack.volume_dir("data").display()
    ));
    stack.file("rehome.yml", &settings(&full.root));
    let run = stack.rehome(&command);
    assert_eq!(run.code, 10, "{}", run.err);
    let run = run.says("nothing is moved");
    assert!(run.err.contains("older backups are as they were"), "{}", run.err);
    assert_eq!(stack.shape(), shape);

    stack.file("rehome.yml", &settings(&to));
    stack.rehome(&command).exits(0);
    assert_eq!(backups(&to).len(), 1);
    let there = stack.mounted("app", "/data");
    assert!(there.contains("_block_"), "{there}");
    stack.assert_tidy();
}
