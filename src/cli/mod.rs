//! The command line: arguments in, exit code out. Each command is one thin file that calls `ops` and shows what it
//! returns.

pub mod args;
mod commands;
pub mod exit;
pub mod plugin;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::CommandFactory;

use self::args::{Cli, ColorWhen, Command, Global, WhenInterrupted};
use crate::event::{Event, Events, Level, Outcome};
use crate::helper::Streams;
use crate::model::{Failure, Kind, Result};
use crate::ops::Options;
use crate::saga::Interrupt;
use crate::ui;

/// What every command has at hand.
struct Cx {
    events: Arc<dyn Events>,
    /// With `--json` stdout is one event a line.
    tells_events: bool,
    color: ui::Color,
    global: Global,
    interrupt: Interrupt,
    command: String,
}

/// How a command ended, if it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It did what was asked.
    Done,
    /// It says itself how it ended, and has told everything.
    Code(u8),
}

/// Runs the program.
pub fn main() -> ExitCode {
    exit::install_panic_hook();
    let arguments = plugin::plugin_arguments(std::env::args_os().collect());
    if arguments.get(1).is_some_and(|a| a == plugin::METADATA_COMMAND) {
        return printed(&plugin::plugin_metadata().to_string());
    }
    let cli = match Cli::read(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    if let Command::Helper { request } = &cli.command {
        let streams = Streams {
            input: &mut std::io::stdin(),
            out: &mut std::io::stdout(),
            err: &mut std::io::stderr(),
            hung_up: &crate::helper::stdin_hung_up,
        };
        return crate::helper::run(request, streams);
    }
    if let Command::Thaw { at, limit } = &cli.command {
        let limit = std::time::Duration::from_millis(*limit);
        return crate::ops::backup::watch(at, limit, &mut std::io::stdout());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(crate::web::STACK)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::environment("cannot start the runtime").because(&error);
            ui::out::talk(&ui::render(&failure, false, 0));
            return ExitCode::from(exit::code(failure.kind));
        }
    };
    let command = words(&arguments);
    let code = runtime.block_on(run(cli, command));
    // A helper that is still being waited for must not keep a process that was told to end.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Prints what was asked for, and nothing else.
fn printed(text: &str) -> ExitCode {
    match ui::out::data(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(exit::code(failure.kind)),
    }
}

/// clap's own answer, and with `--json` the event that ends every run.
fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if !error.use_stderr() {
        return printed(error.render().to_string().trim_end());
    }
    if exit::asks_for_json(arguments) {
        let failure = args::usage_failure(error);
        let exit = exit::code(failure.kind);
        let event = Event::Finished {
            run: None,
            outcome: Outcome::Refused,
            exit,
            failure: Some(failure),
            report: None,
        };
        ui::display(ui::Mode::Json, ui::Color::Never, ui::Verbosity::Normal).tell(event);
    }
    ui::out::talk(error.render().to_string().trim_end());
    ExitCode::from(exit::code(Kind::Usage))
}

/// What was typed, for the history: arguments are no secrets here.
fn words(arguments: &[OsString]) -> String {
    let rest = arguments.iter().skip(1).map(|a| a.to_string_lossy());
    std::iter::once("rehome".into())
        .chain(rest)
        .collect::<Vec<_>>()
        .join(" ")
}

async fn run(cli: Cli, command: String) -> u8 {
    let global = cli.global;
    let color = match global.color {
        ColorWhen::Auto => ui::Color::Auto,
        ColorWhen::Always => ui::Color::Always,
        ColorWhen::Never => ui::Color::Never,
    };
    let verbosity = match (global.quiet, global.verbose) {
        (true, _) => ui::Verbosity::Quiet,
        (false, 0) => ui::Verbosity::Normal,
        (false, _) => ui::Verbosity::Verbose,
    };
    let tells_events = cli.command.tells_events();
    let events = ui::display(ui::Mode::detect(global.json, tells_events), color, verbosity);
    if global.verbose > 1 {
        ui::diagnostics();
    }
    let interrupt = Interrupt::new();
    listen(&interrupt, Arc::clone(&events), cli.command.when_interrupted());
    let cx = Cx {
        tells_events,
        events,
        color,
        global,
        interrupt,
        command,
    };
    let result = commands::dispatch(&cx, cli.command).await;
    match result {
        Ok(Ending::Done) => 0,
        Ok(Ending::Code(code)) => code,
        Err(failure) => {
            let exit = exit::code(failure.kind);
            let outcome = match failure.kind {
                Kind::Refused | Kind::Usage => Outcome::Refused,
                Kind::RolledBack => Outcome::RolledBack,
                Kind::Interrupted => Outcome::Interrupted,
                Kind::Stuck => Outcome::Stuck,
                Kind::Environment | Kind::Bug => Outcome::Failed,
            };
            cx.events.tell(Event::Finished {
                run: None,
                outcome,
                exit,
                failure: Some(failure),
                report: None,
            });
            exit
        }
    }
}

/// The first Ctrl-C (or SIGTERM) asks the run to go back; the second leaves a journal that can be resumed. What keeps no
/// journal stops at its next step.
fn listen(interrupt: &Interrupt, events: Arc<dyn Events>, when: WhenInterrupted) {
    let (first, second) = match when {
        WhenInterrupted::GoesBack => (
            "interrupted: going back; once more leaves it as it is, to be resumed",
            "left as it is: `rehome resume` or `rehome rollback` goes on",
        ),
        WhenInterrupted::StopsAtTheNextStep => (
            "interrupted: stopping before the next step; once more leaves it as it is",
            "left as it is: a program that was started may still run; the same command again looks and goes on",
        ),
        WhenInterrupted::GoesOn => (
            "interrupted: this goes on to its end; once more leaves it as it is",
            "left as it is: a program that was started may still run; the same command again looks and goes on",
        ),
        WhenInterrupted::Serves => (
            "stopping: runs that are under way go back; once more leaves them as they are, to be resumed",
            "left as it is: `rehome resume` or `rehome rollback` goes on",
        ),
        WhenInterrupted::IsHandedOn => ("", ""),
    };
    let interrupt = interrupt.clone();
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            events.warn("signals cannot be heard: Ctrl-C ends this at once");
            return;
        };
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            if when == WhenInterrupted::IsHandedOn {
                // Compose is in the same group of processes: it heard it, and this one waits for its end.
            } else if interrupt.raise() {
                events.warn(first);
            } else {
                ui::out::talk(second);
                std::process::exit(i32::from(exit::code(Kind::Interrupted)));
            }
        }
    });
}

impl Cx {
    /// What the use cases need to know of arguments and environment.
    fn options(&self) -> Result<Options> {
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let cwd = std::env::current_dir()
            .map_err(|e| Failure::environment("the current directory is gone").because(&e))?;
        Ok(Options {
            project: crate::compose::Wanted {
                files: self.global.files.clone(),
                project_name: self.global.project_name.clone(),
                project_directory: self.global.project_directory.clone(),
                env_files: self.global.env_files.clone(),
                profiles: self.global.profiles.clone(),
                cwd,
                env: env.clone(),
            },
            engine: crate::engine::HostWanted {
                host: self.global.host.clone(),
                context: self.global.context.clone(),
                env,
            },
            config: self.global.config.clone(),
            state_dir: self.global.state_dir.clone(),
            command: self.command.clone(),
            by: None,
            events: Arc::clone(&self.events),
            interrupt: self.interrupt.clone(),
        })
    }

    /// Says something to people; with `--json` or `-q` there are none.
    fn talk(&self, text: &str) {
        if !self.global.json && !self.global.quiet {
            ui::out::talk(text);
        }
    }

    /// Opens the project, and says in a line when the stack runs with other files than it is read with.
    async fn open(&self) -> Result<crate::ops::App> {
        let app = self.open_in_silence().await?;
        match crate::ops::drift(&app).await {
            Ok(None) => {}
            Ok(Some(drift)) => self.warn(drift.line()),
            // Nobody asked for it: what the command itself needs of the engine it says by itself.
            Err(failure) => self.events.note(Level::Detail, failure.to_string()),
        }
        Ok(app)
    }

    /// Opens the project in another directory, on the same engine. What was said about this one's files is not about it.
    async fn open_in(&self, dir: &std::path::Path) -> Result<crate::ops::App> {
        let mut options = self.options()?;
        let cwd = options.project.cwd.join(dir);
        options.project = crate::compose::Wanted {
            cwd,
            env: options.project.env,
            ..crate::compose::Wanted::default()
        };
        // They would be taken for this project's.
        for name in ["COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_ENV_FILES", "PWD"] {
            options.project.env.remove(name);
        }
        options.config = None;
        crate::ops::App::open(options).await
    }

    /// The same for a command that says it in its answer.
    async fn open_in_silence(&self) -> Result<crate::ops::App> {
        crate::ops::App::open(self.options()?).await
    }

    /// Something worth acting on. Where stdout is one document or Compose's, it is never said there.
    fn warn(&self, text: &str) {
        if self.global.json && !self.tells_events {
            ui::out::talk(&format!("warning: {}", ui::clean(text)));
        } else {
            self.events.warn(text);
        }
    }

    /// Prints the answer of a query: one JSON document, or text for people.
    fn answer<T: serde::Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        if self.global.json {
            let json = serde_json::to_string_pretty(value)
                .map_err(|e| Failure::bug("an answer that cannot be written as JSON").because(&e))?;
            ui::out::data(&json)
        } else {
            ui::out::data(text().trim_end())
        }
    }
}

/// The whole command, for completions and the manual.
fn command() -> clap::Command {
    Cli::command()
}
