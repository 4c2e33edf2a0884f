//! What the next boot does with the mount points of block volumes.

use insta::assert_snapshot;
use rehome::block::bare::Flag;
use rehome::block::fsid::FsUuid;
use rehome::block::fstab::Trouble;
use rehome::block::sentinel;
use rehome::block::unit_start::Start;
use rehome::observe::{PointSeen, UnitSeen, Waits};

use super::*;

const UUID: &str = "0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11";

/// One at which all is well.
fn point() -> PointSeen {
    let uuid: FsUuid = UUID.parse().unwrap();
    PointSeen {
        uuid: Some(uuid),
        ours: true,
        sentinel: Some(sentinel::Found::Right(sentinel::Sentinel {
            format: 1,
            uuid,
            made: "2001-02-03T00:00:00Z".parse().unwrap(),
            by: "rehome".to_owned(),
        })),
        flag: Some(Flag::Immutable),
        waits: Some(Waits::Yes),
        comes_up: Some(true),
        mounted_late: Some(true),
        ..PointSeen::default()
    }
}

fn at_point(change: impl FnOnce(&mut PointSeen)) -> impl FnOnce(&mut Checkup) {
    move |seen| {
        let mut point = point();
        change(&mut point);
        seen.boot.points.insert(ROOT.into(), Ok(point));
    }
}

fn unit(start: Start) -> UnitSeen {
    UnitSeen {
        file: "/etc/systemd/system/mnt-kms\\x2ddata.mount".into(),
        start,
        of_another: false,
    }
}

#[test]
fn a_point_at_which_all_is_well_has_no_finding() {
    assert!(ids(at_point(|_| {})).is_empty());
    // An engine that is not started at boot is not started when the volume comes either.
    assert!(ids(at_point(|point| point.comes_up = None)).is_empty());
    assert!(ids(at_point(|point| point.waits = None)).is_empty());
}

#[test]
fn another_volume_than_that_of_fstab_is_found() {
    assert_snapshot!(text(at_point(|point| {
        let text = "UUID=11111111-2222-3333-4444-555555555555 /mnt/kms-data ext4 nofail,x-rehome 0 2";
        point.troubles = vec![Trouble::OtherFileSystem(line(text))];
        point.sentinel = Some(sentinel::Found::Missing);
    })), @r"
    error [other-volume-at-boot] another volume than now is mounted at /mnt/kms-data at the next boot
      what is mounted there now has UUID 0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11
      line 1 of /etc/fstab: UUID=11111111-2222-3333-4444-555555555555 /mnt/kms-data ext4 nofail,x-rehome 0 2
      $ see which volume has the data, and which is attached: lsblk -f
    warning [sentinel-gone] the volume at /mnt/kms-data may be another one: it has no sentinel
      Rehome wrote the line of /etc/fstab, and a sentinel on the volume that it was for
      $ ls -la /mnt/kms-data
      $ rehome mount --at /mnt/kms-data
    ");
    // One that a crash left torn says nothing of another volume.
    assert_snapshot!(text(at_point(|point| {
        point.sentinel = Some(sentinel::Found::Torn(".rehome-0b5ae5e5".to_owned()));
    })), @r"
    warning [sentinel-torn] the sentinel of the volume at /mnt/kms-data is torn
      .rehome-0b5ae5e5 does not say what it should, as after a crash of the server
      $ rehome mount --at /mnt/kms-data
    ");
    // Where Rehome wrote nothing, none is missed.
    assert_eq!(
        ids(at_point(|point| {
            point.sentinel = Some(sentinel::Found::Missing);
            point.ours = false;
        })),
        ["note no-sentinel"]
    );
    assert_eq!(
        ids(at_point(|point| {
            point.troubles = vec![Trouble::Missing];
            point.units = vec![UnitSeen {
                of_another: true,
                ..unit(Start::Wanted)
            }];
        })),
        ["error other-volume-at-boot"]
    );
}

#[test]
fn a_unit_counts_only_if_something_starts_it() {
    let with = |start: Start, waits: Waits| {
        at_point(move |point| {
            point.troubles = vec![Trouble::Missing];
            point.units = vec![unit(start)];
            point.waits = Some(waits);
        })
    };
    assert!(ids(with(Start::Wanted, Waits::Yes)).is_empty());
    // What the engine waits for is started for it.
    assert!(ids(with(Start::Unwanted, Waits::Yes)).is_empty());
    assert_eq!(
        ids(with(Start::Unwanted, Waits::No)),
        ["error no-fstab-line", "warning engine-does-not-wait"]
    );
    assert_snapshot!(text(with(Start::Masked, Waits::Yes)), @r"
    error [no-fstab-line] nothing mounts /mnt/kms-data at the next boot
      /etc/fstab has no line for it, and the unit /etc/systemd/system/mnt-kms\x2ddata.mount is masked
      $ systemctl unmask 'mnt-kms\x2ddata.mount'
    ");
    assert_eq!(
        ids(at_point(|point| point.troubles = vec![Trouble::Missing])),
        ["error no-fstab-line"]
    );
    assert_eq!(
        ids(at_point(
            |point| point.troubles = vec![Trouble::NoAuto(line("/dev/x /y ext4 noauto"))]
        )),
        ["error no-auto"]
    );
}

#[test]
fn a_copy_that_is_attached_is_found() {
    assert_snapshot!(text(at_point(|point| point.twins = vec!["/dev/sdc".into()])), @r"
    error [copy-attached] a copy of the volume at /mnt/kms-data is attached: the next boot mounts either of them
      /dev/sdc has the same UUID: 0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11
      a volume made of a snapshot is such a copy; so is a disk that the mounted one is made of
      $ see which is mounted: findmnt -no SOURCE /mnt/kms-data
      $ detach the other at the provider before the next boot
    ");
    let unread = |seen: &mut Checkup| {
        at_point(|_| {})(seen);
        seen.boot.unread = vec!["/dev/sdd".into()];
    };
    assert_eq!(ids(unread), ["unknown copies-unseen"]);
    assert!(ids(|seen| seen.boot.unread = vec!["/dev/sdd".into()]).is_empty());
}

#[test]
fn a_second_line_for_the_same_volume_and_a_disk_of_the_host_are_found() {
    assert_eq!(
        ids(at_point(
            |point| point.elsewhere = vec![line("LABEL=books /srv/books ext4")]
        )),
        ["warning mounted-twice"]
    );
    assert_snapshot!(text(at_point(|point| {
        point.units_elsewhere = vec![("/etc/systemd/system/mnt-data_0.mount".into(), "/mnt/data_0".into())];
    })), @r"
    warning [mounted-twice] the volume of /mnt/kms-data is mounted at /mnt/data_0 too at the next boot
      by the unit /etc/systemd/system/mnt-data_0.mount
      $ systemctl disable mnt-data_0.mount
    ");
    assert_eq!(
        ids(at_point(|point| point.ends_with_the_machine = true)),
        ["error disk-of-the-host"]
    );
}

#[test]
fn an_engine_that_does_not_wait_or_stays_down_is_found() {
    assert_eq!(
        ids(at_point(|point| point.comes_up = Some(false))),
        ["warning engine-stays-down"]
    );
    assert_eq!(
        ids(at_point(|point| point.mounted_late = Some(false))),
        ["warning late-volume-unmounted"]
    );
    assert_eq!(
        ids(at_point(|point| {
            point.waits = Some(Waits::No);
            point.comes_up = Some(false);
        })),
        ["warning engine-does-not-wait"]
    );
    assert_snapshot!(text(at_point(|point| point.waits = Some(Waits::NoUnit))), @r"
    warning [engine-does-not-wait] at a boot the engine starts containers before /mnt/kms-data is mounted
      systemd knows no docker.service: the engine is started in another way, as by a snap
      $ write RequiresMountsFor=/mnt/kms-data into the [Unit] of what starts it: systemctl edit UNIT
    ");
}

#[test]
fn trap_28_a_unit_that_brings_up_other_services_than_run_is_found() {
    let unit = |services: &str| {
        let text = format!(
            "[Unit]\nDescription=Stack kms-connect on {ROOT}\n[Service]\nExecStart=/usr/bin/docker compose -p \
             kms-connect start {services}\n"
        );
        at_point(move |point| point.stacks = vec![text])
    };
    let all: Vec<_> = clean()
        .world
        .services
        .iter()
        .map(|s| s.name.to_string())
        .collect();
    let all = all.join(" ");
    assert!(ids(unit(&all)).is_empty());
    assert_snapshot!(text(unit(&all.replace("redis", "worker"))), @r"
    warning [stack-unit-outdated] when /mnt/kms-data is mounted only after a boot, another stack is started than runs now
      it names service `worker`, which the Compose files do not have: Compose starts nothing then
      it does not name service `redis`, which runs
      $ rehome mount --at /mnt/kms-data
    ");
    // Of another project nothing is known.
    let other = at_point(|point| {
        point.stacks =
            vec!["Description=Stack kms on /mnt/kms-data\nExecStart=x up --pull never y".to_owned()];
    });
    assert!(ids(other).is_empty());
    let stopped = ids(|seen| {
        unit(&all)(seen);
        for container in &mut service_mut(&mut seen.world, "redis").containers {
            container.state = State::Exited(0);
        }
        seen.containers.retain(|c| c.service.as_str() != "redis");
    });
    assert_eq!(stopped, ["note stack-unit-outdated"]);
}

#[test]
fn what_could_not_be_looked_at_is_said() {
    assert_eq!(
        ids(|seen| {
            seen.boot.unseen = vec!["cannot read /etc/fstab".to_owned()];
            seen.boot
                .points
                .insert(ROOT.into(), Err("permission denied".to_owned()));
        }),
        ["unknown boot-unseen", "unknown boot-unseen"]
    );
}
