//! Making things in directories so that they are still there after a power loss.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::model::{Failure, Result};

fn failed(doing: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::environment(format!("cannot {doing} {}", path.display())).because(error)
}

/// Makes the entries of a directory durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| failed("sync the directory", dir, &e))
}

/// Makes a directory, readable by its owner alone, and what is missing above it, each durable. There already is fine.
pub(super) fn create_dirs(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_dirs(parent)?;
    }
    match create_dir(dir) {
        Ok(_) => Ok(()),
        Err(e) => Err(failed("create the directory", dir, &e)
            .hint("choose another state directory with --state-dir, or run as a user who may write there")),
    }
}

/// Makes one directory, durable. False if it was there.
pub(super) fn create_dir(dir: &Path) -> std::io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {
            let parent = dir
                .parent()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()?;
            Ok(true)
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Puts a file in place whole or not at all, durable, readable by its owner alone.
///
/// # Errors
/// When it cannot be written; then what was there before still is.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    put(path, bytes, |_| Ok(()))
}

/// Replaces a file of the system, whole or not at all, durable: it keeps its owner and mode. One that was not there is
/// root's, and all may read it. A symlink stays one: what it leads to is replaced.
///
/// # Errors
/// When it cannot be written; then what was there before still is.
pub fn replace_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(failed("read", path, &error)),
    };
    put(&real, bytes, |file| match std::fs::metadata(&real) {
        Ok(old) => {
            std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()))?;
            // After the owner: changing that takes set-user-id bits away.
            file.set_permissions(old.permissions())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            file.set_permissions(std::fs::Permissions::from_mode(0o644))
        }
        Err(error) => Err(error),
    })
}

/// A temporary file beside the place, synced and renamed.
fn put(path: &Path, bytes: &[u8], prepare: impl Fn(&File) -> std::io::Result<()>) -> Result<()> {
    let dir = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        prepare(file.as_file())?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|e| failed("write", path, &e))?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_directories_are_made_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        create_dirs(&deep).unwrap();
        create_dirs(&deep).unwrap();
        assert_eq!(std::fs::metadata(&deep).unwrap().mode() & 0o7777, 0o700);
        assert!(!create_dir(&deep).unwrap());
        std::fs::write(root.path().join("file"), "").unwrap();
        let failure = create_dirs(&root.path().join("file/x")).unwrap_err();
        assert!(
            failure.what.starts_with("cannot create the directory"),
            "{failure}"
        );
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("report.json");
        write_durably(&path, b"{}").unwrap();
        write_durably(&path, b"{\"a\":1}").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"a\":1}");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(root.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
    #[test]
    fn a_file_of_the_system_keeps_its_owner_mode_and_symlink() {
        let root = tempfile::tempdir().unwrap();
        let (path, link) = (root.path().join("fstab"), root.path().join("link"));
        replace_durably(&path, b"new").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        let root_runs_this = std::os::unix::fs::chown(&path, Some(12), Some(34)).is_ok();
        std::os::unix::fs::symlink("fstab", &link).unwrap();
        replace_durably(&link, b"newer").unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        assert_eq!(meta.mode() & 0o7777, 0o604);
        if root_runs_this {
            assert_eq!((meta.uid(), meta.gid()), (12, 34));
        }
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    }
}
