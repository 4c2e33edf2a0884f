//! `rehome backup restore`: looks once, plans, and hands the plan out; what is said yes to is what runs.

use std::path::PathBuf;

use super::create::plan_of;
use super::vault::{Lender, vault_of};
use super::verify::{Counts, Which, first_of, which};
use super::{CreateRequest, RestoreFrom, RestoreRequest};
use crate::model::config::{Consistency, Place};
use crate::model::{Failure, Result};
use crate::observe::Depth;
use crate::ops::App;
use crate::ops::execute::{About, BackupAbout, Finish, RunFacts, Running};
use crate::ops::site::dirs_of;
use crate::plan::backup::BackupPlan;
use crate::plan::backup::restore::{
    Origin, RestorePlan, RestoreSeen, RestoreWanted, nothing_to_lose, restore_plan,
};
use crate::state::Lock;
use crate::steps::backup::{StrangeFile, Vault};

/// A plan, ready to run. The project stays locked while it exists.
pub struct PlannedRestore {
    /// What will be done.
    pub plan: RestorePlan,
    identities: Vec<PathBuf>,
    lender: Option<Lender>,
    lock: Option<Lock>,
}

impl PlannedRestore {
    /// Runs it.
    ///
    /// # Errors
    /// Only when the run could not be begun; how it ended is in [`Finish`].
    pub async fn run(self, app: &App) -> Result<Finish> {
        let lock = self
            .lock
            .ok_or_else(|| Failure::bug("a dry run was asked to run"))?;
        let about = RunFacts::Backup(Box::new(BackupAbout {
            backup: About::Restore(self.plan.facts),
            identities: self.identities,
            lender: self.lender,
            metrics: None,
        }));
        Running::as_it_is(app)
            .begin(app, (about, self.plan.steps), lock)
            .await
    }
}

/// Looks at the world and plans the restore. `other` is the project whose backup it is, if it is not this one's.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub async fn plan_restore(
    app: &App,
    request: &RestoreRequest,
    other: Option<&App>,
) -> Result<PlannedRestore> {
    let lock = if request.dry_run { None } else { Some(app.lock()?) };
    app.no_unfinished_run()?;
    if lock.is_some() {
        app.engine.remove_left_helpers(&app.project.name).await?;
    }
    let lender = other.map(Lender::of);
    let vault = vault_of(app, &request.identities, lender.as_ref())?;
    let (origin, place) = origin(other.unwrap_or(app), request, &vault)?;
    let depth = Depth {
        scan: None,
        tolerant: true,
        ask_servers: true,
        docker_disk: true,
        sites: dirs_of(app)?,
        ..Depth::default()
    };
    let world = app.look(&app.looking(), &depth).await?;
    let active = app.project.services.values().filter(|s| s.active);
    let seen = RestoreSeen {
        active: active
            .map(|s| (s.name.clone(), (s.replicas as usize, s.build)))
            .collect(),
        world,
        origin,
    };
    let bytes = crate::ops::app::entropy();
    let wanted = RestoreWanted {
        only: request.only.clone(),
        database: request.database.clone(),
        path: request.path.clone(),
        strip: request.strip,
        into: request.into.clone(),
        stop_timeout: app.settings.stop_timeout,
        checks: app.settings.checks.clone(),
        suffix: format!("{:02x}{:02x}", bytes[0], bytes[1]),
    };
    let replaces = request.into.is_none() && !nothing_to_lose(&seen.world, &request.only);
    let safety = match request.safety_backup && replaces {
        true => Some(safety_backup(app, request, place.as_ref(), &vault).await?),
        false => None,
    };
    let plan = restore_plan(&seen, &wanted, safety)?;
    Ok(PlannedRestore {
        plan,
        identities: request.identities.clone(),
        lender,
        lock,
    })
}

/// What is restored, and the place it lies in if it is a backup.
fn origin(app: &App, request: &RestoreRequest, vault: &Vault) -> Result<(Origin, Option<Place>)> {
    let place = match &request.from {
        Some(RestoreFrom::File(path)) => {
            let (file, head) = tokio::task::block_in_place(|| StrangeFile::look(path))?;
            return Ok((Origin::File { file, head }, None));
        }
        Some(RestoreFrom::Place(place)) => Some(place),
        None => None,
    };
    let Which {
        id,
        having,
        lacking,
        worse,
    } = which(
        app,
        vault,
        &app.project.name,
        (request.id.as_ref(), place),
        Counts::Good,
    )?;
    for why in lacking {
        app.options.events.warn(why);
    }
    let (source, manifest) = first_of(vault, &app.project.name, &id, having)?;
    let place = source.place.clone();
    let manifest = Box::new(manifest);
    Ok((
        Origin::Backup {
            manifest,
            source,
            worse,
        },
        Some(place),
    ))
}

/// The backup of what is about to be replaced, in the configured places, or where the other one is.
async fn safety_backup(
    app: &App,
    request: &RestoreRequest,
    from: Option<&Place>,
    vault: &Vault,
) -> Result<BackupPlan> {
    let to = match (app.settings.backup.to.is_empty(), from) {
        (true, Some(from)) => vec![from.clone()],
        (true, None) | (false, _) => Vec::new(),
    };
    let create = CreateRequest {
        only: request.only.clone(),
        to,
        // It is stopped later, and once is enough.
        consistency: Some(Consistency::Live),
        ..CreateRequest::default()
    };
    plan_of(app, &create, vault).await.map_err(|failure| {
        failure
            .inside("what is there now cannot be saved before it is replaced")
            .hint("if it is worth nothing: --no-safety-backup")
    })
}
