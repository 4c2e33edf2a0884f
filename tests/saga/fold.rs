//! The fold over records: what is legal is what was due, whatever order the records come in.

use proptest::prelude::*;
use rehome::event::Outcome;
use rehome::model::{Failure, ProjectName, RunId};
use rehome::saga::{Entry, FORMAT, Next, Opened, PlannedStep, Reason, Record, State};
use serde_json::{Value, json};

fn entry(record: Record) -> Entry {
    Entry {
        at: "2001-02-03T04:05:06Z".parse().unwrap(),
        record,
    }
}

fn opened(steps: usize, point_of_no_return: Option<usize>) -> Entry {
    let planned = |n| PlannedStep {
        title: format!("step {n}"),
        step: Value::Null,
    };
    entry(Record::Opened(Opened {
        format: FORMAT,
        by: "rehome test".into(),
        run: RunId::new("7k2f9q").unwrap(),
        project: ProjectName::new("kms").unwrap(),
        title: "test".into(),
        header: Value::Null,
        steps: (0..steps).map(planned).collect(),
        point_of_no_return,
    }))
}

fn prepared(step: usize) -> Record {
    Record::Prepared {
        step,
        receipt: json!({ "of": step }),
    }
}

fn applied(step: usize) -> Record {
    Record::Applied {
        step,
        detail: None,
        millis: 1,
    }
}

fn failed(step: usize) -> Record {
    Record::Failed {
        step,
        failure: Failure::environment("it broke"),
    }
}

fn undone(step: usize) -> Record {
    Record::Undone { step, millis: 1 }
}

fn unwind(reason: Reason) -> Record {
    Record::UnwindBegan { reason }
}

fn closed(outcome: Outcome) -> Record {
    Record::Closed { outcome }
}

fn resumed() -> Record {
    Record::Resumed {
        by: "rehome test".into(),
    }
}

fn undo_failed(step: usize) -> Record {
    Record::UndoFailed {
        step,
        failure: Failure::environment("it broke again"),
    }
}

fn fold(steps: usize, point: Option<usize>, records: &[Record]) -> Result<State, String> {
    let entries: Vec<Entry> = std::iter::once(opened(steps, point))
        .chain(records.iter().cloned().map(entry))
        .collect();
    State::fold(&entries)
        .map(Option::unwrap)
        .map_err(|(line, e)| format!("{line}: {e}"))
}

#[test]
fn what_is_next_on_the_way_there() {
    let next = |records: &[Record]| format!("{:?}", fold(2, Some(1), records).unwrap().next());
    let way = [
        prepared(0),
        applied(0),
        Record::PassedPointOfNoReturn,
        prepared(1),
        applied(1),
        closed(Outcome::Done),
    ];
    let expected = [
        "Prepare(0)",
        "Apply(0, Object {\"of\": Number(0)})",
        "PassPoint",
        "Prepare(1)",
        "Apply(1, Object {\"of\": Number(1)})",
        "Close(Done)",
        "Ended(Done)",
    ];
    for (taken, expected) in expected.iter().enumerate() {
        assert_eq!(next(&way[..taken]), *expected);
    }
}

#[test]
fn what_is_next_on_the_way_back() {
    let mut records = vec![prepared(0), applied(0), prepared(1), failed(1)];
    assert!(matches!(
        fold(3, None, &records).unwrap().next(),
        Next::Unwind(1, _)
    ));
    records.push(unwind(Reason::Failed));
    let state = fold(3, None, &records).unwrap();
    assert_eq!(
        state.next(),
        Next::Undo(1, &json!({ "of": 1 })),
        "also the one that was never applied"
    );
    records.push(undo_failed(1));
    assert!(
        matches!(fold(3, None, &records).unwrap().next(), Next::Stuck(1, f) if f.what == "it broke again")
    );
    records.push(resumed());
    assert!(
        matches!(fold(3, None, &records).unwrap().next(), Next::Undo(1, _)),
        "it is tried again"
    );
    records.extend([undone(1), undone(0)]);
    let state = fold(3, None, &records).unwrap();
    assert_eq!(state.next(), Next::Close(Outcome::RolledBack));
    assert_eq!(state.cause().unwrap().1.what, "it broke");
    records.push(closed(Outcome::RolledBack));
    let state = fold(3, None, &records).unwrap();
    assert_eq!(state.next(), Next::Ended(Outcome::RolledBack));
    assert_eq!(
        state.cause().unwrap().1.what,
        "it broke",
        "why is still known at the end"
    );
    assert_eq!(state.resumed(), 1);
}

#[test]
fn how_a_run_ends_that_prepared_nothing() {
    let ends = |failure: Failure| {
        let records = [Record::Failed { step: 0, failure }, unwind(Reason::Failed)];
        format!("{:?}", fold(1, None, &records).unwrap().next())
    };
    assert_eq!(ends(Failure::environment("x")), "Close(Failed)");
    assert_eq!(ends(Failure::refused("x")), "Close(Refused)");
    assert_eq!(ends(Failure::interrupted("x")), "Close(RolledBack)");
    let asked = fold(1, None, &[unwind(Reason::Asked)]).unwrap();
    assert_eq!(asked.next(), Next::Close(Outcome::RolledBack));
}

#[test]
fn records_out_of_their_order_are_refused() {
    let point = Record::PassedPointOfNoReturn;
    for (records, why) in [
        (
            vec![applied(0)],
            "2: the application of step 1 cannot be here: the preparation of step 1 was due",
        ),
        (
            vec![prepared(1)],
            "2: the preparation of step 2 cannot be here: the preparation of step 1 was due",
        ),
        (
            vec![prepared(0), prepared(0)],
            "3: the preparation of step 1 cannot be here: the application of step 1 was due",
        ),
        (
            vec![prepared(0), undone(0)],
            "3: the undoing of step 1 cannot be here: the application of step 1 was due",
        ),
        (
            vec![point.clone()],
            "2: the point of no return cannot be here: the preparation of step 1 was due",
        ),
        (
            vec![prepared(0), applied(0), prepared(1)],
            "4: the preparation of step 2 cannot be here: the point of no return was due",
        ),
        (
            vec![prepared(0), applied(0), point.clone(), unwind(Reason::Asked)],
            "5: the beginning of the way back cannot be here: the preparation of step 2 was due",
        ),
        (
            vec![failed(0), prepared(0)],
            "3: the preparation of step 1 cannot be here: the way back, as step 1 failed was due",
        ),
        (
            vec![prepared(0), unwind(Reason::Asked), applied(0)],
            "4: the application of step 1 cannot be here: the undoing of step 1 was due",
        ),
        (
            vec![prepared(0), unwind(Reason::Failed)],
            "3: the beginning of the way back cannot be here: the application of step 1 was due",
        ),
        (
            vec![unwind(Reason::Asked), closed(Outcome::Done)],
            "3: the end of the run (done) cannot be here: the end of the run (rolled back) was due",
        ),
        (
            vec![unwind(Reason::Asked), closed(Outcome::RolledBack), resumed()],
            "4: a resumption cannot be here: nothing was due",
        ),
        (
            vec![prepared(9)],
            "2: the preparation of step 10 cannot be here: the preparation of step 1 was due",
        ),
    ] {
        assert_eq!(
            fold(2, Some(1), &records).map(|_| ()),
            Err(why.to_owned()),
            "{records:?}"
        );
    }
    let nothing: [Entry; 0] = [];
    assert!(State::fold(&nothing).unwrap().is_none());
    assert_eq!(State::fold(&[entry(prepared(0))]).unwrap_err().0, 1);
    assert!(
        State::fold(&[opened(1, Some(1))]).is_err(),
        "a point of no return behind the last step"
    );
}

fn record() -> impl Strategy<Value = Record> {
    let outcome = prop_oneof![
        Just(Outcome::Done),
        Just(Outcome::RolledBack),
        Just(Outcome::Failed),
        Just(Outcome::Stuck),
    ];
    let reason = prop_oneof![
        Just(Reason::Failed),
        Just(Reason::Interrupted),
        Just(Reason::Asked)
    ];
    prop_oneof![
        (0_usize..4).prop_map(prepared),
        (0_usize..4).prop_map(applied),
        (0_usize..4).prop_map(failed),
        (0_usize..4).prop_map(undone),
        (0_usize..4).prop_map(undo_failed),
        reason.prop_map(unwind),
        outcome.prop_map(closed),
        Just(resumed()),
        Just(Record::PassedPointOfNoReturn),
        Just(opened(1, None).record),
    ]
}

/// What answers the state, if anything does.
fn due(state: &State) -> Option<Record> {
    match state.next() {
        Next::Prepare(step) => Some(prepared(step)),
        Next::Apply(step, _) => Some(applied(step)),
        Next::PassPoint => Some(Record::PassedPointOfNoReturn),
        Next::Unwind(..) => Some(unwind(Reason::Failed)),
        Next::Undo(step, _) => Some(undone(step)),
        Next::Close(outcome) => Some(closed(outcome)),
        Next::Stuck(..) => Some(resumed()),
        Next::Ended(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of any records, those that are admitted make a run that keeps its promises, told here in another way.
    #[test]
    fn what_is_admitted_keeps_the_promises(
        records in proptest::collection::vec((any::<bool>(), record()), 0..60),
        point in proptest::option::of(0_usize..3),
    ) {
        let mut state = State::open(&opened(3, point)).unwrap();
        let mut story = Vec::new();
        for (expected, random) in records {
            let due = due(&state);
            prop_assert!(due.as_ref().is_none_or(|due| state.admits(due).is_ok()), "there is always a way on");
            let record = if expected { due.unwrap_or(random) } else { random };
            let before = format!("{state:?}");
            let admitted = state.admits(&record).is_ok();
            prop_assert_eq!(state.accept(&entry(record.clone())).is_ok(), admitted);
            if admitted { story.push(record) } else { prop_assert_eq!(format!("{state:?}"), before) }
        }
        let place = |wanted: &dyn Fn(&Record) -> bool| story.iter().position(wanted);
        let back = place(&|r| matches!(r, Record::UnwindBegan { .. }));
        let passed = place(&|r| *r == Record::PassedPointOfNoReturn);
        prop_assert!(back.is_none() || passed.is_none(), "after the point of no return only forward: {:?}", story);
        for step in 0..3 {
            let p = place(&|r| matches!(r, Record::Prepared { step: s, .. } if *s == step));
            let a = place(&|r| matches!(r, Record::Applied { step: s, .. } if *s == step));
            let u = place(&|r| matches!(r, Record::Undone { step: s, .. } if *s == step));
            prop_assert!(a.is_none() || p < a, "prepared before applied: {:?}", story);
            prop_assert!(u.is_none() || (p.is_some() && p < back && back < u), "undone on the way back: {:?}", story);
            if let Some(end) = place(&|r| matches!(r, Record::Closed { .. })) {
                prop_assert_eq!(end, story.len() - 1, "nothing follows the end");
                prop_assert!(p.is_none() || back.is_none() || u.is_some(), "every prepared step is undone: {:?}", story);
                prop_assert!(back.is_some() || a.is_some(), "done means all of it: {:?}", story);
            }
        }
    }
}
