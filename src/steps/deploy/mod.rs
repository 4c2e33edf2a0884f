//! The steps of a deployment. What they share with a move (making containers, bringing them up, hooks, checks) lies
//! one folder up.

mod compose_file;
mod dump;
mod images;
mod outgoing;
mod roll;
mod same_data;
mod stay_up;
mod swap;
mod tidy;

pub use super::dumps::Dumping;
pub use compose_file::ComposeFile;
pub use dump::Dump;
pub use images::{Images, Source};
pub use outgoing::{Changing, Outgoing};
pub use roll::Roll;
pub use same_data::{DataMount, SameData, SameDatabase};
pub use stay_up::StayUp;
pub use swap::Swap;
pub use tidy::TidyKept;

use super::{Check, Hook, MakeHomes, Switch, Tidy};

/// Under this repository the images are tagged that a deployment replaced, so that no prune takes them (trap 35):
/// `rehome-kept/PROJECT/SERVICE:RUN`.
pub const KEPT: &str = "rehome-kept";

crate::step_set! {
    /// The steps of a deployment, in the order in which a plan uses them.
    #[derive(Debug, Clone)]
    pub enum DeployStep {
        /// Runs a command.
        Hook(Hook),
        /// Fetches and builds images while the old stack serves.
        Images(Images),
        /// Dumps a database.
        Dump(Dump),
        /// Makes the homes of a project that has none yet.
        MakeHomes(MakeHomes),
        /// Points the project at them.
        Switch(Switch),
        /// Puts the new containers in the place of the old.
        Swap(Swap),
        /// Starts new containers beside the old, then stops the old.
        Roll(Roll),
        /// Every container stays up.
        StayUp(StayUp),
        /// Asks until the answer is as it should be.
        #[serde(alias = "http_check")]
        Check(Check),
        /// The data is where it was, and the databases are the same ones.
        SameData(SameData),
        /// Keeps `COMPOSE_FILE` right.
        ComposeFile(ComposeFile),
        /// Removes the run's own leftovers.
        Tidy(Tidy),
        /// Lets go of what older deployments kept.
        TidyKept(TidyKept),
    }
}
