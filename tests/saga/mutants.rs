//! Deliberate bugs. Each test passes only when the campaign finds the bug, and for the right reason.

use super::campaign::measure;
use super::harness::{End, Played, Process, Scenario, Way, play};
use super::steps::{SimStep, Twice};
use super::world::{Fault, Mutant};

/// Plays everything that can happen once, with the bug in, until the checker complains.
fn caught(mutant: Mutant) -> Option<String> {
    let quiet = Scenario {
        mutant: Some(mutant),
        ..Scenario::quiet()
    };
    let complete = |played: Result<Played, String>| match played.map(|p| p.end) {
        Ok(End::Complete) => None,
        Ok(End::AsBefore) => Some("nothing happened, and it was not complete".to_owned()),
        Err(complaint) => Some(complaint),
    };
    if let Some(complaint) =
        complete(play::<SimStep>(&quiet)).or_else(|| complete(play::<Twice<SimStep>>(&quiet)))
    {
        return Some(complaint);
    }
    let faults = [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::FailBefore,
        Fault::FailAfter,
        Fault::Lie,
    ];
    for at in 0..measure::<SimStep>(&Scenario::quiet()).passages {
        for fault in faults {
            for last in [Way::Resume, Way::Rollback] {
                let processes = vec![Process::new(Way::Resume, &[(at, fault)])];
                if let Err(complaint) = play::<SimStep>(&Scenario {
                    processes,
                    last,
                    ..quiet.clone()
                }) {
                    return Some(complaint);
                }
            }
        }
    }
    None
}

fn must_be_caught(mutant: Mutant, complaint: &str) {
    let found = caught(mutant).unwrap_or_else(|| panic!("{mutant:?} was not caught"));
    assert!(
        found.contains(complaint),
        "{mutant:?} was caught for another reason: {found}"
    );
}

#[test]
fn an_undo_that_does_nothing_is_caught() {
    must_be_caught(Mutant::UndoesNothing("make home"), "it left something behind");
    must_be_caught(Mutant::UndoesNothing("stop"), "other services run than before");
    must_be_caught(
        Mutant::UndoesNothing("switch"),
        "the project's files are not as before",
    );
    must_be_caught(Mutant::UndoesNothing("start"), "services run on both homes");
    must_be_caught(Mutant::UndoesNothing("finish"), "it left something behind");
}

#[test]
fn an_undo_that_believes_that_apply_was_finished_is_caught() {
    must_be_caught(Mutant::UndoAssumesAll, "other services run than before");
}

#[test]
fn a_step_that_is_not_idempotent_is_caught() {
    must_be_caught(Mutant::AppendsAgain, "the switch is not as it should be");
    must_be_caught(Mutant::MakesOnce, "nothing happened, and it was not complete");
}

#[test]
fn a_service_started_that_was_stopped_before_is_caught() {
    must_be_caught(Mutant::StartsStopped, "a service runs that was stopped before");
}

#[test]
fn a_verification_that_always_says_yes_is_caught() {
    must_be_caught(
        Mutant::VerifiesBlindly,
        "the stack runs on new data that are not complete",
    );
}

#[test]
fn a_way_back_that_loses_what_was_written_meanwhile_is_caught() {
    must_be_caught(Mutant::KeepsNothing, "what was written to the new home is lost");
}

#[test]
fn a_journal_written_after_the_effect_is_caught() {
    must_be_caught(Mutant::JournalsLate, "came before its record was on disk");
}

#[test]
fn a_copy_that_writes_to_the_source_is_caught() {
    must_be_caught(Mutant::WritesToSource, "the source");
}

#[test]
fn a_service_started_before_the_switch_is_taken_back_is_caught() {
    must_be_caught(
        Mutant::UndoesOutOfOrder,
        "the stack runs on new data that are not complete",
    );
}

#[test]
fn without_a_bug_there_is_no_complaint() {
    // The mutant's own campaign on the right code; the bug named here is never asked about by any step.
    assert_eq!(caught(Mutant::UndoesNothing("compare")), None);
}
