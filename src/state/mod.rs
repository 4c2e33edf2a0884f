//! The state directory: where journals, locks and histories are kept, apart from the project's own files, which the
//! next `git clean` may empty.
//!
//! ```text
//! host/                              lock, and records of file systems that are being made
//! projects/<project>/lock           who works on the project right now
//!                    history.jsonl  one line a finished run
//!                    sizes.jsonl    one line a measurement of the volumes
//!                    backups.jsonl  one line a backup that ended, or was verified
//!                    uploads.json   what was done with uploads and buckets, summed up
//!                    runs/<run>/    journal, report.json, hooks.log
//! ```
//!
//! What is in a journal is not known here, only how a line gets to the disk and stays there.

mod backups;
mod dir;
mod durable;
mod history;
mod lines;
mod lock;
mod runs;
mod sizes;
mod store;
mod uploads;

pub use backups::BackupLine;
pub use dir::{HostDir, ProjectDir, ProjectKey, StateDir};
pub use durable::{replace_durably, sync_dir, write_durably};
pub use history::{HistoryLine, HistoryRead};
pub use lines::LinesRead;
pub use lock::{Lock, LockNote};
pub use runs::RunDir;
pub use sizes::Measured;
pub use store::{FileStore, Store};
pub use uploads::{CommandDone, PlaceDone, PlaceHeld, UploadsDone};
