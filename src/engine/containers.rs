//! Containers: what they are, stop, start, restart.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, RestartContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::describe::describe;
use super::{Engine, Network, Published, failed, is_missing};
use crate::model::{ContainerId, Failure, ImageId, ProjectName, Result, Secret, ServiceName, VolumeName};
use crate::s3::Access;

/// A database is not killed for being slow; the engine wants a number all the same.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// So much of a line of a log is shown.
const LOG_LINE: usize = 300;
/// A line of a log that goes on for longer is taken apart here.
const LOG_UNFINISHED: usize = 1 << 20;

/// A container as the engine describes it.
#[derive(Debug, Clone)]
pub struct Container {
    /// Full id.
    pub id: ContainerId,
    /// Name, without the slash.
    pub name: String,
    /// Project by its label, if Compose made it.
    pub project: Option<ProjectName>,
    /// Service by its label.
    pub service: Option<ServiceName>,
    /// Made by `docker compose run`.
    pub one_off: bool,
    /// What state it is in.
    pub state: State,
    /// How often the engine restarted it by policy.
    pub restart_count: i64,
    /// When it was started last, as the engine writes it.
    pub started_at: String,
    /// The image it was made from.
    pub image: ImageId,
    /// The tag that was asked for.
    pub image_name: String,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// Its ports on the host, whether it runs or not.
    pub ports: Vec<Published>,
    /// Its restart policy: `unless-stopped`, `always`, `on-failure`, `no`.
    pub restart: String,
    /// Its first process on the engine's host, while it runs.
    pub pid: Option<i64>,
    /// The Compose files that it was made with, as Compose noted them.
    pub config_files: Vec<PathBuf>,
    /// Compose's hash of the definition that it was made from.
    pub definition: Option<String>,
    /// The user it runs as, as configured; empty is root.
    pub user: String,
    /// Working directory.
    pub working_dir: String,
    /// Command line: entrypoint and command.
    pub command: Vec<String>,
    /// The command of its healthcheck, if it has one.
    pub healthcheck: Option<Vec<String>>,
    /// Environment. Values never show.
    pub env: BTreeMap<String, Secret>,
}

impl Container {
    /// A value of the environment.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(Secret::reveal)
    }

    /// The mount that holds a path of the container: the one with the longest destination above it.
    #[must_use]
    pub fn mount_of(&self, path: &str) -> Option<&Mount> {
        let above = |m: &&Mount| std::path::Path::new(path).starts_with(&m.destination);
        self.mounts
            .iter()
            .filter(above)
            .max_by_key(|m| m.destination.len())
    }
}

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Made, never started.
    Created,
    /// Running, with its health.
    Running(Health),
    /// Frozen.
    Paused,
    /// Between two tries of a restart policy.
    Restarting,
    /// Ended, with its exit code.
    Exited(i64),
}

impl State {
    /// Running, whatever its health.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, State::Running(_) | State::Restarting | State::Paused)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            State::Created => f.pad("created"),
            State::Running(Health::None) => f.pad("running"),
            State::Running(Health::Starting) => f.pad("starting"),
            State::Running(Health::Healthy) => f.pad("healthy"),
            State::Running(Health::Unhealthy) => f.pad("unhealthy"),
            State::Paused => f.pad("paused"),
            State::Restarting => f.pad("restarting"),
            State::Exited(code) => f.pad(&format!("exited ({code})")),
        }
    }
}

/// What the healthcheck says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// There is no healthcheck.
    None,
    /// Not known yet.
    Starting,
    /// Good.
    Healthy,
    /// Bad.
    Unhealthy,
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What it is.
    pub kind: MountKind,
    /// Path in the container.
    pub destination: String,
    /// Writable.
    pub writable: bool,
    /// The part of the volume that is mounted, if it is not the whole. An engine before 26.0 knows no such thing.
    pub subpath: Option<String>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A Docker volume.
    Volume(VolumeName),
    /// A directory or file of the host.
    Bind(String),
    /// tmpfs and others.
    Other(String),
}

impl Engine {
    /// A network of a container that leads out of the engine; `None` if all that it has are closed.
    ///
    /// # Errors
    /// When the engine does not answer, or the container is gone.
    pub async fn way_out_of(&self, id: &ContainerId) -> Result<Option<Network>> {
        let cannot = "cannot see the networks of a container";
        let found = self
            .docker
            .inspect_container(id.as_str(), None)
            .await
            .map_err(failed(cannot))?;
        let mode = found.host_config.and_then(|host| host.network_mode);
        if mode.as_deref() == Some("host") {
            return Ok(Some(Network::Host));
        }
        let networks = found
            .network_settings
            .and_then(|settings| settings.networks)
            .unwrap_or_default();
        let mut names: Vec<String> = networks.into_keys().collect();
        names.sort_unstable();
        for name in names {
            let network = self
                .docker
                .inspect_network(&name, None)
                .await
                .map_err(failed(cannot))?;
            if network.internal != Some(true) && network.driver.as_deref() != Some("null") {
                return Ok(Some(Network::Named(name)));
            }
        }
        Ok(None)
    }

    /// The network from which a storage is asked: that of the services that have a volume, so that what works there works
    /// for them. An address of the machine itself is reached from the machine alone, and so is a proxy there.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn network_to(
        &self,
        storage: &Access,
        (project, volume): (&ProjectName, Option<&VolumeName>),
    ) -> Result<Network> {
        if storage.is_of_this_machine() {
            return Ok(Network::Host);
        }
        let containers = self.project_containers(project).await?;
        let has = |container: &&Container| {
            container.mounts.iter().any(|mount| match (&mount.kind, volume) {
                (MountKind::Volume(name), Some(volume)) => name == volume,
                _ => false,
            })
        };
        let up = containers.iter().filter(|c| c.state.is_up());
        let (first, others): (Vec<_>, Vec<_>) = up.partition(has);
        for container in first.into_iter().chain(others) {
            if let Some(network) = self.way_out_of(&container.id).await? {
                return Ok(network);
            }
        }
        Ok(Network::Named("bridge".to_owned()))
    }

    /// Every container of a project, one-off containers included, running or not.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn project_containers(&self, project: &ProjectName) -> Result<Vec<Container>> {
        self.containers(HashMap::from([(
            "label",
            vec![format!("com.docker.compose.project={project}")],
        )]))
        .await
    }

    /// Every running container of the engine.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn running_containers(&self) -> Result<Vec<Container>> {
        self.containers(HashMap::from([(
            "status",
            vec!["running".to_owned(), "paused".to_owned(), "restarting".to_owned()],
        )]))
        .await
    }

    /// Every container that Compose made, of any project, running or not.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn compose_containers(&self) -> Result<Vec<Container>> {
        self.containers(HashMap::from([(
            "label",
            vec!["com.docker.compose.project".to_owned()],
        )]))
        .await
    }

    pub(super) async fn containers(&self, filters: HashMap<&str, Vec<String>>) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for id in self.container_ids(filters).await? {
            // A container that went between the two calls is no container.
            if let Some(container) = self.find_container(&id).await? {
                containers.push(container);
            }
        }
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// The ids of the containers that the filters let through, running or not.
    pub(super) async fn container_ids(&self, filters: HashMap<&str, Vec<String>>) -> Result<Vec<String>> {
        let list = self.summaries(filters).await?;
        Ok(list.into_iter().filter_map(|c| c.id).collect())
    }

    /// The containers that the filters let through, running or not, as the engine lists them.
    pub(super) async fn summaries(
        &self,
        filters: HashMap<&str, Vec<String>>,
    ) -> Result<Vec<ContainerSummary>> {
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        self.docker
            .list_containers(Some(options))
            .await
            .map_err(failed("cannot list the containers"))
    }

    /// One container by id or name; `None` if there is none.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn find_container(&self, id: &str) -> Result<Option<Container>> {
        match self.docker.inspect_container(id, None).await {
            Ok(inspect) => Ok(Some(describe(inspect)?)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed(format!("cannot inspect container {id}"))(error)),
        }
    }

    /// Stops a container and waits until it is down: `signal` first if one is given, then the engine's own stop.
    /// After `grace` the engine kills it if `kill`; otherwise it is left running and the answer is `false`.
    ///
    /// The engine's stop is what marks the container as stopped on purpose, so that its restart policy keeps quiet.
    /// The `signal` parameter of stop itself needs API 1.42; sending it beforehand works with every engine, and
    /// PostgreSQL ignores the SIGTERM that follows a SIGINT.
    /// <https://www.postgresql.org/docs/current/server-shutdown.html>
    ///
    /// # Errors
    /// When the engine refuses. A container that is already down is fine.
    pub async fn stop(
        &self,
        id: &ContainerId,
        signal: Option<&str>,
        grace: Duration,
        kill: bool,
    ) -> Result<bool> {
        if let Some(signal) = signal {
            self.signal(id, signal).await?;
        }
        let limit = if kill { grace } else { grace + NEVER };
        let seconds = i32::try_from(limit.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        // Trap 37: the client must not give up before the engine.
        let docker = self.patient(limit);
        let stopping = docker.stop_container(id.as_str(), Some(options));
        let result = if kill {
            stopping.await
        } else {
            match tokio::time::timeout(grace, stopping).await {
                Ok(result) => result,
                Err(_) => {
                    return Ok(!self
                        .find_container(id.as_str())
                        .await?
                        .is_some_and(|c| c.state.is_up()));
                }
            }
        };
        match result {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) || status(&error) == Some(304) => Ok(true),
            Err(error) => Err(failed(format!("cannot stop container {}", id.short()))(error)),
        }
    }

    /// Sends a signal and does not wait.
    ///
    /// # Errors
    /// When the engine refuses; a container that does not run is fine.
    pub async fn signal(&self, id: &ContainerId, signal: &str) -> Result<()> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        match self.docker.kill_container(id.as_str(), Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) || status(&error) == Some(409) => Ok(()),
            Err(error) => Err(failed(format!(
                "cannot send {signal} to container {}",
                id.short()
            ))(error)),
        }
    }

    /// Starts a container; running already is fine.
    ///
    /// # Errors
    /// When it cannot be started, in the engine's own words.
    pub async fn start(&self, id: &ContainerId) -> Result<()> {
        match self.docker.start_container(id.as_str(), None).await {
            Ok(()) => Ok(()),
            Err(error) if status(&error) == Some(304) => Ok(()),
            Err(error) => Err(failed(format!("cannot start container {}", id.short()))(error)),
        }
    }

    /// Pauses every process of a container; paused already, or ended, is fine.
    /// <https://docs.docker.com/reference/cli/docker/container/pause/>
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn pause(&self, id: &ContainerId) -> Result<()> {
        match self.docker.pause_container(id.as_str()).await {
            Ok(()) => Ok(()),
            Err(error) if status(&error) == Some(409) => Ok(()),
            Err(error) => Err(failed(format!("cannot pause container {}", id.short()))(error)),
        }
    }

    /// Lets a paused container go on; one that is not paused is fine, one that is gone too.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn unpause(&self, id: &ContainerId) -> Result<()> {
        match self.find_container(id.as_str()).await? {
            Some(container) if container.state == State::Paused => {}
            _ => return Ok(()),
        }
        self.docker
            .unpause_container(id.as_str())
            .await
            .map_err(failed(format!("cannot let container {} go on", id.short())))
    }

    /// Stops (with `grace`) and starts again.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = RestartContainerOptionsBuilder::new().t(seconds).build();
        self.patient(grace)
            .restart_container(id.as_str(), Some(options))
            .await
            .map_err(failed(format!("cannot restart container {}", id.short())))
    }

    /// Removes a container, running or not, never its volumes. Gone already is fine.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn remove_container(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(false).build();
        match self.docker.remove_container(id, Some(options)).await {
            Ok(()) => Ok(()),
            // 409: its removal is already under way.
            Err(error) if is_missing(&error) || status(&error) == Some(409) => Ok(()),
            Err(error) => Err(failed(format!("cannot remove container {id}"))(error)),
        }
    }

    /// Whether a path exists in a container's file system; works without a shell, also on a stopped container.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn path_exists(&self, id: &ContainerId, path: &str) -> Result<bool> {
        let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        match self
            .docker
            .get_container_archive_info(id.as_str(), Some(options))
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(failed(format!(
                "cannot look for {path} in container {}",
                id.short()
            ))(error)),
        }
    }

    /// The first line with a text that a container wrote since a time, as [`Container::started_at`] has it.
    ///
    /// # Errors
    /// When the log cannot be read, or not within `limit`.
    pub async fn logged(
        &self,
        id: &ContainerId,
        since: &str,
        text: &str,
        limit: Duration,
    ) -> Result<Option<String>> {
        let what = || format!("cannot read the log of container {}", id.short());
        let since: jiff::Timestamp = since
            .parse()
            .map_err(|e| Failure::environment(what()).because(&e))?;
        let options = bollard::query_parameters::LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .since(i32::try_from(since.as_second()).unwrap_or_default())
            .build();
        let search = async {
            let mut chunks = self.docker.logs(id.as_str(), Some(options));
            let mut line = String::new();
            while let Some(chunk) = chunks.next().await {
                line.push_str(&chunk.map_err(failed(what()))?.to_string());
                while let Some(end) = line.find('\n') {
                    let rest = line.split_off(end + 1);
                    if line.contains(text) {
                        return Ok(Some(line.trim_end().chars().take(LOG_LINE).collect()));
                    }
                    line = rest;
                }
                if line.len() > LOG_UNFINISHED && !line.contains(text) {
                    line.clear();
                }
            }
            Ok(line
                .contains(text)
                .then(|| line.trim_end().chars().take(LOG_LINE).collect()))
        };
        tokio::time::timeout(limit, search)
            .await
            .map_err(|_| Failure::environment(what()).cause("it did not come to its end in time"))?
    }

    /// The last lines that a container wrote, for error messages.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn last_log_lines(&self, id: &ContainerId, lines: usize) -> Result<Vec<String>> {
        let options = bollard::query_parameters::LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let found: Vec<_> = self
            .docker
            .logs(id.as_str(), Some(options))
            .take(lines)
            .try_collect()
            .await
            .map_err(failed(format!("cannot read the log of container {}", id.short())))?;
        Ok(found
            .iter()
            .map(|l| l.to_string().trim_end().to_owned())
            .collect())
    }
}

fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether two paths in a container are one, however they are spelled.
#[must_use]
pub fn same_path(a: &str, b: &str) -> bool {
    std::path::Path::new(a)
        .components()
        .eq(std::path::Path::new(b).components())
}
