//! Where a volume's data lives.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The home of a volume's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "home")]
pub enum Home {
    /// Docker's own directory (`/var/lib/docker/volumes/NAME/_data`).
    Volume,
    /// A directory on the engine's host that the volume is bound to, on a mounted block volume.
    Block {
        /// The directory of this volume's data.
        dir: PathBuf,
    },
    /// Something that Rehome does not move: NFS, a volume plug-in, tmpfs.
    Other {
        /// The volume's driver and options in words.
        what: String,
    },
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Home::Volume => f.pad("volume"),
            Home::Block { .. } => f.pad("block"),
            Home::Other { .. } => f.pad("other"),
        }
    }
}
