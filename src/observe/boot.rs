//! Looks at what this machine knows of its block volumes by itself: what is mounted, what fstab and systemd do at the next
//! boot, which disks are attached. No engine is asked: after a boot without its volume none answers. Reads only; what
//! follows is decided by `plan`.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;

use super::Looked;
use crate::block::bare::{Bare, Flag, Hidden};
use crate::block::boot::{self, Piece, Standing};
use crate::block::device::{Attached, attached, by_path};
use crate::block::fsid::FsUuid;
use crate::block::fstab::{self, Entry, Fstab, Trouble};
use crate::block::present::Present;
use crate::block::sysroot::Sysroot;
use crate::block::unit_start::{EngineUnit, Start, start};
use crate::block::volume::{Volume, is_of};
use crate::block::{sentinel, units};
use crate::helper::mounts::{self, Mount};
use crate::model::{Failure, Result};

/// Entries below a mount point that are looked at.
const HIDDEN: usize = 100;
/// A file system or disk that hangs must not hang the check-up.
const LIMIT: Duration = Duration::from_secs(60);

/// What is looked at.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Where the machine's own files are.
    pub sysroot: Sysroot,
    /// Where the configuration says that the block volume is mounted.
    pub block_root: Option<PathBuf>,
    /// Directories that are on block volumes.
    pub homes: Vec<PathBuf>,
    /// Directories that are where a block volume is known to be; there are many others.
    pub binds: Vec<PathBuf>,
    /// Whether every line of fstab that Rehome wrote counts, and the configuration, whether something is below or not.
    pub all: bool,
}

/// What the machine knows of its block volumes.
#[derive(Debug, Clone, Default)]
pub struct BootSeen {
    /// Where they are mounted.
    pub points: BTreeMap<PathBuf, Looked<PointSeen>>,
    /// Where something should be mounted, and nothing is.
    pub missing: Vec<MissingSeen>,
    /// The device that each bind that was asked for is on now, by its number.
    pub binds: BTreeMap<PathBuf, String>,
    /// Disks that could not be read: nobody knows whether they are copies.
    pub unread: Vec<PathBuf>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// A mount point of a block volume.
#[derive(Debug, Clone, Default)]
pub struct PointSeen {
    /// The file system's UUID, if Rehome can read it.
    pub uuid: Option<FsUuid>,
    /// Other devices that have the same file system.
    pub twins: Vec<PathBuf>,
    /// It is on a disk of the host, whose content ends with the machine.
    pub ends_with_the_machine: bool,
    /// What is wrong with its line in fstab.
    pub troubles: Vec<Trouble>,
    /// Lines that mount the same file system elsewhere.
    pub elsewhere: Vec<Entry>,
    /// Whether Rehome wrote that line.
    pub ours: bool,
    /// The units of systemd that mount something there.
    pub units: Vec<UnitSeen>,
    /// Units that are started at boot and mount the same device elsewhere: their files, and where.
    pub units_elsewhere: Vec<(PathBuf, PathBuf)>,
    /// The sentinel, if the UUID is known and the whole file system is mounted.
    pub sentinel: Option<sentinel::Found>,
    /// What lies below the mount.
    pub hidden: Hidden,
    /// Whether the directory below the mount can be written to.
    pub flag: Option<Flag>,
    /// Whether the engine waits for it; `None` where systemd does not run.
    pub waits: Option<Waits>,
    /// Whether it is mounted when it is attached only after the boot; `None` where systemd does not run.
    pub mounted_late: Option<bool>,
    /// The units that bring stacks up when it is mounted later, all of their text.
    pub stacks: Vec<String>,
    /// Whether the engine is started when it is mounted later; `None` where it does not start by itself at all.
    pub comes_up: Option<bool>,
}

/// A unit of systemd that mounts something at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSeen {
    /// Its file.
    pub file: PathBuf,
    /// Whether it is started at boot.
    pub start: Start,
    /// Whether it mounts another file system than is mounted now.
    pub of_another: bool,
}

/// Whether the engine waits for a mount at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// systemd knows no `docker.service` that could.
    NoUnit,
}

/// A place where something should be mounted, and nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingSeen {
    /// Where.
    pub at: PathBuf,
    /// The directories below it that were asked for, as they were named.
    pub below: Vec<PathBuf>,
    /// The line of fstab that mounts it; without one the configuration names the place.
    pub line: Option<Entry>,
    /// Its device.
    pub device: DeviceIs,
    /// Whether something lies there now; `None` if there is no such directory.
    pub written: Option<bool>,
    /// Whether the engine waits for it; `None` where systemd does not run.
    pub waits: Option<Waits>,
}

/// Whether a device is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceIs {
    /// It is: its node.
    Attached(PathBuf),
    /// It is not.
    Gone,
    /// Nobody can say.
    Untold,
}

/// Looks.
pub async fn look(asked: Asked) -> BootSeen {
    let unit = EngineUnit::ask(&asked.sysroot).await;
    let looking = tokio::task::spawn_blocking(move || {
        let mut seen = BootSeen::default();
        let unit = unit.unwrap_or_else(|failure| {
            seen.unseen
                .push(format!("what systemd knows of the engine: {failure}"));
            None
        });
        if let Err(failure) = fill(&asked, unit.as_ref(), &mut seen) {
            seen.unseen.push(failure.to_string());
        }
        seen
    });
    let why = match tokio::time::timeout(LIMIT, looking).await {
        Ok(Ok(seen)) => return seen,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("a disk or file system did not answer for {} s", LIMIT.as_secs()),
    };
    BootSeen {
        unseen: vec![why],
        ..BootSeen::default()
    }
}

/// What everything below needs.
struct Look<'a> {
    sysroot: &'a Sysroot,
    table: Vec<Mount>,
    fstab: Fstab,
    clouds: Vec<Attached>,
    present: Option<Present>,
    unit: Option<&'a EngineUnit>,
}

fn fill(asked: &Asked, unit: Option<&EngineUnit>, seen: &mut BootSeen) -> Result<()> {
    let mut unseen = Vec::new();
    let table = mounts::table("self")
        .map_err(|error| Failure::environment("cannot read the mount table").because(&error))?;
    let mut present = Present::look()
        .map_err(|error| unseen.push(format!("which disks are attached: {error}")))
        .ok();
    // What is mounted is known, also where this process may not read it.
    let mounted = |node: &PathBuf| table.iter().any(|mount| shows(mount, node));
    present
        .iter_mut()
        .for_each(|present| present.unread.retain(|node| !mounted(node)));
    let look = Look {
        sysroot: &asked.sysroot,
        fstab: Fstab::read(&asked.sysroot)?,
        clouds: attached(&asked.sysroot).unwrap_or_else(|failure| {
            unseen.push(failure.to_string());
            Vec::new()
        }),
        table,
        present,
        unit,
    };
    seen.unseen.append(&mut unseen);
    let dirs = Dirs::of(asked);
    for (named, dir) in &dirs.binds {
        // The trigger of an automount is not what is seen there.
        if let Some(mount) = mounts::holder(&look.table, dir).filter(|mount| mount.fs_type != "autofs") {
            seen.binds.insert(named.clone(), mount.device.clone());
        }
    }
    let (root, missing) = look.missing(asked, &dirs)?;
    seen.missing = missing;
    for mount in look.mounts(asked, &dirs, root.as_deref(), &seen.missing) {
        let point = look.point(mount).map_err(|failure| failure.to_string());
        seen.points.insert(mount.point().to_owned(), point);
    }
    seen.unread = look.present.map(|present| present.unread).unwrap_or_default();
    Ok(())
}

/// The directories that were asked for: as they were named, and as they are called without symlinks.
struct Dirs {
    homes: Vec<(PathBuf, PathBuf)>,
    binds: Vec<(PathBuf, PathBuf)>,
}

impl Dirs {
    fn of(asked: &Asked) -> Self {
        let real = fstab::names(&Sysroot::new(None));
        let both = |dirs: &[PathBuf]| dirs.iter().map(|dir| (dir.clone(), real(dir))).collect();
        Self {
            homes: both(&asked.homes),
            binds: both(&asked.binds),
        }
    }

    fn all(&self) -> impl Iterator<Item = &(PathBuf, PathBuf)> {
        self.homes.iter().chain(&self.binds)
    }
}

impl Look<'_> {
    /// Where something should be mounted by fstab or by the configuration, and nothing is: what lies there now is on
    /// whatever disk the directory is of, which need not be that of `/`. Also the configured place by its real name.
    fn missing(&self, asked: &Asked, dirs: &Dirs) -> Result<(Option<PathBuf>, Vec<MissingSeen>)> {
        let name = fstab::names(self.sysroot);
        let mut places: Vec<(PathBuf, Option<Entry>)> = Vec::new();
        for entry in self.fstab.entries() {
            if !entry.target.is_absolute() || entry.target == Path::new("/") {
                continue;
            }
            // Asking a mount point of a server that is away may never come to an end.
            let target = match entry.is_far_away() {
                true => self.sysroot.at(&entry.target),
                false => name(&entry.target),
            };
            let below = |dirs: &[(PathBuf, PathBuf)]| dirs.iter().any(|(_, dir)| dir.starts_with(&target));
            // A bind is a home where a block volume is known to be; there are many others.
            let counts = below(&dirs.homes) || entry.is_ours() && (asked.all || below(&dirs.binds));
            places.retain(|(place, _)| !counts || *place != target);
            places.extend(counts.then_some((target, Some(entry))));
        }
        let root = asked.block_root.as_deref();
        let root = root.map(fstab::names(&Sysroot::new(None)));
        if let Some(root) = &root
            && (asked.all || dirs.all().any(|(_, dir)| dir.starts_with(root)))
            && !places.iter().any(|(place, _)| place == root)
        {
            let line = self.fstab.at(&self.sysroot.inside(root), &name);
            places.push((root.clone(), line));
        }
        let mut missing = Vec::new();
        for (at, line) in places {
            let below: Vec<_> = dirs.all().filter(|(_, dir)| dir.starts_with(&at)).collect();
            // A mount further down may hold them as well.
            let held = |dir: &Path| {
                mounts::holder(&self.table, dir).is_some_and(|mount| mount.point().starts_with(&at))
            };
            let mounted = self.table.iter().any(|mount| mount.point() == at)
                || !below.is_empty() && below.iter().all(|(_, dir)| held(dir));
            if mounted {
                continue;
            }
            missing.push(MissingSeen {
                below: below.into_iter().map(|(named, _)| named.clone()).collect(),
                device: line.as_ref().map_or(DeviceIs::Untold, |line| self.device(line)),
                written: written(&at),
                waits: self.waits(&self.sysroot.inside(&at))?,
                line,
                at,
            });
        }
        Ok((root, missing))
    }

    /// Whether what a line names is attached: by its link, and where udev made none, by reading all disks.
    fn device(&self, line: &Entry) -> DeviceIs {
        let Some(device) = line.device() else {
            return DeviceIs::Untold;
        };
        if let Ok(device) = by_path(self.sysroot, &device) {
            return DeviceIs::Attached(device.node);
        }
        match (line.uuid(), &self.present) {
            (Some(uuid), Some(present)) => match present.with(&uuid) {
                [node, ..] => DeviceIs::Attached(node.clone()),
                // Whoever may not read disks does not know.
                [] if present.unread.is_empty() && geteuid().is_root() => DeviceIs::Gone,
                [] => DeviceIs::Untold,
            },
            _ if line.by_kernel_name() => DeviceIs::Gone,
            _ => DeviceIs::Untold,
        }
    }

    /// The mounts that are looked at, each once.
    fn mounts(
        &self,
        asked: &Asked,
        dirs: &Dirs,
        root: Option<&Path>,
        missing: &[MissingSeen],
    ) -> Vec<&Mount> {
        // Where nothing is mounted, what holds it is another disk; that is said elsewhere.
        let there = |dir: &Path| !missing.iter().any(|place| dir.starts_with(&place.at));
        let holder = |dir: &Path| {
            let mount = mounts::holder(&self.table, dir).filter(|_| there(dir));
            mount.filter(|mount| mount.point != b"/" && mount.fs_type != "autofs")
        };
        let mut found: Vec<&Mount> = Vec::new();
        found.extend(dirs.homes.iter().filter_map(|(_, dir)| holder(dir)));
        let exactly = |place: &Path| holder(place).filter(|mount| mount.point() == place);
        found.extend(root.and_then(exactly));
        if asked.all {
            let ours = self.fstab.entries().filter(Entry::is_ours);
            let name = fstab::names(self.sysroot);
            found.extend(ours.filter_map(|entry| exactly(&name(&entry.target))));
        }
        for (_, dir) in &dirs.binds {
            if let Some(mount) = holder(dir)
                && self.is_of_a_volume(mount, root)
            {
                found.push(mount);
            }
        }
        found.sort_by(|a, b| a.point.cmp(&b.point));
        found.dedup_by(|a, b| a.point == b.point);
        found
    }

    /// Whether a mount is one that data was given to, by the configuration, by Rehome, or by a cloud.
    fn is_of_a_volume(&self, mount: &Mount, root: Option<&Path>) -> bool {
        let at = self.sysroot.inside(mount.point());
        let line = self.fstab.at(&at, &fstab::names(self.sysroot));
        root.is_some_and(|root| mount.point().starts_with(root))
            || line.is_some_and(|line| line.is_ours())
            || self.cloud(mount).is_some()
    }

    fn cloud(&self, mount: &Mount) -> Option<&Attached> {
        self.clouds.iter().find(|cloud| shows(mount, &cloud.device.node))
    }

    fn waits(&self, at: &Path) -> Result<Option<Waits>> {
        if !boot::systemd_runs(self.sysroot) {
            return Ok(None);
        }
        if self.unit.is_some_and(|unit| !unit.loaded) {
            return Ok(Some(Waits::NoUnit));
        }
        let own = boot::standing(self.sysroot, &boot::engine_waits(at)?)? == Standing::There;
        let waits = own || self.unit.is_some_and(|unit| unit.waits_for(at));
        Ok(Some(if waits { Waits::Yes } else { Waits::No }))
    }

    fn point(&self, mount: &Mount) -> Result<PointSeen> {
        let (sysroot, point) = (self.sysroot, mount.point());
        // As the machine in the sysroot knows it.
        let at = sysroot.inside(point);
        let source = Path::new(std::ffi::OsStr::from_bytes(&mount.source));
        let uuid = match source.starts_with("/dev") {
            true => uuid_of(source)?,
            false => None,
        };
        let sentinel = match &uuid {
            Some(uuid) if mount.root == b"/" => Some(sentinel::check(&Volume::open(point, source)?, uuid)?),
            _ => None,
        };
        let (hidden, flag) = match Bare::open(point)? {
            Some(bare) => (bare.hidden(HIDDEN)?, Some(bare.flag()?)),
            None => (Hidden::default(), None),
        };
        let name = fstab::names(sysroot);
        let line = self.fstab.at(&at, &name);
        let mut troubles = self.fstab.troubles(&at, uuid.as_ref(), &name);
        if let (Some(line), Some(uuid)) = (&line, &uuid)
            && line.uuid().is_none()
            && self.leads_to(line).is_some_and(|other| other != *uuid)
        {
            troubles.push(Trouble::OtherFileSystem(line.clone()));
        }
        // The parts and the devices of one btrfs have one UUID.
        let alone = uuid.as_ref().filter(|_| mount.fs_type != "btrfs");
        let same = |entry: &Entry| {
            let said = entry.uuid().or_else(|| self.leads_to(entry));
            alone.is_some() && said.as_ref() == alone
        };
        let elsewhere = self.fstab.entries().filter(|entry| {
            let place = entry.target.is_absolute() && !entry.is_far_away();
            place && name(&entry.target) != name(&at) && same(entry)
        });
        let present = alone.zip(self.present.as_ref());
        let twins = present.map_or(&[][..], |(uuid, present)| present.with(uuid));
        let others = twins.iter().filter(|node| !shows(mount, node)).cloned();
        let mut seen = PointSeen {
            // One that is there alone is the mounted one, by another name.
            twins: others.take_while(|_| twins.len() > 1).collect(),
            ends_with_the_machine: self.cloud(mount).is_some_and(|cloud| cloud.ends_with_the_machine),
            elsewhere: elsewhere.collect(),
            ours: line.is_some_and(|line| line.is_ours()),
            waits: self.waits(&at)?,
            uuid,
            troubles,
            sentinel,
            hidden,
            flag,
            ..PointSeen::default()
        };
        self.units(&at, source, &mut seen)?;
        if boot::systemd_runs(sysroot) {
            self.late(&at, &mut seen)?;
        }
        Ok(seen)
    }

    /// What systemd does when the volume comes after the boot.
    fn late(&self, at: &Path, seen: &mut PointSeen) -> Result<()> {
        let standing = |piece: &Piece| boot::standing(self.sysroot, piece);
        if let Some(uuid) = &seen.uuid {
            // One that leads elsewhere does the same: its name alone counts.
            let there = standing(&boot::mounted_when_it_comes(at, uuid))? != Standing::Missing;
            seen.mounted_late = Some(there);
        }
        if let Some(link) = boot::engine_comes_up(self.sysroot, at)? {
            seen.comes_up = Some(standing(&link)? == Standing::There);
        }
        let units = boot::ours(self.sysroot, at)?.into_iter();
        let stacks = units.filter_map(|piece| match piece {
            Piece::File { text, .. } if text.contains("\nExecStart=") => Some(text),
            Piece::File { .. } | Piece::Link { .. } => None,
        });
        seen.stacks = stacks.collect();
        Ok(())
    }

    /// The units that mount something at a place, and those that mount its device elsewhere at boot.
    fn units(&self, at: &Path, device: &Path, seen: &mut PointSeen) -> Result<()> {
        for unit in units::mounting(self.sysroot, at, Some(device))? {
            let start = start(self.sysroot, &unit)?;
            if let Some(other) = unit.at.filter(|other| other != at) {
                let starts = (start == Start::Wanted).then_some((unit.file, other));
                seen.units_elsewhere.extend(starts);
                continue;
            }
            let said = unit.what.as_deref().and_then(|what| {
                // As a line of fstab that says nothing else.
                let line = Fstab::parse(format!("{what} /").as_bytes()).entries().next()?;
                line.uuid().or_else(|| self.leads_to(&line))
            });
            seen.units.push(UnitSeen {
                start,
                file: unit.file,
                of_another: said.zip(seen.uuid).is_some_and(|(said, is)| said != is),
            });
        }
        Ok(())
    }

    /// The file system that a line would mount now. One that leads nowhere, or to what cannot be read, is told by others.
    fn leads_to(&self, line: &Entry) -> Option<FsUuid> {
        let device = by_path(self.sysroot, &line.device()?).ok()?;
        uuid_of(&device.node).ok()?
    }
}

/// What is not there any more is not what is mounted.
fn shows(mount: &Mount, node: &Path) -> bool {
    is_of(mount, node).unwrap_or(false)
}

/// Whether something lies in a directory that nothing is mounted on.
fn written(at: &Path) -> Option<bool> {
    let bare = Bare::open(at).ok()??;
    Some(!bare.hidden(1).ok()?.entries.is_empty())
}

/// `None` if it has none that Rehome knows, or is not there.
fn uuid_of(device: &Path) -> Result<Option<FsUuid>> {
    match std::fs::File::open(device).and_then(|file| FsUuid::of_device(&file)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read.map_err(|error| {
            Failure::environment(format!("cannot read {}", device.display())).because(&error)
        }),
    }
}
