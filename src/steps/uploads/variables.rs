//! Sets the variables in `.env` that send the services to the bucket, or away from it. Taken back to the byte.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{SWITCHED, begins, words_of};
use crate::compose::Dotenv;
use crate::model::{Failure, Result};
use crate::saga::Step;
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetVariables {
    /// The project's `.env`.
    pub dotenv: PathBuf,
    /// The variables with their new values. None is a secret: they say where to, and nothing else.
    pub values: BTreeMap<String, String>,
}

/// Their values before, as they were written; `None` where there was none.
pub type Before = BTreeMap<String, Option<String>>;

impl Step for SetVariables {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        let file = self
            .dotenv
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        format!("set {} in {}", words_of(&self.values), file.unwrap_or_default())
    }

    async fn prepare(&self, cx: &Cx) -> Result<Before> {
        for name in self.values.keys() {
            if cx.env.contains_key(name) {
                return Err(
                    Failure::refused(format!("{name} is set in the environment of this command"))
                        .cause("it counts before .env, so that services would be made with another value")
                        .hint(format!("unset {name}")),
                );
            }
        }
        let dotenv = Dotenv::read(&self.dotenv)?;
        Ok(self
            .values
            .keys()
            .map(|name| (name.clone(), dotenv.written(name)))
            .collect())
    }

    async fn apply(&self, cx: &Cx, _: &Before) -> Result<()> {
        // Before the first service can have the new value.
        begins(cx, SWITCHED)?;
        let mut dotenv = Dotenv::read(&self.dotenv)?;
        for (name, value) in &self.values {
            dotenv.set(name, value)?;
        }
        dotenv.write(&self.dotenv)
    }

    async fn verify(&self, cx: &Cx, _: &Before) -> Result<Option<String>> {
        let dotenv = Dotenv::read(&self.dotenv)?;
        for (name, value) in &self.values {
            if dotenv.get(name, &cx.env).as_deref() != Some(value) {
                return Err(Failure::environment(format!(
                    "{name} is another in {}",
                    self.dotenv.display()
                )));
            }
        }
        Ok(None)
    }

    async fn undo(&self, _: &Cx, before: &Before) -> Result<()> {
        let mut dotenv = Dotenv::read(&self.dotenv)?;
        for (name, written) in before {
            match written {
                Some(written) => {
                    dotenv.set(name, "x")?;
                    dotenv.put_back(name, written);
                }
                None => dotenv.unset(name),
            }
        }
        dotenv.write(&self.dotenv)
    }
}
