//! The database of a hosting panel: its table `sites` with `name` and `persistent_storage`. It is only read.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::model::{Failure, Result};

/// No panel has more.
const MOST: usize = 100_000;

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What the panel calls it, which need not be a name that is allowed.
    pub name: String,
    /// Whether its data outlives its containers.
    pub persistent_storage: bool,
}

/// Reads it. Other columns and tables are not looked at.
///
/// # Errors
/// When the file cannot be read, is no database, or does not have that table with these columns.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let failed = |error: rusqlite::Error| {
        Failure::environment(format!("cannot read {}", path.display()))
            .because(&error)
            .data("nothing was changed")
    };
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let columns: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_info('sites')")
        .and_then(|mut asked| asked.query_map([], |row| row.get(0))?.collect())
        .map_err(failed)?;
    if let Some(missing) = ["name", "persistent_storage"]
        .into_iter()
        .find(|wanted| !columns.iter().any(|column| column.eq_ignore_ascii_case(wanted)))
    {
        return Err(Failure::refused(format!(
            "{} is no database of a panel that is known here",
            path.display()
        ))
        .cause(match columns.is_empty() {
            true => "it has no table `sites`".to_owned(),
            false => format!("its table `sites` has no column `{missing}`"),
        })
        .data("nothing was changed"));
    }
    let mut asked = connection
        .prepare("SELECT name, persistent_storage FROM sites ORDER BY name")
        .map_err(failed)?;
    let lines = asked
        .query_map([], |row| {
            Ok(Line {
                name: words(row.get_ref(0)?),
                persistent_storage: is_true(row.get_ref(1)?),
            })
        })
        .and_then(|rows| rows.take(MOST + 1).collect::<rusqlite::Result<Vec<_>>>())
        .map_err(failed)?;
    match lines.len() > MOST {
        true => Err(Failure::refused(format!(
            "{} has more than {MOST} sites",
            path.display()
        ))),
        false => Ok(lines),
    }
}

fn words(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// SQLite has no booleans, and every panel has its own way to write one.
fn is_true(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => false,
        ValueRef::Integer(number) => number != 0,
        ValueRef::Real(number) => number != 0.0,
        ValueRef::Text(bytes) => ["1", "true", "t", "yes", "on", "enabled"]
            .iter()
            .any(|word| bytes.eq_ignore_ascii_case(word.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(sql: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("panel.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        (dir, path)
    }

    #[test]
    fn names_and_switches_are_read_in_every_spelling_and_nothing_is_written() {
        let (_dir, path) = database(
            "CREATE TABLE sites (id INTEGER PRIMARY KEY, Name, owner TEXT, persistent_storage, x BLOB);
             INSERT INTO sites (Name, persistent_storage) VALUES
               ('a', 1), ('b', 0), ('c', NULL), ('d', 'true'), ('e', 'False'), ('../x', '1'), (7, 1.0), (NULL, 1),
               (x'ff61', 1);
             CREATE TABLE users (name TEXT, password TEXT);",
        );
        let before = std::fs::read(&path).unwrap();
        let lines = read(&path).unwrap();
        let told: Vec<(&str, bool)> = lines
            .iter()
            .map(|line| (line.name.as_str(), line.persistent_storage))
            .collect();
        assert_eq!(
            told,
            [
                ("", true),
                ("7", true),
                ("../x", true),
                ("a", true),
                ("b", false),
                ("c", false),
                ("d", true),
                ("e", false),
                ("\u{fffd}a", true)
            ]
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_is_no_panel_is_refused() {
        let (_dir, path) = database("CREATE TABLE sites (name TEXT);");
        assert_eq!(
            read(&path).unwrap_err().causes,
            ["its table `sites` has no column `persistent_storage`"]
        );
        let (_dir, path) = database("CREATE TABLE other (name TEXT);");
        assert_eq!(read(&path).unwrap_err().causes, ["it has no table `sites`"]);
        let (dir, path) = database("");
        std::fs::write(
            &path,
            "no database at all, and long enough to be taken for none".repeat(20),
        )
        .unwrap();
        assert_eq!(read(&path).unwrap_err().kind, crate::model::Kind::Environment);
        let missing = dir.path().join("missing.db");
        assert!(read(&missing).is_err() && !missing.exists());
    }
}
