//! Restores parts of a backup into homes that were made for them, beside those that the stack runs on.

use serde::{Deserialize, Serialize};

use super::fill::{Reading, ServerHome};
use super::part::{Part, Source};
use crate::engine::HelperMount;
use crate::model::{Failure, Result};
use crate::saga::Step;
use crate::steps::make_homes::make_again;
use crate::steps::{Cx, Moving, Target};

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
        crate::steps::dumps::remove_twins(cx).await?;
        cx.engine.remove_helpers(&cx.run).await?;
        // A crash may have left half of it: it begins from nothing.
        make_again(cx, &self.home).await?;
        let reading = Reading::of(cx, &self.source).await?;
        let said = match &self.part {
            part @ Part::Server { service, .. } => {
                let home = ServerHome::Mount(self.whole()?);
                reading.server(service, part, home).await
            }
            part @ Part::Volume { .. } => reading.volume(part, self.home.target_mount(false)).await,
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
        crate::steps::dumps::remove_twins(cx).await?;
        cx.engine.remove_helpers(&cx.run).await.map(|_| ())
    }
}

impl Refill {
    /// The home as a server has it: its own root, and nothing above it.
    fn whole(&self) -> Result<HelperMount> {
        match &self.home.target {
            Target::Volume { name } => Ok(HelperMount::Volume {
                name: name.clone(),
                target: String::new(),
                read_only: false,
            }),
            Target::Directory { root, sub, .. } => Ok(HelperMount::Bind {
                source: root.join(sub).to_string_lossy().into_owned(),
                target: String::new(),
                read_only: false,
            }),
        }
    }

    fn file(&self, cx: &Cx) -> std::path::PathBuf {
        cx.run_dir.join(format!("refilled-{}.txt", self.home.key))
    }
}
