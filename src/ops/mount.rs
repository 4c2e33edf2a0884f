//! `mount`: a block volume, from the attached device to a place that is safe at boot.
//!
//! There is no journal. Each action can be done again and what is done is not in the next plan, so a run that died is
//! finished by another one; only a half-made file system needs a record, which is written before it is begun.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::App;
use super::app::{Options, state_dir};
use crate::block::bare::Bare;
use crate::block::boot::{self, Piece};
use crate::block::device::{Device, Identity, Provider, attached, by_path};
use crate::block::format::{FileSystem, Wanted, finish, forget, format};
use crate::block::fsid::FsUuid;
use crate::block::fstab::{Change, Fstab, names};
use crate::block::sysroot::Sysroot;
use crate::block::volume::Volume;
use crate::block::{dirs, mounted, sentinel};
use crate::compose::FoundBy;
use crate::datastore::Kind;
use crate::event::{Event, Events};
use crate::model::config::default_subdir;
use crate::model::{Failure, Home, Owner, Result};
use crate::observe::mounting::{self, Held, Holding};
use crate::observe::{Depth, DeviceSeen, MachineSeen, World};
use crate::plan::mount::{
    Action, DirWanted, MountPlan, MountWanted, Told, Undo, choose, name_of, plan_mount, plan_undo, uuid_of,
};
use crate::state::{Lock, LockNote};

/// The mode of a new directory of a database server, which refuses any other.
const SERVERS: u32 = 0o700;
/// The mode of any other new directory.
const OTHERS: u32 = 0o755;

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

/// Looks and plans. `app` is the project whose directories are made, if there is one.
///
/// # Errors
/// Refuses in words whatever speaks against it; nothing is changed then.
pub async fn mount(options: &Options, app: Option<&App>, request: &MountRequest) -> Result<PlannedMount> {
    as_root()?;
    let sysroot = Sysroot::new(request.sysroot.as_deref());
    let host = state_dir(options)?.host();
    let lock = host.lock(&LockNote::mine(options.command.as_str(), None))?;
    let (device, name, provider) = which(&sysroot, request).await?;
    let events = Arc::clone(&options.events);
    let progress = Arc::clone(&events);
    let (device, held) = mounting::device(
        &sysroot,
        device,
        &name,
        provider,
        host.path(),
        request.full,
        &mut |done, total| {
            progress.tell(Event::Progress {
                phase: "look at the device".to_owned(),
                volume: None,
                bytes: done,
                bytes_total: total,
                files: 0,
                files_total: 0,
            });
        },
    )
    .await?;
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
    if request.systemd && boot::systemd_runs(&sysroot) {
        pieces.push(boot::engine_waits(&request.at)?);
        pieces.extend(boot::engine_comes_up(&sysroot, &request.at)?);
    }
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
        lock,
    })
}

/// Devices are opened and mounts changed by root alone.
fn as_root() -> Result<()> {
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
                return Err(
                    Failure::refused(format!("{} is a disk of the host, no volume", path.display()))
                        .cause("what is on it is gone when the machine is stopped or moved to another host")
                        .data("nothing was changed")
                        .hint("attach a block volume, and name that"),
                );
            }
            Ok((device, path.clone(), known.map(|known| known.provider)))
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

/// The directories of the project's volumes: owner and mode from the configuration, from what the volume has now, or from
/// the user of a container that mounts it.
async fn directories(app: &App, world: &World, notes: &mut Vec<String>) -> Result<Vec<DirWanted>> {
    let (maps, owners) = (app.settings.maps(), app.settings.owners());
    let mut found = Vec::new();
    for volume in &world.volumes {
        let settings = &app.settings;
        let stays = settings.exclude.contains(&volume.key)
            || !(settings.volumes.is_empty() || settings.volumes.contains_key(&volume.key));
        if volume.external || stays || matches!(volume.home, Home::Other { .. }) {
            continue;
        }
        let path = match maps.get(&volume.key) {
            Some(path) => path.clone(),
            None => default_subdir(&volume.key).into(),
        };
        let server = volume.datastores.iter().any(|store| store.kind != Kind::Sqlite)
            || world
                .services
                .iter()
                .any(|service| service.server.is_some() && service.mounts_volume(&volume.key));
        let new_mode = if server { SERVERS } else { OTHERS };
        let scan = volume.scan.as_ref();
        let (owner, mode, source) = if let Some(owner) = owners.get(&volume.key) {
            (Some(*owner), new_mode, "as rehome.yml says".to_owned())
        } else if let Some(owner) = scan.and_then(|scan| scan.root_owner) {
            let mode = scan.map_or(new_mode, |scan| scan.root_mode);
            (Some(owner), mode, format!("as volume {} has it", volume.name))
        } else {
            let user = user_of(app, world, &volume.key).await?;
            let source = user
                .as_ref()
                .map_or_else(String::new, |(_, service)| format!("as service {service} runs"));
            (user.map(|(owner, _)| owner), new_mode, source)
        };
        match owner {
            Some(owner) => found.push(DirWanted {
                path,
                owner,
                mode,
                source,
            }),
            None => notes.push(format!(
                "no directory is made for {}: it is not known yet whose it has to be (the move makes it)",
                volume.key
            )),
        }
    }
    Ok(found)
}

/// How systemd brings the stack up again: the services that run now, by the files that Compose finds itself, so that it
/// is right after a move too. `None` when nothing runs.
fn stack(app: &App, world: &World) -> Option<boot::Stack> {
    let services: Vec<_> = world
        .services
        .iter()
        .filter(|service| service.is_up())
        .map(|service| service.name.clone())
        .collect();
    if services.is_empty() {
        return None;
    }
    let located = &app.located;
    let follows = matches!(located.found_by, FoundBy::Dotenv | FoundBy::Default);
    Some(boot::Stack {
        program: program(app)?,
        engine: (!app.engine.host().is_default()).then(|| app.engine.host().url.clone()),
        project: world.project.clone(),
        directory: located.directory.clone(),
        files: if follows {
            Vec::new()
        } else {
            located.files.clone()
        },
        env_files: located.env_files.clone(),
        profiles: located.profiles.clone(),
        services,
    })
}

/// Compose as a unit has to call it, by its path; `None` if it is on no PATH.
fn program(app: &App) -> Option<Vec<String>> {
    let (first, rest) = app.compose.program().split_first()?;
    let path = app.options.project.env.get("PATH")?;
    let found = std::env::split_paths(path)
        .map(|dir| dir.join(first))
        .find(|file| file.is_absolute() && file.is_file())?;
    Some(
        std::iter::once(found.to_string_lossy().into_owned())
            .chain(rest.iter().map(|word| (*word).to_owned()))
            .collect(),
    )
}

/// The user of the first container that writes to a volume.
async fn user_of(
    app: &App,
    world: &World,
    key: &crate::model::VolumeKey,
) -> Result<Option<(Owner, crate::model::ServiceName)>> {
    for service in &world.services {
        let writes = service
            .mounts
            .iter()
            .any(|mount| mount.volume == *key && !mount.read_only);
        if let Some(container) = service.containers.first().filter(|_| writes)
            && let Some(container) = app.engine.find_container(container.id.as_str()).await?
        {
            return Ok(Some((
                app.engine.numeric_user(&container).await?,
                service.name.clone(),
            )));
        }
    }
    Ok(None)
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
        let mut steps = Steps::new(events, plan.actions.len());
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
    of: usize,
    done: Vec<String>,
}

impl Steps {
    fn new(events: Arc<dyn Events>, of: usize) -> Self {
        Self {
            events,
            of,
            done: Vec::new(),
        }
    }

    async fn run(&mut self, title: String, act: impl Future<Output = Result<Option<String>>>) -> Result<()> {
        let step = self.done.len();
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
                let failure = failure.hint("what was done before stays; run the same command again to go on");
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

/// What the actions need.
struct Work {
    sysroot: Sysroot,
    at: PathBuf,
    node: PathBuf,
    held: Held,
    wanted: Wanted,
    begun: PathBuf,
    names: Vec<PathBuf>,
    /// By this run.
    mounted: bool,
}

impl Work {
    fn forget(&self) -> Result<()> {
        let device = std::fs::File::open(&self.node).and_then(Identity::of);
        let device = device.map_err(|error| {
            Failure::environment(format!("cannot look at {}", self.node.display())).because(&error)
        })?;
        forget(&self.begun, &device)
    }

    fn point(&self) -> PathBuf {
        self.sysroot.at(&self.at)
    }

    fn volume(&self) -> Result<Volume> {
        Volume::open(&self.point(), &self.node)
    }

    async fn act(&mut self, action: &Action, plan: &MountPlan) -> Result<Option<String>> {
        let nothing = Ok(None);
        match action {
            Action::Format { .. } | Action::Finish { .. } => {
                let Some((opened, holding)) = self.held.take() else {
                    return Err(Failure::bug("a device that is not held was to be formatted"));
                };
                let made = match holding {
                    Holding::Empty(proof) => {
                        format(opened, proof, &self.wanted, self.names.clone(), &self.begun).await?
                    }
                    Holding::Begun(intent) => finish(opened, intent, &self.begun).await?,
                    Holding::AsItIs => return Err(Failure::bug("a device with content was to be formatted")),
                };
                Ok(Some(format!("{}, UUID {}, found by blkid", made.fs, made.uuid)))
            }
            Action::MakePoint => Bare::make(&self.point()).map(|_| None),
            Action::Protect => {
                let point = self.point();
                let bare = Bare::open(&point)?
                    .ok_or_else(|| Failure::environment(format!("{} is gone", point.display())))?;
                bare.protect().map(|_| Some("it was empty".to_owned()))
            }
            Action::Fstab { bytes, .. } => {
                // What is written is the plan's; if somebody edited the file since, it is not.
                let fstab = Fstab::read(&self.sysroot)?;
                match fstab.with(&plan.line, &names(&self.sysroot)) {
                    Ok(Change::New(now)) if now == *bytes => {
                        fstab.replace(&self.sysroot, bytes).map(|()| None)
                    }
                    _ => Err(
                        Failure::environment("/etc/fstab was changed since the plan was made")
                            .data("it was left as it is"),
                    ),
                }
            }
            Action::Mount { .. } => {
                self.held = None;
                mounted::mount(&self.sysroot, &plan.line, &self.node).await?;
                self.mounted = true;
                // From here on it may be written to, and nothing that was begun on it is unfinished.
                self.forget()?;
                nothing
            }
            Action::Sentinel => match sentinel::make(&self.volume()?, &plan.uuid) {
                Ok(_) => nothing,
                // A clone, or one that cannot be written to: it is not left mounted for whoever comes by.
                Err(failure) if self.mounted => {
                    mounted::unmount(&self.point()).await?;
                    Err(failure
                        .data("the volume is not mounted, and its line is not in /etc/fstab")
                        .hint(format!(
                            "to look at it: mount {} {}",
                            self.node.display(),
                            self.at.display()
                        )))
                }
                Err(failure) => Err(failure),
            },
            Action::MakeDir(dir) => {
                dirs::make(&self.volume()?, &dir.path, dir.owner, dir.mode).map(|_| Some(dir.source.clone()))
            }
            Action::Unit(piece) => boot::write(&self.sysroot, piece).map(|_| None),
            Action::Reload => boot::reload(&self.sysroot).await.map(|_| None),
        }
    }
}

/// What takes a mount back, ready to be carried out.
pub struct PlannedUndo {
    actions: Vec<Undo>,
    at: PathBuf,
    sysroot: Sysroot,
    events: Arc<dyn Events>,
    _lock: Lock,
}

/// Looks at what a mount did to the machine, and plans to take it back.
///
/// # Errors
/// Refused while something uses the volume.
pub fn unmount(options: &Options, at: &Path, sysroot: Option<&Path>) -> Result<PlannedUndo> {
    as_root()?;
    let sysroot = Sysroot::new(sysroot);
    let lock = state_dir(options)?
        .host()
        .lock(&LockNote::mine(options.command.as_str(), None))?;
    let seen = mounting::undo(&sysroot, at)?;
    Ok(PlannedUndo {
        actions: plan_undo(&seen)?,
        at: at.to_owned(),
        sysroot,
        events: Arc::clone(&options.events),
        _lock: lock,
    })
}

impl PlannedUndo {
    /// The plan as it is told.
    #[must_use]
    pub fn told(&self) -> Told {
        Told::undo(&self.at, &self.actions)
    }

    /// Carries it out, and says in words what was done.
    ///
    /// # Errors
    /// At the first action that fails. What was done before stays, and is not done again the next time.
    pub async fn carry_out(self) -> Result<Vec<String>> {
        let point = self.sysroot.at(&self.at);
        let mut steps = Steps::new(Arc::clone(&self.events), self.actions.len());
        for action in &self.actions {
            steps
                .run(action.title(&self.at), undo(&self.sysroot, &point, action))
                .await?;
        }
        Ok(steps.done)
    }
}

async fn undo(sysroot: &Sysroot, point: &Path, action: &Undo) -> Result<Option<String>> {
    match action {
        Undo::Unmount => mounted::unmount(point).await.map(|()| None),
        Undo::RemoveUnit(piece) => boot::remove(sysroot, piece).map(|_| None),
        Undo::RemoveLine { bytes } => Fstab::read(sysroot)?.replace(sysroot, bytes).map(|()| None),
        Undo::Reload => boot::reload(sysroot).await.map(|_| None),
        Undo::Release => match Bare::open(point)? {
            Some(bare) => bare.release().map(|_| None),
            None => Ok(None),
        },
    }
}
