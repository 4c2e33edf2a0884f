//! Brings the files of the volume into the bucket: once while the services use the volume, and once more for what they
//! wrote there before they were switched. What the services wrote into the bucket is never overwritten.
//!
//! On the way back the services use the volume again: what was uploaded to the bucket meanwhile is brought into it.

use serde::{Deserialize, Serialize};

use super::{Media, Way, ask, keep_said, said, since_the_switch, switched_at, with_causes};
use crate::helper::protocol::{SyncJob, UploadsAnswer, UploadsJob};
use crate::model::{ByteSize, Failure, Result, count};
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
        let job = SyncJob {
            about: self.media.about.clone(),
            not_over: match self.rest {
                true => since_the_switch(cx)?,
                false => None,
            },
            ..SyncJob::default()
        };
        let report = match ask(cx, &self.media, (UploadsJob::Sync(job), true), Way::Forward).await? {
            UploadsAnswer::Synced(report) => report,
            other => return Err(other.unexpected()),
        };
        if !report.failed.is_empty() {
            let files = count(report.files, "file");
            let failure = Failure::environment(format!(
                "{} of {files} did not arrive in the bucket",
                report.failed.count
            ));
            return Err(with_causes(failure, &report.failed).hint("rehome s3 sync says all of them"));
        }
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
        let job = UploadsJob::Pull {
            dry_run: false,
            only_missing: false,
            since: since_the_switch(cx)?,
        };
        let report = match ask(cx, &self.media, (job, false), Way::Back).await? {
            UploadsAnswer::Pulled(report) => report,
            other => return Err(other.unexpected()),
        };
        if !report.failed.is_empty() {
            let failure = Failure::environment(format!(
                "{} that was uploaded meanwhile is not in {}",
                count(report.failed.count, "object"),
                self.media.key
            ));
            return Err(with_causes(failure, &report.failed).hint("rehome s3 pull --only-missing"));
        }
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
