//! `rehome backup create`: looks once, plans, and carries the plan out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::vault::{encryption, vault_of};
use super::{CreateRequest, Watchdog, last_good};
use crate::backup::format::Manifest;
use crate::model::config::Place;
use crate::model::{Failure, Result};
use crate::ops::App;
use crate::ops::execute::{About, BackupAbout, Finish, RunFacts, Running};
use crate::ops::site::dirs_of;
use crate::plan::backup::{BackupPlan, BackupSeen, BackupWanted, backup_plan};
use crate::state::Lock;
use crate::steps::backup::Vault;

/// A plan, ready to run. The project stays locked while it exists.
pub struct PlannedBackup {
    /// What will be done.
    pub plan: BackupPlan,
    lock: Option<Lock>,
    metrics: Option<std::path::PathBuf>,
}

impl PlannedBackup {
    /// Runs it.
    ///
    /// # Errors
    /// Only when the run could not be begun; how it ended is in [`Finish`].
    pub async fn run(self, app: &App) -> Result<Finish> {
        let lock = self
            .lock
            .ok_or_else(|| Failure::bug("a dry run was asked to run"))?;
        let stands_still = !self.plan.facts.still.is_empty();
        let about = RunFacts::Backup(Box::new(BackupAbout {
            backup: About::Create(self.plan.facts),
            identities: Vec::new(),
            lender: None,
            metrics: self.metrics,
        }));
        let mut running = Running::as_it_is(app);
        // As long as nothing stands still, a backup that is killed leaves nothing to bring back.
        if stands_still {
            running.watchdog = Some(Watchdog::start(app)?);
        }
        running.begin(app, (about, self.plan.steps), lock).await
    }
}

/// Looks at the world and plans the backup.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub async fn plan_create(app: &App, request: &CreateRequest) -> Result<PlannedBackup> {
    let lock = if request.dry_run { None } else { Some(app.lock()?) };
    app.no_unfinished_run()?;
    if lock.is_some() {
        app.engine.remove_left_helpers(&app.project.name).await?;
    }
    let vault = vault_of(app, &[], None)?;
    let plan = plan_of(app, request, &vault).await?;
    Ok(PlannedBackup {
        plan,
        lock,
        metrics: request
            .metrics
            .clone()
            .or_else(|| app.settings.backup.metrics.clone()),
    })
}

/// The plan itself: also that of the backup before a restore.
pub(super) async fn plan_of(app: &App, request: &CreateRequest, vault: &Vault) -> Result<BackupPlan> {
    let settings = &app.settings.backup;
    let places = match request.to.is_empty() {
        true => settings.places(),
        false => request.to.clone(),
    };
    let with_snapshots = places.iter().filter(|place| settings.has_snapshots(place));
    let snapshots: Vec<Place> = with_snapshots.cloned().collect();
    if !snapshots.is_empty() {
        vault.restic()?;
    }
    let last = last_sizes(app, vault, &places, request);
    let sites = dirs_of(app)?;
    let seen = app.observer(&app.looking()).look_for_backup(sites).await?;
    let mut exclude: BTreeMap<String, String> = settings
        .exclude
        .iter()
        .map(|key| (key.to_string(), "rehome.yml leaves it out".to_owned()))
        .collect();
    let named = request.exclude.iter();
    exclude.extend(named.map(|name| (name.clone(), "--exclude".to_owned())));
    let wanted = BackupWanted {
        only: request.only.clone(),
        exclude,
        no_dump: settings.no_dump.clone(),
        consistency: request.consistency.unwrap_or(settings.consistency),
        encryption: encryption(vault),
        pin: request.pin,
        began: Timestamp::now(),
        stop_timeout: app.settings.stop_timeout,
        places,
        snapshots,
    };
    let seen = BackupSeen {
        world: seen.world,
        databases: seen.databases,
        services: seen.services,
        files: app.located.files.clone(),
        configuration: seen.configuration,
        machine: machine(),
        last,
    };
    backup_plan(&seen, &wanted)
}

/// How large each entry of the last good backup was, in the first place that tells. It is only compared with, so a place
/// that does not answer now is no reason to stop: it will be said when it is written to.
fn last_sizes(app: &App, vault: &Vault, places: &[Place], request: &CreateRequest) -> BTreeMap<String, u64> {
    // A part of the project is not to be compared with all of it.
    if !request.only.is_empty() {
        return BTreeMap::new();
    }
    let sizes = |manifest: Manifest| {
        let entries = manifest.entries.into_iter();
        entries.map(|e| (e.path.to_string(), e.bytes())).collect()
    };
    for place in places {
        match last_good(vault, place, &app.project.name) {
            Ok(Some(manifest)) => return sizes(manifest),
            Ok(None) => {}
            Err(failure) => app.options.events.warn(format!(
                "the last backup in {place} cannot be looked at, and is not compared with: {failure}"
            )),
        }
    }
    BTreeMap::new()
}

fn machine() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
