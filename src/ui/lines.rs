//! The lines of the terminal: how their columns are shared out, and where long ones break.

use std::time::Duration;

use super::words::fill;
use super::{Paint, clean, width};
use crate::model::Span;

/// The longest name before a bar; a longer one is cut.
const NAME: usize = 22;

/// The same on a narrow terminal.
const SHORT_NAME: usize = 14;

/// Amount, rate and time left, when all of them are shown.
const BESIDE: usize = 39;

/// Where the second line of something begins.
pub(super) const INDENT: usize = 6;

/// How the columns of a bar's line are shared out.
pub(super) struct Columns {
    pub name: usize,
    pub bar: usize,
    pub beside: usize,
}

impl Columns {
    pub(super) fn of(width: usize) -> Self {
        let name = if width < 60 { SHORT_NAME } else { NAME };
        // Indent, blanks between, and percents: `  NAME BAR 100 %  BESIDE`; the last column stays free.
        let taken = 2 + name + 1 + 1 + 5 + 2 + 1;
        let bar = width.saturating_sub(taken + BESIDE).clamp(6, 32);
        Self {
            name,
            bar,
            beside: width.saturating_sub(taken + bar),
        }
    }
}

/// The line of a finished step, its time at the right; the detail on a line of its own below.
pub(super) fn finished(
    paint: Paint,
    mark: &str,
    place: &str,
    title: &str,
    millis: u64,
    detail: Option<&str>,
    width: usize,
) -> String {
    let took = Span(Duration::from_millis(millis)).to_string();
    let title = clean(title);
    let before = 2 + place.chars().count() + 1;
    let used = before + title.chars().count();
    let needed = used + 2 + took.chars().count();
    let mut line = if width > 0 && needed >= width {
        // Too long for a column of times: the time follows the last word, and is not torn apart.
        const GLUE: &str = "\u{a0}";
        let text = format!("{title} {}", format!("· {took}").replace(' ', GLUE));
        let text = fill(&text, width, before, before).replace(GLUE, " ");
        format!("{mark} {} {text}", paint.dim(place))
    } else {
        let gap = width
            .saturating_sub(used + took.chars().count() + 1)
            .clamp(2, 70_usize.saturating_sub(used).max(2));
        format!(
            "{mark} {} {title}{}{}",
            paint.dim(place),
            " ".repeat(gap),
            paint.dim(&took)
        )
    };
    if let Some(detail) = detail {
        let detail = fill(&clean(detail), width, INDENT, INDENT);
        line.push_str(&format!("\n{:INDENT$}{}", "", paint.dim(&detail)));
    }
    line
}

/// Text below a step.
pub(super) fn indented(text: &str) -> String {
    format!("{:INDENT$}{}", "", fill(text, width(), INDENT, INDENT))
}

pub(super) fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_step_has_its_time_in_a_column_and_its_detail_below() {
        let line = |title, detail, width| finished(Paint(false), "✓", " 1/12", title, 420, detail, width);
        assert_eq!(
            line("stop api", None, 40),
            "✓  1/12 stop api                  0.4 s"
        );
        assert_eq!(
            line("stop api", Some("clean"), 24),
            "✓  1/12 stop api  0.4 s\n      clean"
        );
        assert!(line("stop api", None, 200).chars().count() < 80);
    }

    #[test]
    fn a_line_of_a_bar_fits_whatever_the_width() {
        for width in 40..200 {
            let Columns { name, bar, beside } = Columns::of(width);
            let line = 2 + name + 1 + bar + 1 + 5 + 2 + beside;
            assert!(line < width, "{width}: {line}");
        }
        assert_eq!(
            Columns::of(80).beside,
            BESIDE,
            "all of it is shown on the usual terminal"
        );
        assert_eq!(Columns::of(120).bar, 32);
    }

    #[test]
    fn a_step_too_long_for_the_terminal_is_broken_between_words() {
        assert_eq!(
            finished(
                Paint(false),
                "✓",
                " 2/12",
                "copy while the stack runs",
                420,
                Some("14 212 files, 32 GB"),
                24
            ),
            "✓  2/12 copy while the\n        stack runs\n        · 0.4 s\n      14 212 files, 32\n      GB"
        );
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(cut("copy a", 8), "copy a");
        assert_eq!(cut("copy abcdef", 8), "copy ab…");
    }
}
