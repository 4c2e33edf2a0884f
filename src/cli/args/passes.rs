//! The passes to Compose and `rehome restart`. `rehome logs -f api`: what follows the word is Compose's, also where Rehome
//! has an option of that name.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Command};

use super::examples::{PASS_EXAMPLES, RESTART_EXAMPLES};
use crate::model::{ServiceName, parse_span};

/// What is said about losing data.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Loss {
    /// Go on with what destroys data, if every database that runs has a dump of the last hour that was read back
    #[arg(long)]
    pub allow_data_loss: bool,

    /// With --allow-data-loss: also without such a dump
    #[arg(long, requires = "allow_data_loss")]
    pub no_backup: bool,
}

/// `rehome up`, `down`, `ps`, `logs`, `exec`. Everything behind the word is Compose's, but for the two options about data
/// if they come first.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = PASS_EXAMPLES)]
pub struct Pass {
    /// What destroys data.
    #[command(flatten)]
    pub loss: Loss,

    /// What docker compose is told behind the word, as it is
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// `rehome restart`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = RESTART_EXAMPLES)]
pub struct Restart {
    /// The services [default: all that run]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<ServiceName>,

    /// How long a service may take to stop, as 90s or 10m [default: by its kind; a database gets minutes]
    #[arg(short = 't', long, visible_alias = "timeout", value_name = "DURATION", value_parser = parse_span)]
    pub stop_timeout: Option<Duration>,

    /// Say what would be restarted and what made anew, and why; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The commands whose arguments are handed on.
const PASSES: [&str; 5] = ["up", "down", "ps", "logs", "exec"];
/// What may come between the word and what is handed on.
const OWN: [&str; 4] = ["--allow-data-loss", "--no-backup", "--help", "-h"];

/// The same arguments with a `--` before those that are handed on.
pub(super) fn closed(command: &Command, mut arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(word) = first_word(command, &arguments) else {
        return arguments;
    };
    if !PASSES.iter().any(|pass| arguments[word] == *pass) {
        return arguments;
    }
    let own = arguments[word + 1..]
        .iter()
        .take_while(|a| OWN.iter().any(|own| **a == *own));
    let at = word + 1 + own.count();
    if arguments.get(at).is_some_and(|a| a != "--") {
        arguments.insert(at, "--".into());
    }
    arguments
}

/// The place of the first argument that is neither a global option nor the value of one.
fn first_word(command: &Command, arguments: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(argument) = arguments.get(at) {
        let text = argument.to_string_lossy();
        let takes_next = match (text.strip_prefix("--"), text.strip_prefix('-')) {
            (Some(""), _) | (_, Some("")) => return None,
            (Some(long), _) => takes_value(command, |arg| arg.get_long() == Some(long)),
            // `-vp NAME`, and `-pNAME`, which has it already.
            (None, Some(bundle)) => {
                let with_value = |c| takes_value(command, |arg| arg.get_short() == Some(c));
                bundle.find(with_value) == bundle.char_indices().last().map(|(last, _)| last)
            }
            (None, None) => return Some(at),
        };
        at += 1 + usize::from(takes_next);
    }
    None
}

fn takes_value(command: &Command, is_it: impl Fn(&clap::Arg) -> bool) -> bool {
    command
        .get_arguments()
        .any(|arg| is_it(arg) && arg.get_action().takes_values())
}
