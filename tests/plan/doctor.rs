//! What a check-up finds, from what was seen: each check fires on its fault, and on nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use insta::assert_snapshot;
use rehome::compose::Version;
use rehome::engine::{Mount, MountKind, State};
use rehome::helper::mounts;
use rehome::helper::protocol::{DatastoreSign, Scan};
use rehome::model::{Home, Owner, ProjectName, RunId};
use rehome::observe::{
    AnonymousSeen, BindSeen, Checkup, ContainerMore, EngineVolume, HomeSeen, Known, OverrideState,
    PostgresSeen, SecretFile, World, Write,
};
use rehome::plan::doctor::{Finding, Severity, diagnose};

use crate::support::*;

const FILES: [&str; 2] = [
    "/srv/kms/docker-compose.prod.yml",
    "/srv/kms/docker-compose.prod.block.yml",
];

fn mount(device: &str, point: &str, source: &str) -> mounts::Mount {
    mounts::Mount {
        id: 1,
        device: device.to_owned(),
        root: b"/".to_vec(),
        point: point.as_bytes().to_vec(),
        fs_type: "ext4".to_owned(),
        source: source.as_bytes().to_vec(),
        read_only: false,
    }
}

/// What a service's container has, as the files say.
fn more(world: &World, index: usize) -> Vec<ContainerMore> {
    let service = &world.services[index];
    let mounts: Vec<Mount> = service
        .mounts
        .iter()
        .map(|m| Mount {
            kind: MountKind::Volume(world.volume(&m.volume).unwrap().name.clone()),
            destination: m.target.clone(),
            writable: !m.read_only,
            subpath: None,
        })
        .collect();
    let of = |name: &str| ContainerMore {
        service: service.name.clone(),
        name: name.to_owned(),
        up: true,
        restart: "unless-stopped".to_owned(),
        healthcheck: true,
        user: String::new(),
        config_files: FILES.map(PathBuf::from).to_vec(),
        table: Some(Ok(mounts
            .iter()
            .map(|m| mount("8:16", &m.destination, "/dev/sdb"))
            .collect())),
        writes: service
            .mounts
            .iter()
            .filter(|m| !m.read_only)
            .map(|m| Write {
                volume: m.volume.clone(),
                target: m.target.clone(),
                may: Ok(true),
            })
            .collect(),
        postgres: (service.name.as_str() == "db").then(|| PostgresSeen {
            collations: Ok(Vec::new()),
            checksums: Ok(true),
        }),
        mounts: mounts.clone(),
    };
    service.containers.iter().map(|c| of(&c.name)).collect()
}

/// The whole production stack on its block volume, without any fault.
fn clean() -> Checkup {
    let mut world = kms_on_block();
    for name in ["db", "redis"] {
        service_mut(&mut world, name).stop_grace = Some(std::time::Duration::from_secs(120));
    }
    world.dotenv_compose_file = Some("docker-compose.prod.yml:docker-compose.prod.block.yml".to_owned());
    let engine_volumes = world
        .volumes
        .iter()
        .map(|v| EngineVolume {
            name: v.name.clone(),
            home: v.home.clone(),
            project: Some(world.project.clone()),
            key: Some(v.key.clone()),
            unused: false,
        })
        .collect();
    Checkup {
        known: Known {
            files: FILES.map(PathBuf::from).to_vec(),
            override_path: FILES[1].into(),
            block_root: Some(ROOT.into()),
            staying: [].into(),
            unfinished: None,
            sizes: Vec::new(),
            now: "2001-02-03T00:00:00Z".parse().unwrap(),
            sysroot: None,
            written: Some(OverrideState {
                keys: world.volumes.iter().map(|v| v.key.clone()).collect(),
                ..OverrideState::default()
            }),
        },
        engine: "29.1.0".to_owned(),
        data_root: "/var/lib/docker".into(),
        compose: Version::parse("2.40.3").unwrap(),
        points: BTreeMap::new(),
        mounts: Ok(vec![
            mount("8:1", "/", "/dev/sda1"),
            mount("8:16", ROOT, "/dev/sdb"),
        ]),
        homes: world
            .volumes
            .iter()
            .map(|v| (v.key.clone(), HomeSeen::There(probe("8:16", "/dev/sdb"))))
            .collect(),
        containers: (0..world.services.len()).flat_map(|i| more(&world, i)).collect(),
        binds: Vec::new(),
        engine_volumes,
        anonymous: Vec::new(),
        secrets: Vec::new(),
        world,
    }
}

/// What is found beside the note that there are no backups.
fn found(change: impl FnOnce(&mut Checkup)) -> Vec<Finding> {
    let mut seen = clean();
    change(&mut seen);
    let mut findings = diagnose(&seen).findings;
    findings.retain(|f| f.id != "no-backup");
    findings
}

/// `error home-missing`, one a line.
fn ids(change: impl FnOnce(&mut Checkup)) -> Vec<String> {
    found(change)
        .iter()
        .map(|f| format!("{} {}", f.severity, f.id))
        .collect()
}

fn text(change: impl FnOnce(&mut Checkup)) -> String {
    let mut out = String::new();
    for finding in found(change) {
        out += &format!("{} [{}] {}\n", finding.severity, finding.id, finding.what);
        for line in finding.evidence {
            out += &format!("  {line}\n");
        }
        for line in finding.mend {
            out += &format!("  $ {line}\n");
        }
    }
    out
}

fn container<'a>(seen: &'a mut Checkup, service: &str) -> &'a mut ContainerMore {
    let mut all = seen.containers.iter_mut();
    all.find(|c| c.service.as_str() == service).unwrap()
}

fn host(seen: &mut Checkup) -> &mut Vec<mounts::Mount> {
    seen.mounts.as_mut().unwrap()
}

/// All volumes in Docker's own directory on the root disk.
fn on_volumes(seen: &mut Checkup) {
    let disk = seen.world.docker_disk.as_mut().unwrap();
    disk.mount_root = "/var/lib/docker/volumes".to_owned();
    for volume in &mut seen.world.volumes {
        volume.home = Home::Volume;
    }
    seen.homes = BTreeMap::new();
    seen.known.written = None;
}

#[test]
fn a_clean_stack_has_no_finding_but_that_of_backups() {
    let diagnosis = diagnose(&clean());
    let all: Vec<_> = diagnosis.findings.iter().map(|f| f.id).collect();
    assert_eq!(all, ["no-backup"]);
    assert_eq!(diagnosis.count(Severity::Error), 0);
    assert_eq!((diagnosis.volumes, diagnosis.services), (4, 6));
}

#[test]
fn the_worst_comes_first() {
    let all = ids(|seen| {
        seen.engine = "20.10.24+dfsg1".to_owned();
        container(seen, "db").restart = "no".to_owned();
        seen.known.unfinished = Some(RunId::new("7k2f9q").unwrap());
    });
    assert_eq!(
        all,
        [
            "error unfinished-run",
            "warning no-restart-policy",
            "note engine-old"
        ]
    );
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
    error [home-not-mounted] the home of volume `postgres_data` is on the root disk: its block volume is not mounted
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

#[test]
fn containers_on_another_volume_than_the_files_say() {
    assert_eq!(
        ids(|seen| {
            container(seen, "db").mounts[0].kind =
                MountKind::Volume(volume_name("kms-connect_postgres_data"));
            container(seen, "db").table = None;
        }),
        ["error other-volume"]
    );
    assert_eq!(
        ids(|seen| container(seen, "redis").mounts.clear()),
        ["error other-volume"]
    );
}

#[test]
fn an_override_that_nothing_reads_or_that_has_no_effect() {
    assert_eq!(
        ids(|seen| {
            seen.known.files.pop();
            for container in &mut seen.containers {
                container.config_files.pop();
            }
        }),
        ["error override-inactive"]
    );
    assert_eq!(
        ids(|seen| {
            let written = seen.known.written.as_mut().unwrap();
            written
                .deviations
                .push("volume media_volume does not lead to its home".to_owned());
            written.gone.push(key("old_data"));
            written.edited = true;
        }),
        [
            "error override-without-effect",
            "warning override-outdated",
            "note override-edited"
        ]
    );
}

#[test]
fn trap_29_containers_made_with_other_files_are_found() {
    assert_snapshot!(text(|seen| { container(seen, "db").config_files.pop(); }), @r"
    warning [other-files] containers were made with other Compose files than those that are read here
      read here: /srv/kms/docker-compose.prod.yml, /srv/kms/docker-compose.prod.block.yml
      container kms-connect-db-1 was made with /srv/kms/docker-compose.prod.yml
      $ rehome compose -- up -d db
    ");
    // Whoever has no volume of the override was left alone by the move.
    assert!(
        ids(|seen| {
            seen.known
                .written
                .as_mut()
                .unwrap()
                .keys
                .remove(&key("redis_data"));
            container(seen, "redis").config_files.pop();
        })
        .is_empty()
    );
}

#[test]
fn a_bind_that_docker_would_make() {
    let bind = |source: &str, create| BindSeen {
        service: service_name("api"),
        source: source.into(),
        target: "/data".to_owned(),
        create,
    };
    assert_eq!(
        ids(|seen| seen.binds.push(bind("/mnt/kms-data/sites/a", Some(true)))),
        ["error bind-is-created"]
    );
    for harmless in [
        bind("/mnt/kms-data/sites/a", Some(false)),
        bind("/mnt/kms-data/sites/a", None),
        bind("/srv/kms/nginx.conf", Some(true)),
    ] {
        assert!(ids(|seen| seen.binds.push(harmless)).is_empty());
    }
    assert_eq!(
        ids(|seen| {
            seen.compose = Version::parse("5.0.0").unwrap();
            seen.binds.push(bind("/mnt/kms-data/sites/a", None));
        }),
        ["unknown bind-is-created"]
    );
}

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
