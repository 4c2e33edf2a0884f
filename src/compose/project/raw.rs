//! The JSON of `docker compose config`, as far as it is read, and its way into the types of the project.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::model::{Failure, ProjectName, Result, Secret, ServiceName, VolumeKey, VolumeName, parse_span};

use super::{
    Condition, Dependency, Healthcheck, Mount, MountSource, Port, Project, Service, Volume, VolumesFrom,
    VolumesSource,
};

#[derive(Deserialize)]
struct RawProject {
    name: String,
    #[serde(default)]
    services: BTreeMap<String, RawService>,
    #[serde(default)]
    volumes: BTreeMap<String, Option<RawVolume>>,
    #[serde(default)]
    secrets: BTreeMap<String, RawSecret>,
}

#[derive(Deserialize)]
struct RawSecret {
    #[serde(default)]
    file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawService {
    profiles: Vec<String>,
    image: Option<String>,
    build: Option<serde::de::IgnoredAny>,
    pull_policy: Option<String>,
    container_name: Option<String>,
    user: Option<String>,
    working_dir: Option<String>,
    command: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    environment: BTreeMap<String, Option<Secret>>,
    healthcheck: Option<RawHealthcheck>,
    restart: Option<String>,
    depends_on: BTreeMap<String, RawDependency>,
    links: Vec<String>,
    network_mode: Option<String>,
    ipc: Option<String>,
    pid: Option<String>,
    volumes_from: Vec<String>,
    volumes: Vec<RawMount>,
    tmpfs: Vec<String>,
    stop_signal: Option<String>,
    stop_grace_period: Option<String>,
    scale: Option<u32>,
    deploy: Option<RawDeploy>,
    ports: Vec<RawPort>,
    labels: BTreeMap<String, Secret>,
}

#[derive(Deserialize)]
struct RawHealthcheck {
    #[serde(default)]
    disable: bool,
    #[serde(default)]
    test: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawDependency {
    #[serde(default)]
    condition: Option<String>,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default)]
    restart: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct RawDeploy {
    #[serde(default)]
    replicas: Option<u32>,
}

#[derive(Deserialize)]
struct RawPort {
    #[serde(default)]
    host_ip: Option<String>,
    #[serde(default)]
    published: Option<String>,
    target: u16,
    #[serde(default)]
    protocol: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RawMount {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    pub(super) target: String,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    bind: Option<RawBind>,
    #[serde(default)]
    volume: Option<RawVolumeOptions>,
}

#[derive(Deserialize)]
struct RawBind {
    #[serde(default)]
    create_host_path: Option<bool>,
    #[serde(default)]
    propagation: Option<String>,
    #[serde(default)]
    selinux: Option<String>,
}

#[derive(Deserialize)]
struct RawVolumeOptions {
    #[serde(default)]
    nocopy: bool,
    #[serde(default)]
    subpath: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawVolume {
    name: Option<String>,
    external: bool,
    driver: Option<String>,
    driver_opts: BTreeMap<String, Secret>,
    labels: BTreeMap<String, Secret>,
}

/// Only the targets, from an output that was not normalised.
#[derive(Deserialize)]
pub(super) struct RawTargets {
    #[serde(default)]
    pub(super) services: BTreeMap<String, RawMounts>,
}

#[derive(Deserialize)]
pub(super) struct RawMounts {
    #[serde(default)]
    pub(super) volumes: Vec<RawMount>,
}

/// Takes back the doubling of `$` in an output of `config` (trap 38).
///
/// Compose doubles every dollar of the whole text, so that it could be read as a Compose file again. A single one
/// anywhere shows that this Compose does not.
pub(super) fn undouble(text: &str) -> String {
    let mut runs = text.split(|c| c != '$').map(str::len);
    if runs.all(|length| length % 2 == 0) {
        text.replace("$$", "$")
    } else {
        text.to_owned()
    }
}

/// Reads JSON without ever showing a piece of it.
pub(super) fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        // The message of serde_json may quote a value; line, column and class do not.
        let (line, column, class) = (error.line(), error.column(), error.classify());
        Failure::environment("cannot understand what `docker compose config` printed")
            .cause(format!("{class:?} error at line {line}, column {column}"))
            .hint(
                "is this Compose newer than this Rehome? `rehome --version` and `docker compose version` say",
            )
    })
}

/// Reads the output of `config --format json`, with dollars undoubled already.
pub(super) fn project(text: &str) -> Result<Project> {
    let raw: RawProject = json(text)?;
    let mut definitions = definitions(text)?;
    let name = ProjectName::new(raw.name).map_err(|error| odd(&error))?;
    let mut services = BTreeMap::new();
    for (key, raw) in raw.services {
        let name = ServiceName::new(key).map_err(|error| odd(&error))?;
        let definition = definitions.remove(name.as_str()).unwrap_or_default();
        let service = service(name.clone(), raw)?;
        services.insert(
            name,
            Service {
                definition,
                ..service
            },
        );
    }
    let mut volumes = BTreeMap::new();
    for (key, raw) in raw.volumes {
        let key = VolumeKey::new(key).map_err(|error| odd(&error))?;
        volumes.insert(key.clone(), volume(&name, key, raw.unwrap_or_default())?);
    }
    Ok(Project {
        name,
        services,
        volumes,
        secret_files: raw
            .secrets
            .into_values()
            .filter_map(|secret| secret.file)
            .collect(),
    })
}

fn odd(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::environment("cannot understand what `docker compose config` printed").because(error)
}

fn volume(project: &ProjectName, key: VolumeKey, raw: RawVolume) -> Result<Volume> {
    let name = raw.name.unwrap_or_else(|| format!("{project}_{key}"));
    let name = VolumeName::new(name).map_err(|error| odd(&error))?;
    Ok(Volume {
        key,
        name,
        external: raw.external,
        driver: raw.driver,
        driver_opts: raw.driver_opts,
        labels: raw.labels,
    })
}

fn service(name: ServiceName, raw: RawService) -> Result<Service> {
    let named = |name: &str| ServiceName::new(name).map_err(|error| odd(&error));
    let mut depends_on = BTreeMap::new();
    for (key, raw) in raw.depends_on {
        let condition = match raw.condition.as_deref() {
            Some("service_healthy") => Condition::Healthy,
            Some("service_completed_successfully") => Condition::CompletedSuccessfully,
            _ => Condition::Started,
        };
        depends_on.insert(
            named(&key)?,
            Dependency {
                condition,
                required: raw.required,
                restart: raw.restart,
            },
        );
    }
    let links = raw
        .links
        .iter()
        .map(|link| named(link.split(':').next().unwrap_or(link)));
    let namespaces_of = [&raw.network_mode, &raw.ipc, &raw.pid]
        .into_iter()
        .flatten()
        .filter_map(|mode| mode.strip_prefix("service:"))
        .map(named)
        .collect::<Result<_>>()?;
    let stop_grace_period = raw.stop_grace_period.as_deref().map(parse_span).transpose();
    Ok(Service {
        active: false,
        links: links.collect::<Result<_>>()?,
        namespaces_of,
        volumes_from: raw
            .volumes_from
            .iter()
            .map(|text| volumes_from(text))
            .collect::<Result<_>>()?,
        mounts: raw.volumes.into_iter().map(mount).collect::<Result<_>>()?,
        healthcheck: healthcheck(raw.healthcheck),
        stop_grace_period: stop_grace_period.map_err(|words| {
            Failure::environment(format!("the stop_grace_period of service {name} cannot be read"))
                .cause(words)
        })?,
        replicas: raw
            .scale
            .or(raw.deploy.and_then(|deploy| deploy.replicas))
            .unwrap_or(1),
        name,
        profiles: raw.profiles,
        image: raw.image,
        build: raw.build.is_some(),
        pull_policy: raw.pull_policy,
        container_name: raw.container_name,
        user: raw.user,
        working_dir: raw.working_dir,
        command: raw.command,
        entrypoint: raw.entrypoint,
        environment: raw.environment,
        restart: raw.restart,
        depends_on,
        tmpfs: raw.tmpfs,
        stop_signal: raw.stop_signal,
        ports: raw.ports.into_iter().map(port).collect(),
        labels: raw.labels,
        definition: String::new(),
    })
}

/// The hash of each service's definition; see [`Service::definition`].
fn definitions(text: &str) -> Result<BTreeMap<String, String>> {
    let project: serde_json::Value = json(text)?;
    let services = project["services"].as_object().into_iter().flatten();
    Ok(services
        .map(|(name, definition)| {
            let mut definition = definition.clone();
            if let Some(environment) = definition.get_mut("environment").and_then(|e| e.as_object_mut()) {
                environment.remove("COMPOSE_FILE");
            }
            let hash = blake3::hash(definition.to_string().as_bytes()).to_hex();
            (name.clone(), hash[..32].to_owned())
        })
        .collect())
}

fn healthcheck(raw: Option<RawHealthcheck>) -> Healthcheck {
    let Some(raw) = raw else {
        return Healthcheck::Unsaid;
    };
    let test = raw.test.unwrap_or_default();
    match test.first().map(String::as_str) {
        _ if raw.disable => Healthcheck::Disabled,
        Some("NONE") => Healthcheck::Disabled,
        // Only intervals: the image's own check with other times.
        None => Healthcheck::Unsaid,
        Some(_) => Healthcheck::Present,
    }
}

fn port(raw: RawPort) -> Port {
    Port {
        host_ip: raw.host_ip,
        published: raw.published.filter(|text| !text.is_empty()),
        target: raw.target,
        protocol: raw.protocol.unwrap_or_else(|| "tcp".to_owned()),
    }
}

/// `SERVICE[:ro]` or `container:NAME[:ro]`
fn volumes_from(text: &str) -> Result<VolumesFrom> {
    let (is_container, rest) = match text.strip_prefix("container:") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (source, mode) = rest.split_once(':').unwrap_or((rest, "rw"));
    let source = if is_container {
        VolumesSource::Container(source.to_owned())
    } else {
        VolumesSource::Service(ServiceName::new(source).map_err(|error| odd(&error))?)
    };
    Ok(VolumesFrom {
        source,
        read_only: mode.split(',').any(|word| word == "ro"),
    })
}

fn mount(raw: RawMount) -> Result<Mount> {
    let (selinux, create_host_path, propagation) = match raw.bind {
        Some(bind) => (bind.selinux, bind.create_host_path, bind.propagation),
        None => (None, None, None),
    };
    let source = match (raw.kind.as_str(), raw.source.filter(|text| !text.is_empty())) {
        ("volume", Some(key)) => {
            let options = raw.volume.unwrap_or(RawVolumeOptions {
                nocopy: false,
                subpath: None,
            });
            MountSource::Volume {
                key: VolumeKey::new(key).map_err(|error| odd(&error))?,
                nocopy: options.nocopy,
                subpath: options.subpath.filter(|path| !path.is_empty()),
            }
        }
        ("volume", None) => MountSource::Anonymous,
        ("bind", Some(source)) => MountSource::Bind {
            source: PathBuf::from(source),
            create_host_path,
            propagation,
        },
        ("tmpfs", _) => MountSource::Tmpfs,
        (kind, _) => MountSource::Other(kind.to_owned()),
    };
    Ok(Mount {
        source,
        written_target: raw.target.clone(),
        target: raw.target,
        read_only: raw.read_only,
        selinux: selinux.filter(|text| !text.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_38_dollars_are_undoubled_where_compose_doubled_them() {
        assert_eq!(undouble(r#"{"a":"p$$q","b":"$$$$"}"#), r#"{"a":"p$q","b":"$$"}"#);
        assert_eq!(undouble(r#"{"a":"p$q","b":"$$"}"#), r#"{"a":"p$q","b":"$$"}"#);
    }

    #[test]
    fn trap_38_an_output_that_is_not_understood_is_not_quoted() {
        let error = project(r#"{"name":"p","services":{"a":{"environment":"hunter2"}}}"#).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
