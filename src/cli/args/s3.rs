//! The arguments of `rehome s3`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::examples::{S3_COST_EXAMPLES, S3_EXAMPLES, S3_POLICY_EXAMPLES, S3_SETTINGS_EXAMPLES};
use crate::model::config::{Bucket, Prefix};
use crate::model::{BilledSize, VolumeKey};

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
    /// Prices are those of a dated file; a GB is what providers bill as one, 2^30 bytes.
    Cost(S3Cost),
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
    /// What is stored, as 50GB
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
