//! Spares: what a container was, kept as a container that is never started.
//!
//! Compose removes a container when it makes it anew, and with it the only exact record of what ran: its image, its
//! environment, its mounts. Compose files cannot give that back: they were edited, or pulled, before the deployment
//! began. So Rehome makes a twin of the container first, under another name and without Compose's labels, so that
//! Compose does not see it. Secrets stay where they were, with the engine; nothing is written to a file. And as long as
//! a container has the image, no prune of images takes it (trap 35).

use std::collections::HashMap;

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, EndpointSettings, NetworkConnectRequest,
    NetworkingConfig,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use serde::{Deserialize, Serialize};

use super::{Engine, LABEL_PROJECT, LABEL_RUN, LABEL_SPARE, failed};
use crate::model::{ContainerId, Failure, ImageId, ProjectName, Result, RunId, ServiceName};

/// Its name.
const LABEL_NAME: &str = "rehome.spare.name";
/// What its image was called.
const LABEL_IMAGE: &str = "rehome.spare.image";
/// Its own labels, as JSON.
const LABEL_LABELS: &str = "rehome.spare.labels";
/// Compose's label of a service.
const LABEL_SERVICE: &str = "com.docker.compose.service";

/// The twin of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spare {
    /// Its own id.
    pub id: ContainerId,
    /// The run that made it.
    pub run: RunId,
    /// The container that it is the twin of.
    pub of: ContainerId,
    /// That container's name.
    pub name: String,
    /// That container's service.
    pub service: ServiceName,
    /// The image of both.
    pub image: ImageId,
    /// What it was called when the container was made.
    pub image_name: String,
    /// When it was made, in seconds since 1970.
    pub made: i64,
}

impl Engine {
    /// Makes the twin of a container, unless this run has made it already.
    ///
    /// # Errors
    /// When the container is gone, or the engine refuses.
    pub async fn make_spare(&self, of: &ContainerId, run: &RunId, project: &ProjectName) -> Result<()> {
        let made = self.spares(project).await?;
        if made.iter().any(|spare| spare.run == *run && spare.of == *of) {
            return Ok(());
        }
        let inspect = self
            .docker
            .inspect_container(of.as_str(), None)
            .await
            .map_err(failed(format!("cannot inspect container {}", of.short())))?;
        let name = own_name(&inspect);
        let image = inspect
            .config
            .as_ref()
            .and_then(|c| c.image.clone())
            .unwrap_or_default();
        let mut twin = twin(inspect)?;
        let labels = twin.body.labels.take().unwrap_or_default();
        let written = serde_json::to_string(&labels)
            .map_err(|e| Failure::bug("labels that cannot be written").because(&e))?;
        twin.body.labels = Some(HashMap::from([
            (LABEL_RUN.to_owned(), run.to_string()),
            (LABEL_PROJECT.to_owned(), project.to_string()),
            (LABEL_SPARE.to_owned(), of.to_string()),
            (LABEL_NAME.to_owned(), name.clone()),
            (LABEL_IMAGE.to_owned(), image),
            (LABEL_LABELS.to_owned(), written),
        ]));
        self.make_twin(&format!("rehome-spare-{run}-{name}"), twin)
            .await
            .map(|_| ())
    }

    /// The spares of a project, of every run.
    ///
    /// # Errors
    /// When the engine does not answer, or one of them says of itself what cannot be understood.
    pub async fn spares(&self, project: &ProjectName) -> Result<Vec<Spare>> {
        let labels = vec![format!("{LABEL_PROJECT}={project}"), LABEL_SPARE.to_owned()];
        let mut spares = Vec::new();
        for summary in self.summaries(HashMap::from([("label", labels)])).await? {
            let labels = summary.labels.unwrap_or_default();
            let (Some(id), Some(image)) = (summary.id, summary.image_id) else {
                continue;
            };
            let read = || {
                let own: HashMap<String, String> = serde_json::from_str(labels.get(LABEL_LABELS)?).ok()?;
                Some(Spare {
                    id: ContainerId::new(&id).ok()?,
                    run: RunId::new(labels.get(LABEL_RUN)?).ok()?,
                    of: ContainerId::new(labels.get(LABEL_SPARE)?).ok()?,
                    name: labels.get(LABEL_NAME)?.clone(),
                    service: ServiceName::new(own.get(LABEL_SERVICE)?).ok()?,
                    image: ImageId::new(image).ok()?,
                    image_name: labels.get(LABEL_IMAGE)?.clone(),
                    made: summary.created?,
                })
            };
            spares.push(read().ok_or_else(|| {
                Failure::environment(format!(
                    "container {id} has the labels of a spare, and they make no sense"
                ))
                .hint(format!(
                    "look at it: docker inspect {id}; if it is not needed: docker rm {id}"
                ))
            })?);
        }
        spares.sort_by(|a, b| (&a.run, &a.name).cmp(&(&b.run, &b.name)));
        Ok(spares)
    }

    /// Makes the container again that a spare is the twin of, under its own name and labels, and lets the name of its
    /// image mean that image again: Compose would make it anew otherwise. It is not started.
    ///
    /// # Errors
    /// When the name is taken, or its image or one of its networks is gone.
    pub async fn revive(&self, spare: &Spare) -> Result<ContainerId> {
        let inspect = self
            .docker
            .inspect_container(spare.id.as_str(), None)
            .await
            .map_err(failed(format!("cannot inspect the spare of {}", spare.name)))?;
        let mut twin = twin(inspect)?;
        let kept = twin.body.labels.take().unwrap_or_default();
        let own = kept.get(LABEL_LABELS).map(String::as_str).unwrap_or_default();
        let own = serde_json::from_str(own)
            .map_err(|e| Failure::bug("a spare without the labels of its twin").because(&e))?;
        twin.body.labels = Some(own);
        self.let_mean(&spare.image_name, &spare.image).await?;
        twin.body.image = Some(spare.image_name.clone());
        self.make_twin(&spare.name, twin).await
    }

    async fn make_twin(&self, name: &str, twin: Twin) -> Result<ContainerId> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let made = self
            .docker
            .create_container(Some(options), twin.body)
            .await
            .map_err(failed(format!("cannot make container {name}")))?;
        // An engine before 25.0 takes only one network when a container is made.
        for (network, endpoint) in twin.networks {
            let request = NetworkConnectRequest {
                container: made.id.clone(),
                endpoint_config: Some(endpoint),
            };
            if let Err(error) = self.docker.connect_network(&network, request).await {
                let failure = failed(format!("cannot connect container {name} to network {network}"))(error);
                // Half of a container must not be taken for the whole.
                self.remove_container(&made.id).await?;
                return Err(failure);
            }
        }
        ContainerId::new(made.id).map_err(|e| Failure::bug("a container without an id").because(&e))
    }
}

/// What is needed to make a container as another one is.
struct Twin {
    body: ContainerCreateBody,
    /// The networks that it is connected to once it is made.
    networks: Vec<(String, EndpointSettings)>,
}

/// What a container was made of. The engine answers with what it resolved itself as well; that is left out.
fn twin(inspect: ContainerInspectResponse) -> Result<Twin> {
    let odd = |what: &str| Failure::environment(format!("the engine does not say {what} of a container"));
    let id = inspect.id.clone().ok_or_else(|| odd("the id"))?;
    let config = inspect.config.ok_or_else(|| odd("the configuration"))?;
    let mut host = inspect.host_config.ok_or_else(|| odd("the host configuration"))?;
    let mut networks: Vec<_> = inspect
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default()
        .into_iter()
        .map(|(name, endpoint)| (name, asked_for(endpoint, &id)))
        .collect();
    networks.sort_by(|a, b| a.0.cmp(&b.0));
    // Anonymous volumes go along: they are asked for without a name, if at all, and only what is mounted has it.
    let named: Vec<_> = host.binds.iter().flatten().cloned().collect();
    for mount in inspect.mounts.unwrap_or_default() {
        let (Some("volume"), Some(volume), Some(destination)) =
            (mount.typ.as_deref(), mount.name, mount.destination)
        else {
            continue;
        };
        let mut asked = host.mounts.iter_mut().flatten();
        if let Some(asked) = asked.find(|m| m.target.as_ref() == Some(&destination)) {
            asked.source = Some(volume);
            continue;
        }
        let there = |bind: &String| bind.split(':').nth(1) == Some(destination.as_str());
        if !named.iter().any(there) {
            host.binds
                .get_or_insert_default()
                .push(format!("{volume}:{destination}"));
        }
    }
    let mode = host.network_mode.clone().unwrap_or_default();
    let own = networks.iter().position(|(name, _)| *name == mode);
    let first = own.map(|at| networks.remove(at));
    // Neither its own network nor that of somebody else: `host`, `none`, `container:…` have no endpoints to ask for.
    let networks = if first.is_some() { networks } else { Vec::new() };
    let mut body = body(config, &id);
    // By its id: the tag may mean another image by now.
    body.image = inspect.image;
    body.networking_config = first.map(|endpoint| NetworkingConfig {
        endpoints_config: Some(HashMap::from([endpoint])),
    });
    body.host_config = Some(host);
    Ok(Twin { body, networks })
}

/// The name without the slash that the engine puts before it.
fn own_name(inspect: &ContainerInspectResponse) -> String {
    let name = inspect.name.as_deref().unwrap_or_default();
    name.trim_start_matches('/').to_owned()
}

pub(super) fn body(config: ContainerConfig, id: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        // Made of its id, unless somebody gave it one.
        hostname: config.hostname.filter(|name| !id.starts_with(name.as_str())),
        domainname: config.domainname,
        user: config.user,
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: config.exposed_ports,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: config.env,
        cmd: config.cmd,
        healthcheck: config.healthcheck,
        args_escaped: config.args_escaped,
        image: config.image,
        volumes: config.volumes,
        working_dir: config.working_dir,
        entrypoint: config.entrypoint,
        network_disabled: config.network_disabled,
        on_build: config.on_build,
        labels: config.labels,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        shell: config.shell,
        ..ContainerCreateBody::default()
    }
}

/// Of a connection to a network, what was asked for when it was made.
fn asked_for(endpoint: EndpointSettings, id: &str) -> EndpointSettings {
    let aliases = endpoint.aliases.map(|aliases| {
        // The engine adds the short id by itself.
        let own = |alias: &String| !id.starts_with(alias.as_str());
        aliases.into_iter().filter(own).collect()
    });
    EndpointSettings {
        ipam_config: endpoint.ipam_config,
        links: endpoint.links,
        aliases,
        driver_opts: endpoint.driver_opts,
        gw_priority: endpoint.gw_priority,
        ..EndpointSettings::default()
    }
}
