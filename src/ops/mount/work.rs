//! The actions of a mount, one by one.

use std::path::PathBuf;

use crate::block::bare::Bare;
use crate::block::boot;
use crate::block::device::Identity;
use crate::block::format::{Wanted, finish, forget, format};
use crate::block::fsid::FsUuid;
use crate::block::fstab::{Change, Fstab, names};
use crate::block::sysroot::Sysroot;
use crate::block::volume::Volume;
use crate::block::{dirs, mounted, opened, sentinel};
use crate::model::{Failure, Result, shell_path};
use crate::observe::mounting::{Held, Holding};
use crate::plan::mount::{Action, MountPlan};

/// What the actions need.
pub(super) struct Work {
    pub(super) sysroot: Sysroot,
    pub(super) at: PathBuf,
    pub(super) node: PathBuf,
    pub(super) held: Held,
    pub(super) wanted: Wanted,
    pub(super) begun: PathBuf,
    pub(super) names: Vec<PathBuf>,
    /// By this run.
    pub(super) mounted: bool,
}

impl Work {
    fn forget(&self) -> Result<()> {
        let device = std::fs::File::open(&self.node).and_then(Identity::of);
        let device = device.map_err(|error| {
            Failure::environment(format!("cannot look at {}", self.node.display())).because(&error)
        })?;
        forget(&self.begun, &device)
    }

    fn point(&self) -> PathBuf {
        self.sysroot.at(&self.at)
    }

    /// What is mounted: the file system that was planned for, and no other one that has the node by now.
    fn volume(&self, plan: &MountPlan) -> Result<Volume> {
        let volume = Volume::open(&self.point(), &self.node)?;
        let uuid = std::fs::File::open(&self.node).and_then(|device| FsUuid::of_device(&device));
        let uuid = uuid.map_err(|error| {
            Failure::environment(format!("cannot read {}", self.node.display())).because(&error)
        })?;
        if uuid.is_some_and(|uuid| uuid == plan.uuid) {
            return Ok(volume);
        }
        let found = uuid.map_or_else(|| "none".to_owned(), |uuid| uuid.to_string());
        Err(Failure::refused(format!(
            "{} is another file system than was looked at",
            self.node.display()
        ))
        .cause(format!("its UUID is {found}, not {}", plan.uuid))
        .data("nothing was written to it"))
    }

    /// What this run mounted and cannot use is not left mounted for whoever comes by.
    async fn unless_unmounted<T>(&self, plan: &MountPlan, result: Result<T>) -> Result<T> {
        let failure = match result {
            Ok(value) => return Ok(value),
            Err(failure) if !self.mounted => return Err(failure),
            Err(failure) => failure,
        };
        if let Err(other) = mounted::unmount(&self.point()).await {
            return Err(failure
                .cause(format!("and it could not be unmounted again: {other}"))
                .data("nothing was written to it; it is mounted still"));
        }
        let line = match plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::Fstab { .. }))
        {
            true => "its line is not in /etc/fstab",
            false => "/etc/fstab is as it was",
        };
        Err(failure
            .data(format!("the volume is not mounted, and {line}"))
            .hint(format!(
                "to look at it: mount {} {}",
                shell_path(&self.node),
                shell_path(&self.at)
            )))
    }

    pub(super) async fn act(&mut self, action: &Action, plan: &MountPlan) -> Result<Option<String>> {
        let nothing = Ok(None);
        match action {
            Action::Format { .. } | Action::Finish { .. } => {
                let Some((opened, holding)) = self.held.take() else {
                    return Err(Failure::bug("a device that is not held was to be formatted"));
                };
                let made = match holding {
                    Holding::Empty(proof) => {
                        format(opened, proof, &self.wanted, self.names.clone(), &self.begun).await?
                    }
                    Holding::Begun(intent) => finish(opened, intent, &self.begun).await?,
                    Holding::AsItIs => return Err(Failure::bug("a device with content was to be formatted")),
                };
                opened::tell_udev(&self.sysroot, &self.node).await?;
                Ok(Some(format!("{}, UUID {}, found by blkid", made.fs, made.uuid)))
            }
            Action::MakePoint => Bare::make(&self.point()).map(|_| None),
            Action::Protect => {
                let point = self.point();
                let bare = Bare::open(&point)?
                    .ok_or_else(|| Failure::environment(format!("{} is gone", point.display())))?;
                bare.protect().map(|_| Some("it was empty".to_owned()))
            }
            Action::Fstab { bytes, .. } => {
                // What is written is the plan's; if somebody edited the file since, it is not.
                let fstab = Fstab::read(&self.sysroot)?;
                match fstab.with(&plan.line, &names(&self.sysroot)) {
                    Ok(Change::New(now)) if now == *bytes => {
                        fstab.replace(&self.sysroot, bytes).map(|()| None)
                    }
                    _ => Err(
                        Failure::environment("/etc/fstab was changed since the plan was made")
                            .data("it was left as it is"),
                    ),
                }
            }
            Action::Mount { .. } => {
                self.held = None;
                mounted::mount(&self.sysroot, &plan.line, &self.node).await?;
                self.mounted = true;
                let volume = self
                    .volume(plan)
                    .and_then(|volume| match volume.mount().read_only {
                        false => Ok(()),
                        true => Err(Failure::environment(format!(
                            "{} was mounted read-only",
                            self.node.display()
                        ))
                        .cause("it is write-protected, or its options say so: no data can be moved there")),
                    });
                self.unless_unmounted(plan, volume).await?;
                // From here on it may be written to, and nothing that was begun on it is unfinished.
                self.forget()?;
                self.volume(plan)?.contents().map(Some)
            }
            Action::Sentinel => {
                let made = self
                    .volume(plan)
                    .and_then(|volume| sentinel::make(&volume, &plan.uuid));
                self.unless_unmounted(plan, made).await?;
                nothing
            }
            Action::MakeDir(dir) => dirs::make(&self.volume(plan)?, &dir.path, dir.owner, dir.mode)
                .map(|_| Some(dir.source.clone())),
            Action::Unit(piece) => boot::write(&self.sysroot, piece).map(|_| None),
            Action::Reload => boot::reload(&self.sysroot).await.map(|_| None),
        }
    }
}
