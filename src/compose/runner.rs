//! Runs `docker compose`: everything said explicitly, nothing taken from the surroundings, every answer bounded.
//!
//! The child never gets a `-y`, and stdin is empty: a question by Compose ("Recreate volume, data will be lost?")
//! must end in no (trap 2). What `config` prints holds secrets: it is returned, never logged.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::model::{Failure, Result, Span};

use super::locate::Located;
use super::trouble::Trouble;

/// How much of stderr is kept: its end, where the errors are.
const STDERR_KEPT: usize = 16 << 10;
/// A longer line is cut when it is told.
const LINE_LIMIT: usize = 8 << 10;
/// A project of a thousand services prints some megabytes.
const STDOUT_LIMIT: usize = 32 << 20;
/// How long a program may take to say its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);
/// Between the polite signal and the other one.
const GRACE: Duration = Duration::from_secs(5);

/// A version of Compose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Major, minor, patch.
    pub numbers: (u32, u32, u32),
    /// As Compose says it: `2.40.3-3`.
    pub text: String,
}

impl Version {
    /// The first that knows `!override` in Compose files.
    pub const OLDEST: (u32, u32, u32) = (2, 24, 4);

    /// From here on a `subpath` of a volume that points at a directory is known to be kept. 2.26 makes such a mount a
    /// plain bind, and loses it.
    pub const KEEPS_SUBPATHS: (u32, u32, u32) = (2, 40, 0);

    /// From here on a container's hash is known to be the same whether it was made with `--no-deps` or without; what
    /// lies between 2.26, where it is not, and this was not looked at.
    pub const HASHES_ALONE: (u32, u32, u32) = (2, 40, 0);

    /// Reads `2.40.3-3`, `v2.26.1`, `5.0.0`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let numbers = text.split(['-', '+', ' ']).next()?;
        let mut numbers = numbers.split('.').map(|number| number.parse::<u32>().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        let patch = numbers.next().flatten().unwrap_or(0);
        Some(Self {
            numbers: (major, minor, patch),
            text: text.to_owned(),
        })
    }
}

impl PartialOrd<(u32, u32, u32)> for Version {
    fn partial_cmp(&self, other: &(u32, u32, u32)) -> Option<Ordering> {
        Some(self.numbers.cmp(other))
    }
}

impl PartialEq<(u32, u32, u32)> for Version {
    fn eq(&self, other: &(u32, u32, u32)) -> bool {
        self.numbers == *other
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// The Compose of this machine, and how it is called.
#[derive(Clone)]
pub struct Compose {
    program: &'static [&'static str],
    version: Version,
    env: BTreeMap<String, String>,
}

/// One call of Compose.
pub struct Call<'a> {
    args: Vec<OsString>,
    global: Vec<OsString>,
    extra_files: Vec<PathBuf>,
    every_profile: bool,
    limit: Duration,
    on_line: Option<&'a mut (dyn FnMut(&str) + Send)>,
}

impl<'a> Call<'a> {
    /// A command of Compose with its arguments: `["up", "-d", "api"]`. Two minutes are allowed.
    pub fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self {
            args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
            global: Vec::new(),
            extra_files: Vec::new(),
            every_profile: false,
            limit: Duration::from_secs(120),
            on_line: None,
        }
    }

    /// Allows another time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// With the services of every profile instead of the active ones.
    #[must_use]
    pub fn every_profile(mut self) -> Self {
        self.every_profile = true;
        self
    }

    /// With one Compose file more, after the others.
    #[must_use]
    pub fn with_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.extra_files.push(file.into());
        self
    }

    /// With a flag that goes before the command.
    #[must_use]
    pub fn global(mut self, flag: impl Into<OsString>) -> Self {
        self.global.push(flag.into());
        self
    }

    /// Tells each line of stderr as it comes.
    #[must_use]
    pub fn lines(mut self, on_line: &'a mut (dyn FnMut(&str) + Send)) -> Self {
        self.on_line = Some(on_line);
        self
    }
}

/// What a call left behind. Its stdout may hold secrets: it has no `Debug`.
pub struct Ended {
    /// Whether Compose said that it worked, by its exit code.
    pub success: bool,
    /// `exit status: 15`, `signal: 9 (SIGKILL)`.
    pub status: String,
    /// All of it.
    pub stdout: String,
    /// The end of it.
    pub stderr: String,
}

impl Compose {
    /// Finds the Compose of this machine: the plugin, else a `docker-compose` of version 2.
    ///
    /// `engine` is the host that the Engine API is reached at (`unix://…`, `ssh://…`, `tcp://…`); Compose gets the
    /// same one. Without it, Compose chooses by the environment and the docker context.
    ///
    /// # Errors
    /// When there is none, or one that is too old; each in its own words.
    pub async fn find(env: &BTreeMap<String, String>, engine: Option<&str>) -> Result<Self> {
        let env = child_environment(env, engine);
        let plugin = say_version(&["docker", "compose"], &env).await?;
        if let Said::Version(version) = &plugin {
            return Self::accept(&["docker", "compose"], version.clone(), env);
        }
        match say_version(&["docker-compose"], &env).await? {
            Said::Version(version) if version >= (2, 0, 0) => Self::accept(&["docker-compose"], version, env),
            Said::Version(version) => Err(Failure::environment(format!(
                "only Compose v1 is here: docker-compose {version}"
            ))
            .cause("Rehome needs Docker Compose v2; v1 has not been maintained since 2023")
            .hint("install the plugin: apt-get install docker-compose-plugin (Docker's packages) or docker-compose-v2 (Ubuntu)")),
            Said::Nothing { .. } | Said::Missing => Err(match plugin {
                Said::Nothing { words } => Failure::environment("Docker is here, but its Compose plugin is not")
                    .cause(words)
                    .hint("install it: apt-get install docker-compose-plugin (Docker's packages), docker-compose-v2 (Ubuntu) or docker-compose (Debian 13 and newer)"),
                _ => Failure::environment("Docker is not installed: there is no `docker` in PATH")
                    .hint("install it: https://docs.docker.com/engine/install/, or apt-get install docker.io and the Compose plugin"),
            }),
        }
    }

    fn accept(
        program: &'static [&'static str],
        version: Version,
        env: BTreeMap<String, String>,
    ) -> Result<Self> {
        if version < Version::OLDEST {
            let (major, minor, patch) = Version::OLDEST;
            return Err(
                Failure::environment(format!("Docker Compose {version} is too old"))
                    .cause(format!(
                        "the override needs `!override`, which Compose knows from {major}.{minor}.{patch} on"
                    ))
                    .hint("install a newer one: https://docs.docker.com/compose/install/linux/"),
            );
        }
        Ok(Self {
            program,
            version,
            env,
        })
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Calls Compose and waits for its end.
    ///
    /// # Errors
    /// When it cannot be run, does not end in time, prints more than it should, or fails; then its own words are
    /// the cause.
    pub async fn run(&self, located: &Located, call: Call<'_>) -> Result<Ended> {
        let name = command_name(&call.args);
        let ended = self.attempt(located, call).await?;
        if ended.success {
            Ok(ended)
        } else {
            Err(Trouble::failure(&name, &ended.status, &ended.stderr))
        }
    }

    /// Like [`Compose::run`], but a failure of Compose itself is an answer.
    ///
    /// # Errors
    /// When it cannot be run, does not end in time, or prints more than it should.
    pub async fn attempt(&self, located: &Located, call: Call<'_>) -> Result<Ended> {
        let name = command_name(&call.args);
        let mut command = self.bare(located, &call.extra_files, call.every_profile);
        command
            .args(["--ansi", "never", "--progress", "plain"])
            .args(&call.global)
            .args(&call.args);
        let mut silent = |_: &str| {};
        watch(
            command,
            &format!("docker compose {name}"),
            call.limit,
            call.on_line.unwrap_or(&mut silent),
        )
        .await
    }

    /// The command with the terminal of this process, for `rehome compose --`: the one use with a person in front.
    #[must_use]
    pub fn interactive<S: AsRef<OsStr>>(
        &self,
        located: &Located,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self.bare(located, &[], false);
        command.args(args);
        command
    }

    fn bare(&self, located: &Located, extra_files: &[PathBuf], every_profile: bool) -> Command {
        let mut command = program(self.program, &self.env);
        // Where the user stands must not matter: the `.env` there, for one.
        command.current_dir(&located.directory);
        command.arg("--project-directory").arg(&located.directory);
        if let Some(name) = &located.project_name {
            command.args(["-p", name.as_str()]);
        }
        for file in located.files.iter().chain(extra_files) {
            command.arg("-f").arg(file);
        }
        for file in &located.env_files {
            command.arg("--env-file").arg(file);
        }
        let all = ["*".to_owned()];
        for profile in if every_profile {
            &all
        } else {
            &located.profiles[..]
        } {
            command.args(["--profile", profile]);
        }
        command
    }
}

/// `config` of `["config", "--format", "json"]`: what a person is told of a call.
fn command_name(args: &[OsString]) -> String {
    args.first()
        .map(|arg| arg.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The environment without what would change what Compose does: the files, the name, the profiles and the engine
/// are said explicitly instead.
fn child_environment(env: &BTreeMap<String, String>, engine: Option<&str>) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = env
        .iter()
        .filter(|(key, _)| !key.starts_with("COMPOSE_"))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if let Some(engine) = engine {
        env.remove("DOCKER_CONTEXT");
        env.insert("DOCKER_HOST".to_owned(), engine.to_owned());
    }
    env
}

fn program(words: &[&str], env: &BTreeMap<String, String>) -> Command {
    let (first, rest) = words.split_first().unwrap_or((&"docker", &[]));
    let mut command = Command::new(first);
    command.args(rest).env_clear().envs(env);
    command
}

/// What a program answers when it is asked for its version.
enum Said {
    Version(Version),
    /// It is there, but does not know Compose.
    Nothing {
        words: String,
    },
    Missing,
}

async fn say_version(words: &[&str], env: &BTreeMap<String, String>) -> Result<Said> {
    let mut command = program(words, env);
    command.args(["version", "--short"]);
    let ended = match watch_io(command, VERSION_TIMEOUT, &mut |_| {}).await {
        Ok(ended) => ended,
        Err(Broken::Start(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Said::Missing),
        Err(broken) => return Err(broken.failure(&words.join(" "), VERSION_TIMEOUT)),
    };
    // v1 printed it alone, a plugin may warn before it.
    match ended.stdout.lines().rev().find_map(Version::parse) {
        Some(version) if ended.success => Ok(Said::Version(version)),
        _ => {
            let line = ended
                .stderr
                .lines()
                .chain(ended.stdout.lines())
                .find(|line| !line.trim().is_empty());
            Ok(Said::Nothing {
                words: line.unwrap_or("it says no version").trim().to_owned(),
            })
        }
    }
}

/// Why a child did not come to its own end.
enum Broken {
    Start(io::Error),
    Read(io::Error),
    TooMuch,
    TimedOut,
}

impl Broken {
    fn failure(self, what: &str, limit: Duration) -> Failure {
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

async fn watch(
    command: Command,
    what: &str,
    limit: Duration,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Ended> {
    watch_io(command, limit, on_line)
        .await
        .map_err(|broken| broken.failure(what, limit))
}

/// Runs a child in a process group of its own: a Ctrl-C on the terminal is for Rehome to answer, and the plugin that
/// `docker` starts goes with it when it must go.
async fn watch_io(
    mut command: Command,
    limit: Duration,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> std::result::Result<Ended, Broken> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(Broken::Start)?;
    let mut group = Group {
        pid: child.id().and_then(|id| Pid::from_raw(id.cast_signed())),
    };
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let work = async {
        let (stdout, stderr) = tokio::try_join!(read_all(stdout), read_lines(stderr, on_line))?;
        let status = child.wait().await.map_err(Broken::Read)?;
        Ok(Ended {
            success: status.success(),
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
            tracing::debug!(%error, "signal to a process group of compose");
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
mod tests;
