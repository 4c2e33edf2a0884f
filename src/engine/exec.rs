//! Running a command inside a container of the stack.

use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Engine, failed};
use crate::model::{ContainerId, Failure, Result};

/// How much output is kept for messages.
const KEPT: usize = 64 * 1024;
/// So much is given to a command at once.
const CHUNK: usize = 256 * 1024;
/// So many lines of a conversation wait until somebody asks for them.
const LINES: usize = 4096;
/// A line of a conversation is never longer.
const LINE_LIMIT: usize = 4 << 20;
/// A conversation may be silent for so long.
const SILENCE: Duration = Duration::from_secs(24 * 3600);

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
        // A migration may say nothing for long.
        let docker = self.patient(limit);
        let (exec, mut output, _input) = start(&docker, id, exec, false, &what).await?;
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
        result.code = ended(&self.docker, &exec, &what).await?;
        Ok(result)
    }

    /// Runs a command in a running container, gives it stdin, and writes its stdout to `to` as it comes: bytes, in any
    /// amount. Nothing of it is kept in memory.
    ///
    /// # Errors
    /// When it cannot be started, takes longer than `limit`, what it is given cannot be read to its end, or `to` cannot
    /// be written. An exit code other than 0 is no error here.
    pub async fn exec_to(
        &self,
        id: &ContainerId,
        command: &[String],
        stdin: Stdin,
        limit: Duration,
        to: &mut (dyn Write + Send),
    ) -> Result<ExecOutput> {
        let exec = Exec {
            command,
            user: None,
            dir: None,
            env: Vec::new(),
        };
        self.exec_to_as(id, exec, stdin, limit, to).await
    }

    /// The same, with all that can be said of it.
    ///
    /// # Errors
    /// As [`Engine::exec_to`]. The command goes on, for nobody, when that is the reason: the engine cannot end one.
    pub async fn exec_to_as(
        &self,
        id: &ContainerId,
        exec: Exec<'_>,
        stdin: Stdin,
        limit: Duration,
        to: &mut (dyn Write + Send),
    ) -> Result<ExecOutput> {
        let program = exec.command.first().cloned().unwrap_or_default();
        let what = || format!("cannot run `{program}` in container {}", id.short());
        // An hour of silence on the wire is what a large index takes.
        let docker = self.patient(limit);
        let given = !matches!(stdin, Stdin::Empty);
        let (exec, mut output, mut input) = start(&docker, id, exec, given, &what).await?;
        let mut from = stdin.reader();
        let give = async {
            let cut = |e: std::io::Error| {
                Failure::environment(format!("cannot read what `{program}` is given")).because(&e)
            };
            let mut chunk = vec![0; CHUNK];
            let mut hears = true;
            loop {
                let read = tokio::task::block_in_place(|| from.read(&mut chunk)).map_err(cut)?;
                if read == 0 {
                    break;
                }
                // Whoever has read enough hangs up; its exit code says whether that was right. What comes is read to its
                // end all the same: only there it is known to be whole.
                hears = hears && hung_up(input.write_all(&chunk[..read]).await, &what)?;
            }
            if hears {
                hung_up(input.shutdown().await, &what)?;
            }
            Ok::<_, Failure>(())
        };
        let mut stderr = String::new();
        let take = async {
            while let Some(chunk) = output.next().await {
                match chunk.map_err(failed(what()))? {
                    LogOutput::StdErr { message } => keep(&mut stderr, &String::from_utf8_lossy(&message)),
                    other => tokio::task::block_in_place(|| to.write_all(other.as_ref())).map_err(|e| {
                        Failure::environment(format!("cannot write what `{program}` says")).because(&e)
                    })?,
                }
            }
            Ok::<(), Failure>(())
        };
        let both = async { tokio::try_join!(give, take) };
        tokio::time::timeout(limit, both).await.map_err(|_| {
            Failure::environment(format!(
                "`{program}` in container {} did not end within {}",
                id.short(),
                crate::model::Span(limit)
            ))
        })??;
        Ok(ExecOutput {
            code: ended(&self.docker, &exec, &what).await?,
            stdout: String::new(),
            stderr,
        })
    }

    /// Starts a command whose stdin stays open, to ask it one thing after the other.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn converse(&self, id: &ContainerId, exec: Exec<'_>) -> Result<Conversation> {
        let program = exec.command.first().cloned().unwrap_or_default();
        let what = format!("cannot talk to `{program}` in container {}", id.short());
        let docker = self.patient(SILENCE);
        let (exec, mut output, input) = start(&docker, id, exec, true, &|| what.clone()).await?;
        let stderr = Arc::new(Mutex::new(String::new()));
        let (told, lines) = mpsc::channel(LINES);
        let (kept, lost) = (Arc::clone(&stderr), what.clone());
        // What it says is taken off the engine at once: some engines let nothing else in a container end before that.
        let reader = tokio::spawn(async move {
            let mut line = Vec::new();
            while let Some(chunk) = output.next().await {
                match chunk {
                    Ok(LogOutput::StdErr { message }) => {
                        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                        keep(&mut kept, &String::from_utf8_lossy(&message));
                    }
                    Ok(other) => line.extend_from_slice(other.as_ref()),
                    Err(error) => {
                        told.send(Err(failed(lost)(error))).await.ok();
                        return;
                    }
                }
                while let Some(end) = line.iter().position(|b| *b == b'\n') {
                    let rest = line.split_off(end + 1);
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    line = rest;
                    if told.send(Ok(text)).await.is_err() {
                        return;
                    }
                }
                if line.len() > LINE_LIMIT {
                    let endless = Failure::environment(lost).cause("it says a line without end");
                    told.send(Err(endless)).await.ok();
                    return;
                }
            }
        });
        Ok(Conversation {
            what,
            exec,
            docker: self.docker.clone(),
            input,
            lines,
            stderr,
            reader,
        })
    }
}

/// A command that is asked one thing after the other. It loses its stdin when this is dropped, and ends by that.
pub struct Conversation {
    what: String,
    exec: String,
    docker: Docker,
    input: Input,
    lines: mpsc::Receiver<Result<String>>,
    stderr: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Conversation {
    /// Says something, and gives back the lines that come before the line `end`.
    ///
    /// # Errors
    /// When it ends before that, or takes longer than `limit`.
    pub async fn ask(&mut self, text: &str, end: &str, limit: Duration) -> Result<Vec<String>> {
        let asked = async {
            let write = self.input.write_all(text.as_bytes()).await;
            let write = match write {
                Ok(()) => self.input.flush().await,
                Err(error) => Err(error),
            };
            let mut lines = Vec::new();
            while let Some(line) = self.lines.recv().await {
                let line = line?;
                if line == end {
                    return Ok(lines);
                }
                lines.push(line);
            }
            let failure = Failure::environment(self.what.clone());
            Err(match (self.said().trim(), write) {
                ("", Err(error)) => failure.because(&error),
                ("", Ok(())) => failure.cause("it ended"),
                (said, _) => failure.cause(said),
            })
        };
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            Err(Failure::environment(self.what.clone())
                .cause(format!("no answer within {}", crate::model::Span(limit))))
        })
    }

    /// What it wrote to stderr, the last part if it was much.
    #[must_use]
    pub fn said(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes its stdin and waits for its end.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub async fn end(mut self, limit: Duration) -> Result<ExecOutput> {
        let what = self.what.clone();
        let ending = async {
            hung_up(self.input.shutdown().await, &|| what.clone())?;
            let mut stdout = String::new();
            while let Some(line) = self.lines.recv().await {
                keep(&mut stdout, &line?);
                keep(&mut stdout, "\n");
            }
            Ok::<_, Failure>(stdout)
        };
        let stdout = tokio::time::timeout(limit, ending).await.map_err(|_| {
            Failure::environment(what.clone())
                .cause(format!("it does not end within {}", crate::model::Span(limit)))
        })??;
        Ok(ExecOutput {
            code: ended(&self.docker, &self.exec, &|| what.clone()).await?,
            stdout,
            stderr: self.said(),
        })
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The connection is closed once both of its halves are gone.
        self.reader.abort();
    }
}

type Input = Pin<Box<dyn AsyncWrite + Send>>;
type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

async fn start(
    docker: &Docker,
    id: &ContainerId,
    exec: Exec<'_>,
    stdin: bool,
    what: &(dyn Fn() -> String + Sync),
) -> Result<(String, Output, Input)> {
    let options = CreateExecOptions {
        cmd: Some(exec.command.to_vec()),
        user: exec.user.map(str::to_owned),
        working_dir: exec.dir.map(str::to_owned),
        env: (!exec.env.is_empty()).then_some(exec.env),
        attach_stdin: Some(stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..CreateExecOptions::default()
    };
    let exec = docker
        .create_exec(id.as_str(), options)
        .await
        .map_err(failed(what()))?;
    match docker.start_exec(&exec.id, None).await.map_err(failed(what()))? {
        StartExecResults::Attached { output, input } => Ok((exec.id, output, input)),
        StartExecResults::Detached => Err(Failure::bug(format!("{}: the engine detached", what()))),
    }
}

/// The exit code of a command whose output came to its end.
async fn ended(docker: &Docker, exec: &str, what: &(dyn Fn() -> String + Sync)) -> Result<i64> {
    let end = docker.inspect_exec(exec).await.map_err(failed(what()))?;
    end.exit_code
        .ok_or_else(|| Failure::environment(format!("{}: the engine knows no exit code", what())))
}

/// Whether the other side still listens.
fn hung_up(written: std::io::Result<()>, what: &(dyn Fn() -> String + Sync)) -> Result<bool> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    match written {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected) => Ok(false),
        Err(error) => Err(Failure::environment(what()).because(&error)),
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
pub enum Stdin {
    /// Nothing.
    Empty,
    /// A file, from where it is to its end.
    File(std::fs::File),
    /// Whatever comes, to its end. An error in it is one of the command.
    Reader(Box<dyn Read + Send>),
}

impl Stdin {
    fn reader(self) -> Box<dyn Read + Send> {
        match self {
            Stdin::Empty => Box::new(std::io::empty()),
            Stdin::File(file) => Box::new(file),
            Stdin::Reader(reader) => reader,
        }
    }
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
