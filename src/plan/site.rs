//! The plan by which the persistent storage of a site goes on or off. Pure, as all of `plan`.
//!
//! The service is replaced as a deployment of it alone would replace it, and always stopped first: two containers never
//! write to one directory.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::deploy::{DeployWanted, Hooks, deploy_plan, no_such_service};
use super::refuse::right_volume;
use super::site_move;
use crate::compose::sites::{DATA, DATA_DIR};
use crate::compose::{SiteMount, SiteOverride};
use crate::engine::MountKind;
use crate::model::{Failure, Owner, ProjectName, Result, ServiceName, SiteName, shell_path, shell_word};
use crate::observe::deploy::DeploySeen;
use crate::observe::{MeantSeen, ServiceSeen};
use crate::saga::Step;
use crate::site::place::Place;
use crate::site::{Site, Storage};
use crate::steps::Moving;
use crate::steps::deploy::{ComposeFile, DeployStep};
use crate::steps::sites::{HasData, MakeData, Remember, SiteStep, WriteOverride};

/// What is wanted, with every setting resolved, and what only a site's switch wants to know of the world.
#[derive(Debug, Clone)]
pub struct StorageWanted {
    /// The site, as it is known.
    pub site: Site,
    /// The service that has its data.
    pub service: ServiceName,
    /// On, or off.
    pub on: bool,
    /// The root of all sites, without symlinks.
    pub root: PathBuf,
    /// What is where its directory shall be.
    pub place: Place,
    /// Which block volume is meant to be mounted there, and which is.
    pub meant: Option<MeantSeen>,
    /// The user of the service's containers, or whom somebody named.
    pub owner: Owner,
    /// What else the service has at `/data`, in words.
    pub other_data: Option<String>,
    /// `DATA_DIR` says another place now.
    pub other_dir: bool,
    /// There is a `/data` in its containers that goes with them.
    pub data_inside: bool,
    /// Where the override is.
    pub override_path: PathBuf,
    /// What the override says now, if the project is read with it.
    pub content: SiteOverride,
    /// `COMPOSE_FILE` in `.env`, where it has to be another.
    pub compose_file: Option<ComposeFile>,
    /// The database of sites.
    pub database: PathBuf,
    /// How services are replaced.
    pub deploy: DeployWanted,
}

impl StorageWanted {
    /// The directory of the site, if it is given one.
    fn target(&self) -> PathBuf {
        self.root.join(self.site.name.as_str())
    }

    /// The directory that it has by the override.
    fn has(&self) -> Option<&SiteMount> {
        self.content.services.get(&self.service)
    }
}

/// A plan: what is said, and what is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoragePlan {
    /// What is said.
    pub facts: StorageFacts,
    /// What is done, in this order.
    pub steps: Vec<SiteStep>,
}

/// What is said about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StorageFacts {
    /// The project.
    pub project: ProjectName,
    /// The site.
    pub site: SiteName,
    /// The service that has its data.
    pub service: ServiceName,
    /// On, or off.
    pub on: bool,
    /// The directory.
    pub data: PathBuf,
    /// What was there.
    pub place: Place,
    /// Its project's directory.
    pub directory: PathBuf,
    /// Whether the service is made anew.
    pub replaces: bool,
    /// The services that ran when the plan was made.
    pub were_up: Vec<ServiceName>,
    /// What a careful person should know.
    pub warnings: Vec<String>,
    /// Its data moves from here; nothing is switched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// It moved to another root than the configuration says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfigured: bool,
}

/// Makes the plan.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub fn storage_plan(seen: &DeploySeen, wanted: &StorageWanted) -> Result<StoragePlan> {
    let world = &seen.world;
    let service = world
        .service(&wanted.service)
        .ok_or_else(|| no_such_service(world, "site", &wanted.service))?;
    let has = wanted.has().cloned();
    let data = match (wanted.on, &has) {
        (false, Some(mount)) => mount.source.clone(),
        (false, None) => wanted.site.data.clone().unwrap_or_else(|| wanted.target()),
        (true, _) => wanted.target(),
    };
    refuse(seen, service, wanted)?;
    let changes = has.as_ref().map(|mount| &mount.source) != wanted.on.then_some(&data);
    let replaces = changes && service.is_up();
    let mut steps = Vec::new();
    if wanted.on {
        steps.push(SiteStep::MakeData(MakeData {
            root: wanted.root.clone(),
            site: wanted.site.name.clone(),
            owner: wanted.owner,
            there: wanted.place,
        }));
    }
    if changes {
        let mount = wanted.on.then(|| SiteMount {
            site: wanted.site.name.clone(),
            source: data.clone(),
        });
        let write = SiteStep::WriteOverride(WriteOverride {
            path: wanted.override_path.clone(),
            content: wanted.content.clone().with(&wanted.service, mount),
            without: has
                .filter(|_| !wanted.on)
                .map(|mount| (wanted.service.clone(), mount)),
        });
        let points = wanted.compose_file.clone().map(SiteStep::ComposeFile);
        // The file is there before anything points at it, and goes after nothing does.
        match wanted.on {
            true => steps.extend([Some(write), points].into_iter().flatten()),
            false => steps.extend([points, Some(write)].into_iter().flatten()),
        }
    }
    if replaces {
        steps.extend(replacement(
            seen,
            &wanted.deploy,
            Replaced {
                service: &wanted.service,
                data: &data,
                writer: wanted.on.then_some(wanted.owner),
                moved: None,
            },
        )?);
    }
    steps.push(SiteStep::Remember(Remember {
        database: wanted.database.clone(),
        site: wanted.site.name.clone(),
        storage: if wanted.on { Storage::On } else { Storage::Off },
        data: Some(data.clone()),
    }));
    let up = world.services.iter().filter(|service| service.is_up());
    Ok(StoragePlan {
        facts: StorageFacts {
            project: world.project.clone(),
            site: wanted.site.name.clone(),
            service: wanted.service.clone(),
            on: wanted.on,
            data,
            place: wanted.place,
            directory: world.directory.clone(),
            replaces,
            were_up: up.map(|service| service.name.clone()).collect(),
            warnings: warnings(wanted, service, changes),
            from: None,
            unconfigured: false,
        },
        steps,
    })
}

/// A service that is made anew because its directory is another one.
pub(super) struct Replaced<'a> {
    /// Which.
    pub service: &'a ServiceName,
    /// The directory that it gets, or no longer has.
    pub data: &'a Path,
    /// Who writes there; nobody, if it no longer has it.
    pub writer: Option<Owner>,
    /// What it had before, copied to where it is now.
    pub moved: Option<(&'a Path, Moving)>,
}

/// The service stopped, made anew and looked at.
pub(super) fn replacement(
    seen: &DeploySeen,
    deploy: &DeployWanted,
    replaced: Replaced<'_>,
) -> Result<Vec<SiteStep>> {
    let Replaced {
        service,
        data,
        writer,
        moved,
    } = replaced;
    let deploy = DeployWanted {
        only: vec![service.clone()],
        first: None,
        pull: false,
        build: false,
        dump: false,
        rolling: None,
        hooks: Hooks::default(),
        older: Vec::new(),
        compose_file: None,
        ..deploy.clone()
    };
    let bind = |path: &Path| MountKind::Bind(path.to_string_lossy().into_owned());
    let mut of_site = vec![bind(data)];
    of_site.extend(moved.iter().map(|(from, _)| bind(from)));
    let mut steps = Vec::new();
    for step in deploy_plan(seen, &deploy)?.steps {
        match step {
            DeployStep::Swap(mut swap) => {
                // It changes with the override: what it was when the plan was made says nothing.
                swap.definitions.clear();
                // No other one does the same: there is nobody to wait for.
                swap.alone = Some(Duration::ZERO);
                swap.fresh = moved.iter().map(|(_, moving)| moving.clone()).collect();
                steps.push(SiteStep::Swap(swap));
                steps.push(SiteStep::HasData(HasData {
                    service: service.clone(),
                    source: data.to_owned(),
                    writer,
                }));
            }
            DeployStep::StayUp(step) => steps.push(SiteStep::StayUp(step)),
            DeployStep::Check(step) => steps.push(SiteStep::Check(step)),
            DeployStep::SameData(mut step) => {
                step.mounts
                    .retain(|mount| mount.service != *service || !of_site.contains(&mount.kind));
                if !step.mounts.is_empty() || !step.databases.is_empty() {
                    steps.push(SiteStep::SameData(step));
                }
            }
            _ => {}
        }
    }
    Ok(steps)
}

fn refuse(seen: &DeploySeen, service: &ServiceSeen, wanted: &StorageWanted) -> Result<()> {
    let (name, site) = (&service.name, &wanted.site.name);
    let refused = |what: String| Failure::refused(what).data("nothing was changed");
    let has = wanted.has();
    if let Some(other) = has.filter(|mount| mount.site != *site) {
        return Err(refused(format!(
            "service `{name}` has the directory of site {}",
            other.site
        )));
    }
    let known = wanted.site.persistent_storage;
    if wanted.on == has.is_some() && wanted.on == (known == Storage::On) {
        let word = if wanted.on { "on" } else { "off" };
        return Err(refused(format!("persistent storage of {site} is {word} already"))
            .hint(format!("what it has: rehome site show {site}")));
    }
    if let Some(kind) = service.server {
        return Err(refused(format!("service `{name}` is a {kind}"))
            .cause("a database has its data where its image wants it, and not at /data")
            .hint("to move the data of databases: rehome move")
            .hint("the service of the site is said when it is added: rehome site add NAME --project DIR --service SERVICE"));
    }
    is_as_its_files_say(seen, service)?;
    if wanted.on {
        refuse_on(seen, service, wanted)?;
    }
    Ok(())
}

/// The service runs, or has no container, and what it runs is what the files say: it is made anew from those.
pub(super) fn is_as_its_files_say(seen: &DeploySeen, service: &ServiceSeen) -> Result<()> {
    let name = &service.name;
    let refused = |what: String| Failure::refused(what).data("nothing was changed");
    if !service.containers.is_empty() && !service.is_up() {
        return Err(refused(format!("service `{name}` is stopped"))
            .cause("its container would be started again as it was made")
            .hint(format!(
                "start it: rehome up --project-directory {}",
                shell_path(&seen.world.directory)
            ))
            .hint(format!("or remove its container: docker compose rm {name}")));
    }
    if service.containers.iter().any(|container| container.outdated) {
        return Err(refused(format!(
            "service `{name}` runs with another definition than its files have now"
        ))
        .cause("to make it anew would deploy that change as well")
        .hint("deploy it first: rehome deploy"));
    }
    Ok(())
}

fn refuse_on(seen: &DeploySeen, service: &ServiceSeen, wanted: &StorageWanted) -> Result<()> {
    let (name, site) = (&service.name, &wanted.site.name);
    let refused = |what: String| Failure::refused(what).data("nothing was changed");
    let replicas = seen.services.get(name).map_or(1, |more| more.replicas);
    let count = replicas.max(service.containers.len());
    if count > 1 {
        return Err(refused(format!("service `{name}` has {count} containers"))
            .cause("they would write to one directory at once")
            .hint("let one of them run, or keep what they share in a database"));
    }
    if let Some(other) = &wanted.other_data {
        return Err(refused(format!("service `{name}` has {other} at {DATA} already"))
            .cause("the directory of the site would hide it")
            .hint("take it out of the Compose file, and its data along: then switch the storage on"));
    }
    let target = wanted.target();
    if let Some(before) = wanted.site.data.as_ref().filter(|before| **before != target) {
        let root = before.parent().unwrap_or(before);
        return Err(refused(format!(
            "the data of {site} is in {}, and it would get {}",
            before.display(),
            target.display()
        ))
        .cause("it would begin again with nothing")
        .hint(format!(
            "to go on with what is there: DEPLOY_DATA_PATH={} rehome site enable {site}",
            shell_word(&root.to_string_lossy())
        ))
        .hint(format!(
            "to bring it to its new place: rehome site move {site} --to {}",
            shell_path(&wanted.root)
        )));
    }
    if let Some(meant) = &wanted.meant {
        right_volume(meant).map_err(|failure| match failure.data {
            Some(_) => failure,
            None => failure.data("nothing was changed"),
        })?;
    }
    if let Place::There { owner, .. } = wanted.place
        && owner != wanted.owner
        && wanted.owner.uid != 0
    {
        let word = shell_path(&target);
        return Err(refused(format!(
            "{} is there, and belongs to {owner}; service `{name}` runs as {}",
            target.display(),
            wanted.owner
        ))
        .cause("it could not write there, and whose the files are is changed by nobody unasked")
        .hint(format!(
            "look at what is in it; then: chown -R {} {word}",
            wanted.owner
        ))
        .hint(format!(
            "if the program itself changes to that user: rehome site enable {site} --owner {owner}"
        )));
    }
    Ok(())
}

fn warnings(wanted: &StorageWanted, service: &ServiceSeen, changes: bool) -> Vec<String> {
    let name = &service.name;
    let mut warnings = Vec::new();
    if wanted.on && changes && wanted.other_dir {
        warnings.push(format!(
            "{DATA_DIR} of service `{name}` is another place now: what it has there is not brought along"
        ));
    }
    if wanted.on && changes && wanted.data_inside {
        warnings.push(format!(
            "service `{name}` has a {DATA} inside of its container: what was written there goes with the container, as with every deployment, and is not brought along"
        ));
    }
    if wanted.on && wanted.owner.uid == 0 && wanted.place == Place::Missing {
        warnings.push(format!(
            "service `{name}` runs as root, and so the directory is root's: a program in it that changes to another user cannot write there; then say --owner UID:GID"
        ));
    }
    if !service.is_up() {
        warnings.push(format!(
            "service `{name}` does not run: this is so for it from its next start"
        ));
    }
    warnings
}

/// Renders a plan.
#[must_use]
pub fn render(plan: &StoragePlan) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    render_into(plan, &mut out).map_or_else(|_| String::new(), |()| out)
}

fn render_into(plan: &StoragePlan, out: &mut String) -> std::fmt::Result {
    let facts = &plan.facts;
    let (site, service, data) = (&facts.site, &facts.service, facts.data.display());
    if let Some(from) = &facts.from {
        return site_move::render_into(plan, from, out);
    }
    match facts.on {
        true => {
            writeln!(out, "Persistent storage of {site} goes on")?;
            writeln!(
                out,
                "  {data} at {DATA} of service {service} in project {}, and {DATA_DIR}={DATA}",
                facts.project
            )?;
            match facts.place {
                Place::Missing => writeln!(out, "  the directory is made")?,
                Place::There {
                    owner, empty: true, ..
                } => {
                    writeln!(out, "  the directory is there, empty, owner {owner}")?;
                }
                Place::There { owner, .. } => {
                    writeln!(
                        out,
                        "  the directory is there with data in it, owner {owner}: it is used as it is"
                    )?;
                }
            }
        }
        false => {
            writeln!(out, "Persistent storage of {site} goes off")?;
            writeln!(
                out,
                "  service {service} in project {} no longer has {data}; the data stays there",
                facts.project
            )?;
            writeln!(
                out,
                "  what it writes from then on is in its container, and goes with that"
            )?;
        }
    }
    writeln!(out, "\nWhat happens")?;
    for (i, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {:>2}  {}", i + 1, step.title())?;
    }
    match facts.replaces {
        true => writeln!(
            out,
            "\nService {service} is stopped before it is made anew: it is down for that long, and two never write at once.\nIf anything fails, it is made again as it was."
        )?,
        false => writeln!(out, "\nNo container is touched.")?,
    }
    writeln!(out, "No directory and no volume is deleted.")?;
    for warning in &facts.warnings {
        writeln!(out, "\n! {warning}")?;
    }
    Ok(())
}
