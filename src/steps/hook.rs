//! Runs a command in a service after the start: migrate, collectstatic.
//!
//! It works on the new homes; the old ones are not touched by it, so going back needs no undo here.

use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::world::Cx;
use crate::event::Event;
use crate::model::{Failure, Result, ServiceName};
use crate::saga::Step;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Where it runs.
    pub service: ServiceName,
    /// The command and its arguments.
    pub run: Vec<String>,
    /// As whom, if not the container's own user.
    pub user: Option<String>,
    /// How long it may take.
    pub limit: Duration,
    /// What a failure means.
    pub on_failure: OnFailure,
}

/// What a failed hook means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The move goes back.
    Stop,
    /// It is said.
    Warn,
    /// Nothing.
    Ignore,
}

impl Step for Hook {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("run in {}: {}", self.service, self.run.join(" "))
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        let result = tokio::select! {
            biased;
            () = cx.interrupt.raised() => Err(Failure::interrupted("interrupted")),
            result = self.run_once(cx) => result,
        };
        match (result, self.on_failure) {
            (Err(failure), OnFailure::Warn) if failure.kind != crate::model::Kind::Interrupted => {
                cx.events
                    .warn(format!("{failure}; the configuration lets the move go on"));
                Ok(())
            }
            (Err(failure), OnFailure::Ignore) if failure.kind != crate::model::Kind::Interrupted => Ok(()),
            (result, _) => result,
        }
    }

    async fn verify(&self, _: &Cx, (): &()) -> Result<Option<String>> {
        // Its exit code was its proof.
        Ok(None)
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

impl Hook {
    async fn run_once(&self, cx: &Cx) -> Result<()> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let running = containers
            .iter()
            .find(|c| !c.one_off && c.service.as_ref() == Some(&self.service) && c.state.is_up())
            .ok_or_else(|| {
                Failure::environment(format!("the hook `{}` cannot run", self.run.join(" ")))
                    .cause(format!("service `{}` has no running container", self.service))
            })?;
        let path = cx.run_dir.join("hooks.log");
        let mut log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| Failure::environment(format!("cannot open {}", path.display())).because(&e))?;
        let mut log_failure = writeln!(log, "# {}", self.title()).err();
        let output = cx
            .engine
            .exec(
                &running.id,
                &self.run,
                self.user.as_deref(),
                self.limit,
                &mut |line| {
                    if let Err(error) = writeln!(log, "{line}") {
                        log_failure.get_or_insert(error);
                    }
                    cx.events.tell(Event::HookOutput {
                        service: self.service.to_string(),
                        line: line.to_owned(),
                    });
                },
            )
            .await?;
        if let Some(error) = log_failure {
            // The log is for people; losing a line of it is no reason to take a good move back.
            cx.events
                .warn(format!("{} is not complete: {error}", path.display()));
        }
        if output.code == 0 {
            return Ok(());
        }
        let last: Vec<&str> = output
            .stderr
            .lines()
            .chain(output.stdout.lines())
            .rev()
            .take(5)
            .collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(Failure::environment(format!(
            "the hook `{}` in service `{}` failed with exit code {}",
            self.run.join(" "),
            self.service,
            output.code
        ))
        .cause(last.join("\n"))
        .hint(format!("its whole output is in {}", path.display())))
    }
}
