//! The resolved project, read from `docker compose config --format json`.
//!
//! Only what Rehome needs is typed. The output holds every secret of the project: it is never logged, never written,
//! and never fed back to Compose. Compose doubles each `$` in it, which is taken back here (trap 38).
//! <https://docs.docker.com/reference/cli/docker/compose/config/>

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Failure, ProjectName, Result, ServiceName, VolumeKey, VolumeName, parse_span};

/// What a dependent waits for. <https://docs.docker.com/reference/compose-file/services/#depends_on>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It was started.
    Started,
    /// Its healthcheck says so.
    Healthy,
    /// It ended with exit code 0.
    Completed,
}

/// A resolved project.
#[derive(Debug, Clone)]
pub struct Project {
    name: ProjectName,
    services: BTreeMap<ServiceName, Service>,
    volumes: Vec<Volume>,
}

/// A service of a resolved project.
#[derive(Debug, Clone)]
pub struct Service {
    /// The image, if it names one.
    pub image: Option<String>,
    /// `stop_grace_period`.
    pub stop_grace: Option<Duration>,
    /// `ports` are published.
    pub has_ports: bool,
    /// What it depends on and what it waits for; links, shared namespaces and `volumes_from` included.
    pub depends_on: BTreeMap<ServiceName, Condition>,
    /// Services whose container it lives in or with.
    pub attached_to: BTreeSet<ServiceName>,
    /// What it mounts.
    pub mounts: Vec<Mount>,
    /// A hash of its whole definition, to see whether the files were changed meanwhile. `COMPOSE_FILE` in its
    /// environment is left out: it gets there through `env_file: .env`, and is what a move sets itself.
    pub definition: String,
}

/// A mount of a service, as the files have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The volume's key; `None` for binds, tmpfs and anonymous volumes.
    pub volume: Option<VolumeKey>,
    /// The path in the container, in the spelling of the files.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
    /// A directory inside of the volume.
    pub subpath: Option<String>,
}

/// A named volume of a resolved project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its key.
    pub key: VolumeKey,
    /// Its full name.
    pub name: VolumeName,
    /// It belongs to somebody else.
    pub external: bool,
}

#[derive(Deserialize)]
struct RawProject {
    name: String,
    #[serde(default)]
    services: BTreeMap<String, RawService>,
    #[serde(default)]
    volumes: Option<BTreeMap<String, Option<RawVolume>>>,
}

#[derive(Deserialize)]
struct RawService {
    image: Option<String>,
    stop_grace_period: Option<String>,
    #[serde(default)]
    depends_on: Option<BTreeMap<String, RawDependency>>,
    #[serde(default)]
    network_mode: Option<String>,
    #[serde(default)]
    ipc: Option<String>,
    #[serde(default)]
    pid: Option<String>,
    #[serde(default)]
    links: Option<Vec<String>>,
    #[serde(default)]
    volumes_from: Option<Vec<String>>,
    #[serde(default)]
    volumes: Option<Vec<RawMount>>,
    #[serde(default)]
    ports: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct RawDependency {
    #[serde(default)]
    condition: String,
}

#[derive(Deserialize)]
struct RawMount {
    #[serde(rename = "type")]
    kind: String,
    source: Option<String>,
    target: String,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    volume: Option<RawVolumeOptions>,
}

#[derive(Deserialize)]
struct RawVolumeOptions {
    subpath: Option<String>,
}

#[derive(Deserialize)]
struct RawVolume {
    name: Option<String>,
    #[serde(default)]
    external: bool,
}

impl Project {
    /// Reads Compose's JSON.
    ///
    /// # Errors
    /// When it is not what Compose prints, or names what Rehome cannot handle; never with a value of the environment.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let unreadable = || Failure::environment("cannot understand what `docker compose config` printed");
        // The position alone: the text around it may be a secret.
        let mut value: Value = serde_json::from_slice(json)
            .map_err(|e| unreadable().cause(format!("line {}, column {}", e.line(), e.column())))?;
        single_dollars(&mut value);
        let definitions = definitions(&value);
        let raw: RawProject = serde_json::from_value(value).map_err(|_| unreadable())?;
        let strange = |e: crate::model::ParseNameError| unreadable().because(&e);
        let mut services = BTreeMap::new();
        for (name, service) in raw.services {
            let name = ServiceName::new(name).map_err(strange)?;
            let mut service = Service::from_raw(&name, service)?;
            service.definition = definitions.get(name.as_str()).cloned().unwrap_or_default();
            services.insert(name, service);
        }
        let mut volumes = Vec::new();
        for (key, volume) in raw.volumes.unwrap_or_default() {
            let volume = volume.unwrap_or(RawVolume {
                name: None,
                external: false,
            });
            let name = volume.name.unwrap_or_else(|| format!("{}_{key}", raw.name));
            volumes.push(Volume {
                key: VolumeKey::new(key).map_err(strange)?,
                name: VolumeName::new(name).map_err(strange)?,
                external: volume.external,
            });
        }
        let project = Self {
            name: ProjectName::new(raw.name).map_err(strange)?,
            services,
            volumes,
        };
        project.start_order()?;
        Ok(project)
    }

    /// The resolved name.
    #[must_use]
    pub fn name(&self) -> &ProjectName {
        &self.name
    }

    /// One service.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name)
    }

    /// Every service, by name.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &Service)> {
        self.services.iter()
    }

    /// The named volumes that services use.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// One volume.
    #[must_use]
    pub fn volume(&self, key: &VolumeKey) -> Option<&Volume> {
        self.volumes.iter().find(|v| v.key == *key)
    }

    /// What a service depends on, and what it waits for.
    #[must_use]
    pub fn waits_for(&self, name: &ServiceName) -> Vec<(ServiceName, Condition)> {
        self.services
            .get(name)
            .map(|s| s.depends_on.clone().into_iter().collect())
            .unwrap_or_default()
    }

    /// The services whose container a service lives in or with.
    #[must_use]
    pub fn attached_to(&self, name: &ServiceName) -> Vec<ServiceName> {
        self.services
            .get(name)
            .map(|s| s.attached_to.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Every service, dependencies first; by name where nothing else decides.
    ///
    /// # Errors
    /// When services depend on each other in a circle.
    pub fn start_order(&self) -> Result<Vec<ServiceName>> {
        let mut order: Vec<ServiceName> = Vec::new();
        let mut left: BTreeSet<&ServiceName> = self.services.keys().collect();
        while !left.is_empty() {
            let ready: Vec<_> = left
                .iter()
                .copied()
                .filter(|name| {
                    self.services[*name]
                        .depends_on
                        .keys()
                        .all(|on| !left.contains(on) || on == *name)
                })
                .collect();
            if ready.is_empty() {
                let names: Vec<_> = left.iter().map(|n| n.as_str()).collect();
                return Err(Failure::environment(format!(
                    "services depend on each other in a circle: {}",
                    names.join(", ")
                )));
            }
            for name in ready {
                left.remove(name);
                order.push(name.clone());
            }
        }
        Ok(order)
    }
}

impl Service {
    fn from_raw(name: &ServiceName, raw: RawService) -> Result<Self> {
        let strange = |e: crate::model::ParseNameError| {
            Failure::environment(format!("service `{name}` names something strange")).because(&e)
        };
        let mut depends_on = BTreeMap::new();
        for (on, dependency) in raw.depends_on.unwrap_or_default() {
            let condition = match dependency.condition.as_str() {
                "service_healthy" => Condition::Healthy,
                "service_completed_successfully" => Condition::Completed,
                _ => Condition::Started,
            };
            depends_on.insert(ServiceName::new(on).map_err(strange)?, condition);
        }
        let mut attached_to = BTreeSet::new();
        for mode in [&raw.network_mode, &raw.ipc, &raw.pid].into_iter().flatten() {
            if let Some(other) = mode.strip_prefix("service:") {
                attached_to.insert(ServiceName::new(other).map_err(strange)?);
            }
        }
        for from in raw.volumes_from.unwrap_or_default() {
            if let Some(other) = from.strip_prefix("container:") {
                return Err(Failure::refused(format!(
                    "service `{name}` takes volumes from container {other}, which is outside of the project"
                ))
                .data("nothing was changed"));
            }
            attached_to.insert(ServiceName::new(from.split(':').next().unwrap_or(&from)).map_err(strange)?);
        }
        // Compose adds these to `depends_on` by itself; older versions did not for all of them.
        let linked = raw.links.unwrap_or_default();
        let linked = linked.iter().map(|l| l.split(':').next().unwrap_or(l));
        for other in linked
            .map(|l| ServiceName::new(l).map_err(strange))
            .collect::<Result<Vec<_>>>()?
        {
            depends_on.entry(other).or_insert(Condition::Started);
        }
        for other in &attached_to {
            depends_on.entry(other.clone()).or_insert(Condition::Started);
        }
        let mut mounts = Vec::new();
        for mount in raw.volumes.unwrap_or_default() {
            let volume = match (mount.kind.as_str(), mount.source) {
                ("volume", Some(source)) => Some(VolumeKey::new(source).map_err(strange)?),
                _ => None,
            };
            mounts.push(Mount {
                volume,
                target: mount.target,
                read_only: mount.read_only,
                subpath: mount.volume.and_then(|v| v.subpath),
            });
        }
        same_targets(name, &mounts)?;
        let stop_grace = raw
            .stop_grace_period
            .map(|text| parse_span(&text))
            .transpose()
            .map_err(|e| {
                Failure::environment(format!("service `{name}` has a strange stop_grace_period")).cause(e)
            })?;
        Ok(Self {
            image: raw.image,
            stop_grace,
            has_ports: raw.ports.is_some_and(|p| !p.is_empty()),
            depends_on,
            attached_to,
            mounts,
            definition: String::new(),
        })
    }

    /// The image that its containers are made from; Compose names one that it builds after project and service.
    #[must_use]
    pub fn image_name(&self, service: &ServiceName, project: &ProjectName) -> String {
        self.image
            .clone()
            .unwrap_or_else(|| format!("{project}-{service}"))
    }

    /// Its mounts of named volumes: key, target, read-only.
    pub fn volume_mounts(&self) -> impl Iterator<Item = (&VolumeKey, &str, bool)> {
        self.mounts
            .iter()
            .filter_map(|m| m.volume.as_ref().map(|v| (v, m.target.as_str(), m.read_only)))
    }
}

/// `/x` and `/x/` are one target to Compose in short form and two in long form (trap 39): what is mounted there then
/// depends on the order of a list.
fn same_targets(service: &ServiceName, mounts: &[Mount]) -> Result<()> {
    let plain = |t: &str| t.trim_end_matches('/').to_owned();
    for (i, a) in mounts.iter().enumerate() {
        for b in &mounts[i + 1..] {
            if plain(&a.target) == plain(&b.target) {
                return Err(Failure::refused(format!(
                    "service `{service}` mounts two things at {}: as {:?} and as {:?}",
                    plain(&a.target),
                    a.target,
                    b.target
                ))
                .cause("which of them wins depends on how Compose reads the spelling")
                .data("nothing was changed")
                .hint("leave one of them in the Compose file"));
            }
        }
        if a.target.contains('\\') || a.target.get(1..2) == Some(":") {
            return Err(Failure::refused(format!(
                "service `{service}` mounts something at {:?}, which is no path",
                a.target
            ))
            .cause("a volume with a one-letter name in short form is read as a Windows path")
            .data("nothing was changed")
            .hint("write that mount in long form: `type: volume`, `source`, `target`"));
        }
    }
    Ok(())
}

fn definitions(project: &Value) -> BTreeMap<String, String> {
    let services = project["services"].as_object().into_iter().flatten();
    services
        .map(|(name, definition)| {
            let mut definition = definition.clone();
            if let Some(environment) = definition.get_mut("environment").and_then(Value::as_object_mut) {
                environment.remove("COMPOSE_FILE");
            }
            (
                name.clone(),
                blake3::hash(definition.to_string().as_bytes()).to_hex()[..32].to_owned(),
            )
        })
        .collect()
}

/// Compose doubles every `$` in what it prints, so that it could be read as a Compose file again.
fn single_dollars(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("$$") => *text = text.replace("$$", "$"),
        Value::Array(items) => items.iter_mut().for_each(single_dollars),
        Value::Object(map) => map.values_mut().for_each(single_dollars),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(services: &str) -> Result<Project> {
        Project::parse(
            format!(r#"{{"name":"p","services":{services},"volumes":{{"data":{{"name":"p_data"}}}}}}"#)
                .as_bytes(),
        )
    }

    fn name(s: &str) -> ServiceName {
        ServiceName::new(s).unwrap()
    }

    #[test]
    fn dependencies_come_first_and_circles_are_refused() {
        let project = parse(
            r#"{"web":{"depends_on":{"api":{"condition":"service_started"}}},
                "api":{"depends_on":{"db":{"condition":"service_healthy"}}},
                "db":{}, "worker":{"network_mode":"service:api"}, "old":{"links":["db:database"]}}"#,
        )
        .unwrap();
        let order: Vec<_> = project
            .start_order()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(order, ["db", "api", "old", "web", "worker"]);
        assert_eq!(project.attached_to(&name("worker")), [name("api")]);
        assert_eq!(
            project.waits_for(&name("api")),
            [(name("db"), Condition::Healthy)]
        );
        let circle = parse(r#"{"a":{"depends_on":{"b":{}}},"b":{"depends_on":{"a":{}}}}"#).unwrap_err();
        assert_eq!(circle.what, "services depend on each other in a circle: a, b");
    }

    #[test]
    fn trap_38_doubled_dollars_are_taken_back_and_nothing_secret_is_in_an_error() {
        let project = parse(r#"{"a":{"image":"x$$y","environment":{"P":"s$$ecret"}}}"#).unwrap();
        assert_eq!(project.service(&name("a")).unwrap().image.as_deref(), Some("x$y"));
        let failure = Project::parse(br#"{"name":"p","services":{"a":{"volumes":"hunter2"}}}"#).unwrap_err();
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        let failure =
            Project::parse(br#"{"name":"p","services":{"a":{"environment":{"P":"hunter2"}}"#).unwrap_err();
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }

    #[test]
    fn trap_39_one_target_in_two_spellings_is_refused() {
        let mount = |t: &str| format!(r#"{{"type":"volume","source":"data","target":"{t}"}}"#);
        let both = format!(r#"{{"a":{{"volumes":[{},{}]}}}}"#, mount("/x"), mount("/x/"));
        assert_eq!(
            parse(&both).unwrap_err().what,
            "service `a` mounts two things at /x: as \"/x\" and as \"/x/\""
        );
        let windows = format!(r#"{{"a":{{"volumes":[{}]}}}}"#, mount("v:/v"));
        assert!(parse(&windows).unwrap_err().what.contains("which is no path"));
    }

    #[test]
    fn trap_40_a_volume_used_twice_by_one_service_is_two_mounts() {
        let project = parse(
            r#"{"a":{"volumes":[{"type":"volume","source":"data","target":"/data"},
                {"type":"volume","source":"data","target":"/again","read_only":true,"volume":{"subpath":"x"}},
                {"type":"volume","target":"/anonymous"},{"type":"bind","source":"/etc","target":"/etc2"}]}}"#,
        )
        .unwrap();
        let service = project.service(&name("a")).unwrap();
        let mounts: Vec<_> = service
            .volume_mounts()
            .map(|(v, t, ro)| (v.as_str(), t, ro))
            .collect();
        assert_eq!(mounts, [("data", "/data", false), ("data", "/again", true)]);
        assert_eq!(service.mounts[1].subpath.as_deref(), Some("x"));
    }
}
