//! `rehome backup freeze` on real file systems: they stand still while the command runs, and never for longer than they may,
//! whoever is killed.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Disk, ask, in_own_namespace, sh, tempdir};

const REHOME: &str = env!("CARGO_BIN_EXE_rehome");

/// A volume that is mounted, and an empty directory to call from.
struct Volume {
    at: PathBuf,
    dir: tempfile::TempDir,
    _disk: Disk,
}

impl Volume {
    fn new(fs_type: &str) -> Self {
        let (disk, dir) = (Disk::new(fs_type), tempdir());
        let at = dir.path().join("data");
        std::fs::create_dir_all(&at).unwrap();
        sh("mount", &[&disk.device, &at]);
        Self { at, dir, _disk: disk }
    }

    /// The call, with a state directory that is not on the volume.
    fn freeze(&self, options: &[&str], command: &[&str]) -> Command {
        let mut call = Command::new(REHOME);
        call.args(["--state-dir", self.dir.path().join("state").to_str().unwrap()])
            .args(["backup", "freeze", "--at", self.at.to_str().unwrap()])
            .args(options)
            .arg("--")
            .args(command)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        call
    }

    /// Freezes until somebody ends it; returns when it stands still.
    fn frozen(&self, limit: &str) -> Child {
        let script = "echo still; exec sleep 60";
        let mut call = self.freeze(&["--limit", limit], &["sh", "-c", script]);
        let mut child = call.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"still\n");
        child
    }

    /// Waits until something can be written, at most so long; how long it took.
    fn writable_within(&self, most: Duration) -> Duration {
        let began = Instant::now();
        let file = self.at.join("written");
        let seconds = most.as_secs().to_string();
        let (done, said) = ask("timeout", &[&"-s", &"KILL", &seconds, &"touch", &file]);
        assert!(done, "still frozen after {most:?}: {said}");
        began.elapsed()
    }

    /// A write waits: `timeout` gives up on it, or cannot even kill it.
    fn stands_still(&self) {
        let mut touch = Command::new("touch")
            .arg(self.at.join("blocked"))
            .spawn()
            .unwrap();
        // What is done at once is done after this.
        std::thread::sleep(Duration::from_millis(500));
        assert!(touch.try_wait().unwrap().is_none(), "a write went through");
        std::thread::spawn(move || touch.wait());
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A test that failed leaves nothing frozen behind.
        ask("fsfreeze", &[&"-u", &self.at]);
        ask("umount", &[&self.at]);
    }
}

#[test]
fn it_stands_still_while_the_command_runs_and_its_exit_code_is_passed_on() {
    if !in_own_namespace("freezing::it_stands_still_while_the_command_runs_and_its_exit_code_is_passed_on") {
        return;
    }
    for fs_type in ["ext4", "xfs"] {
        let volume = Volume::new(fs_type);
        let script = format!(
            "(touch {0}/written; echo late >{1}/late) & sleep 1; [ -e {1}/late ] && exit 99; exit 7",
            volume.at.display(),
            volume.dir.path().display()
        );
        let output = volume.freeze(&[], &["sh", "-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{fs_type}: {said}");
        assert!(
            said.contains("crash-consistent") && said.contains("stood still for"),
            "{said}"
        );
        volume.writable_within(Duration::from_secs(5));
    }
}

#[test]
fn it_is_thawed_at_the_limit_and_the_command_is_ended() {
    if !in_own_namespace("freezing::it_is_thawed_at_the_limit_and_the_command_is_ended") {
        return;
    }
    let volume = Volume::new("ext4");
    let began = Instant::now();
    let mut child = volume.frozen("2s");
    volume.stands_still();
    volume.writable_within(Duration::from_secs(10));
    assert!(began.elapsed() >= Duration::from_secs(2));
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn it_is_thawed_when_rehome_is_killed_and_when_the_watchdog_is() {
    if !in_own_namespace("freezing::it_is_thawed_when_rehome_is_killed_and_when_the_watchdog_is") {
        return;
    }
    for fs_type in ["ext4", "xfs"] {
        let volume = Volume::new(fs_type);
        let mut child = volume.frozen("50s");
        volume.stands_still();
        child.kill().unwrap();
        child.wait().unwrap();
        volume.writable_within(Duration::from_secs(10));
    }
    let volume = Volume::new("ext4");
    let mut child = volume.frozen("4s");
    let watchdog = sh("pgrep", &[&"-P", &child.id().to_string(), &"-f", &" thaw /"]);
    sh("kill", &[&"-9", &watchdog]);
    volume.stands_still();
    // Nobody but Rehome itself is left: it thaws when its command is over, which is at the limit.
    volume.writable_within(Duration::from_secs(20));
    child.wait().unwrap();
    // And a polite signal to the watchdog thaws at once.
    let mut child = volume.frozen("50s");
    let watchdog = sh("pgrep", &[&"-P", &child.id().to_string(), &"-f", &" thaw /"]);
    sh("kill", &[&"-TERM", &watchdog]);
    assert!(volume.writable_within(Duration::from_secs(10)) < Duration::from_secs(9));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_must_not_stand_still_is_refused_and_the_command_is_not_run() {
    if !in_own_namespace("freezing::what_must_not_stand_still_is_refused_and_the_command_is_not_run") {
        return;
    }
    // A program of a development build has room on it.
    let volume = Volume::new("xfs");
    let ran = volume.dir.path().join("ran");
    let command = ["touch", ran.to_str().unwrap()];
    let refused = |call: &mut Command, words: &str| {
        let output = call.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(words), "{words}: {said}");
        assert!(!ran.exists());
    };
    let at = |dir: &Path, state: &Path| {
        let mut call = Command::new(REHOME);
        call.arg("--state-dir")
            .arg(state)
            .args(["backup", "freeze", "--at"])
            .arg(dir)
            .arg("--")
            .args(command)
            .current_dir(volume.dir.path());
        call
    };
    let state = volume.dir.path().join("state");
    refused(&mut at(Path::new("/etc"), &state), "on the root file system");
    refused(&mut at(&volume.dir.path().join("none"), &state), "is not there");
    refused(
        &mut at(Path::new("/proc/sys"), &state),
        "only a file system on a device",
    );
    refused(
        &mut at(&volume.at, &volume.at.join("new/state")),
        "the state directory",
    );
    // The program itself.
    let own = volume.at.join("rehome");
    std::fs::copy(REHOME, &own).unwrap();
    let mut call = Command::new(&own);
    call.arg("--state-dir")
        .arg(&state)
        .args(["backup", "freeze", "--at"])
        .arg(&volume.at)
        .arg("--")
        .args(command)
        .current_dir(volume.dir.path());
    refused(&mut call, "this program");
    // One that somebody else has frozen is left to them.
    sh("fsfreeze", &[&"-f", &volume.at]);
    let output = volume.freeze(&[], &command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("busy"), "{said}");
    assert!(!ran.exists());
    volume.stands_still();
    sh("fsfreeze", &[&"-u", &volume.at]);
}
