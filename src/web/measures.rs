//! What the directories of sites hold, as a list tells it: measured by one thread beside the requests, and told again for a
//! minute. To look at every file of every site takes longer than anybody waits for a list.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::ops::site::{Look, SiteReport, look};

/// What was measured is told for so long before it is measured again.
const FRESH: Duration = Duration::from_secs(60);

/// A site, and when its directory was looked at; `None` if that is not known yet, or it has none.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    pub(super) report: SiteReport,
    measured_at: Option<Timestamp>,
}

/// What was measured last. Nothing is kept of a site that is forgotten.
pub(super) struct Measures {
    shared: Arc<Shared>,
}

struct Shared {
    known: Mutex<Known>,
    look: Box<dyn Fn(&Path) -> Look + Send + Sync>,
    fresh: Duration,
}

#[derive(Default)]
struct Known {
    /// By the directory: a name may be given to another site.
    directories: BTreeMap<PathBuf, Directory>,
    /// Who came first is measured first: with more than a minute's work, none is forgotten.
    queue: VecDeque<PathBuf>,
    /// Whether the thread is at it.
    at_work: bool,
}

#[derive(Default)]
struct Directory {
    last: Option<Seen>,
    /// It is in the queue, or looked at right now.
    queued: bool,
}

#[derive(Clone)]
struct Seen {
    look: Look,
    at: Timestamp,
    /// A clock that nobody sets.
    clock: Instant,
}

impl Seen {
    fn now(look: Look) -> Self {
        Self {
            look,
            at: Timestamp::now(),
            clock: Instant::now(),
        }
    }
}

impl Default for Measures {
    fn default() -> Self {
        Self::with(look, FRESH)
    }
}

impl Measures {
    fn with(look: impl Fn(&Path) -> Look + Send + Sync + 'static, fresh: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                known: Mutex::default(),
                look: Box::new(look),
                fresh,
            }),
        }
    }

    /// All sites, each as it was measured last. What is too old or was never measured is measured beside this.
    pub(super) fn of(&self, all: Vec<SiteReport>) -> Vec<Told> {
        let mut known = self.shared.known();
        {
            let there: BTreeSet<&Path> = all
                .iter()
                .filter_map(|report| report.site.data.as_deref())
                .collect();
            known.directories.retain(|path, _| there.contains(path.as_path()));
            known.queue.retain(|path| there.contains(path.as_path()));
        }
        let told = all.into_iter().map(|mut report| {
            let path = report.site.data.clone();
            let last = path.and_then(|path| known.last(path, self.shared.fresh));
            let measured_at = last.as_ref().map(|seen| seen.at);
            let look = last.map(|seen| seen.look).unwrap_or_default();
            (report.measured, report.unseen) = (look.measured, look.unseen);
            Told { report, measured_at }
        });
        let told = told.collect();
        let begins = !known.at_work && !known.queue.is_empty();
        known.at_work |= begins;
        drop(known);
        if begins {
            self.begin();
        }
        told
    }

    /// One site that was measured just now; the next list tells the same.
    pub(super) fn seen(&self, report: SiteReport) -> Told {
        let measured_at = report.site.data.clone().map(|path| {
            let seen = Seen::now(Look {
                measured: report.measured.clone(),
                unseen: report.unseen.clone(),
            });
            let at = seen.at;
            self.shared.known().directories.entry(path).or_default().last = Some(seen);
            at
        });
        Told { report, measured_at }
    }

    fn begin(&self) {
        let shared = Arc::clone(&self.shared);
        let begun = std::thread::Builder::new()
            .name("measures".to_owned())
            .spawn(move || shared.work());
        if let Err(error) = begun {
            // The list is as old as it is, and says so; the next one tries again.
            tracing::warn!("cannot begin to measure sites: {error}");
            self.shared.known().at_work = false;
        }
    }
}

impl Known {
    /// What was measured last, which is put into the queue if it is too old.
    fn last(&mut self, path: PathBuf, fresh: Duration) -> Option<Seen> {
        let directory = self.directories.entry(path.clone()).or_default();
        let old = directory
            .last
            .as_ref()
            .is_none_or(|seen| seen.clock.elapsed() >= fresh);
        if old && !directory.queued {
            directory.queued = true;
            self.queue.push_back(path);
        }
        directory.last.clone()
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Measures what is in the queue, to its end.
    fn work(&self) {
        while let Some(path) = self.next() {
            let seen = Seen::now((self.look)(&path));
            // Its site may have been forgotten meanwhile.
            if let Some(directory) = self.known().directories.get_mut(&path) {
                *directory = Directory {
                    last: Some(seen),
                    queued: false,
                };
            }
        }
    }

    /// The next of the queue. With an empty one the work is over at once: what comes now begins it again.
    fn next(&self) -> Option<PathBuf> {
        let mut known = self.known();
        let next = known.queue.pop_front();
        known.at_work = next.is_some();
        next
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};

    use super::*;
    use crate::model::SiteName;
    use crate::site::{MadeOf, Site, Storage};

    fn site(n: usize) -> Site {
        let name = format!("s{n}");
        Site {
            data: Some(PathBuf::from(format!("/data/{name}"))),
            name: SiteName::new(name).unwrap(),
            made_of: MadeOf::Imported,
            directory: None,
            service: None,
            persistent_storage: Storage::On,
            made: Timestamp::UNIX_EPOCH,
        }
    }

    fn sites(count: usize) -> Vec<SiteReport> {
        (0..count)
            .map(|n| SiteReport::new(site(n), Look::default()))
            .collect()
    }

    fn at(path: &Path) -> Look {
        Look {
            measured: None,
            unseen: Some(path.display().to_string()),
        }
    }

    /// Waits until nothing is left to measure, and the thread is gone.
    fn settled(measures: &Measures) {
        let begun = Instant::now();
        while measures.shared.known().at_work || Arc::strong_count(&measures.shared) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
            std::thread::yield_now();
        }
    }

    #[test]
    fn five_hundred_are_looked_at_once_and_told_until_they_are_old() {
        let looked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looked);
        let count = move |path: &Path| {
            counted.fetch_add(1, Ordering::SeqCst);
            at(path)
        };
        let mut measures = Measures::with(count, Duration::from_secs(3600));
        assert!(
            measures
                .of(sites(500))
                .iter()
                .all(|told| told.report.measured.is_none())
        );
        settled(&measures);
        assert_eq!(looked.load(Ordering::SeqCst), 500);
        let times = |told: Vec<Told>| -> Vec<Option<Timestamp>> {
            told.into_iter()
                .map(|told| {
                    let path = told.report.site.data.as_ref().unwrap().display().to_string();
                    assert_eq!(told.report.unseen, Some(path), "each has its own");
                    told.measured_at
                })
                .collect()
        };
        let first = times(measures.of(sites(500)));
        assert!(first.iter().all(Option::is_some));
        for _ in 0..10 {
            assert_eq!(times(measures.of(sites(500))), first, "told again");
        }
        settled(&measures);
        assert_eq!(looked.load(Ordering::SeqCst), 500, "and not looked at");

        // All of it is old at once: told as it was, and looked at once more.
        Arc::get_mut(&mut measures.shared).unwrap().fresh = Duration::ZERO;
        assert_eq!(times(measures.of(sites(500))), first);
        settled(&measures);
        assert_eq!(looked.load(Ordering::SeqCst), 1000);
        Arc::get_mut(&mut measures.shared).unwrap().fresh = Duration::from_secs(3600);
        let second = times(measures.of(sites(500)));
        assert!(second.iter().zip(&first).all(|(second, first)| second > first));

        // What is forgotten is not kept, and who comes with its name is another.
        assert_eq!(measures.of(sites(1)).len(), 1);
        assert_eq!(measures.shared.known().directories.len(), 1);
        measures.of(sites(500));
        settled(&measures);
        assert_eq!(looked.load(Ordering::SeqCst), 1499);
    }

    #[test]
    fn a_directory_that_hangs_keeps_nobody_waiting_and_is_asked_for_once() {
        let (gate, looked) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
        let (held, counted) = (Arc::clone(&gate), Arc::clone(&looked));
        let (entered, enters) = mpsc::channel();
        let hang = move |path: &Path| {
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                entered.send(()).unwrap();
                held.wait();
            }
            at(path)
        };
        let measures = Measures::with(hang, Duration::from_secs(3600));
        measures.of(sites(3));
        enters.recv().unwrap();
        for _ in 0..100 {
            let told = measures.of(sites(3));
            assert!(told.iter().all(|told| told.measured_at.is_none()));
        }
        assert_eq!(
            measures.shared.known().queue.len(),
            2,
            "each is in the queue once"
        );
        assert_eq!(
            looked.load(Ordering::SeqCst),
            1,
            "one thread, and no second beside it"
        );
        gate.wait();
        settled(&measures);
        assert_eq!(looked.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn what_was_looked_at_by_itself_is_what_the_list_tells() {
        let measures = Measures::with(|_| panic!("it is known already"), Duration::from_secs(3600));
        let live = measures.seen(SiteReport::new(site(0), at(Path::new("/live"))));
        let told = measures.of(sites(1));
        assert_eq!(told[0].measured_at, live.measured_at);
        assert_eq!(told[0].report.unseen.as_deref(), Some("/live"));
        let mut none = site(1);
        none.data = None;
        let told = measures.of(vec![SiteReport::new(none, Look::default())]);
        assert_eq!(told[0].measured_at, None, "there is nothing to look at");
        assert!(!measures.shared.known().at_work);
    }
}
