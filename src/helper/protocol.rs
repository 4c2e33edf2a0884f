//! The words between the host and the helper: one request in the arguments, JSON lines on stdout. An archive goes over
//! stdout itself, and the lines over stderr then.
//!
//! Paths in requests are paths inside the helper container. Paths of entries are bytes, not text: names on a disk
//! need not be UTF-8. In JSON they are text with every byte outside of printable ASCII written `\xNN`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use super::remote::{SnapshotReport, SnapshotRequest};
pub use super::uploads::{
    CompareReport as UploadsCompared, Compared, Held, InUse, PullReport, Spent, SyncJob, SyncReport, Trouble,
    Troubles, UPLOADS_TREE, UploadsAnswer, UploadsJob, UploadsRequest,
};
use crate::model::Owner;

/// What the helper shall do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// What file system is this, how full, can it be written. -> [`Answer::Probe`]
    Probe {
        /// The directory, usually a mount of the helper.
        dir: PathBuf,
        /// Directories below it to look at as well.
        below: Vec<PathBuf>,
    },
    /// Walks a tree: totals, and the datastores that are recognised by their files. -> [`Answer::Scan`]
    Scan {
        /// The tree.
        dir: PathBuf,
    },
    /// Makes a directory, each missing component of `path` below `parent`; there already and empty is fine.
    /// -> [`Answer::Done`]
    MakeDir {
        /// Must exist.
        parent: PathBuf,
        /// Relative, without `..`; symlinks in it are refused.
        path: PathBuf,
    },
    /// One pass of copying: brings `to` to the state of `from`, then reads back what was written. -> [`Answer::Copy`]
    Copy(CopyRequest),
    /// Compares every entry of the two trees, the root directories included. -> [`Answer::Verify`]
    Verify(VerifyRequest),
    /// Compares two trees in full, content included, and counts what differs. -> [`Answer::Compare`]
    Compare {
        /// The older tree.
        left: PathBuf,
        /// The newer tree.
        right: PathBuf,
    },
    /// Reads PostgreSQL's control file. -> [`Answer::PgControl`]
    PgControl {
        /// The data directory (with `PG_VERSION` in it).
        dir: PathBuf,
    },
    /// Removes the tree `path` below `parent`, if it is there; never follows a symlink, never leaves the file system.
    /// -> [`Answer::Done`]
    Remove {
        /// Must exist.
        parent: PathBuf,
        /// Relative, without `..`.
        path: PathBuf,
    },
    /// Renames `from` to `to` below `parent`; done already (`from` gone, `to` there) is fine. -> [`Answer::Done`]
    Rename {
        /// Must exist.
        parent: PathBuf,
        /// Relative.
        from: PathBuf,
        /// Relative.
        to: PathBuf,
    },
    /// Swaps two entries of the same file system at once, so that there is no moment at which one of them is missing.
    /// There already is fine. -> [`Answer::Done`]
    Exchange {
        /// Must exist.
        parent: PathBuf,
        /// Relative.
        left: PathBuf,
        /// Relative.
        right: PathBuf,
        /// The inode that shall be at `left` afterwards.
        left_inode: u64,
    },
    /// Which inode is at each of these paths. A symlink or a mount on the way there is a fault. -> [`Answer::Numbers`]
    Numbers {
        /// Must exist.
        parent: PathBuf,
        /// Relative.
        paths: Vec<PathBuf>,
    },
    /// Writes a tree as a tar archive to stdout; lines go to stderr. It does not end before stdin is closed.
    /// -> [`Answer::Archive`]
    Archive {
        /// The tree.
        dir: PathBuf,
        /// Whether anything may write to it meanwhile. When not, a tree that changes is an error instead of a note.
        live: bool,
        /// Only this path in it, with the directories on the way there; relative.
        only: Option<PathBuf>,
    },
    /// Unpacks a tar archive that comes through stdin in frames ([`super::frames`]), reads everything back, and compares.
    /// It does not end before stdin is closed. -> [`Answer::Unarchive`]
    Unarchive {
        /// Where to. Empty, unless `only` is given.
        dir: PathBuf,
        /// Only this path of the archive, to the same place, where nothing may be; relative. Directories on the way there
        /// are made as the archive has them where they are missing.
        only: Option<PathBuf>,
        /// So many components are cut off the beginning of each path.
        strip: u32,
        /// Of whose owner and mode the root is where the archive does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        like: Option<PathBuf>,
        /// How many bytes of content there are, as far as it is known: for the progress. 0 is unknown.
        bytes: u64,
        /// How many entries, likewise.
        entries: u64,
    },
    /// Adds a snapshot of a tree to a repository that the host has; what it needs of that it asks for over stdout, and is
    /// answered over stdin ([`super::remote`]). Lines go to stderr. It ends after stdin does. -> [`Answer::Snapshot`]
    Snapshot(SnapshotRequest),
    /// Brings files of a tree into a bucket, or back, or compares them; the access to the storage comes through stdin in
    /// frames ([`super::frames`]). It does not end before stdin is closed. -> [`Answer::Uploads`]
    Uploads(Box<UploadsRequest>),
    /// May the user that the helper runs as write into these directories? -> [`Answer::Access`]
    Access {
        /// The directories.
        dirs: Vec<PathBuf>,
    },
    /// Several requests, one after the other, up to the first that fails. A [`Line::Turn`] tells which is next. None that
    /// needs stdin or stdout for itself. -> [`Answer::Several`]
    Several {
        /// The requests.
        requests: Vec<Request>,
    },
    /// One HTTP/1.1 GET over plain TCP, redirects not followed. -> [`Answer::Http`]
    Http {
        /// `http://host:port/path`
        url: String,
        /// Whether the answer's text is wanted.
        body: bool,
        /// The limit for the whole exchange, in milliseconds.
        timeout_millis: u64,
    },
    /// One connection to a port of `localhost`. -> [`Answer::Done`]
    Tcp {
        /// The port.
        port: u16,
        /// The limit for it, in milliseconds.
        timeout_millis: u64,
    },
    /// Copies an SQLite database by its online backup interface, and checks the copy. Its bytes follow the answer on
    /// stdout; the helper waits for the end of its stdin after that. -> [`Answer::Sqlite`]
    SqliteCopy {
        /// The tree that it is in.
        dir: PathBuf,
        /// The file, relative, without `..`.
        path: PathBuf,
        /// An empty directory for the copy.
        scratch: PathBuf,
    },
    /// Takes an SQLite database from stdin, checks it, and puts it in its place. -> [`Answer::Sqlite`]
    SqliteLoad(SqliteLoad),
    /// Checks an SQLite database that nobody has open. -> [`Answer::Sqlite`]
    SqliteCheck {
        /// The tree that it is in.
        dir: PathBuf,
        /// The file, relative, without `..`.
        path: PathBuf,
    },
    /// Answers every HTTP request on a port with a page. Tells [`Answer::Done`] once it does, and goes on until its stdin
    /// is closed: a request is an argument of the helper, and too short for a page, so that comes through stdin as well.
    Page {
        /// In the container.
        port: u16,
        /// How long the page is that is read from stdin.
        bytes: u64,
    },
}

/// See [`Request::Copy`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopyRequest {
    /// The source tree, mounted read-only.
    pub from: PathBuf,
    /// The destination tree; must exist.
    pub to: PathBuf,
    /// The manifest of the pass before is read from here, and that of this pass is written here (atomically).
    /// Missing or damaged means: everything is dirty.
    pub manifest: PathBuf,
    /// Whether anything may still write to the source. When not, a source that changes while it is copied is an
    /// error instead of a dirty entry.
    pub live: bool,
    /// Give every destination entry this owner instead of the source's.
    pub owner: Option<Owner>,
    /// Threads; 0 lets the helper choose.
    pub jobs: usize,
    /// Bytes a second at most, over all threads; 0 is no limit.
    pub bandwidth: u64,
    /// Whether what was written is read back from the disk and compared.
    pub read_back: bool,
    /// Whether large files that changed are patched where that is possible, instead of written again.
    pub patch: bool,
}

/// See [`Request::Verify`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// The source tree.
    pub from: PathBuf,
    /// The destination tree.
    pub to: PathBuf,
    /// The manifest of the last pass: content of entries that are clean in it was compared when it was copied.
    pub manifest: PathBuf,
    /// The owner that the destination was given.
    pub owner: Option<Owner>,
    /// Read both sides again instead of trusting the manifest.
    pub full: bool,
    /// Threads; 0 lets the helper choose.
    pub jobs: usize,
}

/// See [`Request::SqliteLoad`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SqliteLoad {
    /// The tree that it shall be in.
    pub dir: PathBuf,
    /// The file, relative, without `..`; its directory must exist.
    pub path: PathBuf,
    /// Whose it shall be, if not root's.
    pub owner: Option<Owner>,
    /// Its mode.
    pub mode: u32,
    /// The [`SqliteReport::hash`] of its rows, if that is known: another one is not put in place.
    pub rows: Option<String>,
}

/// One line on the helper's stdout. The last is `Answer` or `Failed`, and nothing follows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Line {
    /// How far it is; several a second.
    Progress {
        /// Bytes done.
        bytes: u64,
        /// Bytes in all as far as known.
        bytes_total: u64,
        /// Entries done.
        files: u64,
        /// Entries in all as far as known.
        files_total: u64,
    },
    /// Something worth a line, for example a socket that was skipped. At most 20 a request, then a count.
    Note {
        /// The sentence.
        text: String,
    },
    /// Of [`Request::Several`] this one is worked on from now on.
    Turn {
        /// Its place, from 0.
        index: usize,
    },
    /// It worked.
    Answer(Answer),
    /// It did not.
    Failed {
        /// What happened.
        what: String,
        /// Because of what.
        because: String,
        /// A class that the host can act on.
        class: FailClass,
    },
}

/// Failures that the host tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailClass {
    /// No space left (ENOSPC, EDQUOT): bytes or inodes.
    Full,
    /// The destination is read-only (EROFS).
    ReadOnly,
    /// The source could not be read.
    Source,
    /// The source changed though nothing should write to it.
    SourceChanged,
    /// The two sides differ.
    Differs,
    /// What the request asks for is refused: not empty, a symlink in the path, and the like.
    Refused,
    /// Anything else.
    Other,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Nothing to say.
    Done,
    /// To [`Request::Probe`].
    Probe(Probe),
    /// To [`Request::Scan`].
    Scan(Scan),
    /// To [`Request::Copy`].
    Copy(CopyReport),
    /// To [`Request::Verify`].
    Verify(VerifyReport),
    /// To [`Request::Compare`].
    Compare(CompareReport),
    /// To [`Request::PgControl`].
    PgControl(PgControl),
    /// To [`Request::SqliteCopy`], [`Request::SqliteLoad`] and [`Request::SqliteCheck`].
    Sqlite(SqliteReport),
    /// To [`Request::Access`]: one a directory.
    Access {
        /// Whether each may be written.
        writable: Vec<bool>,
    },
    /// To [`Request::Numbers`]: one a path, in their order; none where nothing is.
    Numbers {
        /// What is there.
        numbers: Vec<Option<Number>>,
    },
    /// To [`Request::Archive`].
    Archive(ArchiveReport),
    /// To [`Request::Unarchive`].
    Unarchive(UnarchiveReport),
    /// To [`Request::Snapshot`].
    Snapshot(SnapshotReport),
    /// To [`Request::Uploads`].
    Uploads(Box<super::uploads::Ended>),
    /// To [`Request::Several`]: one a request.
    Several {
        /// The answers, in the order of the requests.
        answers: Vec<Answer>,
    },
    /// To [`Request::Http`].
    Http {
        /// The status code.
        status: u16,
        /// The answer's text, up to half a MiB, if it was wanted.
        body: String,
    },
}

/// A file system as the helper sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// `major:minor` of the device.
    pub device: String,
    /// The path within the file system that is mounted here; `/` is the file system's own root.
    pub mount_root: String,
    /// `ext4`, `xfs`, `btrfs`, …
    pub fs_type: String,
    /// What is mounted: `/dev/sda`.
    pub source: String,
    /// Mounted read-only, or refuses a test file.
    pub read_only: bool,
    /// Size in bytes.
    pub bytes_total: u64,
    /// Free to us, in bytes.
    pub bytes_free: u64,
    /// Inodes in all; 0 where the file system has no fixed number.
    pub inodes_total: u64,
    /// Inodes free.
    pub inodes_free: u64,
    /// Block size in bytes.
    pub block_size: u64,
    /// The file system's id as statfs gives it, in hex: recognises the same file system after a remount.
    pub fs_id: String,
    /// For each directory of `below`: what is there.
    pub below: Vec<Place>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Place {
    /// Nothing.
    Missing,
    /// An empty directory (`lost+found` does not count).
    Empty,
    /// A directory with something in it.
    Filled {
        /// A few of the names.
        names: Vec<String>,
    },
    /// A mount point of its own, or on another device than its parent.
    OtherDevice,
    /// A file, a symlink, …
    NotADirectory {
        /// What it is.
        what: String,
    },
}

/// Totals of a tree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// Regular files (hard links counted once).
    pub files: u64,
    /// Directories, the root included.
    pub dirs: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// FIFOs and device nodes.
    pub special: u64,
    /// Sockets; they are skipped when copying.
    pub sockets: u64,
    /// Names beyond the first of hard-linked files.
    pub hard_links: u64,
    /// Sum of the lengths, in bytes.
    pub bytes: u64,
    /// Sum of what is allocated, in bytes: what it takes on the destination.
    pub allocated: u64,
    /// Numeric owner of the root directory.
    pub root_owner: Option<Owner>,
    /// Mode of the root directory, the low twelve bits.
    pub root_mode: u32,
    /// The newest modification time, in seconds since 1970.
    pub newest: i64,
    /// Directories in the tree that are mount points of their own; they are not entered.
    pub mounts_inside: Vec<String>,
    /// Entries that could not be read, a few of them.
    pub unreadable: Vec<String>,
    /// Datastores recognised by their files.
    pub datastores: Vec<DatastoreSign>,
    /// What its files would be in a bucket.
    pub as_objects: super::uploads::AsObjects,
}

impl Scan {
    /// What has an inode of its own: further names of a file have none.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.files + self.dirs + self.symlinks + self.special
    }
}

/// A datastore recognised by its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatastoreSign {
    /// `postgres`, `mysql`, `redis`, `mongodb`, `sqlite`.
    pub kind: String,
    /// The directory of its data, relative to the tree (`""`, `pgdata`); for SQLite the file.
    pub path: String,
    /// What its version file says, if it has one (`15`).
    pub version: Option<String>,
}

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CopyReport {
    /// Entries in the source.
    pub entries: u64,
    /// Files whose content was copied in this pass.
    pub files_copied: u64,
    /// Of these, how many were patched: only what changed in them was written.
    #[serde(default)]
    pub files_patched: u64,
    /// Bytes written in this pass.
    pub bytes_copied: u64,
    /// Bytes in the source.
    pub bytes_total: u64,
    /// Entries whose metadata alone was brought up to date.
    pub metadata_changed: u64,
    /// Entries that were found under another path and moved at the destination, with all that is in them.
    #[serde(default)]
    pub moved: u64,
    /// Destination entries that went.
    pub deleted: u64,
    /// Files that changed while they were copied, or were touched too recently to be trusted: the next pass takes
    /// them again.
    pub dirty: u64,
    /// Their bytes.
    pub dirty_bytes: u64,
    /// Sockets skipped.
    pub sockets: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Regular files whose content was compared by hash.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Names of hard-linked files beyond the first.
    pub hard_links: u64,
    /// FIFOs and device nodes.
    pub special: u64,
    /// Extended attributes (ACLs included).
    pub xattrs: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// The sum of the BLAKE3 hashes of every entry's path, type, metadata and content: one figure for the tree.
    pub digest: String,
}

/// How two trees differ.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompareReport {
    /// Only on the right.
    pub added: u64,
    /// Only on the left.
    pub removed: u64,
    /// On both, with different content, type or metadata.
    pub changed: u64,
    /// Bytes of the files that were added or changed, as they are on the right.
    pub bytes: u64,
    /// A few of the paths.
    pub sample: Vec<String>,
}

/// What the kernel calls an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number {
    /// Its inode.
    pub inode: u64,
    /// `major:minor` of its device.
    pub device: String,
}

/// What went into an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveReport {
    /// Entries, the root directory and further names included.
    pub entries: u64,
    /// Bytes of its files' content, holes included.
    pub bytes: u64,
    /// How long the archive is: whoever has fewer bytes of it has not all.
    pub tar_bytes: u64,
    /// One figure for all entries: path, type, owner, mode, time, attributes, links, content ([`super::listing`]).
    pub tree: String,
    /// Sockets that were left out.
    pub sockets: u64,
}

/// What came out of an archive, and was compared with it on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnarchiveReport {
    /// Entries, as [`ArchiveReport::entries`].
    pub entries: u64,
    /// Bytes of its files' content, holes included.
    pub bytes: u64,
    /// As [`ArchiveReport::tree`], of what was unpacked.
    pub tree: String,
}

/// What PostgreSQL's control file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PgControl {
    /// The database's identity: set at initdb, kept for life.
    pub system_identifier: u64,
    /// `shut down`, `in production`, … as `pg_controldata` names them.
    pub state: String,
    /// The content of `PG_VERSION`.
    pub version: String,
}

/// What is known of an SQLite database of which every page was looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SqliteReport {
    /// How long its file is, where that was read.
    pub bytes: u64,
    /// The BLAKE3 of its file, in hex, where that was read.
    pub blake3: String,
    /// The rows of every table.
    pub rows: BTreeMap<String, u64>,
    /// More of it, by name.
    pub facts: BTreeMap<String, String>,
    /// Whose the file is that was copied.
    pub owner: Option<Owner>,
    /// The mode of the file that was copied.
    pub mode: u32,
}

impl SqliteReport {
    /// One figure for the rows of every table: a request is an argument, and too short for all of them.
    #[must_use]
    pub fn hash(rows: &BTreeMap<String, u64>) -> String {
        let mut hasher = blake3::Hasher::new();
        for (table, rows) in rows {
            hasher.update(&(table.len() as u64).to_le_bytes());
            hasher.update(table.as_bytes());
            hasher.update(&rows.to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}
