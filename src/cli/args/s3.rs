//! The arguments of `rehome s3`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::examples::{
    S3_COST_EXAMPLES, S3_EXAMPLES, S3_POLICY_EXAMPLES, S3_PULL_EXAMPLES, S3_SETTINGS_EXAMPLES,
    S3_SYNC_EXAMPLES,
};
use crate::model::config::{Bucket, Concurrency, Prefix, absolute_dir};
use crate::model::{BilledSize, ByteSize, VolumeKey};

/// `rehome s3`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = S3_EXAMPLES)]
pub struct S3 {
    /// What to do.
    #[command(subcommand)]
    pub command: S3Command,
}

/// What `rehome s3` does.
#[derive(Debug, Clone, Subcommand)]
pub enum S3Command {
    /// Make the bucket if it is not there, see to its settings, and try it with an object of its own
    ///
    /// Public access blocked, overwritten objects kept, encryption, a rule that takes back incomplete uploads, CORS if
    /// rehome.yml wants it. What this storage does not do is said and gone around; what keeps uploads from arriving is taken
    /// back. What was already so is left alone.
    Setup(S3Setup),
    /// Say what works with these keys and what does not, one thing after the other, and who else can read
    Check(S3Check),
    /// Bring the files of the volume into the bucket: what is missing there or has another content
    ///
    /// Compares with the bucket itself, never with the application. The volume is only read, and services run on. A file
    /// that does not arrive makes it a failure, with a list; the same command goes on where it was.
    Sync(S3Sync),
    /// Compare every file of the volume with its object, by content; exit 3 on any difference
    Verify(S3Verify),
    /// Bring the objects into the volume, or into a directory
    Pull(S3Pull),
    /// Switch the uploads to the bucket while the site runs, as one run that goes back by itself if anything is wrong
    ///
    /// Sets up and tries the bucket, sends the files, sets USE_S3=1 in .env, makes the services that read it anew one after
    /// the other, has the application store a file, sends what was written to the volume meanwhile, and compares.
    Enable(S3Switch),
    /// The way back: brings the objects into the volume, switches, brings what was uploaded meanwhile, compares
    Disable(S3Switch),
    /// Print the least IAM policy for the keys of this bucket and prefix
    ///
    /// Objects below the prefix may be read, written and deleted, and listed; nothing else of the account.
    Policy(S3Policy),
    /// Print or write what the application needs: settings, storage classes, requirements, lines for .env
    ///
    /// With the switch off (`USE_S3=0`) uploads stay on the local disk, so that it can be deployed long before the move.
    Settings(S3Settings),
    /// Say what a month would cost, at several providers side by side
    ///
    /// Without --storage the volume with the uploads is measured, where there is a project and an engine: its size, and the
    /// requests of its first upload. Prices are those of a dated file; a GB is what providers bill as one, 2^30 bytes.
    Cost(S3Cost),
}

impl S3Command {
    /// What is said of the switch, if it is one: a run with a journal.
    #[must_use]
    pub fn switches(&self) -> Option<&S3Switch> {
        match self {
            Self::Enable(args) | Self::Disable(args) => Some(args),
            _ => None,
        }
    }
}

/// Which uploads.
#[derive(Debug, Clone, Default, Args)]
pub struct S3Common {
    /// The volume with the uploads [default: s3.volume of rehome.yml]
    #[arg(long, value_name = "VOLUME")]
    pub volume: Option<VolumeKey>,

    /// The bucket [default: s3.bucket of rehome.yml, then AWS_STORAGE_BUCKET_NAME of .env]
    #[arg(long, value_name = "BUCKET")]
    pub bucket: Option<Bucket>,

    /// What every key begins with [default: s3.prefix of rehome.yml, then media/]
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<Prefix>,
}

/// How files are brought from one place to the other.
#[derive(Debug, Clone, Default, Args)]
pub struct S3Transfer {
    /// Only these paths: *.jpg, docs/, /avatars/*.png
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,

    /// Not these paths
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,

    /// How many at once: auto, or a number up to 256 [default: s3.concurrency of rehome.yml, then auto]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<Concurrency>,

    /// Bytes a second at most, as 20MB [default: s3.bandwidth of rehome.yml, then no limit]
    #[arg(long, value_name = "RATE")]
    pub bandwidth: Option<ByteSize>,
}

/// `rehome s3 setup`.
#[derive(Debug, Clone, Args)]
pub struct S3Setup {
    /// Which uploads.
    #[command(flatten)]
    pub common: S3Common,

    /// Say what would be set, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome s3 check`.
#[derive(Debug, Clone, Args)]
pub struct S3Check {
    /// Which uploads.
    #[command(flatten)]
    pub common: S3Common,
}

/// `rehome s3 sync`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = S3_SYNC_EXAMPLES)]
pub struct S3Sync {
    /// Which uploads.
    #[command(flatten)]
    pub common: S3Common,

    /// How.
    #[command(flatten)]
    pub transfer: S3Transfer,

    /// Say what would be sent, and send nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Delete objects that no file belongs to: never all of them, and more than a tenth only with --allow-shrink
    #[arg(long)]
    pub delete: bool,

    /// With --delete: also when that is more than a tenth of the objects
    #[arg(long, requires = "delete")]
    pub allow_shrink: bool,
}

/// `rehome s3 verify`.
#[derive(Debug, Clone, Args)]
pub struct S3Verify {
    /// Which uploads.
    #[command(flatten)]
    pub common: S3Common,

    /// How.
    #[command(flatten)]
    pub transfer: S3Transfer,

    /// Download and hash every object, whatever the storage says of its content
    #[arg(long)]
    pub read: bool,
}

/// `rehome s3 pull`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = S3_PULL_EXAMPLES)]
pub struct S3Pull {
    /// Which uploads.
    #[command(flatten)]
    pub common: S3Common,

    /// How.
    #[command(flatten)]
    pub transfer: S3Transfer,

    /// Into this directory of the engine's machine, instead of the volume
    #[arg(long, value_name = "DIR", value_parser = absolute_dir)]
    pub to: Option<PathBuf>,

    /// Leave alone what is there, whatever the bucket has in its place
    #[arg(long)]
    pub only_missing: bool,

    /// Say what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome s3 enable` and `rehome s3 disable`.
#[derive(Debug, Clone, Args)]
pub struct S3Switch {
    /// Which uploads.
    #[command(flatten)]
    pub common: S3Common,

    /// Say what would be done, step by step, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome s3 policy`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = S3_POLICY_EXAMPLES)]
pub struct S3Policy {
    /// Which uploads.
    #[command(flatten)]
    pub common: S3Common,

    /// Also allow what `rehome s3 setup` does: make the bucket, and its settings
    #[arg(long)]
    pub setup: bool,

    /// The region, as cn-north-1: in China and GovCloud names begin differently [default: AWS_S3_REGION_NAME of .env]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,

    /// Print the commands that make a user with this policy and a key
    #[arg(long)]
    pub create_user_commands: bool,

    /// The name of that user [default: BUCKET-uploads]
    #[arg(long, value_name = "NAME", requires = "create_user_commands")]
    pub user: Option<String>,
}

/// `rehome s3 settings`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = S3_SETTINGS_EXAMPLES)]
pub struct S3Settings {
    /// Which uploads.
    #[command(flatten)]
    pub common: S3Common,

    /// What the application is made with
    #[arg(long, value_name = "NAME", value_enum)]
    pub framework: Framework,

    /// Write the files beside the Compose file; one that is there and differs is never replaced
    #[arg(long)]
    pub write: bool,

    /// With --write: say which files would be written
    #[arg(long, requires = "write")]
    pub dry_run: bool,
}

/// What an application is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Framework {
    /// Django 4.2 or later, with django-storages
    Django,
}

/// `rehome s3 cost`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = S3_COST_EXAMPLES)]
pub struct S3Cost {
    /// What is stored, as 50GB [default: what the volume with the uploads has, measured]
    #[arg(long, value_name = "SIZE")]
    pub storage: Option<BilledSize>,

    /// Uploads in a month, and other requests that write or list
    #[arg(long, value_name = "N")]
    pub puts: Option<u64>,

    /// Downloads in a month, and other requests that read
    #[arg(long, value_name = "N")]
    pub gets: Option<u64>,

    /// What is sent out into the internet in a month, as 100GB
    #[arg(long, value_name = "SIZE")]
    pub egress: Option<BilledSize>,

    /// The volume to measure, without --storage [default: s3.volume of rehome.yml]
    #[arg(long, value_name = "VOLUME", conflicts_with = "storage")]
    pub volume: Option<VolumeKey>,

    /// Only this region of those who have several, as eu-central-1
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,

    /// Count what an account may send out for nothing each month: right if nothing else of it does
    #[arg(long)]
    pub free_egress: bool,

    /// Other prices [default: those that Rehome comes with]
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
}
