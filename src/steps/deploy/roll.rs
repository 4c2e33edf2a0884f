//! Rolls a service: the new containers are started beside the old, and the old are stopped once the new are well. Whoever
//! stands before it always finds one that answers.
//!
//! Only for services that write to nothing and have neither a name nor a port of the host to themselves: the plan sees
//! to that. Undo is the same the other way round.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outgoing::{Changing, Old, Outgoing, keep, spares_of_run};
use super::swap::{runs_its_image, unchanged};
use crate::compose::Call;
use crate::engine::{Container, Gate, Meant};
use crate::model::{ContainerId, Failure, Result, ServiceName};
use crate::saga::Step;
use crate::steps::Cx;
use crate::steps::stack::MAKE_LIMIT;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Roll {
    /// The services, dependencies first.
    pub services: Vec<Changing>,
    /// The hash of each service's definition when the plan was made.
    pub definitions: BTreeMap<ServiceName, String>,
    /// For how long a new container must run without a restart before an old one is stopped.
    pub stable: Duration,
    /// How long proxies have to learn of a change, before the old containers are stopped and after the new are there.
    pub drain: Duration,
    /// The limit for each service to come up.
    pub limit: Duration,
}

impl Step for Roll {
    type Cx = Cx;
    type Receipt = Outgoing;

    fn title(&self) -> String {
        let names: Vec<_> = self.services.iter().map(|c| c.service.as_str()).collect();
        format!("roll what changed of {}, one after the other", names.join(", "))
    }

    async fn prepare(&self, cx: &Cx) -> Result<Outgoing> {
        unchanged(cx, &self.definitions).await?;
        Outgoing::of_files(cx, &self.services).await
    }

    async fn apply(&self, cx: &Cx, outgoing: &Outgoing) -> Result<()> {
        unchanged(cx, &self.definitions).await?;
        let there = cx.engine.project_containers(&cx.project).await?;
        for changing in self.services.iter().filter(|c| outgoing.concerns(&c.service)) {
            let is_there = |old: &&Old| there.iter().any(|now| now.id == old.id);
            let still: Vec<&Old> = outgoing.of(&changing.service).filter(is_there).collect();
            for old in &still {
                keep(cx, old).await?;
            }
            self.make_beside(cx, changing, still.len()).await?;
            let all = cx.engine.project_containers(&cx.project).await?;
            let spares = spares_of_run(cx).await?;
            let new: Vec<&Container> = outgoing.newcomers(&all, &spares, &changing.service).collect();
            if new.len() < changing.count {
                return Err(Failure::environment(format!(
                    "service `{}` has {} new containers instead of {}",
                    changing.service,
                    new.len(),
                    changing.count
                )));
            }
            self.start_beside(cx, changing, new.iter().map(|c| &c.id)).await?;
            changing
                .stop(cx, still.iter().map(|old| (&old.id, old.name.as_str())))
                .await?;
            for old in still {
                cx.engine.remove_container(old.id.as_str()).await?;
            }
        }
        Ok(())
    }

    async fn verify(&self, cx: &Cx, outgoing: &Outgoing) -> Result<Option<String>> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let spares = spares_of_run(cx).await?;
        let mut said = Vec::new();
        for changing in self.services.iter().filter(|c| outgoing.concerns(&c.service)) {
            let new: Vec<_> = outgoing
                .newcomers(&containers, &spares, &changing.service)
                .collect();
            if new.iter().filter(|c| c.state.is_up()).count() < changing.count {
                return Err(Failure::environment(format!(
                    "service `{}` does not run",
                    changing.service
                )));
            }
            said.extend(runs_its_image(cx, &containers, &changing.service).await?);
        }
        Ok(Some(match said.is_empty() {
            true => "nothing had changed".to_owned(),
            false => said.join(", "),
        }))
    }

    async fn undo(&self, cx: &Cx, outgoing: &Outgoing) -> Result<()> {
        cx.engine_answers().await?;
        let there = cx.engine.project_containers(&cx.project).await?;
        let spares = spares_of_run(cx).await?;
        outgoing.can_come_back(cx, &there, &spares).await?;
        for changing in self.services.iter().rev() {
            // An old container may have been stopped already: it is started again, or made again, beside the new ones.
            let new: Vec<Container> = outgoing
                .newcomers(&there, &spares, &changing.service)
                .cloned()
                .collect();
            outgoing.make_again(cx, &spares).await?;
            let all = cx.engine.project_containers(&cx.project).await?;
            let names: Vec<_> = outgoing.of(&changing.service).filter(|old| old.up).collect();
            let old = all.iter().filter(|c| names.iter().any(|old| old.name == c.name));
            self.start_beside(cx, changing, old.map(|c| &c.id)).await?;
            let new = new.iter().filter(|c| !names.iter().any(|old| old.name == c.name));
            let new: Vec<_> = new.collect();
            let up = new.iter().filter(|c| c.state.is_up());
            changing.stop(cx, up.map(|c| (&c.id, c.name.as_str()))).await?;
            for container in new {
                cx.engine.remove_container(container.id.as_str()).await?;
            }
        }
        outgoing.forget(cx).await
    }
}

impl Roll {
    /// Makes the new containers without touching the old. After a crash some may be there already: so many more are
    /// made that there are enough.
    async fn make_beside(&self, cx: &Cx, changing: &Changing, old: usize) -> Result<()> {
        let scale = format!("{}={}", changing.service, old + changing.count);
        let service = changing.service.as_str();
        let arguments = [
            "up",
            "--no-start",
            "--no-recreate",
            "--no-deps",
            "--no-build",
            "--pull",
            "never",
            "--scale",
            &scale,
            service,
        ];
        let call = Call::new(arguments).limit(MAKE_LIMIT);
        cx.compose.run(&cx.files.after, call).await.map(|_| ())
    }

    /// Starts containers, waits until they are well, and until whoever stands before them may know them.
    async fn start_beside<'a>(
        &self,
        cx: &Cx,
        changing: &Changing,
        ids: impl Iterator<Item = &'a ContainerId>,
    ) -> Result<()> {
        let gate = Gate {
            meant: Meant::Run,
            stable: self.stable,
            limit: self.limit,
            ask: false,
        };
        for id in ids {
            cx.engine.start(id).await?;
            cx.engine.wait_until_up(id, &changing.service, gate).await?;
        }
        // Not in place of a condition: no engine says when a proxy has asked for the names again.
        tokio::time::sleep(self.drain).await;
        Ok(())
    }
}
