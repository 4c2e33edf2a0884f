//! `.env`, edited by the line: comments, order, quoting and line ends of everything else stay as they are.
//!
//! A value may go over several lines in quotes; the last assignment of a name wins, as in Compose.
//! <https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax>

use std::fmt;
use std::path::Path;

use crate::model::{Failure, Result};

/// A `.env` above this is none.
const LIMIT: u64 = 1 << 20;

/// The text of a `.env` file. It holds secrets: there is no `Debug` of the text, and it is written nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Dotenv {
    text: String,
}

impl fmt::Debug for Dotenv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dotenv(…)")
    }
}

/// An assignment: where it stands in the text.
struct Assignment<'a> {
    name: &'a str,
    /// From the first byte of its first line to behind the end of its last one.
    range: std::ops::Range<usize>,
}

impl Dotenv {
    /// Takes a text as it is.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// Reads a file; one that does not exist is empty.
    ///
    /// # Errors
    /// When it cannot be read, is not text, or is larger than 1 MiB.
    pub fn read(path: &Path) -> Result<Self> {
        let cannot = |error: &std::io::Error| {
            Failure::environment(format!("cannot read {}", path.display())).because(error)
        };
        match std::fs::metadata(path) {
            Ok(meta) if meta.len() > LIMIT => {
                return Err(Failure::environment(format!(
                    "{} is larger than 1 MiB",
                    path.display()
                )));
            }
            Ok(meta) if !meta.is_file() => return Ok(Self::from_text("")),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::from_text("")),
            Err(error) => return Err(cannot(&error)),
        }
        std::fs::read_to_string(path)
            .map(Self::from_text)
            .map_err(|e| cannot(&e))
    }

    /// The value of a name, quotes and escapes resolved.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let found = self.assignments().filter(|a| a.name == name).last()?;
        let line = self.text.get(found.range)?;
        // One assignment alone, so that a line elsewhere that the reader dislikes cannot hide this one.
        match dotenvy::from_read_iter(line.as_bytes()).next() {
            Some(Ok((_, value))) => Some(value),
            // Compose takes blanks in a value without quotes, and a comment behind it; the reader does not.
            _ => {
                let value = line.split_once('=')?.1;
                Some(value.split(" #").next().unwrap_or(value).trim().to_owned())
            }
        }
    }

    /// Sets a name: in place where it stands, else at the end.
    pub fn set(&mut self, name: &str, value: &str) {
        let line_end = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        let plain = !value.is_empty()
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_./:,@%+=-".contains(&b));
        let quoted = match (plain, value.contains('\'')) {
            (true, _) => value.to_owned(),
            (false, false) => format!("'{value}'"),
            (false, true) => format!(
                "\"{}\"",
                value
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('$', "\\$")
            ),
        };
        let last = self
            .assignments()
            .filter(|a| a.name == name)
            .last()
            .map(|a| a.range);
        match last {
            Some(range) => {
                let old = self.text.get(range.clone()).unwrap_or_default();
                let export = if old.trim_start().starts_with("export ") {
                    "export "
                } else {
                    ""
                };
                let end = &old[old.trim_end_matches(['\r', '\n']).len()..];
                let line = format!("{export}{name}={quoted}{end}");
                self.text.replace_range(range, &line);
            }
            None => {
                if !self.text.is_empty() && !self.text.ends_with('\n') {
                    self.text.push_str(line_end);
                }
                self.text.push_str(&format!("{name}={quoted}{line_end}"));
            }
        }
    }

    /// The text of the assignment that counts, as it stands there, without its line end.
    #[must_use]
    pub fn line(&self, name: &str) -> Option<String> {
        let found = self.assignments().filter(|a| a.name == name).last()?;
        Some(
            self.text
                .get(found.range)?
                .trim_end_matches(['\r', '\n'])
                .to_owned(),
        )
    }

    /// Puts the text of an assignment back that [`Dotenv::line`] gave.
    pub fn set_line(&mut self, name: &str, line: &str) {
        self.set(name, "x");
        if let Some(range) = self
            .assignments()
            .filter(|a| a.name == name)
            .last()
            .map(|a| a.range)
        {
            let old = self.text.get(range.clone()).unwrap_or_default();
            let end = old[old.trim_end_matches(['\r', '\n']).len()..].to_owned();
            self.text.replace_range(range, &format!("{line}{end}"));
        }
    }

    /// Removes every assignment of a name.
    pub fn unset(&mut self, name: &str) {
        let ranges: Vec<_> = self
            .assignments()
            .filter(|a| a.name == name)
            .map(|a| a.range)
            .collect();
        for range in ranges.into_iter().rev() {
            self.text.replace_range(range, "");
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        super::write_project_file(path, self.text.as_bytes())
    }

    /// The assignments in their order. A quoted value ends where its quote does, lines later if need be.
    fn assignments(&self) -> impl Iterator<Item = Assignment<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let rest = self.text.get(at..).filter(|r| !r.is_empty())?;
                let start = at;
                let line = rest.split_inclusive('\n').next()?;
                at += line.len();
                let trimmed = line.trim_start();
                let body = trimmed.strip_prefix("export ").unwrap_or(trimmed);
                let Some((name, value)) = body.split_once('=') else {
                    continue;
                };
                let name = name.trim();
                if name.is_empty() || name.starts_with('#') || name.contains(char::is_whitespace) {
                    continue;
                }
                let value = value.trim_start_matches([' ', '\t']);
                if let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
                    let value_at = start + line.len() - value.len();
                    if let Some(end) = self.end_of_quoted(value_at, quote) {
                        at = end;
                    }
                }
                return Some(Assignment {
                    name,
                    range: start..at,
                });
            }
        })
    }

    /// Behind the line in which a quoted value ends.
    fn end_of_quoted(&self, open: usize, quote: char) -> Option<usize> {
        let text = self.text.get(open + 1..)?;
        let mut escaped = false;
        let close = text.char_indices().find_map(|(i, c)| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped && quote == '"';
            ends.then_some(open + 1 + i)
        })?;
        let after = self.text.get(close..)?;
        Some(close + after.find('\n').map_or(after.len(), |n| n + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "# KMS-Connect – production\nSECRET_KEY='a$$b#c'\nDEBUG=False # never\n\nexport SQL_USER=\"postgres\"\nCOMPOSE_FILE=old.yml\nCERT=\"-----BEGIN\nCOMPOSE_FILE=inside a value\n-----END\"\nLAST=1";

    #[test]
    fn a_value_is_replaced_where_it_stands_and_the_rest_stays() {
        let mut env = Dotenv::from_text(REAL);
        assert_eq!(env.get("COMPOSE_FILE").as_deref(), Some("old.yml"));
        env.set("COMPOSE_FILE", "a.yml:b.yml");
        assert_eq!(
            env.text,
            REAL.replace("COMPOSE_FILE=old.yml", "COMPOSE_FILE=a.yml:b.yml")
        );
        assert_eq!(env.get("COMPOSE_FILE").as_deref(), Some("a.yml:b.yml"));
    }

    #[test]
    fn a_new_name_goes_to_the_end_and_unset_restores_the_text() {
        for text in ["", "A=1\n", "A=1\r\nB=2\r\n", "# only a comment\n"] {
            let mut env = Dotenv::from_text(text);
            env.set("COMPOSE_FILE", "a.yml:b c.yml");
            assert_eq!(
                env.get("COMPOSE_FILE").as_deref(),
                Some("a.yml:b c.yml"),
                "{text:?}"
            );
            assert_eq!(
                env.text.contains("\r\n"),
                text.contains("\r\n"),
                "line ends of {text:?}"
            );
            env.unset("COMPOSE_FILE");
            assert_eq!(env.text, text);
        }
    }

    #[test]
    fn the_last_assignment_wins_and_is_the_one_that_is_edited() {
        let mut env = Dotenv::from_text("X=1\nexport X=\"2\"\nY=3\n");
        assert_eq!(env.get("X").as_deref(), Some("2"));
        env.set("X", "9");
        assert_eq!(env.text, "X=1\nexport X=9\nY=3\n");
        env.unset("X");
        assert_eq!(env.text, "Y=3\n");
    }

    #[test]
    fn a_line_goes_back_byte_for_byte() {
        for line in [
            "COMPOSE_FILE=\"a.yml:b.yml\" # both",
            "export COMPOSE_FILE = a.yml",
            "COMPOSE_FILE='it is'",
        ] {
            let text = format!("A=1\r\n{line}\r\nB=2");
            let mut env = Dotenv::from_text(text.clone());
            assert_eq!(env.line("COMPOSE_FILE").as_deref(), Some(line));
            env.set("COMPOSE_FILE", "new.yml");
            assert_eq!(env.get("COMPOSE_FILE").as_deref(), Some("new.yml"));
            env.set_line("COMPOSE_FILE", line);
            assert_eq!(env.text, text);
        }
    }

    #[test]
    fn a_value_with_a_quote_reads_back() {
        let mut env = Dotenv::from_text("");
        env.set("X", "it's $5 \"x\"");
        assert_eq!(env.get("X").as_deref(), Some("it's $5 \"x\""));
    }

    #[test]
    fn a_comment_is_no_assignment_and_a_bad_line_elsewhere_does_no_harm() {
        let env = Dotenv::from_text("#COMPOSE_FILE=no\nbad line 'x\nCOMPOSE_FILE=yes.yml\n");
        assert_eq!(env.get("COMPOSE_FILE").as_deref(), Some("yes.yml"));
    }

    #[test]
    fn writing_keeps_the_mode_and_follows_a_link() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("shared.env"), dir.path().join(".env"));
        std::fs::write(&real, "A=1\n").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("shared.env", &link).unwrap();
        let mut env = Dotenv::read(&link).unwrap();
        env.set("B", "2");
        env.write(&link).unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "A=1\nB=2\n");
        assert!(link.is_symlink());
        assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }
}
