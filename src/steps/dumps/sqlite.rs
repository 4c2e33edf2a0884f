//! A database without a server: a helper copies it by SQLite's own online backup, while its service goes on.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;

use super::twin::{at_from, differences};
use crate::backup::format::DumpNote;
use crate::datastore::Kind;
use crate::engine::{HelperJob, HelperMount, LABEL_RUN};
use crate::helper::protocol::{Answer, Request, SqliteLoad, SqliteReport};
use crate::model::Kind::Interrupted;
use crate::model::{Failure, Owner, Result, ServiceName, VolumeKey, VolumeName, count};
use crate::steps::{Cx, FROM, STATE};

/// The names of facts: whose the file is, and its mode.
const OWNER: &str = "owner";
const MODE: &str = "mode";
/// The mode of a file of which none is known.
const USUAL: u32 = 0o644;
/// A file in a throw-away volume.
const TRIED: &str = "tried.sqlite";

/// A database in a file of a volume.
#[derive(Debug, Clone)]
pub struct SqliteFile {
    /// The volume.
    pub volume: VolumeKey,
    /// How a helper reaches it; its target does not matter.
    pub mount: HelperMount,
    /// The file, relative to the volume's root, as the helper's scan names it.
    pub path: String,
    /// Whose it is, if that is known.
    pub service: Option<ServiceName>,
}

impl SqliteFile {
    /// Dumps it as a stream: what has been committed, also what is only in its log yet. Its service goes on; a rollback
    /// journal's writers wait for moments, a write-ahead log's for nothing.
    ///
    /// # Errors
    /// When it cannot be read, stays locked, or is damaged, or `to` cannot be written.
    pub async fn dump(&self, cx: &Cx, to: &mut (dyn Write + Send)) -> Result<DumpNote> {
        let path = self.file()?;
        let scratch = make_scratch(cx, &self.name()).await?;
        let request = Request::SqliteCopy {
            dir: FROM.into(),
            path,
            scratch: STATE.into(),
        };
        let state = HelperMount::Volume {
            name: scratch.clone(),
            target: STATE.to_owned(),
            read_only: false,
        };
        let job = HelperJob::new(
            &cx.run,
            &cx.project,
            request,
            vec![at_from(&self.mount, true), state],
        );
        let copied = tokio::select! {
            biased;
            () = cx.interrupt.raised() => Err(Failure::interrupted("interrupted")),
            copied = cx.engine.sqlite_copy(&job, to) => copied,
        };
        gave_up(cx, copied.as_ref().err()).await?;
        let removed = remove_scratch(cx, &scratch).await;
        let copy =
            copied.map_err(|failure| failure.inside(format!("no dump of the SQLite {}", self.name())))?;
        removed?;
        for note in copy.notes {
            cx.events.warn(note);
        }
        let mut facts = copy.report.facts;
        if let Some(owner) = copy.report.owner {
            facts.insert(OWNER.to_owned(), owner.to_string());
        }
        facts.insert(MODE.to_owned(), format!("{:o}", copy.report.mode));
        Ok(DumpNote {
            service: self.service.clone(),
            volume: Some(self.volume.clone()),
            at: self.path.clone(),
            kind: Kind::Sqlite,
            database: None,
            version: None,
            rows: copy.report.rows,
            facts,
        })
    }

    /// Puts a dump in its place, with the owner and mode that the file had, once all of it was there, was checked, and has
    /// the rows that were noted. Nobody may have it open. Says what was compared.
    ///
    /// # Errors
    /// When it is damaged or another one than was noted, or cannot be written; then the file is as it was.
    pub async fn load(&self, cx: &Cx, note: &DumpNote, from: Box<dyn Read + Send>) -> Result<Vec<String>> {
        put(cx, &at_from(&self.mount, false), &self.file()?, note, from)
            .await
            .and_then(|report| self.same(note, &report))
            .map_err(|failure| failure.inside(format!("the SQLite {} could not be restored", self.name())))
    }

    /// The same in a throw-away volume.
    ///
    /// # Errors
    /// As [`SqliteFile::load`].
    pub async fn drill(&self, cx: &Cx, note: &DumpNote, from: Box<dyn Read + Send>) -> Result<Vec<String>> {
        let scratch = make_scratch(cx, &format!("{}-drill", self.name())).await?;
        let mount = HelperMount::Volume {
            name: scratch.clone(),
            target: FROM.to_owned(),
            read_only: false,
        };
        let loaded = put(cx, &mount, &PathBuf::from(TRIED), note, from).await;
        let removed = remove_scratch(cx, &scratch).await;
        let said = loaded
            .and_then(|report| self.same(note, &report))
            .map_err(|failure| failure.inside(format!("the SQLite {} could not be restored", self.name())))?;
        removed.map(|()| said)
    }

    /// Checks it where it is, by SQLite's own check, and compares it with what was noted. Nobody may have it open.
    ///
    /// # Errors
    /// When it is damaged, or another one.
    pub async fn check(&self, cx: &Cx, note: &DumpNote) -> Result<Vec<String>> {
        let request = Request::SqliteCheck {
            dir: FROM.into(),
            path: self.file()?,
        };
        let job = HelperJob::new(&cx.run, &cx.project, request, vec![at_from(&self.mount, false)]);
        match cx.engine.helper(job, &mut |_| {}).await? {
            Answer::Sqlite(report) => self.same(note, &report),
            other => Err(Failure::bug(format!("a strange answer: {other:?}"))),
        }
    }

    fn same(&self, note: &DumpNote, report: &SqliteReport) -> Result<Vec<String>> {
        let differences = differences(&note.rows, &report.rows);
        if let Some(first) = differences.first().filter(|_| is_noted(note)) {
            return Err(Failure::environment(format!(
                "what was loaded is not what the dump of {} had",
                self.name()
            ))
            .cause(first.clone()));
        }
        let rows = count(report.rows.values().sum::<u64>(), "row");
        let tables = count(report.rows.len() as u64, "table");
        let mut said = vec![format!(
            "{}: every page checked by SQLite, {rows} in {tables} counted{}",
            self.name(),
            if is_noted(note) {
                " and equal"
            } else {
                "; compared with nothing"
            }
        )];
        match report.facts.get("foreign keys broken").map(String::as_str) {
            None | Some("0") => {}
            Some(broken) => said.push(format!("{}: foreign keys broken: {broken}", self.name())),
        }
        Ok(said)
    }

    fn name(&self) -> String {
        format!("{} in volume {}", self.path, self.volume)
    }

    fn file(&self) -> Result<PathBuf> {
        // A scan writes what is not plain text so, and then the name is not known.
        match self.path.is_empty() || self.path.contains("\\x") {
            true => Err(Failure::refused(format!(
                "the name of the SQLite {} is not plain text",
                self.name()
            ))
            .hint("rename the file, or have its volume archived with its services stopped")),
            false => Ok(PathBuf::from(&self.path)),
        }
    }
}

async fn put(
    cx: &Cx,
    mount: &HelperMount,
    path: &std::path::Path,
    note: &DumpNote,
    from: Box<dyn Read + Send>,
) -> Result<SqliteReport> {
    let owner = |text: &String| text.parse::<Owner>().ok();
    let mode = |text: &String| u32::from_str_radix(text, 8).ok();
    let request = Request::SqliteLoad(SqliteLoad {
        dir: FROM.into(),
        path: path.to_owned(),
        owner: note.facts.get(OWNER).and_then(owner),
        mode: note.facts.get(MODE).and_then(mode).unwrap_or(USUAL),
        rows: is_noted(note).then(|| SqliteReport::hash(&note.rows)),
    });
    let job = HelperJob::new(&cx.run, &cx.project, request, vec![mount.clone()]);
    let loaded = tokio::select! {
        biased;
        () = cx.interrupt.raised() => Err(Failure::interrupted("interrupted")),
        loaded = cx.engine.sqlite_load(&job, from) => loaded,
    };
    gave_up(cx, loaded.as_ref().err()).await?;
    loaded
}

/// A helper that nobody waits for any more is removed.
async fn gave_up(cx: &Cx, failure: Option<&Failure>) -> Result<()> {
    match failure {
        Some(failure) if failure.kind == Interrupted => cx.engine.remove_helpers(&cx.run).await.map(|_| ()),
        _ => Ok(()),
    }
}

/// A volume for the copy of a database: it may be large, and memory is not.
async fn make_scratch(cx: &Cx, of: &str) -> Result<VolumeName> {
    let hash = blake3::hash(of.as_bytes()).to_hex();
    let name = VolumeName::new(format!("rehome_sqlite_{}_{}", cx.run, &hash.as_str()[..8]))
        .map_err(|e| Failure::bug("a run id that is no name").because(&e))?;
    remove_scratch(cx, &name).await?;
    cx.engine.make_twin_volume(&name, &cx.run, &cx.project).await?;
    Ok(name)
}

async fn remove_scratch(cx: &Cx, name: &VolumeName) -> Result<()> {
    cx.engine
        .remove_own_volume(name, (LABEL_RUN, cx.run.as_str()))
        .await
}

/// Whether it is known what a dump has.
fn is_noted(note: &DumpNote) -> bool {
    !note.facts.is_empty()
}

/// Of a database that Rehome did not dump nothing was noted.
#[must_use]
pub fn unknown(volume: &VolumeKey, path: &str) -> DumpNote {
    DumpNote {
        service: None,
        volume: Some(volume.clone()),
        at: path.to_owned(),
        kind: Kind::Sqlite,
        database: None,
        version: None,
        rows: BTreeMap::new(),
        facts: BTreeMap::new(),
    }
}
