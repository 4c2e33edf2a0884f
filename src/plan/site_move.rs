//! The plan by which the data of a site gets another root: on a block volume, or back. It is the move of a volume, but for the
//! override that is written and for the one service that has it. Pure, as all of `plan`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::deploy::{DeployWanted, no_such_service};
use super::refuse::{right_volume, room};
use super::site::{Replaced, StorageFacts, StoragePlan, is_as_its_files_say, replacement};
use super::{START_LIMIT, all_of, containers_of, starting_of};
use crate::compose::{SiteMount, SiteOverride};
use crate::model::{Failure, Owner, Result, ServiceName, shell_path};
use crate::observe::deploy::DeploySeen;
use crate::observe::{ServiceSeen, VolumeSeen, World};
use crate::saga::Step as _;
use crate::site::place::Place;
use crate::site::{Site, Storage};
use crate::steps::sites::{Remember, SiteStep, WriteOverride};
use crate::steps::{Copying, Delta, MakeHomes, Moving, PreCopy, Stop, Target, Tidy, Verify};

/// What is wanted, with every setting resolved.
#[derive(Debug, Clone)]
pub struct SiteMoveWanted {
    /// The site, as it is known.
    pub site: Site,
    /// The service that has its data.
    pub service: ServiceName,
    /// Where its data is.
    pub from: PathBuf,
    /// The root that it gets, without symlinks.
    pub root: PathBuf,
    /// The root that the configuration and the environment say.
    pub configured: PathBuf,
    /// What is where its directory shall be.
    pub place: Place,
    /// The user of the service's containers.
    pub owner: Owner,
    /// No copying while the service runs.
    pub offline: bool,
    /// How it is copied.
    pub copying: Copying,
    /// Where the override is.
    pub override_path: PathBuf,
    /// What the override says now, if the project is read with it.
    pub content: SiteOverride,
    /// The database of sites.
    pub database: PathBuf,
    /// How services are replaced.
    pub deploy: DeployWanted,
}

impl SiteMoveWanted {
    fn target(&self) -> PathBuf {
        self.root.join(self.site.name.as_str())
    }
}

/// Makes the plan. `world` was looked at with the site's directory as a volume, and the new root as the destination.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub fn site_move_plan(seen: &DeploySeen, world: &World, wanted: &SiteMoveWanted) -> Result<StoragePlan> {
    let service = seen
        .world
        .service(&wanted.service)
        .ok_or_else(|| no_such_service(&seen.world, "site", &wanted.service))?;
    let key = wanted.site.name.key();
    let volume = world
        .volume(&key)
        .ok_or_else(|| Failure::bug("the directory of the site was not looked at"))?;
    let data = wanted.target();
    let target = Target::Directory {
        root: wanted.root.clone(),
        sub: wanted.site.name.as_str().into(),
        name: volume.name.clone(),
    };
    let moving = all_of(volume, target);
    refuse(seen, (world, volume), service, wanted, &moving)?;
    let has = wanted.content.services.get(&wanted.service);
    let replaces = has.is_some() && service.is_up();
    let volumes = vec![moving.clone()];
    let mut steps = vec![SiteStep::MakeHomes(MakeHomes {
        volumes: volumes.clone(),
    })];
    let pre_copied = replaces && !wanted.offline;
    if pre_copied {
        steps.push(SiteStep::PreCopy(PreCopy {
            volumes: volumes.clone(),
            copying: wanted.copying,
            max_downtime: None,
        }));
    }
    let up = |service: &ServiceSeen| service.containers.iter().filter(|c| c.state.is_up()).count();
    let running = match replaces {
        true => vec![wanted.service.clone()],
        false => Vec::new(),
    };
    // Also where nothing runs: from here on nobody may write.
    steps.push(SiteStep::Stop(Stop {
        waves: match replaces {
            true => vec![containers_of(service, wanted.deploy.stop_timeout)],
            false => Vec::new(),
        },
        start: starting_of(&seen.world, &running, up),
        mounts: Vec::new(),
        mounting: Vec::new(),
        volumes: volumes.clone(),
        copying: pre_copied.then_some(wanted.copying),
        start_limit: START_LIMIT,
    }));
    steps.push(SiteStep::Delta(Delta {
        volumes: volumes.clone(),
        copying: wanted.copying,
        max_downtime: None,
        pre_copied,
    }));
    steps.push(SiteStep::Verify(Verify {
        volumes,
        copying: wanted.copying,
    }));
    if has.is_some() {
        let mount = SiteMount {
            site: wanted.site.name.clone(),
            source: data.clone(),
        };
        steps.push(SiteStep::WriteOverride(WriteOverride {
            path: wanted.override_path.clone(),
            content: wanted.content.clone().with(&wanted.service, Some(mount)),
            without: None,
        }));
    }
    if replaces {
        steps.extend(replacement(
            seen,
            &wanted.deploy,
            Replaced {
                service: &wanted.service,
                data: &data,
                writer: Some(wanted.owner),
                moved: Some((&wanted.from, moving)),
            },
        )?);
    }
    steps.push(SiteStep::Remember(Remember {
        database: wanted.database.clone(),
        site: wanted.site.name.clone(),
        storage: wanted.site.persistent_storage,
        data: Some(data.clone()),
    }));
    steps.push(SiteStep::Tidy(Tidy::default()));
    let up = seen.world.services.iter().filter(|service| service.is_up());
    Ok(StoragePlan {
        facts: StorageFacts {
            project: seen.world.project.clone(),
            site: wanted.site.name.clone(),
            service: wanted.service.clone(),
            on: wanted.site.persistent_storage == Storage::On,
            data,
            place: wanted.place,
            directory: seen.world.directory.clone(),
            replaces,
            were_up: up.map(|service| service.name.clone()).collect(),
            warnings: Vec::new(),
            from: Some(wanted.from.clone()),
            unconfigured: wanted.root != wanted.configured,
        },
        steps,
    })
}

fn refuse(
    seen: &DeploySeen,
    (world, volume): (&World, &VolumeSeen),
    service: &ServiceSeen,
    wanted: &SiteMoveWanted,
    moving: &Moving,
) -> Result<()> {
    let (site, from, target) = (&wanted.site.name, &wanted.from, wanted.target());
    let refused = |what: String| Failure::refused(what).data("nothing was changed");
    if target == *from {
        return Err(refused(format!(
            "the data of {site} is in {} already",
            wanted.root.display()
        )));
    }
    if target.starts_with(from) || from.starts_with(&target) {
        return Err(refused(format!(
            "{} and {} lie within each other",
            from.display(),
            target.display()
        )));
    }
    if !volume.exists {
        return Err(
            refused(format!("the data of {site} is not there: {}", from.display()))
                .hint("what is wrong with it: rehome doctor"),
        );
    }
    if !matches!(wanted.place, Place::Missing | Place::There { empty: true, .. }) {
        return Err(refused(format!("{} is there, and not empty", target.display()))
            .cause("what is there is never written over")
            .hint(format!(
                "look at it, and put it aside: mv {0} {0}.old",
                shell_path(&target)
            )));
    }
    is_as_its_files_say(seen, service)?;
    let on = wanted.site.persistent_storage == Storage::On;
    let has = wanted.content.services.get(&wanted.service);
    if on != has.is_some_and(|mount| mount.site == *site && mount.source == *from) {
        return Err(refused(format!(
            "what the override says of {site} is not what is known of it"
        ))
        .hint("what is wrong with it: rehome doctor"));
    }
    let also = world.services.iter().find(|other| {
        other.name != wanted.service && other.mounts.iter().any(|mount| mount.volume == moving.key)
    });
    if let Some(also) = also {
        return Err(
            refused(format!("service `{}` has {} as well", also.name, from.display()))
                .cause("only the service of the site gets its new place")
                .hint("take it out of that service, or stop and change both by hand"),
        );
    }
    if let Some(other) = volume
        .foreign
        .iter()
        .find(|other| other.running && other.writable)
    {
        return Err(refused(format!(
            "container {} runs and may write to {}",
            other.container,
            from.display()
        ))
        .hint(format!("stop it first: docker stop {}", other.container)));
    }
    let there = world
        .destination
        .as_ref()
        .ok_or_else(|| Failure::bug("the new root was not looked at"))?;
    if let Some(meant) = &there.meant {
        right_volume(meant).map_err(|failure| failure.data("nothing was changed"))?;
    }
    if there.probe.read_only {
        return Err(refused(format!("{} is read-only", wanted.root.display())));
    }
    let to = wanted.root.display().to_string();
    room(&to, &there.probe, &[volume], std::slice::from_ref(moving))
        .map_err(|failure| failure.data("nothing was changed"))
}

/// As a careful person reads it before saying yes.
pub(super) fn render_into(plan: &StoragePlan, from: &Path, out: &mut String) -> std::fmt::Result {
    let facts = &plan.facts;
    let service = &facts.service;
    writeln!(out, "The data of {} moves", facts.site)?;
    writeln!(out, "  {}  →  {}\n", from.display(), facts.data.display())?;
    writeln!(out, "What happens")?;
    for (i, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {:>2}  {}", i + 1, step.title())?;
    }
    match facts.replaces {
        true => writeln!(
            out,
            "\nService {service} is down from when it is stopped until it is made anew.\nIf anything fails, it runs again as it was, on {}.",
            from.display()
        )?,
        false => writeln!(out, "\nNo container is touched.")?,
    }
    writeln!(
        out,
        "{} is only read, and is neither changed nor deleted.",
        from.display()
    )
}
