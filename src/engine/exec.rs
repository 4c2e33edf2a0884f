//! Running a command inside a container of the stack.

use std::io::Write;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::{Engine, failed};
use crate::model::{ContainerId, Failure, Result};

/// How much output is kept for messages.
const KEPT: usize = 64 * 1024;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code.
    pub code: i64,
    /// What it wrote to stdout, the last part if it was much.
    pub stdout: String,
    /// What it wrote to stderr, the last part if it was much.
    pub stderr: String,
}

impl Engine {
    /// Runs a command in a running container and waits for its end; every line goes to `on_line` as it comes.
    ///
    /// # Errors
    /// When it cannot be started, or takes longer than `limit`. An exit code other than 0 is no error here.
    pub async fn exec(
        &self,
        id: &ContainerId,
        command: &[String],
        user: Option<&str>,
        limit: Duration,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ExecOutput> {
        let exec = Exec {
            command,
            user,
            dir: None,
            env: Vec::new(),
        };
        self.exec_as(id, exec, limit, on_line).await
    }

    /// The same, with all that can be said of it.
    ///
    /// # Errors
    /// As [`Engine::exec`]. The command goes on when its time is up: the engine cannot end one.
    pub async fn exec_as(
        &self,
        id: &ContainerId,
        exec: Exec<'_>,
        limit: Duration,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ExecOutput> {
        let command = exec.command;
        let what = || format!("cannot run `{}` in container {}", command.join(" "), id.short());
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            user: exec.user.map(str::to_owned),
            working_dir: exec.dir.map(str::to_owned),
            env: (!exec.env.is_empty()).then_some(exec.env),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        // A migration may say nothing for long.
        let docker = self.patient(limit);
        let exec = docker
            .create_exec(id.as_str(), options)
            .await
            .map_err(failed(what()))?;
        let started = docker.start_exec(&exec.id, None).await.map_err(failed(what()))?;
        let StartExecResults::Attached {
            mut output,
            input: _input,
        } = started
        else {
            return Err(Failure::bug(format!("{}: the engine detached", what())));
        };
        let mut result = ExecOutput {
            code: 0,
            stdout: String::new(),
            stderr: String::new(),
        };
        let read = async {
            let mut pending = String::new();
            while let Some(chunk) = output.next().await {
                let chunk = chunk.map_err(failed(what()))?;
                let text = String::from_utf8_lossy(chunk.as_ref()).into_owned();
                match chunk {
                    LogOutput::StdErr { .. } => keep(&mut result.stderr, &text),
                    _ => keep(&mut result.stdout, &text),
                }
                pending.push_str(&text);
                while let Some(end) = pending.find('\n') {
                    let line: String = pending.drain(..=end).collect();
                    on_line(line.trim_end());
                }
                if pending.len() > KEPT {
                    on_line(&std::mem::take(&mut pending));
                }
            }
            if !pending.is_empty() {
                on_line(pending.trim_end());
            }
            Ok::<(), Failure>(())
        };
        tokio::time::timeout(limit, read).await.map_err(|_| {
            Failure::environment(format!(
                "`{}` in container {} did not end within {}",
                command.join(" "),
                id.short(),
                crate::model::Span(limit)
            ))
        })??;
        let end = self.docker.inspect_exec(&exec.id).await.map_err(failed(what()))?;
        result.code = end
            .exit_code
            .ok_or_else(|| Failure::environment(format!("{}: the engine knows no exit code", what())))?;
        Ok(result)
    }

    /// Runs a command in a running container, gives it stdin, and writes its stdout to `to` as it comes: bytes, in any
    /// amount. Nothing of it is kept in memory.
    ///
    /// # Errors
    /// When it cannot be started, takes longer than `limit`, or `to` cannot be written. An exit code other than 0 is no
    /// error here.
    pub async fn exec_to(
        &self,
        id: &ContainerId,
        command: &[String],
        stdin: Stdin,
        limit: Duration,
        to: &mut (dyn Write + Send),
    ) -> Result<ExecOutput> {
        let program = command.first().map(String::as_str).unwrap_or_default();
        let what = || format!("cannot run `{program}` in container {}", id.short());
        let broken = |e: std::io::Error| Failure::environment(what()).because(&e);
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdin: Some(matches!(stdin, Stdin::File(_))),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        // An hour of silence on the wire is what a large index takes.
        let docker = self.patient(limit);
        let exec = docker
            .create_exec(id.as_str(), options)
            .await
            .map_err(failed(what()))?;
        let started = docker.start_exec(&exec.id, None).await.map_err(failed(what()))?;
        let StartExecResults::Attached {
            mut output,
            mut input,
        } = started
        else {
            return Err(Failure::bug(format!("{}: the engine detached", what())));
        };
        let give = async move {
            if let Stdin::File(file) = stdin {
                let mut file = tokio::fs::File::from_std(file);
                match tokio::io::copy(&mut file, &mut input).await {
                    // Whoever has read enough hangs up; its exit code says whether that was right.
                    Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
                    _ => {}
                }
            }
            match input.shutdown().await {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(input),
            }
        };
        let mut stderr = String::new();
        let take = async {
            while let Some(chunk) = output.next().await {
                match chunk.map_err(failed(what()))? {
                    LogOutput::StdErr { message } => keep(&mut stderr, &String::from_utf8_lossy(&message)),
                    other => to.write_all(other.as_ref()).map_err(broken)?,
                }
            }
            Ok::<(), Failure>(())
        };
        let both = async { tokio::try_join!(async { give.await.map_err(broken) }, take) };
        tokio::time::timeout(limit, both).await.map_err(|_| {
            Failure::environment(format!(
                "`{program}` in container {} did not end within {}",
                id.short(),
                crate::model::Span(limit)
            ))
        })??;
        let end = self.docker.inspect_exec(&exec.id).await.map_err(failed(what()))?;
        let code = end
            .exit_code
            .ok_or_else(|| Failure::environment(format!("{}: the engine knows no exit code", what())))?;
        Ok(ExecOutput {
            code,
            stdout: String::new(),
            stderr,
        })
    }
}

/// A command for a running container. Its environment is secret: it has no `Debug`.
pub struct Exec<'a> {
    /// The program and its arguments.
    pub command: &'a [String],
    /// As whom, if not the container's own user.
    pub user: Option<&'a str>,
    /// In which directory, if not the container's own.
    pub dir: Option<&'a str>,
    /// `NAME=value`, beside what the container has.
    pub env: Vec<String>,
}

/// What a command reads.
#[derive(Debug)]
pub enum Stdin {
    /// Nothing.
    Empty,
    /// A file, from where it is to its end.
    File(std::fs::File),
}

fn keep(kept: &mut String, text: &str) {
    kept.push_str(text);
    if kept.len() > KEPT {
        let mut cut = kept.len() - KEPT;
        while !kept.is_char_boundary(cut) {
            cut += 1;
        }
        kept.drain(..cut);
    }
}
