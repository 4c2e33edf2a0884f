//! Starts what was stopped, on the new homes: containers are made by `docker compose` without starting them, their
//! mounts are proven by inspect, and only then they are started, dependencies first.
//!
//! Undo stops them again and sets aside what was written to a new home meanwhile, so that nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keep::keep_what_was_written;
use super::page;
use super::spec::{ExpectedMount, Moving, Starting, Stopping, Target};
use super::stack::{Making, bring_up, make_containers, of_service, prove_mounts};
use super::stop::quiet;
use super::world::Cx;
use crate::compose::project;
use crate::engine::{Container, MountKind};
use crate::model::{Failure, Home, Result, ServiceName, count};
use crate::saga::Step;

/// A container without rules of its own may take this long to stop on the way back.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// The services, dependencies first.
    pub services: Vec<Starting>,
    /// Services whose containers must be made anew, running or not.
    pub make: Vec<Making>,
    /// What must be mounted afterwards.
    pub mounts: Vec<ExpectedMount>,
    /// How each service is stopped on the way back.
    pub stopping: Vec<Stopping>,
    /// The volumes.
    pub volumes: Vec<Moving>,
    /// The hash of each service's definition when the plan was made.
    pub definitions: BTreeMap<ServiceName, String>,
    /// The limit for each service to come up.
    pub limit: Duration,
}

impl Step for Start {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let services: Vec<_> = self.services.iter().map(|s| s.service.as_str()).collect();
        if services.is_empty() {
            "make the containers anew".to_owned()
        } else {
            format!("start {}", services.join(", "))
        }
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        self.unchanged(cx).await
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        // Again, because a crash may lie between the two.
        tokio::try_join!(self.unchanged(cx), quiet(cx, &self.volumes))?;
        if prove_mounts(cx, &self.mounts).await.is_err() {
            make_containers(cx, &cx.files.after, &self.make).await?;
        }
        self.on_new_homes(cx).await?;
        bring_up(cx, &self.services, self.limit).await?;
        // Whoever was shown it may be a service that is not started again.
        page::leave(cx).await?;
        cx.downtime.end(&*cx.events);
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        self.on_new_homes(cx).await?;
        let containers = cx.engine.project_containers(&cx.project).await?;
        for starting in &self.services {
            let up = of_service(&containers, &starting.service)
                .filter(|c| c.state.is_up())
                .count();
            if up < starting.up && !starting.ends {
                return Err(Failure::environment(format!(
                    "service `{}` does not run",
                    starting.service
                )));
            }
        }
        Ok(Some(format!(
            "every container mounts its new home ({} inspected)",
            count(self.mounts.len() as u64, "mount")
        )))
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        cx.downtime.begin(&*cx.events);
        let containers = cx.engine.project_containers(&cx.project).await?;
        let new: BTreeSet<_> = self.volumes.iter().map(|m| m.target.volume_name()).collect();
        let on_new = |c: &&Container| {
            c.mounts
                .iter()
                .any(|m| matches!(&m.kind, MountKind::Volume(name) if new.contains(name)))
        };
        for starting in self.services.iter().rev() {
            for container in of_service(&containers, &starting.service).filter(|c| c.state.is_up()) {
                let rule = self.stopping.iter().find(|s| s.service == starting.service);
                let grace = rule.map_or(STOP_GRACE, |r| r.grace);
                cx.engine
                    .stop(&container.id, rule.and_then(|r| r.signal.as_deref()), grace, true)
                    .await?;
            }
        }
        // A service that somebody else started on the new homes meanwhile must not write to them either.
        for container in containers.iter().filter(on_new).filter(|c| c.state.is_up()) {
            cx.engine.stop(&container.id, None, STOP_GRACE, true).await?;
        }
        // What was written is compared now, and that may take a while.
        page::answer(cx).await;
        for moving in &self.volumes {
            keep_what_was_written(cx, moving).await?;
        }
        Ok(())
    }
}

impl Start {
    /// The files must still say what they said when the plan was made.
    async fn unchanged(&self, cx: &Cx) -> Result<()> {
        let now = project::definitions(&cx.compose, &cx.files.lasting()).await?;
        for (service, hash) in &self.definitions {
            if now.get(service) != Some(hash) {
                return Err(Failure::environment(format!(
                    "the definition of service `{service}` was changed since the plan was made"
                ))
                .cause("its Compose file or the environment it is made from is another now")
                .hint("let this run go back, apply the change by itself, then move"));
            }
        }
        Ok(())
    }

    /// Every container mounts its new home, and every new home is where it should be.
    async fn on_new_homes(&self, cx: &Cx) -> Result<()> {
        prove_mounts(cx, &self.mounts).await?;
        for moving in &self.volumes {
            let name = moving.target.volume_name();
            let Some(volume) = cx.engine.find_volume(name).await? else {
                // No container mounts it: nobody asked Compose to make its definition yet.
                if self.mounts.iter().any(|m| m.volume == *name) {
                    return Err(Failure::environment(format!("volume {name} does not exist")));
                }
                continue;
            };
            let wanted = match &moving.target {
                Target::Directory { root, sub, .. } => Home::Block { dir: root.join(sub) },
                Target::Volume { .. } => Home::Volume,
            };
            if volume.home() != wanted {
                return Err(Failure::environment(format!(
                    "volume {name} does not point at {}",
                    moving.target.describe()
                )));
            }
        }
        Ok(())
    }
}
