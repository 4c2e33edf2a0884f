//! A repository of snapshots in the format of restic, in a place for backups: made, opened, read, checked, pruned. A project
//! has one in each place, beside its backups: whoever holds the project's lock is alone with it.
//!
//! <https://restic.readthedocs.io/en/stable/100_references.html#repository-format>

use std::fmt;
use std::io::{Read as _, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustic_core::repofile::{MasterKey, Node, SnapshotFile};
use rustic_core::{
    BytesList, CheckOptions, ConfigOptions, Credentials, DataId, ErrorKind, FileType, Id, IndexedFullStatus,
    KeyOptions, LsOptions, NoProgressBars, OpenStatus, PruneOptions, ReadBackend, RepositoryBackends,
    RepositoryOptions, RusticError, RusticResult, WriteBackend,
};
use sha2::{Digest as _, Sha256};

use super::format::{BackupId, SnapshotNote, StorePath};
use super::store::Store;
use crate::model::{Failure, Kind, ProjectName, Result, Secret};

/// Below the project's directory in a place.
const DIRECTORY: &str = "restic";
/// All snapshots of Rehome have it.
const OURS: &str = "rehome";
/// What the tag with a backup's name begins with.
const OF_BACKUP: &str = "backup:";
/// How long packs become: two or three of them are held in memory at a time.
const PACK: &str = "16MiB";
/// No file of a repository is longer.
const MOST: u64 = 1 << 30;
/// Of what a check finds, so much is told.
const TOLD: usize = 5;

/// The files of a repository, in a place.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn Store>,
    below: StorePath,
    /// What went wrong first, in the place's own words: the library has others.
    failed: Arc<Mutex<Option<Failure>>>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Files {
    fn of(store: &Arc<dyn Store>, project: &ProjectName) -> Result<Self> {
        let below = StorePath::new(format!("{project}/{DIRECTORY}"))
            .map_err(|e| Failure::bug("a project's name is no path").because(&e))?;
        Ok(Self {
            store: Arc::clone(store),
            below,
            failed: Arc::default(),
        })
    }

    /// For people.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.store.name(), self.below)
    }

    fn path(&self, of: FileType, id: &Id) -> Result<StorePath> {
        let name = id.to_hex().as_str().to_owned();
        let below = match of {
            FileType::Config => of.dirname().to_owned(),
            FileType::Pack => format!("{}/{}/{name}", of.dirname(), &name[..2]),
            FileType::Key | FileType::Index | FileType::Snapshot => format!("{}/{name}", of.dirname()),
        };
        self.below
            .join(&below)
            .map_err(|e| Failure::bug("a file of a repository has no path").because(&e))
    }

    /// The names and lengths of all files of a type.
    ///
    /// # Errors
    /// When the place does not answer, or refuses.
    pub fn list(&self, of: FileType) -> Result<Vec<(Id, u32)>> {
        if of == FileType::Config {
            // One file by itself: nothing has to be listed to find it.
            let found = self.find(of, &Id::default(), None)?;
            let length = found.map(|bytes| (Id::default(), bytes.len() as u32));
            return Ok(length.into_iter().collect());
        }
        let below = self.below.join(of.dirname());
        let below = below.map_err(|e| Failure::bug("a file of a repository has no path").because(&e))?;
        let found = self.store.list(&below)?.into_iter().filter_map(|file| {
            let name = file.path.as_str().rsplit('/').next()?;
            Some((name.parse().ok()?, u32::try_from(file.bytes).ok()?))
        });
        Ok(found.collect())
    }

    /// A file, or a part of it.
    ///
    /// # Errors
    /// When it is not there, or shorter; when the place does not answer, or refuses.
    pub fn read(&self, of: FileType, id: &Id, part: Option<(u32, u32)>) -> Result<Bytes> {
        let cannot = |why: &str| {
            Failure::environment(format!(
                "cannot read {of} {} of {}",
                id.to_hex().as_str(),
                self.name()
            ))
            .cause(why)
        };
        match (self.find(of, id, part)?, part) {
            (None, _) => Err(cannot("it is not there")),
            (Some(bytes), Some((_, len))) if bytes.len() != len as usize => Err(cannot("it is too short")),
            (Some(bytes), _) => Ok(bytes),
        }
    }

    fn find(&self, of: FileType, id: &Id, part: Option<(u32, u32)>) -> Result<Option<Bytes>> {
        let path = self.path(of, id)?;
        let found = match part {
            Some((at, len)) => self.store.get_part(&path, at.into(), len.into())?,
            None => self.store.get(&path)?,
        };
        let Some(from) = found else { return Ok(None) };
        let mut bytes = Vec::new();
        let cannot = format!("cannot read {path} in {}", self.store.name());
        from.take(MOST)
            .read_to_end(&mut bytes)
            .map_err(|e| super::failed(&cannot, &e))?;
        Ok(Some(bytes.into()))
    }

    /// Writes a file, and reads it back.
    ///
    /// # Errors
    /// When it did not arrive as it is; when the place does not answer, or refuses.
    pub fn write(&self, of: FileType, id: &Id, content: &[&[u8]]) -> Result<()> {
        let path = self.path(of, id)?;
        let cannot = || Failure::environment(format!("cannot write {path} to {}", self.store.name()));
        let mut hash = Sha256::new();
        content.iter().for_each(|piece| hash.update(piece));
        let expected = hash.finalize();
        // The config is the one file that is not called by its hash.
        if of != FileType::Config && *id != Id::new(expected.into()) {
            return Err(cannot().cause("what came is not what it is called"));
        }
        let mut upload = self.store.put(&path)?;
        for piece in content {
            upload
                .write_all(piece)
                .map_err(|e| super::failed(&cannot().what, &e))?;
        }
        upload.finish()?;
        match Sha256::digest(self.read(of, id, None)?) == expected {
            true => Ok(()),
            false => Err(cannot().cause("what is read back is not what was written")),
        }
    }

    fn remove(&self, of: FileType, id: &Id) -> Result<()> {
        self.store.remove(&self.path(of, id)?)
    }

    fn keep<T>(&self, done: Result<T>) -> RusticResult<T> {
        done.map_err(|failure| {
            let text = failure.to_string();
            self.failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(failure);
            RusticError::new(ErrorKind::Backend, text)
        })
    }

    /// What the library said, or better what the place said before.
    fn told(&self, doing: &str, error: &RusticError) -> Failure {
        let kept = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let what = format!("cannot {doing} the repository {}", self.name());
        match kept {
            Some(failure) => failure.inside(what),
            None if error.is_incorrect_password() => Failure::refused(what)
                .cause("its password is another one")
                .hint("the password is that which the repository was made with"),
            None => Failure::environment(what).cause(error.display_log()),
        }
    }

    /// What the library says of a repository that is checked is damage, unless the place did not answer.
    fn damaged(&self, error: &RusticError) -> Failure {
        let of_the_place = self
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        let failure = self.told("check", error);
        match of_the_place {
            true => failure,
            false => failure.with_kind(Kind::Refused),
        }
    }
}

impl ReadBackend for Files {
    fn location(&self) -> String {
        self.name()
    }

    fn list_with_size(&self, of: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.keep(self.list(of))
    }

    fn read_full(&self, of: FileType, id: &Id) -> RusticResult<Bytes> {
        self.keep(self.read(of, id, None))
    }

    fn read_partial(&self, of: FileType, id: &Id, _: bool, at: u32, len: u32) -> RusticResult<Bytes> {
        self.keep(self.read(of, id, Some((at, len))))
    }

    fn warmup_path(&self, of: FileType, id: &Id) -> String {
        self.path(of, id).map(String::from).unwrap_or_default()
    }
}

impl WriteBackend for Files {
    fn write_bytes(&self, of: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        let pieces: Vec<&[u8]> = content.slice().iter().map(|bytes| &bytes[..]).collect();
        self.keep(self.write(of, id, &pieces))
    }

    fn remove(&self, of: FileType, id: &Id, _: bool) -> RusticResult<()> {
        self.keep(self.remove(of, id))
    }
}

/// A repository whose password was right.
pub struct Repository {
    /// Its files, as they are.
    pub files: Files,
    opened: rustic_core::Repository<OpenStatus>,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Snapshots.
    pub snapshots: usize,
}

fn at(files: &Files) -> RusticResult<rustic_core::Repository<()>> {
    let mut options = RepositoryOptions::default();
    options.no_cache = true;
    let backends = RepositoryBackends::new(Arc::new(files.clone()), None);
    rustic_core::Repository::new_with_progress(&options, &backends, NoProgressBars {})
}

impl Repository {
    /// Whether a project has one in a place.
    ///
    /// # Errors
    /// When the place does not answer, or refuses.
    pub fn exists(store: &Arc<dyn Store>, project: &ProjectName) -> Result<bool> {
        Ok(!Files::of(store, project)?.list(FileType::Config)?.is_empty())
    }

    /// Opens a project's repository; `None` if the place has none.
    ///
    /// # Errors
    /// When the password is wrong; when the place does not answer, or refuses.
    pub fn open(store: &Arc<dyn Store>, project: &ProjectName, password: &Secret) -> Result<Option<Self>> {
        if !Self::exists(store, project)? {
            return Ok(None);
        }
        let files = Files::of(store, project)?;
        let opened = at(&files).and_then(|repository| repository.open(&credentials(password)));
        let opened = opened.map_err(|e| files.told("open", &e))?;
        Ok(Some(Self { files, opened }))
    }

    /// Opens it, or makes one.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn open_or_make(store: &Arc<dyn Store>, project: &ProjectName, password: &Secret) -> Result<Self> {
        if let Some(found) = Self::open(store, project, password)? {
            return Ok(found);
        }
        let files = Files::of(store, project)?;
        let mut options = ConfigOptions::default();
        options.set_datapack_size = PACK.parse().ok();
        options.set_datapack_growfactor = Some(0);
        options.set_treepack_size = PACK.parse().ok();
        options.set_treepack_growfactor = Some(0);
        let made = at(&files)
            .and_then(|repository| repository.init(&credentials(password), &KeyOptions::default(), &options));
        let opened = made.map_err(|e| files.told("make", &e))?;
        Ok(Self { files, opened })
    }

    /// The tags of a snapshot.
    #[must_use]
    pub fn tags(project: &ProjectName, volume: &str, id: &BackupId) -> Vec<String> {
        vec![
            OURS.to_owned(),
            format!("project:{project}"),
            format!("volume:{volume}"),
            format!("{OF_BACKUP}{id}"),
        ]
    }

    /// What opens it without a password, for whoever writes a snapshot elsewhere. It is a secret.
    ///
    /// # Errors
    /// Never in practice: a key can be written.
    pub fn key(&self) -> Result<Vec<u8>> {
        let key: MasterKey = self.opened.key();
        serde_json::to_vec(&key).map_err(|e| Failure::bug("a key cannot be written").because(&e))
    }

    /// Forgets the snapshots of backups; says how many. What only they needed goes with [`Repository::prune`].
    ///
    /// # Errors
    /// When the place does not answer, or refuses.
    pub fn forget(&self, project: &ProjectName, gone: &dyn Fn(&BackupId) -> bool) -> Result<usize> {
        let told = |e: Box<RusticError>| self.files.told("forget snapshots of", &e);
        let of_gone = |snapshot: &SnapshotFile| {
            let tags: Vec<&str> = snapshot.tags.iter().map(String::as_str).collect();
            let of = tags
                .iter()
                .find_map(|tag| tag.strip_prefix(OF_BACKUP)?.parse().ok());
            tags.contains(&OURS) && snapshot.hostname == project.as_str() && of.is_some_and(|id| gone(&id))
        };
        let all = self.opened.get_all_snapshots().map_err(told)?;
        let going: Vec<_> = all.iter().filter(|s| of_gone(s)).map(|s| s.id).collect();
        if !going.is_empty() {
            self.opened.delete_snapshots(&going).map_err(told)?;
        }
        Ok(going.len())
    }

    /// Lets go of what no snapshot needs. What is let go of is only marked, and removed by the first prune a day later: so
    /// a backup that another machine makes at the same time loses nothing.
    ///
    /// # Errors
    /// When the place does not answer, or refuses. The repository is sound all the same.
    pub fn prune(&self) -> Result<()> {
        let options = PruneOptions::default();
        let pruned = self
            .opened
            .prune_plan(&options)
            .and_then(|plan| self.opened.prune(&options, plan));
        pruned.map_err(|e| self.files.told("prune", &e))
    }

    /// Reads everything that these snapshots need, and compares it with the hashes that it is called by.
    ///
    /// # Errors
    /// When anything is missing or different, naming it.
    pub fn check(&self, notes: &[&SnapshotNote]) -> Result<Checked> {
        let ids: Vec<&str> = notes.iter().map(|note| note.id.as_str()).collect();
        let broken = |e: Box<RusticError>| self.files.damaged(&e);
        let snapshots = self.opened.get_snapshots(&ids).map_err(broken)?;
        let options = CheckOptions::default().read_data(true);
        let trees = snapshots.iter().map(|snapshot| snapshot.tree).collect();
        let found = self.opened.check_with_trees(options, trees).map_err(broken)?;
        if found.is_ok().is_ok() {
            return Ok(Checked {
                snapshots: notes.len(),
            });
        }
        let failure = Failure::refused(format!("the repository {} is damaged", self.files.name()));
        let mut causes: Vec<String> = found.0.iter().map(|(_, error)| error.to_string()).collect();
        causes.dedup();
        causes.truncate(TOLD);
        Err(causes.into_iter().fold(failure, Failure::cause))
    }

    /// Opens a snapshot for reading.
    ///
    /// # Errors
    /// When it is not there, or the index cannot be read.
    pub fn snapshot(&self, note: &SnapshotNote) -> Result<Snapshot> {
        let told = |e: Box<RusticError>| self.files.told("read", &e);
        let mut found = self.opened.get_snapshots(&[&note.id]).map_err(told)?;
        let found = found.pop().ok_or_else(|| {
            Failure::refused(format!("snapshot {} is not in {}", note.id, self.files.name()))
        })?;
        // With the index of all that is there, the time that reading takes: not kept.
        let key = Credentials::Masterkey(self.opened.key());
        let opened = at(&self.files).and_then(|repository| repository.open(&key));
        let repository = opened.and_then(|opened| opened.to_indexed()).map_err(told)?;
        let root = repository
            .node_from_snapshot_and_path(&found, note.key.as_str())
            .map_err(told)?;
        Ok(Snapshot {
            files: self.files.clone(),
            repository,
            root,
            all: LsOptions::default(),
        })
    }
}

fn credentials(password: &Secret) -> Credentials {
    Credentials::Password(password.reveal().to_owned())
}

/// A snapshot that is read.
pub struct Snapshot {
    files: Files,
    repository: rustic_core::Repository<IndexedFullStatus>,
    /// The root directory of the volume.
    pub root: Node,
    all: LsOptions,
}

impl Snapshot {
    /// Every entry below the root, parents before what is in them, with its path from the root.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<(PathBuf, Node)>> + '_> {
        let told = |e: Box<RusticError>| self.files.told("read", &e);
        let listed = self.repository.ls(&self.root, &self.all).map_err(told)?;
        Ok(listed.map(move |entry| entry.map_err(told)))
    }

    /// Writes the content of a file, each piece of which has the hash that it is called by.
    ///
    /// # Errors
    /// When a piece is missing or different, or `to` fails.
    pub fn content(&self, node: &Node, to: &mut dyn Write) -> Result<()> {
        let mut pieces = Pieces {
            expected: node.content.as_deref().unwrap_or_default().iter(),
            to,
            failed: None,
        };
        let dumped = self.repository.dump(node, &mut pieces);
        match (pieces.failed, dumped) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => Err(self.files.told("read", &error)),
            (None, Ok(())) => Ok(()),
        }
    }
}

/// Pieces of a file as the library writes them: each whole, in their order.
struct Pieces<'a> {
    expected: std::slice::Iter<'a, DataId>,
    to: &'a mut dyn Write,
    failed: Option<Failure>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        let hash = Id::new(Sha256::digest(piece).into());
        let is_expected = self.expected.next().is_some_and(|id| **id == hash);
        let written = match is_expected {
            true => self
                .to
                .write_all(piece)
                .map_err(|e| super::failed("cannot hand on a file", &e)),
            false => Err(Failure::refused("a piece of a snapshot is not what was written")
                .cause("its SHA-256 is another")),
        };
        written.map(|()| piece.len()).map_err(|failure| {
            self.failed = Some(failure.clone());
            super::carry(failure)
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
