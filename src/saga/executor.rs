//! Does the next thing until there is none. It decides nothing: the plan was made before, and what is next follows
//! from the journal alone. That is why a fresh run, a resumed one and a rollback are the same loop.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::ended::{Ended, ended, words};
use super::interrupt::Interrupt;
use super::journal::{Journal, Line};
use super::plan::{Plan, opened, read_state, read_steps};
use super::probe::{NoProbe, Point, Probe};
use super::record::{Reason, Record, clipped, clipped_text, signature};
use super::state::{Next, State};
use super::step::{Step, decode_receipt, encode_receipt};
use crate::event::{Event, Events, Level, Outcome};
use crate::model::{Failure, Kind, Result};
use crate::state::Store;

/// Runs plans: where events go, who may interrupt, who watches.
#[derive(Clone)]
pub struct Executor {
    events: Arc<dyn Events>,
    interrupt: Interrupt,
    probe: Arc<dyn Probe>,
}

impl Executor {
    /// An executor that nobody interrupts or watches.
    pub fn new(events: Arc<dyn Events>) -> Self {
        Self {
            events,
            interrupt: Interrupt::new(),
            probe: Arc::new(NoProbe),
        }
    }

    /// Unwinds at the next step boundary when this is raised, unless there is no way back any more.
    #[must_use]
    pub fn heeding(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Tells each [`Point`] as it is reached.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = probe;
        self
    }

    /// Begins a run with a journal in an empty store, and carries it to its end.
    ///
    /// # Errors
    /// Only when the run could not be begun. Everything later is in [`Ended`].
    pub async fn run<S: Step>(&self, plan: Plan<S>, store: impl Store, cx: &S::Cx) -> Result<Ended> {
        let unopened = |failure: Failure| failure.data("nothing was begun");
        let mut journal = Journal::begin(store);
        let line = journal.encode(Record::Opened(opened(&plan)?)).map_err(unopened)?;
        let state =
            State::open(line.entry()).map_err(|e| unopened(Failure::bug("the plan is none").because(&e)))?;
        self.probe.reached(Point::BeforeJournal(0));
        journal
            .write(line)
            .map_err(|e| unopened(unwritable(&journal).because(&e)))?;
        self.probe.reached(Point::AfterJournal(0));
        self.drive(
            Running {
                executor: self,
                journal,
                state,
                steps: plan.steps,
                cx,
                since: None,
                noted: false,
            },
            None,
        )
        .await
    }

    /// Takes up a run that was interrupted, in the direction in which it was going.
    ///
    /// # Errors
    /// When its journal cannot be read, or it is finished: then nothing was changed.
    pub async fn resume<S: Step>(&self, store: impl Store, cx: &S::Cx) -> Result<Ended> {
        self.reopen::<S, _>(store, cx, None).await
    }

    /// Takes up a run that was interrupted, to undo it.
    ///
    /// # Errors
    /// When its journal cannot be read, it is finished, or it has passed its point of no return: then nothing was
    /// changed.
    pub async fn rollback<S: Step>(&self, store: impl Store, cx: &S::Cx) -> Result<Ended> {
        self.reopen::<S, _>(store, cx, Some(Reason::Asked)).await
    }

    async fn reopen<S: Step, T: Store>(&self, store: T, cx: &S::Cx, back: Option<Reason>) -> Result<Ended> {
        let (journal, contents) = Journal::open(store)?;
        let state = read_state(&journal, &contents.entries)?;
        let run = &state.opened().run;
        let untouched = "nothing was changed by this command";
        if let Next::Ended(outcome) = state.next() {
            return Err(
                Failure::refused(format!("run {run} is finished: {}", words(outcome))).data(untouched),
            );
        }
        if back.is_some() && state.is_committed() {
            return Err(
                Failure::refused(format!("run {run} has passed its point of no return"))
                    .data(untouched)
                    .hint(format!("finish it: rehome resume {run}")),
            );
        }
        let steps = read_steps::<S>(&state)?;
        if contents.torn > 0 {
            let lost = "it was being written when the run stopped, and what it announced had not begun";
            self.note(
                Level::Detail,
                format!("dropped the torn last line of {}: {lost}", journal.name()),
            );
        }
        let mut running = Running {
            executor: self,
            journal,
            state,
            steps,
            cx,
            since: None,
            noted: false,
        };
        let by = signature();
        if let Err(failure) = running.record(Record::Resumed { by }) {
            return Err(failure.data(untouched));
        }
        self.drive(running, back).await
    }

    async fn drive<S: Step, T: Store>(
        &self,
        mut running: Running<'_, S, T>,
        back: Option<Reason>,
    ) -> Result<Ended> {
        let opened = running.state.opened();
        self.events.tell(Event::RunStarted {
            run: opened.run.clone(),
            project: opened.project.clone(),
            title: opened.title.clone(),
            resumed: running.state.resumed() > 0,
        });
        if running.state.is_committed() {
            self.interrupt.shield();
        }
        if let Some(reason) = running.state.unwinding() {
            running.tell_unwinding(reason);
        }
        let stopped = running.finish(back).await.err();
        Ok(ended(running.state, stopped))
    }

    fn note(&self, level: Level, text: impl Into<String>) {
        self.events.note(level, text);
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor")
            .field("interrupt", &self.interrupt)
            .finish_non_exhaustive()
    }
}

/// One run in one process.
struct Running<'a, S: Step, T> {
    executor: &'a Executor,
    journal: Journal<T>,
    state: State,
    steps: Vec<S>,
    cx: &'a S::Cx,
    /// When the step that is under way began, if it began in this process.
    since: Option<Instant>,
    /// Whether somebody was told that the interrupt is not heeded.
    noted: bool,
}

impl<S: Step, T: Store> Running<'_, S, T> {
    /// Does what is next until there is nothing. An error means that the journal cannot be written.
    async fn finish(&mut self, back: Option<Reason>) -> Result<()> {
        if let (
            Some(reason),
            Next::Prepare(_) | Next::Apply(..) | Next::PassPoint | Next::Close(Outcome::Done),
        ) = (back, self.state.next())
        {
            self.unwind(reason)?;
        }
        loop {
            self.heed_interrupt()?;
            match self.state.next() {
                Next::Prepare(step) => self.prepare(step).await?,
                Next::Apply(step, receipt) => {
                    let receipt = receipt.clone();
                    self.apply(step, &receipt).await?;
                }
                Next::PassPoint => {
                    self.record(Record::PassedPointOfNoReturn)?;
                    self.executor.interrupt.shield();
                }
                Next::Unwind(..) => self.unwind(Reason::Failed)?,
                Next::Undo(step, receipt) => {
                    let receipt = receipt.clone();
                    self.undo(step, &receipt).await?;
                }
                Next::Close(outcome) => self.record(Record::Closed { outcome })?,
                Next::Stuck(..) | Next::Ended(_) => return Ok(()),
            }
        }
    }

    async fn prepare(&mut self, step: usize) -> Result<()> {
        self.begin(step);
        self.reached(Point::BeforePrepare(step));
        let prepared = match self.steps[step].prepare(self.cx).await {
            Ok(receipt) => encode_receipt(&self.title(step), &receipt),
            Err(failure) => Err(failure),
        };
        self.reached(Point::AfterPrepare(step));
        match prepared.and_then(|receipt| self.journal.encode(Record::Prepared { step, receipt })) {
            Ok(line) => self.write(line),
            Err(failure) => self.failed(step, failure),
        }
    }

    async fn apply(&mut self, step: usize, receipt: &Value) -> Result<()> {
        self.begin(step);
        match self.apply_and_verify(step, receipt).await {
            Err(failure) => self.failed(step, failure),
            Ok(detail) => {
                let millis = self.millis();
                let detail = detail.map(clipped_text);
                self.record(Record::Applied {
                    step,
                    detail: detail.clone(),
                    millis,
                })?;
                self.tell(Event::StepFinished {
                    step,
                    title: self.title(step),
                    millis,
                    detail,
                });
                Ok(())
            }
        }
    }

    async fn apply_and_verify(&self, step: usize, receipt: &Value) -> Result<Option<String>> {
        let it = &self.steps[step];
        let receipt = decode_receipt(&self.title(step), receipt)?;
        self.reached(Point::BeforeApply(step));
        it.apply(self.cx, &receipt).await?;
        self.reached(Point::AfterApply(step));
        let detail = it.verify(self.cx, &receipt).await?;
        self.reached(Point::AfterVerify(step));
        Ok(detail)
    }

    async fn undo(&mut self, step: usize, receipt: &Value) -> Result<()> {
        let since = Instant::now();
        self.reached(Point::BeforeUndo(step));
        let title = self.title(step);
        let undone = match decode_receipt(&title, receipt) {
            Ok(receipt) => self.steps[step].undo(self.cx, &receipt).await,
            Err(failure) => Err(failure),
        };
        self.reached(Point::AfterUndo(step));
        match undone {
            Ok(()) => {
                let millis = millis(since);
                self.record(Record::Undone { step, millis })?;
                self.tell(Event::StepUndone { step, title, millis });
                Ok(())
            }
            // The earlier steps stay: starting the old services, for one, is a danger while the switch still stands.
            Err(failure) => {
                let failure = clipped(failure);
                self.record(Record::UndoFailed {
                    step,
                    failure: failure.clone(),
                })?;
                self.tell(Event::StepFailed { step, title, failure });
                Ok(())
            }
        }
    }

    fn failed(&mut self, step: usize, failure: Failure) -> Result<()> {
        self.since = None;
        let failure = clipped(failure);
        self.record(Record::Failed {
            step,
            failure: failure.clone(),
        })?;
        self.tell(Event::StepFailed {
            step,
            title: self.title(step),
            failure,
        });
        Ok(())
    }

    fn unwind(&mut self, reason: Reason) -> Result<()> {
        self.record(Record::UnwindBegan { reason })?;
        self.tell_unwinding(reason);
        Ok(())
    }

    /// The undo is not to be cut short by the signal that asked for it.
    fn tell_unwinding(&mut self, reason: Reason) {
        self.noted = self.executor.interrupt.was_raised();
        self.executor.interrupt.shield();
        let reason = match (reason, self.state.cause()) {
            (Reason::Failed, Some((_, failure))) => failure.to_string(),
            (Reason::Failed, None) => "a step failed".to_owned(),
            (Reason::Interrupted, _) => "interrupted".to_owned(),
            (Reason::Asked, _) => "asked for".to_owned(),
        };
        self.tell(Event::UnwindStarted { reason });
    }

    fn heed_interrupt(&mut self) -> Result<()> {
        let interrupt = &self.executor.interrupt;
        let boundary = matches!(
            self.state.next(),
            Next::Prepare(_) | Next::Apply(..) | Next::PassPoint
        );
        if boundary && interrupt.is_raised() {
            return self.unwind(Reason::Interrupted);
        }
        if interrupt.was_raised() && !interrupt.is_raised() && !self.noted {
            self.noted = true;
            let text = if self.state.is_committed() {
                "not stopping: the point of no return is passed, and the run goes on to its end"
            } else {
                "not stopping: the run is already going back"
            };
            self.executor.note(Level::Warning, text);
        }
        Ok(())
    }

    /// Writes a record, and only then believes it.
    fn record(&mut self, record: Record) -> Result<()> {
        if let Err(e) = self.state.admits(&record) {
            return Err(Failure::bug("the run was about to record what cannot be").because(&e));
        }
        let line = self.journal.encode(record)?;
        self.write(line)
    }

    fn write(&mut self, line: Line) -> Result<()> {
        self.reached(Point::BeforeJournal(self.journal.records()));
        let entry = self.journal.write(line).map_err(|e| {
            let run = &self.state.opened().run;
            unwritable(&self.journal)
                .because(&e)
                .with_kind(Kind::Interrupted)
                .data("the run stopped before its next change, and can go on from there")
                .hint(format!(
                    "make the journal writable again, then: rehome resume {run} (or rollback {run})"
                ))
        })?;
        self.state
            .accept(&entry)
            .map_err(|e| Failure::bug("the run recorded what cannot be").because(&e))?;
        self.reached(Point::AfterJournal(self.journal.records() - 1));
        Ok(())
    }

    fn begin(&mut self, step: usize) {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            self.tell(Event::StepStarted {
                step,
                of: self.steps.len(),
                title: self.title(step),
            });
        }
    }

    fn millis(&mut self) -> u64 {
        self.since.take().map_or(0, millis)
    }

    fn title(&self, step: usize) -> String {
        self.steps[step].title()
    }

    fn tell(&self, event: Event) {
        self.executor.events.tell(event);
    }

    fn reached(&self, point: Point) {
        self.executor.probe.reached(point);
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn unwritable<T: Store>(journal: &Journal<T>) -> Failure {
    Failure::environment(format!("cannot write the journal {}", journal.name()))
}
