//! The deployment: looks once, plans, and hands the plan out; what is said yes to is what runs.

use std::path::PathBuf;

use super::execute::{Finish, RunFacts, Running};
use super::git::{self, Pulled};
use super::guard::{Loss, Planned as Guarded, guard_hooks};
use super::{App, MoveRequest, doctor, env_setting, move_};
use crate::compose::{Located, project};
use crate::model::config::{Git, Strategy};
use crate::model::{Failure, Result, RunId, ServiceName};
use crate::observe::deploy::DeploySeen;
use crate::plan::deploy::{DeployPlan, DeployWanted, First, Hooks, back_plan, deploy_plan};
use crate::plan::doctor::{Finding, Severity};
use crate::plan::{self, Destination};
use crate::state::Lock;
use crate::steps::Hook;
use crate::steps::deploy::{ComposeFile, DeployStep, Dump};

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

impl DeployRequest {
    /// Services are made anew from what is here, and nothing else is done.
    pub(super) fn of_what_is_here(dry_run: bool) -> Self {
        Self {
            no_pull: true,
            no_build: true,
            no_backup: true,
            no_hooks: true,
            dry_run,
            ..Self::default()
        }
    }
}

/// A plan, ready to run. The project stays locked while it exists.
pub struct PlannedDeploy {
    /// What will be done.
    pub plan: DeployPlan,
    /// The project's files afterwards.
    after: Located,
    lock: Option<Lock>,
    pulled: Option<Pulled>,
}

impl PlannedDeploy {
    /// Whether `git` brought the project's files forward for it.
    #[must_use]
    pub fn went_forward(&self) -> bool {
        self.pulled.is_some()
    }

    /// Nobody said yes to it: what was pulled goes back.
    pub async fn leave(self, app: &App) {
        if let Some(pulled) = self.pulled {
            pulled.take_back(app).await;
        }
    }

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
            pulled: self.pulled,
            watchdog: None,
        };
        let pulled = running.pulled.clone();
        let DeployPlan { facts, steps } = self.plan;
        let finish = running.begin(app, (RunFacts::Deploy(facts), steps), lock).await;
        if let (Err(_), Some(pulled)) = (&finish, pulled) {
            pulled.take_back(app).await;
        }
        finish
    }
}

/// Looks at the world and plans the deployment, after git went forward where that is configured: then the project is
/// another, and `app` is opened anew.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub async fn plan_deploy(app: &mut App, request: &DeployRequest) -> Result<PlannedDeploy> {
    let lock = if request.dry_run { None } else { Some(app.lock()?) };
    app.no_unfinished_run()?;
    if lock.is_some() {
        app.engine.remove_left_helpers(&app.project.name).await?;
    }
    let pulled = match app.settings.deploy.git {
        Git::Pull => git::pull(app, request.dry_run).await?,
        Git::None => None,
    };
    let planned = async {
        if pulled.is_some() {
            let locked = app.project.name.clone();
            *app = App::open(app.options.clone()).await?;
            if app.project.name != locked {
                return Err(Failure::refused(format!(
                    "what git brought is project {}, and no longer {locked}",
                    app.project.name
                ))
                .data("nothing was changed")
                .hint("its volumes would be others: keep the name with `name:` in the Compose file or -p"));
            }
        }
        plan_as_it_is(app, request).await
    };
    match planned.await {
        Ok((plan, after)) => Ok(PlannedDeploy {
            plan,
            after,
            lock,
            pulled,
        }),
        Err(failure) => {
            if let Some(pulled) = pulled {
                pulled.take_back(app).await;
            }
            Err(failure)
        }
    }
}

/// Plans from the files as they are now.
async fn plan_as_it_is(app: &App, request: &DeployRequest) -> Result<(DeployPlan, Located)> {
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
    let later = plan.facts.on_failure.iter().chain(&plan.facts.after_finish);
    let loss = Loss {
        allowed: request.allow_data_loss,
        no_backup: request.no_backup,
    };
    guard_hooks(app, steps.chain(later.map(Guarded::Hook)), loss).await?;
    nothing_at_risk(app, &request.despite).await?;
    Ok((plan, after))
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
    // It runs none.
    let request = DeployRequest {
        no_hooks: true,
        ..DeployRequest::default()
    };
    let (seen, wanted) = look(app, &request).await?;
    let spares = app.engine.spares(&app.project.name).await?;
    let plan = back_plan(&seen, &wanted, run, &spares)?;
    let after = app.located.clone();
    Ok(PlannedDeploy {
        plan,
        after,
        lock,
        pulled: None,
    })
}

/// Looks at the world for a deployment, and puts together what is wanted of it.
pub(super) async fn look(app: &App, request: &DeployRequest) -> Result<(DeploySeen, DeployWanted)> {
    let settings = &app.settings.deploy;
    let seen = app
        .observer(&app.looking())
        .look_for_deploy(&settings.require)
        .await?;
    let hooks = match request.no_hooks {
        true => Hooks::default(),
        false => {
            let hooks = app.settings.deploy_hooks(&seen.world);
            has_variables(app, hooks.all())?;
            hooks
        }
    };
    let wanted = DeployWanted {
        only: request.only.clone(),
        first: None,
        pull: settings.pull && !request.no_pull,
        build: settings.build && !request.no_build,
        fresh: request.no_cache,
        dump: !request.no_backup,
        no_dump: settings.no_dump.clone(),
        rolling: (settings.strategy == Strategy::Rolling).then_some(settings.drain),
        hooks,
        checks: app.settings.checks.clone(),
        stop_timeout: app.settings.stop_timeout,
        stable: settings.stable,
        limit: settings.limit,
        keep: settings.keep_images,
        older: older(app, &seen)?,
        commit: commit(&app.located.directory).await,
        compose_file: compose_file(app)?,
    };
    Ok((seen, wanted))
}

/// What `COMPOSE_FILE` in `.env` has to be, if it is not, and variants are why.
fn compose_file(app: &App) -> Result<Option<ComposeFile>> {
    if app.settings.variants.is_empty() {
        return Ok(None);
    }
    let setting = env_setting(app, false)?;
    Ok((!setting.current).then_some(ComposeFile {
        dotenv: setting.dotenv,
        value: setting.compose_file,
    }))
}

/// A hook is not begun that wants what nobody has.
pub(super) fn has_variables<'a>(app: &App, hooks: impl IntoIterator<Item = &'a Hook>) -> Result<()> {
    let known = app.located.variables(&app.options.project.env)?;
    for hook in hooks {
        if let Some(name) = hook.env.iter().find(|name| !known.contains_key(*name)) {
            return Err(Failure::refused(format!(
                "the hook `{}` wants {name}, which is not set",
                hook.run.join(" ")
            ))
            .cause("it stands in its `env` in rehome.yml")
            .data("nothing was changed")
            .hint(format!(
                "set it in {} or in the environment",
                app.located.dotenv.display()
            )));
        }
    }
    Ok(())
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
