//! An entry that goes into several places at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use crate::backup::store::Upload;
use crate::model::Failure;

/// Several uploads as one. One that fails is let go of; when none is left, writing fails.
#[derive(Default)]
pub(super) struct Fan {
    /// Those that are left, by their place.
    pub(super) uploads: Vec<(String, Box<dyn Upload>)>,
    /// The places that failed, and why.
    pub(super) lost: BTreeMap<String, Failure>,
}

impl Fan {
    pub(super) fn all_lost(self) -> Failure {
        let mut lost = self.lost.into_values();
        let Some(first) = lost.next() else {
            return Failure::bug("a backup without a place");
        };
        lost.fold(first, |failure, other| failure.cause(other.to_string()))
            .data("nothing was saved, and the older backups are as they were")
    }
}

impl Write for Fan {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut failed = BTreeSet::new();
        for (place, upload) in &mut self.uploads {
            if let Err(error) = upload.write_all(bytes) {
                let failure = Failure::environment(format!("cannot write to {place}")).because(&error);
                self.lost.insert(place.clone(), failure);
                failed.insert(place.clone());
            }
        }
        self.uploads.retain(|(place, _)| !failed.contains(place));
        if self.uploads.is_empty() {
            let why = std::mem::take(self).all_lost();
            return Err(std::io::Error::other(why));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
