//! The maintenance page: on which ports it answers, which it leaves alone, and when nobody would see it.

use insta::assert_snapshot;
use rehome::datastore::{Datastore, Kind};
use rehome::engine::{Published, State};
use rehome::observe::{ServiceSeen, World};

use crate::support::*;

fn published(ip: &str, host: u16, container: u16) -> Published {
    Published {
        host,
        ip: ip.to_owned(),
        container,
    }
}

/// The stack with these ports of services.
fn with(ports: &[(&str, Published)]) -> World {
    let mut world = kms();
    for (service, port) in ports {
        service_mut(&mut world, service).containers[0]
            .ports
            .push(port.clone());
    }
    world
}

fn asked() -> rehome::plan::Wanted {
    rehome::plan::Wanted {
        maintenance: true,
        ..wanted()
    }
}

/// The ports on which the page answers, with their services.
fn answered(world: &World) -> Vec<String> {
    let facts = plan(world, &asked()).unwrap().facts;
    let words = facts.answered.iter().map(|a| format!("{} {}", a.service, a.port));
    words.collect()
}

#[test]
fn a_plan_says_where_the_page_answers_and_where_it_cannot() {
    let world = with(&[
        ("nginx", published("0.0.0.0", 80, 80)),
        ("nginx", published("0.0.0.0", 443, 443)),
        ("api", published("127.0.0.1", 8000, 8000)),
        ("db", published("127.0.0.1", 15432, 5432)),
    ]);
    assert_snapshot!(text(&world, &asked()), @r"
        Move 4 volumes of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          media_volume   kms-connect_media_volume   →  /mnt/kms-data/media     12 GB, 14212 files
          postgres_data  kms-connect_postgres_data  →  /mnt/kms-data/postgres  4.1 GB, 1310 files, PostgreSQL 15
          redis_data     kms-connect_redis_data     →  /mnt/kms-data/redis     2 MB, 3 files, Redis
          static_volume  kms-connect_static_volume  →  /mnt/kms-data/static    9 MB, 163 files

        What happens
           1  make /mnt/kms-data/media, /mnt/kms-data/postgres, /mnt/kms-data/redis, /mnt/kms-data/static
           2  copy 16.1 GB while the stack runs
           3  stop nginx, celery-beat, celery, api, redis, db   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start db, redis, api, celery, celery-beat, nginx   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 16 s: nginx, celery-beat, celery, api, redis, db
          the data is copied while they run; they stand still for what changed since, and to be compared
          a maintenance page answers meanwhile on ports 80 (nginx), 127.0.0.1:8000 (api)
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.

        ! port 443 of service `nginx` does not answer meanwhile: it wants a certificate, and the maintenance page has none
    ");
}

#[test]
fn one_port() {
    let world = with(&[("nginx", published("", 8080, 80))]);
    let said = text(&world, &asked());
    assert!(
        said.contains("\n  a maintenance page answers meanwhile on port 8080 (nginx)\n"),
        "{said}"
    );
    let both = with(&[
        ("nginx", published("0.0.0.0", 8080, 80)),
        ("nginx", published("::", 8080, 80)),
    ]);
    assert_eq!(text(&both, &asked()), said);
    // Nothing of it without being asked.
    let said = text(&world, &wanted());
    assert!(!said.contains("maintenance"), "{said}");
    // With --offline as well.
    let mut offline = asked();
    offline.offline = true;
    assert!(text(&world, &offline).contains("answers meanwhile on port 8080 (nginx)"));
}

#[test]
fn only_services_that_are_stopped_give_their_ports() {
    let mut world = with(&[
        ("nginx", published("", 80, 80)),
        ("api", published("", 8000, 8000)),
        ("celery", published("", 5555, 5555)),
    ]);
    assert_eq!(answered(&world), ["nginx 80", "celery 5555", "api 8000"]);
    // Celery goes on running: its port is its own.
    let mut some = only(&["static_volume"]);
    some.maintenance = true;
    let facts = plan(&world, &some).unwrap().facts;
    assert_eq!(facts.answered.len(), 2);
    // A container that does not run has no port to give.
    service_mut(&mut world, "nginx").containers[0].state = State::Exited(0);
    assert_eq!(answered(&world), ["celery 5555", "api 8000"]);
    // Each container of a service has its own.
    let api = service_mut(&mut world, "api");
    api.containers.push(container("api", 2));
    api.containers[1].image = image("api");
    api.containers[1].ports = vec![published("", 8001, 8000)];
    assert_eq!(answered(&world), ["celery 5555", "api 8000", "api 8001"]);
}

#[test]
fn a_database_is_never_answered_for() {
    let web = || ("nginx", published("", 80, 80));
    // A server that was recognised, whatever its port.
    for kind in [Kind::Postgres, Kind::Mysql, Kind::Redis, Kind::Mongodb] {
        let mut world = with(&[web(), ("celery", published("", 8080, 8080))]);
        assert_eq!(answered(&world).len(), 2);
        service_mut(&mut world, "celery").server = Some(kind);
        assert_eq!(answered(&world), ["nginx 80"], "{kind}");
    }
    // One that was not, by the data that it has.
    let mut world = with(&[web(), ("celery", published("", 8080, 8080))]);
    let store = |kind, service: Option<&str>| Datastore {
        kind,
        volume: key("media_volume"),
        path: String::new(),
        version: None,
        service: service.map(service_name),
    };
    let stores = |world: &mut World, store| volume_mut(world, "media_volume").datastores = vec![store];
    stores(&mut world, store(Kind::Mongodb, Some("celery")));
    assert_eq!(answered(&world), ["nginx 80"]);
    stores(&mut world, store(Kind::Sqlite, None));
    assert_eq!(answered(&world), ["nginx 80", "celery 8080"]);
    stores(&mut world, store(Kind::Mysql, Some("db")));
    assert_eq!(answered(&world), ["nginx 80", "celery 8080"]);
    // Whose it is nobody knows: everybody's who has it.
    let other: ServiceSeen = service("grafana").after("api", Condition::Started);
    world.services.push(other);
    service_mut(&mut world, "grafana").containers[0].ports = vec![published("", 3000, 3000)];
    stores(&mut world, store(Kind::Mysql, None));
    assert_eq!(answered(&world), ["grafana 3000"]);
    // A proxy before one, by its port inside or outside.
    for port in [
        (5432, 6432),
        (6432, 5432),
        (3306, 1),
        (33060, 1),
        (1, 6379),
        (1, 27017),
    ] {
        let world = with(&[web(), ("celery", published("", port.0, port.1))]);
        assert_eq!(answered(&world), ["nginx 80"], "{port:?}");
    }
}

#[test]
fn a_port_that_wants_a_certificate_is_left_out_and_said() {
    for port in [(443, 443), (443, 8080), (8080, 443), (8443, 8443), (80, 8443)] {
        let world = with(&[
            ("nginx", published("", 8000, 80)),
            ("nginx", published("", port.0, port.1)),
        ]);
        let facts = plan(&world, &asked()).unwrap().facts;
        assert_eq!(facts.answered.len(), 1, "{port:?}");
        assert_eq!(
            facts.warnings,
            [format!(
                "port {} of service `nginx` does not answer meanwhile: it wants a certificate, and the maintenance page has none",
                port.0
            )]
        );
    }
}

#[test]
fn a_page_that_nobody_would_see_is_refused() {
    assert_snapshot!(refusal(&kms(), &asked()), @r"
        error: there is no port on which a maintenance page could answer
        caused by: no service that is stopped publishes a fixed TCP port
        data: nothing was changed
        hint: leave out --maintenance
    ");
    let world = with(&[
        ("nginx", published("", 443, 443)),
        ("db", published("", 5432, 5432)),
    ]);
    assert_snapshot!(refusal(&world, &asked()), @r"
        error: there is no port on which a maintenance page could answer
        caused by: port 443 of service `nginx` wants a certificate, port 5432 of service `db` is one of PostgreSQL
        data: nothing was changed
        hint: leave out --maintenance
    ");
    let mut world = with(&[("nginx", published("", 80, 80))]);
    for service in &mut world.services {
        service.containers[0].state = State::Exited(0);
    }
    assert_snapshot!(refusal(&world, &asked()), @r"
        error: there is no port on which a maintenance page could answer
        caused by: no service runs, so none is stopped
        data: nothing was changed
        hint: leave out --maintenance
    ");
}
