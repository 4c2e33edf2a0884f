//! One line for each time that the volumes were measured, for how fast they grow. Losing it costs an estimate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dir::ProjectDir;
use super::lines::{self, LinesRead};
use crate::model::{Result, VolumeKey};

/// What the volumes held at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// When.
    pub at: Timestamp,
    /// Bytes that each occupied on its disk.
    pub bytes: BTreeMap<VolumeKey, u64>,
    /// Files, directories and what else has an inode in each; nothing where an older version measured.
    #[serde(default)]
    pub entries: BTreeMap<VolumeKey, u64>,
}

impl ProjectDir {
    fn sizes_path(&self) -> PathBuf {
        self.path().join("sizes.jsonl")
    }

    /// Adds a measurement, durable.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append_sizes(&self, measured: &Measured) -> Result<()> {
        self.create()?;
        lines::append(&self.sizes_path(), measured)
            .map_err(|failure| failure.data("the next `rehome size` does not know of this measurement"))
    }

    /// Reads the newest measurements, at most `limit`, oldest first.
    ///
    /// # Errors
    /// When the file is there and cannot be read. Single lines that cannot be are counted.
    pub fn sizes(&self, limit: usize) -> Result<LinesRead<Measured>> {
        lines::newest(&self.sizes_path(), limit)
    }
}
