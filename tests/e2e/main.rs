//! End-to-end tests: the real binary, a real engine, real block volumes, real databases.
//!
//! They need root, an engine with Compose v2 and the images of `scripts/images`; `scripts/test` sees to that.

mod commands;
mod happy;
mod stacks;
mod support;
mod traps;
