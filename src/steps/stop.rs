//! Stops the services that write to a moved volume, and those that depend on them, dependents first; databases by
//! their own rules. Undo brings exactly those back that ran, on the old homes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};

use super::page;
use super::pre_copy::{SHORT, copy};
use super::spec::{Copying, ExpectedMount, Moving, Starting, Stopping};
use super::stack::{Making, bring_up, make_containers, prove_mounts};
use super::world::{Ask, Cx, wrong_answer};
use crate::datastore::{Kind, is_clean_state};
use crate::engine::{Container, HelperMount, Pace};
use crate::helper::protocol::{Answer, PgControl, Request};
use crate::model::{ContainerId, Failure, Result, Span, VolumeKey};
use crate::saga::Step;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stop {
    /// The containers, in the order in which they are stopped; those of one wave at the same time.
    pub waves: Vec<Vec<Stopping>>,
    /// The services to bring up again on the way back, in the order in which they are started.
    pub start: Vec<Starting>,
    /// What their containers mount until now.
    pub mounts: Vec<ExpectedMount>,
    /// Services whose containers exist (running or not) and mount a moved volume.
    pub mounting: Vec<Making>,
    /// The volumes, for the proof that databases ended cleanly.
    pub volumes: Vec<Moving>,
    /// How they are copied once more while the services end; not when they are copied only afterwards.
    pub copying: Option<Copying>,
    /// The limit for the gate on the way back.
    pub start_limit: Duration,
}

impl Step for Stop {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let mut services: Vec<_> = self.containers().map(|c| c.service.as_str()).collect();
        services.dedup();
        if services.is_empty() {
            "stop nothing: no service runs".to_owned()
        } else {
            format!("stop {}", services.join(", "))
        }
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        for container in self.containers() {
            let now = cx.engine.find_container(container.id.as_str()).await?;
            if !now.is_some_and(|c| c.state.is_up()) {
                return Err(Failure::environment(format!(
                    "container {} of service `{}` does not run any more",
                    container.name, container.service
                ))
                .cause("somebody stopped or replaced it since the plan was made"));
            }
        }
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        if self.containers().next().is_some() {
            cx.downtime.begin(&*cx.events);
        }
        // Both are waited for, also when one fails: undo must not meet a container on its way down.
        let (stopped, copied) = tokio::join!(self.stop_all(cx), self.copy_meanwhile(cx));
        stopped.and(copied)
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        quiet(cx, &self.volumes).await?;
        let databases: Vec<_> = postgres_in(&self.volumes).collect();
        let asks = databases
            .iter()
            .map(|(moving, path)| ask_control(moving, moving.source_mount(), path));
        let mut proofs = Vec::new();
        for ((moving, _), control) in databases.iter().zip(controls(cx, asks.collect()).await?) {
            if !is_clean_state(&control.state) {
                return Err(Failure::environment(format!(
                    "PostgreSQL in volume `{}` did not shut down cleanly",
                    moving.key
                ))
                .cause(format!(
                    "its control file says {:?} instead of \"shut down\"",
                    control.state
                ))
                .hint("look at the server's log: `docker compose logs` of its service"));
            }
            proofs.push(format!("PostgreSQL in {}: {}", moving.key, control.state));
        }
        Ok((!proofs.is_empty()).then(|| proofs.join(", ")))
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        page::leave(cx).await?;
        // A container that was asked to stop and still runs may be on its way down: what state it is in is only known
        // after a restart.
        let asked = asked(&cx.run_dir)?;
        for container in self.waves.iter().flatten().rev() {
            let now = cx.engine.find_container(container.id.as_str()).await?;
            if now.is_some_and(|c| c.state.is_up() && asked.get(&c.id) == Some(&c.started_at)) {
                cx.engine.restart(&container.id, container.grace).await?;
            }
        }
        // Containers that were made for the new homes are replaced by ones for the old.
        if prove_mounts(cx, &self.mounts).await.is_err() {
            make_containers(cx, &cx.files.before, &self.mounting).await?;
            prove_mounts(cx, &self.mounts).await?;
        }
        bring_up(cx, &self.start, self.start_limit).await?;
        cx.downtime.end(&*cx.events);
        Ok(())
    }
}

const ASKED: &str = "asked-to-stop.json";

impl Stop {
    /// The containers, in the order in which they are stopped.
    pub fn containers(&self) -> impl Iterator<Item = &Stopping> {
        self.waves.iter().flatten()
    }

    async fn stop_all(&self, cx: &Cx) -> Result<()> {
        for wave in &self.waves {
            note_asked(cx, wave).await?;
            // As above.
            for ended in join_all(wave.iter().map(|container| stop(cx, container))).await {
                ended?;
            }
        }
        page::answer(cx).await;
        Ok(())
    }

    /// One more round, while the services end: what it copies need not be copied when they have. Only a short one, for
    /// it may be waited for.
    async fn copy_meanwhile(&self, cx: &Cx) -> Result<()> {
        let last = *cx.last_round.lock().unwrap_or_else(PoisonError::into_inner);
        match self.copying {
            Some(copying) if last.is_some_and(|took| took < SHORT) => {
                let moved: Vec<_> = self.volumes.iter().filter(|m| !m.fresh).cloned().collect();
                copy(cx, &moved, true, copying).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

/// Writes down that containers are asked to stop, before they are: by their ids and when they were started.
async fn note_asked(cx: &Cx, containers: &[Stopping]) -> Result<()> {
    let mut asked = asked(&cx.run_dir)?;
    for container in containers {
        if let Some(now) = cx.engine.find_container(container.id.as_str()).await? {
            asked.insert(now.id, now.started_at);
        }
    }
    let text = serde_json::to_vec(&asked).map_err(|e| Failure::bug("cannot write ids").because(&e))?;
    crate::state::write_durably(&cx.run_dir.join(ASKED), &text)
}

/// Stops one container by its rules, and waits until it is down.
pub(super) async fn stop(cx: &Cx, container: &Stopping) -> Result<()> {
    let signal = container.signal.as_deref();
    let ended = cx
        .engine
        .stop(&container.id, signal, container.grace, !container.never_kill)
        .await?;
    if ended {
        return Ok(());
    }
    Err(Failure::environment(format!(
        "service `{}` did not stop within {}",
        container.service,
        Span(container.grace)
    ))
    .cause(format!(
        "container {} still running after {}",
        container.name,
        signal.unwrap_or("its stop signal")
    ))
    .hint(format!(
        "run again with --stop-timeout {}",
        container.grace.as_secs() * 5
    )))
}

/// The containers that this run asked to stop, and when each had been started.
fn asked(run_dir: &std::path::Path) -> Result<BTreeMap<ContainerId, String>> {
    let path = run_dir.join(ASKED);
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|e| Failure::environment(format!("{} is damaged", path.display())).because(&e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(Failure::environment(format!("cannot read {}", path.display())).because(&error)),
    }
}

/// Nobody may write to the sources from now on: no running container, of this project or any other, has one of them
/// writable (trap 9). Neither may one that was stopped have run meanwhile: an engine that is restarted starts those
/// with `restart: always` again. <https://docs.docker.com/engine/containers/start-containers-automatically/>
///
/// # Errors
/// Names the container that does.
pub(super) async fn quiet(cx: &Cx, volumes: &[Moving]) -> Result<()> {
    let asked = asked(&cx.run_dir)?;
    let writers = try_join_all(volumes.iter().map(|moving| writers(cx, moving))).await?;
    for (moving, users) in volumes.iter().zip(writers) {
        if let Some(user) = users.iter().find(|c| c.state.is_up()) {
            return Err(Failure::environment(format!(
                "container {} runs and may write to {}",
                user.name,
                source_of(moving)
            ))
            .cause("somebody started it while the stack was stopped for the copy")
            .hint(format!(
                "stop it (`docker stop {}`) and run this again",
                user.name
            )));
        }
        let ran = |c: &&Container| asked.get(&c.id).is_some_and(|started| *started != c.started_at);
        if let Some(user) = users.iter().find(ran) {
            return Err(Failure::environment(format!(
                "container {} ran again after it was stopped, and may have written to {}",
                user.name,
                source_of(moving)
            ))
            .cause("somebody started it, or the engine did when it was restarted")
            .hint("run this again"));
        }
    }
    Ok(())
}

/// Every container that may write to what moves, running or not.
async fn writers(cx: &Cx, moving: &Moving) -> Result<Vec<Container>> {
    match &moving.site {
        Some(site) => cx.engine.writers_in(&site.dir).await,
        None => cx.engine.writers_of(&moving.source).await,
    }
}

/// What moves, in words.
fn source_of(moving: &Moving) -> String {
    match &moving.site {
        Some(site) => site.dir.display().to_string(),
        None => format!("volume {}", moving.source),
    }
}

/// Every PostgreSQL whose data moves, with the path of its data in the volume.
pub(super) fn postgres_in(volumes: &[Moving]) -> impl Iterator<Item = (&Moving, &str)> {
    let moved = volumes.iter().filter(|m| !m.fresh);
    moved.flat_map(|moving| {
        let found = moving
            .datastores
            .iter()
            .filter(|(kind, _)| *kind == Kind::Postgres);
        found.map(move |(_, path)| (moving, path.as_str()))
    })
}

/// The question for PostgreSQL's control file in a mount of the volume.
pub(super) fn ask_control<'a>(moving: &'a Moving, place: (HelperMount, PathBuf), path: &str) -> Ask<'a> {
    let (mount, data) = place;
    Ask {
        volume: &moving.key,
        request: Request::PgControl { dir: data.join(path) },
        mounts: vec![mount],
    }
}

/// What PostgreSQL's control files say.
pub(super) async fn controls(cx: &Cx, asks: Vec<Ask<'_>>) -> Result<Vec<PgControl>> {
    let blame = |key: &VolumeKey| format!("how PostgreSQL in volume `{key}` is cannot be told");
    let answers = cx.ask_each(asks, ("control", Pace::Usual), blame).await?;
    let controls = answers.into_iter().map(|answer| match answer {
        Answer::PgControl(control) => Ok(control),
        other => Err(wrong_answer(&other)),
    });
    controls.collect()
}
