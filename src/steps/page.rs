//! The maintenance page of a run: answers on the ports of services while they are stopped.
//!
//! It is a courtesy. Whatever goes wrong with it is a warning, nobody waits for it to open, and it ends with this process.
//! Only that it is gone before a service is started is not left to luck.

use std::path::{Path, PathBuf};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::world::Cx;
use crate::engine::{Page, Published};
use crate::model::{Failure, Result, ServiceName};

/// What is said unless somebody has another page.
const BUILT_IN: &str = include_str!("../../templates/maintenance.html");

/// See the module.
#[derive(Debug)]
pub struct Maintenance {
    /// The ports of the host, and whose they are; none when no page is wanted.
    ports: Vec<(ServiceName, Published)>,
    /// Where the run keeps a page that it was given.
    given: PathBuf,
    /// Opened by this process, or about to be.
    open: Mutex<Option<JoinHandle<Option<Page>>>>,
}

impl Maintenance {
    /// The page of a run; it is not opened.
    #[must_use]
    pub fn of_run(ports: Vec<(ServiceName, Published)>, run_dir: &Path) -> Self {
        Self {
            ports,
            given: given(run_dir),
            open: Mutex::default(),
        }
    }

    /// Keeps a page that somebody wants to be shown instead of the built-in one, also for whoever takes the run up.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn give(run_dir: &Path, text: &str) -> Result<()> {
        crate::state::write_durably(&given(run_dir), text.as_bytes())
    }
}

fn given(run_dir: &Path) -> PathBuf {
    run_dir.join("maintenance.html")
}

fn text(given: &Path) -> Result<Vec<u8>> {
    match std::fs::read(given) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BUILT_IN.into()),
        Err(error) => Err(Failure::environment(format!("cannot read {}", given.display())).because(&error)),
    }
}

/// The services are down: opens the page, unless this process has done so. Does not wait until it answers.
pub(super) async fn answer(cx: &Cx) {
    let ports: Vec<_> = cx
        .maintenance
        .ports
        .iter()
        .map(|(_, port)| port.clone())
        .collect();
    let mut open = cx.maintenance.open.lock().await;
    if ports.is_empty() || open.is_some() {
        return;
    }
    let (engine, events) = (cx.engine.clone(), cx.events.clone());
    let (run, project, given) = (cx.run.clone(), cx.project.clone(), cx.maintenance.given.clone());
    *open = Some(tokio::spawn(async move {
        let opened = async {
            // That of a process that was killed may be on its way down.
            engine.remove_pages(&run).await?;
            engine.open_page(&run, &project, &ports, &text(&given)?).await
        };
        match opened.await {
            Ok(page) => {
                events.info(format!(
                    "a maintenance page answers on {}",
                    Published::list(&ports)
                ));
                Some(page)
            }
            Err(failure) => {
                events.warn(format!("no maintenance page answers: {failure}"));
                None
            }
        }
    }));
}

/// This service is about to be started: closes the page if it has one of its ports.
///
/// # Errors
/// As [`leave`].
pub(super) async fn make_way(cx: &Cx, service: &ServiceName) -> Result<()> {
    if cx.maintenance.ports.iter().any(|(whose, _)| whose == service) {
        leave(cx).await?;
    }
    Ok(())
}

/// Services are about to be started: closes the page, and waits until their ports are free.
///
/// # Errors
/// When it does not go.
pub(super) async fn leave(cx: &Cx) -> Result<()> {
    if cx.maintenance.ports.is_empty() {
        return Ok(());
    }
    // One that is about to be opened must not come later.
    if let Some(opening) = cx.maintenance.open.lock().await.take() {
        drop(opening.await);
    }
    cx.engine.remove_pages(&cx.run).await
}
