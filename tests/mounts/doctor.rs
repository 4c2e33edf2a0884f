//! What `rehome doctor` sees of the machine itself, on real file systems, and what it says when no engine answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rehome::block::boot;
use rehome::block::fstab::Trouble;
use rehome::block::present::Present;
use rehome::block::unit_start::Start;
use rehome::observe::boot::{Asked, look};
use rehome::observe::{BootSeen, DeviceIs, PointSeen, Waits};

use super::server::Server;
use super::support::{Disk, Machine, in_own_namespace, sh, tempdir};

/// `rehome`, with an engine that is not there.
fn without_engine(directory: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rehome"))
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .stdin(Stdio::null())
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn doctor(server: &Server) -> (Option<i32>, String, String) {
    let root = server.at("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    without_engine(server.dir.path(), &["doctor", "--sysroot", root])
}

#[test]
fn trap_01_after_a_boot_without_its_volume_the_doctor_says_so_without_an_engine() {
    let mut server = Server::new();
    server.mounts(&[]);
    // All is well: what is left is that there is no project, and no engine.
    let (code, out, err) = doctor(&server);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    // The engine waits for what did not come.
    sh("umount", &[&server.point()]);
    let (code, out, err) = doctor(&server);
    assert_eq!((code, err.as_str()), (Some(3), ""), "{out}");
    let point = server.point();
    let point = point.display();
    for words in [
        format!("error: the block volume of {point} is not mounted [home-not-mounted]"),
        format!("line 4 of /etc/fstab: UUID={}", server.uuid()),
        format!("its disk is attached: {}", server.volumes[0].display()),
        "docker.service waits for it".to_owned(),
        format!("mend: mount {point}\n"),
        "mend: systemctl start docker\n".to_owned(),
        "[engine-silent]".to_owned(),
    ] {
        assert!(unwrapped(&out).contains(&words), "{words}: {out}");
    }
    // The volume is not even attached.
    let volume = server.volumes.remove(0);
    sh("losetup", &[&"-d", &volume]);
    let (code, out, _) = doctor(&server);
    assert_eq!(code, Some(3), "{out}");
    assert!(
        out.contains("not attached [volume-not-attached]") && out.contains("attach the volume"),
        "{out}"
    );
}

/// Long lines are broken for people.
fn unwrapped(text: &str) -> String {
    text.replace("\n    ", " ")
}

#[test]
fn without_an_engine_the_configured_place_is_looked_at_too() {
    let server = Server::new();
    let project = tempdir();
    let place = server.at("mnt/configured");
    std::fs::write(project.path().join("compose.yaml"), "name: kms\nservices: {}\n").unwrap();
    std::fs::write(
        project.path().join("rehome.yml"),
        format!("version: 1\nblock:\n  root: {}\n", place.display()),
    )
    .unwrap();
    let root = server.at("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    let (code, out, err) = without_engine(project.path(), &["doctor", "--json", "--sysroot", root]);
    assert_eq!(code, Some(3), "{out}{err}");
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["engine"], false);
    assert_eq!(said["findings"][0]["id"], "home-not-mounted", "{out}");
    // Without anything of this kind it is told as ever.
    std::fs::remove_file(project.path().join("rehome.yml")).unwrap();
    let (code, _, err) = without_engine(project.path(), &["doctor", "--sysroot", root]);
    assert_eq!(code, Some(1));
    assert!(err.contains("no Docker engine answers"), "{err}");
}

#[test]
fn every_command_names_the_volume_that_is_missing_when_no_engine_answers() {
    if !in_own_namespace("doctor::every_command_names_the_volume_that_is_missing_when_no_engine_answers") {
        return;
    }
    let project = tempdir();
    std::fs::write(project.path().join("compose.yaml"), "services: {}\n").unwrap();
    let fstab = project.path().join("fstab");
    std::fs::write(
        &fstab,
        "UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms-missing ext4 nofail,x-rehome 0 2\n",
    )
    .unwrap();
    sh("mount", &[&"--bind", &fstab, &"/etc/fstab"]);
    let (code, _, err) = without_engine(project.path(), &["status"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        unwrapped(&err).contains("/mnt/kms-missing is not mounted, and the engine does not start")
            && err.contains("mount /mnt/kms-missing && systemctl start docker"),
        "{err}"
    );
}

#[test]
fn what_the_doctor_says_mends_a_volume_without_a_clouds_name_and_keeps_its_options() {
    let server = Server::new();
    let node = server.volumes[0].to_str().unwrap();
    std::fs::remove_file(server.at("dev/disk/by-id/scsi-0DO_Volume_data-0")).unwrap();
    server.mounts(&["--device", node, "--options", "defaults,nofail,noatime,lazytime"]);
    let fstab = server.fstab();
    std::fs::remove_dir_all(server.at("etc/systemd/system/docker.service.d")).unwrap();
    // As the finding says it.
    server.mounts(&[]);
    assert_eq!(server.fstab(), fstab);
    assert!(server.at("etc/systemd/system/docker.service.d").exists());
}

fn asked(machine: &Machine) -> Asked {
    Asked {
        sysroot: machine.sysroot(),
        block_root: None,
        homes: vec![machine.target().join("postgres")],
        binds: Vec::new(),
        all: false,
    }
}

fn write_fstab(machine: &Machine, text: &str) {
    std::fs::write(machine.sysroot().at("/etc/fstab"), text).unwrap();
}

/// As a link of udev.
fn link(machine: &Machine, name: &str, to: &Path) {
    let link = machine.sysroot().at(Path::new("/dev/disk").join(name));
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(to, link).unwrap();
}

#[track_caller]
fn the_point(seen: &BootSeen, at: &Path) -> PointSeen {
    assert_eq!(seen.points.len(), 1, "{seen:?}");
    assert!(seen.missing.is_empty() && seen.unseen.is_empty(), "{seen:?}");
    seen.points[at].clone().unwrap()
}

#[tokio::test]
async fn trap_01_a_place_that_is_not_mounted_is_found_when_the_disk_above_is_another_one() {
    let machine = Machine::new();
    // The temporary disk of a host, mounted at /mnt.
    let temporary = Disk::new("ext4");
    let mnt = machine.sysroot().at("/mnt");
    sh("mount", &[&temporary.device, &mnt]);
    std::fs::create_dir_all(machine.target().join("postgres")).unwrap();
    write_fstab(
        &machine,
        &format!("/dev/sdz1 /mnt ext4 nofail 0 2\n{}\n", machine.line()),
    );
    let seen = look(asked(&machine)).await;
    let [place] = &seen.missing[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(place.at, machine.target());
    assert_eq!(place.below, [machine.target().join("postgres")]);
    assert_eq!(place.device, DeviceIs::Attached(machine.disk.device.clone()));
    assert_eq!(place.written, Some(true));
    assert!(
        seen.points.is_empty(),
        "the other disk is not taken for the volume: {seen:?}"
    );
    // The configuration alone says it as well.
    write_fstab(&machine, "");
    let seen = look(Asked {
        block_root: Some(machine.target()),
        ..asked(&machine)
    })
    .await;
    assert_eq!(seen.missing[0].at, machine.target(), "{seen:?}");
    // Where nothing says so, the disk is the home.
    let seen = look(asked(&machine)).await;
    assert!(
        seen.missing.is_empty() && seen.points.contains_key(&mnt),
        "{seen:?}"
    );
    sh("umount", &[&mnt]);
}

#[tokio::test]
async fn a_home_that_is_named_through_a_symlink_is_on_its_mount() {
    let machine = Machine::new();
    let volume = machine.mount();
    std::os::unix::fs::symlink("mnt/kms-data", machine.sysroot().at("/data")).unwrap();
    let line = machine.line().to_string().replace("/mnt/kms-data", "/data");
    write_fstab(&machine, &format!("{line}\n"));
    let named = machine.sysroot().at("/data/postgres");
    let ask = || Asked {
        homes: vec![named.clone()],
        ..asked(&machine)
    };
    let point = the_point(&look(ask()).await, &machine.target());
    assert_eq!(point.troubles, []);
    drop(volume);
    sh("umount", &[&machine.target()]);
    let seen = look(ask()).await;
    assert_eq!(seen.missing[0].at, machine.target(), "{seen:?}");
    assert_eq!(seen.missing[0].below, std::slice::from_ref(&named));
}

#[tokio::test]
async fn another_volume_than_that_of_the_line_is_found_however_the_line_names_it() {
    let machine = Machine::new();
    let other = Disk::new("ext4");
    machine.mount();
    link(&machine, "by-label/books", &other.device);
    let others = format!("UUID={}", other.uuid());
    for spec in [others.as_str(), "LABEL=books", "/dev/disk/by-label/books"] {
        write_fstab(&machine, &format!("{spec} /mnt/kms-data ext4 nofail 0 2\n"));
        let point = the_point(&look(asked(&machine)).await, &machine.target());
        let [Trouble::OtherFileSystem(entry)] = &point.troubles[..] else {
            panic!("{spec}: {point:?}")
        };
        assert_eq!(entry.number, 1);
    }
    link(&machine, "by-label/own", &machine.disk.device);
    write_fstab(
        &machine,
        "LABEL=own /mnt/kms-data ext4 nofail 0 2\nLABEL=own /srv/books ext4 nofail 0 2\n",
    );
    let point = the_point(&look(asked(&machine)).await, &machine.target());
    assert_eq!(point.troubles, []);
    assert_eq!(point.elsewhere.len(), 1, "{point:?}");
    assert_eq!(point.elsewhere[0].target, Path::new("/srv/books"));
}

#[tokio::test]
async fn a_copy_that_is_attached_after_the_mount_is_found() {
    let machine = Machine::new();
    machine.mount();
    let point = the_point(&look(asked(&machine)).await, &machine.target());
    assert!(point.twins.is_empty(), "{point:?}");
    // Attached to fetch a file from it; no link names it.
    let copy = machine.disk.clone();
    let point = the_point(&look(asked(&machine)).await, &machine.target());
    assert_eq!(point.twins, std::slice::from_ref(&copy.device));
}

#[test]
fn a_disk_that_cannot_be_read_is_told_and_one_that_is_not_there_is_none() {
    let disk = Disk::new("ext4");
    let broken = Disk::new("ext4");
    broken.vanish();
    let seen = Present::of(vec![
        disk.device.clone(),
        broken.device.clone(),
        "/dev/no-such-disk".into(),
    ]);
    assert_eq!(seen.with(&disk.uuid()), std::slice::from_ref(&disk.device));
    assert_eq!(seen.unread, std::slice::from_ref(&broken.device));
}

#[tokio::test]
async fn a_unit_of_systemd_is_looked_at_as_systemd_does() {
    let machine = Machine::new();
    machine.mount();
    let units = machine.sysroot().at("/etc/systemd/system");
    let file = units.join("mnt-kms\\x2ddata.mount");
    let unit = |uuid: String| {
        let text = format!("[Mount]\nWhat=/dev/disk/by-uuid/{uuid}\nWhere=/mnt/kms-data\n");
        std::fs::write(&file, text).unwrap();
    };
    let seen = async || {
        let point = the_point(&look(asked(&machine)).await, &machine.target());
        assert_eq!(point.troubles, [Trouble::Missing]);
        let [unit] = &point.units[..] else {
            panic!("{point:?}")
        };
        (unit.start, unit.of_another)
    };
    unit(machine.disk.uuid().to_string());
    assert_eq!(seen().await, (Start::Unwanted, false));
    let wants = units.join("local-fs.target.wants");
    std::fs::create_dir(&wants).unwrap();
    std::os::unix::fs::symlink(&file, wants.join(file.file_name().unwrap())).unwrap();
    assert_eq!(seen().await, (Start::Wanted, false));
    unit("11111111-2222-3333-4444-555555555555".to_owned());
    assert_eq!(seen().await, (Start::Wanted, true));
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/null", &file).unwrap();
    assert_eq!(seen().await, (Start::Masked, false));
    // DigitalOcean's own, at another place.
    let own = units.join("mnt-data.mount");
    let text = format!(
        "[Mount]\nWhat={}\nWhere=/mnt/data\n",
        machine.disk.device.display()
    );
    std::fs::write(&own, text).unwrap();
    let elsewhere = async || {
        let point = the_point(&look(asked(&machine)).await, &machine.target());
        point.units_elsewhere
    };
    assert_eq!(elsewhere().await, [], "nothing starts it");
    std::os::unix::fs::symlink(&own, wants.join("mnt-data.mount")).unwrap();
    assert_eq!(
        elsewhere().await,
        [("/etc/systemd/system/mnt-data.mount".into(), "/mnt/data".into())]
    );
}

#[tokio::test]
async fn the_engine_has_to_wait_and_to_be_started_by_a_late_mount() {
    let machine = Machine::new();
    let sysroot = machine.sysroot();
    machine.mount();
    write_fstab(&machine, &format!("{}\n", machine.line()));
    let seen = async || {
        let point = the_point(&look(asked(&machine)).await, &machine.target());
        (point.waits, point.comes_up)
    };
    assert_eq!(seen().await, (None, None), "without systemd nobody waits");
    std::fs::create_dir_all(sysroot.at("/run/systemd/system")).unwrap();
    assert_eq!(seen().await, (Some(Waits::No), None));
    let at = Path::new("/mnt/kms-data");
    boot::write(&sysroot, &boot::engine_waits(at).unwrap()).unwrap();
    assert_eq!(seen().await, (Some(Waits::Yes), None));
    // As `systemctl enable docker` does.
    let wants = sysroot.at("/etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    std::os::unix::fs::symlink("/lib/systemd/system/docker.service", wants.join("docker.service")).unwrap();
    assert_eq!(seen().await, (Some(Waits::Yes), Some(false)));
    boot::write(&sysroot, &boot::engine_comes_up(&sysroot, at).unwrap().unwrap()).unwrap();
    assert_eq!(seen().await, (Some(Waits::Yes), Some(true)));
    // And a volume that comes late has to be mounted.
    let late = async || {
        let point = the_point(&look(asked(&machine)).await, &machine.target());
        point.mounted_late
    };
    assert_eq!(late().await, Some(false));
    boot::write(&sysroot, &boot::mounted_when_it_comes(at, &machine.disk.uuid())).unwrap();
    assert_eq!(late().await, Some(true));
}

#[tokio::test]
async fn binds_count_where_a_volume_is_known_to_be_and_nowhere_else() {
    let machine = Machine::new();
    machine.mount();
    let ask = || Asked {
        homes: Vec::new(),
        binds: vec![machine.target().join("site"), PathBuf::from("/etc/hostname")],
        ..asked(&machine)
    };
    write_fstab(&machine, "");
    let seen = look(ask()).await;
    assert!(seen.points.is_empty() && seen.missing.is_empty(), "{seen:?}");
    assert_eq!(
        seen.binds[&machine.target().join("site")],
        sh("findmnt", &[&"-n", &"-o", &"MAJ:MIN", &machine.target()]).trim()
    );
    // By the configuration …
    let seen = look(Asked {
        block_root: Some(machine.target()),
        ..ask()
    })
    .await;
    assert!(seen.points.contains_key(&machine.target()), "{seen:?}");
    // … by a cloud …
    link(&machine, "by-id/scsi-0DO_Volume_sites", &machine.disk.device);
    assert!(look(ask()).await.points.contains_key(&machine.target()));
    std::fs::remove_dir_all(machine.sysroot().at("/dev/disk")).unwrap();
    // … and by Rehome's own line, also when it is not mounted.
    write_fstab(&machine, &format!("{}\n", machine.line()));
    assert!(look(ask()).await.points.contains_key(&machine.target()));
    sh("umount", &[&machine.target()]);
    let seen = look(ask()).await;
    assert_eq!(seen.missing[0].at, machine.target(), "{seen:?}");
    // A line that is not Rehome's says nothing of binds.
    write_fstab(&machine, "LABEL=x /mnt/kms-data ext4 nofail 0 2\n");
    assert!(look(ask()).await.missing.is_empty());
}

#[tokio::test]
async fn a_disk_of_the_host_is_no_home() {
    let machine = Machine::new();
    machine.mount();
    link(&machine, "by-id/google-local-ssd-0", &machine.disk.device);
    let point = the_point(&look(asked(&machine)).await, &machine.target());
    assert!(point.ends_with_the_machine);
}
