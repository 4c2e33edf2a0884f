//! The directories of sites in backups and restores: each is treated as a volume is, and is never one of the engine's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use insta::assert_snapshot;
use rehome::backup::format::{
    BackupId, Consistency, DumpNote, Encryption, Entry, Manifest, Sealed, StorePath, VolumeNote, What,
};
use rehome::datastore::{Datastore, Kind};
use rehome::model::{Failure, Home, SiteName};
use rehome::observe::{SiteSeen, VolumeSeen, World};
use rehome::plan::backup::restore::{
    Origin, RestorePlan, RestoreSeen, RestoreWanted, nothing_to_lose, restore_plan,
};
use rehome::plan::backup::{BackupPlan, BackupSeen, BackupWanted, backup_plan, render, render_restore};
use rehome::site::SiteDir;
use rehome::steps::backup::{BackupStep, Data, Saving, Source};

use crate::right_volume::meant;
use crate::support::*;

const DIR: &str = "/var/deploy/data/blog";

fn blog() -> SiteName {
    SiteName::new("blog").unwrap()
}

fn site_dir() -> SiteDir {
    SiteDir {
        name: blog(),
        dir: DIR.into(),
    }
}

/// Its directory, with a database in it.
fn directory() -> VolumeSeen {
    VolumeSeen {
        key: blog().key(),
        name: blog().volume_name(),
        home: Home::Block { dir: DIR.into() },
        datastores: vec![Datastore {
            kind: Kind::Sqlite,
            volume: blog().key(),
            path: "notes.db".to_owned(),
            version: None,
            service: None,
        }],
        site: Some(SiteSeen {
            of: site_dir(),
            root_there: true,
            meant: None,
        }),
        ..volume("site.blog", 12 * MB, 3)
    }
}

/// A site with a volume of its own beside its directory.
fn world() -> World {
    World {
        services: vec![
            service("web")
                .mounting("site.blog", "/data")
                .mounting("cache", "/cache"),
        ],
        volumes: vec![volume("cache", MB, 1), directory()],
        ..kms()
    }
}

fn without_directory(mut world: World) -> World {
    let site = volume_mut(&mut world, "site.blog");
    (site.exists, site.scan) = (false, None);
    site.datastores.clear();
    world
}

fn backup(world: World, change: impl FnOnce(&mut BackupWanted)) -> Result<BackupPlan, Failure> {
    let seen = BackupSeen {
        world,
        databases: Vec::new(),
        services: Vec::new(),
        files: vec![PathBuf::from("/srv/blog/docker-compose.yml")],
        configuration: serde_json::Value::Null,
        machine: "server-1".to_owned(),
        last: BTreeMap::new(),
    };
    let mut wanted = BackupWanted {
        places: vec!["/var/backups/kms".parse().unwrap()],
        snapshots: Vec::new(),
        only: Vec::new(),
        exclude: BTreeMap::new(),
        no_dump: Vec::new(),
        consistency: Consistency::Live,
        encryption: Encryption::None,
        pin: false,
        began: "2026-11-22T02:00:00Z".parse().unwrap(),
        stop_timeout: None,
    };
    change(&mut wanted);
    backup_plan(&seen, &wanted)
}

fn savings(plan: &BackupPlan) -> Vec<&Saving> {
    let steps = plan.steps.iter().filter_map(|step| match step {
        BackupStep::Save(save) => Some(&save.what),
        _ => None,
    });
    steps.flatten().collect()
}

#[test]
fn the_directory_of_a_site_is_saved_as_a_volume_is_and_mounted_as_what_it_is() {
    let plan = backup(world(), |_| {}).unwrap();
    assert_snapshot!(render(&plan.facts), @r"
        Back up kms-connect to /var/backups/kms

          notes.db in site.blog  SQLite, by its online backup
          cache                  1 MB in 1 file, archived
          site.blog              12 MB in 3 files, archived

        Every service goes on meanwhile; not encrypted
    ");
    assert_eq!(plan.facts.sites, [blog()]);
    // What of it is read is the directory: of a volume the engine would make an empty one (trap 3).
    for saving in savings(&plan) {
        match saving {
            Saving::Volume { key, site, .. } | Saving::Sqlite { key, site, .. } => {
                assert_eq!(*site, (key.as_str() == "site.blog").then(site_dir), "{key}");
            }
            Saving::File { .. } | Saving::Server { .. } => {}
        }
    }
    let stopping = backup(world(), |wanted| wanted.consistency = Consistency::Stop).unwrap();
    assert_eq!(stopping.facts.still, [service_name("web")]);
    let moving = stopping.steps.iter().find_map(|step| match step {
        BackupStep::Stop(stop) => stop.volumes.iter().find(|moving| moving.site.is_some()),
        _ => None,
    });
    assert_eq!(moving.unwrap().site, Some(site_dir()));
}

#[test]
fn a_site_is_named_and_left_out_as_a_volume_is() {
    let only = backup(world(), |wanted| wanted.only.push("site.blog".to_owned())).unwrap();
    assert_eq!(only.facts.sites, [blog()]);
    assert!(
        only.facts
            .saved
            .iter()
            .all(|(name, _)| name.contains("site.blog"))
    );
    let without = backup(world(), |wanted| {
        wanted
            .exclude
            .insert("site.blog".to_owned(), "--exclude".to_owned());
    });
    let without = without.unwrap();
    assert_eq!(without.facts.left_out, ["site blog: --exclude"]);
    assert!(without.facts.sites.is_empty());
    let wrong = backup(world(), |wanted| wanted.only.push("site.blok".to_owned())).unwrap_err();
    assert!(
        wrong.hints.iter().any(|hint| hint.contains("site.blog")),
        "{wrong:?}"
    );
}

#[test]
fn trap_03_nothing_of_a_site_is_no_backup_of_it() {
    let plan = backup(without_directory(world()), |_| {}).unwrap();
    assert_eq!(
        plan.facts.left_out,
        ["site blog: /var/deploy/data/blog is not there"]
    );
    assert_eq!(
        plan.facts.warnings,
        ["nothing of site blog is saved: /var/deploy/data/blog is not there"]
    );
    assert!(plan.facts.sites.is_empty());
    let nothing = backup(without_directory(world()), |wanted| {
        wanted.only.push("site.blog".to_owned());
    });
    assert_snapshot!(told(&nothing.unwrap_err()), @r"
        error: there is nothing to save
        caused by: site blog: /var/deploy/data/blog is not there
        data: nothing was written
    ");
    let mut unseen = world();
    volume_mut(&mut unseen, "site.blog").unseen =
        Some(Failure::refused("/var/deploy/data/blog cannot be the directory of a site").cause("a symlink"));
    assert_snapshot!(told(&backup(unseen, |_| {}).unwrap_err()), @r"
        error: site blog cannot be looked at
        caused by: /var/deploy/data/blog cannot be the directory of a site
        caused by: a symlink
    ");
}

fn on_a_volume_that_is_away(mut world: World) -> World {
    let site = volume_mut(&mut world, "site.blog");
    site.site.as_mut().unwrap().meant = Some(meant("/var/deploy", None));
    world
}

#[test]
fn trap_01_a_root_whose_volume_is_away_is_neither_saved_nor_restored_to() {
    let refused = backup(on_a_volume_that_is_away(world()), |_| {}).unwrap_err();
    assert_snapshot!(told(&refused), @r"
        error: the directory of site blog, /var/deploy/data/blog, is not on the volume that it belongs on
        caused by: nothing is mounted at /var/deploy
        caused by: line 2 of /etc/fstab: UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /var/deploy ext4 defaults,nofail,x-rehome 0 2
        data: nothing was changed
        hint: mount it first: mount /var/deploy; if it cannot be: rehome doctor
    ");
    let away = on_a_volume_that_is_away(without_directory(world()));
    let refused = restore(away, |_| {}).unwrap_err();
    assert!(
        refused
            .causes
            .contains(&"nothing is mounted at /var/deploy".to_owned()),
        "{refused:?}"
    );
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

/// A backup of the site alone.
fn manifest() -> Manifest {
    let id: BackupId = "20261121T020000Z-7k2f9a".parse().unwrap();
    let database = DumpNote {
        service: None,
        volume: Some(blog().key()),
        at: "notes.db".to_owned(),
        kind: Kind::Sqlite,
        database: None,
        version: None,
        rows: BTreeMap::new(),
        facts: BTreeMap::new(),
    };
    let files = VolumeNote {
        key: blog().key(),
        name: blog().volume_name(),
        entries: 4,
        bytes: 11 * MB,
        tree: String::new(),
        notes: Vec::new(),
        site: Some(blog()),
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
            entry(
                "databases/site.blog/notes%2edb.sqlite.zst",
                What::Dump(database),
                MB,
            ),
            entry("volumes/site.blog.tar.zst", What::Volume(files), 12 * MB),
        ],
        left_out: Vec::new(),
        configuration: serde_json::Value::Null,
    }
}

fn restore(world: World, change: impl FnOnce(&mut RestoreWanted)) -> Result<RestorePlan, Failure> {
    let manifest = manifest();
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
            worse: Vec::new(),
            manifest: Box::new(manifest),
        },
        world,
    };
    let mut wanted = RestoreWanted {
        suffix: SUFFIX.to_owned(),
        ..RestoreWanted::default()
    };
    change(&mut wanted);
    restore_plan(&seen, &wanted, None)
}

/// The steps, by what they are.
fn kinds(plan: &RestorePlan) -> Vec<&'static str> {
    let kind = |step: &BackupStep| match step {
        BackupStep::MakeHomes(_) => "make",
        BackupStep::Refill(_) => "fill",
        BackupStep::Stop(_) => "stop",
        BackupStep::Exchange(_) => "exchange",
        BackupStep::BringUp(_) => "start",
        BackupStep::StayUp(_) => "stay up",
        BackupStep::Unstarted(_) => "containers",
        BackupStep::Tidy(_) => "tidy",
        _ => "other",
    };
    plan.steps.iter().map(kind).collect()
}

#[test]
fn a_site_is_restored_beside_its_directory_which_is_kept() {
    let plan = restore(world(), |_| {}).unwrap();
    assert_snapshot!(render_restore(&plan.facts), @r"
        Restore kms-connect from backup 20261121T020000Z-7k2f9a in /var/backups/kms
          made at 2026-11-21T02:00:00Z on server-1

          site blog  13 MB restored, replaces 12 MB in site.blog
                     what is replaced stays in /var/deploy/data/blog.before-5f3a
          not touched: cache

        The present state is not backed up
        It is restored and compared beside what is there; then web stop, and start on it

        Note: the present state is not backed up first: what is replaced stays only beside the new data
    ");
    assert_eq!(
        kinds(&plan),
        ["make", "fill", "stop", "exchange", "start", "stay up", "tidy"]
    );
    for step in &plan.steps {
        match step {
            BackupStep::Exchange(exchange) => {
                let data = Data::Directory {
                    root: "/var/deploy/data".into(),
                    sub: "blog".into(),
                };
                assert_eq!(exchange.homes, [data]);
                assert_eq!(exchange.volumes[0].site, Some(site_dir()));
            }
            // No container has an engine's volume of that name, neither before nor afterwards.
            BackupStep::Stop(stop) => assert_eq!(stop.mounts, []),
            _ => {}
        }
    }
}

#[test]
fn where_the_directory_is_gone_nothing_is_replaced() {
    let plan = restore(without_directory(world()), |_| {}).unwrap();
    let text = render_restore(&plan.facts);
    assert!(
        text.contains("site blog  13 MB restored, nothing is there now\n"),
        "{text}"
    );
    assert!(!text.contains("stays in"), "{text}");
    // Docker would not start its container on the way back: what else ran is started all the same.
    let mut with_proxy = without_directory(world());
    with_proxy
        .services
        .push(service("proxy").after("web", Condition::Started));
    let plan = restore(with_proxy, |_| {}).unwrap();
    assert_eq!(
        plan.facts.warnings.last().unwrap(),
        "the directory of service `web` is gone: if anything fails, it stays gone, and so the service stays stopped"
    );
    let back = plan.steps.iter().find_map(|step| match step {
        BackupStep::Stop(stop) => Some(&stop.start),
        _ => None,
    });
    let [proxy] = &back.unwrap()[..] else {
        panic!("{back:?}")
    };
    assert_eq!((proxy.service.as_str(), &proxy.after[..]), ("proxy", &[][..]));
    let on = plan.steps.iter().find_map(|step| match step {
        BackupStep::BringUp(step) => Some(step.services.len()),
        _ => None,
    });
    assert_eq!(on, Some(2));
    let mut rootless = without_directory(world());
    volume_mut(&mut rootless, "site.blog")
        .site
        .as_mut()
        .unwrap()
        .root_there = false;
    assert_snapshot!(told(&restore(rootless, |_| {}).unwrap_err()), @r"
        error: /var/deploy/data is not there
        caused by: it is the root of site blog
        data: nothing was changed
        hint: is it on a volume that is not mounted?
        hint: or make it: sudo install -d -m 755 /var/deploy/data
    ");
}

#[test]
fn what_is_gone_is_not_backed_up_before_it_is_restored() {
    let none: &[String] = &[];
    let site = ["site.blog".to_owned()];
    let gone = without_directory(world());
    assert!(nothing_to_lose(&gone, &site));
    assert!(!nothing_to_lose(&gone, none), "the other volume is there");
    assert!(!nothing_to_lose(&world(), &site));
    assert!(!nothing_to_lose(&kms(), &["db".to_owned()]));
    let mut unseen = gone;
    volume_mut(&mut unseen, "site.blog").unseen = Some(Failure::refused("a symlink"));
    assert!(!nothing_to_lose(&unseen, &site));
    let plan = restore(without_directory(world()), |wanted| wanted.only = site.to_vec()).unwrap();
    assert!(
        !render_restore(&plan.facts).contains("not backed up first"),
        "{:?}",
        plan.facts.warnings
    );
}

#[test]
fn where_no_container_is_the_directory_comes_before_them() {
    let mut world = without_directory(world());
    world.services[0].containers.clear();
    let plan = restore(world, |_| {}).unwrap();
    assert_eq!(
        kinds(&plan),
        [
            "make",
            "fill",
            "exchange",
            "containers",
            "start",
            "stay up",
            "tidy"
        ]
    );
    for step in &plan.steps {
        if let BackupStep::Unstarted(step) = step {
            assert_eq!(step.volumes, [volume_name("kms-connect_cache")]);
        }
    }
}

#[test]
fn a_project_without_the_site_is_told_how_to_have_it() {
    let mut world = world();
    world.volumes.retain(|volume| volume.site.is_none());
    assert_snapshot!(told(&restore(world, |_| {}).unwrap_err()), @r"
        error: project kms-connect has no directory for site blog of the backup
        data: nothing was changed
        hint: give it one: rehome site add blog --project .; rehome site enable blog
        hint: or leave this part out with --only
    ");
}

#[test]
fn another_projects_container_that_writes_there_is_in_the_way() {
    let mut world = world();
    volume_mut(&mut world, "site.blog").foreign = vec![rehome::observe::ForeignUse {
        container: "panel".to_owned(),
        running: true,
        writable: true,
    }];
    let refused = restore(world, |_| {}).unwrap_err();
    assert_eq!(
        refused.what,
        "container panel has /var/deploy/data/blog and is not one of the project's services"
    );
}

#[test]
fn an_older_rehome_reads_the_manifest_and_takes_the_site_for_a_volume() {
    let bytes = manifest().to_bytes().unwrap();
    let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(read["format"], 1);
    // As the version before knew the note of a volume.
    #[derive(serde::Deserialize)]
    struct Older {
        key: rehome::model::VolumeKey,
        name: rehome::model::VolumeName,
        entries: u64,
    }
    let note = &read["manifest"]["entries"][1]["what"];
    let older: Older = serde_json::from_value(note.clone()).unwrap();
    assert_eq!(
        (older.key, older.name, older.entries),
        (blog().key(), blog().volume_name(), 4)
    );
    assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest());
}
