//! Brings services up after their data was read or replaced. Their containers are those that were stopped; where there
//! were none, Compose makes them first.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Failure, Result, ServiceName, count};
use crate::saga::Step;
use crate::steps::stack::{bring_up, of_service};
use crate::steps::{Cx, Starting};

/// A container that comes up and is stopped again on the way back has no rule of its own for that.
const STOP_GRACE: Duration = Duration::from_secs(120);

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BringUp {
    /// The services, in the order in which they start.
    pub services: Vec<Starting>,
    /// The limit for each.
    pub limit: Duration,
    /// On the way back they are stopped again, because what they run on is taken from below them.
    pub stop_on_the_way_back: bool,
    /// The signal to stop a service with, where the engine's own would not do.
    pub signals: BTreeMap<ServiceName, String>,
}

impl Step for BringUp {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let names: Vec<_> = self.services.iter().map(|s| s.service.as_str()).collect();
        match names.is_empty() {
            true => "start nothing: no service ran".to_owned(),
            false => format!("start {}", names.join(", ")),
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        bring_up(cx, &self.services, self.limit).await?;
        cx.downtime.end(&*cx.events);
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        for starting in self.services.iter().filter(|s| !s.ends) {
            let up = of_service(&containers, &starting.service).filter(|c| c.state.is_up());
            if up.count() < starting.up {
                return Err(Failure::environment(format!(
                    "service `{}` does not run",
                    starting.service
                )));
            }
        }
        let up = count(self.services.len() as u64, "service");
        Ok((!self.services.is_empty()).then(|| format!("{up} up again")))
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        if !self.stop_on_the_way_back {
            return Ok(());
        }
        cx.engine_answers().await?;
        cx.downtime.begin(&*cx.events);
        let containers = cx.engine.project_containers(&cx.project).await?;
        for starting in self.services.iter().rev() {
            for container in of_service(&containers, &starting.service).filter(|c| c.state.is_up()) {
                let signal = self.signals.get(&starting.service).map(String::as_str);
                cx.engine.stop(&container.id, signal, STOP_GRACE, true).await?;
            }
        }
        Ok(())
    }
}
