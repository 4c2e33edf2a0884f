//! What each page is told. Plain data: whoever answers a request fills it from what `ops` said.

use askama::Template;
use jiff::Timestamp;

use super::parts::{Fill, RunState, StepState, Tone, count, length, part, size, span, stamp, when};
use crate::event::Level;
use crate::model::Failure;
use crate::site::Storage;

/// What stands around every page but the login.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Who is logged in.
    pub user: String,
    /// The token that every form sends back.
    pub csrf: String,
    /// The server's name.
    pub server: String,
    /// Runs that wait to be finished.
    pub waiting: Vec<Waiting>,
}

/// A run that waits to be finished.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Which.
    pub run: String,
    /// What it did.
    pub title: String,
    /// In which project.
    pub project: String,
    /// Whether it can be taken back.
    pub reversible: bool,
}

/// The login page.
#[derive(Debug, Clone, Template)]
#[template(path = "web/login.html")]
pub struct LoginView {
    /// The token that the form sends back.
    pub csrf: String,
    /// The server's name.
    pub server: String,
    /// Where to go afterwards; a path on this server that was checked.
    pub next: Option<String>,
    /// What was typed as the user; the password never comes back.
    pub user: String,
    /// Why it did not work, in words that tell nobody which of the two was wrong.
    pub problem: Option<String>,
}

/// The first page.
#[derive(Debug, Clone, Template)]
#[template(path = "web/overview.html")]
pub struct OverviewView {
    /// What stands around it.
    pub frame: Frame,
    /// Where data lives.
    pub places: Vec<Place>,
    /// The projects of this server.
    pub projects: Vec<ProjectLine>,
    /// The sites; the first few are enough.
    pub sites: Vec<SiteLine>,
    /// How many sites there are.
    pub sites_in_all: u64,
    /// What doctor found that is not as it should be.
    pub findings: Vec<Finding>,
    /// The newest backups.
    pub backups: Vec<BackupLine>,
    /// The newest runs.
    pub runs: Vec<RunLine>,
}

/// A file system that data lives on.
#[derive(Debug, Clone)]
pub struct Place {
    /// What it is called: `Block volume`, `System disk`.
    pub name: String,
    /// Where it is mounted.
    pub path: String,
    /// How full it is, where that could be seen.
    pub fill: Option<Fill>,
    /// What lives there, each in a few words.
    pub holds: Vec<String>,
}

/// A project in a list.
#[derive(Debug, Clone)]
pub struct ProjectLine {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub directory: Option<String>,
    /// Services that are up.
    pub up: u64,
    /// Services in all.
    pub services: u64,
    /// Volumes.
    pub volumes: u64,
    /// Where its data lives, in words: `block volume`, `3 of 4 on the block volume`.
    pub home: String,
}

/// A site in a list.
#[derive(Debug, Clone)]
pub struct SiteLine {
    /// Its name.
    pub name: String,
    /// What it is made of, in words: a project's directory, or an image.
    pub made_of: String,
    /// Whether its data outlives its containers.
    pub storage: Storage,
    /// Where its data is.
    pub data: Option<String>,
    /// Bytes of it.
    pub bytes: Option<u64>,
    /// When anything in it was changed last.
    pub changed: Option<Timestamp>,
}

/// Something that doctor found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// How much it matters.
    pub tone: Tone,
    /// About what: a project, or this server.
    pub about: String,
    /// What it found.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A backup in a list.
#[derive(Debug, Clone)]
pub struct BackupLine {
    /// Its name.
    pub name: String,
    /// Of which project or site.
    pub of: String,
    /// When it was made.
    pub made: Timestamp,
    /// Its size.
    pub bytes: Option<u64>,
    /// Where it is kept.
    pub place: String,
}

/// A run in a list.
#[derive(Debug, Clone)]
pub struct RunLine {
    /// Which.
    pub run: String,
    /// In which project.
    pub project: String,
    /// What it did.
    pub title: String,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub millis: Option<u64>,
    /// For how long services were down, in milliseconds.
    pub downtime_millis: Option<u64>,
    /// Who began it.
    pub by: Option<String>,
    /// How it stands.
    pub state: RunState,
}

/// Every site.
#[derive(Debug, Clone, Template)]
#[template(path = "web/sites.html")]
pub struct SitesView {
    /// What stands around it.
    pub frame: Frame,
    /// Those that are shown.
    pub sites: Vec<SiteLine>,
    /// How many there are in all.
    pub in_all: u64,
    /// What was searched for (`?q=`).
    pub search: String,
    /// The form that adds one; open when it comes back with a problem.
    pub form: AddForm,
}

/// What was typed into the form that adds a site. It sends `name`, `kind` (`project` or `image`), `project`, `service`,
/// `image`, `port` and `health`.
#[derive(Debug, Clone, Default)]
pub struct AddForm {
    /// Why it was not added.
    pub problem: Option<Failure>,
    /// Its name.
    pub name: String,
    /// Whether it is an image.
    pub is_image: bool,
    /// The directory of its project.
    pub project: String,
    /// The service that has its data.
    pub service: String,
    /// Its image.
    pub image: String,
    /// Its port.
    pub port: String,
    /// The path that answers when it is well.
    pub health: String,
}

/// Which tab of a site's page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    /// `/sites/NAME`.
    Overview,
    /// `/sites/NAME/settings`.
    Settings,
}

/// One site.
#[derive(Debug, Clone, Template)]
#[template(path = "web/site.html")]
pub struct SiteView {
    /// What stands around it.
    pub frame: Frame,
    /// Which tab.
    pub tab: Tab,
    /// The site.
    pub site: SiteLine,
    /// The directory of its project, if that is known.
    pub directory: Option<String>,
    /// The name of its project, where there is a page of it.
    pub project: Option<String>,
    /// The service that has its data.
    pub service: Option<String>,
    /// Whose its directory is.
    pub owner: Option<String>,
    /// Files in it.
    pub files: Option<u64>,
    /// Why its directory could not be looked at.
    pub unseen: Option<String>,
    /// How full the file system below it is.
    pub fill: Option<Fill>,
    /// Its backups.
    pub backups: Vec<BackupLine>,
    /// Its runs.
    pub runs: Vec<RunLine>,
    /// Where its data can go.
    pub targets: Vec<Target>,
}

/// One project.
#[derive(Debug, Clone, Template)]
#[template(path = "web/project.html")]
pub struct ProjectView {
    /// What stands around it.
    pub frame: Frame,
    /// Its name.
    pub name: String,
    /// Its directory.
    pub directory: Option<String>,
    /// Its services.
    pub services: Vec<ServiceLine>,
    /// Its volumes.
    pub volumes: Vec<VolumeLine>,
    /// Its sites, by name.
    pub sites: Vec<SiteLine>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// Its backups.
    pub backups: Vec<BackupLine>,
    /// Its runs.
    pub runs: Vec<RunLine>,
    /// What can be begun here, so that there is a button for it: `/projects/NAME/move` and so on.
    pub can: Can,
}

/// What can be begun from the page of a project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Can {
    /// A move.
    pub move_: bool,
    /// A deployment.
    pub deploy: bool,
    /// A backup.
    pub backup: bool,
}

/// A service of a project.
#[derive(Debug, Clone)]
pub struct ServiceLine {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Containers that are up.
    pub up: u64,
    /// Containers in all.
    pub containers: u64,
}

/// A volume of a project.
#[derive(Debug, Clone)]
pub struct VolumeLine {
    /// Its key in the project's file.
    pub key: String,
    /// Its home, in words: `Docker's directory`, `block volume`.
    pub home: String,
    /// Where that is.
    pub path: Option<String>,
    /// Bytes in it.
    pub bytes: Option<u64>,
    /// Files in it.
    pub files: Option<u64>,
    /// How full the file system is that it lies on.
    pub fill: Option<Fill>,
    /// Databases in it.
    pub datastores: Vec<String>,
    /// Services that mount it.
    pub mounted_by: Vec<String>,
}

/// The first page of the move. Its form asks `/projects/NAME/move` with `volume` (as often as there are some) and `to`;
/// the answer is the plan, a [`ConfirmView`].
#[derive(Debug, Clone, Template)]
#[template(path = "web/pick.html")]
pub struct PickView {
    /// What stands around it.
    pub frame: Frame,
    /// The project.
    pub project: String,
    /// Its volumes.
    pub volumes: Vec<PickVolume>,
    /// Where they can go.
    pub targets: Vec<Target>,
    /// What was chosen is not possible: why.
    pub problem: Option<Failure>,
}

/// A volume that can be picked.
#[derive(Debug, Clone)]
pub struct PickVolume {
    /// The volume.
    pub volume: VolumeLine,
    /// Whether it is picked.
    pub picked: bool,
    /// Why it cannot be moved.
    pub stays: Option<String>,
}

/// Where data can go.
#[derive(Debug, Clone)]
pub struct Target {
    /// What the form sends: `volumes` or a directory; of a site, nothing for what its configuration says.
    pub value: String,
    /// For people: `Block volume at /mnt/kms-data`.
    pub name: String,
    /// How full it is.
    pub fill: Option<Fill>,
    /// Whether it is picked.
    pub picked: bool,
}

/// A plan, and the question whether it shall be run.
#[derive(Debug, Clone, Template)]
#[template(path = "web/confirm.html")]
pub struct ConfirmView {
    /// What stands around it.
    pub frame: Frame,
    /// The question: `Turn persistent storage on for shop?`.
    pub title: String,
    /// What to know before, in a sentence or two.
    pub lead: String,
    /// The plan, as the command line prints it; or why there is none.
    pub plan: Result<String, Failure>,
    /// What a careful person should know of it.
    pub warnings: Vec<String>,
    /// Why the answer to the plan that was shown before was not taken; this is a new one.
    pub problem: Option<Failure>,
    /// Where the form goes.
    pub action: String,
    /// What it sends besides the token.
    pub fields: Vec<(String, String)>,
    /// What the button says: `Turn it on`.
    pub button: String,
    /// Where the way back leads.
    pub back: String,
    /// Whether this is the second page of the move.
    pub wizard: bool,
}

/// One run.
#[derive(Debug, Clone, Template)]
#[template(path = "web/run.html")]
pub struct RunView {
    /// What stands around it.
    pub frame: Frame,
    /// Which, and how it stands.
    pub line: RunLine,
    /// Its steps.
    pub steps: Vec<StepLine>,
    /// How far a long piece of work is.
    pub progress: Vec<ProgressLine>,
    /// What it said, oldest first.
    pub log: Vec<LogLine>,
    /// What it said at its end.
    pub summary: String,
    /// Why it did not end well.
    pub failure: Option<Failure>,
    /// How it can be finished, if it waits.
    pub waiting: Option<Waiting>,
    /// Whether it is a move, so that it is shown as the last page of the wizard.
    pub wizard: bool,
}

/// A step of a run.
#[derive(Debug, Clone)]
pub struct StepLine {
    /// What it does.
    pub title: String,
    /// How it stands.
    pub state: StepState,
    /// How long it took, in milliseconds.
    pub millis: Option<u64>,
    /// What was found or verified.
    pub detail: Option<String>,
}

/// How far a long piece of work is.
#[derive(Debug, Clone)]
pub struct ProgressLine {
    /// What is worked on: `copy media`.
    pub work: String,
    /// Whole percents, if the total is known.
    pub percent: Option<u64>,
    /// In words: `1.2 GB of 2.8 GB`.
    pub text: String,
}

/// Something that a run said.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The line.
    pub text: String,
}

/// Every run.
#[derive(Debug, Clone, Template)]
#[template(path = "web/history.html")]
pub struct HistoryView {
    /// What stands around it.
    pub frame: Frame,
    /// The runs, newest first.
    pub runs: Vec<RunLine>,
    /// The address of those before.
    pub older: Option<String>,
}

/// Who changed what.
#[derive(Debug, Clone, Template)]
#[template(path = "web/audit.html")]
pub struct AuditView {
    /// What stands around it.
    pub frame: Frame,
    /// The lines, newest first.
    pub lines: Vec<AuditLine>,
    /// The address of those before.
    pub older: Option<String>,
}

/// A line of the audit log.
#[derive(Debug, Clone)]
pub struct AuditLine {
    /// When.
    pub at: Timestamp,
    /// Who: a user, a token, or nobody who is known.
    pub who: String,
    /// From where.
    pub from: String,
    /// What, and on what.
    pub what: String,
    /// How it ended.
    pub outcome: String,
    /// Whether that is good.
    pub tone: Tone,
    /// The run that it began.
    pub run: Option<String>,
}

/// What did not work.
#[derive(Debug, Clone, Template)]
#[template(path = "web/error.html")]
pub struct ErrorView {
    /// The status of the answer.
    pub status: u16,
    /// What, because of what, what became of the data, what to do.
    pub failure: Failure,
    /// Where the way on leads.
    pub back: String,
}
