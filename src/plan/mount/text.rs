//! The plan as people and programs read it: every command that is run and every line that is written.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Action, MountPlan, Undo, UndoPlan};
use crate::block::boot::Piece;
use crate::block::fsid::FsUuid;
use crate::block::sentinel;
use crate::model::shell_path;
use crate::observe::DeviceSeen;

impl Action {
    /// What it does, in words.
    #[must_use]
    pub fn title(&self, at: &Path) -> String {
        let at = at.display();
        match self {
            Self::Format { .. } => "make a file system".to_owned(),
            Self::Finish { .. } => "finish the file system that was begun".to_owned(),
            Self::MakePoint => format!("make {at}"),
            Self::Protect => format!("make the bare {at} immutable"),
            Self::Fstab { .. } => "write the line of /etc/fstab".to_owned(),
            Self::Mount { .. } => format!("mount {at}"),
            Self::Sentinel => "write the sentinel".to_owned(),
            Self::MakeDir(dir) => format!("make {at}/{}", dir.path.display()),
            Self::Unit(piece) => format!("write {}", piece.path().display()),
            Self::Reload => "have systemd read it".to_owned(),
        }
    }

    /// Every command it runs and every line it writes.
    #[must_use]
    pub fn lines(&self, at: &Path, uuid: &FsUuid) -> Vec<String> {
        let point = shell_path(at);
        match self {
            Self::Format { command } | Self::Finish { command } | Self::Mount { command } => {
                vec![command.clone()]
            }
            Self::MakePoint => vec![format!("mkdir -p {point}")],
            Self::Protect => vec![format!("chattr +i {point}")],
            Self::Fstab { line, .. } => vec![line.clone()],
            Self::Sentinel => vec![at.join(sentinel::name(uuid)).display().to_string()],
            Self::MakeDir(dir) => vec![format!(
                "mkdir -m {:04o} {path} && chown {} {path}   # {}",
                dir.mode,
                dir.owner,
                dir.source,
                path = shell_path(&at.join(&dir.path))
            )],
            Self::Unit(Piece::File { text, .. }) => text.lines().map(str::to_owned).collect(),
            Self::Unit(Piece::Link { path, to }) => {
                vec![format!("ln -s {} {}", shell_path(to), shell_path(path))]
            }
            Self::Reload => vec!["systemctl daemon-reload".to_owned()],
        }
    }
}

impl Undo {
    /// What it does, in words.
    #[must_use]
    pub fn title(&self, at: &Path) -> String {
        let at = at.display();
        match self {
            Self::Unmount => format!("unmount {at}"),
            Self::RemoveUnit(piece) => format!("remove {}", piece.path().display()),
            Self::RemoveLine { .. } => "remove the line of /etc/fstab".to_owned(),
            Self::Reload => "have systemd read it".to_owned(),
            Self::Release => format!("make the bare {at} writable again"),
        }
    }

    /// Every command it runs.
    #[must_use]
    pub fn lines(&self, at: &Path) -> Vec<String> {
        let at = shell_path(at);
        match self {
            Self::Unmount => vec![format!("umount {at}")],
            Self::RemoveUnit(piece) => vec![format!("rm {}", shell_path(piece.path()))],
            Self::RemoveLine { line, .. } => vec![line.clone()],
            Self::Reload => vec!["systemctl daemon-reload".to_owned()],
            Self::Release => vec![format!("chattr -i {at}")],
        }
    }
}

/// A plan as it is told.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    /// What it is about, in words.
    pub about: String,
    /// Where the volume is, or is to be, mounted.
    pub at: PathBuf,
    /// The UUID that its file system has, or will have; not on the way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<FsUuid>,
    /// What is done, in order.
    pub actions: Vec<ToldAction>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// One thing that is done.
#[derive(Debug, Clone, Serialize)]
pub struct ToldAction {
    /// In words.
    pub title: String,
    /// Every command and every line.
    pub lines: Vec<String>,
}

impl Told {
    /// Of a mount.
    #[must_use]
    pub fn mount(device: &DeviceSeen, at: &Path, plan: &MountPlan) -> Self {
        let whose = device
            .provider
            .map_or(String::new(), |provider| format!(" of {provider}"));
        Self {
            about: format!(
                "{}{whose}, {}, at {}",
                device.name.display(),
                device.size,
                at.display()
            ),
            at: at.to_owned(),
            uuid: Some(plan.uuid),
            actions: plan
                .actions
                .iter()
                .map(|action| ToldAction {
                    title: action.title(at),
                    lines: action.lines(at, &plan.uuid),
                })
                .collect(),
            notes: plan.notes.clone(),
        }
    }

    /// Of the way back.
    #[must_use]
    pub fn undo(at: &Path, plan: &UndoPlan) -> Self {
        Self {
            about: format!(
                "Take back the mount at {}; what is on the volume stays",
                at.display()
            ),
            at: at.to_owned(),
            uuid: None,
            actions: plan
                .actions
                .iter()
                .map(|action| ToldAction {
                    title: action.title(at),
                    lines: action.lines(at),
                })
                .collect(),
            notes: plan.notes.clone(),
        }
    }
}

/// The plan as text.
#[must_use]
pub fn render(told: &Told) -> String {
    let mut out = format!("{}\n", told.about);
    if told.actions.is_empty() {
        out.push_str("\nNothing is left to do.\n");
    }
    for (number, action) in told.actions.iter().enumerate() {
        out.push_str(&format!("\n{:3}  {}\n", number + 1, action.title));
        for line in &action.lines {
            out.push_str(&format!("     {line}\n"));
        }
    }
    for note in &told.notes {
        out.push_str(&format!("\n! {note}\n"));
    }
    out
}
