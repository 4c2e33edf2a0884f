//! Says that the stack stands still, to whoever asks over HTTP while it does. It knows one answer, and gives it for as
//! long as the host holds this helper's stdin open: when the host is gone, so is the page, and its ports are free.
//!
//! Anybody may connect, so everything is limited: how many are served at a time, how long each, what is read of it.

use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fault::{Fault, Result};
use super::protocol::FailClass;

/// Connections that are served at the same time; more wait in the kernel's queue.
const AT_A_TIME: usize = 64;
/// Enough for what a connection needs.
const STACK: usize = 128 << 10;
/// What one connection may take in all.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is read of a request before it is answered, whether its head is complete or not.
const HEAD: usize = 16 << 10;
/// A page above this is none.
const LONGEST: u64 = 1 << 20;
/// Without memory or descriptors nobody can be accepted for a moment; trying all the time makes it no better.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads a page of so many bytes and answers with it on a port from now on, in threads that end with the process.
///
/// # Errors
/// When the page does not come or nobody can be listened to.
pub fn open(port: u16, bytes: u64, input: &mut dyn Read) -> Result<()> {
    let failed = |what: &str, because: &dyn std::fmt::Display| {
        Fault::new(FailClass::Other, what.to_owned(), because.to_string())
    };
    if bytes > LONGEST {
        return Err(Fault::refused(
            "the page is too long",
            format!("it has {bytes} bytes, and may have {LONGEST}"),
        ));
    }
    let mut page = Vec::new();
    input
        .take(bytes)
        .read_to_end(&mut page)
        .map_err(|e| failed("cannot read the page", &e))?;
    if (page.len() as u64) < bytes {
        return Err(failed("cannot read the page", &"the host went away"));
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .map_err(|e| failed(&format!("cannot listen on port {port}"), &e))?;
    serve(listener, &page, PATIENCE).map_err(|e| failed("cannot answer", &e))
}

/// Waits until the host closes what this helper reads from, or is gone.
pub fn until_closed(input: &mut dyn Read) {
    let mut rest = [0; 64];
    loop {
        match input.read(&mut rest) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// Answers whoever connects, each within `patience`, in threads of its own.
///
/// # Errors
/// When not a single thread can be made.
pub fn serve(listener: TcpListener, page: &[u8], patience: Duration) -> std::io::Result<()> {
    let shared = Arc::new((listener, Response::of(page)));
    for made in 0..AT_A_TIME {
        let shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new().stack_size(STACK);
        let started = thread.spawn(move || {
            let (listener, response) = &*shared;
            loop {
                match listener.accept() {
                    // Whatever goes wrong with one connection is over with it.
                    Ok((stream, _)) => drop(attend(stream, response, patience)),
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        });
        match started {
            Ok(_) => {}
            // Fewer do as well.
            Err(_) if made > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The one answer.
struct Response {
    whole: Vec<u8>,
    /// How much of it is the head.
    head: usize,
}

impl Response {
    fn of(page: &[u8]) -> Self {
        let mut whole = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
             Retry-After: 30\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
            page.len()
        )
        .into_bytes();
        let head = whole.len();
        whole.extend_from_slice(page);
        Self { whole, head }
    }

    /// What this method is answered: to HEAD belongs no body.
    fn to(&self, method: &[u8]) -> &[u8] {
        if method == b"HEAD" {
            &self.whole[..self.head]
        } else {
            &self.whole
        }
    }
}

fn attend(mut stream: TcpStream, response: &Response, patience: Duration) -> std::io::Result<()> {
    let deadline = Instant::now() + patience;
    let mut request = Vec::new();
    while !is_complete(&request) && request.len() < HEAD {
        let mut part = [0; 2048];
        match receive(&mut stream, &mut part, deadline)? {
            0 => break,
            len => request.extend_from_slice(&part[..len]),
        }
    }
    // Whoever speaks something else (TLS, a database's protocol) is not answered in words that it cannot know.
    let Some(method) = method(&request) else {
        return Ok(());
    };
    let mut rest = response.to(method);
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(rest) {
            Ok(0) => return Ok(()),
            Ok(len) => rest = &rest[len..],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // Closed while something of the request is unread (an upload), the connection would be reset, and with it what was
    // just written be lost. <https://www.rfc-editor.org/rfc/rfc9112#section-9.6>
    stream.shutdown(Shutdown::Write)?;
    let mut ignored = [0; 8192];
    while receive(&mut stream, &mut ignored, deadline)? > 0 {}
    Ok(())
}

/// What is left of the time.
fn left(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(std::io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

fn receive(stream: &mut TcpStream, into: &mut [u8], deadline: Instant) -> std::io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(into) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Whether the head of a request is all there.
fn is_complete(request: &[u8]) -> bool {
    request.windows(4).any(|four| four == b"\r\n\r\n") || request.windows(2).any(|two| two == b"\n\n")
}

/// The method of a request of HTTP/1; `None` if it is something else.
fn method(request: &[u8]) -> Option<&[u8]> {
    let line = request.split(|byte| *byte == b'\n').next()?;
    // A line without its end is one as well when it is longer than what is read.
    let whole = line.len() < request.len();
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().filter(|word| !word.is_empty())?;
    let target = words.next()?;
    let version = words.next().unwrap_or_default();
    let is_http = method.iter().all(u8::is_ascii_uppercase)
        && !target.is_empty()
        && (version.starts_with(b"HTTP/1.") || !whole && request.len() >= HEAD);
    is_http.then_some(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_is_answered() {
        assert_eq!(method(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Some(&b"GET"[..]));
        assert_eq!(method(b"HEAD /a?b HTTP/1.0\n\n"), Some(&b"HEAD"[..]));
        let long = [&b"GET /"[..], &[b'a'; HEAD]].concat();
        assert_eq!(method(&long), Some(&b"GET"[..]));
        for other in [
            &b""[..],
            b"\r\n",
            b"GET /",
            b"GET / \r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b"*1\r\n$4\r\nPING\r\n",
            b"EHLO there\r\n",
        ] {
            assert_eq!(method(other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn the_answer_to_head_has_no_body() {
        let response = Response::of(b"<p>later</p>");
        let whole = String::from_utf8(response.to(b"GET").to_vec()).unwrap();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "<p>later</p>");
        assert_eq!(response.to(b"HEAD"), format!("{head}\r\n\r\n").as_bytes());
        assert_eq!(
            head.split("\r\n").collect::<Vec<_>>(),
            [
                "HTTP/1.1 503 Service Unavailable",
                "Content-Type: text/html; charset=utf-8",
                "Content-Length: 12",
                "Retry-After: 30",
                "Cache-Control: no-store",
                "Connection: close",
            ]
        );
    }
}
