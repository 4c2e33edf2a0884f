//! A network that fails: a proxy which breaks connections, keeps silent, or answers for the server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What goes wrong, each so many times.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Connections that break when they have carried `after` bytes to the server.
    pub cuts_up: usize,
    /// The same for bytes from the server.
    pub cuts_down: usize,
    pub after: u64,
    /// Connections on which the answer is 500.
    pub errors: usize,
    /// Connections on which there is no answer.
    pub silent: usize,
}

/// For as long as there is somebody to ask.
pub const ALWAYS: usize = usize::MAX / 2;

pub struct Proxy {
    faults: Arc<Mutex<Faults>>,
    port: u16,
}

impl Proxy {
    /// In front of `http://host:port`.
    pub fn before(address: &str, faults: Faults) -> Self {
        let upstream = address.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(Mutex::new(faults));
        let shared = Arc::clone(&faults);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (shared, upstream) = (Arc::clone(&shared), upstream.clone());
                std::thread::spawn(move || serve(client, &upstream, &shared));
            }
        });
        Self { faults, port }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// What has not gone wrong yet.
    pub fn left(&self) -> Faults {
        *self.faults.lock().unwrap()
    }
}

/// Takes one of a number of faults.
fn strikes(faults: &Mutex<Faults>, which: fn(&mut Faults) -> &mut usize) -> bool {
    let mut faults = faults.lock().unwrap();
    let left = which(&mut faults);
    let now = *left > 0;
    *left = left.saturating_sub(1);
    now
}

fn serve(mut client: TcpStream, upstream: &str, faults: &Arc<Mutex<Faults>>) {
    if strikes(faults, |f| &mut f.silent) {
        // Until the client gives up.
        std::io::copy(&mut client, &mut std::io::sink()).unwrap_or_default();
        return;
    }
    if strikes(faults, |f| &mut f.errors) {
        let mut request = Vec::new();
        let mut buffer = [0; 8192];
        while !request.windows(4).any(|four| four == b"\r\n\r\n") {
            match client.read(&mut buffer) {
                Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                _ => return,
            }
        }
        let body = "<Error><Code>InternalError</Code><Message>on fire</Message></Error>";
        let head = format!(
            "HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.write_all(head.as_bytes()).unwrap_or_default();
        client.shutdown(Shutdown::Write).unwrap_or_default();
        std::io::copy(&mut client, &mut std::io::sink()).unwrap_or_default();
        return;
    }
    let server = TcpStream::connect(upstream).unwrap();
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let shared = Arc::clone(faults);
    let up = std::thread::spawn(move || carry(from, to, &shared, |f| &mut f.cuts_up));
    carry(server, client, faults, |f| &mut f.cuts_down);
    up.join().unwrap();
}

/// One direction of a connection. When it ends, or is cut, both do.
fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    faults: &Mutex<Faults>,
    cuts: fn(&mut Faults) -> &mut usize,
) {
    let mut buffer = vec![0; 64 << 10];
    let mut carried = 0;
    loop {
        let n = from.read(&mut buffer).unwrap_or(0);
        carried += n as u64;
        let after = faults.lock().unwrap().after;
        let cut = n > 0 && carried > after && strikes(faults, cuts);
        if n == 0 || cut || to.write_all(&buffer[..n]).is_err() {
            from.shutdown(Shutdown::Both).unwrap_or_default();
            to.shutdown(Shutdown::Both).unwrap_or_default();
            return;
        }
    }
}
