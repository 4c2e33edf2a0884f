//! `rehome serve`: the real binary, asked by curl. What needs an engine is in the end-to-end tests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod document;
mod doors;
mod full;
#[path = "../shared/listening.rs"]
mod listening;
mod logins;
mod measured;
mod people;
mod socket;
mod support;
mod unit;
