//! The arguments of `rehome move`, and what they say against each other.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Loss;
use super::examples::MOVE_EXAMPLES;
use super::values::{BlockDelta, Pair, Threads, Verification, rate, threads};
use crate::model::config::Subdir;
use crate::model::{ByteSize, Owner, VolumeKey, parse_span};
use crate::plan::Destination;

/// `rehome move`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = MOVE_EXAMPLES)]
pub struct Move {
    /// A directory on a mounted block volume of the engine's host, or `volumes` for Docker's own
    /// [default: block.root of rehome.yml]
    #[arg(long, value_name = "DIR|volumes")]
    pub to: Option<Destination>,

    /// Move only this volume; may be repeated, or a list with commas
    #[arg(long, value_name = "VOLUME", value_delimiter = ',')]
    pub only: Vec<VolumeKey>,

    /// Leave this volume where it is; may be repeated, or a list with commas
    #[arg(long, value_name = "VOLUME", value_delimiter = ',')]
    pub exclude: Vec<VolumeKey>,

    /// The directory of a volume below DIR, instead of its name without `_data` or `_volume`; may be repeated
    #[arg(long = "map", value_name = "VOLUME=SUBDIR", value_delimiter = ',')]
    pub maps: Vec<Pair<Subdir>>,

    /// The owner of everything in a volume at its new home [default: as at the old home]; may be repeated
    #[arg(long = "owner", value_name = "VOLUME=UID:GID", value_delimiter = ',')]
    pub owners: Vec<Pair<Owner>>,

    /// Stop the services first and copy once, instead of copying while they run
    #[arg(long)]
    pub offline: bool,

    /// Run no hooks after the start, neither configured nor detected ones
    #[arg(long)]
    pub no_hooks: bool,

    /// How long a service may take to stop, as 90s or 10m [default: by its kind; a database gets minutes]
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    pub stop_timeout: Option<Duration>,

    /// Give up and bring the old stack back if it would be down for longer than this
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    pub max_downtime: Option<Duration>,

    /// Copy no faster than this a second while the stack runs, as 50MB
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub bandwidth: Option<ByteSize>,

    /// Answer with a maintenance page on the HTTP ports of the services that are stopped, for as long as they are
    #[arg(long)]
    pub maintenance: bool,

    /// The page to answer with, an HTML file of at most 256 KiB [default: a built-in one]; implies --maintenance
    #[arg(long, value_name = "FILE")]
    pub maintenance_page: Option<PathBuf>,

    /// How the copy is proven
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub verify: Verification,

    /// Whether a large file of which a part changed is patched
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub block_delta: BlockDelta,

    /// Threads that copy, or `auto`
    #[arg(long, value_name = "N|auto", value_parser = threads, default_value = "auto")]
    pub jobs: Threads,

    /// Start this volume empty on its new home; its data stays in the old one. May be repeated, or a list with commas
    #[arg(long, value_name = "VOLUME", value_delimiter = ',')]
    pub without_data: Vec<VolumeKey>,

    /// What destroys data, in hooks.
    #[command(flatten)]
    pub loss: Loss,

    /// Make a backup before, where backup.to of rehome.yml says; without a good one nothing is moved
    #[arg(long)]
    pub backup: bool,

    /// Print the plan and what speaks against it; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Move {
    /// What the arguments say against each other. A later one never wins silently: what is meant decides where data
    /// goes.
    pub(super) fn check(&self) -> Result<(), String> {
        no_repeats("--map", self.maps.iter().map(|map| &map.volume))?;
        no_repeats("--owner", self.owners.iter().map(|owner| &owner.volume))?;
        if let Some(volume) = self.only.iter().find(|volume| self.exclude.contains(volume)) {
            return Err(format!(
                "volume `{volume}` is asked for with --only and left out with --exclude"
            ));
        }
        if self.to == Some(Destination::Volumes)
            && let Some(map) = self.maps.first()
        {
            return Err(format!(
                "--map {}={} has no meaning with --to volumes: there the data goes into Docker's own directory",
                map.volume, map.value
            ));
        }
        let maps = self.maps.iter().map(|map| ("--map", &map.volume));
        let owners = self.owners.iter().map(|owner| ("--owner", &owner.volume));
        let fresh = self.without_data.iter().map(|volume| ("--without-data", volume));
        for (option, volume) in maps.chain(owners).chain(fresh) {
            let asked_for = self.only.is_empty() || self.only.contains(volume);
            if !asked_for || self.exclude.contains(volume) {
                return Err(format!(
                    "{option} names volume `{volume}`, which is left out of this move"
                ));
            }
        }
        Ok(())
    }
}

fn no_repeats<'a>(option: &str, volumes: impl IntoIterator<Item = &'a VolumeKey>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match volumes.into_iter().find(|volume| !seen.insert(*volume)) {
        Some(volume) => Err(format!("{option} names volume `{volume}` twice")),
        None => Ok(()),
    }
}
