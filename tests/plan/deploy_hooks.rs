//! What runs beside a deployment and when, as its plan says it.

use std::time::Duration;

use insta::assert_snapshot;
use rehome::engine::State;
use rehome::model::config::Question;
use rehome::plan::deploy::{Hooks, render};
use rehome::steps::deploy::ComposeFile;
use rehome::steps::{Check, Hook, HookPlace, OnFailure};

use crate::deploy::{plan, refused, seen, wanted};
use crate::support::*;

fn here(run: &[&str]) -> Hook {
    Hook {
        place: HookPlace::Here {},
        ..hook("api", run, OnFailure::Stop)
    }
}

fn one_shot(service: &str, run: &[&str]) -> Hook {
    Hook {
        place: HookPlace::Run {
            one_shot_of: service_name(service),
        },
        ..hook(service, run, OnFailure::Stop)
    }
}

fn check(service: Option<&str>, question: Question) -> Check {
    Check {
        service: service.map(service_name),
        question,
        within: Duration::from_secs(30),
    }
}

#[test]
fn each_hook_has_its_place_and_what_stays_done_is_said() {
    let mut wanted = wanted();
    wanted.hooks = Hooks {
        before_pull: vec![here(&["git", "submodule", "update"])],
        before_start: vec![one_shot("api", &["python3", "manage.py", "migrate"])],
        after_start: vec![
            hook("api", &["python3", "manage.py", "collectstatic"], OnFailure::Warn),
            hook("nginx", &["nginx", "-t"], OnFailure::Stop),
        ],
        after_healthy: vec![hook("api", &["warm-cache"], OnFailure::Stop)],
        on_failure: vec![here(&["logger", "failed"])],
        after_finish: vec![here(&["logger", "done"])],
    };
    wanted.checks = vec![
        check(
            Some("api"),
            Question::Http {
                url: "http://localhost:8000/".to_owned(),
                status: 200,
                body: Some("ok".to_owned()),
            },
        ),
        check(None, Question::Tcp { tcp: 443 }),
        check(
            Some("db"),
            Question::Command {
                command: vec!["pg_isready".to_owned()],
                code: 0,
            },
        ),
        check(
            Some("api"),
            Question::Log {
                log_free_of: "Traceback".to_owned(),
            },
        ),
        check(
            None,
            Question::File {
                file: "certs/a.pem".to_owned(),
            },
        ),
    ];
    wanted.commit = Some("v2".to_owned());
    wanted.compose_file = Some(ComposeFile {
        dotenv: "/srv/kms/.env".into(),
        value: Some("docker-compose.yml:docker-compose.tls.yml".to_owned()),
    });
    assert_snapshot!(render(&plan(&seen(), &wanted)));
}

#[test]
fn a_hook_is_left_out_where_it_has_nothing_to_run_in() {
    let mut seen = seen();
    service_mut(&mut seen.world, "celery").containers[0].state = State::Exited(0);
    service_mut(&mut seen.world, "nginx").containers.clear();
    let mut wanted = wanted();
    wanted.hooks = Hooks {
        // It has no container yet; afterwards it has one.
        before_start: vec![
            hook("nginx", &["reload"], OnFailure::Stop),
            one_shot("celery", &["purge"]),
        ],
        after_start: vec![
            hook("nginx", &["reload"], OnFailure::Stop),
            hook("celery", &["purge"], OnFailure::Stop),
        ],
        ..Hooks::default()
    };
    wanted.checks = vec![check(Some("celery"), Question::Tcp { tcp: 1 })];
    let plan = plan(&seen, &wanted);
    assert_eq!(
        plan.facts.lasting,
        ["run in a new container of celery: purge", "run in nginx: reload"]
    );
    assert_eq!(
        plan.facts.warnings,
        [
            "the hook `reload` is left out: service `nginx` does not run",
            "the hook `purge` is left out: service `celery` does not run",
            "the check port 1 is left out: service `celery` does not run",
        ]
    );
}

#[test]
fn a_hook_of_any_phase_that_names_no_service_of_the_project_is_refused() {
    let mut wanted = wanted();
    wanted.hooks.on_failure = vec![one_shot("apii", &["x"])];
    let failure = refused(&seen(), &wanted);
    assert_eq!(
        failure.what,
        "a hook names service `apii`, which project kms-connect does not have"
    );
    assert_eq!(failure.hints, ["did you mean `api`?"]);
}
