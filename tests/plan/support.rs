//! Worlds as they would be observed. [`kms`] is a whole production stack; tests change the one thing they are about.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rehome::compose::Override;
use rehome::compose::override_file::Definition;
pub use rehome::compose::project::Condition;
use rehome::datastore::{Datastore, Kind};
use rehome::engine::{Health, State};
use rehome::helper::protocol::{Place, Probe, Scan};
use rehome::model::{
    ContainerId, Failure, Home, ImageId, ProjectName, Result, ServiceName, VolumeKey, VolumeName,
};
use rehome::observe::{
    ContainerSeen, DestinationSeen, Framework, OverrideSeen, ServiceSeen, VolumeMount, VolumeSeen, World,
};
use rehome::plan::{Destination, MovePlan, SwitchWanted, Wanted, move_plan, render};
use rehome::steps::{
    Copying, Hook, HookPlace, MoveStep, Moving, OnFailure, Start, Starting, Stop, Stopping, Switch, Target,
};

pub const ROOT: &str = "/mnt/kms-data";
pub const SUFFIX: &str = "5f3a";
pub const MB: u64 = 1_000_000;

pub fn key(name: &str) -> VolumeKey {
    VolumeKey::new(name).unwrap()
}

pub fn service_name(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

pub fn volume_name(name: &str) -> VolumeName {
    VolumeName::new(name).unwrap()
}

pub fn image(name: &str) -> ImageId {
    ImageId::new(format!("sha256:{name}")).unwrap()
}

/// A service with one running container, without dependencies and mounts.
pub fn service(name: &str) -> ServiceSeen {
    ServiceSeen {
        name: service_name(name),
        depends_on: Vec::new(),
        attached_to: Vec::new(),
        image: format!("example/{name}:1"),
        image_now: Some(image(name)),
        definition: format!("definition of {name}"),
        stop_grace: None,
        server: None,
        server_version: None,
        mounts: Vec::new(),
        containers: vec![container(name, 1)],
    }
}

/// The container of a service with this number, running and without a healthcheck.
pub fn container(service: &str, number: usize) -> ContainerSeen {
    ContainerSeen {
        id: ContainerId::new(format!("id-{service}-{number}")).unwrap(),
        name: format!("kms-connect-{service}-{number}"),
        state: State::Running(Health::None),
        image: image(service),
        outdated: false,
        anonymous: Vec::new(),
        data_directory: None,
        frameworks: Vec::new(),
        command: Vec::new(),
        ports: Vec::new(),
    }
}

/// What a test says about a service, one call each.
pub trait Describe: Sized {
    fn after(self, on: &str, condition: Condition) -> Self;
    fn attached(self, to: &str) -> Self;
    fn mounting(self, volume: &str, target: &str) -> Self;
    fn reading(self, volume: &str, target: &str) -> Self;
    fn in_state(self, state: State) -> Self;
    fn scaled(self, number: usize) -> Self;
}

impl Describe for ServiceSeen {
    fn after(mut self, on: &str, condition: Condition) -> Self {
        self.depends_on.push((service_name(on), condition));
        self
    }

    fn attached(mut self, to: &str) -> Self {
        self.attached_to.push(service_name(to));
        // As the resolved project has it: Compose starts that one first.
        self.after(to, Condition::Started)
    }

    fn mounting(mut self, volume: &str, target: &str) -> Self {
        self.mounts.push(VolumeMount {
            volume: key(volume),
            target: target.to_owned(),
            read_only: false,
            subpath: None,
        });
        self
    }

    fn reading(self, volume: &str, target: &str) -> Self {
        let mut service = self.mounting(volume, target);
        service.mounts.last_mut().unwrap().read_only = true;
        service
    }

    fn in_state(mut self, state: State) -> Self {
        for container in &mut self.containers {
            container.state = state;
        }
        self
    }

    fn scaled(mut self, number: usize) -> Self {
        let name = self.name.to_string();
        self.containers = (1..=number).map(|n| container(&name, n)).collect();
        self
    }
}

/// A volume of the project in Docker's own directory.
pub fn volume(name: &str, bytes: u64, files: u64) -> VolumeSeen {
    VolumeSeen {
        key: key(name),
        name: volume_name(&format!("kms-connect_{name}")),
        external: false,
        exists: true,
        home: Home::Volume,
        scan: Some(Scan {
            files,
            dirs: 1 + files / 20,
            bytes,
            allocated: bytes,
            ..Scan::default()
        }),
        probe: Some(probe("8:1", "/dev/sda")),
        unseen: None,
        datastores: Vec::new(),
        foreign: Vec::new(),
        site: None,
    }
}

/// A file system of 50 GB with nothing on it.
pub fn probe(device: &str, source: &str) -> Probe {
    Probe {
        device: device.to_owned(),
        mount_root: "/".to_owned(),
        fs_type: "ext4".to_owned(),
        source: source.to_owned(),
        read_only: false,
        bytes_total: 50_000 * MB,
        bytes_free: 49_000 * MB,
        inodes_total: 3_276_800,
        inodes_free: 3_276_789,
        block_size: 4096,
        fs_id: "5f3a5f3a".to_owned(),
        below: Vec::new(),
    }
}

/// A block volume of 50 GB with nothing on it.
pub fn destination() -> DestinationSeen {
    DestinationSeen {
        root: ROOT.into(),
        probe: probe("8:16", "/dev/sdb"),
        is_mount: true,
        places: BTreeMap::new(),
        meant: None,
    }
}

pub fn datastore(kind: Kind, volume: &str, version: Option<&str>, service: &str) -> Datastore {
    Datastore {
        kind,
        volume: key(volume),
        path: String::new(),
        version: version.map(str::to_owned),
        service: Some(service_name(service)),
    }
}

/// The stack that Rehome was first made for: PostgreSQL, Redis, Django behind nginx, two Celery processes, and four
/// volumes in Docker's own directory.
pub fn kms() -> World {
    use Condition::{Healthy, Started};
    let healthy = State::Running(Health::Healthy);
    let mut db = service("db")
        .mounting("postgres_data", "/var/lib/postgresql/data")
        .in_state(healthy);
    db.server = Some(Kind::Postgres);
    db.server_version = Some("15".to_owned());
    db.containers[0].data_directory = Some("/var/lib/postgresql/data".to_owned());
    let mut redis = service("redis").mounting("redis_data", "/data").in_state(healthy);
    redis.server = Some(Kind::Redis);
    let django = |name: &str, command: &[&str]| {
        let mut service = service(name);
        // One image for the three of them.
        service.image_now = Some(image("api"));
        service.containers[0].image = image("api");
        service.containers[0].command = command.iter().map(|w| (*w).to_owned()).collect();
        service.containers[0].frameworks = vec![Framework::Django];
        service
            .after("db", Healthy)
            .after("redis", Healthy)
            .mounting("media_volume", "/app/media")
    };
    let api = django("api", &["gunicorn", "kms.wsgi:application"])
        .mounting("static_volume", "/app/staticfiles")
        .in_state(healthy);
    let mut postgres_data = volume("postgres_data", 4_100 * MB, 1_310);
    postgres_data.datastores = vec![datastore(Kind::Postgres, "postgres_data", Some("15"), "db")];
    let mut redis_data = volume("redis_data", 2 * MB, 3);
    redis_data.datastores = vec![datastore(Kind::Redis, "redis_data", None, "redis")];
    let volumes = vec![
        volume("media_volume", 12_000 * MB, 14_212),
        postgres_data,
        redis_data,
        volume("static_volume", 9 * MB, 163),
    ];
    World {
        project: ProjectName::new("kms-connect").unwrap(),
        directory: "/srv/kms".into(),
        services: vec![
            db,
            redis,
            api,
            django("celery", &["celery", "-A", "kms", "worker"]),
            django("celery-beat", &["celery", "-A", "kms", "beat"]),
            service("nginx")
                .after("api", Started)
                .reading("media_volume", "/app/media")
                .reading("static_volume", "/app/staticfiles"),
        ],
        engine_volumes: volumes.iter().map(|v| v.name.clone()).collect(),
        volumes,
        destination: Some(destination()),
        docker_disk: None,
        override_file: OverrideSeen::Missing,
        dotenv_compose_file: None,
        shell_compose_file: None,
    }
}

/// The same stack after its move to the block volume; the old volumes are still there.
pub fn kms_on_block() -> World {
    let mut world = kms();
    world.docker_disk = world.destination.take().map(|d| d.probe);
    world.override_file = OverrideSeen::Ours(Override::empty(world.project.clone()));
    for (volume, sub) in world
        .volumes
        .iter_mut()
        .zip(["media", "postgres", "redis", "static"])
    {
        volume.name = volume_name(&format!("{}_block_0001", volume.name));
        volume.home = Home::Block {
            dir: PathBuf::from(ROOT).join(sub),
        };
        volume.probe = Some(probe("8:16", "/dev/sdb"));
        world.engine_volumes.push(volume.name.clone());
    }
    world
}

/// Small worlds: these services, and a volume for every key that one of them mounts.
pub fn world_of(services: Vec<ServiceSeen>) -> World {
    let keys: std::collections::BTreeSet<_> = services
        .iter()
        .flat_map(|s| &s.mounts)
        .map(|m| m.volume.to_string())
        .collect();
    let volumes: Vec<_> = keys.iter().map(|k| volume(k, 10 * MB, 10)).collect();
    World {
        services,
        engine_volumes: volumes.iter().map(|v| v.name.clone()).collect(),
        volumes,
        ..kms()
    }
}

/// A move of everything to the block volume, nothing else said.
pub fn wanted() -> Wanted {
    Wanted {
        to: Destination::Block(ROOT.into()),
        only: Vec::new(),
        exclude: BTreeMap::new(),
        map: BTreeMap::new(),
        owners: BTreeMap::new(),
        without_data: Vec::new(),
        offline: false,
        stop_timeout: None,
        max_downtime: None,
        copying: Copying::default(),
        maintenance: false,
        hooks: Vec::new(),
        checks: Vec::new(),
        suffix: SUFFIX.to_owned(),
        switch: SwitchWanted {
            override_path: "/srv/kms/docker-compose.prod.block.yml".into(),
            dotenv: "/srv/kms/.env".into(),
        },
    }
}

/// A move of some volumes.
pub fn only(keys: &[&str]) -> Wanted {
    Wanted {
        only: keys.iter().map(|k| key(k)).collect(),
        ..wanted()
    }
}

/// A move of everything back to Docker volumes.
pub fn back() -> Wanted {
    Wanted {
        to: Destination::Volumes,
        ..wanted()
    }
}

pub fn hook(service: &str, run: &[&str], on_failure: OnFailure) -> Hook {
    Hook {
        place: HookPlace::exec(service_name(service)),
        run: run.iter().map(|w| (*w).to_owned()).collect(),
        user: None,
        dir: None,
        env: Vec::new(),
        limit: Duration::from_secs(60),
        on_failure,
    }
}

/// The names that the volumes have in the Compose files, without the override.
pub fn base_names(world: &World) -> BTreeMap<VolumeKey, VolumeName> {
    world
        .volumes
        .iter()
        .map(|v| (v.key.clone(), volume_name(&format!("kms-connect_{}", v.key))))
        .collect()
}

/// Plans; the switch's contents are not what these tests are about.
pub fn plan(world: &World, wanted: &Wanted) -> Result<MovePlan> {
    let base = base_names(world);
    move_plan(world, wanted, &base, |volumes| {
        let mut content = Override::empty(world.project.clone());
        for moving in volumes {
            let name = moving.target.volume_name().clone();
            let device = match &moving.target {
                Target::Directory { root, sub, .. } => Some(root.join(sub)),
                Target::Volume { .. } => None,
            };
            // A volume under its own name is what the Compose files say without an override.
            if device.is_some() || base.get(&moving.key) != Some(&name) {
                let definition = Definition {
                    name,
                    device,
                    labels: BTreeMap::new(),
                };
                content.volumes.insert(moving.key.clone(), definition);
            }
        }
        let needed = !content.is_empty();
        Ok(Switch {
            override_path: wanted.switch.override_path.clone(),
            content,
            dotenv: wanted.switch.dotenv.clone(),
            compose_file: needed.then(|| "docker-compose.prod.yml:docker-compose.prod.block.yml".to_owned()),
            volumes: volumes.len(),
        })
    })
}

/// A plan as text.
pub fn text(world: &World, wanted: &Wanted) -> String {
    render(&plan(world, wanted).unwrap())
}

/// What is said when a plan is refused, all of it.
pub fn refusal(world: &World, wanted: &Wanted) -> String {
    let failure = plan(world, wanted).expect_err("this must be refused");
    assert_eq!(failure.kind, rehome::model::Kind::Refused, "{failure:?}");
    told(&failure)
}

/// A failure, all of it.
pub fn told(failure: &Failure) -> String {
    let mut text = format!("error: {}", failure.what);
    for cause in &failure.causes {
        text += &format!("\ncaused by: {cause}");
    }
    if let Some(data) = &failure.data {
        text += &format!("\ndata: {data}");
    }
    for hint in &failure.hints {
        text += &format!("\nhint: {hint}");
    }
    text
}

/// Says what is at a sub-directory of the block volume.
pub fn at(world: &mut World, sub: &str, place: Place) {
    world
        .destination
        .as_mut()
        .unwrap()
        .places
        .insert(sub.into(), place);
}

pub fn service_mut<'a>(world: &'a mut World, name: &str) -> &'a mut ServiceSeen {
    world
        .services
        .iter_mut()
        .find(|s| s.name.as_str() == name)
        .unwrap()
}

pub fn volume_mut<'a>(world: &'a mut World, name: &str) -> &'a mut VolumeSeen {
    world.volumes.iter_mut().find(|v| v.key.as_str() == name).unwrap()
}

pub fn stop_of(plan: &MovePlan) -> &Stop {
    let found = plan.steps.iter().find_map(|s| match s {
        MoveStep::Stop(stop) => Some(stop),
        _ => None,
    });
    found.unwrap()
}

pub fn start_of(plan: &MovePlan) -> &Start {
    let found = plan.steps.iter().find_map(|s| match s {
        MoveStep::Start(start) => Some(start),
        _ => None,
    });
    found.unwrap()
}

pub fn volumes_of(plan: &MovePlan) -> &[Moving] {
    let found = plan.steps.iter().find_map(|s| match s {
        MoveStep::MakeHomes(make) => Some(&make.volumes),
        _ => None,
    });
    found.unwrap()
}

/// The services of a plan's stop, in the order in which their containers are stopped, each once.
pub fn stopped(plan: &MovePlan) -> Vec<&str> {
    let mut names: Vec<_> = stop_of(plan)
        .containers()
        .map(|c: &Stopping| c.service.as_str())
        .collect();
    names.dedup();
    names
}

/// The services of each wave of a plan's stop, each once.
pub fn waves(plan: &MovePlan) -> Vec<Vec<&str>> {
    let of = |wave| -> Vec<&str> {
        let containers: &Vec<Stopping> = wave;
        let mut names: Vec<_> = containers.iter().map(|c| c.service.as_str()).collect();
        names.dedup();
        names
    };
    stop_of(plan).waves.iter().map(of).collect()
}

pub fn started(plan: &MovePlan) -> Vec<&str> {
    let services: &[Starting] = &start_of(plan).services;
    services.iter().map(|s| s.service.as_str()).collect()
}

pub fn remade(plan: &MovePlan) -> Vec<&str> {
    start_of(plan).make.iter().map(|m| m.service.as_str()).collect()
}

/// The kinds of a plan's steps, in their order.
pub fn kinds(plan: &MovePlan) -> Vec<&'static str> {
    plan.steps
        .iter()
        .map(|step| match step {
            MoveStep::MakeHomes(_) => "make homes",
            MoveStep::PreCopy(_) => "pre-copy",
            MoveStep::Stop(_) => "stop",
            MoveStep::Delta(_) => "delta",
            MoveStep::Verify(_) => "verify",
            MoveStep::Switch(_) => "switch",
            MoveStep::Start(_) => "start",
            MoveStep::Prove(_) => "prove",
            MoveStep::Hook(_) => "hook",
            MoveStep::Check(_) => "check",
            MoveStep::Tidy(_) => "tidy",
        })
        .collect()
}
