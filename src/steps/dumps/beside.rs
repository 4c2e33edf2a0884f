//! A database of a running PostgreSQL that is loaded beside the one in use, and takes its name in one transaction.
//!
//! <https://www.postgresql.org/docs/current/sql-alterdatabase.html>

use std::collections::BTreeMap;
use std::io::Read;

use serde::de::DeserializeOwned;

use super::postgres::same_as_noted;
use super::{Foreign, Server, load};
use crate::backup::format::DumpNote;
use crate::datastore::dump::postgres::{
    MadeLike, NUMBERS, exchange, inherit, made_like, make, question, session,
};
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
        self.told(NUMBERS).await
    }

    /// An answer in JSON.
    async fn told<T: DeserializeOwned>(&self, query: &str) -> Result<T> {
        let said = self
            .link
            .ask(&question(&self.link.what.user, "template1", query))
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
        load::make_room(link, beside).await?;
        let like = match self.databases().await?.contains_key(now) {
            true => Some(self.told(&made_like(now)).await?),
            false => None,
        };
        let was_there = like.is_some();
        let like = note
            .map_or_else(MadeLike::default, |note| MadeLike::noted(&note.facts))
            .or(like);
        let session = session(&link.what.user, "template1");
        link.tell(&session, link.stdin(make(beside, &like))).await?;
        if was_there {
            link.tell(&session, link.stdin(inherit(now, beside))).await?;
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
        load::make_room(&self.link, name).await
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
            let session = session(&self.link.what.user, "template1");
            match self.link.tell(&session, self.link.stdin(script)).await {
                Ok(_) => return Ok(()),
                Err(failure) => last = Some(failure),
            }
        }
        let failure = last.unwrap_or_else(|| Failure::bug("no attempt was made"));
        Err(failure.inside(format!("database {other} cannot take the name {name}")))
    }
}
