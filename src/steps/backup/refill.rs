//! Restores parts of a backup, or files that Rehome did not write, into homes that were made for them, beside those that the stack runs on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fill::{Reading, Tar, compared, twin_of, unpack};
use super::input::Input;
use super::part::Part;
use crate::model::{Failure, Result};
use crate::saga::Step;
use crate::steps::dumps::sweep;
use crate::steps::make_homes::make_again;
use crate::steps::{Cx, Moving};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refill {
    /// What from.
    pub input: Input,
    /// Where to: `target` is empty, and becomes the data.
    pub home: Moving,
}

impl Step for Refill {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("restore {} beside what is there", self.input.describe())
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        match &self.input {
            Input::Backup { source, .. } => Reading::of(cx, source).await.map(|_| ()),
            Input::Dump { file, .. } | Input::Tar { file, .. } => file.open().map(|_| ()),
        }
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        sweep(cx).await?;
        cx.engine.remove_helpers(&cx.run).await?;
        // A crash may have left half of it: it begins from nothing.
        make_again(cx, &self.home).await?;
        let said = self.fill(cx).await?;
        crate::state::write_durably(&self.file(cx), said.as_bytes())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        said_in(&self.file(cx)).map(Some)
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        // What was filled goes with the homes.
        sweep(cx).await?;
        cx.engine.remove_helpers(&cx.run).await.map(|_| ())
    }
}

/// What was compared, as it was written down when it was: another process may ask.
pub(super) fn said_in(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|e| Failure::environment(format!("cannot read {}", path.display())).because(&e))
}

impl Refill {
    /// Says what was compared.
    async fn fill(&self, cx: &Cx) -> Result<String> {
        let home = &self.home.target;
        match &self.input {
            Input::Backup { source, part, path } => {
                let reading = Reading::of(cx, source).await?;
                match part {
                    Part::Server { .. } => reading.server(part, Some((&self.home.source, home))).await,
                    Part::Volume { .. } => reading.volume(part, path.as_deref(), home).await,
                }
            }
            Input::Dump {
                file,
                format,
                service,
                kind,
                database,
                ..
            } => {
                let mut twin = twin_of(cx, (service, *kind), Some((&self.home.source, home))).await?;
                let loaded = twin
                    .load_foreign(*format, database.as_deref(), file.open()?)
                    .await;
                let ended = match loaded {
                    Ok(()) => twin.end().await,
                    Err(failure) => Err(failure),
                };
                twin.remove().await?;
                ended.map(|()| {
                    format!(
                        "{kind} took all of {}; compared with nothing",
                        file.path.display()
                    )
                })
            }
            Input::Tar {
                file,
                key,
                strip,
                path,
            } => {
                let there = match &self.home.site {
                    Some(site) => site.dir.is_dir(),
                    None => cx.engine.find_volume(&self.home.source).await?.is_some(),
                };
                let tar = Tar {
                    only: path.as_deref(),
                    strip: *strip,
                    like: there.then(|| self.home.source_mount()),
                    ..Tar::default()
                };
                let unpacked = unpack(cx, file.open()?, key, tar, home).await?;
                Ok(compared(key, &unpacked, ("BLAKE3", "archived")))
            }
        }
    }

    fn file(&self, cx: &Cx) -> PathBuf {
        cx.run_dir.join(format!("refilled-{}.txt", self.home.key))
    }
}
