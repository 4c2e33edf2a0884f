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
use rehome::steps::backup::Source;

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
