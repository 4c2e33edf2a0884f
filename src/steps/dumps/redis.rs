//! Redis and Valkey: the RDB that a replica would get, proven by its own checksum while it goes by.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use super::link::Link;
use super::{Noted, Part};
use crate::datastore::dump::redis::{Rdb, keyspace};
use crate::engine::ExecOutput;
use crate::model::Result;

/// The name of a fact: the keys of each database, where nobody wrote meanwhile.
pub(super) const KEYS: &str = "keys";
/// The name of a fact: how many of them end by themselves.
pub(super) const EXPIRES: &str = "keys that expire";

pub(super) async fn dump(link: &Link<'_>, part: &Part, to: &mut (dyn Write + Send)) -> Result<Noted> {
    let version = info(link, "server").await?;
    let version = version.lines().find_map(|line| {
        let (name, value) = line.trim().split_once(':')?;
        ["valkey_version", "redis_version"]
            .contains(&name)
            .then(|| value.to_owned())
    });
    let before = info(link, "keyspace").await?;
    let mut checking = Checking {
        to,
        rdb: Rdb::default(),
    };
    let ended: ExecOutput = link
        .pour(&part.write, link.stdin(String::new()), &mut checking)
        .await?;
    let said = link.well(&part.write, ended)?;
    let Checking { to, rdb } = checking;
    let rest = rdb
        .end()
        .map_err(|why| link.failed(&format!("the dump is not whole: {why}"), &said))?;
    tokio::task::block_in_place(|| to.write_all(&rest))
        .map_err(|e| crate::model::Failure::environment("cannot write what `redis-cli` says").because(&e))?;
    let mut facts = BTreeMap::new();
    let (before, after) = (keyspace(&before), keyspace(&info(link, "keyspace").await?));
    let keys = |space: &[(String, u64, u64)]| -> Vec<String> {
        space
            .iter()
            .map(|(name, keys, _)| format!("{name}={keys}"))
            .collect()
    };
    // While somebody writes there is no number that must be the same: the server that loads it counts what the dump has.
    if keys(&before) == keys(&after) {
        facts.insert(KEYS.to_owned(), keys(&after).join(","));
        let expire: u64 = after.iter().map(|(_, _, expires)| expires).sum();
        facts.insert(EXPIRES.to_owned(), expire.to_string());
    }
    Ok(Noted {
        version,
        rows: BTreeMap::new(),
        facts,
    })
}

pub(super) async fn info(link: &Link<'_>, section: &str) -> Result<String> {
    link.ask(&link.access.client(&["INFO", section])).await
}

/// Looks at an RDB on its way, and takes off what is not of it.
struct Checking<'w> {
    to: &'w mut (dyn Write + Send),
    rdb: Rdb,
}

impl Write for Checking<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sure = self.rdb.feed(bytes);
        self.to.write_all(&sure)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// An RDB that is read: at its end it is an error if it was not whole.
pub(super) struct Whole {
    from: Box<dyn Read + Send>,
    rdb: Option<Rdb>,
    ready: Vec<u8>,
    given: usize,
}

impl Whole {
    pub fn new(from: Box<dyn Read + Send>) -> Self {
        Self {
            from,
            rdb: Some(Rdb::default()),
            ready: Vec::new(),
            given: 0,
        }
    }
}

impl Read for Whole {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        while self.given == self.ready.len() {
            let Some(mut rdb) = self.rdb.take() else {
                return Ok(0);
            };
            self.given = 0;
            self.ready = match self.from.read(&mut chunk)? {
                0 => rdb.end().map_err(std::io::Error::other)?,
                read => {
                    let sure = rdb.feed(&chunk[..read]);
                    self.rdb = Some(rdb);
                    sure
                }
            };
        }
        let give = into.len().min(self.ready.len() - self.given);
        into[..give].copy_from_slice(&self.ready[self.given..self.given + give]);
        self.given += give;
        Ok(give)
    }
}
