//! Disks, a make-believe machine, and a name space of a test's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rehome::block::boot::Piece;
use rehome::block::fsid::FsUuid;
use rehome::block::fstab::Line;
use rehome::block::sysroot::Sysroot;
use rehome::block::volume::Volume;
use tempfile::TempDir;

/// Runs a program; returns whether it succeeded, and what it said.
#[track_caller]
pub fn ask(program: &str, args: &[&dyn AsRef<OsStr>]) -> (bool, String) {
    let output = Command::new(program)
        .args(args.iter().map(|arg| arg.as_ref()))
        .env("LC_ALL", "C")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed by this test: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Runs a program; it must succeed. Returns what it said, without the line end.
#[track_caller]
pub fn sh(program: &str, args: &[&dyn AsRef<OsStr>]) -> String {
    let (success, said) = ask(program, args);
    assert!(success, "{program} failed: {said}");
    said.trim_end().to_owned()
}

/// A directory that is not on a tmpfs.
pub fn tempdir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A file system on a loop device.
pub struct Disk {
    image: TempDir,
    pub device: PathBuf,
}

impl Disk {
    pub fn new(fs_type: &str) -> Self {
        let image = tempdir();
        let file = image.path().join("image");
        // The smallest that mkfs.xfs takes.
        let size = if fs_type == "xfs" { "300M" } else { "24M" };
        sh("truncate", &[&"-s", &size, &file]);
        sh(&format!("mkfs.{fs_type}"), &[&"-q", &file]);
        Self::attach(image)
    }

    /// Nothing but zeroes.
    pub fn empty(size: &str) -> Self {
        let image = tempdir();
        sh("truncate", &[&"-s", &size, &image.path().join("image")]);
        Self::attach(image)
    }

    /// As a provider makes a volume larger while it is in use.
    pub fn enlarge(&self, size: &str) {
        sh("truncate", &[&"-s", &size, &self.image.path().join("image")]);
        sh("losetup", &[&"--set-capacity", &self.device]);
    }

    /// As a disk whose cable was pulled: it is there, and nothing can be read.
    pub fn vanish(&self) {
        sh("truncate", &[&"-s", &"0", &self.image.path().join("image")]);
        sh("blockdev", &[&"--flushbufs", &self.device]);
    }

    /// The same content on another device, as a snapshot that was made a volume.
    pub fn clone(&self) -> Self {
        let image = tempdir();
        sh(
            "cp",
            &[&self.image.path().join("image"), &image.path().join("image")],
        );
        Self::attach(image)
    }

    fn attach(image: TempDir) -> Self {
        let device = sh("losetup", &[&"-f", &"--show", &image.path().join("image")]);
        let device = PathBuf::from(device);
        Self { image, device }
    }

    /// Where the kernel was told of a partition by hand, it does not forget it by itself.
    fn forget_partitions(&self) {
        let name = self.device.file_name().unwrap().to_string_lossy().into_owned();
        let known = || {
            let entries = std::fs::read_dir(format!("/sys/class/block/{name}")).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
            let numbers = names.filter_map(|part| part.strip_prefix(&format!("{name}p"))?.parse().ok());
            numbers.collect::<Vec<u32>>()
        };
        // Busy while somebody else reads it, as other tests look at all disks.
        for _ in 0..100 {
            let known = known();
            if known.is_empty() {
                return;
            }
            for number in known {
                ask("delpart", &[&self.device, &number.to_string()]);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// As blkid reads it.
    pub fn uuid(&self) -> FsUuid {
        sh("blkid", &[&"-p", &"-o", &"value", &"-s", &"UUID", &self.device])
            .parse()
            .unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever a failed test left mounted, however often.
        while ask("umount", &[&self.device]).0 {}
        self.forget_partitions();
        sh("losetup", &[&"-d", &self.device]);
    }
}

/// A make-believe machine with a volume and a place to mount it.
pub struct Machine {
    pub disk: Disk,
    dir: TempDir,
}

impl Machine {
    pub fn new() -> Self {
        Self::with("ext4")
    }

    pub fn with(fs_type: &str) -> Self {
        let dir = tempdir();
        let disk = Disk::new(fs_type);
        std::fs::create_dir_all(dir.path().join("mnt/kms-data")).unwrap();
        std::fs::create_dir_all(dir.path().join("etc/systemd/system")).unwrap();
        Self { disk, dir }
    }

    pub fn sysroot(&self) -> Sysroot {
        Sysroot::new(Some(self.dir.path()))
    }

    pub fn target(&self) -> PathBuf {
        self.dir.path().join("mnt/kms-data")
    }

    pub fn line(&self) -> Line {
        let fs_type = sh(
            "blkid",
            &[&"-p", &"-o", &"value", &"-s", &"TYPE", &self.disk.device],
        );
        Line::new(self.disk.uuid(), Path::new("/mnt/kms-data"), &fs_type).unwrap()
    }

    /// Mounted as a person would.
    pub fn mount(&self) -> Volume {
        sh("mount", &[&self.disk.device, &self.target()]);
        Volume::open(&self.target(), &self.disk.device).unwrap()
    }
}

/// Runs a test again in a mount name space of its own; true in there.
pub fn in_own_namespace(test: &str) -> bool {
    const INSIDE: &str = "REHOME_TEST_NAMESPACE";
    // The copies of what other tests have mounted at this moment would keep it in use.
    const ALONE: &str =
        "for at in $(findmnt -rno TARGET | grep -F \"$0\" | tac); do umount -l \"$at\"; done; exec \"$@\"";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", ALONE])
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "in a mount name space of its own: {said}"
    );
    false
}

/// What a file says that is to be written.
pub fn text(piece: &Piece) -> &str {
    match piece {
        Piece::File { text, .. } => text,
        Piece::Link { .. } => panic!("a link"),
    }
}
