//! Sites: which there are, what each is, and the directory of each that outlives its containers.
//!
//! What is kept here says what somebody wanted. Whether it is so is said by the project's files and by its containers.

pub mod panel;
pub mod place;
mod store;
mod values;

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use store::Store;
pub use values::{Published, check_health, check_image};

use crate::model::{ServiceName, SiteName};

/// A site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its name.
    pub name: SiteName,
    /// What it is made of.
    #[serde(flatten)]
    pub made_of: MadeOf,
    /// The directory of its Compose project; for an image that is one of Rehome's own. `None` until somebody says it.
    pub directory: Option<PathBuf>,
    /// The service that has its data.
    pub service: Option<ServiceName>,
    /// Whether its data outlives its containers.
    pub persistent_storage: Storage,
    /// Where that data is, once there was a place for it: also when it is switched off.
    pub data: Option<PathBuf>,
    /// When it was added.
    pub made: Timestamp,
}

/// The directory of a site, where others have a volume of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteDir {
    /// Whose.
    pub name: SiteName,
    /// Where it is, without symlinks.
    pub dir: PathBuf,
}

/// What a site is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MadeOf {
    /// A Compose project that somebody wrote.
    Project,
    /// An image that serves on a port.
    Image {
        /// Its reference.
        image: String,
        /// Its port.
        port: Published,
        /// The path that answers 200 when it is well; without one its port takes connections.
        health: Option<String>,
    },
    /// It came from a panel, and nobody has said yet where its project is.
    Imported,
}

/// Whether the data of a site outlives its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// It does not.
    Off,
    /// It does.
    On,
    /// The panel that it came from says so; Rehome has not written an override for it.
    Panel,
}

impl Storage {
    /// For people, and for the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Panel => "panel",
        }
    }
}
