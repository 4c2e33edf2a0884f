//! What goes wrong with a dump, each on real servers: it is a failure in words, and never a file that looks good.

use std::fs::File;
use std::io::{Read, Write};

use rehome::datastore::Kind;
use rehome::model::Failure;
use rehome::steps::dumps::{Dumping, Part, Server};

use super::{
    dumping,
    mysql::{self, MARIADB},
    nothing_is_left, twin_with, world,
};
use crate::stacks::postgres_up;
use crate::support::{Stack, sh, wait_for};

fn words(failure: &Failure) -> String {
    format!("{}\n{}", failure.what, failure.causes.join("\n"))
}

async fn part_of(server: &Server<'_>, file: &str) -> Part {
    let parts = server.parts().await.unwrap();
    parts.into_iter().find(|part| part.file == file).unwrap()
}

/// Takes some, lets something be done, and then the rest.
struct Disturbed<F: FnMut()> {
    taken: usize,
    after: usize,
    disturb: Option<F>,
    seen: Vec<u8>,
}

impl<F: FnMut()> Write for Disturbed<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.taken += bytes.len();
        self.seen.extend_from_slice(bytes);
        if self.taken > self.after
            && let Some(mut disturb) = self.disturb.take()
        {
            disturb();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Kills a program inside of a service for good. Nothing is waited for: the engine tells of no other command's end while
/// the output of one that ended is not read, and whoever reads that waits here.
fn kill(stack: &Stack, program: &str) -> impl FnMut() + Send {
    let id = sh(&format!("cd {} && docker compose ps -q db", stack.dir.display()));
    let program = program.to_owned();
    move || {
        sh(&format!(
            "docker exec -d -u 0 {id} sh -c 'for p in /proc/[0-9]*; do case $(tr \"\\0\" \" \" < $p/cmdline) in {program}\\ *|*/{program}\\ *) kill -9 ${{p#/proc/}} ;; esac; done'"
        ));
    }
}

fn fill(stack: &Stack) {
    stack.exec("db", "psql -q -U app -d app -c 'create table big as select i, md5(i::text) || md5((i + 1)::text) as v from generate_series(1, 600000) i'");
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_14_a_dump_of_postgres_that_dies_or_has_no_room_is_a_failure() {
    let stack = postgres_up();
    fill(&stack);
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Postgres, "db").await;
    let server = Server::find(&cx, &what).await.unwrap();
    let part = part_of(&server, "app.dump").await;

    let mut to = Disturbed {
        taken: 0,
        after: 200_000,
        disturb: Some(kill(&stack, "pg_dump")),
        seen: Vec::new(),
    };
    let failure = server.dump(&part, &mut to).await.unwrap_err();
    assert!(words(&failure).contains("`pg_dump` was killed"), "{failure:?}");
    // What came is no dump, and is not taken for one.
    let half = std::io::Cursor::new(to.seen);
    let failure = server.prove(&part, Box::new(half)).await.unwrap_err();
    assert!(
        words(&failure).contains("`app.dump` of PostgreSQL in service `db` is not whole"),
        "{failure:?}"
    );

    let failure = server
        .dump(&part, &mut File::create("/dev/full").unwrap())
        .await
        .unwrap_err();
    assert!(words(&failure).contains("No space left on device"), "{failure:?}");
    // Nothing goes on in the server for nobody.
    wait_for("the dump to be gone from the server", || {
        stack.exec("db", "psql -tAX -U app -d app -c \"select count(*) from pg_stat_activity where application_name like 'rehome%'\"") == "0"
    });

    // Its server goes away in the middle.
    let d = stack.dir.display().to_string();
    let mut to = Disturbed {
        taken: 0,
        after: 200_000,
        disturb: Some(move || {
            sh(&format!("cd {d} && docker compose kill db"));
        }),
        seen: Vec::new(),
    };
    let failure = server.dump(&part, &mut to).await.unwrap_err();
    assert!(!failure.what.is_empty(), "{failure:?}");
    // What ran in it ends a moment before it does.
    wait_for("the server to be down", || {
        !stack.running().contains(&"db".to_owned())
    });
    let Err(failure) = Server::find(&cx, &what).await else {
        panic!("it does not run")
    };
    assert!(failure.what.contains("service `db` does not run"), "{failure:?}");
    nothing_is_left(&cx);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_15_a_dump_whose_hash_is_wrong_at_its_very_end_is_no_restore() {
    struct Wrong(File);
    impl Read for Wrong {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(std::io::Error::other("the hash is another one")),
                read => Ok(read),
            }
        }
    }
    let stack = postgres_up();
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Postgres, "db").await;
    let server = Server::find(&cx, &what).await.unwrap();
    let part = part_of(&server, "app.dump").await;
    let path = stack.dir.join("app.dump");
    let note = server
        .dump(&part, &mut File::create(&path).unwrap())
        .await
        .unwrap();
    let mut twin = twin_with(&cx, &server, &what, &[]).await;
    let failure = twin
        .load(&note, Box::new(Wrong(File::open(&path).unwrap())))
        .await
        .unwrap_err();
    assert!(words(&failure).contains("the hash is another one"), "{failure:?}");
    let failure = server
        .prove(&part, Box::new(Wrong(File::open(&path).unwrap())))
        .await
        .unwrap_err();
    assert!(words(&failure).contains("the hash is another one"), "{failure:?}");
    // It is of no use any more.
    twin.remove().await.unwrap();
    // A restore that restored nothing is found by counting.
    let mut twin = twin_with(&cx, &server, &what, &[]).await;
    twin.load_foreign(
        rehome::steps::dumps::Foreign::PostgresSql,
        Some("app"),
        Box::new(&b"-- nothing at all\n"[..]),
    )
    .await
    .unwrap();
    let failure = twin.check(&[note]).await.unwrap_err();
    assert!(
        words(&failure).contains("public.t: 2000 rows, now no table"),
        "{failure:?}"
    );
    twin.remove().await.unwrap();
    nothing_is_left(&cx);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_14_mariadb_with_a_wrong_password_or_a_dump_that_dies_is_a_failure() {
    let stack = mysql::server(&MARIADB);
    let d = stack.dir.display();
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Mysql, "db").await;
    let server = Server::find(&cx, &what).await.unwrap();
    let part = part_of(&server, "all.sql").await;

    // The table is large enough to be in the middle of.
    sh(&format!(
        "cd {d} && docker compose exec -T db mariadb -uapp -papp-pw-1 app -e 'create table big as select seq, repeat(md5(seq), 8) v from seq_1_to_200000'"
    ));
    // Nobody sees the password in a command line of the server's container, where the dump runs. It is looked at from
    // beside: this engine waits with an answer about a container for whoever reads from it.
    let id = server.container().id.clone();
    let looking = std::thread::spawn(move || {
        let mut all = String::new();
        wait_for("a dump to be seen", || {
            all = sh(&format!("docker top {id} -eo pid,args"));
            all.contains("mariadb-dump")
        });
        all
    });
    while !looking.is_finished() {
        server.dump(&part, &mut std::io::sink()).await.unwrap();
    }
    let all = looking.join().unwrap();
    assert!(!all.contains("p'w"), "a password is in a command line: {all}");

    let mut to = Disturbed {
        taken: 0,
        after: 100_000,
        disturb: Some(kill(&stack, "mariadb-dump")),
        seen: Vec::new(),
    };
    let failure = server.dump(&part, &mut to).await.unwrap_err();
    assert!(
        words(&failure).contains("`mariadb-dump` was killed"),
        "{failure:?}"
    );
    let half = std::io::Cursor::new(to.seen);
    let failure = server.prove(&part, Box::new(half)).await.unwrap_err();
    assert!(
        words(&failure).contains("it does not end with `-- Dump completed`"),
        "{failure:?}"
    );

    // The password of the environment is not that of the server any more.
    sh(&format!(
        "cd {d} && docker compose exec -T db sh -c \"MYSQL_PWD=\\$(cat /run/secrets/root) mariadb -uroot -e \\\"set password for root@localhost = password('another')\\\"\""
    ));
    let failure = server.dump(&part, &mut std::io::sink()).await.unwrap_err();
    assert!(
        words(&failure).contains("Access denied for user 'root'@'localhost'"),
        "{failure:?}"
    );
    assert!(!words(&failure).contains("p'w"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_postgres_and_of_redis_is_said() {
    // The password was changed in the server alone, and it asks for one locally, too.
    let stack = postgres_up();
    stack.exec(
        "db",
        "psql -q -U app -d app -c \"alter role app password 'another'\"",
    );
    stack.exec(
        "db",
        "sh -c 'echo local all all scram-sha-256 > $PGDATA/pg_hba.conf'",
    );
    stack.exec("db", "gosu postgres sh -c 'pg_ctl reload -D $PGDATA'");
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Postgres, "db").await;
    let server = Server::find(&cx, &what).await.unwrap();
    wait_for("the server to ask for it", || {
        !crate::support::try_sh(&format!(
            "cd {} && docker compose exec -T db psql -w -U app -d app -c 'select 1'",
            stack.dir.display()
        ))
        .status
        .success()
    });
    let failure = server.parts().await.unwrap_err();
    assert!(
        words(&failure).contains("password authentication failed"),
        "{failure:?}"
    );
    assert!(!words(&failure).contains("secret-pw-7"), "{failure:?}");

    let stack = Stack::up(
        "services:\n  cache:\n    image: kms-connect/redis:7\n    environment: { REDIS_PASSWORD: stale-pw-3 }\n    command: [\"sh\", \"-c\", \"exec redis-server --requirepass $$(echo fresh-pw-4)\"]\n    volumes: [\"data:/data\"]\nvolumes:\n  data:\n",
    );
    wait_for("redis", || {
        stack
            .exec("cache", "sh -c 'redis-cli ping || :'")
            .contains("NOAUTH")
    });
    let cx = world(&stack).await;
    let what = Dumping {
        kind: Kind::Redis,
        ..dumping(&cx, Kind::Redis, "cache").await
    };
    let server = Server::find(&cx, &what).await.unwrap();
    let part = part_of(&server, "dump.rdb").await;
    let failure = server.dump(&part, &mut std::io::sink()).await.unwrap_err();
    assert!(words(&failure).contains("NOAUTH"), "{failure:?}");
    assert!(!words(&failure).contains("pw-"), "{failure:?}");
}
