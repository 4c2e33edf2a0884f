//! Keeps `COMPOSE_FILE` in `.env` right, so that a plain `docker compose` has the same files: variants come and go.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::compose::Dotenv;
use crate::model::{Failure, Result};
use crate::saga::Step;
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeFile {
    /// The project's `.env`.
    pub dotenv: PathBuf,
    /// The value; `None` when none is needed any more.
    pub value: Option<String>,
}

/// How it was written, and whether there was a file. Of `.env` it is this one value: no secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    written: Option<String>,
    existed: bool,
}

impl Step for ComposeFile {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        let name = self.dotenv.file_name().unwrap_or_default().display();
        match &self.value {
            Some(value) => format!("set COMPOSE_FILE={value} in {name}"),
            None => format!("remove COMPOSE_FILE from {name}"),
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<Before> {
        Ok(Before {
            written: Dotenv::read(&self.dotenv)?.written("COMPOSE_FILE"),
            existed: self.dotenv.exists(),
        })
    }

    async fn apply(&self, _: &Cx, _: &Before) -> Result<()> {
        let mut dotenv = Dotenv::read(&self.dotenv)?;
        match &self.value {
            Some(value) => dotenv.set("COMPOSE_FILE", value)?,
            None => dotenv.unset("COMPOSE_FILE"),
        }
        if dotenv.to_text().is_empty() && !self.dotenv.exists() {
            return Ok(());
        }
        dotenv.write(&self.dotenv)
    }

    async fn verify(&self, cx: &Cx, _: &Before) -> Result<Option<String>> {
        let read = Dotenv::read(&self.dotenv)?.get("COMPOSE_FILE", &cx.env);
        if read == self.value {
            return Ok(None);
        }
        Err(Failure::environment(format!(
            "COMPOSE_FILE in {} is not what was written",
            self.dotenv.display()
        )))
    }

    async fn undo(&self, _: &Cx, before: &Before) -> Result<()> {
        let mut dotenv = Dotenv::read(&self.dotenv)?;
        match &before.written {
            Some(written) => {
                dotenv.set("COMPOSE_FILE", "x")?;
                dotenv.put_back("COMPOSE_FILE", written);
            }
            None => dotenv.unset("COMPOSE_FILE"),
        }
        if !before.existed && dotenv.to_text().is_empty() {
            return match std::fs::remove_file(&self.dotenv) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::environment(
                    format!("cannot remove {}", self.dotenv.display()),
                )
                .because(&error)),
                _ => Ok(()),
            };
        }
        dotenv.write(&self.dotenv)
    }
}
