//! What runs after the start.

use std::time::Duration;

use rehome::engine::State;
use rehome::model::config::Question;
use rehome::steps::{Check, MoveStep, OnFailure};

use crate::support::*;

fn check(service: &str) -> Check {
    Check {
        service: Some(service_name(service)),
        question: Question::Http {
            url: "http://localhost:8000/health/".to_owned(),
            status: 200,
            body: None,
        },
        within: Duration::from_secs(60),
    }
}

#[test]
fn hooks_run_in_their_order_before_the_checks() {
    let mut wanted = wanted();
    wanted.checks = vec![check("nginx"), check("api")];
    wanted.hooks = vec![
        hook("api", &["second"], OnFailure::Stop),
        hook("api", &["first"], OnFailure::Warn),
    ];
    let plan = plan(&kms(), &wanted).unwrap();
    assert_eq!(
        kinds(&plan)[6..],
        ["start", "prove", "hook", "hook", "check", "check", "tidy"]
    );
    let commands: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|s| match s {
            MoveStep::Hook(hook) => Some(hook.run.join(" ")),
            _ => None,
        })
        .collect();
    assert_eq!(commands, ["second", "first"]);
}

#[test]
fn in_a_service_that_does_not_run_nothing_runs_and_that_is_said() {
    let mut world = kms();
    service_mut(&mut world, "nginx").containers[0].state = State::Exited(0);
    service_mut(&mut world, "celery").containers.clear();
    let mut wanted = wanted();
    wanted.hooks = vec![hook("celery", &["celery", "purge"], OnFailure::Stop)];
    wanted.checks = vec![check("nginx")];
    let plan = plan(&world, &wanted).unwrap();
    assert_eq!(kinds(&plan)[6..], ["start", "prove", "tidy"]);
    assert_eq!(
        plan.facts.warnings,
        [
            "the hook `celery purge` is left out: service `celery` does not run",
            "the check http://localhost:8000/health/ is left out: service `nginx` does not run",
        ]
    );
}

#[test]
fn a_service_that_there_is_not_is_a_mistake_and_nothing_to_leave_out() {
    let mut with_hook = wanted();
    with_hook.hooks = vec![hook("apii", &["migrate"], OnFailure::Ignore)];
    insta::assert_snapshot!(refusal(&kms(), &with_hook), @r"
        error: a hook names service `apii`, which project kms-connect does not have
        data: nothing was changed
        hint: did you mean `api`?
    ");
    let mut with_check = wanted();
    with_check.checks = vec![check("varnish")];
    insta::assert_snapshot!(refusal(&kms(), &with_check), @r"
        error: a check names service `varnish`, which project kms-connect does not have
        data: nothing was changed
        hint: it has: db, redis, api, celery, celery-beat, nginx
    ");
}
