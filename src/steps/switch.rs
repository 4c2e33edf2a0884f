//! Points the project at the new homes: writes the override and the `COMPOSE_FILE` line of `.env`. Reversible until
//! the last step, byte for byte.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::world::Cx;
use crate::compose::{Dotenv, is_our_override, write_project_file};
use crate::model::{Failure, Result, VolumeKey, VolumeName, count};
use crate::saga::Step;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Switch {
    /// Where the override is.
    pub override_path: PathBuf,
    /// Its text; `None` when none is needed any more and the file goes.
    pub override_text: Option<String>,
    /// The project's `.env`.
    pub dotenv: PathBuf,
    /// The value of `COMPOSE_FILE` in it; `None` when none is needed any more.
    pub compose_file: Option<String>,
    /// What each volume must resolve to afterwards.
    pub volumes: Vec<(VolumeKey, VolumeName)>,
}

/// The files before. No secret is in it: the override has none, and of `.env` it is one line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    override_text: Option<String>,
    compose_file_line: Option<String>,
    dotenv_existed: bool,
}

impl Step for Switch {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        let name = |path: &PathBuf| {
            path.file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
        };
        let file = match self.override_text {
            Some(_) => format!("write {}", name(&self.override_path)),
            None => format!("remove {}", name(&self.override_path)),
        };
        match self.compose_file {
            Some(_) => format!("{file}, set COMPOSE_FILE in {}", name(&self.dotenv)),
            None => format!("{file}, remove COMPOSE_FILE from {}", name(&self.dotenv)),
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<Before> {
        let override_text = self.read_override()?;
        if override_text
            .as_deref()
            .is_some_and(|text| !is_our_override(text))
        {
            return Err(Failure::environment(format!(
                "{} was not written by Rehome",
                self.override_path.display()
            ))
            .cause("somebody put it there since the plan was made"));
        }
        Ok(Before {
            override_text,
            compose_file_line: Dotenv::read(&self.dotenv)?.line("COMPOSE_FILE"),
            dotenv_existed: self.dotenv.exists(),
        })
    }

    async fn apply(&self, _: &Cx, _: &Before) -> Result<()> {
        // The file is there before anything points at it, and goes after nothing does.
        if let Some(text) = &self.override_text {
            write_project_file(&self.override_path, text.as_bytes())?;
        }
        let mut dotenv = Dotenv::read(&self.dotenv)?;
        match &self.compose_file {
            Some(value) => dotenv.set("COMPOSE_FILE", value),
            None => dotenv.unset("COMPOSE_FILE"),
        }
        if self.dotenv.exists() || !dotenv.is_empty() {
            dotenv.write(&self.dotenv)?;
        }
        if self.override_text.is_none() {
            self.remove_override()?;
        }
        Ok(())
    }

    async fn verify(&self, cx: &Cx, _: &Before) -> Result<Option<String>> {
        let project = cx.compose.config(&cx.files.after).await?;
        for (key, name) in &self.volumes {
            let resolved = project.volume(key).map(|v| &v.name);
            if resolved != Some(name) {
                return Err(
                    Failure::environment(format!("volume `{key}` does not resolve to its new home")).cause(
                        match resolved {
                            Some(other) => format!("Compose says {other} instead of {name}"),
                            None => format!("Compose does not know it; {name} was expected"),
                        },
                    ),
                );
            }
        }
        Ok(Some(format!(
            "Compose resolves {} to the new home",
            count(self.volumes.len() as u64, "volume")
        )))
    }

    async fn undo(&self, _: &Cx, before: &Before) -> Result<()> {
        if let Some(text) = &before.override_text {
            write_project_file(&self.override_path, text.as_bytes())?;
        }
        let mut dotenv = Dotenv::read(&self.dotenv)?;
        match &before.compose_file_line {
            Some(line) => dotenv.set_line("COMPOSE_FILE", line),
            None => dotenv.unset("COMPOSE_FILE"),
        }
        if dotenv.is_empty() && !before.dotenv_existed {
            remove(&self.dotenv)?;
        } else {
            dotenv.write(&self.dotenv)?;
        }
        if before.override_text.is_none() {
            self.remove_override()?;
        }
        Ok(())
    }
}

impl Switch {
    fn read_override(&self) -> Result<Option<String>> {
        match std::fs::read_to_string(&self.override_path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(
                Failure::environment(format!("cannot read {}", self.override_path.display())).because(&error),
            ),
        }
    }

    /// Removes the override, if it is one of ours.
    fn remove_override(&self) -> Result<()> {
        match self.read_override()? {
            Some(text) if is_our_override(&text) => remove(&self.override_path),
            _ => Ok(()),
        }
    }
}

fn remove(path: &PathBuf) -> Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::environment(format!("cannot remove {}", path.display())).because(&error)),
    }
}
