//! The use cases, one file each; the only door for the command line. They tell events and return data; they never
//! print, ask or exit.

mod access;
mod app;
pub mod backup;
mod deploy;
mod doctor;
mod drift;
mod execute;
mod git;
mod grow;
mod guard;
mod history;
mod init;
mod mount;
mod move_;
mod notify;
mod override_;
mod page;
mod passes;
mod places;
mod projects;
mod recover;
mod restart;
mod runs;
pub mod s3;
mod serving;
mod settings;
pub mod site;
mod size;
mod status;

pub use access::access;
pub use app::{App, Options};
pub use deploy::{DeployRequest, PlannedDeploy, plan_deploy};
pub use doctor::doctor;
pub use drift::{Drift, drift};
pub use execute::{CrashPoint, Finish};
pub use grow::{GrowReport, grow};
pub use guard::Loss;
pub use history::{Line, history, show};
pub use init::{InitReport, init};
pub use mount::{MountReport, MountRequest, PlannedMount, PlannedUndo, mount, unmount};
pub use move_::{MoveRequest, Planned, plan_move};
pub use override_::{
    EnvReport, OverrideCheck, OverrideRequest, env_setting, override_check, override_content, override_write,
};
pub use page::PageRequest;
pub use passes::{Pass, compose, pass};
pub use places::{Place, places};
pub use projects::{Backup, Looked, ProjectLine, Projects, ServiceLine, VolumeLine};
pub use recover::{Recovery, recover};
pub use restart::{RestartRequest, restart};
pub use runs::{RunCondition, RunLine, RunShown, Runs, Told};
pub use serving::{PlannedUnit, unit};
pub use settings::{Setting, Settings, Source};
pub use size::{SizeReport, VolumeSize, size};
pub use status::{Status, VolumeStatus, status};
