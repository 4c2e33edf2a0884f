//! What a restart makes anew, what it only restarts, and what it refuses.

use std::collections::BTreeMap;
use std::time::Duration;

use rehome::model::Result;
use rehome::observe::World;
use rehome::observe::deploy::{DeploySeen, Elsewhere, ServiceMore};
use rehome::plan::restart::{RestartPlan, restart_plan};

use crate::support::{image, kms, service_mut, service_name, told};

/// The example stack, with services that differ in these keys.
fn seen(world: World, differs: &[(&str, &[&str])]) -> DeploySeen {
    let more = |name: &str| ServiceMore {
        active: true,
        build: false,
        never_pulled: false,
        image_here: true,
        image: None,
        replicas: 1,
        alone: None,
        differs: differs
            .iter()
            .filter(|(service, _)| *service == name)
            .flat_map(|(_, keys)| keys.iter().map(|key| (*key).to_owned()))
            .collect(),
    };
    DeploySeen {
        services: world
            .services
            .iter()
            .map(|s| (s.name.clone(), more(s.name.as_str())))
            .collect::<BTreeMap<_, _>>(),
        mounts: Vec::new(),
        elsewhere: Vec::new(),
        databases: Vec::new(),
        orphans: Vec::new(),
        kept: Vec::new(),
        unset: Vec::new(),
        missing: Vec::new(),
        world,
    }
}

fn plan(seen: &DeploySeen, named: &[&str]) -> Result<RestartPlan> {
    let named: Vec<_> = named.iter().map(|name| service_name(name)).collect();
    restart_plan(seen, &named, None)
}

fn why(plan: &RestartPlan) -> Vec<String> {
    let services = plan.services.iter();
    services
        .map(|r| format!("{}: {}", r.service, r.why.join(", ")))
        .collect()
}

fn outdated(world: &mut World, name: &str) {
    for container in &mut service_mut(world, name).containers {
        container.outdated = true;
    }
}

#[test]
fn only_what_differs_is_made_anew_and_a_database_is_never_killed() {
    let mut world = kms();
    outdated(&mut world, "api");
    let seen = seen(world, &[("api", &["environment.USE_S3"])]);
    let plan = plan(&seen, &["api", "db"]).unwrap();
    assert_eq!(why(&plan), ["db: ", "api: environment.USE_S3"]);
    let made: Vec<_> = plan.making.iter().map(|m| m.service.as_str()).collect();
    assert_eq!(made, ["api"]);
    let stopped: Vec<_> = plan
        .stopping
        .iter()
        .map(|s| (s.service.as_str(), s.signal.as_deref(), s.never_kill))
        .collect();
    assert_eq!(stopped, [("api", None, false), ("db", Some("SIGINT"), true)]);
    assert!(plan.stopping[1].grace >= Duration::from_secs(120));
    let started: Vec<_> = plan.starting.iter().map(|s| s.service.as_str()).collect();
    assert_eq!(started, ["db", "api"]);
    assert_eq!(plan.starting[1].after.len(), 1, "api waits for db");
}

#[test]
fn what_no_container_shows_is_called_its_definition_and_what_does_not_differ_stays() {
    let mut world = kms();
    outdated(&mut world, "nginx");
    // A difference that Compose does not see is none.
    let seen = seen(world, &[("api", &["environment.PATH"])]);
    let plan = plan(&seen, &["api", "nginx"]).unwrap();
    assert_eq!(why(&plan), ["api: ", "nginx: its definition"]);
}

#[test]
fn a_newer_image_alone_is_a_deployment_and_no_restart() {
    let mut world = kms();
    outdated(&mut world, "api");
    service_mut(&mut world, "api").image_now = Some(image("newer"));
    let alone = seen(world.clone(), &[]);
    let plan_alone = plan(&alone, &["api"]).unwrap();
    assert!(plan_alone.services[0].newer_image && plan_alone.making.is_empty());
    let both = seen(world, &[("api", &["environment.X"])]);
    let plan = plan(&both, &["api"]).unwrap();
    assert!(
        plan.services[0].why[1].ends_with("is another image by now"),
        "{:?}",
        why(&plan)
    );
}

#[test]
fn who_shares_the_container_of_one_that_is_made_anew_is_made_anew_too() {
    let mut world = kms();
    outdated(&mut world, "api");
    service_mut(&mut world, "nginx").attached_to = vec![service_name("api")];
    let plan = plan(&seen(world, &[]), &["api"]).unwrap();
    assert_eq!(
        why(&plan),
        ["api: its definition", "nginx: it shares the container of api"]
    );
}

#[test]
fn what_does_not_run_is_left_alone_unless_it_is_named() {
    let mut world = kms();
    for container in &mut service_mut(&mut world, "celery").containers {
        container.state = rehome::engine::State::Exited(0);
    }
    let seen = seen(world, &[]);
    let all = plan(&seen, &[]).unwrap();
    assert!(all.services.iter().all(|r| r.service.as_str() != "celery"));
    let named = plan(&seen, &["celery"]).unwrap();
    assert!(named.stopping.is_empty());
    assert_eq!(named.starting.len(), 1);
}

#[test]
fn it_refuses_in_words() {
    let mut world = kms();
    service_mut(&mut world, "celery").containers.clear();
    outdated(&mut world, "api");
    let mut seen = seen(world, &[]);
    insta::assert_snapshot!(told(&plan(&seen, &["ap"]).unwrap_err()), @r"
    error: the command line names service `ap`, which project kms-connect does not have
    data: nothing was changed
    hint: did you mean `api`?
    ");
    insta::assert_snapshot!(told(&plan(&seen, &["celery"]).unwrap_err()), @r"
    error: service `celery` has no container to restart
    data: nothing was changed
    hint: rehome up -d celery
    ");
    seen.elsewhere.push(Elsewhere {
        service: service_name("api"),
        target: "/app/media".to_owned(),
        now: "volume kms_media".to_owned(),
        then: "volume other".to_owned(),
    });
    insta::assert_snapshot!(told(&plan(&seen, &["api"]).unwrap_err()), @r"
    error: service `api` would come up with other data than it has now
    caused by: /app/media of api: now volume kms_media, then volume other
    data: nothing was changed; the data is where it was
    hint: to take the data along: rehome move
    hint: `rehome status` shows where each volume lives, `rehome override --check` whether the override is active
    ");
    assert!(plan(&seen, &["db"]).is_ok(), "another service is not concerned");
}
