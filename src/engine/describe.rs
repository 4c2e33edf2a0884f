//! A container from the engine's words: nothing is asked here, only read.

use std::path::PathBuf;

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum, Mount as ApiMount,
    MountPoint,
};

use super::containers::{Container, Health, Mount, MountKind, State};
use super::ports::published;
use crate::model::{ContainerId, Failure, ImageId, ProjectName, Result, Secret, ServiceName, VolumeName};

/// As the engine itself reads it: `["CMD", ...]` is the command, `["CMD-SHELL", line]` is for the image's shell, no test
/// or `["NONE"]` is none. <https://docs.docker.com/reference/api/engine/#tag/Container/operation/ContainerCreate>
fn healthcheck(config: &mut ContainerConfig) -> Option<Vec<String>> {
    let mut test = config.healthcheck.take()?.test?.into_iter();
    match test.next()?.as_str() {
        "CMD" => Some(test.collect()),
        "CMD-SHELL" => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| ["/bin/sh", "-c"].map(str::to_owned).to_vec());
            Some(shell.into_iter().chain(test).collect())
        }
        _ => None,
    }
}

pub(super) fn describe(inspect: ContainerInspectResponse) -> Result<Container> {
    let strange =
        |what: &str| Failure::environment(format!("the engine describes a container without {what}"));
    let mut config = inspect.config.unwrap_or_default();
    let healthcheck = healthcheck(&mut config);
    let state = inspect.state.ok_or_else(|| strange("a state"))?;
    let host = inspect.host_config.unwrap_or_default();
    let asked = host.mounts.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let health = match state.health.as_ref().and_then(|h| h.status) {
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        _ => Health::None,
    };
    let exit_code = state.exit_code.unwrap_or_default();
    let name = inspect.name.unwrap_or_default();
    Ok(Container {
        id: inspect
            .id
            .and_then(|id| ContainerId::new(id).ok())
            .ok_or_else(|| strange("an id"))?,
        name: name.trim_start_matches('/').to_owned(),
        project: labels
            .get("com.docker.compose.project")
            .and_then(|p| ProjectName::new(p.as_str()).ok()),
        service: labels
            .get("com.docker.compose.service")
            .and_then(|s| ServiceName::new(s.as_str()).ok()),
        one_off: labels
            .get("com.docker.compose.oneoff")
            .is_some_and(|v| v.eq_ignore_ascii_case("true")),
        state: match state.status {
            Some(ContainerStateStatusEnum::CREATED) => State::Created,
            Some(ContainerStateStatusEnum::RUNNING) => State::Running(health),
            Some(ContainerStateStatusEnum::PAUSED) => State::Paused,
            Some(ContainerStateStatusEnum::RESTARTING) => State::Restarting,
            _ => State::Exited(exit_code),
        },
        restart_count: inspect.restart_count.unwrap_or_default(),
        started_at: state.started_at.unwrap_or_default(),
        image: inspect
            .image
            .and_then(|i| ImageId::new(i).ok())
            .ok_or_else(|| strange("an image"))?,
        image_name: config.image.unwrap_or_default(),
        mounts: inspect
            .mounts
            .unwrap_or_default()
            .into_iter()
            .map(|point| mount(point, &asked))
            .collect::<Result<_>>()?,
        ports: published(host.port_bindings),
        restart: host
            .restart_policy
            .and_then(|policy| policy.name)
            .map(|name| name.to_string())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "no".to_owned()),
        pid: state.pid.filter(|pid| *pid > 0),
        config_files: labels
            .get("com.docker.compose.project.config_files")
            .map(|files| files.split(',').map(PathBuf::from).collect())
            .unwrap_or_default(),
        definition: labels.get("com.docker.compose.config-hash").cloned(),
        user: config.user.unwrap_or_default(),
        working_dir: config.working_dir.unwrap_or_default(),
        command: config
            .entrypoint
            .unwrap_or_default()
            .into_iter()
            .chain(config.cmd.unwrap_or_default())
            .collect(),
        healthcheck,
        env: config
            .env
            .unwrap_or_default()
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), Secret::new(v)))
            .collect(),
    })
}

/// What is mounted, and what of it: only what the container was asked for says the latter.
fn mount(point: MountPoint, asked: &[ApiMount]) -> Result<Mount> {
    let kind = match (point.typ.as_deref(), point.name) {
        (Some("volume"), Some(name)) => MountKind::Volume(
            VolumeName::new(name)
                .map_err(|e| Failure::environment("the engine names a strange volume").because(&e))?,
        ),
        (Some("bind"), _) => MountKind::Bind(point.source.unwrap_or_default()),
        (other, _) => MountKind::Other(other.unwrap_or("unknown").to_owned()),
    };
    let asked = asked.iter().find(|m| m.target == point.destination);
    Ok(Mount {
        kind,
        destination: point.destination.unwrap_or_default(),
        writable: point.rw.unwrap_or(true),
        subpath: asked
            .and_then(|m| m.volume_options.as_ref()?.subpath.clone())
            .filter(|path| !path.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use bollard::models::HealthConfig;

    use super::*;

    #[test]
    fn a_healthcheck_is_read_as_the_engine_reads_it() {
        let command = |test: &[&str], shell: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
            let mut config = ContainerConfig {
                healthcheck: Some(HealthConfig {
                    test: Some(owned(test)),
                    ..HealthConfig::default()
                }),
                shell: (!shell.is_empty()).then(|| owned(shell)),
                ..ContainerConfig::default()
            };
            healthcheck(&mut config).map(|words| words.join("|"))
        };
        assert_eq!(
            command(&["CMD", "redis-cli", "ping"], &[]).as_deref(),
            Some("redis-cli|ping")
        );
        assert_eq!(
            command(&["CMD-SHELL", "a && b"], &[]).as_deref(),
            Some("/bin/sh|-c|a && b")
        );
        assert_eq!(
            command(&["CMD-SHELL", "a"], &["ash", "-ec"]).as_deref(),
            Some("ash|-ec|a")
        );
        assert_eq!(command(&["NONE"], &[]), None);
        assert_eq!(command(&[], &[]), None);
        assert_eq!(healthcheck(&mut ContainerConfig::default()), None);
    }
}
