//! `status`: where each volume's data lives now.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::site::{SiteReport, reports_of};
use super::{App, Drift, drift};
use crate::model::{Home, Owner, ProjectName, Result, RunId, ServiceName, VolumeKey, VolumeName};
use crate::observe::{Depth, World};
use crate::saga::recovery::{newest, unfinished};

/// Where everything lives.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The project.
    pub project: ProjectName,
    /// Its directory.
    pub directory: PathBuf,
    /// The engine.
    pub engine: String,
    /// Its Compose files, in order.
    pub files: Vec<PathBuf>,
    /// The volumes.
    pub volumes: Vec<VolumeStatus>,
    /// The project's sites, and where the data of each is.
    pub sites: Vec<SiteReport>,
    /// The override's path.
    pub override_path: PathBuf,
    /// Whether plain `docker compose` in the project's directory uses it; `None` where there is none.
    pub override_active: Option<bool>,
    /// Services, and how many of their containers are up.
    pub services: BTreeMap<ServiceName, usize>,
    /// The last run.
    pub last_run: Option<LastRun>,
    /// A run that waits to be finished.
    pub unfinished: Option<RunId>,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}

/// The last run of a project.
#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    /// Which.
    pub run: RunId,
    /// What it did.
    pub title: String,
    /// When it began.
    pub started: Timestamp,
    /// How it ended, if it did.
    pub outcome: Option<crate::event::Outcome>,
}

/// Where one volume's data lives.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeStatus {
    /// Its key.
    pub key: VolumeKey,
    /// Its full name.
    pub name: VolumeName,
    /// Whether the engine has it.
    pub exists: bool,
    /// Its home.
    #[serde(flatten)]
    pub home: Home,
    /// Where that is on the engine's host.
    pub path: Option<String>,
    /// The device and file system that it lies on.
    pub device: Option<String>,
    /// Bytes.
    pub bytes: Option<u64>,
    /// Files.
    pub files: Option<u64>,
    /// Owner of its root.
    pub owner: Option<Owner>,
    /// Free on its file system, in bytes.
    pub free: Option<u64>,
    /// Databases in it.
    pub datastores: Vec<String>,
    /// Services that mount it, with `:ro` where they only read.
    pub mounted_by: Vec<String>,
    /// Belongs to somebody else.
    pub external: bool,
}

/// Looks where everything lives.
///
/// # Errors
/// When the engine, Compose or the helper does not answer.
pub async fn status(app: &App) -> Result<Status> {
    let run = app.looking();
    let depth = Depth {
        override_path: app.settings.override_path.clone(),
        ..Depth::default()
    };
    let world = app.look(&run, &depth).await?;
    let mut volumes = Vec::new();
    for seen in &world.volumes {
        let found = app.engine.find_volume(&seen.name).await?;
        let probe = seen.probe.as_ref();
        let path = match (&seen.home, &found) {
            (Home::Block { dir }, _) => Some(dir.display().to_string()),
            (_, Some(volume)) => Some(volume.mountpoint.clone()),
            _ => None,
        };
        volumes.push(VolumeStatus {
            key: seen.key.clone(),
            name: seen.name.clone(),
            exists: seen.exists,
            home: seen.home.clone(),
            path,
            device: probe.map(|p| format!("{} ({})", p.source, p.fs_type)),
            bytes: seen.scan.as_ref().map(|s| s.bytes),
            files: seen.scan.as_ref().map(|s| s.files),
            owner: seen.scan.as_ref().and_then(|s| s.root_owner),
            free: probe.map(|p| p.bytes_free),
            datastores: seen.datastores.iter().map(ToString::to_string).collect(),
            mounted_by: mounted_by(&world, &seen.key),
            external: seen.external,
        });
    }
    let exists = app.settings.override_path.exists();
    let last = newest(&app.state)?;
    Ok(Status {
        project: world.project.clone(),
        directory: world.directory.clone(),
        engine: format!("{} at {}", app.engine.version(), app.engine.host().url),
        files: app.located.files.clone(),
        override_active: exists.then(|| app.located.files.contains(&app.settings.override_path)),
        override_path: app.settings.override_path.clone(),
        services: world
            .services
            .iter()
            .map(|s| {
                (
                    s.name.clone(),
                    s.containers.iter().filter(|c| c.state.is_up()).count(),
                )
            })
            .collect(),
        last_run: last.as_ref().and_then(|run| {
            let state = run.state()?;
            Some(LastRun {
                run: run.dir.id().clone(),
                title: state.opened().title.clone(),
                started: state.started(),
                outcome: state.outcome(),
            })
        }),
        unfinished: unfinished(&app.state)?.map(|run| run.dir.id().clone()),
        warnings: warnings(app, &world).await?,
        sites: reports_of(app)?,
        volumes,
    })
}

fn mounted_by(world: &World, key: &VolumeKey) -> Vec<String> {
    let mut names = Vec::new();
    for service in &world.services {
        let mut mounts = service.mounts.iter().filter(|m| m.volume == *key).peekable();
        if mounts.peek().is_some() {
            let read_only = mounts.all(|m| m.read_only);
            names.push(format!("{}{}", service.name, if read_only { ":ro" } else { "" }));
        }
    }
    names
}

/// What is not as it should be: containers on another volume than the files say, an override that nothing uses.
async fn warnings(app: &App, world: &World) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (_, finding) in super::override_::strays(app, world).await? {
        warnings.push(finding);
    }
    match drift(app).await? {
        // Said below, in the same words or better.
        Some(Drift::OverrideLost(_)) if !app.located.files.contains(&app.settings.override_path) => {}
        Some(drift) => warnings.push(drift.line().to_owned()),
        None => {}
    }
    if app.settings.override_path.exists() && !app.located.files.contains(&app.settings.override_path) {
        warnings.push(format!(
            "{} exists, and this project is read without it: a start now would use the old homes (`rehome env --write`)",
            app.settings.override_path.display()
        ));
    }
    if let Some(shell) = &world.shell_compose_file
        && world
            .dotenv_compose_file
            .as_ref()
            .is_some_and(|file| file != shell)
    {
        warnings.push(format!(
            "COMPOSE_FILE={shell} in your shell goes before the one in .env"
        ));
    }
    Ok(warnings)
}
