//! The Docker Engine, through its API: stop, start, inspect, helper containers, exec, health, volumes, images.
//!
//! Creating the containers of a project is `docker compose`'s work (see `compose`), everything else is here.
//! Nothing here decides anything: observations go to `observe`, effects are called by `steps`.

mod archive;
mod connect;
mod containers;
mod describe;
mod exec;
mod health;
mod helper;
mod image;
mod page;
mod passwd;
mod ports;
mod spare;
mod sqlite;
mod ssh;
mod twin;
mod users;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use tokio::sync::OnceCell;

use crate::model::{Failure, Result};

use self::ssh::Tunnel;

pub use archive::{Archived, Snapshotted, Unarchived};
pub use connect::{EngineHost, HostSource, Wanted as HostWanted, resolve_host};
pub use containers::{Container, Health, Mount, MountKind, State, same_path};
pub use exec::{Conversation, Exec, ExecOutput, Stdin};
pub use health::{Gate, Meant};
pub use helper::{HelperJob, HelperMount, Network, Pace};
pub use image::Image;
pub use page::Page;
pub use ports::Published;
pub use spare::Spare;
pub use sqlite::SqliteCopy;
pub use twin::TwinLike;
pub use volumes::Volume;

/// Containers, volumes and images that Rehome makes carry the run.
pub const LABEL_RUN: &str = "rehome.run";
/// … and the project.
pub const LABEL_PROJECT: &str = "rehome.project";
/// The label that names the process that made a helper.
const LABEL_PROCESS: &str = "rehome.process";
/// The label of a page that answers while services are stopped: it outlives the other helpers of its run.
const LABEL_PAGE: &str = "rehome.page";
/// The label of a spare: the id of the container that it is the twin of.
const LABEL_SPARE: &str = "rehome.spare";
/// The label of a throw-away server and of its volume.
const LABEL_TWIN: &str = "rehome.twin";

/// What every request but long ones may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// The running executable, even when it was replaced on disk.
const RUNNING: &str = "/proc/self/exe";

/// The oldest API that is known to work: Engine 20.10.
const OLDEST_API: (usize, usize) = (1, 41);

/// A connection to one engine.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    host: EngineHost,
    /// Where it is reached on this machine.
    address: String,
    /// The way to an engine on another machine; everything goes through it, and it lasts as long as this is held.
    _tunnel: Option<Arc<Tunnel>>,
    version: String,
    data_root: String,
    architecture: String,
    /// What helpers are made of.
    program: PathBuf,
    /// The helper image, once it was made sure that the engine has it.
    helper_image: Arc<OnceCell<String>>,
}

impl Engine {
    /// Connects and asks the engine who it is.
    ///
    /// # Errors
    /// When no engine answers, or one that is too old.
    pub async fn connect(host: EngineHost) -> Result<Self> {
        let tunnel = match host.is_ssh() {
            true => Some(Arc::new(Tunnel::open(&host.url).await?)),
            false => None,
        };
        let address = tunnel
            .as_ref()
            .map_or_else(|| host.url.clone(), |tunnel| tunnel.address());
        let no_answer = |error: &bollard::errors::Error| {
            let failure = Failure::environment(format!("no Docker engine answers at {}", host.url));
            let failure = match tunnel.as_ref().and_then(|tunnel| tunnel.said()) {
                Some(said) => failure.cause(said),
                None => failure,
            };
            failure.because(error).data("nothing was changed").hint(format!(
                "start it (`systemctl start docker`), or name another one with -H; this one comes from {}",
                host.source
            ))
        };
        let docker = Docker::connect_with_host(&address)
            .map_err(|e| no_answer(&e))?
            .with_timeout(REQUEST_TIMEOUT)
            .negotiate_version()
            .await
            .map_err(|e| no_answer(&e))?;
        let api = docker.client_version();
        let info = docker.info().await.map_err(|e| no_answer(&e))?;
        let version = info.server_version.unwrap_or_default();
        if (api.major_version, api.minor_version) < OLDEST_API {
            return Err(Failure::environment(format!(
                "Docker Engine {version} is too old: it speaks API {}.{}, Rehome needs {}.{} (Engine 20.10)",
                api.major_version, api.minor_version, OLDEST_API.0, OLDEST_API.1
            ))
            .data("nothing was changed"));
        }
        Ok(Self {
            docker,
            host,
            address,
            _tunnel: tunnel,
            version,
            data_root: info.docker_root_dir.unwrap_or_default(),
            architecture: info.architecture.unwrap_or_default(),
            program: RUNNING.into(),
            helper_image: Arc::default(),
        })
    }

    /// The same with helpers made of another executable than the running one, which may be no `rehome`.
    #[must_use]
    pub fn with_helpers_of(mut self, program: PathBuf) -> Self {
        self.program = program;
        self.helper_image = Arc::default();
        self
    }

    /// Where the engine is.
    #[must_use]
    pub fn host(&self) -> &EngineHost {
        &self.host
    }

    /// Where another program of this machine reaches the same engine, as `DOCKER_HOST`, while this value lives.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The engine's version, `20.10.24+dfsg1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Docker's own directory on the engine's host (`/var/lib/docker`).
    #[must_use]
    pub fn data_root(&self) -> &str {
        &self.data_root
    }

    /// Waits until the engine answers, for example after it was restarted.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn wait_until_answers(&self, limit: Duration) -> Result<()> {
        let began = tokio::time::Instant::now();
        loop {
            match self.docker.ping().await {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > limit => {
                    return Err(failed(format!(
                        "the engine at {} does not answer any more",
                        self.host.url
                    ))(error));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }

    /// The same connection with another limit for a request (trap 37: the client must not give up before the engine).
    fn patient(&self, limit: Duration) -> Docker {
        self.docker.clone().with_timeout(limit + REQUEST_TIMEOUT)
    }
}

/// Wraps an error of the API.
fn failed(what: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> Failure {
    let what = what.into();
    move |error| {
        use bollard::errors::Error;
        match &error {
            Error::DockerResponseServerError { message, .. } => {
                Failure::environment(what).cause(message.trim())
            }
            _ => Failure::environment(what).because(&error),
        }
    }
}

/// Whether the engine said "no such …".
fn is_missing(error: &bollard::errors::Error) -> bool {
    matches!(
        error,
        bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }
    )
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::model::ContainerId;

    /// How long the client waits for an ordinary answer, and how long this engine takes for one. The client counts
    /// whole seconds.
    const ORDINARY: Duration = Duration::from_secs(1);
    const SLOW: Duration = Duration::from_millis(1800);

    /// An engine that answers every request with 204, late.
    fn slow_engine() -> Engine {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let head = BufReader::new(stream.try_clone().unwrap()).lines();
                    let _asked = head.map_while(|l| l.ok().filter(|l| !l.is_empty())).count();
                    std::thread::sleep(SLOW);
                    // Whoever gave up is not there any more.
                    stream
                        .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                        .ok();
                });
            }
        });
        let docker = Docker::connect_with_http(&url, 120, bollard::API_DEFAULT_VERSION).unwrap();
        Engine {
            docker: docker.with_timeout(ORDINARY),
            address: url.clone(),
            host: EngineHost {
                url,
                source: HostSource::Flag,
            },
            _tunnel: None,
            version: String::new(),
            data_root: String::new(),
            architecture: String::new(),
            program: RUNNING.into(),
            helper_image: Arc::default(),
        }
    }

    #[tokio::test]
    async fn trap_37_the_client_does_not_give_up_on_a_stop_before_the_engine() {
        let engine = slow_engine();
        let id = ContainerId::new("db").unwrap();
        // An ordinary request gives up on this engine …
        assert_eq!(
            engine.signal(&id, "SIGINT").await.unwrap_err().causes,
            ["Timeout error"]
        );
        // … a stop does not, and the patience is not left behind for what follows.
        assert!(
            engine
                .stop(&id, None, Duration::from_secs(30), true)
                .await
                .unwrap()
        );
        assert!(
            engine
                .stop(&id, None, Duration::from_secs(30), false)
                .await
                .unwrap()
        );
        assert_eq!(
            engine.signal(&id, "SIGINT").await.unwrap_err().causes,
            ["Timeout error"]
        );
    }
}
