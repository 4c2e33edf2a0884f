//! Everything that is refused beforehand, word for word.

use insta::assert_snapshot;
use rehome::datastore::{Datastore, Kind};
use rehome::engine::{Health, State};
use rehome::helper::protocol::{Place, Scan};
use rehome::model::{Failure, Home};
use rehome::observe::{ForeignUse, OverrideSeen, World};

use crate::support::*;

/// The refusal of a move of everything, in a world with one thing wrong.
fn with(change: impl FnOnce(&mut World)) -> String {
    let mut world = kms();
    change(&mut world);
    refusal(&world, &wanted())
}

fn asked(keys: &[&str], change: impl FnOnce(&mut World)) -> String {
    let mut world = kms();
    change(&mut world);
    refusal(&world, &only(keys))
}

#[test]
fn a_volume_that_there_is_not() {
    assert_snapshot!(refusal(&kms(), &only(&["postgress_data"])), @r"
        error: project kms-connect has no volume `postgress_data`
        data: nothing was changed
        hint: did you mean `postgres_data`?
    ");
    assert_snapshot!(refusal(&kms(), &only(&["uploads"])), @r"
        error: project kms-connect has no volume `uploads`
        data: nothing was changed
        hint: it has: media_volume, postgres_data, redis_data, static_volume
    ");
}

#[test]
fn trap_03_every_option_that_names_a_volume_is_checked() {
    let unknown = || key("postgres-data");
    let mut exclude = wanted();
    exclude.exclude.insert(unknown(), "--exclude".to_owned());
    let mut map = wanted();
    map.map.insert(unknown(), "pg".into());
    let mut owner = wanted();
    owner.owners.insert(unknown(), "1:1".parse().unwrap());
    let mut fresh = wanted();
    fresh.without_data = vec![unknown()];
    for wanted in [exclude, map, owner, fresh, only(&["postgres-data"])] {
        assert!(
            refusal(&kms(), &wanted).starts_with("error: project kms-connect has no volume `postgres-data`")
        );
    }
}

#[test]
fn nothing_to_move() {
    let nothing = |world: &mut World| world.volumes.iter_mut().for_each(|v| v.external = true);
    assert_snapshot!(with(nothing), @r"
        error: there is no volume to move: none lives in Docker's own directory
        data: nothing was changed
        hint: `rehome status` shows where each volume lives
    ");
    assert_snapshot!(refusal(&kms(), &back()), @r"
        error: there is no volume to move back: none lives on a block volume
        data: nothing was changed
        hint: `rehome status` shows where each volume lives
    ");
}

#[test]
fn an_override_of_somebody_else() {
    let why = Failure::refused("docker-compose.prod.block.yml cannot be used as the override")
        .cause("it was not written by Rehome");
    assert_snapshot!(with(|w| w.override_file = OverrideSeen::Foreign(why.clone())), @r"
        error: docker-compose.prod.block.yml cannot be used as the override
        caused by: it was not written by Rehome
        data: nothing was changed
    ");
}

#[test]
fn an_external_volume() {
    assert_snapshot!(asked(&["media_volume"], |w| volume_mut(w, "media_volume").external = true), @r"
        error: volume `media_volume` is external: it does not belong to this project
        caused by: its name is kms-connect_media_volume, and other projects may use it
        data: nothing was changed
        hint: leave it out with --exclude media_volume, or bind it by hand with `rehome override --style bind`
    ");
}

#[test]
fn a_volume_that_is_where_it_shall_go_already() {
    assert_snapshot!(refusal(&kms_on_block(), &only(&["redis_data"])), @r"
        error: volume `redis_data` lives on a block volume already: /mnt/kms-data/redis
        data: nothing was changed
    ");
    let mut there = back();
    there.only = vec![key("redis_data")];
    assert_snapshot!(refusal(&kms(), &there), @r"
        error: volume `redis_data` lives in Docker's own directory already
        data: nothing was changed
    ");
}

#[test]
fn a_volume_that_is_no_directory() {
    let nfs = |world: &mut World| {
        volume_mut(world, "media_volume").home = Home::Other {
            what: "an NFS share (10.0.0.4:/media)".to_owned(),
        };
    };
    assert_snapshot!(asked(&["media_volume"], nfs), @r"
        error: volume `media_volume` cannot be moved: it is an NFS share (10.0.0.4:/media)
        data: nothing was changed
        hint: leave it out with --exclude media_volume
    ");
}

#[test]
fn trap_03_a_volume_that_does_not_exist() {
    assert_snapshot!(with(|w| volume_mut(w, "redis_data").exists = false), @r"
        error: volume `redis_data` does not exist: the engine has no kms-connect_redis_data
        caused by: it was never made, or the project's name is another than it was
        data: nothing was changed
        hint: `docker volume ls` lists what there is; name the project with -p if it is another
    ");
}

#[test]
fn trap_03_a_volume_that_is_empty() {
    let empty = |world: &mut World| {
        // The root directory alone.
        volume_mut(world, "postgres_data").scan = Some(Scan {
            dirs: 1,
            ..Scan::default()
        });
    };
    assert_snapshot!(with(empty), @r"
        error: volume `postgres_data` (kms-connect_postgres_data) is empty
        caused by: an empty source is more often a wrong name than what is wanted
        data: nothing was changed
        hint: leave it out with --exclude postgres_data, or say that it shall start empty with --without-data postgres_data
    ");
    // Unless it is said that it shall start empty.
    let mut world = kms();
    empty(&mut world);
    let mut wanted = wanted();
    wanted.without_data = vec![key("postgres_data")];
    plan(&world, &wanted).unwrap();
}

#[test]
fn one_entry_of_any_kind_is_something() {
    let one = |change: fn(&mut Scan)| {
        let mut world = kms();
        let mut scan = Scan {
            dirs: 1,
            ..Scan::default()
        };
        change(&mut scan);
        volume_mut(&mut world, "redis_data").scan = Some(scan);
        plan(&world, &wanted()).unwrap();
    };
    one(|s| s.files = 1);
    one(|s| s.dirs = 2);
    one(|s| s.symlinks = 1);
    one(|s| s.special = 1);
}

#[test]
fn entries_that_cannot_be_read() {
    let unreadable = |world: &mut World| {
        volume_mut(world, "media_volume")
            .scan
            .as_mut()
            .unwrap()
            .unreadable = vec![
            "photos/1.jpg: Input/output error".to_owned(),
            "photos/2.jpg".to_owned(),
        ];
    };
    assert_snapshot!(with(unreadable), @r"
        error: volume `media_volume` has entries that cannot be read
        caused by: photos/1.jpg: Input/output error
        data: nothing was changed
    ");
}

#[test]
fn something_mounted_inside_of_a_volume() {
    let inside = |world: &mut World| {
        volume_mut(world, "media_volume")
            .scan
            .as_mut()
            .unwrap()
            .mounts_inside = vec!["cache".to_owned()];
    };
    assert_snapshot!(with(inside), @r"
        error: something else is mounted inside of volume `media_volume`, at cache
        data: nothing was changed
        hint: unmount it, or move it by itself
    ");
}

#[test]
fn trap_09_somebody_else_who_writes() {
    let user = |running, writable| ForeignUse {
        container: "importer".to_owned(),
        running,
        writable,
    };
    assert_snapshot!(with(|w| volume_mut(w, "postgres_data").foreign = vec![user(false, true), user(true, true)]), @r"
        error: container importer has volume `postgres_data` writable and is none of the project's services
        caused by: it would go on writing to the old home
        data: nothing was changed
        hint: stop it first: `docker stop importer`
    ");
    // Reading, or not running, is worth a warning only.
    for harmless in [user(true, false), user(false, true)] {
        let mut world = kms();
        volume_mut(&mut world, "postgres_data").foreign = vec![harmless];
        assert_eq!(plan(&world, &wanted()).unwrap().facts.warnings.len(), 1);
    }
}

#[test]
fn a_place_that_is_none() {
    let mapped = |sub: &str| {
        let mut wanted = only(&["media_volume"]);
        wanted.map.insert(key("media_volume"), sub.into());
        wanted
    };
    assert_snapshot!(refusal(&kms(), &mapped("../media")), @r"
        error: ../media is no place for volume `media_volume`
        caused by: it must be a directory below the block volume's root, never the root itself
        data: nothing was changed
        hint: name one with --map media_volume=DIRECTORY
    ");
    for sub in [
        "",
        "/",
        "/media",
        ".",
        "./media",
        "a/../b",
        "..",
        "lost+found",
        "lost+found/media",
    ] {
        assert!(
            refusal(&kms(), &mapped(sub)).contains(" is no place for volume `media_volume`"),
            "{sub:?}"
        );
    }
    for sub in ["media", "a/b/c", "with space", "..media", "media/lost+found"] {
        plan(&kms(), &mapped(sub)).unwrap();
    }
}

#[test]
fn two_volumes_that_would_meet() {
    let mapped = |a: &str, b: &str| {
        let mut wanted = only(&["media_volume", "static_volume"]);
        wanted.map.insert(key("media_volume"), a.into());
        wanted.map.insert(key("static_volume"), b.into());
        wanted
    };
    assert_snapshot!(refusal(&kms(), &mapped("web", "web")), @r"
        error: volumes `media_volume` and `static_volume` would meet in web
        data: nothing was changed
        hint: give one of them another directory: --map static_volume=DIRECTORY
    ");
    assert_snapshot!(refusal(&kms(), &mapped("web/media", "web")), @r"
        error: volumes `media_volume` and `static_volume` would meet in web
        data: nothing was changed
        hint: give one of them another directory: --map static_volume=DIRECTORY
    ");
    assert_snapshot!(refusal(&kms(), &mapped("web", "web/static")), @r"
        error: volumes `media_volume` and `static_volume` would meet in web
        data: nothing was changed
        hint: give one of them another directory: --map static_volume=DIRECTORY
    ");
    assert!(refusal(&kms(), &mapped("web//x/", "web/x")).contains("would meet"));
    // Beside each other is fine, and so is a name that merely begins alike.
    plan(&kms(), &mapped("web/media", "web/static")).unwrap();
    plan(&kms(), &mapped("web", "web2")).unwrap();
    // One by default, the other by name.
    let mut wanted = wanted();
    wanted.map.insert(key("media_volume"), "postgres".into());
    assert_snapshot!(refusal(&kms(), &wanted), @r"
        error: volumes `media_volume` and `postgres_data` would meet in postgres
        data: nothing was changed
        hint: give one of them another directory: --map postgres_data=DIRECTORY
    ");
}

#[test]
fn nothing_is_mounted_there() {
    let root_disk = |world: &mut World| {
        let destination = world.destination.as_mut().unwrap();
        destination.is_mount = false;
        destination.probe.source = "/dev/sda1".to_owned();
    };
    assert_snapshot!(with(root_disk), @r"
        error: nothing is mounted at /mnt/kms-data
        caused by: it is a directory of /dev/sda1 (ext4): the data would stay on that disk
        data: nothing was changed
        hint: mount the block volume there first (`findmnt /mnt/kms-data` shows whether it is)
    ");
}

#[test]
fn the_same_file_system() {
    assert_snapshot!(with(|w| w.destination.as_mut().unwrap().probe.device = "8:1".to_owned()), @r"
        error: /mnt/kms-data is on the same file system as volume `media_volume`
        caused by: both are on /dev/sdb (8:1)
        data: nothing was changed
    ");
}

#[test]
fn a_block_volume_that_cannot_be_written() {
    assert_snapshot!(with(|w| w.destination.as_mut().unwrap().probe.read_only = true), @r"
        error: /mnt/kms-data is read-only
        data: nothing was changed
        hint: `mount -o remount,rw /mnt/kms-data`, and look at `dmesg` for why it became so
    ");
}

#[test]
fn a_place_that_is_taken() {
    let filled = Place::Filled {
        names: vec!["PG_VERSION".to_owned(), "base".to_owned()],
    };
    assert_snapshot!(with(|w| at(w, "postgres", filled)), @r"
        error: /mnt/kms-data/postgres is not empty
        caused by: it holds PG_VERSION, base
        data: nothing was changed
        hint: look at what it is; then move it away, or name another directory with --map postgres_data=DIRECTORY
    ");
    assert_snapshot!(with(|w| at(w, "postgres", Place::OtherDevice)), @r"
        error: something else is mounted at /mnt/kms-data/postgres
        data: nothing was changed
    ");
    let file = Place::NotADirectory {
        what: "a symlink".to_owned(),
    };
    assert_snapshot!(with(|w| at(w, "postgres", file)), @r"
        error: /mnt/kms-data/postgres is a symlink, not a directory
        data: nothing was changed
    ");
    for free in [Place::Missing, Place::Empty] {
        let mut world = kms();
        at(&mut world, "postgres", free);
        plan(&world, &wanted()).unwrap();
    }
}

#[test]
fn too_little_space() {
    assert_snapshot!(with(|w| w.destination.as_mut().unwrap().probe.bytes_free = 5_000 * MB), @r"
        error: /mnt/kms-data is too small
        caused by: 16.9 GB are needed, 5 GB are free
        data: nothing was changed
        hint: take a larger volume, or leave something out with --exclude
    ");
    assert_snapshot!(with(|w| w.destination.as_mut().unwrap().probe.inodes_free = 12_000), @r"
        error: /mnt/kms-data has too few inodes
        caused by: 17475 are needed, 12000 are free
        data: nothing was changed
        hint: make its file system with more inodes (`mkfs.ext4 -i 4096`), or take XFS, which has no fixed number
    ");
}

#[test]
fn trap_35_an_image_that_is_gone() {
    assert_snapshot!(with(|w| service_mut(w, "db").image_now = None), @r"
        error: the image of service `db` is gone: example/db:1
        caused by: its container could not be made anew, and nothing is pulled or built during a move
        data: nothing was changed
        hint: `rehome compose -- pull db` or `build db`
    ");
}

#[test]
fn trap_35_an_image_that_is_another_now() {
    assert_snapshot!(with(|w| service_mut(w, "db").image_now = Some(image("newer"))), @r"
        error: service `db` runs with an older image than example/db:1 is now
        caused by: the container has sha256:db, the tag means sha256:newer
        data: nothing was changed
        hint: deploy the new image by itself first: `rehome compose -- up -d db`, then move
    ");
}

#[test]
fn a_service_that_does_not_run_as_its_files_say() {
    assert_snapshot!(with(|w| service_mut(w, "api").containers[0].outdated = true), @r"
        error: service `api` does not run as its Compose files say
        caused by: container kms-connect-api-1 was made from another definition than the files and variables have now
        data: nothing was changed
        hint: apply the change by itself first: `rehome compose -- up -d api`, then move
    ");
}

#[test]
fn what_is_not_made_anew_may_differ_from_its_files() {
    let mut world = kms();
    let nginx = service_mut(&mut world, "nginx");
    nginx.containers[0].outdated = true;
    nginx.image_now = None;
    // Stopped and started for the database, but the container stays.
    plan(&world, &only(&["postgres_data"])).unwrap();
    // What lives in the container of a service that is made anew is made anew as well.
    let mut world = world_of(vec![
        service("vpn").mounting("keys", "/keys"),
        service("web").attached("vpn"),
    ]);
    world.services[1].containers[0].outdated = true;
    assert_snapshot!(refusal(&world, &wanted()), @r"
        error: service `web` does not run as its Compose files say
        caused by: container kms-connect-web-1 was made from another definition than the files and variables have now
        data: nothing was changed
        hint: apply the change by itself first: `rehome compose -- up -d web`, then move
    ");
}

#[test]
fn trap_30_a_service_that_is_not_well_already_now() {
    assert_snapshot!(with(|w| service_mut(w, "db").containers[0].state = State::Running(Health::Unhealthy)), @r"
        error: service `db` is unhealthy already now
        caused by: after the move nobody could tell whether it works
        data: nothing was changed
        hint: mend that first: `rehome compose -- logs db`
    ");
    for (state, problem) in [
        (State::Restarting, "restarts again and again"),
        (State::Paused, "is paused"),
        (State::Running(Health::Starting), "is still starting"),
    ] {
        let said = with(|w| service_mut(w, "db").containers[0].state = state);
        assert!(
            said.starts_with(&format!("error: service `db` {problem} already now\n")),
            "{said}"
        );
    }
    // Also one that only depends on it: it would be waited for in vain.
    let said = asked(&["postgres_data"], |w| {
        service_mut(w, "nginx").containers[0].state = State::Running(Health::Unhealthy);
    });
    assert!(
        said.starts_with("error: service `nginx` is unhealthy already now"),
        "{said}"
    );
    // What has nothing to do with the move may be as it is.
    let mut world = kms();
    service_mut(&mut world, "redis").containers[0].state = State::Restarting;
    plan(&world, &only(&["static_volume"])).unwrap();
}

#[test]
fn trap_05_postgres_in_an_anonymous_volume() {
    let anonymous = |world: &mut World| {
        let db = service_mut(world, "db");
        db.containers[0].data_directory = Some("/var/lib/postgresql/18/docker".to_owned());
        db.containers[0].anonymous = vec![(volume_name(&"ab".repeat(32)), "/var/lib/postgresql".to_owned())];
    };
    assert_snapshot!(with(anonymous), @r"
        error: PostgreSQL in service `db` keeps its data in an anonymous volume
        caused by: its data directory is /var/lib/postgresql/18/docker, and /var/lib/postgresql is volume abababababababababababababababababababababababababababababababab
        data: nothing was changed
        hint: give it a name first: mount a named volume at /var/lib/postgresql in the Compose file, and copy the data into it with the service stopped
        hint: PostgreSQL 18 images want the volume at /var/lib/postgresql, not at …/data
    ");
    // An anonymous volume inside of the named one hides it.
    let hidden = |world: &mut World| {
        let db = service_mut(world, "db");
        db.containers[0].data_directory = Some("/var/lib/postgresql/data/pgdata".to_owned());
        db.containers[0].anonymous = vec![(
            volume_name(&"cd".repeat(32)),
            "/var/lib/postgresql/data/pgdata".to_owned(),
        )];
    };
    assert!(with(hidden).contains("anonymous volume"));
    // Only where the database's container is made anew.
    let mut world = kms();
    anonymous(&mut world);
    plan(&world, &only(&["static_volume"])).unwrap();
}

#[test]
fn trap_05_postgres_in_the_container_itself() {
    assert_snapshot!(with(|w| service_mut(w, "db").containers[0].data_directory = Some("/srv/pg".to_owned())), @r"
        error: PostgreSQL in service `db` keeps its data at /srv/pg, which is in none of its volumes
        caused by: the data lies in the container itself and is lost with it
        data: nothing was changed
    ");
    // A sub-directory of the mount is in the mount, a name that begins alike is not.
    let mut world = kms();
    service_mut(&mut world, "db").containers[0].data_directory =
        Some("/var/lib/postgresql/data/pgdata".to_owned());
    plan(&world, &wanted()).unwrap();
    let said = with(|w| {
        service_mut(w, "db").containers[0].data_directory = Some("/var/lib/postgresql/data2".to_owned());
    });
    assert!(said.contains("which is in none of its volumes"), "{said}");
}

#[test]
fn trap_07_data_of_another_major_version() {
    assert_snapshot!(with(|w| service_mut(w, "db").server_version = Some("16".to_owned())), @r"
        error: volume `postgres_data` holds the data of PostgreSQL 15, and the image of service `db` is PostgreSQL 16
        caused by: that server could not start on this data
        data: nothing was changed
        hint: set the image back to version 15, or upgrade by dump and restore before the move
    ");
    let old = |world: &mut World| {
        volume_mut(world, "postgres_data").datastores[0].version = Some("9.5".to_owned());
        service_mut(world, "db").server_version = Some("9.6".to_owned());
    };
    assert!(
        with(old)
            .contains("holds the data of PostgreSQL 9.5, and the image of service `db` is PostgreSQL 9.6")
    );
    // A minor version is none of the data's business, and what starts empty has no data.
    let mut world = kms();
    service_mut(&mut world, "db").server_version = Some("15.14".to_owned());
    plan(&world, &wanted()).unwrap();
    service_mut(&mut world, "db").server_version = Some("16".to_owned());
    let mut fresh = wanted();
    fresh.without_data = vec![key("postgres_data")];
    plan(&world, &fresh).unwrap();
}

#[test]
fn data_of_another_kind_of_server_is_not_compared() {
    let mut world = kms();
    volume_mut(&mut world, "postgres_data")
        .datastores
        .push(Datastore {
            kind: Kind::Redis,
            volume: key("postgres_data"),
            path: "redis".to_owned(),
            version: Some("7".to_owned()),
            service: None,
        });
    plan(&world, &wanted()).unwrap();
}
