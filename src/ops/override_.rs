//! `override` and `env`: prints or writes the override without moving any data, says whether the stack runs with it,
//! and gives the `COMPOSE_FILE` setting that keeps it active.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::App;
use super::app::entropy;
use crate::compose::override_file::Destination;
use crate::compose::{Dotenv, Override, Style, compose_file_with, compose_file_without, project};
use crate::engine::MountKind;
use crate::model::{Failure, Home, Result, ServiceName, config, shell_word};
use crate::observe::{Depth, World};

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct OverrideRequest {
    /// `--to`; the configuration's block root if `None`.
    pub to: Option<PathBuf>,
    /// `--style`.
    pub style: Style,
}

/// The `COMPOSE_FILE` setting.
#[derive(Debug, Clone, Serialize)]
pub struct EnvReport {
    /// Its value; `None` if Compose finds the files by itself.
    pub compose_file: Option<String>,
    /// For a shell that may be anywhere: absolute.
    pub export: String,
    /// The `.env` that it belongs into.
    pub dotenv: PathBuf,
    /// Whether `.env` has it already.
    pub current: bool,
}

/// The override: what is there stays, and volumes that still live in Docker's own directory are pointed at `to`.
///
/// # Errors
/// When nobody says where to, or a volume cannot be expressed.
pub async fn override_content(app: &App, request: &OverrideRequest) -> Result<Override> {
    let older = existing(app)?;
    let root = request.to.as_ref().or(app.settings.block_root.as_ref());
    let base = project::load(&app.compose, &app.base_files()).await?;
    let settings = &app.settings;
    let maps = settings.maps();
    let mut wanted = BTreeMap::new();
    for key in base.volumes.keys() {
        let chosen = settings.volumes.is_empty() || settings.volumes.contains_key(key);
        if !chosen || settings.exclude.contains(key) || older.keys().contains(key) {
            continue;
        }
        let Some(root) = root else {
            return Err(
                Failure::usage("where to? neither --to nor `block.root` in rehome.yml says it")
                    .hint("rehome override --to /mnt/DIRECTORY"),
            );
        };
        let sub = maps
            .get(key)
            .cloned()
            .unwrap_or_else(|| config::default_subdir(key).into());
        wanted.insert(key.clone(), Destination::Directory(root.join(sub)));
    }
    let [first, second, ..] = entropy();
    let suffix = u16::from_le_bytes([first, second]);
    let content = Override::build(&base, request.style, suffix, &wanted)?.over(&older);
    if content.is_empty() {
        return Err(Failure::refused(format!(
            "there is nothing to write into {}",
            settings.override_path.display()
        ))
        .cause("no volume of the project is to live on the block volume"));
    }
    Ok(content)
}

fn existing(app: &App) -> Result<Override> {
    let found = Override::read(&app.settings.override_path, &app.project.name)?;
    Ok(found.map_or_else(
        || Override::empty(app.project.name.clone()),
        |found| found.content,
    ))
}

/// Writes the override and `COMPOSE_FILE`. Refused while a volume that it would point elsewhere holds data: that is a
/// move.
///
/// # Errors
/// As [`override_content`], and when data would be left behind.
pub async fn override_write(app: &App, request: &OverrideRequest) -> Result<PathBuf> {
    let content = override_content(app, request).await?;
    let path = app.settings.override_path.clone();
    let _lock = app.lock()?;
    app.no_unfinished_run()?;
    for key in content.keys() {
        let Some(now) = app.project.volumes.get(key) else {
            continue;
        };
        if content
            .volumes
            .get(key)
            .is_some_and(|definition| definition.name == now.name)
        {
            continue;
        }
        let found = app.engine.find_volume(&now.name).await?;
        if !now.external && found.is_some_and(|v| v.home() == Home::Volume) {
            return Err(Failure::refused(format!(
                "volume `{key}` exists already and its data would be left behind"
            ))
            .cause(format!("it is {}, in Docker's own directory", now.name))
            .data("nothing was changed")
            .hint("move it with its data: rehome move")
            .hint(format!("or let it start empty: rehome move --without-data {key}")));
        }
    }
    content.write(&path)?;
    write_env(app, Some(&compose_file_with(&app.located, &path)?))?;
    Ok(path)
}

fn write_env(app: &App, value: Option<&str>) -> Result<()> {
    let mut dotenv = Dotenv::read(&app.located.dotenv)?;
    match value {
        Some(value) => dotenv.set("COMPOSE_FILE", value)?,
        None => dotenv.unset("COMPOSE_FILE"),
    }
    if dotenv.to_text().is_empty() && !app.located.dotenv.exists() {
        return Ok(());
    }
    dotenv.write(&app.located.dotenv)
}

/// The `COMPOSE_FILE` setting for the project with its override, if it has one; written into `.env` if `write`.
///
/// # Errors
/// When `.env` cannot be read or written.
pub fn env_setting(app: &App, write: bool) -> Result<EnvReport> {
    let path = &app.settings.override_path;
    let ours = matches!(Override::read(path, &app.project.name), Ok(Some(_)));
    let (files, value) = if ours {
        (
            app.located.with_file(path),
            Some(compose_file_with(&app.located, path)?),
        )
    } else {
        (app.located.clone(), compose_file_without(&app.located, path)?)
    };
    if write {
        let _lock = app.lock()?;
        app.no_unfinished_run()?;
        write_env(app, value.as_deref())?;
    }
    let absolute: Vec<_> = files.files.iter().map(|f| f.display().to_string()).collect();
    Ok(EnvReport {
        current: Dotenv::read(&app.located.dotenv)?.get("COMPOSE_FILE", &app.options.project.env) == value,
        compose_file: value,
        export: format!(
            "export COMPOSE_FILE={}",
            shell_word(&absolute.join(&files.separator))
        ),
        dotenv: app.located.dotenv.clone(),
    })
}

/// Whether the running stack uses the override.
#[derive(Debug, Default)]
pub struct OverrideCheck {
    /// What does not; empty when it does.
    pub findings: Vec<String>,
    /// The services whose containers are to be made anew.
    pub services: BTreeSet<ServiceName>,
}

/// Whether the running stack uses the override.
///
/// # Errors
/// When the engine or Compose does not answer.
pub async fn override_check(app: &App) -> Result<OverrideCheck> {
    let path = &app.settings.override_path;
    let mut findings = Vec::new();
    if !path.exists() {
        findings.push(format!("there is no override at {}", path.display()));
        return Ok(OverrideCheck {
            findings,
            ..OverrideCheck::default()
        });
    }
    if !app.located.files.contains(path) {
        findings.push(format!("the project is read without {}", path.display()));
    }
    let depth = Depth {
        scan: Some(Vec::new()),
        ..Depth::default()
    };
    let world = app.look(&app.looking(), &depth).await?;
    let strays = strays(app, &world).await?;
    findings.extend(strays.iter().map(|(_, finding)| finding.clone()));
    let services = strays.into_iter().map(|(service, _)| service).collect();
    Ok(OverrideCheck { findings, services })
}

/// Containers that mount another volume than the files say.
pub(super) async fn strays(app: &App, world: &World) -> Result<Vec<(ServiceName, String)>> {
    let containers = app.engine.project_containers(&world.project).await?;
    let mut findings = Vec::new();
    for service in &world.services {
        for mount in &service.mounts {
            let Some(volume) = world.volume(&mount.volume) else {
                continue;
            };
            for container in containers
                .iter()
                .filter(|c| !c.one_off && c.service.as_ref() == Some(&service.name))
            {
                let target = mount.target.trim_end_matches('/');
                let found = container
                    .mounts
                    .iter()
                    .find(|m| m.destination.trim_end_matches('/') == target);
                let finding = match found.map(|m| &m.kind) {
                    Some(MountKind::Volume(name)) if *name == volume.name => continue,
                    Some(MountKind::Volume(name)) => format!(
                        "container {} mounts {name} at {target}, and the files say {}",
                        container.name, volume.name
                    ),
                    _ => format!(
                        "container {} does not mount {} at {target}",
                        container.name, volume.name
                    ),
                };
                findings.push((service.name.clone(), finding));
            }
        }
    }
    Ok(findings)
}
