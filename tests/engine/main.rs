//! Volumes as streams, on a real engine: judged by GNU tar, find, getfattr and sha256sum.
//!
//! The helper's image is made of the running executable, so this one is the helper, too, and has a `main` of its own. It
//! needs root, a local engine, and Debian's attr.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rehome::engine::{Archived, Engine, HelperJob, HelperMount, HostWanted, Unarchived, resolve_host};
use rehome::helper::Streams;
use rehome::helper::protocol::{Line, Request};
use rehome::model::{Failure, ProjectName, RunId, VolumeName};

/// Every test, by name.
const TESTS: &[(&str, fn())] = &[
    ("a_volume_becomes_a_file_and_a_volume_again", round_trip),
    ("a_writer_that_fails_is_the_error_that_is_told", failing_writer),
    ("a_reader_that_fails_is_the_error_that_is_told", failing_reader),
    ("a_helper_that_is_killed_is_no_archive", killed),
    ("half_an_archive_and_a_full_disk_are_told_in_words", refused),
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    if first.as_deref() == Some("helper") {
        let request = args.next().unwrap_or_default();
        let streams = Streams {
            input: &mut std::io::stdin(),
            out: &mut std::io::stdout(),
            err: &mut std::io::stderr(),
            hung_up: &rehome::helper::stdin_hung_up,
        };
        return rehome::helper::run(&request, streams);
    }
    let args: Vec<String> = first.into_iter().chain(args).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if has("--list") {
        // As the runner asks for it; none is ignored.
        let shown = if has("--ignored") { &[] } else { TESTS };
        shown.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = args
        .iter()
        .filter(|arg| !arg.starts_with('-') && arg.parse::<u32>().is_err())
        .collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| match has("--exact") {
                true => name == filter.as_str(),
                false => name.contains(filter.as_str()),
            })
    };
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        let ended = std::panic::catch_unwind(test);
        println!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" });
        failed += u8::from(ended.is_err());
    }
    ExitCode::from(failed.min(1))
}

/// Runs a line of shell; it must succeed.
#[track_caller]
fn sh(line: &str) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", line])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "`{line}` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Two volumes, an engine, and a run that no other test has.
struct Bench {
    runtime: tokio::runtime::Runtime,
    engine: Engine,
    run: RunId,
    from: VolumeName,
    to: VolumeName,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(options: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let host = resolve_host(&HostWanted::default()).unwrap();
        let engine = runtime.block_on(Engine::connect(host)).unwrap();
        let id = std::process::id().wrapping_add(NEXT.fetch_add(1, Relaxed) << 24);
        let [a, b, c, d] = id.to_le_bytes();
        let run = RunId::from_entropy([a & 31, a >> 5 | b << 3, b >> 2, c, d, 7]);
        let volume = |name: &str| VolumeName::new(format!("rehome-engine-test-{id}-{name}")).unwrap();
        let (from, to) = (volume("from"), volume("to"));
        sh(&format!(
            "docker volume create {from} >/dev/null; docker volume create {options} {to} >/dev/null"
        ));
        Self {
            runtime,
            engine,
            run,
            from,
            to,
            dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        }
    }

    fn path(volume: &VolumeName) -> PathBuf {
        PathBuf::from(sh(&format!(
            "docker volume inspect -f '{{{{.Mountpoint}}}}' {volume}"
        )))
    }

    fn fill(&self, line: &str) {
        let dir = Self::path(&self.from);
        sh(&format!("cd {}; {line}", dir.display()));
    }

    fn job(&self, volume: &VolumeName, request: Request) -> HelperJob {
        let mount = HelperMount::Volume {
            name: volume.clone(),
            target: "/data".to_owned(),
            read_only: matches!(request, Request::Archive { .. }),
        };
        let project = ProjectName::new("rehome-engine-test").unwrap();
        HelperJob::new(&self.run, &project, request, vec![mount])
    }

    fn archive(&self, to: &mut (dyn Write + Send)) -> Result<Archived, Failure> {
        let request = Request::Archive {
            dir: "/data".into(),
            live: true,
            only: None,
        };
        let job = self.job(&self.from, request);
        let mut seen = |_: Line| {};
        let archived = self.runtime.block_on(self.engine.archive(job, to, &mut seen));
        self.assert_nothing_left();
        archived
    }

    fn unarchive(&self, from: impl Read + Send + 'static) -> Result<Unarchived, Failure> {
        let request = Request::Unarchive {
            dir: "/data".into(),
            only: None,
            strip: 0,
            like: None,
            bytes: 0,
            entries: 0,
        };
        let job = self.job(&self.to, request);
        let mut seen = |_: Line| {};
        let came = self
            .runtime
            .block_on(self.engine.unarchive(job, Box::new(from), &mut seen));
        self.assert_nothing_left();
        came
    }

    /// Whatever came of it, its container is gone.
    fn assert_nothing_left(&self) {
        assert_eq!(
            sh(&format!("docker ps -aq --filter label=rehome.run={}", self.run)),
            ""
        );
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        sh(&format!("docker volume rm {} {} >/dev/null", self.from, self.to));
    }
}

fn round_trip() {
    let bench = Bench::new("");
    bench.fill(
        "mkdir -p d/e; head -c 30000000 /dev/urandom > d/large; echo x > d/e/f; ln d/e/f hard; ln -s /etc soft; mkfifo pipe
         mknod null c 1 3; cp /bin/true suid; chown 5:6 suid; chmod 6755 suid; setfattr -n trusted.note -v seen d
         setfattr -n user.note -v also suid; setfacl -m u:70:rwx,d:u:70:rx d; truncate -s 3G sparse; echo end >> sparse
         python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s.sock\")'
         touch -d @77.5 d/e; chown 999:70 .; chmod 2750 .; touch -d @1234567890.123456789 .",
    );
    let file = bench.dir.path().join("volume.tar");
    let sent = bench.archive(&mut std::fs::File::create(&file).unwrap()).unwrap();
    assert_eq!(sent.tar_bytes, file.metadata().unwrap().len());
    assert_eq!(sent.notes, ["socket s.sock was left out"]);
    sh(&format!(
        "rm {}/s.sock; touch -d @1234567890.123456789 {0}",
        Bench::path(&bench.from).display()
    ));
    let members = sh(&format!("tar -tf {} | sort", file.display()));
    let found = sh(&format!(
        "cd {}; find . -type d -printf '%p/\\n' -o -print | sort",
        Bench::path(&bench.from).display()
    ));
    assert_eq!(members, found);
    let came = bench.unarchive(std::fs::File::open(&file).unwrap()).unwrap();
    assert_eq!(
        (&came.tree, came.entries, came.bytes),
        (&sent.tree, sent.entries, sent.bytes)
    );
    let look = |dir: &Path| {
        sh(&format!(
            "cd {}; find . ! -type d -printf '%P %y %U:%G %m %T@ %s %n %l\\n' -o -printf '%P %y %U:%G %m %T@\\n' | sort
             find . -type f -exec sha256sum {{}} + | sort; getfattr -h -d -m- -R . | sort; stat -c '%t:%T' null; stat -c %b sparse",
            dir.display()
        ))
    };
    let before = look(&Bench::path(&bench.from));
    assert_eq!(before, look(&Bench::path(&bench.to)));
    for seen in ["trusted.note", "posix_acl_default", "5:6 6755", " 77.5"] {
        assert!(before.contains(seen), "{seen} is not in {before}");
    }
}

/// Fails after some bytes, or does something then, once.
struct Broken {
    room: usize,
    action: Option<Box<dyn Fn() -> std::io::Result<usize> + Send>>,
}

impl Broken {
    fn new(room: usize, action: impl Fn() -> std::io::Result<usize> + Send + 'static) -> Self {
        Self {
            room,
            action: Some(Box::new(action)),
        }
    }

    fn pass(&mut self, len: usize) -> std::io::Result<usize> {
        if self.room == 0 {
            return self.action.take().map_or(Ok(0), |action| action());
        }
        let len = len.min(self.room);
        self.room -= len;
        Ok(len)
    }
}

impl Write for Broken {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let done = self.pass(bytes.len())?;
        // After the action it takes everything.
        Ok(if done == 0 { bytes.len() } else { done })
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Broken {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.pass(bytes.len())
    }
}

fn failing_writer() {
    let bench = Bench::new("");
    bench.fill("head -c 20000000 /dev/urandom > f");
    let mut full = Broken::new(5_000_000, || Err(std::io::ErrorKind::StorageFull.into()));
    let failure = bench.archive(&mut full).unwrap_err();
    assert_eq!(failure.what, "cannot write the archive of the volume");
    assert_eq!(failure.causes, ["no storage space"]);
    // One that is in our own words is told in them.
    let own = || Err(std::io::Error::other(Failure::refused("the bucket is gone")));
    let failure = bench.archive(&mut Broken::new(5_000_000, own)).unwrap_err();
    assert_eq!(failure, Failure::refused("the bucket is gone"));
}

fn failing_reader() {
    let bench = Bench::new("");
    let own = || Err(std::io::Error::other(Failure::refused("the key is wrong")));
    let failure = bench.unarchive(Broken::new(0, own)).unwrap_err();
    assert_eq!(failure, Failure::refused("the key is wrong"));
    // After a whole archive: what it is worth is known only at the end of what is read.
    let file = bench.dir.path().join("a.tar");
    bench.fill("echo x > f");
    bench.archive(&mut std::fs::File::create(&file).unwrap()).unwrap();
    let whole = std::fs::File::open(&file).unwrap();
    let failure = bench.unarchive(whole.chain(Broken::new(0, own))).unwrap_err();
    assert_eq!(failure, Failure::refused("the key is wrong"));
}

fn killed() {
    let bench = Bench::new("");
    bench.fill("head -c 200000000 /dev/urandom > f");
    let filter = format!("--filter label=rehome.run={}", bench.run);
    // The engine itself would wait for somebody to read what the helper has written.
    let kill = move || {
        sh(&format!(
            "for id in $(docker ps -q {filter}); do kill -9 $(docker inspect -f '{{{{.State.Pid}}}}' $id); done"
        ));
        Ok(0)
    };
    let failure = bench
        .archive(&mut Broken::new(3_000_000, kill.clone()))
        .unwrap_err();
    assert_eq!(failure.what, "the helper ended before its work was done");
    assert_eq!(failure.causes[0], "it was killed");
    // While it unpacks: the rest is given to nobody.
    let file = bench.dir.path().join("a.tar");
    bench.archive(&mut std::fs::File::create(&file).unwrap()).unwrap();
    let begin = std::fs::File::open(&file).unwrap().take(20_000_000);
    let rest = Broken::new(0, kill);
    let endless = std::io::repeat(0);
    let failure = bench.unarchive(begin.chain(rest).chain(endless)).unwrap_err();
    assert_eq!(failure.causes[0], "it was killed", "{failure:?}");
}

fn refused() {
    let bench = Bench::new("--opt type=tmpfs --opt device=tmpfs --opt o=size=8m");
    bench.fill("head -c 2000000 /dev/urandom > f");
    let file = bench.dir.path().join("a.tar");
    bench.archive(&mut std::fs::File::create(&file).unwrap()).unwrap();
    let part = std::fs::File::open(&file).unwrap().take(1_000_000);
    let failure = bench.unarchive(part).unwrap_err();
    assert!(
        failure.what.starts_with("the archive cannot be read at its byte"),
        "{failure:?}"
    );
    assert_eq!(
        failure.causes,
        ["it ends before its end: a part of it is missing"]
    );
    bench.fill("head -c 20000000 /dev/urandom > g");
    bench.archive(&mut std::fs::File::create(&file).unwrap()).unwrap();
    let failure = bench.unarchive(std::fs::File::open(&file).unwrap()).unwrap_err();
    assert!(failure.causes[0].contains("No space left"), "{failure:?}");
}
