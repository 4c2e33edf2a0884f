//! The gate: every container is up and stays up (trap 30), and what is meant to end has ended well (trap 31).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Result, count};
use crate::saga::Step;
use crate::steps::Cx;
use crate::steps::spec::Starting;
use crate::steps::stack::stay_up;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StayUp {
    /// The services that must be up.
    pub services: Vec<Starting>,
    /// For how long every container must run without a restart.
    pub stable: Duration,
    /// The limit for each.
    pub limit: Duration,
}

impl Step for StayUp {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        match &self.services[..] {
            [only] => format!("see that {} stays up", only.service),
            all => format!("see that all {} stay up", count(all.len() as u64, "service")),
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        stay_up(cx, &self.services, self.stable, self.limit)
            .await
            .map(Some)
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}
