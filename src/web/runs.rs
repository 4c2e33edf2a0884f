//! The runs that this process carries out. Each has a thread and a runtime of its own, and goes on when whoever asked for it
//! has left.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot, watch};

use super::{STACK, Server};
use crate::access::Who;
use crate::event::{Event, Events};
use crate::model::{Failure, Result, RunId};
use crate::ops::{Finish, Options};
use crate::saga::Interrupt;

/// So many runs at once. Those of one project exclude each other by its lock.
const AT_ONCE: usize = 4;
/// So many events of a run are kept, for who looks later.
const EVENTS: usize = 2000;
/// So many runs that are over are kept with all of their events; of the others the journal tells.
const OVER: usize = 16;

/// The runs of this process.
pub(super) struct Registry {
    logs: Mutex<BTreeMap<RunId, Arc<Log>>>,
    over: Mutex<VecDeque<RunId>>,
    interrupts: Mutex<Vec<Interrupt>>,
    places: Arc<Semaphore>,
    stopping: AtomicBool,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            logs: Mutex::default(),
            over: Mutex::default(),
            interrupts: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            stopping: AtomicBool::new(false),
        }
    }
}

/// An event as it is sent, and its number.
pub(super) type Numbered = (u64, String);

/// What a run told.
pub(super) struct Log {
    kept: Mutex<Kept>,
    /// The number of the next event, for those who wait for it; and whether that was the last.
    news: watch::Sender<(u64, bool)>,
}

#[derive(Default)]
struct Kept {
    events: VecDeque<(u64, bool, String)>,
    next: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn new() -> Self {
        Self {
            kept: Mutex::default(),
            news: watch::Sender::new((0, false)),
        }
    }

    fn push(&self, event: &Event) {
        let Ok(text) = serde_json::to_string(event) else {
            return;
        };
        let passes = matches!(event, Event::Progress { .. });
        let next = {
            let mut kept = locked(&self.kept);
            if kept.events.len() >= EVENTS {
                // How far something was is worth the least afterwards.
                let at = kept.events.iter().position(|(_, passes, _)| *passes).unwrap_or(0);
                kept.events.remove(at);
            }
            let number = kept.next;
            kept.next += 1;
            kept.events.push_back((number, passes, text));
            kept.next
        };
        self.news.send_modify(|news| news.0 = next);
    }

    fn end(&self) {
        self.news.send_modify(|news| news.1 = true);
    }

    /// What was told from a number on, and whether that is all that ever will be.
    pub(super) fn since(&self, number: u64) -> (Vec<Numbered>, bool) {
        // Before the events are read: the last of them is there then.
        let over = self.news.borrow().1;
        let kept = locked(&self.kept);
        let new = kept.events.iter().filter(|(at, ..)| *at >= number);
        (new.map(|(at, _, text)| (*at, text.clone())).collect(), over)
    }

    /// Hears of what is new.
    pub(super) fn listen(&self) -> watch::Receiver<(u64, bool)> {
        self.news.subscribe()
    }
}

/// Told by a run; tells whoever asked for it that it began.
struct Sink {
    server: Arc<Server>,
    log: Arc<Log>,
    audit: i64,
    began: Mutex<Option<oneshot::Sender<Result<RunId>>>>,
    run: Mutex<Option<RunId>>,
}

impl Sink {
    fn began(&self, run: &RunId) {
        *locked(&self.run) = Some(run.clone());
        let written = self.server.lock_store().begun(self.audit, run);
        if let Err(failure) = written {
            self.server.options.events.warn(failure.to_string());
        }
        locked(&self.server.runs.logs).insert(run.clone(), Arc::clone(&self.log));
        self.answer(Ok(run.clone()));
    }

    fn answer(&self, answer: Result<RunId>) {
        if let Some(asked) = locked(&self.began).take()
            && asked.send(answer).is_err()
        {
            tracing::debug!("whoever asked for the run has left");
        }
    }
}

impl Events for Sink {
    fn tell(&self, event: Event) {
        // Pushed first: who hears of the run finds at least its beginning.
        self.log.push(&event);
        if let Event::RunStarted { run, .. } = &event {
            self.began(run);
        }
    }
}

/// What is to be run, and for whom.
pub(super) struct Order {
    /// Who wants it.
    pub who: Who,
    /// Its line of the audit.
    pub audit: i64,
    /// The command that would do the same, for the history.
    pub command: String,
}

impl Registry {
    /// What a run of this process told; `None` if it is of another, or too long ago.
    pub(super) fn log(&self, run: &RunId) -> Option<Arc<Log>> {
        locked(&self.logs).get(run).cloned()
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        AT_ONCE - self.places.available_permits()
    }

    /// Begins a run, and returns when it has begun or was refused.
    pub(super) async fn begin<F>(
        &self,
        server: &Arc<Server>,
        order: Order,
        job: impl FnOnce(Options) -> F + Send + 'static,
    ) -> Result<RunId>
    where
        F: Future<Output = Result<Finish>>,
    {
        let busy = |_| {
            Failure::refused(format!("{AT_ONCE} runs are under way already"))
                .data("nothing was changed")
                .hint("wait until one of them has ended")
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let interrupt = Interrupt::new();
        locked(&self.interrupts).push(interrupt.clone());
        // Looked at after it is in the list: who stops raises what is there.
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Failure::refused("the server is stopping").data("nothing was changed"));
        }
        let (asked, answer) = oneshot::channel();
        let sink = Arc::new(Sink {
            server: Arc::clone(server),
            log: Arc::new(Log::new()),
            audit: order.audit,
            began: Mutex::new(Some(asked)),
            run: Mutex::default(),
        });
        let options = Options {
            command: order.command.clone(),
            by: Some(order.who.to_string()),
            events: Arc::<Sink>::clone(&sink) as Arc<dyn Events>,
            interrupt,
            ..server.options.clone()
        };
        let cannot = |error: &std::io::Error| {
            Failure::environment("cannot begin a run")
                .because(error)
                .data("nothing was changed")
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_stack_size(STACK)
            .enable_all()
            .build()
            .map_err(|error| cannot(&error))?;
        std::thread::Builder::new()
            .name("run".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let ended = runtime.block_on(job(options));
                close(&sink, ended);
                // Only now: who waits for the places waits for the audit too.
                drop(place);
                runtime.shutdown_background();
            })
            .map_err(|error| cannot(&error))?;
        answer
            .await
            .map_err(|error| Failure::bug("a run ended without a word").because(&error))?
    }

    /// Asks every run to go back, takes no more, and waits for their end.
    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for interrupt in locked(&self.interrupts).iter() {
            interrupt.raise();
        }
        let all = u32::try_from(AT_ONCE).unwrap_or(1);
        if let Err(error) = self.places.acquire_many(all).await {
            tracing::debug!("nobody runs any more: {error}");
        }
    }
}

/// Says how a run ended: to those who follow it, to the audit, and to who asked for it, if it never began.
fn close(sink: &Arc<Sink>, ended: Result<Finish>) {
    let server = &sink.server;
    let outcome = match &ended {
        Ok(finish) => {
            let exit = (server.exit)(finish.outcome);
            sink.log.push(&finish.event(exit));
            let word = serde_json::to_value(finish.outcome).unwrap_or_default();
            match &finish.failure {
                Some(failure) => format!("{}: {}", word.as_str().unwrap_or_default(), failure.what),
                None => word.as_str().unwrap_or_default().to_owned(),
            }
        }
        Err(failure) => format!("refused: {}", failure.what),
    };
    let run = locked(&sink.run)
        .clone()
        .or(ended.as_ref().ok().map(|finish| finish.run.clone()));
    let written = server.lock_store().ran(sink.audit, run.as_ref(), &outcome);
    if let Err(failure) = written {
        server.options.events.warn(failure.to_string());
    }
    server.lookout.all_is_old();
    // Who follows it to its end finds it in the audit.
    sink.log.end();
    if let Some(run) = run {
        let mut over = locked(&server.runs.over);
        over.retain(|known| *known != run);
        over.push_back(run);
        if over.len() > OVER
            && let Some(old) = over.pop_front()
        {
            locked(&server.runs.logs).remove(&old);
        }
    }
    sink.answer(ended.map(|finish| finish.run));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;

    #[test]
    fn what_is_kept_has_an_end_and_progress_goes_first() {
        let log = Log::new();
        let note = |text: &str| Event::Note {
            level: Level::Info,
            text: text.to_owned(),
        };
        log.push(&note("first"));
        for bytes in 0..2 * EVENTS as u64 {
            log.push(&Event::Progress {
                phase: "copy".to_owned(),
                volume: None,
                bytes,
                bytes_total: 0,
                files: 0,
                files_total: 0,
            });
        }
        log.push(&note("last"));
        let (all, over) = log.since(0);
        assert_eq!((all.len(), over), (EVENTS, false));
        assert!(all[0].1.contains("first") && all[EVENTS - 1].1.contains("last"));
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
        log.end();
        assert_eq!(log.since(all[EVENTS - 1].0 + 1), (Vec::new(), true));
    }
}
