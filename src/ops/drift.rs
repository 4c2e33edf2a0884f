//! Drift: the stack runs with other Compose files than the project is read with (trap 29). Said in one line by every
//! command that opens a project.

use std::collections::BTreeMap;

use super::App;
use crate::compose::project::would_remake;
use crate::compose::{Dotenv, Override};
use crate::engine::{Container, MountKind, same_path};
use crate::model::{Result, ServiceName};
use crate::plan::doctor::made_with_others;

/// How the stack and the files differ, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// The stack runs with the override, and plain Compose in this directory would start it without.
    OverrideLost(String),
    /// Containers were made with other files.
    OtherFiles(String),
}

impl Drift {
    /// The line.
    #[must_use]
    pub fn line(&self) -> &str {
        match self {
            Self::OverrideLost(line) | Self::OtherFiles(line) => line,
        }
    }
}

/// Looks for it.
///
/// # Errors
/// When the engine does not answer, or `.env` cannot be read.
pub async fn drift(app: &App) -> Result<Option<Drift>> {
    let path = &app.settings.override_path;
    // One that cannot be read is told by those who need it.
    let ours = Override::read(path, &app.project.name).ok().flatten();
    let concerns = |name: &ServiceName| {
        let service = app.project.services.get(name);
        let mut volumes = service.iter().flat_map(|s| &s.mounts).filter_map(|m| m.volume());
        match &ours {
            Some(ours) => volumes.any(|key| ours.content.keys().contains(key)),
            None => volumes.next().is_some(),
        }
    };
    let containers = app.engine.project_containers(&app.project.name).await?;
    let up = containers.iter().filter(|c| !c.one_off && c.state.is_up());
    let made: Vec<_> = up
        .filter_map(|c| Some((c.service.as_ref()?, c.name.as_str(), c.config_files.as_slice())))
        .filter(|(service, ..)| concerns(service))
        .collect();
    if ours.is_some() && made.iter().any(|(_, _, with)| with.contains(path)) && !named(app)? {
        return Ok(Some(Drift::OverrideLost(format!(
            "the stack runs with {}, and COMPOSE_FILE in {} does not name it: plain `docker compose up` would start it on its old homes; rehome env --write",
            path.display(),
            app.located.dotenv.display()
        ))));
    }
    let mut others = made_with_others(&app.located.files, made.into_iter());
    if others.is_empty() {
        return Ok(None);
    }
    // A container keeps the note of its files until it is made anew: what matters is whether these files would do that.
    let mut services: Vec<ServiceName> = others.iter().map(|(service, ..)| (*service).clone()).collect();
    services.dedup();
    let elsewhere = |name: &str| {
        let mut same = containers.iter().filter(|c| c.name == name);
        same.any(|c| other_volume(app, c).is_some())
    };
    if let Ok(remade) = would_remake(&app.compose, &app.located, &services, &BTreeMap::new()).await {
        others.retain(|(_, name, _)| remade.contains(*name) || elsewhere(name));
    }
    let Some((_, _, with)) = others.first() else {
        return Ok(None);
    };
    let with: Vec<_> = with.iter().map(|file| file.display().to_string()).collect();
    let mut services: Vec<&str> = others.iter().map(|(service, ..)| service.as_str()).collect();
    services.dedup();
    let mend = match others.iter().any(|(_, name, _)| elsewhere(name)) {
        // To start it with these files would be to change the data that it works on.
        true => ", and its data is elsewhere than these say; rehome status".to_owned(),
        false => format!("; rehome up -d {}", services.join(" ")),
    };
    Ok(Some(Drift::OtherFiles(format!(
        "{} {} made with other Compose files than are read here ({}){mend}",
        services.join(", "),
        if services.len() == 1 { "was" } else { "were" },
        with.join(", "),
    ))))
}

/// A volume that a container has where the files say another, in words.
pub(super) fn other_volume(app: &App, container: &Container) -> Option<String> {
    let service = container
        .service
        .as_ref()
        .and_then(|s| app.project.services.get(s))?;
    service.mounts.iter().find_map(|mount| {
        let wanted = mount.volume().and_then(|key| app.project.volumes.get(key))?;
        let there = container
            .mounts
            .iter()
            .find(|m| same_path(&m.destination, &mount.target))?;
        match &there.kind {
            MountKind::Volume(name) if *name != wanted.name => Some(format!(
                "container {} has {name} at {}, and the files say {}",
                container.name, mount.target, wanted.name
            )),
            _ => None,
        }
    })
}

/// Whether a plain `docker compose` in the project's directory would read the override.
fn named(app: &App) -> Result<bool> {
    let Some(name) = app.settings.override_path.file_name() else {
        return Ok(true);
    };
    let said = Dotenv::read(&app.located.dotenv)?.get("COMPOSE_FILE", &app.options.project.env);
    let names = said
        .iter()
        .flat_map(|list| list.split(app.located.separator.as_str()));
    Ok(names
        .map(std::path::Path::new)
        .any(|file| file.file_name() == Some(name)))
}
