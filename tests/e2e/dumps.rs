//! Databases are dumped, proven, and loaded into servers beside the stack, by the library itself: what backups and
//! deployments do with it is tested with them. Real servers; MongoDB's is played (`mongodb.rs` says by what).

mod faults;
mod mongodb;
mod mysql;
mod postgres;
mod redis;
mod sqlite;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rehome::backup::format::DumpNote;
use rehome::compose::{self, Compose};
use rehome::datastore::{Kind, dump};
use rehome::engine::{self, Engine};
use rehome::event::Silent;
use rehome::model::{ProjectName, RunId, ServiceName};
use rehome::saga::Interrupt;
use rehome::steps::dumps::{Dumping, Part, Server, Twin, TwinSpec, sweep};
use rehome::steps::{Cx, Downtime, Maintenance, StackFiles};

use crate::support::{Stack, sh};

/// A world for the stack, as a step has it.
pub async fn world(stack: &Stack) -> Cx {
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let wanted = compose::Wanted {
        cwd: stack.dir.clone(),
        env: env.clone(),
        ..compose::Wanted::default()
    };
    let located = compose::locate(&wanted).unwrap();
    let host = engine::resolve_host(&engine::HostWanted {
        host: None,
        context: None,
        env: env.clone(),
    })
    .unwrap();
    let engine = Engine::connect(host)
        .await
        .unwrap()
        // This program is a test and no helper.
        .with_helpers_of(env!("CARGO_BIN_EXE_rehome").into());
    let compose = Compose::find(&env, Some(engine.address())).await.unwrap();
    let run_dir = stack.dir.join("run");
    std::fs::create_dir_all(&run_dir).unwrap();
    let mut entropy = [0; 6];
    std::io::Read::read_exact(&mut File::open("/dev/urandom").unwrap(), &mut entropy).unwrap();
    Cx {
        vault: None,
        storage: None,
        engine,
        compose,
        project: ProjectName::new(stack.name.clone()).unwrap(),
        files: StackFiles {
            before: located.clone(),
            after: located,
        },
        run: RunId::from_entropy(entropy),
        run_dir: run_dir.clone(),
        events: Arc::new(Silent),
        interrupt: Interrupt::new(),
        downtime: Downtime::of_run(&run_dir),
        last_round: std::sync::Mutex::default(),
        maintenance: Maintenance::of_run(Vec::new(), &run_dir),
        env,
    }
}

/// The server of a service, with the user that its container's environment says.
pub async fn dumping(cx: &Cx, kind: Kind, service: &str) -> Dumping {
    let service = ServiceName::new(service).unwrap();
    let containers = cx.engine.project_containers(&cx.project).await.unwrap();
    let container = containers
        .iter()
        .find(|c| c.service.as_ref() == Some(&service))
        .unwrap();
    Dumping {
        user: dump::user(kind, |name| container.env(name)),
        service,
        kind,
    }
}

/// Every part of a dump in files of a directory, each proven.
pub async fn dump_all(server: &Server<'_>, to: &Path) -> Vec<(Part, DumpNote, PathBuf)> {
    std::fs::create_dir_all(to).unwrap();
    let mut dumped = Vec::new();
    for part in server.parts().await.unwrap() {
        let path = to.join(&part.file);
        let note = server
            .dump(&part, &mut File::create(&path).unwrap())
            .await
            .unwrap();
        server
            .prove(&part, Box::new(File::open(&path).unwrap()))
            .await
            .unwrap();
        dumped.push((part, note, path));
    }
    dumped
}

/// A twin on a volume of its own, with all of a dump loaded.
pub async fn twin_with<'a>(
    cx: &'a Cx,
    server: &Server<'_>,
    what: &Dumping,
    dumped: &[(Part, DumpNote, PathBuf)],
) -> Twin<'a> {
    let spec = TwinSpec {
        what: what.clone(),
        like: server.container().id.clone(),
        image: None,
        data: None,
    };
    let mut twin = Twin::start(cx, &spec).await.unwrap();
    for (_, note, path) in dumped {
        twin.load(note, Box::new(File::open(path).unwrap()))
            .await
            .unwrap();
    }
    twin
}

pub fn notes(dumped: &[(Part, DumpNote, PathBuf)]) -> Vec<DumpNote> {
    dumped.iter().map(|(_, note, _)| note.clone()).collect()
}

/// What a run made for itself, as `docker` lists it.
#[track_caller]
pub fn nothing_is_left(cx: &Cx) {
    let run = &cx.run;
    assert_eq!(sh(&format!("docker ps -aq --filter label=rehome.run={run}")), "");
    assert_eq!(
        sh(&format!("docker volume ls -q --filter label=rehome.run={run}")),
        ""
    );
}

/// A command in a twin.
#[track_caller]
pub fn in_twin(twin: &Twin<'_>, command: &str) -> String {
    sh(&format!("docker exec -i {} {command}", twin.id()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_has_nothing_of_the_stack_but_its_configuration_and_a_crash_leaves_nothing_for_ever() {
    let stack = crate::stacks::postgres_up();
    let cx = world(&stack).await;
    let what = dumping(&cx, Kind::Postgres, "db").await;
    let server = Server::find(&cx, &what).await.unwrap();
    let twin = twin_with(&cx, &server, &what, &[]).await;
    let inspect = |what: &str| sh(&format!("docker inspect -f '{what}' {}", twin.id()));
    assert_eq!(
        inspect("{{.HostConfig.NetworkMode}} {{.HostConfig.RestartPolicy.Name}}"),
        "none no"
    );
    assert!(!inspect("{{json .Config.Labels}}").contains("com.docker.compose"));
    assert!(!inspect("{{json .Mounts}}").contains(&stack.volume("postgres_data")));
    assert_eq!(inspect("{{json .HostConfig.PortBindings}}"), "null");
    let own = format!(
        "docker inspect -f '{{{{json .Config.Env}}}}' {}",
        server.container().id
    );
    assert_eq!(inspect("{{json .Config.Env}}"), sh(&own), "the same environment");
    // One of its own, and the one that the image makes the engine make, if there is such.
    let volumes = inspect("{{range .Mounts}}{{.Name}} {{end}}");
    assert!(!volumes.is_empty());
    // Whoever was killed here left both.
    drop(twin);
    assert_eq!(sweep(&cx).await.unwrap(), 2);
    nothing_is_left(&cx);
    for volume in volumes.split_whitespace() {
        let there = crate::support::try_sh(&format!("docker volume inspect {volume}"));
        assert!(!there.status.success(), "{volume} is left");
    }
    assert_eq!(stack.running(), ["api", "db"]);
}
