//! Small things that pages show in one way: how full something is, how a run stands, dates and sizes.

use std::time::Duration;

use jiff::Timestamp;

use crate::event::Outcome;
use crate::model::{ByteSize, Span};

/// How much something matters to who looks; it decides colour and sign, and there is always a word beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Neither good nor bad.
    Plain,
    /// Something goes on.
    Live,
    /// Wants attention.
    Warning,
    /// Went wrong.
    Bad,
}

impl Tone {
    /// The class in the stylesheet.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Plain => "plain",
            Self::Live => "live",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }

    /// The sign before the word, as the terminal draws it: nobody has to tell colours apart.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Plain => "·",
            Self::Live => "▸",
            Self::Warning => "!",
            Self::Bad => "✗",
        }
    }
}

/// How full a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Bytes in use.
    pub used: u64,
    /// Bytes in all.
    pub total: u64,
}

impl Fill {
    /// Whole percents; what is in use at all is at least one.
    #[must_use]
    pub fn percent(&self) -> u64 {
        if self.total == 0 {
            return 0;
        }
        let share = u128::from(self.used.min(self.total)) * 100 / u128::from(self.total);
        (share as u64).max(u64::from(self.used > 0))
    }

    /// What stands beside the picture.
    #[must_use]
    pub fn text(&self) -> String {
        let (used, total) = (ByteSize(self.used), ByteSize(self.total));
        format!("{used} of {total} used ({} %)", self.percent())
    }

    /// From 85 percent on it wants attention, from 95 on it is nearly too late.
    #[must_use]
    pub fn tone(&self) -> Tone {
        match self.percent() {
            0..=84 => Tone::Good,
            85..=94 => Tone::Warning,
            _ => Tone::Bad,
        }
    }

    /// The word for those who do not see the colour.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.tone() {
            Tone::Warning => "nearly full",
            Tone::Bad => "full",
            _ => "",
        }
    }
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It goes on.
    Running,
    /// It was cut off, and waits to be finished.
    Waiting,
    /// It ended.
    Ended(Outcome),
    /// Its journal cannot be read.
    Damaged,
}

impl RunState {
    /// One or two words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waits",
            Self::Damaged => "unreadable",
            Self::Ended(outcome) => match outcome {
                Outcome::Done => "done",
                Outcome::RolledBack => "rolled back",
                Outcome::Refused => "refused",
                Outcome::Interrupted => "interrupted",
                Outcome::Stuck => "stuck",
                Outcome::Failed => "failed",
            },
        }
    }

    /// How it ended, as a sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Running => "It is under way. It goes on if you close this page.",
            Self::Waiting => "It was cut off. It can be finished, or taken back.",
            Self::Damaged => "Its journal cannot be read.",
            Self::Ended(outcome) => match outcome {
                Outcome::Done => "Everything was done and verified.",
                Outcome::RolledBack => "It was rolled back: everything is as it was before.",
                Outcome::Refused => "It was refused: nothing was begun.",
                Outcome::Interrupted => "It was interrupted. It can be finished, or taken back.",
                Outcome::Stuck => "It is stuck: it needs a person.",
                Outcome::Failed => "It failed before there was anything to roll back.",
            },
        }
    }

    /// How much that matters.
    #[must_use]
    pub fn tone(self) -> Tone {
        match self {
            Self::Running => Tone::Live,
            Self::Waiting => Tone::Warning,
            Self::Damaged => Tone::Bad,
            Self::Ended(outcome) => match outcome {
                Outcome::Done => Tone::Good,
                Outcome::RolledBack | Outcome::Interrupted | Outcome::Refused => Tone::Warning,
                Outcome::Stuck | Outcome::Failed => Tone::Bad,
            },
        }
    }

    /// Whether it goes on now.
    #[must_use]
    pub fn is_live(self) -> bool {
        self == Self::Running
    }

    /// Whether somebody has to say how it ends.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::Waiting | Self::Ended(Outcome::Interrupted))
    }
}

/// How one step of a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Its turn has not come.
    Ahead,
    /// It goes on.
    Running,
    /// Done and verified.
    Done,
    /// It failed.
    Failed,
    /// It was done, and taken back.
    Undone,
}

impl StepState {
    /// The word; the script says the same ones.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Undone => "taken back",
        }
    }

    /// The class in the stylesheet, which draws the sign.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Undone => "undone",
        }
    }
}

/// `2026-11-22 20:15 UTC`.
pub(super) fn when(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// For the attribute `datetime`.
pub(super) fn stamp(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `1.2 GB`.
pub(super) fn size(bytes: &u64) -> String {
    ByteSize(*bytes).to_string()
}

/// `3 min 5 s`.
pub(super) fn span(millis: &u64) -> String {
    Span(Duration::from_millis(*millis)).to_string()
}

/// `1 file`, `14 212 files`.
pub(super) fn count(number: &u64, one: &str, many: &str) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push('\u{a0}');
        }
        grouped.push(digit);
    }
    format!("{grouped} {}", if *number == 1 { one } else { many })
}

/// `3 sites`.
pub(super) fn length(sites: &[super::SiteLine]) -> String {
    count(&(sites.len() as u64), "site", "sites")
}

/// A name as one part of a path or value of a query: everything but what is plainly harmless is encoded.
pub(in crate::web) fn part(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_is_told_in_percents_and_words() {
        let at = |used, total| {
            let fill = Fill { used, total };
            (fill.percent(), fill.word())
        };
        assert_eq!(at(0, 0), (0, ""));
        assert_eq!(at(0, 10), (0, ""));
        assert_eq!(at(1, 1_000_000), (1, ""));
        assert_eq!(at(849, 1_000), (84, ""));
        assert_eq!(at(850, 1_000), (85, "nearly full"));
        assert_eq!(at(950, 1_000), (95, "full"));
        assert_eq!(at(20, 10), (100, "full"));
        assert_eq!(at(u64::MAX, u64::MAX), (100, "full"));
    }

    #[test]
    fn no_name_leaves_its_part_of_an_address() {
        assert_eq!(part("kms-connect_1.x~"), "kms-connect_1.x~");
        assert_eq!(part("../a b?c#d\"<ü"), "..%2Fa%20b%3Fc%23d%22%3C%C3%BC");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(count(&1, "file", "files"), "1 file");
        assert_eq!(count(&14_212, "file", "files"), "14\u{a0}212 files");
    }
}
