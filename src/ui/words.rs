//! What several displays say in the same words.

use std::time::Duration;

use crate::event::Outcome;
use crate::model::{ByteSize, RunId, ServiceName, Span, VolumeKey};

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

/// Breaks text between words, so that no line is longer than `width` columns (0: no limit) unless a word alone is.
/// `used` columns of the first line are taken; the lines after it begin with `indent` blanks.
pub fn fill(text: &str, width: usize, used: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = used;
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            out.push_str(&format!("\n{:indent$}", ""));
            column = indent;
        }
        if width == 0 || column + line.chars().count() <= width {
            out.push_str(line);
            continue;
        }
        let mut begins = true;
        for word in line.split(' ') {
            let length = word.chars().count();
            if !begins && column + 1 + length > width {
                out.push_str(&format!("\n{:indent$}", ""));
                column = indent;
            } else if !begins {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += length;
            begins = false;
        }
    }
    out
}

/// Breaks the notes of a plan (`! …`) between words. Its other lines are commands, paths and columns, and stay as they are.
pub fn fill_notes(plan: &str, width: usize) -> String {
    let lines = plan.split('\n').map(|line| match line.starts_with("! ") {
        true => fill(line, width, 0, 2),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The most of what is to say beside a bar that fits into `room` columns: the time left is what people look for, then
/// how much it is, then how fast.
pub(super) fn beside(amount: &str, speed: &str, left: &str, room: usize) -> String {
    for parts in [&[amount, speed, left][..], &[amount, left], &[left]] {
        let said: Vec<_> = parts.iter().filter(|part| !part.is_empty()).copied().collect();
        let text = said.join("  ");
        if text.chars().count() <= room {
            return text;
        }
    }
    String::new()
}

/// An estimate of the time left: one figure, because it is not better than that.
pub(super) fn left(seconds: u64) -> String {
    match seconds {
        0 => "1 s left".to_owned(),
        1..=89 => format!("{seconds} s left"),
        90..=5399 => format!("{} min left", (seconds + 30) / 60),
        _ => format!("{} h left", (seconds + 1800) / 3600),
    }
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

/// A service that was away by itself, while the others went on.
pub(super) fn back(service: &ServiceName, millis: u64) -> String {
    format!("{service} is back, after {}", Span(Duration::from_millis(millis)))
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
    fn text_is_broken_between_words() {
        assert_eq!(fill("one two three", 0, 0, 2), "one two three");
        assert_eq!(fill("one two three", 13, 0, 2), "one two three");
        assert_eq!(fill("one two three", 12, 0, 2), "one two\n  three");
        assert_eq!(fill("one two three", 12, 6, 2), "one\n  two three");
        assert_eq!(fill("  indented stays", 14, 0, 4), "  indented\n    stays");
        assert_eq!(fill("a\nb c", 10, 0, 4), "a\n    b c");
        assert_eq!(fill("unbreakable", 4, 0, 2), "unbreakable");
    }

    #[test]
    fn of_a_plan_only_the_notes_are_broken() {
        let plan = "  1  mount\n     mount /dev/sda /mnt\n\n! it is quite empty\n";
        assert_eq!(
            fill_notes(plan, 12),
            "  1  mount\n     mount /dev/sda /mnt\n\n! it is\n  quite\n  empty\n"
        );
        assert_eq!(fill_notes(plan, 0), plan);
    }

    #[test]
    fn beside_a_bar_stands_what_fits() {
        let at = |room| beside("812 MB of 28 GB", "99.9 MB/s", "5 min left", room);
        assert_eq!(at(38), "812 MB of 28 GB  99.9 MB/s  5 min left");
        assert_eq!(at(37), "812 MB of 28 GB  5 min left");
        assert_eq!(at(26), "5 min left");
        assert_eq!(at(9), "");
        assert_eq!(beside("3 of 4 files", "", "", 80), "3 of 4 files");
    }

    #[test]
    fn an_estimate_is_one_figure() {
        for (seconds, text) in [
            (0, "1 s left"),
            (59, "59 s left"),
            (145, "2 min left"),
            (7200, "2 h left"),
        ] {
            assert_eq!(left(seconds), text);
        }
    }

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
