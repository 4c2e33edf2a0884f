//! The arguments. The doc comments of these types are the help text.

mod backup;
mod examples;
mod moving;
mod passes;
mod s3;
mod serve;
mod site;
mod size;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use self::backup::{
    Backup, BackupCommand, BackupCreate, BackupFreeze, BackupList, BackupPin, BackupPrune, BackupRestore,
    BackupSchedule, BackupVerify, Quiet, Which,
};
use self::examples::{
    COMPOSE_EXAMPLES, ENV_EXAMPLES, EXAMPLES, INIT_EXAMPLES, MOUNT_EXAMPLES, OVERRIDE_EXAMPLES,
};
pub use self::moving::Move;
pub use self::passes::{Loss, Pass, Restart};
pub use self::s3::{
    Framework, S3, S3Check, S3Command, S3Common, S3Cost, S3Policy, S3Pull, S3Settings, S3Setup, S3Switch,
    S3Sync, S3Transfer, S3Verify,
};
pub use self::serve::{
    AccessNamed, Serve, ServeCommand, ServeToken, ServeTokenCreate, ServeUnit, ServeUser, ServeUserAdd,
};
pub use self::site::{
    SiteAdd, SiteArgs, SiteCommand, SiteDisable, SiteEnable, SiteImport, SiteNamed, SiteRemove,
};
pub use self::size::Size;
pub use self::values::{BlockDelta, Pair, RestoreInto, Threads, Verification};
use crate::model::config::absolute_dir;
use crate::model::{Failure, RunId, ServiceName};

/// Gives the data of a Docker Compose stack a new home, and proves that it arrived
///
/// Rehome moves named volumes to block storage and back. It says beforehand what it will do (`--dry-run`), checks
/// what it did, and goes back if anything is wrong. The old data is never changed and never deleted by a move.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "rehome",
    bin_name = "rehome",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_long_help = EXAMPLES
)]
pub struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub global: Global,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// A Compose file; may be repeated [default: as docker compose finds it: COMPOSE_FILE, then compose.yaml …]
    #[arg(short, long = "file", global = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The name of the project [default: as docker compose decides it]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub project_name: Option<String>,

    /// The directory that paths in the Compose files are relative to
    #[arg(long, global = true, value_name = "DIR")]
    pub project_directory: Option<PathBuf>,

    /// A file of variables for the Compose files; may be repeated [default: .env]
    #[arg(long = "env-file", global = true, value_name = "FILE")]
    pub env_files: Vec<PathBuf>,

    /// A profile to switch on; may be repeated
    #[arg(long = "profile", global = true, value_name = "NAME")]
    pub profiles: Vec<String>,

    /// The Docker engine, also `ssh://user@server` [default: DOCKER_HOST, then the current context]
    #[arg(short = 'H', long, global = true, value_name = "URL")]
    pub host: Option<String>,

    /// The Docker context to use
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "host")]
    pub context: Option<String>,

    /// The configuration [default: rehome.yml beside the Compose file, if it is there]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where journals and history are kept [default: /var/lib/rehome; $XDG_STATE_HOME/rehome if not root]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Print JSON on stdout: one document for a query, one event a line for a run
    #[arg(long, global = true)]
    pub json: bool,

    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more; twice for diagnostics
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// When to use colors: auto, always or never [default: auto]
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub color: ColorWhen,

    /// Answer Rehome's own questions with yes
    #[arg(short, long, global = true)]
    pub yes: bool,
}

/// When to use colors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR says otherwise
    #[default]
    Auto,
    /// Also into files and pipes
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Look at the project and write rehome.yml with what was found
    Init(Init),
    /// Show where the data of each volume lives now
    Status,
    /// Mount a block volume, now and after every boot
    ///
    /// Finds the attached volume, makes a file system on it only if it is provably empty, writes the line of /etc/fstab,
    /// mounts it, and makes sure that nothing is ever written in its place when it is missing. What is done already is
    /// left alone: run it again after whatever went wrong.
    Mount(Mount),
    /// Grow the file system of a block volume, after the volume was made larger at the provider
    Grow(Grow),
    /// Say how large a block volume to buy
    ///
    /// Measures the project's volumes, or plans by numbers: with --records no project is needed.
    Size(Size),
    /// Say what is at risk, and how to mend it
    ///
    /// Looks at volumes, mounts, containers, databases and files, and changes nothing. Each finding comes with what was
    /// seen and the commands that mend it. An error is data at risk now, or at the next reboot, prune or deployment: the
    /// exit code is then 3. A warning will bite later. Notes are only counted; `-v` shows them.
    Doctor(Doctor),
    /// Print or write the override that points volumes at their new home
    Override(Override),
    /// Print or write the COMPOSE_FILE setting that keeps the override active
    Env(Env),
    /// Move volumes to a new home, with their data
    ///
    /// Copies while the stack runs, stops only the services that use a moved volume, copies what changed since, verifies
    /// content and metadata of every entry, points the volumes at their new home, starts the same services again and
    /// proves that they work. If anything fails, the old stack is brought back on its old data. The old data stays where
    /// it is in either case.
    Move(Move),
    /// Deploy: pull and build, replace what changed, prove it, and go back if anything is wrong
    ///
    /// Pulls and builds while the old containers serve, dumps the databases, then replaces the services whose definition
    /// or image changed, one after the other in the order in which they depend on each other. Databases are only replaced
    /// when their own definition changed. Hooks and checks follow; if anything fails, the services return to the images
    /// and the configuration that they had, and the exit code is 10.
    Deploy(Deploy),
    /// Backups that restore: dumps of databases and archives of volumes, to a directory or S3, verified
    Backup(Backup),
    /// Uploads in S3-compatible storage: what the keys may do, what the application needs, what it costs
    S3(S3),
    /// Sites: a directory for each that outlives its containers
    Site(SiteArgs),
    /// Serve the dashboard and the HTTP API to those who may come in
    ///
    /// Nothing is answered without a login or a token. Runs go on when whoever asked for them has left. Ctrl-C stops taking
    /// requests, and runs that are under way go back.
    Serve(Serve),
    /// Finish an interrupted run
    Resume(Resume),
    /// Undo an interrupted run
    ///
    /// For a run that was finished it says what was written since, and offers the move back, so that nothing of it
    /// is lost.
    Rollback(Resume),
    /// List the runs of this project
    History,
    /// Show one run: its plan, steps, times, and what was verified
    Show {
        /// The run, as `rehome history` lists it
        #[arg(value_name = "RUN")]
        run: RunId,
    },
    /// Show the settings and what may be in rehome.yml
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Run docker compose with the files of this project, the override included
    ///
    /// Refuses what destroys data (`down -v`, `rm -v`, `up -V`, `exec api manage.py flush`, …) unless it is told otherwise.
    Compose(Compose),
    /// Start the services: docker compose up with the files of this project
    ///
    /// Without arguments it is `up -d`. Compose gets no answer to a question, so that it cannot be told to make a volume
    /// anew, and afterwards it is proven that every container has the data that the files say.
    Up(Pass),
    /// Stop the services and remove their containers: docker compose down
    Down(Pass),
    /// List the containers: docker compose ps
    Ps(Pass),
    /// Show what the containers wrote: docker compose logs
    Logs(Pass),
    /// Run a command in a service: docker compose exec
    Exec(Pass),
    /// Restart services; those whose environment or definition changed are made anew
    ///
    /// Compose's own restart does not read the environment again. A database is stopped by its own rules, and never
    /// killed.
    Restart(Restart),
    /// Print the completions for a shell
    Completions {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Keeps a file system from standing still for ever
    #[command(hide = true)]
    Thaw {
        /// A directory on it
        #[arg(value_name = "DIR")]
        at: PathBuf,
        /// After so many milliseconds
        #[arg(value_name = "MILLISECONDS")]
        limit: u64,
    },
    /// Runs inside the helper container
    #[command(hide = true)]
    Helper {
        /// The request, as JSON
        #[arg(value_name = "REQUEST")]
        request: String,
    },
}

/// What a command does when somebody presses Ctrl-C once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenInterrupted {
    /// It has a journal.
    GoesBack,
    /// What was done is not done again.
    StopsAtTheNextStep,
    /// It only looks, or what it does belongs together.
    GoesOn,
    /// It serves: no more is taken, and its runs go back.
    Serves,
    /// It waits for Compose or another program, which hears the same Ctrl-C and answers it.
    IsHandedOn,
}

impl Command {
    /// What it does when somebody presses Ctrl-C once.
    #[must_use]
    pub fn when_interrupted(&self) -> WhenInterrupted {
        match self {
            Self::Move(_) | Self::Deploy(_) | Self::Resume(_) | Self::Rollback(_) => {
                WhenInterrupted::GoesBack
            }
            Self::Mount(_) => WhenInterrupted::StopsAtTheNextStep,
            Self::Backup(Backup { command }) => match command {
                BackupCommand::Create(_) | BackupCommand::Verify(_) | BackupCommand::Restore(_) => {
                    WhenInterrupted::GoesBack
                }
                BackupCommand::Prune(_) => WhenInterrupted::StopsAtTheNextStep,
                BackupCommand::Freeze(_) => WhenInterrupted::IsHandedOn,
                _ => WhenInterrupted::GoesOn,
            },
            Self::S3(S3 { command }) if command.switches().is_some() => WhenInterrupted::GoesBack,
            Self::S3(_) => WhenInterrupted::StopsAtTheNextStep,
            Self::Site(SiteArgs { command }) if command.run_is_dry().is_some() => WhenInterrupted::GoesBack,
            Self::Serve(Serve { command: None, .. }) => WhenInterrupted::Serves,
            Self::Compose(_) | Self::Up(_) | Self::Down(_) | Self::Ps(_) | Self::Logs(_) | Self::Exec(_) => {
                WhenInterrupted::IsHandedOn
            }
            _ => WhenInterrupted::GoesOn,
        }
    }

    /// Whether its stdout with `--json` is one event a line: then anything worth saying is one. Otherwise stdout is one
    /// document, or Compose's.
    #[must_use]
    pub fn tells_events(&self) -> bool {
        match self {
            Self::Move(args) => !args.dry_run,
            Self::Deploy(args) => !args.dry_run,
            Self::Resume(args) | Self::Rollback(args) => !args.dry_run,
            Self::Restart(args) => !args.dry_run,
            Self::Backup(Backup { command }) => command.tells_events(),
            Self::S3(S3 { command }) => command.switches().is_some_and(|args| !args.dry_run),
            Self::Site(SiteArgs { command }) => command.run_is_dry() == Some(false),
            Self::Mount(args) => !args.dry_run,
            _ => false,
        }
    }
}

/// `rehome init`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = INIT_EXAMPLES)]
pub struct Init {
    /// Replace a rehome.yml that is there
    #[arg(long)]
    pub force: bool,

    /// Print the file instead of writing it
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome doctor`.
#[derive(Debug, Clone, Args)]
pub struct Doctor {
    /// The machine's files (/etc/fstab, units) are below DIR
    #[arg(long, value_name = "DIR", value_parser = absolute_dir)]
    pub sysroot: Option<PathBuf>,
}

/// `rehome mount`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = MOUNT_EXAMPLES)]
pub struct Mount {
    /// The device, as /dev/disk/by-id/… names it, or `auto`: the one attached volume that nothing uses
    #[arg(long, value_name = "auto|PATH", default_value = "auto")]
    pub device: PathBuf,

    /// Where to mount it, as /mnt/data
    #[arg(long, value_name = "DIR", value_parser = absolute_dir)]
    pub at: PathBuf,

    /// The file system to make on an empty device
    #[arg(long, value_name = "TYPE", value_enum, default_value_t)]
    pub fs: MadeFs,

    /// A label for the file system that is made
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,

    /// Mount options
    /// [default: defaults,nofail,discard,noatime,errors=remount-ro,x-systemd.device-timeout=30s]
    #[arg(long, value_name = "OPTIONS")]
    pub options: Option<String>,

    /// Read all of the device before it is called empty, not only its ends, known places and 4,096 samples
    #[arg(long)]
    pub full: bool,

    /// Leave systemd as it is: nothing keeps the engine from starting before the volume is mounted
    #[arg(long)]
    pub no_systemd: bool,

    /// The machine's files are below DIR: an image that is being made. The device is this machine's, and so is the mount,
    /// at DIR and the path of --at below it
    #[arg(long, value_name = "DIR", value_parser = absolute_dir)]
    pub sysroot: Option<PathBuf>,

    /// Take back what a mount did: the units, the line of /etc/fstab, the immutable mount point. What is on the volume
    /// stays. Refused while a container or a volume of Docker has its data there
    #[arg(long, conflicts_with_all = ["fs", "label", "options", "full", "no_systemd"])]
    pub undo: bool,

    /// Print every command and every line that would be written; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A file system that is made on an empty device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum MadeFs {
    /// The usual one
    #[default]
    Ext4,
    /// Grows while it is mounted, never shrinks
    Xfs,
}

/// `rehome deploy`.
#[derive(Debug, Clone, Args)]
pub struct Deploy {
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub services: Vec<ServiceName>,

    /// The first start on a new server: the data goes to this block volume [default: block.root of rehome.yml] before
    /// anything is started, so that none of it ever lands on the root disk
    #[arg(long, value_name = "DIR", value_parser = absolute_dir, num_args = 0..=1, require_equals = true, conflicts_with = "services")]
    pub first: Option<Option<PathBuf>>,

    /// Do not pull images
    #[arg(long)]
    pub no_pull: bool,

    /// Do not build images
    #[arg(long)]
    pub no_build: bool,

    /// Build without the cache
    #[arg(long, conflicts_with = "no_build")]
    pub no_cache: bool,

    /// Do not dump the databases first
    #[arg(long)]
    pub no_backup: bool,

    /// Do not run hooks
    #[arg(long)]
    pub no_hooks: bool,

    /// Deploy although the doctor finds this, as `collation-version`; may be repeated
    #[arg(long, value_name = "FINDING")]
    pub despite: Vec<String>,

    /// Run hooks that destroy data too; the databases must be dumped before them, unless --no-backup is said as well
    #[arg(long)]
    pub allow_data_loss: bool,

    /// Print the plan and change nothing
    #[arg(long, visible_alias = "plan")]
    pub dry_run: bool,
}

/// `rehome grow`.
#[derive(Debug, Clone, Args)]
pub struct Grow {
    /// Where the block volume is mounted
    #[arg(long, value_name = "DIR", value_parser = absolute_dir)]
    pub at: PathBuf,

    /// Print the commands that would be run; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome override`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = OVERRIDE_EXAMPLES)]
pub struct Override {
    /// The directory on the block volume that holds the volumes' directories [default: block.root of rehome.yml]
    #[arg(long, value_name = "DIR", value_parser = absolute_dir)]
    pub to: Option<PathBuf>,

    /// How volumes are pointed at their home
    #[arg(long, value_name = "STYLE", value_enum, default_value_t)]
    pub style: Style,

    /// Write the file and set COMPOSE_FILE in .env
    #[arg(long)]
    pub write: bool,

    /// Only say whether the running stack uses the override
    #[arg(long, conflicts_with = "write")]
    pub check: bool,

    /// With --write: print what would be written
    #[arg(long)]
    pub dry_run: bool,
}

/// How an override points a volume at its new home.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// A named volume that is bound to the directory; every service that mounts it follows
    #[default]
    Volume,
    /// A bind mount in each service, for external volumes
    Bind,
}

/// `rehome env`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = ENV_EXAMPLES)]
pub struct Env {
    /// Put COMPOSE_FILE into .env instead of printing the export line
    #[arg(long)]
    pub write: bool,

    /// With --write: print what would be written
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome resume` and `rehome rollback`.
#[derive(Debug, Clone, Args)]
pub struct Resume {
    /// The run [default: the last one of this project]
    #[arg(value_name = "RUN")]
    pub run: Option<RunId>,

    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome config`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON Schema of rehome.yml
    Schema,
    /// Print the effective settings and where each came from
    Show,
}

/// `rehome compose`.
#[derive(Debug, Clone, Args)]
#[command(override_usage = "rehome compose [OPTIONS] -- ARGS...", after_long_help = COMPOSE_EXAMPLES)]
pub struct Compose {
    /// What destroys data.
    #[command(flatten)]
    pub loss: Loss,

    /// What docker compose is told, as `up -d` or `exec db psql`
    #[arg(
        value_name = "ARGS",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub args: Vec<OsString>,
}

impl Cli {
    /// Reads a command line, the program's name first. Help and version come as an error too, as clap has it.
    ///
    /// # Errors
    /// What clap refuses, and what contradicts itself.
    pub fn read<T: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let arguments = passes::closed(&command, arguments.into_iter().map(Into::into).collect());
        let mut matches = command.try_get_matches_from_mut(arguments)?;
        let cli = Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
        if let Command::Move(args) = &cli.command
            && let Err(contradiction) = args.check()
        {
            // The usage that is shown with it is that of the command it is about.
            let about = command.find_subcommand_mut("move");
            return Err(match about {
                Some(about) => about.error(ErrorKind::ArgumentConflict, contradiction),
                None => command.error(ErrorKind::ArgumentConflict, contradiction),
            });
        }
        Ok(cli)
    }
}

/// A refusal of clap's as the failure that `--json` prints: the whole sentence, and clap's tips as hints.
#[must_use]
pub fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let first = paragraphs.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("no command is given").hint("rehome --help");
    }
    let what = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let tips = paragraphs
        .flat_map(str::lines)
        .filter_map(|line| line.trim().strip_prefix("tip: "));
    tips.fold(Failure::usage(what), |failure, tip| failure.hint(tip))
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
