//! Block volumes of this machine: devices, file systems, mounts, fstab, boot safety.
//!
//! What is here looks, or does one thing that it was told. What to do, and whether, is decided in `plan`. util-linux,
//! e2fsprogs and xfsprogs are the libraries: their programs are run through [`tool`].

pub mod device;
pub mod format;
pub mod found;
pub mod intent;
pub mod opened;
pub mod probe;
pub mod provider;
pub mod reads;
pub mod sysfs;
pub mod sysroot;
pub mod tool;
pub mod uuid;
