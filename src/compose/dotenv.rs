//! `.env` files as Compose reads them, edited without touching anything but the one value.
//!
//! The text is cut into pieces that are kept as they are: comments, blank lines, entries. Joined again they are the
//! file, byte for byte. The grammar is that of compose-go, which differs from other readers: `KEY: value` and a bare
//! `KEY` are entries, an unquoted value may hold spaces and ends at ` #`, and the last of several entries wins.
//! <https://github.com/compose-spec/compose-go/blob/main/dotenv/parser.go>

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::{Failure, Result};

use super::replace::{read_text, replace_file};

/// A `.env` file is some lines; more than this is something else.
const LIMIT: u64 = 1 << 20;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// A part of the file, with its line end.
#[derive(Clone, PartialEq, Eq)]
enum Piece {
    /// A comment, a blank line, or something that is no entry.
    Other(String),
    Entry(Entry),
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    /// Up to where the value begins: indent, `export `, key, separator.
    head: String,
    /// As written, quotes included; `None` for a bare key, whose value comes from the environment.
    value: Option<String>,
    quote: Quote,
    /// After the value: comment and line end.
    tail: String,
}

/// A parsed `.env` file. Its values are secrets: it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Dotenv {
    pieces: Vec<Piece>,
}

impl Dotenv {
    /// Cuts the text into its pieces. Lines that are no entries are kept as they are.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, length) = match entry(rest) {
                Some((entry, length)) => (Piece::Entry(entry), length),
                None => {
                    let length = line_length(rest);
                    (Piece::Other(rest[..length].to_owned()), length)
                }
            };
            pieces.push(piece);
            rest = &rest[length..];
        }
        Self { pieces }
    }

    /// Reads a file; one that is not there is empty.
    ///
    /// # Errors
    /// When it cannot be read, is not UTF-8, or is larger than a megabyte.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self::parse(&read_text(path, LIMIT)?.unwrap_or_default()))
    }

    /// Replaces the file; see [`replace_file`].
    ///
    /// # Errors
    /// When it cannot be written; the old content is then untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        replace_file(path, self.to_text().as_bytes())
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Other(line) => text.push_str(line),
                Piece::Entry(entry) => {
                    text.push_str(&entry.head);
                    text.push_str(entry.value.as_deref().unwrap_or_default());
                    text.push_str(&entry.tail);
                }
            }
        }
        text
    }

    /// The value that Compose would use, variables of `environment` and of earlier entries filled in.
    #[must_use]
    pub fn get(&self, key: &str, environment: &BTreeMap<String, String>) -> Option<String> {
        self.values(environment).remove(key)
    }

    /// All entries with their values, as Compose would use them for interpolation.
    #[must_use]
    pub fn values(&self, environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for entry in self.entries() {
            let value = match (&entry.value, entry.quote) {
                (None, _) => environment.get(&entry.key).cloned(),
                (Some(raw), Quote::Single) => Some(unquote(raw, '\'')),
                (Some(raw), Quote::Double) => Some(expand(&escapes(&unquote(raw, '"')), &|name| {
                    lookup(name, environment, &values)
                })),
                (Some(raw), Quote::None) => Some(expand(raw, &|name| lookup(name, environment, &values))),
            };
            if let Some(value) = value {
                values.insert(entry.key.clone(), value);
            }
        }
        values
    }

    /// Whether there is an entry for this key.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.entries().any(|entry| entry.key == key)
    }

    /// Sets the value: in the entry that is in effect, with its quoting and its comment, or in a new last line.
    ///
    /// # Errors
    /// When the value has a line break, or the file a quote that is never closed, which would swallow the new line.
    /// Nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let refused =
            |why: &str| Failure::refused(format!("{key} cannot be set in the .env file")).cause(why);
        if value.contains(['\n', '\r', '\0']) {
            return Err(refused("its new value has a line break"));
        }
        let mut changed = self.clone();
        changed.put(key, value);
        // Read again, as Compose will: the line must not have become part of another value.
        let read = Self::parse(&changed.to_text());
        if read != changed {
            return Err(refused("a quote in the file is not closed")
                .hint("`docker compose config -q` names the line"));
        }
        *self = changed;
        Ok(())
    }

    fn put(&mut self, key: &str, value: &str) {
        if let Some(entry) = self.entries_mut().rfind(|entry| entry.key == key) {
            if entry.value.is_none() {
                entry.head.push('=');
            }
            let (text, quote) = quoted(value, entry.quote);
            entry.value = Some(text);
            entry.quote = quote;
            return;
        }
        let (text, quote) = quoted(value, Quote::None);
        let line_end = self.line_end();
        // A file without a last line end gets none at its new end either: so `unset` restores it to the byte.
        let mut after = line_end;
        if self.ends_inside_a_line()
            && let Some(last) = self.last_text()
        {
            last.push_str(line_end);
            after = "";
        }
        self.pieces.push(Piece::Entry(Entry {
            key: key.to_owned(),
            head: format!("{key}="),
            value: Some(text),
            quote,
            tail: after.to_owned(),
        }));
    }

    /// The value of the entry that is in effect, as it is written: quotes and variables as they stand.
    #[must_use]
    pub fn written(&self, key: &str) -> Option<String> {
        self.entries().rfind(|entry| entry.key == key)?.value.clone()
    }

    /// Puts back what [`Dotenv::written`] gave: after a `set` the text is as it was before, to the byte.
    pub fn put_back(&mut self, key: &str, written: &str) {
        if let Some(entry) = self.entries_mut().rfind(|entry| entry.key == key) {
            entry.value = Some(written.to_owned());
        }
        // How it is quoted is read anew.
        *self = Self::parse(&self.to_text());
    }

    /// Removes every entry for this key: an earlier one would come into effect otherwise. What `set` appended goes
    /// without a trace.
    pub fn unset(&mut self, key: &str) {
        let ended_inside_a_line = self.ends_inside_a_line();
        let last_goes = matches!(self.pieces.last(), Some(Piece::Entry(entry)) if entry.key == key);
        self.pieces
            .retain(|piece| !matches!(piece, Piece::Entry(entry) if entry.key == key));
        if ended_inside_a_line && last_goes {
            self.drop_last_line_end();
        }
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Entry(entry) => Some(entry),
            Piece::Other(_) => None,
        })
    }

    fn entries_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Entry> {
        self.pieces.iter_mut().filter_map(|piece| match piece {
            Piece::Entry(entry) => Some(entry),
            Piece::Other(_) => None,
        })
    }

    fn ends_inside_a_line(&self) -> bool {
        match self.pieces.last() {
            None => false,
            Some(Piece::Other(line)) => !line.ends_with('\n'),
            Some(Piece::Entry(entry)) => !entry.tail.ends_with('\n'),
        }
    }

    fn line_end(&self) -> &'static str {
        let dos = |text: &str| text.ends_with("\r\n");
        let is_dos = self.pieces.first().is_some_and(|piece| match piece {
            Piece::Other(line) => dos(line),
            Piece::Entry(entry) => dos(&entry.tail),
        });
        if is_dos { "\r\n" } else { "\n" }
    }

    fn drop_last_line_end(&mut self) {
        let Some(text) = self.last_text() else { return };
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
    }

    /// The text of the last line's end.
    fn last_text(&mut self) -> Option<&mut String> {
        self.pieces.last_mut().map(|piece| match piece {
            Piece::Other(line) => line,
            Piece::Entry(entry) => &mut entry.tail,
        })
    }
}

/// The length of the first line, its end included.
fn line_length(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |at| at + 1)
}

/// Reads an entry at the beginning of `text`, which may span lines when its value is quoted.
fn entry(text: &str) -> Option<(Entry, usize)> {
    let line = &text[..line_length(text)];
    let content = line.trim_end_matches(['\n', '\r']);
    let skipped = content.trim_start_matches([' ', '\t', '\u{feff}']);
    let name = skipped
        .strip_prefix("export ")
        .map_or(skipped, |name| name.trim_start_matches([' ', '\t']));
    let key_at = content.len() - name.len();
    let key_length = name
        .find(|c: char| !(c.is_ascii_alphanumeric() || "_.-[]".contains(c)))
        .unwrap_or(name.len());
    if key_length == 0 {
        return None;
    }
    let key = name[..key_length].to_owned();
    let after_key = name[key_length..].trim_start_matches([' ', '\t']);
    let bare = |quote| Entry {
        key: key.clone(),
        head: content[..key_at + key_length].to_owned(),
        value: None,
        quote,
        tail: line[key_at + key_length..].to_owned(),
    };
    if after_key.is_empty() {
        return Some((bare(Quote::None), line.len()));
    }
    let value_text = after_key
        .strip_prefix(['=', ':'])?
        .trim_start_matches([' ', '\t']);
    let value_at = content.len() - value_text.len();
    let head = text[..value_at].to_owned();
    let (quote, value_length, total) = match value_text.chars().next() {
        Some(mark @ ('"' | '\'')) => {
            let value_length = closing(&text[value_at..], mark)?;
            let end = value_at + value_length;
            let quote = if mark == '"' { Quote::Double } else { Quote::Single };
            (quote, value_length, end + line_length(&text[end..]))
        }
        _ => {
            let value = value_text.find(" #").map_or(value_text, |at| &value_text[..at]);
            (Quote::None, value.trim_end().len(), line.len())
        }
    };
    let end = value_at + value_length;
    Some((
        Entry {
            key,
            head,
            value: Some(text[value_at..end].to_owned()),
            quote,
            tail: text[end..total].to_owned(),
        },
        total,
    ))
}

/// The length of the quoted text at the beginning of `text`, both quotes included.
fn closing(text: &str, mark: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == mark => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// What is between the quotes, with the escaped quote itself resolved and every other escape kept.
fn unquote(raw: &str, mark: char) -> String {
    let inner = raw
        .strip_prefix(mark)
        .and_then(|text| text.strip_suffix(mark))
        .unwrap_or(raw);
    inner.replace(&format!("\\{mark}"), &mark.to_string())
}

/// The escapes of double quotes. `\$` becomes what [`expand`] takes for a dollar.
fn escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('\\') => out.push('\\'),
            Some('"') => out.push('"'),
            Some('$') => out.push_str("$$"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

fn lookup(
    name: &str,
    environment: &BTreeMap<String, String>,
    values: &BTreeMap<String, String>,
) -> Option<String> {
    environment.get(name).or_else(|| values.get(name)).cloned()
}

/// Fills in `$NAME`, `${NAME}` and the forms with a default; `$$` is a dollar.
fn expand(text: &str, value_of: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(braced) = braced(rest) {
            let value = value_of(braced.name).filter(|value| !(braced.replaces_empty && value.is_empty()));
            out.push_str(&value.unwrap_or_else(|| braced.default.to_owned()));
            rest = braced.after;
        } else {
            let length = name_length(rest);
            if length == 0 {
                out.push('$');
            } else {
                out.push_str(&value_of(&rest[..length]).unwrap_or_default());
            }
            rest = &rest[length..];
        }
    }
    out.push_str(rest);
    out
}

/// `{NAME}`, `{NAME-default}` or `{NAME:-default}`.
struct Braced<'a> {
    name: &'a str,
    default: &'a str,
    /// The default also stands for an empty value.
    replaces_empty: bool,
    /// What follows the brace.
    after: &'a str,
}

fn braced(text: &str) -> Option<Braced<'_>> {
    let inner = text.strip_prefix('{')?;
    let (name, rest) = inner.split_at(name_length(inner));
    let (expression, after) = rest.split_once('}')?;
    let replaces_empty = expression.starts_with(":-");
    let default = match expression
        .strip_prefix(":-")
        .or_else(|| expression.strip_prefix('-'))
    {
        Some(default) => default,
        None if expression.is_empty() => "",
        None => return None,
    };
    (!name.is_empty()).then_some(Braced {
        name,
        default,
        replaces_empty,
        after,
    })
}

fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len())
}

/// The value as it is written: in the quotes that were there, if they can hold it.
fn quoted(value: &str, before: Quote) -> (String, Quote) {
    let plain = !value.is_empty()
        && value
            .chars()
            .all(|c| c.is_alphanumeric() || "_./:,@%+=~-".contains(c));
    match before {
        Quote::None if plain => (value.to_owned(), Quote::None),
        Quote::None | Quote::Single if !value.contains(['\'', '\\']) => (format!("'{value}'"), Quote::Single),
        _ => {
            let escaped = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('$', "$$");
            (format!("\"{escaped}\""), Quote::Double)
        }
    }
}

#[cfg(test)]
mod tests;
