//! The maintenance page: what it answers, whom it does not, and when it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rehome::helper::page;
use rehome::helper::protocol::Request;

const PAGE: &str = "<!doctype html><p>später</p>";

/// A page that gives each connection this long; its port.
fn serve(text: &str, patience: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    page::serve(listener, text.as_bytes(), patience).unwrap();
    port
}

fn patient(text: &str) -> u16 {
    serve(text, Duration::from_secs(20))
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // A test that waits for longer than this has failed.
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends these bytes, and reads until the other side closes.
fn ask(port: u16, request: &[u8]) -> String {
    let mut stream = connect(port);
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[track_caller]
fn assert_answers(port: u16) {
    let answer = ask(port, b"GET /a/b?c HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with(&format!("\r\n\r\n{PAGE}")), "{answer}");
}

#[test]
fn every_request_is_answered_with_the_page() {
    let port = patient(PAGE);
    assert_answers(port);
    let whole = ask(port, b"GET / HTTP/1.1\r\n\r\n");
    for request in [
        &b"GET / HTTP/1.0\n\n"[..],
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"DELETE http://x/y HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ] {
        assert_eq!(ask(port, request), whole, "{}", request.escape_ascii());
    }
    // The head comes in pieces.
    let mut stream = connect(port);
    for piece in [&b"GE"[..], b"T / HT", b"TP/1.1\r", b"\nHost: x\r\n\r", b"\n"] {
        stream.write_all(piece).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, whole);
}

#[test]
fn the_answer_to_head_ends_with_its_head() {
    let port = patient(PAGE);
    let answer = ask(port, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        answer.contains(&format!("\r\nContent-Length: {}\r\n", PAGE.len())),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(!answer.contains(PAGE), "{answer}");
}

#[test]
fn an_upload_and_an_endless_head_are_answered_and_not_reset() {
    let text = "x".repeat(300_000);
    let port = patient(&text);
    let body = vec![b'u'; 5_000_000];
    let head = format!("POST /up HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = ask(port, &[head.as_bytes(), &body].concat());
    assert!(answer.ends_with(&text), "{} bytes", answer.len());

    let cookies = vec![b'c'; 1_000_000];
    let answer = ask(port, &[b"GET / HTTP/1.1\r\nCookie: ", &cookies[..]].concat());
    assert!(answer.ends_with(&text), "{} bytes", answer.len());
}

#[test]
fn what_is_not_http_gets_no_word() {
    let port = patient(PAGE);
    for words in [
        // The hello of a TLS client, the first packet of a PostgreSQL client, Redis, SMTP.
        &b"\x16\x03\x01\x00\x05hello\n\n"[..],
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f\n\n",
        b"*1\r\n$4\r\nPING\r\n\r\n",
        b"EHLO there\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = connect(port);
        stream.write_all(words).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // Closed or reset: nothing is said in either case.
        stream.read_to_end(&mut answer).ok();
        assert_eq!(answer.escape_ascii().to_string(), "", "{}", words.escape_ascii());
    }
    assert_answers(port);
}

#[test]
fn clients_that_misbehave_keep_nobody_out() {
    let patience = Duration::from_millis(500);
    let long = "x".repeat(8_000_000);
    let port = serve(&long, patience);
    let began = Instant::now();
    // More than are served at a time: they say nothing, half of a head, or read nothing of the answer.
    let idle: Vec<_> = (0..90)
        .map(|n| {
            let mut stream = connect(port);
            match n % 3 {
                0 => {}
                1 => stream.write_all(b"GET / HT").unwrap(),
                _ => stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap(),
            }
            stream
        })
        .collect();
    for _ in 0..50 {
        drop(connect(port));
    }
    let answer = ask(port, b"GET / HTTP/1.1\r\n\r\n");
    assert!(answer.ends_with(&long), "{} bytes", answer.len());
    assert!(began.elapsed() >= patience, "all of them were served at once");
    // Each of those who said nothing was given up.
    for mut stream in idle.into_iter().step_by(3) {
        let mut nothing = Vec::new();
        stream.read_to_end(&mut nothing).ok();
        assert!(nothing.is_empty());
    }
}

#[test]
fn the_page_ends_with_whoever_opened_it() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let bytes = PAGE.len() as u64;
    let request = serde_json::to_string(&Request::Page { port, bytes }).unwrap();
    let helper = || {
        Command::new(env!("CARGO_BIN_EXE_rehome"))
            .args(["helper", &request])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let said = |child: &mut std::process::Child| {
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        line
    };
    let mut child = helper();
    let mut input = child.stdin.take().unwrap();
    input.write_all(PAGE.as_bytes()).unwrap();
    assert_eq!(said(&mut child), "{\"say\":\"answer\",\"answer\":\"done\"}\n");
    assert_answers(port);

    // A second one finds the port taken, and says so.
    let mut second = helper();
    second.stdin.as_mut().unwrap().write_all(PAGE.as_bytes()).unwrap();
    let line = said(&mut second);
    assert!(
        line.contains("\"failed\"") && line.contains(&format!("cannot listen on port {port}")),
        "{line}"
    );
    assert!(!second.wait().unwrap().success());
    assert_answers(port);

    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "it still answers"
    );

    // The host goes away before the page is there.
    let mut child = helper();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"<!doc").unwrap();
    drop(input);
    let line = said(&mut child);
    assert!(line.contains("the host went away"), "{line}");
    assert!(!child.wait().unwrap().success());
}
