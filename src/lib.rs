//! Rehome gives the data of a Docker Compose stack a new home, and proves that it arrived.
//!
//! The map of the house; imports point downwards only, and `tests/tidy` holds it to that:
//!
//! ```text
//! cli                    arguments, settings, exit codes; one thin file a command
//!  ├ web                 `rehome serve`: HTTP, over ops as the command line is
//!  └ ops                 the use cases; the only door for cli and web
//!     ├ observe          reads the world once
//!     ├ plan             pure: what to do, and why
//!     ├ saga             journal, state, executor, recovery; knows no Docker
//!     └ steps            one file per kind of step, with its undo
//!        ├ compose       the resolved project, the override, `.env`, running `docker compose`
//!        ├ engine        the Docker Engine API
//!        ├ datastore     what is special about PostgreSQL and the others
//!        ├ backup        what a backup is, how it is sealed, where it is kept, which stay
//!        ├ site          which sites there are, and the directory of each
//!        ├ block         devices, file systems, mounts, fstab, boot safety
//!        ├ helper        what runs inside the helper container: walk, copy, hash, compare
//!        └ state         state directory, lock, runs, history
//!           ├ child      runs other programs, within limits
//!           ├ s3         S3-compatible storage: how it is found, and asked
//!           ├ http       asks over HTTP and HTTPS, within limits
//!           └ model      names, sizes, failures; no I/O
//! ui                     the only writer to stdout and stderr; it is fed by `event`
//! ```

pub mod backup;
pub mod block;
pub mod child;
pub mod cli;
pub mod compose;
pub mod datastore;
pub mod engine;
pub mod event;
pub mod helper;
pub mod http;
pub mod model;
pub mod observe;
pub mod ops;
pub mod plan;
pub mod s3;
pub mod saga;
pub mod site;
pub mod state;
pub mod steps;
pub mod ui;
pub mod web;
