//! MongoDB, played: no server of it is in Debian. An image has `mongod`, `mongodump`, `mongorestore` and `mongosh` as
//! scripts that keep "documents" as lines of files and take the arguments, the password and the words that the real ones
//! do. So this shows that the tools are called as they are meant to be, that both ends of an archive are looked at, and
//! what becomes of their failures; it does not show that MongoDB understands it.

use std::fs::File;

use rehome::datastore::Kind;
use rehome::steps::dumps::Server;

use super::{dump_all, dumping, in_twin, notes, nothing_is_left, twin_with, world};
use crate::support::{BUSYBOX, Stack, sh};

/// Whoever comes without the right password is refused, as by the real ones. `$config` is the file with it.
const LOGIN: &str = r#"#!/bin/sh
u= config=
while [ $# -gt 0 ]; do case $1 in --username) u=$2; shift ;; --config) config=$2; shift ;; esac; shift; done
[ "$u" = root ] && [ "$(cat "$config")" = "password: 'it''s'" ] || { echo "Failed: can't create session: could not connect to server: Authentication failed." >&2; exit 1; }
"#;

fn played() -> Stack {
    let stack = Stack::write(
        r#"services:
  db:
    image: NAME/mongo:1
    env_file: [mongo.env]
    volumes: ["db_data:/data/db"]
    stop_grace_period: 1s
volumes:
  db_data:
"#,
    );
    // Not through `file`, which takes the end of a variable's name for the project's.
    let env = "MONGO_INITDB_ROOT_USERNAME=root\nMONGO_INITDB_ROOT_PASSWORD=\"it's\"\n";
    std::fs::write(stack.dir.join("mongo.env"), env).unwrap();
    stack.file(
        "mongod",
        "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n",
    );
    stack.file(
        "mongodump",
        &format!(
            "{LOGIN}printf '\\155\\342\\231\\201'\nfor f in /data/db/*; do [ -s \"$f\" ] || continue\n  n=$(basename $f); c=$(grep -c . $f)\n  \
             sed \"s/^/$n /\" $f\n  echo \"done dumping $n ($c documents)\" >&2\ndone\n[ ! -e /data/die ] || kill -9 $$\nprintf '\\377\\377\\377\\377'\n"
        ),
    );
    stack.file(
        "mongorestore",
        &format!(
            "{LOGIN}[ \"$(dd bs=1 count=4 2>/dev/null | od -An -tx1 | tr -d ' ')\" = 6de29981 ] || exit 1\nwhile read -r n line; do case $n in app.*) echo \"$line\" >> /data/db/$n ;; esac; done\n"
        ),
    );
    stack.file(
        "mongosh",
        "#!/bin/sh\n[ \"$REHOME_PASSWORD\" = \"it's\" ] || exit 1\ncase $* in *version*) echo 7.0.5 ;; *countDocuments*) \
         for f in /data/db/*; do [ -s $f ] || continue; echo \"$(grep -c . $f) $(basename $f)\"; done ;; esac\n",
    );
    stack.file(
        "Dockerfile",
        &format!("FROM {BUSYBOX}\nCOPY mongod mongodump mongorestore mongosh /bin/\nVOLUME /data/db\nCMD [\"mongod\"]\n"),
    );
    sh(&format!(
        "cd {} && chmod 755 mongo[drs]* && DOCKER_BUILDKIT=0 docker build -q -t {}/mongo:1 . && docker compose up -d",
        stack.dir.display(),
        stack.name
    ));
    stack.exec(
        "db",
        "sh -c 'seq 1 50 > /data/db/app.users; seq 1 3 > /data/db/app.orders'",
    );
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_played_tools_goes_there_and_back() {
    let stack = played();
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Mongodb, "db").await;
    let server = Server::find(&cx, &what).await.unwrap();
    let dumped = dump_all(&server, &stack.dir.join("dumps")).await;
    assert_eq!(
        dumped[0].1.rows,
        [("app.users".to_owned(), 50), ("app.orders".to_owned(), 3)].into()
    );
    assert_eq!(dumped[0].1.version.as_deref(), Some("7.0.5"));
    let twin = twin_with(&cx, &server, &what, &dumped).await;
    assert_eq!(
        twin.check(&notes(&dumped)).await.unwrap(),
        ["53 documents in 2 collections counted and equal"]
    );
    in_twin(&twin, "sh -c 'echo 51 >> /data/db/app.users'");
    twin.check(&notes(&dumped)).await.unwrap_err();
    twin.end().await.unwrap();
    twin.remove().await.unwrap();
    nothing_is_left(&cx);

    // It dies in the middle: its exit code says so, and its end is missing.
    stack.exec("db", "touch /data/die");
    let part = &dumped[0].0;
    let to = stack.dir.join("half");
    let failure = server
        .dump(part, &mut File::create(&to).unwrap())
        .await
        .unwrap_err();
    assert!(failure.what.contains("was killed"), "{failure:?}");
    let failure = server
        .prove(part, Box::new(File::open(&to).unwrap()))
        .await
        .unwrap_err();
    assert_eq!(failure.causes, ["it does not end as it should"]);
    // Another password than the server has now.
    let mut other = what.clone();
    other.user = "somebody".to_owned();
    let server = Server::find(&cx, &other).await.unwrap();
    let failure = server.dump(part, &mut std::io::sink()).await;
    // The part was made for the right user.
    assert!(failure.is_err());
    let part = server.parts().await.unwrap().remove(0);
    let failure = server.dump(&part, &mut std::io::sink()).await.unwrap_err();
    assert!(failure.causes[0].contains("Authentication failed"), "{failure:?}");
    sh(&format!(
        "docker compose -p {n} down -v >/dev/null 2>&1; docker rmi {n}/mongo:1 >/dev/null",
        n = stack.name
    ));
}
