//! A make-believe machine with attached volumes, and `rehome mount` on it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::support::{ask, sh, tempdir};

pub const FSTAB: &str =
    "# made by the installer\n/dev/vda1  /  ext4  defaults  0 1\ntmpfs\t/tmp tmpfs nodev 0 0\n";

/// A machine with attached volumes and nothing done to them yet.
pub struct Server {
    pub dir: TempDir,
    pub volumes: Vec<PathBuf>,
}

impl Server {
    pub fn with(volumes: usize) -> Self {
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

    pub fn new() -> Self {
        Self::with(1)
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    pub fn image(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("image-{number}"))
    }

    pub fn command(&self, more: &[&str]) -> Command {
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

    pub fn mount(&self, more: &[&str]) -> (Option<i32>, String) {
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
    pub fn mounts(&self, more: &[&str]) -> String {
        let (code, said) = self.mount(more);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    pub fn point(&self) -> PathBuf {
        self.at("mnt/kms-data")
    }

    pub fn fstab(&self) -> String {
        std::fs::read_to_string(self.at("etc/fstab")).unwrap()
    }

    /// What is mounted at the mount point.
    pub fn source(&self) -> String {
        ask(
            "findmnt",
            &[&"-n", &"-o", &"SOURCE", &"--mountpoint", &self.point()],
        )
        .1
        .trim()
        .to_owned()
    }

    pub fn uuid(&self) -> String {
        sh(
            "blkid",
            &[&"-p", &"-o", &"value", &"-s", &"UUID", &self.volumes[0]],
        )
    }

    pub fn sum(&self, number: usize) -> String {
        sh("sync", &[]);
        sh("sha256sum", &[&self.image(number)])
    }

    /// Everything that a mount does is done.
    #[track_caller]
    pub fn is_done(&self) {
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
