//! What is mounted at a path, over it and under it; mounting the line of fstab, and unmounting.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use super::fstab::Line;
use super::sysroot::Sysroot;
use super::tool::Tool;
use super::volume::Volume;
use crate::helper::mounts::{self, Mount};
use crate::model::{Failure, Result, shell_path};

/// A journal of a server that crashed is replayed, gigabytes are written back: minutes, where the storage is slow.
const LIMIT: Duration = Duration::from_secs(3600);

/// The mounts about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounts {
    /// At the path itself, the lowest first: the last is seen, the others are hidden by it.
    pub here: Vec<Mount>,
    /// What holds the path when nothing is mounted at it.
    pub around: Option<Mount>,
    /// Further down the path.
    pub below: Vec<Mount>,
}

impl Mounts {
    /// Looks at an absolute path that is free of symlinks.
    ///
    /// # Errors
    /// When mountinfo cannot be read.
    pub fn about(path: &Path) -> Result<Self> {
        let all = mounts::table("self")
            .map_err(|error| Failure::environment("cannot read /proc/self/mountinfo").because(&error))?;
        let (mut here, mut below, mut around) = (Vec::new(), Vec::new(), None::<Mount>);
        for mount in all {
            let point = Path::new(std::ffi::OsStr::from_bytes(&mount.point));
            if point == path {
                here.push(mount);
            } else if point.starts_with(path) {
                below.push(mount);
            } else if path.starts_with(point)
                && around
                    .as_ref()
                    .is_none_or(|best| best.point.len() <= mount.point.len())
            {
                around = Some(mount);
            }
        }
        Ok(Self { here, around, below })
    }

    /// What is seen at the path.
    #[must_use]
    pub fn top(&self) -> Option<&Mount> {
        self.here.last()
    }
}

/// The program that mounts a line. Everything is said, and nothing looked up in fstab: of two clones the one that is
/// meant is mounted, and `nofail` hides no failure.
#[must_use]
pub fn command(sysroot: &Sysroot, line: &Line, device: &Path) -> Tool {
    let options = line.options();
    let options: Vec<_> = options.split(',').filter(|option| *option != "nofail").collect();
    let target = sysroot.at(line.target());
    Tool::new(
        "mount",
        [
            "-t".as_ref(),
            line.fs_type().as_ref(),
            "-o".as_ref(),
            options.join(",").as_ref(),
            device.as_os_str(),
            target.as_os_str(),
        ],
    )
}

/// Mounts the line, unless that is done, and proves that `device` is what is there now.
///
/// On a machine with systemd, [`super::boot::reload`] goes before it: systemd unmounts what it knows an outdated line of.
///
/// # Errors
/// When something is mounted there already that is not this device, and when mount(8) fails.
pub async fn mount(sysroot: &Sysroot, line: &Line, device: &Path) -> Result<Volume> {
    let target = sysroot.at(line.target());
    if Mounts::about(&target)?.here.is_empty() {
        let told = command(sysroot, line, device).limit(LIMIT).run().await;
        // A mount(8) that was stopped or complains may have mounted it all the same: the table says what became of it.
        if let Err(failure) = told
            && Mounts::about(&target)?.here.is_empty()
        {
            return Err(failure.data("it is not mounted").hint(format!(
                "what the kernel says of it: dmesg | tail; one that took too long may be mounted yet: findmnt {}",
                shell_path(&target)
            )));
        }
    }
    Volume::open(&target, device)
}

/// Unmounts what is seen at a path, politely: never lazily, never by force.
///
/// # Errors
/// When it is still to be seen afterwards: it is in use, or has more to write back than could be waited for.
pub async fn unmount(target: &Path) -> Result<()> {
    let Some(top) = Mounts::about(target)?.here.pop() else {
        return Ok(());
    };
    let told = Tool::new("umount", [target]).limit(LIMIT).run().await;
    // Whatever it said: what it was stopped at may have been done.
    if !Mounts::about(target)?.here.iter().any(|mount| mount.id == top.id) {
        return Ok(());
    }
    let failure = told
        .err()
        .unwrap_or_else(|| Failure::environment(format!("{} was not unmounted", target.display())));
    Err(failure
        .data("it is still mounted")
        .hint(format!("see who uses it: fuser -vm {}", shell_path(target))))
}
