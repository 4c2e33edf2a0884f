//! `mount --undo`: what a mount did to the machine is taken back; what is on the volume stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Steps, as_root};
use crate::block::bare::Bare;
use crate::block::boot;
use crate::block::fstab::{Change, Fstab, names};
use crate::block::mounted;
use crate::block::patience::until_free;
use crate::block::sysroot::Sysroot;
use crate::engine::{self, Engine};
use crate::event::Events;
use crate::model::{Result, shell_path};
use crate::observe::{DefinitionSeen, Looked, mounting};
use crate::ops::app::{Options, state_dir};
use crate::plan::mount::{Told, Undo, UndoPlan, plan_undo};
use crate::saga::Interrupt;
use crate::state::{Lock, LockNote};

/// The engine says who it is and lists volumes: a moment, if it answers at all.
const ENGINE_LIMIT: Duration = Duration::from_secs(30);
/// Every container that is just being started has a copy of all mounts of the host for a moment: what uses the volume is
/// looked at for so long before that is believed.
const PATIENCE: Duration = Duration::from_secs(3);

/// What takes a mount back, ready to be carried out.
pub struct PlannedUndo {
    plan: UndoPlan,
    at: PathBuf,
    sysroot: Sysroot,
    events: Arc<dyn Events>,
    interrupt: Interrupt,
    _lock: Lock,
}

/// Looks at what a mount did to the machine, and plans to take it back.
///
/// # Errors
/// Refused while something uses the volume, or would the next time it is started.
pub async fn unmount(options: &Options, at: &Path, sysroot: Option<&Path>) -> Result<PlannedUndo> {
    as_root()?;
    let sysroot = Sysroot::new(sysroot);
    sysroot.prove_straight(at)?;
    let lock = state_dir(options)?
        .host()
        .lock(&LockNote::mine(options.command.as_str(), None))?;
    let definitions = definitions(options, &sysroot, at).await?;
    let seen = until_free(
        PATIENCE,
        || mounting::undo(&sysroot, at, definitions.clone()),
        |seen| seen.as_ref().is_ok_and(|seen| !seen.users.is_empty()),
    )
    .await?;
    Ok(PlannedUndo {
        plan: plan_undo(&seen)?,
        at: at.to_owned(),
        sysroot,
        events: Arc::clone(&options.events),
        interrupt: options.interrupt.clone(),
        _lock: lock,
    })
}

/// What Docker has there. An engine that waits for the volume does not answer, and that keeps nobody from taking back.
async fn definitions(options: &Options, sysroot: &Sysroot, at: &Path) -> Result<Looked<Vec<DefinitionSeen>>> {
    let host = engine::resolve_host(&options.engine)?;
    if !host.is_local() {
        return Ok(Err(format!("the engine at {} is on another machine", host.url)));
    }
    let asking = async {
        let engine = Engine::connect(host).await?;
        mounting::definitions(&engine, sysroot, at).await
    };
    Ok(match tokio::time::timeout(ENGINE_LIMIT, asking).await {
        Ok(answer) => answer.map_err(|failure| failure.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", ENGINE_LIMIT.as_secs())),
    })
}

impl PlannedUndo {
    /// The plan as it is told.
    #[must_use]
    pub fn told(&self) -> Told {
        Told::undo(&self.at, &self.plan)
    }

    /// Carries it out, and says in words what was done.
    ///
    /// # Errors
    /// At the first action that fails. What was done before stays, and is not done again the next time.
    pub async fn carry_out(self) -> Result<Vec<String>> {
        let point = self.sysroot.at(&self.at);
        let mut steps = Steps::new(
            Arc::clone(&self.events),
            self.interrupt.clone(),
            format!("or have it as it was: rehome mount --at {}", shell_path(&self.at)),
            self.plan.actions.len(),
        );
        for action in &self.plan.actions {
            steps
                .run(
                    action.title(&self.at),
                    undo(&self.sysroot, &self.at, &point, action),
                )
                .await?;
        }
        Ok(steps.done)
    }
}

async fn undo(sysroot: &Sysroot, at: &Path, point: &Path, action: &Undo) -> Result<Option<String>> {
    match action {
        Undo::Unmount => mounted::unmount(point).await.map(|()| None),
        Undo::RemoveUnit(piece) => boot::remove(sysroot, piece).map(|_| None),
        // Of the file as it is now: what others wrote since the plan was made stays.
        Undo::RemoveLine { .. } => {
            let fstab = Fstab::read(sysroot)?;
            match fstab.without(at, &names(sysroot)) {
                Change::New(bytes) => fstab.replace(sysroot, &bytes).map(|()| None),
                Change::Unchanged => Ok(Some("it was not there any more".to_owned())),
            }
        }
        Undo::Reload => boot::reload(sysroot).await.map(|_| None),
        Undo::Release => match Bare::open(point)? {
            Some(bare) => bare.release().map(|_| None),
            None => Ok(None),
        },
    }
}
