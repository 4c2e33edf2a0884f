//! How a database is dumped: the commands of its own client, run where the server runs, so that client and server are
//! of one version (trap 24). Words only; `steps` runs them.

use std::path::Path;

use super::Kind;
use crate::model::{ServiceName, shell_path, shell_word};

/// What tells a PostgreSQL from every other: the system identifier that `initdb` gave it.
/// <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-CONTROL-SYSTEM>
pub const IDENTITY: &str = "SELECT system_identifier FROM pg_control_system()";

/// Asks for [`IDENTITY`].
#[must_use]
pub fn identity_question(user: &str) -> Vec<String> {
    psql(user, IDENTITY)
}

/// Lists the databases that can be dumped, one a line.
#[must_use]
pub fn databases_question(user: &str) -> Vec<String> {
    psql(
        user,
        "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template1' ORDER BY 1",
    )
}

fn psql(user: &str, query: &str) -> Vec<String> {
    words(&["psql", "-U", user, "-d", "postgres", "-w", "-qtAX", "-c", query])
}

/// One file of a dump: how it is written, and how it is proven to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file's name.
    pub file: String,
    /// Writes it to stdout.
    pub write: Vec<String>,
    /// How it is proven.
    pub proof: Proof,
}

/// How a file of a dump is proven to be whole, beyond the exit code of the program that wrote it (trap 14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// This program reads it from stdin to its end, and exits 0.
    ReadBy(Vec<String>),
    /// It ends with these words.
    EndsWith(&'static str),
    /// It begins with these bytes.
    BeginsWith(&'static [u8]),
}

/// The file that holds a PostgreSQL's roles and tablespaces.
/// <https://www.postgresql.org/docs/current/app-pg-dumpall.html>
#[must_use]
pub fn postgres_globals(user: &str) -> Part {
    Part {
        file: "globals.sql".to_owned(),
        write: words(&["pg_dumpall", "-U", user, "-w", "--globals-only"]),
        proof: Proof::EndsWith("-- PostgreSQL database cluster dump complete"),
    }
}

/// The file that holds one database of a PostgreSQL. It is read to its end by `pg_restore`, without a database.
/// <https://www.postgresql.org/docs/current/app-pgdump.html>
#[must_use]
pub fn postgres_database(user: &str, database: &str) -> Part {
    Part {
        file: format!("{}.dump", file_name(database)),
        write: words(&["pg_dump", "-U", user, "-w", "-Fc", "-d", database]),
        proof: Proof::ReadBy(words(&["pg_restore", "--file=/dev/null"])),
    }
}

/// The file that holds a Redis: what it would write to its own disk.
/// <https://redis.io/docs/latest/develop/tools/cli/#remote-backups-of-rdb-files>
#[must_use]
pub fn redis() -> Part {
    Part {
        file: "dump.rdb".to_owned(),
        write: words(&["redis-cli", "--rdb", "-"]),
        proof: Proof::BeginsWith(b"REDIS"),
    }
}

/// The command that puts a file of a dump back into the running server, for people: all of it or nothing. `None` where
/// that is not for one command, or the name of the database cannot be told from the file's.
/// <https://www.postgresql.org/docs/current/app-pgrestore.html>
#[must_use]
pub fn restoring(service: &ServiceName, kind: Kind, user: &str, file: &Path) -> Option<String> {
    let database = file.file_stem()?.to_str()?;
    let is_dump = kind == Kind::Postgres && file.extension().is_some_and(|e| e == "dump");
    if !is_dump || database.contains('%') {
        return None;
    }
    Some(format!(
        "rehome compose -- exec -T {service} pg_restore -U {} --clean --if-exists --single-transaction -d {database} < {}",
        shell_word(user),
        shell_path(file)
    ))
}

/// Whether a dump can be made of this kind of database.
#[must_use]
pub fn can_dump(kind: Kind) -> bool {
    matches!(kind, Kind::Postgres | Kind::Redis)
}

/// A database may have any name, a file may not.
fn file_name(database: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    database
        .chars()
        .map(|c| {
            if plain(c) {
                c.to_string()
            } else {
                format!("%{:x}", u32::from(c))
            }
        })
        .collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_database_cannot_leave_its_directory() {
        assert_eq!(postgres_database("u", "kms_connect-1").file, "kms_connect-1.dump");
        assert_eq!(
            postgres_database("u", "../../etc/x").file,
            "%2e%2e%2f%2e%2e%2fetc%2fx.dump"
        );
        assert_ne!(file_name("a b"), file_name("a_b"));
    }
}
