//! The arguments of `rehome serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::examples::SERVE_EXAMPLES;
use crate::access::{AccessName, Scope};
use crate::model::config::absolute_dir;

/// `rehome serve`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = SERVE_EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Serve {
    /// Who may come in.
    #[command(subcommand)]
    pub command: Option<ServeCommand>,

    /// Where it is reached.
    #[command(flatten)]
    pub place: ServePlace,
}

/// Where the server is reached.
#[derive(Debug, Clone, Args)]
pub struct ServePlace {
    /// Where to listen; what others can reach needs a user, and TLS in front of it
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7434")]
    pub listen: SocketAddr,

    /// Listen on a Unix socket instead
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    pub socket: Option<PathBuf>,

    /// A name by which the server is reached, as that of a proxy in front of it; may be repeated
    #[arg(long = "host-name", value_name = "NAME")]
    pub host_names: Vec<String>,
}

/// What `rehome serve` has beside serving.
#[derive(Debug, Clone, Subcommand)]
pub enum ServeCommand {
    /// Users, who log in with a password
    #[command(subcommand)]
    User(ServeUser),
    /// Tokens, for programs
    #[command(subcommand)]
    Token(ServeToken),
    /// Print the unit of systemd that it runs as, sandboxed
    ///
    /// With this program, its state directory and its engine, and PATH, HOME and DEPLOY_DATA_PATH as they are now.
    Unit(ServeUnit),
}

/// `rehome serve unit`.
#[derive(Debug, Clone, Args)]
pub struct ServeUnit {
    /// Where it is reached.
    #[command(flatten)]
    pub place: ServePlace,

    /// Write it to /etc/systemd/system, and have systemd read it; nothing is started
    #[arg(long)]
    pub write: bool,

    /// The machine's files are below DIR: an image that is being made
    #[arg(long, value_name = "DIR", value_parser = absolute_dir)]
    pub sysroot: Option<PathBuf>,
}

/// `rehome serve user`.
#[derive(Debug, Clone, Subcommand)]
pub enum ServeUser {
    /// Add a user, or give one another password: then its sessions end
    Add(ServeUserAdd),
    /// List the users
    List,
    /// Remove a user, and end its sessions
    Remove(AccessNamed),
}

/// `rehome serve token`.
#[derive(Debug, Clone, Subcommand)]
pub enum ServeToken {
    /// Make a token, and print it: it is shown once
    Create(ServeTokenCreate),
    /// List the tokens, and when each was used last
    List,
    /// Revoke a token: it counts no more at once
    Revoke(AccessNamed),
}

/// A user or a token.
#[derive(Debug, Clone, Args)]
pub struct AccessNamed {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: AccessName,
}

/// `rehome serve user add`.
#[derive(Debug, Clone, Args)]
pub struct ServeUserAdd {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: AccessName,

    /// Read the password as one line of stdin, where nobody can be asked
    #[arg(long)]
    pub password_stdin: bool,
}

/// `rehome serve token create`.
#[derive(Debug, Clone, Args)]
pub struct ServeTokenCreate {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: AccessName,

    /// What it may do: read, or operate, which is to change things too
    #[arg(long, value_name = "SCOPE")]
    pub scope: Scope,
}
