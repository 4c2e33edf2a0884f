//! Single properties of the executor: what is told, what is refused, where it stops when nothing else is right.

use std::sync::{Arc, Mutex};

use rehome::event::{Event, Events, Outcome, Silent};
use rehome::model::{Failure, Kind, ProjectName, Result};
use rehome::saga::recovery::{Condition, examine, newest, survey, unfinished};
use rehome::saga::{Executor, Interrupt, Next, Plan, Step, StepStatus};
use rehome::state::{FileStore, ProjectDir, ProjectKey, StateDir};
use serde::{Deserialize, Serialize};

use super::harness::{Came, Process, Way, poll, process, the_plan};
use super::steps::{ORDER, SimStep};
use super::texts::told;
use super::world::{Disk, Fault, World};

fn ended(came: Came) -> rehome::saga::Ended {
    match came {
        Came::To(ended) => *ended,
        Came::Crashed => panic!("it crashed"),
        Came::Refused(failure) => panic!("{}", told(&failure)),
    }
}

fn refused(came: Came) -> Failure {
    match came {
        Came::Refused(failure) => failure,
        Came::Crashed => panic!("it crashed"),
        Came::To(ended) => panic!("{:?}", ended.outcome),
    }
}

/// The passage at which the point is reached, in a run to which nothing else happens.
fn passage_of(point: &str) -> usize {
    let world = World::new(None);
    let crash = Process {
        crash_at: Some(point.to_owned()),
        ..Process::new(Way::Resume, &[])
    };
    process::<SimStep>(&world, true, false, &crash);
    let passages = world.inside().passages;
    assert!(world.inside().dead, "{point} is never reached");
    passages
}

#[test]
fn an_undo_that_fails_stops_there_until_somebody_tries_again() {
    // Each step that changes something: what comes later is undone, what came before is not touched.
    for (place, step) in [(0, "make home"), (2, "stop"), (5, "switch"), (6, "start")] {
        for way in [Way::Resume, Way::Rollback] {
            let world = World::new(None);
            let before = world.inside().stack.clone();
            world.inside().cursed = Some(step);
            let fails = Process::new(way, &[(passage_of("before-apply:7"), Fault::FailBefore)]);
            let stuck = ended(process::<SimStep>(&world, true, false, &fails));
            assert_eq!(stuck.outcome, Outcome::Stuck, "{step}");
            assert_eq!(stuck.failure.as_ref().unwrap().kind, Kind::Stuck);
            assert_eq!(
                stuck.failure.as_ref().unwrap().what,
                format!("cannot undo `{step}`")
            );
            let statuses: Vec<_> = stuck.state.reports().iter().map(|r| r.status).collect();
            assert!(
                statuses[..=place].iter().all(|s| *s == StepStatus::Applied),
                "{step}: {statuses:?}"
            );
            assert!(
                statuses[place + 1..8].iter().all(|s| *s == StepStatus::Undone),
                "{step}: {statuses:?}"
            );
            // Tried again while the cause is still there: still stuck, still nothing else touched.
            let journal = world.inside().journal.len();
            let again = ended(process::<SimStep>(&world, false, false, &Process::new(way, &[])));
            assert_eq!(again.outcome, Outcome::Stuck);
            assert!(world.inside().journal.len() > journal, "the attempt is on record");
            world.inside().cursed = None;
            let over = ended(process::<SimStep>(&world, false, false, &Process::new(way, &[])));
            assert_eq!(over.outcome, Outcome::RolledBack);
            let failure = over.failure.unwrap();
            assert_eq!(
                (failure.kind, failure.what.as_str()),
                (Kind::RolledBack, "prove: something broke")
            );
            assert_eq!(world.inside().stack.running, before.running);
            assert_eq!(world.inside().stack.env, before.env);
            assert!(world.inside().violations.is_empty());
        }
    }
}

#[test]
fn what_a_stuck_run_says() {
    let world = World::new(None);
    world.inside().cursed = Some("switch");
    let fails = Process::new(Way::Resume, &[(passage_of("before-apply:7"), Fault::FailBefore)]);
    let stuck = ended(process::<SimStep>(&world, true, false, &fails));
    insta::assert_snapshot!(told(&stuck.failure.unwrap()), @r"
    cannot undo `switch`
    caused by: switch: something broke
    caused by: it was to be undone because: prove: something broke
    hint: when the cause is gone: rehome rollback 7k2f9q
    ");
}

#[test]
fn behind_the_point_of_no_return_a_failure_waits_and_only_forward_is_possible() {
    let world = World::new(None);
    let at = passage_of("before-apply:8") + 1;
    let came = process::<SimStep>(
        &world,
        true,
        true,
        &Process::new(Way::Resume, &[(at, Fault::FailBefore)]),
    );
    let stuck = ended(came);
    assert_eq!(stuck.outcome, Outcome::Stuck);
    insta::assert_snapshot!(told(&stuck.failure.unwrap()), @r"
    cannot finish `finish`, and there is no way back from here
    caused by: finish: something broke
    hint: when the cause is gone: rehome resume 7k2f9q
    ");
    let journal = world.inside().journal.clone();
    let no = refused(process::<SimStep>(
        &world,
        false,
        true,
        &Process::new(Way::Rollback, &[]),
    ));
    insta::assert_snapshot!(told(&no), @r"
    run 7k2f9q has passed its point of no return
    data: nothing was changed by this command
    hint: finish it: rehome resume 7k2f9q
    ");
    assert_eq!(
        world.inside().journal,
        journal,
        "a refused command writes nothing"
    );
    let done = ended(process::<SimStep>(
        &world,
        false,
        true,
        &Process::new(Way::Resume, &[]),
    ));
    assert_eq!(done.outcome, Outcome::Done);
    assert!(done.failure.is_none());
}

#[test]
fn a_finished_run_is_neither_resumed_nor_rolled_back() {
    let world = World::new(None);
    assert_eq!(
        ended(process::<SimStep>(
            &world,
            true,
            false,
            &Process::new(Way::Resume, &[])
        ))
        .outcome,
        Outcome::Done
    );
    let journal = world.inside().journal.clone();
    for way in [Way::Resume, Way::Rollback] {
        let failure = refused(process::<SimStep>(&world, false, false, &Process::new(way, &[])));
        assert_eq!(failure.kind, Kind::Refused);
        assert_eq!(
            failure.what,
            "run 7k2f9q is finished: everything was done and verified"
        );
    }
    assert_eq!(world.inside().journal, journal);
}

#[test]
fn a_failure_before_anything_was_prepared_is_no_rollback() {
    let world = World::new(None);
    let first = passage_of("before-prepare:0");
    let ended = ended(process::<SimStep>(
        &world,
        true,
        false,
        &Process::new(Way::Resume, &[(first, Fault::FailBefore)]),
    ));
    assert_eq!(ended.outcome, Outcome::Failed);
    assert_eq!(
        ended.failure.unwrap().kind,
        Kind::Environment,
        "exit 1: there was nothing to roll back"
    );
}

/// Writes events down, without what differs from run to run.
#[derive(Default)]
struct Scribe(Mutex<Vec<String>>);

impl Events for Scribe {
    fn tell(&self, event: Event) {
        let line = match event {
            Event::RunStarted {
                run, title, resumed, ..
            } => format!("run {run} {title}, resumed: {resumed}"),
            Event::StepStarted { step, of, title } => format!("{}/{of} {title}", step + 1),
            Event::StepFinished {
                title, detail: None, ..
            } => format!("  {title} done"),
            Event::StepFinished {
                title,
                detail: Some(detail),
                ..
            } => format!("  {title} done: {detail}"),
            Event::StepFailed { title, failure, .. } => format!("  {title} failed: {failure}"),
            Event::UnwindStarted { reason } => format!("back: {reason}"),
            Event::StepUndone { title, .. } => format!("  {title} undone"),
            Event::Note { level, text } => format!("{level:?}: {text}"),
            other => panic!("not the executor's to tell: {other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

fn tells(world: &World, faults: &[(usize, Fault)], first: bool, no_return: bool) -> String {
    let scribe = Arc::new(Scribe::default());
    let interrupt = world.next_process(faults, None);
    let executor = Executor::new(scribe.clone()).heeding(interrupt);
    let disk = Disk(world.clone());
    if first {
        poll(executor.run::<SimStep>(the_plan(no_return), disk, world)).map(Result::unwrap);
    } else {
        poll(executor.resume::<SimStep>(disk, world)).map(Result::unwrap);
    }
    let lines = scribe.0.lock().unwrap();
    lines.join("\n")
}

#[test]
fn what_is_told_on_the_way_there_and_back() {
    let world = World::new(None);
    let fails = passage_of("after-apply:4");
    insta::assert_snapshot!(tells(&world, &[(fails, Fault::FailBefore)], true, false), @r"
    run 7k2f9q move, resumed: false
    1/9 make home
      make home done
    2/9 pre-copy
      pre-copy done
    3/9 stop
      stop done: 3 services are down
    4/9 delta
      delta done
    5/9 compare
      compare failed: compare: something broke
    back: compare: something broke
      compare undone
      delta undone
      stop undone
      pre-copy undone
      make home undone
    ");
}

#[test]
fn what_is_told_when_a_run_is_taken_up_again() {
    let world = World::new(None);
    tells(
        &world,
        &[(passage_of("after-apply:6"), Fault::CrashBefore)],
        true,
        false,
    );
    insta::assert_snapshot!(tells(&world, &[], false, false), @r"
    run 7k2f9q move, resumed: true
    7/9 start
      start done
    8/9 prove
      prove done
    9/9 finish
      finish done
    ");
}

#[test]
fn ctrl_c_behind_the_point_of_no_return_is_told_and_not_heeded() {
    let world = World::new(None);
    let at = passage_of("before-apply:8") + 1;
    let told = tells(&world, &[(at, Fault::Interrupt)], true, true);
    let last: Vec<_> = told.lines().rev().take(2).collect();
    assert_eq!(
        last,
        [
            "Warning: not stopping: the point of no return is passed, and the run goes on to its end",
            "  finish done"
        ]
    );
}

#[test]
fn what_was_verified_and_how_long_it_took_is_kept() {
    let world = World::new(None);
    let done = ended(process::<SimStep>(
        &world,
        true,
        false,
        &Process::new(Way::Resume, &[]),
    ));
    let reports = done.state.reports();
    assert_eq!(
        reports.iter().map(|r| r.title.as_str()).collect::<Vec<_>>(),
        ORDER
    );
    assert!(
        reports
            .iter()
            .all(|r| r.status == StepStatus::Applied && r.millis.is_some() && r.failure.is_none())
    );
    assert_eq!(reports[2].detail.as_deref(), Some("3 services are down"));
    assert_eq!(done.state.opened().header["directory"], "/srv/kms");
    assert!(done.state.started() <= done.state.last());
}

/// A step whose receipt is as large as it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Large {
    bytes: usize,
}

impl Step for Large {
    type Cx = Mutex<Vec<&'static str>>;
    type Receipt = String;
    fn title(&self) -> String {
        format!("keep {} bytes", self.bytes)
    }
    async fn prepare(&self, _: &Self::Cx) -> Result<String> {
        Ok("x".repeat(self.bytes))
    }
    async fn apply(&self, log: &Self::Cx, _: &String) -> Result<()> {
        log.lock().unwrap().push("apply");
        Ok(())
    }
    async fn verify(&self, _: &Self::Cx, _: &String) -> Result<Option<String>> {
        Ok(None)
    }
    async fn undo(&self, log: &Self::Cx, _: &String) -> Result<()> {
        log.lock().unwrap().push("undo");
        Ok(())
    }
}

fn large(sizes: &[usize]) -> Plan<Large> {
    let plan = the_plan::<SimStep>(false);
    Plan {
        run: plan.run,
        project: plan.project,
        title: plan.title,
        header: plan.header,
        steps: sizes.iter().map(|bytes| Large { bytes: *bytes }).collect(),
        point_of_no_return: None,
    }
}

#[test]
fn a_receipt_that_no_journal_can_keep_is_a_failure_of_its_step() {
    let world = World::new(None);
    let log = Mutex::default();
    let executor = Executor::new(Arc::new(Silent));
    let ended = poll(executor.run(large(&[10, 5 << 20]), Disk(world.clone()), &log))
        .unwrap()
        .unwrap();
    assert_eq!(ended.outcome, Outcome::RolledBack);
    assert_eq!(
        ended.failure.unwrap().what,
        "a step recorded more than a journal can keep"
    );
    assert_eq!(
        *log.lock().unwrap(),
        ["apply", "undo"],
        "the first is done and undone, the second never begun"
    );
}

#[test]
fn a_run_of_a_version_with_other_steps_is_refused_untouched() {
    let world = World::new(None);
    let log = Mutex::default();
    let executor = Executor::new(Arc::new(Silent));
    process::<SimStep>(
        &world,
        true,
        false,
        &Process::new(Way::Resume, &[(9, Fault::CrashBefore)]),
    );
    world.next_process(&[], None);
    let journal = world.inside().journal.clone();
    let failure = poll(executor.resume::<Large>(Disk(world.clone()), &log))
        .unwrap()
        .unwrap_err();
    assert_eq!(failure.kind, Kind::Refused);
    assert_eq!(failure.what, "this version does not know the step `make home`");
    let hint = format!(
        "the run was begun by rehome {}: use that version to go on",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(failure.hints, [hint]);
    assert_eq!(world.inside().journal, journal);
    assert!(log.lock().unwrap().is_empty());
}

#[test]
fn a_plan_that_cannot_be_written_down_begins_nothing() {
    let world = World::new(None);
    let log = Mutex::default();
    let plan = Plan {
        point_of_no_return: Some(1),
        ..large(&[1])
    };
    let failure = poll(Executor::new(Arc::new(Silent)).run(plan, Disk(world.clone()), &log))
        .unwrap()
        .unwrap_err();
    assert_eq!(failure.kind, Kind::Bug);
    assert!(world.inside().journal.is_empty());
    let empty = ended(process_empty(&world));
    assert_eq!(empty.outcome, Outcome::Done, "a plan without steps is done");
}

fn process_empty(world: &World) -> Came {
    let log = Mutex::default();
    match poll(Executor::new(Arc::new(Silent)).run(large(&[]), Disk(world.clone()), &log)).unwrap() {
        Ok(ended) => Came::To(Box::new(ended)),
        Err(failure) => Came::Refused(failure),
    }
}

fn project(root: &std::path::Path) -> ProjectDir {
    let name = ProjectName::new("kms").unwrap();
    StateDir::resolve(Some(root), false, |_| None)
        .unwrap()
        .project(&ProjectKey::new(&name, None))
}

/// On real files: the same loop, the list of runs, and each condition that a run can be in.
#[test]
fn runs_on_a_disk_are_listed_as_what_they_are() {
    let root = tempfile::tempdir().unwrap();
    let project = project(root.path());
    assert!(survey(&project).unwrap().is_empty());
    let log = Mutex::default();
    let executor = Executor::new(Arc::new(Silent));

    let never = project.create_run().unwrap();
    assert!(unfinished(&project).unwrap().is_none());

    let done = project.create_run().unwrap();
    let plan = Plan {
        run: done.id().clone(),
        ..large(&[1, 2])
    };
    let ended = poll(executor.run(plan, FileStore::create(&done.journal()).unwrap(), &log))
        .unwrap()
        .unwrap();
    assert_eq!(ended.outcome, Outcome::Done);

    let open = project.create_run().unwrap();
    let plan = Plan {
        run: open.id().clone(),
        ..large(&[1, 2])
    };
    let interrupt = Interrupt::new();
    interrupt.raise();
    let interrupted = executor.clone().heeding(interrupt);
    let ended = poll(interrupted.run(plan, FileStore::create(&open.journal()).unwrap(), &log))
        .unwrap()
        .unwrap();
    assert_eq!(ended.outcome, Outcome::RolledBack);
    // As if the process had been killed before it could write the end, and in the middle of that.
    let text = std::fs::read(open.journal()).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    assert!(lines.last().unwrap().windows(6).any(|w| w == b"closed"));
    std::fs::write(open.journal(), &text[..text.len() - 5]).unwrap();

    let damaged = project.create_run().unwrap();
    std::fs::write(damaged.journal(), "this is no journal\n").unwrap();

    assert!(matches!(examine(never.clone()).condition, Condition::NeverBegan));
    assert!(matches!(examine(done.clone()).condition, Condition::Closed(_)));
    assert!(matches!(
        examine(damaged.clone()).condition,
        Condition::Unreadable(_)
    ));
    match examine(open.clone()).condition {
        Condition::Open(state) => assert_eq!(state.next(), Next::Close(Outcome::RolledBack)),
        other => panic!("{other:?}"),
    }
    let all = survey(&project).unwrap();
    assert_eq!(all.len(), 4, "none is left out");
    assert!(
        all.iter()
            .all(|run| run.is_unfinished() == [open.id(), damaged.id()].contains(&run.dir.id()))
    );
    assert!(newest(&project).unwrap().is_some());

    let over = poll(executor.resume::<Large>(FileStore::open(&open.journal()).unwrap(), &log))
        .unwrap()
        .unwrap();
    assert_eq!(over.outcome, Outcome::RolledBack);
    assert!(matches!(examine(open).condition, Condition::Closed(_)));
    let failure =
        match FileStore::open(&damaged.journal()).map(|s| poll(executor.resume::<Large>(s, &log)).unwrap()) {
            Ok(Err(failure)) | Err(failure) => failure,
            Ok(Ok(ended)) => panic!("{:?}", ended.outcome),
        };
    assert_eq!(failure.kind, Kind::Stuck);
    assert_eq!(
        std::fs::read(damaged.journal()).unwrap(),
        b"this is no journal\n",
        "left as it is"
    );
}
