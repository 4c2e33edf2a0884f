//! Homes: mounted, the right device, on the root disk.

use insta::assert_snapshot;

use super::*;

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
        seen.unmounted = Ok(vec![ROOT.into()]);
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
    let found = ids(|seen| {
        seen.unmounted = Ok(vec!["/mnt/sites".into()]);
        seen.binds = vec![BindSeen {
            service: service_name("api"),
            source: "/mnt/sites/one".into(),
            target: "/site".to_owned(),
            create: Some(false),
        }];
    });
    assert_eq!(found, ["error home-not-mounted"]);
    assert_eq!(
        ids(|seen| seen.unmounted = Err("permission denied".to_owned())),
        ["unknown boot-unseen"]
    );
}

#[test]
fn a_home_that_cannot_be_looked_at_is_said_to_be_so() {
    assert_eq!(
        ids(|seen| {
            seen.homes.insert(
                key("postgres_data"),
                HomeSeen::Unseen("the disk hangs".to_owned()),
            );
            seen.mounts = Err("the engine is on another host".to_owned());
            container(seen, "db").table = None;
        }),
        ["unknown home-unseen", "unknown mounts-unseen"]
    );
}

#[test]
fn a_home_that_is_read_only_or_hidden_by_another_mount() {
    assert_eq!(
        ids(|seen| host(seen)[1].read_only = true),
        ["error home-read-only"]
    );
    assert_eq!(
        ids(|seen| {
            let second = mount("8:32", ROOT, "/dev/sdc");
            host(seen).insert(1, second);
        }),
        ["warning stacked-mounts"]
    );
    // An automount has its trigger below the mount.
    assert!(
        ids(|seen| {
            let trigger = mounts::Mount {
                fs_type: "autofs".to_owned(),
                ..mount("0:50", ROOT, "systemd-1")
            };
            host(seen).insert(1, trigger);
        })
        .is_empty()
    );
}

#[test]
fn trap_27_a_container_on_another_device_than_the_home_is_found() {
    assert_snapshot!(text(|seen| {
        container(seen, "db").table = Some(Ok(vec![mount("8:1", "/var/lib/postgresql/data", "/dev/sda1")]));
    }), @r"
    error [late-mount] running containers write volume `postgres_data` to another disk than its home
      container kms-connect-db-1 has /dev/sda1 (device 8:1) at /var/lib/postgresql/data
      /mnt/kms-data/postgres is on /dev/sdb (device 8:16) now: it was mounted after they were started
      what they wrote lies hidden under the mount point; at their next start they lose sight of it
      $ rehome compose -- stop db
      $ mkdir -p /mnt/below && mount --bind / /mnt/below
      $ ls -la /mnt/below/mnt/kms-data/postgres
    ");
    // Where its table cannot be read, what a helper gets of the volume is what the containers have.
    assert_eq!(
        ids(|seen| {
            for container in &mut seen.containers {
                container.table = None;
            }
            volume_mut(&mut seen.world, "postgres_data").probe = Some(probe("8:1", "/dev/sda1"));
        }),
        ["error late-mount"]
    );
}

#[test]
fn data_on_the_root_disk_is_a_warning_with_the_move() {
    let all = found(|seen| {
        on_volumes(seen);
        seen.known.staying = [key("redis_data"), key("static_volume")].into();
        volume_mut(&mut seen.world, "media_volume").external = true;
    });
    let [finding] = &all[..] else { panic!("{all:?}") };
    assert_eq!(
        (finding.severity, finding.id),
        (Severity::Warning, "on-root-disk")
    );
    assert_eq!(
        finding.mend,
        ["rehome move --to /mnt/kms-data --only postgres_data"]
    );
    // Docker's directory on a disk of its own is not the root disk.
    assert!(
        ids(|seen| {
            on_volumes(seen);
            seen.world.docker_disk.as_mut().unwrap().mount_root = "/volumes".to_owned();
        })
        .is_empty()
    );
}
