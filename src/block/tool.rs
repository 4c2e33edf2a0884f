//! Running the programs of util-linux, e2fsprogs, xfsprogs and systemd.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::child::{self, Ended};
use crate::model::{Failure, Result, shell_word};

/// Where they are, also for a user whose PATH knows no `sbin`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One call of a program.
pub struct Tool {
    command: Command,
    line: String,
    stdin: Stdio,
    limit: Duration,
}

impl Tool {
    /// A program and its arguments. A minute is allowed; it hears nothing on its stdin, speaks English, and knows nothing
    /// of the caller's environment.
    pub fn new<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
        let mut line = program.to_owned();
        for arg in args {
            line.push(' ');
            line.push_str(&shell_word(&arg.as_ref().to_string_lossy()));
            command.arg(arg);
        }
        Self {
            command,
            line,
            stdin: Stdio::null(),
            limit: Duration::from_secs(60),
        }
    }

    /// Gives it an open file as its stdin: with `/proc/self/fd/0` in its arguments it reaches just what was opened, also
    /// when the name leads elsewhere by now.
    #[must_use]
    pub fn with_open(mut self, file: OwnedFd) -> Self {
        self.stdin = file.into();
        self
    }

    /// Gives it a short text as its stdin.
    ///
    /// # Errors
    /// When there is no room for a temporary file.
    pub fn with_text(self, text: &str) -> Result<Self> {
        let write = || -> std::io::Result<File> {
            let mut file = tempfile::tempfile()?;
            file.write_all(text.as_bytes())?;
            file.rewind()?;
            Ok(file)
        };
        let file = write().map_err(|e| Failure::environment("cannot write a temporary file").because(&e))?;
        Ok(self.with_open(file.into()))
    }

    /// Allows another time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// As a person would type it.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Runs it; its exit code is an answer.
    ///
    /// # Errors
    /// When it is not installed, does not end in time, or prints more than it should.
    pub async fn ask(self) -> Result<Ended> {
        child::run(self.command, self.stdin, self.limit, &mut |_| {})
            .await
            .map_err(|broken| broken.failure(&self.line, self.limit))
    }

    /// Runs it; returns its stdout.
    ///
    /// # Errors
    /// Also when it says that it failed; its own words are the cause.
    pub async fn run(self) -> Result<String> {
        let line = self.line.clone();
        let ended = self.ask().await?;
        if ended.success {
            return Ok(ended.stdout);
        }
        let failure = Failure::environment(format!("`{line}` failed ({})", ended.status));
        let words = ended.stderr.trim();
        Err(if words.is_empty() {
            failure
        } else {
            failure.cause(words)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_failure_has_the_programs_own_words() {
        let failure = Tool::new("sh", ["-c", "echo so not >&2; exit 3"])
            .run()
            .await
            .unwrap_err();
        assert_eq!(
            failure.what,
            "`sh -c 'echo so not >&2; exit 3'` failed (exit status: 3)"
        );
        assert_eq!(failure.causes, ["so not"]);
        let failure = Tool::new("no-such-program", [""]).ask().await.err().unwrap();
        assert!(
            failure.what.starts_with("cannot run `no-such-program"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn an_open_file_is_reached_without_its_name() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"what was opened").unwrap();
        let open = std::fs::File::open(file.path()).unwrap();
        file.close().unwrap();
        let said = Tool::new("cat", ["/proc/self/fd/0"])
            .with_open(open.into())
            .run()
            .await
            .unwrap();
        assert_eq!(said, "what was opened");
    }
}
