//! The steps by which uploads go from a volume to a bucket, and back. What they share with a deployment (making containers
//! anew, checks) lies beside.

mod ask_app;
mod bring;
mod compare;
mod has_variables;
mod send;
mod set_up;
mod variables;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use ask_app::{AskApp, Storing};
pub use bring::Bring;
pub use compare::Compare;
pub use has_variables::HasVariables;
pub use send::Send;
pub use set_up::SetUp;
pub use variables::SetVariables;

use super::deploy::{SameData, StayUp, Swap};
use super::{Check, Cx};
use crate::engine::{HelperJob, HelperMount};
use crate::helper::protocol::{
    PullReport, Request, Spent, SyncJob, SyncReport, Troubles, UPLOADS_TREE, UploadsAnswer, UploadsJob,
    UploadsRequest,
};
use crate::model::config::Prefix;
use crate::model::{Failure, Result, VolumeKey, VolumeName};
use crate::s3::About;

/// When the services were switched: beside the journal, because both directions ask for it.
const SWITCHED: &str = "switched-at";
/// When the first pass over the files began.
const FIRST_PASS: &str = "first-pass-at";
/// What was asked of the storage: beside the journal, because another process may go on.
const SPENT: &str = "spent.json";
/// The clocks of this machine and of the storage may differ so much.
const SKEW: SignedDuration = SignedDuration::from_mins(2);
/// So many troubles are told.
const TOLD: usize = 10;

/// Files in a volume, and where they are objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// The volume, by its key in the files.
    pub key: VolumeKey,
    /// In the engine.
    pub name: VolumeName,
    /// The bucket.
    pub bucket: String,
    /// What the keys of objects begin with.
    pub prefix: Prefix,
    /// What objects are written with.
    pub about: About,
    /// How many at once; 0 lets the helper choose.
    pub jobs: usize,
    /// Bytes a second at most; 0 is no limit.
    pub bandwidth: u64,
}

impl Media {
    /// For people.
    #[must_use]
    pub fn place(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    /// The volume in a helper.
    pub(crate) fn mount(&self, read_only: bool) -> HelperMount {
        HelperMount::Volume {
            name: self.name.clone(),
            target: UPLOADS_TREE.to_owned(),
            read_only,
        }
    }
}

/// Whether Ctrl-C ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Back,
}

/// What all steps of a run asked of the storage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpent {
    /// The requests, and what the bucket had at last.
    pub spent: Spent,
    /// Files and objects that did not arrive, or could not be compared.
    pub failed: u64,
}

/// What a run asked of the storage so far.
///
/// # Errors
/// When that is written down and cannot be read.
pub fn spent(cx: &Cx) -> Result<RunSpent> {
    let path = cx.run_dir.join(SPENT);
    let cannot = || Failure::environment(format!("cannot read {}", path.display()));
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| cannot().because(&e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(RunSpent::default()),
        Err(error) => Err(cannot().because(&error)),
    }
}

fn keep_spent(cx: &Cx, more: Spent, failed: u64) -> Result<()> {
    let before = spent(cx)?;
    let now = RunSpent {
        spent: before.spent.and(more),
        failed: before.failed + failed,
    };
    let text = serde_json::to_vec(&now)
        .map_err(|e| Failure::bug("figures of a run that cannot be written").because(&e))?;
    crate::state::write_durably(&cx.run_dir.join(SPENT), &text)
}

/// Asks in a helper that has the volume, and keeps what it took.
async fn ask(cx: &Cx, media: &Media, job: (UploadsJob, bool), way: Way) -> Result<UploadsAnswer> {
    let mut spent = Spent::default();
    let answer = ask_in_helper(cx, (media, &mut spent), job, way).await;
    let failed = answer.as_ref().map_or(0, UploadsAnswer::failed);
    // Figures are no reason to go back.
    if let Err(failure) = keep_spent(cx, spent, failed) {
        cx.events.warn(failure.to_string());
    }
    answer
}

/// In the network of the services.
async fn ask_in_helper(
    cx: &Cx,
    (media, spent): (&Media, &mut Spent),
    (job, read_only): (UploadsJob, bool),
    way: Way,
) -> Result<UploadsAnswer> {
    let access = cx.storage().await?;
    let phase = job.phase();
    let request = UploadsRequest {
        dir: UPLOADS_TREE.into(),
        bucket: media.bucket.clone(),
        prefix: media.prefix.clone(),
        include: Vec::new(),
        exclude: Vec::new(),
        jobs: media.jobs,
        bandwidth: media.bandwidth,
        job,
    };
    let of = (&cx.project, Some(&media.name));
    let job = HelperJob {
        network: cx.engine.network_to(access, of).await?,
        ..HelperJob::new(
            &cx.run,
            &cx.project,
            Request::Uploads(Box::new(request)),
            vec![media.mount(read_only)],
        )
    };
    let mut on_line = |line| cx.pass_on(line, phase, Some(&media.key));
    if way == Way::Back {
        return cx.engine.uploads(job, (access, spent), &mut on_line).await;
    }
    tokio::select! {
        biased;
        () = cx.interrupt.raised() => {
            cx.engine.remove_helpers(&cx.run).await?;
            Err(Failure::interrupted("interrupted"))
        }
        answer = cx.engine.uploads(job, (access, spent), &mut on_line) => answer,
    }
}

/// Brings the files of the volume into the bucket; what was written there after `not_over` stays.
async fn into_bucket(cx: &Cx, media: &Media, not_over: Option<Timestamp>, way: Way) -> Result<SyncReport> {
    let job = SyncJob {
        about: media.about.clone(),
        not_over,
        ..SyncJob::default()
    };
    match ask(cx, media, (UploadsJob::Sync(job), true), way).await? {
        UploadsAnswer::Synced(report) => Ok(report),
        other => Err(other.unexpected()),
    }
}

/// Brings the objects into the volume, or those that were written after `since`.
async fn into_volume(cx: &Cx, media: &Media, since: Option<Timestamp>, way: Way) -> Result<PullReport> {
    let job = UploadsJob::Pull {
        dry_run: false,
        only_missing: false,
        since,
    };
    match ask(cx, media, (job, false), way).await? {
        UploadsAnswer::Pulled(report) => Ok(report),
        other => Err(other.unexpected()),
    }
}

/// Fails if single files did.
fn none_failed(troubles: &Troubles, what: impl FnOnce() -> String, hint: &str) -> Result<()> {
    match troubles.is_empty() {
        true => Ok(()),
        false => Err(with_causes(Failure::environment(what()), troubles).hint(hint)),
    }
}

/// What is wrong with single files, as causes.
fn with_causes(failure: Failure, troubles: &Troubles) -> Failure {
    let first = troubles.first.iter().take(TOLD);
    let failure = first.fold(failure, |failure, one| {
        failure.cause(format!("{}: {}", one.path, one.why))
    });
    match troubles.count.saturating_sub(TOLD as u64) {
        0 => failure,
        beyond => failure.cause(format!("and {beyond} more")),
    }
}

/// Variables with their values, for people.
fn words_of(values: &BTreeMap<String, String>) -> String {
    let words: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    words.join(", ")
}

/// Keeps what was done for whoever looks afterwards, who may be another process.
fn keep_said(cx: &Cx, name: &str, said: &str) -> Result<()> {
    crate::state::write_durably(&cx.run_dir.join(name), said.as_bytes())
}

fn said(cx: &Cx, name: &str) -> Result<Option<String>> {
    let path = cx.run_dir.join(name);
    std::fs::read_to_string(&path)
        .map(Some)
        .map_err(|e| Failure::environment(format!("cannot read {}", path.display())).because(&e))
}

/// When the services were switched, if they were.
fn switched_at(cx: &Cx) -> Result<Option<Timestamp>> {
    moment(cx, SWITCHED)
}

/// Notes that something begins now, unless another process began it before.
fn begins(cx: &Cx, name: &str) -> Result<()> {
    match moment(cx, name)? {
        Some(_) => Ok(()),
        None => keep_said(cx, name, &Timestamp::now().to_string()),
    }
}

fn moment(cx: &Cx, name: &str) -> Result<Option<Timestamp>> {
    let path = cx.run_dir.join(name);
    let cannot = || format!("cannot read {}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let at = text
                .trim()
                .parse()
                .map_err(|e| Failure::environment(cannot()).because(&e))?;
            Ok(Some(at))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::environment(cannot()).because(&error)),
    }
}

/// A little before the services were switched, so that clocks which differ lose nothing.
fn since_the_switch(cx: &Cx) -> Result<Option<Timestamp>> {
    Ok(switched_at(cx)?.map(|at| at - SKEW))
}

crate::step_set! {
    /// The steps of the switch, in the order in which a plan uses them.
    #[derive(Debug, Clone)]
    pub enum UploadsStep {
        /// Makes the bucket and tries it.
        SetUp(SetUp),
        /// Brings files into the bucket.
        Send(Send),
        /// Brings objects into the volume.
        Bring(Bring),
        /// Sets variables in `.env`.
        SetVariables(SetVariables),
        /// Makes the containers of a service anew.
        Swap(Swap),
        /// The services have the variables.
        HasVariables(HasVariables),
        /// Every container stays up.
        StayUp(StayUp),
        /// Has the application store something.
        AskApp(AskApp),
        /// Compares files and objects.
        Compare(Compare),
        /// Asks until the answer is as it should be.
        Check(Check),
        /// The data is where it was.
        SameData(SameData),
    }
}
