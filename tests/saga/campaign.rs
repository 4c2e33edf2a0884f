//! The scenarios. What is counted out here (every passage of the gate, every journal write, every byte of a line) is
//! counted from a run to which nothing happens, so a new step or record is covered without a word.

use proptest::prelude::*;
use rehome::saga::Step;

use super::harness::{Came, End, Played, Process, Scenario, Way, play, process};
use super::steps::{SimStep, Twice};
use super::world::{Fault, World};

impl From<SimStep> for Twice<SimStep> {
    fn from(step: SimStep) -> Self {
        Twice(step)
    }
}

fn full() -> bool {
    std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full")
}

/// What the last process of a scenario passes, to which nothing happens.
pub struct Measure {
    pub passages: usize,
    /// Where journal lines are written, and how long each is.
    pub appends: Vec<(usize, usize)>,
    /// Where something is only looked at.
    pub looks: Vec<usize>,
    pub points: Vec<String>,
}

pub fn measure<S>(scenario: &Scenario) -> Measure
where
    S: Step<Cx = World> + From<SimStep>,
{
    let world = World::new(None);
    for (number, it) in scenario.processes.iter().enumerate() {
        process::<S>(&world, number == 0, scenario.no_return, it);
    }
    let first = scenario.processes.is_empty();
    process::<S>(
        &world,
        first,
        scenario.no_return,
        &Process::new(scenario.last, &[]),
    );
    let inside = world.inside();
    Measure {
        passages: inside.passages,
        appends: inside.appends.clone(),
        looks: inside.looks.clone(),
        points: inside.points.clone(),
    }
}

const WAYS: [Way; 2] = [Way::Resume, Way::Rollback];
const CRASHES: [Fault; 3] = [Fault::CrashBefore, Fault::CrashAfter, Fault::Torn(30)];

/// Plays it; how many processes were killed.
fn expect<S>(scenario: &Scenario, wanted: Option<End>) -> usize
where
    S: Step<Cx = World> + From<SimStep>,
{
    let Played { end, killed } = play::<S>(scenario).unwrap_or_else(|e| panic!("{e}\n{scenario:?}"));
    assert!(
        wanted.is_none_or(|w| w == end),
        "{end:?} instead of {wanted:?}\n{scenario:?}"
    );
    killed
}

#[test]
fn nothing_happens_and_it_is_complete() {
    for no_return in [false, true] {
        let quiet = Scenario {
            no_return,
            ..Scenario::quiet()
        };
        expect::<SimStep>(&quiet, Some(End::Complete));
        expect::<Twice<SimStep>>(&quiet, Some(End::Complete));
    }
}

fn every_step_fails_everywhere<S>()
where
    S: Step<Cx = World> + From<SimStep>,
{
    let measured = measure::<S>(&Scenario::quiet());
    let mut failed = 0;
    for at in 0..measured.passages {
        if measured.appends.iter().any(|(append, _)| *append == at) {
            continue;
        }
        for fault in [Fault::FailBefore, Fault::FailAfter] {
            // To look cannot fail after the fact.
            let fails = fault == Fault::FailBefore || !measured.looks.contains(&at);
            let wanted = if fails { End::AsBefore } else { End::Complete };
            expect::<S>(&Scenario::one(&[(at, fault)], Way::Resume), Some(wanted));
            failed += usize::from(fails);
        }
    }
    assert!(failed > 40, "{failed} failures are too few to be every one");
}

#[test]
fn every_step_fails_everywhere_and_everything_is_as_before() {
    every_step_fails_everywhere::<SimStep>();
}

#[test]
fn every_step_runs_twice_and_fails_everywhere() {
    every_step_fails_everywhere::<Twice<SimStep>>();
}

#[test]
fn a_crash_anywhere_ends_complete_by_resume_and_as_before_by_rollback() {
    for no_return in [false, true] {
        let passages = measure::<SimStep>(&Scenario {
            no_return,
            ..Scenario::quiet()
        })
        .passages;
        for at in 0..passages {
            for fault in CRASHES {
                let scenario = |last| Scenario {
                    no_return,
                    ..Scenario::one(&[(at, fault)], last)
                };
                // Before the plan is on disk there is nothing to resume; after the end nothing to roll back.
                let began = at > 0 || fault == Fault::CrashAfter;
                let wanted = if began { End::Complete } else { End::AsBefore };
                let killed = expect::<SimStep>(&scenario(Way::Resume), Some(wanted));
                assert_eq!(killed, 1, "{at}");
                let too_late =
                    (no_return && at > passages - 7) || (at == passages - 1 && fault == Fault::CrashAfter);
                expect::<SimStep>(
                    &scenario(Way::Rollback),
                    if too_late { None } else { Some(End::AsBefore) },
                );
            }
        }
    }
}

#[test]
fn a_crash_at_every_named_point() {
    let points = measure::<SimStep>(&Scenario::quiet()).points;
    for wanted in [
        "before-prepare:0",
        "after-prepare:8",
        "after-verify:3",
        "before-journal:0",
        "after-journal:19",
    ] {
        assert!(points.iter().any(|p| p == wanted), "{wanted} in {points:?}");
    }
    for point in points {
        for last in WAYS {
            let crash = Process {
                crash_at: Some(point.clone()),
                ..Process::new(Way::Resume, &[])
            };
            let scenario = Scenario {
                processes: vec![crash],
                last,
                ..Scenario::quiet()
            };
            let ended = point == "after-journal:19";
            let began = point != "before-journal:0";
            let complete = ended || (began && last == Way::Resume);
            expect::<SimStep>(
                &scenario,
                Some(if complete { End::Complete } else { End::AsBefore }),
            );
        }
    }
}

#[test]
fn a_journal_that_cannot_be_written_stops_the_run_and_it_goes_on_later() {
    for (at, _) in measure::<SimStep>(&Scenario::quiet()).appends {
        for fault in [Fault::FailBefore, Fault::FailAfter] {
            for last in WAYS {
                let world = World::new(None);
                let came = process::<SimStep>(&world, true, false, &Process::new(last, &[(at, fault)]));
                match came {
                    Came::To(ended) => {
                        assert_eq!(ended.outcome, rehome::event::Outcome::Interrupted);
                        let failure = ended.failure.unwrap();
                        assert_eq!(failure.kind, rehome::model::Kind::Interrupted);
                        assert_eq!(failure.what, "cannot write the journal /state/journal");
                    }
                    Came::Refused(failure) => assert_eq!(failure.data.as_deref(), Some("nothing was begun")),
                    Came::Crashed => panic!("{at}"),
                }
                assert_eq!(
                    world.inside().passages,
                    at + 1,
                    "nothing was done after the failed write"
                );
                expect::<SimStep>(&Scenario::one(&[(at, fault)], last), None);
            }
        }
    }
}

#[test]
fn ctrl_c_anywhere_ends_as_before_or_complete() {
    let passages = measure::<SimStep>(&Scenario::quiet()).passages;
    for at in 0..passages {
        // In the very last step it is too late.
        let wanted = (at < passages - 6).then_some(End::AsBefore);
        expect::<SimStep>(&Scenario::one(&[(at, Fault::Interrupt)], Way::Resume), wanted);
    }
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for at in 0..measure::<SimStep>(&Scenario::quiet()).passages {
        expect::<SimStep>(&Scenario::one(&[(at, Fault::Lie)], Way::Resume), None);
    }
}

#[test]
fn two_crashes_in_a_row() {
    let stride = if full() { 1 } else { 3 };
    let passages = measure::<SimStep>(&Scenario::quiet()).passages;
    let mut killed = [0; 3];
    for first in (0..passages).step_by(stride) {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            for way in WAYS {
                let crashed = Scenario {
                    last: way,
                    ..Scenario::one(&[(first, fault)], way)
                };
                let rest = measure::<SimStep>(&crashed).passages;
                for second in (first % stride..rest).step_by(stride) {
                    let again = Process::new(way, &[(second, CRASHES[(first + second) % 3])]);
                    for last in WAYS {
                        let mut scenario = Scenario {
                            last,
                            ..crashed.clone()
                        };
                        scenario.processes.push(again.clone());
                        killed[expect::<SimStep>(&scenario, None)] += 1;
                    }
                }
            }
        }
    }
    // Only a run that was over or had not begun is not killed a second time.
    assert!(
        killed[2] > 1000 && killed[2] > 20 * killed[1] && killed[0] == 0,
        "{killed:?}"
    );
}

#[test]
fn a_failure_and_then_a_crash_on_the_way_back() {
    let measured = measure::<SimStep>(&Scenario::quiet());
    let stride = if full() { 1 } else { 3 };
    for at in (0..measured.passages).step_by(stride) {
        let failed = Scenario::one(&[(at, Fault::FailBefore)], Way::Resume);
        // The way back is at most as long as the way there.
        for crash in (at + 1..at + measured.passages).step_by(stride) {
            let faults = [(at, Fault::FailBefore), (crash, CRASHES[crash % 3])];
            let last = WAYS[(at + crash) % 2];
            expect::<SimStep>(
                &Scenario {
                    processes: vec![Process::new(Way::Resume, &faults)],
                    last,
                    ..failed.clone()
                },
                None,
            );
        }
        // And an undo that fails once.
        for broken in (at + 1..at + measured.passages).step_by(stride) {
            let faults = [(at, Fault::FailBefore), (broken, Fault::FailAfter)];
            let last = WAYS[(at + broken) % 2];
            expect::<SimStep>(
                &Scenario {
                    processes: vec![Process::new(Way::Resume, &faults)],
                    last,
                    ..failed.clone()
                },
                None,
            );
        }
    }
}

#[test]
fn last_lines_torn_at_every_length() {
    let stride = if full() { 1 } else { 11 };
    for (at, len) in measure::<SimStep>(&Scenario::quiet()).appends {
        let lengths = (0..len).step_by(stride).chain([len - 2, len - 1, len]);
        for (number, kept) in lengths.enumerate() {
            expect::<SimStep>(&Scenario::one(&[(at, Fault::Torn(kept))], WAYS[number % 2]), None);
        }
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::CrashBefore),
        4 => Just(Fault::CrashAfter),
        2 => (0_usize..400).prop_map(Fault::Torn),
        2 => Just(Fault::FailBefore),
        2 => Just(Fault::FailAfter),
        1 => Just(Fault::Interrupt),
        1 => Just(Fault::Lie),
    ]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Resume), Just(Way::Rollback)]
}

fn some_process() -> impl Strategy<Value = Process> {
    let faults = proptest::collection::vec((0_usize..110, fault()), 0..4);
    (way(), faults).prop_map(|(way, faults)| Process::new(way, &faults))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if full() { 50_000 } else { 600 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_misfortune(
        processes in proptest::collection::vec(some_process(), 0..5),
        last in way(),
        no_return in any::<bool>(),
        twice in any::<bool>(),
    ) {
        let scenario = Scenario { mutant: None, no_return, processes, last };
        let end = if twice { play::<Twice<SimStep>>(&scenario) } else { play::<SimStep>(&scenario) };
        prop_assert!(end.is_ok(), "{}", end.unwrap_err());
    }
}
