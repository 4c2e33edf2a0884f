//! What a restore says before anybody says yes.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use rehome::backup::format::{
    BackupId, Consistency, DumpNote, Encryption, Entry, Manifest, Sealed, StorePath, VolumeNote, What,
};
use rehome::datastore::Kind;
use rehome::observe::World;
use rehome::plan::backup::render_restore;
use rehome::plan::backup::restore::{Origin, PassedOver, RestoreSeen, RestoreWanted, restore_plan};
use rehome::saga::Step as _;
use rehome::steps::backup::{Packing, Source, StrangeFile};

use crate::support::*;

fn id(text: &str) -> BackupId {
    text.parse().unwrap()
}

fn entry(path: &str, what: What, bytes: u64) -> Entry {
    Entry {
        path: StorePath::new(path).unwrap(),
        what,
        sealed: Sealed {
            bytes,
            blake3: String::new(),
            stored_bytes: bytes / 3,
            stored_blake3: String::new(),
        },
        millis: 1,
    }
}

/// The database and the media of kms-connect, from the night before.
fn last_night() -> Manifest {
    let id = id("20261121T020000Z-7k2f9a");
    let dump = DumpNote {
        service: Some(service_name("db")),
        volume: Some(key("postgres_data")),
        at: String::new(),
        kind: Kind::Postgres,
        database: Some("kms".to_owned()),
        version: Some("15.14".to_owned()),
        rows: BTreeMap::new(),
        facts: BTreeMap::new(),
    };
    let media = VolumeNote {
        key: key("media_volume"),
        name: volume_name("kms-connect_media_volume"),
        entries: 14_000,
        bytes: 11_000 * MB,
        tree: String::new(),
        notes: Vec::new(),
        site: None,
    };
    Manifest {
        project: kms().project,
        began: id.began(),
        ended: id.began(),
        id,
        rehome: "0.1.0".to_owned(),
        engine: "28.5".to_owned(),
        machine: "server-1".to_owned(),
        consistency: Consistency::Live,
        encryption: Encryption::None,
        services: Vec::new(),
        entries: vec![
            entry("databases/db/kms.dump.zst", What::Dump(dump), 900 * MB),
            entry("volumes/media_volume.tar.zst", What::Volume(media), 11_100 * MB),
        ],
        left_out: Vec::new(),
        configuration: serde_json::Value::Null,
    }
}

fn text(world: World, worse: &[(&str, &str, &str)]) -> String {
    let manifest = last_night();
    let worse = worse.iter().map(|(id, place, why)| PassedOver {
        id: self::id(id),
        place: (*place).to_owned(),
        why: (*why).to_owned(),
    });
    let seen = RestoreSeen {
        active: world
            .services
            .iter()
            .map(|s| (s.name.clone(), (1, false)))
            .collect(),
        origin: Origin::Backup {
            source: Source {
                place: "/var/backups/kms".parse().unwrap(),
                project: manifest.project.clone(),
                id: manifest.id.clone(),
            },
            worse: worse.collect(),
            manifest: Box::new(manifest),
        },
        world,
    };
    let wanted = RestoreWanted {
        suffix: SUFFIX.to_owned(),
        ..RestoreWanted::default()
    };
    render_restore(&restore_plan(&seen, &wanted, None).unwrap().facts)
}

#[test]
fn the_last_backup_is_taken_and_nothing_is_passed_over() {
    assert_snapshot!(text(kms(), &[]), @r"
        Restore kms-connect from backup 20261121T020000Z-7k2f9a in /var/backups/kms
          made at 2026-11-21T02:00:00Z on server-1

          PostgreSQL of db     900 MB restored, replaces 4.1 GB in postgres_data
                               what is replaced stays in volume kms-connect_postgres_data_before_5f3a
          volume media_volume  11.1 GB restored, replaces 12 GB in media_volume
                               what is replaced stays in volume kms-connect_media_volume_before_5f3a
          not touched: redis_data, static_volume

        The present state is not backed up
        It is restored and compared beside what is there; then nginx, celery-beat, celery, api, db stop, and start on it

        Note: the present state is not backed up first: what is replaced stays only beside the new data
    ");
}

#[test]
fn a_newer_backup_that_is_no_good_is_named_with_what_is_wrong() {
    let damaged = "backup 20261122T020000Z-b3c4d5 is damaged: volumes/media_volume.tar.zst is not there";
    let one = [("20261122T020000Z-b3c4d5", "/var/backups/kms", damaged)];
    let said = text(kms(), &one);
    assert_snapshot!(said.lines().filter(|l| l.contains("passed")).collect::<String>(), @"Note: the newest backup, 20261122T020000Z-b3c4d5 of 2026-11-22T02:00:00Z, is passed over: backup 20261122T020000Z-b3c4d5 is damaged: volumes/media_volume.tar.zst is not there (in /var/backups/kms)");
}

#[test]
fn of_several_that_are_no_good_the_newest_is_told_with_each_of_its_copies() {
    let unfinished = "it was never finished, or is being written";
    let newer = [
        ("20261123T020000Z-c4d5e6", "/var/backups/kms", unfinished),
        (
            "20261123T020000Z-c4d5e6",
            "s3://bucket/kms",
            "the manifest of the backup is damaged",
        ),
        ("20261122T140000Z-aaaaaa", "/var/backups/kms", unfinished),
        ("20261122T020000Z-b3c4d5", "/var/backups/kms", unfinished),
        ("20261122T020000Z-b3c4d5", "s3://bucket/kms", unfinished),
    ];
    let said = text(kms(), &newer);
    assert_snapshot!(said.lines().filter(|l| l.contains("passed")).collect::<String>(), @"Note: the newest backup, 20261123T020000Z-c4d5e6 of 2026-11-23T02:00:00Z, is passed over: it was never finished, or is being written (in /var/backups/kms); the manifest of the backup is damaged (in s3://bucket/kms); 2 others before it, too");
}

/// What is said and done, or why nothing is.
fn told(world: World, wanted: &RestoreWanted, file: Option<(&str, &[u8])>) -> String {
    let manifest = last_night();
    let origin = match file {
        None => Origin::Backup {
            source: Source {
                place: "/var/backups/kms".parse().unwrap(),
                project: manifest.project.clone(),
                id: manifest.id.clone(),
            },
            worse: Vec::new(),
            manifest: Box::new(manifest),
        },
        Some((path, head)) => Origin::File {
            file: StrangeFile {
                path: path.into(),
                bytes: 300 * MB,
                changed: "2026-11-20T10:00:00Z".parse().unwrap(),
                packing: Packing::Gzip,
            },
            head: head.to_vec(),
        },
    };
    let services = world.services.iter();
    let seen = RestoreSeen {
        active: services.map(|s| (s.name.clone(), (1, false))).collect(),
        origin,
        world,
    };
    let wanted = RestoreWanted {
        suffix: SUFFIX.to_owned(),
        ..wanted.clone()
    };
    match restore_plan(&seen, &wanted, None) {
        Ok(plan) => {
            let steps: Vec<String> = plan
                .steps
                .iter()
                .map(|step| format!("- {}\n", step.title()))
                .collect();
            format!("{}\n{}", render_restore(&plan.facts), steps.concat())
        }
        Err(failure) => failure.to_string() + &format!("\n{:#?}", failure.hints),
    }
}

fn only(name: &str) -> RestoreWanted {
    RestoreWanted {
        only: vec![name.to_owned()],
        ..RestoreWanted::default()
    }
}

/// Small, as the head of a tar.
fn tar() -> Vec<u8> {
    let mut head = vec![0; 512];
    head[257..262].copy_from_slice(b"ustar");
    head
}

#[test]
fn a_path_is_exchanged_below_services_that_go_on_unless_a_database_is_in_it() {
    let path = |path: &str| RestoreWanted {
        path: Some(path.into()),
        ..only("media_volume")
    };
    assert_snapshot!("a_path", told(kms(), &path("uploads/2026"), None));
    let mut world = kms();
    world.volumes[0].datastores = vec![datastore(Kind::Sqlite, "media_volume", None, "api")];
    world.volumes[0].datastores[0].path = "uploads/cache.sqlite3".to_owned();
    assert_snapshot!(
        "a_path_with_a_database",
        told(world.clone(), &path("uploads"), None)
    );
    assert_snapshot!(
        "a_path_that_is_a_database",
        told(world, &path("uploads/cache.sqlite3"), None)
    );
    let mut of_the_server = path("base/1");
    of_the_server.only = vec!["postgres_data".to_owned()];
    assert_snapshot!("a_path_in_a_server", told(kms(), &of_the_server, None));
    let mut of_all = path("uploads");
    of_all.only = Vec::new();
    assert_snapshot!(
        "a_path_of_the_one_volume_that_there_is",
        told(kms(), &of_all, None)
    );
}

#[test]
fn one_database_takes_another_ones_name_while_the_server_goes_on() {
    let database = |name: &str| RestoreWanted {
        database: Some(name.to_owned()),
        ..only("db")
    };
    assert_snapshot!("a_database", told(kms(), &database("kms"), None));
    assert_snapshot!(
        "a_database_that_is_not_there",
        told(kms(), &database("kmz"), None)
    );
    let dump = Some(("/root/kms.dump.gz", &b"PGDMP"[..]));
    assert_snapshot!("a_database_from_a_file", told(kms(), &database("kms"), dump));
    assert_snapshot!("a_dump_for_no_database", told(kms(), &only("db"), dump));
    let cluster = b"--\n-- PostgreSQL database cluster dump\n--\n";
    let cluster = Some(("/root/all.sql", &cluster[..]));
    assert_snapshot!("a_dump_of_a_cluster", told(kms(), &database("kms"), cluster));
    let mut redis = database("0");
    redis.only = vec!["redis".to_owned()];
    let rdb = Some(("/root/dump.rdb", &b"REDIS0011"[..]));
    assert_snapshot!("a_database_of_redis", told(kms(), &redis, rdb));
}

#[test]
fn a_new_volume_is_filled_and_nothing_is_replaced() {
    let into = |name: &str| RestoreWanted {
        into: Some(volume_name(name)),
        ..only("media_volume")
    };
    assert_snapshot!("into_a_volume", told(kms(), &into("media_old"), None));
    assert_snapshot!(
        "into_a_volume_that_is_there",
        told(kms(), &into("kms-connect_media_volume"), None)
    );
    let mut two = into("media_old");
    two.only = Vec::new();
    assert_snapshot!("into_a_volume_for_two", told(kms(), &two, None));
}

#[test]
fn a_file_goes_where_it_can_be_read() {
    let tar = tar();
    let tar = Some(("/root/media.tgz", &tar[..]));
    let strip = RestoreWanted {
        strip: 1,
        ..only("media_volume")
    };
    assert_snapshot!("a_tar", told(kms(), &strip, tar));
    assert_snapshot!("a_tar_for_nobody", told(kms(), &RestoreWanted::default(), tar));
    assert_snapshot!(
        "a_tar_for_a_volume_that_is_not_there",
        told(kms(), &only("media_volum"), tar)
    );
    assert_snapshot!("a_tar_for_a_database", told(kms(), &only("postgres_data"), tar));
    let sql = Some(("/root/kms.sql.gz", &b"-- PostgreSQL database dump"[..]));
    assert_snapshot!("a_dump_for_a_volume", told(kms(), &only("media_volume"), sql));
    assert_snapshot!("a_dump_for_another_server", told(kms(), &only("redis"), sql));
}
