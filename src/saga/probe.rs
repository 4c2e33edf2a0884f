//! Named moments of a run, for tests that stop the program at each of them. Always compiled in: what is tested is
//! what is shipped.

use std::fmt;

/// A moment of a run. Printed as `before-apply:3`; the number is the step's place in the plan, or the record's place in
/// the journal (`after-journal:17`), both from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The record is not written yet.
    BeforeJournal(u64),
    /// The record is on disk.
    AfterJournal(u64),
    /// The step has not looked at the world.
    BeforePrepare(usize),
    /// The step has looked; its receipt is not written yet.
    AfterPrepare(usize),
    /// The receipt is on disk; nothing has changed.
    BeforeApply(usize),
    /// Everything has changed; nothing of it is checked.
    AfterApply(usize),
    /// The change is checked; the journal does not say so yet.
    AfterVerify(usize),
    /// The step is about to be taken back.
    BeforeUndo(usize),
    /// The step is taken back; the journal does not say so yet.
    AfterUndo(usize),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (moment, number) = match *self {
            Point::BeforeJournal(n) => ("before-journal", n),
            Point::AfterJournal(n) => ("after-journal", n),
            Point::BeforePrepare(n) => ("before-prepare", n as u64),
            Point::AfterPrepare(n) => ("after-prepare", n as u64),
            Point::BeforeApply(n) => ("before-apply", n as u64),
            Point::AfterApply(n) => ("after-apply", n as u64),
            Point::AfterVerify(n) => ("after-verify", n as u64),
            Point::BeforeUndo(n) => ("before-undo", n as u64),
            Point::AfterUndo(n) => ("after-undo", n as u64),
        };
        write!(f, "{moment}:{number}")
    }
}

/// Is told each moment as it is reached.
pub trait Probe: Send + Sync {
    /// The run is at this point; it goes on when this returns, if it returns.
    fn reached(&self, point: Point);
}

/// Watches nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn reached(&self, _: Point) {}
}
