//! What people and scripts see. Nothing else in Rehome writes to stdout or stderr.
//!
//! stdout is data, stderr is talk. A run is shown by [`display`], which is fed with events only; at
//! [`Event::Finished`](crate::event::Event::Finished) it prints the failure too, so whoever started the run must
//! not print it again.

mod bars;
mod confirm;
mod failure;
mod json;
mod lines;
pub mod out;
mod paint;
mod password;
mod plain;
mod table;
mod terminal;
mod words;

use std::io::IsTerminal;
use std::sync::Arc;

use crate::event::Events;

pub use bars::bar;
pub use confirm::{confirm, typed_again};
pub use failure::render;
pub use paint::{Paint, clean};
pub use password::password;
pub use table::Table;
pub use words::{fill, fill_notes};

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bars and clocks, on stderr.
    Terminal,
    /// A line now and then, on stderr.
    Plain,
    /// One JSON object a line, on stdout.
    Json,
    /// One JSON document on stdout, which is the answer; an event only in its place.
    Document,
}

impl Mode {
    /// JSON if it is wanted, as a document where the command `tells_events` to nobody; otherwise by what stderr is.
    #[must_use]
    pub fn detect(json: bool, tells_events: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        match (json, std::io::stderr().is_terminal() && !dumb) {
            (true, _) if tells_events => Self::Json,
            (true, _) => Self::Document,
            (false, true) => Self::Terminal,
            (false, false) => Self::Plain,
        }
    }
}

/// When to use colors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` and its kin say otherwise.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to color what goes to stderr.
    #[must_use]
    pub fn for_stderr(self) -> bool {
        self.decide(|| anstream::AutoStream::choice(&std::io::stderr()))
    }

    /// Whether to color what goes to stdout.
    #[must_use]
    pub fn for_stdout(self) -> bool {
        self.decide(|| anstream::AutoStream::choice(&std::io::stdout()))
    }

    fn decide(self, auto: impl FnOnce() -> anstream::ColorChoice) -> bool {
        match self {
            Self::Auto => auto() != anstream::ColorChoice::Never,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// How much is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Only what went wrong.
    Quiet,
    /// What a person wants to follow.
    #[default]
    Normal,
    /// The details too.
    Verbose,
}

/// The display of a run.
#[must_use]
pub fn display(mode: Mode, color: Color, verbosity: Verbosity) -> Arc<dyn Events> {
    let paint = Paint(color.for_stderr());
    match (mode, verbosity) {
        (Mode::Json, _) => Arc::new(json::Json::new(false)),
        (Mode::Document, _) => Arc::new(json::Json::new(true)),
        (Mode::Terminal, Verbosity::Normal | Verbosity::Verbose) => {
            Arc::new(terminal::Terminal::new(paint, verbosity))
        }
        (Mode::Terminal, Verbosity::Quiet) | (Mode::Plain, _) => {
            Arc::new(plain::Plain::new(paint, verbosity))
        }
    }
}

/// Lets diagnostics of the program and its libraries through to stderr: `-vv`, or more closely by `RUST_LOG`.
pub fn diagnostics() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("rehome=debug,compose=debug"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// How many columns stderr has; 0 where it is no terminal.
#[must_use]
pub fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col))
}

#[cfg(test)]
mod replay;
