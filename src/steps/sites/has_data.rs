//! Looks into the containers that were made anew: do they have the directory, and the variable, or have they not? And may
//! their user write there?

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::compose::sites::{DATA, DATA_DIR};
use crate::engine::{Container, HelperMount, MountKind, same_path};
use crate::helper::protocol::{Answer, Request};
use crate::model::{Failure, Owner, Result, ServiceName};
use crate::saga::Step;
use crate::steps::world::wrong_answer;
use crate::steps::{Cx, TO};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HasData {
    /// The service.
    pub service: ServiceName,
    /// The directory.
    pub source: PathBuf,
    /// Who must be able to write there; `None` when its containers must not have it.
    pub writer: Option<Owner>,
}

impl Step for HasData {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        match self.writer {
            Some(_) => format!("see that {} has it, and can write there", self.service),
            None => format!("see that {} does not have it", self.service),
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let containers = cx.all_running(&self.service).await?;
        let Some(writer) = self.writer else {
            return match containers.iter().find(|container| self.is_in(container)) {
                None => Ok(Some(format!(
                    "{} does not have {} (inspected)",
                    self.service,
                    self.source.display()
                ))),
                Some(container) => Err(Failure::environment(format!(
                    "container {} still has {}",
                    container.name,
                    self.source.display()
                ))),
            };
        };
        for container in &containers {
            if !self.is_in(container) || container.env(DATA_DIR) != Some(DATA) {
                return Err(Failure::environment(format!(
                    "container {} does not have {} at {DATA}, or not {DATA_DIR}={DATA}",
                    container.name,
                    self.source.display()
                ))
                .cause("it was made anew with the override, and has something else"));
            }
        }
        self.can_write(cx, writer).await?;
        Ok(Some(format!(
            "{} has {} at {DATA} (inspected), and {writer} can write there",
            self.service,
            self.source.display()
        )))
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

impl HasData {
    fn is_in(&self, container: &Container) -> bool {
        container.mounts.iter().any(|mount| {
            let of_it =
                matches!(&mount.kind, MountKind::Bind(path) if *path == self.source.to_string_lossy());
            of_it && (self.writer.is_none() || (mount.writable && same_path(&mount.destination, DATA)))
        })
    }

    /// A program in a container of its own, as that user, is asked: what an engine makes of users and of security
    /// modules is in its answer.
    async fn can_write(&self, cx: &Cx, writer: Owner) -> Result<()> {
        let mount = HelperMount::Bind {
            source: self.source.to_string_lossy().into_owned(),
            target: TO.into(),
            read_only: false,
        };
        let request = Request::Access {
            dirs: vec![TO.into()],
        };
        match cx.as_user(request, vec![mount], writer).await? {
            Answer::Access { writable } if writable == [true] => Ok(()),
            Answer::Access { .. } => Err(Failure::environment(format!(
                "service `{}` runs as {writer} and cannot write to {}",
                self.service,
                self.source.display()
            ))
            .hint("who owns it, and what is mounted there: ls -ldn, findmnt -T")),
            other => Err(wrong_answer(&other)),
        }
    }
}
