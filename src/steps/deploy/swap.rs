//! Puts new containers in the place of those whose definition or image changed, and brings the stack up: the old are
//! stopped first.
//!
//! Each container that goes leaves a spare (`engine::spare`) and its image a tag. Undo takes the new containers away
//! and makes the old ones again out of the spares: the same image, environment and mounts, whatever the files say now.
//! Going back to what an older deployment replaced is the same step, with its spares in the place of the files.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outgoing::{Changing, Old, Outgoing, keep, spares_of_run};
use crate::compose::project;
use crate::engine::Container;
use crate::model::{Failure, Result, RunId, ServiceName};
use crate::saga::Step;
use crate::steps::keep::keep_what_was_written;
use crate::steps::spec::{Moving, Starting};
use crate::steps::stack::{Making, bring_up, make_containers, of_service, stay_up};
use crate::steps::{Cx, page};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Swap {
    /// The services whose containers may be made anew, dependencies first.
    pub services: Vec<Changing>,
    /// What is up afterwards, dependencies first; databases and other services that stay are among them.
    pub starting: Vec<Starting>,
    /// The containers are made out of the spares of this run instead of the files.
    pub back_to: Option<RunId>,
    /// The hash of each service's definition when the plan was made.
    pub definitions: BTreeMap<ServiceName, String>,
    /// Homes that this run made: what was written there is kept on the way back.
    pub fresh: Vec<Moving>,
    /// The limit for each service to come up.
    pub limit: Duration,
    /// Its services are replaced while others that do the same go on: each is away, and the stack is not down. So long they
    /// must be up before the next of them may go: whoever stands before them has to learn that they are there again.
    #[serde(default)]
    pub alone: Option<Duration>,
}

impl Step for Swap {
    type Cx = Cx;
    type Receipt = Outgoing;

    fn title(&self) -> String {
        let names: Vec<_> = self.services.iter().map(|c| c.service.as_str()).collect();
        match &self.back_to {
            _ if names.is_empty() => "see that everything runs".to_owned(),
            None => format!("replace what changed of {}", names.join(", ")),
            Some(run) => format!("put back what run {run} replaced of {}", names.join(", ")),
        }
    }

    async fn prepare(&self, cx: &Cx) -> Result<Outgoing> {
        unchanged(cx, &self.definitions).await?;
        match self.back_to {
            None => Outgoing::of_files(cx, &self.services).await,
            Some(_) => {
                let containers = cx.engine.project_containers(&cx.project).await?;
                Ok(Outgoing::all_of(&containers, self.services.iter()))
            }
        }
    }

    async fn apply(&self, cx: &Cx, outgoing: &Outgoing) -> Result<()> {
        // Again, because a crash may lie between the two.
        unchanged(cx, &self.definitions).await?;
        let there = cx.engine.project_containers(&cx.project).await?;
        let is_there = |old: &&Old| there.iter().any(|now| now.id == old.id);
        let still: Vec<&Old> = outgoing.containers.iter().filter(is_there).collect();
        for container in &still {
            keep(cx, container).await?;
        }
        if still.iter().any(|c| c.up) {
            self.goes_down(cx);
        }
        for changing in self.services.iter().rev() {
            let of_it = still.iter().filter(|c| c.service == changing.service && c.up);
            changing.stop(cx, of_it.map(|c| (&c.id, c.name.as_str()))).await?;
        }
        match &self.back_to {
            None => {
                let concerned = |c: &&Changing| outgoing.concerns(&c.service);
                let concerned = self.services.iter().filter(concerned);
                let making: Vec<Making> = concerned.map(Changing::making).collect();
                make_containers(cx, &cx.files.after, &making).await?;
            }
            Some(run) => self.make_out_of_spares(cx, run, &still).await?,
        }
        self.comes_up(cx, &self.starting).await
    }

    async fn verify(&self, cx: &Cx, outgoing: &Outgoing) -> Result<Option<String>> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let mut said = Vec::new();
        for starting in &self.starting {
            let up = of_service(&containers, &starting.service).filter(|c| c.state.is_up());
            if up.count() < starting.up && !starting.ends {
                return Err(Failure::environment(format!(
                    "service `{}` does not run",
                    starting.service
                )));
            }
        }
        for service in &outgoing.services {
            said.extend(runs_its_image(cx, &containers, service).await?);
        }
        Ok(Some(match said.is_empty() {
            true => "nothing had changed".to_owned(),
            false => said.join(", "),
        }))
    }

    async fn undo(&self, cx: &Cx, outgoing: &Outgoing) -> Result<()> {
        cx.engine_answers().await?;
        page::leave(cx).await?;
        let there = cx.engine.project_containers(&cx.project).await?;
        let spares = spares_of_run(cx).await?;
        outgoing.can_come_back(cx, &there, &spares).await?;
        if outgoing.containers.iter().any(|old| old.up) {
            self.goes_down(cx);
        }
        for changing in self.services.iter().rev() {
            let new: Vec<&Container> = outgoing.newcomers(&there, &spares, &changing.service).collect();
            let up = new.iter().filter(|c| c.state.is_up());
            changing.stop(cx, up.map(|c| (&c.id, c.name.as_str()))).await?;
            for container in new {
                cx.engine.remove_container(container.id.as_str()).await?;
            }
        }
        for moving in &self.fresh {
            keep_what_was_written(cx, moving).await?;
        }
        outgoing.make_again(cx, &spares).await?;
        self.comes_up(cx, &self.as_before(outgoing)).await?;
        outgoing.forget(cx).await
    }
}

impl Swap {
    fn goes_down(&self, cx: &Cx) {
        // A step before it may have stopped them: then that is what is measured.
        if self.alone.is_none() || cx.downtime.running().is_some() {
            return cx.downtime.begin(&*cx.events);
        }
        for changing in &self.services {
            cx.downtime.leave(&changing.service, &*cx.events);
        }
    }

    async fn comes_up(&self, cx: &Cx, starting: &[Starting]) -> Result<()> {
        bring_up(cx, starting, self.limit).await?;
        cx.downtime.end(&*cx.events);
        let Some(alone) = self.alone else {
            return Ok(());
        };
        for changing in &self.services {
            cx.downtime.back(&changing.service, &*cx.events);
        }
        let of_these = |s: &&Starting| self.services.iter().any(|c| c.service == s.service);
        let these: Vec<Starting> = starting.iter().filter(of_these).cloned().collect();
        stay_up(cx, &these, alone, self.limit).await.map(drop)
    }

    /// Makes the containers that an older run replaced. What is there of them already was made before a crash.
    async fn make_out_of_spares(&self, cx: &Cx, run: &RunId, still: &[&Old]) -> Result<()> {
        for old in still {
            cx.engine.remove_container(old.id.as_str()).await?;
        }
        let there = cx.engine.project_containers(&cx.project).await?;
        for spare in cx.engine.spares(&cx.project).await? {
            let wanted = spare.run == *run && self.services.iter().any(|c| c.service == spare.service);
            if wanted && !there.iter().any(|c| c.name == spare.name) {
                cx.engine.revive(&spare).await?;
            }
        }
        Ok(())
    }

    /// What is brought up on the way back: what was up of what went, each after what it waits for.
    fn as_before(&self, outgoing: &Outgoing) -> Vec<Starting> {
        let up = |service: &ServiceName| outgoing.of(service).filter(|old| old.up).count();
        let stays = |starting: &&Starting| !outgoing.concerns(&starting.service) || up(&starting.service) > 0;
        let mut before: Vec<Starting> = self.starting.iter().filter(stays).cloned().collect();
        let names: Vec<ServiceName> = before.iter().map(|s| s.service.clone()).collect();
        for starting in &mut before {
            if outgoing.concerns(&starting.service) {
                starting.up = up(&starting.service);
            }
            // What did not run is not waited for.
            starting.after.retain(|(on, _)| names.contains(on));
        }
        before
    }
}

/// The files must still say what they said when the plan was made.
pub(super) async fn unchanged(cx: &Cx, definitions: &BTreeMap<ServiceName, String>) -> Result<()> {
    if definitions.is_empty() {
        return Ok(());
    }
    let now = project::definitions(&cx.compose, &cx.files.after).await?;
    for (service, hash) in definitions {
        if now.get(service) != Some(hash) {
            return Err(Failure::environment(format!(
                "the definition of service `{service}` was changed since the plan was made"
            ))
            .cause("its Compose file or the environment it is made from is another now")
            .hint("deploy again: the next plan is made from what the files say then"));
        }
    }
    Ok(())
}

/// Whether the containers of a service run what the name of their image means; which, in words.
pub(super) async fn runs_its_image(
    cx: &Cx,
    containers: &[Container],
    service: &ServiceName,
) -> Result<Option<String>> {
    let mut said = None;
    for container in of_service(containers, service) {
        let wanted = cx.engine.find_image(&container.image_name).await?;
        if wanted.is_some_and(|image| image.id != container.image) {
            return Err(Failure::environment(format!(
                "container {} runs another image than {}",
                container.name, container.image_name
            )));
        }
        said = Some(format!("{service} runs {}", container.image.short()));
    }
    Ok(said)
}
