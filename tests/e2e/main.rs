//! End-to-end tests: the real binary, a real engine, real block volumes, real databases.
//!
//! They need root, an engine with Compose v2 and the images of `scripts/images`; `scripts/test` sees to that.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backup;
mod before;
mod boot;
mod catalogue;
#[path = "../shared/chromium.rs"]
mod chromium;
mod commands;
mod crash;
mod dashboard;
mod deploy;
mod doctor;
mod dumps;
mod enable;
mod example;
mod failures;
mod happy;
mod hooks;
mod killed;
mod ledger;
#[path = "../shared/listening.rs"]
mod listening;
mod maintenance;
mod own_engine;
mod passes;
mod planted;
mod readme;
mod refusals;
mod remote;
mod restart;
mod serve;
mod sites;
mod snapshots;
mod stacks;
mod support;
mod traps;
mod uploads;
mod volume;
mod watched;
