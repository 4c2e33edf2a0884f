//! Checks of the Compose files, the override, and whether the stack runs with them.

use std::path::PathBuf;

use super::homes::blocks;
use super::{About, Finding, Severity};
use crate::engine::{MountKind, same_path};
use crate::model::{ServiceName, shell_path};
use crate::observe::{Checkup, OverrideSeen};

/// The last version of Compose of which it is known that a bind without `create_host_path` in its output makes nothing.
const SAYS_SO: (u32, u32, u32) = (2, 40, u32::MAX);

/// Containers that have another volume than the files say: the next `up` changes where they write.
pub(super) fn strays(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in &seen.world.services {
        let mut evidence = Vec::new();
        for container in seen.containers.iter().filter(|c| c.service == service.name) {
            for mount in &service.mounts {
                let Some(volume) = seen.world.volume(&mount.volume) else {
                    continue;
                };
                let target = &mount.target;
                let there = container
                    .mounts
                    .iter()
                    .find(|m| same_path(&m.destination, target));
                match there.map(|m| &m.kind) {
                    Some(MountKind::Volume(name)) if *name == volume.name => {}
                    Some(MountKind::Volume(name)) => evidence.push(format!(
                        "container {} has {name} at {target}, and the files say {}",
                        container.name, volume.name
                    )),
                    Some(MountKind::Bind(source)) => evidence.push(format!(
                        "container {} has the directory {source} at {target}, and the files say volume {}",
                        container.name, volume.name
                    )),
                    _ => evidence.push(format!(
                        "container {} has nothing at {target}, and the files say volume {}",
                        container.name, volume.name
                    )),
                }
            }
        }
        if !evidence.is_empty() {
            let mut finding = Finding::error(
                "other-volume",
                About::Service(service.name.clone()),
                format!(
                    "service `{}` runs on another volume than the Compose files say",
                    service.name
                ),
            );
            finding.evidence = evidence;
            found.push(
                finding
                    .seen("the next `up` would start it on the other one: find out first which of them has the data")
                    .mend("rehome status")
                    .mend(format!("rehome compose -- up -d --force-recreate {}", service.name)),
            );
        }
    }
    found
}

/// An override that nothing reads: the next start goes back to the old homes.
pub(super) fn inactive_override(seen: &Checkup) -> Vec<Finding> {
    let known = &seen.known;
    let path = known.override_path.display();
    match &seen.world.override_file {
        OverrideSeen::Ours(_) if !known.files.contains(&known.override_path) => vec![
            Finding::error(
                "override-inactive",
                About::Project,
                format!("{path} is there, and the project is read without it"),
            )
            .seen(match &seen.world.dotenv_compose_file {
                Some(value) => format!("COMPOSE_FILE in .env is {value}"),
                None => "there is no COMPOSE_FILE in .env".to_owned(),
            })
            .seen("the next `docker compose up` would start the stack on its old homes")
            .mend("rehome env --write"),
        ],
        OverrideSeen::Foreign(failure) => vec![
            Finding::warning(
                "override-foreign",
                About::Project,
                format!("{path} is where the override would be, and is none that Rehome can use"),
            )
            .seen(failure.to_string())
            .mend(format!("less {}", shell_path(&known.override_path))),
        ],
        _ => Vec::new(),
    }
}

/// Trap 29: containers that were made with other files than those that are read here. Only of services whose volumes the
/// override concerns: a move leaves the others as they run.
pub(super) fn other_files(seen: &Checkup) -> Vec<Finding> {
    let concerns = |name: &ServiceName| {
        let service = seen.world.service(name);
        service.is_some_and(|s| match &seen.known.written {
            Some(written) => s.mounts.iter().any(|m| written.keys.contains(&m.volume)),
            None => !s.mounts.is_empty(),
        })
    };
    let made = seen.containers.iter().filter(|c| concerns(&c.service));
    let made = made.map(|c| (&c.service, c.name.as_str(), c.config_files.as_slice()));
    let others = made_with_others(&seen.known.files, made);
    if others.is_empty() {
        return Vec::new();
    }
    let mut services: Vec<&str> = others.iter().map(|(service, ..)| service.as_str()).collect();
    services.dedup();
    let mut finding = Finding::warning(
        "other-files",
        About::Project,
        "containers were made with other Compose files than those that are read here",
    )
    .seen(format!("read here: {}", list(&seen.known.files)));
    let seen = others.iter();
    finding
        .evidence
        .extend(seen.map(|(_, name, with)| format!("container {name} was made with {}", list(with))));
    vec![finding.mend(format!("rehome compose -- up -d {}", services.join(" ")))]
}

/// A container: its service, its name, the Compose files that it was made with.
pub type Made<'a> = (&'a ServiceName, &'a str, &'a [PathBuf]);

/// Those of these containers that were made with other files than these. One of which it is not known is none.
#[must_use]
pub fn made_with_others<'a>(files: &[PathBuf], made: impl Iterator<Item = Made<'a>>) -> Vec<Made<'a>> {
    made.filter(|(_, _, with)| !with.is_empty() && *with != files)
        .collect()
}

fn list(files: &[PathBuf]) -> String {
    files
        .iter()
        .map(|f| f.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn outdated_override(seen: &Checkup) -> Vec<Finding> {
    let known = &seen.known;
    let Some(written) = known
        .written
        .as_ref()
        .filter(|_| known.files.contains(&known.override_path))
    else {
        return Vec::new();
    };
    let path = known.override_path.display();
    let mut found = Vec::new();
    if !written.deviations.is_empty() {
        let mut finding = Finding::error(
            "override-without-effect",
            About::Project,
            format!("{path} is read, and the project is not what it says"),
        );
        finding.evidence.clone_from(&written.deviations);
        found.push(
            finding
                .seen("another file after it, or a change of the services, takes its place")
                .mend("rehome override --write"),
        );
    }
    for key in &written.gone {
        found.push(
            // Rehome never forgets a home by itself: other files may have the volume.
            Finding::note(
                "override-outdated",
                About::Volume(key.clone()),
                format!("the override has volume `{key}`, and the project's own files have it no more"),
            )
            .seen("it does no harm: should the volume come back, it is where its data is")
            .mend(format!(
                "remove `{key}` from {path}, if the volume does not come back"
            )),
        );
    }
    if written.edited {
        found.push(
            Finding::note(
                "override-edited",
                About::Project,
                format!("{path} was changed by hand; Rehome writes it anew when it next needs to"),
            )
            .mend("rehome override"),
        );
    }
    found
}

/// Binds below a block volume that Docker would make when they are missing: then on the root disk (trap 1).
pub(super) fn creating_binds(seen: &Checkup) -> Vec<Finding> {
    let mut roots: Vec<PathBuf> = seen.known.block_root.iter().cloned().collect();
    for (_, dir) in blocks(seen) {
        roots.extend(
            dir.parent()
                .map(PathBuf::from)
                .filter(|p| p.components().count() > 1),
        );
    }
    let mut found = Vec::new();
    for bind in &seen.binds {
        if !roots.iter().any(|root| bind.source.starts_with(root)) {
            continue;
        }
        let (service, source) = (&bind.service, bind.source.display());
        let about = About::Service(service.clone());
        let mend = format!(
            "write into service `{service}` of the Compose file: volumes: [{{ type: bind, source: {source}, target: {}, bind: {{ create_host_path: false }} }}]",
            bind.target
        );
        match bind.create {
            Some(false) => {}
            Some(true) => found.push(
                Finding::error(
                    "bind-is-created",
                    about,
                    format!("Docker makes {source} for service `{service}` when the block volume is not mounted"),
                )
                .seen(format!(
                    "it is mounted at {} with `create_host_path: true`, which is the default",
                    bind.target
                ))
                .seen("the service would start on an empty directory of the root disk")
                .mend(mend),
            ),
            None if seen.compose.numbers <= SAYS_SO => {}
            None => found.push(Finding::new(
                Severity::Unknown,
                "bind-is-created",
                about,
                format!("whether Docker makes {source} for service `{service}` when it is missing is not said by Compose {}", seen.compose.text),
            ).seen("write `create_host_path: false` to be sure").mend(mend)),
        }
    }
    found
}

/// Trap 28: the unit that brings the stack up after a late mount names the services that ran when it was written.
pub(super) fn stack_units(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    let own = format!("Description=Stack {} on ", seen.world.project);
    for (at, point) in &seen.boot.points {
        let units = point.iter().flat_map(|point| &point.stacks);
        for text in units.filter(|text| text.lines().any(|line| line.starts_with(&own))) {
            let named = named(text);
            if named.is_empty() {
                continue;
            }
            let is_named = |name: &ServiceName| named.iter().any(|named| name.as_str() == *named);
            let known = |name: &str| seen.world.services.iter().find(|s| s.name.as_str() == name);
            let (mut evidence, mut stopped) = (Vec::new(), Vec::new());
            for name in &named {
                match known(name) {
                    None => evidence.push(format!(
                        "it names service `{name}`, which the Compose files do not have: Compose starts nothing then"
                    )),
                    Some(service) if !service.is_up() => stopped.push(format!(
                        "it names service `{name}`, which does not run now and would be started"
                    )),
                    Some(_) => {}
                }
            }
            for service in seen
                .world
                .services
                .iter()
                .filter(|s| s.is_up() && !is_named(&s.name))
            {
                evidence.push(format!("it does not name service `{}`, which runs", service.name));
            }
            let what = format!(
                "when {} is mounted only after a boot, another stack is started than runs now",
                at.display()
            );
            let mut finding = match (evidence.is_empty(), stopped.is_empty()) {
                (true, true) => continue,
                (true, false) => Finding::note("stack-unit-outdated", About::Project, what),
                (false, _) => Finding::warning("stack-unit-outdated", About::Project, what),
            };
            finding.evidence = evidence;
            finding.evidence.append(&mut stopped);
            found.push(finding.mend(format!("rehome mount --at {}", shell_path(at))));
        }
    }
    found
}

/// The services at the end of our call of Compose: names, which need no quotes.
fn named(unit: &str) -> Vec<&str> {
    let command = unit.lines().find(|line| line.starts_with("ExecStart="));
    // The last such word: a directory may be called that too.
    let after = command.and_then(|line| line.rsplit_once(" start "));
    after.map_or("", |(_, after)| after).split_whitespace().collect()
}

pub(super) fn shell_setting(seen: &Checkup) -> Vec<Finding> {
    match (&seen.world.shell_compose_file, &seen.world.dotenv_compose_file) {
        (Some(shell), Some(file)) if shell != file => vec![
            Finding::warning(
                "shell-compose-file",
                About::Project,
                "COMPOSE_FILE of your shell goes before the one in .env",
            )
            .seen(format!("in the shell: {shell}"))
            .seen(format!("in .env: {file}"))
            .mend("unset COMPOSE_FILE"),
        ],
        _ => Vec::new(),
    }
}
