//! A block volume of this machine and the place where it is to be mounted, as they are. Plain data; what follows from it
//! is decided by `plan`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Looked;
use crate::block::bare::{Flag, Hidden};
use crate::block::boot::{Piece, Standing};
use crate::block::device::{Attached, Provider};
use crate::block::found::Found;
use crate::block::fsid::{FsUuid, Twins};
use crate::block::fstab::Fstab;
use crate::block::mounted::Mounts;
use crate::block::sentinel;
use crate::block::units::MountUnit;
use crate::model::{ByteSize, Owner, VolumeName};

/// All that a plan to mount a volume is made from.
#[derive(Debug, Clone)]
pub struct MachineSeen {
    /// The volume.
    pub device: DeviceSeen,
    /// What is mounted at the place, over it and under it.
    pub mounts: Mounts,
    /// The directory below whatever is mounted there; `None` if there is none.
    pub bare: Option<BareSeen>,
    /// `/etc/fstab`.
    pub fstab: Fstab,
    /// What the paths are called that are named in it, symlinks followed.
    pub names: BTreeMap<PathBuf, PathBuf>,
    /// Units that mount something there.
    pub units: Vec<MountUnit>,
    /// Other devices with the same file system's UUID.
    pub twins: Option<Twins>,
    /// Devices that could not be read, so that it is not known whether they are twins.
    pub unread: Vec<String>,
    /// The sentinel, if the volume is mounted there.
    pub sentinel: Option<sentinel::Found>,
    /// Whether systemd runs.
    pub systemd: bool,
    /// Whether systemd knows that it has not read all of what is written: of a run that died.
    pub outdated: bool,
    /// How each unit file and link stands that is wanted.
    pub pieces: Vec<(Piece, Standing)>,
    /// Each directory that is wanted on the volume: its owner and mode if it is there.
    pub dirs: Vec<(PathBuf, Option<(Owner, u32)>)>,
}

/// All that a plan to take a mount back is made from.
#[derive(Debug, Clone)]
pub struct UndoSeen {
    /// The mount point.
    pub at: PathBuf,
    /// What is mounted there.
    pub mounts: Mounts,
    /// What uses the volume, besides its being mounted there; a sentence each.
    pub users: Vec<String>,
    /// Whether what is mounted there has Rehome's sentinel.
    pub ours: bool,
    /// Rehome's units for it.
    pub pieces: Vec<Piece>,
    /// The volumes of Docker whose data is below it, whether they are mounted now or not; or why Docker was not asked.
    pub definitions: Looked<Vec<DefinitionSeen>>,
    /// `/etc/fstab`.
    pub fstab: Fstab,
    /// What the paths are called that are named in it, symlinks followed.
    pub names: BTreeMap<PathBuf, PathBuf>,
    /// Whether the bare mount point can be written to; `None` if there is none.
    pub flag: Option<Flag>,
    /// Whether systemd runs.
    pub systemd: bool,
}

/// A volume of Docker that is a directory of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionSeen {
    /// Its name.
    pub name: VolumeName,
    /// The directory.
    pub dir: PathBuf,
    /// No container has it, not even one that is stopped.
    pub unused: bool,
}

/// The volume's device.
#[derive(Debug, Clone)]
pub struct DeviceSeen {
    /// As it is known to people: its link below `/dev/disk`, or what was named.
    pub name: PathBuf,
    /// Its node.
    pub node: PathBuf,
    /// Its size.
    pub size: ByteSize,
    /// Whose it is, if its link says so.
    pub provider: Option<Provider>,
    /// What is on it.
    pub content: ContentSeen,
    /// Where it is mounted now.
    pub mounted: Vec<PathBuf>,
    /// Whether the kernel lets nobody write to it.
    pub read_only: bool,
    /// Whether it is gone after a boot unless something sets it up again before, as a loop device is. Not asked of an image.
    pub set_up_by_hand: bool,
}

/// A volume that is attached.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its links and device.
    pub attached: Attached,
    /// Its size, if it could be opened.
    pub size: Option<ByteSize>,
    /// Where it is mounted.
    pub mounted: Vec<PathBuf>,
    /// Whether it is mounted or held by something.
    pub in_use: bool,
    /// What is on it, and what uses it; nothing if nothing was recognised.
    pub words: Vec<String>,
}

/// What is on a device.
#[derive(Debug, Clone)]
pub enum ContentSeen {
    /// Nothing, as far as so many bytes of it were read.
    Empty {
        /// Bytes.
        read: u64,
    },
    /// A file system that Rehome began to make and did not finish.
    Begun {
        /// Its type.
        fs_type: String,
        /// Its UUID.
        uuid: FsUuid,
        /// What makes it, as a person would type it.
        command: String,
    },
    /// A file system, and nothing else.
    FileSystem {
        /// `ext4`, `xfs`, …
        fs_type: String,
        /// Its UUID.
        uuid: FsUuid,
        /// Its label.
        label: Option<String>,
        /// Whether it is not mounted here, and was not unmounted where it was mounted last.
        unclean: bool,
    },
    /// Something else.
    NotEmpty(Vec<Found>),
    /// That could not be told.
    CannotTell(Vec<String>),
}

/// The bare mount point.
#[derive(Debug, Clone)]
pub struct BareSeen {
    /// Whether it can be written to.
    pub flag: Flag,
    /// What lies in it.
    pub hidden: Hidden,
}
