//! The switch is killed at every point, and the next command finishes it or takes it back: the site has its directory or
//! has it not, its data is there, and nothing is left.
//!
//! Every day another share of the points, which the commit chooses; with `REHOME_CAMPAIGN=full` all of them.

use super::site::{Site, full};
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
const SHARE: usize = 8;

/// Which share it is today.
fn turn() -> usize {
    let commit = try_sh(&format!("git -C {} rev-parse HEAD", env!("CARGO_MANIFEST_DIR")));
    let text = String::from_utf8_lossy(&commit.stdout).into_owned();
    // Sources that came without their history have the first share.
    text.get(..6)
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .unwrap_or_default()
}

pub fn points(steps: usize) -> Vec<(usize, String)> {
    let all = (0..steps).flat_map(|step| MOMENTS.map(|moment| (step, format!("{moment}:{step}"))));
    let (stride, turn) = if full() { (1, 0) } else { (SHARE, turn() % SHARE) };
    all.skip(turn).step_by(stride).collect()
}

/// Killed at each point of the way from `on`, taken back one time and finished the next.
fn killed(on: bool) {
    let site = Site::up();
    site.rehome(&format!("site add {} --project .", site.name()))
        .exits(0);
    // With data in it, which must stay.
    site.enable().exits(0);
    let note = site.note("from before").expect("acknowledged");
    let command = |on: bool| format!("site {} {}", if on { "enable" } else { "disable" }, site.name());
    let to = |wanted: bool| drop(site.rehome(&format!("{} -y", command(wanted))).exits(0));
    if !on {
        to(false);
    }
    let plan = site
        .rehome(&format!("{} --dry-run --json", command(!on)))
        .exits(0);
    let steps = plan.json()["steps"].as_array().expect("steps").len();
    for (n, (step, point)) in points(steps).into_iter().enumerate() {
        let died = site.rehome_env(&format!("{} -y", command(!on)), &[("REHOME_CRASH_AT", &point)]);
        assert_eq!(died.code, -1, "{point}: {}", died.err);
        site.rehome(&format!("{} -y", command(!on)))
            .exits(3)
            .says("is not finished");
        let back = n % 2 == 0;
        // The recovery dies as well, if it comes by there, and is begun again.
        let (recovery, dies_at) = match back {
            true => ("rollback -y", format!("after-undo:{}", n % (step + 1))),
            false => ("resume", format!("after-apply:{}", step + 1)),
        };
        let told = format!("{} killed at {point}, {recovery} at {dies_at}", command(!on));
        let died = site.rehome_env(recovery, &[("REHOME_CRASH_AT", &dies_at)]);
        match died.code {
            0 => {}
            -1 => drop(site.rehome(recovery).exits(0)),
            code => panic!("{told}: {code}\n{}", died.err),
        }
        site.is_so(if back { on } else { !on }, &told);
        assert!(site.notes().contains(&note), "{told}");
        let there = site.stack.dir.join("docker-compose.site.yml").exists();
        assert_eq!(there, if back { on } else { !on }, "{told}");
        site.stack.assert_tidy();
        if !back {
            to(on);
        }
    }
}

#[test]
fn killed_on_the_way_on() {
    killed(false);
}

#[test]
fn killed_on_the_way_off() {
    killed(true);
}
