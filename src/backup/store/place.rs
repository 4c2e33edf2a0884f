//! Places as people write them, and the way from one to its [`Store`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Store;
use super::dir::DirStore;
use super::s3::{Limits, S3Settings, S3Store};
use crate::backup::format::StorePath;
use crate::model::{Failure, Result};

/// A place for backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory of this machine.
    Dir(PathBuf),
    /// A bucket of S3-compatible storage, or what is below a prefix of it.
    S3 {
        /// Its name.
        bucket: String,
        /// Below this; may be empty.
        prefix: StorePath,
    },
}

impl Place {
    /// A directory: an absolute path.
    ///
    /// # Errors
    /// When it is not absolute, or is the root.
    pub fn dir(path: &Path) -> Result<Self> {
        let cannot =
            |why: &str| Failure::usage(format!("{} is no place for backups", path.display())).cause(why);
        let parts = || path.components();
        if !path.is_absolute() {
            return Err(cannot("a directory for backups is given by its absolute path"));
        }
        if parts().any(|part| part == std::path::Component::ParentDir) || parts().count() < 2 {
            return Err(cannot(
                "a directory for backups is not the root, and has no `..` in its path",
            ));
        }
        Ok(Self::Dir(path.components().collect()))
    }

    /// A bucket: `s3://bucket` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn s3(text: &str) -> Result<Self> {
        let cannot = |why: String| {
            Failure::usage(format!("{text:?} is no place for backups"))
                .cause(why)
                .hint("as in s3://bucket or s3://bucket/prefix")
        };
        let rest = text
            .strip_prefix("s3://")
            .ok_or_else(|| cannot("it does not begin with s3://".to_owned()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(plain) || bucket.contains("..") {
            return Err(cannot(format!("{bucket:?} is no name of a bucket")));
        }
        let prefix = StorePath::new(prefix.trim_end_matches('/')).map_err(|e| cannot(e.to_string()))?;
        Ok(Self::S3 {
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl std::str::FromStr for Place {
    type Err = Failure;

    /// `s3://bucket/prefix`, or the path of a directory.
    fn from_str(text: &str) -> Result<Self> {
        match text.starts_with("s3:") {
            true => Self::s3(text),
            false => Self::dir(Path::new(text.strip_prefix("dir:").unwrap_or(text))),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => path.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.as_str().is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Opens a place. `names` looks up a variable of the project, in its `.env` and then in the environment; S3 takes its keys
/// and its address from there. Call it where blocking is allowed, in a runtime of several threads.
///
/// A directory that is missing is made by the first [`Store::put`]; a bucket is never made.
///
/// # Errors
/// When there are no keys for S3, or settings contradict each other. The place itself is not asked yet.
pub fn open(place: &Place, names: &dyn Fn(&str) -> Option<String>) -> Result<Arc<dyn Store>> {
    Ok(match place {
        Place::Dir(path) => Arc::new(DirStore::new(path)),
        Place::S3 { bucket, prefix } => {
            let settings = S3Settings::from_names(bucket, names)?;
            Arc::new(S3Store::open(bucket, prefix, &settings, Limits::default())?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_shown() {
        for text in ["/var/backups/kms", "s3://bucket", "s3://my.bucket-1/kms/daily"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert_eq!(
            "dir:/srv//b/".parse::<Place>().unwrap(),
            Place::Dir("/srv/b".into())
        );
        assert_eq!(
            "s3://bucket/a/".parse::<Place>().unwrap().to_string(),
            "s3://bucket/a"
        );
        for bad in [
            "",
            "/",
            "backups",
            "/var/../etc",
            "s3:bucket",
            "s3://",
            "s3://b",
            "s3://bucket//a",
            "s3://bucket/../a",
            "s3://a b c",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad:?}");
        }
    }
}
