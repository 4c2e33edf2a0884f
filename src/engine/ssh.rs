//! An engine on another machine: one SSH connection, and every request through it.
//!
//! The docker client logs in for each of its requests and starts `docker system dial-stdio` on the server for each, and so
//! would Compose for each of its own. Here `ssh` logs in once, asks the `docker` there where its engine listens, and hands
//! a local socket, which only this user can reach, on to that one: for the API and for Compose alike. `MaxSessions` of the
//! server does not count such channels, but it may forbid them (`AllowStreamLocalForwarding` in sshd_config(5)).
//!
//! A connection that breaks is made again. What was under way on it fails, as when an engine is restarted; what is asked
//! meanwhile waits.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::model::{Failure, Result, shell_word};

/// How long a login may take, with what a slow server and a jump host need.
const LOGIN: Duration = Duration::from_secs(60);
/// Between two attempts to make a connection again.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a request waits for a connection that is made again, and then fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take until `ssh` says why the server refused a channel.
const REASON: Duration = Duration::from_secs(1);
/// What is kept of what `ssh` says: its last words.
const SAID: usize = 4 << 10;
/// The longest answer to where the engine listens.
const ANSWER: u64 = 4 << 10;

/// A way to an engine on another machine. It ends with the last that holds it, and with this process however that ends:
/// the far side reads from a pipe that only this process has.
#[derive(Debug)]
pub(super) struct Tunnel {
    socket: PathBuf,
    said: watch::Receiver<String>,
    /// End when this is dropped, and the login with them.
    tasks: [JoinHandle<()>; 2],
    /// Holds the sockets; gone when it is dropped.
    _directory: TempDir,
}

impl Tunnel {
    /// Logs in at `ssh://[user@]host[:port][/path/of/docker.sock]`. Nothing is asked: keys come from an agent or have no
    /// passphrase, and the server's own key has to be known.
    ///
    /// # Errors
    /// An address that names no server, or a server that does not let this user in, in the words of `ssh`.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let server = Server::read(url)?;
        let cannot = |error: &io::Error| Failure::environment(format!("cannot reach {url}")).because(error);
        let directory = tempfile::Builder::new()
            .prefix("rehome-ssh-")
            .tempdir()
            .map_err(|e| cannot(&e))?;
        let (tell, said) = watch::channel(String::new());
        let logins = Logins {
            server,
            directory: directory.path().to_owned(),
            tell: Arc::new(tell),
        };
        let login = logins.log_in(0).await?;
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).map_err(|e| cannot(&e))?;
        let (up, ways) = watch::channel(Some(login.way.clone()));
        let tasks = [
            tokio::spawn(keep(logins, login, up)),
            tokio::spawn(accept(listener, ways, said.clone())),
        ];
        Ok(Self {
            socket,
            said,
            tasks,
            _directory: directory,
        })
    }

    /// Where the engine is reached on this machine.
    pub(super) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The last words of `ssh`, if it had any.
    pub(super) fn said(&self) -> Option<String> {
        Some(self.said.borrow().trim().to_owned()).filter(|said| !said.is_empty())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Logs in again whenever the connection broke.
async fn keep(logins: Logins, mut login: Login, up: watch::Sender<Option<PathBuf>>) {
    for number in 1.. {
        // How it ended does not matter: it is over.
        drop(login.child.wait().await);
        up.send_replace(None);
        login = loop {
            match logins.log_in(number).await {
                Ok(login) => break login,
                Err(failure) => {
                    logins.tell.send_replace(failure.to_string());
                    sleep(PAUSE).await;
                }
            }
        };
        up.send_replace(Some(login.way.clone()));
    }
}

async fn accept(
    listener: UnixListener,
    ways: watch::Receiver<Option<PathBuf>>,
    said: watch::Receiver<String>,
) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(relay(client, ways.clone(), said.clone()));
            }
            // No file descriptors left: whoever holds them has to let go of some first.
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Carries one connection to its end. That it broke is found out by whoever asks on it.
async fn relay(
    mut client: UnixStream,
    mut ways: watch::Receiver<Option<PathBuf>>,
    mut said: watch::Receiver<String>,
) {
    said.mark_unchanged();
    let up = timeout(PATIENCE, ways.wait_for(Option::is_some)).await;
    let Some(way) = up.ok().and_then(|way| way.ok()?.clone()) else {
        return;
    };
    let Ok(mut server) = UnixStream::connect(way).await else {
        return;
    };
    let heard = copy_bidirectional(&mut client, &mut server).await;
    if !matches!(heard, Ok((_, heard)) if heard > 0) {
        // Who hears that the connection ended finds out why: the reason comes on another way, and may be a moment later.
        drop(timeout(REASON, said.changed()).await);
    }
}

/// Keeps the last words of `ssh`.
async fn listen(mut errors: ChildStderr, tell: Arc<watch::Sender<String>>) {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = errors.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(SAID));
        tell.send_replace(String::from_utf8_lossy(&kept).into_owned());
    }
}

/// A connection, and the local socket that leads through it to the engine.
struct Login {
    child: Child,
    /// It lasts as long as this does.
    _holds: ChildStdin,
    way: PathBuf,
}

/// What an `ssh://` address names.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// The engine's socket there, if it is not the one that `docker` finds by itself.
    socket: Option<String>,
}

impl Server {
    fn read(url: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Failure::usage(format!("{url} names no engine"))
                .cause(why)
                .hint("as in ssh://user@server or ssh://user@server:2222/run/user/1000/docker.sock")
        };
        let rest = url
            .strip_prefix("ssh://")
            .ok_or_else(|| wrong("it is no ssh:// address"))?;
        let (authority, socket) = match rest.find('/') {
            Some(slash) => (&rest[..slash], &rest[slash..]),
            None => (rest, ""),
        };
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            // Nor is it repeated: it would be in every log.
            return Err(Failure::usage("an ssh:// address with a password in it")
                .cause("ssh takes no password from there, and every list of processes would show it")
                .hint("log in with a key: ssh-copy-id, ssh-agent"));
        }
        let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map(|port| port.parse().map_err(|_| wrong("its port is no number")));
        if host.is_empty()
            || host.starts_with('-')
            || user.is_some_and(|u| u.is_empty() || u.starts_with('-'))
        {
            return Err(wrong("there is no server in it"));
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port: port.transpose()?,
            socket: Some(socket.to_owned()).filter(|socket| !matches!(socket.as_str(), "" | "/")),
        })
    }

    /// `ssh` as it is always called. It is in a process group of its own: a Ctrl-C is Rehome's to answer, and the way
    /// back needs the connection. So it cannot ask anything, and is told not to try.
    fn ssh(&self, control: &Path) -> Command {
        let mut command = Command::new("ssh");
        // `%` has a meaning in that option.
        let control = control.to_string_lossy().replace('%', "%%");
        command.args(["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30"]);
        // A server that went away is noticed within a minute.
        command.args(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]);
        command.args(["-S", &control]);
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// What the server's shell runs: says where the engine listens, and ends when its input does.
    fn command(&self) -> String {
        let says = match &self.socket {
            Some(socket) => format!("echo {}", shell_word(&format!("unix://{socket}"))),
            None => "docker context inspect --format '{{.Endpoints.docker.Host}}'".to_owned(),
        };
        format!("{says} && exec cat")
    }

    fn failed(&self, why: impl Into<String>) -> Failure {
        let user = self
            .user
            .as_ref()
            .map(|user| format!("{user}@"))
            .unwrap_or_default();
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        Failure::environment(format!("cannot log in at {}", self.host))
            .cause(why)
            .data("nothing was changed")
            .hint(format!(
                "this has to work without a question: ssh {port}{user}{} docker version",
                self.host
            ))
    }
}

/// What every login of one way has in common.
struct Logins {
    server: Server,
    /// Where their sockets are.
    directory: PathBuf,
    /// Hears the last words of `ssh`.
    tell: Arc<watch::Sender<String>>,
}

impl Logins {
    /// Logs in, and opens the way to the engine. `number` tells it from the logins before.
    async fn log_in(&self, number: usize) -> Result<Login> {
        match timeout(LOGIN, self.try_to_log_in(number)).await {
            Ok(login) => login,
            Err(_) => Err(self.server.failed("it did not answer in time")),
        }
    }

    async fn try_to_log_in(&self, number: usize) -> Result<Login> {
        let Self {
            server,
            directory,
            tell,
        } = self;
        let broken = |error: io::Error| server.failed(format!("cannot run `ssh`: {error}"));
        let control = directory.join(format!("login-{number}"));
        let mut command = server.ssh(&control);
        command.args([
            "-o",
            "ControlMaster=yes",
            "-o",
            "ControlPersist=no",
            "--",
            &server.host,
        ]);
        let mut child = command.arg(server.command()).spawn().map_err(broken)?;
        let (Some(holds), Some(says), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(server.failed("`ssh` has no pipes"));
        };
        let listening = tokio::spawn(listen(errors, Arc::clone(tell)));
        let mut line = String::new();
        BufReader::new(says.take(ANSWER))
            .read_line(&mut line)
            .await
            .map_err(broken)?;
        let Some(socket) = line.trim().strip_prefix("unix://") else {
            if line.is_empty() {
                let ended = child.wait().await.map_err(broken)?;
                // All that it said has been read when this ends.
                drop(listening.await);
                let said = tell.borrow().trim().to_owned();
                return Err(server.failed(match said.as_str() {
                    "" => format!("`ssh` ended with {ended}"),
                    _ => said,
                }));
            }
            return Err(server
                .failed(format!("the docker there uses the engine at {}", line.trim()))
                .hint("name a socket: ssh://user@server/run/docker.sock"));
        };
        let way = directory.join(format!("engine-{number}"));
        let mut forward = server.ssh(&control);
        forward.args([
            "-O",
            "forward",
            "-L",
            &format!("{}:{socket}", way.display()),
            "--",
            &server.host,
        ]);
        let forwarded = forward.output().await.map_err(broken)?;
        match forwarded.status.success() {
            true => Ok(Login {
                child,
                _holds: holds,
                way,
            }),
            false => Err(server.failed(String::from_utf8_lossy(&forwarded.stderr).trim())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let read = |url: &str| {
            let server = Server::read(url).unwrap();
            (server.user, server.host, server.port, server.socket)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("ssh://db1"), (None, "db1".into(), None, None));
        assert_eq!(
            read("ssh://deploy@db1:2222/"),
            (some("deploy"), "db1".into(), Some(2222), None)
        );
        assert_eq!(
            read("ssh://u@[fd00::1]:22/run/user/1000/docker.sock"),
            (
                some("u"),
                "fd00::1".into(),
                Some(22),
                some("/run/user/1000/docker.sock")
            )
        );
        assert_eq!(read("ssh://[::1]"), (None, "::1".into(), None, None));
    }

    #[test]
    fn what_would_be_an_option_or_a_secret_is_refused() {
        for url in [
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-lroot@db1",
            "ssh://db1:http",
            "ssh://@db1",
        ] {
            assert_eq!(
                Server::read(url).unwrap_err().kind,
                crate::model::Kind::Usage,
                "{url}"
            );
        }
        let told = Server::read("ssh://root:hunter2@db1").unwrap_err().to_string();
        assert!(told.contains("password") && !told.contains("hunter2"), "{told}");
    }
}
