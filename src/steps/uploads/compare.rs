//! Compares every file of the volume with its object, by content.

use serde::{Deserialize, Serialize};

use super::{Media, Way, ask, since_the_switch, with_causes};
use crate::helper::protocol::{InUse, UploadsAnswer, UploadsJob};
use crate::model::{ByteSize, Failure, Result, count};
use crate::saga::Step;
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compare {
    /// What with what.
    pub media: Media,
    /// Whether the bucket is what counts from now on: then every file must be an object; else every object a file.
    pub to_bucket: bool,
}

impl Step for Compare {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("compare {} with {}", self.media.key, self.media.place())
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let job = UploadsJob::Verify {
            read: false,
            in_use: since_the_switch(cx)?.map(|since| InUse {
                since,
                bucket: self.to_bucket,
            }),
        };
        let report = match ask(cx, &self.media, (job, true), Way::Forward).await? {
            UploadsAnswer::Verified(report) => report,
            other => return Err(other.unexpected()),
        };
        let (lost, words) = match self.to_bucket {
            true => (&report.missing, "are not in the bucket"),
            false => (&report.extra, "are only in the bucket"),
        };
        for (troubles, words) in [
            (lost, words),
            (&report.different, "have another content there"),
            (&report.failed, "could not be compared"),
        ] {
            if !troubles.is_empty() {
                let files = count(troubles.count, "file");
                return Err(with_causes(
                    Failure::environment(format!("{files} {words}")),
                    troubles,
                ));
            }
        }
        Ok(Some(format!(
            "{} of {} ({}) have the same content in {}",
            report.same.total(),
            count(report.files, "file"),
            ByteSize(report.bytes),
            self.media.place()
        )))
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}
