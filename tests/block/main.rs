//! Block devices, judged by other programs: blkid, e2fsck, xfs_repair, sha256sum, losetup. On loop devices.
//!
//! Needs root and Debian's util-linux, fdisk, e2fsprogs, xfsprogs, btrfs-progs, cryptsetup-bin and python3; what is
//! missing fails with its name.

// All of this is test code; clippy by itself excuses only the functions that are marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contents;
mod devices;
mod finishing;
mod formatting;
mod places;
mod support;
