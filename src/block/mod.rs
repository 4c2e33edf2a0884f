//! Block volumes of this machine: devices, file systems, mounts, fstab, boot safety.
//!
//! What is here looks, or does one thing that it was told. What to do, and whether, is decided in `plan`. util-linux,
//! e2fsprogs and xfsprogs are the libraries: their programs are run through [`tool`].

pub mod bare;
pub mod beneath;
pub mod boot;
pub mod device;
pub mod dirs;
pub mod format;
pub mod found;
pub mod freeze;
pub mod fsid;
pub mod fstab;
pub mod grow;
pub mod intent;
pub mod mounted;
pub mod opened;
pub mod partition;
pub mod patience;
pub mod present;
pub mod probe;
pub mod provider;
pub mod reads;
pub mod sentinel;
pub mod serving;
pub mod sysfs;
pub mod sysroot;
pub mod timers;
pub mod tool;
pub mod unit_start;
pub mod units;
pub mod volume;
