//! Databases and anonymous volumes.

use insta::assert_snapshot;

use super::*;

#[test]
fn trap_05_a_database_outside_of_its_volume_is_found() {
    let place = |seen: &mut Checkup, directory: &str| {
        service_mut(&mut seen.world, "db").containers[0].data_directory = Some(directory.to_owned());
    };
    assert!(ids(|seen| place(seen, "/var/lib/postgresql/data/pgdata")).is_empty());
    assert_eq!(
        ids(|seen| place(seen, "/srv/pg")),
        ["error database-outside-of-volumes"]
    );
    // PostgreSQL 18 beside an old mount: the image's own volume has it. It is told once.
    let name = volume_name(&"ab".repeat(32));
    assert_eq!(
        ids(|seen| {
            place(seen, "/var/lib/postgresql/18/docker");
            service_mut(&mut seen.world, "db").containers[0]
                .anonymous
                .push((name.clone(), "/var/lib/postgresql".to_owned()));
            container(seen, "db").mounts.push(Mount {
                kind: MountKind::Volume(name.clone()),
                destination: "/var/lib/postgresql".to_owned(),
                writable: true,
                subpath: None,
            });
            seen.anonymous.push(anonymous(1, true));
            seen.anonymous[0].name = name;
        }),
        ["error database-outside-of-volumes"]
    );
}

fn anonymous(files: u64, database: bool) -> AnonymousSeen {
    let sign = DatastoreSign {
        kind: "redis".to_owned(),
        path: String::new(),
        version: None,
    };
    AnonymousSeen {
        service: service_name("api"),
        name: volume_name(&"0f".repeat(32)),
        target: "/cache".to_owned(),
        scan: Ok(Scan {
            files,
            bytes: files * 1000,
            datastores: if database { vec![sign] } else { Vec::new() },
            ..Scan::default()
        }),
    }
}

#[test]
fn anonymous_volumes_that_hold_data() {
    assert!(ids(|seen| seen.anonymous.push(anonymous(0, false))).is_empty());
    assert_eq!(
        ids(|seen| seen.anonymous.push(anonymous(3, false))),
        ["warning anonymous-volume"]
    );
    assert_eq!(
        ids(|seen| seen.anonymous.push(anonymous(3, true))),
        ["error anonymous-volume"]
    );
    assert_eq!(
        ids(|seen| {
            seen.anonymous.push(AnonymousSeen {
                scan: Err("no".to_owned()),
                ..anonymous(0, false)
            });
        }),
        ["unknown anonymous-volume"]
    );
}

#[test]
fn trap_06_a_library_that_sorts_in_another_way_is_found() {
    let say = |seen: &mut Checkup, collations| {
        container(seen, "db").postgres.as_mut().unwrap().collations = collations
    };
    assert_snapshot!(text(|seen| say(seen, Ok(vec![["app", "2.31", "2.36"].map(str::to_owned)]))), @r#"
    error [collation-version] indexes of service `db` may be wrong: its image sorts text in another way
      database app was made with collation version 2.31, the image has 2.36
      $ docker exec kms-connect-db-1 sh -c 'psql -U "${POSTGRES_USER:-postgres}" -d app -c "REINDEX DATABASE app"'
      $ docker exec kms-connect-db-1 sh -c 'psql -U "${POSTGRES_USER:-postgres}" -d app -c "ALTER DATABASE app REFRESH COLLATION VERSION"'
    "#);
    let mends = |name: &str| {
        let others = Ok(vec![[name, "2.31", "none"].map(str::to_owned)]);
        found(|seen| say(seen, others)).remove(0).mend
    };
    assert!(
        mends("My-data")[0].ends_with(r#"-d My-data -c "REINDEX DATABASE \"My-data\""'"#),
        "{:?}",
        mends("My-data")
    );
    for strange in ["a b", "$(reboot)", "a'b", "-h"] {
        assert_eq!(mends(strange), [""; 0], "{strange}");
    }
    assert_eq!(
        ids(|seen| say(seen, Err("password authentication failed".to_owned()))),
        ["unknown collation-version"]
    );
    // A server before 15 keeps no such note.
    assert!(
        ids(|seen| say(
            seen,
            Err("ERROR:  column \"datcollversion\" does not exist".to_owned())
        ))
        .is_empty()
    );
}

#[test]
fn what_postgres_and_its_image_say() {
    assert_eq!(
        ids(|seen| container(seen, "db").postgres.as_mut().unwrap().checksums = Ok(false)),
        ["note checksums-off"]
    );
    assert_eq!(
        ids(|seen| service_mut(&mut seen.world, "db").server_version = Some("17".to_owned())),
        ["error postgres-version"]
    );
}

#[test]
fn a_database_that_is_killed_for_being_slow() {
    assert_eq!(
        ids(|seen| service_mut(&mut seen.world, "db").stop_grace = None),
        ["warning stop-grace"]
    );
    assert_eq!(
        ids(|seen| service_mut(&mut seen.world, "redis").stop_grace =
            Some(std::time::Duration::from_secs(59))),
        ["warning stop-grace"]
    );
    // A cache without a volume has nothing to lose.
    assert!(
        ids(|seen| {
            let redis = service_mut(&mut seen.world, "redis");
            redis.stop_grace = None;
            redis.mounts.clear();
        })
        .is_empty()
    );
}
