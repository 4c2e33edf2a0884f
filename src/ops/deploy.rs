//! The deployment: looks once, plans, and hands the plan out; what is said yes to is what runs.

use std::path::PathBuf;

use super::execute::{Finish, RunFacts, Running};
use super::guard::{Loss, Planned as Guarded, guard_hooks};
use super::{App, MoveRequest, doctor, move_};
use crate::compose::{Located, project};
use crate::model::config::Strategy;
use crate::model::{Failure, Result, RunId, ServiceName};
use crate::observe::deploy::DeploySeen;
use crate::plan::deploy::{DeployPlan, DeployWanted, First, back_plan, deploy_plan};
use crate::plan::doctor::{Finding, Severity};
use crate::plan::{self, Destination};
use crate::state::Lock;
use crate::steps::deploy::{DeployStep, Dump};

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct DeployRequest {
    /// Only these services.
    pub only: Vec<ServiceName>,
    /// `--first`: the project's first start, with its data on this block volume, or that of the configuration.
    pub first: Option<Option<PathBuf>>,
    /// `--no-pull`.
    pub no_pull: bool,
    /// `--no-build`.
    pub no_build: bool,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-backup`.
    pub no_backup: bool,
    /// `--no-hooks`.
    pub no_hooks: bool,
    /// Findings of the doctor that are known and do not stop it, by their names.
    pub despite: Vec<String>,
    /// `--allow-data-loss`.
    pub allow_data_loss: bool,
    /// Only the plan is wanted: the lock is not needed.
    pub dry_run: bool,
}

/// A plan, ready to run. The project stays locked while it exists.
pub struct PlannedDeploy {
    /// What will be done.
    pub plan: DeployPlan,
    /// The project's files afterwards.
    after: Located,
    lock: Option<Lock>,
}

impl PlannedDeploy {
    /// Runs it.
    ///
    /// # Errors
    /// Only when the run could not be begun; how it ended is in [`Finish`].
    pub async fn run(self, app: &App) -> Result<Finish> {
        let lock = self
            .lock
            .ok_or_else(|| Failure::bug("a dry run was asked to run"))?;
        let running = Running {
            before: app.located.clone(),
            after: self.after,
            page: None,
        };
        let DeployPlan { facts, steps } = self.plan;
        running.begin(app, (RunFacts::Deploy(facts), steps), lock).await
    }
}

/// Looks at the world and plans the deployment.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub async fn plan_deploy(app: &App, request: &DeployRequest) -> Result<PlannedDeploy> {
    let lock = if request.dry_run { None } else { Some(app.lock()?) };
    app.no_unfinished_run()?;
    if lock.is_some() {
        app.engine.remove_left_helpers(&app.project.name).await?;
    }
    let (seen, mut wanted) = look(app, request).await?;
    let mut after = app.located.clone();
    if let Some(root) = &request.first {
        let (first, files) = first_homes(app, root.clone()).await?;
        wanted.first = Some(first);
        after = files;
    }
    let plan = deploy_plan(&seen, &wanted)?;
    let steps = plan.steps.iter().filter_map(|step| match step {
        DeployStep::Hook(hook) => Some(Guarded::Hook(hook)),
        DeployStep::Dump(dump) => Some(Guarded::Dump(dump)),
        _ => None,
    });
    let loss = Loss {
        allowed: request.allow_data_loss,
        no_backup: request.no_backup,
    };
    guard_hooks(app, steps, loss).await?;
    nothing_at_risk(app, &request.despite).await?;
    Ok(PlannedDeploy { plan, after, lock })
}

/// The homes of a project that has no data yet: on the block volume before anything is started, so that none of it ever
/// lands on the root disk.
async fn first_homes(app: &App, root: Option<PathBuf>) -> Result<(First, Located)> {
    let Some(root) = root.or_else(|| app.settings.block_root.clone()) else {
        return Err(
            Failure::usage("where to? neither --first nor `block.root` in rehome.yml says it")
                .hint("rehome deploy --first=/mnt/DIRECTORY"),
        );
    };
    let to = Destination::Block(root);
    let request = MoveRequest {
        without_data: app.project.volumes.keys().cloned().collect(),
        ..MoveRequest::default()
    };
    let wanted = move_::wanted(app, &request, to);
    let world = app.look(&app.looking(), &move_::depth(app, &wanted)).await?;
    let base = project::load(&app.compose, &app.base_files()).await?;
    let names = base.volumes.values().map(|v| (v.key.clone(), v.name.clone()));
    let volumes = plan::first_homes(&world, &wanted, &names.collect())?;
    let (switch, after) = move_::switch(app, &world, &volumes, &base)?;
    Ok((First { volumes, switch }, after))
}

/// No deployment while data is at risk already.
async fn nothing_at_risk(app: &App, despite: &[String]) -> Result<()> {
    let diagnosis = doctor::project(app, None).await?;
    let stops = |f: &&Finding| f.severity == Severity::Error && !despite.iter().any(|id| id == f.id);
    let errors: Vec<&Finding> = diagnosis.findings.iter().filter(stops).collect();
    let Some(first) = errors.first() else {
        return Ok(());
    };
    let failure = errors.iter().fold(
        Failure::refused("the data of this project is at risk already: no deployment before that is mended"),
        |failure, finding| failure.cause(format!("{}: {}", finding.id, finding.what)),
    );
    Err(failure
        .data("nothing was changed")
        .hint("what was seen, and the commands that mend it: rehome doctor")
        .hint(format!(
            "to deploy all the same: rehome deploy --despite {}",
            first.id
        )))
}

/// Plans the way back to what a finished deployment replaced. The lock is handed on.
///
/// # Errors
/// When it kept nothing, or the world cannot be looked at.
pub(super) async fn plan_back(app: &App, run: &RunId, lock: Option<Lock>) -> Result<PlannedDeploy> {
    let (seen, wanted) = look(app, &DeployRequest::default()).await?;
    let spares = app.engine.spares(&app.project.name).await?;
    let plan = back_plan(&seen, &wanted, run, &spares)?;
    let after = app.located.clone();
    Ok(PlannedDeploy { plan, after, lock })
}

async fn look(app: &App, request: &DeployRequest) -> Result<(DeploySeen, DeployWanted)> {
    let settings = &app.settings.deploy;
    let seen = app
        .observer(&app.looking())
        .look_for_deploy(&settings.require)
        .await?;
    let wanted = DeployWanted {
        only: request.only.clone(),
        first: None,
        pull: settings.pull && !request.no_pull,
        build: settings.build && !request.no_build,
        fresh: request.no_cache,
        dump: !request.no_backup,
        no_dump: settings.no_dump.clone(),
        rolling: (settings.strategy == Strategy::Rolling).then_some(settings.drain),
        hooks: match request.no_hooks {
            true => Vec::new(),
            false => app.settings.hooks(&seen.world),
        },
        checks: app.settings.checks.clone(),
        stop_timeout: app.settings.stop_timeout,
        stable: settings.stable,
        limit: settings.limit,
        keep: settings.keep_images,
        older: older(app, &seen)?,
        commit: commit(&app.located.directory).await,
    };
    Ok((seen, wanted))
}

/// The runs that kept something to go back to, oldest first.
fn older(app: &App, seen: &DeploySeen) -> Result<Vec<RunId>> {
    let mut runs = app.state.runs()?;
    runs.retain(|run| seen.kept.contains(run.id()) || run.path().join(Dump::DIRECTORY).is_dir());
    runs.sort_by_key(crate::state::RunDir::began);
    let known: Vec<RunId> = runs.iter().map(|run| run.id().clone()).collect();
    // Spares of runs whose directory is gone are the oldest.
    let lost = seen.kept.iter().filter(|run| !known.contains(run)).cloned();
    Ok(lost.chain(known.iter().cloned()).collect())
}

/// What `git` says is checked out; nothing where there is no git, or no repository.
async fn commit(directory: &std::path::Path) -> Option<String> {
    let asked = tokio::process::Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(["describe", "--always", "--dirty", "--tags"])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let said = tokio::time::timeout(std::time::Duration::from_secs(10), asked)
        .await
        .ok()?
        .ok()?;
    let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    (said.status.success() && !text.is_empty()).then_some(text)
}
