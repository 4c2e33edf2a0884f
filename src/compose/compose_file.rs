//! The value of `COMPOSE_FILE` with which a plain `docker compose` finds the override.

use std::path::Path;

use crate::model::{Failure, Result};

use super::locate::{FoundBy, Located, absolute};

/// The project's files and, last and once, the override; each relative to the directory of the `.env` where it can be.
///
/// What a user wrote in `.env` keeps its spelling and its separator. Files that Compose found by their default names
/// are spelled out, `compose.override.yaml` included: once `COMPOSE_FILE` is set, Compose looks for no others.
///
/// # Errors
/// When a path holds the separator itself, or is not UTF-8.
pub fn compose_file_with(located: &Located, override_file: &Path) -> Result<String> {
    let home = located.dotenv.parent().unwrap_or(Path::new("/"));
    let mut paths = Vec::new();
    for (file, written) in located.files.iter().zip(&located.written) {
        if file == override_file {
            continue;
        }
        let keep = located.found_by == FoundBy::Dotenv && absolute(home, Path::new(written)) == *file;
        paths.push(if keep {
            written.clone()
        } else {
            relative(home, file)?
        });
    }
    paths.push(relative(home, override_file)?);
    if let Some(path) = paths.iter().find(|path| path.contains(&located.separator)) {
        return Err(Failure::refused(format!(
            "{path} cannot be listed in COMPOSE_FILE: it holds {:?}",
            located.separator
        ))
        .hint("set COMPOSE_PATH_SEPARATOR in .env to a character that no path holds"));
    }
    Ok(paths.join(&located.separator))
}

/// The project's files without the override; `None` if Compose finds exactly these by itself, so that none is needed.
///
/// # Errors
/// As [`compose_file_with`].
pub fn compose_file_without(located: &Located, override_file: &Path) -> Result<Option<String>> {
    let home = located.dotenv.parent().unwrap_or(Path::new("/"));
    let files: Vec<_> = located
        .files
        .iter()
        .filter(|file| *file != override_file)
        .cloned()
        .collect();
    if super::locate::default_files(home).as_ref() == Some(&files) {
        return Ok(None);
    }
    let with = compose_file_with(located, override_file)?;
    let last = format!("{}{}", located.separator, relative(home, override_file)?);
    Ok(Some(with.strip_suffix(&last).unwrap_or(&with).to_owned()))
}

fn relative(home: &Path, file: &Path) -> Result<String> {
    let path = file.strip_prefix(home).unwrap_or(file);
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::refused(format!(
            "{} cannot be listed in COMPOSE_FILE: it is not UTF-8",
            file.display()
        ))
    })
}
