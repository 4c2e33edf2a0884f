//! The two streams.

use std::io::{ErrorKind, Write};

use crate::model::{Failure, Result};

/// Prints data to stdout, ended by a line feed. A reader that has gone (`| head`) is no error: it has enough.
///
/// # Errors
/// When stdout cannot be written, as a file on a full disk: then the data is not there, and exit 0 would lie.
pub fn data(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = write!(stdout, "{text}{end}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::environment("cannot write to stdout").because(&error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints talk to stderr, ended by a line feed. Whether anybody hears it changes nothing.
pub fn talk(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    drop(write!(stderr, "{text}{end}"));
}

/// Prints a question to stderr, without a line feed.
pub(super) fn ask(text: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(write!(stderr, "{text}").and_then(|()| stderr.flush()));
}
