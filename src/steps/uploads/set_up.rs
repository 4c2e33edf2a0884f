//! Makes the bucket, sees to its settings, and sends a canary. Nothing of it is taken back: it is empty, or as it was.

use serde::{Deserialize, Serialize};

use super::{Media, Way, ask};
use crate::helper::protocol::{UploadsAnswer, UploadsJob};
use crate::model::Result;
use crate::s3::{Done, SetupWanted};
use crate::saga::Step;
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetUp {
    /// Where.
    pub media: Media,
    /// How it shall be.
    pub wanted: SetupWanted,
}

impl Step for SetUp {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("set up and try {}", self.media.place())
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        cx.storage().await.map(drop)
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    // Asking and setting are one: what is so already is left alone, so this is a look as well.
    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let job = UploadsJob::SetUp(self.wanted.clone());
        let report = match ask(cx, &self.media, (job, true), Way::Forward).await? {
            UploadsAnswer::SetUp(report) => report,
            other => return Err(other.unexpected()),
        };
        for one in &report.settings {
            if let (Done::Forgotten | Done::Denied | Done::TakenBack, Some(why)) = (one.done, &one.why) {
                cx.events.warn(format!("{}: {why}", one.name));
            }
        }
        Ok(Some(format!(
            "{} takes uploads: {}",
            self.media.place(),
            report.canary.join("; ")
        )))
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}
