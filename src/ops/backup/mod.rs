//! Backups: made, listed, verified, restored, pruned, scheduled.

mod freeze;
mod list;
mod pin;
pub mod places;
mod prune;
mod schedule;
#[expect(dead_code, reason = "create and verify call it, and are not there yet")]
pub(in crate::ops) mod tell;

use std::path::PathBuf;

pub use crate::backup::catalogue::How;
pub use crate::backup::format::BackupId;
use crate::model::config::{Consistency, Place};
use crate::model::{Failure, Result};

use super::App;

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
    pub from: Option<Place>,
    /// Only these services' databases and these volumes, by name; all if there is none.
    pub only: Vec<String>,
    /// Only this database.
    pub database: Option<String>,
    /// Only this path inside a volume.
    pub path: Option<String>,
    /// Into this project or volume.
    pub into: Option<String>,
    /// What is replaced is backed up first.
    pub safety_backup: bool,
    /// Files with secret keys of age.
    pub identities: Vec<PathBuf>,
    /// Only the plan is wanted.
    pub dry_run: bool,
}

/// Makes a backup.
///
/// # Errors
/// It is not there yet.
pub async fn create(_app: &App, _request: &CreateRequest) -> Result<()> {
    Err(Failure::bug("backup create is not there yet"))
}

/// Reads a backup back.
///
/// # Errors
/// It is not there yet.
pub async fn verify(_app: &App, _request: &VerifyRequest) -> Result<()> {
    Err(Failure::bug("backup verify is not there yet"))
}

/// Restores a backup.
///
/// # Errors
/// It is not there yet.
pub async fn restore(_app: &App, _request: &RestoreRequest) -> Result<()> {
    Err(Failure::bug("backup restore is not there yet"))
}
