//! What runs inside the helper container, and the words it speaks with the host.
//!
//! [`run`] reads one request and is the only writer of lines; the modules below do one thing each and can be called
//! directly. Nothing here knows of Docker, projects or runs: only of directories.
//!
//! ```text
//! protocol            requests and lines
//! copy ─ structure ─ files ─ file ─ back    one pass: all but content; content, and reading it back
//! verify, compare ─ diff ─ same
//! scan, probe, pg_control, place, http, page, sqlite
//!   └ walk ─ tree ─ packed ─ cursor ─ meta ─ attrs ─ content ─ hash ─ patch
//!     known ─ moves ─ store ─ manifest ─ blocks ─ remove ─ mounts
//!      └ crew, context, fault, throttle
//! ```

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use self::context::Context;
use self::fault::{Fault, Result};
use self::protocol::{Answer, FailClass, Line, Request};

pub mod attrs;
pub mod back;
pub mod blocks;
pub mod compare;
pub mod content;
pub mod context;
pub mod copy;
pub mod crew;
pub mod cursor;
pub mod diff;
pub mod fault;
pub mod file;
pub mod files;
pub mod hash;
pub mod http;
pub mod known;
pub mod manifest;
pub mod meta;
pub mod mounts;
pub mod moves;
pub mod packed;
pub mod page;
pub mod patch;
pub mod pg_control;
pub mod place;
pub mod probe;
pub mod protocol;
pub mod remove;
pub mod same;
pub mod scan;
pub mod sqlite;
pub mod store;
pub mod structure;
pub mod throttle;
pub mod tree;
pub mod verify;
pub mod walk;

/// Between two progress lines.
const BEAT: Duration = Duration::from_millis(250);

/// Does what one request (JSON) asks for and tells it as JSON lines, the last of which is the answer or the failure.
/// When nobody reads the lines any more, the work is stopped. Only a page goes on after its last line, while `input` is
/// open; and the bytes of a copied database follow that line.
pub fn run(request: &str, input: &mut dyn Read, out: &mut dyn Write) -> ExitCode {
    // Files get the modes of the source, at once.
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut stays = false;
    let mut copied = None;
    let ended = match serde_json::from_str::<Request>(request) {
        Ok(Request::Several { requests }) => several(&requests, out),
        Ok(Request::Page { port, bytes }) => {
            stays = true;
            Ok(page::open(port, bytes, input).map(|()| Answer::Done))
        }
        Ok(Request::SqliteLoad(request)) => Ok(sqlite::load(&request, input).map(Answer::Sqlite)),
        Ok(request) => {
            if let Request::SqliteCopy { scratch, .. } = &request {
                copied = Some(scratch.clone());
            }
            one(&request, out)
        }
        Err(error) => Ok(Err(Fault::refused(
            "the request cannot be understood",
            error.to_string(),
        ))),
    };
    let told = ended.and_then(|answer| match answer {
        Ok(answer) => {
            stays |= copied.is_some();
            tell(out, &Line::Answer(answer))
                .and_then(|()| copied.map_or(Ok(()), |scratch| sqlite::send(&scratch, out)))
                .map(|()| ExitCode::SUCCESS)
        }
        Err(Fault { what, because, class }) => {
            tell(out, &Line::Failed { what, because, class }).map(|()| ExitCode::FAILURE)
        }
    });
    // The host is gone: there is nobody left to tell.
    let code = told.unwrap_or(ExitCode::FAILURE);
    if stays && code == ExitCode::SUCCESS {
        page::until_closed(input);
    }
    code
}

/// One after the other, each with progress and notes of its own. The outer error is that of telling.
fn several(requests: &[Request], out: &mut dyn Write) -> std::io::Result<Result<Answer>> {
    let mut answers = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        tell(out, &Line::Turn { index })?;
        match one(request, out)? {
            Ok(answer) => answers.push(answer),
            Err(fault) => return Ok(Err(fault)),
        }
    }
    Ok(Ok(Answer::Several { answers }))
}

fn one(request: &Request, out: &mut dyn Write) -> std::io::Result<Result<Answer>> {
    let cx = Context::new();
    let answer = attend(&cx, request, out)?;
    flush_notes(&cx, out)?;
    if let Some(text) = cx.notes_beyond() {
        tell(out, &Line::Note { text })?;
    }
    Ok(answer)
}

/// Works in a thread of its own and tells how far it is. The outer error is that of telling.
fn attend(cx: &Context, request: &Request, out: &mut dyn Write) -> std::io::Result<Result<Answer>> {
    std::thread::scope(|scope| {
        let (done, end) = bounded::<()>(0);
        let worker = scope.spawn(move || {
            // Dropped at the end, also by a panic: that is the signal.
            let _done = done;
            answer(cx, request)
        });
        let mut told = Ok(());
        while end.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            if told.is_ok() {
                told = flush_notes(cx, out).and_then(|()| tell(out, &cx.progress()));
                if told.is_err() {
                    cx.stop();
                }
            }
        }
        let answer = worker.join().unwrap_or_else(|_| {
            Err(Fault::new(
                FailClass::Other,
                "the helper failed",
                "a bug in Rehome; stderr has its place",
            ))
        });
        told.map(|()| answer)
    })
}

fn flush_notes(cx: &Context, out: &mut dyn Write) -> std::io::Result<()> {
    cx.take_notes()
        .into_iter()
        .try_for_each(|text| tell(out, &Line::Note { text }))
}

/// One line in one write, so that it is never torn by another writer, and flushed.
fn tell(out: &mut dyn Write, line: &Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text)?;
    out.flush()
}

/// Does what is asked for.
///
/// # Errors
/// What [`Line::Failed`] tells.
pub fn answer(cx: &Context, request: &Request) -> Result<Answer> {
    match request {
        Request::Probe { dir, below } => probe::probe(dir, below).map(Answer::Probe),
        Request::Scan { dir } => scan::scan(cx, dir).map(Answer::Scan),
        Request::MakeDir { parent, path } => place::make_dir(parent, path).map(|()| Answer::Done),
        Request::Copy(request) => copy::copy(cx, request).map(Answer::Copy),
        Request::Verify(request) => verify::verify(cx, request).map(Answer::Verify),
        Request::Compare { left, right } => compare::compare(cx, left, right).map(Answer::Compare),
        Request::PgControl { dir } => pg_control::read(dir).map(Answer::PgControl),
        Request::Remove { parent, path } => place::remove(cx, parent, path).map(|()| Answer::Done),
        Request::Rename { parent, from, to } => place::rename(parent, from, to).map(|()| Answer::Done),
        Request::Access { dirs } => place::access(dirs).map(|writable| Answer::Access { writable }),
        Request::Several { requests } => {
            let answers = requests.iter().map(|request| answer(cx, request));
            answers
                .collect::<Result<_>>()
                .map(|answers| Answer::Several { answers })
        }
        Request::Http {
            url,
            body,
            timeout_millis,
        } => {
            let answer = http::get(url, *body, Duration::from_millis(*timeout_millis))?;
            Ok(Answer::Http {
                status: answer.status,
                body: answer.body,
            })
        }
        Request::Tcp { port, timeout_millis } => {
            http::connect(*port, Duration::from_millis(*timeout_millis)).map(|()| Answer::Done)
        }
        Request::SqliteCopy { dir, path, scratch } => {
            sqlite::copy(cx, dir, path, scratch).map(Answer::Sqlite)
        }
        Request::SqliteCheck { dir, path } => sqlite::check(dir, path).map(Answer::Sqlite),
        Request::SqliteLoad(_) => Err(Fault::refused(
            "a database is not loaded here",
            "it comes through stdin, which no other request shares",
        )),
        Request::Page { .. } => Err(Fault::refused(
            "a page is not opened here",
            "it stays open, and no other request could follow",
        )),
    }
}
