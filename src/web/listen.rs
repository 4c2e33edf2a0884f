//! The socket, and what bounds a connection: how many, how long its headers take, how large they are.

use std::convert::Infallible;
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use super::Listen;
use crate::model::{Failure, Result};

/// So many connections at once; further ones wait.
const CONNECTIONS: usize = 256;
/// A request says its headers in so long; so long an idle connection is kept.
const HEADERS: Duration = Duration::from_secs(15);
/// And in so many bytes.
const HEADERS_SIZE: usize = 64 * 1024;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Address(IpAddr),
    /// A process of this machine.
    Socket,
}

impl Peer {
    /// Whether it is on this machine, as a proxy before the server is.
    pub(super) fn is_near(self) -> bool {
        match self {
            Self::Address(ip) => ip.to_canonical().is_loopback(),
            Self::Socket => true,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(ip) => ip.to_canonical().fmt(f),
            Self::Socket => f.write_str("socket"),
        }
    }
}

/// A socket that is listened on.
pub(super) enum Listener {
    Tcp(TcpListener, String),
    Unix(UnixListener, Made),
}

/// The file of a Unix socket; it goes with the server.
pub(super) struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!("cannot remove {}: {error}", self.0.display());
        }
    }
}

impl Listener {
    pub(super) fn bind(wanted: &Listen) -> Result<Self> {
        let cannot = |what: &dyn std::fmt::Display, error: std::io::Error| {
            Failure::environment(format!("cannot listen on {what}"))
                .because(&error)
                .data("nothing was begun")
        };
        match wanted {
            Listen::Address(address) => {
                let listener = std::net::TcpListener::bind(address).map_err(|e| cannot(address, e))?;
                listener.set_nonblocking(true).map_err(|e| cannot(address, e))?;
                let bound = listener.local_addr().map_err(|e| cannot(address, e))?;
                let listener = TcpListener::from_std(listener).map_err(|e| cannot(address, e))?;
                Ok(Self::Tcp(listener, format!("http://{bound}")))
            }
            Listen::Socket(path) => {
                leftover(path)?;
                // The file is there with this mode from its first moment on.
                let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
                let listener = UnixListener::bind(path);
                rustix::process::umask(mask);
                let listener = listener.map_err(|e| cannot(&path.display(), e))?;
                Ok(Self::Unix(listener, Made(path.clone())))
            }
        }
    }

    /// Where, in words.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Tcp(_, url) => url.clone(),
            Self::Unix(_, made) => made.0.display().to_string(),
        }
    }

    /// Takes connections without an end.
    pub(super) async fn serve(&self, router: Router) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let taken = match self {
                Self::Tcp(listener, _) => listener.accept().await.map(|(stream, from)| {
                    connection(stream, Peer::Address(from.ip()), router.clone(), place);
                }),
                Self::Unix(listener, _) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| connection(stream, Peer::Socket, router.clone(), place)),
            };
            if let Err(error) = taken {
                tracing::debug!("a connection was not taken: {error}");
                // Without file descriptors it would be tried again at once, for nothing.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A socket that nobody listens on any more is removed; whatever else is there stays.
fn leftover(path: &Path) -> Result<()> {
    let Ok(meta) = path.symlink_metadata() else {
        return Ok(());
    };
    let in_use = !meta.file_type().is_socket() || std::os::unix::net::UnixStream::connect(path).is_ok();
    if in_use {
        return Err(Failure::refused(format!("{} is there already", path.display()))
            .cause("somebody listens on it, or it is no socket")
            .data("nothing was begun"));
    }
    std::fs::remove_file(path)
        .map_err(|e| Failure::environment(format!("cannot remove {}", path.display())).because(&e))
}

fn connection<I>(stream: I, peer: Peer, router: Router, place: OwnedSemaphorePermit)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { Ok::<_, Infallible>(answered(router.oneshot(request).await)) }
    });
    tokio::spawn(async move {
        let _place = place;
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(HEADERS_SIZE)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!("a connection ended early: {error}");
        }
    });
}

fn answered<T>(answer: std::result::Result<T, Infallible>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}
