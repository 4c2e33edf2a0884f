//! Values of arguments that the standard parsers do not know.

use std::path::{Component, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;

use crate::model::{ByteSize, MOST_THREADS, Rate, VolumeKey, VolumeName};

/// Where a backup is restored to, if not where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreInto {
    /// A Docker volume that is made.
    Volume(VolumeName),
    /// The project in this directory.
    Project(PathBuf),
}

impl FromStr for RestoreInto {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') || text == "." || text == ".." {
            return Ok(Self::Project(text.into()));
        }
        VolumeName::new(text).map(Self::Volume).map_err(|error| {
            format!("{error}; the directory of another project is written with a slash: ./{text}")
        })
    }
}

/// A path inside a volume, from its root.
///
/// # Errors
/// When it is empty, or leads out.
pub fn path_in_volume(text: &str) -> Result<PathBuf, String> {
    let mut path = PathBuf::new();
    for part in std::path::Path::new(text).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(format!("{text:?} leads out of the volume"));
            }
        }
    }
    match path.as_os_str().is_empty() {
        true => Err("it is the volume itself: leave --path out".to_owned()),
        false => Ok(path),
    }
}

/// `--verify`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Verification {
    /// Everything that was written is read back from the disk and compared
    #[default]
    Readback,
    /// What is copied while the stack runs is not read back, unless there is a database in the volume
    Stream,
    /// Everything is read back, and both sides are read once more after the stop: down for as long as that takes
    Full,
}

/// `--block-delta`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum BlockDelta {
    /// Compare it by blocks, write only what changed
    #[default]
    Auto,
    /// Write all of it again
    Off,
}

/// `--jobs`: 0 is `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads(pub usize);

/// Reads `--jobs`.
///
/// # Errors
/// When it is neither a number that makes sense nor `auto`.
pub fn threads(text: &str) -> Result<Threads, String> {
    if text == "auto" {
        return Ok(Threads(0));
    }
    let number = text.parse().ok().filter(|n| (1..=MOST_THREADS).contains(n));
    number
        .map(Threads)
        .ok_or_else(|| format!("a number from 1 to {MOST_THREADS}, or auto"))
}

/// A volume and what is said about it, written `VOLUME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<T> {
    /// The volume.
    pub volume: VolumeKey,
    /// What is said about it.
    pub value: T,
}

impl<T> FromStr for Pair<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (volume, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} has no `=`: write it as VOLUME=VALUE"))?;
        Ok(Self {
            volume: volume
                .parse()
                .map_err(|e: crate::model::ParseNameError| e.to_string())?,
            value: value.parse().map_err(|e: T::Err| e.to_string())?,
        })
    }
}

/// Reads bytes a second.
pub(super) fn rate(text: &str) -> Result<ByteSize, String> {
    text.parse().map(|Rate(bytes)| bytes)
}
