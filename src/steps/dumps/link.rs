//! What is common to all that is asked of a server: how it is asked, for how long, and what is said when it fails.

use std::io::Write;
use std::time::Duration;

use super::Dumping;
use crate::datastore::Kind;
use crate::datastore::dump::redis::Access;
use crate::engine::{Exec, ExecOutput, Stdin};
use crate::model::{ContainerId, Failure, Result};
use crate::steps::Cx;

/// A large database on a slow disk.
pub(super) const LIMIT: Duration = Duration::from_secs(12 * 3600);
/// A question that is answered at once, or not at all.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(60);
/// An answer is never longer.
const ANSWER: usize = 64 << 20;
/// So much of what a program says besides is kept by the engine's client.
pub(super) const SAID: usize = 60 * 1024;
/// The programs that are named when they fail.
const PROGRAMS: [&str; 10] = [
    "psql",
    "pg_dump",
    "pg_dumpall",
    "pg_restore",
    "pg_isready",
    "pg_amcheck",
    "mariadb-dump",
    "mariadb-check",
    "mariadb-admin",
    "mariadb",
];

/// A server that is asked: one of the stack, or a twin.
pub(super) struct Link<'a> {
    pub cx: &'a Cx,
    pub what: Dumping,
    pub id: ContainerId,
    pub access: Access,
}

impl Link<'_> {
    /// Asks something; the answer is what it writes to stdout.
    pub async fn ask(&self, command: &[String]) -> Result<String> {
        self.tell(command, self.stdin(String::new())).await
    }

    /// The same of a program that reads what it shall do.
    pub async fn tell(&self, command: &[String], stdin: Stdin) -> Result<String> {
        let mut answer = Answer(Vec::new());
        let ended = self.limited(command, stdin, &mut answer, LIMIT).await?;
        self.well(command, ended)?;
        Ok(String::from_utf8_lossy(&answer.0).into_owned())
    }

    /// Asks something that is answered soon, whatever the answer; its exit code, and all that it said.
    pub async fn try_ask(&self, command: &[String]) -> Result<(i64, String)> {
        let mut answer = Answer(Vec::new());
        let stdin = self.stdin(String::new());
        let ended = self.limited(command, stdin, &mut answer, ASK_LIMIT).await?;
        let said = String::from_utf8_lossy(&answer.0).into_owned();
        Ok((ended.code, format!("{said}{}", ended.stderr)))
    }

    /// Runs what takes long, and gives up when the run is interrupted.
    pub async fn pour(
        &self,
        command: &[String],
        stdin: Stdin,
        to: &mut (dyn Write + Send),
    ) -> Result<ExecOutput> {
        self.limited(command, stdin, to, LIMIT).await
    }

    async fn limited(
        &self,
        command: &[String],
        stdin: Stdin,
        to: &mut (dyn Write + Send),
        limit: Duration,
    ) -> Result<ExecOutput> {
        let running = self
            .cx
            .engine
            .exec_to_as(&self.id, self.exec(command), stdin, limit, to);
        tokio::select! {
            biased;
            () = self.cx.interrupt.raised() => Err(Failure::interrupted("interrupted")),
            ended = running => ended,
        }
    }

    /// A command, by a name that the server shows to its administrator.
    pub fn exec<'e>(&self, command: &'e [String]) -> Exec<'e> {
        let env = match self.what.kind {
            Kind::Postgres => vec![format!("PGAPPNAME={}", self.application())],
            _ => Vec::new(),
        };
        Exec {
            command,
            user: None,
            dir: None,
            env,
        }
    }

    /// As what PostgreSQL knows the programs of this run.
    pub fn application(&self) -> String {
        format!("rehome {}", self.cx.run)
    }

    /// What a client is given: Redis's reads the password first, whatever follows.
    pub fn stdin(&self, text: String) -> Stdin {
        let mut bytes = match self.what.kind {
            Kind::Redis => self.access.stdin(),
            _ => Vec::new(),
        };
        bytes.extend(text.into_bytes());
        match bytes.is_empty() {
            true => Stdin::Empty,
            false => Stdin::Reader(Box::new(std::io::Cursor::new(bytes))),
        }
    }

    /// What a program said that ended well.
    pub fn well(&self, command: &[String], ended: ExecOutput) -> Result<String> {
        match ended.code {
            0 => Ok(ended.stderr),
            137 => Err(self.failed(
                &format!("{} was killed", named(command, self.what.kind)),
                &ended.stderr,
            )),
            code => Err(self.failed(
                &format!("{} ended with {code}", named(command, self.what.kind)),
                &ended.stderr,
            )),
        }
    }

    pub fn failed(&self, what: &str, said: &str) -> Failure {
        let failure = Failure::environment(format!(
            "{} in service `{}`: {what}",
            self.what.kind, self.what.service
        ));
        match said.trim() {
            "" => failure,
            said => failure.cause(said),
        }
    }
}

/// A program's name: what a shell is given to start is named instead of the shell.
fn named(command: &[String], kind: Kind) -> String {
    match (
        command.iter().find(|word| PROGRAMS.contains(&word.as_str())),
        kind,
    ) {
        (Some(program), _) => format!("`{program}`"),
        (None, Kind::Redis) => "`redis-cli`".to_owned(),
        (None, Kind::Mongodb) => "MongoDB's tool".to_owned(),
        (None, _) => "its client".to_owned(),
    }
}

/// An answer that is kept in memory, up to a limit.
struct Answer(Vec<u8>);

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > ANSWER {
            return Err(std::io::Error::other("the answer is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Knows how much went through it.
pub(super) struct Measured<'w> {
    to: &'w mut (dyn Write + Send),
    bytes: u64,
}

impl<'w> Measured<'w> {
    pub fn new(to: &'w mut (dyn Write + Send)) -> Self {
        Self { to, bytes: 0 }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Write for Measured<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
