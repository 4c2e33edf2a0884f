//! `rehome mount` as a whole, on a make-believe machine with real loop devices.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::support::{ask, sh, tempdir};

const FSTAB: &str =
    "# made by the installer\n/dev/vda1  /  ext4  defaults  0 1\ntmpfs\t/tmp tmpfs nodev 0 0\n";

/// A machine with attached volumes and nothing done to them yet.
struct Server {
    dir: TempDir,
    volumes: Vec<PathBuf>,
}

impl Server {
    fn with(volumes: usize) -> Self {
        let dir = tempdir();
        let mut server = Self {
            dir,
            volumes: Vec::new(),
        };
        for below in [
            "root/etc/systemd/system",
            "root/run/systemd/system",
            "root/dev/disk/by-id",
            "root/mnt",
        ] {
            std::fs::create_dir_all(server.dir.path().join(below)).unwrap();
        }
        std::fs::write(server.at("etc/fstab"), FSTAB).unwrap();
        for number in 0..volumes {
            let image = server.image(number);
            sh("truncate", &[&"-s", &"300M", &image]);
            let device = PathBuf::from(sh("losetup", &[&"-f", &"--show", &image]));
            let link = server.at(&format!("dev/disk/by-id/scsi-0DO_Volume_data-{number}"));
            std::os::unix::fs::symlink(&device, link).unwrap();
            server.volumes.push(device);
        }
        server
    }

    fn new() -> Self {
        Self::with(1)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn image(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("image-{number}"))
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rehome"));
        command
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .args(["mount", "--at", "/mnt/kms-data", "--yes", "--sysroot"])
            .arg(self.at(""))
            .arg("--state-dir")
            .arg(self.dir.path().join("state"))
            .args(more);
        command
    }

    fn mount(&self, more: &[&str]) -> (Option<i32>, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(more).output().unwrap();
        (
            status.code(),
            String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned(),
        )
    }

    #[track_caller]
    fn mounts(&self, more: &[&str]) -> String {
        let (code, said) = self.mount(more);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    fn point(&self) -> PathBuf {
        self.at("mnt/kms-data")
    }

    fn fstab(&self) -> String {
        std::fs::read_to_string(self.at("etc/fstab")).unwrap()
    }

    /// What is mounted at the mount point.
    fn source(&self) -> String {
        ask(
            "findmnt",
            &[&"-n", &"-o", &"SOURCE", &"--mountpoint", &self.point()],
        )
        .1
        .trim()
        .to_owned()
    }

    fn uuid(&self) -> String {
        sh(
            "blkid",
            &[&"-p", &"-o", &"value", &"-s", &"UUID", &self.volumes[0]],
        )
    }

    fn sum(&self, number: usize) -> String {
        sh("sync", &[]);
        sh("sha256sum", &[&self.image(number)])
    }

    /// Everything that a mount does is done.
    #[track_caller]
    fn is_done(&self) {
        let uuid = self.uuid();
        assert_eq!(self.source(), self.volumes[0].to_str().unwrap());
        assert!(self.point().join(format!(".rehome-{uuid}")).exists());
        let line = format!(
            "UUID={uuid} /mnt/kms-data ext4 \
             defaults,nofail,discard,noatime,errors=remount-ro,x-systemd.device-timeout=30s,x-rehome 0 2\n"
        );
        assert_eq!(self.fstab(), format!("{FSTAB}{line}"));
        let drop_in = self.at("etc/systemd/system/docker.service.d/rehome-mnt-kms\\x2ddata.conf");
        assert!(
            std::fs::read_to_string(drop_in)
                .unwrap()
                .contains("RequiresMountsFor=/mnt/kms-data")
        );
        sh("umount", &[&self.point()]);
        let flags = sh("lsattr", &[&"-d", &self.point()]);
        assert!(flags.split(' ').next().unwrap().contains('i'), "{flags}");
        sh("e2fsck", &[&"-fn", &self.volumes[0]]);
        assert!(
            std::fs::write(self.point().join("lost"), "").is_err(),
            "the bare mount point is immutable"
        );
        sh("mount", &[&self.volumes[0], &self.point()]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        while ask("umount", &[&self.point()]).0 {}
        // Not there when the test ended before it was made.
        ask("chattr", &[&"-i", &self.point()]);
        for volume in &self.volumes {
            ask("losetup", &[&"-d", volume]);
        }
    }
}

#[test]
fn an_empty_volume_is_mounted_and_safe_and_the_second_run_changes_nothing() {
    let server = Server::new();
    let said = server.mounts(&["--device", "auto", "--label", "kms-data"]);
    assert!(said.contains("rehome move --to /mnt/kms-data"), "{said}");
    assert!(
        said.contains("the Docker engine does not start at boot"),
        "the blast radius is said: {said}"
    );
    server.is_done();
    let before = std::fs::read(server.at("etc/fstab")).unwrap();
    let said = server.mounts(&[]);
    assert!(said.contains("nothing was left to do"), "{said}");
    assert_eq!(std::fs::read(server.at("etc/fstab")).unwrap(), before);
    server.is_done();
}

#[test]
fn a_dry_run_prints_every_line_and_changes_nothing() {
    let server = Server::new();
    let before = (server.sum(0), server.fstab());
    let said = server.mounts(&["--dry-run"]);
    for line in [
        "mkfs.ext4 -q",
        "chattr +i /mnt/kms-data",
        "nofail,discard",
        "mount /mnt/kms-data",
        ".rehome-",
        "RequiresMountsFor=",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!((server.sum(0), server.fstab()), before);
    assert!(!server.point().exists());
}

#[test]
fn trap_25_a_volume_with_content_is_refused_and_not_one_byte_changes() {
    let server = Server::new();
    // In the middle, where nobody looks by name.
    sh(
        "dd",
        &[
            &"if=/dev/urandom",
            &format!("of={}", server.volumes[0].display()),
            &"bs=1M",
            &"count=8",
            &"seek=150",
            &"conv=notrunc",
            &"status=none",
        ],
    );
    let before = server.sum(0);
    let (code, said) = server.mount(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("is not empty") && said.contains("wipefs -a"),
        "{said}"
    );
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
    assert!(!server.point().exists());
}

#[test]
fn of_two_free_volumes_none_is_chosen() {
    let server = Server::with(2);
    sh("mkfs.ext4", &[&"-q", &server.volumes[1]]);
    let before = (server.sum(0), server.sum(1));
    let (code, said) = server.mount(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("data-0") && said.contains("data-1") && said.contains("a file system (ext4)"),
        "{said}"
    );
    assert_eq!((server.sum(0), server.sum(1)), before);
    // Named, it is.
    server.mounts(&["--device", "/dev/disk/by-id/scsi-0DO_Volume_data-0"]);
    server.is_done();
    // And then the other one is the only one that is free, but the place is taken by the first: run again, not changed.
    let said = server.mounts(&[]);
    assert!(said.contains("nothing was left to do"), "{said}");
}

#[test]
fn a_disk_of_the_host_is_no_volume() {
    let server = Server::new();
    let by_id = server.at("dev/disk/by-id");
    let link = by_id.join("nvme-Amazon_EC2_NVMe_Instance_Storage_AWS1234");
    std::fs::rename(by_id.join("scsi-0DO_Volume_data-0"), &link).unwrap();
    let before = server.sum(0);
    for more in [
        &[][..],
        &[
            "--device",
            "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_AWS1234",
        ],
    ] {
        let (code, said) = server.mount(more);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("gone when the machine is stopped"), "{said}");
    }
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
}

#[test]
fn a_volume_with_files_is_mounted_as_it_is() {
    let server = Server::new();
    sh("mkfs.xfs", &[&"-q", &server.volumes[0]]);
    let uuid = server.uuid();
    std::fs::create_dir(server.point()).unwrap();
    sh("mount", &[&server.volumes[0], &server.point()]);
    std::fs::write(server.point().join("kept"), "of another server").unwrap();
    sh("umount", &[&server.point()]);
    let said = server.mounts(&[]);
    assert!(said.contains("it has a file system already (xfs"), "{said}");
    assert_eq!(
        std::fs::read_to_string(server.point().join("kept")).unwrap(),
        "of another server"
    );
    assert_eq!(server.uuid(), uuid);
    assert!(server.fstab().ends_with(",x-rehome 0 0\n"), "{}", server.fstab());
}

#[test]
fn the_way_back_leaves_the_machine_as_it_was_and_the_data_on_the_volume() {
    let server = Server::new();
    server.mounts(&[]);
    std::fs::write(server.point().join("kept"), "data").unwrap();
    let open = std::fs::File::open(server.point().join("kept")).unwrap();
    let (code, said) = server.mount(&["--undo"]);
    assert_eq!(code, Some(1), "it is in use: {said}");
    assert!(said.contains("busy"), "{said}");
    drop(open);
    server.mounts(&["--undo"]);
    assert_eq!((server.source().as_str(), server.fstab().as_str()), ("", FSTAB));
    assert!(!server.at("etc/systemd/system/docker.service.d").exists());
    std::fs::write(server.point().join("writable"), "").unwrap();
    std::fs::remove_file(server.point().join("writable")).unwrap();
    let said = server.mounts(&["--undo"]);
    assert!(said.contains("Nothing is left to do"), "{said}");
    server.mounts(&[]);
    assert_eq!(
        std::fs::read_to_string(server.point().join("kept")).unwrap(),
        "data"
    );
    server.is_done();
}

#[test]
fn killed_at_any_moment_another_run_finishes() {
    let server = Server::new();
    let mut killed = 0;
    for millis in (0..).map(|turn| 3 + turn * 7) {
        let mut child = server
            .command(&[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        killed += 1;
        // Whatever mkfs or mount was started goes on by itself for a moment, and holds the lock meanwhile.
        assert_eq!(
            std::fs::read_to_string(server.at("etc/fstab"))
                .unwrap()
                .matches(FSTAB)
                .count(),
            1
        );
        assert!(millis < 60_000, "it never finishes");
    }
    assert!(killed > 5, "{killed}");
    server.mounts(&[]);
    server.is_done();
    let records = std::fs::read_dir(server.dir.path().join("state/host")).unwrap();
    let left: Vec<_> = records
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_lies_in_the_mount_point_is_not_hidden() {
    let server = Server::new();
    std::fs::create_dir_all(server.point().join("postgres")).unwrap();
    std::fs::write(server.point().join("postgres/PG_VERSION"), "15\n").unwrap();
    let before = server.sum(0);
    let (code, said) = server.mount(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("PG_VERSION"), "{said}");
    assert_eq!((server.sum(0), server.fstab()), (before, FSTAB.to_owned()));
    assert_eq!(server.source(), "");
}
