//! An empty device is formatted, and other programs agree.

use rehome::block::device::Identity;
use rehome::block::format::{FileSystem, Formatted, Wanted, format};
use rehome::block::intent::Intent;
use rehome::block::opened::Opened;
use rehome::block::probe::{Content, Proof};
use rehome::model::Result;

use crate::support::{Loop, bash, look, open, words};

async fn proof(opened: &Opened) -> Proof {
    match look(opened).await {
        Content::Empty(proof) => proof,
        other => panic!("{other:?}"),
    }
}

async fn make(disk: &Loop, opened: Opened, fs: FileSystem) -> Result<Formatted> {
    let proof = proof(&opened).await;
    let wanted = Wanted::new(fs, Some("kms-data".into())).unwrap();
    format(opened, proof, &wanted, vec![disk.node.clone()], disk.dir.path()).await
}

#[tokio::test]
async fn an_empty_device_becomes_an_ext4_that_e2fsck_finds_clean() {
    let disk = Loop::of("300M", "");
    let made = make(&disk, disk.open().await.unwrap(), FileSystem::Ext4)
        .await
        .unwrap();
    bash("e2fsck -fn $1", &[&disk.node]);
    let said = bash(
        "blkid -p -s TYPE -s UUID -s LABEL -o value $1 | sort",
        &[&disk.node],
    );
    let mut expected = ["ext4".to_owned(), "kms-data".to_owned(), made.uuid.to_string()];
    expected.sort();
    assert_eq!(said, expected.join("\n"));
    // One hundredth is root's.
    let kept = "dumpe2fs -h $1 2>/dev/null | awk '/^Block count/ {n=$3} /^Reserved block count/ {print int(n/100)-$4}'";
    assert_eq!(bash(kept, &[&disk.node]), "0");
    assert_eq!(Intent::all(disk.dir.path()).unwrap(), []);
    assert_eq!(
        made.device,
        Identity::of(std::fs::File::open(&disk.node).unwrap()).unwrap()
    );
    let answer = disk.look().await;
    assert!(
        answer.starts_with("not empty: a file system (ext4), label `kms-data`"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_empty_device_becomes_an_xfs_that_xfs_repair_finds_clean() {
    let disk = Loop::of("320M", "");
    let made = make(&disk, disk.open().await.unwrap(), FileSystem::Xfs)
        .await
        .unwrap();
    bash("xfs_repair -n $1", &[&disk.node]);
    assert_eq!(
        bash("blkid -p -s UUID -o value $1", &[&disk.node]),
        made.uuid.to_string()
    );
    assert_eq!(Intent::all(disk.dir.path()).unwrap(), []);
}

#[tokio::test]
async fn an_empty_partition_is_formatted_and_its_disk_is_not_empty() {
    let disk = Loop::with(
        "300M",
        "echo 'start=2048, size=200M' | sfdisk -q --label gpt $1",
        "--partscan",
    );
    // A kernel without GPT is told.
    bash("[[ -e $1p1 ]] || addpart $1 1 2048 409600", &[&disk.node]);
    let answer = disk.look().await;
    assert!(
        answer.contains("a partition table (gpt)") && answer.contains("partitions: loop"),
        "{answer}"
    );
    let partition = format!("{}p1", disk.node.display());
    let outside = || {
        bash(
            "head -c 1M $1 | sha256sum; tail -c 90M $1 | sha256sum",
            &[&disk.node],
        )
    };
    let before = outside();
    let opened = open(partition.as_ref()).await.unwrap();
    // udev locks disks, so the disk is locked.
    assert_eq!(
        bash("flock --nonblock $1 true || echo locked", &[&disk.node]),
        "locked"
    );
    make(&disk, opened, FileSystem::Ext4).await.unwrap();
    bash("e2fsck -fn $1", &[&partition]);
    assert_eq!(outside(), before);
}

#[tokio::test]
async fn a_device_that_changed_after_the_proof_is_not_touched() {
    let disk = Loop::of("300M", "");
    let opened = disk.open().await.unwrap();
    let proof = proof(&opened).await;
    bash(
        "truncate -s 200M $1; losetup --set-capacity $2",
        &[&disk.image, &disk.node],
    );
    let before = disk.sum();
    let wanted = Wanted::new(FileSystem::Ext4, None).unwrap();
    let refused = format(opened, proof, &wanted, Vec::new(), disk.dir.path())
        .await
        .unwrap_err();
    assert!(
        words(&refused).contains("it had 314572800 bytes, now 209715200"),
        "{refused:?}"
    );
    assert_eq!(refused.data.as_deref(), Some("nothing was written to it"));
    assert_eq!(
        (disk.sum(), Intent::all(disk.dir.path()).unwrap()),
        (before, Vec::new())
    );
}

#[tokio::test]
async fn what_was_written_while_a_person_thought_about_it_is_not_formatted_over() {
    // A plain program writes to a device that is held.
    for write in [
        "printf x | dd of=$1 bs=1 seek=134217728 conv=notrunc,fsync status=none",
        "truncate -s 300M $1.other; mkfs.ext4 -q -L precious $1.other; dd if=$1.other of=$1 bs=1M conv=notrunc,fsync status=none",
    ] {
        let disk = Loop::of("300M", "");
        let opened = disk.open().await.unwrap();
        let proof = proof(&opened).await;
        // Beside the node: /dev takes no files of that size.
        bash(
            &write.replace("$1.other", "$2"),
            &[&disk.node, &disk.dir.path().join("other")],
        );
        let before = disk.sum();
        let wanted = Wanted::new(FileSystem::Ext4, None).unwrap();
        let refused = format(opened, proof, &wanted, Vec::new(), disk.dir.path())
            .await
            .unwrap_err();
        assert!(
            words(&refused).contains("somebody has written to it since"),
            "{refused:?}"
        );
        assert_eq!(refused.data.as_deref(), Some("nothing was written to it"));
        assert_eq!(
            (disk.sum(), Intent::all(disk.dir.path()).unwrap()),
            (before, Vec::new())
        );
    }
}

#[tokio::test]
async fn a_device_that_vanished_after_the_proof_is_not_formatted() {
    let disk = Loop::of("300M", "");
    let opened = disk.open().await.unwrap();
    let proof = proof(&opened).await;
    // What was behind it is gone: nothing can be read any more.
    bash("truncate -s 0 $1", &[&disk.image]);
    let wanted = Wanted::new(FileSystem::Ext4, None).unwrap();
    let refused = format(opened, proof, &wanted, Vec::new(), disk.dir.path())
        .await
        .unwrap_err();
    assert_eq!(
        refused.data.as_deref(),
        Some("nothing was written to it"),
        "{refused:?}"
    );
    assert_eq!(std::fs::metadata(&disk.image).unwrap().len(), 0);
    assert_eq!(Intent::all(disk.dir.path()).unwrap(), []);
}

#[tokio::test]
async fn the_proof_of_another_opening_is_no_proof_and_a_small_device_is_refused() {
    let disk = Loop::of("80M", "");
    let old = proof(&disk.open().await.unwrap()).await;
    bash(
        "printf x | dd of=$1 bs=1 seek=50000000 conv=notrunc status=none",
        &[&disk.image],
    );
    let before = disk.sum();
    let wanted = Wanted::new(FileSystem::Ext4, None).unwrap();
    let refused = format(
        disk.open().await.unwrap(),
        old,
        &wanted,
        Vec::new(),
        disk.dir.path(),
    )
    .await
    .unwrap_err();
    assert!(
        refused.what.ends_with("is not what was found empty"),
        "{refused:?}"
    );
    assert_eq!(disk.sum(), before);
    let small = Loop::of("200M", "");
    let refused = make(&small, small.open().await.unwrap(), FileSystem::Xfs)
        .await
        .unwrap_err();
    assert!(words(&refused).contains("is too small for xfs"), "{refused:?}");
}
