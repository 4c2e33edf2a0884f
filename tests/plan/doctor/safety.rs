//! Owners, restarts, prunes, disks, secrets and what is old.

use insta::assert_snapshot;

use super::*;

#[test]
fn trap_23_data_of_another_owner_than_the_containers_user_is_found() {
    assert_snapshot!(text(|seen| {
        let scan = volume_mut(&mut seen.world, "media_volume").scan.as_mut().unwrap();
        scan.root_owner = Some(Owner { uid: 0, gid: 0 });
        scan.root_mode = 0o755;
        let celery = container(seen, "celery");
        celery.user = "1000:1000".to_owned();
        celery.writes[0].may = Ok(false);
    }), @r"
    warning [cannot-write] service `celery` cannot write to volume `media_volume`
      `test -w /app/media` fails in container kms-connect-celery-1, which runs as 1000:1000
      the volume belongs to 0:0, mode 0755
      $ docker exec --user 0 kms-connect-celery-1 chown 1000:1000 /app/media
    ");
    assert_eq!(
        ids(|seen| container(seen, "celery").writes[0].may = Err("no `test`".to_owned())),
        ["unknown cannot-write"]
    );
}

#[test]
fn restart_policies_and_healthchecks() {
    assert_eq!(
        ids(|seen| container(seen, "nginx").restart = "no".to_owned()),
        ["warning no-restart-policy"]
    );
    assert_eq!(
        ids(|seen| container(seen, "nginx").healthcheck = false),
        ["note no-healthcheck"]
    );
    assert_eq!(
        ids(|seen| container(seen, "db").healthcheck = false),
        ["warning no-healthcheck"]
    );
    // What is meant to end needs neither, and what is down was stopped by somebody.
    for state in [State::Exited(0), State::Exited(137)] {
        assert!(
            ids(|seen| {
                service_mut(&mut seen.world, "nginx").containers[0].state = state;
                let nginx = container(seen, "nginx");
                (nginx.restart, nginx.healthcheck, nginx.up) = ("no".to_owned(), false, false);
            })
            .is_empty()
        );
    }
}

#[test]
fn trap_13_a_volume_that_a_prune_would_take_is_found() {
    let unused = |seen: &mut Checkup| {
        on_volumes(seen);
        seen.known.staying = seen.world.volumes.iter().map(|v| v.key.clone()).collect();
        let volume = seen
            .engine_volumes
            .iter_mut()
            .find(|v| v.name.as_str().contains("media"));
        volume.unwrap().unused = true;
    };
    assert_snapshot!(text(unused), @r"
    error [prunable] a `docker volume prune -a` would delete volume `media_volume` now
      no container has it: the stack is down
      12 GB in 14212 files, as kms-connect_media_volume_block_0001; `docker system prune --volumes` takes it as well on engines before 23
      $ rehome compose -- up --no-start
    ");
    // Of a block volume a prune takes the definition and not the data.
    assert!(ids(|seen| seen.engine_volumes[0].unused = true).is_empty());
    // Nothing is lost with an empty one.
    assert!(
        ids(|seen| {
            unused(seen);
            volume_mut(&mut seen.world, "media_volume").scan = Some(Scan {
                dirs: 1,
                ..Scan::default()
            });
        })
        .is_empty()
    );
    assert_eq!(
        ids(|seen| {
            unused(seen);
            for service in &mut seen.world.services {
                service.mounts.retain(|m| m.volume != key("media_volume"));
            }
        }),
        ["warning prunable"]
    );
}

#[test]
fn disks_and_inodes_that_run_out_are_told_once() {
    let all = |seen: &mut Checkup, change: fn(&mut rehome::helper::protocol::Probe)| {
        for home in seen.homes.values_mut() {
            if let HomeSeen::There(probe) = home {
                change(probe);
            }
        }
    };
    assert_eq!(
        ids(|seen| all(seen, |p| p.bytes_free = 4_000 * MB)),
        ["warning disk-full"]
    );
    assert_eq!(
        ids(|seen| all(seen, |p| p.bytes_free = 1_000 * MB)),
        ["error disk-full"]
    );
    assert!(ids(|seen| all(seen, |p| p.bytes_free = 5_000 * MB)).is_empty());
    assert_eq!(
        ids(|seen| all(seen, |p| p.inodes_free = p.inodes_total / 20)),
        ["warning inodes-used"]
    );
    assert_eq!(
        ids(|seen| all(seen, |p| p.inodes_free = 0)),
        ["error inodes-used"]
    );
    // XFS and btrfs have no fixed number; of a large disk a small share is much.
    assert!(ids(|seen| all(seen, |p| (p.inodes_free, p.inodes_total) = (0, 0))).is_empty());
    assert!(
        ids(|seen| all(seen, |p| (p.bytes_free, p.bytes_total) =
            (60_000 * MB, 2_000_000 * MB)))
        .is_empty()
    );
}

#[test]
fn secrets_that_everybody_can_read() {
    let file = |open, mounted, names: &[&str]| SecretFile {
        path: "/srv/kms/.env".into(),
        mode: 0o644,
        open,
        mounted,
        names: names.iter().map(|n| (*n).to_owned()).collect(),
    };
    assert_eq!(
        ids(|seen| seen.secrets.push(file(true, false, &["SQL_PASSWORD"]))),
        ["warning open-secret"]
    );
    assert_eq!(
        ids(|seen| seen.secrets.push(file(true, true, &[]))),
        ["warning open-secret"]
    );
    for harmless in [
        file(false, false, &["SQL_PASSWORD"]),
        file(true, false, &[]),
        file(false, true, &[]),
    ] {
        assert!(ids(|seen| seen.secrets.push(harmless)).is_empty());
    }
}

#[test]
fn trap_04_volumes_of_another_project_and_old_homes() {
    let volume = |name: &str, project: &str, unused| EngineVolume {
        name: volume_name(name),
        home: Home::Volume,
        project: Some(ProjectName::new(project).unwrap()),
        key: Some(key("media_volume")),
        unused,
    };
    assert_eq!(
        ids(|seen| seen
            .engine_volumes
            .push(volume("backend_media_volume", "backend", true))),
        ["note namesake"]
    );
    // Another project that uses its own is none of ours.
    assert!(
        ids(|seen| seen
            .engine_volumes
            .push(volume("backend_media_volume", "backend", false)))
        .is_empty()
    );
    assert_eq!(
        ids(|seen| {
            seen.engine_volumes
                .push(volume("backend_media_volume", "backend", true));
            volume_mut(&mut seen.world, "media_volume").scan = Some(Scan {
                dirs: 1,
                ..Scan::default()
            });
        }),
        ["warning namesake"]
    );
    assert_eq!(
        ids(|seen| seen
            .engine_volumes
            .push(volume("kms-connect_media_volume", "kms-connect", true))),
        ["note old-home"]
    );
    assert_eq!(
        ids(|seen| {
            let mut left = volume("kms-connect_solr", "kms-connect", true);
            left.key = Some(key("solr"));
            seen.engine_volumes.push(left);
        }),
        ["note left-volume"]
    );
}

#[test]
fn what_is_old_or_set_in_the_shell() {
    assert_eq!(
        ids(|seen| seen.compose = Version::parse("2.26.1").unwrap()),
        ["note compose-old"]
    );
    assert_eq!(
        ids(|seen| seen.world.shell_compose_file = Some("other.yml".to_owned())),
        ["warning shell-compose-file"]
    );
}

#[test]
fn a_disk_that_is_full_soon_by_what_was_measured() {
    let mut seen = clean();
    let scan = seen.world.volumes[0].scan.as_ref().unwrap().allocated;
    let key = seen.world.volumes[0].key.clone();
    let free = match &seen.homes[&key] {
        rehome::observe::HomeSeen::There(probe) => probe.bytes_free,
        other => panic!("{other:?}"),
    };
    // Ten days ago there was less, by ten times what fills the disk in `days`.
    let mut ids = |days: u64| {
        let grown = 10 * free / days;
        seen.world.volumes[0].scan.as_mut().unwrap().allocated = scan + grown;
        seen.known.sizes = vec![rehome::state::Measured {
            at: "2001-01-24T00:00:00Z".parse().unwrap(),
            bytes: [(key.clone(), scan)].into(),
            entries: [].into(),
        }];
        let found = diagnose(&seen).findings;
        let soon = found.iter().find(|finding| finding.id == "full-soon");
        soon.map(|finding| (finding.severity, finding.what.clone()))
    };
    assert_eq!(ids(200), None);
    assert_eq!(ids(30).unwrap().0, Severity::Warning);
    assert_eq!(ids(5).unwrap().0, Severity::Error);
    assert!(ids(5).unwrap().1.contains("is full in 5 days"), "{:?}", ids(5));
}

#[test]
fn a_disk_that_has_no_inodes_left_soon_by_what_was_measured() {
    let mut seen = clean();
    let key = seen.world.volumes[0].key.clone();
    let free = match &seen.homes[&key] {
        rehome::observe::HomeSeen::There(probe) => probe.inodes_free,
        other => panic!("{other:?}"),
    };
    let scan = seen.world.volumes[0].scan.clone().unwrap();
    let mut found = |days: u64, free_inodes: u64| {
        seen.world.volumes[0].scan.as_mut().unwrap().files = scan.files + 10 * free / days;
        if let Some(rehome::observe::HomeSeen::There(probe)) = seen.homes.get_mut(&key) {
            probe.inodes_total = free_inodes;
        }
        seen.known.sizes = vec![rehome::state::Measured {
            at: "2001-01-24T00:00:00Z".parse().unwrap(),
            bytes: [].into(),
            entries: [(key.clone(), scan.entries())].into(),
        }];
        let found = diagnose(&seen).findings;
        let soon = found.into_iter().find(|finding| finding.id == "inodes-soon");
        soon.map(|finding| (finding.severity, finding.what))
    };
    assert_eq!(found(200, free), None);
    assert_eq!(found(30, free).unwrap().0, Severity::Warning);
    let (severity, what) = found(5, free).unwrap();
    assert_eq!(severity, Severity::Error);
    assert!(what.contains("has no inodes left in 5 days"), "{what}");
    // btrfs has no fixed number.
    assert_eq!(found(5, 0), None);
}
