//! Points the project at the new homes: writes the override and the `COMPOSE_FILE` line of `.env`. Reversible until
//! the last step, byte for byte.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::world::Cx;
use crate::compose::{Dotenv, Override, project, replace_file};
use crate::model::{Failure, Result, count};
use crate::saga::Step;

/// An override is never longer.
const LIMIT: u64 = 1 << 20;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Switch {
    /// Where the override is.
    pub override_path: PathBuf,
    /// What it says; when that is nothing any more, the file goes.
    pub content: Override,
    /// The project's `.env`.
    pub dotenv: PathBuf,
    /// The value of `COMPOSE_FILE` in it; `None` when none is needed any more.
    pub compose_file: Option<String>,
    /// How many volumes change their home.
    pub volumes: usize,
}

/// The files before. No secret is in it: the override has none, and of `.env` it is one value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    override_text: Option<String>,
    compose_file: Option<String>,
    dotenv_existed: bool,
}

impl Step for Switch {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        let name = |path: &Path| {
            path.file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
        };
        let verb = if self.content.is_empty() {
            "remove"
        } else {
            "write"
        };
        let file = format!("{verb} {}", name(&self.override_path));
        match self.compose_file {
            Some(_) => format!("{file}, set COMPOSE_FILE in {}", name(&self.dotenv)),
            None => format!("{file}, remove COMPOSE_FILE from {}", name(&self.dotenv)),
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<Before> {
        // Refuses a file that somebody else put there since the plan was made.
        Override::read(&self.override_path, &self.content.project)?;
        Ok(Before {
            override_text: self.read_override()?,
            compose_file: Dotenv::read(&self.dotenv)?.written("COMPOSE_FILE"),
            dotenv_existed: self.dotenv.exists(),
        })
    }

    async fn apply(&self, _: &Cx, _: &Before) -> Result<()> {
        // The file is there before anything points at it, and goes after nothing does.
        if !self.content.is_empty() {
            self.content.write(&self.override_path)?;
        }
        let mut dotenv = Dotenv::read(&self.dotenv)?;
        match &self.compose_file {
            Some(value) => dotenv.set("COMPOSE_FILE", value)?,
            None => dotenv.unset("COMPOSE_FILE"),
        }
        if self.dotenv.exists() || !dotenv.to_text().is_empty() {
            dotenv.write(&self.dotenv)?;
        }
        if self.content.is_empty() {
            remove(&self.override_path)?;
        }
        Ok(())
    }

    async fn verify(&self, cx: &Cx, _: &Before) -> Result<Option<String>> {
        let project = project::load(&cx.compose, &cx.files.after).await?;
        let deviations = self.content.deviations(&project);
        if !deviations.is_empty() {
            let failure = Failure::environment("Compose does not resolve the project to its new homes");
            return Err(deviations.into_iter().fold(failure, Failure::cause));
        }
        Ok(Some(format!(
            "Compose resolves {} to the new home",
            count(self.volumes as u64, "volume")
        )))
    }

    async fn undo(&self, _: &Cx, before: &Before) -> Result<()> {
        if let Some(text) = &before.override_text {
            replace_file(&self.override_path, text.as_bytes())?;
        }
        let mut dotenv = Dotenv::read(&self.dotenv)?;
        match &before.compose_file {
            Some(written) => {
                dotenv.set("COMPOSE_FILE", "x")?;
                dotenv.put_back("COMPOSE_FILE", written);
            }
            None => dotenv.unset("COMPOSE_FILE"),
        }
        if dotenv.to_text().is_empty() && !before.dotenv_existed {
            remove(&self.dotenv)?;
        } else {
            dotenv.write(&self.dotenv)?;
        }
        if before.override_text.is_none()
            && Override::read(&self.override_path, &self.content.project).is_ok()
        {
            remove(&self.override_path)?;
        }
        Ok(())
    }
}

impl Switch {
    /// The override's text as it stands, to be put back to the byte.
    fn read_override(&self) -> Result<Option<String>> {
        let cannot = |error: &std::io::Error| {
            Failure::environment(format!("cannot read {}", self.override_path.display())).because(error)
        };
        match std::fs::metadata(&self.override_path) {
            Ok(meta) if meta.len() > LIMIT => Err(Failure::environment(format!(
                "{} is larger than 1 MiB",
                self.override_path.display()
            ))),
            Ok(_) => std::fs::read_to_string(&self.override_path)
                .map(Some)
                .map_err(|e| cannot(&e)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot(&error)),
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::environment(format!("cannot remove {}", path.display())).because(&error)),
    }
}
