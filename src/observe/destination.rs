//! The block volume that was asked for, as the engine sees it: its helper has it mounted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{DestinationSeen, Observer, wrong_answer};
use crate::engine::HelperMount;
use crate::helper::protocol::{Answer, Probe, Request};
use crate::model::{Failure, Result};
use crate::steps::TO;

impl Observer<'_> {
    /// The disk that Docker's own volumes are on.
    pub(super) async fn docker_disk(&self) -> Result<Probe> {
        let mount = HelperMount::Bind {
            source: format!("{}/volumes", self.engine.data_root().trim_end_matches('/')),
            target: TO.into(),
            read_only: true,
        };
        let request = Request::Probe {
            dir: TO.into(),
            below: Vec::new(),
        };
        match self.ask(request, vec![mount], None).await {
            Ok(Answer::Probe(probe)) => Ok(probe),
            Ok(other) => Err(wrong_answer(&other)),
            Err(failure) => Err(failure.inside("cannot look at the disk of Docker's own volumes")),
        }
    }

    pub(super) async fn destination(&self, root: &Path, subs: &[PathBuf]) -> Result<DestinationSeen> {
        let refuse = |what: String| Failure::refused(what).data("nothing was changed");
        if !root.is_absolute() {
            return Err(refuse(format!("{} is no absolute path", root.display())));
        }
        let mount = HelperMount::Bind {
            source: root.to_string_lossy().into_owned(),
            target: TO.into(),
            read_only: false,
        };
        let request = Request::Probe {
            dir: TO.into(),
            below: subs.to_vec(),
        };
        let probe = match self.ask(request, vec![mount], None).await {
            Ok(Answer::Probe(probe)) => probe,
            Ok(other) => return Err(wrong_answer(&other)),
            Err(failure)
                if failure
                    .causes
                    .iter()
                    .any(|c| c.contains("bind source path does not exist")) =>
            {
                return Err(
                    refuse(format!("{} does not exist on the engine's host", root.display()))
                        .hint("mount the block volume there first"),
                );
            }
            Err(failure) => return Err(failure.inside(format!("cannot look at {}", root.display()))),
        };
        let places: BTreeMap<_, _> = subs.iter().cloned().zip(probe.below.iter().cloned()).collect();
        // The root of a file system is what is mounted there; a sub-volume or bind is one only if the table says so,
        // and the table can be read only on the engine's own host.
        let is_mount = probe.mount_root == "/" || (self.engine.host().is_local() && is_mount_point(root)?);
        Ok(DestinationSeen {
            root: root.to_owned(),
            is_mount,
            probe,
            places,
        })
    }
}

/// Whether something is mounted exactly at a path of this host. Field 5 of each line is the mount point, with spaces
/// and the like in octal. <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>
fn is_mount_point(path: &Path) -> Result<bool> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| Failure::environment("cannot read the mount table").because(&e))?;
    let escaped = path
        .to_string_lossy()
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011");
    Ok(table
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(escaped.trim_end_matches('/'))))
}
