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
use crate::helper::protocol::{Request, Troubles, UploadsAnswer, UploadsJob, UploadsRequest};
use crate::model::config::Prefix;
use crate::model::{Failure, Result, VolumeKey, VolumeName};
use crate::s3::About;

/// Where the tree is in a helper.
const TREE: &str = "/tree";
/// When the services were switched: beside the journal, because both directions ask for it.
const SWITCHED: &str = "switched-at";
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
}

/// Whether Ctrl-C ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Back,
}

/// Asks in a helper that has the volume, in the network of the services.
async fn ask(
    cx: &Cx,
    media: &Media,
    (job, read_only): (UploadsJob, bool),
    way: Way,
) -> Result<UploadsAnswer> {
    let access = cx.storage().await?;
    let phase = match job {
        UploadsJob::Sync(_) => "upload",
        UploadsJob::Pull { .. } => "download",
        UploadsJob::Verify { .. } => "compare",
        UploadsJob::SetUp(_) | UploadsJob::Check { .. } => "check",
    };
    let request = UploadsRequest {
        dir: TREE.into(),
        bucket: media.bucket.clone(),
        prefix: media.prefix.clone(),
        include: Vec::new(),
        exclude: Vec::new(),
        jobs: media.jobs,
        bandwidth: media.bandwidth,
        job,
    };
    let mount = HelperMount::Volume {
        name: media.name.clone(),
        target: TREE.to_owned(),
        read_only,
    };
    let of = (&cx.project, Some(&media.name));
    let job = HelperJob {
        network: cx.engine.network_to(&access.settings, of).await?,
        ..HelperJob::new(
            &cx.run,
            &cx.project,
            Request::Uploads(Box::new(request)),
            vec![mount],
        )
    };
    let mut on_line = |line| cx.pass_on(line, phase, Some(&media.key));
    if way == Way::Back {
        return cx.engine.uploads(job, access, &mut on_line).await;
    }
    tokio::select! {
        biased;
        () = cx.interrupt.raised() => {
            cx.engine.remove_helpers(&cx.run).await?;
            Err(Failure::interrupted("interrupted"))
        }
        answer = cx.engine.uploads(job, access, &mut on_line) => answer,
    }
}

fn something_else(answer: &UploadsAnswer) -> Failure {
    Failure::bug(format!("the helper said something else: {answer:?}"))
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
    let path = cx.run_dir.join(SWITCHED);
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
