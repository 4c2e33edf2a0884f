//! The dashboard's pages: their text, what hostile names can do to them, and what a real browser says of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod browser;
#[path = "../shared/chromium.rs"]
mod chromium;
mod pages;
mod samples;
mod server;
