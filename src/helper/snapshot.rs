//! Adds a snapshot of a tree to a repository in the format of restic. What did not change since the snapshot before is not
//! read, and of what did only the pieces are sent that the repository does not have.
//!
//! The library that writes it goes on without whatever cannot be read, and says so nowhere. So the tree is walked here, each
//! loss is kept in [`Remote`], which then writes no snapshot, and the entries are counted at the end.

use std::ffi::OsStr;
use std::io::{Error, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_channel::bounded;
use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{MasterKey, Metadata, Node, NodeType};
use rustic_core::{
    BackupOptions, Credentials, ErrorKind, Progress, ProgressBars, ProgressType, ReadSource, ReadSourceEntry,
    ReadSourceOpen, Repository, RepositoryBackends, RepositoryOptions, RusticError, RusticProgress,
    RusticResult, SnapshotOptions,
};
use rustix::fs::makedev;
use rustix::io::Errno;

use super::attrs::{self, At, Xattrs};
use super::content;
use super::context::Context;
use super::crew::jobs;
use super::cursor::{Cursor, open_dir, open_root};
use super::fault::{Fault, Result, Side, show, vanished};
use super::listed::Small;
use super::meta::{Kind, Meta, Stamp};
use super::protocol::{FailClass, SnapshotReport, SnapshotRequest};
use super::remote::{Ask, Remote};
use super::tree::{EntryId, NO_DIR, Tree};
use super::walk::{Manner, Walk, walk};

/// What was changed less than so many seconds before the tree was walked is read again the next time: the clock of a file
/// system is too coarse to tell a change that comes after from one that came before.
const YOUNG: i64 = 2;

/// Adds a snapshot.
///
/// # Errors
/// When something cannot be read, the host cannot write or read the repository, and, unless it is live, when the tree
/// changes meanwhile. Then there is no snapshot.
pub fn snapshot(
    cx: &Context,
    job: &SnapshotRequest,
    input: &mut (dyn Read + Send),
    out: &mut (dyn Write + Send),
) -> Result<SnapshotReport> {
    let (remote, line) = Remote::new();
    std::thread::scope(|scope| {
        let (done, end) = bounded::<()>(0);
        let worker = scope.spawn(move || {
            // Dropped at the end, also by a panic: that is the signal.
            let _done = done;
            add(cx, job, &Arc::new(remote))
        });
        line.attend(&end, input, out);
        let bug = |_| {
            Fault::new(
                FailClass::Other,
                "the snapshot failed",
                "a bug in Rehome; stderr has its place",
            )
        };
        worker.join().map_err(bug)?
    })
}

fn add(cx: &Context, job: &SnapshotRequest, remote: &Arc<Remote>) -> Result<SnapshotReport> {
    let began = Stamp::now();
    let root = open_root(&job.dir).map_err(|errno| Fault::on_path("open", &job.dir, errno))?;
    let tree = walk(
        cx,
        Walk {
            root: root.as_fd(),
            side: Side::Source,
            manner: if job.live { Manner::Live } else { Manner::Still },
            jobs: jobs(0),
        },
    )?;
    if !attrs::sees_trusted(root.as_fd()) {
        cx.note("attributes in trusted.* cannot be seen without CAP_SYS_ADMIN: they are not archived");
    }
    for mount in &tree.mounts {
        let mount = show(mount);
        cx.note(format!(
            "{mount} is a mount of its own; what is in it is not part of the volume"
        ));
    }
    let bytes = tree
        .entries()
        .filter(|(_, e)| e.meta.kind == Kind::File)
        .map(|(_, e)| e.meta.size);
    cx.expect(bytes.sum(), tree.len() + 1);
    let volume = Volume {
        cx: cx.clone(),
        root,
        tree,
        path: Path::new("/").join(&job.name),
        live: job.live,
        young: began.sec - YOUNG,
        remote: Arc::clone(remote),
        given: AtomicU64::new(0),
    };
    let source = Source(Arc::new(volume));
    let failed = |error: Box<RusticError>| {
        remote.lost().unwrap_or_else(|| {
            Fault::new(
                FailClass::Other,
                "the snapshot cannot be written",
                error.display_log(),
            )
        })
    };
    let written = write(cx, job, remote, &source).map_err(failed)?;
    // What was lost on the way is told, whatever the library made of it.
    if let Some(fault) = remote.lost() {
        return Err(fault);
    }
    let summary = written.summary.unwrap_or_default();
    // One directory is that which the volume's is in.
    let entries = (summary.total_files_processed + summary.total_dirs_processed).saturating_sub(1);
    let given = source.0.given.load(Relaxed);
    if entries != given {
        return Err(Fault::new(
            FailClass::Other,
            "the snapshot is not complete",
            format!("{given} entries were read, and it has {entries}"),
        ));
    }
    Ok(SnapshotReport {
        id: written.id.to_hex().as_str().to_owned(),
        entries,
        bytes: summary.total_bytes_processed,
        files_new: summary.files_new,
        files_changed: summary.files_changed,
        bytes_added: summary.data_added_packed,
    })
}

fn write(
    cx: &Context,
    job: &SnapshotRequest,
    remote: &Arc<Remote>,
    source: &Source,
) -> RusticResult<rustic_core::repofile::SnapshotFile> {
    let stopped = |fault: Fault| RusticError::new(ErrorKind::Backend, fault.because);
    let key = remote.ask(&Ask::Key, &[]).map_err(stopped)?;
    let key: MasterKey = serde_json::from_slice(&key)
        .map_err(|_| RusticError::new(ErrorKind::Credentials, "the host's key is none"))?;
    let mut options = RepositoryOptions::default();
    options.no_cache = true;
    let backends = RepositoryBackends::new(Arc::clone(remote) as Arc<_>, None);
    let repository = Repository::new_with_progress(&options, &backends, Bars(cx.clone()))?
        .open(&Credentials::Masterkey(key))?
        .to_indexed_ids()?;
    let mut snapshot = SnapshotOptions::default().host(job.host.clone());
    for tag in &job.tags {
        snapshot = snapshot.add_tags(tag)?;
    }
    let mut snapshot = snapshot.to_snapshot()?;
    snapshot.program_version = concat!("rehome ", env!("CARGO_PKG_VERSION")).to_owned();
    let options = BackupOptions::default().no_scan(true);
    repository.archive(&options, source, snapshot, std::slice::from_ref(&source.0.path))
}

/// Bytes that are done, read or known already, in the words of the library.
#[derive(Debug)]
struct Bars(Context);

#[derive(Debug)]
struct Bar(Context);

impl ProgressBars for Bars {
    fn progress(&self, kind: ProgressType, _: &str) -> Progress {
        match kind {
            ProgressType::Bytes => Progress::new(Bar(self.0.clone())),
            ProgressType::Spinner | ProgressType::Counter => Progress::hidden(),
        }
    }
}

impl RusticProgress for Bar {
    fn is_hidden(&self) -> bool {
        false
    }
    fn set_length(&self, _: u64) {}
    fn set_title(&self, _: &str) {}
    fn inc(&self, bytes: u64) {
        // Everything else is read twice: a byte is told as half of one.
        self.0.did_bytes(2 * bytes);
    }
    fn finish(&self) {}
}

/// A tree that is read.
struct Volume {
    cx: Context,
    root: OwnedFd,
    tree: Tree,
    /// What it is called.
    path: PathBuf,
    live: bool,
    /// What changed at this second or later may have changed again.
    young: i64,
    remote: Arc<Remote>,
    /// Entries that have to be in the snapshot.
    given: AtomicU64,
}

impl Volume {
    fn failed<T>(&self, path: &[u8], errno: Errno) -> Result<Option<T>> {
        if vanished(errno) || errno == Errno::INVAL {
            return self.cx.gone(self.live, path, "read").map(|()| None);
        }
        Err(Fault::io(Side::Source, "read", path, errno))
    }

    fn node(&self, name: &OsStr, path: &[u8], meta: &Meta, small: Small) -> Result<Node> {
        let kind = match meta.kind {
            Kind::File | Kind::Socket => NodeType::File,
            Kind::Dir => NodeType::Dir,
            Kind::Symlink => NodeType::from_link(Path::new(OsStr::from_bytes(&small.target))),
            Kind::Fifo => NodeType::Fifo,
            Kind::Char => NodeType::Chardev {
                device: number(meta.rdev),
            },
            Kind::Block => NodeType::Dev {
                device: number(meta.rdev),
            },
        };
        let time = |stamp: Stamp| Timestamp::new(stamp.sec, stamp.nsec as i32).ok();
        if time(meta.mtime).is_none() {
            self.cx.note(format!(
                "the time of {} is out of range, and left out",
                show(path)
            ));
        }
        let is_dir = meta.kind == Kind::Dir;
        let mut ctime = meta.ctime;
        if ctime.sec >= self.young && meta.kind == Kind::File {
            // A time that it never had: so it is taken for changed the next time.
            ctime.nsec ^= 1;
        }
        let mut said = Metadata {
            mode: Some(go_mode(meta)),
            mtime: time(meta.mtime),
            atime: time(meta.mtime),
            ctime: time(ctime),
            uid: Some(meta.uid),
            gid: Some(meta.gid),
            inode: meta.ino,
            // Who shares an inode is found by both; the number of a device may change with each boot.
            device_id: if meta.nlink > 1 && !is_dir {
                u64::from(meta.dev.max(1))
            } else {
                0
            },
            size: if meta.kind == Kind::File { meta.size } else { 0 },
            links: if is_dir { 0 } else { u64::from(meta.nlink) },
            ..Metadata::default()
        };
        said.extended_attributes =
            serde_json::from_value(self.attributes(path, small.xattrs)).map_err(|error| {
                Fault::new(
                    FailClass::Other,
                    "an attribute cannot be written",
                    error.to_string(),
                )
            })?;
        Ok(Node::new_node(name, kind, said))
    }

    /// As JSON, because the library does not name its type.
    fn attributes(&self, path: &[u8], xattrs: Xattrs) -> serde_json::Value {
        use base64::Engine as _;
        let said = xattrs
            .into_iter()
            .filter_map(|(name, value)| match String::from_utf8(name) {
                Ok(name) => {
                    let value = base64::engine::general_purpose::STANDARD.encode(value);
                    Some(serde_json::json!({ "name": name, "value": value }))
                }
                Err(_) => {
                    let path = show(path);
                    self.cx.note(format!(
                        "an attribute of {path} has a name that is no UTF-8, and is left out"
                    ));
                    None
                }
            });
        said.collect()
    }

    /// The root directory.
    fn top(&self) -> Result<(PathBuf, Node)> {
        let xattrs =
            attrs::read(At::Fd(self.root.as_fd())).map_err(|e| Fault::io(Side::Source, "read", b"", e))?;
        let small = Small {
            target: Vec::new(),
            xattrs,
        };
        let name = self.path.file_name().unwrap_or_default();
        Ok((self.path.clone(), self.node(name, b"", &self.tree.root, small)?))
    }

    /// An entry of an open directory; `None` if it is left out.
    fn entry(&self, dir: &OwnedFd, id: EntryId) -> Result<Option<(PathBuf, Node)>> {
        let (path, name, meta) = (self.tree.path(id), self.tree.name(id), self.tree.entry(id).meta);
        if meta.kind == Kind::Socket {
            self.cx.note(format!("socket {} was left out", show(&path)));
            return Ok(None);
        }
        let read = match meta.kind {
            Kind::Dir => open_dir(dir.as_fd(), &name)
                .and_then(|fd| attrs::read(At::Fd(fd.as_fd())))
                .map(|xattrs| Small {
                    target: Vec::new(),
                    xattrs,
                }),
            kind => Small::read(dir.as_fd(), &name, kind),
        };
        match read {
            Ok(small) => {
                let node = self.node(OsStr::from_bytes(&name), &path, &meta, small)?;
                Ok(Some((self.path.join(OsStr::from_bytes(&path)), node)))
            }
            Err(errno) => self.failed(&path, errno),
        }
    }
}

/// A device as restic keeps it: in the numbering of the C library.
fn number(rdev: u32) -> u64 {
    makedev(rdev >> 20, rdev & 0xf_ffff)
}

/// A mode as Go has it, and with Go restic. <https://pkg.go.dev/io/fs#FileMode>
fn go_mode(meta: &Meta) -> u32 {
    let kind = match meta.kind {
        Kind::File | Kind::Socket => 0,
        Kind::Dir => 1 << 31,
        Kind::Symlink => 1 << 27,
        Kind::Fifo => 1 << 25,
        Kind::Block => 1 << 26,
        Kind::Char => 1 << 26 | 1 << 21,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let mode = u32::from(meta.mode);
    let special = special.iter().filter(|(bit, _)| mode & bit != 0);
    special.fold(kind | mode & 0o777, |all, (_, bit)| all | bit)
}

/// A volume in the words of the library.
struct Source(Arc<Volume>);

impl ReadSource for Source {
    type Open = Opening;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Entries {
        Entries {
            volume: Arc::clone(&self.0),
            begun: false,
            next: vec![EntryId { dir: 0, slot: 0 }],
            open: None,
        }
    }
}

/// The entries of a volume, parents before what is in them, by name. It ends at the first loss.
struct Entries {
    volume: Arc<Volume>,
    begun: bool,
    /// The next entry of each directory on the way.
    next: Vec<EntryId>,
    /// The directory that was read from last.
    open: Option<(u32, OwnedFd)>,
}

impl Entries {
    fn step(&mut self) -> Result<Option<ReadSourceEntry<Opening>>> {
        let volume = Arc::clone(&self.volume);
        volume.cx.go_on()?;
        if !std::mem::replace(&mut self.begun, true) {
            let (path, node) = volume.top()?;
            return Ok(Some(ReadSourceEntry {
                path,
                node,
                open: None,
            }));
        }
        while let Some(&id) = self.next.last() {
            let Some(entry) = volume.tree.dir(id.dir).entries.get(id.slot as usize).copied() else {
                self.next.pop();
                continue;
            };
            if let Some(last) = self.next.last_mut() {
                last.slot += 1;
            }
            let Some(dir) = self.enter(id.dir)? else {
                // The directory is gone with all that was in it.
                self.next.pop();
                continue;
            };
            let Some((path, node)) = volume.entry(dir, id)? else {
                continue;
            };
            if entry.dir != NO_DIR {
                self.next.push(EntryId {
                    dir: entry.dir,
                    slot: 0,
                });
            }
            let open = (entry.meta.kind == Kind::File).then(|| Opening {
                volume: Arc::clone(&volume),
                id,
            });
            volume.cx.did_files(1);
            return Ok(Some(ReadSourceEntry { path, node, open }));
        }
        Ok(None)
    }

    fn enter(&mut self, id: u32) -> Result<Option<&OwnedFd>> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != id) {
            let node = self.volume.tree.node(id);
            let mut cursor = Cursor::new(self.volume.root.as_fd(), self.volume.tree.root.dev);
            let opened = cursor
                .enter(node)
                .and_then(|dir| rustix::io::fcntl_dupfd_cloexec(dir, 0));
            match opened {
                Ok(dir) => self.open = Some((id, dir)),
                Err(errno) => return self.volume.failed(&node.path(b""), errno),
            }
        }
        Ok(self.open.as_ref().map(|(_, dir)| dir))
    }
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<Opening>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(entry) => {
                self.volume.given.fetch_add(u64::from(entry.is_some()), Relaxed);
                entry.map(Ok)
            }
            Err(fault) => {
                self.volume.remote.lose(fault);
                None
            }
        }
    }
}

/// A file that is opened if it has to be read.
struct Opening {
    volume: Arc<Volume>,
    id: EntryId,
}

impl ReadSourceOpen for Opening {
    type Reader = Content;

    fn open(self) -> RusticResult<Content> {
        let volume = &self.volume;
        let (path, name) = (volume.tree.path(self.id), volume.tree.name(self.id));
        let walked = volume.tree.entry(self.id).meta;
        let mut cursor = Cursor::new(volume.root.as_fd(), volume.tree.root.dev);
        let opened = cursor.enter(volume.tree.node(self.id.dir)).and_then(|dir| {
            let file = content::open_file(dir, &name)?;
            let meta = Meta::of_fd(file.as_fd())?;
            if meta.kind == Kind::File {
                Ok(file)
            } else {
                Err(Errno::NOENT)
            }
        });
        let opened = match opened {
            Ok(file) => Ok(Some(file)),
            Err(errno) => volume.failed(&path, errno),
        };
        match opened {
            Ok(Some(file)) => Ok(Content {
                volume: Arc::clone(volume),
                file,
                path,
                walked,
                at: 0,
                told: false,
            }),
            Ok(None) => {
                volume.given.fetch_sub(1, Relaxed);
                Err(RusticError::new(ErrorKind::InputOutput, "it went away"))
            }
            Err(fault) => {
                volume.remote.lose(fault);
                Err(RusticError::new(ErrorKind::InputOutput, "it cannot be read"))
            }
        }
    }
}

/// The content of a file, exactly as long as it was when the tree was walked.
struct Content {
    volume: Arc<Volume>,
    file: OwnedFd,
    path: Vec<u8>,
    walked: Meta,
    at: u64,
    /// Its end was looked at.
    told: bool,
}

impl Content {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let volume = &self.volume;
        let failed = |errno| Fault::io(Side::Source, "read", &self.path, errno);
        volume.cx.go_on()?;
        let want = buffer
            .len()
            .min((self.walked.size - self.at).try_into().unwrap_or(usize::MAX));
        let got = content::fill(self.file.as_fd(), &mut buffer[..want], self.at).map_err(failed)?;
        let short = got < want;
        buffer[got..want].fill(0);
        self.at += want as u64;
        if self.told || !(short || self.at == self.walked.size) {
            return Ok(want);
        }
        self.told = true;
        let now = Meta::of_fd(self.file.as_fd()).map_err(failed)?;
        if !short && now.untouched_since(&self.walked) {
            return Ok(want);
        }
        if !volume.live {
            return Err(Fault::source_changed(&self.path, "it was written to"));
        }
        let path = show(&self.path);
        volume.cx.note(match short {
            true => format!("{path} became shorter while it was read; zeros are in place of what went"),
            false => format!("{path} was written to while it was read; it is in the snapshot as it was read"),
        });
        Ok(want)
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.fill(buffer).map_err(|fault| {
            let error = Error::other(fault.because.clone());
            self.volume.remote.lose(fault);
            error
        })
    }
}
