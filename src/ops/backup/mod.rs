//! Backups: made, listed, verified, restored, pruned, scheduled.

mod create;
mod freeze;
mod list;
mod pin;
pub mod places;
mod prune;
mod restore;
mod schedule;
pub(in crate::ops) mod tell;
mod vault;
mod verify;
mod watchdog;

use std::path::PathBuf;

pub use crate::backup::catalogue::How;
use crate::backup::catalogue::{self, Found};
pub use crate::backup::format::BackupId;
use crate::backup::format::Manifest;
use crate::model::config::{Consistency, Place};
use crate::model::{ProjectName, Result, VolumeName};
use crate::steps::backup::Vault;

pub use create::{PlannedBackup, plan_create};
pub use restore::{PlannedRestore, plan_restore};
pub(super) use vault::{Lender, vault_of};
pub use verify::{PlannedDrill, VerifyReport, plan_drill, verify};
pub(super) use watchdog::Watchdog;

pub use freeze::{FreezeReport, FreezeRequest, PlannedFreeze, plan_freeze, watch};
pub use list::{Copied, ListReport, Listed, Part, PlaceFailure, Saved, list};
pub use pin::pin;
pub use prune::{Decision, PlaceDecisions, PlannedPrune, PruneReport, plan_prune};
pub use schedule::{PlannedSchedule, ScheduleFile, ScheduleRequest, schedule};

/// What `rehome backup create` is asked for.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// Only these services' databases and these volumes, by name; all if there is none.
    pub only: Vec<String>,
    /// Services' databases and volumes that are left out.
    pub exclude: Vec<String>,
    /// What the services do meanwhile, if it is not what the configuration says.
    pub consistency: Option<Consistency>,
    /// Where to, instead of where the configuration says. Directories are absolute.
    pub to: Vec<Place>,
    /// It is never pruned.
    pub pin: bool,
    /// A file for Prometheus, instead of the configuration's.
    pub metrics: Option<PathBuf>,
    /// Only the plan is wanted.
    pub dry_run: bool,
}

/// What `rehome backup verify` is asked for.
#[derive(Debug, Clone, Default)]
pub struct VerifyRequest {
    /// Which; the last one if it is not said.
    pub id: Option<BackupId>,
    /// It is restored into throw-away containers, too.
    pub drill: bool,
    /// Where from; each place of the configuration if it is not said.
    pub from: Option<Place>,
    /// Files with secret keys of age.
    pub identities: Vec<PathBuf>,
}

/// What `rehome backup restore` is asked for.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Which; the last one if it is not said.
    pub id: Option<BackupId>,
    /// A place, or a file that Rehome did not write; the places of the configuration if it is not said.
    pub from: Option<RestoreFrom>,
    /// Only these services' databases and these volumes, by name; all if there is none.
    pub only: Vec<String>,
    /// Only this database of a server.
    pub database: Option<String>,
    /// Only this path of a volume; relative.
    pub path: Option<PathBuf>,
    /// So many components are cut off the paths of a tar that Rehome did not write.
    pub strip: u32,
    /// Into this volume, which is made.
    pub into: Option<VolumeName>,
    /// What is replaced is backed up first.
    pub safety_backup: bool,
    /// Files with secret keys of age.
    pub identities: Vec<PathBuf>,
    /// Only the plan is wanted.
    pub dry_run: bool,
}

/// Where data is restored from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreFrom {
    /// A place for backups.
    Place(Place),
    /// A file that Rehome did not write, absolute.
    File(PathBuf),
}

/// The newest complete backup of a project in a place, if it has one.
///
/// # Errors
/// When the place does not answer.
fn last_good(vault: &Vault, place: &Place, project: &ProjectName) -> Result<Option<Manifest>> {
    let store = vault.place(place)?;
    let found = tokio::task::block_in_place(|| catalogue::read(&*store, Some(project)))?;
    let complete = found.iter().filter_map(Found::manifest);
    Ok(complete.max_by(|a, b| a.id.cmp(&b.id)).cloned())
}
