//! What several displays say in the same words.

use std::time::Duration;

use crate::event::Outcome;
use crate::model::{ByteSize, RunId, Span, VolumeKey};

/// `copy postgres_data`, or the phase alone.
pub(super) fn work(phase: &str, volume: Option<&VolumeKey>) -> String {
    match volume {
        Some(volume) => format!("{phase} {volume}"),
        None => phase.to_owned(),
    }
}

/// A count with its digits in groups of three: `14 212`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// How far a piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub bytes: u64,
    pub bytes_total: u64,
    pub files: u64,
    pub files_total: u64,
}

impl Amount {
    /// What a bar counts: bytes if their total is known, otherwise entries; nothing while neither is.
    pub(super) fn bar(self) -> Option<(u64, u64)> {
        if self.bytes_total > 0 {
            Some((self.bytes.min(self.bytes_total), self.bytes_total))
        } else if self.files_total > 0 {
            Some((self.files.min(self.files_total), self.files_total))
        } else {
            None
        }
    }

    /// Whole percents, if the total is known.
    pub(super) fn percent(self) -> Option<u64> {
        self.bar()
            .map(|(done, total)| (u128::from(done) * 100 / u128::from(total)) as u64)
    }

    /// `1.2 GB of 2.8 GB`, `14 212 files`.
    pub(super) fn text(self) -> String {
        if self.bytes_total > 0 {
            format!("{} of {}", ByteSize(self.bytes), ByteSize(self.bytes_total))
        } else if self.files_total > 0 {
            format!("{} of {} files", count(self.files), count(self.files_total))
        } else {
            format!("{} files, {}", count(self.files), ByteSize(self.bytes))
        }
    }
}

/// The end of a run that has no failure to tell.
pub(super) fn ended(
    outcome: Outcome,
    run: Option<&RunId>,
    took: Option<Duration>,
    down: Option<Duration>,
) -> String {
    let what = match outcome {
        Outcome::Done => "done",
        Outcome::RolledBack => "rolled back: everything is as it was before",
        Outcome::Refused => "refused: nothing was begun",
        Outcome::Interrupted => "interrupted: it can be resumed or rolled back",
        Outcome::Stuck => "stuck: it needs a person",
        Outcome::Failed => "failed",
    };
    let mut text = what.to_owned();
    if let Some(took) = took {
        text += &format!(" in {}", Span(took));
    }
    if let Some(down) = down {
        text += &format!(", {} of it down", Span(down));
    }
    if let Some(run) = run {
        text += &format!(" (run {run})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (14_212, "14 212"),
            (1_000_000, "1 000 000"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn an_amount_says_what_is_known() {
        let mut amount = Amount {
            bytes: 5_000,
            bytes_total: 0,
            files: 3,
            files_total: 0,
        };
        assert_eq!(
            (amount.percent(), amount.text()),
            (None, "3 files, 5 kB".to_owned())
        );
        amount.files_total = 4;
        assert_eq!(
            (amount.percent(), amount.text()),
            (Some(75), "3 of 4 files".to_owned())
        );
        amount.bytes_total = 10_000;
        assert_eq!(
            (amount.percent(), amount.text()),
            (Some(50), "5 kB of 10 kB".to_owned())
        );
        amount.bytes = 20_000;
        assert_eq!(amount.percent(), Some(100));
    }
}
