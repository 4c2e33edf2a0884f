//! `rehome mount` when something is not as it should be: a Ctrl-C, options that do not work, clones, other namespaces.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::server::{FSTAB, Server};
use super::support::{ask, in_own_namespace, sh};

/// Waits until a running command has said this on stderr.
fn until(child: &mut std::process::Child, words: &str) -> String {
    use std::io::Read as _;
    let mut said = Vec::new();
    let mut byte = [0];
    let stderr = child.stderr.as_mut().unwrap();
    while !String::from_utf8_lossy(&said).contains(words) {
        let read = stderr.read(&mut byte).unwrap();
        assert_eq!(read, 1, "it ended: {}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn interrupt(child: &std::process::Child) {
    sh("kill", &[&"-INT", &child.id().to_string()]);
}

#[test]
fn a_ctrl_c_while_the_device_is_read_leaves_it_empty() {
    let server = Server::new();
    // Large, so that reading all of it takes its time.
    sh("truncate", &[&"-s", &"40G", &server.image(0)]);
    sh("losetup", &[&"--set-capacity", &server.volumes[0]]);
    let mut child = server
        .command(&["--full", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It has the device once it is locked.
    while ask(
        "flock",
        &[&"--shared", &"--nonblock", &server.volumes[0], &"true"],
    )
    .0
    {
        assert!(child.try_wait().unwrap().is_none());
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(11), "{said}");
    assert!(
        said.contains("nothing was changed") && !said.contains("going back"),
        "{said}"
    );
    assert!(!ask("blkid", &[&"-p", &server.volumes[0]]).0, "it is empty");
    assert!(!server.point().exists());
    assert_eq!(server.fstab(), FSTAB);
    let records = std::fs::read_dir(server.dir.path().join("state/host")).unwrap();
    assert!(records.flatten().all(|entry| entry.file_name() == "lock"));
}

/// `rehome mount` on a terminal, and what it says there.
struct Asked {
    child: std::process::Child,
    stdin: std::process::ChildStdin,
    stdout: std::process::ChildStdout,
    said: String,
}

impl Asked {
    /// Up to the question, which is asked on a terminal only.
    fn by(server: &Server, more: &[&str]) -> Self {
        let command = server.command(more);
        let arguments = command.get_args().map(|arg| arg.to_str().unwrap());
        // `exec`: some shells do not hand on the exit code of a program after a Ctrl-C.
        let mut line = vec!["exec", env!("CARGO_BIN_EXE_rehome")];
        line.extend(arguments.filter(|arg| *arg != "--yes"));
        let mut child = Command::new("script")
            .args([
                "--quiet",
                "--return",
                "--flush",
                "--command",
                &line.join(" "),
                "/dev/null",
            ])
            .current_dir(server.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut asked = Self {
            stdin: child.stdin.take().unwrap(),
            stdout: child.stdout.take().unwrap(),
            child,
            said: String::new(),
        };
        asked.until("Do this?");
        asked
    }

    fn until(&mut self, words: &str) {
        use std::io::Read as _;
        let mut byte = [0];
        while !self.said.contains(words) {
            assert_eq!(self.stdout.read(&mut byte).unwrap(), 1, "{}", self.said);
            self.said.push(char::from(byte[0]));
        }
    }

    fn types(&mut self, keys: &[u8]) {
        use std::io::Write as _;
        self.stdin.write_all(keys).unwrap();
    }

    fn ends(mut self) -> (Option<i32>, String) {
        use std::io::Read as _;
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).unwrap();
        self.said.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().unwrap().code(), self.said)
    }
}

#[test]
fn a_ctrl_c_at_the_question_is_no_yes() {
    let server = Server::new();
    let before = server.sum(0);
    let mut asked = Asked::by(&server, &[]);
    // What the terminal makes a Ctrl-C of, and then a yes in haste.
    asked.types(b"\x03");
    asked.until("interrupted");
    asked.types(b"y\n");
    let (code, said) = asked.ends();
    assert_eq!(code, Some(11), "{said}");
    assert!(said.contains("stopped at the question"), "{said}");
    let after = said.split("Do this?").last().unwrap();
    assert!(!after.contains("look at the d"), "a bar in the question: {said}");
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
    assert!(!server.point().exists());
}

#[test]
fn a_line_that_somebody_adds_to_fstab_while_the_question_stands_stays() {
    let server = Server::new();
    server.mounts(&[]);
    let mut asked = Asked::by(&server, &["--undo"]);
    let line = "/dev/vdc1 /srv/colleague xfs defaults 0 0\n";
    std::fs::write(server.at("etc/fstab"), server.fstab() + line).unwrap();
    asked.types(b"y\n");
    let (code, said) = asked.ends();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(server.fstab(), format!("{FSTAB}{line}"));
    assert_eq!(server.source(), "");
}

#[test]
fn options_that_do_not_work_are_not_written_into_fstab_and_nofail_stays() {
    let server = Server::new();
    let (code, said) = server.mount(&["--options", "noatime,bogus=1"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("bogus") && said.contains("--undo"), "{said}");
    assert_eq!((server.fstab().as_str(), server.source().as_str()), (FSTAB, ""));
    let said = server.mounts(&["--options", "defaults,noatime"]);
    assert!(
        said.contains("nofail,x-systemd.device-timeout=30s stays"),
        "{said}"
    );
    let line = server.fstab();
    let line = line.lines().last().unwrap();
    assert!(
        line.contains(" defaults,noatime,nofail,x-systemd.device-timeout=30s,x-rehome 0 2"),
        "{line}"
    );
}

#[test]
fn a_copy_of_a_volume_is_found_whatever_its_name_and_the_sentinel_of_another_is_not_mounted() {
    let server = Server::new();
    server.mounts(&[]);
    sh("umount", &[&server.point()]);
    std::fs::write(server.at("etc/fstab"), FSTAB).unwrap();
    // Byte by byte, on a device that no cloud names.
    let copy = server.dir.path().join("copy");
    sh("cp", &[&server.image(0), &copy]);
    let device = sh("losetup", &[&"-f", &"--show", &copy]);
    let (code, said) = server.mount(&[]);
    // With a UUID of its own it is another volume, but has the first one's sentinel.
    sh("losetup", &[&"-d", &device]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("have the same UUID") && said.contains(&device),
        "{said}"
    );
    sh("e2fsck", &[&"-fp", &server.volumes[0]]);
    sh("tune2fs", &[&"-U", &"random", &server.volumes[0]]);
    let (code, said) = server.mount(&[]);
    // The mount was made and taken back.
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("sentinel of another"), "{said}");
    assert_eq!((server.fstab().as_str(), server.source().as_str()), (FSTAB, ""));
}

#[test]
fn the_volume_that_digitalocean_mounts_elsewhere_is_refused_with_a_way_that_works() {
    let server = Server::new();
    sh("mkfs.ext4", &[&"-q", &server.volumes[0]]);
    let unit = server.at("etc/systemd/system/mnt-data_0.mount");
    let text = format!(
        "[Unit]\nDescription=Mount DO Volume data_0\n[Mount]\nWhat={}\nWhere=/mnt/data_0\nOptions=defaults,nofail,discard,noatime\nType=ext4\n",
        server.volumes[0].display()
    );
    std::fs::write(&unit, text).unwrap();
    let (code, said) = server.mount(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("mnt-data_0.mount mounts this volume at /mnt/data_0 already")
            && said.contains("systemctl disable --now mnt-data_0.mount"),
        "{said}"
    );
    assert_eq!((server.fstab().as_str(), server.source().as_str()), (FSTAB, ""));
    std::fs::remove_file(&unit).unwrap();
    server.mounts(&[]);
}

#[test]
fn a_write_protected_volume_is_refused() {
    let server = Server::new();
    sh("mkfs.ext4", &[&"-q", &server.volumes[0]]);
    sh("blockdev", &[&"--setro", &server.volumes[0]]);
    let (code, said) = server.mount(&[]);
    sh("blockdev", &[&"--setrw", &server.volumes[0]]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("is write-protected"), "{said}");
    assert_eq!((server.fstab().as_str(), server.source().as_str()), (FSTAB, ""));
}

#[test]
fn btrfs_is_mounted_as_it_is_and_the_second_run_changes_nothing() {
    let server = Server::new();
    sh("mkfs.btrfs", &[&"-q", &server.volumes[0]]);
    server.mounts(&[]);
    let fstab = server.fstab();
    let said = server.mounts(&[]);
    assert!(said.contains("nothing was left to do"), "{said}");
    assert_eq!(server.fstab(), fstab);
    server.mounts(&["--undo"]);
    assert_eq!((server.fstab().as_str(), server.source().as_str()), (FSTAB, ""));
}

#[test]
fn the_engine_is_started_with_a_volume_that_comes_late_where_it_starts_at_boot() {
    let server = Server::new();
    let units = server.at("etc/systemd/system");
    std::fs::create_dir_all(units.join("multi-user.target.wants")).unwrap();
    std::os::unix::fs::symlink(
        "/lib/systemd/system/docker.service",
        units.join("multi-user.target.wants/docker.service"),
    )
    .unwrap();
    let said = server.mounts(&[]);
    assert!(said.contains("the engine is started, and with it"), "{said}");
    let link = units.join(r"mnt-kms\x2ddata.mount.wants/docker.service");
    assert_eq!(
        std::fs::read_link(&link).unwrap().to_str(),
        Some("/lib/systemd/system/docker.service")
    );
    assert!(server.mounts(&[]).contains("nothing was left to do"));
    server.mounts(&["--undo"]);
    assert!(!link.is_symlink() && !link.parent().unwrap().exists());
}

#[test]
fn what_services_of_the_machine_see_of_the_volume_does_not_stop_the_way_back_and_a_container_does() {
    if !in_own_namespace(
        "careful::what_services_of_the_machine_see_of_the_volume_does_not_stop_the_way_back_and_a_container_does",
    ) {
        return;
    }
    sh("mount", &[&"--make-rshared", &"/"]);
    let server = Server::new();
    server.mounts(&[]);
    // In a namespace of its own, after some commands there.
    let other = |propagation: &str, commands: &str| {
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", propagation])
            .args(["sh", "-ec", commands])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until(&mut child, "ready\n");
        child
    };
    const STAYS: &str = "echo ready >&2; read line";
    let elsewhere = server.at("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let (point, elsewhere) = (server.point(), elsewhere.display().to_string());
    let bound = format!("mount --bind {} {elsewhere}; {STAYS}", point.display());
    // A container keeps what it has, and so does whoever has it at a place of its own.
    for (propagation, commands) in [("private", STAYS), ("slave", &bound)] {
        let mut container = other(propagation, commands);
        let (code, said) = server.mount(&["--undo"]);
        drop(container.stdin.take());
        container.wait().unwrap();
        assert_eq!(code, Some(3), "{propagation}: {said}");
        assert!(
            said.contains("in a container or another mount namespace"),
            "{said}"
        );
    }
    // As systemd's PrivateTmp= and others; one that another one follows; a snap, which sees the machine below a directory.
    let chain = format!("mount --make-rshared /; unshare --mount --propagation slave sh -c '{STAYS}'");
    let snap = format!("mount --rbind / {elsewhere}; {STAYS}");
    let mut services = [STAYS, &chain, &snap].map(|commands| other("slave", commands));
    server.mounts(&["--undo"]);
    let tables: Vec<_> = services
        .iter_mut()
        .map(|service| {
            let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", service.id())).unwrap();
            drop(service.stdin.take());
            service.wait().unwrap();
            table
        })
        .collect();
    for table in tables {
        assert!(!table.contains(point.to_str().unwrap()), "{table}");
    }
}

#[test]
fn another_disk_that_cannot_be_read_is_a_note() {
    let server = Server::with(2);
    sh("mkfs.ext4", &[&"-q", &server.volumes[0]]);
    sh("truncate", &[&"-s", &"0", &server.image(1)]);
    sh("blockdev", &[&"--flushbufs", &server.volumes[1]]);
    let said = server.mounts(&["--device", "/dev/disk/by-id/scsi-0DO_Volume_data-0"]);
    let note = said
        .lines()
        .find(|line| line.contains("could not be read: whether a clone of this volume is among them"));
    assert!(
        note.is_some_and(|note| note.contains(server.volumes[1].to_str().unwrap())),
        "{said}"
    );
    server.is_done();
}

#[test]
fn a_second_mount_of_the_volume_is_a_note_where_it_is_mounted_as_wanted() {
    let server = Server::new();
    server.mounts(&[]);
    let fstab = server.fstab();
    let other = server.at("srv");
    std::fs::create_dir(&other).unwrap();
    sh("mount", &[&"--bind", &server.point(), &other]);
    let (code, said) = server.mount(&[]);
    sh("umount", &[&other]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("it is mounted at /srv too") && said.contains("nothing was left to do"),
        "{said}"
    );
    assert_eq!(server.fstab(), fstab);
    server.is_done();
}

#[test]
fn a_copy_of_a_volume_in_use_is_mounted_with_a_warning() {
    let mut server = Server::new();
    sh("mkfs.ext4", &[&"-q", &server.volumes[0]]);
    let point = server.at("other");
    std::fs::create_dir(&point).unwrap();
    sh("mount", &[&server.volumes[0], &point]);
    std::fs::write(point.join("kept"), "data").unwrap();
    sh("sync", &[&"-f", &point]);
    let copy = server.dir.path().join("copy");
    sh("cp", &[&server.image(0), &copy]);
    sh("umount", &[&point]);
    const NOTE: &str = "it was not unmounted: its server crashed";
    let said = server.mounts(&["--dry-run"]);
    assert!(!said.contains(NOTE), "{said}");
    let device = PathBuf::from(sh("losetup", &[&"-f", &"--show", &copy]));
    let link = server.at("dev/disk/by-id/scsi-0DO_Volume_data-0");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&device, &link).unwrap();
    let original = std::mem::replace(&mut server.volumes[0], device);
    sh("losetup", &[&"-d", &original]);
    let said = sh("dumpe2fs", &[&"-h", &server.volumes[0]]);
    assert!(said.contains("needs_recovery"), "{said}");
    let said = server.mounts(&[]);
    assert!(said.contains(NOTE), "{said}");
    assert_eq!(
        std::fs::read_to_string(server.point().join("kept")).unwrap(),
        "data"
    );
    server.is_done();
}

#[test]
fn that_a_loop_device_is_gone_after_a_boot_is_said_of_this_machine_and_not_of_an_image() {
    let server = Server::new();
    let device = server.volumes[0].to_str().unwrap();
    let before = server.sum(0);
    const NOTE: &str = "is not there after a reboot unless something sets it up before";
    let said = server.mounts(&["--dry-run", "--device", device]);
    assert!(!said.contains(NOTE), "{said}");
    // The machine itself is only looked at.
    let output = Command::new(env!("CARGO_BIN_EXE_rehome"))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir(server.dir.path())
        .args(["mount", "--dry-run", "--device", device, "--at"])
        .arg(server.point())
        .arg("--state-dir")
        .arg(server.dir.path().join("state"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains(NOTE) && said.contains("mkfs.ext4") && !said.contains("RequiresMountsFor"),
        "{said}"
    );
    assert_eq!(server.sum(0), before);
    assert!(!server.point().exists());
}
