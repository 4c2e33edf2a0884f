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
}
