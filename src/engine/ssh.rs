//! An engine on another machine: one SSH connection, and every request through it.
//!
//! As with the docker client, `docker system dial-stdio` on the server speaks with the engine there; a server that lets
//! the one in lets the other in. The docker client logs in again for each request, though, and so does Compose for
//! each of its own. Here `ssh` logs in once and is asked for further sessions through its control socket (`ControlMaster`
//! in ssh_config(5)), and a local socket that only this user can reach leads into them, for the API and for Compose alike.
//! <https://docs.docker.com/engine/security/protect-access/#use-ssh-to-protect-the-docker-daemon-socket>

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, copy};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::model::{Failure, Result, shell_word};

/// How long the login may take, with what a slow server and a jump host need.
const LOGIN: Duration = Duration::from_secs(60);
/// How often it is looked whether the login is done.
const LOOK: Duration = Duration::from_millis(20);
/// How long `ssh` may take to end once the engine ended a connection.
const GRACE: Duration = Duration::from_secs(5);
/// What is kept of what `ssh` says when something is wrong: its beginning.
const SAID: u64 = 4 << 10;

/// A way to an engine on another machine. It ends with the last that holds it, and with this process however it ends:
/// the far side reads from a pipe that only this process has.
#[derive(Debug)]
pub(super) struct Tunnel {
    socket: PathBuf,
    trouble: Arc<Mutex<String>>,
    accepting: JoinHandle<()>,
    /// Ends when it is dropped.
    _login: Child,
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
        let server = Arc::new(Server::read(url)?);
        let cannot = |error: &io::Error| Failure::environment(format!("cannot reach {url}")).because(error);
        let directory = tempfile::Builder::new()
            .prefix("rehome-ssh-")
            .tempdir()
            .map_err(|e| cannot(&e))?;
        let control = directory.path().join("login");
        let login = server.log_in(&control).await?;
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).map_err(|e| cannot(&e))?;
        let trouble = Arc::new(Mutex::new(String::new()));
        let accepting = tokio::spawn(accept(listener, server, control, Arc::clone(&trouble)));
        Ok(Self {
            socket,
            trouble,
            accepting,
            _login: login,
            _directory: directory,
        })
    }

    /// Where the engine is reached on this machine.
    pub(super) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// What the last session that failed said.
    pub(super) fn trouble(&self) -> Option<String> {
        let said = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        Some(said.clone()).filter(|said| !said.is_empty())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, server: Arc<Server>, control: PathBuf, trouble: Arc<Mutex<String>>) {
    let keep = |trouble: &Mutex<String>, said: String| {
        *trouble.lock().unwrap_or_else(PoisonError::into_inner) = said;
    };
    loop {
        match listener.accept().await {
            Ok((mut client, _)) => {
                let dial = server.dial(&control);
                let trouble = Arc::clone(&trouble);
                tokio::spawn(async move {
                    let carried = relay(&mut client, dial).await;
                    if let Err(said) = carried {
                        keep(&trouble, said);
                    }
                    // Only now: who hears that the connection ended finds out why.
                    drop(client);
                });
            }
            Err(error) => {
                // No file descriptors left: whoever holds them has to let go of some first.
                keep(&trouble, error.to_string());
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// Carries one connection until the engine ends it.
///
/// # Errors
/// What `ssh` or the server's `docker` said, if that is why it ended.
async fn relay(client: &mut UnixStream, mut dial: Command) -> std::result::Result<(), String> {
    let words = |error: io::Error| error.to_string();
    let mut child = dial.spawn().map_err(|e| format!("cannot run `ssh`: {e}"))?;
    let (Some(mut to), Some(mut from), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("`ssh` has no pipes".to_owned());
    };
    let said = tokio::spawn(first_words(errors));
    let (mut asks, mut hears) = client.split();
    let up = async {
        let sent = copy(&mut asks, &mut to).await;
        // One half of a connection may end first: the input of a process in a container.
        drop(to);
        sent
    };
    let down = copy(&mut from, &mut hears);
    tokio::pin!(up, down);
    let carried = tokio::select! {
        carried = &mut down => carried,
        // Whoever asks may be done asking long before the answer ends.
        sent = &mut up => match sent {
            Ok(_) => down.await,
            Err(error) => Err(error),
        },
    };
    if carried.is_ok()
        && let Ok(ended) = timeout(GRACE, child.wait()).await
    {
        return match ended.map_err(words)?.success() {
            true => Ok(()),
            false => Err(said.await.unwrap_or_default()),
        };
    }
    // One side went away, and `ssh` would wait for the other.
    child.kill().await.map_err(words)
}

async fn first_words(mut errors: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    let read = (&mut errors).take(SAID).read_to_end(&mut said).await;
    // A full pipe would hold `ssh` up.
    let rest = copy(&mut errors, &mut tokio::io::sink()).await;
    let mut said = String::from_utf8_lossy(&said).trim().to_owned();
    if let Some(error) = read.err().or(rest.err()) {
        said = format!("{said} ({error})");
    }
    said
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

    /// Logs in; what comes back keeps the connection as long as it lives.
    async fn log_in(&self, control: &Path) -> Result<Child> {
        let failed = |why: String| {
            let user = self.user.as_ref().map(|user| format!("{user}@"));
            let port = self.port.map(|port| format!("-p {port} "));
            let (user, port) = (user.unwrap_or_default(), port.unwrap_or_default());
            Failure::environment(format!("cannot log in at {}", self.host))
                .cause(why)
                .data("nothing was changed")
                .hint(format!(
                    "this has to work without a question: ssh {port}{user}{} docker version",
                    self.host
                ))
        };
        let mut command = self.ssh(control);
        // `cat` ends when its input does, and that is a pipe of this process.
        command.args([
            "-o",
            "ControlMaster=yes",
            "-o",
            "ControlPersist=no",
            "--",
            &self.host,
            "cat",
        ]);
        let mut child = command
            .spawn()
            .map_err(|e| failed(format!("cannot run `ssh`: {e}")))?;
        let said = child
            .stderr
            .take()
            .map(|errors| tokio::spawn(first_words(errors)));
        let began = tokio::time::Instant::now();
        loop {
            if control.exists() {
                return Ok(child);
            }
            if let Some(ended) = child.try_wait().map_err(|e| failed(e.to_string()))? {
                let said = match said {
                    Some(said) => said.await.unwrap_or_default(),
                    None => String::new(),
                };
                return Err(failed(match said.as_str() {
                    "" => format!("`ssh` ended with {ended}"),
                    _ => said,
                }));
            }
            if began.elapsed() > LOGIN {
                return Err(failed("it did not answer in time".to_owned()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A further session through the same login. Where the server allows no more of them (`MaxSessions`), `ssh` logs in
    /// once more by itself.
    fn dial(&self, control: &Path) -> Command {
        let mut command = self.ssh(control);
        command.args(["-o", "ControlMaster=no", "--", &self.host, "docker"]);
        if let Some(socket) = &self.socket {
            // The server's shell reads this line.
            command.args(["-H", &shell_word(&format!("unix://{socket}"))]);
        }
        command.args(["system", "dial-stdio"]);
        command
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
