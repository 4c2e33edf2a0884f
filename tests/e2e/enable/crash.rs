//! The switch and the way back are killed at every point, under load, and the next command finishes them or takes them
//! back: every upload that was acknowledged can be read where the services store then.
//!
//! Every day another share of the points, which the commit chooses; with `REHOME_CAMPAIGN=full` all of them.

use super::site::{Side, Site};
use crate::support::try_sh;

/// The moments of a step. The journal's are the same: between them and these nothing happens that could be left half done.
const MOMENTS: [&str; 5] = [
    "before-prepare",
    "after-prepare",
    "before-apply",
    "after-apply",
    "after-verify",
];
/// Every day one point in so many is taken.
const SHARE: usize = 10;
/// So many tests share them.
const TESTS: usize = 4;

/// One way of dying.
struct Case {
    from: Side,
    step: usize,
    point: String,
    /// Taken back, and not finished.
    back: bool,
}

fn full() -> bool {
    std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full")
}

/// Which share it is today.
fn turn() -> usize {
    let commit = try_sh(&format!("git -C {} rev-parse HEAD", env!("CARGO_MANIFEST_DIR")));
    let text = String::from_utf8_lossy(&commit.stdout).into_owned();
    // Sources that came without their history have the first share.
    text.get(..6)
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .unwrap_or_default()
}

/// The cases of one test for a switch of so many steps: one is taken back, the next one is finished, and so on.
fn cases(from: Side, steps: usize, test: usize) -> Vec<Case> {
    let points = (0..steps).flat_map(|step| MOMENTS.map(|moment| (step, format!("{moment}:{step}"))));
    let (stride, turn) = if full() { (1, 0) } else { (SHARE, turn() % SHARE) };
    let taken = points.skip(turn).step_by(stride).skip(test).step_by(TESTS);
    taken
        .enumerate()
        .map(|(n, (step, point))| Case {
            from,
            step,
            point,
            back: (n + test).is_multiple_of(2),
        })
        .collect()
}

fn steps(site: &Site, command: &str) -> usize {
    let plan = site
        .stack
        .rehome(&command.replace("-y", "--dry-run --json"))
        .exits(0);
    plan.json()["steps"].as_array().expect("steps").len()
}

/// What a case did, and what came of it.
fn tried(site: &Site, n: usize, case: &Case) {
    let stack = &site.stack;
    let (command, point) = (case.from.away(), &case.point);
    site.dies(command, point);
    stack.rehome(command).exits(3).says("is not finished");
    // The recovery dies as well, somewhere on its way, if it comes by there, and is begun again.
    let (recovery, dies_at) = match case.back {
        true => {
            let moment = ["before-undo", "after-undo"][n % 2];
            ("rollback -y", format!("{moment}:{}", n % (case.step + 1)))
        }
        false => ("resume", format!("after-apply:{}", case.step + 1 + n % 2)),
    };
    let told = format!("{command} killed at {point}, {recovery} at {dies_at}");
    let died = stack.rehome_env(recovery, &[("REHOME_CRASH_AT", &dies_at)]);
    match died.code {
        0 => {}
        -1 => drop(stack.rehome(recovery).exits(0)),
        code => panic!("{told}: {code}\n{}", died.err),
    }
    let side = if case.back { case.from } else { case.from.other() };
    site.is_on(side, &told);
    stack.assert_tidy();
}

fn killed(test: usize) {
    let site = Site::up();
    let there = steps(&site, Side::Volume.away());
    // To set the bucket up is the one step that the way back does not have.
    let mut todo = [
        cases(Side::Volume, there, test),
        cases(Side::Bucket, there - 1, test),
    ];
    let all = todo.iter().map(Vec::len).sum();
    let (mut side, mut number) = (Side::Volume, 0);
    site.under_load(|| {
        while number < all {
            if side == Side::Bucket && number < 3 {
                assert_eq!(steps(&site, side.away()), there - 1);
            }
            let list = &mut todo[usize::from(side == Side::Bucket)];
            match list.pop() {
                Some(case) => {
                    tried(&site, number, &case);
                    number += 1;
                    side = if case.back { side } else { side.other() };
                }
                None => {
                    site.stack.rehome(side.away()).exits(0);
                    side = side.other();
                }
            }
        }
    });
    site.is_on(side, "at the end");
}

#[test]
fn killed_at_a_point_1() {
    killed(0);
}

#[test]
fn killed_at_a_point_2() {
    killed(1);
}

#[test]
fn killed_at_a_point_3() {
    killed(2);
}

#[test]
fn killed_at_a_point_4() {
    killed(3);
}
