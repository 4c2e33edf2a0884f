//! `rehome compose`, and `up`, `down`, `ps`, `logs`, `exec`: thin passes to Compose with this project's files.
//!
//! `restart` is beside it: Compose's own does not read the environment again (trap 32).

use std::process::Stdio;

use super::drift::other_volume;
use super::guard::{Loss, guard_compose};
use super::{App, restart};
use crate::compose::Override;
use crate::model::guard::compose_command;
use crate::model::{Failure, Result};

/// A command of Compose that has a name of its own in Rehome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// `up`; detached, if nothing else is said.
    Up,
    /// `down`.
    Down,
    /// `ps`.
    Ps,
    /// `logs`.
    Logs,
    /// `exec`.
    Exec,
}

impl Pass {
    fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Ps => "ps",
            Self::Logs => "logs",
            Self::Exec => "exec",
        }
    }
}

/// Runs a pass; its exit code is that of Compose.
///
/// # Errors
/// Refused when data would be lost, another process works on the project, or a run waits to be finished. After `up`:
/// when a container has other data than the files say.
pub async fn pass(app: &App, pass: Pass, arguments: &[String], loss: Loss) -> Result<u8> {
    let mut words = vec![pass.word().to_owned()];
    words.extend_from_slice(arguments);
    if pass == Pass::Up && arguments.is_empty() {
        words.push("-d".to_owned());
    }
    guard_compose(app, &words, loss).await?;
    let _lock = match pass {
        Pass::Up | Pass::Down => {
            let lock = app.lock()?;
            app.no_unfinished_run()?;
            Some(lock)
        }
        Pass::Ps | Pass::Logs | Pass::Exec => None,
    };
    if pass == Pass::Up {
        override_is_read(app)?;
        on_the_same_volumes(app).await?;
    }
    let code = hand_over(app, &words).await?;
    if pass == Pass::Up && code == 0 {
        restart::prove_data(app).await?;
    }
    Ok(code)
}

/// `rehome compose`: whatever Compose knows.
///
/// # Errors
/// Refused when data would be lost.
pub async fn compose(app: &App, words: &[String], loss: Loss) -> Result<u8> {
    guard_compose(app, words, loss).await?;
    hand_over(app, words).await
}

/// Nothing is started without an override that is there: it would be on the old homes.
///
/// # Errors
/// Refused, with the two ways on.
pub(super) fn override_is_read(app: &App) -> Result<()> {
    let path = &app.settings.override_path;
    if app.located.files.contains(path) || !matches!(Override::read(path, &app.project.name), Ok(Some(_))) {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{} is there, and the project is read without it",
        path.display()
    ))
    .cause("the services would start on their old homes")
    .data("nothing was changed")
    .hint("to use it: rehome env --write")
    .hint("to go back to the old homes with everything that was written since: rehome move --to volumes"))
}

/// No service comes up on another volume than it has now: that is a move, or a mistake.
///
/// # Errors
/// Refused, naming both volumes.
async fn on_the_same_volumes(app: &App) -> Result<()> {
    let containers = app.engine.project_containers(&app.project.name).await?;
    let strays = containers
        .iter()
        .filter(|c| !c.one_off)
        .filter_map(|c| Some((c.service.as_ref()?, other_volume(app, c)?)));
    let mut refused: Option<Failure> = None;
    for (service, finding) in strays {
        let failure = refused.unwrap_or_else(|| {
            Failure::refused(format!(
                "service `{service}` would come up on another volume than it has now"
            ))
            .data("nothing was changed; which of the two has the data is for you to find out")
            .hint("`rehome status` shows where each volume lives")
            .hint(format!(
                "if the files are right: rehome compose -- up -d --force-recreate {service}"
            ))
        });
        refused = Some(failure.cause(finding));
    }
    refused.map_or(Ok(()), Err)
}

/// Calls Compose with the terminal of this process. Whoever makes volumes gets nothing to read: Compose asks there
/// whether to recreate one, and deletes its data if the answer is yes (trap 2).
async fn hand_over(app: &App, words: &[String]) -> Result<u8> {
    let mut command = app.compose.interactive(&app.located, words);
    if matches!(compose_command(words), Some("up" | "create" | "scale")) {
        command.stdin(Stdio::null());
    }
    let status = command
        .status()
        .await
        .map_err(|e| Failure::environment("cannot start Compose").because(&e))?;
    // A shell says 128 + signal for a program that a signal ended.
    let code = status.code().unwrap_or(130);
    Ok(u8::try_from(code).unwrap_or(1))
}
