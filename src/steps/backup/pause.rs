//! Pauses the services that write to a volume while it is read, and lets them go on. A paused process keeps its memory
//! and its connections, and is asked nothing: a pause is as short as the volumes are small.
//! <https://docs.docker.com/reference/cli/docker/container/pause/>

use serde::{Deserialize, Serialize};

use crate::engine::State;
use crate::model::{ContainerId, Failure, Result, ServiceName, count};
use crate::saga::Step;
use crate::steps::Cx;

/// A container that is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pausing {
    /// Its service.
    pub service: ServiceName,
    /// Which.
    pub id: ContainerId,
}

/// Pauses them, those that depend on others first; undo lets them go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pause {
    /// The containers, in this order.
    pub containers: Vec<Pausing>,
}

/// Lets them go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GoOn {
    /// The containers, in the order in which they were paused.
    pub containers: Vec<Pausing>,
}

fn names(containers: &[Pausing]) -> String {
    let mut names: Vec<_> = containers.iter().map(|c| c.service.as_str()).collect();
    names.dedup();
    names.join(", ")
}

/// What others depend on goes on first.
async fn let_go_on(cx: &Cx, containers: &[Pausing]) -> Result<()> {
    for container in containers.iter().rev() {
        cx.engine.unpause(&container.id).await?;
    }
    cx.downtime.end(&*cx.events);
    Ok(())
}

impl Step for Pause {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("pause {}", names(&self.containers))
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.downtime.begin(&*cx.events);
        for container in &self.containers {
            cx.engine.pause(&container.id).await?;
        }
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        for container in &self.containers {
            let now = cx.engine.find_container(container.id.as_str()).await?;
            if !now.is_some_and(|c| c.state == State::Paused) {
                return Err(Failure::environment(format!(
                    "service `{}` is not paused",
                    container.service
                )));
            }
        }
        Ok(Some(format!(
            "{} paused",
            count(self.containers.len() as u64, "container")
        )))
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        let_go_on(cx, &self.containers).await
    }
}

impl Step for GoOn {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("let {} go on", names(&self.containers))
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        let_go_on(cx, &self.containers).await
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        for container in &self.containers {
            let now = cx.engine.find_container(container.id.as_str()).await?;
            if !now.is_some_and(|c| matches!(c.state, State::Running(_))) {
                return Err(Failure::environment(format!(
                    "service `{}` does not run",
                    container.service
                )));
            }
        }
        Ok(None)
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        // They run, as they did before.
        Ok(())
    }
}
