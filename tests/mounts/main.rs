//! fstab, mounts, sentinel, directories on a volume, the bare mount point and boot safety, on real file systems, judged
//! by other programs: findmnt, stat, lsattr, blkid, systemd's own generator, systemd-escape, systemd-analyze.
//!
//! Needs root (loop devices, mounts) and Debian's e2fsprogs, xfsprogs, mount, systemd; what is missing fails with its name.

// All of this is test code; clippy by itself excuses only the functions that are marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bare;
mod boot;
mod careful;
mod command;
mod dirs;
mod doctor;
mod freezing;
mod fstab_files;
mod growing;
mod mounting;
mod server;
mod serving;
mod support;
mod timers;
mod units;
