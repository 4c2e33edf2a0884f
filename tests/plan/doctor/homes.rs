//! Homes: mounted, the right device, on the root disk.

use insta::assert_snapshot;

use super::*;

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
fn trap_27_a_bind_on_another_device_than_its_source_is_found() {
    let site = |seen: &mut Checkup, device: &str, writable: bool| {
        seen.binds = vec![BindSeen {
            service: service_name("api"),
            source: "/mnt/kms-data/site one".into(),
            target: "/site/".to_owned(),
            create: Some(false),
        }];
        seen.boot
            .binds
            .insert("/mnt/kms-data/site one".into(), "8:16".to_owned());
        let api = container(seen, "api");
        api.mounts.push(Mount {
            kind: MountKind::Bind("/mnt/kms-data/site one".to_owned()),
            destination: "/site".to_owned(),
            writable,
            subpath: None,
        });
        let table = api.table.as_mut().unwrap().as_mut().unwrap();
        table.push(mount(device, "/site", "/dev/sda1"));
    };
    assert_snapshot!(text(|seen| site(seen, "8:1", true)), @r"
    error [late-mount] service `api` writes to another disk than the one that has /mnt/kms-data/site one now
      container kms-connect-api-1 has /dev/sda1 (device 8:1) at /site/
      /mnt/kms-data/site one is on device 8:16 now: it was mounted after they were started
      $ rehome compose -- stop api
      $ mkdir -p /mnt/below && mount --bind / /mnt/below
      $ ls -la '/mnt/below/mnt/kms-data/site one'
    ");
    assert_eq!(ids(|seen| site(seen, "8:1", false)), ["warning late-mount"]);
    assert!(ids(|seen| site(seen, "8:16", true)).is_empty());
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
