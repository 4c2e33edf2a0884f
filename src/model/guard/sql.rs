//! Statements of SQL that drop a whole database or schema.

use super::Danger;

/// Looks at statements. What is in comments and in literals is none.
pub(super) fn danger(text: &str) -> Option<Danger> {
    let code = without_literals(text);
    code.split(';').find_map(|statement| {
        let mut words = statement.split_whitespace().map(str::to_ascii_uppercase);
        let (verb, object) = (words.next()?, words.next()?);
        let what = match (verb.as_str(), object.as_str()) {
            ("DROP", "DATABASE" | "KEYSPACE") => "drops a database, with everything in it",
            ("DROP", "SCHEMA") => "drops a schema, with the tables in it",
            ("DROP", "OWNED") => "drops everything that a role owns",
            _ => return None,
        };
        Some(Danger::new(format!("{verb} {object}"), what))
    })
}

/// The text without comments, strings and dollar quotes, each replaced by a blank.
fn without_literals(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let skipped = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if letter == '\'' {
            // A doubled quote ends one literal and begins the next: the same in the end.
            rest[1..].find('\'').map_or(rest.len(), |end| end + 2)
        } else if letter == '$' {
            dollar_quote(rest)
        } else {
            0
        };
        if skipped == 0 {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
        } else {
            out.push(' ');
            rest = &rest[skipped..];
        }
    }
    out
}

/// The length of `$tag$ … $tag$`; 0 if there is none.
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-DOLLAR-QUOTING>
fn dollar_quote(text: &str) -> usize {
    let Some(end) = text[1..].find('$') else { return 0 };
    let tag = &text[..end + 2];
    let is_tag = tag[1..tag.len() - 1]
        .chars()
        .all(|c| c.is_alphanumeric() || c == '_');
    match text[tag.len()..].find(tag) {
        Some(close) if is_tag => tag.len() + close + tag.len(),
        _ => 0,
    }
}
