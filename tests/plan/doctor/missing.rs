//! Places where a block volume should be mounted, and nothing is.

use insta::assert_snapshot;
use rehome::model::Failure;
use rehome::observe::{DeviceIs, MissingSeen, Waits};
use rehome::plan::doctor::diagnose_machine;

use super::*;

pub(super) fn missing(at: &str, below: &[&str]) -> MissingSeen {
    MissingSeen {
        at: at.into(),
        below: below.iter().map(PathBuf::from).collect(),
        line: None,
        device: DeviceIs::Untold,
        written: None,
        waits: None,
    }
}

#[test]
fn a_home_that_is_not_mounted() {
    let dir = format!("{ROOT}/postgres");
    assert_snapshot!(text(|seen| {
        let mut root = probe("8:1", "/dev/sda1");
        root.mount_root = dir.clone();
        seen.homes.insert(key("postgres_data"), HomeSeen::There(root));
        // The containers were started on it.
        container(seen, "db").table = Some(Ok(vec![mount("8:1", "/var/lib/postgresql/data", "/dev/sda1")]));
    }), @r"
    error [home-not-mounted] the block volume of volume `postgres_data` is not mounted: its home is on another disk
      /mnt/kms-data/postgres is a directory of /dev/sda1 (ext4)
      what was written there meanwhile is hidden as soon as the block volume is mounted: look first
      $ rehome compose -- stop db
      $ ls -la /mnt/kms-data/postgres
      $ mount /mnt/kms-data
      $ rehome compose -- up -d --force-recreate db
    ");
    assert_eq!(
        ids(|seen| {
            seen.homes.insert(key("postgres_data"), HomeSeen::Missing);
        }),
        ["error home-missing"]
    );
    // A directory of a block volume that happens to be mounted deeper, or as a part, is on it.
    assert!(
        ids(|seen| {
            let mut part = probe("8:16", "/dev/sdb");
            part.mount_root = "/kms/postgres".to_owned();
            seen.homes.insert(key("postgres_data"), HomeSeen::There(part));
        })
        .is_empty()
    );
}

#[test]
fn a_home_on_another_disk_than_that_of_the_root_is_found_too() {
    // A temporary disk of the host at /mnt, and the block volume below it not mounted.
    let on = |seen: &mut Checkup, device: &str, root: &str| {
        let mut probe = probe(device, "/dev/sdc1");
        probe.mount_root = root.to_owned();
        seen.homes.insert(key("postgres_data"), HomeSeen::There(probe));
        host(seen).push(mount("8:33", "/mnt", "/dev/sdc1"));
        host(seen).retain(|mount| mount.point != ROOT.as_bytes());
        container(seen, "db").table = Some(Ok(vec![mount(device, "/var/lib/postgresql/data", "/dev/sdc1")]));
    };
    let found = ids(|seen| {
        on(seen, "8:33", "/kms-data/postgres");
        seen.boot.missing = vec![missing(ROOT, &[&format!("{ROOT}/postgres")])];
    });
    assert!(found.contains(&"error home-not-mounted".to_owned()), "{found:?}");
}

#[test]
fn a_directory_of_the_root_disk_that_was_never_on_a_block_volume_is_a_warning() {
    let found = ids(|seen| {
        seen.known.block_root = None;
        let mut root = probe("8:1", "/dev/sda1");
        root.mount_root = format!("{ROOT}/postgres");
        seen.homes.insert(key("postgres_data"), HomeSeen::There(root));
        container(seen, "db").table = Some(Ok(vec![mount("8:1", "/var/lib/postgresql/data", "/dev/sda1")]));
    });
    assert!(found.contains(&"warning on-root-disk".to_owned()), "{found:?}");
    assert!(!found.iter().any(|id| id.contains("not-mounted")), "{found:?}");
}

#[test]
fn a_bind_below_a_place_where_nothing_is_mounted_is_found() {
    assert_snapshot!(text(|seen| {
        let mut place = missing("/mnt/sites", &["/mnt/sites/one"]);
        place.line = Some(line("UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/sites ext4 nofail,x-rehome 0 2"));
        place.device = DeviceIs::Gone;
        seen.boot.missing = vec![place];
        seen.binds = vec![BindSeen {
            service: service_name("api"),
            source: "/mnt/sites/one".into(),
            target: "/site".to_owned(),
            create: Some(false),
        }];
    }), @r"
    error [home-not-mounted] the block volume of /mnt/sites/one of service `api` is not mounted
      nothing is mounted at /mnt/sites
      line 1 of /etc/fstab: UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/sites ext4 nofail,x-rehome 0 2
      no disk with this file system is attached to the machine
      what was written there meanwhile is hidden as soon as the block volume is mounted: look first
      $ rehome compose -- stop api
      $ ls -la /mnt/sites/one
      $ attach the volume to this machine, at the provider
      $ mount /mnt/sites
      $ rehome compose -- up -d --force-recreate api
    ");
}

#[test]
fn a_home_that_is_named_through_a_symlink_is_found_below_its_place() {
    let found = ids(|seen| {
        let dir = format!("{ROOT}/postgres");
        seen.boot.missing = vec![missing("/real/place", &[&dir])];
    });
    assert_eq!(found, ["error home-not-mounted"]);
}

#[test]
fn without_an_engine_the_places_are_told_and_that_the_engine_waits() {
    let silent = Failure::environment("no Docker engine answers at unix:///run/docker.sock");
    let mut place = missing("/mnt/kms data", &[]);
    place.line = Some(line(
        "UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms\\040data ext4 nofail,x-rehome 0 2",
    ));
    place.device = DeviceIs::Attached("/dev/sdb".into());
    place.waits = Some(Waits::Yes);
    let mut gone = missing("/mnt/other", &[]);
    gone.device = DeviceIs::Gone;
    gone.written = Some(true);
    let seen = BootSeen {
        missing: vec![place, gone],
        ..BootSeen::default()
    };
    let diagnosis = diagnose_machine(&seen, None, &silent);
    assert_eq!((diagnosis.project, diagnosis.engine), (None, false));
    assert_snapshot!(told(diagnosis.findings), @r"
    error [home-not-mounted] the block volume of /mnt/kms data is not mounted
      line 1 of /etc/fstab: UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms\040data ext4 nofail,x-rehome 0 2
      its disk is attached: /dev/sdb
      docker.service waits for it: until it is mounted, no container of this machine runs
      $ mount '/mnt/kms data'
      $ systemctl start docker
    error [volume-not-attached] the block volume of /mnt/other is not attached
      no disk with this file system is attached to the machine
      what was written there meanwhile is hidden as soon as the block volume is mounted: look first
      $ ls -la /mnt/other
      $ attach the volume to this machine, at the provider
      $ mount /mnt/other
      $ systemctl start docker
    unknown [engine-silent] containers and volumes could not be looked at: the engine does not answer
      no Docker engine answers at unix:///run/docker.sock
    ");
}
