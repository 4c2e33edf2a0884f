//! A command that is under way while the test does something to it.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use crate::support::{Run, Stack, sh};

/// A move under way, watched through its events.
pub struct Watched {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    seen: String,
}

impl Watched {
    /// Starts it.
    pub fn start(stack: &Stack, arguments: &str) -> Self {
        let mut child = stack
            .command(&format!("{arguments} --json"), &[])
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads events until one has these words.
    #[track_caller]
    pub fn until(&mut self, words: &str) {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(words) {
                return;
            }
        }
        panic!("no event said {words:?}:\n{}", self.seen);
    }

    /// Sends it a signal: `INT`.
    pub fn signal(&self, signal: &str) {
        sh(&format!("kill -{signal} {}", self.child.id()));
    }

    /// Reads to the end.
    pub fn end(mut self) -> Run {
        let mut err = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        for line in self.lines.by_ref() {
            self.seen.push_str(&line.unwrap());
            self.seen.push('\n');
        }
        let status = self.child.wait().unwrap();
        Run {
            code: status.code().unwrap_or(-1),
            out: self.seen,
            err,
        }
    }
}
