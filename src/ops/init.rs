//! `init`: looks at the project and writes `rehome.yml` with what it found.

use std::path::PathBuf;

use serde::Serialize;

use super::App;
use crate::compose::replace_file;
use crate::datastore::Kind;
use crate::model::config::{self, Config, Subdir, default_subdir};
use crate::model::{Failure, Home, Result, VolumeKey};
use crate::observe::{Depth, World};
use crate::saga::Step;

/// What was found and written.
#[derive(Debug, Clone, Serialize)]
pub struct InitReport {
    /// Where it is written.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What was found, in sentences.
    pub found: Vec<String>,
}

/// Looks, and writes the configuration unless `dry_run`.
///
/// # Errors
/// When there is one already and `force` is not said.
pub async fn init(app: &App, force: bool, dry_run: bool) -> Result<InitReport> {
    let path = app
        .options
        .config
        .clone()
        .unwrap_or_else(|| app.located.directory.join("rehome.yml"));
    if path.exists() && !force && !dry_run {
        return Err(Failure::refused(format!("{} exists already", path.display()))
            .data("nothing was changed")
            .hint("look at what would be written: rehome init --dry-run")
            .hint("replace it: rehome init --force"));
    }
    let depth = Depth {
        ask_servers: true,
        ..Depth::default()
    };
    let world = app.look(&app.looking(), &depth).await?;
    let (config, found) = findings(app, &world)?;
    let text = config::write_commented(&config);
    if !dry_run {
        let _lock = app.lock()?;
        replace_file(&path, text.as_bytes())?;
    }
    Ok(InitReport { path, text, found })
}

fn findings(app: &App, world: &World) -> Result<(Config, Vec<String>)> {
    let mut found = Vec::new();
    let mut config = Config::default();
    let mut block = config::Block {
        root: app.settings.block_root.clone(),
        ..config::Block::default()
    };
    for volume in &world.volumes {
        let stores: Vec<_> = volume.datastores.iter().map(ToString::to_string).collect();
        let what = match (&volume.scan, stores.as_slice()) {
            (None, _) => "not there yet".to_owned(),
            (Some(scan), []) => format!("{} in {} files", crate::model::ByteSize(scan.bytes), scan.files),
            (Some(scan), stores) => format!("{}, {}", stores.join(", "), crate::model::ByteSize(scan.bytes)),
        };
        found.push(format!("volume {}: {what}", volume.key));
        if volume.external || matches!(volume.home, Home::Other { .. }) || is_cache(world, &volume.key) {
            block.exclude.push(volume.key.clone());
            found.push(format!("  {} stays where it is: {}", volume.key, why(volume)));
            continue;
        }
        let sub: Subdir = default_subdir(&volume.key)
            .parse()
            .map_err(|e: config::ParseSubdirError| {
                Failure::bug("a default directory that is none").because(&e)
            })?;
        block.volumes.insert(
            volume.key.clone(),
            config::Volume {
                path: Some(sub),
                owner: None,
            },
        );
    }
    config.block = block;
    let hooks = app.settings.hooks(world);
    for hook in &hooks {
        found.push(format!("after a start, {}", hook.title()));
    }
    config.hooks = Some(config::Hooks {
        after_start: hooks
            .into_iter()
            .map(|h| config::Hook {
                service: h.place.service().cloned(),
                run: h.run,
                user: h.user,
                on_failure: match h.on_failure {
                    crate::steps::OnFailure::Stop => config::OnFailure::Stop,
                    crate::steps::OnFailure::Warn => config::OnFailure::Warn,
                    crate::steps::OnFailure::Ignore => config::OnFailure::Ignore,
                },
                ..config::Hook::default()
            })
            .collect(),
        ..config::Hooks::default()
    });
    Ok((config, found))
}

/// A volume of Redis alone is a cache or a queue more often than not: it is left where it is, and said.
fn is_cache(world: &World, key: &VolumeKey) -> bool {
    let mut users = world.services.iter().filter(|s| s.mounts_volume(key)).peekable();
    users.peek().is_some() && users.all(|s| s.server == Some(Kind::Redis))
}

fn why(volume: &crate::observe::VolumeSeen) -> &'static str {
    if volume.external {
        "it is external"
    } else if matches!(volume.home, Home::Other { .. }) {
        "it is no plain local volume"
    } else {
        "only Redis uses it; take it out of `exclude` if it holds more than a cache"
    }
}
