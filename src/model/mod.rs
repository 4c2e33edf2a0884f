//! The words of the field as types: names, sizes, owners, homes, secrets, failures.
//!
//! No I/O lives here, and nothing here knows of Docker's API or of the terminal.

mod bytes;
pub mod config;
mod count;
mod failure;
pub mod guard;
mod home;
mod money;
mod names;
mod owner;
mod secret;
mod shell;
mod time;
mod weekly;

pub use bytes::{BilledSize, ByteSize, ParseSizeError, Rate};
pub use count::count;
pub use failure::{Failure, Kind, Result};
pub use home::Home;
pub use money::{Money, ParseMoneyError};
pub use names::{
    ContainerId, ImageId, ParseNameError, ProjectName, RunId, ServiceName, SiteName, VolumeKey, VolumeName,
    file_name, is_image_reference, nearest,
};
pub use owner::{Owner, ParseOwnerError};
pub use secret::Secret;
pub use shell::{shell_path, shell_word};
pub use time::{Span, parse_span};
pub use weekly::Weekly;

/// More threads than this only get into each other's way when files are copied, and each holds open directories.
pub const MOST_THREADS: usize = 16;
