//! An engine of a test's own, which it may kill: the one that all tests share must live.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{sh, try_sh, unique, use_engine, wait_for};

/// A Docker engine with its own data and its own network; the test's thread talks to it until it is dropped.
pub struct OwnEngine {
    dir: PathBuf,
    netns: String,
    process: Child,
}

impl OwnEngine {
    /// Starts one, with these images of the shared engine in it.
    pub fn with(images: &[&str]) -> Self {
        Self::within(&std::env::temp_dir(), images)
    }

    /// The same with its data below a directory: on a small disk.
    pub fn within(parent: &Path, images: &[&str]) -> Self {
        let id = unique();
        let dir = parent.join(format!("rehome-e2e-engine-{id}"));
        let netns = format!("rehome-e2e-{id}");
        sh(&format!(
            "mkdir {d} && ip netns add {netns} && ip -n {netns} link set lo up && docker save -o {d}/images.tar {images}",
            d = dir.display(),
            images = images.join(" ")
        ));
        let process = launch(&dir, &netns);
        let engine = Self { dir, netns, process };
        use_engine(Some(engine.host()));
        engine.answers();
        sh(&format!("docker load -q -i {}/images.tar", engine.dir.display()));
        engine
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket())
    }

    /// The path of its socket.
    pub fn socket(&self) -> String {
        format!("{}/docker.sock", self.dir.display())
    }

    /// It goes without a word, as after the kernel ran out of memory. The containers' own processes live on until it
    /// is back.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// It stops its containers and ends, as at `systemctl restart docker`.
    pub fn stop(&mut self) {
        sh(&format!("kill {}", self.process.id()));
        self.process.wait().unwrap();
    }

    /// It is started again, and answers.
    pub fn start(&mut self) {
        // Its own containerd ends with it, but not in the same moment.
        let containerd = self.dir.join("exec/containerd/containerd.pid");
        let containerd = containerd.display();
        wait_for("the end of containerd", || {
            !try_sh(&format!("kill -0 $(cat {containerd})")).status.success()
        });
        sh(&format!("rm -f {containerd} {}/docker.pid", self.dir.display()));
        self.process = launch(&self.dir, &self.netns);
        self.answers();
    }

    #[track_caller]
    fn answers(&self) {
        let log = self.dir.join("log");
        wait_for(
            &format!("the engine to answer; its log: {}", log.display()),
            || try_sh("docker version").status.success(),
        );
    }
}

/// `dockerd` of the pair under test, or the machine's own.
fn launch(dir: &std::path::Path, netns: &str) -> Child {
    let path = std::env::var("PATH").unwrap();
    let path = std::env::var("REHOME_ENGINE_PATH").map_or(path.clone(), |first| format!("{first}:{path}"));
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .unwrap();
    let d = dir.display();
    Command::new("nsenter")
        .arg(format!("--net=/run/netns/{netns}"))
        .arg("dockerd")
        .args(["--host", &format!("unix://{d}/docker.sock")])
        .args(["--data-root", &format!("{d}/data")])
        .args(["--exec-root", &format!("{d}/exec")])
        .args(["--pidfile", &format!("{d}/docker.pid")])
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("dockerd starts")
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        // Whatever state the test left it in: neither it nor its containers' processes and mounts may outlive it.
        let d = self.dir.display();
        let killed = self.process.kill();
        let ended = self.process.wait();
        // In brackets, so that the shell does not find itself.
        let ours = d.to_string().replace("engine", "[e]ngine");
        try_sh(&format!("while pkill -9 -f {ours}; do sleep 0.1; done"));
        let output = try_sh(&format!(
            "awk -v dir={d}/ 'index($2, dir) == 1 {{ print $2 }}' /proc/mounts | sort -ru | xargs -r umount -l; \
             ip netns delete {}; rm -rf {d}",
            self.netns
        ));
        use_engine(None);
        if !std::thread::panicking() {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(killed.is_ok() && ended.is_ok());
        }
    }
}
