//! Brings the files of the volume into the bucket: once while the services use the volume, and once more for what they
//! wrote there before they were switched. What the services wrote into the bucket is never overwritten.
//!
//! On the way back the services use the volume again: what was uploaded to the bucket meanwhile is brought into it.

use serde::{Deserialize, Serialize};

use super::{
    Media, Way, into_bucket, into_volume, keep_said, none_failed, said, since_the_switch, switched_at,
};
use crate::model::{ByteSize, Result, count};
use crate::saga::Step;
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Send {
    /// What, and where to.
    pub media: Media,
    /// Whether the services were switched before: then only this is left, and going back is the first one's matter.
    pub rest: bool,
}

impl Step for Send {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let place = self.media.place();
        match self.rest {
            false => format!("send {} to {place} while the services go on", self.media.key),
            true => format!("send what was written to {} meanwhile", self.media.key),
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        let not_over = match self.rest {
            true => since_the_switch(cx)?,
            false => None,
        };
        let report = into_bucket(cx, &self.media, not_over, Way::Forward).await?;
        let what = || {
            let files = count(report.files, "file");
            format!("{} of {files} did not arrive in the bucket", report.failed.count)
        };
        none_failed(&report.failed, what, "rehome s3 sync says all of them")?;
        let words = format!(
            "{} of {} sent ({}), {} compared by content and the same",
            report.added + report.replaced,
            count(report.files, "file"),
            ByteSize(report.sent_bytes),
            report.same.total()
        );
        keep_said(cx, self.name(), &words)
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        said(cx, self.name())
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        if self.rest || switched_at(cx)?.is_none() {
            return Ok(());
        }
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        let report = into_volume(cx, &self.media, since_the_switch(cx)?, Way::Back).await?;
        let what = || {
            let objects = count(report.failed.count, "object");
            format!(
                "{objects} that was uploaded meanwhile is not in {}",
                self.media.key
            )
        };
        none_failed(&report.failed, what, "rehome s3 pull --only-missing")?;
        let came = report.added + report.replaced;
        if came > 0 {
            let objects = count(came, "object");
            cx.events.info(format!(
                "{objects} that the services uploaded meanwhile are in {} now",
                self.media.key
            ));
        }
        Ok(())
    }
}

impl Send {
    fn name(&self) -> &'static str {
        if self.rest { "sent-rest.txt" } else { "sent.txt" }
    }
}
