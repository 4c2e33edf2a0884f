//! The binary as a shell sees it: arguments, streams and exit codes. No engine is needed.
//!
//! Each call is hermetic: an empty environment and a directory of its own.

// All of this is test code; clippy by itself excuses only the functions that are marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod errors;
mod help;
mod packaging;
mod s3;
mod site;
mod streams;
mod support;
