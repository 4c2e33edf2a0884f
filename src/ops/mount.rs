//! `mount`: a block volume, from the attached device to a place that is safe at boot.
//!
//! There is no journal. Each action can be done again and what is done is not in the next plan, so a run that died is
//! finished by another one; only a half-made file system needs a record, which is written before it is begun.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use project::{directories, stack};
use work::Work;

use super::App;
use super::app::{Options, state_dir};
use crate::block::boot::{self, Piece};
use crate::block::device::{Device, Provider, attached, by_path};
use crate::block::format::{FileSystem, Wanted};
use crate::block::fsid::FsUuid;
use crate::block::sentinel;
use crate::block::sysroot::Sysroot;
use crate::event::{Event, Events};
use crate::model::{Failure, Kind, Result, shell_path};
use crate::observe::mounting::{self, Held, Holding};
use crate::observe::{Depth, DeviceSeen, MachineSeen};
use crate::plan::mount::{
    MountPlan, MountWanted, Told, choose, ends_with_the_machine, name_of, plan_mount, uuid_of,
};
use crate::saga::Interrupt;
use crate::state::{Lock, LockNote};

mod project;
mod undo;
mod work;

pub use undo::{PlannedUndo, unmount};

/// How far the reading of a device is, is told no more often than this.
const BETWEEN: Duration = Duration::from_millis(200);

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct MountRequest {
    /// `--device`; the one that is free if `None`.
    pub device: Option<PathBuf>,
    /// `--at`.
    pub at: PathBuf,
    /// `--fs`.
    pub fs: FileSystem,
    /// `--label`.
    pub label: Option<String>,
    /// `--options`.
    pub options: Option<String>,
    /// `--full`.
    pub full: bool,
    /// `--no-systemd` was not said.
    pub systemd: bool,
    /// `--sysroot`.
    pub sysroot: Option<PathBuf>,
}

/// A plan, ready to be carried out. The device is held while it exists.
pub struct PlannedMount {
    /// What is done.
    pub plan: MountPlan,
    device: DeviceSeen,
    held: Held,
    at: PathBuf,
    wanted: Wanted,
    sysroot: Sysroot,
    begun: PathBuf,
    events: Arc<dyn Events>,
    interrupt: Interrupt,
    lock: Lock,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct MountReport {
    /// The device.
    pub device: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// The file system's UUID.
    pub uuid: FsUuid,
    /// What was done, in words; nothing if all of it was done already.
    pub done: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

fn looking_at(done: u64, total: u64) -> Event {
    Event::Progress {
        phase: "look at the device".to_owned(),
        volume: None,
        bytes: done,
        bytes_total: total,
        files: 0,
        files_total: 0,
    }
}

/// Looks and plans. `app` is the project whose directories are made, if there is one.
///
/// # Errors
/// Refuses in words whatever speaks against it; nothing is changed then.
pub async fn mount(options: &Options, app: Option<&App>, request: &MountRequest) -> Result<PlannedMount> {
    as_root()?;
    let sysroot = Sysroot::new(request.sysroot.as_deref());
    sysroot.prove_straight(&request.at)?;
    let host = state_dir(options)?.host();
    let lock = host.lock(&LockNote::mine(options.command.as_str(), None))?;
    let (device, name, provider) = which(&sysroot, request).await?;
    let events = Arc::clone(&options.events);
    let interrupt = options.interrupt.clone();
    let mut told: Option<Instant> = None;
    let mut to_read = 0;
    let mut tell = |done, total| {
        to_read = total;
        // Thousands of places are read, each in a moment.
        if done < total && told.is_some_and(|told| told.elapsed() < BETWEEN) {
            return;
        }
        told = Some(Instant::now());
        events.tell(looking_at(done, total));
    };
    let looking = mounting::device(
        &sysroot,
        device,
        &name,
        provider,
        host.path(),
        request.full,
        &mut tell,
    );
    let (device, held) = tokio::select! {
        looked = looking => looked?,
        () = interrupt.raised() => {
            return Err(Failure::interrupted("stopped while the device was looked at").data("nothing was changed"));
        }
    };
    if to_read > 0 {
        // What is found early ends the reading early; a bar that is not full would be drawn into the question.
        events.tell(looking_at(to_read, to_read));
    }
    match &held {
        Some((_, Holding::Empty(_))) => request.fs.can_be_made().await?,
        Some((_, Holding::Begun(intent))) => intent.fs.can_be_made().await?,
        _ => {}
    }
    let made = Wanted::new(request.fs, request.label.clone())?;
    let mut wanted = MountWanted {
        at: request.at.clone(),
        fs_type: request.fs.to_string(),
        uuid: made.uuid(),
        mkfs: made.command(&device.node),
        options: request.options.clone(),
        dirs: Vec::new(),
        systemd: request.systemd,
    };
    let mut notes = Vec::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let uuid = uuid_of(&device.content, &wanted);
    if request.systemd && boot::systemd_runs(&sysroot) && !boot::engine_is_known(&sysroot).await? {
        notes.push(
            "systemd knows no docker.service: nothing keeps the engine from starting before the volume is mounted"
                .to_owned(),
        );
    } else if request.systemd && boot::systemd_runs(&sysroot) {
        pieces.push(boot::engine_waits(&request.at)?);
        pieces.extend(boot::engine_comes_up(&sysroot, &request.at)?);
        pieces.push(boot::mounted_when_it_comes(&request.at, &uuid));
    }
    let app = app.filter(|app| app.engine.host().is_local());
    if let Some(app) = app {
        let depth = Depth {
            override_path: app.settings.override_path.clone(),
            ..Depth::default()
        };
        // A home that is not mounted cannot be looked at, and mounting it is what mends that.
        match app.look(&app.looking(), &depth).await {
            Ok(world) => {
                wanted.dirs = directories(app, &world, &mut notes).await?;
                if !pieces.is_empty()
                    && let Some(stack) = stack(app, &world)
                {
                    let sentinel = request.at.join(sentinel::name(&uuid));
                    pieces.extend(boot::stack_comes_up(&request.at, &sentinel, &stack)?);
                }
            }
            Err(failure) => notes.push(format!(
                "project {} could not be looked at, so nothing is made for it; run this again afterwards ({})",
                app.project.name,
                failure
            )),
        }
    }
    let paths: Vec<_> = wanted.dirs.iter().map(|dir| dir.path.clone()).collect();
    let seen: MachineSeen = mounting::place(&sysroot, device, &request.at, uuid, pieces, &paths).await?;
    let mut plan = plan_mount(&seen, &wanted)?;
    plan.notes.extend(notes);
    Ok(PlannedMount {
        plan,
        device: seen.device,
        held,
        at: request.at.clone(),
        wanted: made,
        sysroot,
        begun: host.path().to_owned(),
        events,
        interrupt,
        lock,
    })
}

/// Devices are opened and mounts changed by root alone.
pub(super) fn as_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::refused("only root can look at devices and mount them")
        .data("nothing was changed")
        .hint("run it again with sudo"))
}

/// The device, the name that people know it by, and whose it is.
async fn which(sysroot: &Sysroot, request: &MountRequest) -> Result<(Device, PathBuf, Option<Provider>)> {
    match &request.device {
        Some(path) => {
            let device = by_path(sysroot, path)?;
            let known = attached(sysroot)?;
            let known = known.iter().find(|known| known.device.number == device.number);
            if known.is_some_and(|known| known.ends_with_the_machine) {
                return Err(ends_with_the_machine(path));
            }
            Ok((device, path.clone(), known.map(|known| known.provider)))
        }
        // What is mounted there already is meant, whatever its name.
        None if let Some(node) = mounting::mounted_at(sysroot, &request.at)? => {
            let device = by_path(&Sysroot::new(None), &node)?;
            let known = attached(sysroot)?;
            let known = known.iter().find(|known| known.device.number == device.number);
            if known.is_some_and(|known| known.ends_with_the_machine) {
                return Err(ends_with_the_machine(&node));
            }
            let name = known
                .and_then(|known| known.links.first())
                .cloned()
                .unwrap_or(node);
            Ok((device, name, known.map(|known| known.provider)))
        }
        None => {
            let candidates = mounting::candidates(sysroot).await?;
            let chosen = choose(&candidates, &request.at)?;
            Ok((
                chosen.attached.device.clone(),
                name_of(chosen).to_owned(),
                Some(chosen.attached.provider),
            ))
        }
    }
}

impl PlannedMount {
    /// The plan as it is told.
    #[must_use]
    pub fn told(&self) -> Told {
        Told::mount(&self.device, &self.at, &self.plan)
    }

    /// Carries it out.
    ///
    /// # Errors
    /// At the first action that fails. What was done before stays, and is not done again the next time.
    pub async fn carry_out(self) -> Result<MountReport> {
        let Self {
            plan,
            device,
            held,
            at,
            wanted,
            sysroot,
            begun,
            events,
            interrupt,
            lock: _lock,
        } = self;
        let mut work = Work {
            sysroot,
            at,
            node: device.node.clone(),
            held,
            wanted,
            begun,
            names: vec![device.name.clone()],
            mounted: false,
        };
        let or = format!(
            "or take it back: rehome mount --undo --at {}",
            shell_path(&work.at)
        );
        let mut steps = Steps::new(events, interrupt, or, plan.actions.len());
        for action in &plan.actions {
            let title = action.title(&work.at);
            steps.run(title, work.act(action, &plan)).await?;
        }
        Ok(MountReport {
            device: device.name,
            at: work.at,
            uuid: plan.uuid,
            done: steps.done,
            notes: plan.notes,
        })
    }
}

/// Tells how it goes.
struct Steps {
    events: Arc<dyn Events>,
    interrupt: Interrupt,
    /// What else there is to do when it stops half way.
    or: String,
    of: usize,
    done: Vec<String>,
}

impl Steps {
    fn new(events: Arc<dyn Events>, interrupt: Interrupt, or: String, of: usize) -> Self {
        Self {
            events,
            interrupt,
            or,
            of,
            done: Vec::new(),
        }
    }

    async fn run(&mut self, title: String, act: impl Future<Output = Result<Option<String>>>) -> Result<()> {
        let step = self.done.len();
        if self.interrupt.is_raised() {
            let data = match self.done.as_slice() {
                [] => "nothing was changed".to_owned(),
                done => format!("what was done before stays: {}", done.join(", ")),
            };
            return Err(Failure::interrupted(format!("stopped before this: {title}"))
                .data(data)
                .hint("run the same command again to go on"));
        }
        self.events.tell(Event::StepStarted {
            step,
            of: self.of,
            title: title.clone(),
        });
        let began = Instant::now();
        match act.await {
            Ok(detail) => {
                self.events.tell(Event::StepFinished {
                    step,
                    title: title.clone(),
                    millis: began.elapsed().as_millis() as u64,
                    detail,
                });
                self.done.push(title);
                Ok(())
            }
            Err(failure) => {
                let failure = self.stopped(failure);
                self.events.tell(Event::StepFailed {
                    step,
                    title,
                    failure: failure.clone(),
                });
                Err(failure)
            }
        }
    }
}

impl Steps {
    /// A refusal in the middle is no refusal any more: something was changed.
    fn stopped(&self, mut failure: Failure) -> Failure {
        if self.done.is_empty() {
            return failure;
        }
        if failure.kind == Kind::Refused {
            failure = failure.with_kind(Kind::Environment);
        }
        failure
            .hint(format!(
                "what was done before stays ({}); run the same command again to go on",
                self.done.join(", ")
            ))
            .hint(self.or.clone())
    }
}
