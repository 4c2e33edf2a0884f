//! A volume as a snapshot in a repository: the helper reads, cuts and encrypts, and what it needs of the repository, or has
//! for it, goes through here.

use bollard::container::LogOutput;
use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::task::block_in_place;

use super::{Lines, of_stream};
use crate::engine::{Engine, HelperJob};
use crate::helper::protocol::{Answer, Line, Request, SnapshotReport};
use crate::helper::remote::{Ask, Incoming, Reply, message, parted};
use crate::model::{Failure, Result};

/// A snapshot that was added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshotted {
    /// What is in it.
    pub report: SnapshotReport,
    /// What could not be taken as it was, in words: at most 20, then a count.
    pub notes: Vec<String>,
}

impl Engine {
    /// Runs [`Request::Snapshot`]. What the helper asks for, `serve` does and answers. Lines of progress and notes go to
    /// `on_line`.
    ///
    /// Serving blocks, so the runtime must have several threads.
    ///
    /// # Errors
    /// When `serve` fails: that failure, as it is. When the helper fails, is killed, or its engine goes away. Then there is
    /// no snapshot; files that were written for it may be there.
    pub async fn snapshot(
        &self,
        job: HelperJob,
        serve: &mut (dyn FnMut(Ask, Bytes) -> Result<Vec<u8>> + Send),
        on_line: &mut (dyn FnMut(Line) + Send),
    ) -> Result<Snapshotted> {
        if !matches!(job.request, Request::Snapshot(_)) {
            return Err(Failure::bug("this is no request for a snapshot"));
        }
        let mut failed = None;
        let taken = self
            .with_stream(&job, async |id| {
                self.take_snapshot(id, serve, on_line, &mut failed).await
            })
            .await;
        // What the helper says of it are the same words, once more.
        match failed {
            Some(failure) => Err(failure),
            None => taken,
        }
    }

    async fn take_snapshot(
        &self,
        id: &str,
        serve: &mut (dyn FnMut(Ask, Bytes) -> Result<Vec<u8>> + Send),
        on_line: &mut (dyn FnMut(Line) + Send),
        failed: &mut Option<Failure>,
    ) -> Result<Snapshotted> {
        let mut attached = self.attach_and_start(id, "cannot start the helper", true).await?;
        let broken = |e| of_stream("lost the connection to the helper", e);
        let (mut lines, mut incoming) = (Lines::default(), Incoming::default());
        loop {
            match self.next(id, &mut attached.output).await? {
                Some(LogOutput::StdOut { message: piece }) => {
                    let Some(content) = incoming.take(&piece).map_err(broken)? else {
                        continue;
                    };
                    let (ask, body) = parted(content).map_err(broken)?;
                    let answer = match block_in_place(|| serve(ask, body)) {
                        Ok(bytes) => message(&Reply::Done, &[&bytes]),
                        Err(failure) => {
                            let why = failure.to_string();
                            failed.get_or_insert(failure);
                            message(&Reply::Failed { why }, &[])
                        }
                    };
                    let answer = answer.map_err(broken)?;
                    let sent = async {
                        attached.input.write_all(&answer).await?;
                        attached.input.flush().await
                    };
                    sent.await.map_err(broken)?;
                }
                Some(LogOutput::StdErr { message }) => lines.take(&message, on_line),
                Some(LogOutput::Console { .. } | LogOutput::StdIn { .. }) => {}
                None => return Err(self.ended(id, &lines).await),
            }
            let answer = lines.answer(|answer| match answer {
                Answer::Snapshot(report) => Some(report),
                _ => None,
            })?;
            if let Some(report) = answer {
                let notes = lines.notes;
                return Ok(Snapshotted { report, notes });
            }
        }
    }
}
