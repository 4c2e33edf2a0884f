//! The steps by which the persistent storage of a site goes on and off. What they share with a deployment (making containers
//! anew, checks) lies beside.

mod has_data;
mod make_data;
mod remember;
mod write_override;

pub use has_data::HasData;
pub use make_data::MakeData;
pub use remember::Remember;
pub use write_override::WriteOverride;

use super::deploy::{ComposeFile, SameData, StayUp, Swap};
use super::{Check, Delta, MakeHomes, PreCopy, Stop, Tidy, Verify};

crate::step_set! {
    /// The steps of such a switch, in the order in which a plan uses them.
    #[derive(Debug, Clone)]
    pub enum SiteStep {
        /// Makes the directory.
        MakeData(MakeData),
        /// Writes the override, or removes it.
        WriteOverride(WriteOverride),
        /// Keeps `COMPOSE_FILE` right.
        ComposeFile(ComposeFile),
        /// Stops the service and makes it anew.
        Swap(Swap),
        /// Looks into its containers.
        HasData(HasData),
        /// Every container stays up.
        StayUp(StayUp),
        /// Asks until the answer is as it should be.
        Check(Check),
        /// All other data is where it was, and the databases are the same ones.
        SameData(SameData),
        /// Writes down how it is now.
        Remember(Remember),
        /// Of a move: makes the new place.
        MakeHomes(MakeHomes),
        /// Of a move: copies while the service runs.
        PreCopy(PreCopy),
        /// Of a move: stops the service.
        Stop(Stop),
        /// Of a move: copies the rest.
        Delta(Delta),
        /// Of a move: compares both places.
        Verify(Verify),
        /// Of a move: removes what it kept for itself.
        Tidy(Tidy),
    }
}
