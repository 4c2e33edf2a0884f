//! A server that Rehome makes for itself, like one of the stack: on a throw-away volume to try a dump, or on new homes to
//! restore one. What fails in it is thrown away as a whole, so nothing half loaded is ever used.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::link::{LIMIT, Link};
use super::load::{self, Then};
use super::{Dumping, Foreign, mysql, postgres, redis};
use crate::backup::format::DumpNote;
use crate::datastore::dump::postgres::{DATA_DIRECTORY, amcheck, is_ready, question};
use crate::datastore::dump::redis::{Access, keyspace};
use crate::datastore::dump::{mongodb, mysql as words};
use crate::datastore::{Kind, is_clean_state};
use crate::engine::{Container, HelperJob, HelperMount, LABEL_RUN, State, TwinLike};
use crate::helper::protocol::{Answer, Request};
use crate::model::{ContainerId, Failure, ImageId, Result, VolumeName, count};
use crate::steps::{Cx, FROM};

/// An image may take its time to make a database.
const START_LIMIT: Duration = Duration::from_secs(600);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(250);
/// A server that writes out what it has in memory is never killed for being slow.
const STOP_LIMIT: Duration = Duration::from_secs(900);
/// So many lines of its log are shown.
const LOG_LINES: usize = 10;
/// So many differences are shown.
const DIFFERENCES: usize = 5;

/// What a twin is made like, and where its data lives.
#[derive(Debug, Clone)]
pub struct TwinSpec {
    /// Its service, kind and user.
    pub what: Dumping,
    /// The container that it is made like, running or not; of the service or made as Compose makes one.
    pub like: ContainerId,
    /// Its image, if not that container's own.
    pub image: Option<ImageId>,
    /// Where its data lives: a volume or directory that is empty, and that nobody else has. Its target says in whose place
    /// it is. `None`: on a volume of its own, which goes with it.
    pub data: Option<HelperMount>,
}

/// A server that answers. It stays when this is dropped: [`Twin::remove`], or [`sweep`].
pub struct Twin<'a> {
    link: Link<'a>,
    data: HelperMount,
    /// Its own volume, if the data is not somebody else's.
    volume: Option<VolumeName>,
    /// PostgreSQL's data directory.
    directory: Option<String>,
    /// What a Redis's dump has: keys, those that expire, those that had expired.
    keys: Option<(u64, u64, u64)>,
}

/// Removes every twin of a run, with their volumes: what a crash left. Says how many of both.
///
/// # Errors
/// When the engine refuses.
pub async fn sweep(cx: &Cx) -> Result<usize> {
    cx.engine.remove_twins(&cx.run).await
}

impl<'a> Twin<'a> {
    /// Makes it and waits until it answers. Nothing is left of it when that fails.
    ///
    /// # Errors
    /// When it cannot be made, somebody else has its data, or it does not answer; with the last lines of its log.
    pub async fn start(cx: &'a Cx, spec: &TwinSpec) -> Result<Self> {
        let like = cx
            .engine
            .find_container(spec.like.as_str())
            .await?
            .ok_or_else(|| Failure::environment(format!("container {} is gone", spec.like.short())))?;
        let service = &spec.what.service;
        let (data, volume) = match &spec.data {
            Some(data) => (data.clone(), None),
            None => {
                let name = VolumeName::new(format!("rehome_twin_{}_{service}", cx.run))
                    .map_err(|e| Failure::bug("a run id that is no name").because(&e))?;
                cx.engine.make_twin_volume(&name, &cx.run, &cx.project).await?;
                let data = HelperMount::Volume {
                    name: name.clone(),
                    target: data_target(&like, spec.what.kind),
                    read_only: false,
                };
                (data, Some(name))
            }
        };
        let made = TwinLike {
            container: spec.like.clone(),
            image: spec.image.clone(),
            data: data.clone(),
            fresh: volume.is_some(),
            name: service.to_string(),
        };
        let link = |id| Link {
            cx,
            what: spec.what.clone(),
            id,
            access: Access::of(&like.command),
        };
        let begun = async {
            // One that was made for it alone nobody else has, and to know that takes a look at every container.
            if let (HelperMount::Volume { name, .. }, None) = (&data, &volume) {
                // Two servers on one data directory destroy it (trap 9).
                let writers = cx.engine.writers_of(name).await?;
                if let Some(other) = writers.iter().find(|c| c.state.is_up()) {
                    return Err(Failure::refused(format!(
                        "container {} has volume {name}",
                        other.name
                    )));
                }
            }
            let id = cx.engine.make_twin_of(&made, &cx.run, &cx.project).await?;
            let mut twin = Self {
                link: link(id.clone()),
                data: data.clone(),
                volume: volume.clone(),
                directory: None,
                keys: None,
            };
            cx.engine.start(&id).await?;
            twin.wait().await?;
            if twin.link.what.kind == Kind::Postgres {
                let question = question(&twin.link.what.user, "postgres", DATA_DIRECTORY);
                twin.directory = Some(twin.link.ask(&question).await?.trim().to_owned());
            }
            Ok(twin)
        };
        match begun.await {
            Ok(twin) => Ok(twin),
            Err(failure) => {
                let failure =
                    failure.inside(format!("no throw-away {} of service `{service}`", spec.what.kind));
                match throw_away(cx, &format!("rehome-twin-{}-{service}", cx.run), volume.as_ref()).await {
                    Ok(()) => Err(failure),
                    Err(also) => Err(failure.cause(also.to_string())),
                }
            }
        }
    }

    /// Where its data lives.
    #[must_use]
    pub fn data(&self) -> &HelperMount {
        &self.data
    }

    /// Its container.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.link.id
    }

    /// Loads a part of a dump. Of PostgreSQL what belongs to all comes first, as [`super::Server::parts`] has them.
    ///
    /// # Errors
    /// At the first thing that does not work, or when `from` cannot be read to its end. Then this twin is of no use any
    /// more, whatever it has by now.
    pub async fn load(&mut self, note: &DumpNote, from: Box<dyn Read + Send>) -> Result<()> {
        let then = load::load(&self.link, note, from).await?;
        self.go_on(then).await
    }

    /// Loads a dump that Rehome did not write. Of what was in that database before nothing stays.
    ///
    /// # Errors
    /// As [`Twin::load`]; and when it is not of that format, or belongs to a database that is not named.
    pub async fn load_foreign(
        &mut self,
        format: Foreign,
        database: Option<&str>,
        from: Box<dyn Read + Send>,
    ) -> Result<()> {
        let then = load::load_foreign(&self.link, format, database, from).await?;
        self.go_on(then).await
    }

    async fn go_on(&mut self, then: Then) -> Result<()> {
        let Then::Restart(keys) = then else { return Ok(()) };
        self.keys = keys;
        self.stop().await?;
        self.link.cx.engine.start(&self.link.id).await?;
        self.wait().await
    }

    /// Compares what it has with what was noted when the dumps were made. Says what was compared.
    ///
    /// # Errors
    /// When something differs or is damaged, or it does not answer.
    pub async fn check(&self, notes: &[DumpNote]) -> Result<Vec<String>> {
        let mut said = Vec::new();
        for note in notes {
            match self.link.what.kind {
                Kind::Postgres => said.extend(self.check_postgres(note).await?),
                Kind::Mysql => said.extend(self.check_mysql(note).await?),
                Kind::Redis => said.push(self.check_redis(note).await?),
                Kind::Mongodb => said.push(self.check_mongodb(note).await?),
                Kind::Sqlite => return Err(Failure::bug("SQLite has no server")),
            }
        }
        Ok(said)
    }

    async fn check_postgres(&self, note: &DumpNote) -> Result<Vec<String>> {
        let Some(database) = &note.database else {
            return Ok(Vec::new());
        };
        let mut said = postgres::same_as_noted(&self.link, database, note).await?;
        // It makes an extension in the database: that is for one that is thrown away.
        if self.volume.is_some() {
            let check = amcheck(&self.link.what.user, database);
            let ended = self
                .link
                .pour(&check, self.link.stdin(String::new()), &mut std::io::sink())
                .await?;
            match ended.code {
                0 => said.push(format!("{database}: pg_amcheck found nothing")),
                // The program is not in every image.
                126 | 127 => {}
                _ => return Err(self.link.failed("pg_amcheck found damage", &ended.stderr)),
            }
        }
        Ok(said)
    }

    async fn check_mysql(&self, note: &DumpNote) -> Result<Vec<String>> {
        let rows = mysql::rows(&self.link).await?;
        same_rows(&self.link, "the dump", &note.rows, &rows)?;
        let mut said = vec![counted(&rows, "row")];
        if let Some(outside) = note.facts.get(mysql::OUTSIDE) {
            said.push(format!(
                "not of the dump's one moment, for they have no snapshots: {outside}"
            ));
        }
        let check = words::check(&self.link.what.user);
        let mut answer = Vec::new();
        let ended = self
            .link
            .pour(&check, self.link.stdin(String::new()), &mut answer)
            .await?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let faults = words::faults(&text);
        match ended.code {
            127 => {}
            0 if faults.is_empty() => said.push("every table checked by the server".to_owned()),
            _ => {
                let found = format!("{}\n{}", faults.join("\n"), ended.stderr);
                return Err(self.link.failed("the check of its tables found damage", &found));
            }
        }
        Ok(said)
    }

    async fn check_redis(&self, note: &DumpNote) -> Result<String> {
        let space = keyspace(&redis::info(&self.link, "keyspace").await?);
        let has: u64 = space.iter().map(|(_, keys, _)| keys).sum();
        let differs = |had: String| {
            self.link
                .failed(&format!("the dump has {had}, and {has} are there now"), "")
        };
        if let Some((read, expires, gone)) = self.keys {
            // What ended meanwhile is rightly gone.
            if has > read || has + expires.max(gone) < read {
                return Err(differs(count(read, "key")));
            }
        }
        let expires: u64 = note
            .facts
            .get(redis::EXPIRES)
            .and_then(|number| number.parse().ok())
            .unwrap_or_default();
        if let Some(noted) = note.facts.get(redis::KEYS) {
            let now: Vec<String> = space
                .iter()
                .map(|(name, keys, _)| format!("{name}={keys}"))
                .collect();
            if expires == 0 && *noted != now.join(",") {
                return Err(differs(format!("the keys {noted}")));
            }
        } else if self.keys.is_none() {
            return Ok(format!("{} loaded; compared with nothing", count(has, "key")));
        }
        Ok(match expires {
            0 => format!("{} counted and equal", count(has, "key")),
            _ => format!(
                "{} counted; of those in the dump {expires} may have expired",
                count(has, "key")
            ),
        })
    }

    async fn check_mongodb(&self, note: &DumpNote) -> Result<String> {
        let said = self.link.ask(&mongodb::count(&self.link.what.user)).await?;
        let rows = mongodb::counted(&said).ok_or_else(|| {
            self.link
                .failed("it does not say how many documents it has", &said)
        })?;
        if note.rows.is_empty() && !rows.is_empty() {
            return Ok(format!(
                "{} loaded; compared with nothing",
                count(rows.len() as u64, "collection")
            ));
        }
        same_rows(&self.link, "the dump", &note.rows, &rows)?;
        Ok(counted(&rows, "document"))
    }

    /// Stops it cleanly: what it leaves is a data directory that any server of its kind starts on.
    ///
    /// # Errors
    /// When it does not stop, or not cleanly. It is never killed.
    pub async fn end(&self) -> Result<()> {
        self.stop().await?;
        let (Kind::Postgres, Some(directory)) = (self.link.what.kind, &self.directory) else {
            return Ok(());
        };
        let below = Path::new(directory)
            .strip_prefix(self.data.target())
            .unwrap_or(Path::new(""));
        let request = Request::PgControl {
            dir: PathBuf::from(FROM).join(below),
        };
        let cx = self.link.cx;
        let job = HelperJob::new(&cx.run, &cx.project, request, vec![at_from(&self.data, true)]);
        match cx.engine.helper(job, &mut |_| {}).await? {
            Answer::PgControl(control) if is_clean_state(&control.state) => Ok(()),
            Answer::PgControl(control) => Err(self
                .link
                .failed(&format!("its control file says `{}`", control.state), "")),
            other => Err(Failure::bug(format!("a strange answer: {other:?}"))),
        }
    }

    async fn stop(&self) -> Result<()> {
        let engine = &self.link.cx.engine;
        let signal = self.link.what.kind.stop_signal();
        if !engine.stop(&self.link.id, signal, STOP_LIMIT, false).await? {
            return Err(self.link.failed("the throw-away server does not stop", ""));
        }
        match engine
            .find_container(self.link.id.as_str())
            .await?
            .map(|c| c.state)
        {
            Some(State::Exited(0)) => Ok(()),
            state => {
                let state = state.map_or_else(|| "gone".to_owned(), |state| state.to_string());
                let log = self.log().await;
                Err(self
                    .link
                    .failed(&format!("the throw-away server did not end well: {state}"), &log))
            }
        }
    }

    /// Removes it, running or not, and its own volume; never data that was given to it.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn remove(self) -> Result<()> {
        throw_away(self.link.cx, self.link.id.as_str(), self.volume.as_ref()).await
    }

    async fn wait(&self) -> Result<()> {
        let link = &self.link;
        let question = match link.what.kind {
            Kind::Postgres => is_ready(&link.what.user),
            Kind::Mysql => words::is_ready(&link.what.user),
            Kind::Redis => link.access.client(&["PING"]),
            Kind::Mongodb => mongodb::is_ready(&link.what.user),
            Kind::Sqlite => return Err(Failure::bug("SQLite has no server")),
        };
        let began = tokio::time::Instant::now();
        loop {
            link.cx.interrupt.check()?;
            let said = match link.try_ask(&question).await {
                Ok((0, _)) => return Ok(()),
                Ok((_, said)) => said,
                // While it ends nothing can be asked: its state says more.
                Err(failure) => failure.to_string(),
            };
            let container = link.cx.engine.find_container(link.id.as_str()).await?;
            let state = container.map(|c| c.state);
            if !state.is_some_and(State::is_up) {
                let how = state.map_or_else(|| "is gone".to_owned(), |s| format!("ended: {s}"));
                return Err(link.failed(&format!("the throw-away server {how}"), &self.log().await));
            }
            if began.elapsed() > START_LIMIT.min(LIMIT) {
                return Err(link.failed("the throw-away server does not answer", &said));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn log(&self) -> String {
        let lines = self.link.cx.engine.last_log_lines(&self.link.id, LOG_LINES).await;
        lines.unwrap_or_default().join("\n")
    }
}

async fn throw_away(cx: &Cx, container: &str, volume: Option<&VolumeName>) -> Result<()> {
    cx.engine.remove_twin(container).await?;
    match volume {
        Some(volume) => {
            cx.engine
                .remove_own_volume(volume, (LABEL_RUN, cx.run.as_str()))
                .await
        }
        None => Ok(()),
    }
}

/// Where the container has its data mounted; where its image keeps it, if it has none.
fn data_target(like: &Container, kind: Kind) -> String {
    let directory = match kind {
        Kind::Postgres => like.env("PGDATA").unwrap_or("/var/lib/postgresql/data"),
        Kind::Mysql => "/var/lib/mysql",
        Kind::Mongodb => "/data/db",
        Kind::Redis | Kind::Sqlite => "/data",
    };
    match like.mount_of(directory) {
        Some(mount) => mount.destination.clone(),
        None => directory.to_owned(),
    }
}

/// The same mount where helpers read.
pub(super) fn at_from(mount: &HelperMount, read_only: bool) -> HelperMount {
    let mut mount = mount.clone();
    let (HelperMount::Volume {
        target,
        read_only: how,
        ..
    }
    | HelperMount::Bind {
        target,
        read_only: how,
        ..
    }) = &mut mount;
    *target = FROM.to_owned();
    *how = read_only;
    mount
}

pub(super) fn counted(rows: &BTreeMap<String, u64>, what: &str) -> String {
    let tables = if what == "row" { "table" } else { "collection" };
    format!(
        "{} in {} counted and equal",
        count(rows.values().sum::<u64>(), what),
        count(rows.len() as u64, tables)
    )
}

pub(super) fn same_rows(
    link: &Link<'_>,
    what: &str,
    were: &BTreeMap<String, u64>,
    are: &BTreeMap<String, u64>,
) -> Result<()> {
    let differences = differences(were, are);
    if differences.is_empty() {
        return Ok(());
    }
    let some: Vec<String> = differences.iter().take(DIFFERENCES).cloned().collect();
    Err(link
        .failed(
            &format!("what was loaded is not what {what} had"),
            &some.join("; "),
        )
        .cause(format!(
            "{} in all",
            count(differences.len() as u64, "difference")
        )))
}

/// Where two counts differ, in words.
pub(super) fn differences(were: &BTreeMap<String, u64>, are: &BTreeMap<String, u64>) -> Vec<String> {
    let words = |rows: Option<&u64>| rows.map_or_else(|| "no table".to_owned(), |rows| count(*rows, "row"));
    let mut names: Vec<&String> = were.keys().chain(are.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| were.get(*name) != are.get(*name))
        .map(|name| format!("{name}: {}, now {}", words(were.get(name)), words(are.get(name))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_table_and_a_missing_row_are_differences() {
        let rows = |all: &[(&str, u64)]| all.iter().map(|(n, r)| ((*n).to_owned(), *r)).collect();
        let were: BTreeMap<String, u64> = rows(&[("a", 1), ("b", 0), ("c", 3)]);
        assert_eq!(differences(&were, &were), Vec::<String>::new());
        assert_eq!(
            differences(&were, &rows(&[("a", 2), ("c", 3), ("d", 0)])),
            [
                "a: 1 row, now 2 rows",
                "b: 0 rows, now no table",
                "d: no table, now 0 rows"
            ]
        );
    }
}
