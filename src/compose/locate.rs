//! Finds a project's files as `docker compose` does, and in the one case more where Compose does not: a
//! `COMPOSE_FILE` in the `.env` of the project's directory also counts from a sub-directory (trap 29).
//!
//! Reads directories and `.env` files; the environment is passed in.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Failure, ProjectName, Result, shell_path};

use super::dotenv::Dotenv;

/// In the order in which Compose looks for them.
const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
/// Compose takes the first of these beside any of the default files, whatever the spelling of that.
const DEFAULT_OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What the user asked for, and where.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `-f`, in order.
    pub files: Vec<PathBuf>,
    /// `-p`.
    pub project_name: Option<String>,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// `--env-file`, in order.
    pub env_files: Vec<PathBuf>,
    /// `--profile`.
    pub profiles: Vec<String>,
    /// The current directory, absolute.
    pub cwd: PathBuf,
    /// The environment of the process.
    pub env: BTreeMap<String, String>,
}

/// Where the project was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// `-f` on the command line.
    Flags,
    /// `COMPOSE_FILE` in the environment: it wins over one in `.env`.
    Environment,
    /// `COMPOSE_FILE` in the `.env`.
    Dotenv,
    /// One of the names that Compose looks for.
    Default,
}

/// A project that was found: all that `docker compose` has to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The Compose files in order, absolute.
    pub files: Vec<PathBuf>,
    /// The same files as they were written in `COMPOSE_FILE` or on the command line.
    pub written: Vec<String>,
    /// What separates paths in `COMPOSE_FILE`.
    pub separator: String,
    /// The project directory: relative paths in the Compose files are relative to it.
    pub directory: PathBuf,
    /// Environment files to name to Compose; empty where its own choice (`.env` in the directory) is right.
    pub env_files: Vec<PathBuf>,
    /// The `.env` in which `COMPOSE_FILE` takes effect for a `docker compose` that is run by hand; may be missing.
    pub dotenv: PathBuf,
    /// The active profiles.
    pub profiles: Vec<String>,
    /// The project's name where one was asked for; otherwise Compose finds it.
    pub project_name: Option<ProjectName>,
    /// How it was found.
    pub found_by: FoundBy,
}

impl Located {
    /// The same project with its name said, so that Compose cannot find another.
    #[must_use]
    pub fn named(mut self, name: &ProjectName) -> Self {
        self.project_name = Some(name.clone());
        self
    }

    /// The same project with a file more at the end, once.
    #[must_use]
    pub fn with_file(&self, file: &Path) -> Self {
        let mut with = self.without_file(file);
        with.files.push(file.to_owned());
        with.written.push(file.display().to_string());
        with
    }

    /// The same project without a file.
    #[must_use]
    pub fn without_file(&self, file: &Path) -> Self {
        let mut without = self.clone();
        let kept: Vec<bool> = self.files.iter().map(|f| f != file).collect();
        let mut keep = kept.iter();
        without.files.retain(|_| keep.next().is_none_or(|k| *k));
        let mut keep = kept.iter();
        without.written.retain(|_| keep.next().is_none_or(|k| *k));
        without
    }

    /// The same project with a file more, before another one or at the end; where it is if it is there.
    #[must_use]
    pub fn with_file_before(&self, file: &Path, before: &Path) -> Self {
        let mut with = self.clone();
        if !with.files.iter().any(|known| known == file) {
            let end = with.files.len();
            let place = with.files.iter().position(|known| known == before).unwrap_or(end);
            with.files.insert(place, file.to_owned());
            with.written.insert(place, file.display().to_string());
        }
        with
    }

    /// The variables that Compose fills in: those of the environment, then those of the environment files. Their values
    /// are secrets.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn variables(&self, env: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
        let wanted = Wanted {
            env: env.clone(),
            ..Wanted::default()
        };
        let mut all = settings(&wanted, &self.env_files, &self.directory)?;
        all.extend(env.clone());
        Ok(all)
    }

    /// The same project with these files instead.
    #[must_use]
    pub fn with_files(mut self, files: Vec<PathBuf>) -> Self {
        self.written = files.iter().map(|file| file.display().to_string()).collect();
        self.files = files;
        self
    }
}

/// Finds the project.
///
/// # Errors
/// When there is none, a file that was named is missing, or what was named is no file of this machine.
pub fn locate(wanted: &Wanted) -> Result<Located> {
    let cwd = logical(&wanted.cwd, wanted.env.get("PWD"));
    let flag_directory = wanted.project_directory.as_deref().map(|dir| absolute(&cwd, dir));
    let explicit_env = explicit_env_files(wanted, &cwd)?;
    let separator = |dotenv: &BTreeMap<String, String>| {
        let text = wanted
            .env
            .get("COMPOSE_PATH_SEPARATOR")
            .or_else(|| dotenv.get("COMPOSE_PATH_SEPARATOR"));
        text.filter(|text| !text.is_empty())
            .cloned()
            .unwrap_or_else(|| ":".to_owned())
    };

    let found = if !wanted.files.is_empty() {
        let written: Vec<String> = wanted
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        from_list(&cwd, written, FoundBy::Flags, None)?
    } else {
        let start = flag_directory.as_deref().unwrap_or(&cwd);
        let base = settings(wanted, &explicit_env, start)?;
        if let Some(list) = non_empty(wanted.env.get("COMPOSE_FILE")) {
            let written = list.split(&separator(&base)).map(str::to_owned).collect();
            from_list(&cwd, written, FoundBy::Environment, Some(start.to_owned()))?
        } else if let Some(list) = non_empty(base.get("COMPOSE_FILE")) {
            let written = list.split(&separator(&base)).map(str::to_owned).collect();
            from_list(start, written, FoundBy::Dotenv, Some(start.to_owned()))?
        } else {
            upwards(wanted, &explicit_env, start, &separator)?
        }
    };

    let directory = match flag_directory {
        Some(directory) => directory,
        None => parent(&found.files[0]),
    };
    let env_files = env_files(wanted, explicit_env, &directory, found.home.as_deref());
    let dotenv_home = found.home.as_deref().unwrap_or(&directory);
    let in_effect = settings(wanted, &env_files, &directory)?;
    Ok(Located {
        profiles: profiles(wanted, &in_effect),
        project_name: project_name(wanted, &in_effect)?,
        dotenv: dotenv_home.join(".env"),
        separator: separator(&in_effect),
        files: found.files,
        written: found.written,
        found_by: found.by,
        directory,
        env_files,
    })
}

/// The files that Compose finds in a directory by itself.
pub(super) fn default_files(directory: &Path) -> Option<Vec<PathBuf>> {
    let first_of = |names: &[&str]| {
        names
            .iter()
            .map(|name| directory.join(name))
            .find(|path| path.is_file())
    };
    let mut files = vec![first_of(&DEFAULT_FILES)?];
    files.extend(first_of(&DEFAULT_OVERRIDES));
    Some(files)
}

/// Files that were found.
struct Found {
    files: Vec<PathBuf>,
    written: Vec<String>,
    by: FoundBy,
    /// The directory whose `.env` Compose reads besides that of the project directory.
    home: Option<PathBuf>,
}

/// Files that somebody listed, relative to `base`.
fn from_list(base: &Path, written: Vec<String>, by: FoundBy, home: Option<PathBuf>) -> Result<Found> {
    let place = match by {
        FoundBy::Flags => "with -f",
        FoundBy::Environment => "by COMPOSE_FILE in the environment",
        FoundBy::Dotenv | FoundBy::Default => "by COMPOSE_FILE in .env",
    };
    let written: Vec<String> = written.into_iter().filter(|text| !text.is_empty()).collect();
    let mut files = Vec::new();
    for text in &written {
        if text == "-" {
            return Err(Failure::usage("a Compose file on standard input cannot be used")
                .hint("write it to a file and name that with -f: the override must be able to go with it"));
        }
        if is_remote(text) {
            return Err(Failure::usage(format!("{text} is not a file of this machine"))
                .hint("fetch it and name the copy: Rehome works on files that stay where they are"));
        }
        let file = absolute(base, Path::new(text));
        if !file.is_file() {
            let failure = match by {
                FoundBy::Flags => Failure::usage(format!("there is no Compose file {}", file.display())),
                _ => Failure::environment(format!("there is no Compose file {}", file.display())),
            };
            return Err(failure.cause(format!("it is named {place}")).hint(match by {
                FoundBy::Flags => format!("relative paths are relative to {}", base.display()),
                _ => "correct COMPOSE_FILE, or name the files with -f".to_owned(),
            }));
        }
        files.push(file);
    }
    if files.is_empty() {
        return Err(Failure::usage(format!("no Compose file is named {place}")));
    }
    Ok(Found {
        files,
        written,
        by,
        home,
    })
}

fn is_remote(text: &str) -> bool {
    [
        "oci://",
        "http://",
        "https://",
        "git://",
        "ssh://",
        "git@",
        "github.com/",
    ]
    .iter()
    .any(|p| text.starts_with(p))
}

/// Looks in `start` and in every directory above it: first for a `COMPOSE_FILE` in the `.env`, then for the
/// default names.
fn upwards(
    wanted: &Wanted,
    explicit_env: &[PathBuf],
    start: &Path,
    separator: &dyn Fn(&BTreeMap<String, String>) -> String,
) -> Result<Found> {
    for directory in start.ancestors() {
        // With --env-file, Compose reads no `.env` at all.
        if explicit_env.is_empty() {
            let dotenv = settings(wanted, &[], directory)?;
            if let Some(list) = non_empty(dotenv.get("COMPOSE_FILE")) {
                let written = list.split(&separator(&dotenv)).map(str::to_owned).collect();
                return from_list(directory, written, FoundBy::Dotenv, Some(directory.to_owned()));
            }
        }
        if let Some(files) = default_files(directory) {
            let name = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
            return Ok(Found {
                written: files.iter().filter_map(name).collect(),
                files,
                by: FoundBy::Default,
                home: Some(directory.to_owned()),
            });
        }
    }
    let failure = Failure::environment(format!(
        "no Compose file in {} or in a directory above it",
        start.display()
    ))
    .cause(format!(
        "looked for {} and for COMPOSE_FILE in .env",
        DEFAULT_FILES.join(", ")
    ));
    let others = files_by_other_names(start);
    Err(match others.first() {
        None => failure.hint("run rehome in the project's directory, or name the files with -f"),
        Some(first) => failure
            .cause(format!(
                "in it is {}, which Compose does not look for",
                others.join(", ")
            ))
            .hint(format!(
                "write COMPOSE_FILE={first} into .env, for `docker compose` and Rehome alike, or name it each time: -f {}",
                shell_path(Path::new(first))
            )),
    })
}

/// Files of a directory that are Compose files by their names, and that Compose does not look for: of a server mostly,
/// as `docker-compose.prod.yml`.
fn files_by_other_names(directory: &Path) -> Vec<String> {
    /// More are not told.
    const TOLD: usize = 5;
    let is_one = |name: &String| {
        (name.starts_with("docker-compose") || name.starts_with("compose."))
            && (name.ends_with(".yml") || name.ends_with(".yaml"))
    };
    // One that cannot be read has none that could be named.
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(is_one).collect();
    names.sort();
    names.truncate(TOLD);
    names
}

/// `--env-file`, else `COMPOSE_ENV_FILES`; `COMPOSE_DISABLE_ENV_FILE` is an empty file.
fn explicit_env_files(wanted: &Wanted, cwd: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = wanted.env_files.iter().map(|file| absolute(cwd, file)).collect();
    if files.is_empty()
        && let Some(list) = non_empty(wanted.env.get("COMPOSE_ENV_FILES"))
    {
        files = list
            .split(',')
            .map(|file| absolute(cwd, Path::new(file.trim())))
            .collect();
    }
    if let Some(missing) = files.iter().find(|file| file.is_dir() || !file.exists()) {
        return Err(
            Failure::usage(format!("there is no environment file {}", missing.display()))
                .hint("it is named with --env-file or in COMPOSE_ENV_FILES"),
        );
    }
    let disabled = wanted
        .env
        .get("COMPOSE_DISABLE_ENV_FILE")
        .is_some_and(|text| is_true(text));
    if files.is_empty() && disabled {
        files.push(PathBuf::from("/dev/null"));
    }
    Ok(files)
}

/// As Go's `strconv.ParseBool` reads it.
fn is_true(text: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].contains(&text)
}

/// Compose reads the `.env` of the directory where it looks for files, and that of the project directory; the first
/// wins. Told the files it would read only the second, so both are named where they differ.
fn env_files(wanted: &Wanted, explicit: Vec<PathBuf>, directory: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    if !explicit.is_empty() || wanted.project_directory.is_some() {
        return explicit;
    }
    match home {
        Some(home) if home != directory && home.join(".env").is_file() => {
            // The last that is named wins.
            [directory.join(".env"), home.join(".env")]
                .into_iter()
                .filter(|file| file.is_file())
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What the environment files say; the last wins.
fn settings(wanted: &Wanted, env_files: &[PathBuf], directory: &Path) -> Result<BTreeMap<String, String>> {
    let default = [directory.join(".env")];
    let env_files = if env_files.is_empty() {
        &default[..]
    } else {
        env_files
    };
    let mut all = BTreeMap::new();
    for file in env_files.iter().filter(|file| file.is_file()) {
        all.extend(Dotenv::read(file)?.values(&wanted.env));
    }
    Ok(all)
}

fn profiles(wanted: &Wanted, settings: &BTreeMap<String, String>) -> Vec<String> {
    if !wanted.profiles.is_empty() {
        return wanted.profiles.clone();
    }
    let list = wanted
        .env
        .get("COMPOSE_PROFILES")
        .or_else(|| settings.get("COMPOSE_PROFILES"));
    let names = list.map(String::as_str).unwrap_or_default().split(',');
    names
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn project_name(wanted: &Wanted, settings: &BTreeMap<String, String>) -> Result<Option<ProjectName>> {
    let asked = [
        (wanted.project_name.as_ref(), "-p"),
        (
            wanted.env.get("COMPOSE_PROJECT_NAME"),
            "COMPOSE_PROJECT_NAME in the environment",
        ),
        (
            settings.get("COMPOSE_PROJECT_NAME"),
            "COMPOSE_PROJECT_NAME in .env",
        ),
    ];
    let Some((name, place)) = asked
        .into_iter()
        .find_map(|(name, place)| Some((non_empty(name)?, place)))
    else {
        return Ok(None);
    };
    let name = ProjectName::new(name).map_err(|error| {
        Failure::usage("the project's name is not valid")
            .because(&error)
            .hint(format!("it comes from {place}"))
    })?;
    Ok(Some(name))
}

fn non_empty(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// The current directory as the shell names it. Compose makes the project's name out of that, so `/srv/app` must
/// not become `/srv/releases/42` (trap 4).
fn logical(cwd: &Path, pwd: Option<&String>) -> PathBuf {
    let id = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    match pwd.map(Path::new) {
        Some(pwd) if pwd.is_absolute() && id(pwd).is_some() && id(pwd) == id(cwd) => pwd.to_owned(),
        _ => cwd.to_owned(),
    }
}

/// Joined and cleaned by its text alone, as Compose does: symlinks are not resolved.
pub(super) fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in base.join(path).components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

fn parent(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).to_owned()
}
