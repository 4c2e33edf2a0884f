//! Where backups are kept, as people write it: `{ dir: /var/backups/kms }`, `{ s3: "s3://bucket/kms" }`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar;

/// Where backups are kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Place {
    /// A directory of this machine. In rehome.yml it is absolute.
    Dir(PathBuf),
    /// S3-compatible storage.
    S3 {
        /// The bucket.
        bucket: String,
        /// What every name there begins with, without `/` at either end; may be empty.
        prefix: String,
    },
}

/// Whether a bucket may be called so; the storage may be stricter.
pub(super) fn is_bucket(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (3..=63).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.')
}

/// A text that is no place for backups.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParsePlaceError(String);

impl Place {
    /// Reads `s3://bucket/prefix`.
    fn s3(text: &str) -> Result<Self, ParsePlaceError> {
        let no = |why: &str| Err(ParsePlaceError(format!("{text:?} {why}")));
        let Some(rest) = text.strip_prefix("s3://") else {
            return no("is no bucket: write it as s3://bucket/prefix");
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket(bucket) {
            return no("names no bucket: write it as s3://bucket/prefix");
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-%@".contains(c);
        let fine = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(plain);
        if !(prefix.is_empty() || (prefix.len() <= 500 && prefix.split('/').all(fine))) {
            return no("has a prefix with more than letters, digits and ._-%@ between single `/`");
        }
        Ok(Self::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// Reads a directory.
    fn dir(text: &str) -> Result<Self, ParsePlaceError> {
        if text.is_empty() || text.contains(char::is_control) || text.len() > 1024 {
            return Err(ParsePlaceError(format!("{text:?} is no directory")));
        }
        if text.contains("://") {
            return Err(ParsePlaceError(format!(
                "{text:?} is neither a directory nor s3://bucket/prefix"
            )));
        }
        Ok(Self::Dir(text.into()))
    }

    /// The same with a relative directory taken from this one.
    #[must_use]
    pub fn from_here(self, here: &Path) -> Self {
        match self {
            Self::Dir(path) => Self::Dir(here.join(path).components().collect()),
            s3 => s3,
        }
    }
}

impl FromStr for Place {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        match text.starts_with("s3:") {
            true => Self::s3(text),
            false => Self::dir(text.strip_prefix("dir:").unwrap_or(text)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// A place for backups. It says one of `dir` and `s3`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename = "Place")]
struct Written {
    /// An absolute directory of this machine.
    #[serde(deserialize_with = "scalar::some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::absolute")]
    dir: Option<Directory>,
    /// S3-compatible storage, as `s3://bucket/prefix`.
    #[serde(deserialize_with = "scalar::some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::bucket")]
    s3: Option<Bucket>,
    /// How the files of volumes are kept there.
    #[serde(skip_serializing_if = "Volumes::is_default")]
    volumes: Volumes,
}

/// A place of rehome.yml, and how it keeps volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Destination {
    /// Where.
    pub place: Place,
    /// How.
    pub volumes: Volumes,
}

/// How a place keeps the files of volumes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Volumes {
    /// Each backup has a whole archive of each.
    #[default]
    Archive,
    /// Each backup has a snapshot in a repository of restic, which grows by what changed.
    Restic,
}

impl Volumes {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.volumes {
            Volumes::Archive => self.place.fmt(f),
            Volumes::Restic => write!(f, "{} (volumes: restic)", self.place),
        }
    }
}

impl TryFrom<Written> for Destination {
    type Error = ParsePlaceError;
    fn try_from(written: Written) -> Result<Self, ParsePlaceError> {
        let volumes = written.volumes;
        let place = written.try_into()?;
        Ok(Self { place, volumes })
    }
}

impl From<Destination> for Written {
    fn from(destination: Destination) -> Self {
        Self {
            volumes: destination.volumes,
            ..destination.place.into()
        }
    }
}

impl JsonSchema for Destination {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Written::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Written::json_schema(generator)
    }
}

/// What stands behind `dir`.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
struct Directory(PathBuf);

impl FromStr for Directory {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        match Place::dir(text)? {
            // One place has one spelling.
            Place::Dir(path) if path.is_absolute() => Ok(Self(path.components().collect())),
            _ => Err(ParsePlaceError(format!("{text:?} is no absolute path"))),
        }
    }
}

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What stands behind `s3`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Bucket(Place);

impl FromStr for Bucket {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        Place::s3(text).map(Self)
    }
}

impl TryFrom<String> for Bucket {
    type Error = ParsePlaceError;
    fn try_from(text: String) -> Result<Self, ParsePlaceError> {
        text.parse()
    }
}

impl From<Bucket> for String {
    fn from(bucket: Bucket) -> Self {
        bucket.0.to_string()
    }
}

impl TryFrom<Written> for Place {
    type Error = ParsePlaceError;
    fn try_from(written: Written) -> Result<Self, ParsePlaceError> {
        match (written.dir, written.s3) {
            (Some(dir), None) => Ok(Self::Dir(dir.0)),
            (None, Some(bucket)) => Ok(bucket.0),
            (None, None) => Err(ParsePlaceError("it says neither `dir` nor `s3`".to_owned())),
            (Some(_), Some(_)) => Err(ParsePlaceError(
                "`dir` and `s3` are two places: give each an entry of its own".to_owned(),
            )),
        }
    }
}

impl From<Place> for Written {
    fn from(place: Place) -> Self {
        match place {
            Place::Dir(path) => Self {
                dir: Some(Directory(path)),
                ..Self::default()
            },
            s3 @ Place::S3 { .. } => Self {
                s3: Some(Bucket(s3)),
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_the_command_line_too() {
        let place = |text: &str| {
            text.parse::<Place>()
                .map(|place| place.from_here(Path::new("/srv/kms")))
        };
        for (text, shown) in [
            ("backups", "/srv/kms/backups"),
            ("./backups/", "/srv/kms/backups"),
            ("dir:/a", "/a"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/a/b", "s3://bucket/a/b"),
        ] {
            assert_eq!(place(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "s3:/bucket",
            "S3://bucket",
            "https://bucket",
            "s3://bucket//a",
        ] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
