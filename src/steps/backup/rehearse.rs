//! Restores a part of a backup where nothing lasts, asks it whether all is there, and removes it again: the drill. It
//! never touches the stack: another container, another volume, no network.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::fill::Reading;
use super::part::{Part, Source};
use crate::engine::{LABEL_PROJECT, LABEL_RUN};
use crate::model::{Failure, Result, Span, VolumeName};
use crate::saga::Step;
use crate::steps::dumps::sweep;
use crate::steps::{Cx, Target};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rehearse {
    /// The backup.
    pub source: Source,
    /// What of it.
    pub part: Part,
}

/// What a rehearsal found; beside the journal, because `verify` may run in another process.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    said: String,
    millis: u64,
}

impl Step for Rehearse {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("restore {} into nothing that lasts", self.part.describe())
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        let reading = Reading::of(cx, &self.source).await;
        reading.map(|_| ())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        let began = Instant::now();
        self.clear(cx).await?;
        let reading = Reading::of(cx, &self.source).await?;
        let said = match &self.part {
            part @ Part::Server { .. } => reading.server(part, None).await,
            part @ Part::Volume { .. } => self.volume(cx, &reading, part).await,
        }?;
        self.clear(cx).await?;
        let found = Found {
            said,
            millis: began.elapsed().as_millis() as u64,
        };
        let text =
            serde_json::to_vec(&found).map_err(|e| Failure::bug("cannot write a finding").because(&e))?;
        crate::state::write_durably(&self.file(cx), &text)
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let path = self.file(cx);
        let damaged = || Failure::environment(format!("cannot read {}", path.display()));
        let text = std::fs::read(&path).map_err(|e| damaged().because(&e))?;
        let found: Found = serde_json::from_slice(&text).map_err(|e| damaged().because(&e))?;
        Ok(Some(format!(
            "{} (restored in {})",
            found.said,
            Span(Duration::from_millis(found.millis))
        )))
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        self.clear(cx).await
    }
}

impl Rehearse {
    async fn volume(&self, cx: &Cx, reading: &Reading<'_>, part: &Part) -> Result<String> {
        let name = self.scratch(cx)?;
        let labels = [
            (LABEL_RUN, cx.run.to_string()),
            (LABEL_PROJECT, cx.project.to_string()),
        ];
        let labels = labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        cx.engine.create_volume(&name, &labels).await?;
        reading.volume(part, None, &Target::Volume { name }).await
    }

    /// Removes what a rehearsal made, whether it ended or was killed.
    async fn clear(&self, cx: &Cx) -> Result<()> {
        sweep(cx).await?;
        cx.engine.remove_helpers(&cx.run).await?;
        cx.engine
            .remove_own_volume(&self.scratch(cx)?, (LABEL_RUN, cx.run.as_str()))
            .await
    }

    fn scratch(&self, cx: &Cx) -> Result<VolumeName> {
        let part = match &self.part {
            Part::Server { service, .. } => service.as_str(),
            Part::Volume { key, .. } => key.as_str(),
        };
        VolumeName::new(format!("rehome_{}_drill_{part}", cx.run))
            .map_err(|e| Failure::bug("a run id that is no name").because(&e))
    }

    fn file(&self, cx: &Cx) -> std::path::PathBuf {
        let name = crate::model::file_name(&self.part.describe());
        cx.run_dir.join(format!("rehearsed-{name}.json"))
    }
}
