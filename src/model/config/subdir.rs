//! The root on the block volume, and the directories below it.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::VolumeKey;

/// Reads a directory of the engine's host, which need not be this machine: nothing is resolved here.
///
/// # Errors
/// A sentence, when it is relative, goes up, is `/` itself, or cannot stand in a Compose file.
pub fn absolute_dir(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(format!(
            "{text:?} is no absolute path: give a directory of the engine's host"
        ));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("{text:?} goes up with `..`: write where it leads"));
    }
    if text.contains(char::is_control) || text.len() > 1024 {
        return Err(format!("{text:?} cannot stand in a Compose file"));
    }
    // Its components alone: one place has one spelling, without `//`, `/./` and a closing `/`.
    let path: PathBuf = path.components().collect();
    if path == Path::new("/") {
        return Err(
            "/ is the root disk itself: give the directory where the block volume is mounted".to_owned(),
        );
    }
    Ok(path)
}

/// A directory below the root of the block volume: relative, and without a way out of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subdir(String);

/// A directory that is not below the root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no directory below the block volume's root: write it as postgres or data/postgres")]
pub struct ParseSubdirError(String);

impl Subdir {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subdir {
    type Err = ParseSubdirError;

    fn from_str(text: &str) -> Result<Self, ParseSubdirError> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let sound = path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
            && !path.contains(char::is_control);
        if sound {
            Ok(Self(path.to_owned()))
        } else {
            Err(ParseSubdirError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Subdir {
    type Error = ParseSubdirError;
    fn try_from(text: String) -> Result<Self, ParseSubdirError> {
        text.parse()
    }
}

impl From<Subdir> for String {
    fn from(subdir: Subdir) -> String {
        subdir.0
    }
}

impl fmt::Display for Subdir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The directory of a volume that the configuration gives none: its name without the suffix that says it is one.
#[must_use]
pub fn default_subdir(key: &VolumeKey) -> String {
    let name = key.as_str();
    let short = ["_data", "_volume", "-data", "-volume", "_vol"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    // `_data` would leave nothing, `.._data` and the key `..` would leave the root.
    [short, name]
        .iter()
        .find(|text| text.parse::<Subdir>().is_ok())
        .map_or_else(|| format!("volume{name}"), |text| (*text).to_owned())
}

/// Where the directories of two volumes would meet, if one is the other or lies in it.
#[must_use]
pub fn meeting<'a>(one: &'a Path, other: &'a Path) -> Option<&'a Path> {
    if one.starts_with(other) {
        Some(other)
    } else {
        other.starts_with(one).then_some(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_absolute_and_has_one_spelling() {
        for text in ["/mnt/kms-data", "/mnt/kms-data/", "/mnt//kms-data/."] {
            assert_eq!(absolute_dir(text), Ok(PathBuf::from("/mnt/kms-data")), "{text}");
        }
        for (text, words) in [
            ("mnt", "no absolute path"),
            ("", "no absolute path"),
            ("/mnt/../etc", "goes up"),
            ("//", "root disk itself"),
            ("/mnt/a\nb", "cannot stand"),
        ] {
            let error = absolute_dir(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_subdir_stays_below_the_root() {
        for text in ["postgres", "data/postgres", "a.b", "..."] {
            assert_eq!(text.parse::<Subdir>().unwrap().as_str(), text);
        }
        assert_eq!("media/".parse::<Subdir>().unwrap().as_str(), "media");
        for text in ["", "/", "/abs", ".", "..", "a/../b", "a//b", "./a", "a\n"] {
            assert!(text.parse::<Subdir>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_volume_without_a_map_gets_its_short_name() {
        for (key, wanted) in [
            ("postgres_data", "postgres"),
            ("media_volume", "media"),
            ("redis-data", "redis"),
            ("x-volume", "x"),
            ("y_vol", "y"),
            ("uploads", "uploads"),
            ("_data", "_data"),
            (".._data", ".._data"),
            ("..", "volume.."),
        ] {
            assert_eq!(default_subdir(&VolumeKey::new(key).unwrap()), wanted);
        }
    }

    #[test]
    fn directories_meet_when_one_is_or_holds_the_other() {
        let meet = |one, other| meeting(Path::new(one), Path::new(other)).map(Path::to_owned);
        assert_eq!(meet("media", "media"), Some("media".into()));
        assert_eq!(meet("media/site", "media"), Some("media".into()));
        assert_eq!(meet("media", "media/site"), Some("media".into()));
        assert_eq!(meet("media", "media-2"), None);
    }
}
