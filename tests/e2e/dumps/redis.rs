//! Redis: with a log and without, with its password in each of the places where people put it.

use std::fs::File;
use std::path::Path;

use rehome::datastore::Kind;
use rehome::steps::dumps::Server;

use super::{dump_all, dumping, in_twin, notes, nothing_is_left, twin_with, world};
use crate::support::{Stack, sh};

const IMAGE: &str = "kms-connect/redis:7";

/// What is mounted at `/data`, and more of the service.
fn redis(service: &str) -> Stack {
    let stack = Stack::write(&format!(
        "services:\n  cache:\n    image: {IMAGE}\n    volumes: [\"data:/data\"]\n{service}volumes:\n  data:\n"
    ));
    stack.compose("up -d");
    stack
}

/// Fills it, dumps it, loads it, and compares every key by Redis's own digest.
async fn there_and_back(stack: &Stack, auth: &str) {
    let login = match auth {
        "" => String::new(),
        auth => format!("REDISCLI_AUTH='{auth}' "),
    };
    let cli = |text: &str| stack.exec("cache", &format!("sh -c \"{login}redis-cli {text}\""));
    crate::support::wait_for("redis", || cli("ping") == "PONG");
    cli("eval \\\"for i = 1, 2000 do redis.call('set', 'k' .. i, i) end\\\" 0");
    cli("-n 3 rpush list a b c");
    cli("-n 3 hset hash f v");
    let cx = world(stack).await;
    let what = dumping(&cx, Kind::Redis, "cache").await;
    let server = Server::find(&cx, &what).await.unwrap();
    let dumped = dump_all(&server, &stack.dir.join("dumps")).await;
    assert_eq!(dumped[0].1.facts["keys"], "db0=2000,db3=2");
    // Redis's own program takes the file for a whole one, with nothing behind its end.
    let checked = sh(&format!(
        "docker run --rm --entrypoint redis-check-rdb -v {}:/d {IMAGE} /d/dump.rdb",
        stack.dir.join("dumps").display()
    ));
    assert!(
        checked.contains("RDB looks OK") && checked.contains("2002 keys read"),
        "{checked}"
    );
    let twin = twin_with(&cx, &server, &what, &dumped).await;
    let said = twin.check(&notes(&dumped)).await.unwrap();
    assert_eq!(said, ["2002 keys counted and equal"]);
    let digest = |n: u8| format!("-n {n} debug digest");
    // `debug` may be forbidden: then each value is read.
    let there = |text: &str| in_twin(&twin, &format!("sh -c \"{login}redis-cli {text}\""));
    for text in [
        "get k1999".to_owned(),
        "-n 3 lrange list 0 -1".into(),
        "-n 3 hget hash f".into(),
        digest(0),
    ] {
        assert_eq!(there(&text), cli(&text), "{text}");
    }
    there("-n 3 del list");
    let failure = twin.check(&notes(&dumped)).await.unwrap_err();
    assert!(failure.what.contains("and 2001 are there now"), "{failure:?}");
    twin.end().await.unwrap();
    twin.remove().await.unwrap();
    nothing_is_left(&cx);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_one() {
    let stack = redis("");
    there_and_back(&stack, "").await;
    // A cut dump and a flipped bit are found, whoever wrote it.
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Redis, "cache").await;
    let server = Server::find(&cx, &what).await.unwrap();
    let part = server.parts().await.unwrap().remove(0);
    let d = stack.dir.join("dumps");
    sh(&format!(
        "cd {} && head -c -9 dump.rdb > cut && cp dump.rdb flipped && printf 0123456789 | dd of=flipped bs=1 seek=3000 conv=notrunc status=none",
        d.display()
    ));
    for name in ["cut", "flipped"] {
        let failure = server.prove(&part, open(&d.join(name))).await.unwrap_err();
        assert!(failure.what.contains("is not whole"), "{name}: {failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_a_log_and_a_password_on_its_command_line() {
    let command =
        "    command: [\"redis-server\", \"--appendonly\", \"yes\", \"--requirepass\", \"pw-on-line-8\"]\n";
    there_and_back(&redis(command), "pw-on-line-8").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_a_password_in_its_configuration_file() {
    let service = "    command: [\"redis-server\", \"/usr/local/etc/redis.conf\"]\n";
    let stack = Stack::write(&format!(
        "services:\n  cache:\n    image: {IMAGE}\n    volumes: [\"data:/data\", \"./redis.conf:/usr/local/etc/redis.conf\"]\n{service}volumes:\n  data:\n"
    ));
    stack.file("redis.conf", "requirepass \"pw-in-file-9\"\nsave 3600 1\n");
    sh(&format!("chmod 644 {}/redis.conf", stack.dir.display()));
    stack.compose("up -d");
    there_and_back(&stack, "pw-in-file-9").await;
}

fn open(path: &Path) -> Box<File> {
    Box::new(File::open(path).unwrap())
}
