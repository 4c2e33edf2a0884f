//! `rehome doctor`: faults beside the everyday ones, each planted on a real stack on a real block volume, found by its id,
//! and gone when it is mended.

use std::collections::BTreeSet;

use crate::doctor::{careful, careful_up, doctor_on, finds_on, moved};
use crate::stacks::postgres_up;
use crate::support::{BUSYBOX, Block, Run, Stack, sh};

/// The ids of everything that is found, notes too.
#[track_caller]
fn everything(run: &Run) -> BTreeSet<String> {
    let json = run.json();
    let findings = json["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Whether this is found.
#[track_caller]
fn finds(block: &Block, stack: &Stack, id: &str) -> bool {
    everything(&stack.rehome(&format!("{} --json", doctor_on(block)))).contains(id)
}

#[test]
fn what_else_the_next_boot_does_wrong_is_found() {
    let block = Block::by_rehome(160);
    let stack = careful_up();
    moved(&stack, &block);
    finds_on(&block, &stack, 0, &[]);
    let sysroot = block.sysroot.as_ref().unwrap();
    let fstab = sysroot.join("etc/fstab");
    let line = std::fs::read_to_string(&fstab).unwrap();
    let write = |text: &str| std::fs::write(&fstab, text).unwrap();
    let (root, device, at) = (block.path(), block.device.as_str(), sysroot.display());
    let uuid = sh(&format!("blkid -p -o value -s UUID {device}"));

    write(&line.replace(&uuid, "11111111-2222-3333-4444-555555555555"));
    finds_on(&block, &stack, 3, &["other-volume-at-boot"]);
    write(&line.replace("nofail", "nofail,noauto"));
    finds_on(&block, &stack, 3, &["no-auto"]);
    write(&format!("{line}UUID={uuid} /srv/elsewhere ext4 nofail 0 2\n"));
    finds_on(&block, &stack, 0, &["mounted-twice"]);
    write(&line);

    // Trap 28: nothing mounts what is attached late.
    sh(&format!("rm -r {at}/etc/systemd/system/*.device.wants"));
    finds_on(&block, &stack, 0, &["late-volume-unmounted"]);
    block.mount();
    finds_on(&block, &stack, 0, &[]);

    sh(&format!("mv {root}/.rehome-{uuid} {at}/kept"));
    finds_on(&block, &stack, 0, &["sentinel-gone"]);
    sh(&format!("truncate -s 3 {root}/.rehome-{uuid}"));
    finds_on(&block, &stack, 0, &["sentinel-torn"]);
    block.mount();
    finds_on(&block, &stack, 0, &[]);

    // One that was made of a snapshot.
    let copy = sh(&format!(
        "cp --sparse=always \"$(losetup -nO BACK-FILE {device})\" {at}/copy && losetup --find --show {at}/copy"
    ));
    finds_on(&block, &stack, 3, &["copy-attached"]);
    sh(&format!("losetup --detach {copy} && rm {at}/copy"));
    finds_on(&block, &stack, 0, &[]);

    // Over itself: what is below comes to light when one is unmounted.
    sh(&format!("mount --bind {root} {root}"));
    finds_on(&block, &stack, 0, &["stacked-mounts"]);
    sh(&format!("umount {root}"));
    finds_on(&block, &stack, 0, &[]);

    sh(&format!(
        "cd {at}/dev/disk/by-id && mv scsi-0HC_Volume_* nvme-Amazon_EC2_NVMe_Instance_Storage_AWS1"
    ));
    finds_on(&block, &stack, 3, &["disk-of-the-host"]);
}

#[test]
fn a_disk_that_is_full_or_will_be_is_found() {
    let block = Block::by_rehome(160);
    let stack = careful_up();
    moved(&stack, &block);
    finds_on(&block, &stack, 0, &[]);
    let root = block.path();
    sh(&format!(
        "cat /dev/zero >{root}/fill 2>/dev/null || test -s {root}/fill; sync"
    ));
    finds_on(&block, &stack, 3, &["disk-full"]);
    sh(&format!("rm {root}/fill"));
    // Nearly all inodes.
    sh(&format!(
        "mkdir {root}/many && cd {root}/many && seq $(($(df --output=iavail . | tail -1) - 100)) | xargs touch"
    ));
    finds_on(&block, &stack, 3, &["inodes-used"]);
    sh(&format!("rm -r {root}/many"));
    finds_on(&block, &stack, 0, &[]);

    // It was empty two days ago, as far as the measurements say.
    sh(&format!(
        "cd {root}/data && head -c 40M /dev/urandom >large && mkdir many && cd many && seq 6000 | xargs touch; sync"
    ));
    stack.rehome("size").exits(0);
    finds_on(&block, &stack, 0, &[]);
    let file = sh(&format!("find {} -name 'sizes*' -type f", stack.state.display()));
    let text = std::fs::read_to_string(&file).unwrap();
    let mut measured: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    measured["at"] = sh("date -u -d '2 days ago' +%Y-%m-%dT%H:%M:%SZ").into();
    measured["bytes"]["data"] = 4096.into();
    measured["entries"]["data"] = 1.into();
    std::fs::write(&file, format!("{measured}\n")).unwrap();
    finds_on(&block, &stack, 3, &["full-soon", "inodes-soon"]);
}

#[test]
fn what_runs_and_moves_leave_behind_is_found() {
    let block = Block::by_rehome(160);
    let stack = careful_up();
    assert!(!finds(&block, &stack, "old-home"));
    moved(&stack, &block);
    assert!(finds(&block, &stack, "old-home"));

    // Trap 4: another project left one of that name.
    let other = format!("{}-other_data", stack.name);
    sh(&format!(
        "docker volume create --label com.docker.compose.project={0}-other --label com.docker.compose.volume=data {other}",
        stack.name
    ));
    // Stacks of other tests may leave one too.
    let named = || {
        let run = stack.rehome(&format!("{} --json", doctor_on(&block)));
        let findings = run.json()["findings"].as_array().unwrap().clone();
        let mut namesakes = findings.iter().filter(|finding| finding["id"] == "namesake");
        namesakes.any(|finding| finding["evidence"].to_string().contains(&other))
    };
    let seen = named();
    sh(&format!("docker volume rm {other}"));
    assert!(seen && !named());

    // An engine or a Compose that is old is said, and no other.
    let older = |version: &str, than: u32| {
        let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
        numbers.next().unwrap() * 100 + numbers.next().unwrap() < than
    };
    let engine = sh("docker version --format '{{.Server.Version}}'");
    assert_eq!(finds(&block, &stack, "engine-old"), older(&engine, 2300));
    let compose = sh("docker compose version --short");
    assert_eq!(
        finds(&block, &stack, "compose-old"),
        older(compose.trim_start_matches('v'), 232)
    );

    // A move that died.
    let dead = stack.rehome_env("move --to volumes -y", &[("REHOME_CRASH_AT", "after-apply:0")]);
    assert_eq!(dead.code, -1, "{}", dead.err);
    let run = stack.rehome(&format!("{} --json", doctor_on(&block))).exits(3);
    assert!(everything(&run).contains("unfinished-run"), "{}", run.out);
    stack.rehome("rollback -y").exits(0);
    assert!(!finds(&block, &stack, "unfinished-run"));
}

#[test]
fn an_override_that_is_not_what_it_was_is_found() {
    let block = Block::by_rehome(160);
    let two = careful()
        .replace("> /data/file", "| tee /data/file > /more/file")
        .replace("[\"data:/data\"]", "[\"data:/data\", \"more:/more\"]")
        + "  more:\n";
    let stack = Stack::write(&two);
    stack.compose("up -d --wait");
    moved(&stack, &block);
    finds_on(&block, &stack, 0, &[]);
    let name = sh(&format!("cd {} && ls *.block.yml", stack.dir.display()));
    let written = stack.read(&name);

    stack.file(&name, &format!("{written}# by hand\n"));
    assert!(finds(&block, &stack, "override-edited"));
    stack.file(&name, "volumes: {}\n");
    assert!(finds(&block, &stack, "override-foreign"));
    stack.file(&name, &written);
    finds_on(&block, &stack, 0, &[]);

    let elsewhere = [("COMPOSE_FILE", "docker-compose.yml")];
    let run = stack.rehome_env(&format!("{} --json", doctor_on(&block)), &elsewhere);
    assert!(everything(&run).contains("shell-compose-file"), "{}", run.out);

    // The project has one volume less.
    stack.file("docker-compose.yml", &careful());
    stack.compose("up -d --wait");
    assert!(finds(&block, &stack, "override-outdated"));
    // Nothing forgets where its data is: it comes back with it.
    stack.rehome("override --write").exits(0);
    sh(&format!("echo kept >> {}/more/file", block.path()));
    stack.file(
        "docker-compose.yml",
        &two.replace("tee", "tee -a").replace("> /more", ">> /more"),
    );
    stack.compose("up -d --wait");
    assert!(!finds(&block, &stack, "override-outdated"));
    assert_eq!(stack.exec("app", "cat /more/file"), "hello\nkept\nhello");

    let plain = careful()
        .lines()
        .filter(|line| !line.contains("healthcheck"))
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    stack.file("docker-compose.yml", &plain);
    assert!(!finds(&block, &stack, "no-healthcheck"));
    stack.compose("up -d");
    assert!(finds(&block, &stack, "no-healthcheck"));
}

#[test]
fn trap_28_a_unit_that_would_start_other_services_than_run_is_found() {
    let block = Block::by_rehome(160);
    let stack = careful_up();
    moved(&stack, &block);
    let sysroot = block.sysroot.as_ref().unwrap().display();
    let again = format!("mount --at /mnt/data --yes --sysroot {sysroot}");
    stack.rehome(&again).exits(0);
    finds_on(&block, &stack, 0, &[]);
    let side = format!(
        "  side:\n    image: {BUSYBOX}\n    command: [\"sleep\", \"1000000\"]\n    init: true\n    restart: unless-stopped\nvolumes:\n"
    );
    stack.file(
        "docker-compose.yml",
        &careful().replace("volumes:\n  data", &format!("{side}  data")),
    );
    stack.compose("up -d");
    finds_on(&block, &stack, 0, &["stack-unit-outdated"]);
    stack.rehome(&again).exits(0);
    finds_on(&block, &stack, 0, &[]);
}

#[test]
fn trap_07_data_of_another_version_and_pages_without_checksums_are_found() {
    let block = Block::by_rehome(160);
    let stack = postgres_up();
    let version = stack.volume_dir("postgres_data").join("pgdata/PG_VERSION");
    let said = std::fs::read_to_string(&version).unwrap();
    assert!(!finds(&block, &stack, "postgres-version"));
    std::fs::write(&version, "14\n").unwrap();
    let seen = finds(&block, &stack, "postgres-version");
    std::fs::write(&version, said).unwrap();
    assert!(seen && !finds(&block, &stack, "postgres-version"));

    // As the image makes it; and what the finding says mends it.
    let run = stack.rehome(&format!("{} --json", doctor_on(&block)));
    let json = run.json();
    let found = json["findings"].as_array().unwrap();
    let checksums = found.iter().find(|f| f["id"] == "checksums-off").unwrap();
    for mend in checksums["mend"].as_array().unwrap() {
        let command = mend.as_str().unwrap().strip_prefix("rehome ").unwrap();
        stack.rehome(command).exits(0);
    }
    stack.compose("up -d --wait");
    assert_eq!(
        stack.exec("db", "psql -qtAX -U app -d app -c 'show data_checksums'"),
        "on"
    );
    assert!(!finds(&block, &stack, "checksums-off"));
}
