//! Writes the override of a project's sites, or removes it when no site of the project needs one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::compose::project::{self, MountSource};
use crate::compose::{SiteMount, SiteOverride};
use crate::model::{Failure, Result, ServiceName};
use crate::saga::Step;
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WriteOverride {
    /// Where it is.
    pub path: PathBuf,
    /// What it says; when that is nothing any more, the file goes.
    pub content: SiteOverride,
    /// What it no longer says.
    pub without: Option<(ServiceName, SiteMount)>,
}

/// What it said before; no secret is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    content: Option<SiteOverride>,
}

impl WriteOverride {
    fn put(&self, content: Option<&SiteOverride>) -> Result<()> {
        match content.filter(|content| !content.is_empty()) {
            Some(content) => content.write(&self.path),
            None => match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::environment(
                    format!("cannot remove {}", self.path.display()),
                )
                .because(&error)),
                _ => Ok(()),
            },
        }
    }
}

impl Step for WriteOverride {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().display();
        match self.content.is_empty() {
            true => format!("remove {name}"),
            false => format!("write {name}"),
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<Before> {
        // Refuses a file that somebody else put there since the plan was made.
        Ok(Before {
            content: SiteOverride::read(&self.path, &self.content.project)?,
        })
    }

    async fn apply(&self, _: &Cx, _: &Before) -> Result<()> {
        self.put(Some(&self.content))
    }

    async fn verify(&self, cx: &Cx, _: &Before) -> Result<Option<String>> {
        let resolved = project::load(&cx.compose, &cx.files.after).await?;
        let mut deviations = self.content.deviations(&resolved);
        if let Some((name, mount)) = &self.without {
            let is_it = |source: &MountSource| matches!(source, MountSource::Bind { source, .. } if *source == mount.source);
            let service = resolved.services.get(name);
            if service.is_some_and(|service| service.mounts.iter().any(|m| is_it(&m.source))) {
                deviations.push(format!(
                    "service {name} still mounts {}: another file of the project says so",
                    mount.source.display()
                ));
            }
        }
        if deviations.is_empty() {
            return Ok(None);
        }
        let failure = Failure::environment("Compose does not resolve the project to what the override says");
        Err(deviations.into_iter().fold(failure, Failure::cause))
    }

    async fn undo(&self, _: &Cx, before: &Before) -> Result<()> {
        // Whoever put another one there meanwhile keeps it, and hears of it.
        SiteOverride::read(&self.path, &self.content.project)?;
        self.put(before.content.as_ref())
    }
}
