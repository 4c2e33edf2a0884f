//! What is stopped, made anew and started. The oracle looks at paths through the graph of one service at a time; the
//! planner grows sets.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rehome::engine::{Health, State};
use rehome::observe::{ServiceSeen, World};
use rehome::plan::{Stack, stack_of};

use crate::support::*;

#[test]
fn a_database_takes_its_dependents_with_it_and_a_cache_stays() {
    let plan = plan(&kms(), &only(&["postgres_data"])).unwrap();
    assert_eq!(stopped(&plan), ["nginx", "celery-beat", "celery", "api", "db"]);
    assert_eq!(started(&plan), ["db", "api", "celery", "celery-beat", "nginx"]);
    assert_eq!(remade(&plan), ["db"]);
    assert_eq!(
        plan.facts
            .untouched
            .iter()
            .map(|s| s.as_str())
            .collect::<Vec<_>>(),
        ["redis"]
    );
}

#[test]
fn services_that_do_not_need_each_other_are_stopped_at_the_same_time() {
    let plan = plan(&kms(), &wanted()).unwrap();
    assert_eq!(
        waves(&plan),
        [
            vec!["nginx", "celery-beat", "celery"],
            vec!["api"],
            vec!["redis", "db"]
        ]
    );
}

#[test]
fn the_order_goes_through_a_service_that_does_not_run() {
    let mut world = world_of(vec![
        service("db").mounting("data", "/data"),
        service("init").after("db", Condition::Healthy),
        service("web").after("init", Condition::CompletedSuccessfully),
    ]);
    service_mut(&mut world, "init").containers[0].state = State::Exited(0);
    let plan = plan(&world, &wanted()).unwrap();
    assert_eq!(waves(&plan), [["web"], ["db"]]);
    let web = &start_of(&plan).services[1];
    assert_eq!(web.after, [(service_name("db"), Condition::Started)]);
}

#[test]
fn every_service_that_mounts_the_volume_is_made_anew() {
    let plan = plan(&kms(), &only(&["media_volume"])).unwrap();
    assert_eq!(remade(&plan), ["api", "celery", "celery-beat", "nginx"]);
    let mounts: Vec<_> = start_of(&plan)
        .mounts
        .iter()
        .map(|m| (m.service.as_str(), m.target.as_str(), m.volume.as_str()))
        .collect();
    let new = "kms-connect_media_volume_block_5f3a";
    assert_eq!(
        mounts,
        [
            ("api", "/app/media", new),
            ("celery", "/app/media", new),
            ("celery-beat", "/app/media", new),
            ("nginx", "/app/media", new),
        ]
    );
    assert!(
        stop_of(&plan)
            .mounts
            .iter()
            .all(|m| m.volume.as_str() == "kms-connect_media_volume")
    );
}

#[test]
fn trap_40_a_volume_mounted_twice_by_one_service_is_expected_at_both_places() {
    let world = world_of(vec![
        service("a")
            .mounting("data", "/data")
            .reading("data", "/data/again"),
        service("b").reading("data", "/look"),
    ]);
    let plan = plan(&world, &wanted()).unwrap();
    let targets: Vec<_> = start_of(&plan)
        .mounts
        .iter()
        .map(|m| (m.service.as_str(), m.target.as_str()))
        .collect();
    assert_eq!(targets, [("a", "/data"), ("a", "/data/again"), ("b", "/look")]);
    // Who only reads need not be able to write.
    let writers = plan.steps.iter().filter_map(|s| match s {
        rehome::steps::MoveStep::Prove(prove) => Some(&prove.writers),
        _ => None,
    });
    let writers: Vec<_> = writers
        .into_iter()
        .flatten()
        .map(|w| w.service.as_str())
        .collect();
    assert_eq!(writers, ["a"]);
}

#[test]
fn three_containers_of_one_service_are_stopped_made_and_counted() {
    let mut world = world_of(vec![
        service("db"),
        service("worker").mounting("files", "/files").scaled(3),
    ]);
    // One of them was stopped by hand.
    world.services[1].containers[1].state = State::Exited(0);
    let plan = plan(&world, &wanted()).unwrap();
    let ids: Vec<_> = stop_of(&plan).containers().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["id-worker-1", "id-worker-3"]);
    assert_eq!(start_of(&plan).make[0].count, 3);
    assert_eq!(start_of(&plan).services[0].up, 2);
}

#[test]
fn a_service_in_the_container_of_another_follows_it_through_any_number_of_links() {
    let world = world_of(vec![
        service("vpn").mounting("keys", "/keys"),
        service("web").attached("vpn"),
        service("sidecar").attached("web"),
        service("client").after("sidecar", Condition::Started),
    ]);
    let plan = plan(&world, &wanted()).unwrap();
    assert_eq!(remade(&plan), ["vpn", "web", "sidecar"]);
    assert_eq!(stopped(&plan), ["client", "sidecar", "web", "vpn"]);
}

#[test]
fn what_a_started_service_waits_for_is_only_what_is_started_with_it() {
    let plan = plan(&kms(), &only(&["redis_data"])).unwrap();
    let api = start_of(&plan)
        .services
        .iter()
        .find(|s| s.service.as_str() == "api")
        .unwrap();
    assert_eq!(api.after, [(service_name("redis"), Condition::Healthy)]);
}

#[test]
fn trap_31_a_service_that_others_wait_for_to_complete_is_meant_to_end() {
    let world = world_of(vec![
        service("init").mounting("files", "/files"),
        service("web").after("init", Condition::CompletedSuccessfully),
    ]);
    let plan = plan(&world, &wanted()).unwrap();
    let ends: Vec<_> = start_of(&plan)
        .services
        .iter()
        .map(|s| (s.service.as_str(), s.ends))
        .collect();
    assert_eq!(ends, [("init", true), ("web", false)]);
}

#[test]
fn trap_08_databases_get_their_signal_minutes_and_are_never_killed() {
    let mut world = kms();
    service_mut(&mut world, "celery").stop_grace = Some(std::time::Duration::from_secs(45));
    service_mut(&mut world, "redis").stop_grace = Some(std::time::Duration::from_secs(600));
    let rules = |wanted| {
        let plan = plan(&world, &wanted).unwrap();
        let mut rules: Vec<_> = stop_of(&plan)
            .containers()
            .map(|c| {
                let signal = c.signal.clone().unwrap_or_default();
                (c.service.to_string(), signal, c.grace.as_secs(), c.never_kill)
            })
            .collect();
        rules.sort();
        rules
    };
    let rule =
        |service: &str, signal: &str, grace, never| (service.to_owned(), signal.to_owned(), grace, never);
    assert_eq!(
        rules(wanted()),
        [
            rule("api", "", 30, false),
            rule("celery", "", 45, false),
            rule("celery-beat", "", 30, false),
            rule("db", "SIGINT", 120, true),
            rule("nginx", "", 30, false),
            rule("redis", "", 600, true),
        ]
    );
    let mut said = wanted();
    said.stop_timeout = Some(std::time::Duration::from_secs(7));
    assert!(rules(said).iter().all(|(_, _, grace, _)| *grace == 7));
}

/// What a random service is.
#[derive(Debug, Clone)]
struct Drawn {
    /// Indexes of earlier services.
    depends_on: BTreeSet<usize>,
    attached_to: Option<usize>,
    mounts: BTreeSet<usize>,
    /// The containers that are up, and those that are not.
    up: usize,
    down: usize,
}

fn drawn(index: usize) -> impl Strategy<Value = Drawn> {
    let earlier = proptest::collection::btree_set(0..index.max(1), 0..=index.min(3));
    let attached = proptest::option::weighted(0.15, 0..index.max(1));
    let mounts = proptest::collection::btree_set(0..4_usize, 0..=2);
    (earlier, attached, mounts, 0..3_usize, 0..2_usize).prop_map(
        move |(depends_on, attached_to, mounts, up, down)| Drawn {
            depends_on: if index == 0 { BTreeSet::new() } else { depends_on },
            attached_to: attached_to.filter(|_| index > 0),
            mounts,
            up,
            down,
        },
    )
}

fn any_services() -> impl Strategy<Value = Vec<Drawn>> {
    (1..9_usize).prop_flat_map(|number| (0..number).map(drawn).collect::<Vec<_>>())
}

fn build(drawn: &[Drawn]) -> World {
    let services: Vec<ServiceSeen> = drawn
        .iter()
        .enumerate()
        .map(|(i, d)| {
            let mut it = service(&format!("s{i}")).scaled(d.up + d.down);
            for container in &mut it.containers[..d.up] {
                container.state = State::Running(Health::Healthy);
            }
            for container in &mut it.containers[d.up..] {
                container.state = State::Exited(0);
            }
            for on in &d.depends_on {
                it = it.after(&format!("s{on}"), Condition::Started);
            }
            if let Some(to) = d.attached_to {
                it = it.attached(&format!("s{to}"));
            }
            for volume in &d.mounts {
                it = it.mounting(&format!("v{volume}"), &format!("/v{volume}"));
            }
            it
        })
        .collect();
    let mut world = world_of(services);
    // Volumes that nobody mounts are there too.
    for i in 0..4 {
        let name = format!("v{i}");
        if world.volume(&key(&name)).is_none() {
            world.volumes.push(volume(&name, MB, 1));
        }
    }
    world
}

/// Whether a service lives in a container that mounts a moved volume, by whatever chain.
fn is_remade(all: &[Drawn], service: usize, moved: &BTreeSet<usize>) -> bool {
    !all[service].mounts.is_disjoint(moved)
        || all[service]
            .attached_to
            .is_some_and(|to| is_remade(all, to, moved))
}

/// Whether a service is one of those, or depends on one, by whatever chain.
fn is_touched(all: &[Drawn], service: usize, moved: &BTreeSet<usize>) -> bool {
    let it = &all[service];
    is_remade(all, service, moved)
        || it
            .depends_on
            .iter()
            .chain(&it.attached_to)
            .any(|on| is_touched(all, *on, moved))
}

/// Whether a service needs another, by whatever chain.
fn needs(all: &[Drawn], service: usize, other: usize) -> bool {
    let it = &all[service];
    it.depends_on
        .iter()
        .chain(&it.attached_to)
        .any(|on| *on == other || needs(all, *on, other))
}

fn names(indexes: impl Iterator<Item = usize>) -> BTreeSet<String> {
    indexes.map(|i| format!("s{i}")).collect()
}

fn set<'a>(services: impl IntoIterator<Item = &'a rehome::model::ServiceName>) -> BTreeSet<String> {
    services.into_iter().map(ToString::to_string).collect()
}

proptest! {
    #[test]
    fn the_stack_is_what_the_oracle_says(
        all in any_services(),
        moved in proptest::collection::btree_set(0..4_usize, 1..=3),
    ) {
        let world = build(&all);
        let keys = moved.iter().map(|i| key(&format!("v{i}"))).collect();
        let Stack { stop: waves, remake, untouched } = stack_of(&world, &keys);
        let stop: Vec<_> = waves.into_iter().flatten().collect();
        let up = |i: &usize| all[*i].up > 0;
        let every = || 0..all.len();
        prop_assert_eq!(set(&stop), names(every().filter(|i| is_touched(&all, *i, &moved)).filter(up)));
        prop_assert_eq!(set(&untouched), names(every().filter(|i| !is_touched(&all, *i, &moved)).filter(up)));
        prop_assert_eq!(
            set(&remake),
            names(every().filter(|i| is_remade(&all, *i, &moved) && all[*i].up + all[*i].down > 0))
        );
        prop_assert_eq!(stop.len(), set(&stop).len(), "each once");
        prop_assert_eq!(remake.len(), set(&remake).len(), "each once");
    }

    #[test]
    fn a_plan_stops_dependents_first_and_starts_exactly_those_the_other_way_round(
        all in any_services(),
        moved in proptest::collection::btree_set(0..4_usize, 1..=3),
    ) {
        let world = build(&all);
        let moved: Vec<_> = moved.iter().map(|i| format!("v{i}")).collect();
        let wanted = only(&moved.iter().map(String::as_str).collect::<Vec<_>>());
        let plan = plan(&world, &wanted).unwrap();
        let (stopped, mut started) = (stopped(&plan), started(&plan));
        for (i, it) in all.iter().enumerate() {
            let place = |service: usize| stopped.iter().position(|s| *s == format!("s{service}"));
            for on in it.depends_on.iter().chain(&it.attached_to) {
                if let (Some(dependent), Some(dependency)) = (place(i), place(*on)) {
                    prop_assert!(dependent < dependency, "s{i} is stopped before s{on}: {stopped:?}");
                }
            }
        }
        started.reverse();
        prop_assert_eq!(&stopped, &started);
        // Nothing in a wave needs another of the same wave, and nothing could be stopped a wave earlier.
        let waves = waves(&plan);
        let wave = |service: usize| waves.iter().position(|w| w.contains(&format!("s{service}").as_str()));
        for service in 0..all.len() {
            if let Some(own) = wave(service) {
                let dependents = (0..all.len()).filter(|i| *i != service && needs(&all, *i, service));
                let last = dependents.filter_map(wave).max();
                prop_assert_eq!(own, last.map_or(0, |last| last + 1), "s{}: {:?}", service, &waves);
            }
        }
        // Every container that was up, each once, and none that was not.
        let mut ids: Vec<_> = stop_of(&plan).containers().map(|c| c.id.to_string()).collect();
        ids.sort();
        let mut expected: Vec<_> = world
            .services
            .iter()
            .filter(|s| stopped.contains(&s.name.as_str()))
            .flat_map(|s| &s.containers)
            .filter(|c| matches!(c.state, State::Running(_)))
            .map(|c| c.id.to_string())
            .collect();
        expected.sort();
        prop_assert_eq!(ids, expected);
        // A mount of a moved volume is made anew wherever there is a container for it.
        let mounts: BTreeSet<_> = start_of(&plan)
            .mounts
            .iter()
            .map(|m| (m.service.to_string(), m.target.clone()))
            .collect();
        let expected: BTreeSet<_> = all
            .iter()
            .enumerate()
            .filter(|(_, it)| it.up + it.down > 0)
            .flat_map(|(i, it)| it.mounts.iter().map(move |v| (format!("s{i}"), format!("/v{v}"))))
            .filter(|(_, target)| moved.contains(&target[1..].to_owned()))
            .collect();
        prop_assert_eq!(mounts, expected);
        // Who waits, waits for what comes before it.
        let order = start_of(&plan).services.iter().map(|s| s.service.clone()).collect::<Vec<_>>();
        for (i, starting) in start_of(&plan).services.iter().enumerate() {
            for (on, _) in &starting.after {
                prop_assert!(order[..i].contains(on), "{} waits for {on}: {order:?}", starting.service);
            }
        }
    }
}
