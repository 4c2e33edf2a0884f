//! Checks of what the next boot does with the block volumes: fstab, the sentinel, the bare mount point, systemd.

use std::path::Path;

use super::{About, Finding};
use crate::block::bare::Flag;
use crate::block::boot::Standing;
use crate::block::fstab::Trouble;
use crate::block::sentinel;
use crate::model::ByteSize;
use crate::observe::{Checkup, PointSeen};

/// Hidden files that are named.
const NAMED: usize = 5;

fn points(seen: &Checkup) -> impl Iterator<Item = (&Path, &PointSeen)> {
    seen.points
        .iter()
        .filter_map(|(at, point)| Some((at.as_path(), point.as_ref().ok()?)))
}

fn mount(at: &Path) -> String {
    format!("rehome mount --at {}", at.display())
}

/// What could not be looked at.
pub(super) fn unlooked_points(seen: &Checkup) -> Vec<Finding> {
    let fstab = seen.unmounted.as_ref().err().map(|why| {
        let what = "what should be mounted could not be looked at".to_owned();
        Finding::unknown("boot-unseen", About::Project, what, why)
    });
    let points = seen.points.iter().filter_map(|(at, point)| {
        let why = point.as_ref().err()?;
        let what = format!(
            "what the next boot does with {} could not be looked at",
            at.display()
        );
        Some(Finding::unknown("boot-unseen", About::Project, what, why))
    });
    fstab.into_iter().chain(points).collect()
}

/// fstab mounts it, by a name that lasts, and lets the machine come up without it.
pub(super) fn fstab(seen: &Checkup) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, point) in points(seen) {
        let shown = at.display();
        for trouble in &point.troubles {
            found.push(match trouble {
                // A unit of systemd may do it instead.
                Trouble::Missing if point.mount_units > 0 => continue,
                Trouble::Missing => Finding::error(
                    "no-fstab-line",
                    About::Project,
                    format!("nothing mounts {shown} at the next boot"),
                )
                .seen("/etc/fstab has no line for it, and systemd no unit")
                .mend(mount(at)),
                Trouble::NoNofail(entry) => Finding::warning(
                    "no-nofail",
                    About::Project,
                    format!("the machine does not come up when the volume of {shown} is missing"),
                )
                .seen(format!(
                    "line {} of /etc/fstab has no `nofail`: {}",
                    entry.number,
                    entry.text.trim()
                ))
                .mend("add nofail,x-systemd.device-timeout=30s to the options of that line"),
                Trouble::NoAuto(entry) => Finding::error(
                    "no-auto",
                    About::Project,
                    format!("nothing mounts {shown} at the next boot"),
                )
                .seen(format!(
                    "line {} of /etc/fstab says `noauto`: {}",
                    entry.number,
                    entry.text.trim()
                ))
                .mend("take noauto out of the options of that line, and put nofail there"),
                Trouble::OtherFileSystem(entry) => Finding::error(
                    "other-volume-at-boot",
                    About::Project,
                    format!("another volume than now is mounted at {shown} at the next boot"),
                )
                .seen(format!(
                    "line {} of /etc/fstab names another file system: {}",
                    entry.number,
                    entry.text.trim()
                ))
                .seen(match &point.uuid {
                    Some(uuid) => format!("what is mounted there now has UUID {uuid}"),
                    None => "what is mounted there now has another UUID".to_owned(),
                })
                .mend("see which volume has the data, and which is attached: lsblk -f"),
                Trouble::KernelName(entry) => Finding::error(
                    "device-name-in-fstab",
                    About::Project,
                    format!("another disk may be mounted at {shown} at the next boot"),
                )
                .seen(format!(
                    "line {} of /etc/fstab names the device as the kernel happened to name it: {}",
                    entry.number,
                    entry.text.trim()
                ))
                .mend(match &point.uuid {
                    Some(uuid) => format!("write UUID={uuid} in its place"),
                    None => format!("see its UUID and write that in its place: findmnt -no UUID {shown}"),
                }),
            });
        }
    }
    found
}

/// It is the volume that it should be.
pub(super) fn sentinels(seen: &Checkup) -> Vec<Finding> {
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
                .mend(format!("ls -la {}", at.display()))
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
pub(super) fn hidden(seen: &Checkup) -> Vec<Finding> {
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
                "mkdir /tmp/below && mount --bind {} /tmp/below && ls -la /tmp/below/{}",
                at.parent().unwrap_or(Path::new("/")).display(),
                at.file_name().unwrap_or_default().to_string_lossy()
            ))
        })
        .collect()
}

/// Trap 1: nothing can be written in the place of a volume that is missing.
pub(super) fn writable(seen: &Checkup) -> Vec<Finding> {
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

/// Traps 1 and 28: the engine waits for the volume.
pub(super) fn engine_waits(seen: &Checkup) -> Vec<Finding> {
    points(seen)
        .filter(|(_, point)| !matches!(point.waits, None | Some(Standing::There)))
        .map(|(at, _)| {
            Finding::warning(
                "engine-does-not-wait",
                About::Project,
                format!(
                    "at a boot the engine starts containers before {} is mounted",
                    at.display()
                ),
            )
            .seen("docker.service has no RequiresMountsFor= for it")
            .mend(mount(at))
        })
        .collect()
}
