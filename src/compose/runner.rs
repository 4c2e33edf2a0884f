//! Running `docker compose`: everything explicit, the `COMPOSE_*` environment scrubbed, stdin empty, never `-y`.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::{Located, Project};
use crate::model::{Failure, Result, ServiceName};

/// `docker compose config` of the largest project is far below this.
const CONFIG_LIMIT: u64 = 64 << 20;
/// Asking takes seconds.
const ASK_LIMIT: Duration = Duration::from_secs(120);
/// Making containers may pull nothing and build nothing; many of them take a while all the same.
const ACT_LIMIT: Duration = Duration::from_secs(600);
/// The lines of stderr that are kept for messages.
const KEPT_LINES: usize = 2000;

/// The version of Compose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Version {
    /// Takes what `version --short` prints. What a distribution appends is left out (`2.40.3-3`, `2.26.1+ds1`), as in
    /// the label that Compose writes onto containers.
    fn parse(text: &str) -> Self {
        let text = text.trim().trim_start_matches('v');
        Self(text.split(['-', '+']).next().unwrap_or(text).to_owned())
    }

    fn major(&self) -> Option<u32> {
        self.0.split('.').next()?.parse().ok()
    }
}

/// A Compose that works, pointed at one engine.
#[derive(Debug, Clone)]
pub struct Runner {
    program: Vec<String>,
    version: Version,
    host: String,
}

struct Ended {
    code: i32,
    stdout: Vec<u8>,
    stderr: Vec<String>,
}

impl Runner {
    /// Finds Compose v2: the plugin of the docker client, or a program of its own.
    ///
    /// # Errors
    /// When there is none; version 1 is named as such.
    pub async fn find(host: &str) -> Result<Self> {
        let mut found = Vec::new();
        for program in [
            vec!["docker".to_owned(), "compose".to_owned()],
            vec!["docker-compose".to_owned()],
        ] {
            let mut command = command(&program, host);
            command.args(["version", "--short"]);
            let Ok(ended) = run(command, ASK_LIMIT, 1 << 16).await else {
                continue;
            };
            let version = Version::parse(&String::from_utf8_lossy(&ended.stdout));
            match version.major() {
                Some(2..) if ended.code == 0 => {
                    return Ok(Self {
                        program,
                        version,
                        host: host.to_owned(),
                    });
                }
                Some(1) => found.push(format!(
                    "`{}` is version {version}: Compose v1 ended in 2023 and reads other files",
                    program.join(" ")
                )),
                _ => {}
            }
        }
        let failure = Failure::environment("there is no Docker Compose v2").data("nothing was changed");
        let failure = found.into_iter().fold(failure, Failure::cause);
        Err(failure
            .hint("install the plugin: `apt-get install docker-compose-plugin`, or see https://docs.docker.com/compose/install/linux/"))
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Resolves the project, services of inactive profiles included.
    ///
    /// # Errors
    /// In Compose's own words: a file that does not parse, a variable that is missing.
    pub async fn config(&self, located: &Located) -> Result<Project> {
        let ended = self
            .ask(located, &["--profile", "*", "config", "--format", "json"])
            .await?;
        Project::parse(&ended.stdout)
    }

    /// The containers of these services that Compose would make anew if it were asked to start them now: those that
    /// were made from another definition or image than the files name. Compose is asked itself, as a dry run: the hash
    /// that `config --hash` prints is another one than that of the label when a service has an `env_file`.
    ///
    /// # Errors
    /// In Compose's own words.
    pub async fn would_remake(
        &self,
        located: &Located,
        services: &[ServiceName],
    ) -> Result<BTreeSet<String>> {
        if services.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut command = self.for_project(located);
        command.args([
            "--dry-run",
            "--progress",
            "plain",
            "create",
            "--no-build",
            "--pull",
            "never",
        ]);
        command.args(services.iter().map(ServiceName::as_str));
        let ended = run(command, ASK_LIMIT, 1 << 20).await?;
        if ended.code != 0 {
            return Err(Failure::environment(
                "Compose cannot say whether the containers are as the files say",
            )
            .cause(last_words(&ended.stderr))
            .data("nothing was changed"));
        }
        // " DRY-RUN MODE -  Container kms-connect-backend  Recreate"
        let remade = ended.stderr.iter().filter_map(|line| {
            let mut words = line.split_once("Container ")?.1.split_whitespace();
            let name = words.next()?;
            matches!(words.next(), Some("Recreate")).then(|| name.to_owned())
        });
        Ok(remade.collect())
    }

    async fn ask(&self, located: &Located, arguments: &[&str]) -> Result<Ended> {
        let mut command = self.for_project(located);
        command.args(arguments);
        let ended = run(command, ASK_LIMIT, CONFIG_LIMIT).await?;
        if ended.code == 0 {
            return Ok(ended);
        }
        let files: Vec<_> = located.files.iter().map(|f| f.display().to_string()).collect();
        Err(
            Failure::environment(format!("Compose cannot read the project ({})", files.join(", ")))
                .cause(last_words(&ended.stderr))
                .data("nothing was changed"),
        )
    }

    /// Runs a command that changes something.
    ///
    /// # Errors
    /// In Compose's own words.
    pub async fn act(&self, located: &Located, arguments: &[String]) -> Result<()> {
        let mut command = self.for_project(located);
        command.args(["--progress", "plain"]).args(arguments);
        let ended = run(command, ACT_LIMIT, 1 << 20).await?;
        if ended.code == 0 {
            return Ok(());
        }
        Err(Failure::environment(format!(
            "`docker compose {}` failed with exit code {}",
            arguments.join(" "),
            ended.code
        ))
        .cause(last_words(&ended.stderr)))
    }

    /// Runs a command for the user, with the terminal as it is, and returns its exit code.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn hand_over(&self, located: &Located, arguments: &[String]) -> Result<i32> {
        let mut command = self.for_project(located);
        command
            .args(arguments)
            .stdin(Stdio::inherit())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit());
        let status = command.status().await.map_err(|e| {
            Failure::environment(format!("cannot start `{}`", self.program.join(" "))).because(&e)
        })?;
        // A shell says 128 + signal for a program that a signal ended.
        Ok(status.code().unwrap_or(130))
    }

    fn for_project(&self, located: &Located) -> Command {
        let mut command = command(&self.program, &self.host);
        command
            .arg("--project-directory")
            .arg(&located.directory)
            .current_dir(&located.directory);
        if let Some(name) = &located.project_name {
            command.arg("--project-name").arg(name);
        }
        for file in &located.files {
            command.arg("--file").arg(file);
        }
        for file in &located.env_files {
            command.arg("--env-file").arg(file);
        }
        for profile in &located.profiles {
            command.arg("--profile").arg(profile);
        }
        command
    }
}

/// The end of what it wrote, for a message.
fn last_words(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn command(program: &[String], host: &str) -> Command {
    let mut command = Command::new(&program[0]);
    command
        .args(&program[1..])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // What is not said on the command line shall not be said at all (trap 29).
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COMPOSE_") {
            command.env_remove(name);
        }
    }
    command.env_remove("DOCKER_CONTEXT").env("DOCKER_HOST", host);
    command
}

/// Runs a command to its end, within limits of time and size.
async fn run(mut command: Command, limit: Duration, most: u64) -> Result<Ended> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let cannot = |error: &std::io::Error| Failure::environment(format!("cannot run `{name}`")).because(error);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| cannot(&e))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Failure::bug("a child without pipes"));
    };
    let read_out = async {
        let mut out = Vec::new();
        stdout.take(most + 1).read_to_end(&mut out).await.map(|_| out)
    };
    let read_err = async {
        let mut kept = VecDeque::new();
        let mut lines = BufReader::new(stderr).lines();
        while let Some(line) = lines.next_line().await? {
            tracing::debug!(target: "compose", "{line}");
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line);
        }
        Ok::<_, std::io::Error>(kept)
    };
    let all = async {
        let (out, err, status) = tokio::join!(read_out, read_err, child.wait());
        Ok::<_, std::io::Error>((out?, err?, status?))
    };
    let (stdout, stderr, status) = tokio::time::timeout(limit, all)
        .await
        .map_err(|_| {
            Failure::environment(format!(
                "`{name}` did not end within {}",
                crate::model::Span(limit)
            ))
        })?
        .map_err(|e| cannot(&e))?;
    if stdout.len() as u64 > most {
        return Err(Failure::environment(format!(
            "`{name}` printed more than {}",
            crate::model::ByteSize(most)
        )));
    }
    Ok(Ended {
        code: status.code().unwrap_or(-1),
        stdout,
        stderr: stderr.into_iter().collect(),
    })
}
