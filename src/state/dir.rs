//! Where the state directory is, and what is where in it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::durable;
use crate::model::{Failure, ProjectName, Result, SiteName};

/// The longest directory name made of a project's name as it is; a longer one is shortened and told apart by a hash.
const MAX_KEY: usize = 200;

/// The state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// What a project is called in the state directory: its name, and the engine's host when it is not the local one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProjectKey(String);

/// What is kept about this machine, and about no project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDir {
    path: PathBuf,
}

/// The state of one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectDir {
    path: PathBuf,
}

impl StateDir {
    /// The directory of `--state-dir`, or `/var/lib/rehome` for root, or the user's own as the XDG specification says.
    /// Nothing is created yet. `env` reads the environment.
    ///
    /// # Errors
    /// When a user has neither `XDG_STATE_HOME` nor `HOME`.
    pub fn resolve(
        flag: Option<&Path>,
        is_root: bool,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self> {
        // A path that is not absolute is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
        let absolute = |name| env(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let root = match flag {
            Some(dir) => std::path::absolute(dir).map_err(|e| {
                Failure::usage(format!("--state-dir {} is no directory", dir.display())).because(&e)
            })?,
            None if is_root => PathBuf::from("/var/lib/rehome"),
            None => absolute("XDG_STATE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
                .ok_or_else(|| {
                    Failure::usage("there is no place for the state: neither XDG_STATE_HOME nor HOME is set")
                        .hint("name a directory with --state-dir")
                })?
                .join("rehome"),
        };
        Ok(Self { root })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Makes it, durable, if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> Result<()> {
        durable::create_dirs(&self.root)
    }

    /// The directory of the project of a site that is an image. Nothing is created yet.
    #[must_use]
    pub fn site(&self, name: &SiteName) -> PathBuf {
        self.root.join("sites").join(name.as_str())
    }

    /// Makes that directory, durable, if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_site(&self, name: &SiteName) -> Result<PathBuf> {
        let path = self.site(name);
        durable::create_dirs(&path)?;
        Ok(path)
    }

    /// The directory of a project. Nothing is created yet.
    #[must_use]
    pub fn project(&self, key: &ProjectKey) -> ProjectDir {
        ProjectDir {
            path: self.root.join("projects").join(&key.0),
        }
    }

    /// The directory of the machine itself. Nothing is created yet.
    #[must_use]
    pub fn host(&self) -> HostDir {
        HostDir {
            path: self.root.join("host"),
        }
    }

    /// Every project that has a directory, by its key, in order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn projects(&self) -> Result<Vec<(ProjectKey, ProjectDir)>> {
        let dir = self.root.join("projects");
        let mut keys: Vec<ProjectKey> = list(&dir)?
            .into_iter()
            .filter_map(|e| e.file_name().into_string().ok())
            .map(ProjectKey)
            .collect();
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(keys
            .into_iter()
            .map(|key| (key.clone(), self.project(&key)))
            .collect())
    }
}

impl ProjectKey {
    /// The key of a project on the local default engine, or on the engine of `host`.
    #[must_use]
    pub fn new(project: &ProjectName, host: Option<&str>) -> Self {
        let name = project.as_str();
        let mut key = name.get(..MAX_KEY).unwrap_or(name).to_owned();
        let mut mark = |text: &str| key = format!("{key}--{}", &blake3::hash(text.as_bytes()).to_hex()[..8]);
        if name.len() > MAX_KEY {
            mark(name);
        }
        if let Some(host) = host {
            mark(host);
        }
        Self(key)
    }
}

impl fmt::Display for ProjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl HostDir {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, durable, if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> Result<()> {
        durable::create_dirs(&self.path)
    }
}

impl ProjectDir {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, durable, if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> Result<()> {
        durable::create_dirs(&self.path)
    }
}

/// The entries of a directory; none if there is no directory.
pub(super) fn list(dir: &Path) -> Result<Vec<std::fs::DirEntry>> {
    /// More than any project will ever have; a directory with more is not ours.
    const MAX_ENTRIES: usize = 100_000;
    let failed =
        |e: std::io::Error| Failure::environment(format!("cannot read {}", dir.display())).because(&e);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    entries
        .take(MAX_ENTRIES)
        .collect::<std::io::Result<_>>()
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(known: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| known.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into())
    }

    #[test]
    fn the_place_is_what_was_said_or_the_machines_or_the_users() {
        let at = |flag: Option<&str>, root, vars: &[(&str, &str)]| {
            StateDir::resolve(flag.map(Path::new), root, env(vars)).map(|d| d.path().display().to_string())
        };
        let both = [("XDG_STATE_HOME", "/x/state"), ("HOME", "/home/ada")];
        assert_eq!(at(Some("/srv/state"), true, &both).unwrap(), "/srv/state");
        assert_eq!(at(None, true, &both).unwrap(), "/var/lib/rehome");
        assert_eq!(at(None, false, &both).unwrap(), "/x/state/rehome");
        assert_eq!(
            at(None, false, &both[1..]).unwrap(),
            "/home/ada/.local/state/rehome"
        );
        let relative = [("XDG_STATE_HOME", "state"), ("HOME", "/home/ada")];
        assert_eq!(
            at(None, false, &relative).unwrap(),
            "/home/ada/.local/state/rehome"
        );
        assert_eq!(at(None, false, &[]).unwrap_err().kind, crate::model::Kind::Usage);
    }

    #[test]
    fn the_same_project_on_another_engine_is_another_project() {
        let name = ProjectName::new("kms-connect").unwrap();
        assert_eq!(ProjectKey::new(&name, None).to_string(), "kms-connect");
        // The key stays the same from version to version, or journals are not found again.
        let remote = ProjectKey::new(&name, Some("ssh://db1")).to_string();
        assert_eq!(remote, "kms-connect--1bd63f09");
        assert_ne!(remote, ProjectKey::new(&name, Some("ssh://db2")).to_string());
        let long = ProjectName::new("a".repeat(255)).unwrap();
        assert!(ProjectKey::new(&long, Some("ssh://db1")).to_string().len() < 255);
    }
}
