//! The real binary is killed at every point of a deployment, and the next command finishes it or takes it back. As with
//! moves: every day a fixed share of the points, with `REHOME_CAMPAIGN=full` all of them.

use super::site::{Site, Version, assert_same, kept, made_of};
use crate::support::wait_for;

/// Swap, hook, gate, check, same data; that it has this many is checked by each test.
const STEPS: usize = 5;
/// Every day one point in so many is taken.
const SHARE: usize = 15;

/// Every named point of a run, in the order of the steps.
fn points() -> Vec<String> {
    let of_step = [
        "before-prepare",
        "after-prepare",
        "before-apply",
        "after-apply",
        "after-verify",
    ];
    let steps = (0..STEPS).flat_map(|step| of_step.map(|moment| format!("{moment}:{step}")));
    // Opened, two records a step, Closed; the first and the last are the crash tests' of moves.
    let records =
        (1..=STEPS * 2).flat_map(|n| ["before-journal", "after-journal"].map(|m| format!("{m}:{n}")));
    steps.chain(records).collect()
}

fn share() -> Vec<String> {
    let full = std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full");
    points()
        .into_iter()
        .step_by(if full { 1 } else { SHARE })
        .collect()
}

/// Up, and about to become version 2.
fn about_to_change() -> Site {
    let site = Site::up();
    site.next("2", Version::default());
    let plan = site.stack.rehome("deploy --dry-run --json").exits(0).json();
    assert_eq!(plan["steps"].as_array().unwrap().len(), STEPS);
    site
}

#[track_caller]
fn dies(site: &Site, command: &str, point: &str) {
    let run = site.stack.rehome_env(command, &[("REHOME_CRASH_AT", point)]);
    assert_eq!(run.code, -1, "the run never comes by {point}: {}", run.err);
}

#[test]
fn a_deployment_that_was_killed_is_taken_back() {
    let site = about_to_change();
    let stack = &site.stack;
    let before = made_of(stack);
    for (n, point) in share().into_iter().enumerate() {
        let log = site.written("log");
        dies(&site, "deploy -y", &point);
        site.deploy().exits(3).says("is not finished");
        // The way back dies as well, before and after it did something, and is begun again. It comes by no step that
        // was not prepared.
        let moment = ["before-undo:0", "after-undo:0", ""][n % 3];
        stack.rehome_env("rollback", &[("REHOME_CRASH_AT", moment)]);
        if !moment.is_empty() {
            let again = stack.rehome("rollback");
            let over = again.code == 3 && again.err.contains("is rolled back already");
            assert!(again.code == 0 || over, "at {point}: {}", again.err);
        }
        wait_for("the containers", || stack.running() == ["app", "store"]);
        assert_same(&made_of(stack), &before);
        assert_eq!(kept(stack), (0, 0), "at {point}");
        assert!(
            site.written("log").starts_with(&log),
            "lines were lost at {point}"
        );
    }
}

#[test]
fn a_deployment_that_was_killed_is_finished() {
    let site = about_to_change();
    let stack = &site.stack;
    let mut tag = 2;
    for point in share() {
        let log = site.written("log");
        dies(&site, "deploy -y", &point);
        stack.rehome("resume").exits(0);
        assert_eq!(stack.running(), ["app", "store"], "at {point}");
        assert!(
            site.written("log").starts_with(&log),
            "lines were lost at {point}"
        );
        let runs = stack.exec("app", "cat /www/version");
        assert_eq!(runs, tag.to_string(), "at {point}");
        let migrated = site.written("migrated");
        assert_eq!(migrated.last().unwrap(), &format!("whole {tag}"), "at {point}");
        tag += 1;
        site.next(&tag.to_string(), Version::default());
    }
    // Three deployments are kept by default, however they came to their end.
    site.deploy().exits(0);
    assert_eq!(kept(stack), (6, 6));
}
