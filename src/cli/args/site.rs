//! The arguments of `rehome site`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};

use super::examples::{SITE_ADD_EXAMPLES, SITE_EXAMPLES, SITE_IMPORT_EXAMPLES};
use crate::model::{Owner, ServiceName, SiteName, is_image_reference};
use crate::site::Published;

/// `rehome site`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = SITE_EXAMPLES)]
pub struct SiteArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SiteCommand,
}

/// What `rehome site` does.
#[derive(Debug, Clone, Subcommand)]
pub enum SiteCommand {
    /// Say what a site is: the Compose project in a directory, or an image that serves on a port
    ///
    /// Nothing is started. For an image a Compose project of its own is written into the state directory.
    Add(SiteAdd),
    /// List the sites, where the data of each is, how much it is and whose
    List,
    /// Show one site
    Show(SiteNamed),
    /// Switch persistent storage on: a directory at /data that outlives the containers, and DATA_DIR=/data
    ///
    /// Makes the directory, writes an override beside the project's Compose file, stops the service, makes it anew and looks
    /// whether it is well. If anything is wrong it goes back by itself, and the exit code is 10. Redeployments keep it.
    Enable(SiteEnable),
    /// Switch persistent storage off: the service is made anew without the directory, and the data stays in it
    Disable(SiteDisable),
    /// Forget a site; its data stays
    ///
    /// Only with --delete-data its directory goes too, and then its name is asked for once more.
    Remove(SiteRemove),
    /// Take over the sites of a hosting panel: the table `sites` of its SQLite database
    ///
    /// Reads the columns `name` and `persistent_storage`, and writes nothing there. Names that are not allowed are said and
    /// left out; the exit code is then 3.
    Import(SiteImport),
}

impl SiteCommand {
    /// Whether it is a run with a journal; and if it is, whether only its plan is wanted.
    #[must_use]
    pub fn run_is_dry(&self) -> Option<bool> {
        match self {
            Self::Enable(args) => Some(args.dry_run),
            Self::Disable(args) => Some(args.dry_run),
            _ => None,
        }
    }
}

/// A site.
#[derive(Debug, Clone, Args)]
pub struct SiteNamed {
    /// The site
    #[arg(value_name = "NAME")]
    pub name: SiteName,
}

/// `rehome site add`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = SITE_ADD_EXAMPLES, group(ArgGroup::new("made_of").required(true)))]
pub struct SiteAdd {
    /// Its name: lower-case letters, digits and `-`
    #[arg(value_name = "NAME")]
    pub name: SiteName,

    /// The directory of its Compose project
    #[arg(long, value_name = "DIR", group = "made_of")]
    pub project: Option<PathBuf>,

    /// The service that has the data [default: the only one]
    #[arg(long, value_name = "SERVICE", conflicts_with = "image")]
    pub service: Option<ServiceName>,

    /// An image instead
    #[arg(long, value_name = "IMAGE", group = "made_of", requires = "port", value_parser = image)]
    pub image: Option<String>,

    /// Where the image serves, published on 127.0.0.1: 3000, or 8080:3000 where this machine's port is another
    #[arg(long, value_name = "PORT", requires = "image", conflicts_with = "project")]
    pub port: Option<PortPair>,

    /// The path of the image that answers 200 when it is well [default: its port takes connections]
    #[arg(long, value_name = "PATH", requires = "image", conflicts_with = "project", value_parser = health)]
    pub health: Option<String>,

    /// Say what would be added, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome site enable`.
#[derive(Debug, Clone, Args)]
pub struct SiteEnable {
    /// The site
    #[arg(value_name = "NAME")]
    pub name: SiteName,

    /// Whose the directory is [default: the user of the service's container]
    #[arg(long, value_name = "UID:GID")]
    pub owner: Option<Owner>,

    /// Print the plan and change nothing
    #[arg(long, visible_alias = "plan")]
    pub dry_run: bool,
}

/// `rehome site disable`.
#[derive(Debug, Clone, Args)]
pub struct SiteDisable {
    /// The site
    #[arg(value_name = "NAME")]
    pub name: SiteName,

    /// Print the plan and change nothing
    #[arg(long, visible_alias = "plan")]
    pub dry_run: bool,
}

/// `rehome site remove`.
#[derive(Debug, Clone, Args)]
pub struct SiteRemove {
    /// The site
    #[arg(value_name = "NAME")]
    pub name: SiteName,

    /// Delete its directory, with all that is in it
    #[arg(long)]
    pub delete_data: bool,

    /// With --delete-data: the name once more, where nobody can be asked; -y is not enough
    #[arg(long, value_name = "NAME", requires = "delete_data")]
    pub typed: Option<String>,

    /// Say what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `rehome site import`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = SITE_IMPORT_EXAMPLES)]
pub struct SiteImport {
    /// The panel's database
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Each site has its Compose project in the directory of its name below DIR
    #[arg(long, value_name = "DIR")]
    pub projects: Option<PathBuf>,

    /// Say what would be taken over, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `PORT`, or `HOST:CONTAINER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortPair(pub Published);

impl FromStr for PortPair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (host, container) = text.split_once(':').unwrap_or((text, text));
        match (port(host), port(container)) {
            (Some(host), Some(container)) => Ok(Self(Published { host, container })),
            _ => Err("a port from 1 to 65535, or two of them: 8080:3000".to_owned()),
        }
    }
}

fn image(text: &str) -> Result<String, String> {
    match is_image_reference(text) {
        true => Ok(text.to_owned()),
        false => Err("the reference of an image, as ghost:5 or ghcr.io/owner/name:tag".to_owned()),
    }
}

fn health(text: &str) -> Result<String, String> {
    let strange = |c: char| c.is_control() || c.is_whitespace();
    match !text.starts_with('/') || text.chars().count() > 1024 || text.contains(strange) {
        true => Err("a path, as / or /health".to_owned()),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_images_and_paths() {
        let pair = |host, container| Ok(PortPair(Published { host, container }));
        assert_eq!("3000".parse(), pair(3000, 3000));
        assert_eq!("8080:80".parse(), pair(8080, 80));
        for text in ["", "0", "65536", "a", "80:", ":80", "1:2:3", "127.0.0.1:80", "-1"] {
            assert!(text.parse::<PortPair>().is_err(), "{text}");
        }
        assert!(image("ghcr.io/a/b:tag").is_ok() && health("/ok?x=1").is_ok());
        for text in ["", "-x", "a b", "a\nb"] {
            assert!(image(text).is_err() && health(text).is_err(), "{text:?}");
        }
    }
}
