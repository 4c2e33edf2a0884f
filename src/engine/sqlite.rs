//! SQLite databases through a helper: bytes that follow its answer, and bytes that it is given.

use std::io::{Read, Write};

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::helper::{HelperJob, HelperMount, parse, told};
use super::{Engine, failed};
use crate::helper::protocol::{Answer, FailClass, Line, SqliteReport};
use crate::model::{Failure, Result};

/// So much is sent at once.
const PIECE: usize = 1 << 20;
/// A line of the helper is never longer.
const LINE: usize = 4 << 20;

/// A copy of an SQLite database that came through whole.
#[derive(Debug, Clone, PartialEq)]
pub struct SqliteCopy {
    /// What is known of it.
    pub report: SqliteReport,
    /// What is worth a line.
    pub notes: Vec<String>,
}

impl Engine {
    /// Has a helper copy a database (`Request::SqliteCopy`), and writes the copy to `to`. The database is mounted
    /// read-only, unless SQLite has to write beside it to read it: a log that nobody has open is such a case.
    ///
    /// # Errors
    /// When the helper fails, or the copy does not come through as it was made.
    pub async fn sqlite_copy(&self, job: &HelperJob, to: &mut (dyn Write + Send)) -> Result<SqliteCopy> {
        match self.sqlite_copied(job, to).await? {
            Ok(copy) => Ok(copy),
            Err(_) => {
                let mut job = job.clone();
                for mount in &mut job.mounts {
                    let (HelperMount::Volume { read_only, .. } | HelperMount::Bind { read_only, .. }) = mount;
                    *read_only = false;
                }
                self.sqlite_copied(&job, to).await?
            }
        }
    }

    /// The inner failure is that it cannot be read without the right to write.
    async fn sqlite_copied(
        &self,
        job: &HelperJob,
        to: &mut (dyn Write + Send),
    ) -> Result<Result<SqliteCopy>> {
        self.with_sqlite(job, async |attached| {
            let mut answer = Answering::default();
            let (mut left, mut hasher) = (None, blake3::Hasher::new());
            let mut take = |bytes: &[u8], left: &mut u64| -> Result<()> {
                let bytes = bytes
                    .get(..(*left).min(bytes.len() as u64) as usize)
                    .unwrap_or(bytes);
                *left -= bytes.len() as u64;
                hasher.update(bytes);
                tokio::task::block_in_place(|| to.write_all(bytes))
                    .map_err(|e| Failure::environment("cannot write the copy of the database").because(&e))
            };
            while left != Some(0) {
                let Some(bytes) = answer.more(&mut attached.output).await? else {
                    return Err(answer.silent());
                };
                match &mut left {
                    Some(left) => take(&bytes, left)?,
                    None => match answer.take(&bytes) {
                        Ok(Some(rest)) => {
                            let mut all = answer.report()?.bytes;
                            take(&rest, &mut all)?;
                            left = Some(all);
                        }
                        Ok(None) => {}
                        Err(failure) if answer.class == Some(FailClass::ReadOnly) => return Ok(Err(failure)),
                        Err(failure) => return Err(failure),
                    },
                }
            }
            let report = answer.report()?.clone();
            if hasher.finalize().to_hex().as_str() != report.blake3 {
                return Err(Failure::environment(
                    "the copy of the database did not come through as it was made",
                ));
            }
            Ok(Ok(SqliteCopy {
                report,
                notes: answer.notes,
            }))
        })
        .await
    }

    /// Gives a helper a database (`Request::SqliteLoad`), to its end.
    ///
    /// # Errors
    /// When it cannot be read to its end, or the helper fails; then nothing was put in place.
    pub async fn sqlite_load(&self, job: &HelperJob, mut from: Box<dyn Read + Send>) -> Result<SqliteReport> {
        self.with_sqlite(job, async |attached| {
            let mut piece = vec![0; PIECE];
            loop {
                let read = tokio::task::block_in_place(|| from.read(&mut piece))
                    .map_err(|e| Failure::environment("cannot read what is to be restored").because(&e))?;
                // The empty piece says that this was all. Without it the helper puts nothing in place.
                let length = u32::try_from(read).unwrap_or_default().to_be_bytes();
                let mut sent = attached.input.write_all(&length).await;
                if sent.is_ok() {
                    sent = attached.input.write_all(&piece[..read]).await;
                }
                // It says itself why it does not listen any more.
                if read == 0 || sent.is_err() {
                    break;
                }
            }
            attached.input.flush().await.ok();
            let mut answer = Answering::default();
            while let Some(bytes) = answer.more(&mut attached.output).await? {
                if answer.take(&bytes)?.is_some() {
                    return answer.report().cloned();
                }
            }
            Err(answer.silent())
        })
        .await
    }

    /// Runs a helper that has a stdin, and removes it.
    async fn with_sqlite<T>(
        &self,
        job: &HelperJob,
        drive: impl AsyncFnOnce(&mut AttachContainerResults) -> Result<T>,
    ) -> Result<T> {
        let image = self.helper_image().await?;
        self.volumes_exist(&job.mounts).await?;
        let request = serde_json::to_string(&job.request)
            .map_err(|e| Failure::bug("a request cannot be written").because(&e))?;
        let mut body = self.body(job, image, request);
        body.open_stdin = Some(true);
        body.stdin_once = Some(true);
        body.attach_stdin = Some(true);
        let made = self
            .docker
            .create_container(Some(CreateContainerOptionsBuilder::new().build()), body)
            .await
            .map_err(failed("cannot make the helper container"))?;
        let driven = async {
            let mut attached = self
                .attach_and_start(&made.id, "cannot start the helper", true)
                .await?;
            drive(&mut attached).await
        };
        let driven = driven.await;
        let removed = self.remove_container(&made.id).await;
        let result = driven?;
        removed.map(|()| result)
    }
}

/// What a helper says up to its answer.
#[derive(Default)]
struct Answering {
    line: Vec<u8>,
    stderr: String,
    notes: Vec<String>,
    report: Option<SqliteReport>,
    class: Option<FailClass>,
}

type Output<'a> =
    &'a mut (dyn futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + Unpin);

impl Answering {
    /// What it says next; nothing at its end.
    async fn more(&mut self, output: Output<'_>) -> Result<Option<Vec<u8>>> {
        while let Some(chunk) = output.next().await {
            match chunk.map_err(failed("lost the connection to the helper"))? {
                LogOutput::StdErr { message } => {
                    if self.stderr.len() < LINE {
                        self.stderr.push_str(&String::from_utf8_lossy(&message));
                    }
                }
                other => return Ok(Some(other.into_bytes().to_vec())),
            }
        }
        Ok(None)
    }

    /// Takes what was said; what follows the answer, once that is there.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|b| *b == b'\n') {
            let rest = self.line.split_off(end + 1);
            match parse(&self.line)? {
                Line::Progress { .. } | Line::Turn { .. } => {}
                Line::Note { text } => self.notes.push(text),
                Line::Answer(Answer::Sqlite(report)) => {
                    self.report = Some(report);
                    return Ok(Some(rest));
                }
                Line::Failed { what, because, class } => {
                    self.class = Some(class);
                    return Err(told(what, because, class));
                }
                Line::Answer(other) => {
                    return Err(Failure::bug(format!(
                        "the helper answered something else: {other:?}"
                    )));
                }
            }
            self.line = rest;
        }
        match self.line.len() > LINE {
            true => Err(Failure::bug("the helper wrote a line without end")),
            false => Ok(None),
        }
    }

    fn report(&self) -> Result<&SqliteReport> {
        self.report
            .as_ref()
            .ok_or_else(|| Failure::bug("an answer that is none"))
    }

    fn silent(&self) -> Failure {
        let failure = Failure::environment("the helper ended before its work was done");
        match self.stderr.trim() {
            "" => failure,
            said => failure.cause(said),
        }
    }
}
