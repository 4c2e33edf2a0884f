//! The move: looks once, plans, and hands the plan out; what is said yes to is what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::App;
use super::app::entropy;
use super::deploy::has_variables;
use super::execute::{Finish, RunFacts, Running};
use super::guard::{Loss, Planned as Guarded, guard_hooks};
use super::page::PageRequest;
use crate::compose::override_file::Definition;
use crate::compose::{Located, Override, Version, compose_file_with, compose_file_without, project};
use crate::model::{Failure, Owner, Result, VolumeKey};
use crate::observe::{Depth, OverrideSeen, World};
use crate::plan::{Destination, MovePlan, SwitchWanted, Wanted, move_plan};
use crate::state::Lock;
use crate::steps::{Copying, MoveStep, Moving, Switch, Target};

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct MoveRequest {
    /// `--to`; the configuration's block root if `None`.
    pub to: Option<Destination>,
    /// `--only`.
    pub only: Vec<VolumeKey>,
    /// `--exclude`.
    pub exclude: Vec<VolumeKey>,
    /// `--map`.
    pub map: BTreeMap<VolumeKey, PathBuf>,
    /// `--owner`.
    pub owners: BTreeMap<VolumeKey, Owner>,
    /// `--offline`.
    pub offline: bool,
    /// `--no-hooks`.
    pub no_hooks: bool,
    /// `--stop-timeout`.
    pub stop_timeout: Option<Duration>,
    /// `--max-downtime`.
    pub max_downtime: Option<Duration>,
    /// `--bandwidth`, `--jobs`, `--verify`, `--block-delta`.
    pub copying: Copying,
    /// `--maintenance`, `--maintenance-page`.
    pub maintenance: Option<PageRequest>,
    /// `--without-data`.
    pub without_data: Vec<VolumeKey>,
    /// `--allow-data-loss`, `--no-backup`.
    pub loss: Loss,
    /// Only the plan is wanted: the lock is not needed.
    pub dry_run: bool,
}

/// A plan, ready to run. The project stays locked while it exists.
pub struct Planned {
    /// What will be done.
    pub plan: MovePlan,
    running: Running,
    lock: Option<Lock>,
}

impl Planned {
    /// Runs it.
    ///
    /// # Errors
    /// Only when the run could not be begun; how it ended is in [`Finish`].
    pub async fn run(self, app: &App) -> Result<Finish> {
        let lock = self
            .lock
            .ok_or_else(|| Failure::bug("a dry run was asked to run"))?;
        let MovePlan { facts, steps } = self.plan;
        self.running
            .begin(app, (RunFacts::Move(facts), steps), lock)
            .await
    }
}

/// Looks at the world and plans the move.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub async fn plan_move(app: &App, request: &MoveRequest) -> Result<Planned> {
    let lock = if request.dry_run { None } else { Some(app.lock()?) };
    app.no_unfinished_run()?;
    if lock.is_some() {
        app.engine.remove_left_helpers(&app.project.name).await?;
    }
    let to = match (&request.to, &app.settings.block_root) {
        (Some(to), _) => to.clone(),
        (None, Some(root)) => Destination::Block(root.clone()),
        (None, None) => {
            return Err(
                Failure::usage("where to? neither --to nor `block.root` in rehome.yml says it")
                    .hint("rehome move --to /mnt/DIRECTORY"),
            );
        }
    };
    let page = match &request.maintenance {
        Some(page) => page.text()?,
        None => None,
    };
    let mut wanted = wanted(app, request, to);
    let run = app.looking();
    let world = app.look(&run, &depth(app, &wanted)).await?;
    let hooks = app.settings.hooks(&world);
    if !request.no_hooks {
        has_variables(app, &hooks)?;
        wanted.hooks = hooks;
    }
    let base = project::load(&app.compose, &app.base_files()).await?;
    let base_names = base
        .volumes
        .values()
        .map(|v| (v.key.clone(), v.name.clone()))
        .collect();
    let mut after = app.located.clone();
    let plan = move_plan(&world, &wanted, &base_names, |volumes| {
        let (switch, files) = switch(app, &world, volumes, &base)?;
        after = files;
        Ok(switch)
    })?;
    let hooks = plan.steps.iter().filter_map(|step| match step {
        MoveStep::Hook(hook) => Some(Guarded::Hook(hook)),
        _ => None,
    });
    guard_hooks(app, hooks, request.loss).await?;
    Ok(Planned {
        plan,
        running: Running {
            before: app.located.clone(),
            after,
            page,
            pulled: None,
            watchdog: None,
        },
        lock,
    })
}

pub(super) fn wanted(app: &App, request: &MoveRequest, to: Destination) -> Wanted {
    let settings = &app.settings;
    let mut exclude: BTreeMap<_, _> = settings
        .exclude
        .iter()
        .map(|k| (k.clone(), "rehome.yml".to_owned()))
        .collect();
    if !settings.volumes.is_empty() {
        // A map says which volumes live on the block volume: those that it does not name stay.
        for volume in app
            .project
            .volumes
            .values()
            .filter(|v| !settings.volumes.contains_key(&v.key))
        {
            exclude
                .entry(volume.key.clone())
                .or_insert_with(|| "rehome.yml, which does not name it".to_owned());
        }
    }
    exclude.extend(
        request
            .exclude
            .iter()
            .map(|k| (k.clone(), "--exclude".to_owned())),
    );
    let mut map: BTreeMap<_, _> = settings.maps();
    map.extend(request.map.clone());
    let mut owners: BTreeMap<_, _> = settings.owners();
    owners.extend(request.owners.clone());
    if to == Destination::Volumes {
        // Owners are given for the block volume; what goes back keeps what it has, unless it is said now.
        owners.clone_from(&request.owners);
        map.clear();
    }
    let bytes = entropy();
    Wanted {
        to,
        only: request.only.clone(),
        exclude,
        map,
        owners,
        without_data: request.without_data.clone(),
        offline: request.offline,
        stop_timeout: request.stop_timeout.or(settings.stop_timeout),
        max_downtime: request.max_downtime,
        copying: request.copying,
        maintenance: request.maintenance.is_some(),
        hooks: Vec::new(),
        checks: settings.checks.clone(),
        suffix: format!("{:02x}{:02x}", bytes[0], bytes[1]),
        switch: SwitchWanted {
            override_path: settings.override_path.clone(),
            dotenv: app.located.dotenv.clone(),
        },
    }
}

pub(super) fn depth(app: &App, wanted: &Wanted) -> Depth {
    let keys: BTreeSet<_> = app.project.volumes.values().map(|v| v.key.clone()).collect();
    let scan = if wanted.only.is_empty() {
        keys.iter()
            .filter(|k| !wanted.exclude.contains_key(*k))
            .cloned()
            .collect()
    } else {
        wanted.only.clone()
    };
    Depth {
        scan: Some(scan),
        tolerant: false,
        ask_servers: true,
        destination: match &wanted.to {
            Destination::Block(root) => {
                let subs = keys.iter().map(|key| {
                    wanted
                        .map
                        .get(key)
                        .cloned()
                        .unwrap_or_else(|| crate::model::config::default_subdir(key).into())
                });
                Some((root.clone(), subs.collect::<BTreeSet<_>>().into_iter().collect()))
            }
            Destination::Volumes => None,
        },
        docker_disk: wanted.to == Destination::Volumes,
        override_path: wanted.switch.override_path.clone(),
        sites: Vec::new(),
    }
}

/// A Compose that would mount the whole of a volume where a service has a part of it is refused beforehand.
fn subpaths_are_kept(app: &App, world: &World, volumes: &[Moving]) -> Result<()> {
    let compose = app.compose.version();
    if *compose >= Version::KEEPS_SUBPATHS {
        return Ok(());
    }
    for moving in volumes
        .iter()
        .filter(|m| matches!(m.target, Target::Directory { .. }))
    {
        for service in &world.services {
            let mut mounts = service.mounts.iter().filter(|m| m.volume == moving.key);
            if let Some(subpath) = mounts.find_map(|m| m.subpath.as_ref()) {
                return Err(Failure::refused(format!(
                    "service `{}` mounts the sub-path `{subpath}` of volume `{}`",
                    service.name, moving.key
                ))
                .cause(format!(
                    "Docker Compose {compose} loses that on a block volume, and would mount all of it; 2.40 keeps it"
                ))
                .data("nothing was changed")
                .hint(format!(
                    "take a newer Compose, or leave the volume out with --exclude {}",
                    moving.key
                )));
            }
        }
    }
    Ok(())
}

/// What the switch writes, and the project's files afterwards.
pub(super) fn switch(
    app: &App,
    world: &World,
    volumes: &[Moving],
    base: &project::Project,
) -> Result<(Switch, Located)> {
    let path = &app.settings.override_path;
    let mut content = match &world.override_file {
        OverrideSeen::Ours(content) if app.located.files.contains(path) => content.clone(),
        // One that nothing points at says nothing about where the data lives.
        _ => Override::empty(app.project.name.clone()),
    };
    subpaths_are_kept(app, world, volumes)?;
    for moving in volumes {
        Override::check_movable(base, &moving.key).map_err(|failure| failure.data("nothing was changed"))?;
        content = content.without(&moving.key);
        let volume = base.volumes.get(&moving.key);
        let name = moving.target.volume_name().clone();
        let device = match &moving.target {
            Target::Directory { root, sub, .. } => Some(root.join(sub)),
            // Under its own name the files' definition is all that is needed.
            Target::Volume { .. } if volume.map(|v| &v.name) == Some(&name) => continue,
            Target::Volume { .. } => None,
        };
        let labels = volume.into_iter().flat_map(|v| &v.labels);
        let labels = labels.map(|(k, v)| (k.clone(), v.reveal().to_owned())).collect();
        content
            .volumes
            .insert(moving.key.clone(), Definition { name, device, labels });
    }
    let (after, compose_file) = if content.is_empty() {
        (
            app.located.without_file(path),
            compose_file_without(&app.located, path)?,
        )
    } else {
        (
            app.located.with_file(path),
            Some(compose_file_with(&app.located, path)?),
        )
    };
    let switch = Switch {
        override_path: path.clone(),
        content,
        dotenv: app.located.dotenv.clone(),
        compose_file,
        volumes: volumes.len(),
    };
    Ok((switch, after))
}
