//! The clocks of a run: for how long the services were down, or single ones were away while the others went on.
//!
//! They are kept beside the journal, so that they are right after a crash too; losing them costs a figure in the report and
//! nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Events};
use crate::model::ServiceName;

/// The clocks of a run.
#[derive(Debug)]
pub struct Downtime {
    path: PathBuf,
    clocks: Mutex<Clocks>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Clocks {
    /// Of the stack.
    #[serde(flatten)]
    stack: Clock,
    /// Of services that go by themselves. They do not add up to anything: what the others do meanwhile counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    services: BTreeMap<ServiceName, Clock>,
}

/// Adds up the spans in which something is down.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Clock {
    /// Since when it is down, if it is.
    down_since: Option<Timestamp>,
    /// The spans that ended, in milliseconds; none ended if there is nothing.
    ended_millis: Option<u64>,
}

impl Downtime {
    /// The clocks of a run, as an earlier process may have left them.
    #[must_use]
    pub fn of_run(run_dir: &Path) -> Self {
        let path = run_dir.join("downtime.json");
        let kept = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        Self {
            path,
            clocks: Mutex::new(kept.unwrap_or_default()),
        }
    }

    /// The services go down now.
    pub fn begin(&self, events: &dyn Events) {
        let mut clocks = self.lock();
        if clocks.stack.begin() {
            self.keep(&clocks, events);
            events.tell(Event::DowntimeBegan);
        }
    }

    /// The services are up again.
    pub fn end(&self, events: &dyn Events) {
        let mut clocks = self.lock();
        if let Some(down) = clocks.stack.end() {
            self.keep(&clocks, events);
            let millis = down.as_millis() as u64;
            events.tell(Event::DowntimeEnded { millis });
        }
    }

    /// A service goes down now, and the others go on.
    pub fn leave(&self, service: &ServiceName, events: &dyn Events) {
        let mut clocks = self.lock();
        if clocks.services.entry(service.clone()).or_default().begin() {
            self.keep(&clocks, events);
            let service = service.clone();
            events.tell(Event::ServiceAway { service });
        }
    }

    /// It is up again.
    pub fn back(&self, service: &ServiceName, events: &dyn Events) {
        let mut clocks = self.lock();
        let Some(clock) = clocks.services.get_mut(service) else {
            return;
        };
        let before = clock.ended_millis.unwrap_or_default();
        if let Some(down) = clock.end() {
            self.keep(&clocks, events);
            events.tell(Event::ServiceBack {
                service: service.clone(),
                millis: (down.as_millis() as u64).saturating_sub(before),
            });
        }
    }

    /// How long they are down by now, in all, if they are.
    #[must_use]
    pub fn running(&self) -> Option<Duration> {
        self.lock().stack.down()
    }

    /// How long they were down, in all, once they are up again.
    #[must_use]
    pub fn measured(&self) -> Option<Duration> {
        self.lock().stack.measured()
    }

    /// For how long each service was away by itself, once it is up again.
    #[must_use]
    pub fn away(&self) -> BTreeMap<ServiceName, Duration> {
        let clocks = self.lock();
        let measured = |(service, clock): (&ServiceName, &Clock)| Some((service.clone(), clock.measured()?));
        clocks.services.iter().filter_map(measured).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Clocks> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, clocks: &Clocks, events: &dyn Events) {
        let text = serde_json::to_vec(clocks).unwrap_or_default();
        if let Err(failure) = crate::state::write_durably(&self.path, &text) {
            events.warn(failure.to_string());
        }
    }
}

impl Clock {
    /// Whether it was up until now.
    fn begin(&mut self) -> bool {
        let was_up = self.down_since.is_none();
        if was_up {
            self.down_since = Some(Timestamp::now());
        }
        was_up
    }

    /// All spans, if one ends now.
    fn end(&mut self) -> Option<Duration> {
        let down = self.down()?;
        *self = Self {
            down_since: None,
            ended_millis: Some(down.as_millis() as u64),
        };
        Some(down)
    }

    /// All spans, if one is under way. It counts nothing when the system's clock was set back meanwhile.
    fn down(&self) -> Option<Duration> {
        let under_way = Timestamp::now().duration_since(self.down_since?);
        let before = Duration::from_millis(self.ended_millis.unwrap_or_default());
        Some(before + Duration::try_from(under_way).unwrap_or_default())
    }

    /// All spans, if none is under way.
    fn measured(&self) -> Option<Duration> {
        let ended = self.ended_millis.filter(|_| self.down_since.is_none());
        ended.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::event::Silent;

    /// A run whose clock was left like this.
    fn left(clock: Clock) -> (tempfile::TempDir, Downtime) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("downtime.json"),
            serde_json::to_vec(&clock).unwrap(),
        )
        .unwrap();
        let downtime = Downtime::of_run(dir.path());
        (dir, downtime)
    }

    #[test]
    fn the_downtime_is_the_sum_of_its_spans_and_not_the_time_between_them() {
        let (dir, downtime) = left(Clock {
            down_since: Some(Timestamp::now() - SignedDuration::from_secs(60)),
            ended_millis: Some(120_000),
        });
        assert_eq!(downtime.measured(), None, "they are down");
        assert_eq!(downtime.running().unwrap().as_secs(), 180);
        downtime.begin(&Silent);
        downtime.end(&Silent);
        assert_eq!(downtime.measured().unwrap().as_secs(), 180);
        assert_eq!(downtime.running(), None);

        // Up since long ago, then down for a moment, then up: another process, the same clock.
        let downtime = Downtime::of_run(dir.path());
        downtime.begin(&Silent);
        downtime.end(&Silent);
        assert_eq!(downtime.measured().unwrap().as_secs(), 180);
    }

    #[test]
    fn services_that_never_went_down_have_no_downtime() {
        let dir = tempfile::tempdir().unwrap();
        let downtime = Downtime::of_run(dir.path());
        downtime.end(&Silent);
        assert_eq!((downtime.measured(), downtime.running()), (None, None));
    }

    #[test]
    fn a_service_that_goes_by_itself_is_no_downtime_of_the_stack() {
        let (dir, downtime) = left(Clock::default());
        let web = ServiceName::new("web1").unwrap();
        downtime.back(&web, &Silent);
        assert_eq!(downtime.away(), BTreeMap::new(), "it never went");
        downtime.leave(&web, &Silent);
        assert_eq!(downtime.away(), BTreeMap::new(), "it is not back");

        // Another process finds it away, and says when it is back.
        let downtime = Downtime::of_run(dir.path());
        downtime.leave(&web, &Silent);
        downtime.back(&web, &Silent);
        let away = downtime.away();
        assert_eq!(away.keys().collect::<Vec<_>>(), [&web]);
        assert_eq!((downtime.measured(), downtime.running()), (None, None));
        assert_eq!(Downtime::of_run(dir.path()).away(), away);
    }
}
