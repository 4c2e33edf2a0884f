//! Compose for real: what `docker compose config` resolves is the oracle. No engine is needed.
//!
//! `DOCKER_CONFIG` chooses another Compose plugin for a whole run of these tests.

#[path = "compose/support.rs"]
mod support;

#[path = "compose/locating.rs"]
mod locating;
#[path = "compose/project.rs"]
mod project;
