//! What data is restored from: a part of a backup, or a file that Rehome did not write. Plain data, because it is written
//! into the journal; and the reading of such a file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::part::{Part, Source};
use crate::datastore::Kind;
use crate::model::{Failure, Result, ServiceName, SiteName, VolumeKey};
use crate::steps::dumps::Foreign;

/// So much of a file is enough to recognise it: a tar has its mark at byte 257.
const HEAD: u64 = 512;

/// What data is restored from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Input {
    /// A part of a backup.
    Backup {
        /// The backup.
        source: Source,
        /// What of it.
        part: Part,
        /// Only this path of a volume; relative.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
    },
    /// A dump that Rehome did not write, for a server.
    Dump {
        /// The file.
        file: StrangeFile,
        /// What it is.
        format: Foreign,
        /// The service that gets it.
        service: ServiceName,
        /// Which kind of server that is.
        kind: Kind,
        /// The volume that has the server's data.
        volume: VolumeKey,
        /// The database that it is loaded into, where the dump does not say so itself.
        database: Option<String>,
    },
    /// A tar that Rehome did not write, for a volume.
    Tar {
        /// The file.
        file: StrangeFile,
        /// The volume that gets it.
        key: VolumeKey,
        /// So many components are cut off the beginning of each path.
        strip: u32,
        /// Only this path of the volume; relative.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
    },
}

/// A file that Rehome did not write, as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrangeFile {
    /// Where it is, absolute.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last written to.
    pub changed: Timestamp,
    /// How it is compressed.
    pub packing: Packing,
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Not at all.
    None,
    /// <https://www.rfc-editor.org/rfc/rfc1952>
    Gzip,
    /// <https://www.rfc-editor.org/rfc/rfc8878>
    Zstd,
}

impl Input {
    /// In words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Backup { part, path: None, .. } => part.describe(),
            Self::Backup {
                part,
                path: Some(path),
                ..
            } => format!("{} of {}", path.display(), part.describe()),
            Self::Dump {
                service,
                kind,
                database: None,
                ..
            } => format!("{kind} of {service}"),
            Self::Dump {
                service,
                database: Some(database),
                ..
            } => format!("database {database} of {service}"),
            Self::Tar { key, path: None, .. } => format!("volume {key}"),
            Self::Tar {
                key,
                path: Some(path),
                ..
            } => format!("{} of volume {key}", path.display()),
        }
    }

    /// The service whose server it is for, and which kind that is.
    #[must_use]
    pub fn server(&self) -> Option<(&ServiceName, Kind)> {
        match self {
            Self::Backup {
                part: Part::Server { service, kind, .. },
                ..
            }
            | Self::Dump { service, kind, .. } => Some((service, *kind)),
            Self::Backup { .. } | Self::Tar { .. } => None,
        }
    }

    /// The volume that it is for.
    #[must_use]
    pub fn volume(&self) -> Option<&VolumeKey> {
        match self {
            Self::Backup { part, .. } => part.volume(),
            Self::Dump { volume, .. } => Some(volume),
            Self::Tar { key, .. } => Some(key),
        }
    }

    /// The site whose directory is restored.
    #[must_use]
    pub fn site(&self) -> Option<&SiteName> {
        match self {
            Self::Backup { part, .. } => part.site(),
            Self::Dump { .. } | Self::Tar { .. } => None,
        }
    }

    /// The path of the volume that is restored, if it is not all of it.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Backup { path, .. } | Self::Tar { path, .. } => path.as_deref(),
            Self::Dump { .. } => None,
        }
    }

    /// Bytes of what is put back; of a compressed file as it is. How much a path has, nobody knows beforehand.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            _ if self.path().is_some() => None,
            Self::Backup { part, .. } => Some(part.bytes()),
            Self::Dump { file, .. } | Self::Tar { file, .. } => Some(file.bytes),
        }
    }
}

impl StrangeFile {
    /// Looks at a file: how it is, and the first bytes of what is in it.
    ///
    /// # Errors
    /// When it cannot be read, or is compressed in a way that is not known here.
    pub fn look(path: &Path) -> Result<(Self, Vec<u8>)> {
        let cannot = |e: &std::io::Error| {
            Failure::refused(format!("cannot read {}", path.display()))
                .because(e)
                .data("nothing was changed")
        };
        let meta = std::fs::metadata(path).map_err(|e| cannot(&e))?;
        let changed = meta.modified().map_err(|e| cannot(&e))?;
        let mut first = Vec::new();
        File::open(path)
            .and_then(|file| file.take(HEAD).read_to_end(&mut first))
            .map_err(|e| cannot(&e))?;
        let packing = match first.as_slice() {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
            // https://tukaani.org/xz/xz-file-format.txt, and bzip2's own
            [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(unpack_first(path, "xz -d")),
            [b'B', b'Z', b'h', ..] => return Err(unpack_first(path, "bzip2 -d")),
            _ if first.starts_with(b"age-encryption.org/") => return Err(unpack_first(path, "age -d")),
            _ => Packing::None,
        };
        let file = Self {
            path: path.to_owned(),
            bytes: meta.len(),
            changed: Timestamp::try_from(changed).map_err(|e| {
                Failure::refused(format!("{} is of no known time", path.display())).because(&e)
            })?,
            packing,
        };
        let mut head = Vec::new();
        file.unpacked()?
            .take(HEAD)
            .read_to_end(&mut head)
            .map_err(|e| cannot(&e))?;
        Ok((file, head))
    }

    /// What is in it, from its beginning, if it is the file that it was.
    ///
    /// # Errors
    /// When it cannot be opened, or was written to.
    pub fn open(&self) -> Result<Box<dyn Read + Send>> {
        let meta = std::fs::metadata(&self.path).map_err(|e| self.cannot(&e))?;
        let changed = meta.modified().map_err(|e| self.cannot(&e))?;
        if meta.len() != self.bytes || Timestamp::try_from(changed).ok() != Some(self.changed) {
            return Err(Failure::environment(format!(
                "{} was written to since the plan was made",
                self.path.display()
            )));
        }
        self.unpacked()
    }

    fn unpacked(&self) -> Result<Box<dyn Read + Send>> {
        let file = File::open(&self.path).map_err(|e| self.cannot(&e))?;
        Ok(match self.packing {
            Packing::None => Box::new(file),
            // A file may be several, one after the other.
            Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(file).map_err(|e| self.cannot(&e))?),
        })
    }

    fn cannot(&self, e: &std::io::Error) -> Failure {
        Failure::environment(format!("cannot read {}", self.path.display())).because(e)
    }
}

fn unpack_first(path: &Path, command: &str) -> Failure {
    Failure::refused(format!("{} is not read as it is", path.display()))
        .cause("of compressed files, those of gzip and zstd are read")
        .data("nothing was changed")
        .hint(format!("{command} {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_recognised_through_its_compression_and_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let text = b"-- PostgreSQL database dump\n".repeat(40);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let files = [
            ("plain", text.clone(), Packing::None),
            ("gzip", gzip.finish().unwrap(), Packing::Gzip),
            (
                "zstd",
                zstd::encode_all(text.as_slice(), 1).unwrap(),
                Packing::Zstd,
            ),
        ];
        for (name, bytes, packing) in files {
            let path = dir.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            let (file, head) = StrangeFile::look(&path).unwrap();
            assert_eq!((file.packing, file.bytes), (packing, bytes.len() as u64));
            assert_eq!(head, text[..512]);
            let mut all = Vec::new();
            file.open().unwrap().read_to_end(&mut all).unwrap();
            assert_eq!(all, text);
            std::fs::write(&path, b"another").unwrap();
            let failure = file.open().err().unwrap();
            assert!(failure.to_string().contains("was written to"), "{failure}");
        }
    }

    #[test]
    fn what_is_compressed_in_another_way_is_said_with_what_unpacks_it() {
        let dir = tempfile::tempdir().unwrap();
        for (bytes, command) in [
            (&b"\xfd7zXZ\0\0\x04"[..], "xz -d"),
            (b"BZh91AY&SY", "bzip2 -d"),
            (b"age-encryption.org/v1\n", "age -d"),
        ] {
            let path = dir.path().join("x");
            std::fs::write(&path, bytes).unwrap();
            let failure = StrangeFile::look(&path).unwrap_err();
            assert!(
                failure.hints.iter().any(|hint| hint.starts_with(command)),
                "{failure:?}"
            );
        }
    }
}
