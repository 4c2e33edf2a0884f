//! The help of every command, as it is read.

use super::support::{COMMANDS, VISIBLE, anywhere};

#[test]
fn every_command_has_help() {
    let top = anywhere(&["--help"]).out;
    let (_, global) = top.split_once("Global options:\n").unwrap();
    let (global, _) = global.split_once("\nExamples:\n").unwrap();
    for words in COMMANDS {
        let said = anywhere(&[words, &["--help"]].concat());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{words:?}");
        let name = match words {
            [] => "rehome".to_owned(),
            words => format!("rehome_{}", words.join("_")),
        };
        if words.is_empty() {
            insta::assert_snapshot!(name, said.out);
            continue;
        }
        // The options of every command are told once, in the snapshot of the top.
        let (own, options) = said.out.split_once("Global options:\n").unwrap();
        let options = options.split("\n\nExamples:").next().unwrap();
        for option in global
            .lines()
            .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")))
        {
            assert!(options.contains(option), "{words:?}: {option}");
        }
        let examples = said
            .out
            .split_once("\nExamples:\n")
            .map_or("", |(_, examples)| examples);
        insta::assert_snapshot!(name, format!("{own}{examples}"));
    }
}

#[test]
fn the_short_help_fits_a_screen_and_names_every_command() {
    let said = anywhere(&["-h"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    for command in VISIBLE {
        let named = said
            .out
            .lines()
            .any(|line| line.split_whitespace().next() == Some(command));
        assert!(named, "{command}: {}", said.out);
    }
    for hidden in ["helper", "docker-cli-plugin-metadata"] {
        assert!(!said.out.contains(hidden), "{hidden}");
    }
    assert!(
        said.out.lines().all(|line| line.chars().count() <= 100),
        "{}",
        said.out
    );
}

#[test]
fn whatever_changes_something_can_be_tried_dry() {
    for command in ["init", "override", "env", "move", "resume", "rollback", "restart"] {
        let said = anywhere(&[command, "--help"]);
        assert!(said.out.contains("--dry-run"), "{command}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let said = anywhere(&["--version"]);
    assert_eq!(said.out, format!("rehome {}\n", env!("CARGO_PKG_VERSION")));
}
