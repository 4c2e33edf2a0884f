//! How a database is dumped, proven and loaded: the commands of its own client, run where the server runs, so that client
//! and server are of one version (trap 24). Words only; `steps/dumps` runs them.

pub mod mongodb;
pub mod mysql;
pub mod postgres;
pub mod redis;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::model::{ServiceName, shell_path, shell_word};

pub use postgres::{IDENTITY, identity_question};

/// One file of a dump: how it is written, and how it is proven to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file's name.
    pub file: String,
    /// The database in it; `None` for what belongs to all of them, or holds all of them.
    pub database: Option<String>,
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
    /// Among its last lines are these words.
    EndsWith(&'static str),
    /// It begins and ends with these bytes.
    Framed {
        /// Its first bytes.
        begins: &'static [u8],
        /// Its last bytes.
        ends: &'static [u8],
    },
    /// It has Redis's own checksum at its end.
    Rdb,
}

/// A dump that Rehome did not write, as it is recognised by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Foreign {
    /// `pg_dump -Fc`.
    PostgresCustom,
    /// `pg_dump -Ft`.
    PostgresTar,
    /// `pg_dump`, plain, or any other SQL for psql.
    PostgresSql,
    /// `mysqldump`, or any other SQL for mysql.
    MysqlSql,
    /// A Redis's RDB.
    Rdb,
    /// `mongodump --archive`.
    MongoArchive,
    /// An SQLite file.
    Sqlite,
}

impl Foreign {
    /// What a file for a database of this kind is, by its first bytes (some 300 will do); `None` if it is nothing that
    /// can be loaded there.
    #[must_use]
    pub fn recognise(kind: Kind, head: &[u8]) -> Option<Self> {
        // https://www.gnu.org/software/tar/manual/html_node/Standard.html: the magic of a header.
        let is_tar = head.get(257..262) == Some(b"ustar");
        let is_text = !head.is_empty() && !head.contains(&0);
        match kind {
            Kind::Postgres if head.starts_with(b"PGDMP") => Some(Self::PostgresCustom),
            Kind::Postgres if is_tar => Some(Self::PostgresTar),
            Kind::Postgres => is_text.then_some(Self::PostgresSql),
            Kind::Mysql => is_text.then_some(Self::MysqlSql),
            Kind::Redis => head.starts_with(redis::BEGINS).then_some(Self::Rdb),
            Kind::Mongodb => head.starts_with(mongodb::BEGINS).then_some(Self::MongoArchive),
            Kind::Sqlite => head.starts_with(b"SQLite format 3\0").then_some(Self::Sqlite),
        }
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

/// Whether a dump can be made of this kind of server.
#[must_use]
pub fn can_dump(kind: Kind) -> bool {
    match kind {
        Kind::Postgres | Kind::Mysql | Kind::Redis | Kind::Mongodb => true,
        // It has no server.
        Kind::Sqlite => false,
    }
}

/// As whom a server is asked, by the environment of its container: the user that its image makes the owner of all.
#[must_use]
pub fn user<'e>(kind: Kind, env: impl Fn(&str) -> Option<&'e str>) -> String {
    let first = |names: &[&str]| names.iter().find_map(|name| env(name).filter(|v| !v.is_empty()));
    let user = match kind {
        Kind::Postgres => first(&["POSTGRES_USER"]).unwrap_or("postgres"),
        Kind::Mysql => mysql::user(first),
        Kind::Mongodb => first(&["MONGO_INITDB_ROOT_USERNAME"]).unwrap_or_default(),
        Kind::Redis | Kind::Sqlite => "",
    };
    user.to_owned()
}

/// A script for the shell of the image, and its arguments. In it, `"$@"` are the arguments.
fn script(script: &str, arguments: &[&str]) -> Vec<String> {
    let mut words = words(&["sh", "-c", script, "rehome"]);
    words.extend(arguments.iter().map(|w| (*w).to_owned()));
    words
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_dump_is_known_by_its_first_bytes_and_not_taken_for_another() {
        let mut tar = vec![b'x'; 257];
        tar.extend(b"ustar\0");
        for (kind, head, is) in [
            (
                Kind::Postgres,
                &b"PGDMP\x01\x0e"[..],
                Some(Foreign::PostgresCustom),
            ),
            (Kind::Postgres, &tar, Some(Foreign::PostgresTar)),
            (Kind::Postgres, b"--\n-- Postgre", Some(Foreign::PostgresSql)),
            (Kind::Mysql, b"-- MariaDB dump", Some(Foreign::MysqlSql)),
            (Kind::Mysql, b"\x1f\x8b\x08\0", None),
            (Kind::Redis, b"REDIS0010", Some(Foreign::Rdb)),
            (Kind::Redis, b"*2\r\n", None),
            (Kind::Postgres, b"", None),
            (Kind::Mongodb, b"\x6d\xe2\x99\x81", Some(Foreign::MongoArchive)),
            (Kind::Sqlite, b"SQLite format 3\0\x10", Some(Foreign::Sqlite)),
        ] {
            assert_eq!(Foreign::recognise(kind, head), is, "{kind} {head:?}");
        }
    }
}
