//! What a check-up finds, from what was seen: each check fires on its fault, and on nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rehome::block::fstab::{Entry, Fstab};
use rehome::compose::Version;
use rehome::engine::{Mount, MountKind, State};
use rehome::helper::mounts;
use rehome::helper::protocol::{DatastoreSign, Scan};
use rehome::model::{Home, Owner, ProjectName, RunId};
use rehome::observe::{
    AnonymousSeen, BindSeen, BootSeen, Checkup, ContainerMore, EngineVolume, HomeSeen, Known, OverrideState,
    PostgresSeen, SecretFile, World, Write,
};
use rehome::plan::doctor::{Finding, Severity, diagnose};

use crate::support::*;

mod backups;
mod boot;
mod compose;
mod databases;
mod homes;
mod missing;
mod safety;
mod sites;

const FILES: [&str; 2] = [
    "/srv/kms/docker-compose.prod.yml",
    "/srv/kms/docker-compose.prod.block.yml",
];

fn mount(device: &str, point: &str, source: &str) -> mounts::Mount {
    mounts::Mount {
        id: 1,
        parent: 0,
        shared: None,
        master: None,
        device: device.to_owned(),
        root: b"/".to_vec(),
        point: point.as_bytes().to_vec(),
        fs_type: "ext4".to_owned(),
        source: source.as_bytes().to_vec(),
        read_only: false,
    }
}

/// A line of fstab.
fn line(text: &str) -> Entry {
    Fstab::parse(text.as_bytes()).entries().next().unwrap()
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
            backups: Vec::new(),
            backups_wanted: false,
            backup_schedule: None,
            now: "2001-02-03T00:00:00Z".parse().unwrap(),
            sysroot: None,
            written: Some(OverrideState {
                keys: world.volumes.iter().map(|v| v.key.clone()).collect(),
                ..OverrideState::default()
            }),
            sites: Vec::new(),
        },
        engine: "29.1.0".to_owned(),
        data_root: "/var/lib/docker".into(),
        compose: Version::parse("2.40.3").unwrap(),
        boot: BootSeen::default(),
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
        sites: Vec::new(),
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
    told(found(change))
}

fn told(findings: Vec<Finding>) -> String {
    let mut out = String::new();
    for finding in findings {
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
