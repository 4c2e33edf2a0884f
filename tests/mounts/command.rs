//! `rehome mount` as a whole, on a make-believe machine with real loop devices.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::server::{FSTAB, Server};
use super::support::sh;

#[test]
fn an_empty_volume_is_mounted_and_safe_and_the_second_run_changes_nothing() {
    let server = Server::new();
    let said = server.mounts(&["--device", "auto", "--label", "kms-data"]);
    assert!(said.contains("rehome move --to /mnt/kms-data"), "{said}");
    assert!(
        said.contains("the Docker engine does not start at boot"),
        "the blast radius is said: {said}"
    );
    server.is_done();
    let before = std::fs::read(server.at("etc/fstab")).unwrap();
    let said = server.mounts(&[]);
    assert!(said.contains("nothing was left to do"), "{said}");
    assert_eq!(std::fs::read(server.at("etc/fstab")).unwrap(), before);
    server.is_done();
}

#[test]
fn a_program_is_told_how_far_it_is_now_and_then_and_in_the_end_what_was_done() {
    let server = Server::new();
    // What would be done is one document, and nothing besides.
    let plan: serde_json::Value = serde_json::from_str(&server.mounts(&["--dry-run", "--json"])).unwrap();
    assert_eq!(plan["actions"][0]["title"], "make a file system", "{plan}");
    let said = server.mounts(&["--json"]);
    let lines = said.lines().filter(|line| line.starts_with('{'));
    let events: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let progress = events.iter().filter(|event| event["event"] == "progress");
    let (first, last) = (
        progress.clone().next().unwrap(),
        progress.clone().next_back().unwrap(),
    );
    assert!(first["bytes"].as_u64() <= last["bytes"].as_u64());
    // Four thousand places were read.
    assert!(progress.count() < 500, "{said}");
    let finished = events.last().unwrap();
    assert_eq!(finished["outcome"], "done", "{said}");
    assert_eq!(finished["report"]["uuid"], server.uuid(), "{said}");
    let done = finished["report"]["done"].as_array().unwrap();
    assert!(done.contains(&"write the sentinel".into()), "{said}");
    let undone = server.mounts(&["--undo", "--json"]);
    let finished: serde_json::Value = serde_json::from_str(undone.lines().last().unwrap()).unwrap();
    assert!(
        finished["report"]["done"]
            .as_array()
            .unwrap()
            .contains(&"unmount /mnt/kms-data".into()),
        "{undone}"
    );
}

#[test]
fn a_dry_run_prints_every_line_and_changes_nothing() {
    let server = Server::new();
    let before = (server.sum(0), server.fstab());
    let said = server.mounts(&["--dry-run"]);
    for line in [
        "mkfs.ext4 -q",
        "chattr +i /mnt/kms-data",
        "nofail,discard",
        "mount /mnt/kms-data",
        ".rehome-",
        "RequiresMountsFor=",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!((server.sum(0), server.fstab()), before);
    assert!(!server.point().exists());
}

#[test]
fn trap_25_a_volume_with_content_is_refused_and_not_one_byte_changes() {
    let server = Server::new();
    // In the middle, where nobody looks by name.
    sh(
        "dd",
        &[
            &"if=/dev/urandom",
            &format!("of={}", server.volumes[0].display()),
            &"bs=1M",
            &"count=8",
            &"seek=150",
            &"conv=notrunc",
            &"status=none",
        ],
    );
    let before = server.sum(0);
    let (code, said) = server.mount(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("is not empty") && said.contains("wipefs -a"),
        "{said}"
    );
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
    assert!(!server.point().exists());
}

#[test]
fn of_two_free_volumes_none_is_chosen() {
    let server = Server::with(2);
    sh("mkfs.ext4", &[&"-q", &server.volumes[1]]);
    let before = (server.sum(0), server.sum(1));
    let (code, said) = server.mount(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("data-0") && said.contains("data-1") && said.contains("a file system (ext4)"),
        "{said}"
    );
    assert_eq!((server.sum(0), server.sum(1)), before);
    // Named, it is.
    server.mounts(&["--device", "/dev/disk/by-id/scsi-0DO_Volume_data-0"]);
    server.is_done();
    // And then the other one is the only one that is free, but the place is taken by the first: run again, not changed.
    let said = server.mounts(&[]);
    assert!(said.contains("nothing was left to do"), "{said}");
}

#[test]
fn the_volume_of_each_cloud_is_found_by_its_name() {
    let server = Server::new();
    let (disks, before) = (server.at("dev/disk"), server.sum(0));
    std::fs::remove_dir_all(&disks).unwrap();
    for (name, cloud) in [
        ("by-id/scsi-0DO_Volume_kms-data", "DigitalOcean"),
        ("by-id/scsi-0HC_Volume_1234567", "Hetzner"),
        (
            "by-id/nvme-Amazon_Elastic_Block_Store_vol0a1b2c3d4e5f60718",
            "AWS",
        ),
        ("by-id/google-kms-data", "Google Cloud"),
        ("by-id/scsi-0Linode_Volume_kms-data", "Linode"),
        ("azure/scsi1/lun0", "Azure"),
        ("azure/data/by-lun/0", "Azure"),
        (
            "by-id/scsi-0SCW_b_ssd_volume-f7a6f113-1111-2222-3333-444444444444",
            "Scaleway",
        ),
        // Vultr, and OpenStack with OVHcloud.
        ("by-id/virtio-ewr-0123456789abcd", "virtio"),
        ("by-id/virtio-0a1b2c3d-1111-2222-3", "virtio"),
    ] {
        let link = disks.join(name);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&server.volumes[0], &link).unwrap();
        let said = server.mounts(&["--device", "auto", "--dry-run"]);
        assert!(
            said.starts_with(&format!("/dev/disk/{name} of {cloud}")) && said.contains("mkfs.ext4"),
            "{said}"
        );
        std::fs::remove_file(&link).unwrap();
    }
    // A name that no cloud gives is not taken for a volume.
    std::os::unix::fs::symlink(&server.volumes[0], disks.join("by-id/ata-QEMU_HARDDISK")).unwrap();
    let (code, said) = server.mount(&["--device", "auto", "--dry-run"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("no volume of a cloud is attached"), "{said}");
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
}

#[test]
fn a_disk_of_the_host_is_no_volume() {
    let server = Server::new();
    let by_id = server.at("dev/disk/by-id");
    let link = by_id.join("nvme-Amazon_EC2_NVMe_Instance_Storage_AWS1234");
    std::fs::rename(by_id.join("scsi-0DO_Volume_data-0"), &link).unwrap();
    let before = server.sum(0);
    for more in [
        &[][..],
        &[
            "--device",
            "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_AWS1234",
        ],
    ] {
        let (code, said) = server.mount(more);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("gone when the machine is stopped"), "{said}");
    }
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
}

#[test]
fn a_volume_with_files_is_mounted_as_it_is() {
    let server = Server::new();
    sh("mkfs.xfs", &[&"-q", &server.volumes[0]]);
    let uuid = server.uuid();
    std::fs::create_dir(server.point()).unwrap();
    sh("mount", &[&server.volumes[0], &server.point()]);
    std::fs::write(server.point().join("kept"), "of another server").unwrap();
    sh("umount", &[&server.point()]);
    let said = server.mounts(&[]);
    assert!(said.contains("it has a file system already (xfs"), "{said}");
    assert!(said.contains("are used; in its root: kept\n"), "{said}");
    assert_eq!(
        std::fs::read_to_string(server.point().join("kept")).unwrap(),
        "of another server"
    );
    assert_eq!(server.uuid(), uuid);
    assert!(server.fstab().ends_with(",x-rehome 0 0\n"), "{}", server.fstab());
}

#[test]
fn the_way_back_leaves_the_machine_as_it_was_and_the_data_on_the_volume() {
    let server = Server::new();
    server.mounts(&[]);
    std::fs::write(server.point().join("kept"), "data").unwrap();
    let open = std::fs::File::open(server.point().join("kept")).unwrap();
    let (code, said) = server.mount(&["--undo"]);
    assert_eq!(code, Some(1), "it is in use: {said}");
    assert!(said.contains("busy"), "{said}");
    drop(open);
    server.mounts(&["--undo"]);
    assert_eq!((server.source().as_str(), server.fstab().as_str()), ("", FSTAB));
    assert!(!server.at("etc/systemd/system/docker.service.d").exists());
    std::fs::write(server.point().join("writable"), "").unwrap();
    std::fs::remove_file(server.point().join("writable")).unwrap();
    let said = server.mounts(&["--undo"]);
    assert!(said.contains("Nothing is left to do"), "{said}");
    server.mounts(&[]);
    assert_eq!(
        std::fs::read_to_string(server.point().join("kept")).unwrap(),
        "data"
    );
    server.is_done();
}

#[test]
fn killed_at_any_moment_another_run_finishes() {
    let server = Server::new();
    let mut killed = 0;
    for millis in (0..).map(|turn| 3 + turn * 7) {
        let mut child = server
            .command(&[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        killed += 1;
        // Whatever mkfs or mount was started goes on by itself for a moment, and holds the lock meanwhile.
        assert_eq!(
            std::fs::read_to_string(server.at("etc/fstab"))
                .unwrap()
                .matches(FSTAB)
                .count(),
            1
        );
        assert!(millis < 60_000, "it never finishes");
    }
    assert!(killed > 5, "{killed}");
    server.mounts(&[]);
    server.is_done();
    let records = std::fs::read_dir(server.dir.path().join("state/host")).unwrap();
    let left: Vec<_> = records
        .map(|entry| entry.unwrap().file_name())
        // A record that was never named is read by nobody.
        .filter(|name| name != "lock" && !name.to_string_lossy().starts_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_lies_in_the_mount_point_is_not_hidden() {
    let server = Server::new();
    std::fs::create_dir_all(server.point().join("postgres")).unwrap();
    std::fs::write(server.point().join("postgres/PG_VERSION"), "15\n").unwrap();
    let before = server.sum(0);
    let (code, said) = server.mount(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("PG_VERSION"), "{said}");
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
    assert_eq!(server.source(), "");
}

#[test]
fn links_of_an_image_that_lead_out_of_it_are_refused_and_the_machine_is_left_alone() {
    let server = Server::new();
    let theirs = server.dir.path().join("fstab of the machine");
    std::fs::rename(server.at("etc/fstab"), &theirs).unwrap();
    std::os::unix::fs::symlink(&theirs, server.at("etc/fstab")).unwrap();
    let before = server.sum(0);
    let (code, said) = server.mount(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("leads out of") && said.contains(theirs.to_str().unwrap()),
        "{said}"
    );
    assert_eq!(
        (server.sum(0), std::fs::read_to_string(&theirs).unwrap()),
        (before.clone(), FSTAB.to_owned())
    );
    // Units as well, and what is to be made in a directory that is one of the machine's.
    std::fs::remove_file(server.at("etc/fstab")).unwrap();
    std::fs::rename(&theirs, server.at("etc/fstab")).unwrap();
    let units = server.dir.path().join("units");
    std::fs::rename(server.at("etc/systemd"), &units).unwrap();
    std::os::unix::fs::symlink(&units, server.at("etc/systemd")).unwrap();
    let (code, said) = server.mount(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
    assert_eq!(sh("find", &[&units, &"-type", &"f"]), "");
    // One that leads to another place in it is followed.
    std::fs::remove_file(server.at("etc/systemd")).unwrap();
    std::fs::rename(&units, server.at("etc/of systemd")).unwrap();
    std::os::unix::fs::symlink("of systemd", server.at("etc/systemd")).unwrap();
    server.mounts(&[]);
    server.is_done();
}

#[test]
fn an_image_that_was_never_started_gets_its_units_when_it_has_a_systemd() {
    let server = Server::new();
    std::fs::remove_dir_all(server.at("run")).unwrap();
    let said = server.mounts(&["--dry-run"]);
    assert!(said.contains("systemd does not run here"), "{said}");
    std::fs::create_dir_all(server.at("usr/lib/systemd")).unwrap();
    std::fs::write(server.at("usr/lib/systemd/systemd"), "").unwrap();
    server.mounts(&[]);
    server.is_done();
}

#[test]
fn a_mount_point_behind_a_symlink_and_a_file_are_refused_with_what_works() {
    let server = Server::new();
    std::os::unix::fs::symlink("mnt", server.at("data")).unwrap();
    std::fs::write(server.at("file"), "").unwrap();
    let before = server.sum(0);
    for (at, words) in [
        ("/data/kms-data", "--at /mnt/kms-data"),
        ("/file", "is no directory"),
        ("/file/below", "is no directory"),
    ] {
        for more in [&[][..], &["--undo"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rehome"));
            let output = command
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .current_dir(server.dir.path())
                .args(["mount", "--yes", "--at", at, "--sysroot"])
                .arg(server.at(""))
                .arg("--state-dir")
                .arg(server.dir.path().join("state"))
                .args(more)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(
                said.contains(words) && said.contains("nothing was changed"),
                "{said}"
            );
        }
    }
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
}
