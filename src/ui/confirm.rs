//! Rehome's own questions.

use std::io::{BufRead, IsTerminal};

use super::out;
use crate::model::{Failure, Result};

/// Asks a question that is answered with no unless somebody says yes. `yes` is `-y`.
///
/// # Errors
/// Refused where nobody can be asked and `-y` was not given.
pub fn confirm(question: &str, yes: bool) -> Result<bool> {
    if yes {
        return Ok(true);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(nobody(question));
    }
    answer(question, &mut stdin.lock(), out::ask)
}

fn nobody(question: &str) -> Failure {
    Failure::refused("this needs an answer, and there is no terminal to ask on")
        .cause(question)
        .hint("give the answer beforehand with -y")
}

fn answer(question: &str, input: &mut dyn BufRead, ask: impl Fn(&str)) -> Result<bool> {
    loop {
        ask(&format!("{question} [y/N] "));
        let mut line = String::new();
        let read = input
            .read_line(&mut line)
            .map_err(|error| Failure::environment("cannot read the answer").because(&error))?;
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "" | "n" | "no" => {
                if read == 0 {
                    // Ctrl-D leaves the cursor behind the question.
                    ask("\n");
                }
                return Ok(false);
            }
            _ => ask("Please answer y or n.\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (text, wanted) in [
            ("y\n", true),
            ("YES\n", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("maybe\ny\n", true),
        ] {
            let mut input = std::io::Cursor::new(text);
            assert_eq!(answer("Delete?", &mut input, |_| {}), Ok(wanted), "{text:?}");
        }
    }

    #[test]
    fn yes_beforehand_asks_nobody() {
        assert_eq!(confirm("Delete?", true), Ok(true));
        let failure = nobody("Delete?");
        assert_eq!(failure.kind, crate::model::Kind::Refused);
        assert!(failure.hints.iter().any(|hint| hint.contains("-y")));
    }
}
