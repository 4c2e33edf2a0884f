//! What steps work on: one engine, one project, one run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::compose::{Compose, Located};
use crate::engine::{Container, Engine, HelperJob, HelperMount, Pace};
use crate::event::{Event, Events};
use crate::helper::protocol::{Answer, Line, Request};
use crate::model::{Failure, Owner, ProjectName, Result, RunId, ServiceName, VolumeKey, VolumeName};
use crate::s3::{Access, S3Settings};
use crate::saga::Interrupt;

use super::backup::Vault;
use super::downtime::Downtime;
use super::page::Maintenance;
use super::spec::{Moving, STATE};

/// An engine that is being restarted may be away this long.
const ENGINE_AWAY: Duration = Duration::from_secs(120);

/// The world of a step.
pub struct Cx {
    /// The engine.
    pub engine: Engine,
    /// `docker compose` against the same engine.
    pub compose: Compose,
    /// The project.
    pub project: ProjectName,
    /// The project's files before and after the switch.
    pub files: StackFiles,
    /// The run.
    pub run: RunId,
    /// The run's directory in the state directory.
    pub run_dir: PathBuf,
    /// Where events go.
    pub events: Arc<dyn Events>,
    /// Set by the first Ctrl-C.
    pub interrupt: Interrupt,
    /// Since when services are down, and for how long they were.
    pub downtime: Downtime,
    /// How long the last round of copying took, while the stack ran. Unknown after a crash.
    pub last_round: Mutex<Option<Duration>>,
    /// What answers meanwhile.
    pub maintenance: Maintenance,
    /// The environment of this process, for what runs on this machine. Its values are secrets.
    pub env: BTreeMap<String, String>,
    /// What backups are written and read with, where the run is about one.
    pub vault: Option<Vault>,
    /// How a bucket with uploads is reached, where the run is about one.
    pub storage: Option<Storage>,
}

/// How a bucket is reached: looked for once, by every process anew, and never written down.
pub struct Storage {
    settings: S3Settings,
    found: OnceCell<Access>,
}

impl Storage {
    /// From what the variables say.
    #[must_use]
    pub fn new(settings: S3Settings) -> Self {
        Self {
            settings,
            found: OnceCell::new(),
        }
    }
}

/// The project's files before and after the switch.
#[derive(Debug, Clone)]
pub struct StackFiles {
    /// Without what this run writes.
    pub before: Located,
    /// With it.
    pub after: Located,
}

impl StackFiles {
    /// The files that are there before and after the switch: it removes the override when no volume needs one any more.
    #[must_use]
    pub fn lasting(&self) -> Located {
        let gone = |file: &&PathBuf| !self.after.files.contains(file);
        let before = self.before.files.iter();
        before
            .filter(gone)
            .fold(self.before.clone(), |files, file| files.without_file(file))
    }
}

impl Cx {
    /// What backups are written and read with.
    ///
    /// # Errors
    /// In a run that is about none.
    pub fn vault(&self) -> Result<&Vault> {
        self.vault
            .as_ref()
            .ok_or_else(|| Failure::bug("a backup in a run that is about none"))
    }

    /// The access to the bucket of this run.
    ///
    /// # Errors
    /// When there are no keys; in a run that is about no bucket.
    pub async fn storage(&self) -> Result<&Access> {
        let storage = self
            .storage
            .as_ref()
            .ok_or_else(|| Failure::bug("a bucket in a run that is about none"))?;
        storage
            .found
            .get_or_try_init(|| Access::find(&storage.settings))
            .await
    }

    /// The run's own small volume, where the helper keeps its manifests between passes.
    ///
    /// # Errors
    /// Never in practice: a run id is a valid part of a name.
    pub fn state_volume(&self) -> Result<VolumeName> {
        VolumeName::new(format!("rehome_{}", self.run))
            .map_err(|e| Failure::bug("a run id that is no name").because(&e))
    }

    /// The manifest of a volume inside the helper.
    #[must_use]
    pub fn manifest(&self, key: &VolumeKey) -> PathBuf {
        PathBuf::from(STATE).join(format!("{key}.manifest"))
    }

    /// The mounts of a helper that reads a volume's source and writes (or only reads) its target, and the paths of
    /// the data in both.
    ///
    /// # Errors
    /// As [`Cx::state_volume`].
    pub fn both_sides(
        &self,
        moving: &Moving,
        target_read_only: bool,
    ) -> Result<(Vec<HelperMount>, PathBuf, PathBuf)> {
        let (source, from) = moving.source_mount();
        let (target, to) = moving.target_mount(target_read_only);
        let state = HelperMount::Volume {
            name: self.state_volume()?,
            target: STATE.into(),
            read_only: false,
        };
        Ok((vec![source, target, state], from, to))
    }

    /// Asks one helper about several volumes, one after the other: a container takes longer to start than most
    /// requests take. A failure is put inside of what `blame` says of the volume that was worked on. Ctrl-C ends it.
    ///
    /// # Errors
    /// As [`Engine::helper`], or interrupted.
    pub async fn ask_each(
        &self,
        asks: Vec<Ask<'_>>,
        (phase, pace): (&str, Pace),
        blame: impl Fn(&VolumeKey) -> String,
    ) -> Result<Vec<Answer>> {
        if asks.is_empty() {
            return Ok(Vec::new());
        }
        let (mut volumes, mut requests, mut mounts) = (Vec::new(), Vec::new(), Vec::new());
        for ask in asks {
            volumes.push(ask.volume);
            requests.push(ask.request);
            for mount in ask.mounts {
                if !mounts.contains(&mount) {
                    mounts.push(mount);
                }
            }
        }
        let asked = requests.len();
        let job = HelperJob {
            pace,
            ..HelperJob::new(&self.run, &self.project, Request::Several { requests }, mounts)
        };
        let mut volume = None;
        let mut on_line = |line| match line {
            Line::Turn { index } => volume = volumes.get(index).copied(),
            line => self.pass_on(line, phase, volume),
        };
        let answer = tokio::select! {
            biased;
            () = self.interrupt.raised() => {
                self.engine.remove_helpers(&self.run).await?;
                Err(Failure::interrupted("interrupted"))
            }
            answer = self.engine.helper(job, &mut on_line) => answer,
        };
        match answer {
            Ok(Answer::Several { answers }) if answers.len() == asked => Ok(answers),
            Ok(other) => Err(wrong_answer(&other)),
            Err(failure) => Err(match volume {
                Some(key) => failure.inside(blame(key)),
                None => failure,
            }),
        }
    }

    /// Runs a request in a helper; progress goes to the events under this phase and volume. Ctrl-C ends it.
    ///
    /// # Errors
    /// As [`Engine::helper`], or interrupted.
    pub async fn helper(
        &self,
        request: Request,
        mounts: Vec<HelperMount>,
        phase: &str,
        volume: Option<&VolumeKey>,
    ) -> Result<Answer> {
        tokio::select! {
            biased;
            () = self.interrupt.raised() => {
                self.engine.remove_helpers(&self.run).await?;
                Err(Failure::interrupted("interrupted"))
            }
            answer = self.uninterrupted(request, mounts, phase, volume) => answer,
        }
    }

    /// The same, also after Ctrl-C: for the way back.
    ///
    /// # Errors
    /// As [`Engine::helper`].
    pub async fn uninterrupted(
        &self,
        request: Request,
        mounts: Vec<HelperMount>,
        phase: &str,
        volume: Option<&VolumeKey>,
    ) -> Result<Answer> {
        let job = HelperJob::new(&self.run, &self.project, request, mounts);
        self.run_job(job, phase, volume).await
    }

    /// Runs a request as another user, without the copier's capabilities.
    ///
    /// # Errors
    /// As [`Engine::helper`].
    pub async fn as_user(&self, request: Request, mounts: Vec<HelperMount>, user: Owner) -> Result<Answer> {
        let job = HelperJob {
            user: Some(user),
            ..HelperJob::new(&self.run, &self.project, request, mounts)
        };
        self.run_job(job, "access", None).await
    }

    /// Runs a job as it is.
    ///
    /// # Errors
    /// As [`Engine::helper`].
    pub async fn run_job(&self, job: HelperJob, phase: &str, volume: Option<&VolumeKey>) -> Result<Answer> {
        self.engine
            .helper(job, &mut |line| self.pass_on(line, phase, volume))
            .await
    }

    /// Tells what a helper says.
    pub(super) fn pass_on(&self, line: Line, phase: &str, volume: Option<&VolumeKey>) {
        pass_on(&*self.events, line, phase, volume);
    }

    /// The running containers of a service; there is one at least.
    ///
    /// # Errors
    /// When there is none, or the engine does not answer.
    pub async fn all_running(&self, service: &ServiceName) -> Result<Vec<Container>> {
        let mut containers = self.engine.project_containers(&self.project).await?;
        containers.retain(|c| !c.one_off && c.service.as_ref() == Some(service) && c.state.is_up());
        match containers.is_empty() {
            true => Err(Failure::environment(format!(
                "service `{service}` has no running container"
            ))),
            false => Ok(containers),
        }
    }

    /// One of them.
    ///
    /// # Errors
    /// As [`Cx::all_running`].
    pub async fn running(&self, service: &ServiceName) -> Result<Container> {
        let mut all = self.all_running(service).await?;
        Ok(all.swap_remove(0))
    }

    /// Waits until the engine answers: the way back must outlive a restart of the engine.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn engine_answers(&self) -> Result<()> {
        self.engine.wait_until_answers(ENGINE_AWAY).await
    }
}

/// What a helper is asked about one volume.
pub struct Ask<'a> {
    /// The volume.
    pub volume: &'a VolumeKey,
    /// The question.
    pub request: Request,
    /// What it needs to see. The same mount may be part of several.
    pub mounts: Vec<HelperMount>,
}

/// The answer was not to the question that was asked.
pub(super) fn wrong_answer(answer: &Answer) -> Failure {
    Failure::bug(format!("the helper answered something else: {answer:?}"))
}

/// Tells what a helper says.
pub(crate) fn pass_on(events: &dyn Events, line: Line, phase: &str, volume: Option<&VolumeKey>) {
    match line {
        Line::Progress {
            bytes,
            bytes_total,
            files,
            files_total,
        } => events.tell(Event::Progress {
            phase: phase.to_owned(),
            volume: volume.cloned(),
            bytes,
            bytes_total,
            files,
            files_total,
        }),
        Line::Note { text } => events.warn(text),
        Line::Turn { .. } | Line::Answer(_) | Line::Failed { .. } => {}
    }
}
