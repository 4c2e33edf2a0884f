//! PostgreSQL: `pg_dump` and the counting of rows share one snapshot, which a session holds open that long.

use std::io::Write;

use super::link::{ASK_LIMIT, LIMIT, Link};
use super::twin::{counted as counted_rows, same_rows};
use super::{Noted, Part};
use crate::backup::format::DumpNote;
use crate::datastore::dump::postgres::{
    COUNT, FACTS, PATIENT, SNAPSHOT, VERSION, counted, end_all_of, question, session,
};
use crate::engine::{Conversation, Stdin};
use crate::model::{Failure, Result};
use std::collections::BTreeMap;

/// Ends an answer.
const END: &str = "rehome: that was all";

pub(super) async fn dump(link: &Link<'_>, part: &Part, to: &mut (dyn Write + Send)) -> Result<Noted> {
    let version = link.ask(&question(&link.what.user, "postgres", VERSION)).await?;
    let version = Some(version.trim().to_owned());
    let Some(database) = &part.database else {
        let ended = link.pour(&part.write, Stdin::Empty, to).await?;
        link.well(&part.write, ended)?;
        return Ok(Noted {
            version,
            ..Noted::default()
        });
    };
    let mut session = open(link, database).await?;
    let facts = facts(&mut session).await?;
    let snapshot = ask(&mut session, SNAPSHOT).await?;
    let snapshot = snapshot
        .last()
        .ok_or_else(|| link.failed("it gave no snapshot", ""))?;
    let mut write = part.write.clone();
    write.push(format!("--snapshot={snapshot}"));
    let dumping = async {
        let ended = link.pour(&write, Stdin::Empty, to).await?;
        link.well(&write, ended)
    };
    let both = tokio::try_join!(dumping, count(&mut session));
    let rows = match both {
        Ok((_, rows)) => rows,
        Err(failure) => {
            // Nobody takes what it writes any more: it would go on all the same, and hold its locks.
            let end = question(&link.what.user, "postgres", &end_all_of(&link.application()));
            if let Err(also) = link.try_ask(&end).await {
                tracing::debug!(%also, "could not end what was left of a dump");
            }
            return Err(failure);
        }
    };
    let ended = session.end(ASK_LIMIT).await?;
    if ended.code != 0 {
        return Err(link.failed("the session of the snapshot did not end well", &ended.stderr));
    }
    Ok(Noted { version, rows, facts })
}

/// A session without limits of its own.
pub(super) async fn open(link: &Link<'_>, database: &str) -> Result<Conversation> {
    let command = session(&link.what.user, database);
    let mut session = link.cx.engine.converse(&link.id, link.exec(&command)).await?;
    ask(&mut session, PATIENT).await?;
    Ok(session)
}

pub(super) async fn facts(session: &mut Conversation) -> Result<BTreeMap<String, String>> {
    let said = ask(session, &format!("{FACTS};\n")).await?;
    let facts: BTreeMap<String, Option<String>> = serde_json::from_str(&said.concat()).map_err(|e| {
        Failure::environment("PostgreSQL says of a database what is not understood").because(&e)
    })?;
    Ok(facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect())
}

/// The rows of every table, in whatever snapshot the session has.
pub(super) async fn count(session: &mut Conversation) -> Result<BTreeMap<String, u64>> {
    let said = ask(session, COUNT).await?;
    counted(&said).ok_or_else(|| {
        Failure::environment("PostgreSQL does not say how many rows its tables have").cause(session.said())
    })
}

/// Compares a database with what was noted when it was dumped. Says what was compared.
pub(super) async fn same_as_noted(link: &Link<'_>, database: &str, note: &DumpNote) -> Result<Vec<String>> {
    let mut session = open(link, database).await?;
    let facts = facts(&mut session).await?;
    let rows = count(&mut session).await?;
    drop(session);
    same_rows(link, database, &note.rows, &rows)?;
    let mut said = vec![format!("{database}: {}", counted_rows(&rows, "row"))];
    for (name, was) in &note.facts {
        let now = facts.get(name);
        match name.as_str() {
            _ if now == Some(was) => {}
            // No harm: the indexes are made anew by loading (trap 6).
            "collation version" => said.push(format!(
                "{database}: its collation was of version {was} and is of {} here; its indexes are new",
                now.map_or("none", String::as_str)
            )),
            _ => {
                let now = now.map_or("nothing", String::as_str);
                return Err(link.failed(&format!("{name} of {database} was {was} and is {now} now"), ""));
            }
        }
    }
    Ok(said)
}

async fn ask(session: &mut Conversation, text: &str) -> Result<Vec<String>> {
    session.ask(&format!("{text}\\echo '{END}'\n"), END, LIMIT).await
}
