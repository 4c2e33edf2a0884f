//! Deployments: what becomes of each service, in which order what is done, and what is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use rehome::datastore::Kind;
use rehome::engine::{MountKind, Spare, State};
use rehome::model::{ContainerId, Failure, Home, RunId};
use rehome::observe::deploy::{DatabaseSeen, DeploySeen, Elsewhere, ServiceMore};
use rehome::plan::deploy::{Becomes, DeployPlan, DeployWanted, Hooks, back_plan, deploy_plan, render};
use rehome::steps::deploy::{DataMount, DeployStep};

use super::support::{Condition, Describe, image, kms, service, service_name, volume_name};

/// The whole stack, from images of a registry, with nothing changed.
pub fn seen() -> DeploySeen {
    let world = kms();
    let more = |server: bool| ServiceMore {
        active: true,
        build: false,
        never_pulled: false,
        image_here: true,
        image: Some("example/app:1".to_owned()),
        replicas: 1,
        alone: server.then(|| "it may write to /data".to_owned()),
        differs: Vec::new(),
    };
    DeploySeen {
        services: world
            .services
            .iter()
            .map(|s| (s.name.clone(), more(s.server.is_some())))
            .collect(),
        mounts: vec![DataMount {
            service: service_name("db"),
            target: "/var/lib/postgresql/data".to_owned(),
            kind: MountKind::Volume(volume_name("kms-connect_postgres_data")),
            home: Some(Home::Volume),
        }],
        elsewhere: Vec::new(),
        databases: vec![DatabaseSeen {
            service: service_name("db"),
            kind: Kind::Postgres,
            user: "postgres".to_owned(),
            up: true,
            identity: Ok("7710797457851121691".to_owned()),
        }],
        orphans: Vec::new(),
        kept: Vec::new(),
        unset: Vec::new(),
        missing: Vec::new(),
        world,
    }
}

pub fn wanted() -> DeployWanted {
    DeployWanted {
        only: Vec::new(),
        first: None,
        pull: true,
        build: true,
        fresh: false,
        dump: true,
        no_dump: Vec::new(),
        rolling: None,
        hooks: Hooks::default(),
        checks: Vec::new(),
        stop_timeout: None,
        stable: Duration::from_secs(5),
        limit: Duration::from_secs(180),
        keep: 3,
        older: Vec::new(),
        commit: None,
        compose_file: None,
    }
}

pub fn plan(seen: &DeploySeen, wanted: &DeployWanted) -> DeployPlan {
    deploy_plan(seen, wanted).unwrap()
}

pub fn refused(seen: &DeploySeen, wanted: &DeployWanted) -> Failure {
    deploy_plan(seen, wanted).unwrap_err()
}

fn becomes(plan: &DeployPlan, name: &str) -> Becomes {
    let found = plan
        .facts
        .services
        .iter()
        .find(|(service, _)| service.as_str() == name);
    found.unwrap().1.clone()
}

/// Makes Compose want to make a service anew.
fn outdated(seen: &mut DeploySeen, name: &str, differs: &[&str]) {
    let service = seen
        .world
        .services
        .iter_mut()
        .find(|s| s.name.as_str() == name)
        .unwrap();
    for container in &mut service.containers {
        container.outdated = true;
    }
    let more = seen.services.get_mut(&service_name(name)).unwrap();
    more.differs = differs.iter().map(|d| (*d).to_owned()).collect();
}

/// The services that a plan may replace, and those that it rolls.
fn replaced(plan: &DeployPlan) -> (Vec<String>, Vec<String>) {
    let (mut swapped, mut rolled) = (Vec::new(), Vec::new());
    for step in &plan.steps {
        match step {
            DeployStep::Swap(swap) => swapped.extend(swap.services.iter().map(|c| c.service.to_string())),
            DeployStep::Roll(roll) => rolled.extend(roll.services.iter().map(|c| c.service.to_string())),
            _ => {}
        }
    }
    (swapped, rolled)
}

fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

#[test]
fn a_plan_says_what_becomes_of_each_service_and_why() {
    let mut seen = seen();
    outdated(
        &mut seen,
        "api",
        &["image (example/api:1 → example/api:2)", "environment.DEBUG"],
    );
    let wanted = DeployWanted {
        commit: Some("v1.2-3-gabc".to_owned()),
        ..wanted()
    };
    insta::assert_snapshot!(render(&plan(&seen, &wanted)));
}

#[test]
fn a_database_is_only_replaced_for_its_own_definition() {
    // Another image under the same name: Compose would make it anew, a deployment does not.
    let mut image_alone = seen();
    outdated(&mut image_alone, "db", &[]);
    let db = image_alone
        .world
        .services
        .iter_mut()
        .find(|s| s.name.as_str() == "db")
        .unwrap();
    db.image_now = Some(image("newer"));
    let kept = plan(&image_alone, &wanted());
    assert_eq!(becomes(&kept, "db"), Becomes::Kept);
    assert!(!replaced(&kept).0.contains(&"db".to_owned()));

    let mut changed = seen();
    outdated(&mut changed, "db", &["command"]);
    let plan = plan(&changed, &wanted());
    assert_eq!(
        becomes(&plan, "db"),
        Becomes::Replaced {
            why: vec!["command".to_owned()]
        }
    );
    assert!(
        plan.facts
            .warnings
            .iter()
            .any(|w| w.contains("`db` is stopped and made anew")),
        "{:?}",
        plan.facts.warnings
    );
    let swap = plan.steps.iter().find_map(|step| match step {
        DeployStep::Swap(swap) => swap.services.iter().find(|c| c.service.as_str() == "db"),
        _ => None,
    });
    let swap = swap.unwrap();
    assert_eq!((swap.signal.as_deref(), swap.never_kill), (Some("SIGINT"), true));
}

#[test]
fn the_image_of_a_database_is_never_fetched() {
    let plan = plan(&seen(), &wanted());
    for step in &plan.steps {
        if let DeployStep::Images(images) = step {
            let names: Vec<_> = images.services.iter().map(|(name, _)| name.as_str()).collect();
            assert!(!names.contains(&"db") && !names.contains(&"redis"), "{names:?}");
            assert!(names.contains(&"api"), "{names:?}");
        }
    }
}

#[test]
fn dumps_come_before_anything_that_changes_a_service_and_data_is_looked_at_after() {
    let plan = plan(&seen(), &wanted());
    let place = |wanted: fn(&DeployStep) -> bool| plan.steps.iter().position(wanted).unwrap();
    let dump = place(|s| matches!(s, DeployStep::Dump(_)));
    let swap = place(|s| matches!(s, DeployStep::Swap(_)));
    let data = place(|s| matches!(s, DeployStep::SameData(_)));
    assert!(dump < swap && swap < data, "{:?}", plan.steps);
}

#[test]
fn without_a_dump_it_is_said() {
    let plan = plan(
        &seen(),
        &DeployWanted {
            dump: false,
            ..wanted()
        },
    );
    assert!(plan.steps.iter().all(|s| !matches!(s, DeployStep::Dump(_))));
    assert!(
        plan.facts
            .warnings
            .iter()
            .any(|w| w.contains("`db` is not dumped first (--no-backup)"))
    );
}

#[test]
fn what_was_stopped_stays_stopped_and_what_is_meant_to_end_runs_again() {
    let mut seen = seen();
    let celery = seen
        .world
        .services
        .iter_mut()
        .find(|s| s.name.as_str() == "celery")
        .unwrap();
    *celery = celery.clone().in_state(State::Exited(0));
    let init = service("init").in_state(State::Exited(0));
    seen.services
        .insert(init.name.clone(), seen.services[&service_name("api")].clone());
    seen.world.services.insert(0, init);
    let api = seen
        .world
        .services
        .iter_mut()
        .find(|s| s.name.as_str() == "api")
        .unwrap();
    *api = api.clone().after("init", Condition::CompletedSuccessfully);
    let plan = plan(&seen, &wanted());
    assert_eq!(becomes(&plan, "celery"), Becomes::StaysStopped);
    assert_eq!(becomes(&plan, "init"), Becomes::RunsAgain);
    let started = plan.steps.iter().find_map(|step| match step {
        DeployStep::Swap(swap) => Some(&swap.starting),
        _ => None,
    });
    let started: BTreeMap<_, _> = started
        .unwrap()
        .iter()
        .map(|s| (s.service.as_str(), s.ends))
        .collect();
    assert_eq!(started.get("init"), Some(&true));
    assert_eq!(started.get("celery"), None);
}

#[test]
fn only_what_can_run_beside_itself_is_rolled() {
    let rolling = DeployWanted {
        rolling: Some(Duration::from_secs(3)),
        ..wanted()
    };
    let mut seen = seen();
    outdated(&mut seen, "nginx", &["image (a → b)"]);
    seen.services.get_mut(&service_name("nginx")).unwrap().alone =
        Some("it has port 80 of the host".to_owned());
    let plan = plan(&seen, &rolling);
    let (swapped, rolled) = replaced(&plan);
    assert!(
        rolled.contains(&"api".to_owned()) && swapped.contains(&"nginx".to_owned()),
        "{swapped:?} {rolled:?}"
    );
    assert!(!rolled.contains(&"db".to_owned()));
    assert!(
        plan.facts
            .warnings
            .iter()
            .any(|w| w.contains("`nginx` cannot be rolled and is stopped first: it has port 80 of the host")),
        "{:?}",
        plan.facts.warnings
    );
    // Nobody is both.
    assert!(swapped.iter().all(|name| !rolled.contains(name)));
}

#[test]
fn trap_02_other_data_under_the_same_name_is_refused() {
    let mut seen = seen();
    seen.elsewhere.push(Elsewhere {
        service: service_name("db"),
        target: "volume kms-connect_postgres_data".to_owned(),
        now: "in Docker's own directory".to_owned(),
        then: "in /mnt/kms-data/postgres".to_owned(),
    });
    insta::assert_snapshot!(refused(&seen, &wanted()).to_string());
    let failure = refused(&seen, &wanted());
    assert_eq!(
        failure.data.as_deref(),
        Some("nothing was changed; the data is where it was")
    );
    assert!(
        failure.hints.iter().any(|hint| hint.contains("rehome move")),
        "{:?}",
        failure.hints
    );
}

#[test]
fn what_is_not_there_is_refused_before_anything_is_done() {
    let mut unset = seen();
    unset.unset = vec!["TOKEN".to_owned(), "URL".to_owned()];
    assert!(refused(&unset, &wanted()).what.ends_with("not set: TOKEN, URL"));

    let mut missing = seen();
    missing.missing = vec!["/srv/kms/certs/privkey.pem".into()];
    assert!(
        refused(&missing, &wanted())
            .what
            .contains("privkey.pem is not there")
    );

    let only = DeployWanted {
        only: vec![service_name("aip")],
        ..wanted()
    };
    let failure = refused(&seen(), &only);
    assert!(
        failure.hints.iter().any(|hint| hint.contains("`api`")),
        "{failure:?}"
    );
}

#[test]
fn a_full_disk_is_refused_unless_nothing_is_fetched() {
    let mut seen = seen();
    let mut disk = super::support::probe("8:1", "/dev/sda");
    disk.bytes_free = (1 << 30) - 1;
    seen.world.docker_disk = Some(disk);
    assert!(refused(&seen, &wanted()).what.contains("almost full"));
    let nothing = DeployWanted {
        pull: false,
        build: false,
        ..wanted()
    };
    plan(&seen, &nothing);
    seen.world.docker_disk.as_mut().unwrap().bytes_free = 1 << 30;
    plan(&seen, &wanted());
}

#[test]
fn the_newest_deployments_are_kept_and_the_older_let_go() {
    let older: Vec<RunId> = ["aaaaaa", "bbbbbb", "cccccc"].map(run).to_vec();
    let gone = |keep: usize| {
        let wanted = DeployWanted {
            keep,
            older: older.clone(),
            ..wanted()
        };
        let plan = plan(&seen(), &wanted);
        plan.steps.into_iter().find_map(|step| match step {
            DeployStep::TidyKept(tidy) => Some(tidy.runs),
            _ => None,
        })
    };
    // This one is one of those that are kept.
    assert_eq!(gone(4), None);
    assert_eq!(gone(3), Some(vec![run("aaaaaa")]));
    assert_eq!(gone(1), Some(older.clone()));
}

#[test]
fn going_back_takes_the_spares_of_that_run_alone() {
    let spare = |of_run: &str, service: &str| Spare {
        id: ContainerId::new(format!("spare-{of_run}-{service}")).unwrap(),
        run: run(of_run),
        of: ContainerId::new(format!("old-{service}")).unwrap(),
        name: format!("kms-connect-{service}-1"),
        service: service_name(service),
        image: image("0123456789abcdef"),
        image_name: format!("example/{service}:1"),
        made: 0,
    };
    let spares = [
        spare("aaaaaa", "api"),
        spare("bbbbbb", "nginx"),
        spare("bbbbbb", "api"),
    ];
    let plan = back_plan(&seen(), &wanted(), &run("aaaaaa"), &spares).unwrap();
    assert_eq!(replaced(&plan).0, ["api"]);
    insta::assert_snapshot!(render(&plan));
    let failure = back_plan(&seen(), &wanted(), &run("cccccc"), &spares).unwrap_err();
    assert!(failure.what.contains("kept nothing to go back to"));
}
