//! Stable lines for logs and pipes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::words::{self, Amount};
use super::{Paint, Verbosity, clean, out, render};
use crate::event::{Event, Events, Level};
use crate::model::{Span, VolumeKey};

/// Work that is done sooner gets no lines of its own, and no two of them follow each other faster.
const SOON: Duration = Duration::from_secs(5);

/// Between two lines about work whose total is not known.
const NOW_AND_THEN: Duration = Duration::from_secs(30);

/// Prints a line now and then.
pub(super) struct Plain {
    paint: Paint,
    verbosity: Verbosity,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    began: Option<Instant>,
    steps: usize,
    down: Option<Duration>,
    said: HashMap<(String, Option<VolumeKey>), Said>,
}

/// What was last said about a piece of work.
struct Said {
    tenth: u64,
    bytes: u64,
    files: u64,
    at: Instant,
}

impl Plain {
    pub(super) fn new(paint: Paint, verbosity: Verbosity) -> Self {
        Self {
            paint,
            verbosity,
            state: Mutex::new(State::default()),
        }
    }

    /// The line of an event, if it is worth one.
    fn line(&self, event: &Event, now: Instant) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::StepStarted { of, .. } = event {
            state.steps = *of;
        }
        let quiet = self.verbosity == Verbosity::Quiet;
        let paint = self.paint;
        let text = match event {
            Event::StepFailed { step, title, failure } => {
                let place = state.place(*step);
                format!(
                    "{place} {} {title}: {}",
                    paint.bad("failed:"),
                    clean(&failure.what)
                )
            }
            Event::UnwindStarted { reason } => {
                state.said.clear();
                format!("{} {}", paint.warning("going back:"), clean(reason))
            }
            Event::Note {
                level: Level::Warning,
                text,
            } => format!("{} {}", paint.warning("warning:"), clean(text)),
            Event::Finished {
                failure: Some(failure),
                ..
            } => render(failure, paint.0, 0),
            _ if quiet => return None,
            Event::RunStarted {
                run,
                project,
                title,
                resumed,
            } => {
                state.began = Some(now);
                let goes_on = if *resumed { " goes on" } else { "" };
                format!("run {run}{goes_on}: {title} (project {project})")
            }
            Event::StepStarted { step, title, .. } => {
                state.said.clear();
                format!("{} {title}", state.place(*step))
            }
            Event::StepFinished {
                step,
                title,
                millis,
                detail,
            } => {
                let took = Span(Duration::from_millis(*millis));
                let detail = detail
                    .as_ref()
                    .map(|text| format!("; {}", clean(text)))
                    .unwrap_or_default();
                format!("{} {title}: done in {took}{detail}", state.place(*step))
            }
            Event::StepUndone { step, title, millis } => {
                let took = Span(Duration::from_millis(*millis));
                format!("{} undone in {took}: {title}", state.place(*step))
            }
            Event::Progress {
                phase,
                volume,
                bytes,
                bytes_total,
                files,
                files_total,
            } => {
                let amount = Amount {
                    bytes: *bytes,
                    bytes_total: *bytes_total,
                    files: *files,
                    files_total: *files_total,
                };
                return state.progress(phase, volume.as_ref(), amount, now);
            }
            Event::DowntimeBegan => "down: the services stop".to_owned(),
            Event::DowntimeEnded { millis } => {
                let down = Duration::from_millis(*millis);
                state.down = Some(down);
                format!("up again, after {} down", Span(down))
            }
            Event::ServiceAway { service } => format!("{service} is away: it stops"),
            Event::ServiceBack { service, millis } => words::back(service, *millis),
            Event::Note {
                level: Level::Info,
                text,
            } => clean(text),
            Event::Note {
                level: Level::Detail,
                text,
            } => {
                if self.verbosity != Verbosity::Verbose {
                    return None;
                }
                clean(text)
            }
            Event::HookOutput { service, line } => format!("{service}: {}", clean(line)),
            Event::Finished {
                run,
                outcome,
                failure: None,
                ..
            } => {
                let took = state.began.map(|began| now.duration_since(began));
                words::ended(*outcome, run.as_ref(), took, state.down)
            }
        };
        Some(text)
    }
}

impl State {
    fn place(&self, step: usize) -> String {
        match self.steps {
            0 => format!("[{}]", step + 1),
            steps => format!("[{}/{steps}]", step + 1),
        }
    }

    fn progress(
        &mut self,
        phase: &str,
        volume: Option<&VolumeKey>,
        amount: Amount,
        now: Instant,
    ) -> Option<String> {
        let key = (phase.to_owned(), volume.cloned());
        let tenth = amount.percent().map(|percent| percent / 10);
        let said = self.said.entry(key).or_insert(Said {
            tenth: 0,
            bytes: 0,
            files: 0,
            at: now,
        });
        if amount.bytes < said.bytes || amount.files < said.files {
            // The next round begins from nothing.
            said.tenth = 0;
        }
        said.bytes = amount.bytes;
        said.files = amount.files;
        let known = tenth.is_some_and(|tenth| tenth > said.tenth) && now.duration_since(said.at) >= SOON;
        let unknown = tenth.is_none() && now.duration_since(said.at) >= NOW_AND_THEN;
        if !known && !unknown {
            return None;
        }
        said.tenth = tenth.unwrap_or(0);
        said.at = now;
        let percent = amount
            .percent()
            .map(|percent| format!("{percent} %, "))
            .unwrap_or_default();
        Some(format!(
            "{}: {percent}{}",
            words::work(phase, volume),
            amount.text()
        ))
    }
}

impl Events for Plain {
    fn tell(&self, event: Event) {
        if let Some(line) = self.line(&event, Instant::now()) {
            out::talk(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceName;
    use crate::ui::replay;

    fn lines(verbosity: Verbosity, events: Vec<Event>) -> String {
        let plain = Plain::new(Paint(false), verbosity);
        let began = Instant::now();
        let lines: Vec<_> = events
            .iter()
            .enumerate()
            .filter_map(|(number, event)| {
                plain.line(event, began + Duration::from_millis(400) * number as u32)
            })
            .collect();
        lines.join("\n")
    }

    #[test]
    fn a_move_reads_well_in_a_log() {
        insta::assert_snapshot!(lines(Verbosity::Normal, replay::moved()));
    }

    #[test]
    fn a_service_that_goes_by_itself_is_away_and_nothing_is_down() {
        let service = ServiceName::new("web1").unwrap();
        let away = Event::ServiceAway {
            service: service.clone(),
        };
        let back = Event::ServiceBack {
            service,
            millis: 2_100,
        };
        let end = replay::moved().pop().unwrap();
        assert_eq!(
            lines(Verbosity::Normal, vec![away, back, end]),
            "web1 is away: it stops\nweb1 is back, after 2.1 s\ndone (run 7k2f9q)"
        );
    }

    #[test]
    fn the_way_back_reads_well_in_a_log() {
        insta::assert_snapshot!(lines(Verbosity::Verbose, replay::failed()));
    }

    #[test]
    fn quiet_says_only_what_went_wrong() {
        assert_eq!(
            lines(Verbosity::Quiet, replay::moved()),
            "warning: 3 files changed while they were read"
        );
        insta::assert_snapshot!(lines(Verbosity::Quiet, replay::failed()));
    }
}
