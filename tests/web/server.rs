//! Serves made pages on loopback, with the headers that `rehome serve` sends. For the browser of the tests; not a part of
//! the product.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rehome::web::pages::{ASSETS, asset};

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What it serves.
#[derive(Default)]
pub struct Served {
    /// Pages by their path.
    pub pages: BTreeMap<String, String>,
    /// A run: its path, its events, and its page once they were all sent.
    pub run: Option<(String, Vec<String>, String)>,
}

/// A server; it goes when this is dropped.
pub struct Server {
    pub address: String,
    /// Lines `METHOD PATH BODY` of what was asked.
    pub asked: Arc<Mutex<Vec<String>>>,
    end: Arc<AtomicBool>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        // It waits for a connection: here is one.
        drop(TcpStream::connect(&self.address["http://".len()..]));
    }
}

/// Serves until it is dropped.
pub fn serve(served: Served) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, end) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let server = Server {
        address,
        asked: Arc::clone(&asked),
        end: Arc::clone(&end),
    };
    let (served, over) = (Arc::new(served), Arc::new(AtomicBool::new(false)));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            if end.load(Ordering::SeqCst) {
                return;
            }
            let (served, over, asked) = (Arc::clone(&served), Arc::clone(&over), Arc::clone(&asked));
            // A browser that leaves in the middle is nobody's failure.
            std::thread::spawn(move || drop(answer(&connection.unwrap(), &served, &over, &asked)));
        }
    });
    server
}

fn answer(
    connection: &TcpStream,
    served: &Served,
    over: &AtomicBool,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(connection);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    let body = String::from_utf8_lossy(&body);
    asked
        .lock()
        .unwrap()
        .push(format!("{method} {target} {body}").trim().to_owned());

    if let Some((run, events, after)) = &served.run {
        if path == format!("/api{run}/events") {
            return stream(connection, events, over);
        }
        if path == run && over.load(Ordering::SeqCst) {
            return send(connection, 200, "text/html; charset=utf-8", after.as_bytes());
        }
    }
    if let Some((kind, bytes)) = path.strip_prefix(ASSETS).and_then(asset) {
        return send(connection, 200, kind, bytes);
    }
    match served.pages.get(path) {
        Some(page) => send(connection, 200, "text/html; charset=utf-8", page.as_bytes()),
        None => send(connection, 404, "text/plain", b"there is no such page"),
    }
}

fn send(mut connection: &TcpStream, status: u16, kind: &str, body: &[u8]) -> std::io::Result<()> {
    write!(
        connection,
        "HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nContent-Security-Policy: {POLICY}\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        body.len()
    )?;
    connection.write_all(body)
}

/// Half of the events, a comment, the others: as a run that takes its time.
fn stream(mut connection: &TcpStream, events: &[String], over: &AtomicBool) -> std::io::Result<()> {
    write!(
        connection,
        "HTTP/1.1 200 -\r\nContent-Type: text/event-stream\r\nContent-Security-Policy: {POLICY}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )?;
    for (id, event) in events.iter().enumerate() {
        if id + 1 == events.len() {
            over.store(true, Ordering::SeqCst);
        }
        write!(connection, ": still here\n\nid: {id}\ndata: {event}\n\n")?;
    }
    connection.flush()
}
