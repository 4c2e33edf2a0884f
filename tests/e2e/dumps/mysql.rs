//! MariaDB and MySQL, from Debian's packages: the same tests of both.

use std::fs::File;

use rehome::datastore::Kind;
use rehome::steps::dumps::{Foreign, Server};

use super::{dump_all, dumping, in_twin, notes, nothing_is_left, twin_with, world};
use crate::support::{Stack, sh};

/// A password that a shell, SQL or YAML would take for something else.
const PASSWORD: &str = "p'w \"$x\\7";

/// Whose server it is.
pub struct Make {
    image: &'static str,
    /// What the names of its variables begin with.
    variables: &'static str,
    /// Its programs.
    client: &'static str,
    admin: &'static str,
    /// What is in its version.
    version: &'static str,
}

pub const MARIADB: Make = Make {
    image: "rehome-test/mariadb:10",
    variables: "MARIADB",
    client: "mariadb",
    admin: "mariadb-admin",
    version: "MariaDB",
};

/// Its image has none of MariaDB's programs, and its users log in by another plug-in.
pub const MYSQL: Make = Make {
    image: "rehome-test/mysql:9",
    variables: "MYSQL",
    client: "mysql",
    admin: "mysqladmin",
    version: "9.",
};

/// A server whose password is in a file, as Compose's secrets are.
pub fn server(make: &Make) -> Stack {
    let Make {
        image,
        variables,
        admin,
        ..
    } = make;
    let stack = Stack::write(&format!(
        r#"services:
  db:
    image: {image}
    environment: {{ {variables}_ROOT_PASSWORD_FILE: /run/secrets/root, {variables}_DATABASE: app, {variables}_USER: app, {variables}_PASSWORD: app-pw-1 }}
    volumes: ["db_data:/var/lib/mysql"]
    secrets: [root]
    stop_grace_period: 30s
    healthcheck: {{ test: ["CMD-SHELL", "{admin} -uapp -papp-pw-1 -h127.0.0.1 ping"], interval: 1s, retries: 120 }}
secrets:
  root: {{ file: ./root.txt }}
volumes:
  db_data:
"#
    ));
    std::fs::write(stack.dir.join("root.txt"), PASSWORD).unwrap();
    stack.compose("up -d --wait");
    stack.file(
        "make.sql",
        "create table t (id int primary key auto_increment, v varchar(99), b blob) engine=InnoDB;
         insert into t (v, b) with digits as (select 0 d union select 1 union select 2 union select 3 union select 4
             union select 5 union select 6 union select 7 union select 8 union select 9)
         select concat('it''s \\\\ (x); \\n', n), unhex(sha2(n, 256)) from (select one.d + 10 * ten.d + 100 * hundred.d + 1000 * thousand.d n
             from digits one, digits ten, digits hundred, digits thousand) numbers where n < 5000;
         create table `odd ``name` (i int, j int as (i + 1) stored); insert into `odd ``name` (i) values (1), (2), (3);
         create table nothing (i int); create table old (i int) engine=MyISAM; insert into old values (1);
         delimiter ;;
         create procedure p() begin insert into t (v) values ('INSERT INTO `t` VALUES (1);'); end ;;
         create trigger tr before insert on nothing for each row begin set new.i = 1; end ;;
         delimiter ;
         create view w as select count(*) from t;",
    );
    sql(&stack, make, "source make.sql");
    stack
}

/// SQL as root in the database `app`, as a person with the password would.
#[track_caller]
fn sql(stack: &Stack, make: &Make, text: &str) -> String {
    let d = stack.dir.display();
    let text = match text.strip_prefix("source ") {
        Some(file) => stack.read(file),
        None => text.to_owned(),
    };
    stack.file("asked.sql", &text);
    sh(&format!(
        "cd {d} && docker compose exec -T db sh -c 'MYSQL_PWD=$(cat /run/secrets/root) {} -uroot -N app' < asked.sql",
        make.client
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_with_all_that_it_has_is_the_same_in_a_twin() {
    all_of_it_is_the_same_in_a_twin(&MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_with_all_that_it_has_is_the_same_in_a_twin() {
    all_of_it_is_the_same_in_a_twin(&MYSQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_sql_stops_in_mariadb_at_its_first_error() {
    somebody_elses_sql_stops(&MARIADB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_sql_stops_in_mysql_at_its_first_error() {
    somebody_elses_sql_stops(&MYSQL).await;
}

async fn all_of_it_is_the_same_in_a_twin(make: &Make) {
    let stack = server(make);
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Mysql, "db").await;
    assert_eq!(what.user, "root");
    let server = Server::find(&cx, &what).await.unwrap();
    let client = make.client;
    let dumped = dump_all(&server, &stack.dir.join("dumps")).await;
    let note = &dumped[0].1;
    // Counted in the dump, and by the server itself.
    let rows: Vec<String> = note
        .rows
        .iter()
        .map(|(name, rows)| format!("{name} {rows}"))
        .collect();
    assert_eq!(
        rows,
        ["app.nothing 0", "app.odd `name 3", "app.old 1", "app.t 5000"]
    );
    assert_eq!(sql(&stack, make, "select count(*) from t"), "5000");
    assert_eq!(note.facts["tables without a snapshot"], "app.old (MyISAM)");
    assert!(
        note.version.as_deref().unwrap().contains(make.version),
        "{note:?}"
    );

    let twin = twin_with(&cx, &server, &what, &dumped).await;
    let said = twin.check(&notes(&dumped)).await.unwrap().join("\n");
    assert!(said.contains("5004 rows in 4 tables counted and equal"), "{said}");
    assert!(said.contains("every table checked by the server"), "{said}");
    assert!(said.contains("no snapshots: app.old (MyISAM)"), "{said}");
    // By a user of the dump, with the password that it had, and its own words.
    let sum = "select count(*), sha2(group_concat(concat(id, v, hex(b)) order by id), 256) from t";
    let theirs = in_twin(
        &twin,
        &format!("{client} -uapp -papp-pw-1 -N app -e \"set group_concat_max_len=1<<30; {sum}\""),
    );
    assert_eq!(
        theirs,
        sql(&stack, make, &format!("set group_concat_max_len=1<<30; {sum}"))
    );
    let routines = "select count(*) from information_schema.routines where routine_schema = 'app' union all select count(*) from information_schema.triggers where trigger_schema = 'app'";
    assert_eq!(sql(&stack, make, routines), "1\n1");
    assert_eq!(
        in_twin(
            &twin,
            &format!("{client} -uapp -papp-pw-1 -N app -e \"{routines}\"")
        ),
        "1\n1"
    );

    in_twin(
        &twin,
        &format!("{client} -uapp -papp-pw-1 app -e 'delete from old'"),
    );
    let failure = twin.check(&notes(&dumped)).await.unwrap_err();
    assert!(
        failure.causes[0].contains("app.old: 1 row, now 0 rows"),
        "{failure:?}"
    );
    twin.end().await.unwrap();
    twin.remove().await.unwrap();
    nothing_is_left(&cx);
}

async fn somebody_elses_sql_stops(make: &Make) {
    let stack = server(make);
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Mysql, "db").await;
    let server = Server::find(&cx, &what).await.unwrap();
    let mut twin = twin_with(&cx, &server, &what, &[]).await;
    stack.file(
        "good.sql",
        "create table g (i int); insert into g values (1), (2);",
    );
    stack.file(
        "bad.sql",
        "create table h (i int); insert into nowhere values (1); create table never (i int);",
    );
    let open = |name: &str| Box::new(File::open(stack.dir.join(name)).unwrap());
    twin.load_foreign(Foreign::MysqlSql, Some("fresh"), open("good.sql"))
        .await
        .unwrap();
    let failure = twin
        .load_foreign(Foreign::MysqlSql, Some("fresh"), open("bad.sql"))
        .await
        .unwrap_err();
    assert!(
        failure
            .causes
            .join("\n")
            .contains("Table 'fresh.nowhere' doesn't exist"),
        "{failure:?}"
    );
    twin.remove().await.unwrap();
    nothing_is_left(&cx);
}
