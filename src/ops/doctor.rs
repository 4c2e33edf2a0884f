//! `doctor`: what is at risk.

use std::path::Path;

use super::site::known_of;
use super::{App, Options, Settings};
use crate::block::sysroot::Sysroot;
use crate::compose::{self, Override};
use crate::engine::{self, Engine};
use crate::model::{Failure, Result};
use crate::observe::{Known, OverrideState, boot};
use crate::plan::doctor::{Diagnosis, Severity, diagnose, diagnose_machine};
use crate::saga::recovery::unfinished;

/// So many of the last backups are looked at.
const BACKUPS: usize = 1000;

/// Looks at everything, changes nothing, and says what is at risk. After a boot without its volume the engine does not
/// answer; then the machine is looked at by itself.
///
/// # Errors
/// When the engine, Compose or the state directory cannot be read. When the engine of this machine does not answer: only
/// if nothing is wrong with what the machine knows of its volumes.
pub async fn doctor(options: Options, sysroot: Option<&Path>) -> Result<Diagnosis> {
    if let Ok(host) = engine::resolve_host(&options.engine)
        && host.is_local()
        && let Err(silent) = Engine::connect(host).await
    {
        return machine(options, sysroot, silent).await;
    }
    project(&App::open(options).await?, sysroot).await
}

/// The same of a project that is open already.
///
/// # Errors
/// When the engine, Compose or the state directory cannot be read.
pub(super) async fn project(app: &App, sysroot: Option<&Path>) -> Result<Diagnosis> {
    let settings = &app.settings;
    let stays = |key: &&crate::model::VolumeKey| {
        settings.exclude.contains(key)
            || !(settings.volumes.is_empty() || settings.volumes.contains_key(*key))
    };
    let known = Known {
        files: app.located.files.clone(),
        override_path: settings.override_path.clone(),
        block_root: settings.block_root.clone(),
        staying: app.project.volumes.keys().filter(stays).cloned().collect(),
        unfinished: unfinished(&app.state)?.map(|run| run.dir.id().clone()),
        sizes: app.state.sizes(super::size::LOOKED_AT)?.lines,
        backups: app.state.backups(BACKUPS)?.lines,
        backups_wanted: !settings.backup.to.is_empty(),
        backup_schedule: settings.backup.schedule.clone(),
        now: jiff::Timestamp::now(),
        sysroot: sysroot.map(Path::to_owned),
        written: written(app).await,
        sites: known_of(app)?,
    };
    let seen = app.observer(&app.looking()).checkup(known).await?;
    Ok(diagnose(&seen))
}

/// What the machine alone knows. Whoever was woken up may be in any directory.
async fn machine(options: Options, sysroot: Option<&Path>, silent: Failure) -> Result<Diagnosis> {
    let project = compose::locate(&options.project).and_then(|located| {
        let settings = Settings::load(options.config.as_deref(), &located)?;
        Ok((located.project_name, settings.block_root))
    });
    let (name, block_root) = project.as_ref().ok().cloned().unwrap_or_default();
    let seen = boot::look(boot::Asked {
        sysroot: Sysroot::new(sysroot),
        block_root,
        homes: Vec::new(),
        binds: Vec::new(),
        all: true,
    })
    .await;
    let diagnosis = diagnose_machine(&seen, name, &silent);
    if diagnosis.count(Severity::Error) > 0 {
        return Ok(diagnosis);
    }
    // As every command fails that needs a project and an engine.
    Err(project
        .err()
        .map_or(silent, |failure| failure.data("nothing was changed")))
}

/// One that cannot be read is told by what is seen in its place.
async fn written(app: &App) -> Option<OverrideState> {
    let found = Override::read(&app.settings.override_path, &app.project.name).ok()??;
    let mut content = found.content;
    let keys: std::collections::BTreeSet<_> = content.keys().into_iter().cloned().collect();
    // What the override names is in the project by that alone: the other files say what the project has. Where they mean
    // nothing by themselves, nothing is known to be gone.
    let base = compose::project::load(&app.compose, &app.base_files()).await.ok();
    let known = base.as_ref().map_or(&app.project.volumes, |base| &base.volumes);
    let gone: Vec<_> = keys.iter().filter(|k| !known.contains_key(*k)).cloned().collect();
    for key in &gone {
        content = content.without(key);
    }
    Some(OverrideState {
        keys,
        gone,
        deviations: content.deviations(&app.project),
        edited: found.edited,
    })
}
