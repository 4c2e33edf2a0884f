//! Finds the project as `docker compose` does, and makes everything about it explicit.
//!
//! One difference is on purpose: `COMPOSE_FILE` in the project's `.env` is honoured from a sub-directory too. Compose
//! reads `.env` only where it is called, falls back to the default file names, and drops an override without a word
//! (trap 29). <https://docs.docker.com/compose/how-tos/environment-variables/envvars/>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Dotenv;
use crate::model::{Failure, Result};

/// The names that Compose looks for, in its order, each with its override.
/// <https://docs.docker.com/compose/intro/compose-application-model/#the-compose-file>
const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
const DEFAULT_OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What the user and the environment say.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `-f`.
    pub files: Vec<PathBuf>,
    /// `-p`.
    pub project_name: Option<String>,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// `--env-file`.
    pub env_files: Vec<PathBuf>,
    /// `--profile`.
    pub profiles: Vec<String>,
    /// Where Rehome was called, absolute.
    pub cwd: PathBuf,
    /// The environment it was called with.
    pub env: BTreeMap<String, String>,
}

/// A project that was found. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The Compose files, in their order.
    pub files: Vec<PathBuf>,
    /// The project's directory.
    pub directory: PathBuf,
    /// Files with variables.
    pub env_files: Vec<PathBuf>,
    /// Active profiles.
    pub profiles: Vec<String>,
    /// The project's name, where it is said outside of the files.
    pub project_name: Option<String>,
    /// How the files were found.
    pub found_by: FoundBy,
    /// The `.env` that Compose reads when it is called in the project's directory.
    pub dotenv: PathBuf,
    /// What separates the entries of `COMPOSE_FILE`.
    pub separator: String,
}

/// How the Compose files were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// `-f`.
    Flag,
    /// `COMPOSE_FILE` in the environment.
    Environment,
    /// `COMPOSE_FILE` in `.env`.
    Dotenv,
    /// The usual names.
    Default,
}

/// Finds the project.
///
/// # Errors
/// When there is none, or a file that is named does not exist.
pub fn locate(wanted: &Wanted) -> Result<Located> {
    let set = |name: &str| wanted.env.get(name).filter(|v| !v.is_empty());
    let start = match &wanted.project_directory {
        Some(directory) => wanted.cwd.join(directory),
        None => wanted.cwd.clone(),
    };
    let separator = set("COMPOSE_PATH_SEPARATOR").map_or(":", String::as_str);
    let mut dotenv = None;
    let (files, found_by, separator) = if !wanted.files.is_empty() {
        if wanted.files.iter().any(|f| f == Path::new("-")) {
            return Err(Failure::usage("a Compose file on standard input cannot be moved")
                .cause("the override must be found again by the next `docker compose`")
                .hint("write it to a file and name that with -f"));
        }
        (
            absolute(&wanted.cwd, wanted.files.iter()),
            FoundBy::Flag,
            separator.to_owned(),
        )
    } else if let Some(value) = set("COMPOSE_FILE") {
        (
            absolute(&wanted.cwd, value.split(separator)),
            FoundBy::Environment,
            separator.to_owned(),
        )
    } else {
        let found = search(&start, separator)?;
        dotenv = Some(found.directory.join(".env"));
        (found.files, found.found_by, found.separator)
    };
    for file in &files {
        if !file.is_file() {
            return Err(
                Failure::environment(format!("there is no Compose file {}", file.display()))
                    .data("nothing was changed")
                    .hint(match found_by {
                        FoundBy::Flag => "look at -f",
                        FoundBy::Environment => "look at COMPOSE_FILE in your shell",
                        FoundBy::Dotenv | FoundBy::Default => "look at COMPOSE_FILE in .env",
                    }),
            );
        }
    }
    let directory = match (&wanted.project_directory, files.first().and_then(|f| f.parent())) {
        (Some(_), _) => start,
        (None, Some(parent)) => parent.to_owned(),
        (None, None) => return Err(Failure::bug("a project without files")),
    };
    let dotenv = dotenv.unwrap_or_else(|| directory.join(".env"));
    let env_files = if !wanted.env_files.is_empty() {
        absolute(&wanted.cwd, wanted.env_files.iter())
    } else if let Some(value) = set("COMPOSE_ENV_FILES") {
        absolute(&wanted.cwd, value.split(','))
    } else if dotenv.is_file() {
        vec![dotenv.clone()]
    } else {
        Vec::new()
    };
    let variables = Dotenv::read(&dotenv)?;
    let from_env_or_file = |name: &str| {
        set(name)
            .cloned()
            .or_else(|| variables.get(name).filter(|v| !v.is_empty()))
    };
    let profiles = if wanted.profiles.is_empty() {
        from_env_or_file("COMPOSE_PROFILES")
            .map(|v| {
                v.split(',')
                    .map(|p| p.trim().to_owned())
                    .filter(|p| !p.is_empty())
                    .collect()
            })
            .unwrap_or_default()
    } else {
        wanted.profiles.clone()
    };
    Ok(Located {
        project_name: wanted
            .project_name
            .clone()
            .or_else(|| from_env_or_file("COMPOSE_PROJECT_NAME")),
        files,
        directory,
        env_files,
        profiles,
        found_by,
        dotenv,
        separator,
    })
}

struct Search {
    directory: PathBuf,
    files: Vec<PathBuf>,
    found_by: FoundBy,
    separator: String,
}

/// The nearest directory upwards with a `COMPOSE_FILE` in its `.env`, or with a file of a usual name.
fn search(start: &Path, separator: &str) -> Result<Search> {
    for directory in start.ancestors() {
        let variables = Dotenv::read(&directory.join(".env"))?;
        let separator = variables
            .get("COMPOSE_PATH_SEPARATOR")
            .unwrap_or_else(|| separator.to_owned());
        if let Some(value) = variables.get("COMPOSE_FILE").filter(|v| !v.is_empty()) {
            let files = absolute(directory, value.split(&separator));
            return Ok(Search {
                directory: directory.to_owned(),
                files,
                found_by: FoundBy::Dotenv,
                separator,
            });
        }
        if let Some(files) = default_files(directory) {
            return Ok(Search {
                directory: directory.to_owned(),
                files,
                found_by: FoundBy::Default,
                separator,
            });
        }
    }
    Err(Failure::environment(format!(
        "there is no Compose project in {} or above it",
        start.display()
    ))
    .cause(format!(
        "looked for COMPOSE_FILE in .env, and for {}",
        DEFAULT_FILES.join(", ")
    ))
    .data("nothing was changed")
    .hint("go to the project's directory, or name its files with -f"))
}

fn default_files(directory: &Path) -> Option<Vec<PathBuf>> {
    let first = |names: &[&str]| names.iter().map(|n| directory.join(n)).find(|p| p.is_file());
    let mut files = vec![first(&DEFAULT_FILES)?];
    files.extend(first(&DEFAULT_OVERRIDES));
    Some(files)
}

fn absolute<P: AsRef<Path>>(base: &Path, paths: impl Iterator<Item = P>) -> Vec<PathBuf> {
    paths.map(|p| normal(&base.join(p.as_ref()))).collect()
}

/// Removes `.` and `..` without looking at the disk, as Compose does.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

impl Located {
    /// The same project with a file more at the end, once.
    #[must_use]
    pub fn with_file(&self, file: &Path) -> Self {
        let mut with = self.without_file(file);
        with.files.push(file.to_owned());
        with
    }

    /// The same project without a file.
    #[must_use]
    pub fn without_file(&self, file: &Path) -> Self {
        let mut without = self.clone();
        without.files.retain(|f| f != file);
        without
    }

    /// `COMPOSE_FILE` in the project's `.env`, as it stands there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn dotenv_compose_file(&self) -> Result<Option<String>> {
        Ok(Dotenv::read(&self.dotenv)?.get("COMPOSE_FILE"))
    }

    /// The value of `COMPOSE_FILE` for these files, relative to where `.env` lies; `None` if Compose finds exactly
    /// these files by itself.
    #[must_use]
    pub fn compose_file_value(&self) -> Option<String> {
        let base = self.dotenv.parent().unwrap_or(&self.directory);
        if default_files(base).as_ref() == Some(&self.files) {
            return None;
        }
        let entries: Vec<_> = self
            .files
            .iter()
            .map(|f| f.strip_prefix(base).unwrap_or(f).to_string_lossy().into_owned())
            .collect();
        Some(entries.join(&self.separator))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn wanted(cwd: &Path) -> Wanted {
        Wanted {
            cwd: cwd.to_owned(),
            ..Wanted::default()
        }
    }

    #[test]
    fn the_usual_names_are_found_with_their_override_and_from_below() {
        let dir = project(&[
            ("compose.yaml", ""),
            ("compose.override.yaml", ""),
            ("docker-compose.yml", ""),
            ("a/b/x", ""),
        ]);
        let found = locate(&wanted(&dir.path().join("a/b"))).unwrap();
        assert_eq!(
            found.files,
            [
                dir.path().join("compose.yaml"),
                dir.path().join("compose.override.yaml")
            ]
        );
        assert_eq!(found.directory, dir.path());
        assert_eq!(found.compose_file_value(), None);
        let with = found.with_file(&dir.path().join("block.yml"));
        assert_eq!(
            with.compose_file_value().as_deref(),
            Some("compose.yaml:compose.override.yaml:block.yml")
        );
        assert_eq!(with.without_file(&dir.path().join("block.yml")), found);
    }

    #[test]
    fn trap_29_compose_file_of_the_projects_dotenv_counts_from_a_sub_directory() {
        let dir = project(&[
            ("compose.yaml", ""),
            ("prod.yml", ""),
            ("block.yml", ""),
            (
                ".env",
                "# prod\nCOMPOSE_FILE=prod.yml:block.yml\nCOMPOSE_PROJECT_NAME=kms\nCOMPOSE_PROFILES=a, b\n",
            ),
            ("sub/x", ""),
        ]);
        let found = locate(&wanted(&dir.path().join("sub"))).unwrap();
        assert_eq!(
            found.files,
            [dir.path().join("prod.yml"), dir.path().join("block.yml")]
        );
        assert_eq!(found.found_by, FoundBy::Dotenv);
        assert_eq!(found.project_name.as_deref(), Some("kms"));
        assert_eq!(found.profiles, ["a", "b"]);
        assert_eq!(found.env_files, [dir.path().join(".env")]);
    }

    #[test]
    fn the_flag_goes_before_the_environment_and_that_before_dotenv() {
        let dir = project(&[
            ("a.yml", ""),
            ("b.yml", ""),
            ("c.yml", ""),
            (".env", "COMPOSE_FILE=c.yml\n"),
        ]);
        let mut want = wanted(dir.path());
        want.env.insert("COMPOSE_FILE".into(), "b.yml".into());
        assert_eq!(locate(&want).unwrap().files, [dir.path().join("b.yml")]);
        want.files = vec!["./x/../a.yml".into()];
        assert_eq!(locate(&want).unwrap().files, [dir.path().join("a.yml")]);
        want.files = vec!["nope.yml".into()];
        assert!(locate(&want).unwrap_err().what.ends_with("nope.yml"));
    }

    #[test]
    fn no_project_is_said_with_what_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let failure = locate(&wanted(dir.path())).unwrap_err();
        assert!(
            failure.what.starts_with("there is no Compose project in "),
            "{failure}"
        );
        assert!(failure.causes[0].contains("compose.yaml"));
    }
}
