//! The events of a run, by somebody whose connection breaks all the time: nothing is missing, nothing comes twice.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::{Server, added};

/// An event: its number as it was sent, and its text.
type Sent = (String, String);

impl Server {
    /// Follows a run from after an event on, and leaves after so many; whether the stream ended before that.
    fn some_events(&self, run: &str, after: Option<&str>, most: usize) -> (Vec<Sent>, bool) {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "-N", "--max-time", "240"])
            .args(["-H", &format!("Authorization: Bearer {}", self.token)]);
        if let Some(id) = after {
            command.args(["-H", &format!("Last-Event-ID: {id}")]);
        }
        let mut child = command
            .arg(format!("{}/api/runs/{run}/events", self.url))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is there");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (mut events, mut id) = (Vec::new(), None);
        for line in lines {
            let line = line.expect("text");
            if let Some(number) = line.strip_prefix("id: ") {
                id = Some(number.to_owned());
            }
            if let Some(data) = line.strip_prefix("data: ") {
                events.push((id.take().expect("each has a number"), data.to_owned()));
                if events.len() == most {
                    child.kill().expect("it runs");
                    child.wait().expect("it ends");
                    return (events, false);
                }
            }
        }
        assert!(child.wait().expect("it ends").success());
        (events, true)
    }

    /// Each cut of the whole goes on where it was cut.
    fn goes_on_anywhere(&self, run: &str, whole: &[Sent]) {
        for at in 0..whole.len() {
            let (rest, _) = self.some_events(run, Some(&whole[at].0), usize::MAX);
            assert_eq!(rest, &whole[at + 1..], "after {}", whole[at].0);
        }
    }
}

#[test]
fn whoever_comes_back_hears_the_rest_and_nothing_twice() {
    let site = added();
    let server = Server::start(&site, &[]);
    let (status, began) = server.switch(&site, true);
    assert_eq!(status, 202, "{began}");
    let run = began["run"].as_str().expect("an id");
    // While it runs: two events, and the connection is gone.
    let mut heard: Vec<Sent> = Vec::new();
    let mut connections = 0;
    loop {
        let last = heard.last().map(|(id, _)| id.clone());
        let (events, ended) = server.some_events(run, last.as_deref(), 2);
        heard.extend(events);
        connections += 1;
        if ended {
            break;
        }
    }
    assert!(connections > 3, "{heard:?}");
    assert!(
        heard.last().expect("an end").1.contains("\"finished\""),
        "{heard:?}"
    );
    let (whole, _) = server.some_events(run, None, usize::MAX);
    assert_eq!(heard, whole);
    server.goes_on_anywhere(run, &whole);

    // By its journal, which another server reads, the numbers are others: whoever comes with one of the first server's
    // hears all of it, rather than a part that cannot be told.
    let other = Server::start(&site, &[]);
    let (of_journal, _) = other.some_events(run, None, usize::MAX);
    assert!(
        of_journal.last().expect("an end").1.contains("\"finished\""),
        "{of_journal:?}"
    );
    other.goes_on_anywhere(run, &of_journal);
    let (again, _) = other.some_events(run, Some(&whole[1].0), usize::MAX);
    assert_eq!(again, of_journal);
    for strange in ["", "m", "x1", "m-1", "j99999999999999999999999", "1"] {
        let (all, _) = other.some_events(run, Some(strange), usize::MAX);
        assert_eq!(all, of_journal, "{strange:?}");
    }
    site.disable().exits(0);
}
