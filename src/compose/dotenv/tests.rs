//! `.env` files, read, changed and written.

use proptest::prelude::*;

use super::*;

fn set(text: &str, key: &str, value: &str) -> String {
    let mut dotenv = Dotenv::parse(text);
    dotenv.set(key, value).unwrap();
    dotenv.to_text()
}

fn unset(text: &str, key: &str) -> String {
    let mut dotenv = Dotenv::parse(text);
    dotenv.unset(key);
    dotenv.to_text()
}

#[test]
fn one_value_changes_and_nothing_else() {
    for (before, after) in [
        ("A=1\nK=old\nB=2\n", "A=1\nK=new\nB=2\n"),
        ("# K=no\nK = old  # why\n", "# K=no\nK = new  # why\n"),
        ("K='old'\n", "K='new'\n"),
        ("K=\"old\" # why\n", "K=\"new\" # why\n"),
        ("export K=old\n", "export K=new\n"),
        ("K: old\n", "K: new\n"),
        ("K\nB=1\n", "K=new\nB=1\n"),
        ("K=\n", "K=new\n"),
        ("K=old", "K=new"),
        ("A=1\r\nK=old\r\n", "A=1\r\nK=new\r\n"),
        ("K=\"one\ntwo\"\nB=1\n", "K=\"new\"\nB=1\n"),
        ("\u{feff}K=old\n", "\u{feff}K=new\n"),
        // The last one is in effect.
        ("K=1\nK=2\nB=3\n", "K=1\nK=new\nB=3\n"),
        // A key inside of a value is no key.
        ("A=\"\nK=old\n\"\n", "A=\"\nK=old\n\"\nK=new\n"),
        ("KK=1\n", "KK=1\nK=new\n"),
        ("", "K=new\n"),
        ("A=1", "A=1\nK=new"),
        ("A=1\r\n", "A=1\r\nK=new\r\n"),
        ("A=1\r\nB=2", "A=1\r\nB=2\r\nK=new"),
    ] {
        assert_eq!(set(before, "K", "new"), after, "{before:?}");
    }
}

#[test]
fn a_value_is_quoted_only_where_it_must_be() {
    for (value, line) in [
        ("a.yml:b.yml", "K=a.yml:b.yml\n"),
        ("two words", "K='two words'\n"),
        ("it's", "K=\"it's\"\n"),
        ("p$q", "K='p$q'\n"),
        ("", "K=''\n"),
    ] {
        assert_eq!(set("", "K", value), line);
    }
    assert_eq!(set("K=\"x\"\n", "K", "p$q"), "K=\"p$$q\"\n");
    assert!(Dotenv::parse("").set("K", "a\nb").is_err());
}

#[test]
fn every_entry_goes_or_an_earlier_one_would_come_into_effect() {
    assert_eq!(unset("K=1\nA=2\nK=3\n# end\n", "K"), "A=2\n# end\n");
    assert_eq!(unset("A=2\nK=3", "K"), "A=2");
    assert_eq!(unset("A=2\n", "K"), "A=2\n");
}

#[test]
fn lines_that_are_no_entries_stay() {
    let text = "not an entry!\n=x\n'K'=1\nK=\"not closed\n";
    assert_eq!(Dotenv::parse(text).to_text(), text);
    assert!(!Dotenv::parse(text).contains("K"));
}

#[test]
fn a_quote_that_is_not_closed_would_swallow_the_new_line() {
    let mut dotenv = Dotenv::parse("A='never closed\n");
    let failure = dotenv.set("K", "it's").unwrap_err();
    assert_eq!(failure.causes, ["a quote in the file is not closed"]);
    assert_eq!(dotenv.to_text(), "A='never closed\n");
}

#[test]
fn a_file_is_edited_in_place_and_one_that_is_missing_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".env");
    let mut dotenv = Dotenv::read(&path).unwrap();
    dotenv.set("K", "v").unwrap();
    dotenv.write(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "K=v\n");
    std::fs::write(&path, b"A=\xff\n").unwrap();
    assert!(Dotenv::read(&path).is_err_and(|failure| failure.what.ends_with("is not UTF-8 text")));
}

/// Lines as they occur, and some that do not.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-C]=[a-z#$' ]{0,6}",
        "export [A-C] = [a-z]{0,4} # [a-z]{0,3}",
        "[A-C]='[a-z\n \"]{0,6}'",
        "[A-C]: \"[a-z\n ]{0,6}\" ?",
        "#[ A-C=a-z]{0,8}",
        "[A-C]",
        "[ \t]{0,2}",
        "[A-C=\"'#$\\\\ :\n]{0,8}",
    ]
}

fn file() -> impl Strategy<Value = String> {
    (
        proptest::collection::vec(line(), 0..8),
        prop_oneof![Just("\n"), Just("\r\n")],
        any::<bool>(),
    )
        .prop_map(|(lines, end, last)| {
            let text = lines.join(end);
            if last { text + end } else { text }
        })
}

proptest! {
    #[test]
    fn a_file_is_its_pieces(text in file()) {
        prop_assert_eq!(Dotenv::parse(&text).to_text(), text);
    }

    #[test]
    fn what_was_set_and_unset_leaves_no_trace(text in file(), value in "[a-z$'\" #\\\\]{0,8}") {
        let mut dotenv = Dotenv::parse(&text);
        if dotenv.set("NEW_KEY", &value).is_err() {
            // Only for a quote that is not closed; then nothing has changed.
            prop_assert!(text.contains(['"', '\'']));
            prop_assert_eq!(dotenv.to_text(), text);
            return Ok(());
        }
        let with = dotenv.to_text();
        let read = Dotenv::parse(&with);
        prop_assert_eq!(read.get("NEW_KEY", &BTreeMap::new()), Some(value));
        prop_assert_eq!(unset(&with, "NEW_KEY"), text);
    }

    #[test]
    fn other_values_stay(text in file(), value in "[a-z$'\" #\\\\]{0,8}") {
        let environment = BTreeMap::new();
        let mut before = Dotenv::parse(&text).values(&environment);
        let mut dotenv = Dotenv::parse(&text);
        prop_assume!(dotenv.set("B", &value).is_ok());
        let mut after = Dotenv::parse(&dotenv.to_text()).values(&environment);
        prop_assert_eq!(after.remove("B"), Some(value));
        before.remove("B");
        // `$B` in another value follows the new one.
        if !text.contains('$') {
            prop_assert_eq!(after, before);
        }
    }
}
