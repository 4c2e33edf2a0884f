//! What a look at each project found. A look starts helpers and takes seconds, so what is a minute old is shown, and looked
//! at anew meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::Server;
use crate::model::{Failure, ProjectName, Result};
use crate::ops::{Looked, Projects};

/// So old it is shown without another look.
const FRESH: Duration = Duration::from_secs(60);
/// And so old, where it says only why there was nothing to see.
const FRESH_FAILURE: Duration = Duration::from_secs(5);
/// A look that takes longer is given up.
const LIMIT: Duration = Duration::from_secs(120);
/// So many projects are looked at at once.
const AT_ONCE: usize = 2;
/// So many projects are known; no server has more.
const MOST: usize = 1000;

/// What is known of the projects.
pub(super) struct Lookout {
    known: Mutex<BTreeMap<ProjectName, Known>>,
    /// How many looks have ended.
    ended: watch::Sender<u64>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Known {
    seen: Option<(Instant, Seen)>,
    looking: bool,
    /// What is being seen now was asked for before something changed.
    outdated: bool,
}

/// What a look found, or why there was none.
pub(super) type Seen = Arc<Result<Looked>>;

impl Default for Lookout {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            ended: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Lookout {
    fn known(&self) -> MutexGuard<'_, BTreeMap<ProjectName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run changed something: everything is looked at again before it is shown as new.
    pub(super) fn all_is_old(&self) {
        for known in self.known().values_mut() {
            known.outdated = known.looking;
            known.seen = None;
        }
    }

    /// What is known of these projects. Those that nothing is known of yet are waited for so long.
    pub(super) async fn look(
        &self,
        server: &Arc<Server>,
        names: &[ProjectName],
        within: Duration,
    ) -> BTreeMap<ProjectName, Seen> {
        let deadline = Instant::now() + within;
        let mut ended = self.ended.subscribe();
        for name in names {
            self.begin(server, name);
        }
        loop {
            ended.borrow_and_update();
            let seen: BTreeMap<ProjectName, Seen> = {
                let known = self.known();
                let seen = |name: &ProjectName| {
                    let (_, seen) = known.get(name)?.seen.as_ref()?;
                    Some((name.clone(), Arc::clone(seen)))
                };
                names.iter().filter_map(seen).collect()
            };
            if seen.len() == names.len() {
                return seen;
            }
            if !matches!(
                tokio::time::timeout_at(deadline, ended.changed()).await,
                Ok(Ok(()))
            ) {
                return seen;
            }
        }
    }

    /// Begins a look, unless what is known is fresh or one is under way.
    fn begin(&self, server: &Arc<Server>, name: &ProjectName) {
        {
            let mut known = self.known();
            if known.len() >= MOST && !known.contains_key(name) {
                known.clear();
            }
            let known = known.entry(name.clone()).or_default();
            let fresh = known.seen.as_ref().is_some_and(|(at, seen)| {
                let limit = if seen.is_ok() { FRESH } else { FRESH_FAILURE };
                at.elapsed() < limit
            });
            if fresh || known.looking {
                return;
            }
            known.looking = true;
        }
        let (server, name) = (Arc::clone(server), name.clone());
        tokio::spawn(async move {
            let seen = server.lookout.once(&server, &name).await;
            let again = {
                let mut known = server.lookout.known();
                let known = known.entry(name.clone()).or_default();
                known.looking = false;
                let again = std::mem::take(&mut known.outdated);
                if !again {
                    known.seen = Some((Instant::now(), Arc::new(seen)));
                }
                again
            };
            if again {
                server.lookout.begin(&server, &name);
            }
            server.lookout.ended.send_modify(|ended| *ended += 1);
        });
    }

    async fn once(&self, server: &Server, name: &ProjectName) -> Result<Looked> {
        let place = self.places.acquire().await;
        let _place = place.map_err(|error| Failure::bug("nothing is looked at any more").because(&error))?;
        let wanted = name.clone();
        let look = server.ask(move |options| async move { Projects::new(options).look(&wanted).await });
        tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| {
            Err(Failure::environment(format!("a look at {name} takes too long"))
                .cause(format!("it had {} seconds", LIMIT.as_secs())))
        })
    }
}
