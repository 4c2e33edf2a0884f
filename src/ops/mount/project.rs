//! What of a project a mount makes: the directories of its volumes, and the unit that brings it up.

use std::path::PathBuf;

use crate::block::boot;
use crate::compose::FoundBy;
use crate::datastore::Kind as Database;
use crate::model::config::{default_subdir, meeting};
use crate::model::{Home, Owner, Result};
use crate::observe::World;
use crate::ops::App;
use crate::plan::mount::DirWanted;

/// The mode of a new directory of a database server, which refuses any other.
const SERVERS: u32 = 0o700;
/// The mode of any other new directory.
const OTHERS: u32 = 0o755;

/// The directories of the project's volumes: owner and mode from the configuration, from what the volume has now, or from
/// the user of a container that mounts it.
pub(super) async fn directories(app: &App, world: &World, notes: &mut Vec<String>) -> Result<Vec<DirWanted>> {
    let (maps, owners) = (app.settings.maps(), app.settings.owners());
    let (mut places, mut found) = (Vec::new(), Vec::new());
    for volume in &world.volumes {
        let settings = &app.settings;
        let stays = settings.exclude.contains(&volume.key)
            || !(settings.volumes.is_empty() || settings.volumes.contains_key(&volume.key));
        if volume.external || stays || matches!(volume.home, Home::Other { .. }) {
            continue;
        }
        let path: PathBuf = match maps.get(&volume.key) {
            Some(path) => path.clone(),
            None => default_subdir(&volume.key).into(),
        };
        places.push((volume, path));
    }
    for (volume, path) in &places {
        let others = places.iter().filter(|(other, _)| other.key != volume.key);
        let mut met = others.filter_map(|(other, theirs)| Some((&other.key, meeting(path, theirs)?)));
        if let Some((other, dir)) = met.next() {
            // As the move refuses it; there it can be said with --map too.
            notes.push(format!(
                "no directory is made for {}: it would meet `{other}` in {} (give one of them another path in rehome.yml)",
                volume.key,
                dir.display()
            ));
            continue;
        }
        let server = volume
            .datastores
            .iter()
            .any(|store| store.kind != Database::Sqlite)
            || world
                .services
                .iter()
                .any(|service| service.server.is_some() && service.mounts_volume(&volume.key));
        let new_mode = if server { SERVERS } else { OTHERS };
        let scan = volume.scan.as_ref();
        let (owner, mode, source) = if let Some(owner) = owners.get(&volume.key) {
            (Some(*owner), new_mode, "as rehome.yml says".to_owned())
        } else if let Some(owner) = scan.and_then(|scan| scan.root_owner) {
            // Images leave theirs open to everybody, for the server to close; nobody looks in before it does.
            let mode = scan
                .filter(|_| !(server && volume.is_empty()))
                .map_or(new_mode, |scan| scan.root_mode);
            (Some(owner), mode, format!("as volume {} has it", volume.name))
        } else {
            let user = user_of(app, world, &volume.key).await?;
            let source = user
                .as_ref()
                .map_or_else(String::new, |(_, service)| format!("as service {service} runs"));
            (user.map(|(owner, _)| owner), new_mode, source)
        };
        match owner {
            Some(owner) => found.push(DirWanted {
                path: path.clone(),
                owner,
                mode,
                source,
            }),
            None => notes.push(format!(
                "no directory is made for {}: it is not known yet whose it has to be (the move makes it)",
                volume.key
            )),
        }
    }
    Ok(found)
}

/// How systemd brings the stack up again: the services that run now, by the files that Compose finds itself, so that it
/// is right after a move too. `None` when nothing runs.
pub(super) fn stack(app: &App, world: &World) -> Option<boot::Stack> {
    let services: Vec<_> = world
        .services
        .iter()
        .filter(|service| service.is_up())
        .map(|service| service.name.clone())
        .collect();
    if services.is_empty() {
        return None;
    }
    let located = &app.located;
    let follows = matches!(located.found_by, FoundBy::Dotenv | FoundBy::Default);
    Some(boot::Stack {
        program: program(app)?,
        engine: (!app.engine.host().is_default()).then(|| app.engine.host().url.clone()),
        project: world.project.clone(),
        directory: located.directory.clone(),
        files: if follows {
            Vec::new()
        } else {
            located.files.clone()
        },
        env_files: located.env_files.clone(),
        profiles: located.profiles.clone(),
        services,
    })
}

/// Compose as a unit has to call it, by its path; `None` if it is on no PATH.
fn program(app: &App) -> Option<Vec<String>> {
    let (first, rest) = app.compose.program().split_first()?;
    let path = app.options.project.env.get("PATH")?;
    let found = std::env::split_paths(path)
        .map(|dir| dir.join(first))
        .find(|file| file.is_absolute() && file.is_file())?;
    Some(
        std::iter::once(found.to_string_lossy().into_owned())
            .chain(rest.iter().map(|word| (*word).to_owned()))
            .collect(),
    )
}

/// The user of the first container that writes to a volume.
async fn user_of(
    app: &App,
    world: &World,
    key: &crate::model::VolumeKey,
) -> Result<Option<(Owner, crate::model::ServiceName)>> {
    for service in &world.services {
        let writes = service
            .mounts
            .iter()
            .any(|mount| mount.volume == *key && !mount.read_only);
        if let Some(container) = service.containers.first().filter(|_| writes)
            && let Some(container) = app.engine.find_container(container.id.as_str()).await?
        {
            return Ok(Some((
                app.engine.numeric_user(&container).await?,
                service.name.clone(),
            )));
        }
    }
    Ok(None)
}
