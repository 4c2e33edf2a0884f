//! `resume` and `rollback`: goes on with a run that was interrupted, forward or back. For a run that is finished, says
//! what was written since, and offers the move back.

use super::App;
use super::MoveRequest;
use super::deploy::{PlannedDeploy, plan_back};
use super::execute::{Finish, Header, RunFacts, executor, finish, world};
use crate::engine::{HelperJob, HelperMount};
use crate::event::Outcome;
use crate::helper::protocol::{Answer, CompareReport, Request};
use crate::model::{ByteSize, Failure, Result, RunId, VolumeKey, VolumeName};
use crate::plan::Destination;
use crate::saga::State;
use crate::saga::recovery::{Condition, Run, examine, newest, unfinished};
use crate::state::{FileStore, Lock, ProjectDir};
use crate::steps::backup::BackupStep;
use crate::steps::deploy::DeployStep;
use crate::steps::sites::SiteStep;
use crate::steps::uploads::UploadsStep;
use crate::steps::{FROM, MoveStep, TO};

/// What there is to do about a run.
pub enum Recovery {
    /// It was carried to its end.
    Finished(Box<Finish>),
    /// It is finished: this was written since, and this move would go back with it.
    Offer {
        /// The run.
        run: RunId,
        /// What differs between its old and its new homes.
        since: Vec<String>,
        /// The move that goes back and loses nothing.
        back: Box<MoveRequest>,
    },
    /// It is a finished deployment: this brings back what it replaced.
    Redeploy(Box<PlannedDeploy>),
    /// What would be done (`--dry-run`).
    WouldDo(String),
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Back,
}

/// Goes on with a run: `back` takes it back.
///
/// # Errors
/// When there is no such run, another process is at it, or its journal cannot be believed.
pub async fn recover(app: &App, wanted: Option<&RunId>, back: bool, dry_run: bool) -> Result<Recovery> {
    let way = if back { Way::Back } else { Way::Forward };
    let lock = if dry_run { None } else { Some(app.lock()?) };
    if lock.is_some() {
        app.engine.remove_left_helpers(&app.project.name).await?;
    }
    let run = find(&app.state, wanted, way)?;
    let id = run.dir.id().clone();
    let state = match run.condition {
        Condition::Open(state) => state,
        Condition::Closed(state) => return closed(app, &id, &state, way, lock).await,
        Condition::NeverBegan => {
            return Err(
                Failure::refused(format!("run {id} ended before it began")).data("it changed nothing")
            );
        }
        Condition::Unreadable(failure) => return Err(*failure),
    };
    let header = header(&state)?;
    same_engine(app, &header)?;
    if dry_run {
        let steps: Vec<_> = state
            .reports()
            .iter()
            .map(|r| format!("  {:?}  {}", r.status, r.title))
            .collect();
        let verb = if way == Way::Back || state.unwinding().is_some() {
            "taken back"
        } else {
            "finished"
        };
        return Ok(Recovery::WouldDo(format!(
            "run {id} would be {verb}:\n{}",
            steps.join("\n")
        )));
    }
    if let Some(mut lock) = lock {
        lock.write(&app.options.note(Some(id.clone())))?;
        // What the crash left running works on the same directories.
        app.engine.remove_helpers(&id).await?;
        let cx = world(app, &header, &run.dir)?;
        let store = FileStore::open(&run.dir.journal())?;
        let executor = executor(app);
        let mut ended = match (&header.facts, way) {
            (RunFacts::Move(_), Way::Forward) => executor.resume::<MoveStep>(store, &cx).await?,
            (RunFacts::Move(_), Way::Back) => executor.rollback::<MoveStep>(store, &cx).await?,
            (RunFacts::Deploy(_), Way::Forward) => executor.resume::<DeployStep>(store, &cx).await?,
            (RunFacts::Deploy(_), Way::Back) => executor.rollback::<DeployStep>(store, &cx).await?,
            (RunFacts::Backup(_), Way::Forward) => executor.resume::<BackupStep>(store, &cx).await?,
            (RunFacts::Backup(_), Way::Back) => executor.rollback::<BackupStep>(store, &cx).await?,
            (RunFacts::Uploads(_), Way::Forward) => executor.resume::<UploadsStep>(store, &cx).await?,
            (RunFacts::Uploads(_), Way::Back) => executor.rollback::<UploadsStep>(store, &cx).await?,
            (RunFacts::Site(_), Way::Forward) => executor.resume::<SiteStep>(store, &cx).await?,
            (RunFacts::Site(_), Way::Back) => executor.rollback::<SiteStep>(store, &cx).await?,
        };
        if way == Way::Back && ended.outcome == Outcome::RolledBack {
            // Whatever made the run go back at first: this command was asked to, and did.
            ended.failure = None;
        }
        drop(lock);
        let finished = finish(app, &run.dir, &header, &cx, ended).await;
        return Ok(Recovery::Finished(Box::new(finished)));
    }
    Err(Failure::bug("a recovery without a lock"))
}

fn find(state: &ProjectDir, wanted: Option<&RunId>, way: Way) -> Result<Run> {
    if let Some(id) = wanted {
        return Ok(examine(state.find_run(id.as_str())?));
    }
    if let Some(run) = unfinished(state)? {
        return Ok(run);
    }
    let none = || Failure::refused("no run of this project waits to be finished").data("nothing was changed");
    match way {
        Way::Forward => Err(none()),
        Way::Back => newest(state)?.ok_or_else(none),
    }
}

fn header(state: &State) -> Result<Header> {
    serde_json::from_value(state.opened().header.clone()).map_err(|e| {
        Failure::refused(format!(
            "run {} was begun by another version ({})",
            state.opened().run,
            state.opened().by
        ))
        .because(&e)
        .data("nothing was changed by this command")
        .hint("finish it with the version that began it")
    })
}

fn same_engine(app: &App, header: &Header) -> Result<()> {
    let now = app.engine.host();
    if now.url == header.host {
        return Ok(());
    }
    Err(
        Failure::refused(format!("the run was begun on another engine: {}", header.host))
            .cause(format!("this is {} (from {})", now.url, now.source))
            .data("nothing was changed")
            .hint(format!("rehome -H {} …", header.host)),
    )
}

/// A finished run: what was written since, and the move back.
async fn closed(app: &App, id: &RunId, state: &State, way: Way, lock: Option<Lock>) -> Result<Recovery> {
    let outcome = state.outcome().unwrap_or(Outcome::Failed);
    let header = header(state)?;
    let went_back = matches!(&header.facts, RunFacts::Move(facts) if facts.back);
    if way == Way::Forward || outcome != Outcome::Done || went_back {
        let how = match outcome {
            Outcome::Done => "done",
            Outcome::RolledBack => "rolled back already",
            _ => "over",
        };
        return Err(
            Failure::refused(format!("run {id} is {how}: there is nothing to take up"))
                .data("nothing was changed"),
        );
    }
    same_engine(app, &header)?;
    if let RunFacts::Backup(about) = &header.facts {
        return Err(about.no_way_back(id));
    }
    if let RunFacts::Uploads(about) = &header.facts {
        return Err(about.no_way_back(id));
    }
    if let RunFacts::Site(about) = &header.facts {
        return Err(about.no_way_back(id));
    }
    if matches!(header.facts, RunFacts::Deploy(_)) {
        let planned = plan_back(app, id, lock).await?;
        return Ok(Recovery::Redeploy(Box::new(planned)));
    }
    let mut since = Vec::new();
    let mut only = Vec::new();
    for (key, old, new) in homes(state) {
        // A volume that was moved again since is another run's business.
        if app.project.volumes.get(&key).map(|v| &v.name) != Some(&new) {
            continue;
        }
        since.push(match compare(app, &old, &new).await? {
            Some(report) => format!(
                "{key}: {} entries added, {} changed, {} removed since ({})",
                report.added,
                report.changed,
                report.removed,
                ByteSize(report.bytes)
            ),
            None => format!("{key}: its old home is gone"),
        });
        only.push(key);
    }
    if only.is_empty() {
        return Err(Failure::refused(format!(
            "none of the volumes of run {id} lives where it put them any more"
        ))
        .data("nothing was changed")
        .hint("`rehome status` shows where they live"));
    }
    let back = Box::new(MoveRequest {
        to: Some(Destination::Volumes),
        only,
        ..MoveRequest::default()
    });
    Ok(Recovery::Offer {
        run: id.clone(),
        since,
        back,
    })
}

/// The old and the new Docker volume of each that the run moved with its data.
fn homes(state: &State) -> Vec<(VolumeKey, VolumeName, VolumeName)> {
    let steps = state
        .opened()
        .steps
        .iter()
        .filter_map(|s| serde_json::from_value::<MoveStep>(s.step.clone()).ok());
    steps
        .filter_map(|step| match step {
            MoveStep::MakeHomes(make) => Some(make.volumes),
            _ => None,
        })
        .flatten()
        .map(|m| (m.key.clone(), m.source.clone(), m.target.volume_name().clone()))
        .collect()
}

async fn compare(app: &App, old: &VolumeName, new: &VolumeName) -> Result<Option<CompareReport>> {
    if app.engine.find_volume(old).await?.is_none() || app.engine.find_volume(new).await?.is_none() {
        return Ok(None);
    }
    let request = Request::Compare {
        left: FROM.into(),
        right: TO.into(),
    };
    let mounts = vec![
        HelperMount::Volume {
            name: old.clone(),
            target: FROM.into(),
            read_only: true,
        },
        HelperMount::Volume {
            name: new.clone(),
            target: TO.into(),
            read_only: true,
        },
    ];
    let job = HelperJob::new(&app.looking(), &app.project.name, request, mounts);
    match app.engine.helper(job, &mut |_| {}).await? {
        Answer::Compare(report) => Ok(Some(report)),
        other => Err(Failure::bug(format!(
            "the helper answered something else: {other:?}"
        ))),
    }
}
