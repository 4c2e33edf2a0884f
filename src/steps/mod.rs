//! The steps of runs, one file each: what it does, how it is proven, how it is taken back. Here are those of a move and
//! what all runs share; `deploy`, `backup`, `uploads` and `sites` have their own, `dumps` is what both do with databases.
//!
//! A step carries out what the plan says and decides nothing. Every step can be repeated, and its undo works whether
//! the step did nothing, half or all: a crash can come anywhere.

pub mod backup;
mod check;
mod delta;
pub mod deploy;
mod downtime;
pub mod dumps;
mod hook;
mod keep;
mod make_homes;
mod page;
mod pre_copy;
mod prove;
mod restart;
pub mod sites;
mod spec;
mod stack;
mod start;
mod stop;
mod switch;
mod tidy;
pub mod uploads;
mod verify;
mod world;

pub use check::Check;
pub use delta::Delta;
pub use downtime::Downtime;
pub use hook::{Hook, HookPlace, OnFailure};
pub use make_homes::MakeHomes;
pub use page::Maintenance;
pub use pre_copy::PreCopy;
pub use prove::{Prove, Writer};
pub use restart::restart;
pub use spec::{
    CopyProof, Copying, ExpectedMount, FROM, Moving, STATE, Starting, Stopping, TO, Target, mount_of,
};
pub use stack::Making;
pub use start::Start;
pub use stop::Stop;
pub use switch::Switch;
pub use tidy::Tidy;
pub use verify::Verify;
pub(crate) use world::pass_on;
pub use world::{Cx, StackFiles, Storage};

crate::step_set! {
    /// The steps of a move, in the order in which a plan uses them.
    #[derive(Debug, Clone)]
    pub enum MoveStep {
        /// Makes the new homes.
        MakeHomes(MakeHomes),
        /// Copies while the stack runs.
        PreCopy(PreCopy),
        /// Stops the writers.
        Stop(Stop),
        /// Copies what changed since.
        Delta(Delta),
        /// Compares every entry.
        Verify(Verify),
        /// Points the project at the new homes.
        Switch(Switch),
        /// Starts what was stopped.
        Start(Start),
        /// Proves that it works there.
        Prove(Prove),
        /// Runs a command.
        Hook(Hook),
        /// Asks until the answer is as it should be.
        #[serde(alias = "http_check")]
        Check(Check),
        /// Removes the run's own leftovers.
        Tidy(Tidy),
    }
}
