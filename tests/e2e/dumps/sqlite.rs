//! SQLite inside of an application, which goes on writing.

use std::fs::File;
use std::io::Read;

use rehome::engine::HelperMount;
use rehome::model::{VolumeKey, VolumeName};
use rehome::steps::dumps::{SqliteFile, sweep};

use super::{nothing_is_left, world};
use crate::support::{Stack, sh, wait_for};

/// Writes two rows a transaction, whose sum is zero, and never lets its log be taken over.
const APP: &str = r#"
import os, sqlite3, sys, time
db = sqlite3.connect('/data/app.sqlite', isolation_level=None)
db.execute('pragma journal_mode = ' + os.environ['MODE'])
db.execute('pragma wal_autocheckpoint = 0')
db.execute('create table if not exists ledger (id integer primary key, amount int)')
db.execute('create table if not exists "odd ""name" (a)')
db.execute('create virtual table if not exists words using fts5(text)')
while True:
    db.execute('begin immediate')
    n = db.execute('select count(*) from ledger').fetchone()[0]
    db.execute('insert into ledger (amount) values (?), (?)', (n, -n))
    db.execute('insert into words values (?)', (f'word {n}',))
    db.execute('commit')
    print(n, flush=True)
    time.sleep(0.001)
"#;

fn app(mode: &str) -> Stack {
    let stack = Stack::write(&format!(
        "services:\n  app:\n    image: kms-connect/redis:7\n    entrypoint: [\"python3\", \"-u\", \"/app.py\"]\n    user: \"1234:4321\"\n    \
         environment: {{ MODE: {mode} }}\n    volumes: [\"data:/data\", \"./app.py:/app.py:ro\"]\n    stop_grace_period: 1s\nvolumes:\n  data:\n"
    ));
    stack.file("app.py", APP);
    stack.compose("up --no-start");
    sh(&format!("chown 1234:4321 {}", stack.volume_dir("data").display()));
    stack.compose("up -d");
    wait_for("rows", || rows(&stack) > 200);
    stack
}

fn rows(stack: &Stack) -> u64 {
    sh(&format!(
        "cd {} && docker compose logs --no-log-prefix --tail 1 app",
        stack.dir.display()
    ))
    .trim()
    .parse()
    .unwrap_or(0)
}

fn file(stack: &Stack) -> SqliteFile {
    SqliteFile {
        volume: VolumeKey::new("data").unwrap(),
        mount: HelperMount::Volume {
            name: VolumeName::new(stack.volume("data")).unwrap(),
            target: "/anywhere".to_owned(),
            read_only: true,
        },
        path: "app.sqlite".to_owned(),
        service: None,
    }
}

/// As Debian's own program sees it.
#[track_caller]
fn sqlite3(file: &std::path::Path, query: &str) -> String {
    sh(&format!("sqlite3 {} \"{query}\"", file.display()))
}

async fn dumps_while_it_writes(mode: &str) {
    let stack = app(mode);
    let cx = world(&stack).await;
    let database = file(&stack);
    let before = rows(&stack);
    let to = stack.dir.join("dump.sqlite");
    let note = database.dump(&cx, &mut File::create(&to).unwrap()).await.unwrap();
    wait_for("the application to go on", || rows(&stack) > before + 20);
    nothing_is_left(&cx);

    // Debian's sqlite3 reads it without the log, finds nothing wrong, and counts the same.
    assert_eq!(sqlite3(&to, "pragma integrity_check"), "ok");
    let counted = sqlite3(&to, "select count(*), sum(amount) from ledger");
    assert_eq!(counted, format!("{}|0", note.rows["ledger"]));
    assert!(
        note.rows["ledger"] > before,
        "what is in the log alone is in the dump"
    );
    assert_eq!(note.rows["odd \"name"], 0);
    assert!(!note.rows.contains_key("words"));
    assert_eq!(
        (note.facts["owner"].as_str(), note.facts["mode"].as_str()),
        ("1234:4321", "644")
    );

    // In a throw-away volume, and then in the place of the old one.
    let open = || Box::new(File::open(&to).unwrap());
    let said = database.drill(&cx, &note, open()).await.unwrap();
    assert!(said[0].contains("counted and equal"), "{said:?}");
    stack.compose("kill app");
    let said = database.load(&cx, &note, open()).await.unwrap();
    assert!(said[0].contains("every page checked by SQLite"), "{said:?}");
    let place = stack.volume_dir("data").join("app.sqlite");
    assert_eq!(
        sh(&format!("ls {}", place.parent().unwrap().display())),
        "app.sqlite",
        "no log of the old one"
    );
    assert_eq!(
        sh(&format!("stat -c '%u:%g %a' {}", place.display())),
        "1234:4321 644"
    );
    assert_eq!(
        sqlite3(&place, "select count(*), sum(amount) from ledger"),
        counted
    );
    database.check(&cx, &note).await.unwrap();
    sqlite3(&place, "delete from ledger where id = 1");
    let failure = database.check(&cx, &note).await.unwrap_err();
    assert!(failure.causes[0].starts_with("ledger: "), "{failure:?}");
    nothing_is_left(&cx);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_a_write_ahead_log_is_dumped_while_it_is_written() {
    dumps_while_it_writes("wal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_a_rollback_journal_is_dumped_while_it_is_written() {
    dumps_while_it_writes("delete").await;
}

/// Hands out a file, and breaks before its end.
struct Broken(std::io::Take<File>);

impl Read for Broken {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(into)? {
            0 => Err(std::io::Error::other("its hash is another one")),
            read => Ok(read),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_killed_is_dumped_with_its_log_and_what_is_damaged_is_refused() {
    let stack = app("wal");
    stack.compose("kill app");
    let cx = world(&stack).await;
    let database = file(&stack);
    // Nobody has it open, and what only its log has cannot be read without writing beside it.
    let dir = stack.volume_dir("data");
    sh(&format!(
        "cp -a {d} {d}.copy && rm -f {d}/*-shm",
        d = dir.display()
    ));
    let expected = sqlite3(
        &std::path::PathBuf::from(format!("{}.copy/app.sqlite", dir.display())),
        "select count(*) from ledger",
    );
    sh(&format!("rm -r {}.copy", dir.display()));
    let to = stack.dir.join("dump.sqlite");
    let note = database.dump(&cx, &mut File::create(&to).unwrap()).await.unwrap();
    assert_eq!(note.rows["ledger"].to_string(), expected);
    let list = || {
        sh(&format!(
            "cd {} && stat -c '%n %u %s' app.sqlite && sha256sum app.sqlite",
            dir.display()
        ))
    };
    let before = list();

    // A stream that breaks, a damaged file, one with other rows: the old one stays.
    let short = File::open(&to).unwrap().take(10_000);
    let failure = database
        .load(&cx, &note, Box::new(Broken(short)))
        .await
        .unwrap_err();
    assert!(
        failure.causes.join("\n").contains("its hash is another one"),
        "{failure:?}"
    );
    let damaged = stack.dir.join("damaged.sqlite");
    sh(&format!(
        "cp {} {d} && dd if=/dev/urandom of={d} bs=4096 seek=3 count=4 conv=notrunc status=none",
        to.display(),
        d = damaged.display()
    ));
    let failure = database
        .load(&cx, &note, Box::new(File::open(&damaged).unwrap()))
        .await
        .unwrap_err();
    assert!(
        failure.to_string().contains("could not be restored"),
        "{failure:?}"
    );
    sqlite3(&to, "delete from ledger where id = 1");
    let failure = database
        .load(&cx, &note, Box::new(File::open(&to).unwrap()))
        .await
        .unwrap_err();
    assert!(
        failure.causes.join("\n").contains("other rows than were noted"),
        "{failure:?}"
    );
    assert_eq!(list(), before);

    // Damaged where it is: no dump of it is made.
    sh(&format!(
        "cp {} {}/app.sqlite && rm -f {}/app.sqlite-*",
        damaged.display(),
        dir.display(),
        dir.display()
    ));
    let failure = database.dump(&cx, &mut std::io::sink()).await.unwrap_err();
    assert!(
        failure.what.contains("no dump of the SQLite app.sqlite"),
        "{failure:?}"
    );
    // Nowhere to write to.
    sh(&format!("cp {} {}/app.sqlite", to.display(), dir.display()));
    let failure = database
        .dump(&cx, &mut File::create("/dev/full").unwrap())
        .await
        .unwrap_err();
    assert!(failure.causes.join("\n").contains("No space left"), "{failure:?}");
    assert_eq!(sweep(&cx).await.unwrap(), 0);
    nothing_is_left(&cx);
}
