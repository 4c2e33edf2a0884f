//! A failure as it is read: what happened, because of what, what became of the data, what to do.

use super::{Paint, clean};
use crate::model::Failure;

/// The failure in lines. Prose is wrapped at `width` columns (0: not at all); a hint never is, because it is there
/// to be copied.
#[must_use]
pub fn render(failure: &Failure, color: bool, width: usize) -> String {
    let paint = Paint(color);
    let mut out = String::new();
    part(&mut out, "error:", &paint.bad("error:"), &failure.what, width);
    let mut told: Vec<&str> = vec![failure.what.trim()];
    for cause in &failure.causes {
        let cause = cause.trim();
        if !cause.is_empty() && !told.contains(&cause) {
            told.push(cause);
            part(&mut out, "caused by:", &paint.strong("caused by:"), cause, width);
        }
    }
    if let Some(data) = &failure.data {
        part(&mut out, "data:", &paint.label("data:"), data, width);
    }
    for hint in &failure.hints {
        part(&mut out, "hint:", &paint.good("hint:"), hint, 0);
    }
    out
}

fn part(out: &mut String, label: &str, painted: &str, text: &str, width: usize) {
    let text = clean(text);
    let mut column = label.chars().count();
    out.push_str(painted);
    for (number, line) in text.trim_end().lines().enumerate() {
        if number > 0 {
            // The output of another program: its own indentation says something, so it is only moved right.
            out.push_str("\n   ");
            column = 3;
        }
        let own_indent = line.len() - line.trim_start().len();
        if number > 0 {
            out.push_str(line.get(..own_indent).unwrap_or_default());
            column += own_indent;
        }
        for word in line.split_whitespace() {
            let length = word.chars().count();
            if width > 0 && column + 1 + length > width && column > 4 {
                out.push_str("\n   ");
                column = 3;
            }
            out.push(' ');
            out.push_str(word);
            column += 1 + length;
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_the_design_says() {
        let failure = Failure::environment("service `db` did not stop within 120 s")
            .cause("container still running after SIGINT")
            .data("nothing was switched; run 7k2f was rolled back and the stack is up on its old volumes")
            .hint("run again with --stop-timeout 600");
        let wanted = "\
error: service `db` did not stop within 120 s
caused by: container still running after SIGINT
data: nothing was switched; run 7k2f was rolled back and the stack is up on its old volumes
hint: run again with --stop-timeout 600
";
        assert_eq!(render(&failure, false, 0), wanted);
        assert_eq!(render(&failure, false, 100), wanted);
    }

    #[test]
    fn prose_wraps_and_a_command_does_not() {
        let failure = Failure::stuck("the stack did not start again on its old volumes")
            .data("complete on /mnt/kms-data and on the old volumes")
            .hint("docker compose -f compose.yml -f override.yml up -d --force-recreate db");
        assert_eq!(
            render(&failure, false, 32),
            "\
error: the stack did not start
    again on its old volumes
data: complete on /mnt/kms-data
    and on the old volumes
hint: docker compose -f compose.yml -f override.yml up -d --force-recreate db
"
        );
    }

    #[test]
    fn a_cause_is_told_once_and_its_lines_are_indented() {
        let failure = Failure::environment("the hook failed")
            .cause("the hook failed")
            .cause("Traceback:\n  File \"x.py\"\u{1b}[31m\nBoom\n")
            .cause("exit 1")
            .cause("exit 1");
        assert_eq!(
            render(&failure, false, 80),
            "\
error: the hook failed
caused by: Traceback:
      File \"x.py\"
    Boom
caused by: exit 1
"
        );
    }

    #[test]
    fn color_marks_the_labels_only() {
        let text = render(&Failure::usage("x").hint("y"), true, 0);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "error: x\nhint: y\n"
        );
        assert!(text.starts_with("\u{1b}["));
    }
}
