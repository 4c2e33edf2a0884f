//! `doctor`: what is at risk.

use std::path::Path;

use super::App;
use crate::compose::Override;
use crate::model::Result;
use crate::observe::{Known, OverrideState};
use crate::plan::doctor::{Diagnosis, diagnose};
use crate::saga::recovery::unfinished;

/// Looks at everything, changes nothing, and says what is at risk.
///
/// # Errors
/// When the engine, Compose or the state directory cannot be read.
pub async fn doctor(app: &App, sysroot: Option<&Path>) -> Result<Diagnosis> {
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
        now: jiff::Timestamp::now(),
        sysroot: sysroot.map(Path::to_owned),
        written: written(app),
    };
    let seen = app.observer(&app.looking()).checkup(known).await?;
    Ok(diagnose(&seen))
}

/// One that cannot be read is told by what is seen in its place.
fn written(app: &App) -> Option<OverrideState> {
    let found = Override::read(&app.settings.override_path, &app.project.name).ok()??;
    let mut content = found.content;
    let keys: std::collections::BTreeSet<_> = content.keys().into_iter().cloned().collect();
    let known = &app.project.volumes;
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
