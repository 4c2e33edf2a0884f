//! A killed mkfs is finished, and nothing else is taken for one.

use std::process::{Command, Stdio};
use std::time::Duration;

use rehome::block::device::by_path;
use rehome::block::format::{FileSystem, Formatted, Wanted, finish, format, unfinished};
use rehome::block::found::not_empty;
use rehome::block::intent::Intent;
use rehome::block::opened::Opened;
use rehome::block::sysroot::Sysroot;
use rehome::model::{Failure, Result};
use rehome::observe::ContentSeen;
use rehome::observe::mounting::{self, Holding};

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

/// What `rehome mount` does with a device of which there is a record.
async fn end(disk: &Loop, fs: &str) -> Result<Formatted> {
    let opened = disk.open().await.unwrap();
    record(disk, &opened, fs, |_| {});
    drop(opened);
    again(disk, fs).await
}

/// The same with whatever record there is.
async fn again(disk: &Loop, fs: &str) -> Result<Formatted> {
    let device = by_path(&Sysroot::new(None), &disk.node)?;
    let (seen, held) = mounting::device(
        &Sysroot::new(None),
        device,
        &disk.node,
        None,
        disk.dir.path(),
        false,
        &mut |_, _| {},
    )
    .await?;
    let (opened, holding) = held.unwrap();
    match (holding, seen.content) {
        (Holding::Begun(intent), _) => finish(opened, intent, disk.dir.path()).await,
        (Holding::Empty(proof), _) => {
            let fs = if fs == "ext4" {
                FileSystem::Ext4
            } else {
                FileSystem::Xfs
            };
            let wanted = Wanted::new(fs, None).unwrap();
            format(opened, proof, &wanted, Vec::new(), disk.dir.path()).await
        }
        (Holding::AsItIs, ContentSeen::NotEmpty(found)) => Err(not_empty(&disk.node, &found)),
        (Holding::AsItIs, ContentSeen::FileSystem { fs_type, .. }) => Err(Failure::refused(format!(
            "a file system ({fs_type}), which is mounted as it is"
        ))),
        (Holding::AsItIs, content) => Err(Failure::refused(format!("{content:?}"))),
    }
}

#[track_caller]
fn whole(disk: &Loop, made: &Formatted) {
    let said = bash("blkid -p -s UUID -o value $1", &[&disk.node]);
    assert_eq!(said, made.uuid.to_string());
    bash(
        "if [[ $2 == ext4 ]]; then e2fsck -fn $1; else xfs_repair -n $1; fi",
        &[&disk.node, &made.fs.to_string()],
    );
    assert_eq!(Intent::all(disk.dir.path()).unwrap(), []);
}

#[tokio::test]
async fn mkfs_killed_at_any_moment_is_finished_or_left_to_a_person() {
    let mut finished = Vec::new();
    for fs in ["ext4", "xfs"] {
        for millis in [1, 3, 6, 10, 20, 200] {
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
            let before = disk.sum();
            match end(&disk, fs).await {
                Ok(made) => {
                    whole(&disk, &made);
                    finished.push(fs);
                }
                // Of this nothing can be recognised, and it is not empty: it may be anything.
                Err(refused) => {
                    assert_eq!(fs, "ext4", "{refused:?}");
                    assert!(
                        words(&refused).contains("Rehome began an ext4 on it at 2026-01-01T00:00:00Z"),
                        "{refused:?}"
                    );
                    assert_eq!(disk.sum(), before);
                }
            }
        }
    }
    assert!(
        finished.iter().filter(|fs| **fs == "xfs").count() == 6 && finished.len() > 6,
        "{finished:?}"
    );
}

#[tokio::test]
async fn what_has_no_superblock_is_not_taken_for_what_was_begun() {
    // A mkfs that was killed before the end looks like this, and so does a file system that was used for a year and
    // lost its start, of whose mkfs a record was left.
    let used = "mkfs.ext4 -q -U 11111111-2222-4333-8444-555555555555 -d /usr/share/doc/e2fsprogs $1
         dd if=/dev/zero of=$1 bs=1M count=1 conv=notrunc status=none";
    let begun = "mkfs.ext4 -q -U 11111111-2222-4333-8444-555555555555 $1
         dd if=/dev/zero of=$1 bs=1024 seek=1 count=1 conv=notrunc status=none";
    let raw = "dd if=/dev/urandom of=$1 bs=1M seek=64 count=8 conv=notrunc status=none";
    for (make, fs) in [
        (used, "ext4"),
        (used, "xfs"),
        (begun, "ext4"),
        (raw, "ext4"),
        (raw, "xfs"),
    ] {
        let disk = Loop::of("320M", make);
        let before = disk.sum();
        let refused = end(&disk, fs).await.unwrap_err();
        assert!(
            words(&refused).contains("is not empty") && words(&refused).contains("Rehome began an"),
            "{make}: {refused:?}"
        );
        assert_eq!(disk.sum(), before, "{make}");
        // Nor by whoever does not look.
        let opened = disk.open().await.unwrap();
        let intent = unfinished(disk.dir.path(), &opened).unwrap().unwrap();
        let refused = finish(opened, intent, disk.dir.path()).await.unwrap_err();
        assert!(refused.what.contains("is not to be seen on it"), "{refused:?}");
        assert_eq!(disk.sum(), before, "{make}");
    }
}

#[tokio::test]
async fn a_record_of_a_device_that_is_empty_is_void_and_what_is_wanted_now_is_made() {
    let disk = Loop::of("320M", "");
    let opened = disk.open().await.unwrap();
    record(&disk, &opened, "xfs", |_| {});
    drop(opened);
    let made = again(&disk, "ext4").await.unwrap();
    assert_ne!(made.uuid.to_string(), UUID);
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
