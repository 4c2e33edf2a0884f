//! The saga against a simulated world: every step fails, every step runs twice, a crash comes before and after
//! everything, journals are torn, and what comes out is always "as before" or "complete".
//!
//! ```text
//! world     a small stack with its data, and the faults that happen to it
//! steps     the move's steps, as they would be in that world, and deliberate bugs in them
//! harness   plays a scenario through as many processes as it takes, and checks the end
//! campaign  the scenarios: all single faults, pairs, torn lines, random ones
//! mutants   the deliberate bugs: each must be caught
//! fold      what may follow what in a journal
//! run       single properties of the executor
//! texts     what a person reads when a journal cannot be used
//! ```
//!
//! `REHOME_CAMPAIGN=full` plays every pair of crashes and many more random scenarios.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod campaign;
mod fold;
mod harness;
mod mutants;
mod run;
mod steps;
mod texts;
mod world;
