//! The arguments of `rehome backup`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::examples::{
    BACKUP_EXAMPLES, CREATE_EXAMPLES, FREEZE_EXAMPLES, RESTORE_EXAMPLES, SCHEDULE_EXAMPLES, VERIFY_EXAMPLES,
};
use super::values::{RestoreInto, path_in_volume};
use crate::model::config::{Place, absolute_dir, check_schedule};
use crate::model::parse_span;
use crate::ops::backup::BackupId;

/// `rehome backup`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = BACKUP_EXAMPLES)]
pub struct Backup {
    /// What to do.
    #[command(subcommand)]
    pub command: BackupCommand,
}

/// What `rehome backup` does.
#[derive(Debug, Clone, Subcommand)]
pub enum BackupCommand {
    /// Make a backup: dumps of the databases, archives of the other volumes, the project's files
    ///
    /// Databases are dumped by their own tools, in one snapshot each, and every dump is read back. Other volumes are
    /// archived file by file with owners, modes, times, attributes and links; or, in places with `volumes: restic` in
    /// rehome.yml, they are snapshots that restic reads. Services run on, are paused or stopped as rehome.yml says, and
    /// come back in any case.
    Create(BackupCreate),
    /// List the backups: what is in each, how old, how large, where, and when it was last verified
    List(BackupList),
    /// Read a backup back and compare every byte with what was written
    ///
    /// With --drill it is restored as well: into throw-away containers and volumes from the same images, where the
    /// databases are started and checked. The running stack is not touched.
    Verify(BackupVerify),
    /// Replace data by what a backup has
    ///
    /// Shows the plan first, and makes a backup of what is there now. Data is restored beside what is there, compared,
    /// and only then put in its place; if anything fails, or the machine dies, it is as before or complete.
    Restore(BackupRestore),
    /// Remove backups that `backup.keep` of rehome.yml does not keep
    ///
    /// Says of each why it stays or goes, and asks. Never removed are the last good one, pinned ones and one that is being
    /// written; and nothing is while the newest backup failed, or lies in the future.
    Prune(BackupPrune),
    /// Make backups by themselves: a service and a timer of systemd, or a line of cron where there is no systemd
    Schedule(BackupSchedule),
    /// Keep a backup whatever `backup.keep` says
    Pin(BackupPin),
    /// Let a pinned backup be pruned like the others
    Unpin(BackupPin),
    /// Run a command while the databases are checkpointed and the file system stands still: a snapshot at the provider
    ///
    /// The file system is thawed when the command ends, at the latest after --limit, and also when Rehome is killed.
    /// Refuses the root file system.
    Freeze(BackupFreeze),
}

impl BackupCommand {
    /// Whether it is a run, which tells how far it is.
    #[must_use]
    pub fn tells_events(&self) -> bool {
        match self {
            Self::Create(args) => !args.dry_run,
            Self::Restore(args) => !args.dry_run,
            Self::Verify(args) => args.drill,
            _ => false,
        }
    }
}

/// `rehome backup create`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = CREATE_EXAMPLES)]
pub struct BackupCreate {
    /// Only this service's database, this volume, or this site (site.NAME); may be repeated, or a list with commas
    #[arg(long, value_name = "SERVICE|VOLUME", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Leave this service's database, this volume, or this site (site.NAME) out; may be repeated, or a list with commas
    #[arg(long, value_name = "SERVICE|VOLUME", value_delimiter = ',')]
    pub exclude: Vec<String>,

    /// What the services do while their data is read [default: backup.consistency of rehome.yml]
    #[arg(long, value_name = "HOW", value_enum)]
    pub consistency: Option<Quiet>,

    /// Where to: a directory, or s3://bucket/prefix; may be repeated [default: backup.to of rehome.yml]
    #[arg(long, value_name = "DIR|S3")]
    pub to: Vec<Place>,

    /// Keep it whatever backup.keep says
    #[arg(long)]
    pub pin: bool,

    /// Write success, size and duration for Prometheus here [default: backup.metrics of rehome.yml]
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,

    /// Print what would be in it and where it would go; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What the services do while their data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Quiet {
    /// They run: databases are consistent, files are of slightly different moments
    Live,
    /// Those that write to a volume are paused while it is read
    Pause,
    /// They are stopped
    Stop,
}

/// `rehome backup list`.
#[derive(Debug, Clone, Args)]
pub struct BackupList {
    /// Also those of other projects in the same places
    #[arg(long)]
    pub all: bool,

    /// Look here instead of in backup.to of rehome.yml; may be repeated
    #[arg(long, value_name = "DIR|S3")]
    pub from: Vec<Place>,
}

/// Which backup.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// The backup, as `rehome backup list` names it [default: the last one]
    #[arg(value_name = "ID")]
    pub id: Option<BackupId>,

    /// The last one
    #[arg(long, conflicts_with = "id")]
    pub latest: bool,
}

/// `rehome backup verify`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = VERIFY_EXAMPLES)]
pub struct BackupVerify {
    /// Which.
    #[command(flatten)]
    pub which: Which,

    /// Restore it as well, into throw-away containers and volumes, and check the databases there
    #[arg(long)]
    pub drill: bool,

    /// Read it from here: a directory, or s3://bucket/prefix [default: each place of backup.to]
    #[arg(long, value_name = "DIR|S3")]
    pub from: Option<Place>,

    /// A file with the secret keys of age, for what was encrypted for recipients; may be repeated
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
}

/// `rehome backup restore`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = RESTORE_EXAMPLES)]
pub struct BackupRestore {
    /// Which.
    #[command(flatten)]
    pub which: Which,

    /// A place for backups: a directory, or s3://bucket/prefix [default: backup.to of rehome.yml]. Or a file that Rehome
    /// did not write: a dump for the database of `--only SERVICE`, a tar for `--only VOLUME`; also with gzip or zstd
    #[arg(long, value_name = "DIR|S3|FILE")]
    pub from: Option<Place>,

    /// Only this service's databases, this volume, or this site (site.NAME); may be repeated, or a list with commas
    #[arg(long, value_name = "SERVICE|VOLUME", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Only this database of a PostgreSQL; the server and its other databases go on
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,

    /// Only this file or directory of a volume, from the volume's root; services go on
    #[arg(long, value_name = "PATH", value_parser = path_in_volume, conflicts_with = "database")]
    pub path: Option<PathBuf>,

    /// Cut so many directories off the paths in a tar that Rehome did not write
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub strip: u32,

    /// Into a new volume of this name; or into the project in this directory (with a slash: ./staging)
    #[arg(long, value_name = "VOLUME|DIR")]
    pub into: Option<RestoreInto>,

    /// Do not back up first what is replaced
    #[arg(long)]
    pub no_safety_backup: bool,

    /// A file with the secret keys of age, for what was encrypted for recipients; may be repeated
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,

    /// Print the plan and change nothing
    #[arg(long, visible_alias = "plan")]
    pub dry_run: bool,
}

/// `rehome backup prune`.
#[derive(Debug, Clone, Args)]
pub struct BackupPrune {
    /// Say of each why it stays or goes; remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome backup schedule`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = SCHEDULE_EXAMPLES)]
pub struct BackupSchedule {
    /// When: 02:00, or as systemd has it, Mon..Fri 02:00 [default: backup.schedule of rehome.yml]
    #[arg(long, value_name = "TIME", value_parser = |text: &str| check_schedule(text).map(str::to_owned))]
    pub at: Option<String>,

    /// Take it back
    #[arg(long, conflicts_with = "at")]
    pub remove: bool,

    /// The machine's files are below DIR: an image that is being made. Nothing is started then
    #[arg(long, value_name = "DIR", value_parser = absolute_dir)]
    pub sysroot: Option<PathBuf>,

    /// Print what would be written and run; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome backup pin` and `rehome backup unpin`.
#[derive(Debug, Clone, Args)]
pub struct BackupPin {
    /// The backup, as `rehome backup list` names it
    #[arg(value_name = "ID")]
    pub id: BackupId,
}

/// `rehome backup freeze`.
#[derive(Debug, Clone, Args)]
#[command(override_usage = "rehome backup freeze [OPTIONS] -- COMMAND...", after_long_help = FREEZE_EXAMPLES)]
pub struct BackupFreeze {
    /// How long the file system may stand still
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_span)]
    pub limit: Duration,

    /// The file system that this directory is on [default: the one of the project's data on block storage]
    #[arg(long, value_name = "DIR", value_parser = absolute_dir)]
    pub at: Option<PathBuf>,

    /// Say what would stand still, and run nothing
    #[arg(long)]
    pub dry_run: bool,

    /// What is run meanwhile, as `doctl compute volume snapshot ID`
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<OsString>,
}
