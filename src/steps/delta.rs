//! The last pass, while nobody writes: copies what changed, deletes what went.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::page;
use super::pre_copy::copy;
use super::spec::{Copying, Moving};
use super::stop::quiet;
use super::world::Cx;
use crate::model::{ByteSize, Failure, Result, Span, count};
use crate::saga::Step;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delta {
    /// The volumes that are copied.
    pub volumes: Vec<Moving>,
    /// How.
    pub copying: Copying,
    /// Go back when the services are down for longer.
    pub max_downtime: Option<Duration>,
    /// Whether the volumes were copied before, while the stack ran; else this is the first and only pass.
    pub pre_copied: bool,
}

impl Step for Delta {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        if self.pre_copied {
            return "copy what changed since".to_owned();
        }
        let bytes: u64 = self.volumes.iter().map(|v| v.bytes).sum();
        format!("copy {}", ByteSize(bytes))
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        quiet(cx, &self.volumes).await
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine.remove_helpers(&cx.run).await?;
        // Again, because a crash may lie between the two.
        quiet(cx, &self.volumes).await?;
        // The one that was opened at the stop went with a process that was killed.
        page::answer(cx).await;
        let mut copying = self.copying;
        if self.pre_copied {
            // Only what runs beside it is spared, and now nothing does.
            copying.bandwidth = 0;
        }
        let pass = async {
            let report = copy(cx, &self.volumes, false, copying).await?;
            cx.events.info(format!(
                "copied {} in {}, {} deleted",
                ByteSize(report.bytes_copied),
                count(report.files_copied, "file"),
                count(report.deleted, "entry")
            ));
            Ok(())
        };
        match self.max_downtime {
            None => pass.await,
            Some(limit) => {
                let left = limit.saturating_sub(cx.downtime.running().unwrap_or_default());
                tokio::time::timeout(left, pass).await.unwrap_or_else(|_| {
                    Err(Failure::environment(format!(
                        "the stack was down for longer than --max-downtime {}",
                        Span(limit)
                    ))
                    .hint("run it again at a quieter hour, or allow more"))
                })
            }
        }
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        quiet(cx, &self.volumes).await?;
        Ok(None)
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        Ok(())
    }
}
