//! Journals that cannot be used, and what a person then reads. A journal of format 1 is here in full: it must be
//! readable for ever.

use std::io::{self, BufRead};

use rehome::model::Failure;
use rehome::saga::{Journal, MAX_LINE, State, Store};

pub fn told(failure: &Failure) -> String {
    let mut lines = vec![failure.what.clone()];
    lines.extend(failure.causes.iter().map(|c| format!("caused by: {c}")));
    lines.extend(failure.data.iter().map(|d| format!("data: {d}")));
    lines.extend(failure.hints.iter().map(|h| format!("hint: {h}")));
    lines.join("\n")
}

/// Bytes that are only looked at: whoever writes to them fails the test.
struct Bytes(Vec<u8>);

impl Store for Bytes {
    fn name(&self) -> String {
        "/var/lib/rehome/projects/kms/runs/7k2f9q/journal".into()
    }
    fn reader(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(io::Cursor::new(self.0.clone())))
    }
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        panic!("it was written to")
    }
    fn truncate(&mut self, _: u64) -> io::Result<()> {
        panic!("it was cut")
    }
}

fn read(text: &str) -> Result<Option<State>, Failure> {
    let contents = Journal::open(Bytes(text.as_bytes().to_vec()))?.1;
    assert_eq!(contents.torn, 0);
    Ok(State::fold(&contents.entries).unwrap())
}

fn refused(text: &str) -> String {
    told(&read(text).unwrap_err())
}

/// The checksum as it is described: BLAKE3 of the checksum before and of the JSON, sixteen digits.
fn line(before: &str, json: &str) -> String {
    let hash = blake3::hash(format!("{before}{json}").as_bytes()).to_hex();
    format!("{} {json}\n", &hash[..16])
}

fn journal(jsons: &[&str]) -> String {
    let mut before = String::new();
    let mut text = String::new();
    for json in jsons {
        let line = line(&before, json);
        before = line[..16].to_owned();
        text += &line;
    }
    text
}

const OPENED: &str = r#"{"at":"2001-02-03T04:05:06Z","record":{"opened":{"format":1,"by":"rehome 0.1.0","run":"7k2f9q","project":"kms","title":"move","header":{},"steps":[{"title":"stop web","step":{"stop":{}}}]}}}"#;
const PREPARED: &str = r#"{"at":"2001-02-03T04:05:07Z","record":{"prepared":{"step":0,"receipt":["web"]}}}"#;
const APPLIED: &str = r#"{"at":"2001-02-03T04:05:08Z","record":{"applied":{"step":0,"detail":"1 service is down","millis":900}}}"#;
const CLOSED: &str = r#"{"at":"2001-02-03T04:05:09Z","record":{"closed":{"outcome":"done"}}}"#;

const FORMAT_1: &str = r#"87ee8a00cd692631 {"at":"2001-02-03T04:05:06Z","record":{"opened":{"format":1,"by":"rehome 0.1.0","run":"7k2f9q","project":"kms","title":"move","header":{},"steps":[{"title":"stop web","step":{"stop":{}}}]}}}
55ec7913b145b980 {"at":"2001-02-03T04:05:07Z","record":{"prepared":{"step":0,"receipt":["web"]}}}
e7bbb4c545c0443c {"at":"2001-02-03T04:05:08Z","record":{"applied":{"step":0,"detail":"1 service is down","millis":900}}}
ed71fa3025508441 {"at":"2001-02-03T04:05:09Z","record":{"closed":{"outcome":"done"}}}
"#;

#[test]
fn a_journal_of_format_1_is_read() {
    assert_eq!(journal(&[OPENED, PREPARED, APPLIED, CLOSED]), FORMAT_1);
    let state = read(FORMAT_1).unwrap().unwrap();
    assert_eq!(state.outcome(), Some(rehome::event::Outcome::Done));
    assert_eq!(state.reports()[0].detail.as_deref(), Some("1 service is down"));
    assert_eq!(state.started().to_string(), "2001-02-03T04:05:06Z");
}

#[test]
fn a_damaged_line_is_named_and_nothing_is_touched() {
    insta::assert_snapshot!(refused(&FORMAT_1.replace("[\"web\"]", "[\"wob\"]")), @r"
    the journal /var/lib/rehome/projects/kms/runs/7k2f9q/journal is damaged
    caused by: line 2: its checksum does not match
    data: nothing was changed by this command; a run never changes the data that it began with
    hint: see what the stack runs on: rehome status
    hint: if a whole copy of /var/lib/rehome/projects/kms/runs/7k2f9q/journal exists, put it back and resume or roll back the run
    hint: otherwise bring the stack to where it shall be by hand, then set the run aside: mv /var/lib/rehome/projects/kms/runs/7k2f9q /var/lib/rehome/projects/kms/runs/7k2f9q.damaged
    ");
}

#[test]
fn any_damaged_byte_before_the_last_line_is_found() {
    let last = FORMAT_1.rfind("\n").unwrap();
    for at in 0..last {
        let mut bytes = FORMAT_1.as_bytes().to_vec();
        bytes[at] ^= 1;
        // A change in the number of the format is taken for another format; all else is damage.
        let failure = Journal::open(Bytes(bytes)).map(|_| ()).unwrap_err();
        assert!(failure.what.contains("is damaged"), "byte {at}: {}", failure.what);
    }
}

#[test]
fn a_line_that_is_lost_doubled_or_swapped_is_found() {
    let lines: Vec<&str> = FORMAT_1.split_inclusive('\n').collect();
    for order in [&[0, 2, 3][..], &[0, 1, 1, 2, 3], &[0, 2, 1, 3], &[1, 2, 3], &[3]] {
        let text: String = order.iter().map(|n| lines[*n]).collect();
        let failure = read(&text).unwrap_err();
        assert_eq!(failure.kind, rehome::model::Kind::Stuck, "{order:?}");
        assert!(
            failure.causes[0].ends_with("its checksum does not match"),
            "{order:?}: {failure}"
        );
    }
    // Lines lost at the end are as if the power had gone then.
    for whole in 1..4 {
        assert!(read(&lines[..whole].concat()).unwrap().is_some());
    }
    assert!(read("").unwrap().is_none());
}

#[test]
fn a_last_line_without_an_end_is_dropped_whatever_is_in_it() {
    let lines: Vec<&str> = FORMAT_1.split_inclusive('\n').collect();
    let whole = lines[..2].concat();
    let mut rests = vec![
        "\0\0\0\0".to_owned(),
        "x".to_owned(),
        "0123456789abcdef {".to_owned(),
    ];
    rests.extend((1..lines[2].len()).map(|n| lines[2][..n].to_owned()));
    for rest in rests {
        let bytes = Bytes(format!("{whole}{rest}").into_bytes());
        let contents = Journal::read(bytes).unwrap();
        assert_eq!(
            (contents.entries.len(), contents.torn),
            (2, rest.len() as u64),
            "{rest:?}"
        );
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let newer = OPENED
        .replace("\"format\":1", "\"format\":2")
        .replace("rehome 0.1.0", "rehome 2.7.0");
    let text = refused(&journal(&[&newer]));
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r"
    the journal /var/lib/rehome/projects/kms/runs/7k2f9q/journal has format 2, written by rehome 2.7.0
    caused by: rehome VERSION knows formats up to 1
    data: nothing was changed by this command, and the journal was left as it is
    hint: use rehome 2.7.0, or a newer one, to go on with this run
    ");
    // Also when its checksums are of another kind, and what follows is unknown.
    assert_eq!(refused(&format!("sha256:00 {newer}\nsomething else\n")), text);
}

#[test]
fn records_that_cannot_have_happened_are_damage() {
    let text = journal(&[OPENED, APPLIED]);
    let contents = Journal::read(Bytes(text.into_bytes())).unwrap();
    let (line, illegal) = State::fold(&contents.entries).unwrap_err();
    assert_eq!(line, 2);
    assert_eq!(
        illegal.to_string(),
        "the application of step 1 cannot be here: the preparation of step 1 was due"
    );
    let unknown = PREPARED.replace("prepared", "pondered");
    let failure = read(&journal(&[OPENED, &unknown])).unwrap_err();
    assert!(
        failure.causes[0].starts_with("line 2: it is no record that this version knows"),
        "{failure}"
    );
}

#[test]
fn what_is_too_long_is_not_read() {
    let endless = format!("{FORMAT_1}{}", "x".repeat(MAX_LINE + 1));
    assert!(refused(&endless).contains("line 5: it is longer than 4194304 bytes"));
}
