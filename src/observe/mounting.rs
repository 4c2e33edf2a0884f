//! Looks at the volumes of this machine and at the place where one is to be mounted. Reads only; what follows is decided
//! by `plan`.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Looked;
use super::machine::{BareSeen, Candidate, ContentSeen, DefinitionSeen, DeviceSeen, MachineSeen, UndoSeen};
use crate::block::bare::Bare;
use crate::block::boot::{self, Piece};
use crate::block::device::{Attached, Device, Identity, Provider, attached};
use crate::block::format::{shows, unfinished};
use crate::block::found::Found;
use crate::block::fsid::{FsUuid, Twins};
use crate::block::fstab::{self, Fstab};
use crate::block::intent::Intent;
use crate::block::mounted::Mounts;
use crate::block::opened::{self, Opened};
use crate::block::present::Present;
use crate::block::probe::{self, Content, Proof};
use crate::block::sysroot::Sysroot;
use crate::block::volume::{Volume, is_of};
use crate::block::{dirs, sentinel, sysfs, units};
use crate::engine::Engine;
use crate::helper::mounts;
use crate::model::{ByteSize, Failure, Home, Result};

/// Entries below a mount point that are looked at.
const HIDDEN: usize = 100;

/// A device that is held while it is decided about: as long as this lives nobody else mounts it or makes something of it.
/// `None` if it is mounted already.
pub type Held = Option<(Opened, Holding)>;

/// What a held device can be used for.
#[derive(Debug)]
pub enum Holding {
    /// It was proven empty.
    Empty(Proof),
    /// Rehome began a file system on it.
    Begun(Intent),
    /// It is taken as it is.
    AsItIs,
}

/// The attached volumes, each with what can be said of it without holding it for long.
///
/// # Errors
/// When the links below `/dev/disk` cannot be read.
pub async fn candidates(sysroot: &Sysroot) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for attached in attached(sysroot)? {
        found.push(candidate(sysroot, attached).await?);
    }
    Ok(found)
}

async fn candidate(sysroot: &Sysroot, attached: Attached) -> Result<Candidate> {
    let mounted = mounted(sysroot, &attached.device)?;
    let (mut size, mut in_use, mut words) = (None, !mounted.is_empty(), Vec::new());
    if !in_use {
        match Opened::open(attached.device.clone()).await {
            Ok(opened) => {
                size = Some(opened.identity().size);
                words = match probe::signatures(&opened).await {
                    Ok(found) => found.iter().map(ToString::to_string).collect(),
                    Err(failure) => vec![failure.to_string()],
                };
            }
            Err(failure) => {
                // What cannot be looked at for another reason is a candidate like the others: none of them is chosen.
                in_use = opened::is_busy(&attached.device.node);
                words = vec![failure.to_string()];
            }
        }
    }
    words.extend(
        mounted
            .iter()
            .map(|point| format!("mounted at {}", point.display())),
    );
    Ok(Candidate {
        attached,
        size,
        mounted,
        in_use,
        words,
    })
}

/// The device whose file system is mounted at a place, if there is one.
///
/// # Errors
/// When the mount table cannot be read.
pub fn mounted_at(sysroot: &Sysroot, at: &Path) -> Result<Option<PathBuf>> {
    let mounts = Mounts::about(&sysroot.at(at))?;
    let top = mounts.top().filter(|top| top.root == b"/");
    let source = top.map(|top| PathBuf::from(std::ffi::OsStr::from_bytes(&top.source)));
    Ok(source.filter(|source| source.starts_with("/dev")))
}

/// Where a device is mounted, for this process; as the machine in the sysroot knows the places.
fn mounted(sysroot: &Sysroot, device: &Device) -> Result<Vec<PathBuf>> {
    let table = mounts::table("self")
        .map_err(|error| Failure::environment("cannot read the mount table").because(&error))?;
    let mut found = Vec::new();
    // Parts of it that are mounted elsewhere are what Docker makes of volumes.
    for mount in table.iter().filter(|mount| mount.root == b"/") {
        let is_of = is_of(mount, &device.node).map_err(|error| {
            Failure::environment(format!("cannot look at {}", device.node.display())).because(&error)
        })?;
        if is_of {
            found.push(sysroot.inside(mount.point()));
        }
    }
    Ok(found)
}

/// Looks at a device, and holds it if it is not mounted. `begun` is where the records of unfinished file systems are.
///
/// # Errors
/// When it is in use by somebody else, or cannot be looked at.
pub async fn device(
    sysroot: &Sysroot,
    device: Device,
    name: &Path,
    provider: Option<Provider>,
    begun: &Path,
    full: bool,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<(DeviceSeen, Held)> {
    let mounted = mounted(sysroot, &device)?;
    let failed = |error: std::io::Error| {
        Failure::environment("cannot read what the kernel says of it").because(&error)
    };
    let read_only = sysfs::numeric(&device.number.directory().join("ro")).map_err(failed)?;
    let read_only = read_only.is_some_and(|said| said != 0);
    let set_up_by_hand = sysroot.is_machine() && sysfs::is_set_up_by_hand(device.number).map_err(failed)?;
    let node = device.node.clone();
    let name = name.to_owned();
    if let Some(point) = mounted.first() {
        let (size, content) = in_place(&device, &sysroot.at(point))?;
        let seen = DeviceSeen {
            name,
            node,
            size,
            provider,
            content,
            mounted,
            read_only,
            set_up_by_hand,
        };
        return Ok((seen, None));
    }
    let opened = Opened::open(device).await?;
    let size = opened.identity().size;
    // A record is worth nothing by itself: what is on the device decides. What cannot be told is told by the look.
    let record = unfinished(begun, &opened)?;
    let shown = match &record {
        Some(intent) => shows(&opened, intent).await.unwrap_or(false),
        None => false,
    };
    let (content, holding) = match record {
        Some(intent) if shown => (
            ContentSeen::Begun {
                fs_type: intent.fs.to_string(),
                uuid: intent.uuid,
                command: intent.command(&node),
            },
            Holding::Begun(intent),
        ),
        record => match probe::look(&opened, full, progress).await {
            Content::Empty(proof) => (ContentSeen::Empty { read: proof.read() }, Holding::Empty(proof)),
            Content::NotEmpty(mut found) => {
                let nameless = found.iter().all(|one| matches!(one, Found::Data { .. }));
                if let Some(intent) = record.filter(|_| nameless) {
                    found.push(Found::Begun {
                        fs: intent.fs.to_string(),
                        since: intent.since.to_string(),
                    });
                }
                let unclean = probe::needs_recovery(&opened)?;
                (content(found, unclean), Holding::AsItIs)
            }
            Content::CannotTell(doubts) => (ContentSeen::CannotTell(doubts), Holding::AsItIs),
        },
    };
    let seen = DeviceSeen {
        name,
        node,
        size,
        provider,
        content,
        mounted,
        read_only,
        set_up_by_hand,
    };
    Ok((seen, Some((opened, holding))))
}

/// A mounted device is in use: its file system is what the kernel says, its UUID what its superblock does.
fn in_place(device: &Device, point: &Path) -> Result<(ByteSize, ContentSeen)> {
    let failed = |error: std::io::Error| {
        Failure::environment(format!("cannot read {}", device.node.display())).because(&error)
    };
    let file = std::fs::File::open(&device.node).map_err(failed)?;
    let size = Identity::of(&file).map_err(failed)?.size;
    let fs_type = mounts::holding(point)
        .map_err(failed)?
        .map(|mount| mount.fs_type)
        .unwrap_or_default();
    let content = match FsUuid::of_device(&file).map_err(failed)? {
        Some(uuid) => ContentSeen::FileSystem {
            fs_type,
            uuid,
            label: None,
            unclean: false,
        },
        None => ContentSeen::CannotTell(vec![format!("{fs_type} has no UUID that Rehome can read")]),
    };
    Ok((size, content))
}

/// One file system that can be mounted, and nothing else; or whatever it is.
fn content(found: Vec<Found>, unclean: bool) -> ContentSeen {
    let [Found::Signature(only)] = found.as_slice() else {
        return ContentSeen::NotEmpty(found);
    };
    let uuid = only.uuid.as_ref().and_then(|uuid| uuid.parse().ok());
    match uuid {
        Some(uuid) if ["ext4", "ext3", "ext2", "xfs", "btrfs"].contains(&only.kind.as_str()) => {
            ContentSeen::FileSystem {
                fs_type: only.kind.clone(),
                uuid,
                label: only.label.clone(),
                unclean,
            }
        }
        _ => ContentSeen::NotEmpty(found),
    }
}

/// Looks at the place: what is mounted there, what lies below, what fstab and systemd know of it.
///
/// # Errors
/// When one of them cannot be read.
pub async fn place(
    sysroot: &Sysroot,
    device: DeviceSeen,
    at: &Path,
    uuid: FsUuid,
    pieces: Vec<Piece>,
    wanted_dirs: &[PathBuf],
) -> Result<MachineSeen> {
    let here = sysroot.at(at);
    let fstab = Fstab::read(sysroot)?;
    let names = names(sysroot, &fstab, at, &device.node);
    let bare = match Bare::open(&here)? {
        Some(bare) => Some(BareSeen {
            flag: bare.flag()?,
            hidden: bare.hidden(HIDDEN)?,
        }),
        None => None,
    };
    let volume = if device.mounted.iter().any(|point| point == at) {
        Some(Volume::open(&here, &device.node)?)
    } else {
        None
    };
    let sentinel = match &volume {
        Some(volume) => Some(sentinel::check(volume, &uuid)?),
        None => None,
    };
    let dirs = wanted_dirs
        .iter()
        .map(|path| {
            let found = match &volume {
                Some(volume) => dirs::find(volume, path)?,
                None => None,
            };
            Ok((path.clone(), found))
        })
        .collect::<Result<_>>()?;
    let pieces = pieces
        .into_iter()
        .map(|piece| Ok((piece.clone(), boot::standing(sysroot, &piece)?)))
        .collect::<Result<_>>()?;
    let (twins, unread) = twins(uuid).await;
    Ok(MachineSeen {
        mounts: Mounts::about(&here)?,
        bare,
        names,
        units: units::mounting(sysroot, at, Some(&device.node))?,
        twins,
        unread,
        sentinel,
        systemd: boot::systemd_runs(sysroot),
        outdated: boot::outdated(sysroot, at).await?,
        pieces,
        dirs,
        fstab,
        device,
    })
}

/// The devices that have the same file system, and what could not be read so that it may be one: that is told, and ends
/// nothing.
async fn twins(uuid: FsUuid) -> (Option<Twins>, Vec<String>) {
    let looked = tokio::task::spawn_blocking(Present::look).await;
    let present = match looked.map_err(std::io::Error::from).flatten() {
        Ok(present) => present,
        Err(error) => return (None, vec![format!("/sys/class/block ({error})")]),
    };
    let devices = present.with(&uuid).to_vec();
    let unread = present.unread.iter().map(|node| node.display().to_string());
    (
        (devices.len() > 1).then_some(Twins { uuid, devices }),
        unread.collect(),
    )
}

/// The volumes of an engine of this machine whose data is below a place.
///
/// # Errors
/// When the engine does not answer.
pub async fn definitions(engine: &Engine, sysroot: &Sysroot, at: &Path) -> Result<Vec<DefinitionSeen>> {
    let here = sysroot.at(at);
    let real = fstab::names(&Sysroot::new(None));
    let unused = engine.unused_volumes().await?;
    let all = engine.volumes(None).await?.into_iter();
    Ok(all
        .filter_map(|volume| match volume.home() {
            Home::Block { dir } if dir.starts_with(&here) || real(&dir).starts_with(&here) => {
                Some(DefinitionSeen {
                    unused: unused.iter().any(|unused| unused.name == volume.name),
                    name: volume.name,
                    dir,
                })
            }
            _ => None,
        })
        .collect())
}

/// Looks at what a mount did to the machine. `definitions` are those of [`definitions`].
///
/// # Errors
/// When something of it cannot be read.
pub fn undo(sysroot: &Sysroot, at: &Path, definitions: Looked<Vec<DefinitionSeen>>) -> Result<UndoSeen> {
    let here = sysroot.at(at);
    let mounts = Mounts::about(&here)?;
    let mut users = Vec::new();
    if let Some(top) = mounts.top() {
        let table = mounts::table("self")
            .map_err(|error| Failure::environment("cannot read the mount table").because(&error))?;
        users = table
            .iter()
            .filter(|mount| mount.device == top.device && mount.id != top.id)
            .map(|mount| format!("it is mounted at {} too", mount.point().display()))
            .collect();
        users.extend(opened::others_with(top, &table));
        users.extend(mounts.below.iter().map(|inner| {
            format!(
                "something is mounted inside of it, at {}",
                inner.point().display()
            )
        }));
    }
    let fstab = Fstab::read(sysroot)?;
    let flag = match Bare::open(&here)? {
        Some(bare) => Some(bare.flag()?),
        None => None,
    };
    let ours = match mounts.top() {
        Some(top) => has_our_sentinel(&here, top)?,
        None => false,
    };
    Ok(UndoSeen {
        ours,
        names: names(sysroot, &fstab, at, at),
        at: at.to_owned(),
        mounts,
        users,
        pieces: boot::ours(sysroot, at)?,
        definitions,
        fstab,
        flag,
        systemd: boot::systemd_runs(sysroot),
    })
}

/// Whether what is mounted has the sentinel that Rehome gave it.
fn has_our_sentinel(here: &Path, top: &mounts::Mount) -> Result<bool> {
    let source = Path::new(std::ffi::OsStr::from_bytes(&top.source));
    if !source.starts_with("/dev") || top.root != b"/" {
        return Ok(false);
    }
    let uuid = std::fs::File::open(source).and_then(|device| FsUuid::of_device(&device));
    let uuid = uuid
        .map_err(|error| Failure::environment(format!("cannot read {}", source.display())).because(&error))?;
    match uuid {
        Some(uuid) => {
            let found = sentinel::check(&Volume::open(here, source)?, &uuid)?;
            Ok(matches!(found, sentinel::Found::Right(_)))
        }
        None => Ok(false),
    }
}

/// What fstab's paths are really called.
fn names(sysroot: &Sysroot, fstab: &Fstab, at: &Path, node: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let name = fstab::names(sysroot);
    let specs = fstab.entries().filter_map(|entry| entry.device());
    // Asking a mount point of a server that is away may never come to an end.
    let targets = fstab
        .entries()
        .filter(|entry| !entry.is_far_away())
        .map(|entry| entry.target);
    specs
        .chain(targets)
        .chain([at.to_owned(), node.to_owned()])
        .map(|path| (path.clone(), name(&path)))
        .collect()
}
