//! Uploads: the files of a volume as objects of a bucket. This is the only work of a helper that goes over the network; what
//! it reaches the storage with comes through its stdin, so that no container's environment or arguments have it.
//!
//! ```text
//! files      the files of the tree, and which objects they are
//! store      the bucket, asked with patience
//! early      small files compared while the list of objects comes in
//! same       whether an object has the content of a file
//! lanes      MD5 of many messages at once
//! send       one file becomes an object
//! sync, verify, pull    all of them
//! ```

mod early;
mod fetch;
mod files;
mod lanes;
mod pull;
mod same;
mod send;
mod store;
mod sync;
mod verify;

use std::io::Read;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(super) use self::same::puts;
use self::store::Store;
use super::context::Context;
use super::fault::Fault;
use super::frames::Frames;
use crate::model::config::Prefix;
use crate::model::{Failure, Result};
use crate::s3::{About, Access, Asked, Examined, Finding, SetupReport, SetupWanted, check, setup};

/// The access to a storage is never longer: most of it are the certificates of authorities.
const ACCESS_LIMIT: u64 = 4 << 20;
/// Where the tree is in a helper's container.
pub const UPLOADS_TREE: &str = "/tree";
/// So many troubles are told one by one; what is beyond is counted.
const TOLD: usize = 1_000;

/// See [`super::protocol::Request::Uploads`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadsRequest {
    /// The tree.
    pub dir: PathBuf,
    /// The bucket.
    pub bucket: String,
    /// What the keys of all objects begin with.
    pub prefix: Prefix,
    /// Only paths that one of these patterns matches, unless there are none.
    #[serde(default)]
    pub include: Vec<String>,
    /// No path that one of these patterns matches.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How many files at once; 0 lets the helper choose.
    #[serde(default)]
    pub jobs: usize,
    /// Bytes a second at most, over all of them; 0 is no limit.
    #[serde(default)]
    pub bandwidth: u64,
    /// What shall be done.
    pub job: UploadsJob,
}

/// What is done with the files and the objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum UploadsJob {
    /// The bucket gets what the tree has. -> [`UploadsAnswer::Synced`]
    Sync(SyncJob),
    /// Every file is compared with its object, and nothing is written. -> [`UploadsAnswer::Verified`]
    Verify {
        /// Read every object, whatever the storage says of its content.
        read: bool,
        /// Somebody goes on writing meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_use: Option<InUse>,
    },
    /// The bucket is made, with its settings, and tried. No tree is needed. -> [`UploadsAnswer::SetUp`]
    SetUp(SetupWanted),
    /// What works, and who can read. No tree is needed. -> [`UploadsAnswer::Checked`]
    Check {
        /// What objects are written with.
        about: About,
        /// The origins whose pages shall be able to load from it.
        cors: Vec<String>,
    },
    /// The tree gets what the bucket has. -> [`UploadsAnswer::Pulled`]
    Pull {
        /// Say what would be written, and write nothing.
        dry_run: bool,
        /// What is there already stays, whatever the bucket has in its place.
        only_missing: bool,
        /// Only objects that were written after this, and no file that is newer than its object.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    },
}

/// Where the services write while files and objects are compared: what differs because of that is no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUse {
    /// They have written there since then.
    pub since: Timestamp,
    /// To the bucket, and not to the tree.
    pub bucket: bool,
}

impl UploadsJob {
    /// What progress is called meanwhile.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match self {
            Self::Sync(_) => "upload",
            Self::Verify { .. } => "compare",
            Self::Pull { .. } => "download",
            Self::SetUp(_) | Self::Check { .. } => "check",
        }
    }

    /// Whether it says what would be done and does nothing.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        match self {
            Self::Sync(job) => job.dry_run,
            Self::Pull { dry_run, .. } => *dry_run,
            Self::SetUp(wanted) => wanted.dry_run,
            Self::Verify { .. } | Self::Check { .. } => false,
        }
    }
}

/// See [`UploadsJob::Sync`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncJob {
    /// What each object is written with; type, date and hash are each file's own.
    pub about: About,
    /// Say what would be written, and write nothing.
    pub dry_run: bool,
    /// Delete objects that no file belongs to.
    pub delete: bool,
    /// Also when that is more than a tenth of them.
    pub shrink: bool,
    /// Objects that were written after this stay as they are: they are newer than the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_over: Option<Timestamp>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ended", rename_all = "snake_case")]
pub enum UploadsAnswer {
    /// See [`UploadsJob::Sync`].
    Synced(SyncReport),
    /// See [`UploadsJob::Verify`].
    Verified(CompareReport),
    /// See [`UploadsJob::SetUp`].
    SetUp(SetupReport),
    /// See [`UploadsJob::Check`].
    Checked {
        /// Each thing that was looked at.
        found: Vec<Examined>,
    },
    /// See [`UploadsJob::Pull`].
    Pulled(PullReport),
    /// It could not be done, or not all of it could be tried.
    Failed(Failure),
}

/// What a piece of work asked of a storage, and what that has by now. Also of one that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The requests.
    pub asked: Asked,
    /// What is below the prefix, by the last list and what was written and deleted since; `None` if there was no list.
    pub held: Option<Held>,
}

/// What a bucket has below a prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Spent {
    /// Both together, the other one later.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self {
            asked: self.asked.and(later.asked),
            held: later.held.or(self.held),
        }
    }
}

impl UploadsAnswer {
    /// That this is no answer to what was asked.
    #[must_use]
    pub fn unexpected(&self) -> Failure {
        Failure::bug(format!("the helper said something else: {self:?}"))
    }

    /// Files and objects that did not arrive, or could not be compared.
    #[must_use]
    pub fn failed(&self) -> u64 {
        match self {
            Self::Synced(report) => report.failed.count,
            Self::Verified(report) => report.failed.count,
            Self::Pulled(report) => report.failed.count,
            Self::SetUp(_) | Self::Checked { .. } | Self::Failed(_) => 0,
        }
    }

    /// Whether all of it is as it should be: nothing failed, nothing differs.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::Synced(_) | Self::Pulled(_) => self.failed() == 0,
            Self::Verified(report) => [&report.failed, &report.missing, &report.different, &report.extra]
                .iter()
                .all(|troubles| troubles.is_empty()),
            Self::SetUp(_) => true,
            Self::Checked { found } => found.iter().all(|one| one.finding != Finding::Error),
            Self::Failed(_) => false,
        }
    }
}

/// How a piece of work ended, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// How. `say` and `answer` are what the line calls itself.
    pub outcome: UploadsAnswer,
    /// What it took.
    pub spent: Spent,
}

/// What was done to a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReport {
    /// Files of the tree that belong there.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was compared, and was the same.
    pub same: Compared,
    /// Objects that were not there, and are now.
    pub added: u64,
    /// Objects that were another, and are right now.
    pub replaced: u64,
    /// The bytes of both.
    pub sent_bytes: u64,
    /// Objects that are newer than the tree, and were left as they are.
    pub newer: u64,
    /// Objects that no file belongs to.
    pub extra: u64,
    /// Of those, the ones that were deleted.
    pub deleted: u64,
    /// Entries of the tree that are no files: symlinks and the like.
    pub left_out: u64,
    /// Files that went away while they were about to be read.
    pub gone: u64,
    /// Files that did not become objects.
    pub failed: Troubles,
    /// Lists that were asked for.
    pub pages: u64,
}

/// How it was found that files and objects have the same content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// By the MD5 that the storage made of the object, or of its parts.
    pub by_etag: u64,
    /// By the BLAKE3 that was noted when the object was written.
    pub by_note: u64,
    /// By reading the object.
    pub by_reading: u64,
}

impl Compared {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.by_etag + self.by_note + self.by_reading
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareReport {
    /// Files of the tree that belong there.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files whose object has the same content.
    pub same: Compared,
    /// Files without an object.
    pub missing: Troubles,
    /// Files whose object has another content.
    pub different: Troubles,
    /// Objects without a file.
    pub extra: Troubles,
    /// Files and objects that could not be compared.
    pub failed: Troubles,
    /// Files that are another than their object because one of both was just written.
    #[serde(default)]
    pub meanwhile: u64,
    /// Entries of the tree that are no files.
    pub left_out: u64,
}

/// What was done to a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullReport {
    /// Objects that belong there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was compared, and was the same.
    pub same: Compared,
    /// Files that were not there, and are now.
    pub added: u64,
    /// Files that were another, and are right now.
    pub replaced: u64,
    /// Files that are another, and were left as they are.
    pub kept: u64,
    /// The bytes that came.
    pub got_bytes: u64,
    /// Keys that are no paths of files, such as the markers of directories.
    pub left_out: u64,
    /// Objects that did not become files.
    pub failed: Troubles,
}

/// The files of a tree as objects of a bucket: each name is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsObjects {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The requests that write all of them.
    pub puts: u64,
}

/// What is wrong with single files or objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Troubles {
    /// How many.
    pub count: u64,
    /// The first of them, by their paths.
    pub first: Vec<Trouble>,
}

/// What is wrong with a file or an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Trouble {
    /// Which.
    pub path: String,
    /// What.
    pub why: String,
}

impl Troubles {
    fn add(&mut self, path: String, why: impl Into<String>) {
        self.count += 1;
        if self.first.len() < TOLD {
            let why = why.into();
            self.first.push(Trouble { path, why });
        }
    }

    fn append(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.sort_unstable();
        self.first.truncate(TOLD);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Does what is asked for; the access to the storage is read from `input`, in frames.
///
/// # Errors
/// Only when the access did not come; everything else is [`UploadsAnswer::Failed`]. With what it took.
pub fn uploads(
    cx: &Context,
    request: &UploadsRequest,
    input: &mut (dyn Read + Send),
) -> super::fault::Result<Ended> {
    let mut bytes = Vec::new();
    Frames::new(input)
        .take(ACCESS_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|e| Fault::refused("the access to the storage did not come", e.to_string()))?;
    let (done, spent) = match Access::from_wire(&bytes) {
        Ok(access) => counted(cx, request, &access),
        Err(failure) => (Err(failure), Spent::default()),
    };
    let outcome = done.unwrap_or_else(UploadsAnswer::Failed);
    Ok(Ended { outcome, spent })
}

/// The same, with the access at hand.
///
/// # Errors
/// When it could not be done, or not all of it could be tried. Troubles with single files are in the reports.
pub fn work(cx: &Context, request: &UploadsRequest, access: &Access) -> Result<UploadsAnswer> {
    counted(cx, request, access).0
}

/// The same, and what it took.
pub fn counted(cx: &Context, request: &UploadsRequest, access: &Access) -> (Result<UploadsAnswer>, Spent) {
    match Store::open(cx, request, access) {
        Ok(store) => {
            let done = of_store(&store, request);
            (done, store.spent())
        }
        Err(failure) => (Err(failure), Spent::default()),
    }
}

fn of_store(store: &Store<'_>, request: &UploadsRequest) -> Result<UploadsAnswer> {
    if !matches!(request.job, UploadsJob::SetUp(_) | UploadsJob::Check { .. }) {
        // Later it is waited for; what does not answer from the beginning is more often the wrong address.
        store.wait(store.bucket.answers(store.prefix.as_str()))?;
    }
    match &request.job {
        UploadsJob::Sync(job) => sync::sync(store, request, job).map(UploadsAnswer::Synced),
        UploadsJob::Verify { read, in_use } => {
            verify::verify(store, request, (*read, *in_use)).map(UploadsAnswer::Verified)
        }
        UploadsJob::SetUp(wanted) => {
            let prefix = store.prefix.as_str();
            store
                .wait(setup(&store.bucket, prefix, wanted))
                .map(UploadsAnswer::SetUp)
        }
        UploadsJob::Check { about, cors } => {
            let prefix = store.prefix.as_str();
            let found = store.wait(check(&store.bucket, prefix, about, cors))?;
            Ok(UploadsAnswer::Checked { found })
        }
        UploadsJob::Pull {
            dry_run,
            only_missing,
            since,
        } => {
            let how = pull::How {
                dry_run: *dry_run,
                only_missing: *only_missing,
                since: *since,
            };
            pull::pull(store, request, how).map(UploadsAnswer::Pulled)
        }
    }
}

/// A fault of the copier's own parts, in the words of the rest.
fn told(fault: Fault) -> Failure {
    Failure::environment(fault.what).cause(fault.because)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::protocol::{Answer, Line};

    /// The names of one of them must not be those of the line around it.
    #[test]
    fn each_outcome_is_read_as_it_was_said() {
        for outcome in [
            UploadsAnswer::Synced(SyncReport::default()),
            UploadsAnswer::Verified(CompareReport::default()),
            UploadsAnswer::SetUp(SetupReport::default()),
            UploadsAnswer::Checked { found: Vec::new() },
            UploadsAnswer::Pulled(PullReport::default()),
            UploadsAnswer::Failed(Failure::environment("it did not work").cause("of the weather")),
        ] {
            let spent = Spent::default();
            let line = Line::Answer(Answer::Uploads(Box::new(Ended { outcome, spent })));
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
        }
    }
}
