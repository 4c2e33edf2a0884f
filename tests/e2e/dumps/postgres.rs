//! PostgreSQL: under load, with names of every kind, and somebody else's dumps.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};

use rehome::datastore::Kind;
use rehome::steps::dumps::{Foreign, Server};

use super::{dump_all, dumping, in_twin, notes, nothing_is_left, twin_with, world};
use crate::stacks::{postgres_up, table_sum};
use crate::support::{Stack, sh};

/// Two accounts and a history, whose sum is zero in every consistent state.
fn ledger(stack: &Stack) {
    let sql = "create table ledger (id bigserial primary key, amount int not null); \
               create function move() returns void language sql as \
               'insert into ledger (amount) select s * (random() * 100)::int from (values (1)) v(s); \
                insert into ledger (amount) select -amount from ledger order by id desc limit 1'";
    stack.exec(
        "db",
        &format!("psql -q -v ON_ERROR_STOP=1 -U app -d app -c \"{sql}\""),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_under_load_is_one_moment_and_a_twin_has_exactly_that() {
    let stack = postgres_up();
    ledger(&stack);
    stack.exec(
        "db",
        "psql -q -U app -d app -c 'create role \"Odd Role\" login password $$pw-of-odd$$' -c 'create database \"odd name=x\" owner \"Odd Role\" encoding latin1 lc_collate $$C$$ lc_ctype $$C$$ template template0' \
         -c 'create materialized view m as select 1' -c 'create schema \"s p\"' -c 'create table \"s p\".\"t\"\"q\" as select 1 as one' -c 'create unlogged table u as select 7 as seven'",
    );
    stack.exec(
        "db",
        "psql -q -U app -d postgres -c 'create table in_postgres as select generate_series(1, 5) as n'",
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut moves = 0;
            while !done.load(Ordering::Relaxed) {
                sh(&format!(
                    "cd {} && docker compose exec -T db psql -q -U app -d app -c 'do $$begin for i in 1..50 loop perform move(); commit; end loop; end$$'",
                    stack.dir.display()
                ));
                moves += 50;
            }
            moves
        });
        let dumped = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let cx = world(&stack).await;
                let what = dumping(&cx, Kind::Postgres, "db").await;
                let server = Server::find(&cx, &what).await.unwrap();
                let dumped = dump_all(&server, &stack.dir.join("dumps")).await;
                done.store(true, Ordering::Relaxed);

                let files: Vec<&str> = dumped.iter().map(|(part, ..)| part.file.as_str()).collect();
                assert_eq!(files, ["globals.sql", "app.dump", "odd%20name%3dx.dump", "postgres.dump"]);
                // Read by Debian's own program, outside of any container.
                let list = sh(&format!("pg_restore -l {}", dumped[1].2.display()));
                assert!(list.contains("TABLE DATA public ledger"), "{list}");

                let twin = twin_with(&cx, &server, &what, &dumped).await;
                let said = twin.check(&notes(&dumped)).await.unwrap();
                assert!(said.iter().any(|line| line == "app: pg_amcheck found nothing"), "{said:?}");
                assert!(said.iter().any(|line| line == "postgres: 5 rows in 1 table counted and equal"), "{said:?}");
                let ask = |database: &str, query: &str| in_twin(&twin, &format!("psql -tAX -U app -d '{database}' -c '{query}'"));
                // The books balance, and the rows that were noted are those of the file's own moment.
                let sum = ask("app", "select count(*), sum(amount) from ledger");
                assert_eq!(sum, format!("{}|0", dumped[1].1.rows["public.ledger"]));
                assert_eq!(dumped[1].1.rows["s p.t\"q"], 1);
                assert_eq!(dumped[1].1.rows["public.u"], 1);
                assert_eq!(dumped[1].1.facts["encoding"], "UTF8");
                assert_eq!(
                    ask("postgres", "select datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding) from pg_database where datname like $$odd%$$"),
                    "odd name=x|Odd Role|LATIN1"
                );
                // A role has the password that it had.
                let password = "select rolpassword from pg_authid where rolname = $$Odd Role$$";
                assert_eq!(ask("postgres", password), stack.exec("db", &format!("psql -tAX -U app -d app -c '{password}'")));

                // One row less is found.
                ask("app", "delete from ledger where id = (select min(id) from ledger)");
                let failure = twin.check(&notes(&dumped)).await.unwrap_err();
                assert!(failure.what.contains("what was loaded is not what app had"), "{failure:?}");
                assert!(failure.causes[0].contains("public.ledger"), "{failure:?}");

                twin.end().await.unwrap();
                // What it leaves is what another server starts on, says PostgreSQL's own program.
                let volume = sh(&format!("docker volume ls -q --filter label=rehome.run={}", cx.run));
                let control = sh(&format!(
                    "docker run --rm --entrypoint sh -v {volume}:/d kms-connect/postgres:15 -c 'pg_controldata /d/pgdata'"
                ));
                assert!(control.contains("Database cluster state:               shut down\n"), "{control}");
                twin.remove().await.unwrap();
                nothing_is_left(&cx);
                dumped
            })
        });
        assert!(writer.join().unwrap() > 0);
        assert!(dumped[1].1.version.as_deref().unwrap().starts_with("15."));
    });
    assert_eq!(
        stack.exec(
            "db",
            "psql -tAX -U app -d app -c 'select sum(amount) from ledger'"
        ),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_that_rehome_did_not_write_are_loaded_or_refused() {
    let stack = postgres_up();
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Postgres, "db").await;
    let server = Server::find(&cx, &what).await.unwrap();
    let mut twin = twin_with(&cx, &server, &what, &[]).await;
    let d = stack.dir.display();
    let sum = table_sum(&stack);
    for (format, flag) in [
        (Foreign::PostgresCustom, "-Fc"),
        (Foreign::PostgresTar, "-Ft"),
        (Foreign::PostgresSql, "-Fp"),
    ] {
        sh(&format!(
            "cd {d} && docker compose exec -T db pg_dump -U app {flag} app > foreign{flag}"
        ));
        let open = || Box::new(File::open(stack.dir.join(format!("foreign{flag}"))).unwrap());
        twin.load_foreign(format, Some("other"), open()).await.unwrap();
        let query = "select count(*), md5(string_agg(id || v, $$,$$ order by id)) from t";
        assert_eq!(
            in_twin(&twin, &format!("psql -tAX -U app -d other -c '{query}'")),
            sum,
            "{flag}"
        );
        // Under another format it is not even tried.
        let wrong = match format {
            Foreign::PostgresSql => Foreign::PostgresCustom,
            _ => Foreign::PostgresSql,
        };
        let failure = twin.load_foreign(wrong, Some("other"), open()).await.unwrap_err();
        assert!(failure.what.contains("is no dump that PostgreSQL"), "{failure:?}");
    }
    // A truncated one, an error in the middle, an owner that is not there: each ends it.
    sh(&format!(
        "cd {d} && head -c -20000 foreign-Fc > short.dump && printf 'create table before (i int);\\nselect 1/0;\\n' > bad.sql \
         && printf 'create table x (i int);\\nalter table x owner to nobody_here;\\n' > owner.sql"
    ));
    for (file, format, because) in [
        ("short.dump", Foreign::PostgresCustom, "pg_restore"),
        ("bad.sql", Foreign::PostgresSql, "division by zero"),
        (
            "owner.sql",
            Foreign::PostgresSql,
            "role \"nobody_here\" does not exist",
        ),
    ] {
        let from = Box::new(File::open(stack.dir.join(file)).unwrap());
        let failure = twin.load_foreign(format, Some("other"), from).await.unwrap_err();
        assert_eq!(failure.what, "the dump could not be loaded", "{failure:?}");
        assert!(failure.causes.join("\n").contains(because), "{failure:?}");
        let tables = "select count(*) from pg_tables where schemaname = $$public$$";
        assert_eq!(
            in_twin(&twin, &format!("psql -tAX -U app -d other -c '{tables}'")),
            "0",
            "all or nothing"
        );
    }
    twin.remove().await.unwrap();
    nothing_is_left(&cx);
    assert_eq!(table_sum(&stack), sum);
}
