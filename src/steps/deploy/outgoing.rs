//! What a deployment replaces, and what it keeps of it: the receipt of the steps that put new containers in the place of
//! old ones.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::KEPT;
use crate::compose::project;
use crate::engine::{Container, Spare};
use crate::model::{ContainerId, Failure, ImageId, Result, ServiceName};
use crate::steps::Cx;
use crate::steps::spec::Stopping;
use crate::steps::stack::{Making, of_service};
use crate::steps::stop::stop;

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

impl Changing {
    /// Stops containers of it, all at once.
    ///
    /// # Errors
    /// When one does not end.
    pub(super) async fn stop(
        &self,
        cx: &Cx,
        containers: impl IntoIterator<Item = (&ContainerId, &str)>,
    ) -> Result<()> {
        let stopping: Vec<_> = containers
            .into_iter()
            .map(|(id, name)| Stopping {
                service: self.service.clone(),
                id: id.clone(),
                name: name.to_owned(),
                signal: self.signal.clone(),
                grace: self.grace,
                never_kill: self.never_kill,
            })
            .collect();
        // All of them are waited for, also when one fails: undo must not meet a container on its way down.
        for ended in join_all(stopping.iter().map(|s| stop(cx, s))).await {
            ended?;
        }
        Ok(())
    }

    pub(super) fn making(&self) -> Making {
        Making {
            service: self.service.clone(),
            count: self.count,
        }
    }
}

/// What was there before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outgoing {
    /// The services that are made anew: all of their containers go.
    pub(super) services: Vec<ServiceName>,
    /// Those containers.
    pub(super) containers: Vec<Old>,
}

/// A container that goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Old {
    pub service: ServiceName,
    pub id: ContainerId,
    pub name: String,
    pub image: ImageId,
    /// Compose's hash of its definition.
    pub definition: Option<String>,
    pub up: bool,
}

impl Old {
    /// Whether a container is this one. When the spare is gone, also one that was made again as it was: by a person, or
    /// by a way back that a crash cut off after its last act.
    pub fn is(&self, container: &Container, spares: &[Spare]) -> bool {
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
    /// Which of these services are made anew: those that Compose would make anew, or that have too few containers. It
    /// is asked only when a step is about to begin: what an image is, is known once it was pulled or built.
    pub(super) async fn of_files(cx: &Cx, services: &[Changing]) -> Result<Self> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let made: Vec<ServiceName> = services
            .iter()
            .filter(|c| of_service(&containers, &c.service).next().is_some())
            .map(|c| c.service.clone())
            .collect();
        let remade = project::would_remake(&cx.compose, &cx.files.after, &made, &BTreeMap::new()).await?;
        let concerned = |c: &&Changing| {
            let own = || of_service(&containers, &c.service);
            own().any(|now| remade.contains(&now.name)) || own().count() < c.count
        };
        Ok(Self::all_of(&containers, services.iter().filter(concerned)))
    }

    /// All containers of these services.
    pub(super) fn all_of<'a>(containers: &[Container], services: impl Iterator<Item = &'a Changing>) -> Self {
        let mut outgoing = Self::default();
        for changing in services {
            outgoing.services.push(changing.service.clone());
            let own = of_service(containers, &changing.service);
            outgoing.containers.extend(own.map(|c| Old {
                service: changing.service.clone(),
                id: c.id.clone(),
                name: c.name.clone(),
                image: c.image.clone(),
                definition: c.definition.clone(),
                up: c.state.is_up(),
            }));
        }
        outgoing
    }

    pub(super) fn concerns(&self, service: &ServiceName) -> bool {
        self.services.contains(service)
    }

    pub(super) fn of(&self, service: &ServiceName) -> impl Iterator<Item = &Old> {
        self.containers.iter().filter(move |old| old.service == *service)
    }

    /// The containers of these services that were not there before.
    pub(super) fn newcomers<'a>(
        &'a self,
        there: &'a [Container],
        spares: &'a [Spare],
        service: &'a ServiceName,
    ) -> impl Iterator<Item = &'a Container> {
        let is_old = |c: &&Container| self.containers.iter().any(|old| old.is(c, spares));
        of_service(there, service).filter(move |c| self.concerns(service) && !is_old(c))
    }

    /// Before anything is taken away: is there what to go back to?
    pub(super) async fn can_come_back(&self, cx: &Cx, there: &[Container], spares: &[Spare]) -> Result<()> {
        for old in &self.containers {
            if there.iter().any(|c| old.is(c, spares)) {
                continue;
            }
            let lost = |what: &str| {
                Failure::environment(format!("service `{}` cannot go back", old.service))
                    .cause(format!("{what} is gone: somebody removed it meanwhile"))
                    .data("its new container was left as it is; no data was touched")
            };
            if !spares.iter().any(|spare| spare.of == old.id) {
                return Err(lost(&format!("the spare of container {}", old.name)).hint(format!(
                    "to make it again by hand, with files that say what they said then: docker compose -p {} up -d --force-recreate {}",
                    cx.project, old.service
                )));
            }
            if cx.engine.find_image(old.image.as_str()).await?.is_none() {
                return Err(lost(&format!("image {}", old.image.short()))
                    .hint("bring the image back: docker load, or docker pull by its digest"));
            }
        }
        Ok(())
    }

    /// Makes again what went, out of its spare. What did not go is left as it is.
    pub(super) async fn make_again(&self, cx: &Cx, spares: &[Spare]) -> Result<()> {
        let there = cx.engine.project_containers(&cx.project).await?;
        for old in &self.containers {
            // One of that name was made by an undo that was killed: newcomers are gone by now.
            let is_there = there.iter().any(|c| old.is(c, spares) || c.name == old.name);
            if let Some(spare) = spares.iter().find(|spare| spare.of == old.id)
                && !is_there
            {
                cx.engine.revive(spare).await?;
            }
        }
        Ok(())
    }

    /// Lets go of what this run kept: everything is as it was before.
    pub(super) async fn forget(&self, cx: &Cx) -> Result<()> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        for old in &self.containers {
            let now = containers.iter().find(|c| c.name == old.name);
            if !now.is_some_and(|c| c.image == old.image && (c.state.is_up() || !old.up)) {
                return Err(Failure::environment(format!(
                    "container {} is not what it was before",
                    old.name
                )));
            }
        }
        for spare in spares_of_run(cx).await? {
            if self.containers.iter().any(|old| old.id == spare.of) {
                cx.engine.remove_container(spare.id.as_str()).await?;
            }
        }
        for service in &self.services {
            let reference = format!("{}:{}", kept_repository(cx, service), cx.run);
            cx.engine.untag_image(&reference).await?;
        }
        Ok(())
    }
}

/// Keeps what is needed to make a container again.
pub(super) async fn keep(cx: &Cx, old: &Old) -> Result<()> {
    cx.engine.make_spare(&old.id, &cx.run, &cx.project).await?;
    let repository = kept_repository(cx, &old.service);
    cx.engine
        .tag_image(&old.image, &repository, cx.run.as_str())
        .await
}

/// The spares that this run made.
pub(super) async fn spares_of_run(cx: &Cx) -> Result<Vec<Spare>> {
    let mut spares = cx.engine.spares(&cx.project).await?;
    spares.retain(|spare| spare.run == cx.run);
    Ok(spares)
}

/// Under which name the images of a service are kept. Only lower case is allowed there.
pub(super) fn kept_repository(cx: &Cx, service: &ServiceName) -> String {
    format!("{KEPT}/{}/{}", cx.project, service).to_lowercase()
}
