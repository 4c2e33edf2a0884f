//! The helper on real file systems, judged by other programs: rsync, find, getfattr, sha256sum, pg_controldata.
//!
//! Needs root (owners, device nodes, loop devices) and Debian's rsync, attr, acl, libcap2-bin, e2fsprogs, xfsprogs,
//! postgresql-15, busybox, libarchive-tools and python3; what is missing fails with its name.

// All of this is test code; clippy by itself excuses only the functions that are marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod archive;
mod delta;
mod disks;
mod interrupted;
mod kinds;
mod large;
mod memory;
mod moved;
mod options;
mod page;
mod patch;
mod places;
mod proof;
mod scan;
mod stream;
mod support;
mod unarchive;
