//! Compares every entry of the two homes. Nothing is called verified that was not compared, and what was compared is
//! said.

use serde::{Deserialize, Serialize};

use super::page;
use super::spec::{CopyProof, Copying, Moving};
use super::stop::quiet;
use super::world::{Ask, Cx, wrong_answer};
use crate::engine::Pace;
use crate::helper::protocol::{Answer, Request, VerifyReport, VerifyRequest};
use crate::model::{ByteSize, Result, VolumeKey, count};
use crate::saga::Step;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verify {
    /// The volumes that were copied.
    pub volumes: Vec<Moving>,
    /// How.
    pub copying: Copying,
}

impl Step for Verify {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        match self.copying.proof {
            CopyProof::Full => "read both homes again and compare every entry".to_owned(),
            CopyProof::ReadBack | CopyProof::Stream => "compare every entry of both homes".to_owned(),
        }
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        quiet(cx, &self.volumes).await
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        // The comparison is `verify`: it looks at the world, and changes nothing. It takes its time, also when another
        // process was killed meanwhile, and with it the page.
        page::answer(cx).await;
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let mut total = VerifyReport::default();
        let ask = |moving| {
            let moving: &Moving = moving;
            let (mounts, from, to) = cx.both_sides(moving, true)?;
            let request = Request::Verify(VerifyRequest {
                from,
                to,
                manifest: cx.manifest(&moving.key),
                owner: moving.owner,
                full: self.copying.proof == CopyProof::Full,
                jobs: self.copying.jobs,
            });
            Ok(Ask {
                volume: &moving.key,
                request,
                mounts,
            })
        };
        let asks = self.volumes.iter().map(ask).collect::<Result<_>>()?;
        let blame = |key: &VolumeKey| format!("the copy of volume `{key}` is not complete");
        for answer in cx.ask_each(asks, ("verify", Pace::Usual), blame).await? {
            let report = match answer {
                Answer::Verify(report) => report,
                other => return Err(wrong_answer(&other)),
            };
            total.files += report.files;
            total.dirs += report.dirs;
            total.symlinks += report.symlinks;
            total.hard_links += report.hard_links;
            total.special += report.special;
            total.xattrs += report.xattrs;
            total.bytes += report.bytes;
        }
        quiet(cx, &self.volumes).await?;
        Ok(Some(describe(&total, self.copying.proof)))
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        Ok(())
    }
}

/// What was compared, in words.
fn describe(report: &VerifyReport, proof: CopyProof) -> String {
    let mut parts = vec![
        format!("{} ({})", count(report.files, "file"), ByteSize(report.bytes)),
        count(report.dirs, "directory"),
    ];
    for (number, noun) in [
        (report.symlinks, "symlink"),
        (report.hard_links, "hard link"),
        (report.special, "special file"),
    ] {
        if number > 0 {
            parts.push(count(number, noun));
        }
    }
    let content = match proof {
        CopyProof::ReadBack => "content (BLAKE3)",
        CopyProof::Stream => "content (BLAKE3; what was copied while the stack ran, as it was written)",
        CopyProof::Full => "content (BLAKE3, both sides read after the stop)",
    };
    format!(
        "{}: {content}, owner, mode, mtime, xattrs, links",
        parts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compared_is_said() {
        let report = VerifyReport {
            files: 14_212,
            dirs: 310,
            symlinks: 2,
            bytes: 362_000_000,
            ..VerifyReport::default()
        };
        assert_eq!(
            describe(&report, CopyProof::ReadBack),
            "14212 files (362 MB), 310 directories, 2 symlinks: content (BLAKE3), owner, mode, mtime, xattrs, links"
        );
        let said = describe(&report, CopyProof::Stream);
        assert!(said.contains("as it was written"), "{said}");
        let said = describe(&report, CopyProof::Full);
        assert!(said.contains("both sides read after the stop"), "{said}");
    }
}
