//! Copies while the stack runs, in rounds, until little is left for the time when it stands still.

use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::{CopyProof, Copying, Moving};
use super::world::{Ask, Cx, wrong_answer};
use crate::engine::Pace;
use crate::helper::protocol::{Answer, CopyReport, CopyRequest, Request};
use crate::model::{ByteSize, Failure, Result, Span, VolumeKey, count};
use crate::saga::Step;

/// More rounds than this do not help.
const MOST_ROUNDS: usize = 6;
/// A round this short is what the stack will be stopped for: good enough.
pub(super) const SHORT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PreCopy {
    /// The volumes that are copied.
    pub volumes: Vec<Moving>,
    /// How.
    pub copying: Copying,
    /// Give up when the copying during the downtime would take longer.
    pub max_downtime: Option<Duration>,
}

impl Step for PreCopy {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let bytes: u64 = self.volumes.iter().map(|v| v.bytes).sum();
        format!("copy {} while the stack runs", ByteSize(bytes))
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine.remove_helpers(&cx.run).await?;
        let mut last: Option<Duration> = None;
        for round in 1..=MOST_ROUNDS {
            let began = std::time::Instant::now();
            let report = copy(cx, &self.volumes, true, self.copying).await?;
            let took = began.elapsed();
            cx.events.info(format!(
                "round {round}: copied {} in {}, {}",
                ByteSize(report.bytes_copied),
                count(report.files_copied, "file"),
                Span(took)
            ));
            let enough = is_enough(last, took);
            last = Some(took);
            if enough {
                break;
            }
        }
        *cx.last_round.lock().unwrap_or_else(PoisonError::into_inner) = last;
        if let Some(estimate) = last {
            cx.events.info(format!(
                "the rest takes about {}, while the stack stands still",
                Span(estimate)
            ));
        }
        match (last, self.max_downtime) {
            (Some(estimate), Some(limit)) if estimate > limit => Err(Failure::environment(format!(
                "the stack would be down for longer than --max-downtime {}",
                Span(limit)
            ))
            .cause(format!(
                "the last round of copying took {}: so much is written all the time",
                Span(estimate)
            ))
            .hint("run it again at a quieter hour, or allow more")),
            _ => Ok(()),
        }
    }

    async fn verify(&self, _: &Cx, (): &()) -> Result<Option<String>> {
        // Nothing is believed of a copy that was made while the source was written to: `Verify` compares after the
        // stop.
        Ok(None)
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        // What was copied goes with the new homes.
        cx.engine.remove_helpers(&cx.run).await?;
        Ok(())
    }
}

/// Whether another round would not help: what is left is little, or rounds do not get shorter any more, because so much
/// is written all the time. The next pass takes about as long as the last one.
fn is_enough(before: Option<Duration>, took: Duration) -> bool {
    took < SHORT || before.is_some_and(|before| took >= before.mul_f64(0.8))
}

/// One pass over the volumes: the sum of what was done.
pub(super) async fn copy(cx: &Cx, volumes: &[Moving], live: bool, how: Copying) -> Result<CopyReport> {
    let ask = |moving| {
        let moving: &Moving = moving;
        let (mounts, from, to) = cx.both_sides(moving, false)?;
        let request = Request::Copy(CopyRequest {
            from,
            to,
            manifest: cx.manifest(&moving.key),
            live,
            owner: moving.owner,
            jobs: how.jobs,
            bandwidth: how.bandwidth,
            read_back: !live || how.proof != CopyProof::Stream || !moving.datastores.is_empty(),
            patch: !how.whole_files,
        });
        Ok(Ask {
            volume: &moving.key,
            request,
            mounts,
        })
    };
    let asks = volumes.iter().map(ask).collect::<Result<_>>()?;
    let blame = |key: &VolumeKey| format!("volume `{key}` could not be copied");
    let mut total = CopyReport::default();
    // The site that is served meanwhile goes first.
    let pace = if live { Pace::Gentle } else { Pace::Usual };
    for answer in cx.ask_each(asks, ("copy", pace), blame).await? {
        match answer {
            Answer::Copy(report) => {
                total.bytes_copied += report.bytes_copied;
                total.files_copied += report.files_copied;
                total.deleted += report.deleted;
            }
            other => return Err(wrong_answer(&other)),
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_on_while_they_get_shorter_and_are_not_short_yet() {
        let enough = |before: Option<u64>, took| {
            is_enough(before.map(Duration::from_millis), Duration::from_millis(took))
        };
        assert!(enough(None, 1999));
        assert!(!enough(None, 60_000));
        assert!(!enough(Some(60_000), 20_000));
        assert!(enough(Some(20_000), 19_000));
        assert!(enough(Some(20_000), 30_000));
        assert!(enough(Some(20_000), 1000));
    }
}
