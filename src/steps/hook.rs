//! Runs a command: in a service (migrate, collectstatic), in a container of its own, or on this machine.
//!
//! It works on what the services have then; going back needs no undo here, and could give none: what a hook did to data
//! stays done, and the plan says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::world::Cx;
use crate::child;
use crate::compose::Call;
use crate::engine::{Exec, LABEL_PROJECT, LABEL_RUN};
use crate::event::Event;
use crate::model::{Failure, Kind, Result, ServiceName};
use crate::saga::Step;

/// So many of the last lines are told when it fails.
const LAST: usize = 5;
/// A longer line is cut there.
const LINE: usize = 2000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Where it runs.
    #[serde(flatten)]
    pub place: HookPlace,
    /// The command and its arguments.
    pub run: Vec<String>,
    /// As whom, if not the container's own user.
    pub user: Option<String>,
    /// In which directory, if not the container's or the project's own.
    #[serde(default)]
    pub dir: Option<String>,
    /// The names of the variables that it gets from the environment or `.env`. A step is written down in the clear, so
    /// that it never has their values.
    #[serde(default)]
    pub env: Vec<String>,
    /// How long it may take.
    pub limit: Duration,
    /// What a failure means.
    pub on_failure: OnFailure,
}

/// Where a hook runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
// The first journals know only the second, as a `service` among the other fields.
#[serde(untagged)]
pub enum HookPlace {
    /// In a container of its own, made from a service's definition and removed afterwards.
    Run {
        /// The service.
        one_shot_of: ServiceName,
    },
    /// In a service's running container.
    Exec {
        /// The service.
        service: ServiceName,
    },
    /// On the machine that runs Rehome.
    Here {},
}

impl HookPlace {
    /// In a service's running container.
    #[must_use]
    pub fn exec(service: ServiceName) -> Self {
        Self::Exec { service }
    }

    /// The service that it is about.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Run { one_shot_of } => Some(one_shot_of),
            Self::Exec { service } => Some(service),
            Self::Here {} => None,
        }
    }
}

impl std::fmt::Display for HookPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Run { one_shot_of } => write!(f, "in a new container of {one_shot_of}"),
            Self::Exec { service } => write!(f, "in {service}"),
            Self::Here {} => f.write_str("on this machine"),
        }
    }
}

/// What a failed hook means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run goes back.
    Stop,
    /// It is said.
    Warn,
    /// Nothing.
    Ignore,
}

/// How a command ended.
struct Ended {
    /// Its exit code, or the signal that ended it, in words.
    how: String,
    success: bool,
}

impl Ended {
    fn of(ended: child::Ended) -> Self {
        Self {
            how: match ended.code {
                Some(code) => format!("exit code {code}"),
                None => ended.status,
            },
            success: ended.success,
        }
    }
}

impl Step for Hook {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("run {}: {}", self.place, self.run.join(" "))
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        match (self.carry_out(cx).await, self.on_failure) {
            (Err(failure), OnFailure::Warn) if failure.kind != Kind::Interrupted => {
                cx.events
                    .warn(format!("{failure}; the configuration lets the run go on"));
                Ok(())
            }
            (Err(failure), OnFailure::Ignore) if failure.kind != Kind::Interrupted => Ok(()),
            (result, _) => result,
        }
    }

    async fn verify(&self, _: &Cx, (): &()) -> Result<Option<String>> {
        // Its exit code was its proof.
        Ok(None)
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

impl Hook {
    /// Runs it, whatever its failure means.
    ///
    /// # Errors
    /// When it cannot be run, fails, takes too long, or is interrupted.
    pub async fn carry_out(&self, cx: &Cx) -> Result<()> {
        let mut told = Told::of(cx, self)?;
        let ran = tokio::select! {
            biased;
            () = cx.interrupt.raised() => Err(Failure::interrupted("interrupted")),
            ran = self.run_once(cx, &mut told) => ran,
        };
        if ran.is_err() && matches!(self.place, HookPlace::Run { .. }) {
            // Compose is gone, its container is not.
            cx.engine.remove_helpers(&cx.run).await?;
        }
        told.close(cx);
        let named = format!("the hook `{}` {}", self.run.join(" "), self.place);
        let ended = ran.map_err(|failure| match failure.kind {
            Kind::Interrupted => failure,
            _ => failure.inside(format!("{named} failed")),
        })?;
        if ended.success {
            return Ok(());
        }
        let failure = Failure::environment(format!("{named} failed with {}", ended.how))
            .hint(format!("its whole output is in {}", told.path.display()));
        Err(match told.last.is_empty() {
            true => failure,
            false => failure.cause(told.last.join("\n")),
        })
    }

    async fn run_once(&self, cx: &Cx, told: &mut Told<'_>) -> Result<Ended> {
        match &self.place {
            HookPlace::Exec { service } => self.exec(cx, service, told).await,
            HookPlace::Run { one_shot_of } => self.one_shot(cx, one_shot_of, told).await,
            HookPlace::Here {} => self.here(cx, told).await,
        }
    }

    async fn exec(&self, cx: &Cx, service: &ServiceName, told: &mut Told<'_>) -> Result<Ended> {
        let container = cx.running(service).await?;
        let exec = Exec {
            command: &self.run,
            user: self.user.as_deref(),
            dir: self.dir.as_deref(),
            env: self
                .variables(cx)?
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        };
        let output = cx
            .engine
            .exec_as(&container.id, exec, self.limit, &mut |line| told.line(line))
            .await
            .map_err(|failure| failure.hint(format!("it may still run in container {}", container.name)))?;
        Ok(Ended {
            how: format!("exit code {}", output.code),
            success: output.code == 0,
        })
    }

    /// Through Compose, so that the container is what the service's would be. Its labels let a later process find what
    /// a crash left running.
    async fn one_shot(&self, cx: &Cx, service: &ServiceName, told: &mut Told<'_>) -> Result<Ended> {
        let mut arguments: Vec<String> = ["run", "--rm", "--no-deps", "-T"].map(str::to_owned).to_vec();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("--label", format!("{LABEL_RUN}={}", cx.run));
        option("--label", format!("{LABEL_PROJECT}={}", cx.project));
        if let Some(user) = &self.user {
            option("--user", user.clone());
        }
        if let Some(dir) = &self.dir {
            option("--workdir", dir.clone());
        }
        for name in self.variables(cx)?.into_keys() {
            // Without a value Compose takes it from where we found it, and it is in no list of processes.
            option("--env", name);
        }
        arguments.push(service.to_string());
        arguments.extend(self.run.iter().cloned());
        let mut on_line = |line: &str| told.line(line);
        let call = Call::new(&arguments)
            .global("--progress=quiet")
            .limit(self.limit)
            .all_lines(&mut on_line);
        let ended = cx.compose.attempt(&cx.files.after, call).await?;
        Ok(Ended::of(ended))
    }

    async fn here(&self, cx: &Cx, told: &mut Told<'_>) -> Result<Ended> {
        let (program, arguments) = self
            .run
            .split_first()
            .ok_or_else(|| Failure::bug("a hook that runs nothing"))?;
        let directory = &cx.files.after.directory;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(
                self.dir
                    .as_ref()
                    .map_or(directory.clone(), |dir| directory.join(dir)),
            )
            .env_clear()
            .envs(&cx.env)
            .envs(self.variables(cx)?);
        let ended = child::run_telling_all(command, Stdio::null(), self.limit, &mut |line| told.line(line))
            .await
            .map_err(|broken| broken.failure(&self.run.join(" "), self.limit))?;
        Ok(Ended::of(ended))
    }

    /// The values of what it asks for.
    fn variables(&self, cx: &Cx) -> Result<BTreeMap<String, String>> {
        if self.env.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut known = cx.files.after.variables(&cx.env)?;
        let value = |name: &String| match known.remove(name) {
            Some(value) => Ok((name.clone(), value)),
            None => Err(Failure::environment(format!(
                "the hook `{}` wants {name}, which is set neither in the environment nor in {}",
                self.run.join(" "),
                cx.files.after.dotenv.display()
            ))),
        };
        self.env.iter().map(value).collect()
    }
}

/// What a hook says: to the display, into the run's record, and its end into the failure.
struct Told<'a> {
    cx: &'a Cx,
    place: String,
    path: std::path::PathBuf,
    log: File,
    /// Losing a line of the record is no reason to take a good run back.
    lost: Option<std::io::Error>,
    last: Vec<String>,
}

impl<'a> Told<'a> {
    fn of(cx: &'a Cx, hook: &Hook) -> Result<Self> {
        let path = cx.run_dir.join("hooks.log");
        let mut log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| Failure::environment(format!("cannot open {}", path.display())).because(&e))?;
        let lost = writeln!(log, "# {}", hook.title()).err();
        Ok(Self {
            cx,
            place: hook
                .place
                .service()
                .map_or("this machine", ServiceName::as_str)
                .to_owned(),
            path,
            log,
            lost,
            last: Vec::new(),
        })
    }

    fn line(&mut self, line: &str) {
        if let Err(error) = writeln!(self.log, "{line}") {
            self.lost.get_or_insert(error);
        }
        if self.last.len() == LAST {
            self.last.remove(0);
        }
        self.last.push(line.chars().take(LINE).collect());
        self.cx.events.tell(Event::HookOutput {
            service: self.place.clone(),
            line: line.to_owned(),
        });
    }

    fn close(&mut self, cx: &Cx) {
        if let Some(error) = self.lost.take() {
            cx.events
                .warn(format!("{} is not complete: {error}", self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(json: serde_json::Value) -> Hook {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_journal_of_the_first_version_is_read_and_every_place_comes_back() {
        let old = serde_json::json!({
            "service": "api", "run": ["migrate"], "user": null,
            "limit": { "secs": 60, "nanos": 0 }, "on_failure": "stop",
        });
        let read = hook(old);
        assert_eq!(read.place, HookPlace::exec(ServiceName::new("api").unwrap()));
        assert_eq!(read.title(), "run in api: migrate");
        for place in [
            read.place.clone(),
            HookPlace::Run {
                one_shot_of: ServiceName::new("api").unwrap(),
            },
            HookPlace::Here {},
        ] {
            let one = Hook {
                place,
                ..read.clone()
            };
            assert_eq!(hook(serde_json::to_value(&one).unwrap()), one);
        }
    }
}
