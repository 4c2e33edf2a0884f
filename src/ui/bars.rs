//! Bars of block characters, for what uses how much of something.

/// Columns of the longest bar.
const LONGEST: u64 = 24;

/// A bar as long as `part` is of `whole`, to an eighth of a column; something is never drawn as nothing.
#[must_use]
pub fn bar(part: u64, whole: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if part == 0 || whole == 0 {
        return String::new();
    }
    let eighths = u128::from(part.min(whole)) * u128::from(LONGEST * 8) / u128::from(whole);
    let eighths = (eighths as usize).max(1);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_what_they_stand_for() {
        assert_eq!(bar(10, 10).chars().count(), 24);
        assert_eq!(bar(5, 10), "█".repeat(12));
        assert_eq!(bar(1, 48), "▌");
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(0, 10), "");
        assert_eq!(bar(20, 10).chars().count(), 24);
    }
}
