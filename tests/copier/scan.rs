//! Totals and datastores; PostgreSQL's control file against PostgreSQL itself.

use std::path::{Path, PathBuf};

use rehome::helper::context::Context;
use rehome::helper::pg_control;
use rehome::helper::protocol::{DatastoreSign, Scan};
use rehome::helper::scan::scan;
use rehome::model::Owner;

use crate::support::{Bench, Random, bash, grow, sh};

fn look(dir: &Path) -> Scan {
    scan(&Context::new(), dir).unwrap()
}

#[test]
fn totals_are_those_of_find_and_du() {
    let bench = Bench::new();
    grow(&bench.from, &mut Random(77), 150);
    let _socket = std::os::unix::net::UnixListener::bind(bench.from.join("s")).unwrap();
    bash(&bench.from, "chown 999:70 .; chmod 2750 .");
    let scan = look(&bench.from);
    let number = |line: &str| -> u64 { bash(&bench.from, line).trim().parse().unwrap() };
    let inodes = r"find . -type f -printf '%i %s\n' | sort -u";
    assert_eq!(scan.files, number(&format!("{inodes} | wc -l")));
    assert_eq!(
        scan.bytes,
        number(&format!("{inodes} | awk '{{s+=$2}} END {{print s}}'"))
    );
    assert_eq!(scan.allocated, number("du -s -B1 . | cut -f1"));
    assert_eq!(scan.dirs, number("find . -type d -printf x | wc -c"));
    assert_eq!(scan.symlinks, number("find . -type l -printf x | wc -c"));
    assert_eq!(
        scan.special,
        number(r"find . \( -type p -o -type b -o -type c \) -printf x | wc -c")
    );
    assert_eq!(
        scan.files + scan.hard_links,
        number("find . -type f -printf x | wc -c")
    );
    assert_eq!(scan.sockets, 1);
    assert_eq!(
        scan.newest as u64,
        number(r"find . -printf '%Ts\n' | sort -n | tail -1")
    );
    assert_eq!(
        (scan.root_owner, scan.root_mode),
        (Some(Owner { uid: 999, gid: 70 }), 0o2750)
    );
    assert_eq!((scan.mounts_inside, scan.unreadable), (vec![], vec![]));
}

fn sign(kind: &str, path: &str, version: Option<&str>) -> DatastoreSign {
    DatastoreSign {
        kind: kind.to_owned(),
        path: path.to_owned(),
        version: version.map(str::to_owned),
    }
}

#[test]
fn datastores_are_recognised_by_their_files() {
    for (make, found) in [
        (
            "mkdir -p 18/docker/global; echo 18 > 18/docker/PG_VERSION; touch 18/docker/global/pg_control",
            vec![sign("postgres", "18/docker", Some("18"))],
        ),
        (
            "mkdir -p a/b/c/d/global; echo 9 > a/b/c/d/PG_VERSION; touch a/b/c/d/global/pg_control",
            vec![],
        ),
        ("echo 15 > PG_VERSION", vec![]),
        (
            "mkdir mysql; touch aria_log_control ibdata1; echo -n 10.11.6-MariaDB > mariadb_upgrade_info",
            vec![sign("mysql", "", Some("10.11.6-MariaDB"))],
        ),
        (
            "mkdir -p d/mysql; touch d/auto.cnf",
            vec![sign("mysql", "d", None)],
        ),
        ("printf REDIS0009 > dump.rdb", vec![sign("redis", "", None)]),
        ("printf nothing > dump.rdb", vec![]),
        ("mkdir appendonlydir", vec![sign("redis", "", None)]),
        (
            "printf '*2\\r\\n$6\\r\\nSELECT\\r\\n' > appendonly.aof",
            vec![sign("redis", "", None)],
        ),
        ("touch WiredTiger storage.bson", vec![sign("mongodb", "", None)]),
        (
            "mkdir db; python3 -c \"import sqlite3; c = sqlite3.connect('db/app.sqlite3'); c.execute('create table t (x)'); c.commit()\"; printf 'SQLite format 3\\0' > short",
            vec![sign("sqlite", "db/app.sqlite3", None)],
        ),
        ("echo hello > readme", vec![]),
    ] {
        let bench = Bench::new();
        bash(&bench.from, make);
        assert_eq!(look(&bench.from).datastores, found, "{make}");
    }
}

/// The programs of Debian's PostgreSQL.
fn postgres() -> PathBuf {
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("Debian's postgresql-15 is needed by this test: apt-get install postgresql-15")
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .expect("initdb of Debian's postgresql-15 is needed by this test")
}

#[test]
fn the_control_file_says_what_pg_controldata_says() {
    let bin = postgres();
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    bash(dir.path(), "chown postgres .");
    let data = dir.path().join("data");
    let run = |line: &str| {
        bash(
            dir.path(),
            &format!(
                "export PATH={}:$PATH; su postgres -s /bin/bash -c \"PATH=$PATH; {line}\"",
                bin.display()
            ),
        )
    };
    let field = |name: &str| {
        let all = sh(bin.join("pg_controldata").to_str().unwrap(), &[&data]);
        let line = all.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    };
    let same = |state: &str| {
        let control = pg_control::read(&data).unwrap();
        assert_eq!(control.state, state);
        assert_eq!(control.state, field("Database cluster state"));
        assert_eq!(
            control.system_identifier.to_string(),
            field("Database system identifier")
        );
        assert_eq!(
            control.version,
            std::fs::read_to_string(data.join("PG_VERSION")).unwrap().trim()
        );
    };
    run("initdb -N -D data >/dev/null");
    same("shut down");
    run("pg_ctl -w -s -D data -o '-c listen_addresses= -k /tmp -p 54399' -l log start");
    let running = std::panic::catch_unwind(|| same("in production"));
    run("pg_ctl -w -s -D data -m immediate stop");
    running.unwrap();
    same("in production");
    assert_eq!(look(dir.path()).datastores[0].path, "data");
    std::fs::write(data.join("global/pg_control"), vec![0; 8192]).unwrap();
    assert!(pg_control::read(&data).is_err());
}
