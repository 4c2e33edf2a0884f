//! What is on a device: of everything that is not empty, not one byte changes, and there is no proof to format it with.

use std::path::Path;
use std::process::{Command, Stdio};

use rehome::block::probe::Content;

use crate::support::{Loop, bash, look, said, words};

/// A device with this content is not empty, for these reasons, and stays as it is.
async fn not_empty(size: &str, make: &str, reasons: &[&str]) {
    let disk = Loop::of(size, make);
    let before = disk.sum();
    let answer = disk.look().await;
    assert!(answer.starts_with("not empty: "), "{answer}");
    for reason in reasons {
        assert!(answer.contains(reason), "{reason:?} in {answer}");
    }
    assert_eq!(disk.sum(), before);
}

macro_rules! not_empty {
    ($($name:ident: $size:literal, $make:expr, $reasons:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                not_empty($size, $make, &$reasons).await;
            }
        )*
    };
}

not_empty! {
    ext4: "100M", "mkfs.ext4 -q -L books $1", ["a file system (ext4), label `books`, UUID"];
    ext4_with_its_first_mebibyte_wiped: "100M",
        "mkfs.ext4 -q $1; dd if=/dev/zero of=$1 bs=1M count=1 conv=notrunc status=none", ["data of no form"];
    one_backup_superblock_of_ext4_alone: "1G",
        "mkfs.ext4 -q -b 4096 $1; dd if=$1 of=$1.b bs=4096 skip=98304 count=1 status=none
         truncate -s 0 $1; truncate -s 1G $1; dd if=$1.b of=$1 bs=4096 seek=98304 conv=notrunc status=none",
        ["data of no form that is known, at byte 4026531"];
    xfs: "320M", "mkfs.xfs -q -L books $1", ["a file system (xfs), label `books`"];
    xfs_with_its_first_group_wiped: "320M",
        "mkfs.xfs -q $1; fallocate --punch-hole --offset 0 --length 80M $1", ["data of no form"];
    btrfs: "128M", "mkfs.btrfs -q $1", ["a file system (btrfs)"];
    the_second_superblock_of_btrfs_alone: "128M",
        "mkfs.btrfs -q $1; fallocate -p -o 0 -l 64M $1; fallocate -p -o 67112960 -l 67000000 $1",
        ["at byte 67108864"];
    minix: "16M", "mkfs.minix $1 >/dev/null", ["(minix)"];
    swap_space: "100M", "mkswap -q $1", ["swap space (swap)"];
    a_gpt: "100M", "echo 'size=10M' | sfdisk -q --label gpt $1", ["a partition table (gpt)"];
    the_backup_of_a_gpt_alone: "100M",
        "echo 'size=10M' | sfdisk -q --label gpt $1; dd if=/dev/zero of=$1 bs=1M count=1 conv=notrunc status=none",
        ["not empty"];
    an_mbr: "100M", "echo 'size=10M' | sfdisk -q --label dos $1", ["a partition table (dos)"];
    luks_1: "100M",
        "echo key | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 $1 -",
        ["an encrypted device (crypto_LUKS)"];
    luks_2: "100M",
        "echo key | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $1 -",
        ["an encrypted device (crypto_LUKS)"];
    the_second_header_of_luks_2_alone: "100M",
        "echo key | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $1 -
         dd if=/dev/zero of=$1 bs=16K count=1 conv=notrunc status=none", ["not empty"];
    a_physical_volume_of_lvm: "100M", r#"python3 - $1 <<'END'
import struct, sys
def crc(data):
    value = 0xf597a6cf
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xedb88320 if value & 1 else 0)
    return value
rest = struct.pack('<I8s', 32, b'LVM2 001') + b'0123456789abcdef0123456789abcdef'
rest = rest.ljust(512 - 20, b'\0')
with open(sys.argv[1], 'r+b') as disk:
    disk.seek(512)
    disk.write(b'LABELONE' + struct.pack('<QI', 1, crc(rest)) + rest)
END"#, ["a physical volume of LVM (LVM2_member)"];
    a_member_of_a_raid: "100M", r#"python3 - $1 <<'END'
import struct, sys
block = bytearray(4096)
struct.pack_into('<III', block, 0, 0xa92b4efc, 1, 0)
block[16:32] = b'0123456789abcdef'
struct.pack_into('<Q', block, 144, 8)
struct.pack_into('<I', block, 220, 0)
total = sum(struct.unpack_from('<64I', block))
struct.pack_into('<I', block, 216, (total & 0xffffffff) + (total >> 32) & 0xffffffff)
with open(sys.argv[1], 'r+b') as disk:
    disk.seek(4096)
    disk.write(block)
END"#, ["a member of a RAID (linux_raid_member)"];
    a_label_of_zfs: "100M", r#"python3 - $1 <<'END'
import struct, sys
with open(sys.argv[1], 'r+b') as disk:
    for number in range(8):
        disk.seek((128 << 10) + (number << 10))
        disk.write(struct.pack('<QQQ', 0x00bab10c, 5000, 100 + number))
END"#, ["not empty"];
    random_data_in_the_middle: "300M",
        "dd if=/dev/urandom of=$1 bs=1M seek=150 count=3 conv=notrunc status=none", ["data of no form"];
    one_byte_where_btrfs_has_a_mirror: "300M",
        "printf x | dd of=$1 bs=1 seek=67108864 conv=notrunc status=none", ["at byte 67108864 (67.1 MB)"];
    one_byte_where_ext4_has_a_backup: "300M",
        "printf x | dd of=$1 bs=1 seek=134217728 conv=notrunc status=none", ["at byte 134217728"];
    random_data_everywhere: "40M", "head -c 40M /dev/urandom > $1", ["not empty"];
    ones_everywhere: "40M", "head -c 40M /dev/zero | tr '\\0' '\\377' > $1", ["at byte 0 (0 B)"];
    an_archive_at_the_start: "100M", "tar -c /etc/hostname /etc/passwd 2>/dev/null | dd of=$1 conv=notrunc status=none",
        ["at byte 0"];
    a_word_at_the_very_end: "100M", "printf end | dd of=$1 bs=1 seek=104857597 conv=notrunc status=none",
        ["at byte 104857597"];
    one_byte_at_the_end_of_a_tiny_device: "4096", "printf x | dd of=$1 bs=1 seek=4095 conv=notrunc status=none",
        ["at byte 4095"];
    what_a_killed_mkfs_leaves_without_a_record: "100M",
        "mkfs.ext4 -q $1; dd if=/dev/zero of=$1 bs=1024 seek=1 count=1 conv=notrunc status=none", ["data of no form"];
}

#[tokio::test]
async fn a_device_of_zeroes_is_empty_and_stays_as_it_is() {
    for size in ["4096", "1000K", "300M", "2G"] {
        let disk = Loop::of(size, "");
        let before = disk.sum();
        let answer = disk.look().await;
        assert!(answer.starts_with("empty: "), "{size}: {answer}");
        assert_eq!(disk.sum(), before);
    }
}

#[tokio::test]
async fn one_byte_between_the_samples_is_found_when_everything_is_read() {
    // No sample, end or backup: the second half of a page at a place that is not read, which the plan itself says.
    let size = 2_u64 << 30;
    let places = rehome::block::reads::planned(size, false);
    let at = places[10].end + 100;
    assert!(places.iter().all(|place| !place.contains(&at)));
    let disk = Loop::of(
        "2G",
        &format!("printf x | dd of=$1 bs=1 seek={at} conv=notrunc status=none"),
    );
    let opened = disk.open().await.unwrap();
    assert!(said(&look(&opened).await).starts_with("empty: "));
    let mut told = Vec::new();
    let content =
        rehome::block::probe::look(&opened, true, &mut |done, total| told.push((done, total))).await;
    assert!(said(&content).contains(&format!("at byte {at}")), "{content:?}");
    assert!(told.iter().all(|(done, total)| done <= total && *total == size));
}

#[tokio::test]
async fn two_signatures_at_once_are_not_empty_whatever_blkid_decides() {
    let disk = Loop::of(
        "100M",
        "mkfs.ext4 -q -b 4096 $1; mkswap -q $1.s 2>/dev/null || { truncate -s 100M $1.s; mkswap -q $1.s; }
         dd if=$1.s of=$1 bs=1 skip=4086 seek=4086 count=10 conv=notrunc status=none",
    );
    let before = disk.sum();
    let answer = disk.look().await;
    assert!(!answer.starts_with("empty"), "{answer}");
    assert_eq!(disk.sum(), before);
}

#[tokio::test]
async fn of_a_read_only_device_and_one_without_size_it_cannot_be_told() {
    let disk = Loop::with("100M", "", "--read-only");
    assert_eq!(disk.look().await, "cannot tell: it is read-only");
    let nothing = Loop::of("0", "");
    let answer = nothing.look().await;
    assert!(answer.starts_with("cannot tell: its size is 0"), "{answer}");
}

#[tokio::test]
async fn what_is_mounted_is_in_use_also_in_another_mount_namespace() {
    let disk = Loop::of("100M", "mkfs.ext4 -q $1");
    let at = disk.dir.path().join("mnt");
    std::fs::create_dir(&at).unwrap();
    bash("mount -o ro,noload $1 $2", &[&disk.node, &at]);
    let refused = disk.open().await.unwrap_err();
    bash("umount $1", &[&at]);
    assert!(
        words(&refused).contains(&format!("it is mounted at {}", at.display())),
        "{refused:?}"
    );

    let before = disk.sum();
    let line = "mount -o ro,noload $1 $2; echo ready; read line; umount $2";
    let mut other = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", line, "sh"])
        .args([&disk.node, &at])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(other.stdout.take().unwrap()),
        &mut ready,
    )
    .unwrap();
    let refused = disk.open().await.unwrap_err();
    drop(other.stdin.take());
    other.wait().unwrap();
    let said = words(&refused);
    assert_eq!(ready, "ready\n");
    assert!(
        said.contains("is in use") && said.contains("in the mount namespace of process"),
        "{said}"
    );
    assert_eq!(disk.sum(), before);
}

#[tokio::test]
async fn swap_space_in_use_and_a_locked_device_are_in_use() {
    let disk = Loop::of("100M", "mkswap -q $1");
    bash("swapon $1", &[&disk.node]);
    let refused = disk.open().await.unwrap_err();
    bash("swapoff $1", &[&disk.node]);
    assert!(words(&refused).contains("it is swap space in use"), "{refused:?}");

    let mut other = Command::new("flock")
        .arg(&disk.node)
        .args(["sh", "-c", "echo ready; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(other.stdout.take().unwrap()),
        &mut ready,
    )
    .unwrap();
    let refused = disk.open().await.unwrap_err();
    drop(other.stdin.take());
    other.wait().unwrap();
    assert!(
        words(&refused).contains("is locked by another program"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn while_it_is_held_nobody_mounts_it_and_udev_stays_away() {
    let disk = Loop::of("100M", "mkfs.ext4 -q $1");
    let opened = disk.open().await.unwrap();
    let refused = bash("mount $1 /mnt 2>&1 || true", &[&disk.node]);
    assert!(
        refused.contains("already mounted or mount point busy"),
        "{refused}"
    );
    assert_eq!(
        bash("flock --shared --nonblock $1 true || echo locked", &[&disk.node]),
        "locked"
    );
    drop(opened);
    assert_eq!(
        bash("flock --shared --nonblock $1 true || echo locked", &[&disk.node]),
        ""
    );
}

#[tokio::test]
async fn a_device_that_another_program_writes_to_is_not_empty() {
    let disk = Loop::of("100M", "");
    let mut other = Command::new("bash")
        .args(["-c", "exec 3>>$1; echo ready; read line", "bash"])
        .arg(&disk.node)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let stdout = other.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut ready).unwrap();
    let answer = disk.look().await;
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(
        answer,
        format!("not empty: process {} (bash) has it open for writing", other.id())
    );
    assert!(disk.look().await.starts_with("empty: "));
}

#[tokio::test]
async fn a_device_that_another_is_made_of_is_not_empty() {
    let disk = Loop::of("100M", "");
    let upper = bash("losetup --find --show $1", &[&disk.node]);
    let answer = disk.look().await;
    bash("losetup --detach $1", &[&upper]);
    let name = Path::new(&upper).file_name().unwrap().to_str().unwrap();
    assert_eq!(answer, format!("not empty: devices made of it: {name}"));
}

#[tokio::test]
async fn a_device_that_changes_while_it_is_held_gives_no_proof() {
    let disk = Loop::of("100M", "");
    let opened = disk.open().await.unwrap();
    bash(
        "truncate -s 90M $1; losetup --set-capacity $2",
        &[&disk.image, &disk.node],
    );
    let content = look(&opened).await;
    assert!(!matches!(content, Content::Empty(_)), "{content:?}");
    assert!(opened.still_same().is_err());
}

#[tokio::test]
async fn trap_26_what_blkid_says_of_an_empty_an_unreadable_and_a_used_device_is_the_same_and_no_proof() {
    let blkid = |disk: &Loop| bash("set +e; blkid -p $1; echo $?", &[&disk.node]);
    let empty = Loop::of("100M", "");
    let used = Loop::of(
        "100M",
        "head -c 5M /dev/urandom | dd of=$1 bs=1M seek=50 conv=notrunc status=none",
    );
    // The disk behind it breaks: everything from the middle on cannot be read.
    let broken = Loop::of("100M", "");
    bash("truncate -s 50M $1", &[&broken.image]);
    let read = "dd if=$1 of=/dev/null bs=1M skip=60 count=1 iflag=direct 2>&1 || echo no";
    let unreadable = bash(read, &[&broken.node]).ends_with("no");
    for disk in [&empty, &used, &broken] {
        assert_eq!(blkid(disk), "2");
    }
    assert!(empty.look().await.starts_with("empty: "));
    assert!(used.look().await.starts_with("not empty: data of no form"));
    let answer = broken.look().await;
    assert!(unreadable, "the kernel reads zeroes behind the end of a file");
    assert!(answer.starts_with("cannot tell: "), "{answer}");
}
