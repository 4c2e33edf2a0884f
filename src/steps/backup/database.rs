//! Restores one database of a running PostgreSQL: it is loaded beside the one in use, and then both change their names in
//! one transaction. Every other database of the server goes on.

use serde::{Deserialize, Serialize};

use super::fill::Reading;
use super::input::Input;
use super::part::Part;
use super::refill::said_in;
use crate::backup::format::{DumpNote, What};
use crate::datastore::Kind;
use crate::model::{Failure, Result, ServiceName};
use crate::saga::Step;
use crate::steps::Cx;
use crate::steps::dumps::{Dumping, Foreign, Number, Server};
use crate::steps::stack::of_service;

/// A database, and the one beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// The service of its server.
    pub service: ServiceName,
    /// The database.
    pub name: String,
    /// The other one: what is restored until both change their names, what was replaced from then on.
    pub beside: String,
}

/// Loads a database beside the one in use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefillDatabase {
    /// What from.
    pub input: Input,
    /// Which.
    pub database: Database,
}

/// Has the database that was restored and the one in use change their names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExchangeDatabases {
    /// Which.
    pub database: Database,
}

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The number of the database in use, if there was one.
    now: Option<Number>,
    /// That of the restored one.
    restored: Number,
}

impl Database {
    async fn server<'c>(&self, cx: &'c Cx) -> Result<Server<'c>> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let container = of_service(&containers, &self.service).find(|c| c.state.is_up());
        Server::find(cx, &Dumping::of(self.service.clone(), Kind::Postgres, container)).await
    }
}

impl Step for RefillDatabase {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!(
            "restore database {} of {} as {}",
            self.database.name, self.database.service, self.database.beside
        )
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        let database = &self.database;
        let there = database.server(cx).await?.databases().await?;
        match there.contains_key(&database.beside) {
            true => Err(Failure::environment(format!(
                "service `{}` has a database {} already",
                database.service, database.beside
            ))),
            false => Ok(()),
        }
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        let database = &self.database;
        let server = database.server(cx).await?;
        let (note, format, from): (Option<DumpNote>, _, _) = match &self.input {
            Input::Backup {
                source,
                part: Part::Server { dumps, .. },
                ..
            } => {
                let [dump] = dumps.as_slice() else {
                    return Err(Failure::bug("one database has more than one dump"));
                };
                let What::Dump(note) = &dump.what else {
                    return Err(Failure::bug("an archive was taken for a dump"));
                };
                let from = Reading::of(cx, source).await?.open(dump)?;
                (Some(note.clone()), Foreign::PostgresCustom, from)
            }
            Input::Dump { file, format, .. } => (None, *format, file.open()?),
            Input::Backup { .. } | Input::Tar { .. } => {
                return Err(Failure::bug("a volume was taken for a database"));
            }
        };
        let said = server
            .load_beside(&database.name, &database.beside, (note.as_ref(), format), from)
            .await?;
        crate::state::write_durably(&self.file(cx), said.join("; ").as_bytes())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        said_in(&self.file(cx)).map(Some)
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        let server = self.database.server(cx).await?;
        server.drop_database(&self.database.beside).await
    }
}

impl RefillDatabase {
    fn file(&self, cx: &Cx) -> std::path::PathBuf {
        cx.run_dir.join("refilled-database.txt")
    }
}

impl Step for ExchangeDatabases {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        format!(
            "put what was restored in the place of database {}",
            self.database.name
        )
    }

    async fn prepare(&self, cx: &Cx) -> Result<Before> {
        let there = self.database.server(cx).await?.databases().await?;
        match there.get(&self.database.beside) {
            Some(restored) => Ok(Before {
                now: there.get(&self.database.name).copied(),
                restored: *restored,
            }),
            None => Err(Failure::environment(format!(
                "database {} is gone",
                self.database.beside
            ))),
        }
    }

    async fn apply(&self, cx: &Cx, before: &Before) -> Result<()> {
        let Database { name, beside, .. } = &self.database;
        let server = self.database.server(cx).await?;
        server.exchange_databases((name, beside), before.restored).await
    }

    async fn verify(&self, cx: &Cx, before: &Before) -> Result<Option<String>> {
        let there = self.database.server(cx).await?.databases().await?;
        let is = (there.get(&self.database.name), there.get(&self.database.beside));
        match is == (Some(&before.restored), before.now.as_ref()) {
            true => Ok(None),
            false => Err(Failure::environment(format!(
                "what was restored is not in the place of database {}",
                self.database.name
            ))),
        }
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> Result<()> {
        cx.engine_answers().await?;
        let Database { name, beside, .. } = &self.database;
        let server = self.database.server(cx).await?;
        match before.now {
            Some(now) => server.exchange_databases((name, beside), now).await,
            None => server.exchange_databases((beside, name), before.restored).await,
        }
    }
}
