//! A plan carried out step by step, so that it can be finished or taken back after any interruption.
//!
//! What lives here knows neither Docker nor volumes, and touches the world only through [`Step`] and the disk only
//! through [`Store`]: the same code runs on a real server and in the simulation that crashes it at every point.
//!
//! ```text
//! step      one reversible change, and `step_set!` that makes one type out of several kinds
//! record    what can be in a journal
//! journal   records as lines with a checksum, each synced before the effect that it announces
//! state     what a journal says: a pure fold, and the one next thing to do
//! plan      what is decided before a run begins
//! executor  does the next thing until there is none; run, resume and rollback are the same loop
//! ended     how a run ended, in words
//! interrupt Ctrl-C, as something to ask
//! recovery  what the runs of a project are like: open, finished, damaged
//! ```

mod ended;
mod executor;
mod interrupt;
mod journal;
mod plan;
mod probe;
mod record;
pub mod recovery;
mod state;
mod step;

pub use crate::state::Store;
pub use crate::step_set;
pub use ended::Ended;
pub use executor::Executor;
pub use interrupt::Interrupt;
pub use journal::{Contents, Journal, MAX_FILE, MAX_LINE};
pub use plan::Plan;
pub use probe::{NoProbe, Point, Probe};
pub use record::{Entry, FORMAT, Opened, PlannedStep, Reason, Record};
pub use state::{Illegal, Next, State, StepReport, StepStatus};
pub use step::Step;
#[doc(hidden)]
pub use step::{decode_receipt, encode_receipt};
