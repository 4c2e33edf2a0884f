//! A project directory to throw away, and the real Compose.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rehome::compose::{Compose, Located, Project, Wanted, locate, project};

/// A directory with files in it, and an environment.
pub struct Lab {
    dir: tempfile::TempDir,
    pub env: BTreeMap<String, String>,
}

impl Lab {
    /// An empty directory `lab` and an environment without any word about Compose.
    pub fn new() -> Self {
        let env = std::env::vars()
            .filter(|(key, _)| ["PATH", "HOME", "DOCKER_CONFIG"].contains(&key.as_str()))
            .collect();
        let lab = Self {
            dir: tempfile::tempdir().unwrap(),
            env,
        };
        std::fs::create_dir(lab.root()).unwrap();
        lab
    }

    /// A lab with one `compose.yaml`.
    pub fn with(compose: &str) -> Self {
        let lab = Self::new();
        lab.write("compose.yaml", compose);
        lab
    }

    /// A copy of a fixture folder.
    pub fn fixture(name: &str) -> Self {
        let lab = Self::new();
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/compose/fixtures")
            .join(name);
        copy(&from, &lab.root());
        lab
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("lab")
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn wanted(&self) -> Wanted {
        Wanted {
            cwd: self.root(),
            env: self.env.clone(),
            ..Wanted::default()
        }
    }

    pub fn located(&self) -> Located {
        locate(&self.wanted()).unwrap()
    }

    pub async fn compose(&self) -> Compose {
        Compose::find(&self.env, None).await.unwrap()
    }

    pub async fn project(&self) -> Project {
        self.project_of(&self.located()).await
    }

    pub async fn project_of(&self, located: &Located) -> Project {
        project::load(&self.compose().await, located).await.unwrap()
    }

    /// What a `docker compose` that is run by hand resolves, as JSON: the oracle.
    pub fn by_hand(&self, cwd: &Path, args: &[&str]) -> serde_json::Value {
        self.try_by_hand(cwd, args).unwrap()
    }

    /// The same, where Compose may refuse; then with its words.
    pub fn try_by_hand(&self, cwd: &Path, args: &[&str]) -> Result<serde_json::Value, String> {
        let mut command = std::process::Command::new("docker");
        command
            .arg("compose")
            .args(args)
            .args(["config", "--format", "json"]);
        command
            .current_dir(cwd)
            .env_clear()
            .envs(&self.env)
            .stdin(std::process::Stdio::null());
        let output = command.output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
