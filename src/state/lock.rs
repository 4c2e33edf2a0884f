//! One run at a time on a project. The lock is the operating system's: it ends with the process that holds it, however
//! that ends, and it is never broken because of its age (trap 18).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dir::{HostDir, ProjectDir};
use crate::model::{Failure, Result, RunId};

/// The longest note that is read.
const MAX_NOTE: u64 = 4096;
/// How often the lock is tried while others look at it.
const LOOKERS: usize = 1000;

/// Who holds a lock, since when, doing what. For people; the lock itself does not depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockNote {
    /// The user.
    pub user: String,
    /// The machine: the state directory may be shared.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
    /// The run, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Doing what, in words: `rehome move`.
    pub doing: String,
}

impl LockNote {
    /// A note about this process, from now on.
    #[must_use]
    pub fn mine(doing: impl Into<String>, run: Option<RunId>) -> Self {
        Self::of(None, doing, run)
    }

    /// The same for somebody who is no user of the machine: `web user ada`.
    #[must_use]
    pub fn of(by: Option<&str>, doing: impl Into<String>, run: Option<RunId>) -> Self {
        // `SUDO_USER` is the person; `root` is nobody in particular.
        let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
        let mut named = named.filter_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
        let number = || format!("uid {}", rustix::process::geteuid().as_raw());
        Self {
            user: by
                .map(str::to_owned)
                .or_else(|| named.next())
                .unwrap_or_else(number),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            since: Timestamp::now(),
            run,
            doing: doing.into(),
        }
    }
}

impl std::fmt::Display for LockNote {
    /// `ada@web1 (process 4711) since 2026-01-31T04:05:06Z: rehome move, run 7k2f9q`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            user,
            host,
            pid,
            since,
            run,
            doing,
        } = self;
        write!(f, "{user}@{host} (process {pid}) since {since:.0}: {doing}")?;
        run.as_ref().map_or(Ok(()), |run| write!(f, ", run {run}"))
    }
}

/// The lock of a project, or of the machine. It is released when this is dropped, or by the system when the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl HostDir {
    /// Takes the lock of the machine: its devices and its fstab are changed by one at a time.
    ///
    /// # Errors
    /// Refused, naming the holder, when another process has it.
    pub fn lock(&self, note: &LockNote) -> Result<Lock> {
        self.create()?;
        Lock::take(&self.path().join("lock"), note)
    }
}

impl ProjectDir {
    /// Takes the project's lock, and says in it who holds it.
    ///
    /// # Errors
    /// Refused, naming the holder, when another process has it.
    pub fn lock(&self, note: &LockNote) -> Result<Lock> {
        self.create()?;
        Lock::take(&self.path().join("lock"), note)
    }

    /// Who holds the project's lock right now, if anybody. `Some(None)`: somebody who has left no note.
    ///
    /// # Errors
    /// When the lock cannot be looked at.
    pub fn locked_by(&self) -> Result<Option<Option<LockNote>>> {
        let path = self.path().join("lock");
        let failed =
            |e: &std::io::Error| Failure::environment(format!("cannot read {}", path.display())).because(e);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(&e)),
        };
        // Shared, so that two who look do not take each other for a holder.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read_note(&mut file))),
            Err(TryLockError::Error(e)) => Err(failed(&e)),
        }
    }
}

impl Lock {
    fn take(path: &Path, note: &LockNote) -> Result<Self> {
        let cannot =
            |e: &std::io::Error| Failure::environment(format!("cannot lock {}", path.display())).because(e);
        // The file is never removed: whoever had it open would then hold a lock that nobody else sees.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(|e| cannot(&e))?;
        if !acquire(&file).map_err(|e| cannot(&e))? {
            return Err(held(read_note(&mut file).as_ref()));
        }
        let mut lock = Self {
            file,
            path: path.to_owned(),
        };
        lock.write(note)?;
        Ok(lock)
    }

    /// Says anew what is being done: the run is known only after the lock is taken.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn write(&mut self, note: &LockNote) -> Result<()> {
        let cannot = |e: &dyn std::fmt::Display| {
            Failure::environment(format!("cannot write {}", self.path.display())).cause(e.to_string())
        };
        let text = serde_json::to_vec(note).map_err(|e| cannot(&e))?;
        let mut file = &self.file;
        self.file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text))
            .map_err(|e| cannot(&e))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // So that the next holder is not taken for this one in the moment before it has written its own note.
        if let Err(e) = self.file.set_len(0) {
            tracing::debug!("cannot clear the note in {}: {e}", self.path.display());
        }
    }
}

/// Takes the lock if nobody has it. Somebody who only looks ([`ProjectDir::locked_by`]) shares it for a moment, which
/// is no reason to refuse a run.
fn acquire(file: &File) -> std::io::Result<bool> {
    for _ in 0..LOOKERS {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(e),
        }
        match file.try_lock_shared() {
            // No holder, only others who look: they are gone in a moment.
            Ok(()) => file.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        std::thread::yield_now();
    }
    Ok(false)
}

fn read_note(file: &mut File) -> Option<LockNote> {
    let mut text = Vec::new();
    file.take(MAX_NOTE).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn held(note: Option<&LockNote>) -> Failure {
    let failure = Failure::refused("another process is working on this project");
    let failure = match note {
        Some(note) => failure.cause(format!("locked by {note}")),
        None => failure.cause("it has left no note about itself"),
    };
    failure
        .data("nothing was changed by this command")
        .hint("wait until it has ended; the lock ends with the process, and is never broken by age")
}

#[cfg(test)]
mod tests {
    use super::super::{ProjectKey, StateDir};
    use super::*;
    use crate::model::{Kind, ProjectName};

    fn project(root: &Path) -> ProjectDir {
        let dir = StateDir::resolve(Some(root), false, |_| None).unwrap();
        dir.project(&ProjectKey::new(&ProjectName::new("kms").unwrap(), None))
    }

    fn note() -> LockNote {
        LockNote {
            user: "ada".into(),
            host: "web1".into(),
            pid: 4711,
            since: "2001-02-03T04:05:06.789Z".parse().unwrap(),
            run: Some(RunId::new("7k2f9q").unwrap()),
            doing: "rehome move".into(),
        }
    }

    #[test]
    fn trap_18_a_lock_is_held_however_old_it_is_and_names_its_holder() {
        let root = tempfile::tempdir().unwrap();
        let project = project(root.path());
        assert_eq!(project.locked_by().unwrap(), None);
        let lock = project.lock(&note()).unwrap();
        let refused = project.lock(&LockNote::mine("rehome deploy", None)).unwrap_err();
        assert_eq!(refused.kind, Kind::Refused);
        insta::assert_snapshot!(told(&refused), @r"
        another process is working on this project
        caused by: locked by ada@web1 (process 4711) since 2001-02-03T04:05:06Z: rehome move, run 7k2f9q
        data: nothing was changed by this command
        hint: wait until it has ended; the lock ends with the process, and is never broken by age
        ");
        assert_eq!(
            project.locked_by().unwrap(),
            Some(Some(note())),
            "the refused one did not touch the note"
        );
        drop(lock);
        assert_eq!(project.locked_by().unwrap(), None);
        project.lock(&LockNote::mine("rehome deploy", None)).unwrap();
    }

    fn told(failure: &Failure) -> String {
        let mut lines = vec![failure.what.clone()];
        lines.extend(failure.causes.iter().map(|c| format!("caused by: {c}")));
        lines.extend(failure.data.iter().map(|d| format!("data: {d}")));
        lines.extend(failure.hints.iter().map(|h| format!("hint: {h}")));
        lines.join("\n")
    }

    #[test]
    fn a_lock_ends_with_its_process_and_its_note_is_then_nobodys() {
        let root = tempfile::tempdir().unwrap();
        let project = project(root.path());
        project.create().unwrap();
        let path = project.path().join("lock");
        // flock(1) holds the lock as a process that knows nothing of Rehome; then it is killed.
        let mut holder = std::process::Command::new("flock")
            .args(["--no-fork", "--exclusive"])
            .arg(&path)
            .args(["sh", "-c", "echo locked; exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut word = [0; 7];
        holder.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"locked\n");
        let refused = project.lock(&note()).unwrap_err();
        assert_eq!(refused.causes, ["it has left no note about itself"]);
        assert_eq!(project.locked_by().unwrap(), Some(None));
        holder.kill().unwrap();
        holder.wait().unwrap();
        project.lock(&note()).unwrap();
    }

    #[test]
    fn who_only_looks_is_in_nobodys_way() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let root = tempfile::tempdir().unwrap();
        let project = project(root.path());
        project.create().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    project.locked_by().unwrap();
                }
            });
            let taken: Result<Vec<()>> = (0..300).map(|_| project.lock(&note()).map(drop)).collect();
            done.store(true, Ordering::Relaxed);
            assert_eq!(taken.unwrap().len(), 300);
        });
    }

    #[test]
    fn a_note_of_this_process_names_it() {
        let mine = LockNote::mine("rehome move", None);
        assert_eq!(mine.pid, std::process::id());
        let uname = std::process::Command::new("uname").arg("-n").output().unwrap();
        assert_eq!(format!("{}\n", mine.host).as_bytes(), uname.stdout);
        assert!(!mine.user.is_empty());
    }
}
