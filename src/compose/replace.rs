//! Replacing a file whole: a reader sees the old content or the new, never a part, also after power loss.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::model::{Failure, Result};

/// Writes `content` beside `path`, syncs it and renames it into place, keeping mode and owner of what was there.
///
/// A symlink stays a symlink: the file that it points to is replaced. A new file gets mode 0644.
///
/// # Errors
/// When the path is not a file, or cannot be written; the old content is then untouched.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    let failed =
        |error: io::Error| Failure::environment(format!("cannot write {}", path.display())).because(&error);
    let (target, before) = destination(path).map_err(failed)?;
    if before.as_ref().is_some_and(|meta| !meta.is_file()) {
        return Err(Failure::environment(format!(
            "cannot write {}: it is not a file",
            path.display()
        )));
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".rehome-").tempfile_in(parent)?;
        file.write_all(content)?;
        let mode = match &before {
            Some(meta) => {
                let own = file.as_file().metadata()?;
                if (own.uid(), own.gid()) != (meta.uid(), meta.gid()) {
                    chown(file.path(), Some(meta.uid()), Some(meta.gid()))?;
                }
                meta.mode() & 0o7777
            }
            None => 0o644,
        };
        // After the owner: chown(2) clears the setuid and setgid bits.
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(&target).map_err(|error| error.error)?;
        // The rename itself is only on the disk once the directory is.
        File::open(parent)?.sync_all()
    };
    write().map_err(failed)
}

/// The file to replace, symlinks followed, and what is there now.
fn destination(path: &Path) -> io::Result<(PathBuf, Option<fs::Metadata>)> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_symlink() => {
            // A dangling link fails here: what it means to create is a guess.
            let target = fs::canonicalize(path)?;
            let meta = fs::metadata(&target)?;
            Ok((target, Some(meta)))
        }
        Ok(meta) => Ok((path.to_owned(), Some(meta))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((path.to_owned(), None)),
        Err(error) => Err(error),
    }
}

/// Reads a file that a person wrote, if it is there: text, and no longer than `limit`.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<Option<String>> {
    let failed =
        |error: io::Error| Failure::environment(format!("cannot read {}", path.display())).because(&error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, limit + 1), &mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Failure::environment(format!(
            "{} is larger than {limit} bytes",
            path.display()
        )));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Failure::environment(format!(
            "{} is not UTF-8 text",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_keeps_mode_and_owner_and_a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("real.env");
        fs::write(&file, "A=1\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join(".env");
        std::os::unix::fs::symlink("real.env", &link).unwrap();

        replace_file(&link, b"A=2\n").unwrap();

        assert_eq!(fs::read_to_string(&file).unwrap(), "A=2\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("real.env"));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            2,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_directory_and_a_dangling_link_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = replace_file(dir.path(), b"").unwrap_err();
        assert!(error.what.ends_with("it is not a file"), "{error}");
        let link = dir.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(replace_file(&link, b"").is_err());
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn a_file_that_is_not_there_is_none_and_one_that_is_too_large_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        assert_eq!(read_text(&file, 3).unwrap(), None);
        fs::write(&file, "abc").unwrap();
        assert_eq!(read_text(&file, 3).unwrap().as_deref(), Some("abc"));
        assert!(read_text(&file, 2).is_err());
    }
}
