//! `serve.db` in the state directory: SQLite, readable by its owner alone, as `sites.db` is.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};
use serde::Serialize;

use super::secret::{draw, kept};
use super::{AccessName, Scope, Who, counts};
use crate::model::{Failure, Result, RunId, Secret};

/// The steps from one format to the next; a step is never changed once it was released.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE users (name TEXT NOT NULL PRIMARY KEY, password TEXT NOT NULL, made TEXT NOT NULL) STRICT;
    CREATE TABLE tokens (
        name TEXT NOT NULL PRIMARY KEY,
        scope TEXT NOT NULL CHECK (scope IN ('read', 'operate')),
        secret TEXT NOT NULL UNIQUE,
        made TEXT NOT NULL,
        used TEXT,
        revoked TEXT
    ) STRICT;
    CREATE TABLE sessions (
        secret TEXT NOT NULL PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
        csrf TEXT NOT NULL,
        made TEXT NOT NULL,
        seen TEXT NOT NULL
    ) STRICT;
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        origin TEXT NOT NULL,
        what TEXT NOT NULL,
        subject TEXT NOT NULL,
        outcome TEXT NOT NULL,
        run TEXT
    ) STRICT;
"];

/// Somebody else writes a row at most.
const BUSY: Duration = Duration::from_secs(10);
/// That a session or a token was used is written so often, in seconds.
const SEEN_EVERY: i64 = 60;
/// So many lines of the audit are kept.
const AUDIT_KEPT: i64 = 100_000;
/// What stands in the audit until it is known how it ended.
const BEGUN: &str = "begun";

/// The database, open.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// When it was added.
    pub made: Timestamp,
}

/// A token, without its secret, which nobody knows but who was given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    pub made: Timestamp,
    /// When it was used last, to the minute.
    pub used: Option<Timestamp>,
    /// Since when it counts no more.
    pub revoked: Option<Timestamp>,
}

/// Somebody's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub user: String,
    /// What a form of it has to carry.
    pub csrf: Secret,
}

/// What somebody does, when it begins.
#[derive(Debug, Clone)]
pub struct Deed<'a> {
    /// Who.
    pub who: &'a str,
    /// From which address.
    pub from: &'a str,
    /// What: `PATCH`, `login`.
    pub what: &'a str,
    /// On what.
    pub on: &'a str,
}

/// A line of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// From which address.
    pub from: String,
    /// What.
    pub what: String,
    /// On what.
    pub on: String,
    /// How it ended.
    pub outcome: String,
    /// The run that it began.
    pub run: Option<String>,
}

impl AuditLine {
    /// Whether it has not ended yet, or never will, as the server was killed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.outcome == BEGUN
    }
}

impl Store {
    /// What it is called in the state directory.
    pub const FILE: &'static str = "serve.db";

    /// Opens it, and makes it if it is not there: readable by its owner alone.
    ///
    /// # Errors
    /// When it cannot be opened, is another database, or was written by a newer Rehome.
    pub fn open(path: &Path) -> Result<Self> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| cannot("open", path).because(&error))?;
        let failed = |error: rusqlite::Error| told("open", path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        connection
            .pragma_update(None, "foreign_keys", true)
            .map_err(failed)?;
        let mut store = Self {
            connection,
            path: path.to_owned(),
        };
        store.migrate()?;
        Ok(store)
    }

    fn migrate(&mut self) -> Result<()> {
        let path = self.path.clone();
        let failed = |error: rusqlite::Error| told("open", &path, &error);
        let known = MIGRATIONS.len();
        // Two that begin at once: the second waits, and then finds nothing to do.
        let change = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let format: u32 = change
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(failed)?;
        let Some(due) = MIGRATIONS.get(format as usize..) else {
            return Err(
                Failure::refused(format!("{} was written by a newer Rehome", path.display()))
                    .cause(format!("it has format {format}, and this one knows {known}"))
                    .data("nothing was changed")
                    .hint("use that version"),
            );
        };
        for step in due {
            change.execute_batch(step).map_err(failed)?;
        }
        change
            .pragma_update(None, "user_version", known as u32)
            .map_err(failed)?;
        change.commit().map_err(failed)
    }

    fn read(&self) -> impl Fn(rusqlite::Error) -> Failure + Copy + '_ {
        |error| told("read", &self.path, &error)
    }

    fn write(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        let written = self.connection.execute(sql, values);
        written.map_err(|error| told("write", &self.path, &error))
    }

    fn all<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        row: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut asked = self.connection.prepare(sql).map_err(self.read())?;
        let rows = asked.query_map(values, row).map_err(self.read())?;
        rows.collect::<rusqlite::Result<_>>().map_err(self.read())
    }

    /// Adds a user with what is kept of its password, or gives one that is there another: then its sessions end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_user(&self, name: &AccessName, password: &str) -> Result<()> {
        self.write(
            "INSERT INTO users (name, password, made) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET password = excluded.password",
            params![name.as_str(), password, now()],
        )?;
        self.write("DELETE FROM sessions WHERE user = ?1", [name.as_str()])?;
        Ok(())
    }

    /// Every user, by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn users(&self) -> Result<Vec<User>> {
        self.all("SELECT name, made FROM users ORDER BY name", [], |row| {
            Ok(User {
                name: row.get(0)?,
                made: time(row, 1)?,
            })
        })
    }

    /// What is kept of the password of a user.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn password(&self, name: &str) -> Result<Option<String>> {
        self.connection
            .query_row("SELECT password FROM users WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()
            .map_err(self.read())
    }

    /// Removes a user, and ends its sessions.
    ///
    /// # Errors
    /// Refused when there is none of this name; when it cannot be written.
    pub fn remove_user(&self, name: &AccessName) -> Result<()> {
        match self.write("DELETE FROM users WHERE name = ?1", [name.as_str()])? {
            0 => Err(Failure::refused(format!("there is no user {name}")).data("nothing was changed")),
            _ => Ok(()),
        }
    }

    /// Adds a token.
    ///
    /// # Errors
    /// Refused when there is one of this name; when it cannot be written.
    pub fn add_token(&self, name: &AccessName, scope: Scope, secret: &Secret) -> Result<()> {
        let added = self.write(
            "INSERT INTO tokens (name, scope, secret, made) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO NOTHING",
            params![name.as_str(), scope.as_str(), kept(secret.reveal()), now()],
        )?;
        match added {
            0 => Err(Failure::refused(format!("there is a token {name} already"))
                .data("nothing was changed")
                .hint("a name is used once, also after it was revoked: the audit is read by it")),
            _ => Ok(()),
        }
    }

    /// Every token, by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>> {
        let sql = "SELECT name, scope, made, used, revoked FROM tokens ORDER BY name";
        self.all(sql, [], |row| {
            Ok(Token {
                name: row.get(0)?,
                scope: scope(&row.get::<_, String>(1)?),
                made: time(row, 2)?,
                used: maybe_time(row, 3)?,
                revoked: maybe_time(row, 4)?,
            })
        })
    }

    /// From now on a token counts no more.
    ///
    /// # Errors
    /// Refused when there is none of this name that does; when it cannot be written.
    pub fn revoke(&self, name: &AccessName) -> Result<()> {
        let sql = "UPDATE tokens SET revoked = ?2 WHERE name = ?1 AND revoked IS NULL";
        match self.write(sql, params![name.as_str(), now()])? {
            0 => Err(Failure::refused(format!("there is no token {name}")).data("nothing was changed")),
            _ => Ok(()),
        }
    }

    /// Whose token this is, if it counts.
    ///
    /// # Errors
    /// When it cannot be read, or that it was used cannot be written.
    pub fn by_token(&self, secret: &str) -> Result<Option<Who>> {
        let secret = kept(secret);
        let found: Option<(String, String, Option<String>)> = self
            .connection
            .query_row(
                "SELECT name, scope, used FROM tokens WHERE secret = ?1 AND revoked IS NULL",
                [&secret],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()
            .map_err(self.read())?;
        let Some((name, word, used)) = found else {
            return Ok(None);
        };
        if is_long_ago(used.as_deref()) {
            self.write(
                "UPDATE tokens SET used = ?2 WHERE secret = ?1",
                params![secret, now()],
            )?;
        }
        Ok(Some(Who::Token(name, scope(&word))))
    }

    /// Begins a session, and forgets those that are over. Returns its cookie.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin_session(&self, user: &str) -> Result<Secret> {
        let at = |seconds: i64| {
            Timestamp::from_second(Timestamp::now().as_second() - seconds)
                .unwrap_or(Timestamp::UNIX_EPOCH)
                .to_string()
        };
        self.write(
            "DELETE FROM sessions WHERE seen < ?1 OR made < ?2",
            [at(super::IDLE), at(super::LASTS)],
        )?;
        let (secret, csrf) = (draw()?, draw()?);
        self.write(
            "INSERT INTO sessions (secret, user, csrf, made, seen) VALUES (?1, ?2, ?3, ?4, ?4)",
            params![kept(secret.reveal()), user, csrf.reveal(), now()],
        )?;
        Ok(secret)
    }

    /// The session of a cookie, if it still counts.
    ///
    /// # Errors
    /// When it cannot be read, or that it was seen cannot be written.
    pub fn session(&self, secret: &str) -> Result<Option<Session>> {
        let secret = kept(secret);
        let found = self
            .connection
            .query_row(
                "SELECT user, csrf, made, seen FROM sessions WHERE secret = ?1",
                [&secret],
                |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        time(row, 2)?,
                        time(row, 3)?,
                    ))
                },
            )
            .optional()
            .map_err(self.read())?;
        let Some((user, csrf, made, seen)) = found else {
            return Ok(None);
        };
        if !counts(made, seen, Timestamp::now()) {
            self.write("DELETE FROM sessions WHERE secret = ?1", [&secret])?;
            return Ok(None);
        }
        if is_long_ago(Some(&seen.to_string())) {
            self.write(
                "UPDATE sessions SET seen = ?2 WHERE secret = ?1",
                params![secret, now()],
            )?;
        }
        Ok(Some(Session {
            user,
            csrf: Secret::new(csrf),
        }))
    }

    /// Ends a session; that there is none is fine.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_session(&self, secret: &str) -> Result<()> {
        self.write("DELETE FROM sessions WHERE secret = ?1", [kept(secret)])?;
        Ok(())
    }

    /// Writes down that somebody does something, before it is done.
    ///
    /// # Errors
    /// When it cannot be written: then it shall not be done.
    pub fn note(&self, deed: &Deed<'_>) -> Result<i64> {
        let short = |text: &str| text.chars().take(200).collect::<String>();
        self.write(
            "INSERT INTO audit (at, who, origin, what, subject, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                now(),
                short(deed.who),
                short(deed.from),
                deed.what,
                short(deed.on),
                BEGUN
            ],
        )?;
        let id = self.connection.last_insert_rowid();
        self.write("DELETE FROM audit WHERE id <= ?1", [id - AUDIT_KEPT])?;
        Ok(id)
    }

    /// Writes down what was answered, unless it is known already how it ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn answered(&self, id: i64, outcome: &str) -> Result<()> {
        self.write(
            "UPDATE audit SET outcome = ?2 WHERE id = ?1 AND outcome = ?3",
            params![id, outcome, BEGUN],
        )?;
        Ok(())
    }

    /// Writes down which run it began.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begun(&self, id: i64, run: &RunId) -> Result<()> {
        self.write(
            "UPDATE audit SET run = ?2 WHERE id = ?1",
            params![id, run.as_str()],
        )?;
        Ok(())
    }

    /// Writes down how the run ended that it began, or why it began none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn ran(&self, id: i64, run: Option<&RunId>, outcome: &str) -> Result<()> {
        self.write(
            "UPDATE audit SET outcome = ?2, run = COALESCE(?3, run) WHERE id = ?1",
            params![id, outcome, run.map(RunId::as_str)],
        )?;
        Ok(())
    }

    /// The last lines of the audit, newest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn audit(&self, limit: u32, before: Option<i64>) -> Result<Vec<AuditLine>> {
        let sql = "SELECT id, at, who, origin, what, subject, outcome, run FROM audit WHERE id < ?2 ORDER BY id DESC LIMIT ?1";
        let before = before.unwrap_or(i64::MAX);
        self.all(sql, rusqlite::params![limit, before], |row| {
            Ok(AuditLine {
                id: row.get(0)?,
                at: time(row, 1)?,
                who: row.get(2)?,
                from: row.get(3)?,
                what: row.get(4)?,
                on: row.get(5)?,
                outcome: row.get(6)?,
                run: row.get(7)?,
            })
        })
    }
}

fn now() -> String {
    Timestamp::now().to_string()
}

fn is_long_ago(at: Option<&str>) -> bool {
    let at = at.and_then(|at| at.parse::<Timestamp>().ok());
    at.is_none_or(|at| (Timestamp::now().as_second() - at.as_second()).abs() >= SEEN_EVERY)
}

fn scope(word: &str) -> Scope {
    match word {
        "operate" => Scope::Operate,
        _ => Scope::Read,
    }
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get::<_, String>(column)?
        .parse()
        .map_err(|error: jiff::Error| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        })
}

fn maybe_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<String>>(column)? {
        Some(_) => time(row, column).map(Some),
        None => Ok(None),
    }
}

fn cannot(verb: &str, path: &Path) -> Failure {
    Failure::environment(format!("cannot {verb} {}", path.display()))
}

fn told(verb: &str, path: &Path, error: &rusqlite::Error) -> Failure {
    cannot(verb, path).because(error).data("nothing was changed")
}

#[cfg(test)]
mod tests;
