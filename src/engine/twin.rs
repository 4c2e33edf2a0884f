//! Twins: a throw-away server that is made as a container of the stack is made, beside it and where nothing reaches it.
//!
//! It has the image, the environment, the command and the user of that container, and of its mounts the configuration:
//! binds, read-only. It has no network, no ports, no restart policy, none of the stack's volumes, and none of Compose's
//! labels. Its environment goes from the engine to the engine and is seen by nobody.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerInspectResponse, HealthConfig, HostConfig, HostConfigLogConfig, MountPoint, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};

use super::helper::{api_mount, labels};
use super::spare::body;
use super::{Engine, HelperMount, LABEL_RUN, LABEL_TWIN, failed, is_missing, same_path};
use crate::model::{ContainerId, Failure, ImageId, ProjectName, Result, RunId, VolumeName};

/// Where images keep what they run once when a database is made: of a twin, the dump makes it.
const FIRST_START: &str = "/docker-entrypoint-initdb.d";
/// What is mounted writable here is configuration all the same.
const CONFIGURATION: [&str; 4] = ["/etc", "/usr", "/opt", "/run/secrets"];
/// The bit of a directory, in the words of the engine. <https://pkg.go.dev/io/fs#FileMode>
const DIRECTORY: u32 = 1 << 31;

/// What a twin is made of.
#[derive(Debug, Clone)]
pub struct TwinLike {
    /// The container that it is made like, running or not.
    pub container: ContainerId,
    /// Its image, if not that container's own.
    pub image: Option<ImageId>,
    /// Where its data lives, in the place of what that container has there.
    pub data: HelperMount,
    /// That is an empty volume: it gets the owner and the mode of the image's own directory.
    pub fresh: bool,
    /// What the twin is for, in its name: `db`.
    pub name: String,
}

impl Engine {
    /// Makes a twin. It is not started.
    ///
    /// # Errors
    /// When the container or the volume is gone, or the engine refuses.
    pub async fn make_twin_of(
        &self,
        like: &TwinLike,
        run: &RunId,
        project: &ProjectName,
    ) -> Result<ContainerId> {
        self.volumes_exist(std::slice::from_ref(&like.data)).await?;
        let id = &like.container;
        let inspect = self
            .docker
            .inspect_container(id.as_str(), None)
            .await
            .map_err(failed(format!("cannot inspect container {}", id.short())))?;
        let mut mounts = vec![like.data.clone()];
        for mount in inspect.mounts.iter().flatten() {
            mounts.extend(self.kept(id, mount, &like.data).await?);
        }
        let what = format!("cannot make a twin of container {}", id.short());
        let made = self
            .docker
            .create_container(
                Some(
                    CreateContainerOptionsBuilder::new()
                        .name(&format!("rehome-twin-{run}-{}", like.name))
                        .build(),
                ),
                twin(inspect, like, &mounts, run, project)?,
            )
            .await
            .map_err(failed(what))?;
        ContainerId::new(made.id).map_err(|e| Failure::bug("a container without an id").because(&e))
    }

    /// Of a container's mounts, what its twin has as well.
    async fn kept(
        &self,
        of: &ContainerId,
        mount: &MountPoint,
        data: &HelperMount,
    ) -> Result<Option<HelperMount>> {
        let (Some("bind"), Some(source), Some(target)) =
            (mount.typ.as_deref(), &mount.source, &mount.destination)
        else {
            return Ok(None);
        };
        let below = |above: &str| std::path::Path::new(target).starts_with(above);
        if same_path(target, data.target()) || below(data.target()) || below(FIRST_START) {
            return Ok(None);
        }
        let configuration = mount.rw == Some(false)
            || CONFIGURATION.iter().any(|above| below(above))
            || self.is_file(of, target).await?;
        Ok(configuration.then(|| HelperMount::Bind {
            source: source.clone(),
            target: target.clone(),
            read_only: true,
        }))
    }

    async fn is_file(&self, id: &ContainerId, path: &str) -> Result<bool> {
        let options = bollard::query_parameters::ContainerArchiveInfoOptionsBuilder::new()
            .path(path)
            .build();
        match self
            .docker
            .get_container_archive_info(id.as_str(), Some(options))
            .await
        {
            Ok(stat) => Ok(stat.file_mode & DIRECTORY == 0),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(failed(format!(
                "cannot look at {path} in container {}",
                id.short()
            ))(error)),
        }
    }

    /// Makes an empty volume that belongs to a twin of this run.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn make_twin_volume(
        &self,
        name: &VolumeName,
        run: &RunId,
        project: &ProjectName,
    ) -> Result<()> {
        let mut all: BTreeMap<String, String> = labels(run, project).into_iter().collect();
        all.insert(LABEL_TWIN.to_owned(), "volume".to_owned());
        self.create_volume(name, &all).await
    }

    /// Removes a twin, running or not, with the volumes that its image made the engine make, and no others.
    ///
    /// # Errors
    /// When the engine refuses. Gone already is fine.
    pub async fn remove_twin(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.docker.remove_container(id, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(failed(format!("cannot remove the twin {id}"))(error)),
        }
    }

    /// Removes every twin of a run and their volumes: what a crash left behind. Says how many of both there were.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn remove_twins(&self, run: &RunId) -> Result<usize> {
        let mine = format!("{LABEL_RUN}={run}");
        let filters = HashMap::from([("label", vec![mine.clone(), LABEL_TWIN.to_owned()])]);
        let twins = self.container_ids(filters).await?;
        for id in &twins {
            self.remove_twin(id).await?;
        }
        let mut removed = twins.len();
        for volume in self.volumes(Some(&mine)).await? {
            if volume.labels.contains_key(LABEL_TWIN) {
                self.remove_own_volume(&volume.name, (LABEL_RUN, run.as_str()))
                    .await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn twin(
    inspect: ContainerInspectResponse,
    like: &TwinLike,
    mounts: &[HelperMount],
    run: &RunId,
    project: &ProjectName,
) -> Result<bollard::models::ContainerCreateBody> {
    let odd = |what: &str| Failure::environment(format!("the engine does not say {what} of a container"));
    let config = inspect.config.ok_or_else(|| odd("the configuration"))?;
    let host = inspect.host_config.ok_or_else(|| odd("the host configuration"))?;
    let mut mounts: Vec<_> = mounts.iter().map(api_mount).collect();
    if like.fresh
        && let Some(options) = mounts.first_mut().and_then(|data| data.volume_options.as_mut())
    {
        options.no_copy = Some(false);
    }
    let mut labels = labels(run, project);
    labels.insert(LABEL_TWIN.to_owned(), like.container.to_string());
    let mut body = body(config, like.container.as_str());
    // By its id: the tag may mean another image by now.
    body.image = like.image.as_ref().map(ToString::to_string).or(inspect.image);
    body.labels = Some(labels);
    body.exposed_ports = None;
    body.healthcheck = Some(HealthConfig {
        test: Some(vec!["NONE".to_owned()]),
        ..HealthConfig::default()
    });
    body.host_config = Some(HostConfig {
        mounts: Some(mounts),
        network_mode: Some("none".to_owned()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        // Its last words are read from here when it does not start.
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([("max-size".to_owned(), "10m".to_owned())])),
        }),
        // What it may do and how much it may have is as it was.
        memory: host.memory,
        memory_swap: host.memory_swap,
        nano_cpus: host.nano_cpus,
        cpu_shares: host.cpu_shares,
        cpu_quota: host.cpu_quota,
        cpu_period: host.cpu_period,
        pids_limit: host.pids_limit,
        ulimits: host.ulimits,
        shm_size: host.shm_size,
        tmpfs: host.tmpfs,
        init: host.init,
        cap_add: host.cap_add,
        cap_drop: host.cap_drop,
        security_opt: host.security_opt,
        privileged: host.privileged,
        group_add: host.group_add,
        userns_mode: host.userns_mode,
        readonly_rootfs: host.readonly_rootfs,
        runtime: host.runtime,
        ..HostConfig::default()
    });
    Ok(body)
}
