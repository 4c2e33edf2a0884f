//! The format of a backup: a directory with a manifest and the entries that it names. Plain data, no I/O.
//!
//! ```text
//! PROJECT/ID/manifest.json           written last: without it there is no backup
//!           databases/db/app.dump.zst[.age]
//!           volumes/media.tar.zst[.age]
//!           volumes/media.snapshot.json.zst[.age]    says which snapshot of PROJECT/restic has them instead
//!           project/compose.yml.zst[.age]
//!           pinned                    prune leaves it alone
//!           verified.json             when it was last read back, and how
//! ```
//!
//! A newer format is refused, and an older one is read for ever: `tests/formats` has a backup of each.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::datastore::Kind;
pub use crate::model::config::Consistency;
use crate::model::{Failure, ProjectName, Result, ServiceName, SiteName, VolumeKey, VolumeName};

/// The newest format that is read, and that of backups with snapshots.
pub const FORMAT: u32 = 2;
/// The format of backups that have none: every Rehome reads it.
const WITHOUT_SNAPSHOTS: u32 = 1;
/// The file that makes a backup one.
pub const MANIFEST: &str = "manifest.json";
/// The file whose presence keeps a backup from being pruned.
pub const PINNED: &str = "pinned";
/// The file that says when a backup was last read back, and how.
pub const VERIFIED: &str = "verified.json";
/// Beside a manifest: it was read back since, and is not what was written.
pub const DAMAGED: &str = "damaged.json";
/// A manifest is never longer.
pub const MANIFEST_LIMIT: u64 = 64 << 20;

/// A path below a place for backups: names with `/` between them, each of letters, digits and `._-%@`, none of them
/// `.` or `..`. It may be empty, which is the place itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorePath(String);

/// A text that is no [`StorePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no path of a backup")]
pub struct ParseStorePathError(String);

impl StorePath {
    /// Checks a path.
    ///
    /// # Errors
    /// When it could lead somewhere else, or would not mean the same everywhere.
    pub fn new(text: impl Into<String>) -> Result<Self, ParseStorePathError> {
        let text = text.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-%@".contains(&b);
        let fine = |name: &str| !matches!(name, "" | "." | "..") && name.bytes().all(plain);
        match text.is_empty() || (text.len() <= 1000 && text.split('/').all(fine)) {
            true => Ok(Self(text)),
            false => Err(ParseStorePathError(text)),
        }
    }

    /// A path below this one.
    ///
    /// # Errors
    /// As [`StorePath::new`].
    pub fn join(&self, below: &str) -> Result<Self, ParseStorePathError> {
        match self.0.is_empty() {
            true => Self::new(below),
            false => Self::new(format!("{}/{below}", self.0)),
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for StorePath {
    type Error = ParseStorePathError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<StorePath> for String {
    fn from(path: StorePath) -> Self {
        path.0
    }
}

/// The time in the name of a backup, in UTC.
const TIMED: &str = "%Y%m%dT%H%M%SZ";

/// Names a backup: when it began, and the run that made it. In order of time as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId {
    text: String,
    began: Timestamp,
}

/// A text that is no [`BackupId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no backup: they are called as in 20261122T020000Z-7k2f9a")]
pub struct ParseBackupIdError(String);

impl BackupId {
    /// The name of a backup that begins now, made by this run.
    #[must_use]
    pub fn at(began: Timestamp, run: &crate::model::RunId) -> Self {
        Self {
            text: format!("{}-{run}", began.strftime(TIMED)),
            // As the name has it.
            began: Timestamp::from_second(began.as_second()).unwrap_or(began),
        }
    }

    /// When it began, to the second.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// The run that made it, as text.
    #[must_use]
    pub fn run(&self) -> &str {
        self.text.split_once('-').map_or("", |(_, run)| run)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it lies in a place.
    ///
    /// # Errors
    /// Never: both are made of what a path may have.
    pub fn directory(&self, project: &ProjectName) -> Result<StorePath> {
        StorePath::new(format!("{project}/{self}"))
            .map_err(|e| Failure::bug("the name of a backup is no path").because(&e))
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for BackupId {
    type Err = ParseBackupIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (time, run) = text.split_once('-').unwrap_or((text, ""));
        let digits = |part: &str, n| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
        let timed = time.len() == 16
            && time.is_ascii()
            && digits(&time[..8], 8)
            && &time[8..9] == "T"
            && digits(&time[9..15], 6)
            && time.ends_with('Z');
        let named = !run.is_empty() && run.len() <= 40 && run.bytes().all(|b| b.is_ascii_alphanumeric());
        let began =
            jiff::civil::DateTime::strptime(TIMED, time).and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC));
        match began {
            Ok(began) if timed && named => Ok(Self {
                text: text.to_owned(),
                began: began.timestamp(),
            }),
            _ => Err(ParseBackupIdError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for BackupId {
    type Error = ParseBackupIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.text
    }
}

/// Everything that is said about a backup. No secret is in it: it lies in the clear beside encrypted entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which.
    pub id: BackupId,
    /// Of which project.
    pub project: ProjectName,
    /// When it began; the data is of a moment between this and the end.
    pub began: Timestamp,
    /// When everything was written.
    pub ended: Timestamp,
    /// The Rehome that made it.
    pub rehome: String,
    /// The engine it was made with.
    pub engine: String,
    /// The machine it was made on.
    pub machine: String,
    /// What the services did meanwhile.
    pub consistency: Consistency,
    /// How the entries are encrypted.
    pub encryption: Encryption,
    /// What ran.
    pub services: Vec<ServiceNote>,
    /// What is in it.
    pub entries: Vec<Entry>,
    /// What belongs to the project and was left out, with the reason.
    pub left_out: Vec<String>,
    /// The resolved configuration, without any value of an environment, a secret or a config.
    pub configuration: serde_json::Value,
}

/// How the entries of a backup are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "with")]
pub enum Encryption {
    /// Not at all.
    None,
    /// For whoever has the key of one of these: what encrypts cannot read it afterwards.
    Recipients {
        /// Public keys of age.
        recipients: Vec<String>,
    },
    /// With a passphrase.
    Passphrase,
}

/// A service, as it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNote {
    /// Which.
    pub service: ServiceName,
    /// The image that the files name.
    pub image: String,
    /// The image's own id.
    pub id: String,
    /// What a registry calls it.
    pub digests: Vec<String>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Below the backup's directory.
    pub path: StorePath,
    /// What it is.
    pub what: What,
    /// Its bytes.
    pub sealed: Sealed,
    /// How long it took to make, in milliseconds.
    pub millis: u64,
}

impl Entry {
    /// How many bytes of data there are: of a snapshot what is in it, and not what says so.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.what {
            What::Snapshot(note) => note.bytes,
            What::Dump(_) | What::Volume(_) | What::File { .. } => self.sealed.bytes,
        }
    }
}

/// What is known of an entry's bytes, inside and out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// How many bytes went in.
    pub bytes: u64,
    /// Their BLAKE3, in hex.
    pub blake3: String,
    /// How many bytes are stored: compressed, and encrypted if the backup is.
    pub stored_bytes: u64,
    /// Their BLAKE3, in hex: whoever has no key can check this one.
    pub stored_blake3: String,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum What {
    /// A part of the dump of a database server, or of a database in a file.
    Dump(DumpNote),
    /// The files of a volume, or of the directory of a site.
    Volume(VolumeNote),
    /// Where the files of a volume are: the entry itself only says so, too.
    Snapshot(SnapshotNote),
    /// A file of the project.
    File {
        /// Its name beside the first Compose file.
        name: String,
    },
}

impl What {
    /// The site whose directory it is, if it is one.
    #[must_use]
    pub fn site(&self) -> Option<&SiteName> {
        match self {
            Self::Volume(note) => note.site.as_ref(),
            Self::Snapshot(note) => note.site.as_ref(),
            Self::Dump(_) | Self::File { .. } => None,
        }
    }
}

/// A part of a dump.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DumpNote {
    /// The service whose server it is; of SQLite, `None`.
    pub service: Option<ServiceName>,
    /// The volume that holds the database's files.
    pub volume: Option<VolumeKey>,
    /// The data directory (SQLite: the file) relative to the volume's root.
    pub at: String,
    /// Which kind of database.
    pub kind: Kind,
    /// The part: a database's name, `None` for what belongs to all of them (roles).
    pub database: Option<String>,
    /// The server's version, as it says itself.
    pub version: Option<String>,
    /// The rows of every table when it was dumped, by `schema.table`, counted in the dump's own snapshot. Empty where
    /// that cannot be had.
    pub rows: BTreeMap<String, u64>,
    /// More that must be the same after a restore, by name: collation versions, encoding, number of keys.
    pub facts: BTreeMap<String, String>,
}

/// The files of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeNote {
    /// Its key in the Compose files.
    pub key: VolumeKey,
    /// Its full name.
    pub name: VolumeName,
    /// Entries, the root directory included.
    pub entries: u64,
    /// Bytes of its files' content.
    pub bytes: u64,
    /// A BLAKE3 over every entry: path, kind, owner, mode, times, attributes, content. Of a restored tree the same is
    /// computed, and has to be equal.
    pub tree: String,
    /// What could not be archived as it was, in words: a file that changed again and again, a socket.
    pub notes: Vec<String>,
    /// The site whose directory it is: then no volume of the engine has this name. An older Rehome reads over it, and what
    /// it says of a volume holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteName>,
}

/// A snapshot of a volume, in the repository beside the backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotNote {
    /// The volume's key in the Compose files; also the name of its directory in the snapshot.
    pub key: VolumeKey,
    /// Its full name.
    pub name: VolumeName,
    /// The snapshot's id, in hex.
    pub id: String,
    /// Entries, the root directory included.
    pub entries: u64,
    /// Bytes of its files' content.
    pub bytes: u64,
    /// Files that the snapshot before did not have, or had otherwise.
    pub files_added: u64,
    /// Bytes that the repository grew by.
    pub bytes_added: u64,
    /// What could not be taken as it was, in words.
    pub notes: Vec<String>,
    /// The site whose directory it is: then no volume of the engine has this name. An older Rehome reads over it, and what
    /// it says of a volume holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteName>,
}

/// The manifest as it lies on a disk: with its format and its own hash.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    format: u32,
    blake3: String,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

/// Only the format, of whatever version.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Manifest {
    /// As it is stored.
    ///
    /// # Errors
    /// Never in practice: all of it can be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let broken = |e: serde_json::Error| Failure::bug("a manifest cannot be written").because(&e);
        let manifest = serde_json::value::to_raw_value(self).map_err(broken)?;
        let snapshots = self
            .entries
            .iter()
            .any(|entry| matches!(entry.what, What::Snapshot(_)));
        let envelope = Envelope {
            format: if snapshots { FORMAT } else { WITHOUT_SNAPSHOTS },
            blake3: blake3::hash(manifest.get().as_bytes()).to_hex().to_string(),
            manifest: &manifest,
        };
        serde_json::to_vec(&envelope).map_err(broken)
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// When it is of a newer format, was changed by as much as a bit, or contradicts itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged =
            || Failure::refused("the manifest of the backup is damaged").data("nothing was changed");
        let version: Version = serde_json::from_slice(bytes).map_err(|e| damaged().because(&e))?;
        if version.format == 0 || version.format > FORMAT {
            return Err(Failure::refused(format!(
                "the backup has format {}, and this Rehome reads up to {FORMAT}",
                version.format
            ))
            .data("nothing was changed")
            .hint("use the version of rehome that made it, or a newer one"));
        }
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|e| damaged().because(&e))?;
        if blake3::hash(envelope.manifest.get().as_bytes()).to_hex().as_str() != envelope.blake3 {
            return Err(damaged().cause("its content does not match its own hash"));
        }
        let manifest: Self =
            serde_json::from_str(envelope.manifest.get()).map_err(|e| damaged().because(&e))?;
        let mut paths: Vec<&StorePath> = manifest.entries.iter().map(|e| &e.path).collect();
        paths.sort();
        if paths.windows(2).any(|two| two[0] == two[1]) {
            return Err(damaged().cause("it names an entry twice"));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::file_name;

    #[test]
    fn a_path_cannot_leave_its_place() {
        for bad in [
            "/etc", "a//b", "..", "a/../b", "a/", "./a", "a b", "a\n", "a/\u{e9}",
        ] {
            assert!(StorePath::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(StorePath::default().join("a/b.c").unwrap().as_str(), "a/b.c");
        assert!(StorePath::new("a").unwrap().join("../b").is_err());
    }

    #[test]
    fn names_never_meet() {
        assert_eq!(file_name("kms_connect-1"), "kms_connect-1");
        assert_eq!(file_name("../a b"), "%2e%2e%2fa%20b");
        assert_ne!(file_name("a%20b"), file_name("a b"));
        assert!(StorePath::new(file_name("ä/\0")).is_ok());
    }

    #[test]
    fn a_backup_is_named_by_time_and_run() {
        let at: Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
        let run = crate::model::RunId::from_entropy([1, 2, 3, 4, 5, 6]);
        let id = BackupId::at(at, &run);
        assert_eq!(id.as_str(), format!("20261122T020000Z-{run}"));
        assert_eq!(id.as_str().parse::<BackupId>().unwrap(), id);
        assert_eq!((id.began(), id.run()), (at, run.as_str()));
        for bad in [
            "",
            "20261122T020000Z",
            "20261122T020000Z-",
            "2026-11-22",
            "20261132T020000Z-a",
            "20261122T020000Z-a/b",
        ] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_and_not_guessed_at() {
        let failure =
            Manifest::from_bytes(br#"{"format":3,"blake3":"","manifest":{"other":1}}"#).unwrap_err();
        assert_eq!(
            failure.what,
            "the backup has format 3, and this Rehome reads up to 2"
        );
        assert!(Manifest::from_bytes(b"{\"format\":1").is_err());
    }
}
