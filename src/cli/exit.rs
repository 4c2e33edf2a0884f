//! Exit codes; the contract of scripts with Rehome.

use std::ffi::OsString;

use crate::event::{Event, Outcome};
use crate::model::{Failure, Kind};

/// The exit code of a failure.
#[must_use]
pub fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Environment => 1,
        Kind::Usage => 2,
        Kind::Refused => 3,
        Kind::RolledBack => 10,
        Kind::Interrupted => 11,
        Kind::Stuck => 12,
        Kind::Bug => 70,
    }
}

/// The exit code of a run that ended so. A failure's own kind says more, where there is one.
#[must_use]
pub fn of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Done => 0,
        Outcome::Failed => code(Kind::Environment),
        Outcome::Refused => code(Kind::Refused),
        Outcome::RolledBack => code(Kind::RolledBack),
        Outcome::Interrupted => code(Kind::Interrupted),
        Outcome::Stuck => code(Kind::Stuck),
    }
}

/// Whether a command line asks for JSON; also of one that cannot be understood. What follows `--` is not ours.
#[must_use]
pub fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--json")
}

/// A panic is a bug in Rehome: it says so and how to report it, and ends with the exit code of one.
///
/// The process ends at once, from whichever thread: a journal withstands that, and half a program does not help it.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message");
        let failure = bug(text, &place);
        // A bar may be half drawn, and its lock held by the thread that panicked: only move on to a new line.
        crate::ui::out::talk(&format!("\n{}", crate::ui::render(&failure, false, 0)));
        if asks_for_json(&std::env::args_os().collect::<Vec<_>>()) {
            let exit = code(failure.kind);
            let end = Event::Finished {
                run: None,
                outcome: Outcome::Failed,
                exit,
                failure: Some(failure),
                report: None,
            };
            crate::ui::display(
                crate::ui::Mode::Json,
                crate::ui::Color::Never,
                crate::ui::Verbosity::Normal,
            )
            .tell(end);
        }
        std::process::exit(i32::from(code(Kind::Bug)));
    }));
}

fn bug(text: &str, place: &str) -> Failure {
    Failure::bug(format!("rehome has a bug: {text}"))
        .cause(format!("at {place}, version {}", env!("CARGO_PKG_VERSION")))
        .data("the journal says what was done; `rehome status` shows where everything is")
        .hint("please report it with these lines, and what you typed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_the_documented_ones() {
        let kinds = [
            Kind::Environment,
            Kind::Usage,
            Kind::Refused,
            Kind::RolledBack,
            Kind::Interrupted,
            Kind::Stuck,
            Kind::Bug,
        ];
        assert_eq!(kinds.map(code), [1, 2, 3, 10, 11, 12, 70]);
        let outcomes = [
            Outcome::Done,
            Outcome::Failed,
            Outcome::Refused,
            Outcome::RolledBack,
            Outcome::Interrupted,
            Outcome::Stuck,
        ];
        assert_eq!(outcomes.map(of), [0, 1, 3, 10, 11, 12]);
    }

    #[test]
    fn trap_36_going_back_is_no_success() {
        // Also where the way back itself went well: scripts go by the code alone.
        assert_eq!(of(Outcome::RolledBack), 10);
        let failure = crate::model::Failure::environment("the check failed").with_kind(Kind::RolledBack);
        assert_eq!(code(failure.kind), 10);
    }

    #[test]
    fn json_is_asked_for_before_the_words_of_another_program() {
        let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asks("rehome mvoe --json"));
        assert!(!asks("rehome compose -- ps --json"));
    }

    #[test]
    fn a_bug_says_where_it_is_and_what_to_do() {
        let failure = bug("index out of bounds", "src/plan/mod.rs:7:1");
        assert_eq!(code(failure.kind), 70);
        let text = crate::ui::render(&failure, false, 0);
        assert!(
            text.starts_with(
                "error: rehome has a bug: index out of bounds\ncaused by: at src/plan/mod.rs:7:1"
            )
        );
        assert!(text.contains("hint: please report it"), "{text}");
    }
}
