//! Restores parts of a backup into homes that were made for them, beside those that the stack runs on.

use serde::{Deserialize, Serialize};

use super::fill::Reading;
use super::part::{Part, Source};
use crate::model::{Failure, Result};
use crate::saga::Step;
use crate::steps::dumps::sweep;
use crate::steps::make_homes::make_again;
use crate::steps::{Cx, Moving};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refill {
    /// The backup.
    pub source: Source,
    /// What of it.
    pub part: Part,
    /// Where to: `target` is empty, and becomes the data.
    pub home: Moving,
}

impl Step for Refill {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("restore {} beside what is there", self.part.describe())
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        Reading::of(cx, &self.source).await.map(|_| ())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        sweep(cx).await?;
        cx.engine.remove_helpers(&cx.run).await?;
        // A crash may have left half of it: it begins from nothing.
        make_again(cx, &self.home).await?;
        let reading = Reading::of(cx, &self.source).await?;
        let said = match &self.part {
            part @ Part::Server { .. } => {
                let home = Some((&self.home.source, &self.home.target));
                reading.server(part, home).await
            }
            part @ Part::Volume { .. } => reading.volume(part, &self.home.target).await,
        }?;
        crate::state::write_durably(&self.file(cx), said.as_bytes())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let path = self.file(cx);
        let said = std::fs::read_to_string(&path)
            .map_err(|e| Failure::environment(format!("cannot read {}", path.display())).because(&e))?;
        Ok(Some(said))
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        // What was filled goes with the homes.
        sweep(cx).await?;
        cx.engine.remove_helpers(&cx.run).await.map(|_| ())
    }
}

impl Refill {
    fn file(&self, cx: &Cx) -> std::path::PathBuf {
        cx.run_dir.join(format!("refilled-{}.txt", self.home.key))
    }
}
