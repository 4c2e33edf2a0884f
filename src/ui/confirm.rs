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

/// Asks for a word that a person has to type, because what follows cannot be taken back. `given` is the answer where
/// nobody can be asked; `-y` is none.
///
/// # Errors
/// Refused where nobody can be asked and nothing was given.
pub fn typed_again(question: &str, given: Option<&str>, option: &str) -> Result<String> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(
            Failure::refused("this needs an answer, and there is no terminal to ask on")
                .cause(question)
                .data("nothing was deleted")
                .hint(format!("give the answer beforehand with {option}: -y is none")),
        );
    }
    out::ask(&format!("{question} "));
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::environment("cannot read the answer").because(&error))?;
    Ok(line.trim().to_owned())
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
    fn a_word_that_has_to_be_typed_is_not_yes() {
        assert_eq!(
            typed_again("Its name?", Some("blog"), "--typed"),
            Ok("blog".to_owned())
        );
        // Tests have no terminal.
        let failure = typed_again("Its name?", None, "--typed").unwrap_err();
        assert_eq!(failure.kind, crate::model::Kind::Refused);
        assert_eq!(
            failure.hints,
            ["give the answer beforehand with --typed: -y is none"]
        );
    }

    #[test]
    fn yes_beforehand_asks_nobody() {
        assert_eq!(confirm("Delete?", true), Ok(true));
        let failure = nobody("Delete?");
        assert_eq!(failure.kind, crate::model::Kind::Refused);
        assert!(failure.hints.iter().any(|hint| hint.contains("-y")));
    }
}
