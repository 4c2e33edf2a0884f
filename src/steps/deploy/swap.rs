//! Puts new containers in the place of those whose definition or image changed, and brings the stack up.
//!
//! Each container that goes leaves a spare (`engine::spare`) and its image a tag. Undo takes the new containers away
//! and makes the old ones again out of the spares: the same image, environment and mounts, whatever the files say now.
//! Going back to what an older deployment replaced is the same step, with its spares in the place of the files.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::KEPT;
use crate::compose::project;
use crate::engine::{Container, Spare};
use crate::model::{ContainerId, Failure, ImageId, Result, RunId, ServiceName};
use crate::saga::Step;
use crate::steps::spec::{Starting, Stopping};
use crate::steps::stack::{Making, bring_up, make_containers, of_service};
use crate::steps::stop::stop;
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
    /// The limit for each service to come up.
    pub limit: Duration,
}

/// A service that may be made anew, and how its containers are stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changing {
    /// The service.
    pub service: ServiceName,
    /// How many containers it shall have.
    pub count: usize,
    /// The signal to send first, where the engine's own would not do.
    pub signal: Option<String>,
    /// How long a container may take to stop.
    pub grace: Duration,
    /// A database server is never killed.
    pub never_kill: bool,
}

/// What was there before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outgoing {
    /// The containers that go.
    containers: Vec<Old>,
    /// Services that had none.
    new: Vec<ServiceName>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Old {
    service: ServiceName,
    id: ContainerId,
    name: String,
    image: ImageId,
    /// Compose's hash of its definition.
    definition: Option<String>,
    up: bool,
}

impl Step for Swap {
    type Cx = Cx;
    type Receipt = Outgoing;

    fn title(&self) -> String {
        let names: Vec<_> = self.services.iter().map(|c| c.service.as_str()).collect();
        match &self.back_to {
            None => format!("replace what changed of {}", names.join(", ")),
            Some(run) => format!("put back what run {run} replaced of {}", names.join(", ")),
        }
    }

    async fn prepare(&self, cx: &Cx) -> Result<Outgoing> {
        self.unchanged(cx).await?;
        let containers = cx.engine.project_containers(&cx.project).await?;
        let mut outgoing = Outgoing {
            containers: Vec::new(),
            new: Vec::new(),
        };
        let mut made = Vec::new();
        for changing in &self.services {
            match of_service(&containers, &changing.service).next() {
                Some(_) => made.push(changing.service.clone()),
                None => outgoing.new.push(changing.service.clone()),
            }
        }
        let remade = match self.back_to {
            // Asked only now: what an image is, is known once it was pulled or built.
            None => project::would_remake(&cx.compose, &cx.files.after, &made, &BTreeMap::new()).await?,
            Some(_) => containers.iter().map(|c| c.name.clone()).collect(),
        };
        for changing in &self.services {
            let own = of_service(&containers, &changing.service);
            let goes = own.filter(|c| remade.contains(&c.name));
            outgoing.containers.extend(goes.map(|c| Old {
                service: changing.service.clone(),
                id: c.id.clone(),
                name: c.name.clone(),
                image: c.image.clone(),
                definition: c.definition.clone(),
                up: c.state.is_up(),
            }));
        }
        Ok(outgoing)
    }

    async fn apply(&self, cx: &Cx, outgoing: &Outgoing) -> Result<()> {
        // Again, because a crash may lie between the two.
        self.unchanged(cx).await?;
        let there = cx.engine.project_containers(&cx.project).await?;
        let old = |c: &&Old| there.iter().any(|now| now.id == c.id);
        let still: Vec<&Old> = outgoing.containers.iter().filter(old).collect();
        for container in &still {
            keep(cx, container).await?;
        }
        if still.iter().any(|c| c.up) {
            cx.downtime.begin(&*cx.events);
        }
        for changing in self.services.iter().rev() {
            let of_it = still.iter().filter(|c| c.service == changing.service && c.up);
            let stopping: Vec<_> = of_it.map(|c| changing.stopping(&c.id, &c.name)).collect();
            // All of them are waited for, also when one fails: undo must not meet a container on its way down.
            for ended in join_all(stopping.iter().map(|s| stop(cx, s))).await {
                ended?;
            }
        }
        match &self.back_to {
            None => {
                let concerned = |c: &&Changing| outgoing.concerns(&c.service);
                let concerned = self.services.iter().filter(concerned);
                let making: Vec<_> = concerned.map(Changing::making).collect();
                make_containers(cx, &cx.files.after, &making).await?;
            }
            Some(run) => self.make_out_of_spares(cx, run, &still).await?,
        }
        bring_up(cx, &self.starting, self.limit).await?;
        cx.downtime.end(&*cx.events);
        Ok(())
    }

    async fn verify(&self, cx: &Cx, outgoing: &Outgoing) -> Result<Option<String>> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let mut said = Vec::new();
        for starting in &self.starting {
            let own: Vec<&Container> = of_service(&containers, &starting.service).collect();
            let up = own.iter().filter(|c| c.state.is_up()).count();
            if up < starting.up && !starting.ends {
                return Err(Failure::environment(format!(
                    "service `{}` does not run",
                    starting.service
                )));
            }
            for container in own.iter().filter(|_| outgoing.concerns(&starting.service)) {
                let wanted = cx.engine.find_image(&container.image_name).await?;
                if wanted.is_some_and(|image| image.id != container.image) {
                    return Err(Failure::environment(format!(
                        "container {} runs another image than {}",
                        container.name, container.image_name
                    )));
                }
            }
            if outgoing.concerns(&starting.service)
                && let Some(container) = own.first()
            {
                said.push(format!("{} runs {}", starting.service, container.image.short()));
            }
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
        let spares = cx.engine.spares(&cx.project).await?;
        let spares: Vec<&Spare> = spares.iter().filter(|s| s.run == cx.run).collect();
        // Before anything is taken away: is there what to go back to?
        for old in &outgoing.containers {
            self.can_go_back(cx, old, &there, &spares).await?;
        }
        let gone = |old: &&Old| !there.iter().any(|c| old.is(c, &spares));
        if outgoing.containers.iter().any(|old| old.up) {
            cx.downtime.begin(&*cx.events);
        }
        for changing in self.services.iter().rev() {
            let own = of_service(&there, &changing.service);
            let is_old = |c: &&Container| outgoing.containers.iter().any(|old| old.is(c, &spares));
            let new: Vec<&Container> = own
                .filter(|c| outgoing.concerns(&changing.service) && !is_old(c))
                .collect();
            let up = new.iter().filter(|c| c.state.is_up());
            let stopping: Vec<_> = up.map(|c| changing.stopping(&c.id, &c.name)).collect();
            for ended in join_all(stopping.iter().map(|s| stop(cx, s))).await {
                ended?;
            }
            for container in new {
                cx.engine.remove_container(container.id.as_str()).await?;
            }
        }
        for old in outgoing.containers.iter().filter(gone) {
            if let Some(spare) = spares.iter().find(|s| s.of == old.id) {
                cx.engine.revive(spare).await?;
            }
        }
        bring_up(cx, &self.as_before(outgoing), self.limit).await?;
        cx.downtime.end(&*cx.events);
        self.proven_back(cx, outgoing).await?;
        for spare in spares {
            cx.engine.remove_container(spare.id.as_str()).await?;
        }
        for old in &outgoing.containers {
            cx.engine.untag_image(&kept_reference(cx, &old.service)).await?;
        }
        Ok(())
    }
}

impl Old {
    /// Whether a container is this one. When the spare is gone, also one that was made again as it was: by a person, or
    /// by a way back that a crash cut off after its last act.
    fn is(&self, container: &Container, spares: &[&Spare]) -> bool {
        let remade = || {
            container.name == self.name
                && container.image == self.image
                && self.definition.is_some()
                && container.definition == self.definition
        };
        container.id == self.id || (!spares.iter().any(|spare| spare.of == self.id) && remade())
    }
}

impl Outgoing {
    fn concerns(&self, service: &ServiceName) -> bool {
        self.new.contains(service) || self.containers.iter().any(|old| old.service == *service)
    }
}

impl Changing {
    fn stopping(&self, id: &ContainerId, name: &str) -> Stopping {
        Stopping {
            service: self.service.clone(),
            id: id.clone(),
            name: name.to_owned(),
            signal: self.signal.clone(),
            grace: self.grace,
            never_kill: self.never_kill,
        }
    }

    fn making(&self) -> Making {
        Making {
            service: self.service.clone(),
            count: self.count,
        }
    }
}

impl Swap {
    /// The files must still say what they said when the plan was made.
    async fn unchanged(&self, cx: &Cx) -> Result<()> {
        if self.definitions.is_empty() {
            return Ok(());
        }
        let now = project::definitions(&cx.compose, &cx.files.after).await?;
        for (service, hash) in &self.definitions {
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

    async fn can_go_back(&self, cx: &Cx, old: &Old, there: &[Container], spares: &[&Spare]) -> Result<()> {
        if there.iter().any(|c| old.is(c, spares)) {
            return Ok(());
        }
        let lost = |what: &str| {
            Failure::environment(format!("service `{}` cannot go back", old.service))
                .cause(format!("{what}: somebody removed it meanwhile"))
                .data("its new container was left as it is; no data was touched")
        };
        if !spares.iter().any(|spare| spare.of == old.id) {
            let remake = format!(
                "to make it again by hand, with files that say what they said then: docker compose -p {} up -d --force-recreate {}",
                cx.project, old.service
            );
            return Err(lost(&format!("the spare of container {}", old.name)).hint(remake));
        }
        match cx.engine.find_image(old.image.as_str()).await? {
            Some(_) => Ok(()),
            None => Err(lost(&format!("image {}", old.image.short()))
                .hint("bring the image back: docker load, or docker pull by its digest")),
        }
    }

    /// What is brought up on the way back: what was up of what went, each after what it waits for.
    fn as_before(&self, outgoing: &Outgoing) -> Vec<Starting> {
        let up = |service: &ServiceName| {
            let of_it = |old: &&Old| old.service == *service && old.up;
            outgoing.containers.iter().filter(of_it).count()
        };
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

    async fn proven_back(&self, cx: &Cx, outgoing: &Outgoing) -> Result<()> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        for old in &outgoing.containers {
            let now = containers.iter().find(|c| c.name == old.name);
            if !now.is_some_and(|c| c.image == old.image && (c.state.is_up() || !old.up)) {
                return Err(Failure::environment(format!(
                    "container {} is not what it was before",
                    old.name
                )));
            }
        }
        Ok(())
    }
}

/// Keeps what is needed to make a container again.
async fn keep(cx: &Cx, old: &Old) -> Result<()> {
    cx.engine.make_spare(&old.id, &cx.run, &cx.project).await?;
    let repository = kept_repository(cx, &old.service);
    cx.engine
        .tag_image(&old.image, &repository, cx.run.as_str())
        .await
}

pub(super) fn kept_repository(cx: &Cx, service: &ServiceName) -> String {
    // Only lower case is allowed in the name of a repository.
    format!("{KEPT}/{}/{}", cx.project, service).to_lowercase()
}

fn kept_reference(cx: &Cx, service: &ServiceName) -> String {
    format!("{}:{}", kept_repository(cx, service), cx.run)
}
