//! Runs other programs: with a limit on their time and their output, and never without an end.
//!
//! What is run, and what its answer means, is known by the callers. The environment is theirs to set.

use std::io;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::model::{Failure, Span};

/// How much of stderr is kept: its end, where the errors are.
const STDERR_KEPT: usize = 16 << 10;
/// A longer line is cut when it is told.
const LINE_LIMIT: usize = 8 << 10;
/// The resolved project of a thousand services is some megabytes.
const STDOUT_LIMIT: usize = 32 << 20;
/// Between the polite signal and the other one.
const GRACE: Duration = Duration::from_secs(5);

/// What a child left behind. Its stdout may hold secrets: it has no `Debug`.
pub struct Ended {
    /// Whether it said that it worked, by its exit code.
    pub success: bool,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// `exit status: 15`, `signal: 9 (SIGKILL)`.
    pub status: String,
    /// All of it.
    pub stdout: String,
    /// The end of it.
    pub stderr: String,
}

/// Why a child did not come to its own end.
pub enum Broken {
    /// It could not be started.
    Start(io::Error),
    /// Its output could not be read.
    Read(io::Error),
    /// It printed more than it may.
    TooMuch,
    /// It took longer than it may.
    TimedOut,
}

impl Broken {
    /// In words; `what` is the program as a person knows it.
    #[must_use]
    pub fn failure(self, what: &str, limit: Duration) -> Failure {
        match self {
            Broken::Start(error) => Failure::environment(format!("cannot run `{what}`")).because(&error),
            Broken::Read(error) => Failure::environment(format!("lost touch with `{what}`")).because(&error),
            Broken::TooMuch => {
                Failure::environment(format!("`{what}` printed more than {STDOUT_LIMIT} bytes"))
            }
            Broken::TimedOut => Failure::environment(format!(
                "`{what}` did not end within {} and was stopped",
                Span(limit)
            )),
        }
    }
}

/// Runs a child and waits for its end, telling each line of its stderr as it comes.
///
/// It is in a process group of its own: a Ctrl-C on the terminal is for Rehome to answer, and whatever the child itself
/// started (the plugins of `docker`) goes with it when it must go.
///
/// # Errors
/// When it cannot be started, does not end in time, or prints more than it should; how it ended is an answer.
pub async fn run(
    command: Command,
    stdin: Stdio,
    limit: Duration,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> std::result::Result<Ended, Broken> {
    carry(command, stdin, limit, (Told::Stderr, on_line)).await
}

/// The same for a child that may say as much as it likes: each line of its stdout is told too, and only the end is kept.
///
/// # Errors
/// When it cannot be started, or does not end in time; how it ended is an answer.
pub async fn run_telling_all(
    command: Command,
    stdin: Stdio,
    limit: Duration,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> std::result::Result<Ended, Broken> {
    carry(command, stdin, limit, (Told::Both, on_line)).await
}

/// Of which stream each line is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Stderr,
    Both,
}

async fn carry(
    mut command: Command,
    stdin: Stdio,
    limit: Duration,
    (told, on_line): (Told, &mut (dyn FnMut(&str) + Send)),
) -> std::result::Result<Ended, Broken> {
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(Broken::Start)?;
    let mut group = Group {
        pid: child.id().and_then(|id| Pid::from_raw(id.cast_signed())),
    };
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let work = async {
        let (stdout, stderr) = match told {
            Told::Stderr => tokio::try_join!(read_all(stdout), read_lines(stderr, on_line))?,
            Told::Both => {
                let shared = Mutex::new(on_line);
                let tell = |line: &str| shared.lock().unwrap_or_else(PoisonError::into_inner)(line);
                let (mut first, mut second) = (&tell, &tell);
                tokio::try_join!(read_lines(stdout, &mut first), read_lines(stderr, &mut second))?
            }
        };
        let status = child.wait().await.map_err(Broken::Read)?;
        Ok(Ended {
            success: status.success(),
            code: status.code(),
            status: status.to_string(),
            stdout,
            stderr,
        })
    };
    let result = match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Broken::TimedOut),
    };
    if result.is_err() {
        group.signal(Signal::TERM);
        // Whether it went in time or not: the group gets the last signal below.
        drop(timeout(GRACE, child.wait()).await);
    } else {
        group.pid = None;
    }
    result
}

/// Kills the process group when the future is dropped, or the child did not end by itself.
struct Group {
    pid: Option<Pid>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid
            && let Err(error) = kill_process_group(pid, signal)
        {
            // Gone already, mostly.
            tracing::debug!(%error, "signal to a process group");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

async fn read_all(stream: Option<impl AsyncRead + Unpin>) -> std::result::Result<String, Broken> {
    let Some(stream) = stream else {
        return Ok(String::new());
    };
    let mut bytes = Vec::new();
    stream
        .take(STDOUT_LIMIT as u64 + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(Broken::Read)?;
    if bytes.len() > STDOUT_LIMIT {
        return Err(Broken::TooMuch);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Tells each line and keeps the end of the whole.
async fn read_lines(
    stream: Option<impl AsyncRead + Unpin>,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> std::result::Result<String, Broken> {
    let Some(mut stream) = stream else {
        return Ok(String::new());
    };
    let mut tail = Tail::default();
    let mut line = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let count = stream.read(&mut buffer).await.map_err(Broken::Read)?;
        for byte in &buffer[..count] {
            match byte {
                b'\n' | b'\r' => tell(&mut line, on_line),
                byte if line.len() < LINE_LIMIT => line.push(*byte),
                _ => {}
            }
        }
        tail.push(&buffer[..count]);
        if count == 0 {
            tell(&mut line, on_line);
            return Ok(tail.text());
        }
    }
}

fn tell(line: &mut Vec<u8>, on_line: &mut (dyn FnMut(&str) + Send)) {
    if !line.is_empty() {
        on_line(&String::from_utf8_lossy(line));
        line.clear();
    }
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        // Cut only now and then, not for every read.
        if self.0.len() > 2 * STDERR_KEPT {
            self.0.drain(..self.0.len() - STDERR_KEPT);
        }
    }

    fn text(&self) -> String {
        let start = self.0.len().saturating_sub(STDERR_KEPT);
        String::from_utf8_lossy(&self.0[start..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_stream_is_kept() {
        let mut tail = Tail::default();
        for number in 0..100_000_u32 {
            tail.push(format!("{number}\n").as_bytes());
            assert!(tail.0.len() <= 2 * STDERR_KEPT);
        }
        assert!(tail.text().len() == STDERR_KEPT && tail.text().ends_with("99998\n99999\n"));
    }
}
