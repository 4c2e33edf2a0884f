//! A file system that stands still while a command runs, for a snapshot of its volume at the provider.
//!
//! A process of its own freezes it and thaws it: [`watch`]. It is told to by a pipe, and the end of the pipe tells it that
//! nobody is there any more: then it thaws, and at the limit in any case. It has a session of its own, so that a Ctrl-C or a
//! closed terminal does not end it, and it answers a polite signal by thawing. It writes nothing to any disk.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout, timeout_at};

use super::mounted::Mounts;
use super::tool::Tool;
use crate::helper::mounts::Mount;
use crate::model::{Failure, Result, Span, shell_path};

/// How long the watchdog may take to begin, and to answer when it has thawed.
const ANSWER: Duration = Duration::from_secs(20);
/// Between the polite signal to a command that took too long and the other one.
const GRACE: Duration = Duration::from_secs(10);
/// A thaw that does not work is tried again so often, a moment apart.
const TRIES: usize = 100;
const MOMENT: Duration = Duration::from_millis(100);

/// A file system that may stand still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it is mounted.
    pub at: PathBuf,
    /// What is mounted.
    pub source: String,
    /// Its type.
    pub fs_type: String,
}

impl Target {
    /// The file system that a directory is on. `needed` are places that have to stay writable, each with what it is.
    ///
    /// # Errors
    /// Refused when it is the root file system, when one of those places is on it, and when it is no file system on a
    /// device.
    pub fn of(dir: &Path, needed: &[(&str, &Path)]) -> Result<Self> {
        let cannot =
            |what: String| Failure::refused(what).data("nothing was frozen, and the command was not run");
        let real = dir
            .canonicalize()
            .map_err(|e| cannot(format!("{} is not there", dir.display())).because(&e))?;
        let mount = mount_of(&real)?;
        let root = mount_of(Path::new("/"))?;
        if same(&mount, &root) {
            return Err(
                cannot(format!("{} is on the root file system", dir.display()))
                    .cause("if that stood still, so would this machine")
                    .hint("is the volume mounted? findmnt; a snapshot of the root disk is taken while the machine is off"),
            );
        }
        for (what, path) in needed {
            if same(&mount, &mount_of(&existing(path))?) {
                return Err(
                    cannot(format!("{what} {} is on the same file system", path.display()))
                        .cause("what thaws it must not wait for it")
                        .hint("keep it on the root disk"),
                );
            }
        }
        if !mount.source.starts_with(b"/dev/") {
            let source = String::from_utf8_lossy(&mount.source);
            let what = format!("{} is on {source} ({})", dir.display(), mount.fs_type);
            return Err(cannot(what).cause("only a file system on a device of this machine can be frozen"));
        }
        Ok(Self {
            at: point(&mount),
            source: String::from_utf8_lossy(&mount.source).into_owned(),
            fs_type: mount.fs_type,
        })
    }
}

fn point(mount: &Mount) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    OsString::from_vec(mount.point.clone()).into()
}

/// What is mounted at a path, or around it.
fn mount_of(path: &Path) -> Result<Mount> {
    let mut mounts = Mounts::about(path)?;
    mounts.here.pop().or(mounts.around).ok_or_else(|| {
        Failure::environment(format!(
            "what {} is on is not in the table of mounts",
            path.display()
        ))
    })
}

/// The same file system, mounted here or there: the parts of a btrfs have numbers of their own, and one device.
fn same(one: &Mount, other: &Mount) -> bool {
    one.device == other.device || one.source.starts_with(b"/dev/") && one.source == other.source
}

/// The nearest directory that is there.
fn existing(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|above| above.canonicalize().ok());
    there.unwrap_or_else(|| "/".into())
}

/// When a file system was thawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thawed {
    /// When it was asked for.
    Asked,
    /// Before, because it had stood still for as long as it may.
    AtTheLimit,
}

/// How a command ended while a file system stood still.
#[derive(Debug)]
pub struct StoodStill {
    /// The command's end.
    pub status: ExitStatus,
    /// For how long.
    pub span: Duration,
}

/// Runs a command while a file system stands still. `program` is this program, whose hidden subcommand is the watchdog.
///
/// # Errors
/// When it cannot be frozen: then the command was not run. When the command cannot be started. When it took longer than
/// `limit`: then the file system was thawed under it, and it was told to end. Stuck, when nothing could thaw it.
pub async fn run(
    target: &Target,
    limit: Duration,
    program: &Path,
    command: &[OsString],
) -> Result<StoodStill> {
    let mut watchdog = Watchdog::start(target, limit, program).await?;
    // What is to be written is written before, so that the freeze itself is short.
    let open = File::open(&target.at).map_err(|e| unfrozen(&target.at).because(&e))?;
    tokio::task::block_in_place(|| rustix::fs::syncfs(&open))
        .map_err(|e| unfrozen(&target.at).because(&e))?;
    drop(open);
    let began = Instant::now();
    watchdog.freeze(limit).await?;
    let ended = carry(command, began + limit).await;
    let thawed = watchdog.thaw().await?;
    let span = began.elapsed();
    match (ended?, thawed) {
        (Some(status), Thawed::Asked) => Ok(StoodStill { status, span }),
        _ => Err(Failure::environment(format!(
            "the command did not end within {}, and was stopped",
            Span(limit)
        ))
        .data("the file system is thawed; a snapshot that was begun may be of a later moment, or of none")
        .hint("let it stand still for longer: --limit 60s; or give a command that only begins the snapshot")),
    }
}

fn unfrozen(at: &Path) -> Failure {
    Failure::environment(format!("cannot freeze {}", at.display()))
        .data("nothing stands still, and the command was not run")
}

/// The command, until it ends or the time is over; `None` if it was.
async fn carry(command: &[OsString], until: Instant) -> Result<Option<ExitStatus>> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::bug("there is no command to run"));
    };
    let name = program.to_string_lossy().into_owned();
    let lost = |e: &std::io::Error| {
        Failure::environment(format!("cannot run `{name}`"))
            .because(e)
            .data("the file system is thawed")
    };
    let mut child = Command::new(program)
        .args(arguments)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| lost(&e))?;
    if let Ok(ended) = timeout_at(until.into(), child.wait()).await {
        return ended.map(Some).map_err(|e| lost(&e));
    }
    if let Some(pid) = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
        && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
    {
        tracing::debug!(%error, "signal to a command that took too long");
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await.map_err(|e| lost(&e))?;
    }
    Ok(None)
}

/// The process that freezes and thaws.
struct Watchdog {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    at: PathBuf,
}

impl Watchdog {
    async fn start(target: &Target, limit: Duration, program: &Path) -> Result<Self> {
        let at = &target.at;
        let mut child = Command::new(program)
            .arg("thaw")
            .arg(at)
            .arg(limit.as_millis().to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| unfrozen(at).cause("its watchdog cannot be started").because(&e))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::bug("a watchdog without pipes"));
        };
        let mut watchdog = Self {
            child,
            to,
            from: BufReader::new(from).lines(),
            at: at.clone(),
        };
        match watchdog.hear(ANSWER).await.as_deref() {
            Some("ready") => Ok(watchdog),
            said => Err(unfrozen(at).cause(said.unwrap_or("its watchdog did not begin"))),
        }
    }

    /// The next line; `None` if none comes in time.
    async fn hear(&mut self, limit: Duration) -> Option<String> {
        timeout(limit, self.from.next_line()).await.ok()?.ok()?
    }

    async fn freeze(&mut self, limit: Duration) -> Result<()> {
        let asked = self.to.write_all(b"freeze\n").await;
        asked.map_err(|e| unfrozen(&self.at).because(&e))?;
        match self.hear(limit + ANSWER).await.as_deref() {
            Some("frozen") => Ok(()),
            Some(said) => Err(unfrozen(&self.at).cause(said)),
            None => {
                // Whatever it did: nothing stands still afterwards.
                thaw(&self.at).await?;
                Err(unfrozen(&self.at).cause("its watchdog did not answer"))
            }
        }
    }

    async fn thaw(mut self) -> Result<Thawed> {
        // It may have thawed already, and be gone.
        if let Err(error) = self.to.write_all(b"thaw\n").await {
            tracing::debug!(%error, "the watchdog does not listen");
        }
        drop(self.to);
        let said = timeout(ANSWER, self.from.next_line()).await;
        let said = said.ok().and_then(|line| line.ok().flatten());
        let thawed = match said.as_deref() {
            Some("thawed") => Thawed::Asked,
            Some("thawed at the limit") => Thawed::AtTheLimit,
            // Somebody killed it: then it is done here.
            _ => {
                thaw(&self.at).await?;
                Thawed::Asked
            }
        };
        if timeout(ANSWER, self.child.wait()).await.is_err() {
            tracing::debug!("the watchdog does not end");
        }
        Ok(thawed)
    }
}

/// Thaws; one that does not stand still is fine.
async fn thaw(at: &Path) -> Result<()> {
    let stuck = |why: String| {
        Failure::stuck(format!("{} stands still, and could not be thawed", at.display()))
            .cause(why)
            .data("nothing can be written there until it is thawed; nothing is lost")
            .hint(format!("fsfreeze -u {}", shell_path(at)))
    };
    let open = File::open(at).map_err(|e| stuck(e.to_string()))?;
    let mut why = String::new();
    for _ in 0..TRIES {
        match thaw_once(&open).await {
            Ok(()) => return Ok(()),
            Err(failure) => why = failure.to_string(),
        }
        sleep(MOMENT).await;
    }
    Err(stuck(why))
}

/// What is open is thawed, whatever its name leads to by now.
async fn thaw_once(open: &File) -> Result<()> {
    let open = open
        .try_clone()
        .map_err(|e| Failure::environment("cannot open the directory once more").because(&e))?;
    let tool = Tool::new("fsfreeze", ["-u", "/proc/self/fd/0"]).with_open(open.into());
    let ended = tool.ask().await?;
    // EINVAL: it does not stand still.
    match ended.success || ended.stderr.contains("Invalid argument") {
        true => Ok(()),
        false => Err(Failure::environment(ended.stderr.trim().to_owned())),
    }
}

/// The watchdog: freezes when it is told to, and thaws when it is told to, when nobody is there any more, when it is
/// signalled, and at the limit.
pub fn watch(at: &Path, limit: Duration, to: &mut dyn Write) -> ExitCode {
    // Away from the terminal of whoever began. A leader of its group cannot go, and needs not.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "setsid");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        return ExitCode::FAILURE;
    };
    match runtime.block_on(guard(at, limit, to)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(to, &failure.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// Whoever it is said to may be gone.
fn say(to: &mut dyn Write, line: &str) {
    if let Err(error) = writeln!(to, "{line}").and_then(|()| to.flush()) {
        tracing::debug!(%error, "nobody listens to the watchdog");
    }
}

/// What is said to this process; the end of it when nobody is there any more.
fn lines_of_stdin() -> tokio::sync::mpsc::Receiver<String> {
    let (to, from) = tokio::sync::mpsc::channel(4);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(|line| line.ok()) {
            if to.blocking_send(line).is_err() {
                return;
            }
        }
    });
    from
}

async fn guard(at: &Path, limit: Duration, to: &mut dyn Write) -> Result<()> {
    let broken = |e: std::io::Error| Failure::environment("the watchdog cannot begin").because(&e);
    let open = File::open(at).map_err(broken)?;
    let mut term = signal(SignalKind::terminate()).map_err(broken)?;
    let mut int = signal(SignalKind::interrupt()).map_err(broken)?;
    let mut hup = signal(SignalKind::hangup()).map_err(broken)?;
    let mut told = lines_of_stdin();
    say(to, "ready");
    match told.recv().await {
        Some(line) if line == "freeze" => {}
        _ => return Ok(()),
    }
    let until = tokio::time::Instant::now() + limit;
    let directory = open.try_clone().map_err(broken)?;
    // It waits until what is being written has arrived. However long that takes: only then can it be thawed.
    let tool = Tool::new("fsfreeze", ["-f", "/proc/self/fd/0"])
        .with_open(directory.into())
        .limit(Duration::from_secs(24 * 3600));
    let ended = tool.ask().await?;
    if !ended.success {
        return Err(Failure::environment(ended.stderr.trim().to_owned()));
    }
    say(to, "frozen");
    let word = tokio::select! {
        // A line, the end of the pipe, or a broken one: all the same.
        _ = told.recv() => "thawed",
        () = tokio::time::sleep_until(until) => "thawed at the limit",
        _ = term.recv() => "thawed at the limit",
        _ = int.recv() => "thawed at the limit",
        _ = hup.recv() => "thawed at the limit",
    };
    let mut tried = Ok(());
    for _ in 0..TRIES {
        tried = thaw_once(&open).await;
        if tried.is_ok() {
            say(to, word);
            break;
        }
        sleep(MOMENT).await;
    }
    tried
}
