//! `size`: how large a block volume to buy.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::App;
use crate::datastore::Kind;
use crate::model::{Failure, ProjectName, Result, VolumeKey};
use crate::observe::{Depth, VolumeSeen};
use crate::plan::size::{Earlier, Held, Sizing, measured};
use crate::state::Measured;

/// Measurements that are looked at: a year of one a day.
pub(super) const LOOKED_AT: usize = 400;

/// What a volume holds.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeSize {
    /// Its key.
    pub key: VolumeKey,
    /// Bytes that it occupies on its disk.
    pub allocated: u64,
    /// Sum of the lengths of its files.
    pub apparent: u64,
    /// Files.
    pub files: u64,
    /// Bytes more (or less) than when it was measured last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grown: Option<i64>,
}

/// The project's volumes, and what to buy for them.
#[derive(Debug, Clone, Serialize)]
pub struct SizeReport {
    /// The project.
    pub project: ProjectName,
    /// The largest first.
    pub volumes: Vec<VolumeSize>,
    /// When they were measured last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_before: Option<Timestamp>,
    /// What follows.
    #[serde(flatten)]
    pub sizing: Sizing,
    /// What is not as it should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Measures, and keeps the measurement for the next time.
///
/// # Errors
/// When the engine, Compose or the helper does not answer, or no volume exists yet.
pub async fn size(app: &App, growth: u32) -> Result<SizeReport> {
    let depth = Depth {
        override_path: app.settings.override_path.clone(),
        ..Depth::default()
    };
    let world = app.look(&app.looking(), &depth).await?;
    let mut seen: Vec<_> = world
        .volumes
        .iter()
        .filter_map(|volume| Some((volume, volume.scan.as_ref()?)))
        .collect();
    if seen.is_empty() {
        return Err(Failure::refused("there is nothing to measure: no volume of this project exists yet")
            .data("nothing was changed")
            .hint("plan by numbers instead: rehome size --records 5000 --record-size 6MB --db-row-size 150KB"));
    }
    seen.sort_by_key(|(_, scan)| std::cmp::Reverse(scan.allocated));

    let now = Timestamp::now();
    let before = app.state.sizes(LOOKED_AT)?.lines;
    let held: Vec<Held> = seen
        .iter()
        .map(|(volume, scan)| Held {
            name: volume.key.to_string(),
            allocated: scan.allocated,
            entries: scan.entries(),
            has_wal: has_wal(volume),
        })
        .collect();
    let keys: Vec<&VolumeKey> = seen.iter().map(|(volume, _)| &volume.key).collect();
    let sizing = measured(&held, growth, earliest(&before, &keys), now.as_second());

    let last = before.last();
    let volumes = seen
        .iter()
        .map(|(volume, scan)| VolumeSize {
            key: volume.key.clone(),
            allocated: scan.allocated,
            apparent: scan.bytes,
            files: scan.files,
            grown: last
                .and_then(|last| last.bytes.get(&volume.key))
                .map(|bytes| scan.allocated.cast_signed() - bytes.cast_signed()),
        })
        .collect();
    let bytes: BTreeMap<_, _> = seen
        .iter()
        .map(|(volume, scan)| (volume.key.clone(), scan.allocated))
        .collect();
    let entries = seen
        .iter()
        .map(|(volume, scan)| (volume.key.clone(), scan.entries()))
        .collect();
    let kept = app.state.append_sizes(&Measured {
        at: now,
        bytes,
        entries,
    });
    Ok(SizeReport {
        project: world.project.clone(),
        volumes,
        measured_before: last.map(|last| last.at),
        sizing,
        // An estimate less next time is no reason to fail now.
        warnings: kept.err().iter().map(ToString::to_string).collect(),
    })
}

fn has_wal(volume: &VolumeSeen) -> bool {
    volume.datastores.iter().any(|store| store.kind == Kind::Postgres)
}

/// The oldest measurement that knows of all these volumes: one that came later is not growth.
fn earliest(before: &[Measured], keys: &[&VolumeKey]) -> Option<Earlier> {
    before.iter().find_map(|measured| {
        let bytes = keys
            .iter()
            .map(|key| measured.bytes.get(key).copied())
            .sum::<Option<u64>>()?;
        Some(Earlier {
            at: measured.at.as_second(),
            bytes,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_came_later_is_no_growth() {
        let key = |name: &str| VolumeKey::new(name).unwrap();
        let measured = |at: &str, bytes: &[(&str, u64)]| Measured {
            at: at.parse().unwrap(),
            bytes: bytes.iter().map(|(name, bytes)| (key(name), *bytes)).collect(),
            entries: BTreeMap::new(),
        };
        let before = [
            measured("2001-01-01T00:00:00Z", &[("db", 10)]),
            measured("2001-01-02T00:00:00Z", &[("db", 11), ("media", 100), ("old", 5)]),
            measured("2001-01-03T00:00:00Z", &[("db", 12), ("media", 100)]),
        ];
        let (db, media) = (key("db"), key("media"));
        let found = earliest(&before, &[&db, &media]).unwrap();
        assert_eq!((found.at, found.bytes), (before[1].at.as_second(), 111));
        assert_eq!(earliest(&before, &[&key("none")]), None);
    }
}
