//! A device that is held: nobody else mounts it, makes something of it or probes it, as long as it is.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use super::device::{Device, Identity, Number};
use super::patience::until_free;
use super::sysfs;
use super::sysroot::Sysroot;
use super::tool::Tool;
use crate::helper::mounts::{self, Mount};
use crate::model::{Failure, Result, Span, shell_path};

/// udev holds its lock while it probes, which takes it milliseconds, and after each close of a writer.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// A program that looks at a new device opens it for writing and lets go at once.
const WRITERS_PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries for the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Processes whose mounts are looked through for one that holds a device.
const PROCESSES: usize = 10_000;

/// A device that was opened exclusively and locked.
///
/// `O_EXCL` keeps everybody from mounting it, also in other mount namespaces, and from making it a part of something:
/// open(2). The lock keeps udev from looking meanwhile: <https://systemd.io/BLOCK_DEVICE_LOCKING/>
#[derive(Debug)]
pub struct Opened {
    device: Device,
    identity: Identity,
    /// Which opening this is: what was proven of another one does not hold for it.
    serial: u64,
    /// Opened with `O_EXCL`. Given up when mkfs needs the device for itself.
    exclusive: Option<OwnedFd>,
    /// The same device without `O_EXCL`, locked. What programs are given as their stdin.
    plain: File,
    /// Of a partition, the disk: udev locks disks.
    _disk: Option<OwnedFd>,
}

impl Opened {
    /// Opens a device for reading, exclusively, and locks it.
    ///
    /// # Errors
    /// When it is in use (by whom, as far as the kernel tells), locked, gone, or another device by now.
    pub async fn open(device: Device) -> Result<Self> {
        let node = &device.node;
        let shown = node.display();
        let failed = |error: io::Error| Failure::environment(format!("cannot open {shown}")).because(&error);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let exclusive = match open(node, flags | OFlags::EXCL, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::BUSY) => return Err(in_use(&device)),
            Err(error) => return Err(failed(error.into())),
        };
        // By the descriptor and not by the name, which may lead elsewhere by now.
        let plain = open(
            format!("/proc/self/fd/{}", exclusive.as_raw_fd()),
            flags,
            Mode::empty(),
        )
        .map_err(|error| failed(error.into()))?;
        let identity = Identity::of(&exclusive).map_err(failed)?;
        if identity.number != device.number {
            return Err(
                Failure::refused(format!("{shown} is another device than a moment ago"))
                    .cause(format!("it was {}, it is {}", device.number, identity.number))
                    .data("nothing was written to it"),
            );
        }
        lock(&plain, node).await?;
        let disk = match sysfs::disk_of(identity.number).map_err(failed)? {
            None => None,
            Some(disk) => Some(lock_disk(&disk).await?),
        };
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            identity,
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            exclusive: Some(exclusive),
            plain: plain.into(),
            _disk: disk,
            device,
        })
    }

    /// What was opened.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Its node.
    #[must_use]
    pub fn node(&self) -> &Path {
        &self.device.node
    }

    /// What it was when it was opened.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Which opening this is.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.plain.as_fd()
    }

    pub(super) fn file(&self) -> &File {
        &self.plain
    }

    /// Another descriptor of the same opening, so the lock lives as long as one of them: a mkfs that outlives Rehome
    /// keeps it.
    pub(super) fn shared(&self) -> Result<OwnedFd> {
        self.plain
            .try_clone()
            .map(Into::into)
            .map_err(|error| Failure::environment("cannot duplicate a descriptor").because(&error))
    }

    /// Gives the device up to a program that wants it for itself. The lock stays.
    pub(super) fn share(&mut self) {
        self.exclusive = None;
    }

    /// That it is still the device that was opened.
    ///
    /// # Errors
    /// When it is gone or changed: detached, replaced, resized.
    pub fn still_same(&self) -> Result<()> {
        let changed = |cause: String| {
            Failure::refused(format!(
                "{} changed while it was looked at",
                self.node().display()
            ))
            .cause(cause)
        };
        let now = Identity::of(&self.plain).map_err(|error| changed(error.to_string()))?;
        if now == self.identity {
            Ok(())
        } else {
            Err(changed(differences(&self.identity, &now)))
        }
    }
}

fn differences(before: &Identity, now: &Identity) -> String {
    let mut found = Vec::new();
    if before.number != now.number {
        found.push(format!("its number was {}, now {}", before.number, now.number));
    }
    if before.size != now.size {
        found.push(format!("it had {} bytes, now {}", before.size.0, now.size.0));
    }
    if before.serial != now.serial {
        let name = |serial: &Option<String>| serial.clone().unwrap_or_else(|| "none".into());
        found.push(format!(
            "its serial was {}, now {}",
            name(&before.serial),
            name(&now.serial)
        ));
    }
    if before.diskseq != now.diskseq {
        found.push("another disk was attached in its place".into());
    }
    if before.start != now.start {
        found.push("the partition begins elsewhere".into());
    }
    found.join("; ")
}

/// Whether the kernel gives a device to nobody else because something uses it. A device that cannot be opened for another
/// reason is not said to be in use.
#[must_use]
pub fn is_busy(node: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::EXCL;
    matches!(open(node, flags, Mode::empty()), Err(Errno::BUSY))
}

/// Has udev look at a device that was formatted while it was locked, and waits for it: before 251 it passes over what
/// happened meanwhile, so that there is no link by UUID, and systemd unmounts what has none. Where there is no udev
/// nothing is done. <https://systemd.io/BLOCK_DEVICE_LOCKING/>
///
/// # Errors
/// When udev does not answer.
pub async fn tell_udev(sysroot: &Sysroot, node: &Path) -> Result<()> {
    if !sysroot.is_machine() || !Path::new("/run/udev/control").exists() {
        return Ok(());
    }
    let words = [
        "trigger".as_ref(),
        "--action=change".as_ref(),
        "--settle".as_ref(),
        node.as_os_str(),
    ];
    let told = Tool::new("udevadm", words).run().await;
    told.map(drop)
        .map_err(|failure| failure.data("the file system is made, and not mounted yet"))
}

async fn lock_disk(disk: &Path) -> Result<OwnedFd> {
    let failed = |error: io::Error| {
        Failure::environment(format!("cannot lock the disk of a partition, {}", disk.display()))
            .because(&error)
    };
    let name = disk.file_name().unwrap_or_default();
    // The kernel's own name of the node; `!` stands for a slash in it.
    let node = PathBuf::from("/dev").join(name.to_string_lossy().replace('!', "/"));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = open(&node, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let file = File::from(fd);
    let number = Number::of(file.metadata().map_err(failed)?.rdev());
    if number != sysfs::number(disk).map_err(failed)? {
        return Err(failed(io::Error::other(format!(
            "{} is not that disk",
            node.display()
        ))));
    }
    lock(&file, &node).await?;
    Ok(file.into())
}

async fn lock(file: impl AsFd, node: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if began.elapsed() < LOCK_PATIENCE => {
                // There is no way to be told; the other lock must end by itself.
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(Failure::refused(format!(
                    "{} is locked by another program, for more than {}",
                    node.display(),
                    Span(LOCK_PATIENCE)
                ))
                .cause("something partitions, formats or probes it right now")
                .data("nothing was written to it")
                .hint("see which: lslocks; then run it again when that has ended"));
            }
            Err(error) => {
                return Err(Failure::environment(format!("cannot lock {}", node.display())).because(&error));
            }
        }
    }
}

/// A device that the kernel gives to nobody else, and why.
fn in_use(device: &Device) -> Failure {
    let shown = device.node.display();
    let failure = Failure::refused(format!("{shown} is in use")).data("nothing was written to it");
    match users(device) {
        Ok(users) if users.is_empty() => failure.cause(
            "the kernel does not say by what: a mount in a container or another mount namespace, or a program that \
             opened it for itself",
        ),
        Ok(users) => users.into_iter().fold(failure, Failure::cause),
        Err(error) => failure.because(&error),
    }
    .hint(format!("see what uses it: lsblk {}; grep -l {} /proc/*/mountinfo", shell_path(&device.node), device.number))
}

/// What uses a device or a partition of it, in words.
fn users(device: &Device) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut numbers = vec![device.number];
    for name in sysfs::partitions(device.number)? {
        numbers.push(sysfs::number(&device.number.directory().join(name))?);
    }
    for number in &numbers {
        let holders = sysfs::holders(*number)?;
        if !holders.is_empty() {
            found.push(format!("it is a part of {}", holders.join(", ")));
        }
    }
    let own = mounted(Path::new("/proc/self/mountinfo"), &numbers)?;
    found.extend(own.iter().map(|point| format!("it is mounted at {point}")));
    if own.is_empty() {
        found.extend(mounted_elsewhere(&numbers));
    }
    // The first line is a heading: proc(5). There is no such file in a kernel without swap.
    let swaps = sysfs::attribute(Path::new("/proc/swaps"))?.unwrap_or_default();
    for line in swaps.lines().skip(1) {
        let name = Path::new(line.split_whitespace().next().unwrap_or_default());
        if numbers.iter().any(|number| sysfs::is_device(name, *number)) {
            found.push(format!("it is swap space in use ({})", name.display()));
        }
    }
    Ok(found)
}

/// Where these devices are mounted, in the mount namespace of this mountinfo.
fn mounted(mountinfo: &Path, numbers: &[Number]) -> io::Result<Vec<String>> {
    let text = std::fs::read(mountinfo)?;
    let mut found = Vec::new();
    for mount in text.split(|byte| *byte == b'\n').filter_map(mounts::parse) {
        let source = String::from_utf8_lossy(&mount.source).into_owned();
        let is = |number: &Number| {
            // btrfs shows a number of its own, and the device's name.
            mount.device == number.to_string() || sysfs::is_device(Path::new(&source), *number)
        };
        if numbers.iter().any(is) {
            found.push(String::from_utf8_lossy(&mount.point).into_owned());
        }
    }
    Ok(found)
}

/// What has the device of a mount mounted in another mount namespace and keeps it when the mount goes: containers, mostly.
/// A sentence each, of so many as are worth reading. `own` is the mount table of this process.
///
/// Services with a `PrivateTmp=` and the like have a namespace that follows the machine's: what is unmounted here is
/// unmounted there, wherever it is seen from there (a snap sees the machine below `/var/lib/snapd/hostfs`), and also where
/// one follows another that follows the machine. The mount it lies on decides, and the place on that:
/// <https://docs.kernel.org/filesystems/sharedsubtree.html>
#[must_use]
pub fn others_with(top: &Mount, own: &[Mount]) -> Vec<String> {
    const NAMED: usize = 5;
    let parent = |table: &[Mount], mount: &Mount| table.iter().find(|m| m.id == mount.parent).cloned();
    let Some(under) = parent(own, top) else {
        return vec!["what it is mounted on is not in the mount table".to_owned()];
    };
    let mut spaces: Vec<PathBuf> = std::fs::read_link("/proc/self/ns/mnt").into_iter().collect();
    let (mut seen, mut links) = (Vec::new(), Vec::new());
    for process in std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .take(PROCESSES)
    {
        // Each namespace once; a process that has ended meanwhile has none.
        let Ok(space) = std::fs::read_link(process.path().join("ns/mnt")) else {
            continue;
        };
        if spaces.contains(&space) {
            continue;
        }
        spaces.push(space);
        let id = process.file_name().to_string_lossy().into_owned();
        let table = mounts::table(&id).unwrap_or_default();
        for mount in &table {
            if mount.device == under.device {
                links.push((mount.master, mount.shared));
            }
            if mount.device == top.device {
                seen.push((id.clone(), parent(&table, mount), mount.clone()));
            }
        }
    }
    let groups = following(under.shared, &links);
    let goes_along = |on: &Mount, mount: &Mount| {
        let follows = [on.shared, on.master]
            .iter()
            .flatten()
            .any(|group| groups.contains(group));
        follows
            && on.device == under.device
            && mount.root == top.root
            && mount
                .place_on(on)
                .is_some_and(|place| Some(place) == top.place_on(&under))
    };
    let mut named = Vec::new();
    seen.retain(|(id, on, mount)| {
        let stays = !on.as_ref().is_some_and(|on| goes_along(on, mount));
        let first = stays && !named.contains(id);
        named.extend(first.then(|| id.clone()));
        first
    });
    let found = seen.iter().take(NAMED).map(|(id, _, mount)| {
        let name = sysfs::attribute(&Path::new("/proc").join(id).join("comm"));
        format!(
            "process {id} ({}) has it mounted at {}, in a container or another mount namespace",
            name.ok().flatten().unwrap_or_default(),
            mount.point().display()
        )
    });
    found.collect()
}

/// The groups of mounts that take from a group, directly or by way of others. A link is a mount's master and its own group.
fn following(first: Option<u64>, links: &[(Option<u64>, Option<u64>)]) -> BTreeSet<u64> {
    let mut groups: BTreeSet<u64> = first.into_iter().collect();
    loop {
        let more: Vec<u64> = links
            .iter()
            .filter(|(master, _)| master.is_some_and(|master| groups.contains(&master)))
            .filter_map(|(_, shared)| shared.filter(|shared| !groups.contains(shared)))
            .collect();
        if more.is_empty() {
            return groups;
        }
        groups.extend(more);
    }
}

/// As [`writers`], of those that do not let go for some time.
pub(super) async fn lasting_writers(number: Number) -> Vec<String> {
    until_free(WRITERS_PATIENCE, || writers(number), |found| !found.is_empty()).await
}

/// Programs that have a device open for writing: a copy that is under way and has written zeroes so far, a virtual machine.
/// The kernel gives it to them together with whoever asks for it alone. What cannot be read is passed over: that of other
/// users is seen by root, and root is asked for before.
fn writers(number: Number) -> Vec<String> {
    const NAMED: usize = 5;
    /// `O_WRONLY` and `O_RDWR`.
    const WRITES: u32 = 3;
    let mut found = Vec::new();
    let own = std::process::id().to_string();
    for process in std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .take(PROCESSES)
    {
        let id = process.file_name().to_string_lossy().into_owned();
        if id == own || found.len() >= NAMED || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let files = std::fs::read_dir(process.path().join("fd")).into_iter().flatten();
        let writes = files.flatten().any(|file| {
            // Only what is a device is followed: others may be on a server that does not answer.
            let device = std::fs::read_link(file.path()).is_ok_and(|to| to.starts_with("/dev/"));
            let info = process.path().join("fdinfo").join(file.file_name());
            device
                && sysfs::is_device(&file.path(), number)
                && std::fs::read_to_string(info).is_ok_and(|info| {
                    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
                    flags
                        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
                        .is_none_or(|flags| flags & WRITES != 0)
                })
        });
        if writes {
            let name = sysfs::attribute(&process.path().join("comm"));
            let name = name.ok().flatten().unwrap_or_default();
            found.push(format!("process {id} ({name}) has it open for writing"));
        }
    }
    found
}

/// The first process that has one of these devices mounted where it lives. Processes come and go: one that cannot be
/// read is passed over, as this is only for the words of a refusal.
fn mounted_elsewhere(numbers: &[Number]) -> Option<String> {
    let processes = std::fs::read_dir("/proc").ok()?;
    for process in processes.flatten().take(PROCESSES) {
        let id = process.file_name().to_string_lossy().into_owned();
        if !id.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let points = mounted(&process.path().join("mountinfo"), numbers).unwrap_or_default();
        if let Some(point) = points.first() {
            let name = sysfs::attribute(&process.path().join("comm"))
                .ok()
                .flatten()
                .unwrap_or_default();
            return Some(format!(
                "it is mounted at {point} in the mount namespace of process {id} ({name})"
            ));
        }
    }
    None
}
