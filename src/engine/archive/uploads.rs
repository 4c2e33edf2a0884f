//! Files of a volume and objects of a bucket: the helper speaks with the storage, and what it needs for that goes through its
//! stdin, where neither the engine nor a list of processes shows it.

use bollard::container::LogOutput;
use tokio::io::AsyncWriteExt as _;

use super::{Lines, of_stream};
use crate::engine::{Engine, HelperJob};
use crate::helper::frames::{LONGEST, head};
use crate::helper::protocol::{Answer, Line, Request, Spent, UploadsAnswer};
use crate::model::{Failure, Result};
use crate::s3::Access;

impl Engine {
    /// Runs [`Request::Uploads`] with the access to the storage. Lines of progress and notes go to `on_line`, what it took
    /// into `spent`, also when it failed; of a helper that is killed nobody knows.
    ///
    /// # Errors
    /// When it could not be done; when the helper is killed, or its engine goes away.
    pub async fn uploads(
        &self,
        job: HelperJob,
        (access, spent): (&Access, &mut Spent),
        on_line: &mut (dyn FnMut(Line) + Send),
    ) -> Result<UploadsAnswer> {
        if !matches!(job.request, Request::Uploads(_)) {
            return Err(Failure::bug("this is no request for uploads"));
        }
        let secret = access.to_wire()?;
        let (done, took) = self
            .with_stream(&job, async |id| self.take_uploads(id, &secret, on_line).await)
            .await?;
        *spent = took;
        match done {
            UploadsAnswer::Failed(failure) => Err(failure),
            done => Ok(done),
        }
    }

    async fn take_uploads(
        &self,
        id: &str,
        secret: &[u8],
        on_line: &mut (dyn FnMut(Line) + Send),
    ) -> Result<(UploadsAnswer, Spent)> {
        let mut attached = self.attach_and_start(id, "cannot start the helper", true).await?;
        let give = async {
            for piece in secret.chunks(LONGEST) {
                attached.input.write_all(&head(piece.len())).await?;
                attached.input.write_all(piece).await?;
            }
            attached.input.write_all(&head(0)).await?;
            attached.input.flush().await
        };
        let given = give.await;
        let mut lines = Lines::default();
        loop {
            match self.next(id, &mut attached.output).await? {
                Some(LogOutput::StdOut { message } | LogOutput::Console { message }) => {
                    lines.take(&message, on_line);
                }
                Some(LogOutput::StdErr { message }) => lines.other(&message),
                Some(LogOutput::StdIn { .. }) => {}
                None => {
                    let failure = self.ended(id, &lines).await;
                    // A helper that is gone cannot be told anything either: why it went says more.
                    return Err(match given {
                        Ok(()) => failure,
                        Err(error) => {
                            failure.cause(of_stream("it was not told how to reach the storage", error).what)
                        }
                    });
                }
            }
            let answer = lines.answer(|answer| match answer {
                Answer::Uploads(ended) => Some((ended.outcome, ended.spent)),
                _ => None,
            })?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
    }
}
