//! Plans, from worlds that are written down here: what a move would do is compared as text, and held to its rules as
//! data. Nothing here needs an engine.
//!
//! ```text
//! support   worlds: the kms-connect stack, and small ones for one question each
//! texts     whole plans as people read them
//! doctor    what a check-up finds, check by check
//! deploy    what a deployment replaces, rolls, keeps and refuses
//! deploy_hooks  what runs beside a deployment, and when
//! uploads   the switch of uploads to a bucket, and back
//! restart   what a restart makes anew
//! site_backups  the directories of sites in backups and restores
//! restore   what a restore replaces, and which backup it takes
//! choice    which volumes move, and where to
//! order     what is stopped, made anew and started, against an oracle that was written differently
//! refusals  everything that is refused beforehand, word for word
//! right_volume  which volume is mounted where the move goes
//! space     bytes and inodes at their borders
//! mount     what it takes to mount a block volume, and to take that back
//! hooks     what runs after the start, and what is left out
//! page      on which ports a maintenance page answers meanwhile
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod choice;
mod deploy;
mod deploy_hooks;
mod doctor;
mod hooks;
mod mount;
mod order;
mod page;
mod refusals;
mod restart;
mod restore;
mod right_volume;
mod site;
mod site_backups;
mod site_move;
mod space;
mod support;
mod texts;
mod uploads;
