//! Services that stand still for a backup come back also when Rehome is killed: a process of its own waits for the end of
//! this one, and takes its run back if it did not end well.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::schedule::own_words;
use crate::model::{Failure, Result, RunId};
use crate::ops::App;

/// Waits for two lines: the run, and a word that all is well. What it reads from is closed when the writer is gone, however
/// that went. The rest of its arguments is Rehome's own call.
const WAIT: &str = r#"read -r run || exit 0
read -r well && exit 0
exec "$@" rollback "$run""#;

/// What it and its rollback say.
const LOG: &str = "watchdog.log";

/// A process that takes a run back when this one is gone.
#[derive(Debug)]
pub(in crate::ops) struct Watchdog {
    process: Child,
    line: ChildStdin,
}

impl Watchdog {
    /// Starts it, before any service stands still.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(in crate::ops) fn start(app: &App) -> Result<Self> {
        let broken = |e: std::io::Error| {
            Failure::environment("the watchdog of the services cannot be started").because(&e)
        };
        let path = app.state.path().join(LOG);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(broken)?;
        let mut process = Command::new("sh")
            .args(["-c", WAIT, "sh"])
            .args(own_words(app)?)
            // Ctrl-C is for this process alone.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(broken)?)
            .stderr(log)
            .spawn()
            .map_err(broken)?;
        let line = process.stdin.take();
        let line = line.ok_or_else(|| Failure::bug("a process without the stdin that it was given"))?;
        Ok(Self { process, line })
    }

    /// From now on it takes this run back.
    ///
    /// # Errors
    /// When it is gone.
    pub(in crate::ops) fn watch(&mut self, run: &RunId) -> Result<()> {
        writeln!(self.line, "{run}")
            .map_err(|e| Failure::environment("the watchdog of the services is gone").because(&e))
    }

    /// The run has ended, and nothing stands still any more.
    ///
    /// # Errors
    /// When it cannot be told.
    pub(in crate::ops) fn leave(mut self) -> Result<()> {
        let told = writeln!(self.line, "well");
        drop(self.line);
        told.and_then(|()| self.process.wait().map(|_| ())).map_err(|e| {
            Failure::environment("the watchdog of the services cannot be told to go").because(&e)
        })
    }
}
