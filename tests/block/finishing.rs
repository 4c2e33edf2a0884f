//! A killed mkfs is finished, and nothing else is taken for one.

use std::process::{Command, Stdio};
use std::time::Duration;

use rehome::block::format::{Formatted, finish, unfinished};
use rehome::block::intent::Intent;
use rehome::block::opened::Opened;
use rehome::model::Result;

use crate::support::{Loop, bash, words};

const UUID: &str = "11111111-2222-4333-8444-555555555555";

/// The record of a mkfs that was begun on this device, as it is on the disk.
fn record(disk: &Loop, opened: &Opened, fs: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let mut record = serde_json::json!({
        "format": 1,
        "device": opened.identity(),
        "boot": bash("cat /proc/sys/kernel/random/boot_id", &[]),
        "names": [disk.node],
        "fs": fs,
        "uuid": UUID,
        "label": "data",
        "since": "2026-01-01T00:00:00Z",
    });
    change(&mut record);
    let path = disk.dir.path().join(format!("format-{UUID}.json"));
    std::fs::write(path, record.to_string()).unwrap();
}

async fn end(disk: &Loop, fs: &str) -> Result<Formatted> {
    let opened = disk.open().await.unwrap();
    record(disk, &opened, fs, |_| {});
    let intent = unfinished(disk.dir.path(), &opened).unwrap().unwrap();
    finish(opened, intent, disk.dir.path()).await
}

#[track_caller]
fn whole(disk: &Loop, made: &Formatted) {
    assert_eq!(made.uuid.to_string(), UUID);
    let said = bash("blkid -p -s UUID -o value $1", &[&disk.node]);
    assert_eq!(said, UUID);
    bash(
        "if [[ $2 == ext4 ]]; then e2fsck -fn $1; else xfs_repair -n $1; fi",
        &[&disk.node, &made.fs.to_string()],
    );
    assert_eq!(Intent::all(disk.dir.path()).unwrap(), []);
}

#[tokio::test]
async fn mkfs_killed_at_any_moment_is_finished() {
    for fs in ["ext4", "xfs"] {
        for millis in [1, 3, 6, 10, 20, 50] {
            let uuid = format!("uuid={UUID}");
            let arguments = if fs == "ext4" {
                ["-U", UUID, "-E", "nodiscard"].as_slice()
            } else {
                &["-K", "-m", &uuid]
            };
            let disk = Loop::of("400M", "");
            let mut mkfs = Command::new(format!("/sbin/mkfs.{fs}"))
                .arg("-q")
                .args(arguments)
                .arg(&disk.node)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(millis));
            mkfs.kill().unwrap();
            // Dead, and not about to be: the device is free.
            mkfs.wait().unwrap();
            let made = end(&disk, fs).await.unwrap();
            whole(&disk, &made);
        }
    }
}

#[tokio::test]
async fn what_has_no_superblock_yet_is_made_anew() {
    let mkfs = format!(
        "mkfs.ext4 -q -U {UUID} $1; dd if=/dev/zero of=$1 bs=1024 seek=1 count=1 conv=notrunc status=none"
    );
    let disk = Loop::of("100M", &mkfs);
    let made = end(&disk, "ext4").await.unwrap();
    whole(&disk, &made);
}

#[tokio::test]
async fn what_was_never_whole_and_never_mounted_is_made_anew() {
    // Without its inode tables; and an XFS that says itself that it is in progress.
    let ext4 = format!(
        "mkfs.ext4 -q -b 4096 -U {UUID} $1
         at=$(dumpe2fs $1 2>/dev/null | sed -n 's/.*Inode table at \\([0-9]*\\)-.*/\\1/p' | head -1)
         dd if=/dev/zero of=$1 bs=4096 seek=$at count=1 conv=notrunc status=none"
    );
    let xfs =
        format!("mkfs.xfs -q -m uuid={UUID} $1; xfs_db -x -c 'sb 0' -c 'write inprogress 1' $1 >/dev/null");
    for (fs, make) in [("ext4", ext4), ("xfs", xfs)] {
        let disk = Loop::of("320M", &make);
        let made = end(&disk, fs).await.unwrap();
        whole(&disk, &made);
    }
}

#[tokio::test]
async fn what_is_whole_already_is_left_as_it_is() {
    for (fs, make) in [
        ("ext4", format!("mkfs.ext4 -q -U {UUID} $1")),
        ("xfs", format!("mkfs.xfs -q -m uuid={UUID} $1")),
    ] {
        let disk = Loop::of("320M", &make);
        let before = disk.sum();
        let made = end(&disk, fs).await.unwrap();
        assert_eq!(disk.sum(), before);
        whole(&disk, &made);
    }
}

#[tokio::test]
async fn what_was_in_use_since_is_never_made_anew() {
    let disk = Loop::of("100M", &format!("mkfs.ext4 -q -b 4096 -U {UUID} $1"));
    let at = disk.dir.path().join("mnt");
    std::fs::create_dir(&at).unwrap();
    bash("mount $1 $2; cp /etc/passwd $2; umount $2", &[&disk.node, &at]);
    bash(
        "at=$(dumpe2fs $1 2>/dev/null | sed -n 's/.*Inode bitmap at \\([0-9]*\\) .*/\\1/p' | head -1)
         dd if=/dev/zero of=$1 bs=4096 seek=$at count=1 conv=notrunc status=none",
        &[&disk.node],
    );
    let before = disk.sum();
    let refused = end(&disk, "ext4").await.unwrap_err();
    assert!(
        words(&refused).contains("is not clean, and may have been in use since"),
        "{refused:?}"
    );
    assert_eq!(disk.sum(), before);
}

#[tokio::test]
async fn what_somebody_else_wrote_since_is_left_alone() {
    for (make, reason) in [
        ("mkfs.ext4 -q $1", "a file system (ext4)"),
        ("mkfs.xfs -q $1", "a file system (xfs)"),
        ("mkswap -q $1", "swap space"),
        (
            "echo 'size=10M' | sfdisk -q --label gpt $1",
            "a partition table (gpt)",
        ),
        (
            "tar -c /etc/passwd 2>/dev/null | dd of=$1 conv=notrunc status=none",
            "data of no form",
        ),
        (
            "head -c 40M /dev/urandom | dd of=$1 conv=notrunc status=none",
            "data of no form",
        ),
        (
            "printf end | dd of=$1 bs=1 seek=335544317 conv=notrunc status=none",
            "at byte 335544317",
        ),
    ] {
        let disk = Loop::of("320M", make);
        let before = disk.sum();
        for fs in ["ext4", "xfs"] {
            let refused = end(&disk, fs).await.unwrap_err();
            assert!(words(&refused).contains(reason), "{make}: {refused:?}");
            assert_eq!(disk.sum(), before, "{make}");
        }
    }
}

#[tokio::test]
async fn the_record_of_another_device_is_none_of_this_one() {
    let disk = Loop::of("100M", "");
    let opened = disk.open().await.unwrap();
    for (key, value) in [
        ("size", serde_json::json!(104_857_088)),
        ("diskseq", serde_json::json!(1)),
        ("serial", serde_json::json!("another")),
        ("start", serde_json::json!(2048)),
    ] {
        record(&disk, &opened, "ext4", |record| record["device"][key] = value);
        assert_eq!(unfinished(disk.dir.path(), &opened).unwrap(), None, "{key}");
    }
    // After a boot a device without a serial is not known again.
    record(&disk, &opened, "ext4", |record| record["boot"] = "another".into());
    assert_eq!(unfinished(disk.dir.path(), &opened).unwrap(), None);
    let intent = Intent::all(disk.dir.path()).unwrap().remove(0);
    let before = disk.sum();
    let refused = finish(opened, intent, disk.dir.path()).await.unwrap_err();
    assert!(refused.what.contains("another device"), "{refused:?}");
    assert_eq!(disk.sum(), before);
}
