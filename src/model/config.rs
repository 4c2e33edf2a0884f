//! rehome.yml: what may be in it, and what it means.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
