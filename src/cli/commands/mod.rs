//! One thin file a command.

mod backup;
mod compose;
mod config;
mod deploy;
mod doctor;
mod env;
mod grow;
mod history;
mod init;
mod mount;
mod move_;
mod override_;
mod recover;
mod restart;
mod s3;
mod serve;
mod site;
mod size;
mod status;

use super::args::Command;
use super::{Cx, Ending};
use crate::model::{Failure, Result};
use crate::ops::Pass;

/// How a run ended, in words.
fn outcome(outcome: crate::event::Outcome) -> &'static str {
    use crate::event::Outcome;
    match outcome {
        Outcome::Done => "done",
        Outcome::RolledBack => "rolled back",
        Outcome::Refused => "refused",
        Outcome::Interrupted => "interrupted",
        Outcome::Stuck => "stuck",
        Outcome::Failed => "failed",
    }
}

/// Runs a command.
pub(super) async fn dispatch(cx: &Cx, command: Command) -> Result<Ending> {
    match command {
        Command::Init(args) => init::run(cx, &args).await,
        Command::Status => status::run(cx).await,
        Command::Mount(args) => mount::run(cx, args).await,
        Command::Grow(args) => grow::run(cx, &args).await,
        Command::Size(args) => size::run(cx, &args).await,
        Command::Doctor(args) => doctor::run(cx, &args).await,
        Command::Override(args) => override_::run(cx, args).await,
        Command::Env(args) => env::run(cx, &args).await,
        Command::Move(args) => move_::run(cx, args).await,
        Command::Deploy(args) => deploy::run(cx, args).await,
        Command::Backup(args) => backup::run(cx, args).await,
        Command::S3(args) => s3::run(cx, args).await,
        Command::Site(args) => site::run(cx, args).await,
        Command::Serve(args) => serve::run(cx, args).await,
        Command::Resume(args) => recover::run(cx, &args, false).await,
        Command::Rollback(args) => recover::run(cx, &args, true).await,
        Command::History => history::list(cx).await,
        Command::Show { run } => history::show(cx, &run).await,
        Command::Config(args) => config::run(cx, args).await,
        Command::Compose(args) => compose::run(cx, args).await,
        Command::Up(args) => compose::pass(cx, Pass::Up, args).await,
        Command::Down(args) => compose::pass(cx, Pass::Down, args).await,
        Command::Ps(args) => compose::pass(cx, Pass::Ps, args).await,
        Command::Logs(args) => compose::pass(cx, Pass::Logs, args).await,
        Command::Exec(args) => compose::pass(cx, Pass::Exec, args).await,
        Command::Restart(args) => restart::run(cx, args).await,
        Command::Completions { shell } => config::completions(shell),
        Command::Man => config::man(),
        Command::Thaw { .. } => Err(Failure::bug("the watchdog is handled before anything else")),
        Command::Helper { .. } => Err(Failure::bug("the helper is handled before anything else")),
    }
}
