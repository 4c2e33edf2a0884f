//! Where backups are kept, and how their bytes are sealed: directories, two S3 servers of different make, faults on the way,
//! corruption. Judged by other programs: age, zstd, sha256sum, boto3.
//!
//! Needs root (a full disk is a mount) and Debian's age and zstd; `scripts/s3` installs and starts the servers, and is asked
//! by whichever test comes first. `REHOME_CAMPAIGN=full` corrupts ten thousand times, streams ten gigabytes, and sends 200,000
//! files; `REHOME_S3_EXTRA='garage radosgw'` adds servers, which `scripts/s3-server` starts.

// All of this is test code; clippy by itself excuses only the functions that are marked as tests.
// What was measured, and which server failed, is read where the tests run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod buckets;
mod corruption;
mod dirs;
mod faults;
mod forward;
mod memory;
mod proxy;
mod sealing;
mod size;
mod support;
mod uploads;
