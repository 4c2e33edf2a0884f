//! What runs inside the helper container, and the words it speaks with the host.
//!
//! [`run`] reads one request and is the only writer of lines; the modules below do one thing each and can be called
//! directly. Nothing here knows of Docker, projects or runs: only of directories.
//!
//! ```text
//! protocol            requests and lines
//! copy ─ structure ─ files ─ file ─ back    one pass: all but content; content, and reading it back
//! verify, compare ─ diff ─ same
//! archive, unarchive ─ tar, frames; listed ─ listing    a tree as a stream, and out of it
//! snapshot ─ remote ─ frames                  a tree as a snapshot in a repository of the host's
//! uploads                                     the files of a volume as objects of a bucket
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

pub mod archive;
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
pub mod frames;
pub mod hash;
pub mod http;
pub mod known;
pub mod listed;
pub mod listing;
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
pub mod remote;
pub mod remove;
pub mod same;
pub mod scan;
pub mod snapshot;
pub mod sqlite;
pub mod store;
pub mod structure;
pub mod tar;
pub mod throttle;
pub mod tree;
pub mod unarchive;
pub mod uploads;
pub mod verify;
pub mod walk;

/// Between two progress lines.
const BEAT: Duration = Duration::from_millis(250);

/// How long a helper that has told its last line waits for the host to close its stdin.
const LINGER: Duration = Duration::from_secs(60);

/// What a helper is connected with.
pub struct Streams<'a> {
    /// Read by requests that are given more than their arguments.
    pub input: &'a mut (dyn Read + Send),
    /// Lines, or an archive.
    pub out: &'a mut (dyn Write + Send),
    /// Lines beside an archive.
    pub err: &'a mut (dyn Write + Send),
    /// Whether the host let go of what is read from. An engine that loses its client goes on taking what a container
    /// writes: nobody notices by that.
    pub hung_up: &'a dyn Fn() -> bool,
}

/// When a helper ends.
#[derive(PartialEq, Eq)]
enum End {
    /// After its last line.
    Told,
    /// When the host closes its stdin, and some time after its last line at the latest.
    Heard,
    /// When the host closes its stdin.
    Closed,
}

/// Does what one request (JSON) asks for and tells it as JSON lines, the last of which is the answer or the failure.
/// When nobody reads the lines any more, the work is stopped. What has a stream beside its lines goes on after the last
/// of them, while `input` is open: so they are not lost with the container.
pub fn run(request: &str, streams: Streams<'_>) -> ExitCode {
    // Files get the modes of the source, at once.
    rustix::process::umask(rustix::fs::Mode::empty());
    let Streams {
        input,
        out,
        err,
        hung_up,
    } = streams;
    let mut end = End::Told;
    let mut copied = None;
    let (ended, lines): (_, &mut dyn Write) = match serde_json::from_str::<Request>(request) {
        Ok(Request::Several { requests }) => (several(&requests, out), out),
        Ok(Request::Page { port, bytes }) => {
            end = End::Closed;
            (Ok(page::open(port, bytes, input).map(|()| Answer::Done)), out)
        }
        Ok(Request::Archive { dir, live, only }) => {
            end = End::Heard;
            let work =
                |cx: &Context| archive::archive(cx, &dir, live, only.as_deref(), out).map(Answer::Archive);
            (one(err, work), err)
        }
        Ok(Request::Unarchive {
            dir,
            only,
            strip,
            like,
            bytes,
            entries,
        }) => {
            end = End::Heard;
            let mut frames = frames::Frames::new(input);
            let job = unarchive::Job {
                dir: &dir,
                only: only.as_deref(),
                strip,
                like: like.as_deref(),
            };
            let work = |cx: &Context| {
                cx.expect(bytes, entries);
                unarchive::unarchive(cx, job, &mut frames).map(Answer::Unarchive)
            };
            (one(out, work), out)
        }
        Ok(Request::Snapshot(request)) => {
            end = End::Heard;
            let work = |cx: &Context| snapshot::snapshot(cx, &request, input, out).map(Answer::Snapshot);
            (one(err, work), err)
        }
        Ok(Request::Uploads(request)) => {
            end = End::Heard;
            let work = |cx: &Context| {
                uploads::uploads(cx, &request, input).map(|ended| Answer::Uploads(Box::new(ended)))
            };
            (while_heard(out, hung_up, work), out)
        }
        Ok(Request::SqliteLoad(request)) => (Ok(sqlite::load(&request, input).map(Answer::Sqlite)), out),
        Ok(request) => {
            if let Request::SqliteCopy { scratch, .. } = &request {
                // Its bytes follow the answer.
                copied = Some(scratch.clone());
                end = End::Heard;
            }
            (one(out, |cx| answer(cx, &request)), out)
        }
        Err(error) => {
            let fault = Fault::refused("the request cannot be understood", error.to_string());
            (Ok(Err(fault)), out)
        }
    };
    let told = ended.and_then(|answer| match answer {
        Ok(answer) => tell(lines, &Line::Answer(answer))
            .and_then(|()| copied.map_or(Ok(()), |scratch| sqlite::send(&scratch, lines)))
            .map(|()| ExitCode::SUCCESS),
        Err(Fault { what, because, class }) => {
            tell(lines, &Line::Failed { what, because, class }).map(|()| ExitCode::FAILURE)
        }
    });
    // The host is gone: there is nobody left to tell.
    let Ok(code) = told else { return ExitCode::FAILURE };
    match end {
        End::Told => {}
        End::Closed if code == ExitCode::FAILURE => {}
        End::Closed => page::until_closed(input),
        End::Heard => linger(input),
    }
    code
}

/// Whether the other end of stdin is closed.
#[must_use]
pub fn stdin_hung_up() -> bool {
    let stdin = std::io::stdin();
    let mut polled = [rustix::event::PollFd::new(
        &stdin,
        rustix::event::PollFlags::empty(),
    )];
    let now = rustix::time::Timespec::default();
    // What cannot be asked is not taken for an end.
    rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|n| n > 0)
        && polled[0].revents().contains(rustix::event::PollFlags::HUP)
}

/// Waits until the host closes what this helper reads from. Where nobody does, the process ends anyway.
fn linger(input: &mut dyn Read) {
    let (open, closed) = bounded::<()>(0);
    std::thread::spawn(move || {
        if closed.recv_timeout(LINGER) == Err(RecvTimeoutError::Timeout) {
            std::process::exit(1);
        }
    });
    page::until_closed(input);
    drop(open);
}

/// One after the other, each with progress and notes of its own. The outer error is that of telling.
fn several(requests: &[Request], out: &mut dyn Write) -> std::io::Result<Result<Answer>> {
    let mut answers = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        tell(out, &Line::Turn { index })?;
        match one(out, |cx| answer(cx, request))? {
            Ok(answer) => answers.push(answer),
            Err(fault) => return Ok(Err(fault)),
        }
    }
    Ok(Ok(Answer::Several { answers }))
}

/// One piece of work, with all that it has to say. The outer error is that of telling.
fn one(
    lines: &mut dyn Write,
    work: impl FnOnce(&Context) -> Result<Answer> + Send,
) -> std::io::Result<Result<Answer>> {
    while_heard(lines, &|| false, work)
}

/// The same, stopped when the host hangs up.
fn while_heard(
    lines: &mut dyn Write,
    hung_up: &dyn Fn() -> bool,
    work: impl FnOnce(&Context) -> Result<Answer> + Send,
) -> std::io::Result<Result<Answer>> {
    let cx = Context::new();
    let answer = attend(&cx, lines, hung_up, work)?;
    flush_notes(&cx, lines)?;
    if let Some(text) = cx.notes_beyond() {
        tell(lines, &Line::Note { text })?;
    }
    Ok(answer)
}

/// Works in a thread of its own and tells how far it is. The outer error is that of telling.
fn attend(
    cx: &Context,
    out: &mut dyn Write,
    hung_up: &dyn Fn() -> bool,
    work: impl FnOnce(&Context) -> Result<Answer> + Send,
) -> std::io::Result<Result<Answer>> {
    std::thread::scope(|scope| {
        let (done, end) = bounded::<()>(0);
        let worker = scope.spawn(move || {
            // Dropped at the end, also by a panic: that is the signal.
            let _done = done;
            work(cx)
        });
        let mut told = Ok(());
        while end.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            if told.is_ok() {
                told = flush_notes(cx, out).and_then(|()| tell(out, &cx.progress()));
                if told.is_err() || hung_up() {
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
        Request::Exchange {
            parent,
            left,
            right,
            left_inode,
        } => place::exchange(parent, (left, right), *left_inode).map(|()| Answer::Done),
        Request::Numbers { parent, paths } => {
            place::numbers(parent, paths).map(|numbers| Answer::Numbers { numbers })
        }
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
        Request::Archive { .. } | Request::Unarchive { .. } | Request::Snapshot(_) | Request::Uploads(_) => {
            Err(Fault::refused(
                "no archive is written or read here, and nothing is uploaded",
                "it needs a stream for itself, and no other request could follow",
            ))
        }
    }
}
