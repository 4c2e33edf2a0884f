//! MySQL and MariaDB: one dump of one snapshot. The rows are counted in the dump itself, while it goes by: so no lock has
//! to be taken, and what is compared after a restore is what the dump has.

use std::collections::BTreeMap;
use std::io::Write;

use super::link::Link;
use super::{Noted, Part};
use crate::datastore::dump::mysql::{
    Rows, TABLES, VERSION, WITHOUT_SNAPSHOT, client, count, counted, tables,
};
use crate::engine::Stdin;
use crate::model::Result;

/// The name of a fact.
pub(super) const OUTSIDE: &str = "tables without a snapshot";

pub(super) async fn dump(link: &Link<'_>, part: &Part, to: &mut (dyn Write + Send)) -> Result<Noted> {
    let client = client(&link.what.user);
    let version = link.tell(&client, link.stdin(VERSION.to_owned())).await?;
    let outside = link
        .tell(&client, link.stdin(WITHOUT_SNAPSHOT.to_owned()))
        .await?;
    let mut counting = Counting {
        to,
        rows: Rows::default(),
        tail: Vec::new(),
    };
    let ended = link.pour(&part.write, Stdin::Empty, &mut counting).await?;
    link.well(&part.write, ended)?;
    if !counting.tail.windows(END.len()).any(|words| words == END) {
        return Err(link.failed(
            &format!("the dump does not end with `{}`", String::from_utf8_lossy(END)),
            "",
        ));
    }
    let rows = counting.rows.counted();
    let mut facts = BTreeMap::from([("tables".to_owned(), rows.len().to_string())]);
    if !outside.trim().is_empty() {
        let names: Vec<&str> = outside.lines().collect();
        facts.insert(OUTSIDE.to_owned(), names.join(", "));
    }
    Ok(Noted {
        version: Some(version.trim().to_owned()),
        rows,
        facts,
    })
}

/// The rows of every table that is there now.
pub(super) async fn rows(link: &Link<'_>) -> Result<BTreeMap<String, u64>> {
    let client = client(&link.what.user);
    let said = link.tell(&client, link.stdin(TABLES.to_owned())).await?;
    let odd = || link.failed("it does not say how many rows its tables have", "");
    let tables = tables(&said).ok_or_else(odd)?;
    let said = link.tell(&client, link.stdin(count(&tables))).await?;
    counted(&tables, &said).ok_or_else(odd)
}

const END: &[u8] = b"-- Dump completed";
const TAIL: usize = 256;

/// Looks at a dump on its way.
struct Counting<'w> {
    to: &'w mut (dyn Write + Send),
    rows: Rows,
    tail: Vec<u8>,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        let bytes = &bytes[..written];
        self.rows.feed(bytes);
        self.tail
            .extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
