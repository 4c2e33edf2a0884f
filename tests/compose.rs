//! Compose for real: what `docker compose config` resolves is the oracle. No engine is needed.
//!
//! `DOCKER_CONFIG` chooses another Compose plugin for a whole run of these tests.

#![allow(
    clippy::unwrap_used,
    reason = "what is unwrapped here is expected by the test"
)]

#[path = "compose/support.rs"]
mod support;

#[path = "compose/dotenv.rs"]
mod dotenv;
#[path = "compose/locating.rs"]
mod locating;
#[path = "compose/overriding.rs"]
mod overriding;
#[path = "compose/project.rs"]
mod project;
#[path = "compose/running.rs"]
mod running;
