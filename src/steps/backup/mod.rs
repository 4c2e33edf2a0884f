//! The steps of backups: saving, publishing, rehearsing a restore, restoring. What they share with a move (stopping and
//! making homes) lies one folder up.

mod bring_up;
mod database;
mod exchange;
mod fan;
mod fill;
mod input;
mod part;
mod pause;
mod publish;
mod refill;
mod rehearse;
mod save;
mod snapshot;
mod unstarted;
mod vault;

pub use bring_up::BringUp;
pub use database::{Database, ExchangeDatabases, RefillDatabase};
pub use exchange::{Data, Exchange};
pub use input::{Input, Packing, StrangeFile};
pub use part::{Part, Source, parts_of};
pub use pause::{GoOn, Pause, Pausing};
pub use publish::{Publish, read_back};
pub use refill::Refill;
pub use rehearse::Rehearse;
pub use save::{Save, Saving, lost_places, saved_bytes};
pub use snapshot::{check_snapshots, has_snapshots};
pub use unstarted::Unstarted;
pub use vault::{Vault, manifest_of, path_in, read_entry};

use super::deploy::{Images, StayUp};
use super::{Check, MakeHomes, Stop, Tidy};

crate::step_set! {
    /// The steps of a backup, of a drill and of a restore, in the order in which plans use them.
    #[derive(Debug, Clone)]
    pub enum BackupStep {
        /// Writes entries.
        Save(Save),
        /// Pauses who writes.
        Pause(Pause),
        /// Lets them go on.
        GoOn(GoOn),
        /// Makes a backup one.
        Publish(Publish),
        /// Restores a part into nothing that lasts.
        Rehearse(Rehearse),
        /// Fetches images that are not there.
        Images(Images),
        /// Makes what a stack consists of without starting it.
        Unstarted(Unstarted),
        /// Makes the homes beside those that are there.
        MakeHomes(MakeHomes),
        /// Restores into them.
        Refill(Refill),
        /// Loads a database beside the one in use.
        RefillDatabase(RefillDatabase),
        /// Stops who uses a volume.
        Stop(Stop),
        /// Puts what was restored in its place.
        Exchange(Exchange),
        /// Has two databases change their names.
        ExchangeDatabases(ExchangeDatabases),
        /// Brings services up.
        BringUp(BringUp),
        /// Everything stays up.
        StayUp(StayUp),
        /// Asks until the answer is as it should be.
        Check(Check),
        /// Removes the run's own leftovers.
        Tidy(Tidy),
    }
}
