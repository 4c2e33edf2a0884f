//! The places that are read are those where mke2fs and mkfs.xfs put things, as they say themselves.

use std::path::Path;

use rehome::block::reads::planned;

use crate::support::bash;

fn covers(size: u64, at: u64) -> bool {
    planned(size, false).iter().any(|place| place.contains(&at))
}

fn sparse(size: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.as_file().set_len(size).unwrap();
    file
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[test]
fn every_backup_superblock_that_mke2fs_would_write_is_read() {
    for size in [100 << 20, 777 << 20, 5 << 30, 50 << 30, 1 << 40, 15 << 40_u64] {
        let file = sparse(size);
        for block in [1024, 2048, 4096_u64] {
            let line = "mkfs.ext4 -n -F -b $2 $1 2>&1 | sed -n '/backups stored/,$p'";
            let said = bash(line, &[&file.path(), &block.to_string()]);
            let backups = numbers(&said);
            // A single group has no backup.
            assert_eq!(
                backups.is_empty(),
                size <= 8 * block * block,
                "{size} {block}: {said}"
            );
            for backup in backups {
                assert!(covers(size, backup * block), "{size} {block} {backup}");
            }
        }
    }
}

#[test]
fn every_allocation_group_that_mkfs_xfs_would_make_is_read() {
    let check = |path: &Path, size: u64, options: &str| {
        let said = bash(&format!("mkfs.xfs -N {options} $1"), &[&path]);
        let value = |name: &str| {
            let at = said.find(name).unwrap() + name.len();
            numbers(&said[at..])[0]
        };
        let (count, length, block) = (value("agcount="), value("agsize="), value("bsize="));
        for number in 0..count {
            assert!(
                covers(size, number * length * block),
                "{size} {options}: group {number} of {said}"
            );
        }
        count
    };
    for size in [300 << 20, 1 << 30, 50 << 30, 333 << 30, 3 << 40_u64] {
        let file = sparse(size);
        check(file.path(), size, "");
        // mkfs.xfs makes no group too small for a log, and none above a terabyte.
        for count in [2, 8, 16, 32]
            .into_iter()
            .filter(|count| size >= 50 << 30 && size / count < 1 << 40)
        {
            check(file.path(), size, &format!("-d agcount={count}"));
        }
    }
    // Groups of a terabyte, less one block.
    let size = 12_u64 << 40;
    let file = sparse(size);
    assert!(check(file.path(), size, "") >= 12);
}
