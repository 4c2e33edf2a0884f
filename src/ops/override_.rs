//! `override` and `env`: prints or writes the override without moving any data, says whether the stack runs with it,
//! and gives the `COMPOSE_FILE` setting that keeps it active.

use std::path::PathBuf;

use serde::Serialize;

use super::App;
use super::app::entropy;
use crate::compose::write_project_file;
use crate::compose::{BindMount, Dotenv, Entry, Place, is_our_override, parse, render_binds, render_volumes};
use crate::engine::MountKind;
use crate::model::{Failure, Home, Result, VolumeName};
use crate::observe::{Depth, World};

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct OverrideRequest {
    /// `--to`; the configuration's block root if `None`.
    pub to: Option<PathBuf>,
    /// `--style bind`.
    pub bind: bool,
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

/// The text of the override: what is there stays, and volumes that still live in Docker's own directory are pointed at
/// `to`.
///
/// # Errors
/// When nobody says where to, or a volume cannot be expressed.
pub async fn override_text(app: &App, request: &OverrideRequest) -> Result<String> {
    let path = &app.settings.override_path;
    let mut entries = existing(app)?;
    let root = request.to.as_ref().or(app.settings.block_root.as_ref());
    let base = app.compose.config(&app.base_files()).await?;
    let mut binds = Vec::new();
    let suffix = entropy();
    for volume in base.volumes() {
        let chosen = app.settings.volumes.is_empty() || app.settings.volumes.contains_key(&volume.key);
        if !chosen
            || app.settings.exclude.contains(&volume.key)
            || entries.iter().any(|e| e.key == volume.key)
        {
            continue;
        }
        let Some(root) = root else {
            return Err(
                Failure::usage("where to? neither --to nor `block.root` in rehome.yml says it")
                    .hint("rehome override --to /mnt/DIRECTORY"),
            );
        };
        let sub = app.settings.maps().get(&volume.key).cloned();
        let dir = root.join(sub.unwrap_or_else(|| crate::model::config::default_subdir(&volume.key).into()));
        if request.bind {
            for (service, definition) in base.services() {
                for mount in definition
                    .mounts
                    .iter()
                    .filter(|m| m.volume.as_ref() == Some(&volume.key))
                {
                    binds.push(BindMount {
                        service: service.clone(),
                        source: mount.subpath.as_ref().map_or(dir.clone(), |sub| dir.join(sub)),
                        target: mount.target.clone(),
                        read_only: mount.read_only,
                    });
                }
            }
            continue;
        }
        if volume.external {
            return Err(Failure::refused(format!(
                "volume `{}` is external: Compose does not let an override define it",
                volume.key
            ))
            .hint(format!(
                "leave it out (`block.exclude: [{}]`), or use --style bind",
                volume.key
            )));
        }
        let name = format!(
            "{}_{}_block_{:02x}{:02x}",
            app.project.name(),
            volume.key,
            suffix[0],
            suffix[1]
        );
        entries.push(Entry {
            key: volume.key.clone(),
            name: VolumeName::new(name)
                .map_err(|e| Failure::bug("a new volume name that is none").because(&e))?,
            place: Place::Directory(dir),
        });
    }
    if request.bind {
        binds.sort_by(|a, b| (&a.service, &a.target).cmp(&(&b.service, &b.target)));
        return Ok(render_binds(app.project.name(), &binds));
    }
    if entries.is_empty() {
        return Err(
            Failure::refused(format!("there is nothing to write into {}", path.display()))
                .cause("no volume of the project is to live on the block volume"),
        );
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(render_volumes(app.project.name(), &entries))
}

fn existing(app: &App) -> Result<Vec<Entry>> {
    let path = &app.settings.override_path;
    match std::fs::read_to_string(path) {
        Ok(text) if is_our_override(&text) => parse(&text, path),
        Ok(_) => Err(
            Failure::refused(format!("{} exists and was not written by Rehome", path.display()))
                .data("nothing was changed")
                .hint("name another file with `block.override` in rehome.yml, or move this one away"),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::environment(format!("cannot read {}", path.display())).because(&error)),
    }
}

/// Writes the override and `COMPOSE_FILE`. Refused while a volume that it would point elsewhere holds data: that is a
/// move.
///
/// # Errors
/// As [`override_text`], and when data would be left behind.
pub async fn override_write(app: &App, request: &OverrideRequest) -> Result<PathBuf> {
    let text = override_text(app, request).await?;
    let path = app.settings.override_path.clone();
    let _lock = app.lock()?;
    app.no_unfinished_run()?;
    if !request.bind {
        for entry in parse(&text, &path)? {
            let now = app.project.volume(&entry.key).map(|v| v.name.clone());
            if now.as_ref() == Some(&entry.name) {
                continue;
            }
            let Some(name) = now else { continue };
            if app
                .engine
                .find_volume(&name)
                .await?
                .is_some_and(|v| v.home() == Home::Volume)
            {
                return Err(Failure::refused(format!(
                    "volume `{}` exists already and its data would be left behind",
                    entry.key
                ))
                .cause(format!("it is {name}, in Docker's own directory"))
                .data("nothing was changed")
                .hint("move it with its data: rehome move")
                .hint(format!(
                    "or let it start empty: rehome move --without-data {}",
                    entry.key
                )));
            }
        }
    }
    write_project_file(&path, text.as_bytes())?;
    write_env(app, &app.located.with_file(&path).compose_file_value())?;
    Ok(path)
}

fn write_env(app: &App, value: &Option<String>) -> Result<()> {
    let mut dotenv = Dotenv::read(&app.located.dotenv)?;
    match value {
        Some(value) => dotenv.set("COMPOSE_FILE", value),
        None => dotenv.unset("COMPOSE_FILE"),
    }
    if dotenv.is_empty() && !app.located.dotenv.exists() {
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
    let ours = std::fs::read_to_string(path).is_ok_and(|text| is_our_override(&text));
    let files = if ours {
        app.located.with_file(path)
    } else {
        app.located.clone()
    };
    let value = files.compose_file_value();
    if write {
        let _lock = app.lock()?;
        app.no_unfinished_run()?;
        write_env(app, &value)?;
    }
    let absolute: Vec<_> = files.files.iter().map(|f| f.display().to_string()).collect();
    Ok(EnvReport {
        current: app.located.dotenv_compose_file()? == value,
        compose_file: value,
        export: format!(
            "export COMPOSE_FILE={}",
            shell_word(&absolute.join(&files.separator))
        ),
        dotenv: app.located.dotenv.clone(),
    })
}

fn shell_word(text: &str) -> String {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/._:,@%+=-".contains(&b));
    if plain {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Whether the running stack uses the override: what does not.
///
/// # Errors
/// When the engine or Compose does not answer.
pub async fn override_check(app: &App) -> Result<Vec<String>> {
    let path = &app.settings.override_path;
    if !path.exists() {
        return Ok(vec![format!("there is no override at {}", path.display())]);
    }
    let mut findings = Vec::new();
    if !app.located.files.contains(path) {
        findings.push(format!("the project is read without {}", path.display()));
    }
    let depth = Depth {
        scan: Some(Vec::new()),
        ..Depth::default()
    };
    let world = app.look(&app.looking(), &depth).await?;
    findings.extend(strays(app, &world).await?);
    Ok(findings)
}

/// Containers that mount another volume than the files say.
pub(super) async fn strays(app: &App, world: &World) -> Result<Vec<String>> {
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
                match found.map(|m| &m.kind) {
                    Some(MountKind::Volume(name)) if *name == volume.name => {}
                    Some(MountKind::Volume(name)) => findings.push(format!(
                        "container {} mounts {name} at {target}, and the files say {}",
                        container.name, volume.name
                    )),
                    _ => findings.push(format!(
                        "container {} does not mount {} at {target}",
                        container.name, volume.name
                    )),
                }
            }
        }
    }
    Ok(findings)
}
