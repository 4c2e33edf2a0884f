//! Mounting, proving what is mounted, unmounting; clones.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rehome::block::fsid::FsUuid;
use rehome::block::mounted::{self, Mounts};
use rehome::block::present::Present;
use rehome::block::sentinel::{self, Found};
use rehome::block::volume::Volume;
use rehome::model::Kind;
use rehome::observe::meant;

use super::support::{Disk, Machine, in_own_namespace, sh};

#[tokio::test]
async fn a_line_is_mounted_once_and_unmounted() {
    for fs_type in ["ext4", "xfs"] {
        let machine = Machine::with(fs_type);
        let (line, target) = (machine.line(), machine.target());
        for _ in 0..2 {
            let volume = mounted::mount(&machine.sysroot(), &line, &machine.disk.device)
                .await
                .unwrap();
            assert_eq!(volume.number().to_string(), sh("stat", &[&"-c", &"%d", &target]));
            assert!(!volume.mount().read_only);
        }
        let seen = sh(
            "findmnt",
            &[&"-n", &"-o", &"SOURCE,FSTYPE", &"--mountpoint", &target],
        );
        let seen: Vec<_> = seen.split_whitespace().collect();
        assert_eq!(seen, [machine.disk.device.to_str().unwrap(), fs_type]);
        let options = sh("findmnt", &[&"-n", &"-o", &"OPTIONS", &"--mountpoint", &target]);
        assert!(
            options.contains("noatime") && options.contains("discard"),
            "{options}"
        );
        mounted::unmount(&target).await.unwrap();
        mounted::unmount(&target).await.unwrap();
        assert_eq!(Mounts::about(&target).unwrap().here, []);
        let failure = Volume::open(&target, &machine.disk.device).unwrap_err();
        assert_eq!(failure.kind, Kind::Refused);
        assert_eq!(failure.causes, ["nothing is mounted there"]);
    }
}

#[tokio::test]
async fn what_is_in_use_stays_mounted() {
    let machine = Machine::new();
    let volume = machine.mount();
    let failure = mounted::unmount(&machine.target()).await.unwrap_err();
    assert_eq!(failure.data.as_deref(), Some("it is still mounted"));
    assert!(failure.causes[0].contains("busy"), "{failure}");
    volume.prove().unwrap();
}

#[test]
fn stacked_mounts_and_those_below_are_told() {
    let machine = Machine::new();
    let target = machine.target();
    sh("mount", &[&"-t", &"ramfs", &"under", &target]);
    sh("mount", &[&machine.disk.device, &target]);
    std::fs::create_dir(target.join("inner")).unwrap();
    sh(
        "mount",
        &[&"--bind", &target.join("lost+found"), &target.join("inner")],
    );
    let mounts = Mounts::about(&target).unwrap();
    let types: Vec<_> = mounts.here.iter().map(|mount| mount.fs_type.as_str()).collect();
    assert_eq!(types, ["ramfs", "ext4"]);
    assert_eq!(mounts.below.len(), 1);
    let around = mounts.around.unwrap();
    let theirs = sh(
        "findmnt",
        &[&"-n", &"-o", &"TARGET", &"-T", &target.parent().unwrap()],
    );
    assert_eq!(String::from_utf8(around.point).unwrap(), theirs);
    Volume::open(&target, &machine.disk.device).unwrap();
    // What is mounted over it hides it.
    sh("mount", &[&"-t", &"ramfs", &"over", &target]);
    let failure = Volume::open(&target, &machine.disk.device).unwrap_err();
    assert_eq!(failure.causes, ["what is mounted there is over (ramfs)"]);
    sh("umount", &[&target]);
    // So does a mount further up the path.
    let above = target.parent().unwrap();
    sh("mount", &[&"-t", &"ramfs", &"above", &above]);
    std::fs::create_dir(&target).unwrap();
    let failure = Volume::open(&target, &machine.disk.device).unwrap_err();
    sh("umount", &[&above]);
    assert_eq!(failure.causes, ["another mount hides it"]);
    sh("umount", &[&target.join("inner")]);
    sh("umount", &[&target]);
    sh("umount", &[&target]);
}

#[test]
fn a_part_of_a_file_system_or_a_symlink_to_it_is_not_the_volume() {
    let machine = Machine::new();
    let volume = machine.mount();
    let other = tempfile::tempdir().unwrap();
    let other = other.path().canonicalize().unwrap();
    let (part, link) = (other.join("part"), other.join("link"));
    std::fs::create_dir(&part).unwrap();
    std::os::unix::fs::symlink(machine.target(), &link).unwrap();
    sh("mount", &[&"--bind", &machine.target().join("lost+found"), &part]);
    let failure = Volume::open(&part, &machine.disk.device).unwrap_err();
    sh("umount", &[&part]);
    assert_eq!(
        failure.causes,
        ["only its directory /lost+found is mounted there"]
    );
    let failure = Volume::open(&link, &machine.disk.device).unwrap_err();
    assert_eq!(failure.causes, ["it is, or leads through, a symlink or a file"]);
    drop(volume);
}

#[test]
fn clones_are_found_by_their_uuid() {
    let (ext4, xfs, other) = (Disk::new("ext4"), Disk::new("xfs"), Disk::new("ext4"));
    let (ext4_clone, xfs_clone) = (ext4.clone(), xfs.clone());
    for disk in [&ext4, &xfs, &other] {
        let file = std::fs::File::open(&disk.device).unwrap();
        assert_eq!(FsUuid::of_device(&file).unwrap(), Some(disk.uuid()));
    }
    let all = [&ext4, &xfs, &other, &ext4_clone, &xfs_clone].map(|disk| disk.device.clone());
    let present = Present::of(all.to_vec());
    assert_eq!(present.unread, [] as [PathBuf; 0]);
    let both = |one: &Disk, two: &Disk| {
        let mut nodes = [one, two].map(|disk| disk.device.clone());
        nodes.sort();
        nodes
    };
    assert_eq!(present.with(&ext4.uuid()), both(&ext4, &ext4_clone));
    assert_eq!(present.with(&xfs.uuid()), both(&xfs, &xfs_clone));
    assert_eq!(present.with(&other.uuid()), std::slice::from_ref(&other.device));
}

#[test]
fn a_device_that_never_answers_is_told_and_nobody_waits_for_it() {
    let disk = Disk::new("ext4");
    let dir = tempfile::tempdir().unwrap();
    // Opening it takes until somebody writes, as a dead path to a disk does.
    let silent = dir.path().join("silent");
    sh("mkfifo", &[&silent]);
    let began = Instant::now();
    let present = Present::of(vec![silent.clone(), disk.device.clone()]);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(present.with(&disk.uuid()), std::slice::from_ref(&disk.device));
    assert_eq!(present.unread, [silent]);
}

#[tokio::test]
async fn of_two_clones_the_one_that_is_meant_is_mounted() {
    if !in_own_namespace("mounting::of_two_clones_the_one_that_is_meant_is_mounted") {
        return;
    }
    let machine = Machine::new();
    let (line, target) = (machine.line(), machine.target());
    let clone = machine.disk.clone();
    for disk in [&machine.disk, &clone] {
        drop(
            mounted::mount(&machine.sysroot(), &line, &disk.device)
                .await
                .unwrap(),
        );
        let found = sh("findmnt", &[&"-n", &"-o", &"SOURCE", &"--mountpoint", &target]);
        assert_eq!(found.trim(), disk.device.to_str().unwrap());
        mounted::unmount(&target).await.unwrap();
    }
}

#[tokio::test]
async fn what_became_of_a_mount_is_told_by_the_table_and_not_by_the_program() {
    if !in_own_namespace("mounting::what_became_of_a_mount_is_told_by_the_table_and_not_by_the_program") {
        return;
    }
    let machine = Machine::new();
    let (line, target) = (machine.line(), machine.target());
    // Found before the real ones, here alone.
    let programs = Path::new("/usr/local/sbin");
    sh("mount", &[&"-t", &"tmpfs", &"programs", &programs]);
    let program = |name: &str, text: &str| {
        let file = programs.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        sh("chmod", &[&"+x", &file]);
    };
    let mount = async || mounted::mount(&machine.sysroot(), &line, &machine.disk.device).await;
    // As when it is stopped: before it did anything, and after.
    program("mount", "echo so not >&2; exit 32");
    let failure = mount().await.unwrap_err();
    assert_eq!(failure.data.as_deref(), Some("it is not mounted"), "{failure}");
    program("mount", "/usr/bin/mount \"$@\"; kill -TERM $$");
    mount().await.unwrap();
    program("umount", "echo so not >&2; exit 32");
    let failure = mounted::unmount(&target).await.unwrap_err();
    assert_eq!(failure.data.as_deref(), Some("it is still mounted"), "{failure}");
    program("umount", "exit 0");
    mounted::unmount(&target).await.unwrap_err();
    program("umount", "/usr/bin/umount \"$@\"; kill -TERM $$");
    mounted::unmount(&target).await.unwrap();
    assert_eq!(Mounts::about(&target).unwrap().here, []);
    sh("/usr/bin/umount", &[&programs]);
}

#[test]
fn which_volume_rehomes_line_means_and_which_is_there_is_told() {
    let machine = Machine::new();
    let (sysroot, target) = (machine.sysroot(), machine.target());
    let root = target.join("kms");
    let write = |line: &str| std::fs::write(sysroot.at("/etc/fstab"), format!("{line}\n")).unwrap();
    // A line of somebody else says nothing about Rehome's volumes.
    write(&machine.line().to_string().replace(",x-rehome", ""));
    assert!(meant(&sysroot, &root).unwrap().is_none());
    write(&machine.line().to_string());
    assert!(meant(&sysroot, Path::new("/mnt")).unwrap().is_none());
    let look = || meant(&sysroot, &root).unwrap().unwrap();
    assert!(look().mounted.is_none());

    let volume = machine.mount();
    let there = look().mounted.unwrap();
    assert_eq!(
        (there.uuid, there.sentinel),
        (Ok(Some(machine.disk.uuid())), Ok(Found::Missing))
    );
    sentinel::make(&volume, &machine.disk.uuid()).unwrap();
    drop(volume);
    assert!(matches!(look().mounted.unwrap().sentinel, Ok(Found::Right(_))));

    // Another volume in its place, over it.
    let other = Disk::new("ext4");
    sh("mount", &[&other.device, &target]);
    let seen = look();
    let there = seen.mounted.unwrap();
    assert_eq!(seen.uuid, machine.disk.uuid());
    assert_eq!(
        (there.source, there.uuid, there.sentinel),
        (other.device.clone(), Ok(Some(other.uuid())), Ok(Found::Missing))
    );
    sh("umount", &[&target]);
    // A part of it is not the volume that the line mounts.
    std::fs::create_dir(target.join("part")).unwrap();
    sh("mount", &[&"--bind", &target.join("part"), &target]);
    let why = look().mounted.unwrap().sentinel.unwrap_err();
    sh("umount", &[&target]);
    sh("umount", &[&target]);
    assert!(why.contains("/part"), "{why}");
}
