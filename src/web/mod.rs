//! `rehome serve`: HTTP, over ops as the command line is. Nothing is decided here about data.
//!
//! ```text
//! listen    the socket, and what bounds a connection
//! guard     what every request passes: host, who it is, what it may, the audit, the headers of the answer
//! login     the one page that is there for everybody
//! api       what can be asked and changed, as JSON
//! named     what a path names: it is there, or the answer is 404
//! work      what can be begun: planned, shown, run
//! runs      the runs that this process carries out, each on a thread of its own
//! dashboard what a browser asks for: fills the pages, and takes their forms
//! lookout   what a look at each project found, for a minute
//! measures  what the directories of sites hold, as the list tells it
//! pages     the dashboard's pages, as text: they know of no request
//! events    what a run tells, as server-sent events
//! problem   failures as RFC 9457 says them
//! ```

mod api;
mod dashboard;
mod events;
mod guard;
mod listen;
mod login;
mod lookout;
mod measures;
mod named;
pub mod pages;
mod problem;
mod runs;
mod work;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::lookout::Lookout;
use self::measures::Measures;
use self::runs::Registry;
use crate::access::{Attempts, Passwords, Store};
use crate::event::{Outcome, Silent};
use crate::model::{Failure, Result};
use crate::ops::{Options, access};
use crate::saga::Interrupt;

/// The stack of a thread that plans or runs: as much as the main thread of a command has.
pub const STACK: usize = 8 * 1024 * 1024;
/// So many passwords are hashed at once: each takes 19 MiB and a core.
const HASHED_AT_ONCE: usize = 2;
/// So many questions are answered at once that may wait for the engine or a disk.
const ASKED_AT_ONCE: usize = 16;

/// Where the server listens.
#[derive(Debug, Clone)]
pub enum Listen {
    /// An address.
    Address(SocketAddr),
    /// A Unix socket.
    Socket(PathBuf),
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where to listen.
    pub listen: Listen,
    /// Further names by which it is reached.
    pub hosts: Vec<String>,
    /// The exit code of an outcome, as the events of a run say it.
    pub exit: fn(Outcome) -> u8,
}

/// What every request has at hand.
struct Server {
    options: Options,
    store: Mutex<Store>,
    passwords: Passwords,
    attempts: Mutex<Attempts>,
    hashing: Semaphore,
    asking: Arc<Semaphore>,
    runs: Registry,
    lookout: Lookout,
    measures: Measures,
    hosts: Vec<String>,
    exit: fn(Outcome) -> u8,
    requests: AtomicU64,
    failed_logins: AtomicU64,
}

/// Serves until `options.interrupt` is raised; then no more requests are taken, and the runs that are under way are asked to
/// go back and waited for.
///
/// # Errors
/// When the address cannot be listened on, or is open to others and there is no user.
pub async fn serve(options: Options, wanted: Wanted) -> Result<()> {
    let store = access(&options)?;
    let anybody = !store.users()?.is_empty();
    if let Listen::Address(address) = &wanted.listen
        && !address.ip().is_loopback()
        && !anybody
    {
        return Err(Failure::refused(format!(
            "{address} can be reached from elsewhere, and there is no user"
        ))
        .data("nothing was begun")
        .hint("add one first: rehome serve user add NAME"));
    }
    let mut hosts = vec!["localhost".to_owned()];
    if let Listen::Address(address) = &wanted.listen {
        hosts.push(address.ip().to_string());
    }
    hosts.extend(wanted.hosts.iter().map(|host| host.to_ascii_lowercase()));
    let interrupt = options.interrupt.clone();
    let server = Arc::new(Server {
        store: Mutex::new(store),
        passwords: Passwords::new()?,
        attempts: Mutex::default(),
        hashing: Semaphore::new(HASHED_AT_ONCE),
        asking: Arc::new(Semaphore::new(ASKED_AT_ONCE)),
        runs: Registry::default(),
        lookout: Lookout::default(),
        measures: Measures::default(),
        hosts,
        exit: wanted.exit,
        requests: AtomicU64::new(0),
        failed_logins: AtomicU64::new(0),
        options,
    });
    let listener = listen::Listener::bind(&wanted.listen)?;
    let events = &*server.options.events;
    events.info(format!("listening on {}", listener.told()));
    if !anybody && server.lock_store().tokens()?.is_empty() {
        events.warn("nobody can log in yet: rehome serve user add NAME");
    }
    tokio::select! {
        () = listener.serve(router(&server)) => {}
        () = interrupt.raised() => {}
    }
    server.runs.stop().await;
    Ok(())
}

fn router(server: &Arc<Server>) -> Router {
    Router::new()
        .merge(login::router())
        .merge(api::router())
        .merge(dashboard::router())
        .fallback(problem::nothing_here)
        .method_not_allowed_fallback(problem::not_so)
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(server),
            guard::guard,
        ))
        .with_state(Arc::clone(server))
}

impl Server {
    fn lock_store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the database, which may wait for another process.
    async fn store<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let server = Arc::clone(self);
        joined(tokio::task::spawn_blocking(move || ask(&server.lock_store())).await)
    }

    /// Asks the use cases, on a thread that may wait.
    async fn ask<T, F>(&self, ask: impl FnOnce(Options) -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
    {
        let place = Arc::clone(&self.asking).acquire_owned().await;
        let place = place.map_err(|error| Failure::bug("nothing is asked any more").because(&error))?;
        let options = self.quiet();
        joined(
            tokio::task::spawn_blocking(move || {
                let _place = place;
                Handle::current().block_on(ask(options))
            })
            .await,
        )
    }

    /// Options of a question: nobody sees its events, and nobody stops it.
    fn quiet(&self) -> Options {
        Options {
            events: Arc::new(Silent),
            interrupt: Interrupt::new(),
            ..self.options.clone()
        }
    }
}

/// What this machine calls itself.
fn server_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn joined<T>(done: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    done.map_err(|error| Failure::bug("a question was not answered to its end").because(&error))?
}
