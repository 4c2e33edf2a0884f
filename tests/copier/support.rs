//! Running the helper and other programs; disks; trees.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rehome::helper::context::Context;
use rehome::helper::fault::Fault;
use rehome::helper::protocol::{CopyReport, CopyRequest, VerifyReport, VerifyRequest};
use rehome::helper::{copy, verify};
use tempfile::TempDir;

/// Runs a program; it must succeed. Returns its stdout.
#[track_caller]
pub fn sh(program: &str, args: &[&dyn AsRef<OsStr>]) -> String {
    let output = Command::new(program)
        .args(args.iter().map(|arg| arg.as_ref()))
        .env("LC_ALL", "C")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed by this test: {error}"));
    assert!(
        output.status.success(),
        "{program} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a line of shell in a directory.
#[track_caller]
pub fn bash(dir: &Path, line: &str) -> String {
    sh(
        "bash",
        &[&"-euo", &"pipefail", &"-c", &format!("cd \"$0\"\n{line}"), &dir],
    )
}

/// A source, a destination and a place for the manifest.
pub struct Bench {
    _dir: TempDir,
    pub from: PathBuf,
    pub to: PathBuf,
    pub manifest: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        // Not /tmp, which may be a tmpfs: without user xattrs on old kernels, and without a disk.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let at = |name| dir.path().join(name);
        let (from, to, manifest) = (at("from"), at("to"), at("manifest"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        Self {
            _dir: dir,
            from,
            to,
            manifest,
        }
    }

    pub fn request(&self) -> CopyRequest {
        CopyRequest {
            from: self.from.clone(),
            to: self.to.clone(),
            manifest: self.manifest.clone(),
            live: false,
            owner: None,
            jobs: 0,
            bandwidth: 0,
            read_back: true,
            patch: true,
        }
    }

    /// To a directory of a file system of its own.
    pub fn request_to(&self, disk: &Disk) -> CopyRequest {
        let to = disk.at.join("data");
        if !to.exists() {
            std::fs::create_dir(&to).unwrap();
        }
        CopyRequest { to, ..self.request() }
    }

    pub fn try_copy(&self) -> Result<CopyReport, Fault> {
        copy::copy(&Context::new(), &self.request())
    }

    #[track_caller]
    pub fn copy(&self) -> CopyReport {
        self.try_copy().unwrap()
    }

    pub fn try_copy_live(&self) -> Result<CopyReport, Fault> {
        let request = CopyRequest {
            live: true,
            ..self.request()
        };
        copy::copy(&Context::new(), &request)
    }

    #[track_caller]
    pub fn copy_live(&self) -> CopyReport {
        self.try_copy_live().unwrap()
    }

    pub fn verify_request(&self) -> VerifyRequest {
        VerifyRequest {
            from: self.from.clone(),
            to: self.to.clone(),
            manifest: self.manifest.clone(),
            owner: None,
            full: false,
            jobs: 0,
        }
    }

    pub fn try_verify(&self) -> Result<VerifyReport, Fault> {
        verify::verify(&Context::new(), &self.verify_request())
    }

    #[track_caller]
    pub fn verify(&self) -> VerifyReport {
        self.try_verify().unwrap()
    }

    /// Waits until what was written so far is older than the two seconds that a timestamp is not trusted.
    pub fn settle(&self) {
        let newest = || -> f64 {
            bash(&self.from, r"find . -printf '%C@\n' | sort -n | tail -1")
                .trim()
                .parse()
                .unwrap()
        };
        let now = || -> f64 { sh("date", &[&"+%s.%N"]).trim().parse().unwrap() };
        while now() < newest() + 2.1 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    #[track_caller]
    pub fn assert_same(&self) {
        assert_same(&self.from, &self.to);
    }
}

/// rsync and find agree that the two trees are the same, to the nanosecond.
#[track_caller]
pub fn assert_same(from: &Path, to: &Path) {
    let (from, to) = (slash(from), slash(to));
    let todo = sh(
        "rsync",
        &[
            &"-aHAXn",
            &"--numeric-ids",
            &"--modify-window=-1",
            &"--checksum",
            &"--delete",
            &"--itemize-changes",
            // What XFS shows besides the ACLs themselves.
            &"--filter=-x trusted.SGI_ACL_*",
            &from,
            &to,
        ],
    );
    assert_eq!(todo, "", "rsync would change something");
    let list = |dir: &Path| {
        let size = r"find . -type f -printf '%p %y %U:%G %m %s %T@ %n\n' -o -type l -printf '%p %y %U:%G %T@ %l\n' -o -printf '%p %y %U:%G %m %T@\n' | LC_ALL=C sort";
        bash(dir, size)
    };
    assert_eq!(list(&from), list(&to));
}

fn slash(dir: &Path) -> PathBuf {
    dir.join("")
}

/// A path whose name is any bytes.
pub fn bytes(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(OsStr::from_bytes(name))
}

/// A file system of its own on a loop device.
pub struct Disk {
    _image: TempDir,
    pub at: PathBuf,
}

impl Disk {
    pub fn new(size: &str, mkfs: &str, options: &[&str]) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
        std::fs::create_dir(&at).unwrap();
        sh("truncate", &[&"-s", &size, &image]);
        let mut args: Vec<&dyn AsRef<OsStr>> = vec![&"-q"];
        args.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
        args.push(&image);
        sh(mkfs, &args);
        sh("mount", &[&"-o", &"loop", &image, &at]);
        Self { _image: dir, at }
    }

    pub fn remount(&self, how: &str) {
        sh("mount", &[&"-o", &format!("remount,{how}"), &self.at]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        sh("umount", &[&self.at]);
    }
}

/// A small generator of numbers, so that a failing tree can be made again from its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        // xorshift64*, <https://en.wikipedia.org/wiki/Xorshift>
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(len)
            .collect()
    }
}

/// Makes a tree of every kind of entry.
pub fn grow(root: &Path, random: &mut Random, entries: usize) {
    use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
    let mut dirs = vec![root.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    for n in 0..entries {
        let name = match random.below(8) {
            0 => [format!("{n}-").as_bytes(), b"\xff\xfe caf\xe9"].concat(),
            1 => [format!("{n}-").as_bytes(), &vec![b'n'; 240]].concat(),
            2 => format!("{n} -with\nnewline\\and*").into_bytes(),
            _ => format!("{n}").into_bytes(),
        };
        let dir: &PathBuf = random.pick(&dirs);
        let path = bytes(dir, &name);
        match random.below(12) {
            0 | 1 => {
                std::fs::create_dir(&path).unwrap();
                dirs.push(path.clone());
            }
            2 => symlink(random.pick(&["/etc/passwd", "nowhere", "../..", "."]), &path).unwrap(),
            3 => {
                sh("mkfifo", &[&path]);
            }
            4 => {
                sh(
                    "mknod",
                    &[
                        &path,
                        &random.pick(&["c", "b"]),
                        &"1",
                        &format!("{}", random.below(300)),
                    ],
                );
            }
            5 if !files.is_empty() => {
                std::fs::hard_link(random.pick(&files), &path).unwrap();
                continue;
            }
            6 => {
                let file = std::fs::File::create(&path).unwrap();
                file.set_len(random.below(4 << 20)).unwrap();
                let at = random.below(1 << 20);
                std::os::unix::fs::FileExt::write_all_at(&file, &random.bytes(5000), at).unwrap();
                files.push(path.clone());
            }
            _ => {
                let len = *random.pick(&[0, 1, 100, 4096, 70_000, 1 << 20, 3_000_001]);
                std::fs::write(&path, random.bytes(len)).unwrap();
                files.push(path.clone());
            }
        }
        let (uid, gid) = (random.below(70_000) as u32, random.below(2000) as u32);
        if path.is_symlink() {
            lchown(&path, Some(uid), Some(gid)).unwrap();
        } else {
            chown(&path, Some(uid), Some(gid)).unwrap();
            let mode = random.below(0o10000) as u32;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        if path.is_file() && random.below(4) == 0 {
            sh(
                "setfattr",
                &[&"-n", &"user.note", &"-v", &format!("value {n}"), &path],
            );
        }
        if !path.is_symlink() && random.below(6) == 0 {
            sh("setfacl", &[&"-m", &"u:123:rx,g:456:w", &path]);
        }
        let stamp = format!(
            "@{}.{:09}",
            random.below(2_000_000_000),
            random.below(1_000_000_000)
        );
        sh("touch", &[&"-h", &"-d", &stamp, &path]);
    }
}
