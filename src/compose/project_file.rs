//! Writing a file of the project: whole or not at all, with the owner and mode that it had; a new one belongs to the
//! owner of its directory, so that a deploy user can still read what root wrote.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::model::{Failure, Result};

/// Replaces a file's content. A symlink is followed: the file that it means is replaced, not the link.
///
/// # Errors
/// When it cannot be written; then it is as it was.
pub fn write_project_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let real: PathBuf = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let directory = real.parent().unwrap_or(Path::new("/"));
        let (mode, uid, gid) = match std::fs::metadata(&real) {
            Ok(old) => (old.mode() & 0o7777, old.uid(), old.gid()),
            Err(_) => {
                let parent = std::fs::metadata(directory)?;
                (0o644, parent.uid(), parent.gid())
            }
        };
        let mut file = tempfile::Builder::new()
            .prefix(".rehome.")
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        let now = file.as_file().metadata()?;
        if (now.uid(), now.gid()) != (uid, gid) {
            fchown(file.as_file(), Some(uid), Some(gid))?;
        }
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(&real)?;
        std::fs::File::open(directory)?.sync_all()
    };
    write().map_err(|e| {
        Failure::environment(format!("cannot write {}", path.display()))
            .because(&e)
            .data("it is as it was")
    })
}
