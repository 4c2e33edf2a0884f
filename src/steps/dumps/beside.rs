//! A database of a running PostgreSQL that is loaded beside the one in use, and takes its name in one transaction.
//!
//! <https://www.postgresql.org/docs/current/sql-alterdatabase.html>

use std::collections::BTreeMap;
use std::io::Read;

use super::postgres::same_as_noted;
use super::{Foreign, Server, load, postgres};
use crate::backup::format::DumpNote;
use crate::datastore::dump::postgres::{MadeLike, NUMBERS, drop_quietly, exchange, inherit, make, question};
use crate::model::{Failure, Result};

/// Whoever connects again between the end of his connection and the lock is ended once more; each time the server itself
/// waits for five seconds.
const ATTEMPTS: usize = 10;

/// A database's number, which stays when its name changes.
pub type Number = u32;

impl Server<'_> {
    /// The numbers of its databases by name.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn databases(&self) -> Result<BTreeMap<String, Number>> {
        let said = self
            .link
            .ask(&question(&self.link.what.user, "template1", NUMBERS))
            .await?;
        serde_json::from_str(&said).map_err(|e| {
            Failure::environment("PostgreSQL says of its databases what is not understood").because(&e)
        })
    }

    /// Makes the database `beside` anew, as `now` is made or as the dump says, and loads the dump, all of it or nothing.
    /// Says what was compared.
    ///
    /// # Errors
    /// When it cannot be made, the dump does not load, or has not what was noted. What was loaded until then stays.
    pub async fn load_beside(
        &self,
        now: &str,
        beside: &str,
        (note, format): (Option<&DumpNote>, Foreign),
        from: Box<dyn Read + Send>,
    ) -> Result<Vec<String>> {
        let link = &self.link;
        let user = &link.what.user;
        let template = postgres_session(user);
        link.tell(&template, link.stdin(drop_quietly(beside))).await?;
        let was_there = self.databases().await?.contains_key(now);
        let like = match was_there {
            true => {
                let mut session = postgres::open(link, "template1").await?;
                Some(postgres::made_like(&mut session, now).await?)
            }
            false => None,
        };
        let like = note
            .map_or_else(MadeLike::default, |note| MadeLike::noted(&note.facts))
            .or(like);
        link.tell(&template, link.stdin(make(beside, &like))).await?;
        if was_there {
            link.tell(&template, link.stdin(inherit(now, beside))).await?;
        }
        load::into_database(link, format, beside, from).await?;
        match note {
            Some(note) => same_as_noted(link, beside, note).await,
            None => Ok(vec![format!(
                "{beside}: loaded to its end; compared with nothing"
            )]),
        }
    }

    /// Removes a database, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        let template = postgres_session(&self.link.what.user);
        self.link
            .tell(&template, self.link.stdin(drop_quietly(name)))
            .await
            .map(|_| ())
    }

    /// Has two databases change their names at once, or one take the name that is free; who is connected to them is
    /// disconnected. Afterwards `number` is at `name`; there already is fine.
    ///
    /// # Errors
    /// When somebody does not leave, or neither of them is `number`.
    pub async fn exchange_databases(&self, (name, other): (&str, &str), number: Number) -> Result<()> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            self.link.cx.interrupt.check()?;
            let now = self.databases().await?;
            if now.get(name) == Some(&number) {
                return Ok(());
            }
            if now.get(other) != Some(&number) {
                return Err(self
                    .link
                    .failed(&format!("database {number} is neither {name} nor {other}"), ""));
            }
            let script = exchange(name, other, now.contains_key(name));
            let template = postgres_session(&self.link.what.user);
            match self.link.tell(&template, self.link.stdin(script)).await {
                Ok(_) => return Ok(()),
                Err(failure) => last = Some(failure),
            }
        }
        let failure = last.unwrap_or_else(|| Failure::bug("no attempt was made"));
        Err(failure.inside(format!("database {other} cannot take the name {name}")))
    }
}

fn postgres_session(user: &str) -> Vec<String> {
    crate::datastore::dump::postgres::session(user, "template1")
}
