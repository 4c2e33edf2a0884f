//! What every use case begins with: the engine, Compose, the project, its settings and its state directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Settings;
use crate::block::fstab::{Entry, Fstab};
use crate::block::mounted::Mounts;
use crate::block::sysroot::Sysroot;
use crate::compose::{self, Compose, Located, Project};
use crate::engine::{self, Engine};
use crate::event::Events;
use crate::model::{Failure, ProjectName, Result, RunId, shell_path};
use crate::observe::{Depth, Observer, World};
use crate::saga::Interrupt;
use crate::saga::recovery::unfinished;
use crate::state::{Lock, LockNote, ProjectDir, ProjectKey, StateDir};

/// What the command line and the environment say.
#[derive(Clone)]
pub struct Options {
    /// How the project is found.
    pub project: compose::Wanted,
    /// How the engine is found.
    pub engine: engine::HostWanted,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// What was typed, in words, for the history and the lock.
    pub command: String,
    /// Who wants it, where that is no user of this machine: `web user ada`.
    pub by: Option<String>,
    /// Where events go.
    pub events: Arc<dyn Events>,
    /// Raised by Ctrl-C.
    pub interrupt: Interrupt,
}

/// A project on an engine, ready to be worked on.
pub struct App {
    /// What was asked.
    pub options: Options,
    /// The engine.
    pub engine: Engine,
    /// Compose, pointed at the same engine.
    pub compose: Compose,
    /// The project's files as they are now, the override included if it is active.
    pub located: Located,
    /// The project as those resolve.
    pub project: Project,
    /// The effective settings.
    pub settings: Settings,
    /// Where its state is kept.
    pub state: ProjectDir,
}

impl Options {
    /// What a lock says about this call.
    pub(super) fn note(&self, run: Option<RunId>) -> LockNote {
        LockNote::of(self.by.as_deref(), self.command.as_str(), run)
    }
}

impl App {
    /// Finds all of it.
    ///
    /// # Errors
    /// No engine, no Compose v2, no project, files that do not parse, a configuration that cannot be understood.
    pub async fn open(options: Options) -> Result<Self> {
        Self::find(options).await.map_err(|failure| match failure.data {
            Some(_) => failure,
            None => failure.data("nothing was changed"),
        })
    }

    async fn find(options: Options) -> Result<Self> {
        let located = compose::locate(&options.project)?;
        // Before anything that needs an engine: a mistake in it is one without.
        let mut settings = Settings::load(options.config.as_deref(), &located)?;
        let located = settings.with_variants(located, &options.project.env)?;
        let host = engine::resolve_host(&options.engine)?;
        let local = host.is_local();
        let engine = Engine::connect(host).await.map_err(|failure| match local {
            true => waiting_for_volumes(failure),
            false => failure,
        })?;
        let compose = Compose::find(&options.project.env, Some(engine.address())).await?;
        let project = compose::project::load(&compose, &located).await?;
        // From here on the name is said, and not found out again.
        let located = located.named(&project.name);
        let state = state_of(&options, &project.name, &engine)?;
        Ok(Self {
            options,
            engine,
            compose,
            located,
            project,
            settings,
            state,
        })
    }

    /// The project's files without the override.
    #[must_use]
    pub fn base_files(&self) -> Located {
        self.located.without_file(&self.settings.override_path)
    }

    /// Looks at the world.
    ///
    /// # Errors
    /// As [`Observer::look`].
    pub async fn look(&self, run: &RunId, depth: &Depth) -> Result<World> {
        self.observer(run).look(depth).await
    }

    pub(super) fn observer(&self, run: &RunId) -> Observer<'_> {
        Observer {
            engine: &self.engine,
            compose: &self.compose,
            located: &self.located,
            project: &self.project,
            run: run.clone(),
            events: Arc::clone(&self.options.events),
            env: &self.options.project.env,
        }
    }

    /// Takes the project's lock.
    ///
    /// # Errors
    /// Refused, naming who has it.
    pub fn lock(&self) -> Result<Lock> {
        self.state.lock(&self.options.note(None))
    }

    /// Nothing new begins while an older run waits to be finished.
    ///
    /// # Errors
    /// Refused, naming the run and the two ways on.
    pub fn no_unfinished_run(&self) -> Result<()> {
        match unfinished(&self.state)? {
            None => Ok(()),
            Some(run) => {
                let id = run.dir.id();
                let holder = self.state.locked_by()?.flatten();
                if let Some(note) = holder.filter(|note| note.run.as_ref() == Some(id)) {
                    return Err(Failure::refused(format!("run {id} of this project is under way"))
                        .cause(note.to_string())
                        .data("this command changed nothing")
                        .hint("wait for its end"));
                }
                Err(
                    Failure::refused(format!("run {id} of this project is not finished"))
                        .data("this command changed nothing")
                        .hint(format!(
                            "finish it with `rehome resume {id}`, or take it back with `rehome rollback {id}`"
                        )),
                )
            }
        }
    }

    /// A run id for looking only: nothing is kept under it.
    #[must_use]
    pub fn looking(&self) -> RunId {
        RunId::from_entropy(entropy())
    }
}

/// After a boot without its block volume an engine does not answer: it waits for the volume, as `rehome mount` arranged.
fn waiting_for_volumes(failure: Failure) -> Failure {
    let missing = |at: &Path| Mounts::about(at).is_ok_and(|mounts| mounts.here.is_empty());
    match Fstab::read(&Sysroot::new(None)) {
        Ok(fstab) => name_volumes(failure, &fstab, missing),
        Err(_) => failure,
    }
}

/// Names the volumes whose lines in fstab are Rehome's and that are not mounted.
fn name_volumes(failure: Failure, fstab: &Fstab, missing: impl Fn(&Path) -> bool) -> Failure {
    let ours = fstab.entries().filter(Entry::is_ours);
    ours.filter(|entry| missing(&entry.target))
        .fold(failure, |failure, entry| {
            let (at, word) = (entry.target.display(), shell_path(&entry.target));
            failure
                .cause(format!(
                    "{at} is not mounted, and the engine does not start without it"
                ))
                .hint(format!(
                    "is the volume attached? lsblk -f; then: mount {word} && systemctl start docker"
                ))
        })
}

/// The state directory of this machine and user.
pub(super) fn state_dir(options: &Options) -> Result<StateDir> {
    let root = rustix::process::geteuid().is_root();
    StateDir::resolve(options.state_dir.as_deref().map(Path::new), root, |name| {
        options.project.env.get(name).map(Into::into)
    })
}

/// The state directory of a project on an engine.
pub(super) fn state_of(options: &Options, project: &ProjectName, engine: &Engine) -> Result<ProjectDir> {
    let directory = state_dir(options)?;
    let host = (!engine.host().is_default()).then(|| engine.host().url.as_str());
    Ok(directory.project(&ProjectKey::new(project, host)))
}

/// Six bytes that differ from call to call: they name things, and secure nothing.
pub(super) fn entropy() -> [u8; 6] {
    use std::hash::{BuildHasher, Hasher};
    // Each `RandomState` has keys of its own, drawn by the system.
    let bytes = std::hash::RandomState::new()
        .build_hasher()
        .finish()
        .to_le_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_waits_for_a_volume_is_said_to() {
        let fstab = Fstab::parse(
            b"/dev/sda1 / ext4 defaults 0 1\n\
              UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms-data ext4 defaults,nofail,x-rehome 0 2\n",
        );
        let failure = || Failure::environment("the engine does not answer");
        let told = name_volumes(failure(), &fstab, |_| true);
        assert_eq!(
            told.causes,
            ["/mnt/kms-data is not mounted, and the engine does not start without it"]
        );
        assert!(told.hints[0].contains("mount /mnt/kms-data && systemctl start docker"));
        assert!(name_volumes(failure(), &fstab, |_| false).causes.is_empty());
    }
}
