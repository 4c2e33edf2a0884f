//! What the end-to-end tests stand on: real stacks, real block volumes, the real binary, and oracles that are not
//! Rehome (`find`, `sha256sum`, `getfattr`, `docker`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A small image with a shell, for cheap stacks.
pub const BUSYBOX: &str = "rehome-test/busybox:1";
/// A real PostgreSQL, uid 999.
pub const POSTGRES: &str = "kms-connect/postgres:15";
/// A real PostgreSQL, uid 70, as the alpine image.
pub const POSTGRES_70: &str = "kms-connect/postgres:15-alpine";

thread_local! {
    /// The engine of this test, if it has one of its own.
    static ENGINE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on this test, and only this one, talks to the engine at an address; `None` is the one that all share.
pub fn use_engine(host: Option<String>) {
    ENGINE.with_borrow_mut(|engine| *engine = host);
}

/// The engine of this test, for the environment of what it runs.
fn engine() -> Option<(&'static str, String)> {
    ENGINE.with_borrow(|host| host.clone().map(|host| ("DOCKER_HOST", host)))
}

/// A number that no other test of this machine has now.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{:x}{:x}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// What `scripts/s3 up` says about one of its servers, or the keys to them.
#[track_caller]
pub fn s3(name: &str) -> String {
    let told = sh(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/s3 up"));
    let line = format!("export REHOME_S3_{name}=");
    told.lines()
        .find_map(|one| one.strip_prefix(&line))
        .unwrap_or_else(|| panic!("scripts/s3 does not say {name}"))
        .to_owned()
}

/// Runs a command that must succeed and returns its stdout.
#[track_caller]
pub fn sh(script: &str) -> String {
    let output = try_sh(script);
    assert!(
        output.status.success(),
        "`{script}` failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs a command.
pub fn try_sh(script: &str) -> Output {
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .envs(engine())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs")
}

/// Waits for a condition; the limit is far above what it takes.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < Duration::from_secs(90),
            "waited 90 s for {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A block volume: a file system of its own on a loop device.
pub struct Block {
    /// Where it is mounted.
    pub root: PathBuf,
    image: PathBuf,
    /// Its device.
    pub device: String,
    /// The make-believe machine that `rehome mount` made it on.
    pub sysroot: Option<PathBuf>,
}

impl Block {
    /// An empty device, made a home by `rehome mount` on a make-believe machine: its /etc is not this one's.
    pub fn by_rehome(megabytes: u32) -> Self {
        let block = Self::attached(megabytes);
        block.mount();
        block
    }

    /// An empty device that is attached to a make-believe machine, and nothing more.
    pub fn attached(megabytes: u32) -> Self {
        let id = unique();
        let image = std::env::temp_dir().join(format!("rehome-e2e-{id}.img"));
        let sysroot = PathBuf::from(format!("/mnt/rehome-e2e-{id}"));
        let (i, s) = (image.display(), sysroot.display());
        let device = sh(&format!(
            "mkdir -p {s}/etc {s}/mnt {s}/run/systemd/system {s}/dev/disk/by-id
             echo '# none yet' >{s}/etc/fstab
             truncate -s {megabytes}M {i}
             device=$(losetup --find --show {i})
             ln -s $device {s}/dev/disk/by-id/scsi-0HC_Volume_{id}
             echo $device"
        ));
        Self {
            root: sysroot.join("mnt/data"),
            image,
            device,
            sysroot: Some(sysroot),
        }
    }

    /// `rehome mount`, also a second time.
    pub fn mount(&self) {
        let sysroot = self.sysroot.as_ref().expect("it was made by rehome");
        // Where no project is: nothing but the volume.
        let output = Command::new(env!("CARGO_BIN_EXE_rehome"))
            .args(["mount", "--at", "/mnt/data", "--yes", "--sysroot"])
            .arg(sysroot)
            .arg("--state-dir")
            .arg(sysroot.join("state"))
            .current_dir("/")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// An ext4 of some megabytes, with lost+found as every real one has.
    pub fn ext4(megabytes: u32) -> Self {
        Self::make(
            megabytes,
            "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0",
        )
    }

    /// Made by another command.
    pub fn make(megabytes: u32, mkfs: &str) -> Self {
        let id = unique();
        let image = std::env::temp_dir().join(format!("rehome-e2e-{id}.img"));
        let root = PathBuf::from(format!("/mnt/rehome-e2e-{id}"));
        let (i, r) = (image.display(), root.display());
        sh(&format!(
            "truncate -s {megabytes}M {i} && {mkfs} {i} && mkdir -p {r}"
        ));
        let device = sh(&format!("losetup --find --show {i}"));
        sh(&format!("mount {device} {r}"));
        Self {
            root,
            image,
            device,
            sysroot: None,
        }
    }

    /// The path as text.
    pub fn path(&self) -> &str {
        self.root.to_str().expect("an ASCII path")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let (r, d, i) = (self.root.display(), &self.device, self.image.display());
        let output = try_sh(&format!(
            "if mountpoint -q {r}; then umount -l {r}; fi; losetup -d {d}; rm -f {i}; {remove}",
            remove = match &self.sysroot {
                Some(sysroot) => format!(
                    "chattr -i {r} || true; rm -r --one-file-system {}",
                    sysroot.display()
                ),
                None => format!("rmdir {r}"),
            }
        ));
        if !output.status.success() && !std::thread::panicking() {
            panic!(
                "the block volume could not be removed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// A Compose project in a directory of its own.
pub struct Stack {
    /// The project's name.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    /// The state directory that Rehome uses for it.
    pub state: PathBuf,
}

impl Stack {
    /// Writes the files; starts nothing. `NAME` in the text becomes the project's name.
    pub fn write(compose: &str) -> Self {
        let (name, base) = loop {
            let name = format!("rt{}", unique());
            let base = std::env::temp_dir().join(format!("rehome-e2e-{name}"));
            // A run that was killed may have left one, and its number may be given out again.
            match std::fs::create_dir(&base) {
                Ok(()) => break (name, base),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{error}"),
            }
        };
        let dir = base.join(&name);
        std::fs::create_dir(&dir).expect("a directory");
        let stack = Self {
            dir,
            state: base.join("state"),
            name,
        };
        stack.file("docker-compose.yml", compose);
        stack
    }

    /// Writes the files and starts it.
    pub fn up(compose: &str) -> Self {
        let stack = Self::write(compose);
        stack.compose("up -d");
        stack
    }

    /// Writes a file of the project.
    pub fn file(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.dir.join(name), text.replace("NAME", &self.name)).expect("a file");
        self
    }

    /// Reads a file of the project.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    /// `docker compose` as a user types it in the project's directory.
    #[track_caller]
    pub fn compose(&self, arguments: &str) -> String {
        sh(&format!(
            "cd {} && docker compose {arguments}",
            self.dir.display()
        ))
    }

    /// A command inside a service.
    #[track_caller]
    pub fn exec(&self, service: &str, command: &str) -> String {
        self.compose(&format!("exec -T {service} {command}"))
    }

    /// The full name of a volume of the project, as Docker's labels have it.
    #[track_caller]
    pub fn volume(&self, key: &str) -> String {
        let found = sh(&format!(
            "docker volume ls -q --filter label=com.docker.compose.project={} --filter label=com.docker.compose.volume={key}",
            self.name
        ));
        assert_eq!(found.lines().count(), 1, "volumes of {key}: {found:?}");
        found
    }

    /// The directory on this host where a volume's data lives.
    #[track_caller]
    pub fn volume_dir(&self, key: &str) -> PathBuf {
        sh(&format!(
            "docker volume inspect -f '{{{{.Mountpoint}}}}' {}_{key}",
            self.name
        ))
        .into()
    }

    /// Which services run, sorted, with their health.
    pub fn running(&self) -> Vec<String> {
        let list = sh(&format!(
            "docker ps --filter label=com.docker.compose.project={} --format '{{{{.Label \"com.docker.compose.service\"}}}}'",
            self.name
        ));
        let mut list: Vec<String> = list.lines().map(str::to_owned).collect();
        list.sort();
        list
    }

    /// Every container of the project with its state and mounts: what "as before" is compared by. Ids are left out,
    /// because containers are made anew.
    pub fn shape(&self) -> BTreeMap<String, String> {
        let ids = sh(&format!(
            "docker ps -aq --filter label=com.docker.compose.project={}",
            self.name
        ));
        ids.lines()
            .map(|id| {
                let line = sh(&format!(
                    "docker inspect -f '{{{{.Name}}}}|{{{{.State.Running}}}}|{{{{range .Mounts}}}}{{{{.Type}}}}:{{{{.Name}}}}:{{{{.Destination}}}}:{{{{.RW}}}} {{{{end}}}}|{{{{.Image}}}}' {id}"
                ));
                let (name, rest) = line.split_once('|').expect("a name");
                let mut parts: Vec<String> = rest.split('|').map(str::to_owned).collect();
                let mut mounts: Vec<&str> = parts[1].split_whitespace().collect();
                mounts.sort_unstable();
                parts[1] = mounts.join(" ");
                (name.to_owned(), parts.join("|"))
            })
            .collect()
    }

    /// What a service has mounted at a path: the volume's name or the host's path.
    #[track_caller]
    pub fn mounted(&self, service: &str, target: &str) -> String {
        let id = sh(&format!(
            "docker ps -aq --filter label=com.docker.compose.project={} --filter label=com.docker.compose.service={service}",
            self.name
        ));
        sh(&format!(
            "docker inspect -f '{{{{range .Mounts}}}}{{{{if eq .Destination \"{target}\"}}}}{{{{.Name}}}}{{{{end}}}}{{{{end}}}}' {id}"
        ))
    }

    /// The real binary, in the project's directory, with a cleared environment.
    pub fn rehome(&self, arguments: &str) -> Run {
        self.rehome_env(arguments, &[])
    }

    /// The same with more environment.
    pub fn rehome_env(&self, arguments: &str, env: &[(&str, &str)]) -> Run {
        let output = self.command(arguments, env).output().expect("rehome runs");
        Run::of(output)
    }

    /// The command, not yet started.
    pub fn command(&self, arguments: &str, env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rehome"));
        command
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/root")
            .arg("--state-dir")
            .arg(&self.state)
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in ["DOCKER_HOST", "DOCKER_CONFIG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(engine());
        command.envs(env.iter().copied());
        command
    }

    /// Nothing that Rehome makes for itself is left: no helper, no state volume.
    #[track_caller]
    pub fn assert_tidy(&self) {
        let helpers = sh(&format!(
            "docker ps -aq --filter label=rehome.project={}",
            self.name
        ));
        assert_eq!(helpers, "", "helper containers are left");
        let volumes = sh(&format!(
            "docker volume ls -q --filter label=rehome.project={}",
            self.name
        ));
        let own: Vec<_> = volumes.lines().filter(|v| v.starts_with("rehome_")).collect();
        assert!(own.is_empty(), "state volumes are left: {own:?}");
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let name = &self.name;
        // The engine lets go of the ends of a network a moment after their containers went.
        let output = try_sh(&format!(
            "ids=$(docker ps -aq --filter label=com.docker.compose.project={name}; docker ps -aq --filter label=rehome.project={name}); \
             [ -z \"$ids\" ] || docker rm -f -v $ids >/dev/null; \
             vols=$(docker volume ls -q | grep -E '^(rehome_)?{name}(_|$)' || true; docker volume ls -q --filter label=rehome.project={name}); \
             [ -z \"$vols\" ] || docker volume rm -f $(echo \"$vols\" | sort -u) >/dev/null; \
             nets=$(docker network ls -q --filter label=com.docker.compose.project={name}); \
             n=0; until [ -z \"$nets\" ] || docker network rm $nets >/dev/null; do \
               [ $((n+=1)) -lt 50 ] || exit 1; sleep 0.1; nets=$(docker network ls -q --filter label=com.docker.compose.project={name}); \
             done; \
             docker image ls --format '{{{{.Repository}}}}:{{{{.Tag}}}}' --filter reference='rehome-kept/{name}/*' | xargs -r docker rmi >/dev/null; \
             rm -rf {}",
            self.dir.parent().expect("a base").display()
        ));
        if !output.status.success() && !std::thread::panicking() {
            panic!(
                "the stack could not be removed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Run {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
}

impl Run {
    /// Takes an output.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The exit code must be this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// stderr must say this.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(
            self.err.contains(words),
            "{words:?} is not in stderr:\n{}",
            self.err
        );
        self
    }

    /// The JSON documents on stdout, one a line.
    #[track_caller]
    pub fn events(&self) -> Vec<serde_json::Value> {
        self.out
            .lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")))
            .collect()
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}:\n{}", self.out))
    }
}

/// A directory tree as programs that are not Rehome see it: type, owner, mode, mtime (ns), size, link target, hard
/// link count, xattrs and content of every entry, the root included.
#[track_caller]
pub fn tree(dir: &Path) -> String {
    let d = dir.display();
    sh(&format!(
        "cd {d} && LC_ALL=C; export LC_ALL; \
         find . -xdev ! -type s -printf '%p\\t%y\\t%U:%G\\t%m\\t%T@\\t%l\\t%n\\n' | sort; \
         find . -xdev -type f -printf '%p\\t%s\\n' | sort; \
         find . -xdev -type f -print0 | sort -z | xargs -0 -r sha256sum; \
         getfattr -R -h -d -m - -e hex . 2>/dev/null | sort"
    ))
}
