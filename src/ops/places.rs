//! The file systems of this machine that data lives on, and how full they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::block::sentinel;
use crate::helper::mounts::{self, Mount};
use crate::model::{Failure, Result};

/// A file system that data lives on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Whether it is a block volume of `rehome mount`.
    pub block: bool,
    /// Bytes that are in use, and those that a user without rights can fill in all; `None` if it does not say it.
    pub fill: Option<(u64, u64)>,
    /// What lives there, as the caller calls it.
    pub holds: Vec<String>,
}

/// The file systems of these paths, each with what lives on it; in the order of where they are mounted.
///
/// # Errors
/// When what is mounted cannot be read.
pub fn places(data: &BTreeMap<PathBuf, String>) -> Result<Vec<Place>> {
    let table = read_table()?;
    let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (path, what) in data {
        let holds = found.entry(mounted_at(&table, path)).or_default();
        if !holds.contains(what) {
            holds.push(what.clone());
        }
    }
    let place = |(path, mut holds): (PathBuf, Vec<String>)| {
        holds.sort();
        Place {
            fill: fill(&path),
            block: sentinel::has_any(&path),
            path,
            holds,
        }
    };
    Ok(found.into_iter().map(place).collect())
}

/// Where the file system of a path is mounted, by the path alone: it need not be there.
fn mounted_at(table: &[Mount], path: &Path) -> PathBuf {
    mounts::holder(table, path).map_or_else(|| "/".into(), |mount| mount.point().to_owned())
}

/// The block volumes of this machine, by where they are mounted: each has its sentinel.
///
/// # Errors
/// When what is mounted cannot be read.
pub(super) fn block_volumes() -> Result<Vec<PathBuf>> {
    let table = read_table()?;
    let points = table.iter().map(|mount| mount.point().to_owned());
    let mut found: Vec<PathBuf> = points.filter(|point| sentinel::has_any(point)).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

fn read_table() -> Result<Vec<Mount>> {
    mounts::table("self")
        .map_err(|error| Failure::environment("cannot read /proc/self/mountinfo").because(&error))
}

/// As `df` counts: what root keeps for itself is no place for data.
fn fill(path: &Path) -> Option<(u64, u64)> {
    let seen = rustix::fs::statvfs(path).ok()?;
    let used = seen
        .f_blocks
        .saturating_sub(seen.f_bfree)
        .saturating_mul(seen.f_frsize);
    let free = seen.f_bavail.saturating_mul(seen.f_frsize);
    (seen.f_blocks > 0).then(|| (used, used.saturating_add(free)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_one_file_system_is_told_once() {
        let data = [
            ("/proc/nowhere/a", "media"),
            ("/proc/nowhere/b", "db"),
            ("/proc/c", "media"),
        ];
        let data = data.map(|(path, what)| (PathBuf::from(path), what.to_owned()));
        let found = places(&BTreeMap::from(data)).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].path, Path::new("/proc"));
        assert_eq!(found[0].holds, ["db", "media"]);
        assert_eq!(found[0].fill, None, "it has no blocks");
    }

    #[test]
    fn it_is_as_full_as_df_says() {
        let root = places(&BTreeMap::from([("/".into(), "x".to_owned())])).unwrap();
        let (used, total) = root[0].fill.unwrap();
        let df = std::process::Command::new("df")
            .args(["-B1", "--output=used,avail", "/"])
            .output()
            .unwrap();
        let text = String::from_utf8(df.stdout).unwrap();
        let numbers: Vec<u64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        // Others write meanwhile.
        let near = |a: u64, b: u64| a.abs_diff(b) < total / 20;
        assert!(
            near(used, numbers[0]) && near(total, numbers[0] + numbers[1]),
            "{text}"
        );
    }
}
