//! When the guard for data may be passed: somebody says so, and there is something to go back to.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::App;
use crate::compose::project::{MountSource, VolumeKind};
use crate::datastore::Kind;
use crate::engine::Container;
use crate::model::guard::{Danger, Guard, compose_command};
use crate::model::{Failure, Result, ServiceName};
use crate::saga::Step;
use crate::saga::recovery::verified_steps;
use crate::state::RunDir;
use crate::steps::Hook;
use crate::steps::deploy::{DeployStep, Dump};

/// An older dump does not count.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// The newest runs that are looked at for dumps.
const RUNS: usize = 50;

/// What was said about losing data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// `--allow-data-loss`.
    pub allowed: bool,
    /// `--no-backup`.
    pub no_backup: bool,
}

/// Refuses what `docker compose` would be told, if it destroys data.
///
/// # Errors
/// Refused, with the reason and what is missing.
pub async fn guard_compose(app: &App, words: &[String], loss: Loss) -> Result<()> {
    let data = data_paths(app);
    match Guard::new(&data).compose(words) {
        None => Ok(()),
        Some(danger) => {
            let what = format!("`docker compose {}` {}", shown(words, &danger), danger.what);
            permit(app, what, loss, &[]).await
        }
    }
}

/// The words of a danger in a call of Compose; those of a program in a container with what runs it.
fn shown(words: &[String], danger: &Danger) -> String {
    match compose_command(words) {
        Some(outer @ ("exec" | "run")) if !danger.words.starts_with(&format!("{outer} ")) => {
            format!("{outer} … {}", danger.words)
        }
        _ => danger.words.clone(),
    }
}

/// Refuses a plan with a hook that destroys data. A hook that runs after the dumps of its own plan has them.
///
/// # Errors
/// Refused, naming the hook and where it is written.
pub(super) async fn guard_hooks<'a>(
    app: &App,
    steps: impl Iterator<Item = Planned<'a>>,
    loss: Loss,
) -> Result<()> {
    let data = data_paths(app);
    let guard = Guard::new(&data);
    let mut dumped = Vec::new();
    for step in steps {
        match step {
            Planned::Dump(dump) => dumped.push(dump.what.service.clone()),
            Planned::Hook(hook) => {
                if let Some(danger) = guard.command(&hook.run) {
                    let place = match app.settings.line_of_command(&hook.run) {
                        Some((file, line)) => format!(" ({file}:{line})"),
                        None => String::new(),
                    };
                    let what = format!(
                        "the hook `{}`{place} destroys data: `{}` {}",
                        hook.title(),
                        danger.words,
                        danger.what
                    );
                    permit(app, what, loss, &dumped).await?;
                }
            }
        }
    }
    Ok(())
}

/// What of a plan the guard looks at.
pub(super) enum Planned<'a> {
    /// A hook.
    Hook(&'a Hook),
    /// A dump that is made, and read back, before what follows.
    Dump(&'a Dump),
}

/// Lets a danger pass, or refuses it.
async fn permit(app: &App, what: String, loss: Loss, dumped: &[ServiceName]) -> Result<()> {
    let refused = Failure::refused(what).data("nothing was changed");
    if !loss.allowed {
        return Err(refused.hint(
            "leave it out, or say that you mean it with --allow-data-loss: then every database that runs must have a dump of the last hour",
        ));
    }
    if loss.no_backup {
        return Ok(());
    }
    let now = Timestamp::now();
    let containers = app.engine.project_containers(&app.project.name).await?;
    let mut missing = Vec::new();
    for (service, kind) in running_databases(&containers) {
        if dumped.contains(&service) {
            continue;
        }
        match newest_dump(app, &service)? {
            Some(at) if is_fresh(at, now) => {}
            Some(at) => missing.push(format!("the last dump of the {kind} in {service} is of {at:.0}")),
            None => missing.push(format!("there is no dump of the {kind} in {service}")),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let refused = missing
        .into_iter()
        .fold(refused, |refused, missing| refused.cause(missing));
    Err(refused
        .hint("`rehome deploy` dumps the databases before anything else, and reads the dumps back")
        .hint("without a dump: --no-backup beside --allow-data-loss"))
}

/// One of the future is not believed: somebody set the clock.
fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    age < FRESH && age > -SignedDuration::from_mins(1)
}

/// The services that run a database server now.
fn running_databases(containers: &[Container]) -> Vec<(ServiceName, Kind)> {
    let mut found: Vec<(ServiceName, Kind)> = Vec::new();
    for container in containers.iter().filter(|c| !c.one_off && c.state.is_up()) {
        let names: Vec<&str> = container.env.keys().map(String::as_str).collect();
        let kind = Kind::of_service(&container.image_name, &container.command, &names);
        if let (Some(service), Some(kind)) = (&container.service, kind)
            && !found.iter().any(|(known, _)| known == service)
        {
            found.push((service.clone(), kind));
        }
    }
    found
}

/// When the newest dump of a service was verified whose files are still there.
fn newest_dump(app: &App, service: &ServiceName) -> Result<Option<Timestamp>> {
    let mut newest = None;
    for run in app.state.runs()?.iter().take(RUNS) {
        if !has_files(run, service) {
            continue;
        }
        for (step, at) in verified_steps(run)? {
            if let Ok(DeployStep::Dump(dump)) = DeployStep::deserialize(&step.step)
                && dump.what.service == *service
            {
                newest = newest.max(Some(at));
            }
        }
    }
    Ok(newest)
}

/// Whether the files of a dump are there, each with something in it and none half written.
fn has_files(run: &RunDir, service: &ServiceName) -> bool {
    let directory = run.path().join(Dump::DIRECTORY).join(service.as_str());
    let Ok(entries) = std::fs::read_dir(directory) else {
        return false;
    };
    let mut files = 0;
    for entry in entries {
        let whole = entry.is_ok_and(|entry| {
            entry
                .metadata()
                .is_ok_and(|meta| meta.is_file() && meta.len() > 0)
                && Path::new(&entry.file_name()).extension() != Some("partial".as_ref())
        });
        if !whole {
            return false;
        }
        files += 1;
    }
    files > 0
}

/// Where data is, as far as the files say: in the containers, and on the host.
fn data_paths(app: &App) -> Vec<String> {
    let mut paths = Vec::new();
    for service in app.project.services.values() {
        for mount in &service.mounts {
            match &mount.source {
                MountSource::Volume { .. } | MountSource::Anonymous => {}
                MountSource::Bind { source, .. } if !mount.read_only => {
                    paths.push(source.to_string_lossy().into_owned());
                }
                _ => continue,
            }
            paths.push(mount.target.clone());
        }
        // A database may be in a directory of its own below the mount.
        let own = service.environment.get("PGDATA").and_then(Option::as_ref);
        paths.extend(own.map(|path| path.reveal().to_owned()));
    }
    for volume in app.project.volumes.values() {
        if let VolumeKind::Bound { device } = volume.kind() {
            paths.push(device.to_string_lossy().into_owned());
        }
    }
    paths.retain(|path| path.starts_with('/'));
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_counts_for_an_hour_and_never_out_of_the_future() {
        let now: Timestamp = "2001-02-03T04:05:06Z".parse().unwrap();
        for (at, fresh) in [
            ("2001-02-03T04:05:00Z", true),
            ("2001-02-03T03:05:07Z", true),
            ("2001-02-03T03:05:06Z", false),
            ("2001-02-02T04:05:06Z", false),
            ("2001-02-03T04:05:30Z", true),
            ("2001-02-03T05:00:00Z", false),
        ] {
            assert_eq!(is_fresh(at.parse().unwrap(), now), fresh, "{at}");
        }
    }
}
