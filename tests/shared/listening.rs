//! Where a `rehome serve` that a test started listens.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

/// Waits until it says so; whatever it says later does not fill the pipe.
#[track_caller]
pub fn address_of(server: &mut Child) -> String {
    let mut told = BufReader::new(server.stderr.take().expect("piped"));
    let mut line = String::new();
    let url = loop {
        line.clear();
        assert!(told.read_line(&mut line).expect("text") > 0, "it ended");
        if let Some((_, url)) = line.split_once("listening on ") {
            break url.trim().to_owned();
        }
    };
    std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
    url
}
