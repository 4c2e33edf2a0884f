//! What has to be done so that a block volume is mounted now and after every boot, and nothing is ever written in its
//! place. Pure. What is done already is not in the plan: killed at any moment, the next run finishes.

mod choose;
mod text;
mod undo;

use std::path::{Path, PathBuf};

use crate::block::bare::Flag;
use crate::block::boot::{Piece, Standing, blast_radius};
use crate::block::found::{cannot_tell, not_empty};
use crate::block::fsid::FsUuid;
use crate::block::fstab::{Change, Line, refusal};
use crate::block::sysroot::Sysroot;
use crate::block::units::Maker;
use crate::block::{mounted, sentinel};
use crate::model::{ByteSize, Failure, Owner, Result, shell_path};
use crate::observe::{ContentSeen, DeviceSeen, MachineSeen};

pub use choose::{choose, ends_with_the_machine, name_of};
pub use text::{Told, ToldAction, render};
pub use undo::{Undo, UndoPlan, plan_undo};

/// What is wanted.
#[derive(Debug, Clone)]
pub struct MountWanted {
    /// Where the volume is to be mounted.
    pub at: PathBuf,
    /// The file system to make on an empty device, as `ext4`.
    pub fs_type: String,
    /// Its UUID, decided beforehand.
    pub uuid: FsUuid,
    /// The command that makes it, as a person would type it.
    pub mkfs: String,
    /// Mount options instead of the usual ones.
    pub options: Option<String>,
    /// Directories on the volume.
    pub dirs: Vec<DirWanted>,
    /// Whether systemd is to be told.
    pub systemd: bool,
}

/// A directory on the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirWanted {
    /// Below the volume's root.
    pub path: PathBuf,
    /// Numeric owner.
    pub owner: Owner,
    /// Permissions.
    pub mode: u32,
    /// Where owner and mode come from, for people: `as volume postgres_data`.
    pub source: String,
}

/// One thing to do. Each can be done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a file system on an empty device.
    Format {
        /// As a person would type it.
        command: String,
    },
    /// Finish one that was begun.
    Finish {
        /// As a person would type it.
        command: String,
    },
    /// Make the mount point.
    MakePoint,
    /// Make it immutable, after it was proven empty.
    Protect,
    /// Write the line of fstab.
    Fstab {
        /// The line.
        line: String,
        /// The whole new file.
        bytes: Vec<u8>,
    },
    /// Mount.
    Mount {
        /// As a person would type it.
        command: String,
    },
    /// Write the sentinel.
    Sentinel,
    /// Make a directory on the volume.
    MakeDir(DirWanted),
    /// Write a unit file or link.
    Unit(Piece),
    /// Have systemd read units and fstab again.
    Reload,
}

/// What is done in which order, and what a person should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPlan {
    /// Of the volume.
    pub uuid: FsUuid,
    /// The line of fstab, for mounting.
    pub line: Line,
    /// In order; none if all of it is done.
    pub actions: Vec<Action>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// The UUID that the volume has, or will have.
#[must_use]
pub fn uuid_of(content: &ContentSeen, wanted: &MountWanted) -> FsUuid {
    match content {
        ContentSeen::Begun { uuid, .. } | ContentSeen::FileSystem { uuid, .. } => *uuid,
        _ => wanted.uuid,
    }
}

/// Plans.
///
/// # Errors
/// Refused, with what is in the way: nothing on the device or the machine was changed then.
pub fn plan_mount(seen: &MachineSeen, wanted: &MountWanted) -> Result<MountPlan> {
    let device = &seen.device;
    let here = device.mounted.contains(&wanted.at);
    units(seen, wanted)?;
    elsewhere(device, wanted)?;
    place(seen, wanted, here)?;
    let mut actions = Vec::new();
    let mut notes = Vec::new();
    if device.read_only {
        return Err(
            Failure::refused(format!("{} is write-protected", device.name.display()))
                .cause("the kernel says that it is read-only: nothing can be moved there")
                .data("nothing was changed")
                .hint("see at the provider how the volume is attached"),
        );
    }
    if !seen.unread.is_empty() {
        notes.push(format!(
            "{} could not be read: whether a clone of this volume is among them is not known",
            seen.unread.join(", ")
        ));
    }
    let fs_type = match &device.content {
        ContentSeen::Empty { read } => {
            notes.push(format!(
                "it is empty: no signature, no partition, nothing made of it, nobody writes to it, and {} of its {} were \
                 read, all zero (--full reads all of it)",
                ByteSize(*read),
                device.size
            ));
            actions.push(Action::Format {
                command: wanted.mkfs.clone(),
            });
            wanted.fs_type.clone()
        }
        ContentSeen::Begun { fs_type, command, .. } => {
            actions.push(Action::Finish {
                command: command.clone(),
            });
            notes.push("a file system was begun on it by Rehome and is finished now".to_owned());
            fs_type.clone()
        }
        ContentSeen::FileSystem {
            fs_type,
            uuid,
            label,
            unclean,
        } => {
            let label = label
                .as_ref()
                .map_or(String::new(), |label| format!(", label `{label}`"));
            notes.push(format!(
                "it has a file system already ({fs_type}{label}, UUID {uuid}): mounted as it is"
            ));
            if *unclean {
                notes.push(
                    "it was not unmounted: its server crashed, it is a copy of a volume in use, or another server has it \
                     mounted at this moment; make sure that none has, as mounting it here too would destroy what is on it"
                        .to_owned(),
                );
            }
            fs_type.clone()
        }
        ContentSeen::NotEmpty(found) => return Err(not_empty(&device.node, found)),
        ContentSeen::CannotTell(doubts) => return Err(cannot_tell(&device.node, doubts)),
    };
    twins(seen)?;
    for other in device.mounted.iter().filter(|point| here && **point != wanted.at) {
        notes.push(format!(
            "it is mounted at {} too, and stays so: both show the same files",
            other.display()
        ));
    }
    let uuid = uuid_of(&device.content, wanted);
    let mut line = Line::new(uuid, &wanted.at, &fs_type)?.on_device(&device.node);
    let names = |path: &Path| seen.names.get(path).map_or_else(|| path.to_owned(), Clone::clone);
    if let Some(entry) = seen.fstab.at(&wanted.at, &names)
        && wanted.options.is_none()
        && entry.is_ours()
        && entry.uuid() == Some(uuid)
    {
        // What was asked for the first time, or written by a person, stays.
        line = line.with_options(&entry.options.join(","))?;
    }
    if let Some(options) = &wanted.options {
        line = line.with_options(options)?;
        let asked: Vec<_> = options.split(',').collect();
        let kept = line.options();
        let kept: Vec<_> = kept.split(',').filter(|option| !asked.contains(option)).collect();
        if !kept.is_empty() {
            notes.push(format!(
                "{} stays among the mount options: without, the machine does not boot when the volume is missing",
                kept.join(",")
            ));
        }
    }

    guard(seen, wanted, here, &mut actions, &mut notes)?;
    let change = seen
        .fstab
        .with(&line, &names)
        .map_err(|clashes| refusal(&line, &clashes))?;
    let systemd = wanted.systemd && seen.systemd;
    if systemd && seen.outdated {
        // Before the mount: systemd unmounts what it knows an outdated line of.
        actions.push(Action::Reload);
    }
    if !here {
        let machine = Sysroot::new(None);
        actions.push(Action::Mount {
            command: mounted::command(&machine, &line, &device.node).line().to_owned(),
        });
    }
    sentinel_of(seen, &uuid, &mut actions)?;
    // What was never mounted is not mounted at a boot either: a line with a mistake in it may keep a machine from booting.
    if let Change::New(bytes) = change {
        actions.push(Action::Fstab {
            line: line.to_string(),
            bytes,
        });
        if systemd {
            actions.push(Action::Reload);
        }
    }
    for dir in &wanted.dirs {
        let there = seen
            .dirs
            .iter()
            .find(|(path, _)| *path == dir.path)
            .and_then(|(_, found)| *found);
        match there {
            None => actions.push(Action::MakeDir(dir.clone())),
            Some((owner, mode)) if (owner, mode) != (dir.owner, dir.mode) => notes.push(format!(
                "{} is there already, with owner {owner} and mode {mode:04o}, and stays so (wanted {} and {:04o}, {})",
                wanted.at.join(&dir.path).display(),
                dir.owner,
                dir.mode,
                dir.source
            )),
            Some(_) => {}
        }
    }
    boot(seen, wanted, &mut actions, &mut notes)?;
    Ok(MountPlan {
        uuid,
        line,
        actions,
        notes,
    })
}

fn stacked(at: &Path, mounts: usize) -> Failure {
    let (at, word) = (at.display(), shell_path(at));
    Failure::refused(format!(
        "{mounts} file systems are mounted at {at}, one over the other"
    ))
    .cause("only the last one is seen; what the others hold is hidden")
    .data("nothing was changed")
    .hint(format!(
        "see them: findmnt {word}; stop what uses them, then umount {word} until one is left"
    ))
}

/// The device is mounted nowhere, or just where it is wanted.
fn elsewhere(device: &DeviceSeen, wanted: &MountWanted) -> Result<()> {
    if device.mounted.contains(&wanted.at) {
        return Ok(());
    }
    match device.mounted.first() {
        None => Ok(()),
        Some(point) => Err(Failure::refused(format!(
            "{} is mounted at {} already",
            device.name.display(),
            point.display()
        ))
        .data("nothing was changed")
        .hint(format!(
            "use it where it is: rehome mount --device {} --at {}",
            shell_path(&device.name),
            shell_path(point)
        ))
        .hint(format!(
            "or unmount it first, when nothing uses it: umount {}",
            shell_path(point)
        ))),
    }
}

/// No unit of systemd mounts something there, or the volume elsewhere.
fn units(seen: &MachineSeen, wanted: &MountWanted) -> Result<()> {
    let Some(unit) = seen.units.first() else {
        return Ok(());
    };
    let file = unit.file.display();
    let what = match unit.at.as_ref().filter(|at| **at != wanted.at) {
        Some(at) => format!("{file} mounts this volume at {} already", at.display()),
        None => format!("{file} mounts something at {} already", wanted.at.display()),
    };
    Err(Failure::refused(what)
        .cause(match unit.maker {
            Maker::DigitalOcean => {
                "DigitalOcean made it when the volume was attached; with a line in fstab there would be two"
            }
            Maker::Unknown => "with a line in fstab there would be two",
        })
        .data("nothing was changed")
        .hint(format!(
            "if it is the same volume, let Rehome's line take its place: systemctl disable --now {} && rm {} && \
             systemctl daemon-reload, and then the same command again",
            shell_path(Path::new(unit.file.file_name().unwrap_or_default())),
            shell_path(&unit.file)
        )))
}

/// Nothing else is mounted at the place or has a claim to it.
fn place(seen: &MachineSeen, wanted: &MountWanted, here: bool) -> Result<()> {
    let at = wanted.at.display();
    let refused = |what: String| Failure::refused(what).data("nothing was changed");
    if seen.mounts.here.len() > 1 {
        return Err(stacked(&wanted.at, seen.mounts.here.len()));
    }
    if let Some(other) = seen.mounts.top().filter(|_| !here) {
        return Err(refused(format!(
            "something else is mounted at {at}: {}",
            String::from_utf8_lossy(&other.source)
        ))
        .hint("choose another directory with --at, or unmount it when nothing uses it"));
    }
    if let Some(inner) = seen.mounts.below.first() {
        return Err(refused(format!(
            "something is mounted inside of {at}, at {}",
            String::from_utf8_lossy(&inner.point)
        ))
        .hint("mount the volume at a directory of its own"));
    }
    Ok(())
}

/// No other attached device says that it is the same file system.
fn twins(seen: &MachineSeen) -> Result<()> {
    let Some(twins) = &seen.twins else {
        return Ok(());
    };
    let nodes: Vec<_> = twins
        .devices
        .iter()
        .map(|node| node.display().to_string())
        .collect();
    Err(Failure::refused(format!("{} have the same UUID {}", nodes.join(" and "), twins.uuid))
        .cause("one is a clone of the other, from a snapshot perhaps: which one is mounted at a boot is chance")
        .cause("or one is made of the other, by a driver that does not tell the kernel so")
        .data("nothing was changed")
        .hint("detach the clone, or give it another UUID when it is not mounted: tune2fs -U time DEVICE, xfs_admin -U generate DEVICE"))
}

/// The bare mount point: there, empty, immutable.
fn guard(
    seen: &MachineSeen,
    wanted: &MountWanted,
    here: bool,
    actions: &mut Vec<Action>,
    notes: &mut Vec<String>,
) -> Result<()> {
    match &seen.bare {
        None => actions.extend([Action::MakePoint, Action::Protect]),
        Some(bare) if !bare.hidden.entries.is_empty() => {
            let names: Vec<_> = bare
                .hidden
                .entries
                .iter()
                .take(3)
                .map(|(path, _)| path.display().to_string())
                .collect();
            let names = names.join(", ");
            if !here {
                // A stack may be running on them this very moment (trap 27).
                let at = wanted.at.display();
                return Err(Failure::refused(format!(
                    "{at} is not empty: a volume that is mounted there would hide what is in it"
                ))
                .cause(format!("in it lie {names}"))
                .data("nothing was changed")
                .hint(format!(
                    "stop what uses them and move them away, or mount the volume elsewhere: ls -la {}",
                    shell_path(&wanted.at)
                )));
            }
            notes.push(format!(
                "files lie hidden below the volume ({names}): the mount point is not made immutable"
            ));
        }
        Some(bare) => match bare.flag {
            Flag::Immutable => {}
            Flag::Plain => actions.push(Action::Protect),
            Flag::Unknown => notes.push(
                "the file system of the mount point knows no immutable flag: only the sentinel guards it"
                    .to_owned(),
            ),
        },
    }
    Ok(())
}

fn sentinel_of(seen: &MachineSeen, uuid: &FsUuid, actions: &mut Vec<Action>) -> Result<()> {
    match &seen.sentinel {
        Some(sentinel::Found::Right(_)) => Ok(()),
        // One that a crash left torn is written again.
        None | Some(sentinel::Found::Missing | sentinel::Found::Torn(_)) => {
            actions.push(Action::Sentinel);
            Ok(())
        }
        Some(sentinel::Found::Anothers(name)) => Err(Failure::refused(format!(
            "the volume has the sentinel of another one, {name}"
        ))
        .cause(format!(
            "this file system is {uuid}: it was made from a copy of that volume"
        ))
        .data("nothing was changed")
        .hint(format!(
            "if this is the volume you mean, remove the file {name} from its root"
        ))),
    }
}

/// What systemd has to know.
fn boot(
    seen: &MachineSeen,
    wanted: &MountWanted,
    actions: &mut Vec<Action>,
    notes: &mut Vec<String>,
) -> Result<()> {
    if seen.device.set_up_by_hand {
        notes.push(format!(
            "{} is not there after a reboot unless something sets it up before: the engine would wait for it and not \
             start, so no unit is written, and at a boot nothing keeps the engine from starting without the volume",
            seen.device.name.display()
        ));
        return Ok(());
    }
    if !wanted.systemd {
        notes.push("systemd is left out: at a boot nothing keeps the engine from starting before the volume is mounted".to_owned());
        return Ok(());
    }
    if !seen.systemd {
        notes.push(
            "systemd does not run here: nothing was written for the boot but the line of fstab".to_owned(),
        );
        return Ok(());
    }
    let mut written = false;
    for (piece, standing) in &seen.pieces {
        match standing {
            Standing::There => {}
            Standing::Missing | Standing::Outdated => {
                actions.push(Action::Unit(piece.clone()));
                written = true;
            }
            Standing::Foreign => {
                return Err(Failure::refused(format!(
                    "{} is there, and not Rehome's",
                    piece.path().display()
                ))
                .data("nothing was changed")
                .hint("move it away if it is not needed, or leave systemd out: --no-systemd"));
            }
        }
    }
    if written {
        actions.push(Action::Reload);
        let starts =
            |piece: &Piece| matches!(piece, Piece::Link { path, .. } if path.ends_with("docker.service"));
        notes.extend(blast_radius(
            &wanted.at,
            seen.pieces.iter().any(|(piece, _)| starts(piece)),
        ));
    }
    Ok(())
}
