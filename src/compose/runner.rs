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

use tokio::process::Command;

use crate::child::{self, Broken, Ended};
use crate::model::{Failure, Result};

use super::locate::Located;
use super::trouble::Trouble;

/// How long a program may take to say its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);
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
    /// Lines of stdout are told as well, and not kept.
    all_lines: bool,
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
            all_lines: false,
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

    /// Tells each line of stdout and stderr as it comes; what is kept of stdout is its end.
    #[must_use]
    pub fn all_lines(mut self, on_line: &'a mut (dyn FnMut(&str) + Send)) -> Self {
        self.all_lines = true;
        self.lines(on_line)
    }

    /// Tells each line of stderr as it comes.
    #[must_use]
    pub fn lines(mut self, on_line: &'a mut (dyn FnMut(&str) + Send)) -> Self {
        self.on_line = Some(on_line);
        self
    }
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

    /// The words that it is called with: `docker`, `compose`.
    #[must_use]
    pub fn program(&self) -> &'static [&'static str] {
        self.program
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
        let on_line = call.on_line.unwrap_or(&mut silent);
        let ended = match call.all_lines {
            true => child::run_telling_all(command, Stdio::null(), call.limit, on_line).await,
            false => child::run(command, Stdio::null(), call.limit, on_line).await,
        };
        ended.map_err(|broken| broken.failure(&format!("docker compose {name}"), call.limit))
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
    let ended = match child::run(command, Stdio::null(), VERSION_TIMEOUT, &mut |_| {}).await {
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

#[cfg(test)]
mod tests;
