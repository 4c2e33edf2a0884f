//! The resolved project against what is written in the Compose file.

use std::time::Duration;

use rehome::compose::project::{Condition, Healthcheck, MountSource, VolumeKind, load};
use rehome::model::{ServiceName, VolumeKey};

use crate::support::Lab;

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn key(name: &str) -> VolumeKey {
    VolumeKey::new(name).unwrap()
}

#[tokio::test]
async fn trap_38_unused_volumes_gated_services_and_dollars_are_all_there() {
    let lab = Lab::fixture("everything");
    let project = lab.project().await;

    let keys: Vec<_> = project.volumes.keys().map(VolumeKey::as_str).collect();
    assert_eq!(
        keys,
        [
            "archive",
            "cache",
            "ext",
            "included_unused",
            "media",
            "nfs",
            "pg",
            "unused"
        ]
    );
    assert_eq!(
        project.volumes[&key("unused")].labels["price"].reveal(),
        "5$ or $5"
    );
    assert_eq!(project.volumes[&key("pg")].name.as_str(), "shop_pg");
    assert_eq!(project.volumes[&key("ext")].kind(), VolumeKind::External);
    assert_eq!(
        project.volumes[&key("nfs")].kind(),
        VolumeKind::Other("driver options of type nfs".to_owned())
    );
    assert_eq!(
        project.volumes[&key("archive")].kind(),
        VolumeKind::Bound {
            device: "/srv/archive".into()
        }
    );

    let gated = &project.services[&service("debug")];
    assert!(!gated.active);
    assert_eq!(gated.profiles, ["debug"]);
    let web = &project.services[&service("web")];
    assert!(web.active);
    assert_eq!(web.environment["PASSWORD"].as_ref().unwrap().reveal(), "p$q$$r");
    assert_eq!(web.environment["FROM_FILE"].as_ref().unwrap().reveal(), "a$b");
    assert_eq!(web.command.as_deref().unwrap(), ["sh", "-c", "echo $HOME"]);
    for secret in ["p$q", "a$b", "echo", "addr="] {
        assert!(!format!("{project:?}").contains(secret), "{secret} shows");
    }
}

#[tokio::test]
async fn a_services_settings_are_typed() {
    let project = Lab::fixture("everything").project().await;
    let db = &project.services[&service("db")];
    assert_eq!(db.stop_grace_period, Some(Duration::from_millis(90_500)));
    assert_eq!(db.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(
        (db.user.as_deref(), db.container_name.as_deref()),
        (Some("70:70"), Some("shop-db"))
    );
    assert_eq!(db.healthcheck, Healthcheck::Present);
    let web = &project.services[&service("web")];
    assert_eq!(web.depends_on[&service("db")].condition, Condition::Healthy);
    assert_eq!(
        web.depends_on[&service("migrate")].condition,
        Condition::CompletedSuccessfully
    );
    assert!(!web.depends_on[&service("cache")].required);
    assert_eq!(
        (web.replicas, web.restart.as_deref()),
        (3, Some("unless-stopped"))
    );
    assert_eq!(
        (web.ports[0].published.as_deref(), web.ports[0].target),
        (Some("8080"), 80)
    );
    assert!(web.build);
    assert_eq!(
        project.services[&service("cache")].healthcheck,
        Healthcheck::Disabled
    );
    assert_eq!(
        project.services[&service("sidecar")].namespaces_of,
        [service("web")].into()
    );
    let MountSource::Volume { nocopy, subpath, .. } = &web.mounts[1].source else {
        panic!("{:?}", web.mounts)
    };
    assert_eq!((*nocopy, subpath.as_deref()), (true, Some("thumbs")));
}

#[tokio::test]
async fn the_graph_knows_every_way_to_depend() {
    let project = Lab::fixture("everything").project().await;
    let names = |list: &[&str]| list.iter().map(|name| service(name)).collect::<Vec<_>>();
    let dependents = project.with_dependents(&[service("db")].into());
    assert_eq!(
        dependents.iter().cloned().collect::<Vec<_>>(),
        names(&["backup", "db", "debug", "migrate", "sidecar", "web"])
    );
    let order = project.start_order(&dependents).unwrap();
    assert_eq!(
        order,
        names(&["db", "debug", "migrate", "web", "backup", "sidecar"])
    );
}

#[tokio::test]
async fn trap_40_uses_of_a_volume_are_found_twice_in_one_service_and_through_volumes_from() {
    let project = Lab::fixture("everything").project().await;
    let uses = project.uses_of(&key("media"));
    let found: Vec<_> = uses
        .iter()
        .map(|u| {
            (
                u.service.as_str(),
                u.mount.target.as_str(),
                u.read_only,
                u.from.map(ServiceName::as_str),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("backup", "/media", true, Some("web")),
            ("backup", "/thumbs", true, Some("web")),
            ("web", "/media", false, None),
            ("web", "/thumbs", true, None),
        ]
    );
    let nested = project.nested_with(&key("pg"));
    assert_eq!(
        (nested[0].outer.target.as_str(), nested[0].inner.target.as_str()),
        ("/data", "/data/cache")
    );
    assert_eq!(nested.len(), 1);
}

#[tokio::test]
async fn a_definition_changes_with_the_files_but_not_with_compose_file() {
    let lab = Lab::with("services: {a: {image: x, env_file: .env}, b: {image: y, profiles: [p]}}\n");
    lab.write(".env", "A=1\n");
    let definitions = async || {
        let project = load(&lab.compose().await, &lab.located()).await.unwrap();
        ["a", "b"].map(|name| project.services[&service(name)].definition.clone())
    };
    let [a, b] = definitions().await;
    lab.write(".env", "A=1\nCOMPOSE_FILE=compose.yaml\n");
    assert_eq!(
        definitions().await,
        [a.clone(), b.clone()],
        "what a move sets itself is no change"
    );
    lab.write(
        "compose.yaml",
        "services: {a: {image: x, env_file: .env}, b: {image: z, profiles: [p]}}\n",
    );
    let [a_then, b_then] = definitions().await;
    assert_eq!(a_then, a);
    assert_ne!(b_then, b);
    lab.write(".env", "A=2\nCOMPOSE_FILE=compose.yaml\n");
    assert_ne!(definitions().await[0], a, "the environment is part of it");
}
