//! The block volume that was asked for, as the engine sees it: its helper has it mounted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{DestinationSeen, Looked, MeantSeen, MountedSeen, Observer, wrong_answer};
use crate::block::fsid::FsUuid;
use crate::block::fstab::{self, Entry, Fstab};
use crate::block::mounted::Mounts;
use crate::block::sentinel;
use crate::block::sysroot::Sysroot;
use crate::block::volume::Volume;
use crate::engine::HelperMount;
use crate::helper::protocol::{Answer, Probe, Request};
use crate::model::{Failure, Result};
use crate::steps::TO;

/// A disk that hangs must not hang the plan.
const LIMIT: Duration = Duration::from_secs(60);

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
        let meant = match self.engine.host().is_local() {
            true => meant_in_time(root.to_owned()).await?,
            false => None,
        };
        Ok(DestinationSeen {
            root: root.to_owned(),
            is_mount,
            probe,
            places,
            meant,
        })
    }
}

/// Looks at which volume Rehome's line of fstab means for a directory, or for one above it, and which is there.
///
/// # Errors
/// When fstab or the mount table cannot be read.
pub fn meant(sysroot: &Sysroot, root: &Path) -> Result<Option<MeantSeen>> {
    let fstab = Fstab::read(sysroot)?;
    let real = fstab::names(sysroot);
    let root = fstab::names(&Sysroot::new(None))(root);
    let ours = fstab.entries().filter(Entry::is_ours).filter_map(|line| {
        let (uuid, at) = (line.uuid()?, real(&line.target));
        root.starts_with(&at).then_some((line, uuid, at))
    });
    // Of several the one closest to it.
    let Some((line, uuid, at)) = ours.max_by_key(|(_, _, at)| at.as_os_str().len()) else {
        return Ok(None);
    };
    let mounted = Mounts::about(&at)?.top().map(|mount| {
        let source = PathBuf::from(std::ffi::OsStr::from_bytes(&mount.source));
        let sentinel = Volume::open(&at, &source).and_then(|volume| sentinel::check(&volume, &uuid));
        MountedSeen {
            uuid: readable_uuid(&source),
            sentinel: sentinel.map_err(|failure| failure.to_string()),
            source,
        }
    });
    Ok(Some(MeantSeen {
        line,
        uuid,
        at,
        mounted,
    }))
}

/// The same of this machine, where a disk that hangs does not hang whoever asks.
///
/// # Errors
/// As [`meant`], or when a disk does not answer.
pub async fn meant_in_time(root: PathBuf) -> Result<Option<MeantSeen>> {
    let cannot = format!("cannot look at what is mounted at {}", root.display());
    let looking = tokio::task::spawn_blocking(move || meant(&Sysroot::new(None), &root));
    match tokio::time::timeout(LIMIT, looking).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => Err(Failure::environment(cannot).because(&error)),
        Err(_) => Err(Failure::environment(cannot)
            .cause(format!("a disk did not answer for {} s", LIMIT.as_secs()))
            .data("nothing was changed")),
    }
}

/// Who may move a stack need not be allowed to read disks: then the sentinel alone says which volume it is.
fn readable_uuid(device: &Path) -> Looked<Option<FsUuid>> {
    match File::open(device).and_then(|device| FsUuid::of_device(&device)) {
        Ok(uuid) => Ok(uuid),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", device.display())),
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
