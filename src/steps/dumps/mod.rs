//! Dumps of databases, and servers beside the stack that load them: what steps and backups have in common.
//!
//! [`Server`] is a server of the stack. It is dumped by its own client, and nothing is changed in it. [`Twin`] is one that
//! Rehome makes for itself, like it. [`SqliteFile`] is a database without a server.

mod beside;
mod link;
mod load;
mod mysql;
mod postgres;
mod prove;
mod redis;
mod sqlite;
mod twin;

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use crate::backup::format::DumpNote;
use crate::datastore::Kind;
use crate::datastore::dump::{self, mongodb, redis::Access};
use crate::engine::{Container, Stdin};
use crate::model::{Failure, Result, ServiceName};
use crate::steps::Cx;
use crate::steps::stack::of_service;

use link::{Link, Measured};

pub use crate::datastore::dump::{Foreign, Part};
pub use beside::Number;
pub use sqlite::{SqliteFile, unknown as unknown_sqlite};
pub use twin::{Twin, TwinSpec, sweep};

/// A server has so many databases at most that Rehome dumps.
const MOST: usize = 1000;

/// A database server that is dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dumping {
    /// Its service.
    pub service: ServiceName,
    /// Its kind.
    pub kind: Kind,
    /// As whom it is asked: [`dump::user`] of its container.
    pub user: String,
}

impl Dumping {
    /// The server of a service, asked as its container's environment says, where there is a container.
    #[must_use]
    pub fn of(service: ServiceName, kind: Kind, container: Option<&Container>) -> Self {
        let user = dump::user(kind, |name| container.and_then(|c| c.env(name)));
        Self { service, kind, user }
    }
}

/// A server of the stack, running.
pub struct Server<'a> {
    link: Link<'a>,
    container: Container,
}

/// What was found out about a part while it was dumped.
#[derive(Debug, Default)]
struct Noted {
    version: Option<String>,
    rows: BTreeMap<String, u64>,
    facts: BTreeMap<String, String>,
}

impl<'a> Server<'a> {
    /// Finds its container.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn find(cx: &'a Cx, what: &Dumping) -> Result<Self> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let mut up = of_service(&containers, &what.service).filter(|c| c.state.is_up());
        let container = up.next().cloned().ok_or_else(|| {
            Failure::environment(format!(
                "service `{}` does not run: its {} cannot be dumped",
                what.service, what.kind
            ))
            .hint(format!(
                "start it: rehome compose -- up -d {}; or leave it out",
                what.service
            ))
        })?;
        let link = Link {
            cx,
            what: what.clone(),
            id: container.id.clone(),
            access: Access::of(&container.command),
        };
        Ok(Self { link, container })
    }

    /// Its container.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// The parts that a dump of it has, in the order in which they are loaded.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn parts(&self) -> Result<Vec<Part>> {
        let user = &self.link.what.user;
        match self.link.what.kind {
            Kind::Postgres => {
                let question = dump::postgres::question(user, "postgres", dump::postgres::DATABASES);
                let said = self.link.ask(&question).await?;
                let names: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
                if names.is_empty() || names.len() > MOST {
                    return Err(self.link.failed(&format!("it has {} databases", names.len()), ""));
                }
                let mut parts = vec![dump::postgres::globals(user)];
                parts.extend(names.into_iter().map(|name| dump::postgres::database(user, name)));
                Ok(parts)
            }
            Kind::Mysql => Ok(vec![dump::mysql::all(user)]),
            Kind::Redis => Ok(vec![self.link.access.all()]),
            Kind::Mongodb => Ok(vec![mongodb::all(user)]),
            Kind::Sqlite => Err(Failure::bug("SQLite has no server that could be dumped")),
        }
    }

    /// Dumps a part as a stream. What is noted of it is of the same snapshot as the dump, where one can be had.
    ///
    /// # Errors
    /// When the server does not answer or refuses, its client fails or dies, what it wrote is empty or not whole, or `to`
    /// cannot be written.
    pub async fn dump(&self, part: &Part, to: &mut (dyn Write + Send)) -> Result<DumpNote> {
        let link = &self.link;
        let mut to = Measured::new(to);
        let noted = match link.what.kind {
            Kind::Postgres => postgres::dump(link, part, &mut to).await?,
            Kind::Mysql => mysql::dump(link, part, &mut to).await?,
            Kind::Redis => redis::dump(link, part, &mut to).await?,
            Kind::Mongodb => {
                let ended = link.pour(&part.write, Stdin::Empty, &mut to).await?;
                let said = link.well(&part.write, ended)?;
                let version = link.ask(&mongodb::version(&link.what.user)).await.ok();
                Noted {
                    version: version.map(|v| v.trim().to_owned()),
                    // What was said first is forgotten when it is much.
                    rows: match said.len() < link::SAID {
                        true => mongodb::dumped(&said),
                        false => BTreeMap::new(),
                    },
                    ..Noted::default()
                }
            }
            Kind::Sqlite => return Err(Failure::bug("SQLite has no server that could be dumped")),
        };
        if to.bytes() == 0 {
            return Err(link.failed("the dump is empty", ""));
        }
        Ok(DumpNote {
            service: Some(link.what.service.clone()),
            volume: None,
            at: String::new(),
            kind: link.what.kind,
            database: part.database.clone(),
            version: noted.version,
            rows: noted.rows,
            facts: noted.facts,
        })
    }

    /// Proves that a dump which was kept is whole: it is read to its end, by the program that would load it where there is
    /// such a one.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub async fn prove(&self, part: &Part, from: Box<dyn Read + Send>) -> Result<()> {
        prove::prove(&self.link, part, from).await
    }
}
