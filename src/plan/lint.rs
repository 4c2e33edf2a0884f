//! Holds every plan to the rules that must never break, whatever made it.

use std::collections::BTreeSet;

use super::MovePlan;
use crate::model::{Failure, Result, ServiceName};
use crate::steps::MoveStep;

/// Where in a plan a step belongs, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Homes,
    PreCopy,
    Stop,
    Delta,
    Verify,
    Switch,
    Start,
    Prove,
    Hook,
    Check,
    Tidy,
}

/// What no plan goes without.
const ALWAYS: [Rank; 6] = [
    Rank::Homes,
    Rank::Stop,
    Rank::Switch,
    Rank::Start,
    Rank::Prove,
    Rank::Tidy,
];

fn rank(step: &MoveStep) -> Rank {
    match step {
        MoveStep::MakeHomes(_) => Rank::Homes,
        MoveStep::PreCopy(_) => Rank::PreCopy,
        MoveStep::Stop(_) => Rank::Stop,
        MoveStep::Delta(_) => Rank::Delta,
        MoveStep::Verify(_) => Rank::Verify,
        MoveStep::Switch(_) => Rank::Switch,
        MoveStep::Start(_) => Rank::Start,
        MoveStep::Prove(_) => Rank::Prove,
        MoveStep::Hook(_) => Rank::Hook,
        MoveStep::Check(_) => Rank::Check,
        MoveStep::Tidy(_) => Rank::Tidy,
    }
}

/// Checks a plan.
///
/// # Errors
/// A broken rule is a bug in the planner, found before anything changed.
pub(super) fn check(plan: &MovePlan) -> Result<()> {
    match broken_rule(plan) {
        None => Ok(()),
        Some(rule) => {
            Err(Failure::bug(format!("the plan breaks a rule: {rule}")).data("nothing was changed"))
        }
    }
}

fn broken_rule(plan: &MovePlan) -> Option<&'static str> {
    let ranks: Vec<_> = plan.steps.iter().map(rank).collect();
    // Only of hooks and checks there may be several.
    let ordered = ranks.is_sorted_by(|a, b| a < b || (a == b && matches!(a, Rank::Hook | Rank::Check)));
    if !ordered {
        return Some("make, copy, stop, copy, compare, switch, start, prove, in this order");
    }
    if ALWAYS.iter().any(|must| !ranks.contains(must)) {
        return Some(
            "homes are made, the stack is stopped, switched, started and proven, helpers are removed",
        );
    }
    let copies = plan.facts.volumes.iter().any(|v| !v.fresh);
    if copies && !(ranks.contains(&Rank::Delta) && ranks.contains(&Rank::Verify)) {
        return Some("what is copied is copied and compared between stop and switch");
    }
    let targets: BTreeSet<_> = plan.facts.volumes.iter().map(|v| &v.to).collect();
    if targets.len() != plan.facts.volumes.len() {
        return Some("no two volumes share a home");
    }
    let (mut stopped, mut started): (Vec<&ServiceName>, Vec<&ServiceName>) = Default::default();
    for step in &plan.steps {
        match step {
            MoveStep::Stop(stop) => stopped.extend(stop.containers().map(|c| &c.service)),
            MoveStep::Start(start) => started.extend(start.services.iter().map(|s| &s.service)),
            _ => {}
        }
    }
    stopped.dedup();
    stopped.reverse();
    (stopped != started).then_some("what is stopped is started the other way round, no more and no less")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::compose::Override;
    use crate::model::{ContainerId, VolumeKey};
    use crate::plan::{Facts, VolumeFacts};
    use crate::steps::{
        Check, Copying, Delta, Hook, HookPlace, MakeHomes, OnFailure, PreCopy, Prove, Start, Starting, Stop,
        Stopping, Switch, Tidy, Verify,
    };

    fn service(name: &str) -> ServiceName {
        ServiceName::new(name).unwrap()
    }

    fn stopping(name: &str, number: u8) -> Stopping {
        Stopping {
            service: service(name),
            id: ContainerId::new(format!("{name}{number}")).unwrap(),
            name: format!("p-{name}-{number}"),
            signal: None,
            grace: Duration::from_secs(30),
            never_kill: false,
        }
    }

    fn starting(name: &str) -> Starting {
        Starting {
            service: service(name),
            after: Vec::new(),
            ends: false,
            up: 1,
        }
    }

    fn volume(key: &str, to: &str) -> VolumeFacts {
        VolumeFacts {
            key: VolumeKey::new(key).unwrap(),
            from: format!("p_{key}"),
            to: to.to_owned(),
            bytes: 1,
            files: 1,
            fresh: false,
            owner: None,
            datastores: Vec::new(),
        }
    }

    /// A sound plan with every kind of step: two containers of `web` that depend on `db`.
    fn sound() -> MovePlan {
        let limit = Duration::from_secs(180);
        let check = |url: &str| {
            MoveStep::Check(Check {
                service: Some(service("web")),
                question: crate::model::config::Question::Http {
                    url: url.to_owned(),
                    status: 200,
                    body: None,
                },
                within: limit,
            })
        };
        MovePlan {
            facts: Facts {
                project: crate::model::ProjectName::new("p").unwrap(),
                directory: "/srv/p".into(),
                to: "/mnt/block".to_owned(),
                back: false,
                volumes: vec![volume("a", "/mnt/block/a"), volume("b", "/mnt/block/b")],
                staying: Vec::new(),
                destination: None,
                stopped: Vec::new(),
                remade: Vec::new(),
                untouched: Vec::new(),
                pre_copy: true,
                downtime: limit,
                answered: Vec::new(),
                override_path: "/srv/p/compose.block.yml".into(),
                dotenv: "/srv/p/.env".into(),
                warnings: Vec::new(),
            },
            steps: vec![
                MoveStep::MakeHomes(MakeHomes { volumes: Vec::new() }),
                MoveStep::PreCopy(PreCopy {
                    volumes: Vec::new(),
                    copying: Copying::default(),
                    max_downtime: None,
                }),
                MoveStep::Stop(Stop {
                    waves: vec![
                        vec![stopping("web", 1), stopping("web", 2)],
                        vec![stopping("db", 1)],
                    ],
                    start: Vec::new(),
                    mounts: Vec::new(),
                    mounting: Vec::new(),
                    volumes: Vec::new(),
                    copying: None,
                    start_limit: limit,
                }),
                MoveStep::Delta(Delta {
                    volumes: Vec::new(),
                    copying: Copying::default(),
                    max_downtime: None,
                    pre_copied: true,
                }),
                MoveStep::Verify(Verify {
                    volumes: Vec::new(),
                    copying: Copying::default(),
                }),
                MoveStep::Switch(Switch {
                    override_path: "/srv/p/compose.block.yml".into(),
                    content: Override::empty(crate::model::ProjectName::new("p").unwrap()),
                    dotenv: "/srv/p/.env".into(),
                    compose_file: None,
                    volumes: 0,
                }),
                MoveStep::Start(Start {
                    services: vec![starting("db"), starting("web")],
                    make: Vec::new(),
                    mounts: Vec::new(),
                    stopping: Vec::new(),
                    volumes: Vec::new(),
                    definitions: std::collections::BTreeMap::new(),
                    limit,
                }),
                MoveStep::Prove(Prove {
                    services: Vec::new(),
                    volumes: Vec::new(),
                    writers: Vec::new(),
                    stable: limit,
                    limit,
                }),
                MoveStep::Hook(Hook {
                    place: HookPlace::exec(service("web")),
                    run: vec!["migrate".to_owned()],
                    user: None,
                    dir: None,
                    env: Vec::new(),
                    limit,
                    on_failure: OnFailure::Stop,
                }),
                check("http://localhost/"),
                check("http://localhost/health"),
                MoveStep::Tidy(Tidy::default()),
            ],
        }
    }

    fn said(plan: &MovePlan) -> String {
        let failure = check(plan).expect_err("a broken plan");
        assert_eq!(failure.kind, crate::model::Kind::Bug);
        assert_eq!(failure.data.as_deref(), Some("nothing was changed"));
        failure.what
    }

    #[test]
    fn a_sound_plan_is_let_through() {
        check(&sound()).unwrap();
        // Several checks are one kind of step, in any order.
        let mut plan = sound();
        plan.steps.swap(9, 10);
        check(&plan).unwrap();
    }

    #[test]
    fn two_steps_that_changed_places_are_a_bug() {
        for i in 0..sound().steps.len() {
            for j in i + 1..sound().steps.len() {
                if (i, j) == (9, 10) {
                    continue;
                }
                let mut plan = sound();
                plan.steps.swap(i, j);
                assert!(said(&plan).ends_with("in this order"), "{i} and {j}");
            }
        }
    }

    #[test]
    fn a_step_that_is_missing_is_a_bug() {
        for i in 0..sound().steps.len() {
            let mut plan = sound();
            plan.steps.remove(i);
            match i {
                // Copying beforehand, hooks and checks are a choice.
                1 | 8 | 9 | 10 => check(&plan).unwrap(),
                3 | 4 => assert!(said(&plan).contains("copied and compared"), "{i}"),
                _ => assert!(said(&plan).contains("homes are made"), "{i}"),
            }
        }
    }

    #[test]
    fn a_step_that_is_there_twice_is_a_bug() {
        for i in (0..8).chain([11]) {
            let mut plan = sound();
            plan.steps.insert(i, sound().steps.swap_remove(i));
            assert!(said(&plan).ends_with("in this order"), "{i}");
        }
    }

    #[test]
    fn only_what_starts_empty_needs_no_copy() {
        let mut plan = sound();
        plan.steps
            .retain(|s| !matches!(s, MoveStep::Delta(_) | MoveStep::Verify(_)));
        plan.facts.volumes[0].fresh = true;
        assert!(said(&plan).contains("copied and compared"));
        plan.facts.volumes[1].fresh = true;
        check(&plan).unwrap();
    }

    #[test]
    fn two_volumes_with_one_home_are_a_bug() {
        let mut plan = sound();
        plan.facts.volumes[1].to = "/mnt/block/a".to_owned();
        assert!(said(&plan).ends_with("no two volumes share a home"));
    }

    #[test]
    fn what_is_stopped_is_started_and_nothing_else() {
        let with = |names: &[&str]| {
            let mut plan = sound();
            let MoveStep::Start(start) = &mut plan.steps[6] else {
                unreachable!("the seventh step is the start");
            };
            start.services = names.iter().map(|n| starting(n)).collect();
            plan
        };
        check(&with(&["db", "web"])).unwrap();
        for names in [&["db"][..], &["web"], &[], &["db", "web", "beat"], &["web", "db"]] {
            assert!(
                said(&with(names)).ends_with("the other way round, no more and no less"),
                "{names:?}"
            );
        }
    }
}
