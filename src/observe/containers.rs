//! Services and their containers; the questions that only a running server can answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{ContainerSeen, Framework, Looked, Observer, ServiceSeen, VolumeMount};
use crate::compose::project::{Condition, Mount, Service, VolumesSource, would_remake};
use crate::datastore::{Kind, PostgresVersion};
use crate::engine::{Container, MountKind, same_path};
use crate::model::{ProjectName, Result, ServiceName};

/// A server that does not answer in this time is not asked again.
const ASK_LIMIT: Duration = Duration::from_secs(15);
/// A query that takes longer is ended by the server.
const SERVER_LIMIT: Duration = Duration::from_secs(10);

impl Observer<'_> {
    pub(super) async fn services(&self, all: &[Container], ask: bool) -> Result<Vec<ServiceSeen>> {
        let mut services = Vec::new();
        let has_container = |name: &&ServiceName| {
            all.iter()
                .any(|c| !c.one_off && c.service.as_ref() == Some(*name))
        };
        let made: Vec<ServiceName> = self
            .project
            .services
            .keys()
            .filter(has_container)
            .cloned()
            .collect();
        let outdated = if ask {
            self.outdated(&made, all).await?
        } else {
            BTreeSet::new()
        };
        let every = self.project.services.keys().cloned().collect();
        for name in self.project.start_order(&every)? {
            let Some(service) = self.project.services.get(&name) else {
                continue;
            };
            let own: Vec<_> = all
                .iter()
                .filter(|c| !c.one_off && c.service.as_ref() == Some(&name))
                .collect();
            let image = own.first().map_or_else(
                || image_of(service, self.project_name()),
                // What Compose made the container from: also right for images that it builds itself.
                |c| c.image_name.clone(),
            );
            let image_now = self.engine.find_image(&image).await?;
            let env_names: Vec<&str> = match own.first() {
                Some(container) => container.env.keys().map(String::as_str).collect(),
                None => image_now
                    .iter()
                    .flat_map(|i| &i.env)
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(name, _)| name)
                    .collect(),
            };
            let command = own.first().map(|c| c.command.clone()).unwrap_or_default();
            let server = Kind::of_service(&image, &command, &env_names);
            // What the next container would run: the files may name another image than the container was made from.
            let image_next = match &service.image {
                Some(named) if *named != image => self.engine.find_image(named).await?,
                _ => image_now.clone(),
            };
            let server_version = match (&image_next, server) {
                (Some(next), Some(Kind::Postgres)) if ask => self.postgres_version(next).await?,
                _ => None,
            };
            let mounts = service
                .mounts
                .iter()
                .filter_map(|m| volume_mount(m, &own))
                .collect();
            let mut containers = Vec::new();
            for container in own {
                let outdated = outdated.contains(&container.name);
                containers.push(self.container(container, server, ask, outdated).await?);
            }
            services.push(ServiceSeen {
                depends_on: waits_for(service),
                attached_to: attached_to(service),
                image,
                image_now: image_now.map(|i| i.id),
                definition: service.definition.clone(),
                stop_grace: service.stop_grace_period,
                server,
                server_version,
                mounts,
                containers,
                name,
            });
        }
        Ok(services)
    }

    /// The containers that Compose would make anew. An image that is not there yet is another one than any that runs.
    async fn outdated(&self, made: &[ServiceName], all: &[Container]) -> Result<BTreeSet<String>> {
        let mut outdated = BTreeSet::new();
        let mut instead = BTreeMap::new();
        for name in made {
            let Some(service) = self.project.services.get(name) else {
                continue;
            };
            let image = image_of(service, self.project_name());
            if self.engine.find_image(&image).await?.is_some() {
                continue;
            }
            let own = all
                .iter()
                .filter(|c| !c.one_off && c.service.as_ref() == Some(name));
            for container in own {
                outdated.insert(container.name.clone());
                instead.insert(name.clone(), container.image.clone());
            }
        }
        outdated.extend(would_remake(self.compose, self.located, made, &instead).await?);
        Ok(outdated)
    }

    async fn container(
        &self,
        container: &Container,
        server: Option<Kind>,
        ask: bool,
        outdated: bool,
    ) -> Result<ContainerSeen> {
        let mut anonymous = Vec::new();
        for mount in &container.mounts {
            if let MountKind::Volume(name) = &mount.kind
                && is_anonymous(name.as_str())
            {
                anonymous.push((name.clone(), mount.destination.clone()));
            }
        }
        let data_directory = match server {
            Some(Kind::Postgres) if ask => self.data_directory(container).await?,
            _ => None,
        };
        let frameworks = if ask && container.state.is_up() {
            self.frameworks(container).await?
        } else {
            Vec::new()
        };
        Ok(ContainerSeen {
            id: container.id.clone(),
            name: container.name.clone(),
            state: container.state,
            image: container.image.clone(),
            outdated,
            anonymous,
            data_directory,
            frameworks,
            command: container.command.clone(),
            ports: container.ports.clone(),
        })
    }

    async fn frameworks(&self, container: &Container) -> Result<Vec<Framework>> {
        let directory = container.working_dir.trim_end_matches('/');
        let mut found = Vec::new();
        for framework in Framework::ALL {
            let path = format!("{directory}/{}", framework.known_by());
            if self.engine.path_exists(&container.id, &path).await? {
                found.push(framework);
            }
        }
        Ok(found)
    }

    /// The data directory of a running server, as it says itself (trap 5); what its environment says if it cannot be
    /// asked.
    async fn data_directory(&self, container: &Container) -> Result<Option<String>> {
        let configured = container.env("PGDATA").map(str::to_owned);
        if !container.state.is_up() {
            return Ok(configured);
        }
        Ok(match self.ask_postgres(container, "SHOW data_directory").await {
            Ok(answer) if answer.starts_with('/') => Some(answer),
            // No psql, no such user, a password wanted: the environment has to do.
            Ok(_) => configured,
            Err(why) => {
                tracing::debug!(why, container = container.name, "could not ask PostgreSQL");
                configured
            }
        })
    }

    /// What a running server answers to a query; otherwise why it does not. The server itself gives up first, so that
    /// nothing of the question is left behind.
    pub(super) async fn ask_postgres(&self, container: &Container, query: &str) -> Looked<String> {
        let user = container.env("POSTGRES_USER").unwrap_or("postgres");
        let limit = format!("SET statement_timeout TO {}", SERVER_LIMIT.as_millis());
        let command = [
            "psql", "-U", user, "-d", "postgres", "-w", "-qtAX", "-c", &limit, "-c", query,
        ]
        .map(str::to_owned);
        let asked = self
            .engine
            .exec(&container.id, &command, None, ASK_LIMIT, &mut |_| {})
            .await;
        match asked {
            Ok(output) if output.code == 0 => Ok(output.stdout.trim().to_owned()),
            Ok(output) => {
                let said =
                    [&output.stderr, &output.stdout].map(|text| text.lines().next().unwrap_or_default());
                let said = said.into_iter().find(|line| !line.is_empty());
                Err(said.map_or_else(|| format!("psql ended with {}", output.code), str::to_owned))
            }
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// The major version of PostgreSQL in an image: what it says of itself, or what its server prints.
    async fn postgres_version(&self, image: &crate::engine::Image) -> Result<Option<String>> {
        let declared = image.env.iter().find_map(|pair| pair.strip_prefix("PG_MAJOR="));
        if let Some(version) = declared.and_then(PostgresVersion::parse) {
            return Ok(Some(version.to_string()));
        }
        let asked = self
            .engine
            .ask_image(
                image.id.as_str(),
                &self.run,
                self.project_name(),
                &["postgres", "--version"],
            )
            .await;
        match asked {
            Ok(text) => Ok(PostgresVersion::parse(&text).map(|v| v.to_string())),
            Err(failure) => {
                tracing::debug!(%failure, "could not ask the image for its PostgreSQL version");
                Ok(None)
            }
        }
    }
}

/// What a service waits for: what the files say, and links and shared containers that older versions of Compose do not
/// list as dependencies.
fn waits_for(service: &Service) -> Vec<(ServiceName, Condition)> {
    let condition = |name: &ServiceName| {
        service
            .depends_on
            .get(name)
            .map_or(Condition::Started, |d| d.condition)
    };
    service
        .dependencies()
        .into_iter()
        .map(|name| (name.clone(), condition(name)))
        .collect()
}

/// The services whose containers it lives in or with.
fn attached_to(service: &Service) -> Vec<ServiceName> {
    let taken_from = service.volumes_from.iter().filter_map(|from| match &from.source {
        VolumesSource::Service(name) => Some(name),
        VolumesSource::Container(_) => None,
    });
    let all: BTreeSet<_> = service.namespaces_of.iter().chain(taken_from).cloned().collect();
    all.into_iter().collect()
}

/// The image that its containers are made from; Compose names one that it builds after project and service.
pub(super) fn image_of(service: &Service, project: &ProjectName) -> String {
    service
        .image
        .clone()
        .unwrap_or_else(|| format!("{project}-{}", service.name))
}

fn volume_mount(mount: &Mount, containers: &[&Container]) -> Option<VolumeMount> {
    let volume = mount.volume()?.clone();
    // Not as the files say: an old engine drops it without a word, and then it is not missed on the new home either.
    let mut there = containers.iter().flat_map(|c| &c.mounts);
    let there = there.find(|m| same_path(&m.destination, &mount.target));
    Some(VolumeMount {
        volume,
        target: mount.target.clone(),
        read_only: mount.read_only,
        subpath: there.and_then(|m| m.subpath.clone()),
    })
}

/// Docker names anonymous volumes by 64 hex digits.
pub(super) fn is_anonymous(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}
