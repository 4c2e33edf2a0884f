//! Brings the objects of the bucket into the volume: once while the services use the bucket, and once more for what they
//! wrote there before they were switched. A file that is newer than its object stays.
//!
//! On the way back the services use the bucket again: what was written to the volume meanwhile is sent to it.

use serde::{Deserialize, Serialize};

use super::{
    FIRST_PASS, Media, SKEW, Way, begins, into_bucket, into_volume, keep_said, moment, none_failed, said,
    switched_at,
};
use crate::model::{ByteSize, Result, count};
use crate::saga::Step;
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bring {
    /// What, and where to.
    pub media: Media,
    /// Whether the services were switched before.
    pub rest: bool,
}

impl Step for Bring {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let place = self.media.place();
        match self.rest {
            false => format!("bring {place} into {} while the services go on", self.media.key),
            true => format!("bring what was uploaded to {place} meanwhile"),
        }
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        cx.storage().await.map(drop)
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        let since = match self.rest {
            // What came after the first list is in no file yet, however long ago that is by now.
            true => moment(cx, FIRST_PASS)?.map(|at| at - SKEW),
            false => None,
        };
        if !self.rest {
            begins(cx, FIRST_PASS)?;
        }
        let report = into_volume(cx, &self.media, since, Way::Forward).await?;
        let what = || {
            let objects = count(report.objects, "object");
            format!(
                "{} of {objects} did not arrive in {}",
                report.failed.count, self.media.key
            )
        };
        none_failed(&report.failed, what, "rehome s3 pull says all of them")?;
        let words = format!(
            "{} of {} brought ({}), {} compared by content and the same",
            report.added + report.replaced,
            count(report.objects, "object"),
            ByteSize(report.got_bytes),
            report.same.total()
        );
        keep_said(cx, self.name(), &words)
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        said(cx, self.name())
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        let Some(switched) = switched_at(cx)? else {
            return Ok(());
        };
        if self.rest {
            return Ok(());
        }
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        let report = into_bucket(cx, &self.media, Some(switched), Way::Back).await?;
        let what = || {
            let files = count(report.failed.count, "file");
            format!("{files} written meanwhile are not in the bucket")
        };
        none_failed(&report.failed, what, "rehome s3 sync")
    }
}

impl Bring {
    fn name(&self) -> &'static str {
        if self.rest {
            "brought-rest.txt"
        } else {
            "brought.txt"
        }
    }
}
