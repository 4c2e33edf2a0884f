//! Bars, clocks and tick lines on a terminal.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::lines::{Columns, INDENT, cut, finished, indented};
use super::words::{self, Amount, beside, fill};
use super::{Paint, Verbosity, clean, out, render, width};
use crate::event::{Event, Events, Level};
use crate::model::{ByteSize, Span, VolumeKey};

/// How often the moving parts move; also while no event comes, so that the clock of the downtime runs.
const TICK: Duration = Duration::from_millis(120);

/// Shows a run on a terminal.
pub(super) struct Terminal {
    paint: Paint,
    verbosity: Verbosity,
    live: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    began: Option<Instant>,
    steps: usize,
    down: Option<Duration>,
    going_back: bool,
    /// The line of the step that runs.
    step: Option<ProgressBar>,
    /// The clock of the downtime; always the lowest line.
    clock: Option<ProgressBar>,
    /// The last line that a hook printed; all of them are in its log.
    hook: Option<ProgressBar>,
    /// One bar a volume; the phase says what it counts.
    bars: BTreeMap<Option<VolumeKey>, Bar>,
}

struct Bar {
    bar: ProgressBar,
    phase: String,
    kind: Counts,
}

/// What a bar counts; it decides its looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Bytes,
    Files,
    Unknown,
}

impl Terminal {
    pub(super) fn new(paint: Paint, verbosity: Verbosity) -> Self {
        Self {
            paint,
            verbosity,
            live: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            state: Mutex::new(State::default()),
        }
    }

    /// Prints a line above the moving part.
    fn say(&self, text: &str) {
        self.live.suspend(|| out::talk(text));
    }

    fn style(&self, template: &str) -> ProgressStyle {
        // The templates are constants of this file; a test draws each of them.
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .progress_chars("━╸ ")
            .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏✓")
            .with_key("took", |state: &ProgressState, out: &mut dyn Write| {
                drop_result(write!(out, "{}", Span(state.elapsed())));
            })
            .with_key("share", |state: &ProgressState, out: &mut dyn Write| {
                drop_result(write!(out, "{:>3} %", (state.fraction() * 100.0) as u32));
            })
            .with_key("bytes", |state: &ProgressState, out: &mut dyn Write| {
                let amount = format!(
                    "{} of {}",
                    ByteSize(state.pos()),
                    ByteSize(state.len().unwrap_or(0))
                );
                let speed = speed(state.per_sec());
                drop_result(out.write_str(&beside(
                    &amount,
                    &speed,
                    &left(state),
                    Columns::of(width()).beside,
                )));
            })
            .with_key("files", |state: &ProgressState, out: &mut dyn Write| {
                let (done, all) = (words::count(state.pos()), words::count(state.len().unwrap_or(0)));
                let amount = format!("{done} of {all} files");
                drop_result(out.write_str(&beside(&amount, "", &left(state), Columns::of(width()).beside)));
            })
    }

    fn bar_style(&self, kind: Counts) -> ProgressStyle {
        let (on, off) = if self.paint.0 {
            ("\u{1b}[36m", "\u{1b}[0m")
        } else {
            ("", "")
        };
        // A bar of one length, so that bars and numbers stand below each other.
        let bar = Columns::of(width()).bar;
        let template = match kind {
            Counts::Bytes => format!("  {{prefix}} {on}{{bar:{bar}}}{off} {{share}}  {{bytes}}"),
            Counts::Files => format!("  {{prefix}} {on}{{bar:{bar}}}{off} {{share}}  {{files}}"),
            Counts::Unknown => format!("  {{prefix}} {on}{{spinner}}{off} {{wide_msg}}"),
        };
        self.style(&template)
    }

    fn progress(&self, state: &mut State, phase: &str, volume: Option<VolumeKey>, amount: Amount) {
        let kind = match (amount.bytes_total, amount.files_total) {
            (0, 0) => Counts::Unknown,
            (0, _) => Counts::Files,
            (_, _) => Counts::Bytes,
        };
        let (done, total) = amount.bar().unwrap_or((amount.bytes, 0));
        if state.step.is_none() && total > 0 && done >= total {
            // What is looked at before a plan is ended by no step, and a bar must not be drawn into the question.
            if let Some(old) = state.bars.remove(&volume) {
                old.bar.finish_and_clear();
            }
            return;
        }
        let same = state
            .bars
            .get(&volume)
            .is_some_and(|bar| bar.phase == phase && bar.kind == kind && bar.bar.position() <= done);
        if !same {
            // Another phase or another round: a rate over both would be wrong.
            if let Some(old) = state.bars.remove(&volume) {
                old.bar.finish_and_clear();
            }
            let name = clean(&words::work(phase, volume.as_ref()));
            let bar = ProgressBar::no_length();
            let bar = match &state.clock {
                Some(clock) => self.live.insert_before(clock, bar),
                None => self.live.add(bar),
            };
            bar.set_style(self.bar_style(kind));
            let longest = Columns::of(width()).name;
            bar.set_prefix(format!("{:<longest$}", cut(&name, longest)));
            bar.enable_steady_tick(TICK);
            state.bars.insert(
                volume.clone(),
                Bar {
                    bar,
                    phase: phase.to_owned(),
                    kind,
                },
            );
        }
        if let Some(Bar { bar, .. }) = state.bars.get(&volume) {
            if total > 0 {
                bar.set_length(total);
            }
            bar.set_position(done);
            bar.set_message(amount.text());
        }
    }

    fn step_started(&self, state: &mut State, step: usize, of: usize, title: &str) {
        state.end_step();
        state.steps = of;
        let line = self.live.insert(0, ProgressBar::no_length());
        let (on, off) = if self.paint.0 {
            ("\u{1b}[36m", "\u{1b}[0m")
        } else {
            ("", "")
        };
        line.set_style(self.style(&format!("{on}{{spinner}}{off} {{prefix}} {{wide_msg}} {{took}}")));
        line.set_prefix(self.paint.dim(&state.place(step)));
        line.set_message(clean(title));
        line.enable_steady_tick(TICK);
        state.step = Some(line);
    }

    /// Shows the last line of a hook below its step: hundreds of "copied …" would push the plan out of sight.
    fn hook_line(&self, state: &mut State, text: String) {
        let line = state.hook.get_or_insert_with(|| {
            let line = ProgressBar::no_length();
            let line = match &state.step {
                Some(step) => self.live.insert_after(step, line),
                None => self.live.add(line),
            };
            line.set_style(self.style("{wide_msg}"));
            line
        });
        line.set_message(text);
    }

    fn clock_began(&self, state: &mut State, label: &str) {
        state.end_clock();
        let clock = self.live.add(ProgressBar::no_length());
        let label = self.paint.warning(label);
        clock.set_style(self.style(&format!("{label} {{took}}")));
        clock.enable_steady_tick(TICK);
        state.clock = Some(clock);
    }

    fn up_again(&self, state: &State, text: &str) {
        self.say(&match state.going_back {
            true => self.paint.warning(text),
            false => self.paint.good(text),
        });
    }

    fn show(&self, state: &mut State, event: Event) {
        let paint = self.paint;
        match event {
            Event::RunStarted {
                run,
                project,
                title,
                resumed,
            } => {
                state.began = Some(Instant::now());
                let goes_on = if resumed { " goes on" } else { "" };
                let run = format!("run {run}{goes_on} · {project}");
                let title = clean(&title);
                let fits = title.chars().count() + 2 + run.chars().count() <= width();
                let gap = if fits { "  " } else { "\n" };
                let title = paint.strong(&fill(&title, width(), 0, 2));
                self.say(&format!("{title}{gap}{}", paint.dim(&run)));
            }
            Event::StepStarted { step, of, title } => self.step_started(state, step, of, &title),
            Event::StepFinished {
                step,
                title,
                millis,
                detail,
            } => {
                state.end_step();
                let mark = paint.good("✓");
                self.say(&finished(
                    paint,
                    &mark,
                    &state.place(step),
                    &title,
                    millis,
                    detail.as_deref(),
                    width(),
                ));
            }
            Event::StepFailed { step, title, failure } => {
                state.end_step();
                let place = paint.dim(&state.place(step));
                self.say(&format!("{} {place} {}", paint.bad("✗"), clean(&title)));
                self.say(&paint.bad(&indented(&clean(&failure.what))));
            }
            Event::UnwindStarted { reason } => {
                state.end_step();
                state.going_back = true;
                let reason = fill(&clean(&reason), width(), "◀ going back: ".chars().count(), INDENT);
                self.say(&format!("{} {reason}", paint.warning("◀ going back:")));
            }
            Event::StepUndone { step, title, millis } => {
                state.end_step();
                let mark = paint.warning("↩");
                let title = format!("undone: {title}");
                self.say(&finished(
                    paint,
                    &mark,
                    &state.place(step),
                    &title,
                    millis,
                    None,
                    width(),
                ));
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
                    bytes,
                    bytes_total,
                    files,
                    files_total,
                };
                self.progress(state, &phase, volume, amount);
            }
            Event::DowntimeBegan => self.clock_began(state, "▼ down for"),
            Event::DowntimeEnded { millis } => {
                state.end_clock();
                let down = Duration::from_millis(millis);
                state.down = Some(down);
                self.up_again(state, &format!("▲ up again, after {} down", Span(down)));
            }
            Event::ServiceAway { service } => self.clock_began(state, &format!("▼ {service} is away for")),
            Event::ServiceBack { service, millis } => {
                state.end_clock();
                self.up_again(state, &format!("▲ {}", words::back(&service, millis)));
            }
            Event::Note { level, text } => match level {
                Level::Detail if self.verbosity != Verbosity::Verbose => {}
                Level::Detail => self.say(&paint.dim(&indented(&clean(&text)))),
                Level::Info => self.say(&indented(&clean(&text))),
                Level::Warning => {
                    let text = fill(&clean(&text), width(), "warning: ".len(), INDENT);
                    self.say(&format!("{} {text}", paint.warning("warning:")));
                }
            },
            Event::HookOutput { service, line } => {
                if self.verbosity == Verbosity::Verbose {
                    let before = INDENT + service.as_str().chars().count() + 3;
                    let line = fill(&clean(&line), width(), before, before);
                    self.say(&paint.dim(&format!("{:INDENT$}{service} │ {line}", "")));
                } else {
                    let text = format!("{:INDENT$}{service} │ {}", "", clean(&line));
                    self.hook_line(state, paint.dim(&text));
                }
            }
            Event::Finished {
                run,
                outcome,
                failure,
                ..
            } => {
                state.end_step();
                state.end_clock();
                match failure {
                    Some(failure) => self.say(&render(&failure, paint.0, width())),
                    None => {
                        let took = state.began.map(|began| began.elapsed());
                        let text = words::ended(outcome, run.as_ref(), took, state.down);
                        self.say(&paint.strong(&text));
                    }
                }
            }
        }
    }
}

impl State {
    fn place(&self, step: usize) -> String {
        let digits = self.steps.to_string().len();
        format!("{:>digits$}/{}", step + 1, self.steps)
    }

    fn end_step(&mut self) {
        for bar in std::mem::take(&mut self.bars).into_values() {
            bar.bar.finish_and_clear();
        }
        for line in [self.hook.take(), self.step.take()].into_iter().flatten() {
            line.finish_and_clear();
        }
    }

    fn end_clock(&mut self) {
        if let Some(clock) = self.clock.take() {
            clock.finish_and_clear();
        }
    }
}

impl Events for Terminal {
    fn tell(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.show(&mut state, event);
    }
}

impl Drop for Terminal {
    /// A run that ends without its last event leaves no half bar on the screen.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.end_step();
        state.end_clock();
    }
}

fn speed(per_second: f64) -> String {
    if per_second < 1.0 {
        return String::new();
    }
    format!("{}/s", ByteSize(per_second as u64))
}

fn left(state: &ProgressState) -> String {
    if state.fraction() >= 1.0 || state.per_sec() < 1.0 {
        return String::new();
    }
    words::left(state.eta().as_secs())
}

/// The display has nobody to tell that it could not be drawn.
fn drop_result(_: std::fmt::Result) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_understood() {
        for template in [
            "  {prefix} {bar:12} {share}  {bytes}",
            "  {prefix} {bar:12} {share}  {files}",
            "  {prefix} {spinner} {wide_msg}",
            "{spinner} {prefix} {wide_msg} {took}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
