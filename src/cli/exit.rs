//! Exit codes; the contract of scripts with Rehome.

use crate::event::Outcome;
use crate::model::Kind;

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

/// A panic is a bug in Rehome: it says so and how to report it, and ends with the exit code of one.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = info
            .payload()
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let failure = crate::model::Failure::bug(format!("rehome has a bug: {text}"))
            .cause(format!("at {place}, version {}", env!("CARGO_PKG_VERSION")))
            .data("the journal says what was done; `rehome status` shows where everything is")
            .hint("please report it with these lines, and what you typed");
        crate::ui::out::talk(&crate::ui::render(&failure, false, 0));
        std::process::exit(i32::from(code(Kind::Bug)));
    }));
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
}
