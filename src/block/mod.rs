//! Block volumes of this machine: devices, file systems, mounts, fstab, boot safety.
//!
//! What is here looks, or does one thing that it was told. What to do, and whether, is decided in `plan`. util-linux,
//! e2fsprogs and xfsprogs are the libraries: their programs are run through [`tool`].

pub mod grow;
pub mod sysroot;
pub mod tool;
