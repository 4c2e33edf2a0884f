//! Checks of what the next boot does with the block volumes: fstab, the sentinel, the bare mount point, systemd.

use std::path::Path;

use super::{About, Finding};
use crate::block::bare::Flag;
use crate::block::fstab::{Entry, Trouble};
use crate::block::sentinel;
use crate::block::unit_start::Start;
use crate::model::{ByteSize, shell_path};
use crate::observe::{BootSeen, PointSeen, UnitSeen, Waits};

/// Hidden files that are named.
const NAMED: usize = 5;

fn points(seen: &BootSeen) -> impl Iterator<Item = (&Path, &PointSeen)> {
    seen.points
        .iter()
        .filter_map(|(at, point)| Some((at.as_path(), point.as_ref().ok()?)))
}

fn mount(at: &Path) -> String {
    format!("rehome mount --at {}", shell_path(at))
}

fn line(entry: &Entry) -> String {
    format!("line {} of /etc/fstab: {}", entry.number, entry.text.trim())
}

/// What could not be looked at.
pub(super) fn unlooked(seen: &BootSeen) -> Vec<Finding> {
    let mut found = Vec::new();
    for why in &seen.unseen {
        let what = "what the next boot does could not be looked at";
        found.push(Finding::unknown("boot-unseen", About::Project, what, why));
    }
    for (at, point) in &seen.points {
        if let Err(why) = point {
            let what = format!(
                "what the next boot does with {} could not be looked at",
                at.display()
            );
            found.push(Finding::unknown("boot-unseen", About::Project, what, why));
        }
    }
    let has_uuid = points(seen).any(|(_, point)| point.uuid.is_some());
    if has_uuid && !seen.unread.is_empty() {
        let unread: Vec<_> = seen
            .unread
            .iter()
            .map(|node| node.display().to_string())
            .collect();
        found.push(Finding::unknown(
            "copies-unseen",
            About::Project,
            "whether a copy of a block volume is attached could not be looked at",
            &format!("not readable: {}", unread.join(", ")),
        ));
    }
    found
}

/// Something mounts it at the next boot.
pub(super) fn mounted_at_boot(seen: &BootSeen) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, point) in points(seen) {
        let missing = point.troubles.contains(&Trouble::Missing);
        let masked = |unit: &&UnitSeen| unit.start == Start::Masked;
        let wanted = point.units.iter().any(|unit| unit.start == Start::Wanted);
        // The engine waits for it, and so starts its unit.
        let wanted = wanted || point.waits == Some(Waits::Yes) && !point.units.is_empty();
        if !missing || wanted && !point.units.iter().any(|unit| masked(&unit)) {
            continue;
        }
        let finding = Finding::error(
            "no-fstab-line",
            About::Project,
            format!("nothing mounts {} at the next boot", at.display()),
        );
        let Some(unit) = point.units.iter().find(masked).or(point.units.first()) else {
            found.push(
                finding
                    .seen("/etc/fstab has no line for it, and systemd no unit")
                    .mend(mount(at)),
            );
            continue;
        };
        let (file, name) = (unit.file.display(), unit.file.file_name().unwrap_or_default());
        let name = shell_path(Path::new(name));
        found.push(match unit.start {
            Start::Masked => finding
                .seen(format!(
                    "/etc/fstab has no line for it, and the unit {file} is masked"
                ))
                .mend(format!("systemctl unmask {name}")),
            Start::Wanted | Start::Unwanted => finding
                .seen(format!(
                    "/etc/fstab has no line for it, and nothing starts the unit {file}"
                ))
                .mend(format!("systemctl enable {name}")),
        });
    }
    found
}

/// fstab mounts it by a name that lasts, only there, and lets the machine come up without it.
pub(super) fn fstab(seen: &BootSeen) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, point) in points(seen) {
        let shown = at.display();
        for trouble in &point.troubles {
            found.push(match trouble {
                Trouble::Missing => continue,
                Trouble::NoNofail(entry) => Finding::warning(
                    "no-nofail",
                    About::Project,
                    format!("the machine does not come up when the volume of {shown} is missing"),
                )
                .seen(line(entry))
                .seen("it has no `nofail`")
                .mend("add nofail,x-systemd.device-timeout=30s to the options of that line"),
                Trouble::NoAuto(entry) => Finding::error(
                    "no-auto",
                    About::Project,
                    format!("nothing mounts {shown} at the next boot"),
                )
                .seen(line(entry))
                .seen("it says `noauto`")
                .mend("take noauto out of the options of that line, and put nofail there"),
                Trouble::OtherFileSystem(entry) => other_volume(at, point).seen(line(entry)).mend(WHICH),
                Trouble::KernelName(entry) => Finding::error(
                    "device-name-in-fstab",
                    About::Project,
                    format!("another disk may be mounted at {shown} at the next boot"),
                )
                .seen(line(entry))
                .seen("it names the device as the kernel happened to name it")
                .mend(match &point.uuid {
                    Some(uuid) => format!("write UUID={uuid} in its place"),
                    None => format!(
                        "see its UUID and write that in its place: findmnt -no UUID {}",
                        shell_path(at)
                    ),
                }),
            });
        }
        for unit in point.units.iter().filter(|unit| unit.of_another) {
            found.push(
                other_volume(at, point)
                    .seen(format!(
                        "the unit {} names another file system",
                        unit.file.display()
                    ))
                    .mend(WHICH),
            );
        }
        let twice = |other: &Path| {
            let what = format!(
                "the volume of {shown} is mounted at {} too at the next boot",
                other.display()
            );
            Finding::warning("mounted-twice", About::Project, what)
        };
        for (file, other) in &point.units_elsewhere {
            let unit = shell_path(Path::new(file.file_name().unwrap_or_default()));
            found.push(
                twice(other)
                    .seen(format!("by the unit {}", file.display()))
                    .mend(format!("systemctl disable {unit}")),
            );
        }
        for entry in &point.elsewhere {
            found.push(
                twice(&entry.target)
                    .seen(line(entry))
                    .mend("remove that line, if nothing uses the volume there"),
            );
        }
    }
    found
}

/// How a person tells volumes apart.
const WHICH: &str = "see which volume has the data, and which is attached: lsblk -f";

fn other_volume(at: &Path, point: &PointSeen) -> Finding {
    let what = format!(
        "another volume than now is mounted at {} at the next boot",
        at.display()
    );
    Finding::error("other-volume-at-boot", About::Project, what).seen(match &point.uuid {
        Some(uuid) => format!("what is mounted there now has UUID {uuid}"),
        None => "what is mounted there now has another UUID".to_owned(),
    })
}

/// A copy with the same UUID: the next boot mounts whichever it finds.
pub(super) fn copies(seen: &BootSeen) -> Vec<Finding> {
    let copied = points(seen).filter(|(_, point)| !point.twins.is_empty());
    copied
        .map(|(at, point)| {
            let others: Vec<_> = point
                .twins
                .iter()
                .map(|node| node.display().to_string())
                .collect();
            Finding::error(
                "copy-attached",
                About::Project,
                format!(
                    "a copy of the volume at {} is attached: the next boot mounts either of them",
                    at.display()
                ),
            )
            .seen(format!(
                "{} {} the same UUID{}",
                others.join(", "),
                if others.len() == 1 { "has" } else { "have" },
                point.uuid.map_or_else(String::new, |uuid| format!(": {uuid}"))
            ))
            .seen("a volume made of a snapshot is such a copy; so is a disk that the mounted one is made of")
            .mend(format!(
                "see which is mounted: findmnt -no SOURCE {}",
                shell_path(at)
            ))
            .mend("detach the other at the provider before the next boot")
        })
        .collect()
}

/// A disk of the host is no home.
pub(super) fn host_disks(seen: &BootSeen) -> Vec<Finding> {
    points(seen)
        .filter(|(_, point)| point.ends_with_the_machine)
        .map(|(at, _)| {
            Finding::error(
                "disk-of-the-host",
                About::Project,
                format!("{} is on a disk of the host, no volume", at.display()),
            )
            .seen("what is on it is gone when the machine is stopped or moved to another host")
            .mend("rehome move --to DIRECTORY, where a block volume is mounted")
        })
        .collect()
}

/// It is the volume that it should be.
pub(super) fn sentinels(seen: &BootSeen) -> Vec<Finding> {
    points(seen)
        .filter_map(|(at, point)| match point.sentinel.as_ref()? {
            sentinel::Found::Right(_) => None,
            // Where Rehome wrote the line, it wrote a sentinel too.
            sentinel::Found::Missing if point.ours => Some(
                Finding::warning(
                    "sentinel-gone",
                    About::Project,
                    format!(
                        "the volume at {} may be another one: it has no sentinel",
                        at.display()
                    ),
                )
                .seen("Rehome wrote the line of /etc/fstab, and a sentinel on the volume that it was for")
                .mend(format!("ls -la {}", shell_path(at)))
                .mend(mount(at)),
            ),
            sentinel::Found::Missing => Some(
                Finding::note(
                    "no-sentinel",
                    About::Project,
                    format!("the volume at {} has no sentinel", at.display()),
                )
                .seen("nothing tells it from another volume that is mounted there by mistake")
                .mend(mount(at)),
            ),
            sentinel::Found::Torn(name) => Some(
                Finding::warning(
                    "sentinel-torn",
                    About::Project,
                    format!("the sentinel of the volume at {} is torn", at.display()),
                )
                .seen(format!(
                    "{name} does not say what it should, as after a crash of the server"
                ))
                .mend(mount(at)),
            ),
            sentinel::Found::Anothers(name) => Some(
                Finding::error(
                    "other-file-system",
                    About::Project,
                    format!("another volume than before is mounted at {}", at.display()),
                )
                .seen(format!(
                    "it has the sentinel {name}, which is not its own: it is a copy, or the wrong one"
                ))
                .mend("see which volume is attached where, at the provider and by: lsblk -f"),
            ),
        })
        .collect()
}

/// Trap 27: what was written while the volume was not mounted.
pub(super) fn hidden(seen: &BootSeen) -> Vec<Finding> {
    points(seen)
        .filter(|(_, point)| !point.hidden.entries.is_empty())
        .map(|(at, point)| {
            let bytes = point.hidden.entries.iter().map(|(_, bytes)| bytes).sum();
            let names: Vec<_> = point
                .hidden
                .entries
                .iter()
                .take(NAMED)
                .map(|(path, _)| path.display().to_string())
                .collect();
            let more = if point.hidden.more || point.hidden.entries.len() > NAMED {
                ", and more"
            } else {
                ""
            };
            Finding::warning(
                "hidden-files",
                About::Project,
                format!("files lie hidden on the disk below the mount at {}", at.display()),
            )
            .seen(format!("{}{more}, {} seen", names.join(", "), ByteSize(bytes)))
            .seen("something wrote there while the volume was not mounted: it may be data that is missed")
            .mend(format!(
                "mkdir /tmp/below && mount --bind {} /tmp/below && ls -la {}",
                shell_path(at.parent().unwrap_or(Path::new("/"))),
                shell_path(&Path::new("/tmp/below").join(at.file_name().unwrap_or_default()))
            ))
        })
        .collect()
}

/// Trap 1: nothing can be written in the place of a volume that is missing.
pub(super) fn writable(seen: &BootSeen) -> Vec<Finding> {
    points(seen)
        .filter(|(_, point)| point.flag == Some(Flag::Plain) && point.hidden.entries.is_empty())
        .map(|(at, _)| {
            Finding::warning(
                "mount-point-writable",
                About::Project,
                format!(
                    "when the volume is missing, the root disk is written to at {}",
                    at.display()
                ),
            )
            .seen("the directory below the mount is one like any other")
            .mend(mount(at))
        })
        .collect()
}

/// Trap 1: the engine waits for the volume.
pub(super) fn engine_waits(seen: &BootSeen) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, point) in points(seen) {
        let what = format!(
            "at a boot the engine starts containers before {} is mounted",
            at.display()
        );
        let finding = Finding::warning("engine-does-not-wait", About::Project, what);
        found.extend(match point.waits {
            None | Some(Waits::Yes) => None,
            Some(Waits::No) => Some(
                finding
                    .seen("docker.service has no RequiresMountsFor= for it")
                    .mend(mount(at)),
            ),
            Some(Waits::NoUnit) => Some(
                finding
                    .seen(
                        "systemd knows no docker.service: the engine is started in another way, as by a snap",
                    )
                    .mend(format!(
                        "write RequiresMountsFor={} into the [Unit] of what starts it: systemctl edit UNIT",
                        at.display()
                    )),
            ),
        });
    }
    found
}

/// Trap 28: a volume that is attached after the boot is mounted, and an engine that waited for it in vain is started.
pub(super) fn late(seen: &BootSeen) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, point) in points(seen) {
        let shown = at.display();
        // What others set up they mount by hand.
        if point.ours && point.mounted_late == Some(false) {
            found.push(
                Finding::warning(
                    "late-volume-unmounted",
                    About::Project,
                    format!("when the volume of {shown} is attached only after a boot, nothing mounts it"),
                )
                .seen("systemd waits for it for the time in fstab, and starts nothing when it appears later")
                .mend(mount(at)),
            );
        }
        if point.waits == Some(Waits::Yes) && point.comes_up == Some(false) {
            found.push(
                Finding::warning(
                    "engine-stays-down",
                    About::Project,
                    format!("when {shown} is mounted only after a boot, nothing starts the engine"),
                )
                .seen("docker.service waits for it, and its mount unit does not want docker.service")
                .mend(mount(at)),
            );
        }
    }
    found
}
