//! Colors, and what must not reach a terminal.

use anstyle::{AnsiColor, Style};

/// Colors text, or leaves it as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, style: Style, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// What matters.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    /// What may be overlooked.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    /// What is well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default().bold(), text)
    }

    /// What needs attention.
    #[must_use]
    pub fn warning(self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default().bold(), text)
    }

    /// What went wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    /// What is a name or a label.
    #[must_use]
    pub fn label(self, text: &str) -> String {
        self.with(AnsiColor::Cyan.on_default().bold(), text)
    }
}

/// Foreign text without what a terminal would obey: escape sequences and control characters. Line feeds stay.
#[must_use]
pub fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    // A progress bar of a hook overwrites its line with a bare carriage return.
    let text = text.replace('\r', "\n");
    anstream::adapter::strip_str(&text)
        .to_string()
        .chars()
        .filter_map(|c| match c {
            '\n' => Some('\n'),
            '\t' => Some(' '),
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_cannot_command_the_terminal() {
        assert_eq!(
            clean("\u{1b}[2J\u{1b}]0;title\u{7}a\tb\u{7}\r\nc\u{9b}d"),
            "a b\ncd"
        );
        assert_eq!(clean("größe ✓"), "größe ✓");
    }

    #[test]
    fn without_color_there_is_no_escape() {
        assert_eq!(Paint(false).bad("x"), "x");
        assert!(Paint(true).bad("x").starts_with('\u{1b}'));
    }
}
