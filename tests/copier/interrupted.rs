//! The helper as a process of its own: its lines, its exit code, and what is left when it is killed.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rehome::helper::Streams;
use rehome::helper::protocol::{Answer, FailClass, Line, Request};

use crate::support::{Bench, Random, grow};

/// Set for a process that shall be the helper.
const REQUEST: &str = "REHOME_TEST_REQUEST";

/// This test is also the program that the others start: this executable, told to run only it.
#[test]
fn the_helper_itself() {
    let Ok(request) = std::env::var(REQUEST) else {
        let mut out = Vec::new();
        let code = rehome::helper::run("{}", streams(&mut out));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        let lines = String::from_utf8(out).unwrap();
        let [line] = lines.lines().collect::<Vec<_>>()[..] else {
            panic!("one line: {lines}")
        };
        assert!(
            line.starts_with(r#"{"say":"failed","what":"the request cannot be understood""#),
            "{line}"
        );
        return;
    };
    let code = rehome::helper::run(&request, streams(&mut std::io::stdout()));
    let success = format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS);
    std::process::exit(i32::from(!success));
}

/// With stdin at its end.
fn streams(out: &mut (dyn Write + Send)) -> Streams<'_> {
    Streams {
        input: Box::leak(Box::new(std::io::empty())),
        out,
        err: Box::leak(Box::new(std::io::sink())),
        hung_up: &|| false,
    }
}

fn helper(request: &Request) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "interrupted::the_helper_itself", "--nocapture"])
        .env(REQUEST, serde_json::to_string(request).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The lines of the protocol; the test harness writes a line of its own before them.
fn lines(child: &mut Child) -> Vec<Line> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    stdout
        .lines()
        .map(Result::unwrap)
        .filter_map(|line| {
            line.find("{\"say\"")
                .map(|at| serde_json::from_str(&line[at..]).unwrap())
        })
        .collect()
}

#[test]
fn several_requests_are_taken_in_turn_up_to_the_first_that_fails() {
    let bench = Bench::new();
    let scan = |dir: &std::path::Path| Request::Scan { dir: dir.to_owned() };
    let gone = bench.from.join("gone");
    for (dirs, turns, failed) in [
        ([&bench.from, &bench.to], vec![0, 1], false),
        ([&gone, &bench.to], vec![0], true),
    ] {
        let requests = dirs.into_iter().map(|dir| scan(dir)).collect();
        let mut child = helper(&Request::Several { requests });
        let told = lines(&mut child);
        let turn = |line: &Line| match line {
            Line::Turn { index } => Some(*index),
            _ => None,
        };
        assert_eq!(told.iter().filter_map(turn).collect::<Vec<_>>(), turns);
        match told.last() {
            Some(Line::Answer(Answer::Several { answers })) => {
                assert!(
                    matches!(answers[..], [Answer::Scan(_), Answer::Scan(_)]),
                    "{answers:?}"
                );
                assert!(!failed);
            }
            Some(Line::Failed { .. }) => assert!(failed),
            other => panic!("{other:?}"),
        }
        assert_eq!(child.wait().unwrap().success(), !failed);
    }
}

#[test]
fn the_last_line_is_the_answer_and_the_exit_code_says_so() {
    let bench = Bench::new();
    grow(&bench.from, &mut Random(3), 60);
    let mut child = helper(&Request::Copy(bench.request()));
    let said = lines(&mut child);
    assert!(child.wait().unwrap().success());
    assert!(
        matches!(said.last(), Some(Line::Answer(Answer::Copy(_)))),
        "{said:?}"
    );
    bench.assert_same();
    std::fs::write(bench.to.join("extra"), "").unwrap();
    let mut child = helper(&Request::Verify(bench.verify_request()));
    let said = lines(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let Some(Line::Failed { class, because, .. }) = said.last() else {
        panic!("{said:?}")
    };
    assert_eq!(*class, FailClass::Differs);
    assert!(because.contains("extra: only at the destination"), "{because}");
}

#[test]
fn progress_is_told_several_times_a_second_and_comes_to_its_end() {
    let bench = Bench::new();
    std::fs::write(bench.from.join("f"), Random(8).bytes(3 << 20)).unwrap();
    // Two seconds at this rate.
    let request = rehome::helper::protocol::CopyRequest {
        bandwidth: 3 << 19,
        ..bench.request()
    };
    let mut child = helper(&Request::Copy(request));
    let said = lines(&mut child);
    assert!(child.wait().unwrap().success());
    let progress: Vec<_> = said
        .iter()
        .filter_map(|line| match line {
            Line::Progress {
                bytes, bytes_total, ..
            } => Some((*bytes, *bytes_total)),
            _ => None,
        })
        .collect();
    assert!(progress.len() >= 4, "{said:?}");
    assert!(
        progress.windows(2).all(|two| two[0].0 <= two[1].0),
        "{progress:?}"
    );
    assert!(
        progress.iter().all(|(bytes, total)| bytes <= total),
        "{progress:?}"
    );
    assert_eq!(progress.last().unwrap().1, 3 << 20);
    let Some(Line::Answer(Answer::Copy(report))) = said.last() else {
        panic!("{said:?}")
    };
    assert!(report.millis >= 1500, "{report:?}");
}

#[test]
fn a_host_that_went_away_ends_the_helper_without_a_panic() {
    let bench = Bench::new();
    std::fs::write(bench.from.join("f"), Random(8).bytes(8 << 20)).unwrap();
    // It would take more than two hours.
    let request = rehome::helper::protocol::CopyRequest {
        bandwidth: 1000,
        ..bench.request()
    };
    let mut child = helper(&Request::Copy(request));
    // It is at work when it tells the first progress; then nobody listens any more.
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("progress") {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0);
    }
    drop(stdout);
    let mut talk = String::new();
    child.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!talk.contains("panic"), "{talk}");
}

#[test]
fn a_pass_that_is_killed_anywhere_is_completed_by_the_next() {
    let bench = Bench::new();
    let mut random = Random(2024);
    grow(&bench.from, &mut random, 150);
    // How long a whole pass takes, to kill within it.
    let whole = Duration::from_millis(bench.copy().millis.max(20));
    for round in 0..12 {
        // Something to do in each pass, of every kind.
        let dir = bench.from.join(format!("round{round}"));
        std::fs::create_dir(&dir).unwrap();
        grow(&dir, &mut random, 25);
        if round > 0 {
            let (old, new) = (format!("round{}", round - 1), format!("moved{}", round - 1));
            std::fs::rename(bench.from.join(old), bench.from.join(new)).unwrap();
        }
        if round > 1 {
            std::fs::remove_dir_all(bench.from.join(format!("moved{}", round - 2))).unwrap();
        }
        if round % 3 == 2 {
            // Then all of it again.
            std::fs::remove_file(&bench.manifest).unwrap();
        }
        let mut child = helper(&Request::Copy(bench.request()));
        std::thread::sleep(whole.mul_f64(random.below(1000) as f64 / 800.0));
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 2 == 1 {
            bench.copy();
            bench.assert_same();
            bench.verify();
        }
    }
    bench.copy();
    bench.assert_same();
}
