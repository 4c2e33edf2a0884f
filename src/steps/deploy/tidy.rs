//! Lets go of what older deployments kept: spares, tags and dumps beyond the number that is wanted. The newest stay.

use serde::{Deserialize, Serialize};

use super::dump::Dump;
use super::outgoing::kept_repository;
use crate::model::{Failure, Result, RunId, ServiceName};
use crate::saga::Step;
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TidyKept {
    /// Older runs whose leavings go, oldest first.
    pub runs: Vec<RunId>,
    /// The services that may have tags.
    pub services: Vec<ServiceName>,
}

impl Step for TidyKept {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let runs: Vec<_> = self.runs.iter().map(RunId::as_str).collect();
        format!("let go of what older deployments kept: {}", runs.join(", "))
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        for spare in cx.engine.spares(&cx.project).await? {
            if self.runs.contains(&spare.run) {
                cx.engine.remove_container(spare.id.as_str()).await?;
            }
        }
        for service in &self.services {
            let repository = kept_repository(cx, service);
            for (tag, _) in cx.engine.tags_of(&repository).await? {
                if self.runs.iter().any(|run| run.as_str() == tag) {
                    cx.engine.untag_image(&format!("{repository}:{tag}")).await?;
                }
            }
        }
        for run in &self.runs {
            let directory = cx.run_dir.with_file_name(run.as_str()).join(Dump::DIRECTORY);
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let what = format!("cannot remove the old dump {}", directory.display());
                    return Err(Failure::environment(what).because(&error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn verify(&self, _: &Cx, (): &()) -> Result<Option<String>> {
        Ok(None)
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}
