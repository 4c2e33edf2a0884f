//! The gate: when is a container really up?
//!
//! `docker compose up --wait` calls a crash loop healthy and a one-shot service that ended well a failure (traps 30
//! and 31, compose#10596). Here a container is up when it is the same one, runs, was not restarted for some seconds,
//! and its healthcheck, if it has one, says so.

use std::time::Duration;

use tokio::time::Instant;

use super::{Container, Engine, Health, State};
use crate::model::{ContainerId, Failure, Result, ServiceName, Span};

/// How often the engine is asked. Services wait for each other while the stack is down: each step of such a chain
/// costs half of this.
const POLL: Duration = Duration::from_millis(100);
/// After a healthcheck that said no, it is left alone for so many times as long as it took, so that the service has the
/// processors to start with and not the question whether it did; and for this long at most.
const LEFT_ALONE: u32 = 3;
const LEFT_ALONE_AT_MOST: Duration = Duration::from_secs(1);
/// A healthcheck that takes longer is left to the engine.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// A healthcheck without a start period may say "unhealthy" before the service had a chance; longer than this it
/// means it.
const UNHEALTHY_LIMIT: Duration = Duration::from_secs(30);

/// What a container is meant to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// Run on.
    Run,
    /// End with exit code 0.
    End,
}

/// The conditions of the gate.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// What the container is meant to do.
    pub meant: Meant,
    /// For how long it must have run without a restart.
    pub stable: Duration,
    /// When to give up.
    pub limit: Duration,
    /// Whether the healthcheck's command is run here, too, until the engine comes to it: it waits for a whole interval
    /// after the start, and services that wait for each other wait for the sum of that while the stack is down. Nothing
    /// is proven by it, the engine's own word is asked for later.
    pub ask: bool,
}

impl Engine {
    /// Waits until a container passes the gate.
    ///
    /// # Errors
    /// When it ends, restarts, is unhealthy, is replaced or removed, or does not get there in time; with the last
    /// lines of its log.
    pub async fn wait_until_up(&self, id: &ContainerId, service: &ServiceName, gate: Gate) -> Result<()> {
        let began = Instant::now();
        let first = self.require(id, service).await?;
        let mut stable_since = None;
        let mut unhealthy_since = None;
        let mut ask_again = began;
        loop {
            let now = self.require(id, service).await?;
            if now.restart_count > first.restart_count {
                return Err(self
                    .with_log(
                        &now,
                        format!("service `{service}` crashes after its start: the engine restarted it"),
                    )
                    .await);
            }
            match (gate.meant, now.state) {
                (Meant::End, State::Exited(0)) => return Ok(()),
                (_, State::Exited(code)) => {
                    return Err(self
                        .with_log(&now, format!("service `{service}` ended with exit code {code}"))
                        .await);
                }
                (_, State::Restarting) => {
                    return Err(self
                        .with_log(&now, format!("service `{service}` crashes after its start"))
                        .await);
                }
                (_, State::Running(Health::Unhealthy)) => {
                    stable_since = None;
                    let since = *unhealthy_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > UNHEALTHY_LIMIT {
                        return Err(self
                            .with_log(&now, format!("service `{service}` is unhealthy"))
                            .await);
                    }
                }
                (Meant::Run, State::Running(Health::None | Health::Healthy)) => {
                    let since: Instant = *stable_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= gate.stable {
                        return Ok(());
                    }
                }
                (Meant::Run, State::Running(Health::Starting)) if gate.ask && Instant::now() >= ask_again => {
                    let asked = Instant::now();
                    if self.is_well(&now).await {
                        return Ok(());
                    }
                    stable_since = None;
                    let pause = (asked.elapsed() * LEFT_ALONE).min(LEFT_ALONE_AT_MOST);
                    ask_again = Instant::now() + pause;
                }
                (_, State::Running(_) | State::Created | State::Paused) => stable_since = None,
            }
            if began.elapsed() > gate.limit {
                let state = now.state;
                return Err(self
                    .with_log(
                        &now,
                        format!(
                            "service `{service}` is not up after {}: it is {state}",
                            Span(gate.limit)
                        ),
                    )
                    .await);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether the command of a healthcheck ends well. One that cannot be run is no answer: the engine's will come.
    async fn is_well(&self, container: &Container) -> bool {
        let Some(command) = &container.healthcheck else {
            return false;
        };
        let ran = self
            .exec(&container.id, command, None, ASK_LIMIT, &mut |_| {})
            .await;
        ran.is_ok_and(|ended| ended.code == 0)
    }

    async fn require(&self, id: &ContainerId, service: &ServiceName) -> Result<Container> {
        self.find_container(id.as_str()).await?.ok_or_else(|| {
            Failure::environment(format!("the container of service `{service}` is gone"))
                .cause("somebody removed or replaced it meanwhile")
        })
    }

    async fn with_log(&self, container: &Container, what: String) -> Failure {
        let failure = Failure::environment(what);
        match self.last_log_lines(&container.id, 8).await {
            Ok(lines) if lines.is_empty() => failure,
            Ok(lines) => failure.cause(format!("its last words:\n{}", lines.join("\n"))),
            Err(error) => failure.cause(error.to_string()),
        }
    }
}
