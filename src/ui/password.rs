//! A password, asked for where nobody can look over it, or read from another program.

use std::io::{BufRead, IsTerminal, Read};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::out;
use crate::model::{Failure, Result, Secret};

/// More is no password.
const MAX_LINE: u64 = 4096;

/// Asks twice for a password without showing it; with `from_stdin` it is one line of stdin.
///
/// # Errors
/// Refused where nobody can be asked, or the two are not the same.
pub fn password(question: &str, from_stdin: bool) -> Result<Secret> {
    let stdin = std::io::stdin();
    if from_stdin {
        return line(&mut stdin.lock());
    }
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(
            Failure::refused("this needs a password, and there is no terminal to ask on")
                .data("nothing was changed")
                .hint("give it as one line of stdin, with --password-stdin; never as an argument"),
        );
    }
    let unheard = Unheard::begin()?;
    out::ask(&format!("{question} "));
    let first = line(&mut stdin.lock());
    out::ask("\nThe same once more: ");
    let second = first.and_then(|first| Ok((first, line(&mut stdin.lock())?)));
    out::ask("\n");
    drop(unheard);
    let (first, second) = second?;
    match first == second {
        true => Ok(first),
        false => Err(Failure::refused("the two are not the same").data("nothing was changed")),
    }
}

fn line(input: &mut dyn BufRead) -> Result<Secret> {
    let mut text = String::new();
    let read = input.take(MAX_LINE).read_line(&mut text);
    read.map_err(|error| Failure::environment("cannot read the password").because(&error))?;
    Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
}

/// A terminal that does not show what is typed, until this goes.
struct Unheard(Termios);

impl Unheard {
    fn begin() -> Result<Self> {
        let cannot = |error: rustix::io::Errno| {
            Failure::environment("cannot keep the terminal from showing the password")
                .because(&error)
                .data("nothing was changed")
        };
        let before = tcgetattr(std::io::stdin()).map_err(cannot)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent).map_err(cannot)?;
        Ok(Self(before))
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0) {
            tracing::debug!("the terminal stays silent: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_the_password_with_its_spaces() {
        let mut input = std::io::Cursor::new(" a b \r\nmore\n");
        assert_eq!(line(&mut input).unwrap().reveal(), " a b ");
    }
}
