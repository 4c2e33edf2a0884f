//! What Compose itself makes of a `.env`, against what is read here.

use std::collections::BTreeMap;

use rehome::compose::Dotenv;

use crate::support::Lab;

/// Interpolates every key of the text in the real Compose.
fn oracle(text: &str, keys: &[&str], env: &[(&str, &str)]) -> BTreeMap<String, String> {
    let labels: Vec<String> = keys
        .iter()
        .map(|key| format!("{key}: '${{{key}-(unset)}}'"))
        .collect();
    let mut lab = Lab::with(&format!(
        "services: {{a: {{image: x, labels: {{{}}}}}}}\n",
        labels.join(", ")
    ));
    lab.write(".env", text);
    lab.env.extend(
        env.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    let labels = lab.by_hand(&lab.root(), &[])["services"]["a"]["labels"].clone();
    let labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap();
    // `config` doubles dollars in what it prints.
    labels
        .into_iter()
        .map(|(key, value)| (key, value.replace("$$", "$")))
        .collect()
}

const KEYS: [&str; 27] = [
    "PLAIN", "SPACES", "COMMENT", "HASH", "EMPTY", "DQ", "SQ", "MULTI", "ESC", "DOLLAR", "REF", "BRACED",
    "DEFAULT", "UNSETREF", "DQREF", "SQREF", "EXPORTED", "YAML", "BARE", "TWICE", "SPACED", "QC", "PRIO",
    "ESCD", "SQE", "HASHED", "LAST",
];

const TEXT: &str = r##"# a comment
PLAIN=value
SPACES=two words here
COMMENT=value # not part of it
HASH=va#lue

EMPTY=
DQ="with # and 'x'"
SQ='with # and "x" and $PLAIN'
MULTI="one
two # three
four"
ESC="a\tb\nc\\d\"e"
DOLLAR=a$$b
REF=$PLAIN/x
BRACED=${PLAIN}y
DEFAULT=${NOPE:-d}${EMPTY:-e}${EMPTY-f}
UNSETREF=x${NOPE}y
DQREF="x $PLAIN ${PLAIN}"
SQREF='${PLAIN}'
export EXPORTED=yes
YAML: with colon
BARE
TWICE=first
TWICE=second
  SPACED  =  around  
QC="quoted" # comment
PRIO=${OUTER}
OUTER=inner
ESCD="a\$b"
SQE='it\'s'
HASHED= # c
LAST=end"##;

#[test]
fn values_are_read_as_compose_reads_them() {
    let environment = [("BARE", "from outside"), ("OUTER", "outer")];
    let expected = oracle(TEXT, &KEYS, &environment);
    let map = environment
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let mut read = Dotenv::parse(TEXT).values(&map);
    read.retain(|key, _| KEYS.contains(&key.as_str()));
    assert_eq!(read, expected);
}

#[test]
fn the_same_with_dos_line_ends() {
    let text = TEXT.replace('\n', "\r\n");
    let expected = oracle(&text, &KEYS, &[]);
    let read = Dotenv::parse(&text).values(&BTreeMap::new());
    for (key, value) in expected {
        assert_eq!(read.get(&key).map_or("(unset)", String::as_str), value, "{key}");
    }
}

/// Values that somebody could want to write, into entries of every form: one file for each form.
#[test]
fn what_is_set_arrives_in_compose() {
    const VALUES: [&str; 13] = [
        "a.yml:b.yml",
        "with space",
        "it's",
        "\"q\"",
        "a$b",
        "${X}",
        "a#b",
        "a #b",
        "back\\slash",
        "end\\",
        "",
        "é",
        "it's $x \\ \\n \"q\" $$",
    ];
    let keys: Vec<String> = (0..VALUES.len()).map(|number| format!("K{number}")).collect();
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    for form in [
        "",
        "K=old\n",
        "K='old' # why\n",
        "K=\"old\" # why\r\n",
        "K\n",
        "export K = old # why\n",
        "K: \"a\nb\"\n",
    ] {
        let before: String = names.iter().map(|name| form.replace('K', name)).collect();
        let mut dotenv = Dotenv::parse(&before);
        for (name, value) in names.iter().zip(VALUES) {
            dotenv.set(name, value).unwrap();
        }
        let text = dotenv.to_text();
        let read = oracle(&text, &names, &[]);
        for (name, value) in names.iter().zip(VALUES) {
            assert_eq!(read[*name], value, "{text}");
            assert_eq!(
                dotenv.get(name, &BTreeMap::new()).as_deref(),
                Some(value),
                "{text}"
            );
        }
        assert_eq!(
            text.matches("# why").count(),
            before.matches("# why").count(),
            "{text}"
        );
    }
}

/// An independent reader, for the part of the grammar that all readers share.
#[test]
fn another_reader_agrees_on_the_plain_part() {
    let text = "# c\nA=1\nexport B='two words'\nC=\"x\\ny\"\n\nD=${A}3\n";
    let ours = Dotenv::parse(text).values(&BTreeMap::new());
    let theirs: BTreeMap<String, String> = dotenvy::from_read_iter(text.as_bytes())
        .map(Result::unwrap)
        .collect();
    assert_eq!(ours, theirs);
}
