//! Loading a dump into a twin.

use std::io::{BufRead, BufReader, Read};

use super::link::Link;
use super::redis::Whole;
use super::{Foreign, prove};
use crate::backup::format::DumpNote;
use crate::datastore::Kind;
use crate::datastore::dump::postgres::{self, Roles};
use crate::datastore::dump::{mongodb, mysql, redis};
use crate::engine::Stdin;
use crate::model::{Failure, Result};

/// So much of a file is looked at to know what it is.
const HEAD: u64 = 512;

/// What a Redis has to be told once its dump is there: it reads it when it starts.
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// To start anew; with so many keys, if that is known.
    Restart(Option<(u64, u64, u64)>),
}

pub(super) async fn load(link: &Link<'_>, note: &DumpNote, from: Box<dyn Read + Send>) -> Result<Then> {
    let user = &link.what.user;
    match (link.what.kind, &note.database) {
        (Kind::Postgres, None) => {
            let there = link
                .ask(&postgres::question(user, "postgres", postgres::ROLES))
                .await?;
            let roles = Wanted {
                lines: BufReader::new(from),
                roles: Roles::there(&there),
                line: Vec::new(),
                given: 0,
            };
            pour(link, &postgres::session(user, "postgres"), Box::new(roles)).await?;
            Ok(Then::Nothing)
        }
        (Kind::Postgres, Some(database)) => {
            make_room(link, database).await?;
            pour(link, &postgres::load(user), from).await?;
            Ok(Then::Nothing)
        }
        (Kind::Mysql, _) => pour(link, &mysql::client(user), from)
            .await
            .map(|()| Then::Nothing),
        (Kind::Redis, _) => rdb(link, from).await,
        (Kind::Mongodb, _) => pour(link, &mongodb::load(user), from)
            .await
            .map(|()| Then::Nothing),
        (Kind::Sqlite, _) => Err(Failure::bug("SQLite has no server that could load a dump")),
    }
}

pub(super) async fn load_foreign(
    link: &Link<'_>,
    format: Foreign,
    database: Option<&str>,
    mut from: Box<dyn Read + Send>,
) -> Result<Then> {
    let mut head = Vec::new();
    tokio::task::block_in_place(|| from.by_ref().take(HEAD).read_to_end(&mut head))
        .map_err(|e| Failure::environment("cannot read the dump").because(&e))?;
    prove::is_what_it_is_called(link, format, &head)?;
    let from: Box<dyn Read + Send> = Box::new(std::io::Cursor::new(head).chain(from));
    let user = &link.what.user;
    let named = || {
        database.ok_or_else(|| {
            Failure::usage(format!(
                "into which database of service `{}` shall it be loaded?",
                link.what.service
            ))
        })
    };
    match format {
        Foreign::PostgresCustom | Foreign::PostgresTar | Foreign::PostgresSql => {
            let database = named()?;
            make_room(link, database).await?;
            let session = postgres::session(user, "template1");
            link.tell(&session, link.stdin(postgres::create(database)))
                .await?;
            into_database(link, format, database, from).await?;
            Ok(Then::Nothing)
        }
        Foreign::MysqlSql => {
            let command = match database {
                Some(database) => {
                    let client = mysql::client(user);
                    link.tell(&client, link.stdin(mysql::create(database))).await?;
                    mysql::client_in(user, database)
                }
                None => mysql::client(user),
            };
            pour(link, &command, from).await.map(|()| Then::Nothing)
        }
        Foreign::Rdb => rdb(link, from).await,
        Foreign::MongoArchive => pour(link, &mongodb::load(user), from)
            .await
            .map(|()| Then::Nothing),
        Foreign::Sqlite => Err(Failure::bug("SQLite has no server that could load a dump")),
    }
}

/// Loads a dump of one database of a PostgreSQL into an empty one, all of it or nothing.
pub(super) async fn into_database(
    link: &Link<'_>,
    format: Foreign,
    database: &str,
    from: Box<dyn Read + Send>,
) -> Result<()> {
    let user = &link.what.user;
    let command = match format {
        Foreign::PostgresCustom => postgres::load_into(user, database, "--format=custom"),
        Foreign::PostgresTar => postgres::load_into(user, database, "--format=tar"),
        _ => postgres::load_sql(user, database),
    };
    pour(link, &command, from).await.map_err(|failure| {
        let role = failure
            .causes
            .iter()
            .any(|c| c.contains("role \"") && c.contains("does not exist"));
        match role {
            true => failure.hint(
                "make the role first, or make the dump without owners and rights: pg_dump --no-owner --no-acl",
            ),
            false => failure,
        }
    })
}

async fn pour(link: &Link<'_>, command: &[String], from: Box<dyn Read + Send>) -> Result<()> {
    let ended = link
        .pour(command, Stdin::Reader(from), &mut std::io::sink())
        .await?;
    link.well(command, ended)
        .map(|_| ())
        .map_err(|failure| failure.inside("the dump could not be loaded"))
}

/// Removes a database that another one shall take the place of, or that was only half loaded.
pub(super) async fn make_room(link: &Link<'_>, database: &str) -> Result<()> {
    let session = postgres::session(&link.what.user, "template1");
    let room = postgres::make_room(database);
    link.tell(&session, link.stdin(room)).await.map(|_| ())
}

/// Puts an RDB where the server looks for it when it starts.
async fn rdb(link: &Link<'_>, from: Box<dyn Read + Send>) -> Result<Then> {
    let directory = config(link, "dir").await?;
    let file = config(link, "dbfilename").await?;
    let path = format!("{}/{file}", directory.trim_end_matches('/'));
    let keep = redis::keep_as(&path);
    let ended = link
        .pour(
            &keep,
            Stdin::Reader(Box::new(Whole::new(from))),
            &mut std::io::sink(),
        )
        .await?;
    link.well(&keep, ended)
        .map_err(|failure| failure.inside("the dump could not be loaded"))?;
    let (code, said) = link.try_ask(&redis::check(&path)).await?;
    let keys = match code {
        0 => redis::checked(&said),
        127 => None,
        _ => return Err(link.failed("it does not take the dump for a good one", &said)),
    };
    if config(link, "appendonly").await? == "yes" {
        let log = config(link, "appendfilename").await?;
        // It is not there before version 7.
        let log_directory = config(link, "appenddirname").await.unwrap_or_default();
        link.ask(&redis::begin_log_with(&path, &directory, &log, &log_directory))
            .await?;
    }
    // When it stops it would write what it has now, which is nothing, over what it shall begin with.
    let save = link.access.client(&["CONFIG", "SET", "save", ""]);
    let said = link.ask(&save).await?;
    match said.trim() {
        "OK" => Ok(Then::Restart(keys)),
        said => Err(link.failed("it cannot be told not to save", said)),
    }
}

/// A value of a Redis's configuration.
async fn config(link: &Link<'_>, name: &str) -> Result<String> {
    let said = link.ask(&link.access.client(&["CONFIG", "GET", name])).await?;
    match said.split_once('\n') {
        Some((first, value)) if first.trim() == name => Ok(value.trim_end().to_owned()),
        _ => Err(link.failed(&format!("it does not say what its `{name}` is"), &said)),
    }
}

/// A file of roles without the lines that make those that are there already.
struct Wanted<R> {
    lines: BufReader<R>,
    roles: Roles,
    line: Vec<u8>,
    given: usize,
}

impl<R: Read> Read for Wanted<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.given == self.line.len() {
            self.line.clear();
            self.given = 0;
            if self.lines.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(0);
            }
            if !self.roles.wants(&String::from_utf8_lossy(&self.line)) {
                self.line.clear();
            }
        }
        let give = into.len().min(self.line.len() - self.given);
        into[..give].copy_from_slice(&self.line[self.given..self.given + give]);
        self.given += give;
        Ok(give)
    }
}
