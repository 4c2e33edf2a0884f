//! A volume as a stream of bytes, and a stream of bytes as a volume, through a helper.
//!
//! The archive and the lines about it come over one connection in an order of the engine's choosing, and a busy engine
//! may lose what a container says in its last moment (seen with 20.10 and 28.5). So the helper says how long the archive
//! is, it does not end before it is let go, and nothing is complete before both have come.

mod snapshot;
mod uploads;

use std::io::{ErrorKind, Read, Write};
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, WaitContainerOptions};
use futures_util::StreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::block_in_place;

use super::helper::{END_LIMIT, HelperJob, LINE_LIMIT, STDERR_LIMIT, parse, told};
use super::{Engine, failed, is_missing};
use crate::helper::frames;
use crate::helper::protocol::{Answer, ArchiveReport, Line, Request, UnarchiveReport};
use crate::model::{Failure, Result, Span};

/// A helper tells several times a second how far it is, whatever it waits for. One that says nothing for so long, or its
/// engine, is no more.
const SILENCE: Duration = Duration::from_secs(120);
/// After so long without a word it is asked whether the helper still runs.
const DOUBT: Duration = Duration::from_secs(5);

pub use snapshot::Snapshotted;

/// What went into an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archived {
    /// Entries, the root directory and further names included.
    pub entries: u64,
    /// Bytes of its files' content, holes included.
    pub bytes: u64,
    /// Bytes of the archive, all of which were written.
    pub tar_bytes: u64,
    /// One figure for all entries; equal to that of [`Unarchived`] if all of them came back as they were.
    pub tree: String,
    /// What could not be archived as it was, in words: at most 20, then a count.
    pub notes: Vec<String>,
}

/// What came out of an archive, and was found on the disk as the archive has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unarchived {
    /// Entries, the root directory and further names included.
    pub entries: u64,
    /// Bytes of its files' content, holes included.
    pub bytes: u64,
    /// One figure for all entries.
    pub tree: String,
    /// What was worth a word.
    pub notes: Vec<String>,
}

impl Engine {
    /// Runs [`Request::Archive`] and writes the archive to `to` as it comes. Lines of progress and notes go to `on_line`.
    ///
    /// Writing blocks, so the runtime must have several threads.
    ///
    /// # Errors
    /// When `to` fails: that failure, as it is. When the helper fails, is killed, or its engine goes away; and when fewer
    /// or more bytes came than it sent. What was written until then is not an archive.
    pub async fn archive(
        &self,
        job: HelperJob,
        to: &mut (dyn Write + Send),
        on_line: &mut (dyn FnMut(Line) + Send),
    ) -> Result<Archived> {
        if !matches!(job.request, Request::Archive { .. }) {
            return Err(Failure::bug("this is no request for an archive"));
        }
        self.with_stream(&job, async |id| self.take_archive(id, to, on_line).await)
            .await
    }

    /// Runs [`Request::Unarchive`] on what `from` has, which is read to its end. Lines go to `on_line`.
    ///
    /// Reading blocks, so the runtime must have several threads.
    ///
    /// # Errors
    /// When `from` fails: that failure, as it is. When the archive is refused, the disk is full, or what is on it
    /// afterwards is not what the archive says; when the helper is killed, or its engine goes away. What was unpacked
    /// until then is still there.
    pub async fn unarchive(
        &self,
        job: HelperJob,
        from: Box<dyn Read + Send>,
        on_line: &mut (dyn FnMut(Line) + Send),
    ) -> Result<Unarchived> {
        if !matches!(job.request, Request::Unarchive { .. }) {
            return Err(Failure::bug("this is no request to unpack an archive"));
        }
        self.with_stream(&job, async |id| self.give_archive(id, from, on_line).await)
            .await
    }

    /// Makes a helper whose stdin is open, works with it, and removes it, whatever came of that.
    async fn with_stream<T>(&self, job: &HelperJob, work: impl AsyncFnOnce(&str) -> Result<T>) -> Result<T> {
        let body = ContainerCreateBody {
            open_stdin: Some(true),
            // When we are gone, it hears of it.
            stdin_once: Some(true),
            attach_stdin: Some(true),
            ..self.checked_body(job).await?
        };
        let made = self
            .docker
            .create_container(Some(CreateContainerOptionsBuilder::new().build()), body)
            .await
            .map_err(failed("cannot make the helper container"))?;
        let worked = work(&made.id).await;
        let removed = self.remove_container(&made.id).await;
        let worked = worked?;
        removed.map(|()| worked)
    }

    async fn take_archive(
        &self,
        id: &str,
        to: &mut (dyn Write + Send),
        on_line: &mut (dyn FnMut(Line) + Send),
    ) -> Result<Archived> {
        let mut attached = self.attach_and_start(id, "cannot start the helper", true).await?;
        let mut lines = Lines::default();
        let mut came = 0;
        loop {
            match self.next(id, &mut attached.output).await? {
                Some(LogOutput::StdOut { message }) => {
                    came += message.len() as u64;
                    block_in_place(|| to.write_all(&message))
                        .map_err(|e| of_stream("cannot write the archive of the volume", e))?;
                }
                Some(LogOutput::StdErr { message }) => lines.take(&message, on_line),
                // The engine closed the connection in the middle of what it had to say.
                Some(LogOutput::Console { .. }) => {}
                Some(LogOutput::StdIn { .. }) => {}
                None => return Err(self.ended(id, &lines).await),
            }
            let Some(answer) = lines.answer(|answer| match answer {
                Answer::Archive(report) => Some(report),
                _ => None,
            })?
            else {
                continue;
            };
            // What it wrote before its last line may come after it.
            let ArchiveReport {
                entries,
                bytes,
                tar_bytes,
                tree,
                sockets: _,
            } = answer;
            if came > tar_bytes {
                return Err(miscounted(came, tar_bytes));
            }
            if came == tar_bytes {
                return Ok(Archived {
                    entries,
                    bytes,
                    tar_bytes,
                    tree,
                    notes: lines.notes,
                });
            }
        }
    }

    async fn give_archive(
        &self,
        id: &str,
        from: Box<dyn Read + Send>,
        on_line: &mut (dyn FnMut(Line) + Send),
    ) -> Result<Unarchived> {
        let mut attached = self.attach_and_start(id, "cannot start the helper", true).await?;
        let mut lines = Lines::default();
        let mut input = attached.input;
        let output = &mut attached.output;
        let given = async {
            give(from, &mut input).await?;
            // From here on it is the helper's turn; its stdin stays open until it has answered.
            std::future::pending::<Result<UnarchiveReport>>().await
        };
        let taken = async {
            loop {
                match self.next(id, output).await? {
                    Some(LogOutput::StdOut { message }) => lines.take(&message, on_line),
                    Some(LogOutput::StdErr { message }) => lines.other(&message),
                    Some(LogOutput::Console { .. } | LogOutput::StdIn { .. }) => {}
                    None => return Err(self.ended(id, &lines).await),
                }
                let answer = lines.answer(|answer| match answer {
                    Answer::Unarchive(report) => Some(report),
                    _ => None,
                })?;
                if let Some(report) = answer {
                    return Ok(report);
                }
            }
        };
        // Whoever comes to an end first: a failure of `from`, or what the helper says. It does not answer before it was
        // told that `from` came to its end.
        let UnarchiveReport { entries, bytes, tree } = tokio::select! {
            biased;
            ended = given => ended?,
            ended = taken => ended?,
        };
        Ok(Unarchived {
            entries,
            bytes,
            tree,
            notes: lines.notes,
        })
    }

    /// What comes next; `None` at the end. Engines are known that keep the connection of a container open whose stdin is
    /// attached when that was killed (20.10), so after a while without a word it is looked after.
    async fn next(&self, id: &str, output: &mut Output) -> Result<Option<LogOutput>> {
        let began = tokio::time::Instant::now();
        loop {
            if let Ok(chunk) = tokio::time::timeout(DOUBT, output.next()).await {
                return chunk
                    .transpose()
                    .map_err(failed("lost the connection to the helper"));
            }
            let asked = tokio::time::timeout(DOUBT, self.docker.inspect_container(id, None)).await;
            let ended = match asked {
                Ok(Ok(found)) => found.state.is_some_and(|state| state.running == Some(false)),
                Ok(Err(error)) => is_missing(&error),
                Err(_) => false,
            };
            if ended {
                return Ok(None);
            }
            if began.elapsed() > SILENCE {
                let because = format!("nothing came from it within {}", Span(SILENCE));
                return Err(Failure::environment("lost the connection to the helper").cause(because));
            }
        }
    }

    /// Why a helper ended that had more to say.
    async fn ended(&self, id: &str, lines: &Lines) -> Failure {
        // The connection may be closed before the engine knows how it ended.
        let mut waits = self.docker.wait_container(id, None::<WaitContainerOptions>);
        let waited = tokio::time::timeout(END_LIMIT, waits.next()).await;
        drop(waited);
        match self.silent_end(id, &lines.rest()).await {
            Err(failure) => failure,
            Ok(()) => Failure::environment("the engine does not hand on what the helper says")
                .cause("it ended well, and not everything that it wrote came"),
        }
    }
}

/// Sends everything that is read in frames, and that it was everything.
async fn give(mut from: Box<dyn Read + Send>, to: &mut Pin<Box<dyn AsyncWrite + Send>>) -> Result<()> {
    let mut room = vec![0; 4 + frames::LONGEST];
    loop {
        let len = block_in_place(|| read_some(&mut *from, &mut room[4..]))
            .map_err(|e| of_stream("cannot read the archive", e))?;
        room[..4].copy_from_slice(&frames::head(len));
        let sent = async {
            to.write_all(&room[..4 + len]).await?;
            to.flush().await
        };
        if sent.await.is_err() {
            // The helper hung up: why, its own last line or its end says.
            return std::future::pending().await;
        }
        if len == 0 {
            return Ok(());
        }
    }
}

fn read_some(from: &mut dyn Read, room: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match from.read(room) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// An error of what the caller reads or writes; one that is in our own words already is told in them.
fn of_stream(what: &str, error: std::io::Error) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => failure,
        Err(error) => Failure::environment(what).because(&error),
    }
}

fn miscounted(came: u64, sent: u64) -> Failure {
    Failure::environment("the archive of the volume did not arrive as it was sent").cause(format!(
        "the helper wrote {sent} bytes, and the engine handed on {came}"
    ))
}

type Output = Pin<Box<dyn futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// The lines of a helper, from whichever stream they come.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    /// What it wrote that is no line of ours: why it fell over.
    other: Vec<u8>,
    notes: Vec<String>,
    last: Option<Line>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], on_line: &mut (dyn FnMut(Line) + Send)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if !self.line.ends_with(b"\n") && self.line.len() <= LINE_LIMIT {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            match parse(&line) {
                Ok(last @ (Line::Answer(_) | Line::Failed { .. })) => self.last = Some(last),
                Ok(told) => {
                    if let Line::Note { text } = &told {
                        self.notes.push(text.clone());
                    }
                    on_line(told);
                }
                Err(_) => self.other(&line),
            }
        }
    }

    fn other(&mut self, bytes: &[u8]) {
        let room = STDERR_LIMIT.saturating_sub(self.other.len());
        self.other.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn rest(&self) -> String {
        String::from_utf8_lossy(&self.other).into_owned()
    }

    /// The answer, if it came.
    fn answer<T>(&self, of: impl FnOnce(Answer) -> Option<T>) -> Result<Option<T>> {
        match &self.last {
            None => Ok(None),
            Some(Line::Failed { what, because, class }) => Err(told(what.clone(), because.clone(), *class)),
            Some(Line::Answer(answer)) => match of(answer.clone()) {
                Some(report) => Ok(Some(report)),
                None => Err(Failure::bug(format!(
                    "the helper said something else: {answer:?}"
                ))),
            },
            Some(other) => Err(Failure::bug(format!("the helper said something else: {other:?}"))),
        }
    }
}
