//! Asks `docker compose config` for the project, with the care that its output needs (trap 38).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use crate::child::Ended;
use crate::model::{Failure, ImageId, Result, ServiceName};

use super::super::locate::Located;
use super::super::runner::{Call, Compose};
use super::super::trouble::Trouble;
use super::raw::{RawTargets, json, project, undouble};
use super::{Project, unused};

const MODEL: [&str; 3] = ["config", "--format", "json"];

/// Resolves the project: the services of every profile, unused volumes, the targets as they were written.
///
/// # Errors
/// When Compose cannot resolve it, in Compose's own words.
pub async fn load(compose: &Compose, located: &Located) -> Result<Project> {
    // At the same time, because a stack may be down meanwhile. The model is looked at first: of all that Compose could
    // complain about, it says it best.
    let (model, active, written) = tokio::join!(
        model(compose, located),
        active(compose, located),
        written(compose, located)
    );
    let (model, active, written) = (model?, active?, written?);
    let mut project = project(&undouble(&model))?;
    if let Some(name) = &located.project_name
        && *name != project.name
    {
        return Err(Failure::bug(format!(
            "Compose resolved project {} where {name} was asked for",
            project.name
        )));
    }
    let mut written: RawTargets = json(&undouble(&written))?;
    for (name, service) in &mut project.services {
        service.active = active.contains(name);
        let raw = written
            .services
            .remove(name.as_str())
            .map(|service| service.volumes)
            .unwrap_or_default();
        if raw.len() != service.mounts.len() {
            return Err(Failure::bug(format!(
                "Compose lists the volumes of service {name} in two ways"
            )));
        }
        for (mount, raw) in service.mounts.iter_mut().zip(raw) {
            mount.written_target = raw.target;
        }
    }
    Ok(project)
}

/// The hash of each service's definition, as in [`super::Service::definition`], and nothing else: that is a third of the work.
///
/// # Errors
/// As [`load`].
pub async fn definitions(compose: &Compose, located: &Located) -> Result<BTreeMap<ServiceName, String>> {
    let project = project(&undouble(&model(compose, located).await?))?;
    let services = project.services.into_iter();
    Ok(services
        .map(|(name, service)| (name, service.definition))
        .collect())
}

/// The variables that the files need and nobody set: Compose takes them for empty, and says so.
///
/// # Errors
/// As [`load`].
pub async fn unset(compose: &Compose, located: &Located) -> Result<Vec<String>> {
    let ended = compose.run(located, Call::new(["config", "--quiet"])).await?;
    let names: BTreeSet<&str> = ended.stderr.lines().filter_map(unset_in).collect();
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// `time="…" level=warning msg="The \"NAME\" variable is not set. Defaulting to a blank string."`
fn unset_in(line: &str) -> Option<&str> {
    let (before, _) = line.split_once(" variable is not set")?;
    let name = before.rsplit("The ").next()?.trim_matches(['\\', '"']);
    (!name.is_empty()).then_some(name)
}

/// The containers of these services that Compose would make anew if it were asked to start them now: those that were
/// made from another definition or image than the files name.
///
/// Compose is asked itself, as a dry run: what `config --hash` prints is another hash than that of the label as soon
/// as a service has an `env_file`. It would stop at an image that the engine does not have yet; `instead` names another
/// one for such a service.
///
/// # Errors
/// In Compose's own words.
pub async fn would_remake(
    compose: &Compose,
    located: &Located,
    services: &[ServiceName],
    instead: &BTreeMap<ServiceName, ImageId>,
) -> Result<BTreeSet<String>> {
    if services.is_empty() {
        return Ok(BTreeSet::new());
    }
    let arguments = ["create", "--no-build", "--pull", "never"].into_iter();
    let arguments: Vec<String> = arguments
        .chain(services.iter().map(ServiceName::as_str))
        .map(str::to_owned)
        .collect();
    let counts: fn(&str) -> bool = |action| action == "Recreate";
    if instead.is_empty() {
        return rehearse(compose, located, &arguments, counts).await;
    }
    let images = instead
        .iter()
        .map(|(name, image)| (name.as_str(), serde_json::json!({ "image": image.as_str() })));
    let services: serde_json::Map<_, _> = images.map(|(name, image)| (name.to_owned(), image)).collect();
    let file = temporary(&serde_json::json!({ "services": services }).to_string())?;
    rehearse(compose, &located.with_file(file.path()), &arguments, counts).await
}

/// The containers that a call would do something to, by what Compose says of itself in a dry run.
///
/// # Errors
/// In Compose's own words.
pub async fn rehearse(
    compose: &Compose,
    located: &Located,
    arguments: &[String],
    counts: fn(&str) -> bool,
) -> Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    // " DRY-RUN MODE -  Container kms-connect-backend  Recreate"
    let mut on_line = |line: &str| {
        let mut words = line
            .split_once("Container ")
            .map(|(_, rest)| rest.split_whitespace());
        if let (Some(name), Some(action)) = (
            words.as_mut().and_then(Iterator::next),
            words.as_mut().and_then(Iterator::next),
        ) && counts(action)
        {
            named.insert(name.to_owned());
        }
    };
    compose
        .run(
            located,
            Call::new(arguments).global("--dry-run").lines(&mut on_line),
        )
        .await?;
    Ok(named)
}

/// The model's JSON. A Compose before `--all-resources` leaves unused volumes out; they are made used then.
async fn model(compose: &Compose, located: &Located) -> Result<String> {
    let ended = compose
        .attempt(
            located,
            Call::new(MODEL).every_profile().global("--all-resources"),
        )
        .await?;
    if ended.success {
        return Ok(ended.stdout);
    }
    if Trouble::of(&ended.stderr) != Trouble::UnknownFlag {
        return Err(Trouble::failure("config", &ended.status, &ended.stderr));
    }
    let plain = compose
        .run(located, Call::new(MODEL).every_profile())
        .await?
        .stdout;
    let seen: BTreeSet<String> = project(&undouble(&plain))?
        .volumes
        .into_keys()
        .map(|key| key.as_str().to_owned())
        .collect();
    let hidden: Vec<String> = unused::declared(&located.files)?
        .into_iter()
        .filter(|key| !seen.contains(key))
        .collect();
    if hidden.is_empty() {
        return Ok(plain);
    }
    let all = with_probe(compose, located, &hidden).await?;
    if all.success {
        return Ok(all.stdout);
    }
    // A key may be gone after merging (`!reset`): each by itself then.
    let mut present = Vec::new();
    for key in hidden {
        if with_probe(compose, located, std::slice::from_ref(&key))
            .await?
            .success
        {
            present.push(key);
        }
    }
    if present.is_empty() {
        return Ok(plain);
    }
    let ended = with_probe(compose, located, &present).await?;
    if ended.success {
        Ok(ended.stdout)
    } else {
        Err(Trouble::failure("config", &ended.status, &ended.stderr))
    }
}

/// Resolves the project with one service more, which mounts these volumes.
async fn with_probe(compose: &Compose, located: &Located, keys: &[String]) -> Result<Ended> {
    let file = temporary(&unused::probe(keys))?;
    let mut ended = compose
        .attempt(located, Call::new(MODEL).every_profile().with_file(file.path()))
        .await?;
    if ended.success {
        ended.stdout = unused::without_probe(&ended.stdout)?;
    }
    Ok(ended)
}

/// A Compose file for one call.
fn temporary(text: &str) -> Result<tempfile::NamedTempFile> {
    let failed =
        |error: std::io::Error| Failure::environment("cannot write a temporary file").because(&error);
    let mut file = tempfile::Builder::new()
        .suffix(".yaml")
        .tempfile()
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(file)
}

/// The services of the active profiles.
async fn active(compose: &Compose, located: &Located) -> Result<BTreeSet<ServiceName>> {
    let ended = compose.run(located, Call::new(["config", "--services"])).await;
    let ended = ended.map_err(|failure| {
        let is_gated = failure
            .causes
            .iter()
            .any(|words| words.contains("undefined service"));
        if is_gated {
            failure.hint("does it belong to a profile? activate that with --profile")
        } else {
            failure
        }
    })?;
    let names = ended
        .stdout
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    names
        .map(|name| ServiceName::new(name).map_err(|error| Failure::bug("odd service name").because(&error)))
        .collect()
}

/// The model as it is before Compose cleans the targets: an override has to repeat them as they were (trap 39).
async fn written(compose: &Compose, located: &Located) -> Result<String> {
    let args = [
        "config",
        "--no-normalize",
        "--no-path-resolution",
        "--no-consistency",
        "--format",
        "json",
    ];
    Ok(compose
        .run(located, Call::new(args).every_profile())
        .await?
        .stdout)
}

#[cfg(test)]
mod tests {
    use super::unset_in;

    #[test]
    fn the_name_of_a_variable_that_is_not_set_is_read_out_of_the_warning() {
        for (line, name) in [
            (
                r#"time="2026-11-22T01:00:00Z" level=warning msg="The \"TOKEN\" variable is not set. Defaulting to a blank string.""#,
                Some("TOKEN"),
            ),
            (
                r#"WARN[0000] The "A_B" variable is not set. Defaulting to a blank string. "#,
                Some("A_B"),
            ),
            ("Container x  Recreate", None),
        ] {
            assert_eq!(unset_in(line), name, "{line}");
        }
    }
}
