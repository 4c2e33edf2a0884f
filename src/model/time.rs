//! Spans of time: read as people write them, printed as people read them.

use std::fmt;
use std::time::Duration;

/// Prints a duration short: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = match seconds {
            0..=9 => format!("{:.1} s", self.0.as_secs_f64()),
            10..=59 => format!("{seconds} s"),
            60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
            _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        };
        f.pad(&text)
    }
}

/// Reads a duration as Compose and people write it: `90s`, `2m`, `1m30s`, `1h`; a bare number is seconds.
///
/// # Errors
/// A sentence that names the forms that are understood.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is no duration: write it as 90s, 2m, 1m30s or 1h");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| error())?;
    Duration::try_from(span).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_printed() {
        for (text, seconds) in [("90s", 90), ("2m", 120), ("1m30s", 90), ("1h", 3600), ("45", 45)] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert!(parse_span("soon").is_err());
        assert!(parse_span("-5s").is_err());
        assert_eq!(Span(Duration::from_millis(420)).to_string(), "0.4 s");
        assert_eq!(Span(Duration::from_secs(185)).to_string(), "3 min 5 s");
    }
}
