//! Starts what was stopped, on the new homes: containers are made by `docker compose` without starting them, their
//! mounts are proven by inspect, and only then they are started, dependencies first.
//!
//! Undo stops them again and sets aside what was written to a new home meanwhile, so that nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::{ExpectedMount, FROM, Moving, Starting, Stopping, TO, Target};
use super::stop::quiet;
use super::world::{Cx, wrong_answer};
use crate::compose::project::Condition;
use crate::compose::{Call, Located, project};
use crate::engine::{Container, Gate, HelperMount, Meant, MountKind};
use crate::helper::protocol::{Answer, Place, Request};
use crate::model::{ByteSize, Failure, Home, Result, ServiceName, VolumeKey, count};
use crate::saga::Step;

/// A container without rules of its own may take this long to stop on the way back.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// Making containers pulls nothing and builds nothing; many of them take a while all the same.
const MAKE_LIMIT: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// The services, dependencies first.
    pub services: Vec<Starting>,
    /// Services whose containers must be made anew, running or not.
    pub make: Vec<Making>,
    /// What must be mounted afterwards.
    pub mounts: Vec<ExpectedMount>,
    /// How each service is stopped on the way back.
    pub stopping: Vec<Stopping>,
    /// The volumes.
    pub volumes: Vec<Moving>,
    /// The hash of each service's definition when the plan was made.
    pub definitions: BTreeMap<ServiceName, String>,
    /// The limit for each service to come up.
    pub limit: Duration,
}

/// A service whose containers are made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Making {
    /// The service.
    pub service: ServiceName,
    /// How many containers it has.
    pub count: usize,
}

impl Step for Start {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let services: Vec<_> = self.services.iter().map(|s| s.service.as_str()).collect();
        if services.is_empty() {
            "make the containers anew".to_owned()
        } else {
            format!("start {}", services.join(", "))
        }
    }

    async fn prepare(&self, cx: &Cx) -> Result<()> {
        self.unchanged(cx).await
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        self.unchanged(cx).await?;
        quiet(cx, &self.volumes).await?;
        if prove_mounts(cx, &self.mounts).await.is_err() {
            make_containers(cx, &cx.files.after, &self.make, true).await?;
        }
        self.on_new_homes(cx).await?;
        bring_up(cx, &self.services, self.limit).await?;
        cx.downtime.end(&*cx.events);
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        self.on_new_homes(cx).await?;
        let containers = cx.engine.project_containers(&cx.project).await?;
        for starting in &self.services {
            let up = of_service(&containers, &starting.service)
                .filter(|c| c.state.is_up())
                .count();
            if up < starting.up && !starting.ends {
                return Err(Failure::environment(format!(
                    "service `{}` does not run",
                    starting.service
                )));
            }
        }
        Ok(Some(format!(
            "every container mounts its new home ({} inspected)",
            count(self.mounts.len() as u64, "mount")
        )))
    }

    async fn undo(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        cx.downtime.begin(&*cx.events);
        let containers = cx.engine.project_containers(&cx.project).await?;
        let new: BTreeSet<_> = self.volumes.iter().map(|m| m.target.volume_name()).collect();
        let on_new = |c: &&Container| {
            c.mounts
                .iter()
                .any(|m| matches!(&m.kind, MountKind::Volume(name) if new.contains(name)))
        };
        for starting in self.services.iter().rev() {
            for container in of_service(&containers, &starting.service).filter(|c| c.state.is_up()) {
                let rule = self.stopping.iter().find(|s| s.service == starting.service);
                let grace = rule.map_or(STOP_GRACE, |r| r.grace);
                cx.engine
                    .stop(&container.id, rule.and_then(|r| r.signal.as_deref()), grace, true)
                    .await?;
            }
        }
        // A service that somebody else started on the new homes meanwhile must not write to them either.
        for container in containers.iter().filter(on_new).filter(|c| c.state.is_up()) {
            cx.engine.stop(&container.id, None, STOP_GRACE, true).await?;
        }
        for moving in &self.volumes {
            keep_what_was_written(cx, moving).await?;
        }
        Ok(())
    }
}

impl Start {
    /// The files must still say what they said when the plan was made.
    async fn unchanged(&self, cx: &Cx) -> Result<()> {
        let now = project::load(&cx.compose, &cx.files.before).await?;
        for (service, hash) in &self.definitions {
            if now.services.get(service).map(|s| &s.definition) != Some(hash) {
                return Err(Failure::environment(format!(
                    "the definition of service `{service}` was changed since the plan was made"
                ))
                .cause("its Compose file or the environment it is made from is another now")
                .hint("let this run go back, apply the change by itself, then move"));
            }
        }
        Ok(())
    }

    /// Every container mounts its new home, and every new home is where it should be.
    async fn on_new_homes(&self, cx: &Cx) -> Result<()> {
        prove_mounts(cx, &self.mounts).await?;
        for moving in &self.volumes {
            let name = moving.target.volume_name();
            let Some(volume) = cx.engine.find_volume(name).await? else {
                // No container mounts it: nobody asked Compose to make its definition yet.
                if self.mounts.iter().any(|m| m.volume == *name) {
                    return Err(Failure::environment(format!("volume {name} does not exist")));
                }
                continue;
            };
            let wanted = match &moving.target {
                Target::Directory { root, sub, .. } => Home::Block { dir: root.join(sub) },
                Target::Volume { .. } => Home::Volume,
            };
            if volume.home() != wanted {
                return Err(Failure::environment(format!(
                    "volume {name} does not point at {}",
                    moving.target.describe()
                )));
            }
        }
        Ok(())
    }
}

/// Makes containers through `docker compose`, without starting any.
pub(super) async fn make_containers(
    cx: &Cx,
    files: &Located,
    services: &[Making],
    force: bool,
) -> Result<()> {
    if services.is_empty() {
        return Ok(());
    }
    let mut arguments: Vec<String> = ["up", "--no-start", "--no-deps", "--no-build", "--pull", "never"]
        .map(str::to_owned)
        .to_vec();
    if force {
        // Compose before 2.32 does not make a container anew when only a volume's name changed.
        arguments.push("--force-recreate".to_owned());
    }
    for making in services.iter().filter(|m| m.count > 1) {
        arguments.extend([
            "--scale".to_owned(),
            format!("{}={}", making.service, making.count),
        ]);
    }
    arguments.extend(services.iter().map(|m| m.service.to_string()));
    let call = Call::new(&arguments).limit(MAKE_LIMIT);
    cx.compose.run(files, call).await.map(|_| ())
}

/// Every container of a service, running or not, has the expected volumes where they are expected.
pub(super) async fn prove_mounts(cx: &Cx, expected: &[ExpectedMount]) -> Result<()> {
    let containers = cx.engine.project_containers(&cx.project).await?;
    for mount in expected {
        let mut found = false;
        for container in of_service(&containers, &mount.service) {
            found = true;
            let has = container
                .mounts
                .iter()
                .find(|m| same_path(&m.destination, &mount.target));
            match has.map(|m| &m.kind) {
                Some(MountKind::Volume(name)) if *name == mount.volume => {}
                other => {
                    return Err(Failure::environment(format!(
                        "container {} does not mount {} at {}",
                        container.name, mount.volume, mount.target
                    ))
                    .cause(match other {
                        Some(MountKind::Volume(name)) => format!("it mounts volume {name}"),
                        Some(MountKind::Bind(path)) => format!("it mounts {path}"),
                        _ => "nothing is mounted there".to_owned(),
                    }));
                }
            }
        }
        if !found {
            return Err(Failure::environment(format!(
                "service `{}` has no container",
                mount.service
            )));
        }
    }
    Ok(())
}

fn same_path(a: &str, b: &str) -> bool {
    Path::new(a).components().eq(Path::new(b).components())
}

/// The service's containers, without those of `docker compose run`.
fn of_service<'a>(
    containers: &'a [Container],
    service: &'a ServiceName,
) -> impl Iterator<Item = &'a Container> {
    containers
        .iter()
        .filter(move |c| !c.one_off && c.service.as_ref() == Some(service))
}

/// Starts services in order, each when what it waits for is there, and waits until all are up.
pub(super) async fn bring_up(cx: &Cx, services: &[Starting], limit: Duration) -> Result<()> {
    let up = Gate {
        meant: Meant::Run,
        stable: Duration::ZERO,
        limit,
    };
    let ended = Gate {
        meant: Meant::End,
        ..up
    };
    let containers = cx.engine.project_containers(&cx.project).await?;
    let chosen = |service: &ServiceName| {
        let count = services
            .iter()
            .find(|s| s.service == *service)
            .map_or(0, |s| s.up);
        of_service(&containers, service)
            .take(count)
            .cloned()
            .collect::<Vec<_>>()
    };
    for starting in services {
        for (dependency, condition) in &starting.after {
            let gate = match condition {
                Condition::Started => continue,
                Condition::Healthy => up,
                Condition::CompletedSuccessfully => ended,
            };
            for container in chosen(dependency) {
                cx.engine.wait_until_up(&container.id, dependency, gate).await?;
            }
        }
        let containers = chosen(&starting.service);
        if containers.len() < starting.up {
            return Err(Failure::environment(format!(
                "service `{}` had {} containers and has {}",
                starting.service,
                starting.up,
                containers.len()
            )));
        }
        for container in containers {
            cx.engine
                .start(&container.id)
                .await
                .map_err(|f| f.inside(format!("service `{}` could not be started", starting.service)))?;
        }
    }
    for starting in services {
        let gate = if starting.ends { ended } else { up };
        for container in chosen(&starting.service) {
            cx.engine
                .wait_until_up(&container.id, &starting.service, gate)
                .await?;
        }
    }
    Ok(())
}

/// The stack ran on the new home and may have written to it: what differs from the old home is set aside instead of
/// removed.
async fn keep_what_was_written(cx: &Cx, moving: &Moving) -> Result<()> {
    if was_kept(&cx.run_dir, &moving.key)? {
        return Ok(());
    }
    let written = written_bytes(cx, moving).await?;
    let Some(bytes) = written else { return Ok(()) };
    match &moving.target {
        Target::Directory { root, sub, .. } => {
            let kept = kept_name(sub, cx.run.as_str());
            let mount = HelperMount::Bind { source: root.to_string_lossy().into_owned(), target: TO, read_only: false };
            let request = Request::Rename { parent: TO.into(), from: sub.clone(), to: kept.clone() };
            cx.uninterrupted(request, vec![mount], "keep", Some(&moving.key)).await?;
            let place = root.join(kept);
            cx.events.warn(format!(
                "what the stack wrote to the new home of {} ({}) is kept in {}; remove it when you do not need it",
                moving.key,
                ByteSize(bytes),
                place.display()
            ));
        }
        Target::Volume { name } => cx.events.warn(format!(
            "what the stack wrote to the new home of {} ({}) is kept in volume {name}; remove it when you do not need it",
            moving.key,
            ByteSize(bytes)
        )),
    }
    mark_kept(&cx.run_dir, &moving.key)
}

/// How much was written to the new home; `None` if it is as the old one, or already gone.
async fn written_bytes(cx: &Cx, moving: &Moving) -> Result<Option<u64>> {
    let (target, path) = moving.target.mount(true);
    if let Target::Directory { sub, .. } = &moving.target {
        let request = Request::Probe {
            dir: TO.into(),
            below: vec![sub.clone()],
        };
        match cx
            .uninterrupted(request, vec![target.clone()], "probe", None)
            .await?
        {
            Answer::Probe(probe) if matches!(probe.below.first(), Some(Place::Missing)) => return Ok(None),
            Answer::Probe(_) => {}
            other => return Err(wrong_answer(&other)),
        }
    }
    if moving.fresh {
        let request = Request::Scan { dir: path };
        return match cx.uninterrupted(request, vec![target], "scan", None).await? {
            Answer::Scan(scan) => Ok((scan.files + scan.symlinks > 0).then_some(scan.bytes)),
            other => Err(wrong_answer(&other)),
        };
    }
    let source = HelperMount::Volume {
        name: moving.source.clone(),
        target: FROM,
        read_only: true,
    };
    let request = Request::Compare {
        left: FROM.into(),
        right: path,
    };
    match cx
        .uninterrupted(request, vec![source, target], "compare", Some(&moving.key))
        .await?
    {
        Answer::Compare(report) => {
            Ok((report.added + report.removed + report.changed > 0).then_some(report.bytes))
        }
        other => Err(wrong_answer(&other)),
    }
}

fn kept_name(sub: &Path, run: &str) -> PathBuf {
    let mut name = sub.as_os_str().to_owned();
    name.push(format!(".kept-{run}"));
    PathBuf::from(name)
}

const KEPT: &str = "kept.json";

/// Whether the new home of a volume was set aside by the way back of this run.
pub(super) fn was_kept(run_dir: &Path, key: &VolumeKey) -> Result<bool> {
    Ok(read_kept(run_dir)?.contains(key))
}

fn read_kept(run_dir: &Path) -> Result<BTreeSet<VolumeKey>> {
    let path = run_dir.join(KEPT);
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|e| Failure::environment(format!("{} is damaged", path.display())).because(&e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(Failure::environment(format!("cannot read {}", path.display())).because(&error)),
    }
}

fn mark_kept(run_dir: &Path, key: &VolumeKey) -> Result<()> {
    let mut kept = read_kept(run_dir)?;
    kept.insert(key.clone());
    let text = serde_json::to_vec(&kept).map_err(|e| Failure::bug("cannot write names").because(&e))?;
    crate::state::write_durably(&run_dir.join(KEPT), &text)
}
